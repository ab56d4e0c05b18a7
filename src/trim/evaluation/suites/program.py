"""`program`: trace the variables of a short program to its output."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random

from trim.evaluation.suites.arithmetic import (
    LARGEST,
    Operation,
    critical_operation,
    routine_operation,
)
from trim.evaluation.suites.suite import NextStep, SuiteProblem

VARIABLES = "ab"
QUESTIONS = (
    "What does this program print?",
    "Which number does the program print?",
    "Follow the program to its output.",
)


@dataclass(frozen=True)
class SetLine:
    """`a = 7`"""

    number: int
    target: str
    value: int

    def code(self) -> str:
        return f"{self.target} = {self.value}"

    def step(self, values: Mapping[str, int]) -> str:
        state = describe({**values, self.target: self.value})
        return f"{self.number}) {self.code()}, so {state}."

    def is_possible(self, values: Mapping[str, int]) -> bool:
        return True


@dataclass(frozen=True)
class CalculateLine:
    """`a = b * 3`, or with a second variable: `a = a + b`."""

    number: int
    target: str
    source: str
    symbol: str
    operand: int | str

    def code(self) -> str:
        return f"{self.target} = {self.source} {self.symbol} {self.operand}"

    def operation(self, values: Mapping[str, int]) -> Operation:
        operand = values[self.operand] if isinstance(self.operand, str) else self.operand
        return Operation(self.symbol, operand)

    def result(self, values: Mapping[str, int]) -> int:
        return self.operation(values).apply(values[self.source])

    def step(self, values: Mapping[str, int]) -> str:
        equation = self.operation(values).equation(values[self.source])
        state = describe({**values, self.target: self.result(values)})
        return f"{self.number}) {self.code()}: {equation}, so {state}."

    def is_possible(self, values: Mapping[str, int]) -> bool:
        return self.operation(values).is_possible(values[self.source])


@dataclass(frozen=True)
class PrintLine:
    """`print(a)`"""

    number: int
    target: str

    def code(self) -> str:
        return f"print({self.target})"

    def step(self, values: Mapping[str, int]) -> str:
        value = values[self.target]
        return f"{self.number}) {self.code()} shows {value}.\nThe answer is \\boxed{{{value}}}."

    def is_possible(self, values: Mapping[str, int]) -> bool:
        return True


def describe(values: Mapping[str, int]) -> str:
    """The variables in a fixed order: `a is 7 and b is 26`."""
    return " and ".join(f"{name} is {values[name]}" for name in VARIABLES if name in values)


@dataclass(frozen=True)
class ProgramSuite:
    """Programs of `fewest` to `most` calculations, between two assignments and a print.

    Attributes:
        critical: share of the calculations with a number that a small model finds hard.
        two_variables: share of the lines that add or subtract the two variables.
    """

    name: str
    fewest: int
    most: int
    critical: float
    two_variables: float

    def draw(self, random: Random, identifier: str) -> SuiteProblem:
        a, b = random.randint(2, 60), random.randint(2, 60)
        values = {"a": a, "b": b}
        lines: list[SetLine | CalculateLine | PrintLine] = [
            SetLine(1, "a", a),
            SetLine(2, "b", b),
        ]
        steps = [lines[0].step({}), lines[1].step({"a": a})]
        for _ in range(random.randint(self.fewest, self.most)):
            line = self._draw_line(random, len(lines) + 1, values)
            lines.append(line)
            steps.append(line.step(values))
            values[line.target] = line.result(values)
        lines.append(PrintLine(len(lines) + 1, random.choice(VARIABLES)))
        steps.append(lines[-1].step(values))
        question = "\n".join(
            [random.choice(QUESTIONS), *(f"{line.number}) {line.code()}" for line in lines)]
        )
        answer = str(values[lines[-1].target])
        return SuiteProblem(identifier, self.name, question, tuple(steps), answer, tuple(lines))

    def _draw_line(self, random: Random, number: int, values: Mapping[str, int]) -> CalculateLine:
        target = random.choice(VARIABLES)
        if random.random() < self.two_variables:
            first, second = random.sample(VARIABLES, 2)
            if values[first] + values[second] <= LARGEST:
                return CalculateLine(number, target, first, "+", second)
            if values[first] - values[second] >= 2:
                return CalculateLine(number, target, first, "-", second)
        source = random.choice(VARIABLES)
        draw = critical_operation if random.random() < self.critical else routine_operation
        operation = draw(random, values[source])
        return CalculateLine(number, target, source, operation.symbol, operation.operand)

    def next_step(self, problem: SuiteProblem, earlier: Sequence[str]) -> NextStep | None:
        if len(earlier) >= len(problem.operations):
            return None
        state = re.findall(r"\b([a-z]) is (-?\d{1,18})\b", earlier[-1]) if earlier else []
        values = {name: int(value) for name, value in state}
        line: SetLine | CalculateLine | PrintLine = problem.operations[len(earlier)]
        try:
            return NextStep(line.step(values), line.is_possible(values))
        except KeyError:
            return None


PROGRAM = ProgramSuite("program", fewest=4, most=6, critical=0.65, two_variables=0.25)
