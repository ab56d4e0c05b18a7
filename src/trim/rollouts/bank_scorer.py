"""Score the recorded steps of a bank by the scorer of a configuration: `trim rescore`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from trim.configuration.source import ModelSource
from trim.engines.scheduler import begin_problem
from trim.errors import ContextExceeded, InvalidInput
from trim.fingerprints import read_seen
from trim.models.model import Completion, Ending, Prefix
from trim.models.prompt import Prompt
from trim.rollouts.bank import Bank, read_bank
from trim.rollouts.collect import for_each
from trim.rollouts.explorer import CachedStepScorer
from trim.rollouts.identity import Identity
from trim.rollouts.record import RecordedProblem, SoloSolution
from trim.rollouts.rescore import prefixes_of
from trim.rollouts.routed_store import RoutedStore
from trim.rollouts.store import BankStore, locked_bank
from trim.scorers.scorer import Scorer, checked_scores

PART_SIZE = 20
"""Problems per part of the bank: what a process that is killed may lose."""
CONFIDENT_KINDS = ("joint", "logprob")
"""Kinds of score that are made from a step's recorded log-probability."""


def rescore_by(
    bank: Bank,
    source: ModelSource,
    out: Path,
    kind: str | None = None,
    progress: Callable[[int], None] = lambda finished: None,
) -> Bank:
    """Write a copy of the bank with scores of another scorer to `out`, or continue one.

    Every recorded step is scored after the steps before it, as a router would. The strong model's
    own solution is scored if it was, or if the bank was imported. Of the routed solutions, those
    remain whose policy needed no scores.

    Args:
        kind: of the score (`trim.scorers.scorer.KINDS`); the source's default if None.
        progress: called with the number of finished problems.

    Raises:
        InvalidInput: the configuration has no such scorer, the bank holds no texts or not what the
            scorer reads, or the folder cannot be written or holds another bank.
        ModelUnavailable: the scorer does not answer.
        ContextExceeded: a step does not fit the scorer's context.
    """
    require_texts(bank)
    kind = kind or source.default_kind
    if kind is None:
        raise InvalidInput("the configuration has no scorer; name one as `scorer`")
    source = source.with_task(Prompt())
    identity = identity_after(bank.identity, source, kind)
    scorer = source.build(entropy=kind == "entropy").scorer_of(kind)
    # A bank of `trim collect` scores the strong model's steps where they replace drafts.
    worker = ProblemScorer(scorer, bank.identity.imported)
    require_confidences(bank, kind, worker)
    with locked_bank(out):
        store = BankStore(out, identity, PART_SIZE)
        missing = [each for each in bank.problems if each.problem_id not in store.finished]
        scored = len(store.finished)

        async def score(problem: RecordedProblem) -> None:
            nonlocal scored
            store.add(await worker.score(problem))
            scored += 1

        try:
            asyncio.run(for_each(missing, score, lambda: progress(scored), source.concurrency))
        finally:
            store.flush()
        RoutedStore(out).add([each for each in bank.routed if not each.scores])
    return read_bank(out)


def require_texts(bank: Bank) -> None:
    """Raises InvalidInput if a question or the steps of a solution are not known."""
    for problem in bank.problems:
        if not problem.question or not any(step.text for step in problem.weak.steps):
            raise InvalidInput(
                f"the bank holds no text of {problem.problem_id!r}, which a scorer reads; import"
                " traces with questions and texts of steps"
            )


def require_confidences(bank: Bank, kind: str, worker: ProblemScorer) -> None:
    """Raises InvalidInput if the bank lacks a confidence that scores of a kind are made from."""
    other = "choose another scorer, as with --scorer prm"
    if kind == "entropy":
        raise InvalidInput(
            "a bank does not record the entropy that the scorer 'entropy' reads; collect one with"
            f" `trim collect --scorer entropy`, or {other}"
        )
    if kind not in CONFIDENT_KINDS:
        return
    for problem in bank.problems:
        if None in worker.log_probabilities(problem):
            raise InvalidInput(
                f"the bank lacks the log-probability of a step of {problem.problem_id!r}, which"
                f" the scorer {kind!r} reads and `trim collect` records; {other}"
            )


def identity_after(identity: Identity, source: ModelSource, kind: str) -> Identity:
    """Metadata of the bank with scores of a kind by the source's scorer."""
    roles = ("scorer", "joint")
    found = source.identify(kind)
    models = {role: name for role, name in identity.models.items() if role not in roles}
    if models == {role: name for role, name in found.items() if role not in roles}:
        models = found
    elif kind == "grade":
        models["scorer"] = found["strong"]
    elif kind in ("prm", "joint"):
        models |= {role: found[role] for role in roles if role in found}
    described, record = identity.described, source.record()
    if record:
        described = {**described, "rescored": record}
    seen = read_seen(source.joint) if kind == "joint" and source.joint else frozenset()
    return replace(
        identity, scorer=kind, models=models, exact=False, described=described, seen=seen
    )


@dataclass(frozen=True)
class ProblemScorer:
    """Scores recorded problems.

    Attributes:
        every: also score steps of the strong model's own solution that have no score.
    """

    scorer: Scorer
    every: bool

    def log_probabilities(self, problem: RecordedProblem) -> Iterator[float | None]:
        """Of the steps that `score` scores; None where it is not known."""
        for node in problem.nodes:
            yield node.draft_log_probability
            if node.strong is not None and node.strong_score is not None:
                yield node.strong_log_probability
        for step in (*problem.weak.steps, *problem.strong.steps):
            if self.every or step.score is not None:
                yield step.log_probability

    async def score(self, problem: RecordedProblem) -> RecordedProblem:
        """The problem with new scores. Raises as `rescore_by`."""
        try:
            return await self._score(problem)
        except ContextExceeded as error:
            raise ContextExceeded(f"problem {problem.problem_id!r}: {error}") from error

    async def _score(self, problem: RecordedProblem) -> RecordedProblem:
        begin_problem()
        scorer = CachedStepScorer(self.scorer)
        nodes = []
        for node, prefix in zip(problem.nodes, prefixes_of(problem), strict=True):
            draft = completion(node.draft, node.draft_tokens, node.draft_log_probability)
            node = replace(node, draft_score=await score_step(scorer, prefix, draft))
            if node.strong is not None and node.strong_score is not None:
                strong = completion(node.strong, node.strong_tokens, node.strong_log_probability)
                node = replace(node, strong_score=await score_step(scorer, prefix, strong))
            nodes.append(node)
        return replace(
            problem,
            nodes=tuple(nodes),
            weak=await self._score_solution(scorer, problem.question, problem.weak),
            strong=await self._score_solution(scorer, problem.question, problem.strong),
        )

    async def _score_solution(
        self, scorer: Scorer, question: str, solution: SoloSolution
    ) -> SoloSolution:
        prefix = Prefix(question)
        steps = []
        for step in solution.steps:
            if self.every or step.score is not None:
                written = completion(step.text, step.tokens, step.log_probability)
                step = replace(step, score=await score_step(scorer, prefix, written))
            prefix = prefix.then(step.text)
            steps.append(step)
        return replace(solution, steps=tuple(steps))


def completion(text: str, tokens: int, log_probability: float | None) -> Completion:
    return Completion(text, Ending.STEP, tokens, 0, log_probability=log_probability)


async def score_step(scorer: Scorer, prefix: Prefix, step: Completion) -> float:
    scores = await checked_scores(scorer, prefix.then(step.text), [step])
    return scores.values[0]
