"""Auditing the scorer of a bank: AUC-ROC, calibration, detection and drift."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trim.errors import InvalidInput
from trim.metrics.metrics import area_under_curve
from trim.rollouts.bank import Bank
from trim.studies.detection import (
    EVEN,
    Detection,
    DetectionCurve,
    FirstErrorFinder,
    FirstErrors,
    FirstRewrites,
    detection,
    detection_curve,
    first_rewrites,
)
from trim.studies.fitness import (
    LOWEST,
    Area,
    Judgement,
    area_of,
    area_within,
    judge,
    resampled_areas,
)
from trim.studies.reliability import (
    Reliability,
    Shift,
    reliability_of,
    resampled_errors,
    shift_of_all,
    shift_of_firsts,
)
from trim.studies.resamples import FEWEST, interval_of
from trim.studies.sample import (
    Aggregate,
    Sample,
    Steps,
    draft_scores,
    judged_steps,
    lowest_scores,
    solution_scores,
)

CURVE_POINTS = 200
"""Points of a precision-recall curve in JSON."""


@dataclass(frozen=True)
class StepDetection:
    """Precision and recall of two thresholds among the drafts of one step number."""

    step: int
    drafts: int
    wrong: int
    even: Detection
    best: Detection


@dataclass(frozen=True)
class Detections:
    """Wrong steps that thresholds detect.

    Attributes:
        best_threshold, f1: threshold with the highest F1, and that F1.
        even, best: at the threshold 0.5 and at the best one.
        by_step: the same by step number; empty without labels.
        rewrites: first rewrites at 0.5 and at the best threshold; empty without labels.
    """

    curve: DetectionCurve
    best_threshold: float
    f1: float
    even: Detection
    best: Detection
    by_step: tuple[StepDetection, ...]
    rewrites: tuple[FirstRewrites, ...]


@dataclass(frozen=True)
class Drift:
    """Difference of a bank from an earlier one with the same kind of score.

    Attributes:
        first: shift of the first drafts, which precede all routing.
        every: shift of all drafts.
        auc, auc_interval: change of the decisive area, with its 95 % bootstrap interval.
        error: change of the expected calibration error.
        same_scorer: whether both were scored by the same file; None if unknown.
    """

    against: str
    first: Shift
    every: Shift
    auc: float
    auc_interval: tuple[float, float]
    error: float
    same_scorer: bool | None

    @property
    def found(self) -> bool:
        return self.first.shifted or self.every.shifted


@dataclass(frozen=True)
class Audit:
    """The audit of a scorer on a bank.

    Attributes:
        model: the scorer's file or name (`trim.rollouts.identity.Identity.models`); None if
            unknown.
        solutions: number of weak solutions, at least one of each problem.
        right: share of these with a right answer.
        labelled: whether the bank's steps have labels.
        unfinished: weak solutions without an answer, which scores of solutions leave out.
        areas: AUC-ROC by sample; None if a sample is all right or all wrong.
        decisive: name of the area that the verdict depends on.
        reliability, detections: of the drafts up to and including the first error; without
            labels, of lowest scores against right answers.
        error_interval, brier_interval: 95 % bootstrap intervals of two of the reliability's errors,
            from resampled problems.
        first_errors: at 0.5 and at the threshold with the highest F1; empty without labels, or if
            no solution, or every solution, has an error.
    """

    bank: str
    suite: str
    scorer: str
    model: str | None
    problems: int
    solutions: int
    right: float
    labelled: bool
    unfinished: int
    areas: dict[str, Area | None]
    decisive: str
    reliability: Reliability
    error_interval: tuple[float, float]
    brier_interval: tuple[float, float]
    detections: Detections
    first_errors: tuple[FirstErrors, ...]
    drift: Drift | None
    judgement: Judgement

    def to_json(self) -> dict[str, Any]:
        """All figures, with at most 200 points of the precision-recall curve."""
        record = asdict(self)
        curve = asdict(self.detections.curve.thinned(CURVE_POINTS))
        record["detections"]["curve"] = {name: values.tolist() for name, values in curve.items()}
        if self.drift:
            record["drift"]["found"] = self.drift.found
        return record


ALL, DRAFTS, STRONG = "all steps", "weak drafts", "strong steps unlike them"
REPAIRABLE, LOST = "drafts up to the first error", "drafts after an error"
PRODUCT = "product of a solution's scores"
MEAN, LAST = "mean score of a solution", "last score of a solution"
WITHIN = "lowest score, among solutions of one problem"
STRONG_LOWEST = "lowest score of a strong solution"
AGGREGATES: dict[str, Aggregate] = {
    LOWEST: min,
    PRODUCT: math.prod,
    MEAN: lambda scores: math.fsum(scores) / len(scores),
    LAST: lambda scores: scores[-1],
}
"""Scores of a solution from those of its steps, against its answer. The method's is the lowest."""


