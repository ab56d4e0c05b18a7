"""Make the shipped models from nothing: `make train`, or `python -m trim.shipped.training`.

Tokenizer, weak model, strong model, rollouts, scorer, weights of joint scores, in this order;
what exists in the folder already is kept, so an interrupted run continues. Ends with the
files in `build/models`, to be measured with `python -m training.measure
--models build/models`.
"""

from __future__ import annotations

from pathlib import Path

from training.export import export
from training.tokenizer import load_tokenizer
from training.train import PRESETS, train
from training.train_scorer import ScorerArguments, train_scorer
from trim.configuration.source import models_in
from trim.evaluation.evaluate import draw
from trim.rollouts.collect import collect
from trim.rollouts.rescore import labelled_signals
from trim.scorers.joint import NAME, fit_joint, write_weights

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
        lineup = models_in(FOLDER)
        banks = [
            collect(draw(suite, count, 1), 1, FOLDER.parent / f"joint-{suite}", lineup, "prm")
            for suite, count in JOINT.items()
        ]
        weights = fit_joint(labelled_signals(banks), banks[0].identity.models)
        write_weights(FOLDER / NAME, weights, frozenset().union(*(bank.seen for bank in banks)))


if __name__ == "__main__":
    main()
