"""Whether the parts of a configuration work: each is tried by itself."""

from __future__ import annotations

import statistics
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import TypeVar, cast

from trim.configuration.configuration import Configuration
from trim.configuration.model import Served
from trim.configuration.scorer import ConfidenceSection, GradeSection, JointSection
from trim.configuration.scoring import ReadingSection, make_grade, make_reader
from trim.configuration.writing import WritingModel, WritingSection, make_model
from trim.errors import InvalidInput, ModelUnavailable, Refused, TrimError
from trim.models.model import Completion, Ending, Prefix, Sampling
from trim.models.probe import Verdict, probe
from trim.scorers.confidence import FirstEntropyScorer, LogProbabilityScorer
from trim.scorers.joint import JointScorer, read_weights
from trim.scorers.scorer import Scorer

QUESTION = "Write down 13. 1) add 4. 2) last, multiply by 3. What is the result?"
PAIRS = (
    (QUESTION, "1) add 4: 13 + 4 = 17.", "2) last, multiply by 3: 17 * 3 = {}.", 51, 92),
    (
        "Write down 20. 1) subtract 5. 2) last, add 30. What is the result?",
        *("1) subtract 5: 20 - 5 = 15.", "2) last, add 30: 15 + 30 = {}.", 45, 18),
    ),
    (
        "Write down 8. 1) multiply by 2. 2) last, subtract 6. What is the result?",
        *("1) multiply by 2: 8 * 2 = 16.", "2) last, subtract 6: 16 - 6 = {}.", 10, 73),
    ),
    (
        "Write down 42. 1) add 9. 2) last, subtract 1. What is the result?",
        *("1) add 9: 42 + 9 = 51.", "2) last, subtract 1: 51 - 1 = {}.", 50, 15),
    ),
)
"""Questions, first steps, last steps, and what makes those right and obviously wrong: several,
for a good scorer may err about one."""
CALLS = 3
"""The milliseconds are the median of so many."""
TOKENS = 64
ATTEMPTS = 2
"""Whoever looks whether a server is there does not wait for it to come back."""

Working = dict[str, WritingModel]
"""Models that work, by part."""
Result = TypeVar("Result")
Part = TypeVar("Part", bound=WritingSection | ReadingSection)


@dataclass(frozen=True)
class Finding:
    """What one part does.

    Attributes:
        reachable: whether it was loaded, or its server answered.
        continuation, verdict: how it goes on from a text, and what the probe says of that
            (`trim.models.probe`); None of a scorer.
        tokens: prompt tokens and written ones that were counted for one step; None of a scorer.
        cached: prompt tokens that the second of two like requests found in the cache; 0 where
            that is not told.
        scores: mean of the right and of the wrong steps, in [0, 1]; of confidence, in a step of
            each model.
        milliseconds: median of a few calls.
        failure: what is wrong and what would be right, in one line; None where all is well.
    """

    part: str
    reachable: bool = False
    continuation: str | None = None
    verdict: Verdict | None = None
    tokens: tuple[int, int] | None = None
    cached: int | None = None
    scores: tuple[float, ...] = ()
    milliseconds: float | None = None
    failure: str | None = None


async def check(configuration: Configuration, sampling: Sampling) -> list[Finding]:
    """Try every model and every scorer that a configuration names."""
    roles: dict[str, WritingSection] = {
        "weak": configuration.weak,
        **{f"between.{place}": each for place, each in enumerate(configuration.between)},
        "strong": configuration.strong,
    }
    findings: list[Finding] = []
    # A server that is forgotten before the event loop ends would leave its connections open.
    made: list[WritingModel | Scorer] = []
    writers: Working = {}
    for role, section in roles.items():
        finding = Finding(role)
        try:
            model = make_model(hasty(section), role, slots=1, entropy=True)
            made.append(model)
            finding = await check_writer(finding, model, sampling)
            writers[role] = model
        except TrimError as error:
            finding = failed(finding, error)
        findings.append(finding)
    for part in configuration.scorer:
        finding = Finding(f"scorer {part.kind}")
        try:
            if isinstance(part, ConfidenceSection):
                finding = await check_confidence(finding, part, writers, sampling)
            else:
                scorer = scorer_of(part, writers)
                made.append(scorer)
                finding = await check_scorer(finding, scorer)
        except TrimError as error:
            finding = failed(finding, error)
        findings.append(finding)
    return findings


async def check_writer(finding: Finding, model: WritingModel, sampling: Sampling) -> Finding:
    """Raises InvalidInput or ModelUnavailable where the model does not work."""
    found = await probe(model)
    finding = replace(
        finding,
        reachable=True,
        continuation=found.continuation.value,
        verdict=found.verdict,
        cached=found.cached_tokens,
    )
    short = replace(sampling, max_tokens=min(sampling.max_tokens, TOKENS))
    step, milliseconds = await timed(lambda: model.write_step(Prefix(QUESTION), short, 1))
    finding = replace(finding, tokens=(step.prompt_tokens, step.tokens), milliseconds=milliseconds)
    return replace(finding, failure=miscounted(step))