def audit(bank: Bank, name: Path, against: tuple[Path, Bank] | None = None) -> Audit:
    """Audit the scores of a bank.

    Args:
        name: of the bank, for errors and the report.
        against: an earlier bank and its name, to test for drift.

    Raises:
        InvalidInput: a bank with right, or with wrong, drafts up to the first error (without
            labels: solutions) of fewer than ten problems; or an earlier bank with another kind of
            score, or without labels.
    """
    steps = judged_steps(bank)
    solutions = lowest_scores(bank)
    decisive = decisive_sample(name, steps, solutions)
    before = comparable_sample(*against, bank, name, steps is not None) if against else None
    areas = {name: area_of(sample) for name, sample in samples_of(bank, steps).items()}
    if len(bank.group_names) < len(bank.problems):
        areas[WITHIN] = area_within(solutions)
    key = REPAIRABLE if steps else LOWEST
    reliability = reliability_of(decisive)
    errors, briers = resampled_errors(decisive)
    detections = detections_of(decisive, bank if steps else None)
    rewrites = detections.rewrites[-1] if steps else None
    return Audit(
        bank=str(name),
        suite=bank.identity.suite,
        scorer=bank.identity.scorer,
        model=bank.identity.models.get("scorer"),
        problems=len(bank.group_names),
        solutions=len(bank.problems),
        right=sum(problem.weak.correct for problem in bank.problems) / len(bank.problems),
        labelled=steps is not None,
        unfinished=len(bank.problems) - len(solutions),
        areas=areas,
        decisive=key,
        reliability=reliability,
        error_interval=interval_of(errors),
        brier_interval=interval_of(briers),
        detections=detections,
        first_errors=first_errors_of(bank, detections.curve) if steps else (),
        drift=drift_of(bank, decisive, *against, before) if against and before else None,
        judgement=judge(areas, key, reliability if steps else None, rewrites),
    )


def samples_of(bank: Bank, steps: Steps | None) -> dict[str, Sample]:
    """The samples whose areas are measured, by name."""
    found: dict[str, Sample] = {}
    if steps and not bank.labels_first_errors:
        found |= {ALL: steps.drafts + steps.strong, DRAFTS: steps.drafts, STRONG: steps.strong}
    if steps:
        found[REPAIRABLE] = steps.repairable
    if steps and not bank.labels_first_errors:
        found[LOST] = steps.lost
    found |= {name: solution_scores(bank, aggregate) for name, aggregate in AGGREGATES.items()}
    strong = solution_scores(bank, min, strong=True)
    return {**found, STRONG_LOWEST: strong} if len(strong) else found


def first_errors_of(bank: Bank, curve: DetectionCurve) -> tuple[FirstErrors, ...]:
    """First errors at 0.5 and at the best of the curve's thresholds, of a labelled bank."""
    finder = FirstErrorFinder(bank.trajectories(), bank.groups)
    if not finder.is_applicable:
        return ()
    best = finder.best_threshold(curve.thinned(CURVE_POINTS).thresholds)
    return finder.at(EVEN), finder.at(best)


def decisive_sample(name: Path, steps: Steps | None, solutions: Sample) -> Sample:
    """Drafts up to the first error, or lowest scores without labels. Raises as `audit`."""
    sample = steps.repairable if steps else solutions
    kind = "drafts up to the first error" if steps else "solutions"
    for which, chosen in (("wrong", ~sample.right), ("right", sample.right)):
        count = len(np.unique(sample.problem[chosen]))
        if count < FEWEST:
            raise InvalidInput(
                f"{name}: problems with {which} {kind}: {count}, but an audit needs at least"
                f" {FEWEST}; collect more"
            )
    return sample


def detections_of(sample: Sample, labelled: Bank | None) -> Detections:
    curve = detection_curve(sample)
    best, f1 = curve.best
    by_step: list[StepDetection] = []
    rewrites: tuple[FirstRewrites, ...] = ()
    if labelled:
        for step in range(1, int(sample.step.max()) + 1):
            of_step = sample.where(sample.step == step)
            if len(of_step):
                by_step.append(
                    StepDetection(
                        step,
                        len(of_step),
                        of_step.wrong,
                        detection(of_step, EVEN),
                        detection(of_step, best),
                    )
                )
        solutions = labelled.trajectories()
        rewrites = (first_rewrites(solutions, EVEN), first_rewrites(solutions, best))
    return Detections(
        curve,
        best,
        f1,
        detection(sample, EVEN),
        detection(sample, best),
        tuple(by_step),
        rewrites,
    )


def comparable_sample(
    name: Path, earlier: Bank, bank: Bank, of_bank: Path, labelled: bool
) -> Sample:
    """The decisive sample of the earlier bank. Raises as `audit`."""
    kind, wanted = earlier.identity.scorer, bank.identity.scorer
    if kind != wanted:
        raise InvalidInput(
            f"{name}: scores of the kind {kind!r}, not {wanted!r} as in {of_bank}; drift needs two"
            " banks with the same kind"
        )
    steps = judged_steps(earlier) if labelled else None
    if labelled and steps is None:
        raise InvalidInput(
            f"{name}: its steps have no labels, those of {of_bank} do; drift needs labels in both"
            " banks, or in none"
        )
    return decisive_sample(name, steps, lowest_scores(earlier))


def drift_of(bank: Bank, decisive: Sample, name: Path, earlier: Bank, before: Sample) -> Drift:
    """Drift from an earlier bank; `decisive` and `before` are the decisive samples."""
    draws = resampled_areas(decisive) - resampled_areas(before, seed=1)
    now, then = (area_under_curve(each.right, each.scores) for each in (decisive, before))
    mine, theirs = (each.identity.models.get("scorer") for each in (bank, earlier))
    return Drift(
        against=str(name),
        first=shift_of_firsts(draft_scores(bank, first=True), draft_scores(earlier, first=True)),
        every=shift_of_all(draft_scores(bank), draft_scores(earlier)),
        auc=now - then,
        auc_interval=interval_of(draws),
        error=reliability_of(decisive).error - reliability_of(before).error,
        same_scorer=None if mine is None or theirs is None else mine == theirs,
    )
