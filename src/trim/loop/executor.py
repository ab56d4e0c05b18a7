"""The operations of the step loop on one solution: write, score, decide, commit."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from types import TracebackType

from trim.config import Fallback, PrefillMode, RouterConfig, Rules
from trim.errors import ContextExceeded, ModelUnavailable
from trim.events import Decided, Drafted, Kept, Regenerated, Scored, SpanWritten
from trim.loop.solution import Allowance, Solution, Writer
from trim.loop.spans import SpanWriter
from trim.loop.speculation import Prefill, Speculation
from trim.loop.whole import WholeWriter
from trim.models.model import Prefilling
from trim.policies.policy import Policy
from trim.policies.whole import WholeAnswer
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
        drafts_ahead = config.overlap and self.scorer and not policy.inside_steps
        self._speculation = Speculation(solution, writers[0] if drafts_ahead else None)
        self._spans = SpanWriter(solution, writers, policy)
        solution.reports_tokens = policy.places
        self._prefill = Prefill(solution, strong if isinstance(strong, Prefilling) else None)
        self._whole: WholeWriter | None = None
        if isinstance(policy, WholeAnswer):
            self._whole = WholeWriter(solution, policy)
            # Its only step is its end.
            solution.config = replace(config, rules=Rules(ends=config.rules.ends))
            if self.decision is Action.CONTINUE:
                solution.level = [writer.role for writer in writers].index(policy.role)

    async def __aenter__(self) -> StepExecutor:
        await self._spans.require_models()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        ends = self._ends(error)
        if self._whole:
            await self._whole.close()
            self._whole.cut()
        elif ends and self.policy.spans_are_final:
            self._spans.cut()
        abandoned = error is not None and not ends
        await self._speculation.close(cancel=abandoned)
        await self._prefill.close(cancel=abandoned)
        return ends

    @property
    def index(self) -> int:
        """Number of the current step, from 1."""
        return self.solution.length + 1

    async def write(self) -> Drafted | Regenerated | SpanWritten | Kept:
        """Have the next model write a version of the step: after a rejection the next one up.

        Returns:
            SpanWritten for a part of a version; after the last one the version is complete. Kept,
            if no model answered and an earlier version was committed as the fallback.
        """
        self._apply_rejection()
        while True:
            writer = self._next_writer()
            try:
                written = await self._write(writer)
                break
            except ModelUnavailable as failure:
                if self._whole and self._whole.has_begun:
                    raise
                if kept := self._fall_back(writer, failure):
                    return kept
        is_complete = self._whole.is_complete if self._whole else not self._spans.parts
        newest = self.solution.versions[-1].writer if is_complete else writer
        self.is_accepted = is_complete and newest.author is Author.STRONG
        self.is_pending = is_complete and not self.is_accepted
        return written

    async def _write(self, writer: Writer) -> Drafted | Regenerated | SpanWritten:
        """Have a model write a version of the step, a span of one, or pieces of a whole answer."""
        if self._whole:
            return await self._write_whole(self._whole, writer)
        takes_over = self.decision in STRONG_ONLY and writer.author is Author.STRONG
        if self._spans.is_active and not takes_over:
            return await self._spans.write(writer, self._strong_tokens_left())
        written = await self._speculation.write(writer)
        if writer.author is Author.WEAK:
            return Drafted(self.index, written.text, written.tokens)
        return Regenerated(self.index, written.text, written.tokens, writer.author)

    async def _write_whole(self, whole: WholeWriter, writer: Writer) -> SpanWritten:
        limits: list[float] = [] if self.config.max_tokens is None else [self.config.max_tokens]
        if writer.author is not Author.STRONG:
            return await whole.write(writer, min(limits, default=math.inf))
        limits.append(self._strong_tokens_left(Allowance()))

        def left() -> float:
            price = self.config.prices.strong.output / 1e6
            return self._strong_tokens_left(self.solution.allowance.with_margin(price))

        return await whole.write(writer, min(limits), left)

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
        if self._rejection is Action.REGENERATE and self.policy.places:
            self._spans.rewrite_from(self.solution.versions[-1])
        self._rejection = None

    def _next_writer(self) -> Writer:
        if self._whole and self._whole.writer:
            return self._whole.writer
        if self.decision in STRONG_ONLY and self._permits(self.decision):
            return self.writers[-1]
        if self._spans.extent:
            if self._can_write(self.writers[-1]):
                return self.writers[-1]
            self._spans.draft_on()  # the draft itself used up the money
        writer = self.writers[self.solution.level]
        if self._spans.parts and not self._can_write(writer):
            return self.writers[0]  # finishes what the strong model has begun
        return writer

    def _permits(self, action: Action) -> bool:
        """Whether limits and failures leave the model that an action needs."""
        if action is Action.CONTINUE:
            return True
        return self._can_write(
            self.writers[-1 if action in STRONG_ONLY else self.solution.level + 1]
        )

    def _can_write(self, writer: Writer) -> bool:
        """Whether limits and failures leave a model."""
        return writer.author is not Author.STRONG or self._affords_strong()

    def _affords_strong(self) -> bool:
        """Whether the limits on strong tokens and money leave room for another strong step."""
        return self._strong_tokens_left() > 0

    def _strong_tokens_left(self, allowance: Allowance | None = None) -> float:
        """Tokens that limits and failures let the strong model decode; 0 forbids its calls.

        Args:
            allowance: by default that of the solution.
        """
        solution, config = self.solution, self.config
        allowance = allowance or solution.allowance
        if solution.fallback == Author.STRONG:
            return 0
        limits = (config.max_strong_tokens, self.policy.max_strong_tokens, allowance.strong_tokens)
        left = min(limit - solution.strong_tokens for limit in limits if limit is not None)
        most = min(math.inf if config.max_money is None else config.max_money, allowance.money)
        if math.isinf(most):
            return max(left, 0)
        money = most - config.prices.of_usage(solution.usage, solution.scorer)
        if money <= 0:
            return 0
        each = config.prices.strong.output / 1e6
        return max(min(left, math.ceil(money / each) if each else math.inf), 0)

    def _wants_prefill(self) -> bool:
        """Whether the strong model should read the version that is about to be committed."""
        if self.policy.keeps_drafts or not self._affords_strong():
            return False
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
        above = self.writers.index(writer) + 1
        escalates = fallback is Fallback.ESCALATE and above < len(self.writers)
        if escalates and self._can_write(self.writers[above]):
            solution.level = above
        elif fallback is Fallback.ESCALATE and not solution.versions:
            raise failure
        elif solution.versions:
            self._spans.reset()
            self.is_pending = self.is_accepted = False
            return Kept(self.index, solution.commit(Action.CONTINUE))
        elif self._spans.extent:
            self._spans.draft_on()
        elif before:
            raise failure
        elif self._whole:
            solution.level = 0
        return None

    def _ends(self, error: BaseException | None) -> bool:
        """Whether an error ends the solution, rather than its caller's work."""
        if isinstance(error, ContextExceeded) and (self.solution.length or self._spans.parts):
            self.solution.finish = Finish.CONTEXT
            return True
        if isinstance(error, ModelUnavailable):
            self.solution.finish, self.solution.failure = Finish.FAILED, str(error)
            return True
        return False
