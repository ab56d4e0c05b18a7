"""`trim collect --from-server`: what is really asked, as problems."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click

from trim.commands.benchmark import OF_FILES
from trim.commands.keys import within
from trim.errors import InvalidInput
from trim.evaluation.benchmarks.selection import Selection
from trim.evaluation.problem_set import ProblemSet
from trim.server.problems import Answers, left_out, problems_of
from trim.server.storage.keys import Keys
from trim.server.storage.questions import KeptQuestions, kept_questions


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
