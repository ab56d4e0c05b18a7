"""The problems of a command line: a suite, a benchmark or a file."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import click

from trim.cli.options import check_text, path_type
from trim.errors import InvalidInput
from trim.evaluation.benchmarks.catalog import benchmark_names, find_benchmark
from trim.evaluation.benchmarks.selection import Selection, is_file_name
from trim.evaluation.evaluate import draw
from trim.evaluation.problem_set import ProblemSet
from trim.evaluation.suites import SUITES

DEFAULT_COUNT = 500
count_option = click.option(
    "-n",
    "count",
    type=int,
    show_default="500 of a suite, else all",
    help="Number of problems.",
)
OPTIONS = (
    click.option(
        "--data",
        type=path_type,
        envvar="TRIM_DATA",
        show_envvar=True,
        help="Folder with the files of benchmarks; by default they are fetched from the hub.",
    ),
    click.option(
        "--skip",
        type=click.IntRange(min=0),
        default=0,
        show_default=True,
        metavar="N",
        help="Skip the first N problems, after benchmarks and files are shuffled by --seed; -n"
        " counts from there.",
    ),
    click.option("--split", help="Split of a benchmark, in place of its default one."),
    click.option("--question", help="Field of a file with the question."),
    click.option("--answer", help="Field of a file with the right answer."),
    click.option("--id", "id", help="Field of a file with the problem's id."),
    click.option(
        "--grader", help="Comparison of answers of a file: math, exact, letter and others."
    ),
    click.option(
        "--instruction",
        callback=check_text,
        help="Text after each question of a benchmark or file, in place of the default one.",
    ),
)
OF_FILES = ("split", "question", "answer", "id", "grader", "instruction")
"""Options of benchmarks and files only."""
FIELDS = ("data", "skip", *OF_FILES)


def selection_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of `Selection`, passed to the command as `selection`."""

    @wraps(command)
    def with_selection(**options: Any) -> Any:
        chosen = {name: options.pop(name) for name in FIELDS}
        return command(selection=Selection(**chosen), **options)

    for option in reversed(OPTIONS):
        with_selection = option(with_selection)
    return with_selection


def choose_problems(
    name: str, count: int | None, seed: int, selection: Selection, shuffle: bool = True
) -> ProblemSet:
    """The problems of a suite, a benchmark or a file.

    Args:
        seed: generates a suite, and shuffles a benchmark or a file.
        shuffle: False keeps the order of the file.

    Raises:
        InvalidInput: an unknown name, or an option that does not apply to it.
    """
    if name not in SUITES:
        if is_file_name(name) or find_benchmark(name):
            return selection.open(name, count, seed if shuffle else None)
        known = ", ".join((*SUITES, *benchmark_names()))
        raise InvalidInput(
            f"unknown suite or benchmark {name!r}; known: {known}, or a .jsonl, .parquet or .csv"
            " file"
        )
    for option in OF_FILES:
        if getattr(selection, option) is not None:
            raise InvalidInput(f"--{option}: for benchmarks and files; {name} is a suite")
    return draw(name, DEFAULT_COUNT if count is None else count, seed, selection.skip)
