"""A solution under way: its kept steps, the versions of the current step, and its usage."""

from __future__ import annotations

import asyncio
import copy
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from trim.config import End, RouterConfig
from trim.engines.retry import until
from trim.errors import ModelUnavailable
from trim.models.model import Completion, Ending, Model, Prefix, Turn
from trim.models.spans import DeadlineRule, SpanModel, StopRule
from trim.models.usage import tokens_after, tokens_in
from trim.numerics import derive_seed
from trim.scorers.scorer import Scorer, Scores, checked_scores, usage_of
from trim.steps import SEPARATOR, boxed_answer, closed, in_fence, is_degenerate
from trim.types import (
    Action,
    Author,
    Finish,
    Observation,
    Rejected,
    Span,
    Step,
    Trace,
    Usage,
    Whole,
)

TIME_IS_UP = "the problem's time is up"


@dataclass(frozen=True)
class Writer:
    """A model that writes steps.

    Attributes:
        level: position among the models between weak and strong, from 1; 0 for these two.
    """

    author: Author
    model: Model
    level: int = 0

    @property
    def role(self) -> str:
        """Role in `Trace.usage`: `weak`, `intermediate-1`, …, `strong`."""
        return f"{self.author}-{self.level}" if self.level else str(self.author)


@dataclass(frozen=True)
class Part:
    """A part of a version.

    Attributes:
        kept: tokens of its text.
        decoded: tokens decoded for it; 0 for the beginning of an earlier version.
    """

    writer: Writer
    written: Completion
    kept: int
    decoded: int

    @staticmethod
    def of(writer: Writer, written: Completion) -> Part:
        """The part that was just written."""
        return Part(writer, written, written.kept, written.tokens)


@dataclass(frozen=True)
class Version:
    """A version of the current step.

    Attributes:
        writer: the model that wrote it; the weak one for a draft with parts by the strong one.
        score: in [0, 1]; None until it is scored.
        parts: of a version by several models; empty otherwise.
    """

    writer: Writer
    written: Completion
    score: float | None = None
    parts: tuple[Part, ...] = ()

    @property
    def author(self) -> Author:
        """The strongest author of its text."""
        written = {part.writer.author for part in self.parts if part.written.text}
        return max(written, key=list(Author).index, default=self.writer.author)

    @property
    def spans(self) -> tuple[Span, ...]:
        """The parts with text; empty for a single one that was kept whole."""
        if all(part.kept == part.decoded for part in self.parts) and len(self.parts) < 2:
            return ()
        parts = (part for part in self.parts if part.written.text)
        return tuple(Span(part.written.text, part.writer.author, part.kept) for part in parts)

    def decoded_by(self, author: Author) -> int:
        """Tokens that one author decoded for it."""
        if not self.parts:
            return self.written.tokens if author is self.writer.author else 0
        return sum(part.decoded for part in self.parts if part.writer.author is author)


def joined(parts: Sequence[Part], rejoins: bool) -> Completion:
    """One completion of consecutive parts, with the tokens that were kept.

    Args:
        rejoins: cut the step at its first blank line (`trim.config.Rules`).
    """
    first = next((part.written for part in parts if part.kept), parts[0].written)
    last = parts[-1].written
    text = "".join(part.written.text for part in parts)
    if rejoins and last.ending is Ending.STEP:
        text = closed(text.partition(SEPARATOR)[0])
    known = [part for part in parts if part.written.log_probability is not None]
    weight = sum(part.kept for part in known)
    total = math.fsum((part.written.log_probability or 0.0) * part.kept for part in known)
    return Completion(
        text=text,
        ending=last.ending,
        tokens=sum(part.kept for part in parts),
        prompt_tokens=last.prompt_tokens,
        cached_tokens=last.cached_tokens,
        seconds=math.fsum(part.written.seconds for part in parts),
        log_probability=total / weight if weight else None,
        first_entropy=first.first_entropy,
        decoded=tuple(token for part in parts for token in part.written.decoded),
    )


