"""An evaluation in a folder: begun, or continued where it was interrupted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from trim.evaluation.run import Evaluation
from trim.evaluation.store import TraceStore
from trim.evaluation.summary import group_by_policy
from trim.files import write_atomically
from trim.trace import Trace

NO_FILES: Mapping[str, str] = MappingProxyType({})


def solve_in(
    folder: Path,
    run: Mapping[str, Any],
    evaluation: Evaluation,
    progress: Callable[[int], None] = lambda finished: None,
    files: Mapping[str, str] = NO_FILES,
) -> dict[str, list[Trace]]:
    """Solve what the folder does not hold yet; the traces by policy, in the problems' order.

    Args:
        run: what says which run it is, besides its policies (`TraceStore`).
        progress: called with the number of finished problems.
        files: contents by name that the folder keeps besides, once it is known to be this run's.

    Raises:
        InvalidInput: the folder cannot be written, or holds another run.
    """
    policies = [policy.name for policy in evaluation.policies]
    store = TraceStore(folder, {**run, "policies": policies})
    try:
        for name, content in files.items():
            write_atomically(folder / name, content)
        progress(len(store.finished))
        asyncio.run(evaluation.run(store, lambda: progress(len(store.finished))))
    finally:
        store.close()
    return group_by_policy(store.read(), [problem.id for problem in evaluation.problems])
