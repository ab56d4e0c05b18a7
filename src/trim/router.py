"""The step loop: draft, score, decide, keep or regenerate."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import cached_property

from trim.config import Fallback, Fallbacks, PrefillMode, Rules
from trim.costs import Prices
from trim.errors import ContextExceeded, InvalidInput, ModelUnavailable
from trim.events import Decided, Drafted, Event, Finished, Kept, Regenerated, Scored
from trim.loop.solution import Solution, Writer
from trim.loop.speculation import Speculation
from trim.models.model import Model, Prefilling, Sampling, Turn
from trim.policies.policy import Policy
from trim.scorers.scorer import Scorer
from trim.steps import MAX_STEPS
from trim.types import Action, Author, Finish, Step, Trace

STRONG_ONLY = (Action.TAKE_OVER, Action.RESTART)
"""Actions after which the strong model writes on by itself."""


@dataclass(frozen=True)
class Router:
    """Solves problems step by step with a weak and a strong model.

    Attributes:
        weak, strong: the models that draft and rewrite.
        scorer: grades drafts; may be None for policies that need no scores.
        policy: decides about each draft.
        sampling: settings of all models.
        max_steps: steps a solution may have; None for any number.
        max_strong_tokens: as soon as the strong model has decoded so many for a problem, it is
            not asked again and the weak one drafts on; None for no limit. What it decodes is
            then less than this and one more step. A policy may bring a limit of its own.
        max_seconds: after so many for a problem, models and scorers over HTTP are asked no
            more, as if they did not answer; None for no limit.
        between: models between weak and strong, the weaker first. A step is then regenerated
            by the next one above, and what that wrote is scored and decided about like a draft.
            Taking over and restarting are left to the strong model.
        fallbacks: what is done where one of them does not answer.
        overlap: draft on from a draft while it is being scored. Texts and decisions stay the
            same; a draft that is begun in vain costs its tokens (`Trace.dropped_tokens`).
        warming: when the strong model reads what has been kept before it is asked.
        max_tokens: that the kept steps of a solution may have together; None for no limit.
        max_money: as soon as a problem has cost so much, all parts together, the strong model
            is not asked again; None for no limit.
        prices: what money is counted by.
        stops: texts after which a solution is at its end, when the step that holds one is kept.
        rules: how a solution goes on and ends.
    """

    weak: Model
    strong: Model
    scorer: Scorer | None
    policy: Policy
    sampling: Sampling = field(default_factory=Sampling)
    max_steps: int | None = MAX_STEPS
    max_strong_tokens: int | None = None
    max_seconds: float | None = None
    between: tuple[Model, ...] = ()
    fallbacks: Fallbacks = field(default_factory=Fallbacks)
    overlap: bool = False
    warming: PrefillMode = PrefillMode.NEVER
    max_tokens: int | None = None
    max_money: float | None = None
    prices: Prices = field(default_factory=Prices)
    stops: tuple[str, ...] = ()
    rules: Rules = field(default_factory=Rules)

    def __post_init__(self) -> None:
        if self.max_steps is not None and self.max_steps < 1:
            raise InvalidInput(f"max_steps {self.max_steps}: a solution needs at least one step")
        if self.max_tokens is not None and self.max_tokens < 1:
            raise InvalidInput(f"max_tokens {self.max_tokens}: a solution needs at least one token")
        if self.max_strong_tokens is not None and self.max_strong_tokens < 0:
            raise InvalidInput(
                f"max_strong_tokens {self.max_strong_tokens}: must be a number of tokens from 0 up"
            )
        if self.max_money is not None and not self.max_money >= 0:
            raise InvalidInput(f"max_money {self.max_money:g}: must be an amount from 0 up")
        if self.max_seconds is not None and not self.max_seconds > 0:
            raise InvalidInput(f"max_seconds {self.max_seconds:g}: must be above 0, as in 600")
        if self.policy.needs_scores and self.scorer is None:
            raise InvalidInput(f"policy {self.policy.name!r} needs a scorer")
        if self.warming is not PrefillMode.NEVER and not isinstance(self.strong, Prefilling):
            raise InvalidInput(
                f"warming {self.warming!s}: {self.strong.name} cannot read in advance; choose never"
            )

    @cached_property
    def writers(self) -> tuple[Writer, ...]:
        """All models, the weakest first."""
        between = (Writer(Author.MIDDLE, model, n) for n, model in enumerate(self.between, 1))
        return (Writer(Author.WEAK, self.weak), *between, Writer(Author.STRONG, self.strong))

    def affords(self, solution: Solution) -> bool:
        """Whether the strong model may be asked again, by what has been spent."""
        limits = (self.max_strong_tokens, self.policy.max_strong_tokens)
        if any(limit is not None and solution.strong_tokens >= limit for limit in limits):
            return False
        if self.max_money is None:
            return True
        return self.prices.of_usage(solution.usage, solution.scorer) < self.max_money

    def solve(self, question: str, seed: int = 0, history: Sequence[Turn] = ()) -> Trace:
        """Solve a problem; `asolve` is the same for use inside an event loop.

        Args:
            history: what was said before the question.
        """
        return asyncio.run(self.asolve(question, seed, history))

    async def asolve(self, question: str, seed: int = 0, history: Sequence[Turn] = ()) -> Trace:
        async for event in self.aevents(question, seed, history):
            if isinstance(event, Finished):
                return event.trace
        raise AssertionError("a solution always ends with Finished")

    def events(self, question: str, seed: int = 0, history: Sequence[Turn] = ()) -> Iterator[Event]:
        """Solve a problem and yield what happens; `aevents` is the same with `async for`."""
        with asyncio.Runner() as runner:
            events = self.aevents(question, seed, history)

            async def advance() -> Event | None:
                return await anext(events, None)

            while event := runner.run(advance()):
                yield event

    async def aevents(
        self, question: str, seed: int = 0, history: Sequence[Turn] = ()
    ) -> AsyncGenerator[Event, None]:
        """What happens while a problem is solved, as `grow` tells it."""
        async with aclosing(self.grow(self.begin(question, seed, history))) as events:
            async for event in events:
                yield event

    def begin(self, question: str, seed: int = 0, history: Sequence[Turn] = ()) -> Solution:
        """A solution without steps, for `grow`. Raises InvalidInput for an empty question."""
        if not question.strip():
            raise InvalidInput("the problem is empty; give its text")
        return Solution(
            question,
            seed,
            self.sampling,
            self.max_steps,
            self.max_seconds,
            self.max_tokens,
            tuple(history),
            self.stops,
            self.rules,
        )

    async def grow(self, solution: Solution) -> AsyncGenerator[Event, None]:
        """The method, step by step (arXiv 2601.10245).

        Each round is one version of a step: the draft, then what the models above make of it,
        until one is kept. A part that does not answer is passed over as `fallbacks` says, or
        ends the solution, and the trace says why.

        Who stops listening stops the work, and finds in `solution` what it had cost.

        Raises:
            ContextExceeded: the question alone does not fit a model's context.
        """
        wish = self.policy.begin(solution.question)
        async with self._ahead(solution) as ahead:
            try:
                while solution.finish is None:
                    index = solution.length + 1
                    writer = self._next_writer(wish, solution)
                    try:
                        written = await ahead.write(writer)
                    except ModelUnavailable as failure:
                        if step := self._pass_over(writer, solution, failure):
                            yield Kept(index, step)
                        continue
                    if writer.author is Author.WEAK:
                        yield Drafted(index, written.text, written.tokens)
                    else:
                        yield Regenerated(index, written.text, written.tokens, writer.author)
                    if writer.author is Author.STRONG:
                        made = wish if wish in STRONG_ONLY else Action.REGENERATE
                        yield Kept(index, solution.keep(made))
                        continue
                    ahead.draft()
                    try:
                        if self.policy.needs_scores and self.scorer:
                            yield Scored(index, await solution.score(self.scorer))
                        if wish not in STRONG_ONLY:
                            wish = self.policy.decide(solution.observe())
                    except ModelUnavailable as failure:
                        wish = self._without_score(wish, solution, failure)
                    action = wish if self._allows(wish, solution) else Action.CONTINUE
                    yield Decided(index, action)
                    if action is Action.RESTART:
                        solution.restart()
                    elif action is Action.CONTINUE:
                        warms = self._warms(solution)
                        denied = wish is not action and not solution.fallback
                        yield Kept(index, solution.keep(action, denied))
                        if warms:
                            ahead.prefill()
                    else:
                        solution.level += 1
            except ContextExceeded:
                if not solution.length:
                    raise
                solution.finish = Finish.CONTEXT
            except ModelUnavailable as failure:
                solution.finish, solution.failure = Finish.FAILED, str(failure)
        yield Finished(solution.trace(self.policy.name))

    def _ahead(self, solution: Solution) -> Speculation:
        drafts = self.overlap and self.policy.needs_scores
        prefiller = self.strong if isinstance(self.strong, Prefilling) else None
        return Speculation(solution, self.writers[0] if drafts else None, prefiller)

    def _warms(self, solution: Solution) -> bool:
        """Whether the strong model is to read what is about to be kept."""
        if self.warming is PrefillMode.LIKELY:
            return self.policy.expects_intervention(solution.observe())
        return self.warming is PrefillMode.ALWAYS

    def _next_writer(self, wish: Action, solution: Solution) -> Writer:
        if wish in STRONG_ONLY and self._allows(wish, solution):
            return self.writers[-1]
        return self.writers[solution.level]

    def _allows(self, wish: Action, solution: Solution) -> bool:
        """Whether the model that a wish is for may be asked."""
        if wish is Action.CONTINUE:
            return True
        asked = self.writers[-1 if wish in STRONG_ONLY else solution.level + 1]
        if asked.author is not Author.STRONG:
            return True
        return self.affords(solution) and solution.fallback != Author.STRONG

    def _pass_over(
        self, writer: Writer, solution: Solution, failure: ModelUnavailable
    ) -> Step | None:
        """Take the fallback of a model: the step that is kept for it, or None where another model
        is to write. Raises `failure` where there is none, or the problem is to end."""
        fallback = self.fallbacks.after(writer.author, failure)
        before, solution.fallback = solution.fallback, str(writer.author)
        if fallback is Fallback.ESCALATE:
            if not self._allows(Action.REGENERATE, solution):
                raise failure
            solution.level += 1
        elif solution.versions:
            return solution.keep(Action.CONTINUE)
        elif before:
            raise failure
        return None

    def _without_score(self, wish: Action, solution: Solution, failure: ModelUnavailable) -> Action:
        """What is wished for where a draft has no score. Raises `failure` for none."""
        fallback = self.fallbacks.after("scorer", failure)
        solution.fallback = solution.fallback or "scorer"
        if wish in STRONG_ONLY:
            return wish
        return Action.REGENERATE if fallback is Fallback.ESCALATE else Action.CONTINUE
