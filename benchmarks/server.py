"""Overhead of the server: against the router in this process, and under many streams.

    python benchmarks/server.py [streams] [seconds]

First the shipped models, one request at a time: the same questions with the same seeds through the
router in this process and through `trim serve` in two others, in turn; one of the two needs a key,
which has a budget. Then concurrent streams on engines that only simulate their speed
(`benchmarks/simulated`): the overhead is the time of a request at the client minus the time spent
waiting for models. It includes server, database, loopback and machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import yaml
from simulated.server import serving as engines
from simulated.speeds import ENGINES

from trim import Router, Threshold, shipped_models
from trim.config import RouterConfig
from trim.evaluation.suites import CHAIN, generate
from trim.shipped import SAMPLING

PAIRS = 150
SEED = 88
TEMPLATE = "{% for m in messages %}{{ m.content }}\n{% endfor %}"
TRIM = "from trim.cli.main import main; main()"


@contextlib.contextmanager
def server(folder: Path, *words: str) -> Iterator[tuple[str, int]]:
    """Start `trim serve` in another process; yields its address and process id."""
    process = subprocess.Popen(
        [sys.executable, "-c", TRIM, "serve", *words, "--port", "0",
         "--database", str(folder / "trim.sqlite")],
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stderr
    line = process.stderr.readline()
    try:
        if "listening" not in line:
            raise SystemExit(line)
        # A full pipe would block the server.
        threading.Thread(target=process.stderr.read, daemon=True).start()
        yield line.split()[-1], process.pid
    finally:
        process.terminate()
        process.wait()


class Wire:
    """Sends sequential requests over a plain socket, with the least overhead of a client."""

    def __init__(self, url: str, key: str = "none") -> None:
        parts = urlsplit(url)
        self.head = (
            f"POST {parts.path}/chat/completions HTTP/1.1\r\nHost: {parts.netloc}\r\n"
            f"Authorization: Bearer {key}\r\n"
        )
        self.socket = socket.create_connection((parts.hostname, parts.port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self, question: str, seed: int) -> dict[str, Any]:
        body = json.dumps(asking(question, seed)).encode()
        length = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        request, answer = (self.head + length).encode() + body, b""
        started = time.perf_counter()
        self.socket.sendall(request)
        while not answer.endswith(b"0\r\n\r\n"):
            answer += self.socket.recv(65536)
        seconds = time.perf_counter() - started
        return parse(answer.decode(), seconds)


async def ask(session: aiohttp.ClientSession, url: str, question: str, seed: int) -> dict[str, Any]:
    """One stream through aiohttp."""
    started = time.perf_counter()
    async with session.post(f"{url}/chat/completions", json=asking(question, seed)) as answer:
        text = (await answer.read()).decode()
    return parse(text, time.perf_counter() - started)


def asking(question: str, seed: int) -> dict[str, Any]:
    return {
        "model": "trim", "seed": seed, "stream": True, "stream_options": {"include_usage": True},
        "messages": [{"role": "user", "content": question}], "trim": {"steps": True},
    }  # fmt: skip


def parse(text: str, seconds: float) -> dict[str, Any]:
    """Seconds at the client, seconds spent waiting for models, and steps; or the failure."""
    last = [line for line in text.splitlines() if line.startswith("data: ")][-2:]
    if len(last) < 2 or last[1] != "data: [DONE]":
        return {"failed": text[-200:]}
    spent = json.loads(last[0][6:])["usage"]["trim"]
    return {"seconds": seconds, "waited": spent["seconds"], "steps": len(spent["steps"][0])}


def made_key(folder: Path) -> str:
    """A key with an ample budget."""
    words = ("keys", "create", "app", "--money-a-day", "1000", "--strong-tokens-a-day", "1000000")
    command = [sys.executable, "-c", TRIM, *words, "--database", str(folder / "trim.sqlite")]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()


async def beside(url: str, url_with_keys: str, key: str) -> None:
    """The same requests in this process and by the servers, in turn."""
    models = shipped_models(slots=1)
    router = Router(
        weak=models.weak,
        strong=models.strong,
        scorer=models.scorer,
        policy=Threshold(0.5),
        config=RouterConfig(sampling=SAMPLING),
    )
    wire, with_key = Wire(url), Wire(url_with_keys, key)
    requests, steps, by_key, by_client = [], [], [], []
    async with aiohttp.ClientSession() as session:
        for number, problem in enumerate(generate(CHAIN, PAIRS, SEED)):
            started = time.perf_counter()
            trace = await router.asolve(problem.question, number)
            here = time.perf_counter() - started - trace.seconds
            there = wire.ask(problem.question, number)
            keyed = with_key.ask(problem.question, number)
            again = await ask(session, url, problem.question, number)
            if number >= 10:  # Connections, caches and code are warm.
                requests.append(1e3 * (there["seconds"] - there["waited"] - here))
                steps.append(requests[-1] / there["steps"])
                by_key.append(1e3 * (keyed["seconds"] - keyed["waited"] - here))
                by_client.append(1e3 * (again["seconds"] - again["waited"] - here))
    print("| shipped models, one at a time | median ms | 95 % within |\n|---|---|---|")
    for name, values in (
        ("added a request", requests),
        ("added a step", steps),
        ("added a request, with a key and its budget", by_key),
        ("added a request, with aiohttp as the client", by_client),
    ):
        tail = statistics.quantiles(values, n=20)[-1]
        print(f"| {name} | {statistics.median(values):.2f} | {tail:.2f} |")


def memory(process: int) -> float:
    """Resident MiB."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


