"""A solution in a file of traces: texts or lengths of its steps, scores, and tokens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from enum import StrEnum
from typing import Any

from trim.files import numbers
from trim.rollouts.record import SoloSolution, SoloStep
from trim.steps import is_degenerate

PRM_SCORES = "prm_scores"
"""Field with the scores, unless another one is named."""
CHARACTERS_PER_TOKEN = 4
"""Of solutions without any token count: English prose and formulas have about four."""
LARGEST = 2**31 - 1
"""Largest count that a bank holds."""


class TokenSource(StrEnum):
    """Where the token counts of a solution's steps come from."""

    RECORDED = "recorded"
    APPORTIONED = "those of the solution, apportioned by characters"
    ESTIMATED = f"estimated, {CHARACTERS_PER_TOKEN} characters a token"


def token_source(record: dict[str, Any]) -> TokenSource:
    if record.get("step_tokens") is not None:
        return TokenSource.RECORDED
    return TokenSource.ESTIMATED if record.get("tokens") is None else TokenSource.APPORTIONED


def solution_of(record: object, scores: str | None, right: Sequence[bool] = ()) -> SoloSolution:
    """The solution of a JSON object with the fields that docs/reference/bank.md describes.

    As in the step loop, a step without letters or digits is merged into the next one.

    Args:
        scores: field with the scores; None if there are none.
        right: label of each step; empty without labels.

    Raises:
        KeyError, TypeError, ValueError: the object is malformed.
    """
    if not isinstance(record, dict):
        raise ValueError("a solution is not a JSON object")
    lists = {name: list_in(record, name) for name in ("steps", "step_chars", "step_tokens")}
    texts = None if lists["steps"] is None else [text_of(step) for step in lists["steps"]]
    characters = None if lists["step_chars"] is None else counts_of(lists["step_chars"])
    of_steps = None if lists["step_tokens"] is None else counts_of(lists["step_tokens"])
    if scores:
        lists[scores] = list_in(record, scores, required=True)
    check_lengths({name: len(listed) for name, listed in lists.items() if listed is not None})
    values = numbers(lists[scores] or ()) if scores else None
    if values and not all(0 <= value <= 1 for value in values):
        raise ValueError(f"a score of {scores} is outside [0, 1]")
    if not isinstance(record["correct"], bool):
        raise ValueError("correct is neither true nor false")
    answer = record.get("answer", "")
    sizes = characters or [len(text) for text in texts or ()]
    total, tokens = tokens_of(record.get("tokens"), of_steps, sizes)
    steps = [
        SoloStep(
            text=texts[place].strip() if texts else "",
            tokens=count,
            score=values[place] if values else None,
            right=right[place] if right else None,
        )
        for place, count in enumerate(tokens)
    ]
    return SoloSolution(
        steps=tuple(merge_degenerate(steps) if texts else steps),
        answer=None if answer is None else text_of(answer),
        correct=record["correct"],
        tokens=total,
    )


def list_in(record: dict[str, Any], name: str, required: bool = False) -> list[Any] | None:
    """The list in a field; None if it is null or missing, for which `required` raises KeyError."""
    if record.get(name) is None:
        if required:
            raise KeyError(name)
        return None
    if not isinstance(record[name], list):
        raise ValueError(f"{name} is not a list")
    return list(record[name])


def check_lengths(lengths: dict[str, int]) -> None:
    """Raises ValueError unless there is at least one step and all fields have as many."""
    if not any(lengths.values()):
        raise ValueError("no steps; give steps, step_chars or step_tokens")
    if len({*lengths.values()}) > 1:
        described = ", ".join(f"{count} in {name}" for name, count in lengths.items())
        raise ValueError(f"the numbers of steps differ: {described}")


def tokens_of(
    whole: object, of_steps: list[int] | None, sizes: Sequence[int]
) -> tuple[int, list[int]]:
    """Tokens of the solution and of each step.

    Without counts of steps, those of the solution are apportioned by characters.

    Args:
        whole: tokens of the solution; None if unknown.
        of_steps: tokens of each step; None if unknown.
        sizes: characters of each step; empty if unknown.
    """
    total = None if whole is None else counts_of([whole])[0]
    if of_steps is not None:
        summed = summed_tokens(sum(of_steps))
        return summed if total is None else total, of_steps
    if not sizes:
        raise ValueError("no length of the steps; give steps, step_chars or step_tokens")
    if total is None:
        total = summed_tokens(-(-sum(sizes) // CHARACTERS_PER_TOKEN))
    return total, apportion(total, sizes)


def summed_tokens(tokens: int) -> int:
    """The tokens of all steps; ValueError if there are more than a bank holds."""
    if tokens > LARGEST:
        raise ValueError(f"{tokens} tokens in all steps; a solution has at most {LARGEST}")
    return tokens


def apportion(total: int, sizes: Sequence[int]) -> list[int]:
    """Whole numbers in proportion to the sizes, whose sum is exactly `total`.

    By largest remainders: each share is its exact one, rounded down or up. Sizes that are all 0
    count as equal.
    """
    sizes = sizes if any(sizes) else [1] * len(sizes)
    whole = sum(sizes)
    shares = [total * size // whole for size in sizes]
    by_remainder = sorted(range(len(sizes)), key=lambda place: -(total * sizes[place] % whole))
    for place in by_remainder[: total - sum(shares)]:
        shares[place] += 1
    return shares


def counts_of(values: list[Any]) -> list[int]:
    """Whole numbers from JSON; ValueError for anything else."""
    counts = numbers(values)
    if not all(0 <= count <= LARGEST and count == int(count) for count in counts):
        raise ValueError(f"a token count or length is not a whole number from 0 to {LARGEST}")
    return [int(count) for count in counts]


def merge_degenerate(steps: Sequence[SoloStep]) -> Iterator[SoloStep]:
    """The steps with letters or digits; tokens and labels of the others count for the next one."""
    tokens, right = 0, True
    for place, step in enumerate(steps, 1):
        tokens += step.tokens
        right = right and step.right is not False
        if place < len(steps) and is_degenerate(step.text):
            continue
        yield replace(step, tokens=tokens, right=None if step.right is None else right)
        tokens, right = 0, True


def text_of(value: object) -> str:
    """A string that can be stored as UTF-8; ValueError for anything else."""
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is not a string")
    if not value.isascii() and value != value.encode("utf-8", "replace").decode():
        raise ValueError("a text holds half a surrogate pair")
    return value
