"""`program`: follow the variables of a short program and say what it prints."""

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
from trim.evaluation.suites.problem import Problem

VARIABLES = "abcdhkmnpqrtvwxyz"
QUESTIONS = (
    "What does this program print?",
    "Which number does the program print?",
    "Follow the program to its output.",
)


@dataclass(frozen=True)
class Line:
    """One line: `target = source symbol operand`, a number put in a variable, or a print.

    `operand` is a number, or the name of a variable.
    """

    number: int
    target: str
    source: str = ""
    symbol: str = ""
    operand: int | str = 0

    @property
    def prints(self) -> bool:
        return not self.source and not self.symbol and self.operand == ""

    def code(self) -> str:
        if self.prints:
            return f"print({self.target})"
        if not self.source:
            return f"{self.target} = {self.operand}"
        return f"{self.target} = {self.source} {self.symbol} {self.operand}"

    def step(self, values: Mapping[str, int]) -> str:
        """The step that carries the line out; KeyError where a variable has no value."""
        if self.prints:
            value = values[self.target]
            return (
                f"{self.number}) print({self.target}), and {self.target} is {value}."
                f"\nThe answer is \\boxed{{{value}}}."
            )
        if not self.source:
            return f"{self.number}) {self.code()}, so {self.target} is {self.operand}."
        operation = self.operation(values)
        recalled = {str(name): None for name in (self.source, self.operand) if name in values}
        return (
            f"{self.number}) {self.code()}: "
            + "".join(f"{name} is {values[name]}, " for name in recalled)
            + f"{operation.equation(values[self.source])},"
            f" so {self.target} is {operation.apply(values[self.source])}."
        )

    def operation(self, values: Mapping[str, int]) -> Operation:
        operand = values[self.operand] if isinstance(self.operand, str) else self.operand
        return Operation(self.symbol, operand)


@dataclass(frozen=True)
class ProgramSuite:
    """Programs of `fewest` to `most` lines that calculate, between inputs and print.

    Attributes:
        critical: share of the calculations with a number that a small model finds hard.
        two_variables: share that add or subtract two variables.
        reassigned: share that change a variable instead of making a new one.
        newest: share that go on with the variable of the line before, so that no older
            value has to be looked up.
    """

    name: str
    fewest: int
    most: int
    critical: float
    two_variables: float
    reassigned: float
    newest: float

    def draw(self, random: Random, identifier: str) -> Problem:
        names = random.sample(VARIABLES, 5)
        values: dict[str, int] = {}
        lines: list[Line] = []
        steps: list[str] = []

        def write(line: Line) -> None:
            lines.append(line)
            steps.append(line.step(values))
            if line.prints:
                return
            if line.source:
                result = line.operation(values).apply(values[line.source])
                values.pop(line.target, None)  # keeps the newest variable last
                values[line.target] = result
            else:
                values[line.target] = int(line.operand)

        for name in names[:2]:
            write(Line(len(lines) + 1, name, operand=random.randint(2, 60)))
        for _ in range(random.randint(self.fewest, self.most)):
            write(self._draw_line(random, len(lines) + 1, names, values))
        write(Line(len(lines) + 1, lines[-1].target, operand=""))
        question = "\n".join(
            [random.choice(QUESTIONS)] + [f"{line.number}) {line.code()}" for line in lines]
        )
        answer = str(values[lines[-1].target])
        return Problem(identifier, self.name, question, tuple(steps), answer, tuple(lines))

    def _draw_line(
        self, random: Random, number: int, names: Sequence[str], values: Mapping[str, int]
    ) -> Line:
        fresh = [name for name in names if name not in values]
        reuse = not fresh or random.random() < self.reassigned
        target = random.choice(sorted(values)) if reuse else fresh[0]
        if random.random() < self.two_variables:
            pairs = [(a, b) for a in values for b in values if a != b]
            a, b = random.choice(pairs)
            if values[a] + values[b] <= LARGEST:
                return Line(number, target, a, "+", b)
            if values[a] - values[b] >= 2:
                return Line(number, target, a, "-", b)
        newest = list(values)[-1]
        source = newest if random.random() < self.newest else random.choice(sorted(values))
        draw = critical_operation if random.random() < self.critical else routine_operation
        operation = draw(random, values[source])
        return Line(number, target, source, operation.symbol, operation.operand)

    def right_step(self, problem: Problem, earlier: Sequence[str]) -> str | None:
        if len(earlier) >= len(problem.operations):
            return None
        values: dict[str, int] = {}
        for step in earlier:
            for name, value in re.findall(r"\b([a-z]) is (\d+)\.", step):
                values[name] = int(value)
        try:
            line: Line = problem.operations[len(earlier)]
            return line.step(values)
        except KeyError:
            return None


PROGRAM = ProgramSuite(
    "program", fewest=3, most=6, critical=0.4, two_variables=0.25, reassigned=0.3, newest=0.5
)
