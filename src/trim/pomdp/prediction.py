"""What an evaluation is expected to show, from a fitted model alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trim.pomdp.model import read_model
from trim.pomdp.simulate import Draw, simulate

PROBLEMS = 20_000


def predict(
    file: Path, scorer: str, family: str = "pomdp", count: int = PROBLEMS, seed: int = 0
) -> dict[str, Any]:
    """Accuracies of both models alone, and points and curves of the routers that need no fitting.

    Args:
        file: a model of `trim fit`.
        scorer: the kind of score that thresholds are to be used with; of another kind than
            the model's they are not predicted.
        family: what the router made from the file is called.
        count: problems to simulate.

    Returns:
        `model`, which is `family`; `n`; `weak_accuracy`, `strong_accuracy` and
        `strong_tokens_mean`; `points` and `curves` as in `trim.pomdp.simulate.simulate`, of
        `family` with the belief that the file names, of `thr`, `random` and `oracle`.

    Raises:
        InvalidInput: the file is unreadable, or no such model.
    """
    model = read_model(file)
    found = simulate(model, count, seed, Draw.SCORES, beliefs=(model.belief,))
    names = {f"pomdp-{model.belief}": family, "random": "random", "oracle": "oracle"}
    if model.of.get("kind", scorer) == scorer:
        names["thr"] = "thr"
    return {
        "model": family,
        "n": count,
        "weak_accuracy": found["weak_accuracy"],
        "strong_accuracy": found["strong_accuracy"],
        "strong_tokens_mean": found["strong_tokens_mean"],
        "points": [
            {**point, "policy": names[point["policy"]]}
            for point in found["points"]
            if point["policy"] in names
        ],
        "curves": {
            names[family]: curve for family, curve in found["curves"].items() if family in names
        },
    }