async def load(url: str, process: int, streams: int, seconds: float) -> None:
    """Keep `streams` streams open for `seconds`."""
    ended: list[dict[str, Any]] = []
    sizes = []
    stop = time.perf_counter() + seconds
    gc.freeze()
    gc.disable()  # Pauses of the client would count as the server's.

    async def work(session: aiohttp.ClientSession, number: int) -> None:
        await asyncio.sleep(number / streams * 5)  # Staggered start.
        while time.perf_counter() < stop:
            question = f"{number}: " + " ".join(["word"] * 44)
            ended.append(await ask(session, url, question, number + 1000 * len(ended)))

    connector = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(total=600)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        working = [asyncio.create_task(work(session, number)) for number in range(streams)]
        while time.perf_counter() < stop:
            await asyncio.sleep(seconds / 6)
            sizes.append(memory(process))
        await asyncio.gather(*working)
    good = [one for one in ended if "failed" not in one]
    added = sorted(1e3 * (one["seconds"] - one["waited"]) for one in good)
    steps = sum(one["steps"] for one in good)
    print(f"\n| {streams} streams for {seconds:.0f} s, simulated engines | |\n|---|---|")
    for name, value in (
        ("requests, failed", f"{len(ended)}, {len(ended) - len(good)}"),
        ("requests, steps a second", f"{len(good) / seconds:.1f}, {steps / seconds:.0f}"),
        ("added, median and 99 % within, ms",
         f"{statistics.median(added):.0f}, {added[int(0.99 * len(added))]:.0f}"),
        ("seconds a request, median", f"{statistics.median(o['seconds'] for o in good):.2f}"),
        ("memory every sixth of the time, MiB", ", ".join(f"{size:.0f}" for size in sizes)),
    ):  # fmt: skip
        print(f"| {name} | {value} |")
    for one in [one for one in ended if "failed" in one][:3]:
        print(one)


def configuration(folder: Path, urls: dict[str, str]) -> str:
    """A configuration with weak, strong and reward model on the engines."""
    (folder / "template").mkdir()
    (folder / "template" / "tokenizer_config.json").write_text(
        json.dumps({"chat_template": TEMPLATE})
    )
    model = {"api": "openai", "server": "vllm", "continuation": "completions",
             "concurrency": 2000, "log_probabilities": False, "token_ids": False}  # fmt: skip
    document = {
        "weak": {**model, "url": urls["weak"], "model": "weak"},
        "strong": {**model, "url": urls["strong"], "model": "strong"},
        "scorer": {"kind": "pooling", "url": urls["scorer"], "model": "scorer",
                   "template": str(folder / "template"), "concurrency": 2000},
        "routing": {"policy": "thr:0.5"},
    }  # fmt: skip
    path = folder / "trim.yaml"
    path.write_text(yaml.safe_dump(document))
    return str(path)


def main() -> None:
    streams = int(sys.argv[1]) if len(sys.argv) > 1 else 500
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 60.0
    with tempfile.TemporaryDirectory() as name:
        folder, other = Path(name), Path(name) / "keys"
        other.mkdir()
        key = made_key(other)
        with server(folder) as (url, _), server(other) as (url_with_keys, _):
            asyncio.run(beside(url, url_with_keys, key))
    with tempfile.TemporaryDirectory() as name, engines(ENGINES, 1.0) as started:
        folder = Path(name)
        words = (configuration(folder, dict(started.urls)), "--running", str(streams))
        with server(folder, *words) as (url, process):
            asyncio.run(load(url, process, streams, seconds))


if __name__ == "__main__":
    main()
