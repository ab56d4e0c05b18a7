"""`trim fit`: the model of traces that the POMDP router plans with."""

from __future__ import annotations

from pathlib import Path

import click

from trim.bank.bank import read_bank
from trim.errors import InvalidInput
from trim.learning.belief import best_belief
from trim.pomdp.belief import Belief
from trim.pomdp.evidence import evidence_of_bank
from trim.pomdp.fit import fit_evidence
from trim.pomdp.hazard import read_hazard
from trim.pomdp.model import PomdpModel, write_model
from trim.pomdp.observations import fit_observations, read_examples
from trim.pomdp.process import method_process
from trim.seen import Seen

file_type = click.Path(path_type=Path)


@click.command()
@click.argument("examples", type=file_type)
@click.option("--out", type=file_type, required=True, help="The file to write, pomdp.json.")
@click.option(
    "--belief",
    type=click.Choice([str(kind) for kind in Belief]),
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
    kind = Belief(belief) if belief else Belief.NEWEST
    seen: Seen = frozenset()
    if examples.suffix == ".csv":
        if weak_accuracy is None or strong_accuracy is None or hazard is None or tokens is None:
            raise InvalidInput(
                f"{examples}: a CSV needs --weak-accuracy, --strong-accuracy, --hazard and"
                " --tokens as well"
            )
        process = method_process(weak_accuracy, strong_accuracy, read_hazard(hazard), tokens)
        model = PomdpModel(process, fit_observations(read_examples(examples)), kind)
    else:
        if any(value is not None for value in (weak_accuracy, strong_accuracy, hazard, tokens)):
            raise InvalidInput(f"{examples}: a bank tells accuracies, hazard and tokens by itself")
        bank = read_bank(examples)
        of = {**bank.identity.models, "kind": bank.identity.scorer}
        if belief is None:
            kind = best_belief(bank)
        model = fit_evidence(evidence_of_bank(bank), of, kind)
        seen = bank.seen
    write_model(out, model, seen)
    fitted = model.process
    click.echo(
        f"{out}: next-step accuracy {fitted.drafting[0, 0]:.4f} weak,"
        f" {fitted.rewriting[0, 0]:.4f} strong, {fitted.tokens:.1f} tokens a rewrite,"
        f" belief {model.belief}"
    )
