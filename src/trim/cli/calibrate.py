"""`trim calibrate`: a router that keeps a budget or an accuracy."""

from __future__ import annotations

import json
from pathlib import Path

import click
import numpy as np

from trim.cli.options import limit_option, named_prices, path_type, prices_option
from trim.cli.terminal import echo
from trim.errors import InvalidInput
from trim.files import write_atomically, writing
from trim.fingerprints import read_seen, seen_field
from trim.monitoring.profile import Profile, RouteRecord
from trim.policies.calibrated import CalibratedRouter, main_file
from trim.rollouts.bank import read_bank
from trim.rollouts.calibration.calibrate import Calibration, Comparison, compare
from trim.rollouts.calibration.guarantee import (
    Accuracy,
    Guarantee,
    Money,
    StrongShare,
    percentage,
)
from trim.rollouts.calibration.outcomes import ReplayEvaluator
from trim.rollouts.calibration.sweep import Sweep, comparable_families, parse_sweep


@click.command("calibrate")
@click.argument("bank", type=path_type)
@click.option(
    "--policy",
    "specs",
    multiple=True,
    show_default="thr, cascade and the families on tokens that the bank records",
    help="A family without a setting: thr, random, cascade, pomdp:FILE, agg:DIR, seq:DIR, token,"
    " token::M, clause, tail, or FAMILY+tail:P; repeatable: the best one is chosen.",
)
@click.option("--strong-share", type=float, help="Guarantee at most this share of strong tokens.")
@click.option("--money", type=float, help="Guarantee at most this much money per problem.")
@click.option("--accuracy", type=float, help="Guarantee at least this accuracy.")
@click.option(
    "--confidence",
    type=float,
    default=0.9,
    show_default=True,
    help="Probability that the guarantee holds.",
)
@click.option(
    "--horizon",
    type=int,
    show_default="in expectation",
    help="Guarantee the mean over the next N problems, not the expectation.",
    metavar="N",
)
@limit_option
@prices_option
@click.option("--out", type=path_type, required=True, help="The file to write, router.json.")
def calibrate_command(
    bank: Path,
    specs: tuple[str, ...],
    strong_share: float | None,
    money: float | None,
    accuracy: float | None,
    confidence: float,
    horizon: int | None,
    max_strong_tokens: int | None,
    prices_file: Path | None,
    out: Path,
) -> None:
    """Choose the setting that keeps a budget.

    The guarantee is one of --strong-share, --money and --accuracy, for problems like those of BANK
    (docs/guides/budget.md). The router must be fitted to other problems than the bank's. Families
    on tokens need solutions in the bank (`trim collect --policy`). Between k families, each tested
    at a k-th of the error level, the most accurate one is chosen, with --accuracy the cheapest. The
    result is a router file for --policy router:FILE.
    """
    guarantee = make_guarantee(strong_share, money, accuracy, confidence, horizon)
    prices = named_prices(prices_file)
    if money is not None and prices is None:
        raise InvalidInput(
            f"--money {money:g}: needs prices; give --prices FILE, or --prices example"
        )
    if not out.absolute().parent.is_dir():
        raise InvalidInput(f"{out}: cannot be written (no such folder)")
    given = read_bank(bank)
    recorded = given.once()
    evaluator = ReplayEvaluator(recorded, prices, max_strong_tokens)
    words = dict.fromkeys(specs) or comparable_families(recorded, max_strong_tokens)
    sweeps = [parse_sweep(word, recorded, max_strong_tokens) for word in words]
    comparison = compare(evaluator, sweeps, guarantee)
    sweep, found = comparison.best.sweep, comparison.best.calibration
    file = router_file(evaluator, comparison, guarantee)
    learned = read_seen(main_file(sweep.family, sweep.file)) if sweep.file else frozenset()
    record = {**file.to_json(out), **seen_field(recorded.seen | learned)}
    with writing(out):
        write_atomically(out, json.dumps(record, indent=2) + "\n")
    lines = report(out, sweep, guarantee, found, file)
    if len(sweeps) > 1:
        lines += describe_families(comparison, evaluator, guarantee)
    for line in lines:
        echo(line)
    if repeated := len(given.problems) - len(recorded.problems):
        echo(
            f"trim: warning: {repeated} problems were left out, whose questions others have: a"
            " question counts once",
            err=True,
        )
    if recorded.measures_agreement:
        echo(
            "trim: warning: the bank has no reference answers: its accuracy is agreement with the"
            " strong model alone",
            err=True,
        )
    if again := len(recorded.identity.seen & recorded.fingerprints):
        echo(
            f"trim: warning: the scorer was fitted to {again} of the {len(recorded.problems)}"
            " problems of this bank and may do better on them than on others",
            err=True,
        )
    if again := len(learned & recorded.fingerprints):
        echo(
            f"trim: warning: {sweep.file} was fitted to {again} of the {len(recorded.problems)}"
            " problems of this bank and may do better on them than on others; calibrate it on"
            " another bank",
            err=True,
        )
    if not found.improves:
        echo(
            "trim: warning: this budget is too small to help: no gain in accuracy over the weak"
            f" model alone can be shown with {percentage(guarantee.confidence)} confidence",
            err=True,
        )


