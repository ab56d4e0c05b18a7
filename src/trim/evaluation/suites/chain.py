"""`chain` and `chain-hard`: apply a list of operations to a number."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from trim.evaluation.suites.arithmetic import (
    MOST_DIGITS,
    Operation,
    critical_operation,
    routine_operation,
    wrapping_operation,
)
from trim.evaluation.suites.suite import NextStep, SuiteProblem

OPENINGS = (
    "Start with {start}.",
    "Take the number {start}.",
    "Write down {start}.",
)
QUESTIONS = (
    "What is the result?",
    "What number do you get?",
    "Which number is left?",
)
PHRASES = {
    "+": ("add {n}", "increase it by {n}"),
    "-": ("subtract {n}", "decrease it by {n}"),
    "*": ("multiply by {n}", "make it {n} times as large"),
    "/": ("divide by {n}", "split it into {n} equal parts and keep one"),
}


@dataclass(frozen=True)
class ListedOperation:
    """An operation with its phrase in the problem."""

    number: int
    phrase: str
    operation: Operation
    start: int
    last: bool

    def step(self, value: int) -> str:
        text = f"{self.number}) {self.phrase}: {self.operation.equation(value)}."
        if self.last:
            text += f"\nThe answer is \\boxed{{{self.operation.apply(value)}}}."
        return text


@dataclass(frozen=True)
class ChainSuite:
    """Problems of `fewest` to `most` operations.

    Attributes:
        critical: share of the operations that a small model finds hard.
        wrapping: share of the operations that exceed two digits and keep the last two.
    """

    name: str
    fewest: int
    most: int
    critical: float
    wrapping: float

    def draw(self, random: Random, identifier: str) -> SuiteProblem:
        start = value = random.randint(5, 60)
        count = random.randint(self.fewest, self.most)
        operations, steps = [], []
        for number in range(1, count + 1):
            operation = self._draw_operation(random, value)
            phrase = random.choice(PHRASES[operation.symbol]).format(n=operation.operand)
            if operation.wraps:
                phrase += " and keep the last two digits"
            if number == count:
                phrase = f"last, {phrase}"
            listed = ListedOperation(number, phrase, operation, start, number == count)
            operations.append(listed)
            steps.append(listed.step(value))
            value = operation.apply(value)
        question = " ".join(
            [random.choice(OPENINGS).format(start=start)]
            + [f"{listed.number}) {listed.phrase}." for listed in operations]
            + [random.choice(QUESTIONS)]
        )
        return SuiteProblem(
            identifier, self.name, question, tuple(steps), str(value), tuple(operations)
        )

    def _draw_operation(self, random: Random, value: int) -> Operation:
        kind = random.random()
        if kind < self.wrapping:
            return wrapping_operation(random, value)
        if kind < self.wrapping + self.critical:
            return critical_operation(random, value)
        return routine_operation(random, value)

    def next_step(self, problem: SuiteProblem, earlier: Sequence[str]) -> NextStep | None:
        if len(earlier) >= len(problem.operations):
            return None
        listed: ListedOperation = problem.operations[len(earlier)]
        numbers = re.findall(r"-?\d+", earlier[-1]) if earlier else [listed.start]
        if not numbers or len(str(numbers[-1])) > MOST_DIGITS:
            return None
        value = int(numbers[-1])
        return NextStep(listed.step(value), listed.operation.is_possible(value))


CHAIN = ChainSuite("chain", fewest=5, most=9, critical=0.4, wrapping=0.0)
CHAIN_HARD = ChainSuite("chain-hard", fewest=9, most=14, critical=0.4, wrapping=0.2)
