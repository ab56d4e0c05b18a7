"""Make the shipped models from nothing: `make train`, or `python -m trim.embedded.training`.

Tokenizer, weak model, strong model, rollouts, scorer, in this order; what exists in the
folder already is kept, so an interrupted run continues. Ends with the GGUF files in
`build/models`, to be measured with `python -m trim.embedded.measure --models build/models`.
"""

from __future__ import annotations

from pathlib import Path

from trim.embedded.training.export import export
from trim.embedded.training.tokenizer import load_tokenizer
from trim.embedded.training.train import PRESETS, train
from trim.embedded.training.train_scorer import ScorerArguments, train_scorer

FOLDER = Path("build/models")


def main() -> None:
    for name, arguments in PRESETS.items():
        gguf = FOLDER / f"{name}.gguf"
        if not gguf.exists():
            weights = train(arguments)
            export(weights, load_tokenizer(FOLDER / "tokenizer.json"), gguf, f"trim {name}")
    if not (FOLDER / "scorer.gguf").exists():
        train_scorer(ScorerArguments())


if __name__ == "__main__":
    main()
