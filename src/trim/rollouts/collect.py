"""Fill a bank with recorded problems: `trim collect`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from trim.configuration.source import Models, ModelSource
from trim.costs import Prices
from trim.errors import InvalidInput
from trim.evaluation.bill import Bill, billed, cost_limit_error, require_prices
from trim.evaluation.problem_set import Gradable, ProblemSet
from trim.evaluation.progress import RunProgress, call_periodically
from trim.files import FolderLock, remove_leftovers
from trim.fingerprints import read_seen
from trim.grading.workers import GraderPool
from trim.rollouts.bank import Bank, read_bank
from trim.rollouts.explorer import Explorer
from trim.rollouts.identity import Identity
from trim.rollouts.record import RecordedProblem
from trim.rollouts.store import BankStore
from trim.rollouts.tree_builder import StepCheck

CONCURRENCY = 16
"""Problems under way at a time."""
ROLLOUTS = 8
"""Solutions per problem: a bank of 500 problems holds at most 4,000."""


class ProblemExplorer(Protocol):
    """Records problems, in this process (`Explorer`) or on a cluster."""

    async def explore(self, problem: Gradable) -> RecordedProblem: ...


@dataclass(frozen=True)
class ExplorerSession:
    """An explorer that has to be opened and closed.

    Attributes:
        context: opens the explorer.
        concurrency: number of problems at a time, once it is open.
    """

    context: AbstractAsyncContextManager[ProblemExplorer]
    concurrency: Callable[[], int]


class RemoteCollector(Protocol):
    """Records problems in other processes (`trim.cluster`)."""

    def open_explorer(
        self,
        source: ModelSource,
        problem_set: ProblemSet,
        seed: int,
        scorer: str,
        rollouts: int,
        exact: bool,
        bill: Bill,
    ) -> ExplorerSession: ...


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

    Raises:
        InvalidInput: `max_money` without prices, no scorer, more than two models, or a folder
            that cannot be written or holds another bank.
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
    bill = Bill(prices, out)
    with ExitStack() as cleanup:
        if remote:
            session = remote.open_explorer(source, problem_set, seed, kind, rollouts, exact, bill)
        else:
            models = billed(source.load(exact=exact, entropy=kind == "entropy"), bill)
            grading = cleanup.enter_context(GraderPool())
            explorer = make_explorer(
                models, source, problem_set, seed, kind, rollouts, grading=grading
            )
            session = ExplorerSession(nullcontext(explorer), lambda: source.concurrency)
        cleanup.callback(FolderLock(out).release)
        remove_leftovers(out / "parts")
        store = BankStore(out, identity)
        bill.recover()
        cleanup.callback(bill.save)

        def report_progress() -> None:
            done = len(store.finished)
            accuracy = (store.right["weak"] / done, store.right["strong"] / done) if done else None
            progress(
                RunProgress(done, accuracy, money=bill.money, steps=bill.steps, tokens=bill.tokens)
            )

        def save_bill() -> None:
            bill.save()
            report_progress()

        def may_start() -> bool:
            return not bill.reaches(max_money)

        save_bill()
        missing = [each for each in problem_set.problems if each.id not in store.finished]

        async def record_missing() -> None:
            async with call_periodically(report_progress), session.context as explorer:
                await record_problems(
                    store, explorer, iter(missing), save_bill, session.concurrency(), may_start
                )

        if missing:
            asyncio.run(record_missing())
    wanted = {problem.id for problem in problem_set.problems}
    done = len(wanted & store.finished)
    if bill.reaches(max_money) and done < len(wanted):
        raise cost_limit_error(bill.money, done, len(wanted))
    return read_bank(out)


async def record_problems(
    store: BankStore,
    explorer: ProblemExplorer,
    problems: Iterator[Gradable],
    after_each: Callable[[], None] = lambda: None,
    concurrency: int = CONCURRENCY,
    may_start: Callable[[], bool] = lambda: True,
) -> None:
    """Explore problems and add them to the store.

    If it is interrupted, the store keeps every finished problem.

    Args:
        after_each: called after each problem, and once at the end.
        may_start: asked before each problem; False starts no further one.
    """

    async def record_each() -> None:
        while may_start():
            problem = next(problems, None)
            if problem is None:
                return
            store.add(await explorer.explore(problem))
            after_each()

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(concurrency):
                group.create_task(record_each())
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from failures
    finally:
        store.flush()
        after_each()


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
