"""A solution under way: what has been kept, and the books of what it cost."""

from __future__ import annotations

import copy
import math
import time
from dataclasses import dataclass, replace

from trim.config import End, RouterConfig
from trim.engines.retry import until
from trim.models.model import Completion, Ending, Model, Prefix, Turn
from trim.numerics import derive_seed
from trim.scorers.scorer import Scorer, Scores
from trim.steps import SEPARATOR, boxed_answer, closed, is_degenerate
from trim.types import Action, Author, Finish, Observation, Rejected, Step, Trace, Usage


@dataclass(frozen=True)
class Writer:
    """A model that writes steps.

    Attributes:
        level: its place among the models between weak and strong, from 1; 0 for these two.
    """

    author: Author
    model: Model
    level: int = 0

    @property
    def role(self) -> str:
        """Under which its tokens are counted: `weak`, `intermediate-1`, …, `strong`."""
        return f"{self.author}-{self.level}" if self.level else str(self.author)


@dataclass(frozen=True)
class Version:
    """What one model wrote for the step that is being decided.

    Attributes:
        score: None until it is scored.
    """

    writer: Writer
    written: Completion
    score: float | None = None


class Solution:
    """Grows by one kept step at a time; `finish` is None until it has ended.

    Attributes:
        versions: of the step that is being decided, in the order in which they were written.
        level: how many models have been passed over for that step.
        fallback: the part that did not answer for that step, None where all did.
        seconds: spent waiting so far.
        dropped_tokens: of drafts that were begun ahead of a decision and never used.
        failure: why the solution failed.
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
        self._steps: list[Step] = []
        self._scores: list[float] = []
        self._unscored: list[Completion] = []
        self._unread = 0
        self._scorer: str | None = None
        self._abandoned: tuple[Step, ...] = ()
        self._usage = dict.fromkeys(("weak", "strong", "scorer"), Usage())
        self._reached: dict[tuple[str, str], int] = {}

    @property
    def length(self) -> int:
        return len(self._steps)

    @property
    def is_last_step(self) -> bool:
        """Whether there may be no step after the one that is being decided."""
        return self.length + 1 == self.config.max_steps

    @property
    def newest(self) -> Completion:
        """The version that was written last."""
        return self.versions[-1].written

    @property
    def strong_tokens(self) -> int:
        """Tokens that the strong model has decoded so far."""
        return self._usage["strong"].tokens

    @property
    def usage(self) -> dict[str, Usage]:
        """Tokens so far, by role (`Trace.usage`)."""
        return dict(self._usage)

    @property
    def scorer(self) -> str | None:
        """Name of the scorer that was asked, None if none was."""
        return self._scorer

    @property
    def text(self) -> str:
        """What has been kept, byte for byte."""
        return "".join(step.text for step in self._steps)

    @property
    def prefix(self) -> Prefix:
        return Prefix(self.question, tuple(step.text for step in self._steps), self.history)

    def room(self, ahead: int = 0) -> int:
        """Tokens that the next step may have, or the one after `ahead` more."""
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
        """Add a version that was ready so many seconds after the solution had begun."""
        self.seconds = max(self.seconds, ready)
        self.versions.append(Version(writer, written))

    async def generate(self, writer: Writer, prefix: Prefix, room: int) -> tuple[Completion, float]:
        """What a model writes after a prefix, in `room` tokens, and the seconds that it takes.

        After a degenerate step it is asked once more, with that step in the prefix. The step is
        then both together, or the continuation alone (`Rules.rejoins`); all tokens count.
        """
        first = await self._ask(writer, prefix, room)
        goes_on = first.ending is Ending.STEP or (
            first.ending is Ending.SOLUTION and self.config.rules.asks_on
        )
        if not (goes_on and is_degenerate(first.text)) or first.tokens >= room:
            return first, first.seconds
        lead = closed(first.text)
        second = await self._ask(writer, self._behind(prefix, lead), room - first.tokens)
        text = second.text if self.config.rules.rejoins else lead + second.text
        tokens = first.tokens + second.tokens
        return replace(second, text=text, tokens=tokens), first.seconds + second.seconds

    def _behind(self, prefix: Prefix, lead: str) -> Prefix:
        """What is read behind a step without content: as the authors' scripts have it, the text
        so far without outer space, where steps are rejoined."""
        if not self.config.rules.rejoins:
            return prefix.then(lead)
        said = (prefix.text + lead).strip()
        return replace(prefix, steps=(closed(said),) if said else ())

    async def _ask(self, writer: Writer, prefix: Prefix, room: int) -> Completion:
        limit = min(self.config.sampling.max_tokens, room)
        if self.config.rules.context is not None:
            left = self.config.rules.context - self._reached_by(writer, prefix)
            limit = max(1, min(limit, left))
        sampling = replace(self.config.sampling, max_tokens=limit)
        seed = derive_seed(self.seed, self.question, len(prefix.steps))
        with until(self.deadline):
            written = await writer.model.write_step(self._read(prefix), sampling, seed)
        self.add_usage(writer.role, written)
        if self.config.rules.context is not None:
            self._reached[writer.role, prefix.text] = written.prompt_tokens + written.tokens
        if self.config.rules.rejoins and written.ending is Ending.STEP:
            written = replace(written, text=closed(written.text.partition(SEPARATOR)[0]))
        return written

    def _reached_by(self, writer: Writer, prefix: Prefix) -> int:
        """Tokens that a model had read and written where it came nearest to a prefix; what others
        wrote behind that is not counted."""
        came = [
            (len(said), tokens)
            for (role, said), tokens in self._reached.items()
            if role == writer.role and prefix.text.startswith(said)
        ]
        return max(came, default=(0, 0))[1]

    def _read(self, prefix: Prefix) -> Prefix:
        """The prefix as models read it: steps that are rejoined begin with the first that is not
        empty."""
        steps = prefix.steps
        while self.config.rules.rejoins and steps and steps[0] == SEPARATOR:
            steps = steps[1:]
        return replace(prefix, steps=steps)

    async def score(self, scorer: Scorer) -> float:
        """Score the newest version, together with kept steps that have no score yet."""
        written = (*self._unscored, self.newest)
        with until(self.deadline):
            scores = await scorer.score(self.prefix.then(self.newest.text), written)
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
        """What a policy sees of the newest version and of all before it."""
        newest = self.versions[-1]
        return Observation(
            question=self.question,
            steps=(*self.prefix.steps, newest.written.text),
            scores=() if newest.score is None else (*self._scores, newest.score),
            tokens=(*(step.tokens for step in self._steps), newest.written.tokens),
            actions=tuple(step.action for step in self._steps),
            seed=self.seed,
            last=self.would_end(newest.written) or self.is_last_step,
            answered=newest.written.ending is Ending.SOLUTION
            or boxed_answer(self.text + newest.written.text) is not None,
        )

    def restart(self) -> None:
        """Throw away the draft and everything before it; the books remember."""
        self.commit(Action.RESTART)
        self._abandoned = tuple(self._steps)
        self.finish = None
        self._steps, self._scores, self._unscored = [], [], []

    def commit(self, action: Action, denied: bool = False) -> Step:
        """Append the newest version; those before it are discarded.

        Args:
            action: the decision about it. One by a model in the middle is kept by CONTINUE and
                recorded as REGENERATE, which is what was done about the draft.
        """
        *others, newest = self.versions
        written, writer = newest.written, newest.writer
        draft = next((v.written for v in others if v.writer.author is Author.WEAK), None)
        decided = [v.score for v in self.versions if v.writer.author is not Author.STRONG]
        step = Step(
            text=written.text,
            author=writer.author,
            action=Action.REGENERATE if writer.level else action,
            score=decided[-1] if decided else None,
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
        """Whether the solution ends by itself, or with a cut, if this is kept after its steps."""
        return self._claim(self.text, written) is not None

    def _claim(self, before: str, written: Completion) -> Finish | None:
        """Why a step behind `before` is the last one, by its text and its ending alone."""
        if self._boxes(before, written.text):
            return Finish.ANSWER
        if written.ending is Ending.LENGTH:
            return Finish.LENGTH
        stopped = written.ending is Ending.SOLUTION and not self.config.rules.asks_on
        return Finish.STOP if stopped else None

    def _boxes(self, before: str, text: str) -> bool:
        """Whether a step ends the solution by the box in it."""
        if self.config.rules.ends is End.MODEL:
            return False
        if self.config.rules.open_box:
            return "boxed{" in text
        return boxed_answer(before + text) is not None

    def _end(self, written: Completion) -> Finish | None:
        """Why the step that was kept last is the last one; None where it is not."""
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
        )
        return replace(trace, answer=boxed_answer(self.text))

    def add_usage(self, role: str, spent: Completion | Scores) -> None:
        """Add tokens to the usage of a role (`Trace.usage`)."""
        usage = Usage(spent.prompt_tokens, spent.cached_tokens, spent.tokens)
        self._usage[role] = self._usage.get(role, Usage()) + usage

    def copy(self) -> Solution:
        """An independent copy, to continue in another way."""
        twin = copy.copy(self)
        twin.versions = list(self.versions)
        twin._steps = list(self._steps)
        twin._scores = list(self._scores)
        twin._unscored = list(self._unscored)
        twin._usage = dict(self._usage)
        twin._reached = dict(self._reached)
        return twin

    def _decoded(self, author: Author) -> int:
        return sum(v.written.tokens for v in self.versions if v.writer.author is author)
