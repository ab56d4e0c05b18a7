"""Small problems whose steps are judged by known answers, and drafts that models write for them."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from random import Random

from trim.evaluation.suites import CHAIN, SuiteProblem, generate, is_step_right
from trim.models.model import Completion, Ending, Model, Prefix, Sampling

WORDS = "Answer in one short sentence that ends with the number."
"""Appended to a question: a step then has one result."""
SEED = 1
"""Seed of the problems, which are the same in all checks."""


@dataclass(frozen=True)
class Exercise:
    """A step for a model to write.

    Attributes:
        is_right: judges a step; None if it has no result.
    """

    prefix: Prefix
    is_right: Callable[[Completion], bool | None]


@dataclass(frozen=True)
class StepPair:
    """Two traces that differ only in the result of the last step."""

    right: Prefix
    wrong: Prefix


@dataclass(frozen=True)
class ProblemKind:
    """A kind of problem.

    Attributes:
        exercises: returns the first n exercises.
        pairs: returns the first n pairs.
    """

    name: str
    exercises: Callable[[int], Sequence[Exercise]]
    pairs: Callable[[int], Sequence[StepPair]]


@dataclass(frozen=True)
class Form:
    """A template of word problems with two numbers.

    Attributes:
        question, thought: texts with places for `a` and `b`.
        symbol: the operation: +, - or *.
        a, b: smallest and largest values.
    """

    question: str
    thought: str
    symbol: str
    a: tuple[int, int]
    b: tuple[int, int]


@dataclass(frozen=True)
class Sum:
    """A form with its numbers."""

    form: Form
    a: int
    b: int

    @property
    def question(self) -> str:
        return self.form.question.format(a=self.a, b=self.b)

    @property
    def results(self) -> dict[str, int]:
        """The result of each operation; that of `form.symbol` is right."""
        return {"+": self.a + self.b, "-": self.a - self.b, "*": self.a * self.b}

    @property
    def answer(self) -> int:
        return self.results[self.form.symbol]

    def trace(self, result: int) -> Prefix:
        """Two steps; the last one has a result."""
        last = (
            f"{self.a} {self.form.symbol} {self.b} = {result}.\nThe answer is \\boxed{{{result}}}."
        )
        return Prefix(self.question, (self.form.thought.format(a=self.a, b=self.b), last))


FORMS = (
    Form(
        "Tom has {a} apples and buys {b} more. How many does he have then?",
        "He buys {b} more than the {a} that he has, so we add.",
        *("+", (5, 40), (3, 9)),
    ),
    Form("What is {a} + {b}?", "We add {b} to {a}.", "+", (20, 99), (20, 99)),
    Form("What is {a} * {b}?", "We multiply {a} by {b}.", "*", (12, 40), (3, 9)),
    Form(
        "A shop has {a} boxes with {b} pens each. How many pens is that?",
        "Each of the {a} boxes holds {b} pens, so we multiply.",
        *("*", (12, 60), (12, 40)),
    ),
    Form(
        "Ann had {a} stamps and gave away {b} of them. How many are left?",
        "She gave away {b} of {a} stamps, so we subtract.",
        *("-", (300, 900), (100, 290)),
    ),
    Form("What is {a} - {b}?", "We subtract {b} from {a}.", "-", (1000, 9000), (120, 990)),
    Form("What is {a} * {b}?", "We multiply {a} by {b}.", "*", (101, 300), (12, 60)),
    Form("What is {a} * {b}?", "We multiply {a} by {b}.", "*", (213, 987), (213, 987)),
)
"""From easy for a small language model to hard for a large one."""


def sums(count: int) -> list[Sum]:
    random = Random(SEED)
    forms = [FORMS[position % len(FORMS)] for position in range(count)]
    return [Sum(form, random.randint(*form.a), random.randint(*form.b)) for form in forms]


def general_exercises(count: int) -> list[Exercise]:
    return [
        Exercise(Prefix(f"{each.question} {WORDS}"), partial(ends_with, each))
        for each in sums(count)
    ]


def general_pairs(count: int) -> list[StepPair]:
    """Pairs whose wrong result is alternately off by ten and of another operation."""
    return [
        StepPair(each.trace(each.answer), each.trace(wrong_result(each, position)))
        for position, each in enumerate(sums(count))
    ]


def wrong_result(given: Sum, position: int) -> int:
    if position % 2:
        return given.answer + (10 if position % 4 == 1 else -10)
    return given.results["-" if given.form.symbol == "+" else "+"]


def ends_with(given: Sum, step: Completion) -> bool | None:
    """Whether the last number is the answer.

    None for a step that was cut or only repeats the question's numbers.
    """
    numbers = [text.replace(",", "").lstrip("0") for text in re.findall(r"\d[\d,]*", step.text)]
    if step.ending is Ending.LENGTH or not numbers:
        return None
    if numbers[-1] == str(given.answer):
        return True
    return None if numbers[-1] in (str(given.a), str(given.b)) else False


def puzzles(count: int) -> Sequence[tuple[Prefix, str, Callable[[Completion], bool]]]:
    """Problems of `chain`: prefixes with their right next step and its judge."""
    random = Random(SEED)
    found = []
    for problem in generate(CHAIN, count, SEED):
        place = random.randrange(1, len(problem.steps) - 1)
        earlier = problem.steps[:place]

        is_right = partial(is_next_step, problem, earlier)
        found.append((Prefix(problem.question, earlier), problem.steps[place], is_right))
    return found


def is_next_step(problem: SuiteProblem, earlier: Sequence[str], step: Completion) -> bool:
    return is_step_right(CHAIN, problem, earlier, step.text.strip())


def puzzle_exercises(count: int) -> list[Exercise]:
    return [Exercise(prefix, is_right) for prefix, _, is_right in puzzles(count)]


def puzzle_pairs(count: int) -> list[StepPair]:
    """Pairs whose wrong result is alternately off by ten and by three."""
    pairs = []
    for position, (prefix, step, _) in enumerate(puzzles(count)):
        head, _, result = step.rstrip(".").rpartition(" ")
        wrong = int(result) + (10, 3)[position % 2]
        pairs.append(StepPair(prefix.then(step), prefix.then(f"{head} {wrong}.")))
    return pairs


GENERAL = ProblemKind("general", general_exercises, general_pairs)
"""Plain questions, for instruction-tuned models."""
PUZZLES = ProblemKind("puzzles", puzzle_exercises, puzzle_pairs)
"""Problems of `chain`, for models that only solve those, such as the shipped ones."""
KINDS = (GENERAL, PUZZLES)


BATCH = 32
BATCHES = 3
"""Maximum number of batches."""
ENOUGH = 8
"""Right steps, and wrong steps, after which no further batch is written."""
ABLE = 3
"""Right steps in the first batch from which the model counts as able to solve the kind."""
TOKENS = 64
"""Maximum tokens of a step; a step that is cut is not judged."""


@dataclass(frozen=True)
class Draft:
    """A step by a model, and whether it is right."""

    prefix: Prefix
    step: Completion
    right: bool


@dataclass(frozen=True)
class Drafts:
    """Steps by a model.

    Attributes:
        kind: the kind of problem; None if the model can solve none.
    """

    kind: ProblemKind | None
    drafts: tuple[Draft, ...] = ()


async def drafts_of(model: Model, sampling: Sampling) -> Drafts:
    """Steps for the first kind of problem that the model can solve.

    At most 3 batches of 32 steps are written, until 8 are right and 8 are wrong. They use the
    configured sampling: at a higher temperature, more wrong steps would be accidents of sampling,
    which confidence detects more easily than mistakes.

    Raises:
        ModelUnavailable: the model does not answer.
    """
    for kind in KINDS:
        drafts = await write_drafts(model, kind.exercises(BATCH), sampling, 0)
        if sum(draft.right for draft in drafts) < ABLE:
            continue
        for batch in range(1, BATCHES):
            right = sum(draft.right for draft in drafts)
            if min(right, len(drafts) - right) >= ENOUGH:
                break
            exercises = kind.exercises(BATCH * (batch + 1))[BATCH * batch :]
            drafts += await write_drafts(model, exercises, sampling, BATCH * batch)
        return Drafts(kind, tuple(drafts))
    return Drafts(None)


async def write_drafts(
    model: Model, exercises: Sequence[Exercise], sampling: Sampling, seed: int
) -> list[Draft]:
    """The judged steps, without those that have no result."""
    short = replace(sampling, max_tokens=min(TOKENS, sampling.max_tokens))
    steps = await asyncio.gather(
        *(
            model.write_step(exercise.prefix, short, seed + position)
            for position, exercise in enumerate(exercises)
        )
    )
    judged = [
        (exercise, step, exercise.is_right(step))
        for exercise, step in zip(exercises, steps, strict=True)
    ]
    return [
        Draft(exercise.prefix, step, right) for exercise, step, right in judged if right is not None
    ]
