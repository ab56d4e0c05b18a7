"""The server beside LiteLLM's proxy, on one engine, whole requests, in turn.

    python benchmarks/proxy.py LITELLM [clients] [seconds]

LITELLM is the program of a virtual environment of its own. The engine is one process that computes
nothing: it answers each call after 50 ms, or streams 20 pieces in that time. So many clients ask
one request after the other, for so long, thrice each proxy, which is not running meanwhile for the
other. `trim:strong` is the strong model alone, by the router; with `logprobs` the same request is
handed on as it is.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import multiprocessing
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import aiohttp
import yaml
from aiohttp import web
from server import TEMPLATE, server

SECONDS = 0.05
PIECES = 20
ROUNDS = 3
TEXT = "1) add 1: 1 + 1 = 2. The answer is \\boxed{2}."
USAGE = {"prompt_tokens": 12, "completion_tokens": PIECES, "total_tokens": 12 + PIECES}


async def answer(request: web.Request) -> web.StreamResponse:
    body = json.loads(await request.read())
    chat = "messages" in body
    said = {"id": "1", "created": 1, "model": body["model"], "usage": USAGE,
            "object": "chat.completion" if chat else "text_completion"}  # fmt: skip
    if not body.get("stream"):
        await asyncio.sleep(SECONDS)
        text = {"message": {"role": "assistant", "content": TEXT}} if chat else {"text": TEXT}
        return web.json_response(
            {**said, "choices": [{"index": 0, "finish_reason": "stop", **text}]}
        )
    stream = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await stream.prepare(request)
    head = {"id": "1", "created": 1, "model": body["model"], "object": "chat.completion.chunk"}
    for number in range(PIECES):
        await asyncio.sleep(SECONDS / PIECES)
        reason = "stop" if number == PIECES - 1 else None
        choice = {"index": 0, "delta": {"content": " piece"}, "finish_reason": reason}
        await stream.write(b"data: " + json.dumps({**head, "choices": [choice]}).encode() + b"\n\n")
    if (body.get("stream_options") or {}).get("include_usage"):
        last = json.dumps({**head, "choices": [], "usage": USAGE}).encode()
        await stream.write(b"data: " + last + b"\n\n")
    await stream.write(b"data: [DONE]\n\n")
    return stream


def engine(wire: Connection) -> None:
    async def listen() -> None:
        application = web.Application()
        for path in ("/v1/chat/completions", "/v1/completions"):
            application.router.add_post(path, answer)
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, backlog=1024).start()
        wire.send(f"http://127.0.0.1:{runner.addresses[0][1]}/v1")
        await asyncio.Event().wait()

    asyncio.run(listen())


@contextlib.contextmanager
def litellm(program: str, folder: Path, url: str) -> Iterator[str]:
    """LiteLLM's proxy with one model, one worker, and no database."""
    path = folder / "litellm.yaml"
    served = {"model": "openai/strong", "api_base": url, "api_key": "none"}
    path.write_text(yaml.safe_dump({
        "model_list": [{"model_name": "strong", "litellm_params": served}],
        "litellm_settings": {"telemetry": False, "num_retries": 0},
    }))  # fmt: skip
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    quiet = {"LITELLM_LOG": "ERROR", "LITELLM_LOCAL_MODEL_COST_MAP": "True", "NO_PROXY": "*"}
    process = subprocess.Popen(
        [program, "--config", path, "--host", "127.0.0.1", "--port", str(port),
         "--num_workers", "1", "--telemetry", "False"],
        env={**os.environ, **quiet}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        asyncio.run(ready(f"http://127.0.0.1:{port}/health/liveliness"))
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        process.wait()


async def ready(url: str) -> None:
    async with aiohttp.ClientSession() as session, asyncio.timeout(180):
        while True:
            with contextlib.suppress(aiohttp.ClientError):
                if (await session.get(url)).status == 200:
                    return
            await asyncio.sleep(0.2)


@contextlib.contextmanager
def trim(folder: Path, url: str, clients: int) -> Iterator[str]:
    template = folder / "template"
    template.mkdir(exist_ok=True)
    (template / "tokenizer_config.json").write_text(json.dumps({"chat_template": TEMPLATE}))
    model = {"api": "openai", "server": "vllm", "continuation": "completions", "url": url,
             "concurrency": 1000, "log_probabilities": False, "token_ids": False}  # fmt: skip
    path = folder / "trim.yaml"
    path.write_text(yaml.safe_dump({
        "weak": {**model, "model": "weak"},
        "strong": {**model, "model": "strong"},
        "routing": {"policy": "strong"},
        "server": {"passthrough": "strong"},
    }))  # fmt: skip
    with server(folder, str(path), "--running", str(clients)) as (address, _):
        yield address


async def load(url: str, body: dict, clients: int, seconds: float) -> tuple[float, list[float]]:
    """Requests a second, and the milliseconds of each beyond the engine's own."""
    took: list[float] = []
    stop = time.perf_counter() + seconds

    async def work(session: aiohttp.ClientSession) -> None:
        while time.perf_counter() < stop:
            started = time.perf_counter()
            async with session.post(f"{url}/chat/completions", json=body) as response:
                text = await response.read()
            if response.status != 200 or b"error" in text:
                raise SystemExit(text[:300].decode())
            took.append(time.perf_counter() - started)

    connector = aiohttp.TCPConnector(limit=0)
    headers = {"Authorization": "Bearer none"}
    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:
        await asyncio.gather(*(work(session) for _ in range(clients)))
    return len(took) / seconds, [1e3 * (one - SECONDS) for one in took]


def main() -> None:
    program = sys.argv[1]
    clients = int(sys.argv[2]) if len(sys.argv) > 2 else 32
    seconds = float(sys.argv[3]) if len(sys.argv) > 3 else 10.0
    asked = {"messages": [{"role": "user", "content": "Start with 1. 1) add 1."}]}
    handed = {"model": "trim", "logprobs": True, **asked}
    bodies = {
        "LiteLLM": {"model": "strong", **asked},
        "LiteLLM, streamed": {"model": "strong", "stream": True, **asked},
        "trim, routed (`trim:strong`)": {"model": "trim:strong", **asked},
        "trim, handed on": handed,
        "trim, handed on, streamed": {**handed, "stream": True},
    }
    rates: dict[str, list[float]] = {name: [] for name in bodies}
    added: dict[str, list[float]] = {name: [] for name in bodies}
    here, there = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(target=engine, args=(there,))
    process.start()
    try:
        url = here.recv()
        for _ in range(ROUNDS):
            for whose in ("LiteLLM", "trim"):
                with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as held:
                    folder = Path(name)
                    address = held.enter_context(
                        trim(folder, url, clients)
                        if whose == "trim"
                        else litellm(program, folder, url)
                    )
                    for each, body in bodies.items():
                        if each.startswith(whose):
                            asyncio.run(load(address, body, clients, 2.0))
                            rate, beyond = asyncio.run(load(address, body, clients, seconds))
                            rates[each].append(rate)
                            added[each] += beyond
    finally:
        process.terminate()
        process.join()
    print(f"| {clients} clients, {ROUNDS} rounds of {seconds:.0f} s | requests a second (rounds) |"
          " added ms, median (95 % within) |\n|---|---|---|")  # fmt: skip
    for name in bodies:
        told = ", ".join(f"{rate:.0f}" for rate in sorted(rates[name]))
        tail = statistics.quantiles(added[name], n=20)[-1]
        middle = statistics.median(added[name])
        rate = statistics.median(rates[name])
        print(f"| {name} | {rate:.0f} ({told}) | {middle:.0f} ({tail:.0f}) |")


if __name__ == "__main__":
    main()
