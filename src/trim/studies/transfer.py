"""Study: routers on suites that they were not trained on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from trim.errors import InvalidInput
from trim.evaluation.comparison import direction
from trim.evaluation.report import Page, save_picture
from trim.studies.curves import (
    COMPARED,
    budgets_table,
    costs_table,
    curves_table,
    differences_table,
    draw_curves,
)
from trim.studies.trial import BUDGETS, RIVAL, Progress, Results, Trial, is_rival, with_rival

SUITES = ("words", "program", "chain-hard")


def study_transfer(
    trials: Sequence[Trial],
    specs: Sequence[str],
    out: Path,
    progress_of: Callable[[int], Progress] = lambda trial: lambda progress: None,
    budgets: Sequence[float] = BUDGETS,
) -> Page:
    """Routers fitted to other problems, against TRIM-Thr on the problems of `trials`.

    Args:
        specs: policies, as on the command line; `thr` is added if missing.
        progress_of: returns the progress callback of a trial, by its index.
        budgets: strong shares at which accuracies are compared.

    Raises:
        InvalidInput: no router, two trials of one name, or as `Trial.run`.
    """
    if all(map(is_rival, specs)):
        raise InvalidInput(
            "name routers, as in --policy agg:DIR --policy pomdp:FILE --policy classifier:FILE"
        )
    names = [trial.name for trial in trials]
    if twice := [name for name in names if names.count(name) > 1]:
        raise InvalidInput(f"two sets of problems are named {twice[0]!r}; rename one of the files")
    specs = with_rival(specs)
    for trial in trials:
        trial.check(specs)
    found = [
        trial.run(specs, out / trial.name, progress_of(index)) for index, trial in enumerate(trials)
    ]
    by_suite = [(f"{results.summary['suite']}, ", results) for results in found]
    return Page(
        title="Transfer to " + ", ".join(names),
        verdict=overall(found),
        notes=(
            *(f"{verdict_of(results)} {results.alone}" for results in found),
            f"Differences are to {RIVAL} with 95 % bootstrap intervals, paired over the problems"
            f" (seed {trials[0].options.seed}); `ahead` and `behind` refer to these intervals.",
        ),
        tables=(
            curves_table(by_suite, "suite, policy"),
            differences_table(by_suite, "suite, policy"),
            budgets_table(by_suite, budgets, "suite, policy"),
            costs_table(by_suite, "suite, policy"),
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


def directions(results: Results, family: str) -> dict[str, str]:
    """The family's `direction` against `RIVAL`, by metric.

    `level` is split into `equal` and, if the measured difference is negative, `below`.
    """
    found = {}
    for name, figure in COMPARED.items():
        less = results.less(figure, family, RIVAL)
        where = direction(less)
        found[name] = where if where != "level" else "below" if less[0] < 0 else "equal"
    return found


def overall(found: Sequence[Results]) -> str:
    """Routers that are at least equal to `RIVAL` on every suite, and those within chance."""
    wheres = {
        family: {where for results in found for where in directions(results, family).values()}
        for family in routers(found[0])
    }
    equal = [family for family, where in wheres.items() if where <= {"ahead", "equal"}]
    within = [family for family, where in wheres.items() if where <= {"ahead", "equal", "below"}]
    unclear = [family for family in within if family not in equal]
    more = f" Below it somewhere, but within chance: {', '.join(unclear)}." if unclear else ""
    return f"At least equal to {RIVAL} on every suite: {', '.join(equal) or 'none'}.{more}"


def verdict_of(results: Results) -> str:
    """`words: agg at least equal to thr, classifier behind thr in Δ-IBC and APGR.`"""
    parts = []
    for family in routers(results):
        found = directions(results, family)
        behind, below, ahead = (
            " and ".join(name for name, where in found.items() if where == wanted)
            for wanted in ("behind", "below", "ahead")
        )
        if "not defined" in found.values():
            parts.append(f"{family} cannot be compared")
        elif behind:
            parts.append(f"{family} behind {RIVAL} in {behind}")
        elif below:
            parts.append(f"{family} below {RIVAL} in {below}, but within chance")
        else:
            more = f" (ahead in {ahead})" if ahead else ""
            parts.append(f"{family} at least equal to {RIVAL}{more}")
    return f"{results.summary['suite']}: {'; '.join(parts)}."
