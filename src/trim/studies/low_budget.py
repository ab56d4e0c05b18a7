"""Which router does best where next to nothing may be spent."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import numpy as np

from trim.errors import InvalidInput
from trim.evaluation.comparison import budgets as grid
from trim.evaluation.comparison import direction
from trim.evaluation.report import NOTHING, Page, Table, difference, number, percent, save_picture
from trim.evaluation.summary import split_name
from trim.metrics.metrics import Array, pgr
from trim.policies.registry import PRICED_FAMILIES, parse_policies
from trim.studies.curves import draw_curves
from trim.studies.trial import Progress, Results, Trial, is_rival, with_rival

SETTINGS = 16
"""Prices of a family, closer to each other than in its usual sweep."""
BUDGETS = 5
"""Budgets up to the limit."""
THRESHOLDS = (
    *(1e-9, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 0.0002, 0.0003, 0.0005, 0.001, 0.003, 0.01, 0.03),
    *(0.06, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.65, 0.7, 0.73, 0.76, 0.8, 0.85),
)
"""Of TRIM-Thr where none are asked for: it has to be as dense as the others there."""


def study_low_budget(
    trial: Trial,
    specs: Sequence[str],
    out: Path,
    limit: float = 0.1,
    progress: Progress = lambda standing: None,
) -> Page:
    """Accuracy of routers and of TRIM-Thr where the share c of strong tokens is at most `limit`.

    Args:
        specs: policies as on the command line. A router with prices is run at dense ones;
            those that follow an @, and the thresholds of `thr`, stay as they are.

    Raises:
        InvalidInput: no router, a limit outside (0, 1], or as `Trial.run`.
    """
    if not 0 < limit <= 1:
        raise InvalidInput(
            f"--limit {limit:g}: a share of the strong model's tokens lies above 0 and up to 1,"
            " as in 0.1"
        )
    if all(map(is_rival, specs)):
        raise InvalidInput("name a router, as in --policy agg:DIR --policy pomdp:FILE")
    dense = [densely(spec) for spec in with_rival(specs, THRESHOLDS)]
    results = trial.run(dense, out / "trial", progress)
    families = list(results.figures)
    pairs = list(combinations(families, 2))
    budgets = [limit * place / BUDGETS for place in range(1, BUDGETS + 1)]
    reached = {family: accuracies(results, family, budgets) for family in families}
    return Page(
        title=f"At most {percent(limit)} strong tokens: {results.title}",
        verdict="; ".join(verdict_of(a, b, reached[a] - reached[b], budgets) for a, b in pairs)
        + ".",
        notes=(
            results.alone,
            "Accuracy is read off the curves, which are linear between settings.",
            "Differences are in percentage points with 95 % bootstrap intervals, paired over"
            " the problems. Among many of them some leave out the truth: one in twenty.",
        ),
        tables=(
            accuracy_table(results, families, budgets, reached),
            Table(
                "Differences in accuracy, points",
                ("budget", *(f"{a} less {b}" for a, b in pairs)),
                tuple(
                    (
                        f"c = {percent(budget)}",
                        *(
                            difference(reached[a][:, place] - reached[b][:, place], 1, 100)
                            for a, b in pairs
                        ),
                    )
                    for place, budget in enumerate(budgets)
                ),
            ),
            settings_table(results, families, limit),
        ),
        pictures=(
            save_picture(
                draw_curves(results, limit),
                f"Accuracy over strong tokens on {results.title}, up to c = {percent(limit)}.",
                out,
                "curve",
            ),
        ),
    )


def verdict_of(a: str, b: str, less: Array, budgets: Sequence[float]) -> str:
    """`pomdp ahead of thr at c = 2 %, 4 %`, from differences (1 + resamples, budgets)."""
    stands = [direction(less[:, place]) for place in range(len(budgets))]
    if "not defined" in stands:
        return f"{a} and {b} not to be compared"
    said = []
    for stand, words in (("ahead", f"{a} ahead of {b}"), ("behind", f"{a} behind {b}")):
        if at := [percent(c) for c, found in zip(budgets, stands, strict=True) if found == stand]:
            said.append(f"{words} at c = {', '.join(at)}")
    return " and ".join(said) or f"{a} and {b} level at every budget"


def densely(spec: str) -> str:
    """A router with prices is given `SETTINGS` of them, the dearer half of its usual sweep."""
    if spec.partition(":")[0] not in PRICED_FAMILIES or "@" in spec:
        return spec
    prices = [price for _, price in (split_name(policy.name) for policy in parse_policies(spec))]
    usual = sorted(price for price in prices if price is not None)
    dense = np.geomspace(usual[-1], usual[(len(usual) - 1) // 2], SETTINGS)
    # Rounded, an end may not leave the range that the router was trained for.
    within = (min(max(float(f"{price:.4g}"), usual[0]), usual[-1]) for price in dense)
    return f"{spec}@" + ",".join(map(repr, dict.fromkeys(within)))


def accuracies(results: Results, family: str, budgets: Sequence[float]) -> Array:
    """(1 + resamples, budgets) on the family's curve."""
    lines = results.figures[family].accuracies
    return np.array([np.interp(budgets, grid(), line) for line in lines])


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
                f"c = {percent(budget)}",
                *(cell(float(reached[family][0, place])) for family in families),
            )
            for place, budget in enumerate(budgets)
        ),
    )


def settings_table(results: Results, families: Sequence[str], limit: float) -> Table:
    """How well each curve is known where it is read."""
    rows = []
    for family in families:
        points = [point for point in results.summary["points"] if point["policy"] == family]
        within = [point for point in points if 0 < point["strong_share"] <= limit]
        settings = [f"{point['setting']:g}" for point in (within[:1] + within[-1:])]
        rows.append((family, str(len(points)), str(len(within)), " to ".join(settings) or NOTHING))
    columns = ("policy", "settings", f"of them at c up to {percent(limit)}", "from and to")
    return Table("Settings", columns, tuple(rows))
