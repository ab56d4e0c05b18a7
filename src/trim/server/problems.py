"""Recorded traffic as a problem set, to collect a bank from real questions."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from trim.errors import InvalidInput
from trim.evaluation.benchmarks.benchmark import BenchmarkProblem
from trim.evaluation.benchmarks.data_file import DataFile
from trim.evaluation.problem_set import ANSWER_OF_STRONG, ProblemSet
from trim.grading.grader import find_grader
from trim.policies.whole import is_outside
from trim.server.proxy import NAME as PASSTHROUGH
from trim.server.storage.keys import id_of
from trim.server.storage.tables import requests

NAME = "traffic"
USUAL_GRADER = "math"
FAILED = "failed"
"""The finish of a request without an answer."""


@dataclass(frozen=True)
class KeptQuestion:
    """A question outside a conversation.

    Attributes:
        requests: ids of the requests that asked it.
    """

    question: str
    requests: tuple[str, ...]


@dataclass(frozen=True)
class KeptQuestions:
    """Distinct questions in the order in which they were first asked.

    Attributes:
        conversations: number of requests with earlier messages, without which the question is
            incomplete, or for which this is not known.
        failed: number of requests without an answer.
        without_text: number of requests whose texts were not kept.
        whole: number of requests outside the scope of routing.
    """

    questions: tuple[KeptQuestion, ...]
    conversations: int = 0
    failed: int = 0
    without_text: int = 0
    whole: int = 0


async def kept_questions(
    engine: AsyncEngine, since: float = 0.0, key: str | None = None
) -> KeptQuestions:
    """The recorded questions since a time.

    Args:
        since: seconds since 1970.
        key: name of the key whose requests to take; None for all.

    Raises:
        InvalidInput: no such key.
    """
    query = (
        select(
            requests.c.id,
            requests.c.question,
            requests.c.turns,
            requests.c.finish,
            requests.c.policy,
        )
        .where(requests.c.created >= since)
        .order_by(requests.c.created, requests.c.id)
    )
    ids: dict[str, list[str]] = {}
    conversations = failed = without_text = whole = 0
    async with engine.connect() as connection:
        if key is not None:
            query = query.where(requests.c.key_id == await id_of(connection, key))
        for row in await connection.execute(query):
            if is_outside(row.policy) or row.policy == PASSTHROUGH:
                whole += 1
            elif row.question is None:
                without_text += 1
            elif row.turns != 0:
                conversations += 1
            elif row.finish == FAILED:
                failed += 1
            else:
                ids.setdefault(row.question, []).append(row.id)
    questions = (KeptQuestion(question, tuple(each)) for question, each in ids.items())
    return KeptQuestions(tuple(questions), conversations, failed, without_text, whole)


@dataclass(frozen=True)
class Answers:
    """Correct answers from a file.

    Attributes:
        by_question, by_request: the answer to a question, or to the request with an id.
    """

    by_question: Mapping[str, str]
    by_request: Mapping[str, str]

    @staticmethod
    def read(path: Path) -> Answers:
        """Read a file whose records have `answer`, and `question` or `request`.

        Raises:
            InvalidInput: the file cannot be read, or a record is malformed.
        """
        by_question: dict[str, str] = {}
        by_request: dict[str, str] = {}
        for record in DataFile.read(path).records:
            answer = record.text("answer")
            if "request" in record.values:
                # Clients see the id with a prefix, as chatcmpl-ID.
                by_request[record.text("request").rpartition("-")[2]] = answer
            else:
                by_question[record.text("question")] = answer
        return Answers(by_question, by_request)

    def of(self, kept: KeptQuestion) -> str | None:
        """The answer to a question; None if the file has none."""
        given = (self.by_request[each] for each in kept.requests if each in self.by_request)
        return next(given, self.by_question.get(kept.question))


def problems_of(
    kept: KeptQuestions, count: int | None, answers: Answers | None, grader: str | None
) -> ProblemSet:
    """The first `count` questions of the traffic, or all of them.

    Args:
        answers: takes only questions with an answer. None takes the strong model's own answer as
            the reference.
        grader: name of the grader; None for `math`.

    Raises:
        InvalidInput: no question is left, or no such grader.
    """
    name = grader or USUAL_GRADER
    find_grader(name)
    if count is not None and count < 1:
        raise InvalidInput(f"-n {count}: at least one question is needed")
    problems = []
    for each in kept.questions:
        answer = answers.of(each) if answers else ANSWER_OF_STRONG
        if answer is not None:
            identifier = hashlib.sha256(each.question.encode()).hexdigest()[:16]
            problems.append(BenchmarkProblem(f"{NAME}-{identifier}", each.question, answer, name))
    if not problems:
        raise InvalidInput(why_empty(kept))
    described = {"reference": "given" if answers else "strong", "grader": name}
    return ProblemSet(NAME, tuple(problems[:count]), metadata=described)


def why_empty(kept: KeptQuestions) -> str:
    if kept.questions:
        return "--answers: no answer belongs to a recorded question"
    if kept.without_text:
        return (
            f"{kept.without_text} requests were recorded without their texts;"
            " `trim serve --keep-texts` keeps them"
        )
    return f"no recorded question stands alone ({left_out(kept)}); record more traffic"


def left_out(kept: KeptQuestions) -> str:
    """The requests that are not used, in a few words."""
    return (
        f"left out: {kept.conversations} requests in conversations, {kept.failed} that failed,"
        f" {kept.without_text} without texts, {kept.whole} outside the scope of routing"
    )
