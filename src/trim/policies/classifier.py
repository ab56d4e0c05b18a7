"""A query router: a text classifier reads the question and chooses one of the two models."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from trim.policies.files import numbers, read_record, wrong_content
from trim.policies.policy import Action, Observation, Policy, named

TOKEN_PATTERN = r"\w+"
"""A word, or a number of any length: the digits say how hard a sum is."""


@dataclass(frozen=True)
class QuestionModel:
    """Logistic regression on TF-IDF features of a question, as scikit-learn computes it.

    Attributes:
        terms: inverse document frequency and coefficient of each known word and pair of
            neighbouring words.
        intercept: of the regression.
    """

    terms: Mapping[str, tuple[float, float]]
    intercept: float

    def probability(self, question: str) -> float:
        """In (0, 1): how likely the question is one that it was trained to find."""
        counts = Counter(term for term in terms_of(question) if term in self.terms)
        weights = [
            (count * self.terms[term][0], self.terms[term][1]) for term, count in counts.items()
        ]
        norm = math.sqrt(math.fsum(weight * weight for weight, _ in weights)) or 1.0
        logit = self.intercept + math.fsum(weight * c for weight, c in weights) / norm
        return 1 / (1 + math.exp(-max(-700.0, min(logit, 700.0))))


def terms_of(question: str) -> Iterator[str]:
    """Words and pairs of neighbouring words, in lower case."""
    words = re.findall(TOKEN_PATTERN, question.lower())
    yield from words
    yield from map(" ".join, pairwise(words))


@dataclass(frozen=True)
class Classifier(Policy):
    """The strong model solves a question whose probability is at least `threshold`.

    Made by `read_classifier` from a file that `trim.learning.classifier` has fitted; the
    classifiers of RouteLLM (arXiv 2406.18665) decide in the same place. `threshold` is
    in [0, 1]; 0 always chooses the strong model.
    """

    model: QuestionModel
    threshold: float

    needs_scores = False

    @property
    def name(self) -> str:
        return named("classifier", self.threshold)

    def begin(self, question: str) -> Action:
        hard = self.model.probability(question) >= self.threshold
        return Action.TAKE_OVER if hard else Action.CONTINUE

    def decide(self, observation: Observation) -> Action:
        return Action.CONTINUE


def classifier_record(model: QuestionModel, thresholds: tuple[float, ...]) -> dict[str, Any]:
    """The JSON content that `read_classifier` reads."""
    return {
        "policy": "classifier",
        "thresholds": list(thresholds),
        "intercept": model.intercept,
        "terms": {term: list(pair) for term, pair in model.terms.items()},
    }


def read_classifier(path: Path, thresholds: tuple[float, ...] = ()) -> list[Classifier]:
    """A policy for each threshold, by default for those in the file.

    Raises:
        InvalidInput: unreadable, or not such a classifier.
    """
    record = read_record(path, "classifier")
    try:
        terms = {term: numbers(pair) for term, pair in record["terms"].items()}
        (intercept,) = numbers([record["intercept"]])
        usual = numbers(record["thresholds"])
        model = QuestionModel({term: (idf, coef) for term, (idf, coef) in terms.items()}, intercept)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise wrong_content(path, "classifier") from error
    if not usual or not all(0 <= threshold <= 1 for threshold in usual):
        raise wrong_content(path, "classifier")
    return [Classifier(model, threshold) for threshold in thresholds or usual]
