"""Study: routers at low budgets."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import numpy as np

from trim.errors import InvalidInput
from trim.evaluation.comparison import direction
from trim.evaluation.report import NOTHING, Page, Table, difference, number, percent, save_picture
from trim.evaluation.summary import split_name
from trim.metrics.metrics import Array, pgr
from trim.policies.registry import PRICED_FAMILIES, parse_policies, split_file
from trim.policies.token import TAIL
from trim.studies.curves import budget_percent, costs_table, draw_curves
from trim.studies.trial import Progress, Results, Trial, is_rival, with_rival

LIMIT = 0.1
"""Default of the largest strong share."""
SETTINGS = 16
"""Number of prices of a family, denser than in its default sweep."""
BUDGETS = 5
"""Number of budgets up to the limit."""
THRESHOLDS = (
    *(1e-9, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 0.0002, 0.0003, 0.0005, 0.001, 0.003, 0.01, 0.03),
    *(0.06, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.65, 0.7, 0.73, 0.76, 0.8, 0.85),
)
"""Default thresholds of TRIM-Thr, as dense as the other sweeps at low budgets."""


def study_low_budget(
    trial: Trial,
    specs: Sequence[str],
    out: Path,
    limit: float = LIMIT,
    progress: Progress = lambda progress: None,
    budgets: Sequence[float] | None = None,
) -> Page:
    """Accuracy of routers and of TRIM-Thr at strong shares up to `limit`.

    Args:
        specs: policies, as on the command line. Routers with prices run at dense prices, unless
            prices follow an @; given thresholds of `thr` are kept.
        budgets: ascending strong shares to compare at, in place of `BUDGETS` up to `limit`.

    Raises:
        InvalidInput: no router, a limit outside (0, 1], or as `Trial.run`.
    """
    if budgets:
        limit = budgets[-1]
    if not 0 < limit <= 1:
        raise InvalidInput(
            f"--limit {limit:g}: must be a strong share above 0 and at most 1, as 0.1"
        )
    if all(map(is_rival, specs)):
        raise InvalidInput("name a router, as in --policy agg:DIR --policy pomdp:FILE")
    dense = [densely(spec) for spec in with_rival(specs, THRESHOLDS)]
    results = trial.run(dense, out / "trial", progress)
    families = list(results.figures)
    pairs = list(combinations(families, 2))
    if not budgets:
        budgets = [limit * place / BUDGETS for place in range(1, BUDGETS + 1)]
    reached = {family: results.figures[family].accuracy_at(budgets) for family in families}
    return Page(
        title=f"At most {budget_percent(limit)} strong tokens: {results.title}",
        verdict="; ".join(verdict_of(a, b, reached[a] - reached[b], budgets) for a, b in pairs)
        + ".",
        notes=(
            results.alone,
            "Accuracy is interpolated on the curves, which are linear between settings.",
            "Differences are in percentage points with 95 % bootstrap intervals, paired over"
            " the problems. About one interval in twenty misses the true value.",
        ),
        tables=(
            accuracy_table(results, families, budgets, reached),
            Table(
                "Differences in accuracy, points",
                ("budget", *(f"{a} less {b}" for a, b in pairs)),
                tuple(
                    (
                        f"c = {budget_percent(budget)}",
                        *(
                            difference(reached[a][:, place] - reached[b][:, place], 1, 100)
                            for a, b in pairs
                        ),
                    )
                    for place, budget in enumerate(budgets)
                ),
            ),
            settings_table(results, families, limit),
            costs_table([("", results)]),
        ),
        pictures=(
            save_picture(
                draw_curves(results, limit),
                f"Accuracy over strong tokens on {results.title}, up to c ="
                f" {budget_percent(limit)}.",
                out,
                "curve",
            ),
        ),
    )


def verdict_of(a: str, b: str, less: Array, budgets: Sequence[float]) -> str:
    """`pomdp ahead of thr at c = 2 %, 4 %`, from differences (1 + resamples, budgets)."""
    stands = [direction(less[:, place]) for place in range(len(budgets))]
    if "not defined" in stands:
        return f"{a} and {b} cannot be compared"
    parts = []
    for stand, words in (("ahead", f"{a} ahead of {b}"), ("behind", f"{a} behind {b}")):
        if at := [
            budget_percent(c) for c, found in zip(budgets, stands, strict=True) if found == stand
        ]:
            parts.append(f"{words} at c = {', '.join(at)}")
    return " and ".join(parts) or f"{a} and {b} level at every budget"


def densely(spec: str) -> str:
    """Give a router with prices `SETTINGS` of them, over the upper half of its default sweep."""
    steps, tail, probability = spec.partition(TAIL)
    family, _, text = steps.partition(":")
    file, chosen = split_file(text)
    if family not in PRICED_FAMILIES or chosen is not None:
        return spec
    if file and PRICED_FAMILIES[family].open(Path(file)).separate:
        return spec  # trained for single prices alone
    prices = [price for _, price in (split_name(policy.name) for policy in parse_policies(steps))]
    default = sorted(price for price in prices if price is not None)
    dense = np.geomspace(default[-1], default[(len(default) - 1) // 2], SETTINGS)
    # Rounding must not leave the range that the router was trained for.
    within = (min(max(float(f"{price:.4g}"), default[0]), default[-1]) for price in dense)
    return f"{steps}@{','.join(map(repr, dict.fromkeys(within)))}{tail}{probability}"


def accuracy_table(
    results: Results, families: Sequence[str], budgets: Sequence[float], reached: dict[str, Array]
) -> Table:
    weak, strong = (float(results.right[name].mean()) for name in ("weak", "strong"))

    def cell(accuracy: float) -> str:
        gain = None if math.isnan(accuracy) else pgr(accuracy, weak, strong)
        return NOTHING if gain is None else f"{percent(accuracy)}, {number(gain)}"

    return Table(
        "Accuracy at a budget, and PGR",
        ("budget", *families),
        tuple(
            (
                f"c = {budget_percent(budget)}",
                *(cell(float(reached[family][0, place])) for family in families),
            )
            for place, budget in enumerate(budgets)
        ),
    )


def settings_table(results: Results, families: Sequence[str], limit: float) -> Table:
    """Number of settings of each family, and of those up to the limit."""
    rows = []
    for family in families:
        points = [point for point in results.summary["points"] if point["policy"] == family]
        within = [point for point in points if 0 < point["strong_share"] <= limit]
        settings = [f"{point['setting']:g}" for point in (within[:1] + within[-1:])]
        rows.append((family, str(len(points)), str(len(within)), " to ".join(settings) or NOTHING))
    columns = ("policy", "settings", f"of them at c up to {budget_percent(limit)}", "from and to")
    return Table("Settings", columns, tuple(rows))
