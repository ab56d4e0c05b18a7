"""Routing inside steps on simulated engines: seconds a problem, and what the strong model is asked.

The engines have the speeds of `simulated/speeds.py`; all times are simulated. Drafts and scores are
those of the shipped models, recorded once in this process and then played back (`chain`), or
generated: steps as long as those of MATH-500, with doubtful tokens as often as a real model of
0.5B has them on GSM8K (`generated`). Each policy takes the same decisions in every run, which is
checked.

Part of `make bench-serving`; prints the tables and writes build/serving-spans.json.
docs/results/serving.md explains the figures.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from serving import interval, mean_quotient, questions
from simulated.clock import SimulatedLoop
from simulated.drafts import (
    Drafts,
    GeneratedDrafts,
    GeneratedScores,
    RecordedDrafts,
    RecordedScores,
    ScoreSource,
    shipped_tokens,
)
from simulated.engine import Engine
from simulated.model import SimulatedModel, SimulatedScorer, Tokenize
from simulated.speeds import SCORER, STRONG, WEAK, Speeds

from trim.config import PrefillMode, RouterConfig
from trim.configuration.source import open_models
from trim.evaluation.suites import CHAIN, generate
from trim.files import write_atomically
from trim.models.model import Completion, Sampling
from trim.models.spans import require_spans
from trim.policies.registry import parse_policy
from trim.router import Router
from trim.types import Trace, Usage

OUT = Path("build/serving-spans.json")
SEED = 3
LEVELS = {1: 24, 16: 48, 64: 96}
"""Problems in all, by those that are solved at a time."""
POLICIES = (
    *("strong", "weak", "thr:0.5", "thr:0.9", "thr:0.97"),
    *("token:0.3", "token:0.5", "token:0.7", "token:0.9"),
    *("token:0.5:8", "token:0.9:8", "tail:0.5", "tail:0.9"),
)
WHOLE = "strong, one request"
ROUND_TRIPS = (0.05, 0.3)
"""Seconds of each call of a hosted strong model."""


@dataclass(frozen=True)
class Cache:
    """What the strong model's engine need not read again.

    Attributes:
        blocks: whether it has a prefix cache.
        prefill: when it reads kept steps before it has to write.
    """

    name: str
    blocks: bool
    prefill: PrefillMode = PrefillMode.NEVER


NO_CACHE = Cache("no cache", blocks=False)
CACHED = Cache("cache", blocks=True)
PREFILLED = Cache("prefill", blocks=True, prefill=PrefillMode.ALWAYS)
CACHES = (NO_CACHE, CACHED, PREFILLED)


@dataclass(frozen=True)
class Texts:
    """Problems, and what the models write and the scorer answers."""

    name: str
    questions: tuple[str, ...]
    weak: Drafts
    strong: Drafts
    scores: ScoreSource
    tokenize: Tokenize
    config: RouterConfig

    def router(self, policy: str, cache: Cache, round_trip: float) -> Router:
        """Models on engines of their own, with empty caches."""
        strong = replace(STRONG, request_seconds=STRONG.request_seconds + round_trip)
        if not cache.blocks:
            strong = replace(strong, cached_blocks=0)

        def model(name: str, drafts: Drafts, speeds: Speeds) -> SimulatedModel:
            return SimulatedModel(name, drafts, self.tokenize, Engine(speeds))

        return Router(
            weak=model("weak", self.weak, WEAK),
            strong=model("strong", self.strong, strong),
            scorer=SimulatedScorer("scorer", self.scores, self.tokenize, Engine(SCORER)),
            policy=parse_policy(policy),
            config=replace(self.config, prefill=cache.prefill),
        )

    def traces(self, policy: str) -> list[Trace]:
        """The traces of all problems, by models that take no time; records what is not known."""
        weak, strong = (
            SimulatedModel(name, drafts, self.tokenize)
            for name, drafts in (("weak", self.weak), ("strong", self.strong))
        )
        scorer = SimulatedScorer("scorer", self.scores, self.tokenize)
        router = Router(weak=weak, strong=strong, scorer=scorer, policy=policy, config=self.config)
        return [router.solve(question, SEED) for question in self.questions]


def recorded(count: int) -> Texts:
    """Problems of `chain`, with the shipped models' drafts and scores."""
    source = open_models(None)
    models = source.load()
    assert models.scorer is not None
    weak, strong = (asyncio.run(require_spans(model)) for model in (models.weak, models.strong))
    sampling = source.config.sampling
    return Texts(
        "chain",
        tuple(problem.question for problem in generate(CHAIN, count, SEED)),
        RecordedDrafts(weak, sampling),
        RecordedDrafts(strong, sampling),
        RecordedScores(models.scorer),
        shipped_tokens,
        source.config,
    )


