"""Tests of own models, scorers and policies: a scripted model, and checks of their promises.

    from trim.testing import check_policy

    def test_my_policy():
        check_policy(MyPolicy(0.5))

Each check raises AssertionError for the first broken promise.
"""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import product
from typing import Any, Protocol

from trim.models.model import Completion, Ending, Model, Prefilling, Prefix, Sampling, Token
from trim.models.spans import SpanModel, StopRule, TokenReader, mean_of
from trim.steps import split_steps
from trim.types import Action, Observation

Script = Callable[[Prefix], str | Completion | Exception]
QUESTION = "What is 17 * 23?"
STEPS = ("17 * 20 = 340.\n\n", "17 * 3 = 51.\n\n", "340 + 51 = 391, so \\boxed{391}.\n\n")
SAMPLING = Sampling(max_tokens=64)


class ScriptedModel:
    """Answers with `script(prefix)`.

    A string becomes a complete step of one token for each word, an exception is raised, and a
    `Completion` is returned as it is, for any ending and count.

    Attributes:
        calls: the prefixes so far.
    """

    def __init__(self, script: Script, name: str = "scripted") -> None:
        self.script = script
        self.name = name
        self.calls: list[Prefix] = []

    async def write_step(self, prefix: Prefix, sampling: Sampling, seed: int) -> Completion:
        self.calls.append(prefix)
        await asyncio.sleep(0)  # Let other tasks run, as a real model does.
        answer = self.script(prefix)
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, Completion):
            return answer
        prompt_tokens = sum(len(part.split()) for part in (prefix.question, *prefix.steps))
        return Completion(answer, Ending.STEP, len(answer.split()), prompt_tokens)


def cut_words(text: str) -> list[str]:
    """A text as words, each with the white space before it; line ends are tokens of their own."""
    return re.findall(r"\n|[^\S\n]*[^\s]+|[^\S\n]+", text)


def certain(prefix: Prefix, text: str) -> float:
    """The probability 1 for every token."""
    return 1.0


class ScriptedSpanModel(ScriptedModel):
    """As `ScriptedModel`, for a model that writes inside steps.

    `script(prefix)` returns the rest of the step after `prefix.begun`, with the blank line where it
    ends; without one the model ends the solution.

    Args:
        cut: cuts a text into the model's tokens.
        probability: of a token, in (0, 1], given the prefix before it.
        vocabulary: as in `trim.models.spans.SpanModel`; None for an unknown one.
    """

    def __init__(
        self,
        script: Callable[[Prefix], str | Exception],
        cut: Callable[[str], list[str]] = cut_words,
        probability: Callable[[Prefix, str], float] = certain,
        vocabulary: str | None = "words",
        name: str = "scripted",
    ) -> None:
        super().__init__(script, name)
        self.cut = cut
        self.probability = probability
        self.vocabulary = vocabulary

    async def span_obstacle(self) -> str | None:
        return None

    async def write_step(self, prefix: Prefix, sampling: Sampling, seed: int) -> Completion:
        return replace(await self.write_span(prefix, sampling, seed), decoded=())

    async def write_span(
        self, prefix: Prefix, sampling: Sampling, seed: int, stop: StopRule | None = None
    ) -> Completion:
        self.calls.append(prefix)
        await asyncio.sleep(0)
        text = self.script(prefix)
        if isinstance(text, Exception):
            raise text
        if isinstance(text, Completion):
            return text
        reader, ended = TokenReader(prefix.begun, stop), False
        for piece in self.cut(text)[: sampling.max_tokens]:
            before = prefix.inside(prefix.begun + "".join(token.text for token in reader.tokens))
            chance = self.probability(before, piece)
            if ended := reader.add(Token(piece, math.log(chance), ((piece, math.log(chance)),))):
                break
        cut = not ended and len(reader.tokens) == sampling.max_tokens
        ending = reader.ending("limit" if cut else "eos")
        return Completion(
            "".join(token.text for token in reader.decoded),
            ending,
            len(reader.tokens),
            len(self.cut(prefix.question + prefix.text)),
            log_probability=mean_of(reader.decoded),
            decoded=reader.decoded,
            dropped=reader.dropped,
        )


