"""Audits of several banks side by side, as of one set of solutions scored by several scorers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from trim.evaluation.plot import COLOURS, GREY, MARKERS, new_figure
from trim.evaluation.report import NOTHING, Page, Table, number, percent, picture_of
from trim.metrics.metrics import area_under_curve
from trim.rollouts.bank import Bank
from trim.studies.audit import (
    AGGREGATES,
    LAST,
    MEAN,
    PRODUCT,
    REPAIRABLE,
    WITHIN,
    Audit,
    audit,
    samples_of,
)
from trim.studies.audit_page import bounds, sample_name, signed
from trim.studies.fitness import (
    LOWEST,
    Area,
    auc_within,
    has_area_within,
    resampled_areas,
    resampled_within,
)
from trim.studies.resamples import interval_of
from trim.studies.sample import Sample, judged_steps

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Difference:
    """AUC-ROC of a bank less that of another one with the same problems.

    Attributes:
        of: the name of the area.
        interval: 95 %, from resamples of the problems that both share.
    """

    bank: str
    less: str
    of: str
    auc: float
    interval: tuple[float, float]


@dataclass(frozen=True)
class Comparison:
    """Audits of at least two banks, in the given order, and differences to the first."""

    audits: tuple[Audit, ...]
    differences: tuple[Difference, ...]

    def to_json(self) -> dict[str, Any]:
        """All figures."""
        return {
            "banks": [each.to_json() for each in self.audits],
            "differences": [asdict(each) for each in self.differences],
        }


def compare_audits(banks: Sequence[tuple[Path, Bank]]) -> Comparison:
    """Audit each bank, and compare those that hold the problems of the first with it.

    Raises:
        InvalidInput: as `audit`, for any of them.
    """
    audits = tuple(audit(bank, name) for name, bank in banks)
    (first_name, first), *others = banks
    differences: list[Difference] = []
    samples = samples_of(first, judged_steps(first))
    for name, bank in others:
        if not holds_same_problems(bank, first):
            continue
        for of, sample in samples_of(bank, judged_steps(bank)).items():
            other = samples.get(of)
            if of not in (*AGGREGATES, REPAIRABLE) or other is None:
                continue
            if not has_same_problems(sample, other):
                continue
            found = difference_of(sample, other)
            differences.append(Difference(str(name), str(first_name), of, *found))
            if of == LOWEST and has_area_within(sample) and has_area_within(other):
                found = difference_within(sample, other)
                differences.append(Difference(str(name), str(first_name), WITHIN, *found))
    return Comparison(audits, tuple(differences))


def holds_same_problems(bank: Bank, other: Bank) -> bool:
    """Whether the problems of two banks have the same ids and questions.

    Where a question is not known, as in most files of several solutions, the suite has to be the
    same: ids as p-0 occur in many.
    """
    mine, theirs = questions_of(bank), questions_of(other)
    if mine.keys() != theirs.keys():
        return False
    same = [mine[name] == theirs[name] for name in mine if mine[name] and theirs[name]]
    suites = bank.identity.suite, other.identity.suite
    return all(same) and (len(same) == len(mine) or suites[0] == suites[1])


def questions_of(bank: Bank) -> dict[str, str]:
    """The question of each problem (`Bank.group_names`); empty where it is not known."""
    return {each.group or each.problem_id: each.question.strip() for each in bank.problems}


def has_same_problems(sample: Sample, other: Sample) -> bool:
    """Whether two samples are of the same problems, and neither is all right or all wrong."""
    return all(0 < each.wrong < len(each) for each in (sample, other)) and np.array_equal(
        np.unique(sample.problem), np.unique(other.problem)
    )


def difference_of(sample: Sample, other: Sample) -> tuple[float, tuple[float, float]]:
    """Difference of the areas of two samples of the same problems, with its paired interval."""
    now, then = (area_under_curve(each.right, each.scores) for each in (sample, other))
    return now - then, interval_of(resampled_areas(sample) - resampled_areas(other))


def difference_within(sample: Sample, other: Sample) -> tuple[float, tuple[float, float]]:
    """The same among pairs of one problem."""
    draws = resampled_within(sample) - resampled_within(other)
    return auc_within(sample) - auc_within(other), interval_of(draws)


def comparison_page(comparison: Comparison, figure: Figure) -> Page:
    """The page; `figure` is that of `draw_reliabilities`."""
    labelled = [each for each in comparison.audits if each.labelled]
    tables = [banks_table(comparison), areas_table(comparison), calibration_table(comparison)]
    tables += [steps_table(labelled)] if labelled else []
    tables += [differences_table(comparison)] if comparison.differences else []
    return Page(
        title=f"Scorers of {len(comparison.audits)} banks compared",
        verdict=None,
        notes=(
            "Intervals are 95 % bootstrap intervals from 2,000 resamples of the problems, each with"
            " all its solutions; those of differences are paired.",
        ),
        tables=tuple(tables),
        pictures=(
            picture_of(
                "Share of right ones over their score, in ten bins of equal mass. Calibrated scores"
                " are on the dashed line.",
                figure,
            ),
        ),
    )


def banks_table(comparison: Comparison) -> Table:
    return Table(
        "Banks",
        ("bank", "problems", "solutions", "right", "scores", "verdict"),
        tuple(
            (
                each.bank,
                str(each.problems),
                str(each.solutions),
                percent(each.right),
                each.scorer,
                str(each.judgement.verdict),
            )
            for each in comparison.audits
        ),
    )


def areas_table(comparison: Comparison) -> Table:
    headings = {"lowest": LOWEST, "product": PRODUCT, "mean": MEAN, "last": LAST}
    if any(WITHIN in each.areas for each in comparison.audits):
        headings["lowest, of one problem"] = WITHIN
    return Table(
        "AUC-ROC of a score of the whole solution against its answer",
        ("bank", *headings),
        tuple(
            (each.bank, *(area_cell(each.areas.get(name)) for name in headings.values()))
            for each in comparison.audits
        ),
    )


def area_cell(area: Area | None) -> str:
    return NOTHING if area is None else f"{number(area.auc, 3)} ({bounds(area.interval)})"


def calibration_table(comparison: Comparison) -> Table:
    rows = []
    for each in comparison.audits:
        found = each.reliability
        mean = sum(bin.count * bin.score for bin in found.bins)
        right = sum(bin.count * bin.right for bin in found.bins)
        count = sum(bin.count for bin in found.bins)
        rows.append(
            (
                each.bank,
                sample_name(each),
                number(mean / count, 3),
                percent(right / count),
                f"{number(found.error, 3)} ({bounds(each.error_interval)})",
                f"{number(found.brier, 3)} ({bounds(each.brier_interval)})",
            )
        )
    return Table(
        "Calibration",
        ("bank", "of", "mean score", "right", "ECE", "Brier score"),
        tuple(rows),
    )


def steps_table(audits: Sequence[Audit]) -> Table:
    rows = []
    for each in audits:
        found = [f"{at.f1:.3f} ({bounds(at.interval)})" for at in each.first_errors]
        best = f"{each.first_errors[-1].threshold:.3g}" if each.first_errors else NOTHING
        even, at_best = found or (NOTHING, NOTHING)
        rows.append((each.bank, area_cell(each.areas[REPAIRABLE]), even, best, at_best))
    return Table(
        "Labelled steps: AUC-ROC of drafts up to the first error, and F1 of finding first errors",
        ("bank", "AUC-ROC", "F1 below 0.5", "best threshold", "F1 there"),
        tuple(rows),
    )


def differences_table(comparison: Comparison) -> Table:
    return Table(
        f"AUC-ROC less that of {comparison.audits[0].bank}, on the same problems",
        ("bank", "of", "difference", "interval"),
        tuple(
            (
                each.bank,
                each.of,
                signed(each.auc),
                " to ".join(signed(bound) for bound in each.interval),
            )
            for each in comparison.differences
            if each.of in (LOWEST, WITHIN, REPAIRABLE)
        ),
    )


def draw_reliabilities(comparison: Comparison) -> Figure:
    """The reliability of each bank, one line a bank."""
    figure, axes = new_figure(6, 5.4)
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle="--")
    for each, colour, marker in zip(
        comparison.audits, cycle(COLOURS), cycle(MARKERS), strict=False
    ):
        bins = each.reliability.bins
        axes.plot(
            [bin.score for bin in bins],
            [bin.right for bin in bins],
            f"{marker}-",
            color=colour,
            markersize=5,
            linewidth=1.4,
            label=each.bank,
        )
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    axes.set_xlabel("mean score")
    axes.set_ylabel("share that is right")
    figure.legend(loc="outside lower center", frameon=False)
    return figure
