"""Import traces of other programs as a bank: complete solutions of both models, with scores."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from trim.errors import InvalidInput
from trim.files import numbers, sha256_of
from trim.policies.ppo.trees import LEAF_RIGHT, LEAF_WRONG
from trim.rollouts.bank import Bank, read_bank
from trim.rollouts.identity import Identity
from trim.rollouts.record import (
    Node,
    RecordedProblem,
    Rollout,
    RolloutOrigin,
    SoloSolution,
    SoloStep,
)
from trim.rollouts.store import BankStore
from trim.steps import MAX_STEPS, is_degenerate

PART_SIZE = 1000
"""Problems per part of the bank."""


def import_traces(
    file: Path, out: Path, progress: Callable[[int], None] = lambda finished: None
) -> Bank:
    """Write the traces of a JSON-lines file to the bank `out`.

    A line is `{"id", "query", "answer", "dataset", "weak": SOLUTION, "strong": SOLUTION}`
    where SOLUTION is `{"steps", "prm_scores", "step_tokens", "tokens", "correct", "answer"}`.
    Each tree holds only the weak model's own path. As in the step loop, a step without letters
    or digits is merged into the next one, and a solution has at most 30 steps.

    Raises:
        InvalidInput: the file is unreadable or malformed, the traces are of several data sets,
            or the folder cannot be written or holds another bank.
    """
    traces = list(read_traces(file))
    if not traces:
        raise InvalidInput(f"{file}: no traces; expected one JSON object per line")
    suites = sorted({suite for suite, _ in traces})
    if len(suites) > 1:
        raise InvalidInput(f"{file}: traces of {', '.join(suites)}; a bank is of one data set")
    ids = [problem.problem_id for _, problem in traces]
    if len(set(ids)) < len(ids):
        raise InvalidInput(f"{file}: an id occurs twice; each problem needs its own")
    models = {"source": sha256_of(file)}
    store = BankStore(out, Identity(suites[0], None, models, "prm", None, rollouts=2), PART_SIZE)
    for _, problem in traces:
        store.add(problem)
        progress(len(store.finished))
    store.flush()
    progress(len(store.finished))
    return read_bank(out)


def read_traces(file: Path) -> Iterator[tuple[str, RecordedProblem]]:
    """Yield data set and problem of each line. Raises InvalidInput as `import_traces` does."""
    try:
        lines = file.read_text(encoding="utf-8").split("\n")
    except OSError as error:
        raise InvalidInput(f"{file}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise InvalidInput(f"{file}: not UTF-8 text; expected one JSON object per line") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
            yield _text(record["dataset"]), _problem(record)
        except (KeyError, TypeError, ValueError) as error:
            reason = f"no {error}" if isinstance(error, KeyError) else str(error)
            raise InvalidInput(
                f"{file}, line {number}: not a trace ({reason});"
                " docs/reference/bank.md describes the fields"
            ) from error


def _problem(record: dict[str, Any]) -> RecordedProblem:
    """The problem of a line. Raises KeyError, TypeError or ValueError if it is malformed."""
    weak = _solution(record["weak"])
    nodes = tuple(_path(weak))
    rollout = Rollout(
        origin=RolloutOrigin.KEEP,
        share=0.0,
        nodes=tuple(range(len(nodes))),
        regenerate=(False,) * len(nodes),
        probability=(1.0,) * len(nodes),
        correct=weak.correct,
        strong_tokens=0,
    )
    return RecordedProblem(
        problem_id=_text(record["id"]),
        question=_text(record["query"]),
        answer=_text(record["answer"]),
        weak=weak,
        strong=_solution(record["strong"]),
        nodes=nodes,
        rollouts=(rollout,),
    )


def _path(weak: SoloSolution) -> Iterator[Node]:
    """The nodes of a tree in which every draft is kept."""
    last = len(weak.steps)
    for number, step in enumerate(weak.steps, start=1):
        leaf = LEAF_RIGHT if weak.correct else LEAF_WRONG
        yield Node(
            step=number,
            draft=step.text,
            draft_score=0.0 if step.score is None else step.score,
            draft_tokens=step.tokens,
            draft_ends=number == last,
            draft_answers=number == last and weak.answer is not None,
            continue_to=leaf if number == last else number,
        )


def _solution(record: dict[str, Any]) -> SoloSolution:
    """A model's solution. Raises KeyError, TypeError or ValueError if it is malformed."""
    steps = [_text(step) for step in record["steps"]]
    scores, tokens = numbers(record["prm_scores"]), numbers(record["step_tokens"])
    if not len(steps) == len(scores) == len(tokens) > 0:
        raise ValueError(f"{len(steps)} steps, {len(scores)} scores, {len(tokens)} token counts")
    if not all(0 <= score <= 1 for score in scores):
        raise ValueError("a score is outside [0, 1]")
    counts = [*tokens, *numbers([record["tokens"]])]
    if not all(count >= 0 and count == int(count) for count in counts):
        raise ValueError("a token count is not a whole number from 0")
    if not isinstance(record["correct"], bool):
        raise ValueError("correct is neither true nor false")
    answer = None if record["answer"] is None else _text(record["answer"])
    merged = list(_merge_degenerate(steps, scores, tokens))
    finished = len(merged) <= MAX_STEPS
    return SoloSolution(
        steps=tuple(merged[:MAX_STEPS]),
        answer=answer if finished else None,
        correct=record["correct"] and finished,
        tokens=int(record["tokens"]),
    )


def _merge_degenerate(
    steps: list[str], scores: tuple[float, ...], tokens: tuple[float, ...]
) -> Iterator[SoloStep]:
    """The steps with letters or digits; the tokens of the others are added to the next one."""
    pending = 0
    for position, step in enumerate(steps):
        pending += int(tokens[position])
        if position < len(steps) - 1 and is_degenerate(step):
            continue
        yield SoloStep(step.strip(), pending, scores[position])
        pending = 0


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is not a string")
    return value
