"""What the strong model should write at a low score: the step alone, or all the rest."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from trim.evaluation.curve import BUDGETS, Curve
from trim.evaluation.intervals import paired_interval
from trim.evaluation.metrics import Array
from trim.evaluation.outcomes import Outcomes
from trim.evaluation.resampling import Estimate, resample
from trim.laboratory.cells import difference, number, percent, standing
from trim.laboratory.curves import (
    COLUMNS,
    alone_note,
    curves_table,
    draw_curves,
    metrics,
    save_picture,
)
from trim.laboratory.page import Page, Table
from trim.laboratory.trial import THRESHOLDS, Progress, Trial, thresholds
from trim.policies.policy import named

STEP, REST = "thr", "takeover"


def study_takeover(
    trial: Trial,
    out: Path,
    values: Sequence[float] = THRESHOLDS,
    progress: Progress = lambda finished: None,
) -> Page:
    """TRIM-Thr against its takeover at the same thresholds, on the same problems.

    Raises:
        InvalidInput: as `Trial.run`.
    """
    specs = [thresholds(family, values) for family in (STEP, REST)]
    outcomes = trial.run(specs, out / "trial", progress)
    title = f"{trial.suite}, {trial.count} problems, seed {trial.seed}"
    picture = save_picture(
        draw_curves(outcomes, title),
        f"Accuracy over strong tokens on {title}: only the step rewritten, or all the rest.",
        out,
        "curve",
    )
    resampled = resample(outcomes, metrics)
    differences = resampled.differences(STEP, REST)
    gain = differences[COLUMNS.index("Δ-IBC")]
    return Page(
        title=f"Takeover: {title}",
        verdict=(
            f"Rewriting only the step is {standing(gain)} of takeover: Δ-IBC {difference(gain)}."
            if gain.ahead or gain.behind
            else f"Rewriting only the step and takeover are not told apart: Δ-IBC"
            f" {difference(gain)}."
        ),
        notes=(
            alone_note(outcomes),
            f"Differences are {STEP} less {REST} with 95 % bootstrap intervals, paired over"
            " the problems.",
        ),
        tables=(
            curves_table("Share c at which part of the gap is closed", outcomes.curves()),
            Table(
                f"{STEP} less {REST}",
                ("figure", "difference"),
                tuple(
                    (column, in_unit(column, estimate))
                    for column, estimate in zip(COLUMNS, differences, strict=True)
                ),
            ),
            budgets_table(outcomes),
            settings_table("Right at the same threshold", outcomes, values, outcomes.right, 100),
            settings_table(
                "Strong tokens at the same threshold", outcomes, values, outcomes.tokens
            ),
        ),
        pictures=(picture,),
    )


def in_unit(column: str, estimate: Estimate) -> str:
    """A difference of one of `COLUMNS`; shares in points of a percent."""
    if column.startswith("CPT"):
        return f"{difference(estimate, 1, scale=100)} points"
    return difference(estimate, 3 if column == "APGR" else 2)


def budgets_table(outcomes: Outcomes) -> Table:
    def reached(curve: Curve) -> list[float | None]:
        return [curve.at_budget(budget / 100)["accuracy"] for budget in BUDGETS]

    curves = outcomes.curves()
    figures = [reached(curves[family]) for family in (STEP, REST)]
    differences = resample(outcomes, reached).differences(STEP, REST)
    rows = [
        (f"c = {budget} %", percent(step), percent(rest), difference(less, 1, scale=100))
        for budget, step, rest, less in zip(BUDGETS, *figures, differences, strict=True)
    ]
    return Table("Accuracy at a budget", ("budget", STEP, REST, "difference, points"), tuple(rows))


def settings_table(
    title: str, outcomes: Outcomes, values: Sequence[float], figures: Array, scale: float = 1
) -> Table:
    """Both at each threshold: they meet the first low score at the same step.

    Args:
        figures: (policies, n) of which the mean is shown, times `scale`; 100 is for percent.
    """
    unit, heading = (" %", "difference, points") if scale == 100 else ("", "difference")
    rows = []
    for value in dict.fromkeys(values):
        step, rest = (figures[outcomes.row(named(family, value))] for family in (STEP, REST))
        means = (number(scale * float(a.mean()), 1, unit) for a in (step, rest))
        less = Estimate(float((step - rest).mean()), *paired_interval(step, rest))
        rows.append((f"{value:g}", *means, difference(less, 1, scale)))
    return Table(title, ("k", STEP, REST, heading), tuple(rows))
