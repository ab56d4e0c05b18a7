"""`words`: a short story about an amount that changes over time."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from trim.evaluation.suites.arithmetic import (
    LARGEST,
    MOST_DIGITS,
    Operation,
    critical_operation,
    routine_operation,
)
from trim.evaluation.suites.suite import NextStep, SuiteProblem

NAMES = (
    ("Mia", "she"),
    ("Ben", "he"),
    ("Anna", "she"),
    ("Tom", "he"),
    ("Lea", "she"),
    ("Max", "he"),
    ("Nora", "she"),
    ("Paul", "he"),
)
THINGS = ("stamps", "apples", "coins", "books", "cards", "shells", "eggs", "pens")
TIMES = (
    ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"),
    ("January", "February", "March", "April", "May", "June", "July"),
    ("week one", "week two", "week three", "week four", "week five", "week six", "week seven"),
)
OPENINGS = (
    "In the beginning {name} has {start} {things}.",
    "{name} starts with {start} {things}.",
    "{name} owns {start} {things}.",
)
QUESTIONS = (
    "How many {things} does {name} have in the end?",
    "How many {things} are there now?",
)
EVENTS = {
    "+": (
        "{who} buys {n} more {things}",
        "{who} finds {n} {things}",
        "a friend brings {n} {things}",
    ),
    "-": ("{who} sells {n} {things}", "{who} loses {n} {things}", "{who} gives away {n} {things}"),
    "*": ("now there are {n} times as many {things}",),
    "/": ("{who} keeps one of every {n} {things}",),
    "packs": ("{who} buys {n} packs of {m} {things}", "{who} gets {n} boxes of {m} {things}"),
}


@dataclass(frozen=True)
class Event:
    """An event of the story: an operation, or packs of equal size."""

    time: str
    phrase: str
    operation: Operation
    packs: tuple[int, int] | None
    start: int
    last: bool

    def step(self, value: int) -> str:
        text = f"{self.time}: {self.phrase}. "
        if self.packs:
            text += f"{self.packs[0]} * {self.packs[1]} = {self.operation.operand} and "
        text += f"{self.operation.equation(value)}."
        if self.last:
            text += f"\nThe answer is \\boxed{{{self.operation.apply(value)}}}."
        return text


@dataclass(frozen=True)
class WordsSuite:
    """Stories of `fewest` to `most` events."""

    name: str
    fewest: int
    most: int
    critical: float
    packs: float

    def draw(self, random: Random, identifier: str) -> SuiteProblem:
        start = value = random.randint(5, 60)
        name, pronoun = random.choice(NAMES)
        things = random.choice(THINGS)
        count = random.randint(self.fewest, self.most)
        times = random.choice(TIMES)[:count]
        events: list[Event] = []
        steps: list[str] = []
        for time in times:
            operation, packs = self._draw_operation(random, value)
            kind = "packs" if packs else operation.symbol
            n, m = packs or (operation.operand, 0)
            phrase = random.choice(EVENTS[kind]).format(who=pronoun, n=n, m=m, things=things)
            if time == times[-1]:
                time = f"{time}, the last one"
            event = Event(time, phrase, operation, packs, start, len(events) + 1 == count)
            events.append(event)
            steps.append(event.step(value))
            value = operation.apply(value)
        question = " ".join(
            [random.choice(OPENINGS).format(name=name, start=start, things=things)]
            + [f"{event.time}: {event.phrase}." for event in events]
            + [random.choice(QUESTIONS).format(name=name, things=things)]
        )
        return SuiteProblem(
            identifier, self.name, question, tuple(steps), str(value), tuple(events)
        )

    def _draw_operation(
        self, random: Random, value: int
    ) -> tuple[Operation, tuple[int, int] | None]:
        kind = random.random()
        if kind < self.packs and value <= LARGEST - 15:
            size = random.randint(3, 9)
            packs = random.randint(2, max(2, min(9, (LARGEST - value) // size)))
            if value + packs * size <= LARGEST:
                return Operation("+", packs * size), (packs, size)
        if kind < self.packs + self.critical:
            return critical_operation(random, value), None
        return routine_operation(random, value), None

    def next_step(self, problem: SuiteProblem, earlier: Sequence[str]) -> NextStep | None:
        if len(earlier) >= len(problem.operations):
            return None
        event: Event = problem.operations[len(earlier)]
        numbers = re.findall(r"-?\d+", earlier[-1]) if earlier else [event.start]
        if not numbers or len(str(numbers[-1])) > MOST_DIGITS:
            return None
        value = int(numbers[-1])
        return NextStep(event.step(value), event.operation.is_possible(value))


WORDS = WordsSuite("words", fewest=4, most=7, critical=0.35, packs=0.15)
