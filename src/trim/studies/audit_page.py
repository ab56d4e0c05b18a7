"""The report of an audit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from trim.evaluation.plot import COLOURS, GREY, new_figure
from trim.evaluation.report import Page, Table, number, percent, picture_of
from trim.studies.audit import LOST, Audit, Drift
from trim.studies.detection import Detection
from trim.studies.reliability import SHIFTED, SIGNIFICANT, Shift
from trim.studies.sample import Floats, Integers

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Z = 1.96
"""Standard deviations of a normal 95 % interval."""


def audit_page(audit: Audit, figures: dict[str, Figure]) -> Page:
    """The page; `figures` are those of `audit_figures`."""
    tables = [
        areas_table(audit),
        calibration_table(audit),
        bins_table(audit),
        thresholds_table(audit),
    ]
    if audit.labelled:
        tables += [rewrites_table(audit)]
        tables += [first_errors_table(audit)] if audit.first_errors else []
        tables += [steps_table(audit)]
    if audit.drift:
        tables += [drift_table(audit.drift)]
    return Page(
        title=(
            f"Audit of {audit.bank}: {audit.suite}, {audit.problems} problems,"
            f" {audit.solutions} solutions, scores of the kind {audit.scorer}"
        ),
        verdict=verdict_line(audit),
        notes=tuple(_notes(audit)),
        tables=tuple(tables),
        pictures=tuple(picture_of(TITLES[name], figure) for name, figure in figures.items()),
    )


def verdict_line(audit: Audit) -> str:
    verdict = str(audit.judgement.verdict)
    line = f"{verdict[0].upper()}{verdict[1:]}."
    if audit.drift is None:
        return line
    if audit.drift.found:
        return f"{line} Scores have drifted from {audit.drift.against}: fit and calibrate again."
    return f"{line} No drift from {audit.drift.against} was found."


def sample_name(audit: Audit) -> str:
    """The sample of reliability and detection."""
    return "drafts up to the first error" if audit.labelled else "lowest scores of solutions"


def _notes(audit: Audit) -> Iterator[str]:
    for reason in audit.judgement.reasons:
        yield f"Reason: {reason}."
    if audit.labelled:
        yield (
            "A router decides on drafts up to and including the first error of a solution;"
            " reliability, precision and recall are measured on these."
        )
    else:
        yield (
            "The bank has no labels of steps, and labels derived from scores would flatter these"
            " scores: AUC-ROC of steps, figures by step and their rules are left out. The figures"
            " below compare the lowest score of a solution with its answer."
        )
    if audit.unfinished:
        yield (
            f"{audit.unfinished} weak solutions without an answer are left out of scores of"
            " solutions."
        )
    if LOST in audit.areas:
        yield "After an error, a step is right if it follows from the steps before it."
    yield "Intervals are 95 % bootstrap intervals from 2,000 resamples of the problems."
    if audit.drift:
        yield from _drift_notes(audit.drift)


def _drift_notes(drift: Drift) -> Iterator[str]:
    low, high = drift.auc_interval
    yield (
        f"Since {drift.against} the decisive AUC-ROC has changed by {signed(drift.auc)}"
        f" ({signed(low)} to {signed(high)}) and the calibration error by {signed(drift.error)}."
    )
    yield (
        f"Drift is a Kolmogorov-Smirnov p-value below {SIGNIFICANT} together with a stability"
        f" index of at least {SHIFTED}. First drafts do not depend on a router; all drafts also"
        " depend on which steps were rewritten, so compare banks with the same --rollouts."
    )
    if drift.same_scorer is False:
        yield "The two banks were scored by different scorer files."


def signed(value: float) -> str:
    return f"{'+' if value > 0 else ''}{number(value, 3)}"


def areas_table(audit: Audit) -> Table:
    rows = []
    for name, area in audit.areas.items():
        if area is None:
            rows.append((name, "–", "–", "–", "–"))
            continue
        counts = str(area.count), str(area.wrong)
        rows.append((name, *counts, number(area.auc, 3), bounds(area.interval)))
    title = "AUC-ROC: probability that a right one scores higher than a wrong one"
    return Table(title, ("of", "scores", "wrong", "AUC-ROC", "interval"), tuple(rows))


def calibration_table(audit: Audit) -> Table:
    found = audit.reliability
    rows = [
        (
            "ECE, ten bins of equal mass",
            number(found.error, 3),
            bounds(audit.error_interval),
            number(found.chance, 3),
        ),
        ("ECE, ten bins of equal width", number(found.error_equal_width, 3), "–", "–"),
        ("Brier score", number(found.brier, 3), bounds(audit.brier_interval), "–"),
    ]
    if audit.labelled:
        by_step = number(found.error_by_step, 3), "–", number(found.chance_by_step, 3)
        rows.insert(2, ("by step number, beside the overall gap", *by_step))
    return Table(
        f"Calibration of {sample_name(audit)}",
        ("error", "found", "interval", "by chance"),
        tuple(rows),
    )


def bounds(interval: tuple[float, float]) -> str:
    low, high = interval
    return f"{number(low, 3)} to {number(high, 3)}"


def bins_table(audit: Audit) -> Table:
    return Table(
        f"Reliability of {sample_name(audit)}",
        ("scores", "count", "mean score", "right"),
        tuple(
            (
                f"{bin.low:.3g} to {bin.high:.3g}",
                str(bin.count),
                number(bin.score, 3),
                percent(bin.right),
            )
            for bin in audit.reliability.bins
        ),
    )


def thresholds_table(audit: Audit) -> Table:
    found = audit.detections
    return Table(
        f"Wrong ones found among {sample_name(audit)}",
        ("threshold", "precision", "recall"),
        (
            (f"{found.even.threshold:.3g}", *detection_cells(found.even)),
            (
                f"{found.best.threshold:.3g}, highest F1 {number(found.f1)}",
                *detection_cells(found.best),
            ),
        ),
    )


def detection_cells(detection: Detection) -> tuple[str, str]:
    return percent(detection.precision), percent(detection.recall)


def rewrites_table(audit: Audit) -> Table:
    return Table(
        "Where a threshold first rewrites the weak solutions",
        ("threshold", "on the first error", "needless", "too late", "missed", "rightly never"),
        tuple(
            (
                f"{found.threshold:.3g}",
                *map(
                    percent,
                    (found.on_error, found.needless, found.late, found.missed, found.left),
                ),
            )
            for found in audit.detections.rewrites
        ),
    )


def first_errors_table(audit: Audit) -> Table:
    return Table(
        "First errors found: the first step below a threshold",
        ("threshold", "with an error", "without", "F1", "interval"),
        tuple(
            (
                f"{found.threshold:.3g}",
                percent(found.found),
                percent(found.clean),
                number(found.f1, 3),
                bounds(found.interval),
            )
            for found in audit.first_errors
        ),
    )


def steps_table(audit: Audit) -> Table:
    found = audit.detections
    headings = [
        f"{name} at {at.threshold:.3g}"
        for at in (found.even, found.best)
        for name in ("precision", "recall")
    ]
    return Table(
        f"Precision and recall by step, {sample_name(audit)}",
        ("step", "drafts", "wrong", *headings),
        tuple(
            (
                *map(str, (row.step, row.drafts, row.wrong)),
                *detection_cells(row.even),
                *detection_cells(row.best),
            )
            for row in found.by_step
        ),
    )


def drift_table(drift: Drift) -> Table:
    def row(name: str, shift: Shift) -> tuple[str, ...]:
        return (
            name,
            str(shift.count),
            str(shift.earlier),
            number(shift.statistic, 3),
            f"{shift.p_value:.2g}",
            number(shift.stability, 3),
        )

    return Table(
        f"Drift from {drift.against}",
        ("drafts", "here", "there", "KS distance", "p-value", "stability index"),
        (row("first", drift.first), row("all", drift.every)),
    )


RELIABILITY, DETECTION = "reliability", "precision-recall"
TITLES = {
    RELIABILITY: "Share of right ones over their score, in ten bins of equal mass. Calibrated"
    " scores are on the dashed line; bars are 95 % intervals of independent steps.",
    DETECTION: "Precision over recall of predicting that a step with a score below a threshold is"
    " wrong. The dashed line is a random prediction.",
}
"""Captions, by file name."""


def audit_figures(audit: Audit) -> dict[str, Figure]:
    """The figures of an audit, by file name."""
    return {RELIABILITY: draw_reliability(audit), DETECTION: draw_detection(audit)}


def draw_reliability(audit: Audit) -> Figure:
    figure, axes = new_figure(6, 5.4)
    bins = audit.reliability.bins
    counts = np.array([bin.count for bin in bins])
    scores, right = (np.array([getattr(bin, name) for bin in bins]) for name in ("score", "right"))
    low, high = wilson(right, counts)
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle="--")
    axes.errorbar(
        scores,
        right,
        yerr=np.maximum([right - low, high - right], 0),
        fmt="o-",
        color=COLOURS[0],
        markersize=6,
        linewidth=1.4,
        elinewidth=1,
    )
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    axes.set_xlabel(f"mean score of {sample_name(audit)}")
    axes.set_ylabel("share that is right")
    axes.set_title(f"{audit.suite}: ECE {audit.reliability.error:.3f}")
    return figure


def wilson(shares: Floats, counts: Integers) -> tuple[Floats, Floats]:
    """95 % intervals of shares among `counts` (Wilson 1927)."""
    middle = (shares + Z**2 / (2 * counts)) / (1 + Z**2 / counts)
    width = Z * np.sqrt(shares * (1 - shares) / counts + Z**2 / (4 * counts**2))
    width = width / (1 + Z**2 / counts)
    return middle - width, middle + width


def draw_detection(audit: Audit) -> Figure:
    figure, axes = new_figure(6, 5.4)
    found = audit.detections
    base = float(found.curve.precision[-1])
    axes.axhline(base, color=GREY, linewidth=1, linestyle="--")
    axes.plot(found.curve.recall, found.curve.precision, color=COLOURS[0], linewidth=1.6)
    for at, name, marker, colour in (
        (found.even, "", "s", COLOURS[1]),
        (found.best, ", highest F1", "D", COLOURS[2]),
    ):
        if at.precision is not None and at.recall is not None:
            label = f"below {at.threshold:.3g}{name}"
            axes.plot(at.recall, at.precision, marker, color=colour, markersize=8, label=label)
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    axes.set_xlabel("recall: share of wrong ones found")
    axes.set_ylabel("precision: share of found ones that are wrong")
    axes.set_title(f"{audit.suite}: {sample_name(audit)}")
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    return figure