def miscounted(step: Completion) -> str | None:
    """What is wrong with the counts of a step; None where they may be right."""
    words, characters = len(step.text.split()), len(step.text.encode())
    if 2 * step.prompt_tokens < len(QUESTION.split()):
        return (
            f"{step.prompt_tokens} prompt tokens are counted for {len(QUESTION.split())} words; let"
            " the server tell its usage"
        )
    if 2 * step.tokens < words:
        return f"{step.tokens} tokens are counted for {words} words; let the server tell its usage"
    if step.tokens > 2 * characters + 8:
        return (
            f"{step.tokens} tokens are counted for {characters} characters; if the model thinks"
            " unseen, name thinking_off"
        )
    return None


def scorer_of(section: ReadingSection | JointSection | GradeSection, writers: Working) -> Scorer:
    """Raises InvalidInput or ModelUnavailable where it cannot be made."""
    if isinstance(section, GradeSection):
        if "strong" not in writers:
            raise InvalidInput("the strong model grades, and it does not work")
        return make_grade(section, writers["strong"])
    if isinstance(section, JointSection):
        return JointScorer(make_reader(hasty(section.of), 1), read_weights(section.weights))
    return make_reader(hasty(section), 1)


async def check_scorer(finding: Finding, scorer: Scorer) -> Finding:
    """Raises InvalidInput or ModelUnavailable where the scorer does not work."""
    traces = [(solved(*pair[:4]), solved(*pair[:3], pair[4])) for pair in PAIRS]
    _, milliseconds = await timed(lambda: scored(scorer, traces[0][0]))
    finding = replace(finding, reachable=True, milliseconds=milliseconds)
    values = [[await scored(scorer, trace) for trace in pair] for pair in traces]
    for pair in values:
        for each in pair:
            if len(each) != 2:
                return replace(finding, failure=f"{len(each)} scores for 2 steps")
            if not all(0 <= score <= 1 for score in each):
                return replace(finding, failure=f"scores {each} are not within [0, 1]")
    right, wrong = (statistics.fmean(pair[which][-1] for pair in values) for which in range(2))
    finding = replace(finding, scores=(right, wrong))
    if right > wrong:
        return finding
    return replace(
        finding,
        failure=f"wrong steps have the mean score {wrong:.2f} and right ones {right:.2f}; see"
        " whether the model can grade, and whether its template and its tag or labels are right",
    )


def solved(question: str, first: str, last: str, answer: int) -> Prefix:
    return Prefix(question, (first, f"{last.format(answer)}\nThe answer is \\boxed{{{answer}}}."))


async def scored(scorer: Scorer, trace: Prefix) -> tuple[float, ...]:
    written = [Completion(step, Ending.STEP, 8, 0, log_probability=-0.05) for step in trace.steps]
    return (await scorer.score(trace, written)).values


async def check_confidence(
    finding: Finding,
    section: ConfidenceSection,
    writers: Working,
    sampling: Sampling,
) -> Finding:
    """Confidence is the models' own: each tells it of a step that it writes."""
    kind = section.kind
    scorer = LogProbabilityScorer() if kind == "logprob" else FirstEntropyScorer()
    for role, model in writers.items():
        step = await model.write_step(Prefix(QUESTION), replace(sampling, max_tokens=TOKENS), 1)
        told = step.log_probability if kind == "logprob" else step.first_entropy
        if told is None:
            raise InvalidInput(
                f"{role} does not tell how sure it is of a step; name another scorer, or a server"
                " that tells log-probabilities"
            )
        value = (await scorer.score(Prefix(QUESTION, (step.text,)), [step])).values[0]
        finding = replace(finding, reachable=True, scores=(*finding.scores, value))
    return finding


async def timed(call: Callable[[], Awaitable[Result]]) -> tuple[Result, float]:
    """The last answer of a few calls, and the median of their milliseconds."""
    spent = []
    for _ in range(CALLS):
        started = time.perf_counter()
        answer = await call()
        spent.append(1000 * (time.perf_counter() - started))
    return answer, statistics.median(spent)


def failed(finding: Finding, error: TrimError) -> Finding:
    answered = isinstance(error, Refused) or not isinstance(error, ModelUnavailable)
    return replace(finding, reachable=finding.reachable or answered, failure=str(error))


def hasty(section: Part) -> Part:
    """The section with few attempts."""
    if not isinstance(section, Served):
        return section
    return cast(Part, section.model_copy(update={"attempts": min(section.attempts, ATTEMPTS)}))
