"""The step loop: draft, score, decide, keep or regenerate."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field

from trim.errors import ContextExceeded, InvalidInput
from trim.events import Decided, Drafted, Event, Finished, Kept, Regenerated, Scored
from trim.models.model import Model, Sampling
from trim.policies.policy import Action, Policy
from trim.scorers.scorer import Scorer
from trim.solution import Solution
from trim.steps import MAX_STEPS
from trim.trace import Author, Finish, Trace

FOR_GOOD = (Action.TAKE_OVER, Action.RESTART)
"""Actions after which the strong model writes on by itself."""


@dataclass(frozen=True)
class Router:
    """Solves problems step by step with a weak and a strong model.

    Attributes:
        weak, strong: the models that draft and rewrite.
        scorer: grades drafts; may be None for policies that need no scores.
        policy: decides about each draft.
        sampling: settings of both models.
        max_steps: steps a solution may have.
        max_strong_tokens: as soon as the strong model has decoded so many for a problem, it is
            not asked again and the weak one drafts on; None for no limit. What it decodes is
            then less than this and one more step. A policy may bring a limit of its own.
        max_seconds: after so many for a problem, models and scorers over HTTP are asked no
            more, and the problem ends with ModelUnavailable; None for no limit.
    """

    weak: Model
    strong: Model
    scorer: Scorer | None
    policy: Policy
    sampling: Sampling = field(default_factory=Sampling)
    max_steps: int = MAX_STEPS
    max_strong_tokens: int | None = None
    max_seconds: float | None = None

    def __post_init__(self) -> None:
        if self.max_steps < 1:
            raise InvalidInput(f"max_steps {self.max_steps}: a solution needs at least one step")
        if self.max_strong_tokens is not None and self.max_strong_tokens < 0:
            raise InvalidInput(
                f"max_strong_tokens {self.max_strong_tokens}: must be a number of tokens from 0 up"
            )
        if self.max_seconds is not None and not self.max_seconds > 0:
            raise InvalidInput(f"max_seconds {self.max_seconds:g}: must be above 0, as in 600")
        if self.policy.needs_scores and self.scorer is None:
            raise InvalidInput(f"policy {self.policy.name!r} needs a scorer")

    def affords(self, strong_tokens: int) -> bool:
        """Whether the strong model may be asked after it has decoded so many tokens."""
        limits = (self.max_strong_tokens, self.policy.max_strong_tokens)
        return all(limit is None or strong_tokens < limit for limit in limits)

    def solve(self, question: str, seed: int = 0) -> Trace:
        """Solve a problem; `asolve` is the same for use inside an event loop."""
        return asyncio.run(self.asolve(question, seed))

    async def asolve(self, question: str, seed: int = 0) -> Trace:
        async for event in self.aevents(question, seed):
            if isinstance(event, Finished):
                return event.trace
        raise AssertionError("a solution always ends with Finished")

    def events(self, question: str, seed: int = 0) -> Iterator[Event]:
        """Solve a problem and yield what happens; `aevents` is the same with `async for`."""
        with asyncio.Runner() as runner:
            events = self.aevents(question, seed)

            async def advance() -> Event | None:
                return await anext(events, None)

            while event := runner.run(advance()):
                yield event

    async def aevents(self, question: str, seed: int = 0) -> AsyncIterator[Event]:
        """The method, step by step (arXiv 2601.10245).

        Raises:
            InvalidInput: the question is empty.
            ContextExceeded: the question alone does not fit a model's context.
            ModelUnavailable: a model or the scorer does not answer.
        """
        if not question.strip():
            raise InvalidInput("the problem is empty; give its text")
        solution = Solution(question.strip(), seed, self.sampling, self.max_steps, self.max_seconds)
        wish = self.policy.begin(solution.question)
        try:
            while solution.finish is None:
                index = solution.length + 1
                if wish in FOR_GOOD and self.affords(solution.strong_tokens):
                    step = await solution.write(self.strong, Author.STRONG)
                    yield Regenerated(index, step.text, step.tokens)
                    yield Kept(index, solution.keep(step, Author.STRONG, wish))
                    continue
                draft = await solution.write(self.weak, Author.WEAK)
                yield Drafted(index, draft.text, draft.tokens)
                if self.policy.needs_scores and self.scorer:
                    yield Scored(index, await solution.score(self.scorer, draft))
                if wish not in FOR_GOOD:
                    wish = self.policy.decide(solution.observe(draft))
                action = wish if self.affords(solution.strong_tokens) else Action.CONTINUE
                yield Decided(index, action)
                if action is Action.RESTART:
                    solution.restart(draft)
                elif action is Action.CONTINUE:
                    denied = wish is not action
                    yield Kept(index, solution.keep(draft, Author.WEAK, action, denied=denied))
                else:
                    step = await solution.write(self.strong, Author.STRONG)
                    yield Regenerated(index, step.text, step.tokens)
                    yield Kept(index, solution.keep(step, Author.STRONG, action, draft))
        except ContextExceeded:
            if not solution.length:
                raise
            solution.finish = Finish.CONTEXT
        yield Finished(solution.trace(self.policy.name))
