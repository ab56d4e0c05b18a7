"""trim beside LiteLLM's proxy: whole requests to the same engine, in one run.

    python benchmarks/proxies.py PYTHON [clients] [seconds]

PYTHON is that of an environment with `litellm[proxy]`. The engine computes nothing and answers at
stated speeds (`benchmarks/simulated`: a 1.5B model on one H100), 8 tokens a request. First the
engine itself and each proxy are asked in turn, one request at a time; then each proxy in turn by so
many clients at once. trim hands requests on as they are (they ask for log-probabilities), or routes
them (`trim:weak`, one call a step); it keeps each in SQLite, which LiteLLM does not here. Each
proxy is one process, and asks nobody for a key.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import yaml
from server import server as trim_server
from simulated.server import serving as engines
from simulated.speeds import WEAK

ROUNDS = 3
ALONE = 150
WARM = 20
QUESTION = " ".join(["word"] * 44)


@dataclass(frozen=True)
class Way:
    """One way to the engine."""

    name: str
    url: str
    model: str
    more: dict[str, Any] = field(default_factory=dict)

    async def ask(self, session: aiohttp.ClientSession, number: int) -> float:
        """Seconds of one request."""
        body = {"model": self.model, "prompt": f"{number} {QUESTION}", "max_tokens": 8, **self.more}
        started = time.perf_counter()
        async with session.post(f"{self.url}/completions", json=body) as answer:
            record = await answer.json()
            if answer.status != 200 or not 1 <= record["usage"]["completion_tokens"] <= 8:
                raise SystemExit(f"{self.name}: {answer.status} {record}")
        return time.perf_counter() - started


@contextlib.contextmanager
def litellm(python: str, folder: Path, engine: str) -> Iterator[str]:
    """LiteLLM's proxy in a process of its own, and its address."""
    served = {"model": "text-completion-openai/weak", "api_base": engine, "api_key": "none"}
    document = {
        "model_list": [{"model_name": "whole", "litellm_params": served}],
        "litellm_settings": {"telemetry": False, "num_retries": 0},
        "general_settings": {"dangerously_permit_weak_or_unset_master_key": True},
    }
    path = folder / "litellm.yaml"
    path.write_text(yaml.safe_dump(document))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR"}
    environment.pop("PYTHONPATH", None)
    with (folder / "litellm.log").open("w") as log:
        process = subprocess.Popen(
            [str(Path(python).parent / "litellm"), "--config", str(path), "--port", str(port),
             "--host", "127.0.0.1", "--num_workers", "1"],
            stdout=log, stderr=log, env=environment,
        )  # fmt: skip
    try:
        for _ in range(180):
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health/liveliness", timeout=2)
                break
            if process.poll() is not None:
                raise SystemExit((folder / "litellm.log").read_text()[-2000:])
            time.sleep(0.5)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        process.wait()


def configuration(folder: Path, engine: str) -> str:
    """The engine as both models."""
    model = {"api": "openai", "server": "vllm", "continuation": "completions", "url": engine,
             "model": "weak", "concurrency": 2000, "log_probabilities": False,
             "token_ids": False}  # fmt: skip
    document = {"weak": model, "strong": model, "routing": {"policy": "weak"},
                "server": {"passthrough": "weak"}}  # fmt: skip
    path = folder / "trim.yaml"
    path.write_text(yaml.safe_dump(document))
    return str(path)


async def alone(session: aiohttp.ClientSession, ways: list[Way]) -> list[float]:
    """Median milliseconds of each way, one request at a time."""
    spent: list[list[float]] = [[] for _ in ways]
    for number in range(ALONE + WARM):
        for way, values in zip(ways, spent, strict=True):
            values.append(1e3 * await way.ask(session, number))
    return [statistics.median(values[WARM:]) for values in spent]


async def together(
    session: aiohttp.ClientSession, way: Way, clients: int, seconds: float
) -> tuple[float, float]:
    """Requests a second, and median milliseconds of one."""
    stop = time.perf_counter() + seconds
    spent: list[float] = []

    async def work(client: int) -> None:
        while time.perf_counter() < stop:
            spent.append(1e3 * await way.ask(session, 1000 * client + len(spent)))

    started = time.perf_counter()
    await asyncio.gather(*map(work, range(clients)))
    return len(spent) / (time.perf_counter() - started), statistics.median(spent)


async def compare(ways: list[Way], clients: int, seconds: float) -> None:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        medians = await alone(session, ways)
        print("| one at a time | median ms | added ms |\n|---|---|---|")
        for way, median in zip(ways, medians, strict=True):
            print(f"| {way.name} | {median:.1f} | {median - medians[0]:.1f} |")
        print(
            f"\n| {clients} clients, {ROUNDS} x {seconds:.0f} s | requests a second | median ms |"
        )
        print("|---|---|---|")
        rounds = [
            [await together(session, way, clients, seconds) for way in ways] for _ in range(ROUNDS)
        ]
        for way, results in zip(ways, zip(*rounds, strict=True), strict=True):
            rates, spent = zip(*results, strict=True)
            rate = f"{statistics.median(rates):.0f} ({min(rates):.0f}–{max(rates):.0f})"
            print(f"| {way.name} | {rate} | {statistics.median(spent):.0f} |")


def main() -> None:
    python = sys.argv[1]
    clients = int(sys.argv[2]) if len(sys.argv) > 2 else 64
    seconds = float(sys.argv[3]) if len(sys.argv) > 3 else 10.0
    with tempfile.TemporaryDirectory() as name, engines({"weak": WEAK}, 1.0) as started:
        folder, engine = Path(name), started.urls["weak"]
        words = (configuration(folder, engine), "--running", str(clients))
        with trim_server(folder, *words) as (url, _), litellm(python, folder, engine) as other:
            handed_on = {"logprobs": 1}
            ways = [
                Way("the engine itself", engine, "weak", handed_on),
                Way("trim, handed on", url, "trim", handed_on),
                Way("LiteLLM", other, "whole", handed_on),
                Way("trim, routed (`trim:weak`)", url, "trim:weak"),
            ]
            asyncio.run(compare(ways, clients, seconds))


if __name__ == "__main__":
    main()
