"""Fits the query classifiers. Needs scikit-learn; using what was fitted does not."""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import StrEnum
from typing import Any

import numpy as np

from trim.errors import InvalidInput, ModelUnavailable
from trim.policies.classifier import TOKEN_PATTERN, TermModel
from trim.policies.embedding import EmbeddingModel, Encode

MINIMUM_QUESTIONS = 2
"""Questions in which a term must occur to be known."""


class Target(StrEnum):
    """What a classifier predicts of a question."""

    GAIN = "gain"
    """The strong model is right and the weak one wrong."""
    WEAK_WRONG = "weak-wrong"
    """The weak model is wrong, whatever the strong one does."""


def fit_classifier(
    questions: Sequence[str],
    weak_correct: Sequence[bool],
    strong_correct: Sequence[bool],
    target: Target = Target.GAIN,
    inverse_penalty: float = 1.0,
) -> TermModel:
    """A logistic regression on words and pairs of words, weighted by TF-IDF.

    Args:
        questions, weak_correct, strong_correct: of each training problem, and whether
            each model alone solves it.
        inverse_penalty: scikit-learn's C; smaller ties the coefficients closer to 0.

    Raises:
        InvalidInput: lists of different lengths, or all questions of one kind.
        ModelUnavailable: scikit-learn is not installed.
    """
    wanted = wanted_questions(questions, weak_correct, strong_correct, target)
    try:
        from sklearn.feature_extraction.text import TfidfVectorizer
    except ImportError as error:
        raise needs_scikit_learn() from error
    vectorizer = TfidfVectorizer(
        token_pattern=TOKEN_PATTERN, ngram_range=(1, 2), min_df=MINIMUM_QUESTIONS
    )
    try:
        features = vectorizer.fit_transform(questions)
    except ValueError as error:
        raise InvalidInput(f"classifier: the questions share no words ({error})") from error
    coefficients, intercept = fit_regression(features, wanted, inverse_penalty)
    columns = zip(vectorizer.get_feature_names_out(), vectorizer.idf_, coefficients, strict=True)
    return TermModel(
        {str(term): (float(idf), coefficient) for term, idf, coefficient in columns}, intercept
    )


def fit_embedding_classifier(
    questions: Sequence[str],
    weak_correct: Sequence[bool],
    strong_correct: Sequence[bool],
    encode: Encode,
    target: Target = Target.GAIN,
    inverse_penalty: float = 1.0,
) -> EmbeddingModel:
    """The same regression on the questions' embeddings by `encode`.

    Raises:
        InvalidInput: lists of different lengths, or all questions of one kind.
        ModelUnavailable: scikit-learn or the encoder is not installed.
    """
    wanted = wanted_questions(questions, weak_correct, strong_correct, target)
    features = np.array(encode(questions))
    return EmbeddingModel(encode, *fit_regression(features, wanted, inverse_penalty))


def wanted_questions(
    questions: Sequence[str],
    weak_correct: Sequence[bool],
    strong_correct: Sequence[bool],
    target: Target,
) -> list[bool]:
    """Which of the questions a classifier is to find.

    Raises:
        InvalidInput: lists of different lengths, or all questions of one kind.
    """
    if not len(questions) == len(weak_correct) == len(strong_correct):
        raise InvalidInput("classifier: questions and outcomes differ in number")
    wanted = [
        not weak and (strong or target is Target.WEAK_WRONG)
        for weak, strong in zip(weak_correct, strong_correct, strict=True)
    ]
    if len(set(wanted)) < 2:
        raise InvalidInput(
            f"classifier: {len(wanted)} training problems without two kinds to tell apart;"
            " use more, or harder ones"
        )
    return wanted


def fit_regression(
    features: Any, wanted: Sequence[bool], inverse_penalty: float
) -> tuple[tuple[float, ...], float]:
    """Coefficients and intercept; `features` has shape (questions, features)."""
    try:
        from sklearn.linear_model import LogisticRegression
    except ImportError as error:
        raise needs_scikit_learn() from error
    regression = LogisticRegression(C=inverse_penalty, max_iter=1000).fit(features, wanted)
    return tuple(map(float, regression.coef_[0])), float(regression.intercept_[0])


def needs_scikit_learn() -> ModelUnavailable:
    return ModelUnavailable("fitting a classifier needs scikit-learn: pip install 'trim[training]'")


def spread_thresholds(probabilities: Sequence[float], count: int = 9) -> tuple[float, ...]:
    """Up to `count` thresholds, falling, that take over equally growing shares of questions.

    Args:
        probabilities: of the questions, by the classifier.
    """
    quantiles = np.quantile(probabilities, np.arange(count, 0, -1) / (count + 1))
    # Rounded down, so that a question at a quantile is still taken over.
    return tuple(dict.fromkeys(math.floor(value * 1e6) / 1e6 for value in quantiles))
