"""The rivals that are fitted, from how each model solved the training problems alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np

from trim.errors import InvalidInput, require_extra
from trim.policies.rivals import embedding as sentence
from trim.policies.rivals.automix import VerifierTable, automix_record
from trim.policies.rivals.cascade import ScoreSummary, verdict
from trim.policies.rivals.classifier import TOKEN_PATTERN, TermModel, classifier_record
from trim.policies.rivals.embedding import EmbeddingModel, Encode, embedding_record


def fit_automix(
    verdict: ScoreSummary,
    values: Sequence[float],
    weak_correct: Sequence[bool],
    strong_correct: Sequence[bool],
    strong_tokens: Sequence[int],
    bins: int = 10,
) -> VerifierTable:
    """Bins of equally many problems, each with its mean gain and cost.

    Args:
        verdict: how `values` were computed (`trim.policies.rivals.cascade.verdict`).
        values: the verifier's figure for the weak model's solution of each problem.
        weak_correct, strong_correct: whether each model alone solves it.
        strong_tokens: tokens that the strong model alone decodes for it.
        bins: as many, or fewer where figures are equal.

    Raises:
        InvalidInput: lists of different lengths, or empty ones.
    """
    if not 0 < len(values) == len(weak_correct) == len(strong_correct) == len(strong_tokens):
        raise InvalidInput("automix: figures and outcomes are missing, or differ in number")
    figures = np.asarray(values, dtype=float)
    quantiles = np.quantile(figures, np.arange(1, bins) / bins, method="higher")
    # An edge at the lowest figure would leave the first bin empty.
    edges = [float(edge) for edge in np.unique(quantiles) if edge > figures.min()]
    members = np.searchsorted(edges, figures, side="right")
    gains = np.asarray(strong_correct, dtype=float) - np.asarray(weak_correct, dtype=float)
    costs = np.asarray(strong_tokens, dtype=float)
    of_bins = [members == bin for bin in range(len(edges) + 1)]
    return VerifierTable(
        verdict,
        tuple(edges),
        tuple(float(gains[chosen].mean()) for chosen in of_bins),
        tuple(float(costs[chosen].mean()) for chosen in of_bins),
    )


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
        MissingExtra: scikit-learn is not installed.
    """
    wanted = wanted_questions(questions, weak_correct, strong_correct, target)
    with require_extra("fitting a classifier"):
        from sklearn.feature_extraction.text import TfidfVectorizer
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
        MissingExtra: scikit-learn or the encoder is not installed.
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
    with require_extra("fitting a classifier"):
        from sklearn.linear_model import LogisticRegression
    regression = LogisticRegression(C=inverse_penalty, max_iter=1000).fit(features, wanted)
    return tuple(map(float, regression.coef_[0])), float(regression.intercept_[0])


def spread_thresholds(probabilities: Sequence[float], count: int = 9) -> tuple[float, ...]:
    """Up to `count` thresholds, falling, that take over equally growing shares of questions.

    Args:
        probabilities: of the questions, by the classifier.
    """
    quantiles = np.quantile(probabilities, np.arange(count, 0, -1) / (count + 1))
    # Rounded down, so that a question at a quantile is still taken over.
    return tuple(dict.fromkeys(math.floor(value * 1e6) / 1e6 for value in quantiles))


SCORES_OF = {"automix": ("logprob",), "automix-prm": ("joint", "prm")}
"""The kinds of score that the weak solutions of a family may have."""
VERDICT_OF = {"automix": ScoreSummary.MEAN, "automix-prm": ScoreSummary.LOWEST}
FAMILIES = ("classifier", "classifier-embedding", *SCORES_OF)
LEAST_PROBLEMS = 20
"""Fewer tell nothing about how often a model is right."""


@dataclass(frozen=True)
class WeakSolution:
    """The weak model's solution of a problem, without any intervention.

    Attributes:
        scores, tokens: of each step, at least one.
        answered: whether it holds an answer, as `trim.policies.policy.Observation` tells it.
    """

    scores: tuple[float, ...]
    tokens: tuple[int, ...]
    answered: bool


@dataclass(frozen=True)
class SolvedAlone:
    """A training problem as each of the two models solves it alone."""

    question: str
    weak: WeakSolution
    weak_correct: bool
    strong_correct: bool
    strong_tokens: int


def fit_rival(family: str, problems: Sequence[SolvedAlone]) -> dict[str, Any]:
    """The content of the policy file of a family, one of `FAMILIES`.

    Raises:
        InvalidInput: too few problems, or all of one kind.
        MissingExtra: a package that fitting needs is not installed.
    """
    if len(problems) < LEAST_PROBLEMS:
        raise InvalidInput(
            f"{family}: {len(problems)} problems that both models solved alone are too few;"
            f" collect at least {LEAST_PROBLEMS}"
        )
    questions = [problem.question for problem in problems]
    weak = [problem.weak_correct for problem in problems]
    strong = [problem.strong_correct for problem in problems]
    match family:
        case "classifier":
            terms = fit_classifier(questions, weak, strong)
            probabilities = [terms.probability(question) for question in questions]
            return classifier_record(terms, spread_thresholds(probabilities))
        case "classifier-embedding":
            model = fit_embedding_classifier(questions, weak, strong, sentence.encode)
            thresholds = spread_thresholds(model.probabilities(questions))
            return embedding_record(model, sentence.ENCODER, thresholds)
        case _:
            kind = VERDICT_OF[family]
            values = [
                verdict(kind, p.weak.scores, p.weak.tokens, p.weak.answered) for p in problems
            ]
            strong_tokens = [problem.strong_tokens for problem in problems]
            return automix_record(family, fit_automix(kind, values, weak, strong, strong_tokens))
