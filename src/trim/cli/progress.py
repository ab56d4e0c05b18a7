"""What a long command shows while it works."""

from __future__ import annotations

import math
import time
from asyncio import CancelledError
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from trim.evaluation.progress import Range, RunProgress

EVERY = 30.0
"""Seconds between two lines where there is no terminal."""


class Shown:
    """The standing of a run in words.

    The time left is judged by what this process has done.

    Args:
        total: problems of the whole run.
    """

    def __init__(self, title: str, total: int) -> None:
        self.title = title
        self.total = total
        self.begun = time.monotonic()
        self._first: int | None = None

    def figures(self, standing: RunProgress) -> str:
        if self._first is None:
            self._first, self.begun = standing.finished, time.monotonic()
        parts = []
        if standing.steps:
            parts.append(f"{standing.steps:,} steps · {short(standing.tokens)} tokens")
        done, minutes = standing.finished - self._first, (time.monotonic() - self.begun) / 60
        if done and minutes:
            parts.append(f"{done / minutes:.3g} a minute")
        if standing.accuracy:
            parts.append(f"{percent(standing.accuracy)} right")
        if standing.strong_share:
            parts.append(f"{percent(standing.strong_share)} strong")
        if standing.money is not None:
            parts.append(f"money {standing.money:.4g}")
        if standing.failed:
            parts.append(f"{standing.failed} failed")
        if done and minutes and standing.finished < self.total:
            left = (self.total - standing.finished) * minutes / done
            parts.append(f"{spoken(left)} left")
        return " · ".join(parts)

    def line(self, standing: RunProgress) -> str:
        parts = (f"{self.title}: {standing.finished}/{self.total}", self.figures(standing))
        return " · ".join(filter(None, parts))


@contextmanager
def progress_bar(title: str, total: int, out: Path) -> Iterator[Callable[[RunProgress], None]]:
    """A bar on the standard error, with what was found so far; without a terminal a line now and
    then.

    It appears with the first standing, so that what is refused at once is told in one line.

    Args:
        out: folder that the same command continues from.

    Raises:
        KeyboardInterrupt: the run was interrupted or terminated; it says how to go on.
    """
    console = Console(stderr=True)
    shown = Shown(title, total)
    bar = Progress(
        TextColumn(title),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TextColumn("{task.fields[figures]}"),
        console=console,
    )
    task = bar.add_task("", total=total, figures="")
    told, all_told = -math.inf, False

    def move(standing: RunProgress) -> None:
        nonlocal told, all_told
        is_last = standing.finished == total and not all_told
        if console.is_terminal:
            bar.start()
            bar.update(task, completed=standing.finished, figures=shown.figures(standing))
        elif time.monotonic() - told >= EVERY or is_last:
            told, all_told = time.monotonic(), all_told or is_last
            click.echo(shown.line(standing), err=True)

    try:
        try:
            yield move
        finally:
            if bar.live.is_started:
                bar.stop()
    except (KeyboardInterrupt, CancelledError) as interrupt:
        raise KeyboardInterrupt(f"the same command continues from {out}") from interrupt


def percent(values: Range) -> str:
    low, high = (f"{100 * value:.1f}" for value in values)
    return f"{low} %" if low == high else f"{low}–{high} %"


def short(count: int) -> str:
    """`5.2k`: a count in few characters."""
    for size, letter in ((1_000_000, "M"), (1_000, "k")):
        if count >= size:
            return f"{count / size:.1f}{letter}"
    return str(count)


def spoken(minutes: float) -> str:
    seconds = round(60 * minutes)
    if seconds < 90:
        return f"{seconds} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
