"""Fills a bank: what `trim collect` does."""

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
"""Problems under way together."""


class Exploring(Protocol):
    """Who explores a problem, here or elsewhere."""

    async def explore(self, problem: Gradable) -> RecordedProblem: ...


async def fill(
    store: BankStore,
    explorer: Exploring,
    problems: Iterator[Gradable],
    progress: Callable[[], None] = lambda: None,
    concurrency: int = CONCURRENCY,
    may_begin: Callable[[], bool] = lambda: True,
) -> None:
    """Explore the problems; `progress` is called after each.

    Interrupted, the store holds every problem finished so far.

    Args:
        may_begin: asked before each problem; where it says no, no further one is begun.
    """

    async def explore_each() -> None:
        while may_begin():
            problem = next(problems, None)
            if problem is None:
                return
            store.add(await explorer.explore(problem))
            progress()

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(concurrency):
                group.create_task(explore_each())
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from failures
    finally:
        store.flush()
        progress()


ROLLOUTS = 8
"""Solutions a problem: 500 problems are a bank of at most 4,000."""


@dataclass(frozen=True)
class Place:
    """Where problems are explored.

    Attributes:
        opened: who explores, while it is open.
        room: how many problems at a time, once it is open.
    """

    opened: AbstractAsyncContextManager[Exploring]
    room: Callable[[], int]


class RemoteCollector(Protocol):
    """Other processes."""

    def explorer(
        self,
        lineup: ModelSource,
        problem_set: ProblemSet,
        seed: int,
        scorer: str,
        rollouts: int,
        exact: bool,
        bill: Bill,
    ) -> Place:
        """Where they explore problems."""
        ...


def collect(
    problem_set: ProblemSet,
    seed: int,
    out: Path,
    lineup: ModelSource,
    scorer: str | None = None,
    rollouts: int = ROLLOUTS,
    exact: bool = False,
    progress: Callable[[RunProgress], None] = lambda standing: None,
    max_money: float | None = None,
    elsewhere: RemoteCollector | None = None,
    prices: Prices | None = None,
) -> Bank:
    """Record problems in the bank `out`, or continue to do so.

    Args:
        scorer: the kind of score (`trim.scorers.scorer.KINDS`); the usual one without any.
        rollouts: solutions a problem may have (`Explorer`).
        exact: repeat every character from run to run.
        progress: told how far the bank is: the accuracies are those of the models alone.
        elsewhere: who explores the problems (`trim.cluster`); None for this process.
        max_money: as soon as the bank has cost so much (`Bill`), no further problem is begun.
        prices: what is billed; None where nothing is.

    Raises:
        InvalidInput: `max_money` without prices, no scorer, more models than two, or a folder that
            cannot be written or holds another bank.
        MoneySpent: `max_money` was reached before the last problem.
    """
    require_prices(max_money, prices)
    kind = scorer or lineup.default_kind
    if kind is None:
        raise InvalidInput("a bank holds the scores of steps; name a scorer in the configuration")
    lineup = lineup.for_problems(problem_set.prompt)
    config = lineup.config
    identity = Identity(
        problem_set.name,
        seed,
        lineup.identify(kind),
        kind,
        config.sampling,
        rollouts,
        exact,
        {**problem_set.metadata, "protocol": lineup.protocol.name, **lineup.record()},
        read_seen(lineup.joint) if kind == "joint" and lineup.joint else frozenset(),
    )
    bill = Bill(prices, out)
    with ExitStack() as held:
        if elsewhere:
            place = elsewhere.explorer(lineup, problem_set, seed, kind, rollouts, exact, bill)
        else:
            team = billed(lineup.load(exact=exact, entropy=kind == "entropy"), bill)
            refuse_between(team)
            explorer = Explorer(
                team,
                team.scorer_of(kind),
                config,
                rollouts=rollouts,
                check=step_check(problem_set),
                seed=seed,
                grading=held.enter_context(GraderPool()),
                takes_open_box=lineup.protocol.open_box,
            )
            place = Place(nullcontext(explorer), lambda: lineup.concurrency)
        held.callback(FolderLock(out).release)
        remove_leftovers(out / "parts")
        store = BankStore(out, identity)
        bill.recover()
        held.callback(bill.save)

        def tell() -> None:
            done = len(store.finished)
            accuracy = (store.right["weak"] / done, store.right["strong"] / done) if done else None
            progress(
                RunProgress(done, accuracy, money=bill.money, steps=bill.steps, tokens=bill.tokens)
            )

        def keep() -> None:
            bill.save()
            tell()

        def may_begin() -> bool:
            return not bill.reaches(max_money)

        keep()
        missing = [each for each in problem_set.problems if each.id not in store.finished]

        async def work() -> None:
            async with call_periodically(tell), place.opened as explorer:
                await fill(store, explorer, iter(missing), keep, place.room(), may_begin)

        if missing:
            asyncio.run(work())
    wanted = {problem.id for problem in problem_set.problems}
    done = len(wanted & store.finished)
    if bill.reaches(max_money) and done < len(wanted):
        raise cost_limit_error(bill.money, done, len(wanted))
    return read_bank(out)


def refuse_between(team: Models) -> None:
    """Raises InvalidInput for more models than two."""
    if team.intermediate:
        raise InvalidInput(
            "between: a bank is of a weak and a strong model; leave those between out, as with"
            " --set between=[]"
        )


def step_check(problem_set: ProblemSet) -> StepCheck | None:
    """What says which steps are right; None where there are no reference steps."""
    is_right = problem_set.is_right
    if is_right is None:
        return None
    return lambda problem, earlier, step: is_right(problem.question, earlier, step)
