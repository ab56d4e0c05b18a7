"""Whether a scorer tells right steps from wrong ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from trim.checks.exercises import Draft, Kind, StepPair
from trim.checks.findings import Finding, timed
from trim.checks.separation import ScorerFitness, Separation
from trim.configuration.build import ScorerSection, WritingModel, fail_fast, make_grade, make_reader
from trim.configuration.scorers import ConfidenceSection, GradeSection, JointSection
from trim.errors import InvalidInput
from trim.models.model import Completion, Ending, Prefix
from trim.scorers.confidence import FirstEntropyScorer, LogProbabilityScorer
from trim.scorers.joint import JointScorer, read_weights
from trim.scorers.scorer import Scorer

PAIRS = 10
"""Right and wrong steps that a scorer reads."""


@dataclass(frozen=True)
class Material:
    """What scorers are tried on.

    Attributes:
        writers: models that work, by part.
        drafts: judged steps of the models whose drafts are scored, by part.
        kind: of the problems, one that the models can do.
    """

    writers: Mapping[str, WritingModel]
    drafts: Mapping[str, tuple[Draft, ...]]
    kind: Kind


def make_scorer(section: ScorerSection, writers: Mapping[str, WritingModel]) -> Scorer:
    """Raises InvalidInput or ModelUnavailable where it cannot be made."""
    if isinstance(section, ConfidenceSection):
        if "weak" not in writers:
            raise InvalidInput("it scores what weak writes, and that does not work")
        return LogProbabilityScorer() if section.kind == "logprob" else FirstEntropyScorer()
    if isinstance(section, GradeSection):
        if "strong" not in writers:
            raise InvalidInput("the strong model grades, and it does not work")
        return make_grade(section, writers["strong"])
    if isinstance(section, JointSection):
        return JointScorer(make_reader(fail_fast(section.of), 1), read_weights(section.weights))
    return make_reader(fail_fast(section), 1)


async def check_scorer(
    finding: Finding, section: ScorerSection, scorer: Scorer, material: Material
) -> Finding:
    """How well the scorer tells right steps from wrong ones (`Separation`).

    Confidence is looked at in steps that the models themselves wrote, and other scorers read
    pairs of traces that differ in the result of the last step.

    Raises:
        InvalidInput, ModelUnavailable: the scorer does not work.
    """
    if isinstance(section, ConfidenceSection):
        separation, milliseconds = await sorted_drafts(scorer, material.drafts), None
        advice = "name another scorer"
    else:
        separation, milliseconds = await sorted_pairs(scorer, material.kind.pairs(PAIRS))
        advice = "see whether the model can grade, and whether its template and tag or labels fit"
    finding = replace(finding, reachable=True, milliseconds=milliseconds, separation=separation)
    if separation.fitness is not ScorerFitness.UNFIT:
        return finding
    return replace(finding, failure=f"{separation.reason}; {advice}")


async def sorted_pairs(scorer: Scorer, pairs: Sequence[StepPair]) -> tuple[Separation, float]:
    """The scores of the right and of the wrong traces, and the median milliseconds of one."""
    # The two traces of a pair one after the other: the second finds its beginning in the cache.
    traces = [trace for pair in pairs for trace in (pair.right, pair.wrong)]
    values, milliseconds = await timed([partial(last_score, scorer, trace) for trace in traces])
    return Separation(tuple(values[::2]), tuple(values[1::2])), milliseconds


async def sorted_drafts(scorer: Scorer, drafts: Mapping[str, tuple[Draft, ...]]) -> Separation:
    """The scores of the right and of the wrong drafts."""
    right: list[float] = []
    wrong: list[float] = []
    for role, written in drafts.items():
        for draft in written:
            try:
                scores = await scorer.score(draft.prefix.then(draft.step.text), [draft.step])
            except InvalidInput as error:
                raise InvalidInput(
                    f"{role} does not tell how sure it is of a step; name another scorer, or a"
                    " server that tells log-probabilities"
                ) from error
            (right if draft.right else wrong).append(scores.values[0])
    return Separation(tuple(right), tuple(wrong))


async def last_score(scorer: Scorer, trace: Prefix) -> float:
    """Raises InvalidInput unless there is a score in [0, 1] for each step."""
    written = [Completion(step, Ending.STEP, 8, 0, log_probability=-0.05) for step in trace.steps]
    scores = (await scorer.score(trace, written)).values
    if len(scores) != len(trace.steps):
        raise InvalidInput(f"{len(scores)} scores for {len(trace.steps)} steps")
    if not all(0 <= score <= 1 for score in scores):
        raise InvalidInput(f"scores {scores} are not within [0, 1]")
    return scores[-1]
