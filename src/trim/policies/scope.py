"""The scope of routing: which requests are routed step by step; one model answers the rest."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from trim.files import read_record
from trim.policies.policy import describe_comparison
from trim.policies.rivals import embedding as sentence
from trim.policies.rivals.classifier import QuestionModel
from trim.policies.rivals.embedding import EmbeddingModel, Encode, read_embedding_model

FAMILY = "scope"
CHARACTERS = 4_000
"""A pattern or a classifier reads so many characters of a text."""


@dataclass(frozen=True)
class Scope:
    """The conditions under which a request is routed; all those that are given must hold.

    Attributes:
        rest: role of the model that answers all other requests whole.
        question: a pattern that the user's last message must contain.
        system: a pattern that the system messages must contain.
        classifier: probability that a question needs reasoning.
        threshold: its least probability.
    """

    rest: str
    question: re.Pattern[str] | None = None
    system: re.Pattern[str] | None = None
    classifier: QuestionModel | None = None
    threshold: float = 0.5

    def why_outside(self, question: str, system: str = "") -> str | None:
        """Why a request is not routed, as a clause; None for one that is.

        Args:
            question: the user's last message.
            system: the system messages.
        """
        if self.question and not self.question.search(question[:CHARACTERS]):
            return "the question does not match routing.scope.question"
        if self.system and not self.system.search(system[:CHARACTERS]):
            return "the system message does not match routing.scope.system"
        if self.classifier:
            probability = self.classifier.probability(question[:CHARACTERS])
            if probability < self.threshold:
                return describe_comparison(
                    "the classifier's probability", probability, self.threshold
                )
        return None


def read_classifier(
    path: Path,
    encode: Encode = sentence.encode,
    encoder: str = sentence.ENCODER,
    size: int = sentence.SIZE,
) -> EmbeddingModel:
    """The classifier in a file of `trim fit-scope`.

    Args:
        encode, encoder, size: the encoder, its name and the dimension of its vectors.

    Raises:
        InvalidInput: the file is unreadable, malformed, or fitted on another encoder.
    """
    record = read_record(path, FAMILY)
    return read_embedding_model(path, FAMILY, record, encode, encoder, size)