def make_guarantee(
    strong_share: float | None,
    money: float | None,
    accuracy: float | None,
    confidence: float,
    horizon: int | None,
) -> Guarantee:
    """Raises InvalidInput unless exactly one of the three is given, within its range."""
    given = ((StrongShare, strong_share), (Money, money), (Accuracy, accuracy))
    guarantees: list[Guarantee] = [
        kind(value, confidence, horizon) for kind, value in given if value is not None
    ]
    if len(guarantees) != 1:
        raise InvalidInput("give one of --strong-share, --money and --accuracy")
    return guarantees[0]


def router_file(
    evaluator: ReplayEvaluator, comparison: Comparison, guarantee: Guarantee
) -> CalibratedRouter:
    identity = evaluator.bank.identity
    sweep, found = comparison.best.sweep, comparison.best.calibration
    families = [*(each.sweep for each in comparison.families), *comparison.failed]
    scored = sweep.policy(found.setting).needs_scores
    return CalibratedRouter(
        family=sweep.family,
        setting=found.setting,
        fitted=sweep.file,
        scorer=identity.scorer,
        models=identity.models,
        max_strong_tokens=evaluator.max_strong_tokens,
        guarantee={
            "target": {guarantee.target: guarantee.value},
            "confidence": guarantee.confidence,
            "horizon": guarantee.horizon,
            "bound": guarantee.bound_name,
        },
        figures=figures(found, evaluator),
        profile=profile(found) if scored else None,
        tokens=sweep.tokens,
        tail=sweep.tail,
        families=tuple(each.name for each in families) if len(families) > 1 else (),
    )


def figures(found: Calibration, evaluator: ReplayEvaluator) -> dict[str, float | None]:
    """The chosen setting's results on the bank; `money` is None if nothing is billed."""
    outcomes, baselines = found.outcomes, evaluator.baselines
    return {
        "problems": len(outcomes.correct),
        "strong_share": float(outcomes.strong_tokens.sum() / baselines.strong_tokens.sum()),
        "money": float(outcomes.money.mean()) if evaluator.prices else None,
        "accuracy": float(outcomes.correct.mean()),
        "weak_accuracy": float(baselines.weak_correct.mean()),
        "strong_accuracy": float(baselines.strong_correct.mean()),
        "complete": float(outcomes.complete.mean()),
        "promised": found.bound,
    }


def profile(found: Calibration) -> dict[str, object]:
    """Scores and rewrites of the chosen setting, to detect drift later."""
    routes = (RouteRecord.of(walk.scores, walk.actions, walk.denied) for walk in found.replays)
    return Profile.of(routes).to_json()


def report(
    out: Path, sweep: Sweep, guarantee: Guarantee, found: Calibration, file: CalibratedRouter
) -> list[str]:
    on_bank = file.figures
    form, least = number_format(guarantee), direction(guarantee)
    money = on_bank["money"]
    paid = "" if money is None else f", money {money:.6f}"
    whom = f"on the next {guarantee.horizon} problems" if guarantee.horizon else "in expectation"
    return [
        f"{out}: {sweep.policy(found.setting).name}; use it as --policy router:{out}",
        f"{guarantee.target}: {least} {guarantee.value:{form}} {whom}, with"
        f" {percentage(guarantee.confidence)} confidence ({guarantee.bound_name}); the bound of"
        f" this setting alone is {found.bound:{form}}",
        f"on {on_bank['problems']} problems of the bank: {on_bank['strong_share']:.1%} of the"
        f" strong tokens{paid}, accuracy {on_bank['accuracy']:.1%} (weak"
        f" alone {on_bank['weak_accuracy']:.1%}, strong alone {on_bank['strong_accuracy']:.1%});"
        f" {1 - on_bank['complete']:.1%} of the routes not recorded to their end",
    ]


def describe_families(
    comparison: Comparison, evaluator: ReplayEvaluator, guarantee: Guarantee
) -> list[str]:
    """One line for each family, and one about the confidence."""
    count = len(comparison.families) + len(comparison.failed)
    strong = evaluator.baselines.strong_tokens.mean()
    form, least = number_format(guarantee), direction(guarantee)
    lines = [
        f"{guarantee.confidence:.4g} confidence for {count} families together: each was tested at"
        f" {comparison.confidence:.4g} (Bonferroni)"
    ]
    for family in comparison.families:
        found, outcomes = family.calibration, family.calibration.outcomes
        money = f", money {np.mean(outcomes.money):.6f}" if evaluator.prices else ""
        lines.append(
            f"{family.sweep.policy(found.setting).name}: accuracy {np.mean(outcomes.correct):.1%}"
            f"{money}, {np.mean(outcomes.strong_tokens) / strong:.1%} of the strong tokens,"
            f" {guarantee.target} {least} {found.bound:{form}}"
            f"{' (chosen)' if family is comparison.best else ''}"
        )
    lines += [f"{sweep.name}: no setting keeps it" for sweep in comparison.failed]
    return lines


def number_format(guarantee: Guarantee) -> str:
    return ".6g" if isinstance(guarantee, Money) else ".1%"


def direction(guarantee: Guarantee) -> str:
    return "at least" if isinstance(guarantee, Accuracy) else "at most"
