"""Agreement of vLLM and llama.cpp on the shipped models, and time per call on this machine.

`make bench-vllm` starts the servers of `make test-vllm`; docs/results/vllm.md has the tables.
Arguments: the Python of vLLM's environment, and the number of problems per suite.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from reward_checkpoint import TAG
from vllm_server import REWARD, VllmServer, serving

from trim import Router, Threshold
from trim.config import RouterConfig
from trim.configuration.source import Models, shipped_models
from trim.engines.http import HttpServer
from trim.evaluation.suites import CHAIN, CHAIN_HARD, Suite, generate
from trim.models.continuation import VLLM, Continuation
from trim.models.model import Completion, Ending, Model, Prefix, Sampling
from trim.models.openai import OpenAIModel
from trim.policies.fixed import WeakAlone
from trim.scorers.label import HttpLabelScorer

SEED = 51
CALLS = 200
GREEDY = Sampling(0.0, 1.0, 0, 96)
WRITTEN = Completion("a", Ending.STEP, 1, 1)
QUESTION = next(generate(CHAIN, 1, SEED)).question


def known(value: float | None) -> float:
    assert value is not None
    return value


def served(server: VllmServer) -> OpenAIModel:
    return OpenAIModel(
        HttpServer(server.url), server.name, continuation=Continuation.COMPLETIONS, dialect=VLLM
    )


class RecordedModel:
    """A model that records everything it writes."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.name = model.name
        self.written: dict[Prefix, Completion] = {}

    async def write_step(self, prefix: Prefix, sampling: Sampling, seed: int) -> Completion:
        self.written[prefix] = await self.model.write_step(prefix, sampling, seed)
        return self.written[prefix]


def solutions(suite: Suite, count: int, here: Model, there: Model) -> str:
    """A table row: equal answers and texts, and differences of log-probabilities."""
    answers = texts = 0
    differences = []
    here, there = RecordedModel(here), RecordedModel(there)
    for problem in generate(suite, count, SEED):
        local = Router(
            weak=here, strong=here, policy=WeakAlone(), config=RouterConfig(sampling=GREEDY)
        ).solve(problem.question)
        remote = Router(
            weak=there, strong=there, policy=WeakAlone(), config=RouterConfig(sampling=GREEDY)
        ).solve(problem.question)
        answers += local.answer == remote.answer
        texts += local.solution == remote.solution
    for prefix, one in here.written.items():
        other = there.written.get(prefix)
        if other and other.text == one.text:
            differences.append(abs(known(one.log_probability) - known(other.log_probability)))
    return (
        f"{answers}/{count} | {texts}/{count} | {len(differences)} |"
        f" {statistics.median(differences):.5f} | {max(differences):.4f}"
    )


def routed(suite: Suite, count: int, embedded: Models, servers: Mapping[str, VllmServer]) -> str:
    """The same row for a router with a threshold: both models and the scorer."""
    weak, strong, scorer = (served(servers[name]) for name in ("weak", "strong", "scorer"))
    policy = Threshold(0.8)
    here = Router(
        weak=embedded.weak,
        strong=embedded.strong,
        scorer=embedded.scorers["prm"],
        policy=policy,
        config=RouterConfig(sampling=GREEDY),
    )
    there = Router(
        weak=weak,
        strong=strong,
        scorer=HttpLabelScorer(scorer),
        policy=policy,
        config=RouterConfig(sampling=GREEDY),
    )
    answers = authors = 0
    differences = []
    for problem in generate(suite, count, SEED):
        local, remote = here.solve(problem.question), there.solve(problem.question)
        answers += local.answer == remote.answer
        authors += [s.author for s in local.steps] == [s.author for s in remote.steps]
        if local.solution == remote.solution:
            pairs = zip(local.steps, remote.steps, strict=True)
            differences += [abs(known(one.score) - known(other.score)) for one, other in pairs]
    return (
        f"{answers}/{count} | {authors}/{count} | {len(differences)} |"
        f" {statistics.median(differences):.5f} | {max(differences):.4f}"
    )


async def milliseconds(call: Callable[[], Awaitable[object]]) -> str:
    taken = []
    for _ in range(CALLS):
        started = time.perf_counter()
        await call()
        taken.append((time.perf_counter() - started) * 1e3)
    return f"{statistics.median(taken):.1f} | {statistics.quantiles(taken, n=20)[-1]:.1f}"


async def calls(embedded: Models, servers: Mapping[str, VllmServer]) -> dict[str, str]:
    """Median and 95th percentile of each kind of call, made sequentially."""
    strong, label = served(servers["strong"]), HttpLabelScorer(served(servers["scorer"]))
    step = await strong.write_step(Prefix(QUESTION), GREEDY, 0)
    trace = Prefix(QUESTION, (step.text,))
    pooling = HttpServer(servers[REWARD].url)
    text = {"model": REWARD, "input": "".join([QUESTION, "\n\n", step.text, TAG])}
    one = Sampling(0.0, 1.0, 0, 1)
    kinds = {
        "one token, vLLM": lambda: strong.write_step(Prefix(QUESTION), one, 0),
        "one token, in-process": lambda: embedded.strong.write_step(Prefix(QUESTION), one, 0),
        f"a step of {step.tokens} tokens, vLLM": lambda: strong.write_step(
            Prefix(QUESTION), GREEDY, 0
        ),
        f"a step of {step.tokens} tokens, in-process": lambda: embedded.strong.write_step(
            Prefix(QUESTION), GREEDY, 0
        ),
        "a label score, vLLM": lambda: label.score(trace, [WRITTEN]),
        "a label score, in-process": lambda: embedded.scorers["prm"].score(trace, [WRITTEN]),
        "a reward model's scores, vLLM": lambda: pooling.post("//pooling", text, lambda raw: raw),
    }
    return {name: await milliseconds(call) for name, call in kinds.items()}


def main() -> None:
    python, count = str(Path(sys.argv[1]).absolute()), int(sys.argv[2])
    embedded = shipped_models(slots=1, exact=True)
    with TemporaryDirectory() as folder:
        started = time.monotonic()
        with serving(python, Path(folder)) as servers:
            print(f"{len(servers)} servers up after {time.monotonic() - started:.0f} s\n")
            print("| suite | model | answers | texts, authors | steps | median | largest |")
            print("|---|---|---|---|---|---|---|")
            for suite in (CHAIN, CHAIN_HARD):
                for name in ("weak", "strong"):
                    there = served(servers[name])
                    cells = solutions(suite, count, getattr(embedded, name), there)
                    print(f"| `{suite.name}` | {name} | {cells} |")
                print(f"| `{suite.name}` | routed | {routed(suite, count, embedded, servers)} |")
            print("\n| call | median ms | 95 % within |\n|---|---|---|")
            for name, cells in asyncio.run(calls(embedded, servers)).items():
                print(f"| {name} | {cells} |")


if __name__ == "__main__":
    main()
