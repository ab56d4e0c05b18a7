"""Tokens a second of llama.cpp in this process, beside its own HTTP server under the same load.

python benchmarks/engine_speed.py FILE...

For each GGUF file, with 1 and 2 threads: 1, 4 and 8 requests at a time, in rounds that each
have every arm: whole steps in process, steps that are read token by token in process, and whole
steps from llama.cpp's HTTP server. There are as many slots as requests: llama.cpp decodes slots
together that are neighbours. Prints medians, and quotients of the same round; about ten minutes for
two models of 0.5B and 1.5B on 2 cores.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import random
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

import httpx
import numpy as np
from below_the_step import print_table, with_range

from trim.engines.llama_cpp import LlamaCppEngine

THREADS = (1, 2)
REQUESTS = (1, 4, 8)
CONTEXT = 512
TOKENS, ROUNDS = 24, 3
SETTINGS = {"max_tokens": TOKENS, "temperature": 0.7, "top_k": 20, "top_p": 0.8, "logprobs": 2}
HEADINGS = (
    "file",
    "threads",
    "requests",
    "in process",
    "token by token",
    "HTTP",
    "in process / HTTP",
)
Ask = Callable[[str, int], Awaitable[int]]


def serve(wire: Connection, file: Path, threads: int, slots: int) -> None:
    """Run the file in this process until the other end of the wire closes."""
    engine = LlamaCppEngine(file, slots=slots, context=CONTEXT, threads=threads)
    wire.send(engine.address)
    wire.poll(None)


@contextmanager
def http_server(file: Path, threads: int, slots: int) -> Iterator[str]:
    """Address of llama.cpp's HTTP server in a process of its own."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=serve, args=(there, file, threads, slots), daemon=True)
    process.start()
    try:
        yield here.recv()
    finally:
        process.terminate()
        process.join()


def arms(engine: LlamaCppEngine, client: httpx.AsyncClient) -> dict[str, Ask]:
    """How to ask for one step; each returns its tokens."""

    async def whole(prompt: str, seed: int) -> int:
        return (await engine.complete(prompt, seed=seed, **SETTINGS)).tokens

    async def streamed(prompt: str, seed: int) -> int:
        return (await engine.stream(prompt, lambda record: False, seed=seed, **SETTINGS)).tokens

    async def http(prompt: str, seed: int) -> int:
        request = {"prompt": prompt, "seed": seed, **SETTINGS}
        answer = await client.post("/v1/completions", json=request)
        return int(answer.raise_for_status().json()["usage"]["completion_tokens"])

    return {"in process": whole, "token by token": streamed, "HTTP": http}


def prompts(arm: str, requests: int, number: int) -> list[str]:
    """Questions that differ from their first token on, so that each is read as a whole."""
    draw = random.Random(f"{arm} {number}")
    return [
        f"{draw.getrandbits(32):08x}: a shop sold {at + 3} clips in April and {number + 2} times as"
        " many in May. How many clips did it sell altogether? Reason step by step.\n\n"
        for at in range(requests)
    ]


async def measure(file: Path, threads: int, requests: int, address: str) -> tuple[str, ...]:
    """The row of one file, number of threads and number of requests at a time."""
    engine = LlamaCppEngine(file, slots=requests, context=CONTEXT, threads=threads)
    async with httpx.AsyncClient(base_url=address, timeout=600) as client:
        asks = arms(engine, client)
        speeds: dict[str, list[float]] = {name: [] for name in asks}
        for turn in range(ROUNDS):
            for arm in np.random.default_rng(turn).permutation(list(asks)):
                asked = prompts(arm, requests, turn)
                started = time.perf_counter()
                tokens = await asyncio.gather(*[asks[arm](text, turn) for text in asked])
                speeds[arm].append(sum(tokens) / (time.perf_counter() - started))
    quotients = np.divide(speeds["in process"], speeds["HTTP"])
    return (
        *(file.stem, str(threads), str(requests)),
        *(f"{np.median(values):.1f}" for values in speeds.values()),
        with_range(float(np.median(quotients)), quotients.min(), quotients.max()),
    )


def main() -> None:
    rows: list[tuple[str, ...]] = []
    for file in map(Path, sys.argv[1:]):
        for threads in THREADS:
            for requests in REQUESTS:
                with http_server(file, threads, requests) as address:
                    rows.append(asyncio.run(measure(file, threads, requests, address)))
    print_table(HEADINGS, rows)


if __name__ == "__main__":
    main()
