"""The rivals that are fitted, from how each model solved the training problems alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from trim.engines import sentence
from trim.errors import InvalidInput
from trim.learning.automix import fit_automix
from trim.learning.classifier import fit_classifier, fit_embedding_classifier, spread_thresholds
from trim.policies.automix import automix_record
from trim.policies.classifier import classifier_record
from trim.policies.embedding import embedding_record
from trim.policies.verdict import Verdict, verdict

SCORES_OF = {"automix": ("logprob",), "automix-prm": ("joint", "prm")}
"""The kinds of score that the weak solutions of a family may have."""
VERDICT_OF = {"automix": Verdict.MEAN, "automix-prm": Verdict.LOWEST}
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
        ModelUnavailable: a package that fitting needs is not installed.
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
