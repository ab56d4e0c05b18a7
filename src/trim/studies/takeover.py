"""Study: rewriting a step with a low score, against letting the strong model finish (takeover)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from trim.evaluation.comparison import Weights, direction
from trim.evaluation.report import Page, Table, difference, number, percent, save_picture
from trim.metrics.curve import GAINS
from trim.metrics.metrics import Array
from trim.policies.policy import policy_name
from trim.studies.curves import COLUMNS, budget_percent, costs_table, curves_table, draw_curves
from trim.studies.trial import BUDGETS, THRESHOLDS, Progress, Results, Trial, with_settings

STEP, REST = "thr", "takeover"
VERDICTS = {
    "ahead": "Rewriting only the step is ahead of takeover",
    "behind": "Rewriting only the step is behind takeover",
}


def study_takeover(
    trial: Trial,
    out: Path,
    thresholds: Sequence[float] = THRESHOLDS,
    progress: Progress = lambda progress: None,
    budgets: Sequence[float] = BUDGETS,
) -> Page:
    """TRIM-Thr against takeover at the same thresholds, on the same problems.

    Args:
        budgets: strong shares at which accuracies are compared.

    Raises:
        InvalidInput: as `Trial.run`.
    """
    specs = [with_settings(family, thresholds) for family in (STEP, REST)]
    results = trial.run(specs, out / "trial", progress)
    gain = results.less("delta_ibc", STEP, REST)
    return Page(
        title=f"Takeover: {results.title}",
        verdict=(
            f"{VERDICTS.get(direction(gain), 'No difference to takeover is shown')}:"
            f" Δ-IBC {difference(gain)}."
        ),
        notes=(
            results.alone,
            f"Differences are {STEP} less {REST} with 95 % bootstrap intervals, paired over"
            " the problems.",
        ),
        tables=(
            curves_table([("", results)]),
            differences_table(results),
            costs_table([("", results)]),
            budgets_table(results, budgets),
            settings_table("Right at the same threshold", results.right, thresholds, 100),
            settings_table("Strong tokens at the same threshold", results.tokens, thresholds),
        ),
        pictures=(
            save_picture(
                draw_curves(results),
                f"Accuracy over the strong share on {results.title}: the strong model rewrites the"
                f" step with a low score ({STEP}), or writes all further steps ({REST}).",
                out,
                "curve",
            ),
        ),
    )


def differences_table(results: Results) -> Table:
    shares = [
        f"{difference(results.less(f'cpt {gain}', STEP, REST), 1, scale=100)} points"
        for gain in GAINS
    ]
    delta_ibc = difference(results.less("delta_ibc", STEP, REST))
    apgr = difference(results.less("apgr", STEP, REST), 3)
    rows = zip(COLUMNS, (*shares, delta_ibc, apgr), strict=True)
    return Table(f"{STEP} less {REST}", ("figure", "difference"), tuple(rows))


def budgets_table(results: Results, budgets: Sequence[float]) -> Table:
    step, rest = (results.figures[family].accuracy_at(budgets) for family in (STEP, REST))
    rows = (
        (
            f"c = {budget_percent(budget)}",
            percent(float(step[0, place])),
            percent(float(rest[0, place])),
            difference(step[:, place] - rest[:, place], 1, scale=100),
        )
        for place, budget in enumerate(budgets)
    )
    columns = ("budget", STEP, REST, "difference, points")
    return Table("Accuracy at a budget", columns, tuple(rows))


def settings_table(
    title: str, figures: Mapping[str, Array], thresholds: Sequence[float], scale: float = 1
) -> Table:
    """Both policies at each threshold, where they reach the first low score at the same step.

    Args:
        figures: (n,) by policy; the table has their means times `scale` (100 for percent).
    """
    unit, heading = (" %", "difference, points") if scale == 100 else ("", "difference")
    weights = Weights.draw(len(figures["weak"]))
    rows = []
    for threshold in dict.fromkeys(thresholds):
        step, rest = (figures[policy_name(family, threshold)] for family in (STEP, REST))
        means = (number(scale * float(values.mean()), 1, unit) for values in (step, rest))
        less = weights.means((step - rest)[None])[:, 0]
        rows.append((f"{threshold:g}", *means, difference(less, 1, scale)))
    return Table(title, ("k", STEP, REST, heading), tuple(rows))
