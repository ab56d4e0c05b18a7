"""Checks of scorers: whether they separate right steps from wrong ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from trim.checks.exercises import Draft, ProblemKind, StepPair
from trim.checks.findings import Finding, timed
from trim.checks.separation import ScorerFitness, Separation
from trim.configuration.build import for_trial, make_grade, make_reward_model
from trim.configuration.scorers import (
    ConfidenceSection,
    GradeSection,
    JointSection,
    ScorerSection,
)
from trim.errors import InvalidInput
from trim.models.model import Completion, Ending, Model, Prefix
from trim.scorers.confidence import FirstEntropyScorer, LogProbabilityScorer
from trim.scorers.joint import JointScorer, read_weights
from trim.scorers.scorer import Scorer, checked_scores

PAIRS = 10
"""Pairs of a right and a wrong step that a scorer reads."""


@dataclass(frozen=True)
class Material:
    """Steps to check scorers with.

    Attributes:
        models: those that work, by role.
        drafts: judged steps of the models that draft, by role.
        kind: of the problems, one that the models can solve.
    """

    models: Mapping[str, Model]
    drafts: Mapping[str, tuple[Draft, ...]]
    kind: ProblemKind


def make_scorer(section: ScorerSection, models: Mapping[str, Model]) -> Scorer:
    """The scorer of a section. Raises InvalidInput or ModelUnavailable if it cannot be made."""
    if isinstance(section, ConfidenceSection):
        if "weak" not in models:
            raise InvalidInput("it scores steps of the weak model, which does not work")
        return LogProbabilityScorer() if section.kind == "logprob" else FirstEntropyScorer()
    if isinstance(section, GradeSection):
        if "strong" not in models:
            raise InvalidInput("the strong model grades, and it does not work")
        return make_grade(section, models["strong"])
    if isinstance(section, JointSection):
        reward_model = make_reward_model(for_trial(section.of), 1)
        return JointScorer(reward_model, read_weights(section.weights))
    return make_reward_model(for_trial(section), 1)


async def check_scorer(
    finding: Finding, section: ScorerSection, scorer: Scorer, material: Material
) -> Finding:
    """Measure how well a scorer separates right steps from wrong ones (`Separation`).

    Confidence scorers score steps that the models wrote; other scorers read pairs of traces that
    differ in the result of the last step.

    Raises:
        InvalidInput, ModelUnavailable: the scorer does not work.
    """
    if isinstance(section, ConfidenceSection):
        separation, milliseconds = await separate_drafts(scorer, material.drafts), None
        advice = "name another scorer"
    else:
        separation, milliseconds = await separate_pairs(scorer, material.kind.pairs(PAIRS))
        advice = "check whether the model can grade, and whether its template and tag or labels fit"
    finding = replace(finding, reachable=True, milliseconds=milliseconds, separation=separation)
    if separation.fitness is not ScorerFitness.UNFIT:
        return finding
    return replace(finding, failure=f"{separation.reason}; {advice}")


async def separate_pairs(scorer: Scorer, pairs: Sequence[StepPair]) -> tuple[Separation, float]:
    """The scores of right and wrong traces, and the median milliseconds of one."""
    # The traces of a pair follow each other: the second finds its beginning in the cache.
    traces = [trace for pair in pairs for trace in (pair.right, pair.wrong)]
    values, milliseconds = await timed([partial(last_score, scorer, trace) for trace in traces])
    return Separation(tuple(values[::2]), tuple(values[1::2])), milliseconds


async def separate_drafts(scorer: Scorer, drafts: Mapping[str, tuple[Draft, ...]]) -> Separation:
    """The scores of right and wrong drafts."""
    right: list[float] = []
    wrong: list[float] = []
    for role, written in drafts.items():
        for draft in written:
            try:
                scores = await scorer.score(draft.prefix.then(draft.step.text), [draft.step])
            except InvalidInput as error:
                raise InvalidInput(
                    f"{role} reports no log-probabilities; name another scorer, or a server that"
                    " reports them"
                ) from error
            (right if draft.right else wrong).append(scores.values[0])
    return Separation(tuple(right), tuple(wrong))


async def last_score(scorer: Scorer, trace: Prefix) -> float:
    """The score of the last step. Raises InvalidInput unless each step has one in [0, 1]."""
    written = [Completion(step, Ending.STEP, 8, 0, log_probability=-0.05) for step in trace.steps]
    return (await checked_scores(scorer, trace, written)).values[-1]
