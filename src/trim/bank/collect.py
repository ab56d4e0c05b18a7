"""Fills a bank from a suite: what `trim collect` does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from pathlib import Path

from trim.bank.bank import Bank, read_bank
from trim.bank.explorer import Explorer
from trim.bank.fill import fill
from trim.bank.identity import Identity, identify_models
from trim.bank.store import BankStore
from trim.embedded import SAMPLING, load_embedded, usual_kind
from trim.errors import InvalidInput
from trim.evaluation.evaluate import find_suite
from trim.evaluation.suites import generate, is_step_right

ROLLOUTS = 8
"""Solutions a problem: 500 problems are a bank of at most 4,000."""


def collect(
    suite_name: str,
    count: int,
    seed: int,
    out: Path,
    models: Path,
    scorer: str | None = None,
    rollouts: int = ROLLOUTS,
    exact: bool = False,
    progress: Callable[[int], None] = lambda finished: None,
) -> Bank:
    """Record the first `count` problems of a seed in the bank `out`, or continue to do so.

    Args:
        scorer: the kind of score (`trim.scorers.choice.KINDS`); the models' usual one
            without any.
        rollouts: solutions a problem may have (`Explorer`).
        exact: repeat every character from run to run (`trim.embedded.load_embedded`).
        progress: called with the number of problems on disk.

    Raises:
        InvalidInput: an unknown suite, a count below its range, or a folder that cannot be
            written or holds another bank.
    """
    suite = find_suite(suite_name)
    if count < 1:
        raise InvalidInput(f"-n {count}: at least one problem is needed")
    kind = scorer or usual_kind(models)
    identity = Identity(
        suite.name, seed, identify_models(models, kind), kind, SAMPLING, rollouts, exact
    )
    embedded = load_embedded(models, exact=exact, entropy=kind == "entropy")
    explorer = Explorer(
        embedded.weak,
        embedded.strong,
        embedded.scorer_of(kind),
        rollouts,
        partial(is_step_right, suite),
        seed,
        SAMPLING,
    )
    store = BankStore(out, identity)
    progress(len(store.finished))
    missing = (p for p in generate(suite, count, seed) if p.id not in store.finished)
    asyncio.run(fill(store, explorer, missing, lambda: progress(len(store.finished))))
    return read_bank(out)
