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
from trim.scorers.joint import NAME, JointScorer, JointWeights, read_weights
from trim.scorers.label import LabelScorer
from trim.scorers.scorer import KINDS, Scorer

FOLDER = Path(__file__).parent / "models"
SAMPLING = Sampling(max_tokens=96)
"""The method's settings, with a step limit that fits the shipped models' context."""


@dataclass(frozen=True)
class EmbeddedModels:
    """The three models, loaded.

    Attributes:
        joint: how scores and confidence are weighed; None where the folder has no `joint.json`.
    """

    weak: LlamaCppModel
    strong: LlamaCppModel
    prm: LabelScorer
    joint: JointWeights | None = None

    @property
    def between(self) -> tuple[LlamaCppModel, ...]:
        return ()

    @property
    def scorer(self) -> Scorer:
        """The one that these models are used with: joint scores if they are fitted."""
        return JointScorer(self.prm, self.joint) if self.joint else self.prm

    @property
    def scorers(self) -> dict[str, Scorer]:
        """A scorer of each kind (`trim.scorers.scorer.KINDS`), of `joint` if there are weights."""
        kinds: dict[str, Scorer] = {
            "prm": self.prm,
            "logprob": LogProbabilityScorer(),
            "entropy": FirstEntropyScorer(),
            "grade": GradeScorer(self.strong.engine),
        }
        if self.joint:
            kinds["joint"] = self.scorer
        return kinds

    def scorer_of(self, kind: str) -> Scorer:
        """Raises InvalidInput where there is none of that kind."""
        if kind not in KINDS:
            raise InvalidInput(f"unknown scorer {kind!r}; known: {', '.join(KINDS)}")
        if kind not in self.scorers:
            raise InvalidInput(
                f"scorer {kind!r}: the folder of models has no {NAME}; fit one with"
                f" `trim fit-scorer BANK --out FOLDER/{NAME}`, or choose --scorer prm"
            )
        return self.scorers[kind]


def usual_kind(folder: Path) -> str:
    """The kind of score that the models of a folder are used with: joint if it is fitted."""
    return "joint" if (folder / NAME).exists() else "prm"


def load_embedded(
    folder: Path = FOLDER, slots: int = 16, exact: bool = False, entropy: bool = False
) -> EmbeddedModels:
    """Load `weak.gguf`, `strong.gguf`, `scorer.gguf`, and `joint.json` where there is one.

    Takes about 0.2 seconds.

    Args:
        slots: requests that each model works on together.
        exact: repeat every character from run to run (see `LlamaCppEngine`), at less speed.
        entropy: have both models tell the entropy of each step's first token, which the
            scorer `entropy` needs (`trim.scorers.scorer.needs_entropy`).

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
        LlamaCppModel(weak, "trim-weak", entropy=entropy, template=None),
        LlamaCppModel(strong, "trim-strong", entropy=entropy, template=None),
        LabelScorer(scorer, "trim-scorer"),
        read_weights(folder / NAME) if (folder / NAME).exists() else None,
    )
