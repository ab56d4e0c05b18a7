"""Lockstep batches, as in the authors' scripts: all problems wait for the slowest at each stage."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from trim.models.model import Completion, Model, Prefix, Sampling
from trim.scorers.scorer import Scorer, Scores

STAGES = ("scorer", "strong", "weak")
"""Order of the stages once all problems wait: drafts are scored, then rejected ones are rewritten,
and then the next steps are drafted."""


class Lockstep:
    """Releases requests only when every unsolved problem of the batch waits."""

    def __init__(self, problems: int) -> None:
        self.unsolved = problems
        self._waiting: dict[str, list[asyncio.Future[None]]] = {stage: [] for stage in STAGES}

    async def wait_for_stage(self, stage: str) -> None:
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[stage].append(waiter)
        self._release_stage()
        await waiter

    def solved(self) -> None:
        self.unsolved -= 1
        self._release_stage()

    def _release_stage(self) -> None:
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
        await self.lockstep.wait_for_stage(self.stage)
        return await self.model.write_step(prefix, sampling, seed)


@dataclass(frozen=True)
class LockstepScorer:
    scorer: Scorer
    lockstep: Lockstep

    @property
    def name(self) -> str:
        return self.scorer.name

    async def score(self, trace: Prefix, written: Sequence[Completion]) -> Scores:
        await self.lockstep.wait_for_stage("scorer")
        return await self.scorer.score(trace, written)
