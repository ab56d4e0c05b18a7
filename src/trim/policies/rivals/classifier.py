"""A query router: a text classifier reads the question and chooses one of the two models."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

from trim.files import numbers, read_models, read_record, wrong_content
from trim.numerics import sigmoid
from trim.policies.policy import Explanation, FittedPolicy, compared
from trim.types import Action, Observation

TOKEN_PATTERN = r"\w+"
"""A word, or a number of any length: the digits say how hard a sum is."""


class QuestionModel(Protocol):
    """Judges a question by its text alone."""

    def probability(self, question: str) -> float:
        """In (0, 1): how likely the question is one that it was trained to find."""
        ...


@dataclass(frozen=True)
class TermModel:
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
        return sigmoid(self.intercept + math.fsum(weight * c for weight, c in weights) / norm)


def terms_of(question: str) -> Iterator[str]:
    """Words and pairs of neighbouring words, in lower case."""
    words = re.findall(TOKEN_PATTERN, question.lower())
    yield from words
    yield from map(" ".join, pairwise(words))


@dataclass(frozen=True)
class Classifier(FittedPolicy):
    """The strong model solves a question whose probability is at least `threshold`.

    Made by `read_classifier` from a file that `trim.policies.rivals.fit` has fitted; the
    classifiers of RouteLLM (arXiv 2406.18665) decide in the same place. `threshold` is
    in [0, 1]; 0 always chooses the strong model.
    """

    model: QuestionModel
    threshold: float

    family = "classifier"
    needs_scores = False

    @property
    def name(self) -> str:
        return self.named(self.family, self.threshold)

    def begin(self, question: str) -> Action:
        hard = self.model.probability(question) >= self.threshold
        return Action.TAKE_OVER if hard else Action.CONTINUE

    def decide(self, observation: Observation) -> Action:
        return Action.CONTINUE

    def explain(self, observation: Observation) -> Explanation:
        found = self.model.probability(observation.question)
        return Explanation(compared("how likely the question is hard,", found, self.threshold))


def classifier_record(model: TermModel, thresholds: tuple[float, ...]) -> dict[str, Any]:
    """The JSON content that `read_classifier` reads."""
    return {
        "policy": Classifier.family,
        "thresholds": list(thresholds),
        "intercept": model.intercept,
        "terms": {term: list(pair) for term, pair in model.terms.items()},
    }


def read_classifier(path: Path, thresholds: tuple[float, ...] = ()) -> list[Classifier]:
    """A policy for each threshold, by default for those in the file.

    Raises:
        InvalidInput: unreadable, or not such a classifier.
    """
    record = read_record(path, Classifier.family)
    try:
        terms = {term: numbers(pair) for term, pair in record["terms"].items()}
        (intercept,) = numbers([record["intercept"]])
        model = TermModel({term: (idf, coef) for term, (idf, coef) in terms.items()}, intercept)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise wrong_content(path, Classifier.family) from error
    usual = read_thresholds(path, Classifier.family, record)
    models = read_models(path, Classifier.family, record)
    return [Classifier(model, threshold, models=models) for threshold in thresholds or usual]


def read_thresholds(path: Path, family: str, record: dict[str, Any]) -> tuple[float, ...]:
    """The thresholds in a classifier's file, at least one.

    Raises:
        InvalidInput: none, or one outside [0, 1].
    """
    try:
        usual = numbers(record["thresholds"])
    except (KeyError, TypeError, ValueError) as error:
        raise wrong_content(path, family) from error
    if not usual or not all(0 <= threshold <= 1 for threshold in usual):
        raise wrong_content(path, family)
    return usual
