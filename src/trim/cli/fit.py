"""Fitting to banks: routers, scorers and rivals."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import click

from trim.cli.options import path_type
from trim.cli.terminal import echo
from trim.errors import InvalidInput, require_extra
from trim.files import write_atomically, writing
from trim.fingerprints import Seen, seen_field
from trim.policies.pomdp.belief import BeliefKind
from trim.policies.pomdp.fit import fit_evidence
from trim.policies.pomdp.model import PomdpModel, write_model
from trim.policies.pomdp.observations import fit_observations, read_examples
from trim.policies.pomdp.process import process_from_accuracies, read_hazard
from trim.policies.ppo.weights import write_router
from trim.policies.rivals.fit import FITTED_RIVALS, SCORER_KINDS, fit_rival
from trim.rollouts.bank import read_bank
from trim.rollouts.fit import best_belief_kind, evidence_from_bank
from trim.rollouts.rescore import labelled_signals
from trim.scorers.joint import fit_joint, write_weights


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
def fit(
    examples: Path,
    out: Path,
    belief: str | None,
    weak_accuracy: float | None,
    strong_accuracy: float | None,
    hazard: Path | None,
    tokens: float | None,
) -> None:
    """Fit the POMDP router's model to a bank.

    EXAMPLES is a bank of `trim collect`, or a CSV of labelled scores
    (state,min_previous_score,current_score); a CSV needs the four options that a bank replaces.
    """
    kind = BeliefKind(belief) if belief else BeliefKind.NEWEST
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
        model = PomdpModel(process, fit_observations(read_examples(examples)), kind)
    else:
        if any(value is not None for value in (weak_accuracy, strong_accuracy, hazard, tokens)):
            raise InvalidInput(
                f"{examples}: a bank has accuracies, hazard and tokens; leave the options out"
            )
        bank = read_bank(examples)
        of = {**bank.identity.models, "kind": bank.identity.scorer}
        if belief is None:
            kind = best_belief_kind(bank)
        model = fit_evidence(evidence_from_bank(bank), of, kind)
        seen = bank.seen
    write_model(out, model, seen)
    fitted = model.process
    echo(
        f"{out}: next-step accuracy {fitted.drafting[0, 0]:.4f} weak,"
        f" {fitted.rewriting[0, 0]:.4f} strong, {fitted.tokens:.1f} tokens a rewrite,"
        f" belief {model.belief}"
    )


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


LEARNED_FAMILIES = ("agg", "seq")
ADVANTAGES = ("branches", "episodes")


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
    "--lambda",
    "price",
    type=float,
    show_default="a range of prices",
    help="Train for this price alone, in right answers per strong token.",
)
@click.option(
    "--product", is_flag=True, help="agg: add the product of earlier scores to the features."
)
@click.option(
    "--plain-scores", is_flag=True, help="Use plain scores, as the paper does, not their logits."
)
@click.option(
    "--advantage",
    type=click.Choice(ADVANTAGES),
    default=ADVANTAGES[0],
    show_default=True,
    help="Advantages: exact, from both actions' outcomes in the bank, or estimated from episodes.",
)
@click.option("--iterations", type=click.IntRange(min=1), help="Training iterations at most.")
@click.option("--seed", type=int, default=0, show_default=True, help="Random seed.")
def train(
    family: str,
    bank: Path,
    out: Path,
    price: float | None,
    product: bool,
    plain_scores: bool,
    advantage: str,
    iterations: int | None,
    seed: int,
) -> None:
    """Train the router agg or seq on a BANK by PPO.

    One run gives the whole curve, as lambda is an input of the network.
    """
    if product and family != "agg":
        raise InvalidInput(f"--product: only for agg, not for {family}")
    if price is not None and not 0 < price <= 1:
        raise InvalidInput(
            f"--lambda {price:g}: must be above 0 and up to 1 right answer per strong token,"
            " as in 0.004"
        )
    recorded = read_bank(bank)
    recorded.require_strong("training")
    forest = recorded.tree_batch()
    with require_extra("training"):
        from trim.policies.ppo.trainer import DEFAULT_ARGUMENTS, Advantage
        from trim.policies.ppo.trainer import train as train_router
    arguments = replace(
        DEFAULT_ARGUMENTS[family],
        product=product,
        log_odds=not plain_scores,
        price=price,
        advantage=Advantage(advantage),
        seed=seed,
    )
    if iterations is not None:
        arguments = replace(arguments, iterations=iterations)
    trained = train_router(forest, arguments)
    router = trained.router(recorded.identity.scorer, recorded.identity.models)
    write_router(out, router, recorded.seen)
    gain = trained.curve.delta_ibc()
    echo(
        f"{out}: {family}, {trained.iterations} rounds on {len(forest.roots)} problems, lambda"
        f" {trained.range.lowest:g} to {trained.range.highest:g}, Δ-IBC"
        f" {'none' if gain is None else format(gain, '.2f')} on the problems held out;"
        f" use it as --policy {family}:{out}"
    )