def together(first: Completion, second: Completion) -> Completion:
    """One completion of a text and its continuation."""
    total = first.tokens + second.tokens
    known = first.log_probability is not None and second.log_probability is not None
    mean = None
    if known and total:
        weighted = (each.tokens * (each.log_probability or 0.0) for each in (first, second))
        mean = math.fsum(weighted) / total
    return replace(
        second,
        text=first.text + second.text,
        tokens=total,
        seconds=first.seconds + second.seconds,
        log_probability=mean,
        first_entropy=first.first_entropy,
        decoded=(*first.decoded, *second.decoded),
    )


@dataclass
class Allowance:
    """What a solution may spend at present, besides the limits of its configuration.

    Whoever runs the solution may raise it between two events, and while a whole answer is written.

    Attributes:
        margin: tokens by which a whole answer may exceed it until it is raised. Its engine does
            not wait between two tokens.
    """

    money: float = math.inf
    strong_tokens: float = math.inf
    margin: float = 0.0

    def with_margin(self, price: float) -> Allowance:
        """The allowance with its margin, at a price of a token."""
        return Allowance(self.money + self.margin * price, self.strong_tokens + self.margin)


class Solution:
    """A solution that grows by one kept step at a time; `finish` is None until it ends.

    Attributes:
        versions: of the current step, in the order in which they were written.
        level: number of models that were passed over for that step.
        fallback: the first unavailable part for that step; None if all answered.
        seconds: time spent waiting so far.
        dropped_tokens: tokens of speculative drafts that were not used.
        failure: why the solution failed.
        whole: of an answer that one model writes whole.
        reports_tokens: whether drafts come with their tokens (`trim.models.spans`).
        allowance: further limits.
        under_way: role and cost so far of a call that has not ended; None without one.
    """

    def __init__(
        self, question: str, seed: int, config: RouterConfig, history: tuple[Turn, ...] = ()
    ) -> None:
        self.question = question
        self.seed = seed
        self.config = config
        self.history = history
        seconds = config.max_seconds
        self.deadline = math.inf if seconds is None else time.monotonic() + seconds
        self.finish: Finish | None = None
        self.versions: list[Version] = []
        self.level = 0
        self.fallback: str | None = None
        self.seconds = 0.0
        self.dropped_tokens = 0
        self.failure: str | None = None
        self.whole: Whole | None = None
        self._steps: list[Step] = []
        self._scores: list[float] = []
        self._unscored: list[Completion] = []
        self._unread = 0
        self._scorer: str | None = None
        self._abandoned: tuple[Step, ...] = ()
        self._usage = dict.fromkeys(("weak", "strong", "scorer"), Usage())
        self._reached: dict[tuple[str, str], int] = {}
        self.reports_tokens = False
        self.allowance = Allowance()
        self.under_way: tuple[str, Usage] | None = None

    @property
    def length(self) -> int:
        return len(self._steps)

    @property
    def is_last_step(self) -> bool:
        """Whether the current step is the last that `max_steps` allows."""
        return self.length + 1 == self.config.max_steps

    @property
    def newest(self) -> Completion:
        """The newest version of the current step."""
        return self.versions[-1].written

    @property
    def strong_tokens(self) -> int:
        """Tokens that the strong model has decoded so far."""
        return self.usage["strong"].tokens

    @property
    def usage(self) -> dict[str, Usage]:
        """Tokens so far, by role (`Trace.usage`)."""
        usage = dict(self._usage)
        if self.under_way:
            role, spent = self.under_way
            usage[role] = usage.get(role, Usage()) + spent
        return usage

    @property
    def scorer(self) -> str | None:
        """Name of the scorer that was asked, None if none was."""
        return self._scorer

    @property
    def text(self) -> str:
        """The kept steps joined, byte for byte."""
        return "".join(step.text for step in self._steps)

    @property
    def prefix(self) -> Prefix:
        return Prefix(self.question, tuple(step.text for step in self._steps), self.history)

    def room(self, ahead: int = 0) -> int:
        """Maximum tokens of the next step, once `ahead` more have been kept."""
        if self.config.max_tokens is None:
            return self.config.sampling.max_tokens
        return self.config.max_tokens - sum(step.tokens for step in self._steps) - ahead

    async def write(self, writer: Writer) -> Completion:
        """Have a model write a version of the next step."""
        started = self.seconds
        written, seconds = await self.generate(writer, self.prefix, self.room())
        self.add_version(writer, written, started + seconds)
        return written

    def add_version(self, writer: Writer, written: Completion, ready: float) -> None:
        """Add a version.

        Args:
            ready: seconds from the start of the solution to the end of the version.
        """
        self.seconds = max(self.seconds, ready)
        self.versions.append(Version(writer, written))

    async def generate(self, writer: Writer, prefix: Prefix, room: int) -> tuple[Completion, float]:
        """Have a model write a step after a prefix, without adding it as a version.

        After a degenerate step the model is asked once more, with that step in the prefix. The
        result is both together, or the second alone (`Rules.rejoins`); all tokens count. A fenced
        block is written to its end (`Rules.keeps_fences`).

        Args:
            room: maximum tokens.

        Returns:
            The step, and the seconds that it took.
        """
        room = min(room, self.config.sampling.max_tokens)
        written, seconds = await self._generate(writer, prefix, room)
        while self.continues_fence(written.text, written.ending):
            if written.tokens >= room:
                return replace(written, ending=Ending.LENGTH), seconds
            ahead = prefix.then(closed(written.text))
            more = await self._ask(writer, ahead, room - written.tokens)
            if not more.tokens:
                break
            written = together(replace(written, text=closed(written.text)), more)
            seconds += more.seconds
        return written, seconds

    def continues_fence(self, step: str, ending: Ending) -> bool:
        """Whether a step goes on after its blank line, which is inside a fenced block."""
        return ending is Ending.STEP and self.config.rules.keeps_fences and in_fence(step)

    async def _generate(
        self, writer: Writer, prefix: Prefix, room: int
    ) -> tuple[Completion, float]:
        first = await self._ask(writer, prefix, room)
        goes_on = first.ending is Ending.STEP or (
            first.ending is Ending.SOLUTION and self.config.rules.asks_on
        )
        if not (goes_on and is_degenerate(first.text)) or first.tokens >= room:
            return first, first.seconds
        lead = closed(first.text)
        second = await self._ask(writer, self._behind(prefix, lead), room - first.tokens)
        both = together(replace(first, text=lead), second)
        if self.config.rules.rejoins:
            both = replace(second, tokens=both.tokens)
        return both, first.seconds + second.seconds

    def _behind(self, prefix: Prefix, lead: str) -> Prefix:
        """The prefix after a degenerate step. Rejoined steps are read as in the authors' scripts:
        the text so far, stripped."""
        if not self.config.rules.rejoins:
            return prefix.then(lead)
        text = (prefix.text + lead).strip()
        return replace(prefix, steps=(closed(text),) if text else ())

    async def write_span(
        self, writer: Writer, begun: str, room: int, stop: StopRule | None
    ) -> Completion:
        """Have a model write on inside the next step, after its beginning.

        Args:
            room: maximum tokens.
            stop: ends the span (`trim.models.spans`); None for the end of the step.
        """
        written = await self._ask(writer, self.prefix.inside(begun), room, stop, True)
        self.seconds += written.seconds
        return written

    async def _ask(
        self,
        writer: Writer,
        prefix: Prefix,
        room: int,
        stop: StopRule | None = None,
        reports_tokens: bool = False,
    ) -> Completion:
        limit = min(self.config.sampling.max_tokens, room)
        if self.config.rules.context is not None:
            left = self.config.rules.context - self._reached_by(writer, prefix)
            limit = max(1, min(limit, left))
        sampling = replace(self.config.sampling, max_tokens=limit)
        place = (len(prefix.begun),) if prefix.begun else ()
        seed = derive_seed(self.seed, self.question, len(prefix.steps), *place)
        prefix_read, model = self._read(prefix), writer.model
        reports_tokens = reports_tokens or self.reports_tokens
        started = time.monotonic()
        try:
            with until(self.deadline):
                if isinstance(model, SpanModel) and reports_tokens:
                    rule = stop if math.isinf(self.deadline) else DeadlineRule(stop, self.deadline)
                    written = await model.write_span(prefix_read, sampling, seed, rule)
                else:
                    written = await model.write_step(prefix_read, sampling, seed)
        except asyncio.CancelledError:
            self._add_unfinished(writer, prefix, limit, started)
            raise
        except ModelUnavailable:
            if time.monotonic() >= self.deadline:
                self._add_unfinished(writer, prefix, limit, started)
            raise
        self.add_usage(writer.role, written)
        if reports_tokens and time.monotonic() >= self.deadline:
            raise ModelUnavailable(f"{model.name}: {TIME_IS_UP}")
        if self.config.rules.context is not None:
            self._reached[writer.role, prefix.text] = written.prompt_tokens + written.tokens
        if self.config.rules.rejoins and written.ending is Ending.STEP:
            written = replace(written, text=closed(written.text.partition(SEPARATOR)[0]))
        return written

    def _add_unfinished(self, writer: Writer, prefix: Prefix, limit: int, started: float) -> None:
        """Count an estimate of the tokens of a call that was cancelled or ended by the deadline."""
        if decoded := tokens_after(time.monotonic() - started, limit):
            usage = Usage(tokens_in([prefix.full_question, prefix.text]), 0, decoded, 1)
            self._usage[writer.role] = self._usage.get(writer.role, Usage()) + usage

    def _reached_by(self, writer: Writer, prefix: Prefix) -> int:
        """Tokens that a model had read and written at the longest prefix of this one it knows."""
        came = [
            (len(text), tokens)
            for (role, text), tokens in self._reached.items()
            if role == writer.role and prefix.text.startswith(text)
        ]
        return max(came, default=(0, 0))[1]

    def _read(self, prefix: Prefix) -> Prefix:
        """The prefix as models read it: rejoined steps start with the first non-empty one."""
        steps = prefix.steps
        while self.config.rules.rejoins and steps and steps[0] == SEPARATOR:
            steps = steps[1:]
        return replace(prefix, steps=steps)

    async def score(self, scorer: Scorer) -> float:
        """Score the newest version, together with kept steps that have no score yet."""
        written = (*self._unscored, self.newest)
        with until(self.deadline):
            trace = self.prefix.then(self.newest.text)
            scores = await checked_scores(scorer, trace, written)
        self._scorer = scorer.name
        self.add_usage("scorer", scores)
        self.seconds += scores.seconds
        self._unread = scores.unread_steps
        *missing, score = scores.values
        self._scores += missing
        self._unscored = []
        self.versions[-1] = replace(self.versions[-1], score=score)
        return score

    def observe(self) -> Observation:
        """The policy's observation of the newest version and everything before it."""
        newest = self.versions[-1]
        return Observation(
            question=self.question,
            steps=(*self.prefix.steps, newest.written.text),
            scores=() if newest.score is None else (*self._scores, newest.score),
            tokens=(*(step.tokens for step in self._steps), newest.written.tokens),
            actions=tuple(step.action for step in self._steps),
            seed=self.seed,
            last=self.is_last(newest.written),
            answered=newest.written.ending is Ending.SOLUTION
            or boxed_answer(self.text + newest.written.text) is not None,
        )

    def restart(self) -> None:
        """Discard the draft and all kept steps; usage and time stay counted."""
        self.commit(Action.RESTART)
        self._abandoned = tuple(self._steps)
        self.finish = None
        self._steps, self._scores, self._unscored = [], [], []

    def commit(self, action: Action, denied: bool = False) -> Step:
        """Append the newest version and discard the others.

        Args:
            action: the decision about it. CONTINUE for a version by a model between weak and
                strong is recorded as REGENERATE, the action on the draft.
            denied: whether a limit overruled the policy's decision.
        """
        *others, newest = self.versions
        written, writer = newest.written, newest.writer
        draft = next((v.written for v in others if v.writer.author is Author.WEAK), None)
        decided = [v for v in self.versions if v.writer.author is not Author.STRONG]
        draft_score = next((v.score for v in decided if v.writer.author is Author.WEAK), None)
        inside = action is Action.CONTINUE and newest.author is not writer.author
        step = Step(
            text=written.text,
            author=newest.author,
            action=Action.REGENERATE if writer.level or inside else action,
            score=decided[-1].score if decided else None,
            draft=draft.text if draft else None,
            draft_tokens=self._decoded(Author.WEAK),
            strong_tokens=self._decoded(Author.STRONG),
            truncated=written.ending is Ending.LENGTH,
            denied=denied,
            unread=self._unread,
            level=writer.level,
            intermediate_tokens=self._decoded(Author.INTERMEDIATE),
            rejected=tuple(
                Rejected(v.written.text, v.written.tokens, v.writer.level, v.score)
                for v in others
                if v.writer.author is Author.INTERMEDIATE
            ),
            fallback=self.fallback,
            spans=newest.spans,
            draft_score=draft_score if decided and decided[-1].writer.level else None,
        )
        self._steps.append(step)
        self.finish = self._end(written)
        if self.finish is None:
            step = replace(step, text=closed(step.text))
            self._steps[-1] = step
        if newest.score is None:
            self._unscored.append(written)
        else:
            self._scores.append(newest.score)
        self.versions, self.level, self.fallback, self._unread = [], 0, None, 0
        return step

    def would_end(self, written: Completion) -> bool:
        """Whether keeping this step would end the solution, limits on the solution aside."""
        return self._claim(self.text, written) is not None

    def is_last(self, written: Completion) -> bool:
        """Whether keeping this step would end the solution, or is all that its limits leave."""
        stopped = any(stop in self.text + written.text for stop in self.config.stops)
        full = self.room(ahead=written.tokens) <= 0
        return stopped or full or self.is_last_step or self.would_end(written)

    def _claim(self, before: str, written: Completion) -> Finish | None:
        """Why a step after `before` is the last one, by its text and ending alone."""
        if self._boxes(before, written.text):
            return Finish.ANSWER
        if written.ending is Ending.LENGTH:
            return Finish.LENGTH
        stopped = written.ending is Ending.SOLUTION and not self.config.rules.asks_on
        return Finish.STOP if stopped else None

    def _boxes(self, before: str, text: str) -> bool:
        """Whether a boxed answer in a step ends the solution."""
        if self.config.rules.ends is End.MODEL:
            return False
        if self.config.rules.open_box:
            return "boxed{" in text
        return boxed_answer(before + text) is not None

    def _end(self, written: Completion) -> Finish | None:
        """Why the newest kept step is the last one; None if it is not."""
        before = "".join(step.text for step in self._steps[:-1])
        claim = self._claim(before, written)
        if claim is Finish.LENGTH and self.room() <= 0:
            return Finish.TOKENS
        if claim is not None:
            return claim
        if any(stop in self.text for stop in self.config.stops):
            return Finish.STOP
        if self.room() <= 0:
            return Finish.TOKENS
        return Finish.STEPS if self.length == self.config.max_steps else None

    def trace(self, policy: str) -> Trace:
        trace = Trace(
            question=self.question,
            policy=policy,
            seed=self.seed,
            steps=tuple(self._steps),
            finish=self.finish or Finish.STOP,
            usage=self.usage,
            seconds=self.seconds,
            scorer=self._scorer,
            abandoned=self._abandoned,
            dropped_tokens=self.dropped_tokens,
            failure=self.failure,
            whole=self.whole,
        )
        return replace(trace, answer=boxed_answer(self.text))

    def add_usage(self, role: str, spent: Completion | Scores) -> None:
        """Add tokens to the usage of a role (`Trace.usage`)."""
        self._usage[role] = self._usage.get(role, Usage()) + usage_of(spent)

    def copy(self) -> Solution:
        """An independent copy, to be continued differently."""
        twin = copy.copy(self)
        twin.versions = list(self.versions)
        twin._steps = list(self._steps)
        twin._scores = list(self._scores)
        twin._unscored = list(self._unscored)
        twin._usage = dict(self._usage)
        twin._reached = dict(self._reached)
        return twin

    def _decoded(self, author: Author) -> int:
        return sum(version.decoded_by(author) for version in self.versions)
