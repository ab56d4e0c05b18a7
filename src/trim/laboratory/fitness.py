"""From figures to a verdict: what a scorer is fit for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from trim.laboratory.cells import percent
from trim.laboratory.detection import FirstRewrites
from trim.laboratory.reliability import BINS, Reliability
from trim.laboratory.roc import Area

CHANCE = 0.5
"""AUC-ROC of scores that tell nothing."""
FIT = 0.7
"""AUC-ROC below which a scorer is not fit for thresholding (arXiv 2601.10245)."""
MISCALIBRATED = 1 / BINS
"""Calibration error, over chance, of a whole bin of the diagram: a score then means on average
what the next bin's scores say."""

LOWEST = "lowest score of a solution"
"""Name of the area of lowest scores against right answers."""


class Verdict(StrEnum):
    """What to do with a scorer."""

    THRESHOLD = "fit for thresholding"
    PLAN = "use the POMDP router"
    NOT = "do not route with it"


@dataclass(frozen=True)
class Judgement:
    """A verdict and the figures that led to it, a sentence each, at least one."""

    verdict: Verdict
    reasons: tuple[str, ...]


def judge(
    areas: Mapping[str, Area | None],
    decisive: str,
    reliability: Reliability | None,
    rewrites: FirstRewrites | None,
) -> Judgement:
    """The first of these rules that holds:

    1. Do not route: the interval of the decisive area reaches down to 0.5.
    2. Use the POMDP router, which reads scores through fitted densities and counts steps, where
       a threshold is not safe: the interval of an area of a step up to the first error or of
       the lowest score reaches below 0.7; or scores are off by more than a tenth on average,
       in bins of scores or of step numbers; or the best threshold's first rewrite comes more
       often after the first error than on it.
    3. Otherwise it is fit for thresholding.

    Args:
        areas: by name; the decisive one is not None.
        reliability, rewrites: None without labels, where their rules do not apply.
    """
    area = areas[decisive]
    assert area is not None, "the decisive area is known"
    if area.interval[0] <= CHANCE:
        reason = f"the AUC-ROC of the {decisive} {shown(area)} may be {CHANCE}, which is chance"
        return Judgement(Verdict.NOT, (reason,))
    unsafe = tuple(_unsafe(areas, decisive, reliability, rewrites))
    if unsafe:
        return Judgement(Verdict.PLAN, unsafe)
    safe = [
        f"the AUC-ROC of the {name} {shown(found)} is above {FIT}"
        for name, found in _judged(areas, decisive)
    ]
    if reliability:
        safe.append(
            f"scores are off by {reliability.error:.3f} on average, and by"
            f" {reliability.error_by_step:.3f} more or less from step number to step number:"
            f" within {MISCALIBRATED} of chance"
        )
    return Judgement(Verdict.THRESHOLD, tuple(safe))


def _unsafe(
    areas: Mapping[str, Area | None],
    decisive: str,
    reliability: Reliability | None,
    rewrites: FirstRewrites | None,
) -> Iterator[str]:
    """Why a threshold is not safe."""
    for name, area in _judged(areas, decisive):
        if area.interval[0] < FIT:
            below = "is" if area.interval[1] < FIT else "may be"
            yield f"the AUC-ROC of the {name} {shown(area)} {below} below {FIT}"
    if reliability:
        for error, chance, where in (
            (reliability.error, reliability.chance, "on average"),
            (reliability.error_by_step, reliability.chance_by_step, "by the number of the step"),
        ):
            if error - chance > MISCALIBRATED:
                yield (
                    f"scores are off by {error:.3f} {where}, chance alone explains {chance:.3f}:"
                    f" more than {MISCALIBRATED} too far"
                )
    if rewrites and rewrites.late > rewrites.on_error:
        yield (
            f"at the best threshold {rewrites.threshold:.3g} the first rewrite comes after the"
            f" first error in {percent(rewrites.late)} of the solutions, and on it in"
            f" {percent(rewrites.on_error)}"
        )


def _judged(areas: Mapping[str, Area | None], decisive: str) -> Iterator[tuple[str, Area]]:
    """The areas that a threshold depends on, as far as they are known."""
    for name in dict.fromkeys((decisive, LOWEST)):
        area = areas.get(name)
        if area is not None:
            yield name, area


def shown(area: Area) -> str:
    low, high = area.interval
    return f"{area.auc:.3f} ({low:.3f}–{high:.3f})"
