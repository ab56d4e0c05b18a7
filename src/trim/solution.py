"""A solution under way: what has been kept, and the books of what it cost."""

from __future__ import annotations

import math
import time
from dataclasses import replace

from trim.deadline import until
from trim.models.model import Completion, Ending, Model, Prefix, Sampling
from trim.policies.policy import Action, Observation
from trim.scorers.scorer import Scorer
from trim.seeds import derive_seed
from trim.steps import boxed_answer, is_degenerate
from trim.trace import Author, Finish, Step, Trace, Usage

DEGENERATE_TRIES = 3
"""Steps without content in a row after which one is kept, so that a loop ends."""


class Solution:
    """Grows by one kept step at a time; `finish` is None until it has ended."""

    def __init__(
        self,
        question: str,
        seed: int,
        sampling: Sampling,
        max_steps: int,
        max_seconds: float | None = None,
    ) -> None:
        self.question = question
        self.seed = seed
        self.sampling = sampling
        self.max_steps = max_steps
        self.deadline = math.inf if max_seconds is None else time.monotonic() + max_seconds
        self.finish: Finish | None = None
        self._steps: list[Step] = []
        self._scores: list[float] = []
        self._unscored: list[Completion] = []
        self._draft_score: float | None = None
        self._unread = 0
        self._scorer: str | None = None
        self._abandoned: tuple[Step, ...] = ()
        self._usage = dict.fromkeys(("weak", "strong", "scorer"), Usage())
        self._seconds = 0.0

    @property
    def length(self) -> int:
        return len(self._steps)

    @property
    def strong_tokens(self) -> int:
        """Tokens that the strong model has decoded so far."""
        return self._usage["strong"].tokens

    @property
    def prefix(self) -> Prefix:
        return Prefix(self.question, tuple(step.text for step in self._steps))

    async def write(self, model: Model, author: Author) -> Completion:
        """Have `model` write the next step.

        After a degenerate step it is asked again with that step in the prefix, and only
        the continuation is kept; all tokens count.
        """
        prefix, tokens = self.prefix, 0
        for _ in range(DEGENERATE_TRIES):
            seed = derive_seed(self.seed, self.question, len(prefix.steps))
            with until(self.deadline):
                completion = await model.write_step(prefix, self.sampling, seed)
            self._count(
                author, completion.prompt_tokens, completion.cached_tokens, completion.tokens
            )
            self._seconds += completion.seconds
            tokens += completion.tokens
            if completion.ending is not Ending.STEP or not is_degenerate(completion.text):
                break
            prefix = prefix.then(completion.text)
        return replace(completion, text=completion.text.strip(), tokens=tokens)

    async def score(self, scorer: Scorer, draft: Completion) -> float:
        """Score the draft, together with steps that were regenerated since the last score."""
        written = (*self._unscored, draft)
        with until(self.deadline):
            scores = await scorer.score(self.prefix.then(draft.text), written)
        self._scorer = scorer.name
        self._count("scorer", scores.prompt_tokens, scores.cached_tokens, scores.tokens)
        self._seconds += scores.seconds
        self._unread = scores.unread_steps
        *missing, self._draft_score = scores.values
        self._scores += missing
        self._unscored = []
        return self._draft_score

    def observe(self, draft: Completion) -> Observation:
        """What a policy sees of the draft and of all before it."""
        scored = () if self._draft_score is None else (*self._scores, self._draft_score)
        kept_tokens = (
            step.strong_tokens if step.author is Author.STRONG else step.draft_tokens
            for step in self._steps
        )
        return Observation(
            question=self.question,
            steps=(*self.prefix.steps, draft.text),
            scores=scored,
            tokens=(*kept_tokens, draft.tokens),
            actions=tuple(step.action for step in self._steps),
            seed=self.seed,
            last=ends_solution(draft) or self.length + 1 == self.max_steps,
        )

    def restart(self, draft: Completion) -> None:
        """Throw away the draft and everything before it; the books remember."""
        self.keep(draft, Author.WEAK, Action.RESTART)
        self._abandoned = tuple(self._steps)
        self.finish = None
        self._steps, self._scores, self._unscored = [], [], []

    def keep(
        self,
        written: Completion,
        author: Author,
        action: Action,
        discarded: Completion | None = None,
        denied: bool = False,
    ) -> Step:
        """Append a step, by the weak model or by the strong one instead of a draft."""
        by_weak = author is Author.WEAK
        draft_tokens = discarded.tokens if discarded else 0
        step = Step(
            text=written.text,
            author=author,
            action=action,
            score=self._draft_score,
            draft=discarded.text if discarded else None,
            draft_tokens=written.tokens if by_weak else draft_tokens,
            strong_tokens=0 if by_weak else written.tokens,
            truncated=written.ending is Ending.LENGTH,
            denied=denied,
            unread=self._unread,
        )
        self._steps.append(step)
        if by_weak and self._draft_score is not None:
            self._scores.append(self._draft_score)
        else:
            self._unscored.append(written)
        self._draft_score, self._unread = None, 0
        if boxed_answer(step.text) is not None:
            self.finish = Finish.ANSWER
        elif ends_solution(written) or (discarded and ends_solution(discarded)):
            self.finish = Finish.STOP
        elif self.length == self.max_steps:
            self.finish = Finish.STEPS
        return step

    def trace(self, policy: str) -> Trace:
        trace = Trace(
            question=self.question,
            policy=policy,
            seed=self.seed,
            steps=tuple(self._steps),
            finish=self.finish or Finish.STOP,
            usage=dict(self._usage),
            seconds=self._seconds,
            scorer=self._scorer,
            abandoned=self._abandoned,
        )
        return replace(trace, answer=boxed_answer(self._steps[-1].text) if self._steps else None)

    def _count(self, role: str, prompt_tokens: int, cached_tokens: int, tokens: int) -> None:
        self._usage[role] += Usage(prompt_tokens, cached_tokens, tokens)


def ends_solution(written: Completion) -> bool:
    """Whether a step claims to be the last. A rewritten last draft stays the last step."""
    return written.ending is Ending.SOLUTION or boxed_answer(written.text) is not None
