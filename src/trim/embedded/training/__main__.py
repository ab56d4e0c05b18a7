"""Make the shipped models from nothing: `make train`, or `python -m trim.embedded.training`.

Tokenizer, weak model, strong model, rollouts, scorer, weights of joint scores, in this order;
what exists in the folder already is kept, so an interrupted run continues. Ends with the
files in `build/models`, to be measured with `python -m trim.embedded.measure
--models build/models`.
"""

from __future__ import annotations

from pathlib import Path

from trim.bank.collect import collect
from trim.bank.signals import groups_of
from trim.embedded.lineup import EmbeddedLineup
from trim.embedded.training.export import export
from trim.embedded.training.tokenizer import load_tokenizer
from trim.embedded.training.train import PRESETS, train
from trim.embedded.training.train_scorer import ScorerArguments, train_scorer
from trim.evaluation.evaluate import draw
from trim.learning.joint import fit_joint
from trim.scorers.joint import NAME, write_weights

FOLDER = Path("build/models")
JOINT = {"chain": 1100, "words": 400, "program": 400}
"""Problems of each suite, seed 1, that the weights of joint scores are fitted to."""


def main() -> None:
    for name, arguments in PRESETS.items():
        gguf = FOLDER / f"{name}.gguf"
        if not gguf.exists():
            weights = train(arguments)
            export(weights, load_tokenizer(FOLDER / "tokenizer.json"), gguf, f"trim {name}")
    if not (FOLDER / "scorer.gguf").exists():
        train_scorer(ScorerArguments())
    if not (FOLDER / NAME).exists():
        lineup = EmbeddedLineup(FOLDER)
        banks = [
            collect(draw(suite, count, 1), 1, FOLDER.parent / f"joint-{suite}", lineup, "prm")
            for suite, count in JOINT.items()
        ]
        weights = fit_joint(groups_of(banks), banks[0].identity.models)
        write_weights(FOLDER / NAME, weights, frozenset().union(*(bank.seen for bank in banks)))


if __name__ == "__main__":
    main()
