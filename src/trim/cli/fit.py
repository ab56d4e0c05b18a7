"""`trim fit`: the model of traces that the POMDP router plans with."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import click

from trim.errors import InvalidInput, ModelUnavailable
from trim.files import sha256_of, write_atomically, writing
from trim.fingerprints import Seen, read_seen, seen_field
from trim.policies.pomdp.belief import BeliefKind
from trim.policies.pomdp.fit import fit_evidence
from trim.policies.pomdp.model import PomdpModel, write_model
from trim.policies.pomdp.observations import fit_observations, read_examples
from trim.policies.pomdp.process import process_from_accuracies, read_hazard
from trim.policies.ppo.weights import write_router
from trim.policies.rivals.fit import FITTED_RIVALS, SCORER_KINDS, fit_rival
from trim.rollouts.bank import read_bank
from trim.rollouts.fit import best_belief_kind, evidence_from_bank
from trim.rollouts.rescore import groups_of, rescore
from trim.rollouts.store import BankStore
from trim.scorers.joint import fit_joint, read_weights, write_weights

file_type = click.Path(path_type=Path)


@click.command()
@click.argument("examples", type=file_type)
@click.option("--out", type=file_type, required=True, help="The file to write, pomdp.json.")
@click.option(
    "--belief",
    type=click.Choice([str(kind) for kind in BeliefKind]),
    show_default="the one that does best on the bank; newest where it has no rewritten steps",
    help="How the router comes to its belief: the method's, or a filter over the whole trace.",
)
@click.option("--weak-accuracy", type=float, help="With a CSV: p_w, right steps of the weak.")
@click.option("--strong-accuracy", type=float, help="With a CSV: p_s, the same of the strong.")
@click.option("--hazard", type=file_type, help="With a CSV: JSON list h(0)..h(30) of ending.")
@click.option("--tokens", type=float, help="With a CSV: tokens of a rewrite.")
def fit(
    examples: Path,
    out: Path,
    belief: str | None,
    weak_accuracy: float | None,
    strong_accuracy: float | None,
    hazard: Path | None,
    tokens: float | None,
) -> None:
    """Fit the POMDP router's model to EXAMPLES and write it to --out.

    EXAMPLES is a bank of `trim collect`, or a CSV of labelled scores
    (state,min_previous_score,current_score), which needs the four figures that only a bank
    can tell.
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
            raise InvalidInput(f"{examples}: a bank tells accuracies, hazard and tokens by itself")
        bank = read_bank(examples)
        of = {**bank.identity.models, "kind": bank.identity.scorer}
        if belief is None:
            kind = best_belief_kind(bank)
        model = fit_evidence(evidence_from_bank(bank), of, kind)
        seen = bank.seen
    write_model(out, model, seen)
    fitted = model.process
    click.echo(
        f"{out}: next-step accuracy {fitted.drafting[0, 0]:.4f} weak,"
        f" {fitted.rewriting[0, 0]:.4f} strong, {fitted.tokens:.1f} tokens a rewrite,"
        f" belief {model.belief}"
    )


PART = 1000
"""Problems that are written together."""


@click.command("fit-scorer")
@click.argument("banks", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help="The file to write; as joint.json in a folder of models it serves --scorer joint.",
)
def fit_scorer(banks: tuple[Path, ...], out: Path) -> None:
    """Weigh the reward model's score and the models' confidence, from BANKS of both.

    The banks are of `trim collect --scorer prm`, all of the same models.
    """
    read = [read_bank(path) for path in banks]
    groups = groups_of(read)
    weights = fit_joint(groups, read[0].identity.models)
    write_weights(out, weights, frozenset().union(*(bank.seen for bank in read)))
    right = sum(outcome for _, outcome in groups)
    click.echo(
        f"{out}: log-odds {weights.intercept:.3g} + {weights.prm:.3g} of the score's +"
        f" {weights.log_probability:.3g} a nat, from {len(groups)} examples ({right} right)"
    )


@click.command("rescore")
@click.argument("bank", type=click.Path(path_type=Path))
@click.argument("weights", type=click.Path(path_type=Path))
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="Folder of the new bank."
)
def rescore_command(bank: Path, weights: Path, out: Path) -> None:
    """Write BANK with joint scores by WEIGHTS, a file of `trim fit-scorer`, as a new bank."""
    joint, sha256 = read_weights(weights), sha256_of(weights)
    rescored = rescore(read_bank(bank), joint, sha256, read_seen(weights))
    store = BankStore(out, rescored.identity, PART)
    for problem in rescored.problems:
        store.add(problem)
    store.flush()
    click.echo(f"{out}: {len(rescored.problems)} problems with joint scores")


@click.command("fit-rival")
@click.argument("family", type=click.Choice(FITTED_RIVALS))
@click.argument("bank", type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help="The file to write, for --policy FAMILY:FILE.",
)
def fit_rival_command(family: str, bank: Path, out: Path) -> None:
    """Fit a rival to how each model alone solved the problems of a BANK.

    automix needs a bank of `trim collect --scorer logprob`, automix-prm one of --scorer joint or
    prm; docs/rivals.md says what they are.
    """
    recorded = read_bank(bank)
    kind = recorded.identity.scorer
    needed = SCORER_KINDS.get(family, (kind,))
    if kind not in needed:
        raise InvalidInput(
            f"{bank}: its steps have scores of the kind {kind!r}, and {family} needs"
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
    click.echo(f"{out}: {family}, from {len(problems)} problems; use it as --policy {family}:{out}")


FAMILIES = ("agg", "seq")
ADVANTAGES = ("branches", "episodes")


@click.command()
@click.argument("family", type=click.Choice(FAMILIES))
@click.argument("bank", type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help="The folder to write, for --policy FAMILY:FOLDER.",
)
@click.option(
    "--lambda",
    "price",
    type=float,
    help="Train for this price alone, in right answers a strong token; default: all of them.",
)
@click.option(
    "--product", is_flag=True, help="agg: one more feature, the product of earlier scores."
)
@click.option(
    "--plain-scores", is_flag=True, help="Read scores as the method does, not as log-odds."
)
@click.option(
    "--advantage",
    type=click.Choice(ADVANTAGES),
    default=ADVANTAGES[0],
    show_default=True,
    help="Exact, from what both actions led to in the bank; or estimated from episodes.",
)
@click.option("--iterations", type=click.IntRange(min=1), help="Rounds of learning, at most.")
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
    """Train the router agg or seq by PPO on a BANK of `trim collect`.

    One run gives the whole curve, as lambda is an input of the network.
    """
    if product and family != "agg":
        raise InvalidInput(f"--product: a feature of agg, and {family} has none of that name")
    if price is not None and not 0 < price <= 1:
        raise InvalidInput(
            f"--lambda {price:g}: a price in right answers a strong token lies above 0 and up"
            " to 1, as in 0.004"
        )
    recorded = read_bank(bank)
    forest = recorded.forest()
    try:
        from trim.policies.ppo.trainer import DEFAULT_ARGUMENTS, Advantage
        from trim.policies.ppo.trainer import train as train_router
    except ImportError as error:
        raise ModelUnavailable(
            f"training needs {error.name}: pip install 'trim[training]'"
        ) from error
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
    click.echo(
        f"{out}: {family}, {trained.iterations} rounds on {len(forest.roots)} problems, lambda"
        f" {trained.range.lowest:g} to {trained.range.highest:g}, Δ-IBC"
        f" {'none' if gain is None else format(gain, '.2f')} on the problems held out;"
        f" use it as --policy {family}:{out}"
    )
