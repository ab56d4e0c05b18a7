"""Steps that a model writes for small problems, judged by the known answers."""

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
"""What a model is asked for, so that a step holds one result."""
SEED = 1
"""Of the problems: all trials ask the same ones."""


@dataclass(frozen=True)
class Exercise:
    """A step that a model is asked for.

    Attributes:
        is_right: judges the step as it was written; None where it holds no result.
    """

    prefix: Prefix
    is_right: Callable[[Completion], bool | None]


@dataclass(frozen=True)
class StepPair:
    """Two traces that differ in the result of the last step."""

    right: Prefix
    wrong: Prefix


@dataclass(frozen=True)
class Kind:
    """A kind of problem.

    Attributes:
        exercises: as many as are asked for, always the same ones in the same order.
        pairs: as many as are asked for, in the same way.
    """

    name: str
    exercises: Callable[[int], Sequence[Exercise]]
    pairs: Callable[[int], Sequence[StepPair]]


@dataclass(frozen=True)
class Form:
    """Sums that differ in their numbers alone.

    Attributes:
        question, thought: with places for `a` and `b`.
        symbol: of the operation: +, - or *.
        a, b: least and greatest values.
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
        """By operation; the sum's own one is right."""
        return {"+": self.a + self.b, "-": self.a - self.b, "*": self.a * self.b}

    @property
    def answer(self) -> int:
        return self.results[self.form.symbol]

    def trace(self, result: int) -> Prefix:
        """Two steps, the last of which holds a result."""
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
"""From those that a small language model can do to those that a large one may get wrong."""


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
    """Wrong by a slip of a ten or by the wrong operation, in turn."""
    return [
        StepPair(each.trace(each.answer), each.trace(wrong_result(each, position)))
        for position, each in enumerate(sums(count))
    ]


def wrong_result(given: Sum, position: int) -> int:
    if position % 2:
        return given.answer + (10 if position % 4 == 1 else -10)
    return given.results["-" if given.form.symbol == "+" else "+"]


def ends_with(given: Sum, step: Completion) -> bool | None:
    """Whether the last number is the answer; None for a step that was cut or only repeats the
    question's numbers."""
    numbers = [int(text.replace(",", "")) for text in re.findall(r"\d[\d,]*", step.text)]
    if step.ending is Ending.LENGTH or not numbers:
        return None
    if numbers[-1] == given.answer:
        return True
    return None if numbers[-1] in (given.a, given.b) else False


def puzzles(count: int) -> Sequence[tuple[Prefix, str, Callable[[Completion], bool]]]:
    """Prefixes, their right next steps, and judges: problems as the shipped models solve them."""
    random = Random(SEED)
    found = []
    for problem in generate(CHAIN, count, SEED):
        place = random.randrange(1, len(problem.steps) - 1)
        earlier = problem.steps[:place]

        is_right = partial(carries_on, problem, earlier)
        found.append((Prefix(problem.question, earlier), problem.steps[place], is_right))
    return found


def carries_on(problem: SuiteProblem, earlier: Sequence[str], step: Completion) -> bool:
    return is_step_right(CHAIN, problem, earlier, step.text.strip())


def puzzle_exercises(count: int) -> list[Exercise]:
    return [Exercise(prefix, is_right) for prefix, _, is_right in puzzles(count)]


def puzzle_pairs(count: int) -> list[StepPair]:
    """Wrong by a slip of a ten or by another last digit, in turn."""
    pairs = []
    for position, (prefix, step, _) in enumerate(puzzles(count)):
        head, _, result = step.rstrip(".").rpartition(" ")
        wrong = int(result) + (10, 3)[position % 2]
        pairs.append(StepPair(prefix.then(step), prefix.then(f"{head} {wrong}.")))
    return pairs


GENERAL = Kind("general", general_exercises, general_pairs)
"""Plain questions, as any instruction-tuned model understands them."""
PUZZLES = Kind("puzzles", puzzle_exercises, puzzle_pairs)
"""Problems of `chain`, for models that do nothing else, as the shipped ones."""
KINDS = (GENERAL, PUZZLES)


BATCH = 32
BATCHES = 3
"""At most; no further one is asked for where there are `ENOUGH` right and wrong steps."""
ENOUGH = 8
ABLE = 3
"""Right steps in the first batch by which a kind of problem is one that the model can do."""
TOKENS = 64
"""That a step may have; one that is cut is not judged."""


@dataclass(frozen=True)
class Draft:
    """A step as a model wrote it, and whether it is right."""

    prefix: Prefix
    step: Completion
    right: bool


@dataclass(frozen=True)
class Drafts:
    """What a model wrote.

    Attributes:
        kind: of the problems; None where the model can do none of the kinds.
    """

    kind: Kind | None
    drafts: tuple[Draft, ...] = ()


async def drafts_of(model: Model, sampling: Sampling) -> Drafts:
    """Steps for the first kind of problem that the model can do at all.

    Batches of 32 are asked for until 8 steps are right and 8 are wrong, at most 3. They are sampled
    as they will be: at a higher temperature many a wrong step would be an accident of sampling,
    which confidence finds more easily than a mistake.

    Raises:
        ModelUnavailable: the model does not answer.
    """
    for kind in KINDS:
        drafts = await written(model, kind.exercises(BATCH), sampling, 0)
        if sum(draft.right for draft in drafts) < ABLE:
            continue
        for batch in range(1, BATCHES):
            right = sum(draft.right for draft in drafts)
            if min(right, len(drafts) - right) >= ENOUGH:
                break
            exercises = kind.exercises(BATCH * (batch + 1))[BATCH * batch :]
            drafts += await written(model, exercises, sampling, BATCH * batch)
        return Drafts(kind, tuple(drafts))
    return Drafts(None)


async def written(
    model: Model, exercises: Sequence[Exercise], sampling: Sampling, seed: int
) -> list[Draft]:
    """The judged steps, without those that hold no result."""
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