class Deciding(Protocol):
    """The part of `trim.policies.policy.Policy` that a router uses."""

    needs_scores: bool
    restarts: bool

    @property
    def name(self) -> str: ...
    def begin(self, question: str) -> Action: ...
    def decide(self, observation: Observation) -> Action: ...
    def expects_intervention(self, observation: Observation) -> bool: ...
    def explain(self, observation: Observation) -> Any: ...


class Scoring(Protocol):
    """`trim.scorers.scorer.Scorer`."""

    @property
    def name(self) -> str: ...
    def score(self, trace: Prefix, written: Sequence[Completion]) -> Awaitable[Any]: ...


def check_policy(policy: Deciding, observations: Iterable[Observation] = ()) -> None:
    """Check that a policy keeps the promises that a router relies on.

    It has a name; it decides by the observation alone, so equal ones have equal decisions; it
    begins with CONTINUE or TAKE_OVER; it restarts only if it says so; it gives reasons.

    Args:
        observations: further ones to decide on.
    """
    check_name(policy)
    begun = policy.begin(QUESTION)
    require(begun in (Action.CONTINUE, Action.TAKE_OVER), f"begin returned {begun!r}")
    require(policy.begin(QUESTION) is begun, "begin is not deterministic")
    for observation in (*usual_observations(policy.needs_scores), *observations):
        decided = policy.decide(observation)
        require(isinstance(decided, Action), f"decide returned {decided!r}, not an Action")
        require(
            policy.decide(observation) is decided,
            f"decide is not deterministic: {observation}",
        )
        require(
            decided is not Action.RESTART or policy.restarts,
            "decide returned RESTART, but `restarts` is False",
        )
        doubtful = policy.expects_intervention(observation)
        require(
            isinstance(doubtful, bool), f"expects_intervention returned {doubtful!r}, not a bool"
        )
        reason = getattr(policy.explain(observation), "reason", None)
        require(
            isinstance(reason, str) and bool(reason) and "\n" not in reason,
            f"explain returned the reason {reason!r}, not one line",
        )


def usual_observations(needs_scores: bool) -> Iterator[Observation]:
    """Drafts at the first to the third step with all kinds of scores, the last ones at the end."""
    for length in range(1, len(STEPS) + 1):
        for scores in product((0.0, 0.5, 1.0), repeat=length):
            yield Observation(
                question=QUESTION,
                steps=STEPS[:length],
                scores=scores if needs_scores else (),
                tokens=tuple(len(step.split()) for step in STEPS[:length]),
                actions=(Action.CONTINUE,) * (length - 1),
                seed=7,
                last=length == len(STEPS),
                answered=length == len(STEPS),
            )


def check_model(
    model: Model, question: str = QUESTION, sampling: Sampling = SAMPLING, repeatable: bool = True
) -> None:
    """Check that a model keeps the promises that a router relies on.

    It has a name; a completion holds one step, with possible counts and confidences; it continues
    its own steps; it serves concurrent requests.

    Args:
        repeatable: check that equal arguments give equal texts; an API without seeds does not.
    """
    check_name(model)

    async def write(prefix: Prefix, seed: int = 0) -> Completion:
        return check_completion(await model.write_step(prefix, sampling, seed))

    async def run() -> None:
        prefix = Prefix(question)
        first = await write(prefix)
        if repeatable:
            again = await write(prefix)
            require(again.text == first.text, f"not repeatable: {first.text!r}, {again.text!r}")
        await write(prefix.then(first.text))
        await asyncio.gather(*(write(prefix, seed) for seed in range(4)))
        if isinstance(model, Prefilling):
            read = await model.prefill(prefix)
            require(read.text == "", f"prefill returned the text {read.text!r}")
        if isinstance(model, SpanModel) and await model.span_obstacle() is None:
            await check_spans(model, prefix, sampling)

    run_alone(run())


