"""What routers that were trained on one kind of problem do with others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from trim.errors import InvalidInput
from trim.evaluation.evaluate import find_suite
from trim.laboratory.cells import difference, standing
from trim.laboratory.curves import COLUMNS, draw_curves, metric_cells, save_picture
from trim.laboratory.page import Page, Table
from trim.laboratory.trial import THRESHOLDS, Progress, Results, Trial, with_settings

SUITES = ("words", "program", "chain-hard")
RIVAL = "thr"
"""Nothing in it was trained, so nothing in it can fail to transfer."""


def study_transfer(
    trials: Sequence[Trial],
    specs: Sequence[str],
    out: Path,
    progress_of: Callable[[Trial], Progress] = lambda trial: lambda finished: None,
) -> Page:
    """Routers, fitted elsewhere, beside TRIM-Thr on the suites of `trials`.

    Args:
        specs: policies as on the command line; `thr` is added where it is not among them.
        progress_of: what is told of each trial's progress.

    Raises:
        InvalidInput: no router, or as `Trial.run`.
    """
    if all(spec.startswith(f"{RIVAL}:") for spec in specs):
        raise InvalidInput(
            "name routers, as in --policy agg:DIR --policy pomdp:FILE --policy classifier:FILE"
        )
    for trial in trials:
        find_suite(trial.suite)
    if not any(spec.startswith(f"{RIVAL}:") for spec in specs):
        specs = [*specs, with_settings(RIVAL, THRESHOLDS)]
    found = [trial.run(specs, out / trial.suite, progress_of(trial)) for trial in trials]
    return Page(
        title="Transfer to " + ", ".join(trial.suite for trial in trials),
        verdict=" ".join(map(verdict_of, found)),
        notes=(
            *(f"{results.title}. {results.alone}" for results in found),
            f"Differences are to {RIVAL} with 95 % bootstrap intervals, paired over the"
            " problems; behind, level and ahead are meant by these.",
        ),
        tables=(
            Table(
                "Share c at which part of the gap is closed",
                ("suite, policy", *COLUMNS),
                tuple(
                    (f"{results.summary['suite']}, {family}", *metric_cells(curve))
                    for results in found
                    for family, curve in results.summary["curves"].items()
                ),
            ),
            Table(
                f"Less {RIVAL}",
                ("suite, policy", "Δ-IBC", "", "APGR", ""),
                tuple(
                    (f"{results.summary['suite']}, {family}", *difference_cells(results, family))
                    for results in found
                    for family in routers(results)
                ),
            ),
        ),
        pictures=tuple(
            save_picture(
                draw_curves(results),
                f"Accuracy over strong tokens on {results.title}.",
                out,
                results.summary["suite"],
            )
            for results in found
        ),
    )


def routers(results: Results) -> list[str]:
    return [family for family in results.figures if family != RIVAL]


def difference_cells(results: Results, family: str) -> tuple[str, ...]:
    gain, area = (results.less(figure, family, RIVAL) for figure in ("delta_ibc", "apgr"))
    return difference(gain), standing(gain), difference(area, 3), standing(area)


def verdict_of(results: Results) -> str:
    """`words: agg at least equal to thr, classifier behind in Δ-IBC and APGR.`"""
    said = []
    for family in routers(results):
        stands = {
            name: standing(results.less(figure, family, RIVAL))
            for name, figure in (("Δ-IBC", "delta_ibc"), ("APGR", "apgr"))
        }
        behind = [name for name, where in stands.items() if where == "behind"]
        if "not defined" in stands.values():
            said.append(f"{family} not to be compared")
        elif behind:
            said.append(f"{family} behind {RIVAL} in {' and '.join(behind)}")
        else:
            ahead = [name for name, where in stands.items() if where == "ahead"]
            more = f" (ahead in {' and '.join(ahead)})" if ahead else ""
            said.append(f"{family} at least equal to {RIVAL}{more}")
    return f"{results.summary['suite']}: {', '.join(said)}."
