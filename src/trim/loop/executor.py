"""The operations of the step loop on one solution: write, score, decide, commit."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType

from trim.config import Fallback, PrefillMode, RouterConfig
from trim.errors import ContextExceeded, ModelUnavailable
from trim.events import Decided, Drafted, Kept, Regenerated, Scored
from trim.loop.solution import Solution, Writer
from trim.loop.speculation import Prefill, Speculation
from trim.models.model import Prefilling
from trim.policies.policy import Policy
from trim.scorers.scorer import Scorer
from trim.types import Action, Author, Finish

STRONG_ONLY = (Action.TAKE_OVER, Action.RESTART)
"""Actions after which the strong model writes the rest of the solution."""


class StepExecutor:
    """Carries out the step loop's operations, with limits, fallbacks and background work.

    An unavailable model or scorer is replaced as `RouterConfig.fallbacks` says. Without a fallback
    the solution ends with `Finish.FAILED`; a full context ends it with `Finish.CONTEXT`.

    Leaving the `async with` block waits for background work, or cancels it after an error.

    Args:
        writers: all models, weakest first.
        scorer: None where the policy needs no scores.

    Attributes:
        decision: the action that the policy asked for last. Limits may deny it.
        is_pending: whether the newest version of the step awaits a decision.
        is_accepted: whether the newest version of the step is to be committed.

    Raises:
        ContextExceeded: on leaving the block, if the question alone exceeds a model's context.
    """

    def __init__(
        self,
        solution: Solution,
        writers: Sequence[Writer],
        scorer: Scorer | None,
        policy: Policy,
        config: RouterConfig,
    ) -> None:
        self.solution = solution
        self.writers = writers
        self.scorer = scorer if policy.needs_scores else None
        self.policy = policy
        self.config = config
        self.decision = policy.begin(solution.question)
        self.is_pending = False
        self.is_accepted = False
        self._rejection: Action | None = None
        strong = writers[-1].model
        self._speculation = Speculation(
            solution, writers[0] if config.overlap and self.scorer else None
        )
        self._prefill = Prefill(solution, strong if isinstance(strong, Prefilling) else None)

    async def __aenter__(self) -> StepExecutor:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        ends = self._ends(error)
        abandoned = error is not None and not ends
        await self._speculation.close(cancel=abandoned)
        await self._prefill.close(cancel=abandoned)
        return ends

    @property
    def index(self) -> int:
        """Number of the current step, from 1."""
        return self.solution.length + 1

    async def write(self) -> Drafted | Regenerated | Kept:
        """Have the next model write a version of the step: after a rejection the next one up.

        Returns:
            Kept, if no model answered and an earlier version was committed as the fallback.
        """
        self._apply_rejection()
        while True:
            writer = self._next_writer()
            try:
                written = await self._speculation.write(writer)
                break
            except ModelUnavailable as failure:
                if kept := self._fall_back(writer, failure):
                    return kept
        self.is_accepted = writer.author is Author.STRONG
        self.is_pending = not self.is_accepted
        if writer.author is Author.WEAK:
            return Drafted(self.index, written.text, written.tokens)
        return Regenerated(self.index, written.text, written.tokens, writer.author)

    async def score(self) -> Scored | None:
        """Score the newest version; None if the scorer is unavailable and its fallback decided."""
        assert self.scorer is not None
        self._speculation.start()
        try:
            return Scored(self.index, await self.solution.score(self.scorer))
        except ModelUnavailable as failure:
            fallback = self.config.fallbacks.after("scorer", failure)
            self.solution.fallback = self.solution.fallback or "scorer"
            self.is_pending = False
            if self.decision not in STRONG_ONLY:
                escalates = fallback is Fallback.ESCALATE
                self.decision = Action.REGENERATE if escalates else Action.CONTINUE
            return None

    def decide(self) -> Decided:
        """Ask the policy about the newest version; limits turn a denied decision to CONTINUE."""
        if self.is_pending and self.decision not in STRONG_ONLY:
            self.decision = self.policy.decide(self.solution.observe())
        action = self.decision if self._permits(self.decision) else Action.CONTINUE
        self.is_pending = False
        self.is_accepted = action is Action.CONTINUE
        self._rejection = None if self.is_accepted else action
        return Decided(self.index, action)

    def commit(self) -> Kept:
        """Append the newest version to the solution."""
        index, solution = self.index, self.solution
        self.is_accepted = False
        if solution.versions[-1].writer.author is Author.STRONG:
            rewrites = self.decision not in STRONG_ONLY
            return Kept(index, solution.commit(Action.REGENERATE if rewrites else self.decision))
        denied = self.decision is not Action.CONTINUE and not solution.fallback
        prefills = self._wants_prefill()
        step = solution.commit(Action.CONTINUE, denied)
        if prefills:
            self._prefill.start()
        return Kept(index, step)

    def _apply_rejection(self) -> None:
        # Not in `decide`: until the next write, the solution shows what was decided about.
        if self._rejection is Action.RESTART:
            self.solution.restart()
        elif self._rejection:
            self.solution.level += 1
        self._rejection = None

    def _next_writer(self) -> Writer:
        if self.decision in STRONG_ONLY and self._permits(self.decision):
            return self.writers[-1]
        return self.writers[self.solution.level]

    def _permits(self, action: Action) -> bool:
        """Whether limits and failures leave the model that an action needs."""
        if action is Action.CONTINUE:
            return True
        needed = self.writers[-1 if action in STRONG_ONLY else self.solution.level + 1]
        if needed.author is not Author.STRONG:
            return True
        return self._affords_strong() and self.solution.fallback != Author.STRONG

    def _affords_strong(self) -> bool:
        """Whether the limits on strong tokens and money leave room for another strong step."""
        solution, config = self.solution, self.config
        limits = (config.max_strong_tokens, self.policy.max_strong_tokens)
        if any(limit is not None and solution.strong_tokens >= limit for limit in limits):
            return False
        if config.max_money is None:
            return True
        return config.prices.of_usage(solution.usage, solution.scorer) < config.max_money

    def _wants_prefill(self) -> bool:
        """Whether the strong model should read the version that is about to be committed."""
        if self.config.prefill is PrefillMode.LIKELY:
            return self.policy.expects_intervention(self.solution.observe())
        return self.config.prefill is PrefillMode.ALWAYS

    def _fall_back(self, writer: Writer, failure: ModelUnavailable) -> Kept | None:
        """Take the fallback of an unavailable model.

        Returns:
            The step that was committed instead; None if another model should write.

        Raises:
            ModelUnavailable: there is no fallback.
        """
        solution = self.solution
        fallback = self.config.fallbacks.after(writer.author, failure)
        before, solution.fallback = solution.fallback, str(writer.author)
        if fallback is Fallback.ESCALATE:
            if not self._permits(Action.REGENERATE):
                raise failure
            solution.level += 1
        elif solution.versions:
            self.is_pending = self.is_accepted = False
            return Kept(self.index, solution.commit(Action.CONTINUE))
        elif before:
            raise failure
        return None

    def _ends(self, error: BaseException | None) -> bool:
        """Whether an error ends the solution, rather than its caller's work."""
        if isinstance(error, ContextExceeded) and self.solution.length:
            self.solution.finish = Finish.CONTEXT
            return True
        if isinstance(error, ModelUnavailable):
            self.solution.finish, self.solution.failure = Finish.FAILED, str(error)
            return True
        return False