async def check_spans(model: SpanModel, prefix: Prefix, sampling: Sampling) -> None:
    """Check that a model writes inside steps: it reports its tokens and ends where a rule says."""
    whole = check_completion(await model.write_span(prefix, sampling, 0))
    spelled = "".join(token.text for token in whole.decoded)
    require(spelled == whole.text, f"the tokens spell {spelled!r}, the text is {whole.text!r}")
    require(
        all(-math.inf <= token.log_probability <= 0 for token in whole.decoded),
        "a token has no log-probability up to 0",
    )
    half = len(whole.decoded) // 2
    while half and not whole.decoded[half - 1].text:
        half -= 1  # a part of a character
    if not half:
        return

    def stop(tokens: Sequence[Token]) -> int | None:
        return half if len(tokens) > half else None

    begun = await model.write_span(prefix, sampling, 0, stop)
    require(begun.ending is Ending.RULE, f"a rule ended the text, but the ending is {begun.ending}")
    require(len(begun.decoded) == half, f"{len(begun.decoded)} tokens were kept, not {half}")
    require(bool(begun.dropped), "the tokens after the end are missing in `dropped`")
    rest = await model.write_span(prefix.inside(begun.text), sampling, 0)
    check_completion(replace(rest, text=begun.text + rest.text))


def check_completion(step: Completion) -> Completion:
    """Check one completion; returns it."""
    require(isinstance(step, Completion), f"write_step returned {step!r}, not a Completion")
    require(isinstance(step.ending, Ending), f"ending {step.ending!r} is not an Ending")
    require(isinstance(step.text, str), f"text {step.text!r} is not a string")
    require(len(split_steps(step.text)) <= 1, f"more than one step: {step.text!r}")
    check_counts(step)
    require(step.tokens > 0 or not step.text.strip(), f"a text of no tokens: {step!r}")
    log_probability, entropy = step.log_probability, step.first_entropy
    require(
        log_probability is None or -math.inf < log_probability <= 0,
        f"log_probability {log_probability!r} is not a finite number up to 0",
    )
    require(
        entropy is None or 0 <= entropy < math.inf,
        f"first_entropy {entropy!r} is not a finite number from 0 up",
    )
    return step


def check_scorer(
    scorer: Scoring,
    question: str = QUESTION,
    steps: Sequence[str] = STEPS,
    tolerance: float = 1e-3,
) -> None:
    """Check that a scorer keeps the promises that a router relies on.

    It has a name; it returns a number in [0, 1] for each step that it is asked for, and possible
    counts; a step's score depends neither on the request nor on how many steps are scored at once.

    Args:
        steps: of a solution to `question`, at least two.
        tolerance: allowed difference of equal scores.
    """
    check_name(scorer)
    trace = Prefix(question, tuple(steps))
    written = [
        Completion(step, Ending.STEP, len(step.split()) + 1, 10, 0, 0.1, -0.2, 0.5)
        for step in steps
    ]

    async def score(count: int) -> tuple[float, ...]:
        scores = await scorer.score(trace, written[-count:])
        check_counts(scores)
        values = tuple(scores.values)
        require(len(values) == count, f"{len(values)} scores for {count} steps")
        for value in values:
            number = isinstance(value, int | float) and not isinstance(value, bool)
            require(number and 0 <= value <= 1, f"score {value!r} is not a number in [0, 1]")
        unread = scores.unread_steps
        require(0 <= unread <= len(steps) - count, f"unread_steps {unread!r} is impossible")
        return values

    async def run() -> None:
        newest, again, two = await score(1), await score(1), await score(2)
        for others in (again, two):
            require(
                abs(others[-1] - newest[-1]) <= tolerance,
                f"the newest step scores {newest[-1]}, then {others[-1]}",
            )

    run_alone(run())


def check_name(part: Any) -> None:
    name = part.name
    require(isinstance(name, str) and name.strip() == name != "", f"the name {name!r} is invalid")
    require(part.name == name, f"the name changes from {name!r} to {part.name!r}")


def check_counts(counted: Any) -> None:
    """Check the token counts and the seconds of a completion or of scores."""
    for name in ("tokens", "prompt_tokens", "cached_tokens"):
        count = getattr(counted, name)
        require(
            isinstance(count, int) and not isinstance(count, bool) and count >= 0,
            f"{name} {count!r} is not a count",
        )
    require(
        counted.cached_tokens <= counted.prompt_tokens,
        f"{counted.cached_tokens} cached tokens of {counted.prompt_tokens} in the prompt",
    )
    require(0 <= counted.seconds < math.inf, f"seconds {counted.seconds!r}")


def require(condition: bool, message: str) -> None:
    """Raises AssertionError, also where Python drops assert statements."""
    if not condition:
        raise AssertionError(message)


def run_alone(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(work)
