"""The batch of the authors' scripts: all problems wait for the slowest at each stage."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from trim.models.model import Completion, Model, Prefix, Sampling
from trim.scorers.scorer import Scorer, Scores

STAGES = ("scorer", "strong", "weak")
"""What goes first once all wait: the drafts of a step are scored, then the rejected ones
rewritten, and only then are the next ones drafted."""


class Lockstep:
    """Lets requests go only when every problem of the batch that is not yet solved waits."""

    def __init__(self, problems: int) -> None:
        self.unsolved = problems
        self._waiting: dict[str, list[asyncio.Future[None]]] = {stage: [] for stage in STAGES}

    async def turn(self, stage: str) -> None:
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[stage].append(waiter)
        self._go_on()
        await waiter

    def solved(self) -> None:
        self.unsolved -= 1
        self._go_on()

    def _go_on(self) -> None:
        if sum(map(len, self._waiting.values())) < self.unsolved:
            return
        stage = next((stage for stage in STAGES if self._waiting[stage]), None)
        if stage:
            going, self._waiting[stage] = self._waiting[stage], []
            for waiter in going:
                waiter.set_result(None)


@dataclass(frozen=True)
class LockstepModel:
    model: Model
    lockstep: Lockstep
    stage: str

    @property
    def name(self) -> str:
        return self.model.name

    async def write_step(self, prefix: Prefix, sampling: Sampling, seed: int) -> Completion:
        await self.lockstep.turn(self.stage)
        return await self.model.write_step(prefix, sampling, seed)


@dataclass(frozen=True)
class LockstepScorer:
    scorer: Scorer
    lockstep: Lockstep

    @property
    def name(self) -> str:
        return self.scorer.name

    async def score(self, trace: Prefix, written: Sequence[Completion]) -> Scores:
        await self.lockstep.turn("scorer")
        return await self.scorer.score(trace, written)