def generated(count: int) -> Texts:
    """Questions and steps of the length of MATH-500's."""
    drafts = GeneratedDrafts()
    asked = tuple(questions(count))
    config = RouterConfig(sampling=Sampling())
    return Texts("generated", asked, drafts, drafts, GeneratedScores(), str.split, config)


@dataclass(frozen=True)
class Run:
    """One policy in one setting.

    Attributes:
        latencies: simulated seconds of each problem.
        usage: of the strong model, its prefills and the weak model, all problems together.
    """

    policy: str
    cache: str
    concurrent: int
    round_trip: float
    latencies: np.ndarray
    seconds: float
    usage: dict[str, Usage]

    def figures(self, strong: Run) -> dict[str, Any]:
        """Per problem; `faster` is how many times as fast as the strong model alone."""
        count = len(self.latencies)

        def each(total: int) -> float:
            return round(total / count, 2)

        written = self.usage["strong"]
        warming = self.usage.get("warming", Usage())
        pair = strong.latencies, self.latencies
        return {
            "policy": self.policy,
            "cache": self.cache,
            "concurrent": self.concurrent,
            "round_trip": self.round_trip,
            "problems": count,
            "seconds_mean": round(float(self.latencies.mean()), 3),
            "seconds_median": round(float(np.median(self.latencies)), 3),
            "problems_per_second": round(count / self.seconds, 3),
            "faster": round(mean_quotient(*pair), 3),
            "faster_interval": interval(mean_quotient, *pair),
            "strong_tokens": each(written.tokens),
            "strong_calls": each(written.requests),
            "strong_uncached": each(written.prompt_tokens - written.cached_tokens),
            "strong_cached": each(written.cached_tokens),
            "warming_calls": each(warming.requests),
            "warming_uncached": each(warming.prompt_tokens - warming.cached_tokens),
            "warming_cached": each(warming.cached_tokens),
            "weak_tokens": each(self.usage["weak"].tokens),
        }


async def solve_all(
    solve: Callable[[str], Awaitable[Any]], listed: Sequence[str], concurrent: int
) -> tuple[list[Any], np.ndarray, float]:
    """The results, the seconds of each and of all together."""
    now = asyncio.get_running_loop().time
    begin = now()
    done: dict[int, tuple[Any, float]] = {}
    left = iter(enumerate(listed))

    async def worker() -> None:
        for index, question in left:
            started = now()
            done[index] = await solve(question), now() - started

    await asyncio.gather(*(worker() for _ in range(concurrent)))
    ordered = [done[index] for index in range(len(listed))]
    return [one for one, _ in ordered], np.array([seconds for _, seconds in ordered]), now() - begin


def run(
    texts: Texts, policy: str, expected: list[Trace], concurrent: int, cache: Cache, trip: float
) -> Run:
    """Run a policy in simulated time, and check that its steps are the expected ones."""
    listed = texts.questions[: LEVELS[concurrent]]
    whole = policy == WHOLE
    router = texts.router("strong" if whole else policy, cache, trip)
    solutions = {trace.question: trace.solution for trace in expected}

    async def solve(question: str) -> Trace | Completion:
        if whole:
            assert isinstance(router.strong, SimulatedModel)
            return await router.strong.write_solution(question, solutions[question])
        return await router.asolve(question, SEED)

    with asyncio.Runner(loop_factory=SimulatedLoop) as runner:
        solved, latencies, seconds = runner.run(solve_all(solve, listed, concurrent))
    usage = dict.fromkeys(("weak", "strong", "warming"), Usage())
    for one, known in zip(solved, expected, strict=False):
        if isinstance(one, Completion):
            spent = Usage(one.prompt_tokens, one.cached_tokens, one.tokens, 1)
            usage["strong"] += spent
            continue
        if one.steps != known.steps:
            raise AssertionError(f"{policy} decides otherwise at {concurrent}, {cache.name}")
        usage = {role: total + one.usage.get(role, Usage()) for role, total in usage.items()}
    return Run(policy, cache.name, concurrent, trip, latencies, seconds, usage)


