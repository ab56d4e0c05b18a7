"""The router: a weak model drafts each step, and a policy keeps it or has it rewritten."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from trim.config import DEFAULT_POLICY, PrefillMode, RouterConfig
from trim.configuration.source import Models, open_models
from trim.errors import InvalidInput
from trim.events import Event, Finished
from trim.loop.executor import StepExecutor
from trim.loop.solution import Solution, Writer
from trim.models.model import Model, Prefilling, Turn
from trim.models.whole import require_whole
from trim.policies.policy import Policy, choose_scorer
from trim.policies.registry import parse_policy
from trim.policies.whole import WholeAnswer
from trim.scorers.confidence import LogProbabilityScorer
from trim.scorers.scorer import Scorer
from trim.types import Author, Trace


@dataclass(init=False)
class Router:
    """Solves problems step by step with a weak and a strong model (TRIM, arXiv 2601.10245).

    Args:
        weak: drafts every step.
        strong: rewrites the steps that the policy rejects.
        policy: decides about each draft; a string as on the command line: `"thr:0.8"`.
        scorer: grades drafts, each in [0, 1]. The default is the geometric mean of the
            probabilities that the writer gave its tokens, which needs no further model.
        intermediate: models between weak and strong, weakest first. A rejected step goes to
            the next model up; its version is scored and decided like a draft. The strong
            model's version is final. TAKE_OVER and RESTART go to the strong model directly.
        config: sampling, limits, fallbacks, background work and prices.

    Raises:
        InvalidInput: the policy is unknown, or the strong model cannot prefill as `config` asks.
    """

    weak: Model
    strong: Model
    policy: Policy
    scorer: Scorer | None
    intermediate: tuple[Model, ...]
    config: RouterConfig

    def __init__(
        self,
        *,
        weak: Model,
        strong: Model,
        policy: Policy | str,
        scorer: Scorer | None = None,
        intermediate: Sequence[Model] = (),
        config: RouterConfig | None = None,
    ) -> None:
        self.weak = weak
        self.strong = strong
        self.policy = parse_policy(policy) if isinstance(policy, str) else policy
        self.scorer = scorer
        self.intermediate = tuple(intermediate)
        self.config = config or RouterConfig()
        if scorer is None and self.policy.needs_scores:
            if self.policy.scorer not in (None, LogProbabilityScorer.name):
                raise InvalidInput(
                    f"policy {self.policy.name!r} needs a scorer of the kind"
                    f" {self.policy.scorer!r}: pass scorer="
                )
            self.scorer = LogProbabilityScorer()
        prefill = self.config.prefill
        if prefill is not PrefillMode.NEVER and not isinstance(strong, Prefilling):
            raise InvalidInput(
                f"prefill {prefill!s}: {strong.name} cannot read in advance; set it to never"
            )

    @staticmethod
    def from_config(path: Path | str | None = None, assignments: Sequence[str] = ()) -> Router:
        """The router of a configuration file; by default, of the models that ship with trim.

        Args:
            assignments: values that override the file's, as in `routing.policy=thr:0.9`.

        Raises:
            InvalidInput: the file is missing or invalid.
            ModelUnavailable: a server does not answer.
        """
        source = open_models(path, assignments)
        policy = source.policy or DEFAULT_POLICY
        return Router.of(source.load(), policy=policy, config=source.config)

    @staticmethod
    def of(
        models: Models,
        *,
        policy: Policy | str,
        scorer: Scorer | None = None,
        config: RouterConfig | None = None,
    ) -> Router:
        """The router of loaded models; `scorer` is by default the one that they are used with.

        Raises:
            InvalidInput: the policy is unknown, or needs a scorer and there is none.
        """
        policy = parse_policy(policy) if isinstance(policy, str) else policy
        scorer = scorer or choose_scorer(policy, models.scorer, models.scorers)
        if scorer is None and policy.needs_scores:
            raise InvalidInput(f"policy {policy.name!r} needs a scorer; the configuration has none")
        return Router(
            weak=models.weak,
            strong=models.strong,
            policy=policy,
            scorer=scorer,
            intermediate=models.intermediate,
            config=config,
        )

    def with_config(self, **changes: Any) -> Router:
        """The same router with other values of some fields of its `RouterConfig`."""
        return replace(self, config=replace(self.config, **changes))

    def whole(self, role: str, reason: str, prompted: bool = False, named: str = "") -> Router:
        """The same router, whose answers one model writes whole, in one request.

        Args:
            role: of the model, as in `Trace.usage`.
            reason, prompted, named: as in `trim.policies.whole.WholeAnswer`.

        Raises:
            InvalidInput: there is no such model, or it writes steps only.
        """
        models = {writer.role: writer.model for writer in self.writers}
        if role not in models:
            raise InvalidInput(f"no model {role!r}; there are {', '.join(models)}")
        require_whole(models[role])
        return replace(self, policy=WholeAnswer(role, reason, prompted, named), scorer=None)

    @property
    def writers(self) -> tuple[Writer, ...]:
        """All models with their roles, weakest first."""
        between = (
            Writer(Author.INTERMEDIATE, model, n) for n, model in enumerate(self.intermediate, 1)
        )
        return (Writer(Author.WEAK, self.weak), *between, Writer(Author.STRONG, self.strong))

    def solve(self, question: str, seed: int = 0, history: Sequence[Turn] = ()) -> Trace:
        """Solve a problem; use `asolve` inside an event loop.

        Args:
            seed: of the sampling. The same seed gives the same steps.
            history: earlier turns of the conversation.
        """
        return asyncio.run(self.asolve(question, seed, history))

    async def asolve(self, question: str, seed: int = 0, history: Sequence[Turn] = ()) -> Trace:
        """`solve` inside an event loop."""
        async for event in self.aevents(question, seed, history):
            if isinstance(event, Finished):
                return event.trace
        raise AssertionError("a solution always ends with Finished")

    def events(self, question: str, seed: int = 0, history: Sequence[Turn] = ()) -> Iterator[Event]:
        """Solve a problem and yield each event; use `aevents` inside an event loop."""
        with asyncio.Runner() as runner:
            events = self.aevents(question, seed, history)

            async def advance() -> Event | None:
                return await anext(events, None)

            while event := runner.run(advance()):
                yield event

    async def aevents(
        self, question: str, seed: int = 0, history: Sequence[Turn] = ()
    ) -> AsyncGenerator[Event, None]:
        """`events` inside an event loop."""
        async with aclosing(self.run(self.begin(question, seed, history))) as events:
            async for event in events:
                yield event

    def begin(self, question: str, seed: int = 0, history: Sequence[Turn] = ()) -> Solution:
        """An empty solution for `run`. Raises InvalidInput for an empty question."""
        if not question.strip():
            raise InvalidInput("the problem is empty; give its text")
        return Solution(question, seed, self.config, tuple(history))

    async def run(self, solution: Solution) -> AsyncGenerator[Event, None]:
        """The method: draft, score, decide, and keep the step or have it rewritten.

        Closing the generator cancels the work; `solution` keeps the cost so far.

        Raises:
            ContextExceeded: the question alone exceeds a model's context.
            InvalidInput: the scorer returns no scores (`trim.scorers.scorer.checked_scores`).
        """
        steps = StepExecutor(solution, self.writers, self.scorer, self.policy, self.config)
        async with steps as step:
            while solution.finish is None:
                yield await step.write()
                if step.is_pending:
                    if step.scorer and (scored := await step.score()):
                        yield scored
                    yield step.decide()
                if step.is_accepted:
                    yield step.commit()
        yield Finished(solution.trace(self.policy.name))
