"""A query-level router: a text classifier chooses one model for the whole question."""

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
from trim.policies.policy import Explanation, FittedPolicy, describe_comparison
from trim.types import Action, Observation

TOKEN_PATTERN = r"\w+"
"""A word or a number of any length: numbers indicate how hard a sum is."""


class QuestionModel(Protocol):
    """A probability from the text of a question."""

    def probability(self, question: str) -> float:
        """P(the question belongs to the target class), in (0, 1)."""
        ...


@dataclass(frozen=True)
class TermModel:
    """Logistic regression on the TF-IDF features of a question, as in scikit-learn.

    Attributes:
        terms: inverse document frequency and coefficient of each known word and bigram.
        intercept: of the regression, in log-odds.
    """

    terms: Mapping[str, tuple[float, float]]
    intercept: float

    def probability(self, question: str) -> float:
        """P(the question belongs to the target class), in (0, 1)."""
        counts = Counter(term for term in terms_of(question) if term in self.terms)
        weights = [
            (count * self.terms[term][0], self.terms[term][1]) for term, count in counts.items()
        ]
        norm = math.sqrt(math.fsum(weight * weight for weight, _ in weights)) or 1.0
        return sigmoid(self.intercept + math.fsum(weight * c for weight, c in weights) / norm)


def terms_of(question: str) -> Iterator[str]:
    """Words and bigrams, in lower case."""
    words = re.findall(TOKEN_PATTERN, question.lower())
    yield from words
    yield from map(" ".join, pairwise(words))


@dataclass(frozen=True)
class Classifier(FittedPolicy):
    """The strong model solves a question if its probability is at least `threshold`.

    The decision rule of RouteLLM's classifiers (arXiv 2406.18665). `read_classifier` reads it
    from a file of `trim fit-rival`.

    Attributes:
        model: the classifier.
        threshold: in [0, 1]; 0 always chooses the strong model.
    """

    model: QuestionModel
    threshold: float

    family = "classifier"
    needs_scores = False
    keeps_drafts = True

    @property
    def name(self) -> str:
        return self.labelled_name(self.family, self.threshold)

    def begin(self, question: str) -> Action:
        hard = self.model.probability(question) >= self.threshold
        return Action.TAKE_OVER if hard else Action.CONTINUE

    def decide(self, observation: Observation) -> Action:
        return Action.CONTINUE

    def explain(self, observation: Observation) -> Explanation:
        found = self.model.probability(observation.question)
        return Explanation(
            describe_comparison("probability of a hard question", found, self.threshold)
        )


def classifier_record(model: TermModel, thresholds: tuple[float, ...]) -> dict[str, Any]:
    """The content of the file for `read_classifier`."""
    return {
        "policy": Classifier.family,
        "thresholds": list(thresholds),
        "intercept": model.intercept,
        "terms": {term: list(pair) for term, pair in model.terms.items()},
    }


def read_classifier(path: Path, thresholds: tuple[float, ...] = ()) -> list[Classifier]:
    """One policy per threshold, by default for those in the file.

    Raises:
        InvalidInput: the file is unreadable or malformed.
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
        InvalidInput: there is none, or one is outside [0, 1].
    """
    try:
        usual = numbers(record["thresholds"])
    except (KeyError, TypeError, ValueError) as error:
        raise wrong_content(path, family) from error
    if not usual or not all(0 <= threshold <= 1 for threshold in usual):
        raise wrong_content(path, family)
    return usual