def runs(texts: Texts, policies: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Every policy at every level, with every cache and with each round trip."""
    expected = {policy: texts.traces(policy) for policy in policies}
    expected = {"strong": expected["strong"], WHOLE: expected["strong"], **expected}
    settings = [*((cache, 0.0) for cache in CACHES), *((CACHED, trip) for trip in ROUND_TRIPS)]
    for concurrent in LEVELS:
        for cache, trip in settings:
            strong = None
            for policy, traces in expected.items():
                one = run(texts, policy, traces, concurrent, cache, trip)
                strong = strong or one
                yield {"texts": texts.name, **one.figures(strong)}


def break_even(round_trip: float) -> float:
    """Tokens from one call of one token to the next above which routing is faster than the strong
    model alone, with one problem at a time and what was read in the cache.

    In n tokens the weak model decodes n, the doubtful one included, and the strong model one; each
    is asked once.
    """
    weak, strong = WEAK.forward(1), STRONG.forward(1)
    asked = WEAK.request_seconds + STRONG.request_seconds + round_trip
    return (asked + strong) / (strong - weak)


def show(listed: Sequence[dict[str, Any]], texts: str) -> None:
    """The tables of one kind of texts."""
    mine = [f for f in listed if f["texts"] == texts]
    found = {(f["policy"], f["concurrent"], f["cache"], f["round_trip"]): f for f in mine}
    policies = list(dict.fromkeys(f["policy"] for f in mine))
    print(f"\n## {texts}: what the strong model is asked, a problem (16 at a time)\n")
    heads = ["policy", "tokens", "calls", "read, no cache", "read, cache", "cached"]
    heads += ["read, prefill", "cached, prefill", "read in advance", "prefills", "weak tokens"]
    print(f"| {' | '.join(heads)} |")
    print("|---" * len(heads) + "|")
    for policy in policies:
        none, cached, prefilled = (found[policy, 16, cache.name, 0.0] for cache in CACHES)
        cells = [none["strong_tokens"], none["strong_calls"], none["strong_uncached"]]
        cells += [
            one[f"strong_{part}"] for one in (cached, prefilled) for part in ("uncached", "cached")
        ]
        cells += [prefilled["warming_uncached"], prefilled["warming_calls"], none["weak_tokens"]]
        print(f"| {policy} | {' | '.join(f'{cell:.1f}' for cell in cells)} |")
    print(f"\n## {texts}: seconds a problem, mean; times as fast as the strong model alone\n")
    heads = ["policy", *(f"{n}: {cache.name}" for n in LEVELS for cache in CACHES)]
    print(f"| {' | '.join(heads)} |")
    print("|---" * len(heads) + "|")
    for policy in policies:
        cells = [seconds(found[policy, n, cache.name, 0.0]) for n in LEVELS for cache in CACHES]
        print(f"| {policy} | {' | '.join(cells)} |")
    print(f"\n## {texts}: the same with a round trip for each call, with a cache\n")
    heads = ["policy", *(f"{n}: {1000 * trip:g} ms" for n in LEVELS for trip in ROUND_TRIPS)]
    print(f"| {' | '.join(heads)} |")
    print("|---" * len(heads) + "|")
    for policy in policies:
        cells = [
            seconds(found[policy, n, CACHED.name, trip]) for n in LEVELS for trip in ROUND_TRIPS
        ]
        print(f"| {policy} | {' | '.join(cells)} |")


def seconds(figures: dict[str, Any]) -> str:
    return f"{figures['seconds_mean']:.2f} ({figures['faster']:.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description="Routing inside steps on simulated engines.")
    parser.add_argument("texts", nargs="*", help="chain, generated; default both")
    chosen = parser.parse_args()
    makers = {"chain": recorded, "generated": generated}
    tokens = {trip: round(break_even(trip), 1) for trip in (0.0, *ROUND_TRIPS)}
    figures: dict[str, Any] = {"load_before": os.getloadavg()[0], "break_even": tokens, "runs": []}
    print("\nTokens from call to call above which routing is faster than the strong model alone:")
    print(", ".join(f"{count:g} ({1000 * trip:g} ms)" for trip, count in tokens.items()))
    for name in chosen.texts or makers:
        figures["runs"] += runs(makers[name](max(LEVELS.values())), POLICIES)
        show(figures["runs"], name)
    figures["load_after"] = os.getloadavg()[0]
    OUT.parent.mkdir(exist_ok=True)
    write_atomically(OUT, json.dumps(figures, indent=2) + "\n")
    print(f"\nload {figures['load_before']:.1f} to {figures['load_after']:.1f}; written to {OUT}")


if __name__ == "__main__":
    main()
