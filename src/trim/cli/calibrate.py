"""`trim calibrate`: a router that keeps a budget or an accuracy."""

from __future__ import annotations

import json
from pathlib import Path

import click

from trim.cli.options import limit_option, named_prices, path_type, prices_option
from trim.errors import InvalidInput
from trim.files import write_atomically, writing
from trim.fingerprints import read_seen, seen_field
from trim.monitoring.profile import Profile, RouteRecord
from trim.policies.calibrated import CalibratedRouter, main_file
from trim.rollouts.bank import read_bank
from trim.rollouts.calibration.calibrate import Calibration, Sweep, calibrate, parse_sweep
from trim.rollouts.calibration.guarantee import Accuracy, Guarantee, Money, StrongShare
from trim.rollouts.calibration.outcomes import ReplayEvaluator


@click.command("calibrate")
@click.argument("bank", type=path_type)
@click.option(
    "--policy",
    "spec",
    required=True,
    help="A family without a setting: thr, random, cascade, pomdp:FILE, agg:DIR or seq:DIR.",
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
    spec: str,
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
    (docs/guides/budget.md). The router must be fitted to other problems than the bank's. The result
    is a router file for --policy router:FILE.
    """
    guarantee = make_guarantee(strong_share, money, accuracy, confidence, horizon)
    prices = named_prices(prices_file)
    if money is not None and prices is None:
        raise InvalidInput(
            f"--money {money:g}: needs prices; give --prices FILE, or --prices example"
        )
    if not out.absolute().parent.is_dir():
        raise InvalidInput(f"{out}: cannot be written (no such folder)")
    recorded = read_bank(bank)
    evaluator = ReplayEvaluator(recorded, prices, max_strong_tokens)
    sweep = parse_sweep(spec, recorded)
    found = calibrate(evaluator, sweep, guarantee)
    file = router_file(evaluator, sweep, guarantee, found)
    learned = read_seen(main_file(sweep.family, sweep.file)) if sweep.file else frozenset()
    record = {**file.to_json(out), **seen_field(recorded.seen | learned)}
    with writing(out):
        write_atomically(out, json.dumps(record, indent=2) + "\n")
    for line in report(out, sweep, guarantee, found, file):
        click.echo(line)
    if recorded.measures_agreement:
        click.echo(
            "trim: warning: the bank has no reference answers: its accuracy is agreement with the"
            " strong model alone",
            err=True,
        )
    if again := len(learned & recorded.fingerprints):
        click.echo(
            f"trim: warning: {sweep.file} was fitted to {again} of the {len(recorded.problems)}"
            " problems of this bank and may do better on them than on others; calibrate it on"
            " another bank",
            err=True,
        )
    if not found.improves:
        click.echo(
            "trim: warning: this budget is too small to help: no gain in accuracy over the weak"
            f" model alone can be shown with {guarantee.confidence:.0%} confidence",
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
    evaluator: ReplayEvaluator, sweep: Sweep, guarantee: Guarantee, found: Calibration
) -> CalibratedRouter:
    identity = evaluator.bank.identity
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
    form = ".6g" if isinstance(guarantee, Money) else ".1%"
    least = "at least" if isinstance(guarantee, Accuracy) else "at most"
    money = on_bank["money"]
    paid = "" if money is None else f", money {money:.6f}"
    whom = f"on the next {guarantee.horizon} problems" if guarantee.horizon else "in expectation"
    return [
        f"{out}: {sweep.family}:{found.setting:g}; use it as --policy router:{out}",
        f"{guarantee.target}: {least} {found.bound:{form}} {whom}, with {guarantee.confidence:.0%}"
        f" confidence ({guarantee.bound_name}); wanted {guarantee.value:{form}}",
        f"on {on_bank['problems']} problems of the bank: {on_bank['strong_share']:.1%} of the"
        f" strong tokens{paid}, accuracy {on_bank['accuracy']:.1%} (weak"
        f" alone {on_bank['weak_accuracy']:.1%}, strong alone {on_bank['strong_accuracy']:.1%});"
        f" {1 - on_bank['complete']:.1%} of the routes not recorded to their end",
    ]
