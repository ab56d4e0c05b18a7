"""`trim collect --from-server`: what is really asked, as problems."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import wraps
from pathlib import Path
from typing import Any

import click

from trim.cli.keys import within
from trim.errors import InvalidInput
from trim.evaluation.benchmarks.registry import BENCHMARKS
from trim.evaluation.benchmarks.selection import Selection, is_file_name
from trim.evaluation.evaluate import draw
from trim.evaluation.problem_set import ProblemSet
from trim.evaluation.suites import SUITES
from trim.server.problems import Answers, KeptQuestions, kept_questions, left_out, problems_of
from trim.server.storage.keys import Keys

USUAL_COUNT = 500
OPTIONS = (
    click.option(
        "--data",
        type=click.Path(path_type=Path),
        envvar="TRIM_DATA",
        show_envvar=True,
        help="Folder with the files of benchmarks; without one they come from the hub.",
    ),
    click.option(
        "--skip",
        type=click.IntRange(min=0),
        default=0,
        show_default=True,
        metavar="N",
        help="Leave out the first N problems; -n counts from there. Benchmarks and files are"
        " shuffled by --seed before.",
    ),
    click.option("--split", help="Split of a benchmark; the usual one without."),
    click.option("--question", help="Field of a file that holds the question."),
    click.option("--answer", help="Field of a file that holds the right answer."),
    click.option("--id", "id", help="Field of a file that names a problem."),
    click.option(
        "--grader", help="How answers of a file are compared: math, exact, letter and others."
    ),
    click.option(
        "--instruction",
        help="Text after each question of a benchmark or file, instead of the usual one.",
    ),
)
OF_FILES = ("split", "question", "answer", "id", "grader", "instruction")
"""Options that go with benchmarks and files alone."""
FIELDS = ("data", "skip", *OF_FILES)


def selection_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options of `Selection`, and the selection as `selection`."""

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
    """The problems that a word on the command line means: a suite, a benchmark or a file.

    Args:
        seed: what a suite is generated from, and a benchmark or a file is shuffled by.
        shuffle: whether it is; else its problems come in the order of the file.

    Raises:
        InvalidInput: it means none of them, or an option does not go with it.
    """
    if name in BENCHMARKS or is_file_name(name):
        return selection.open(name, count, seed if shuffle else None)
    if name not in SUITES:
        raise InvalidInput(
            f"unknown suite or benchmark {name!r}; known: {', '.join((*SUITES, *BENCHMARKS))}, or"
            " a .jsonl, .parquet or .csv file"
        )
    for option in OF_FILES:
        if getattr(selection, option) is not None:
            raise InvalidInput(f"--{option}: {name} is a suite; the option is for other problems")
    return draw(name, USUAL_COUNT if count is None else count, seed, selection.skip)


def questions_of(
    database: str,
    since: datetime | None,
    key: str | None,
    answers: Path | None,
    count: int | None,
    selection: Selection,
) -> ProblemSet:
    """The questions that a server has kept.

    Raises:
        InvalidInput: there are none, the database cannot be read, or an option does not go with it.
    """
    if selection.skip:
        raise InvalidInput("--skip: goes with a suite, a benchmark or a file, not --from-server")
    for option in OF_FILES:
        if option != "grader" and getattr(selection, option) is not None:
            raise InvalidInput(f"--{option}: goes with a file of problems, not with --from-server")
    given = Answers.read(answers) if answers else None
    moment = since.replace(tzinfo=UTC).timestamp() if since else 0.0

    async def read(keys: Keys) -> KeptQuestions:
        return await kept_questions(keys.engine, moment, key)

    kept = within(database, read)
    problem_set = problems_of(kept, count, given, selection.grader)
    click.echo(f"{len(problem_set.problems)} questions; {left_out(kept)}", err=True)
    return problem_set
