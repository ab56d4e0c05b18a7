"""Kept traffic as problems, so that routers learn from what is really asked."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from trim.errors import InvalidInput
from trim.evaluation.benchmarks.benchmark import BenchmarkProblem
from trim.evaluation.benchmarks.data_file import DataFile
from trim.evaluation.problem_set import ANSWER_OF_STRONG, ProblemSet
from trim.grading.grader import find_grader
from trim.server.storage.questions import KeptQuestion, KeptQuestions

NAME = "traffic"
USUAL_GRADER = "math"


@dataclass(frozen=True)
class Answers:
    """Right answers that somebody has given.

    Attributes:
        by_question, by_request: the answer to a text, or to a request's id.
    """

    by_question: Mapping[str, str]
    by_request: Mapping[str, str]

    @staticmethod
    def read(path: Path) -> Answers:
        """Read a file whose records have `answer`, and `question` or `request`.

        Raises:
            InvalidInput: it cannot be read, or a record says otherwise.
        """
        by_question: dict[str, str] = {}
        by_request: dict[str, str] = {}
        for record in DataFile.read(path).records:
            answer = record.text("answer")
            if "request" in record.values:
                # Clients know a request as chatcmpl-ID.
                by_request[record.text("request").rpartition("-")[2]] = answer
            else:
                by_question[record.text("question")] = answer
        return Answers(by_question, by_request)

    def of(self, asked: KeptQuestion) -> str | None:
        """The answer to a question; None where none was given."""
        given = (self.by_request[each] for each in asked.requests if each in self.by_request)
        return next(given, self.by_question.get(asked.question))


def problems_of(
    kept: KeptQuestions, count: int | None, answers: Answers | None, grader: str | None
) -> ProblemSet:
    """The first `count` questions of kept traffic, or all of them.

    Args:
        answers: only questions with one are taken. Without any, the answer that the strong model
            comes to alone stands for the right one.
        grader: name of the grader; `math` if None.

    Raises:
        InvalidInput: no question is left, or no such grader.
    """
    name = grader or USUAL_GRADER
    find_grader(name)
    if count is not None and count < 1:
        raise InvalidInput(f"-n {count}: at least one question is needed")
    problems = []
    for asked in kept.questions:
        answer = answers.of(asked) if answers else ANSWER_OF_STRONG
        if answer is not None:
            identifier = hashlib.sha256(asked.question.encode()).hexdigest()[:16]
            problems.append(BenchmarkProblem(f"{NAME}-{identifier}", asked.question, answer, name))
    if not problems:
        raise InvalidInput(nothing(kept))
    described = {"reference": "given" if answers else "strong", "grader": name}
    return ProblemSet(NAME, tuple(problems[:count]), metadata=described)


def nothing(kept: KeptQuestions) -> str:
    """Why there is no question."""
    if kept.questions:
        return "--answers: none of them is to a question that was asked"
    if kept.without_text:
        return (
            f"{kept.without_text} requests were kept without their texts;"
            " `trim serve --keep-texts` keeps them"
        )
    return f"no question was asked by itself ({left_out(kept)}); take more traffic"


def left_out(kept: KeptQuestions) -> str:
    """What is no question of a bank, in a few words."""
    return (
        f"left out: {kept.conversations} requests in conversations, {kept.failed} that failed,"
        f" {kept.without_text} without texts"
    )
