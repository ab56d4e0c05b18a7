"""Fitting rivals to training problems that each model solved alone."""

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
from trim.policies.rivals.cascade import ScoreSummary, summarise
from trim.policies.rivals.classifier import TOKEN_PATTERN, TermModel, classifier_record
from trim.policies.rivals.embedding import EmbeddingModel, Encode, embedding_record


def fit_automix(
    summary: ScoreSummary,
    values: Sequence[float],
    weak_correct: Sequence[bool],
    strong_correct: Sequence[bool],
    strong_tokens: Sequence[int],
    bins: int = 10,
) -> VerifierTable:
    """Mean gain and cost in bins of equally many problems.

    Args:
        summary: how `values` were computed (`trim.policies.rivals.cascade.summarise`).
        values: the verifier's score of the weak model's solution, one per problem.
        weak_correct, strong_correct: whether each model alone solves the problem.
        strong_tokens: tokens that the strong model alone decodes for it.
        bins: number of bins; fewer result if scores are equal.

    Raises:
        InvalidInput: the lists are empty or differ in length.
    """
    if not 0 < len(values) == len(weak_correct) == len(strong_correct) == len(strong_tokens):
        raise InvalidInput("automix: scores and outcomes are missing or differ in number")
    scores = np.asarray(values, dtype=float)
    quantiles = np.quantile(scores, np.arange(1, bins) / bins, method="higher")
    # An edge at the lowest score would leave the first bin empty.
    edges = [float(edge) for edge in np.unique(quantiles) if edge > scores.min()]
    members = np.searchsorted(edges, scores, side="right")
    gains = np.asarray(strong_correct, dtype=float) - np.asarray(weak_correct, dtype=float)
    costs = np.asarray(strong_tokens, dtype=float)
    of_bins = [members == bin for bin in range(len(edges) + 1)]
    return VerifierTable(
        summary,
        tuple(edges),
        tuple(float(gains[chosen].mean()) for chosen in of_bins),
        tuple(float(costs[chosen].mean()) for chosen in of_bins),
    )


MIN_QUESTIONS = 2
"""A term must occur in at least so many questions."""


class Target(StrEnum):
    """The class of questions that a classifier predicts."""

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
    """Logistic regression on words and bigrams, weighted by TF-IDF.

    Args:
        questions, weak_correct, strong_correct: the training problems, and whether each model
            alone solves them.
        inverse_penalty: scikit-learn's C; a smaller value shrinks the coefficients.

    Raises:
        InvalidInput: lists of different lengths, or all questions of one kind.
        MissingExtra: scikit-learn is not installed.
    """
    labels = target_labels(questions, weak_correct, strong_correct, target)
    with require_extra("fitting a classifier"):
        from sklearn.feature_extraction.text import TfidfVectorizer
    vectorizer = TfidfVectorizer(
        token_pattern=TOKEN_PATTERN, ngram_range=(1, 2), min_df=MIN_QUESTIONS
    )
    try:
        features = vectorizer.fit_transform(questions)
    except ValueError as error:
        raise InvalidInput(f"classifier: the questions share no words ({error})") from error
    coefficients, intercept = fit_regression(features, labels, inverse_penalty)
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
    """Logistic regression on the embeddings of the questions by `encode`.

    Raises:
        InvalidInput: lists of different lengths, or all questions of one kind.
        MissingExtra: scikit-learn or the encoder is not installed.
    """
    labels = target_labels(questions, weak_correct, strong_correct, target)
    features = np.array(encode(questions))
    return EmbeddingModel(encode, *fit_regression(features, labels, inverse_penalty))


def target_labels(
    questions: Sequence[str],
    weak_correct: Sequence[bool],
    strong_correct: Sequence[bool],
    target: Target,
) -> list[bool]:
    """Whether each question belongs to the target class.

    Raises:
        InvalidInput: the lists differ in length, or all questions are of one class.
    """
    if not len(questions) == len(weak_correct) == len(strong_correct):
        raise InvalidInput("classifier: questions and outcomes differ in number")
    labels = [
        not weak and (strong or target is Target.WEAK_WRONG)
        for weak, strong in zip(weak_correct, strong_correct, strict=True)
    ]
    if len(set(labels)) < 2:
        raise InvalidInput(
            f"classifier: {len(labels)} training problems, all of one class;"
            " use more, or harder ones"
        )
    return labels


def fit_regression(
    features: Any, labels: Sequence[bool], inverse_penalty: float
) -> tuple[tuple[float, ...], float]:
    """Coefficients and intercept; `features` has shape (questions, features)."""
    with require_extra("fitting a classifier"):
        from sklearn.linear_model import LogisticRegression
    regression = LogisticRegression(C=inverse_penalty, max_iter=1000).fit(features, labels)
    return tuple(map(float, regression.coef_[0])), float(regression.intercept_[0])


def spread_thresholds(probabilities: Sequence[float], count: int = 9) -> tuple[float, ...]:
    """Up to `count` falling thresholds; each takes over an equally larger share of questions.

    Args:
        probabilities: the classifier's, one per question.
    """
    quantiles = np.quantile(probabilities, np.arange(count, 0, -1) / (count + 1))
    # Rounded down: a question at a quantile is still taken over.
    return tuple(dict.fromkeys(math.floor(value * 1e6) / 1e6 for value in quantiles))


SCORER_KINDS = {"automix": ("logprob",), "automix-prm": ("joint", "prm")}
"""The kinds of score that a family can be fitted to; any for families not listed."""
SUMMARIES = {"automix": ScoreSummary.MEAN, "automix-prm": ScoreSummary.LOWEST}
FITTED_RIVALS = ("classifier", "classifier-embedding", *SCORER_KINDS)
MIN_PROBLEMS = 20
"""Training problems needed to estimate accuracies."""


@dataclass(frozen=True)
class WeakSolution:
    """The weak model's solution of a problem, without any intervention.

    Attributes:
        scores, tokens: one for each step, at least one.
        answered: whether it has an answer, as in `trim.types.Observation`.
    """

    scores: tuple[float, ...]
    tokens: tuple[int, ...]
    answered: bool


@dataclass(frozen=True)
class TrainingProblem:
    """A problem and the result of each model alone."""

    question: str
    weak: WeakSolution
    weak_correct: bool
    strong_correct: bool
    strong_tokens: int


def fit_rival(family: str, problems: Sequence[TrainingProblem]) -> dict[str, Any]:
    """The content of the policy file of a family, one of `FITTED_RIVALS`.

    Raises:
        InvalidInput: too few problems, or all of one kind.
        MissingExtra: a package that fitting needs is not installed.
    """
    if len(problems) < MIN_PROBLEMS:
        raise InvalidInput(
            f"{family}: {len(problems)} problems that both models solved alone are too few;"
            f" collect at least {MIN_PROBLEMS}"
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
            kind = SUMMARIES[family]
            values = [
                summarise(kind, p.weak.scores, p.weak.tokens, p.weak.answered) for p in problems
            ]
            strong_tokens = [problem.strong_tokens for problem in problems]
            return automix_record(family, fit_automix(kind, values, weak, strong, strong_tokens))
