"""What routers that were trained on one kind of problem do with others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from trim.errors import InvalidInput
from trim.evaluation.comparison import direction
from trim.evaluation.evaluate import find_suite
from trim.evaluation.report import Page, save_picture
from trim.studies.curves import COMPARED, curves_table, differences_table, draw_curves
from trim.studies.trial import RIVAL, Progress, Results, Trial, is_rival, with_rival

SUITES = ("words", "program", "chain-hard")


def study_transfer(
    trials: Sequence[Trial],
    specs: Sequence[str],
    out: Path,
    progress_of: Callable[[Trial], Progress] = lambda trial: lambda standing: None,
) -> Page:
    """Routers, fitted elsewhere, beside TRIM-Thr on the suites of `trials`.

    Args:
        specs: policies as on the command line; `thr` is added where it is not among them.
        progress_of: what is told of each trial's progress.

    Raises:
        InvalidInput: no router, or as `Trial.run`.
    """
    if all(map(is_rival, specs)):
        raise InvalidInput(
            "name routers, as in --policy agg:DIR --policy pomdp:FILE --policy classifier:FILE"
        )
    for trial in trials:
        find_suite(trial.suite)
    specs = with_rival(specs)
    found = [trial.run(specs, out / trial.suite, progress_of(trial)) for trial in trials]
    by_suite = [(f"{results.summary['suite']}, ", results) for results in found]
    return Page(
        title="Transfer to " + ", ".join(trial.suite for trial in trials),
        verdict=overall(found),
        notes=(
            *(f"{verdict_of(results)} {results.alone}" for results in found),
            f"Differences are to {RIVAL} with 95 % bootstrap intervals, paired over the"
            f" {trials[0].count} problems of a suite (seed {trials[0].seed}); ahead and behind"
            " are meant by these.",
        ),
        tables=(
            curves_table(by_suite, "suite, policy"),
            differences_table(by_suite, "suite, policy"),
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


def stands(results: Results, family: str) -> dict[str, str]:
    """Where the family stands against `RIVAL`, by figure.

    `ahead`, `behind` and `not defined` as `standing` has them; what lies between is `equal`
    or, where less was measured, `below`.
    """
    found = {}
    for name, figure in COMPARED.items():
        less = results.less(figure, family, RIVAL)
        where = direction(less)
        found[name] = where if where != "level" else "below" if less[0] < 0 else "equal"
    return found


def overall(found: Sequence[Results]) -> str:
    """Which routers are at least equal to `RIVAL` on every suite, and which not behind it."""
    wheres = {
        family: {where for results in found for where in stands(results, family).values()}
        for family in routers(found[0])
    }
    equal = [family for family, where in wheres.items() if where <= {"ahead", "equal"}]
    within = [family for family, where in wheres.items() if where <= {"ahead", "equal", "below"}]
    unclear = [family for family in within if family not in equal]
    more = f" Below it somewhere, but within chance: {', '.join(unclear)}." if unclear else ""
    return f"At least equal to {RIVAL} on every suite: {', '.join(equal) or 'none'}.{more}"


def verdict_of(results: Results) -> str:
    """`words: agg at least equal to thr, classifier behind thr in Δ-IBC and APGR.`"""
    said = []
    for family in routers(results):
        found = stands(results, family)
        behind, below, ahead = (
            " and ".join(name for name, where in found.items() if where == wanted)
            for wanted in ("behind", "below", "ahead")
        )
        if "not defined" in found.values():
            said.append(f"{family} not to be compared")
        elif behind:
            said.append(f"{family} behind {RIVAL} in {behind}")
        elif below:
            said.append(f"{family} below {RIVAL} in {below}, but within chance")
        else:
            more = f" (ahead in {ahead})" if ahead else ""
            said.append(f"{family} at least equal to {RIVAL}{more}")
    return f"{results.summary['suite']}: {'; '.join(said)}."
