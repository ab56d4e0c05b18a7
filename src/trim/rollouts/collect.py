"""Fill a bank with recorded problems: `trim collect`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from trim.configuration.source import Models, ModelSource
from trim.costs import Prices
from trim.errors import InvalidInput
from trim.evaluation.bill import Bill, billed, cost_limit_error, require_prices
from trim.evaluation.problem_set import Gradable, ProblemSet
from trim.evaluation.progress import RunProgress, call_periodically
from trim.fingerprints import read_seen
from trim.grading.workers import GraderPool
from trim.rollouts.bank import Bank, read_bank
from trim.rollouts.explorer import Explorer, with_answer
from trim.rollouts.identity import Identity
from trim.rollouts.record import RecordedProblem
from trim.rollouts.routed import RoutedSolution
from trim.rollouts.routed_solver import RecordedPolicy, RoutedSolver, parse_recorded
from trim.rollouts.routed_store import RoutedStore
from trim.rollouts.store import BankStore, locked_bank
from trim.rollouts.tree_builder import StepCheck

CONCURRENCY = 16
"""Problems under way at a time."""
ROLLOUTS = 8
"""Solutions per problem: a bank of 500 problems holds at most 4,000."""


class ProblemExplorer(Protocol):
    """Records the tree of a problem."""

    async def explore(self, problem: Gradable) -> RecordedProblem: ...


class ProblemRecorder(ProblemExplorer, Protocol):
    """Records problems, in this process (`LocalRecorder`) or on a cluster."""

    async def solve(self, problem: Gradable) -> Sequence[RoutedSolution]:
        """The solutions of the recorded policies."""
        ...


@dataclass(frozen=True)
class LocalRecorder:
    """Records problems in this process.

    Raises:
        InvalidInput: on opening, if a policy needs a model that cannot write inside steps.
    """

    explorer: Explorer
    solver: RoutedSolver

    async def __aenter__(self) -> LocalRecorder:
        await self.solver.require_spans()
        return self

    async def __aexit__(self, *error: object) -> None:
        pass

    async def explore(self, problem: Gradable) -> RecordedProblem:
        return await self.explorer.explore(problem)

    async def solve(self, problem: Gradable) -> Sequence[RoutedSolution]:
        return await self.solver.solve(problem)


@dataclass(frozen=True)
class RecorderSession:
    """A recorder that has to be opened and closed.

    Attributes:
        context: opens the recorder.
        concurrency: number of problems at a time, once it is open.
    """

    context: AbstractAsyncContextManager[ProblemRecorder]
    concurrency: Callable[[], int]


@dataclass(frozen=True)
class CollectionRequest:
    """The options of a collection for other processes.

    Attributes:
        scorer: kind of score.
        specs: the policies whose solutions are recorded, as on the command line.
        max_strong_tokens: limit of these solutions.
    """

    problem_set: ProblemSet
    seed: int
    scorer: str
    rollouts: int
    exact: bool
    specs: tuple[str, ...] = ()
    max_strong_tokens: int | None = None


class RemoteCollector(Protocol):
    """Records problems in other processes (`trim.cluster`)."""

    def open_recorder(
        self, source: ModelSource, request: CollectionRequest, bill: Bill
    ) -> RecorderSession: ...


def collect(
    problem_set: ProblemSet,
    seed: int,
    out: Path,
    source: ModelSource,
    scorer: str | None = None,
    rollouts: int = ROLLOUTS,
    exact: bool = False,
    progress: Callable[[RunProgress], None] = lambda progress: None,
    max_money: float | None = None,
    remote: RemoteCollector | None = None,
    prices: Prices | None = None,
    specs: Sequence[str] = (),
    max_strong_tokens: int | None = None,
) -> Bank:
    """Record problems in the bank `out`, or continue an interrupted collection.

    Args:
        scorer: the kind of score (`trim.scorers.scorer.KINDS`); the source's default if None.
        rollouts: maximum number of solutions per problem (`Explorer`).
        exact: use deterministic engines.
        progress: called regularly; its accuracies are those of the models alone.
        max_money: start no further problem once the bank has cost this much (`Bill`).
        remote: records the problems in other processes; None uses this process.
        prices: None records no cost.
        specs: policies on tokens whose solutions are recorded as well, as on the command line
            (`trim.rollouts.routed`); problems that the bank holds already get them too.
        max_strong_tokens: limit of these solutions.

    Raises:
        InvalidInput: `max_money` without prices, no scorer, more than two models, a policy that can
            be replayed, models that cannot write inside steps, or a folder that cannot be written
            or holds another bank.
        MoneySpent: `max_money` was reached before the last problem.
    """
    require_prices(max_money, prices)
    kind = scorer or source.default_kind
    if kind is None:
        raise InvalidInput("a bank needs scores of steps; name a scorer in the configuration")
    source = source.with_task(problem_set.prompt)
    identity = Identity(
        problem_set.name,
        seed,
        source.identify(kind),
        kind,
        source.config.sampling,
        rollouts,
        exact,
        {**problem_set.metadata, "protocol": source.protocol.name, **source.record()},
        read_seen(source.joint) if kind == "joint" and source.joint else frozenset(),
    )
    policies = parse_recorded(specs, identity)
    bill = Bill(prices, out)
    request = CollectionRequest(
        problem_set, seed, kind, rollouts, exact, tuple(specs), max_strong_tokens
    )
    with ExitStack() as cleanup:
        if remote:
            session = remote.open_recorder(source, request, bill)
        else:
            models = billed(source.load(exact=exact, entropy=kind == "entropy"), bill)
            grading = cleanup.enter_context(GraderPool())
            recorder = make_recorder(models, source, request, policies, grading)
            session = RecorderSession(recorder, lambda: source.concurrency)
        cleanup.enter_context(locked_bank(out))
        store = BankStore(out, identity)
        routed = RoutedStore(out)
        bill.recover()
        cleanup.callback(bill.save)

        def is_finished(problem: Gradable) -> bool:
            return problem.id in store.finished and is_routed(problem)

        def is_routed(problem: Gradable) -> bool:
            return all(
                routed.has(problem.id, each.policy.name, each.file, max_strong_tokens)
                for each in policies
            )

        def report_progress() -> None:
            done = len(store.finished)
            accuracy = (store.right["weak"] / done, store.right["strong"] / done) if done else None
            finished = sum(map(is_finished, problem_set.problems)) if policies else done
            progress(
                RunProgress(
                    finished,
                    accuracy,
                    money=bill.money,
                    steps=bill.steps,
                    tokens=bill.tokens,
                    under_way=min(session.concurrency(), len(problem_set.problems) - finished),
                )
            )

        def save_bill() -> None:
            bill.save()
            report_progress()

        def may_start() -> bool:
            return not bill.reaches(max_money)

        save_bill()
        missing = [each for each in problem_set.problems if not is_finished(each)]

        async def record_missing() -> None:
            async with call_periodically(report_progress), session.context as recorder:

                async def record(problem: Gradable) -> None:
                    if problem.id not in store.finished:
                        store.add(await recorder.explore(problem))
                    if not is_routed(problem):
                        reference = with_answer(problem, store.answers[problem.id])
                        routed.add(await recorder.solve(reference))

                await for_each(missing, record, save_bill, session.concurrency(), may_start)

        if missing:
            asyncio.run(record_missing())
    wanted = len(problem_set.problems)
    done = sum(map(is_finished, problem_set.problems))
    if bill.reaches(max_money) and done < wanted:
        raise cost_limit_error(bill.money, done, wanted)
    return read_bank(out)


async def record_problems(
    store: BankStore,
    explorer: ProblemExplorer,
    problems: Iterable[Gradable],
    after_each: Callable[[], None] = lambda: None,
    concurrency: int = CONCURRENCY,
) -> None:
    """Explore problems and add them to the store, as `for_each` does."""

    async def record(problem: Gradable) -> None:
        store.add(await explorer.explore(problem))

    try:
        await for_each(problems, record, after_each, concurrency)
    finally:
        store.flush()
        after_each()


Problem = TypeVar("Problem")


async def for_each(
    problems: Iterable[Problem],
    record: Callable[[Problem], Awaitable[None]],
    after_each: Callable[[], None],
    concurrency: int,
    may_start: Callable[[], bool] = lambda: True,
) -> None:
    """Record problems, several at a time; the first error ends it.

    Args:
        after_each: called after each problem, and once at the end.
        may_start: asked before each problem; False starts no further one.
    """
    left = iter(problems)

    async def record_each() -> None:
        while may_start():
            problem = next(left, None)
            if problem is None:
                return
            await record(problem)
            after_each()

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(concurrency):
                group.create_task(record_each())
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from failures
    finally:
        after_each()


def make_recorder(
    models: Models,
    source: ModelSource,
    request: CollectionRequest,
    policies: Sequence[RecordedPolicy],
    grading: GraderPool,
) -> LocalRecorder:
    """The recorder of loaded models.

    Args:
        models: of `source`.
        policies: of `request.specs`.

    Raises:
        InvalidInput: as `make_explorer`.
    """
    explorer = make_explorer(
        models,
        source,
        request.problem_set,
        request.seed,
        request.scorer,
        request.rollouts,
        grading,
    )
    solver = RoutedSolver(
        models,
        explorer.scorer,
        policies,
        source.config,
        request.max_strong_tokens,
        request.seed,
        grading,
        source.protocol.open_box,
    )
    return LocalRecorder(explorer, solver)


def make_explorer(
    models: Models,
    source: ModelSource,
    problem_set: ProblemSet,
    seed: int,
    scorer: str,
    rollouts: int,
    grading: GraderPool,
) -> Explorer:
    """The explorer of loaded models.

    Args:
        models: of `source`.
        scorer: the kind of score.

    Raises:
        InvalidInput: more than two models, no such scorer, or too few rollouts.
    """
    refuse_intermediate(models)
    return Explorer(
        models,
        models.scorer_of(scorer),
        source.config,
        rollouts=rollouts,
        check=step_checker(problem_set),
        seed=seed,
        grading=grading,
        takes_open_box=source.protocol.open_box,
    )


def refuse_intermediate(models: Models) -> None:
    """Raises InvalidInput if there are models between weak and strong."""
    if models.intermediate:
        raise InvalidInput(
            "intermediate: a bank is of a weak and a strong model; leave others out, as with"
            " --set intermediate=[]"
        )


def step_checker(problem_set: ProblemSet) -> StepCheck | None:
    """The check of single steps; None if the problems have no reference steps."""
    is_right = problem_set.is_right
    if is_right is None:
        return None
    return lambda problem, earlier, step: is_right(problem.question, earlier, step)
