"""Fitting to banks: routers, scorers and rivals."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from trim.cli.options import path_type
from trim.cli.terminal import echo
from trim.errors import InvalidInput, require_extra
from trim.files import require_writable, write_atomically, writing
from trim.fingerprints import Seen, seen_field
from trim.policies.fit_scope import count_right, fit_scope, read_examples, scope_record
from trim.policies.pomdp.belief import BeliefKind
from trim.policies.pomdp.model import PomdpModel, write_model
from trim.policies.pomdp.process import process_from_accuracies, read_hazard
from trim.policies.ppo.weights import write_router
from trim.policies.rivals.fit import FITTED_RIVALS, SCORER_KINDS, fit_rival
from trim.rollouts.bank import read_bank
from trim.rollouts.fit import fit_bank
from trim.rollouts.observations import read_labelled_scores
from trim.rollouts.rescore import labelled_signals
from trim.scorers.joint import fit_joint, write_weights

if TYPE_CHECKING:
    from trim.policies.ppo.trainer import TrainedRouter


@click.command()
@click.argument("examples", type=path_type)
@click.option("--out", type=path_type, required=True, help="The file to write, pomdp.json.")
@click.option(
    "--belief",
    type=click.Choice([str(kind) for kind in BeliefKind]),
    show_default="the best on the bank; newest if it has no rewritten steps",
    help="The router's belief: the method's, or a filter over the whole trace.",
)
@click.option(
    "--weak-accuracy", type=float, help="With a CSV: p_w, the weak model's share of right steps."
)
@click.option(
    "--strong-accuracy",
    type=float,
    help="With a CSV: p_s, the strong model's share of right steps.",
)
@click.option(
    "--hazard",
    type=path_type,
    help="With a CSV: JSON list h(0)..h(30), the hazard of ending by step.",
)
@click.option("--tokens", type=float, help="With a CSV: tokens per rewrite.")
@click.option(
    "--observations",
    type=path_type,
    help="Labelled scores of the same scorer, a bank with step labels or a CSV: the densities of"
    " scores come from these, all else from EXAMPLES.",
)
def fit(
    examples: Path,
    out: Path,
    belief: str | None,
    weak_accuracy: float | None,
    strong_accuracy: float | None,
    hazard: Path | None,
    tokens: float | None,
    observations: Path | None,
) -> None:
    """Fit the POMDP router's model to a bank.

    EXAMPLES is a bank of `trim collect`, or a CSV of labelled scores
    (state,min_previous_score,current_score); a CSV needs the four options that a bank replaces.
    In a bank without step labels, wrong steps are found by EM from scores and right answers.
    """
    kind = BeliefKind(belief) if belief else None
    seen: Seen = frozenset()
    if examples.suffix == ".csv":
        if weak_accuracy is None or strong_accuracy is None or hazard is None or tokens is None:
            raise InvalidInput(
                f"{examples}: a CSV needs --weak-accuracy, --strong-accuracy, --hazard and"
                " --tokens as well"
            )
        process = process_from_accuracies(
            weak_accuracy, strong_accuracy, read_hazard(hazard), tokens
        )
        if observations is not None:
            raise InvalidInput(f"{examples}: a CSV has observations; leave --observations out")
        known = read_labelled_scores(examples)
        model = PomdpModel(
            process, known.observations, kind or BeliefKind.NEWEST, source=known.source
        )
    else:
        if any(value is not None for value in (weak_accuracy, strong_accuracy, hazard, tokens)):
            raise InvalidInput(
                f"{examples}: a bank has accuracies, hazard and tokens; leave the options out"
            )
        bank = read_bank(examples)
        seen = bank.seen
        if observations is None:
            model = fit_bank(bank, kind)
        else:
            known = read_labelled_scores(observations)
            if warning := known.differing_scorer(bank):
                echo(f"trim: warning: {warning}", err=True)
            model = fit_bank(bank, kind, known.observations)
            model = replace(model, source={**model.source, **known.source})
            seen |= known.seen
    write_model(out, model, seen)
    fitted = model.process
    echo(
        f"{out}: next-step accuracy {fitted.drafting[0, 0]:.4f} weak,"
        f" {fitted.rewriting[0, 0]:.4f} strong, {fitted.recovery:.1%} of errors harmless,"
        f" {fitted.tokens:.1f} tokens a rewrite, belief {model.belief}"
    )
    echo(f"{out}: {origin(model.source)}")


def origin(source: Mapping[str, Any]) -> str:
    """A line on how the observations were found."""
    labelled = ""
    if "observations" in source:
        labelled = f"observations from {source['examples']:,} examples in {source['observations']}"
    if "outcomes" not in source:
        return labelled or f"observations from the labels of {source['steps']:,} steps"
    found = f"wrong steps by EM from {source['outcomes']:,} answers"
    if "unseen" in source:
        found += f", {source['unseen']:.1%} of errors unseen by the scorer"
    if "log_likelihood" in source:
        found += f", held-out log-likelihood {source['log_likelihood']:.2f} nats an answer"
    return f"{labelled}, {found}" if labelled else f"observations and {found}"


@click.command("fit-scorer")
@click.argument("banks", nargs=-1, required=True, type=path_type)
@click.option(
    "--out",
    type=path_type,
    required=True,
    help="The file to write; --scorer joint reads joint.json in the folder of models.",
)
def fit_scorer(banks: tuple[Path, ...], out: Path) -> None:
    """Fit the weights of the joint scorer to BANKS.

    The joint score combines the reward model's score and the confidence of the model that wrote
    the step. BANKS are of `trim collect --scorer prm`, all of the same models.
    """
    read = [read_bank(path) for path in banks]
    groups = labelled_signals(read)
    weights = fit_joint(groups, read[0].identity.models)
    write_weights(out, weights, frozenset().union(*(bank.seen for bank in read)))
    right = sum(outcome for _, outcome in groups)
    echo(
        f"{out}: log-odds {weights.intercept:.3g} + {weights.prm:.3g} of the score's +"
        f" {weights.log_probability:.3g} a nat, from {len(groups)} examples ({right} right)"
    )


@click.command("fit-rival")
@click.argument("family", type=click.Choice(FITTED_RIVALS))
@click.argument("bank", type=path_type)
@click.option(
    "--out",
    type=path_type,
    required=True,
    help="The file to write, for --policy FAMILY:FILE.",
)
def fit_rival_command(family: str, bank: Path, out: Path) -> None:
    """Fit a rival router to a BANK.

    It learns from the solutions by each model alone. automix needs a bank of `trim collect --scorer
    logprob`, automix-prm one of --scorer joint or prm (docs/concepts/policies.md).
    """
    recorded = read_bank(bank)
    kind = recorded.identity.scorer
    needed = SCORER_KINDS.get(family, (kind,))
    if kind not in needed:
        raise InvalidInput(
            f"{bank}: its scores are of kind {kind!r}, and {family} needs"
            f" {' or '.join(map(repr, needed))}: collect a bank with --scorer {needed[0]}"
        )
    problems = recorded.solved_alone()
    record = {
        **fit_rival(family, problems),
        "models": recorded.identity.models,
        "scorer": recorded.identity.scorer,
        **seen_field(recorded.seen),
    }
    with writing(out):
        write_atomically(out, json.dumps(record, indent=2) + "\n")
    echo(f"{out}: {family}, from {len(problems)} problems; use it as --policy {family}:{out}")


@click.command("fit-scope")
@click.argument("examples", type=path_type)
@click.option(
    "--out",
    type=path_type,
    required=True,
    help="The file to write, for routing.scope.classifier in a configuration.",
)
def fit_scope_command(examples: Path, out: Path) -> None:
    """Fit a classifier of requests that need reasoning to EXAMPLES.

    EXAMPLES has a JSON object a line: {"question": "What is 3 x 7?", "reasoning": true}. Requests
    that do not need it are then answered whole (docs/guides/server.md).
    """
    known = read_examples(examples)
    right = count_right(known)
    with writing(out):
        write_atomically(out, json.dumps(scope_record(fit_scope(known)), indent=2) + "\n")
    click.echo(
        f"{out}: from {len(known)} examples; fitted to one half, it was right about"
        f" {right} of {len(known)} in the other"
    )


LEARNED_FAMILIES = ("agg", "seq")
ADVANTAGES = ("branches", "episodes")
PRESETS = ("trim", "paper")


def parse_prices(text: str | None) -> tuple[float, ...]:
    """Different prices, in right answers per strong token; empty without a text.

    Raises:
        InvalidInput: not prices in (0, 1], separated by commas.
    """
    if text is None:
        return ()
    try:
        prices = tuple(dict.fromkeys(float(price) for price in text.split(",")))
    except ValueError:
        prices = ()
    if not prices or not all(0 < price <= 1 for price in prices):
        raise InvalidInput(
            f"--lambda {text}: must be above 0 and up to 1 right answer per strong token, as in"
            " 0.004, or several such prices, as in 0.004,0.02"
        )
    return prices


def require_range(option: str, value: float | None, lowest: float, highest: float) -> None:
    """Raise InvalidInput unless an option is left out or lies within a range."""
    if value is not None and not lowest <= value <= highest:
        raise InvalidInput(f"{option} {value:g}: must be from {lowest:g} to {highest:g}")


@click.command()
@click.argument("family", type=click.Choice(LEARNED_FAMILIES))
@click.argument("bank", type=path_type)
@click.option(
    "--out",
    type=path_type,
    required=True,
    help="The folder to write, for --policy FAMILY:FOLDER.",
)
@click.option(
    "--preset",
    type=click.Choice(PRESETS),
    default=PRESETS[0],
    show_default=True,
    help="Settings: trim's own, or those of the paper, with one run for each price. The options"
    " below override them.",
)
@click.option(
    "--lambda",
    "prices",
    show_default="trim: one run for all prices; paper: 8 prices over the bank's range",
    help="Train for these prices alone, one run for each, in right answers per strong token, as in"
    " 0.004 or 0.004,0.02.",
)
@click.option(
    "--product/--no-product",
    default=None,
    help="agg: add the product of earlier scores to the features.",
)
@click.option(
    "--plain-scores/--logit-scores",
    default=None,
    show_default="logits; paper: plain",
    help="Use plain scores, as the paper does, or their logits.",
)
@click.option(
    "--advantage",
    type=click.Choice(ADVANTAGES),
    show_default="branches; paper: episodes",
    help="Advantages: exact, from both actions' outcomes in the bank, or estimated from episodes.",
)
@click.option(
    "--normalised-advantages/--raw-advantages",
    "normalised",
    default=None,
    show_default="normalised; paper: raw",
    help="Scale advantages to root mean square 1 (those of episodes to deviation 1), or use them as"
    " they are, in right answers.",
)
@click.option(
    "--width",
    type=int,
    show_default="64; paper: 128",
    help="agg: units in each of the two hidden layers, from 1 to 4096.",
)
@click.option(
    "--learning-rate",
    type=float,
    show_default="0.002, falling to a tenth; paper: 0.0001, constant",
    help="Adam's first learning rate, from 1e-7 to 1.",
)
@click.option(
    "--entropy",
    type=float,
    show_default="falling from 0.1 to 0.01; paper: 0.01",
    help="Constant weight of the entropy bonus, from 0 to 1.",
)
@click.option(
    "--iterations",
    type=int,
    show_default="300",
    help="Iterations of a run at most; 100 without progress end it.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Random seed.")
def train(
    family: str,
    bank: Path,
    out: Path,
    preset: str,
    prices: str | None,
    product: bool | None,
    plain_scores: bool | None,
    advantage: str | None,
    normalised: bool | None,
    width: int | None,
    learning_rate: float | None,
    entropy: float | None,
    iterations: int | None,
    seed: int,
) -> None:
    """Train the router agg or seq on a BANK by PPO.

    One run gives the whole curve, as lambda is an input of the network; with --lambda or --preset
    paper, each price has a run and a network of its own.
    """
    if family != "agg":
        for option, is_given in (("--product", product), ("--width", width is not None)):
            if is_given:
                raise InvalidInput(f"{option}: only for agg, not for {family}")
    chosen = parse_prices(prices)
    require_range("--width", width, 1, 4096)
    require_range("--learning-rate", learning_rate, 1e-7, 1)
    require_range("--entropy", entropy, 0, 1)
    require_range("--iterations", iterations, 1, 1_000_000)
    require_writable(out)
    recorded = read_bank(bank)
    recorded.require_strong("training")
    trees = recorded.tree_batch()
    with require_extra("training"):
        from trim.policies.ppo import trainer
    options = {
        "product": product,
        "log_odds": None if plain_scores is None else not plain_scores,
        "advantage": None if advantage is None else trainer.Advantage(advantage),
        "normalised": normalised,
        "width": width,
        "learning_rate": learning_rate,
        "first_entropy": entropy,
        "entropy": entropy,
        "iterations": iterations,
        "seed": seed,
    }
    settings = trainer.PAPER if preset == "paper" else {}
    overrides = {name: value for name, value in options.items() if value is not None}
    arguments = replace(trainer.DEFAULT_ARGUMENTS[family], **{**settings, **overrides})
    if preset == "paper" and not chosen:
        chosen = trainer.spread_prices(trees)
    if len(chosen) > 1:
        trained = trainer.train_each(trees, arguments, chosen, show_run)
    else:
        trained = trainer.train(trees, replace(arguments, price=next(iter(chosen), None)))
    router = trained.router(recorded.identity.scorer, recorded.identity.models)
    write_router(out, router, recorded.seen)
    gain = trained.curve.delta_ibc()
    echo(
        f"{out}: {family}, {trained.iterations} rounds on {len(trees.roots)} problems, lambda"
        f" {trained.range.lowest:g} to {trained.range.highest:g}, Δ-IBC"
        f" {'none' if gain is None else format(gain, '.2f')} on the problems held out;"
        f" use it as --policy {family}:{out}"
    )


def show_run(run: TrainedRouter) -> None:
    """Report the training for one of several prices."""
    ((share, accuracy),) = run.curve.points
    echo(
        f"lambda {run.prices[0]:g}: {run.iterations} rounds; on the problems held out"
        f" {100 * accuracy:.1f} % right for {100 * share:.1f} % of the strong model's tokens"
    )
