"""Steps that a model writes for small problems, judged by the known answers."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace

from trim.checks.problems import KINDS, Exercise, Kind
from trim.models.model import Completion, Model, Prefix, Sampling

BATCH = 32
BATCHES = 3
"""At most; no further one is asked for where there are `ENOUGH` right and wrong steps."""
ENOUGH = 8
ABLE = 3
"""Right steps in the first batch by which a kind of problem is one that the model can do."""
TOKENS = 64
"""That a step may have; one that is cut is not judged."""


@dataclass(frozen=True)
class Draft:
    """A step as a model wrote it, and whether it is right."""

    prefix: Prefix
    step: Completion
    right: bool


@dataclass(frozen=True)
class Drafts:
    """What a model wrote.

    Attributes:
        kind: of the problems; None where the model can do none of the kinds.
    """

    kind: Kind | None
    drafts: tuple[Draft, ...] = ()


async def drafts_of(model: Model, sampling: Sampling) -> Drafts:
    """Steps for the first kind of problem that the model can do at all.

    Batches of 32 are asked for until 8 steps are right and 8 are wrong, at most 3. They are sampled
    as they will be: at a higher temperature many a wrong step would be an accident of sampling,
    which confidence finds more easily than a mistake.

    Raises:
        ModelUnavailable: the model does not answer.
    """
    for kind in KINDS:
        drafts = await written(model, kind.exercises(BATCH), sampling, 0)
        if sum(draft.right for draft in drafts) < ABLE:
            continue
        for batch in range(1, BATCHES):
            right = sum(draft.right for draft in drafts)
            if min(right, len(drafts) - right) >= ENOUGH:
                break
            exercises = kind.exercises(BATCH * (batch + 1))[BATCH * batch :]
            drafts += await written(model, exercises, sampling, BATCH * batch)
        return Drafts(kind, tuple(drafts))
    return Drafts(None)


async def written(
    model: Model, exercises: Sequence[Exercise], sampling: Sampling, seed: int
) -> list[Draft]:
    """The judged steps, without those that hold no result."""
    short = replace(sampling, max_tokens=min(TOKENS, sampling.max_tokens))
    steps = await asyncio.gather(
        *(
            model.write_step(exercise.prefix, short, seed + position)
            for position, exercise in enumerate(exercises)
        )
    )
    judged = [
        (exercise, step, exercise.is_right(step))
        for exercise, step in zip(exercises, steps, strict=True)
    ]
    return [
        Draft(exercise.prefix, step, right) for exercise, step, right in judged if right is not None
    ]
