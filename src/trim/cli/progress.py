"""Progress of long commands."""

from __future__ import annotations

import math
import time
from asyncio import CancelledError
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from trim.cli.terminal import echo, new_console
from trim.evaluation.progress import Range, RunProgress
from trim.terminal import one_line

EVERY = 30.0
"""Seconds between two lines without a terminal."""


class ProgressText:
    """The progress of a run in words; rate and time left are those of this process alone.

    A problem in progress counts as half finished: where many are solved at a time, nearly all of
    them may finish at the end.

    Args:
        total: problems of the whole run.
    """

    def __init__(self, title: str, total: int) -> None:
        self.title = title
        self.total = total
        self.started = time.monotonic()
        self._first: int | None = None

    def figures(self, progress: RunProgress) -> str:
        if self._first is None:
            self._first, self.started = progress.finished, time.monotonic()
        parts = []
        if progress.steps:
            parts.append(f"{progress.steps:,} steps · {format_count(progress.tokens)} tokens")
        minutes = (time.monotonic() - self.started) / 60
        is_known = progress.finished > self._first and minutes > 0
        done = progress.finished + progress.under_way / 2
        rate = (done - self._first) / minutes if is_known else 0.0
        if rate:
            parts.append(f"{rate:.3g} a minute")
        if progress.accuracy:
            parts.append(f"{format_percent(progress.accuracy)} right")
        if progress.strong_share:
            parts.append(f"{format_percent(progress.strong_share)} strong")
        if progress.money is not None:
            parts.append(f"money {progress.money:.4g}")
        if progress.failed:
            parts.append(f"{progress.failed} failed")
        if rate and progress.finished < self.total:
            parts.append(f"{format_minutes((self.total - done) / rate)} left")
        return " · ".join(parts)

    def line(self, progress: RunProgress) -> str:
        parts = (f"{self.title}: {progress.finished}/{self.total}", self.figures(progress))
        return " · ".join(filter(None, parts))


@contextmanager
def progress_bar(title: str, total: int, out: Path) -> Iterator[Callable[[RunProgress], None]]:
    """A progress bar on standard error with the figures so far; without a terminal, lines.

    It starts with the first progress: invalid input remains a single line.

    Args:
        out: folder from which the same command continues.

    Raises:
        KeyboardInterrupt: the run was interrupted or terminated, with a hint how to continue.
    """
    console = new_console(stderr=True)
    text = ProgressText(title, total)
    bar = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TextColumn("{task.fields[figures]}", markup=False),
        console=console,
    )
    task = bar.add_task(one_line(title), total=total, figures="")
    last_line, is_complete = -math.inf, False

    def update(progress: RunProgress) -> None:
        nonlocal last_line, is_complete
        is_last = progress.finished == total and not is_complete
        if console.is_terminal:
            bar.start()
            bar.update(task, completed=progress.finished, figures=text.figures(progress))
        elif time.monotonic() - last_line >= EVERY or is_last:
            last_line, is_complete = time.monotonic(), is_complete or is_last
            echo(text.line(progress), err=True)

    try:
        try:
            yield update
        finally:
            if bar.live.is_started:
                bar.stop()
    except (KeyboardInterrupt, CancelledError) as interrupt:
        raise KeyboardInterrupt(f"the same command continues from {out}") from interrupt


def format_percent(values: Range) -> str:
    low, high = (f"{100 * value:.1f}" for value in values)
    return f"{low} %" if low == high else f"{low}–{high} %"


def format_count(count: int) -> str:
    """A count in few characters: `5.2k`."""
    for size, letter in ((1_000_000, "M"), (1_000, "k")):
        if count >= size:
            return f"{count / size:.1f}{letter}"
    return str(count)


def format_minutes(minutes: float) -> str:
    seconds = round(60 * minutes)
    if seconds < 90:
        return f"{seconds} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
