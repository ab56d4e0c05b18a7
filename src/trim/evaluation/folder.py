"""An evaluation in a folder: begun, or continued where it was interrupted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

from trim.evaluation.bill import Bill
from trim.evaluation.problem_set import Gradable
from trim.evaluation.progress import RunProgress, Tally, told_regularly
from trim.evaluation.schedule import Tell
from trim.evaluation.store import TraceStore
from trim.evaluation.summary import group_by_policy
from trim.files import write_atomically, writing
from trim.policies.policy import Policy
from trim.types import Trace

NO_FILES: Mapping[str, str] = MappingProxyType({})


class Runnable(Protocol):
    """An evaluation, wherever its problems are solved."""

    @property
    def policies(self) -> Sequence[Policy]: ...

    @property
    def problems(self) -> Sequence[Gradable]: ...

    async def run(self, store: TraceStore, progress: Tell) -> None:
        """Solve what the store does not hold yet."""
        ...


def solve_in(
    folder: Path,
    run: Mapping[str, Any],
    evaluation: Runnable,
    progress: Callable[[RunProgress], None] = lambda standing: None,
    files: Mapping[str, str] = NO_FILES,
    bill: Bill | None = None,
) -> dict[str, list[Trace]]:
    """Solve what the folder does not hold yet; the traces by policy, in the problems' order.

    Where the evaluation ends early (`Evaluation.may_begin`), they are those of fewer problems.

    Args:
        run: what says which run it is, besides its policies (`TraceStore`).
        progress: told how far the run is, at its begin, after each problem, and regularly while
            problems are under way.
        files: contents by name that the folder keeps besides, once it is known to be this run's.
        bill: what is paid, which is kept in the folder as well, however the run ends.

    Raises:
        InvalidInput: the folder cannot be written, or holds another run.
    """
    policies = [policy.name for policy in evaluation.policies]
    store = TraceStore(folder, {**run, "policies": policies})
    with ExitStack() as held:
        held.callback(store.close)
        for name, content in files.items():
            with writing(folder / name):
                write_atomically(folder / name, content)
        tally = Tally(policies)
        tally.add(store.read() if store.finished else ())
        if bill:
            bill.recover()
            held.callback(bill.save)

        def tell() -> None:
            progress(tally.standing(len(store.finished), bill))

        def keep(traces: list[Trace]) -> None:
            tally.add(traces)
            if bill:
                bill.save()
            tell()

        async def solve() -> None:
            async with told_regularly(tell):
                await evaluation.run(store, keep)

        keep([])
        asyncio.run(solve())
    return group_by_policy(store.read(), [problem.id for problem in evaluation.problems])
