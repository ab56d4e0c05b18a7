"""The models that ship with trim: weak, strong and step scorer (see MODEL_CARD.md)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from trim.engines.llama_cpp import LlamaCppEngine
from trim.errors import InvalidInput
from trim.models.llama_cpp import LlamaCppModel
from trim.models.model import Sampling
from trim.scorers.confidence import FirstEntropyScorer, LogProbabilityScorer
from trim.scorers.grade import GradeScorer
from trim.scorers.label import LabelScorer
from trim.scorers.scorer import Scorer

FOLDER = Path(__file__).parent / "models"
SAMPLING = Sampling(max_tokens=96)
"""The method's settings, with a step limit that fits the shipped models' context."""


@dataclass(frozen=True)
class EmbeddedModels:
    """The three models, loaded."""

    weak: LlamaCppModel
    strong: LlamaCppModel
    scorer: LabelScorer

    @property
    def scorers(self) -> dict[str, Scorer]:
        """A scorer of each kind (`trim.scorers.choice.KINDS`)."""
        return {
            "prm": self.scorer,
            "logprob": LogProbabilityScorer(),
            "entropy": FirstEntropyScorer(),
            "grade": GradeScorer(self.strong.engine),
        }


def load_embedded(
    folder: Path = FOLDER, slots: int = 16, exact: bool = False, confidence: bool = False
) -> EmbeddedModels:
    """Load `weak.gguf`, `strong.gguf` and `scorer.gguf`; takes about 0.2 seconds.

    Args:
        slots: requests that each model works on together.
        exact: repeat every character from run to run (see `LlamaCppEngine`), at less speed.
        confidence: have both models tell how sure they are of each step, which the scorers
            `logprob` and `entropy` need (`trim.scorers.choice.needs_confidence`).

    Raises:
        InvalidInput: a file is missing or damaged.
    """
    if not folder.is_dir():
        raise InvalidInput(
            f"{folder}: no such folder of models; it needs weak, strong and scorer .gguf"
        )
    weak, strong, scorer = (
        LlamaCppEngine(folder / f"{name}.gguf", slots, exact=exact)
        for name in ("weak", "strong", "scorer")
    )
    return EmbeddedModels(
        LlamaCppModel(weak, "trim-weak", confidence),
        LlamaCppModel(strong, "trim-strong", confidence),
        LabelScorer(scorer, "trim-scorer"),
    )
