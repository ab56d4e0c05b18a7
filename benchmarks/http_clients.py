"""HTTP clients compared: requests per second and CPU time per request, on loopback.

Sixty-four requests are under way at a time and connections are reused. The server is a trivial
one in a separate process that returns a completion of 1.5 kB. Only the client's CPU time is
counted.

Needs all three clients: `pip install aiohttp httpx httpx2`. On one of 2 busy cores, the best of
three rounds of 4,000 requests each, in one run:

| client | requests a second | milliseconds of processor time a request |
| --- | --- | --- |
| aiohttp 3.14.5 | 11,887 | 0.07 |
| httpx2 2.16.2 | 1,974 | 0.46 |
| httpx 0.28.1 | 393 | 2.48 |

So `trim.engines.http` uses aiohttp.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import time
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

import aiohttp
import httpx
import httpx2

CONCURRENT = 64
REQUESTS = 4000
ROUNDS = 3
QUESTION = {"model": "m", "prompt": "What is the sum? " * 60, "max_tokens": 64, "stop": ["\n\n"]}
ANSWER = json.dumps({"choices": [{"text": "It is 4. " * 150, "finish_reason": "stop"}]}).encode()
REPLY = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (
    len(ANSWER),
    ANSWER,
)

Ask = Callable[[], Awaitable[object]]
Client = Callable[[str], Coroutine[Any, Any, tuple[float, float]]]


class Answering(asyncio.Protocol):
    """Answers every complete request on a persistent connection."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.received = b""

    def data_received(self, data: bytes) -> None:
        self.received += data
        head, found, body = self.received.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0] or 0)
        if found and len(body) >= length:
            self.received = body[length:]
            self.transport.write(REPLY)


def serve(connection: Connection) -> None:
    async def forever() -> None:
        server = await asyncio.get_running_loop().create_server(Answering, "127.0.0.1", 0)
        connection.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(forever())


async def ask_all(ask: Ask) -> tuple[float, float]:
    """Requests a second, and milliseconds of this process's processor time a request."""
    left = iter(range(REQUESTS))

    async def worker() -> None:
        for _ in left:
            await ask()

    seconds, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(worker() for _ in range(CONCURRENT)))
    seconds, cpu = time.perf_counter() - seconds, time.process_time() - cpu
    return REQUESTS / seconds, 1000 * cpu / REQUESTS


async def with_aiohttp(url: str) -> tuple[float, float]:
    connector = aiohttp.TCPConnector(limit=CONCURRENT)
    async with aiohttp.ClientSession(connector=connector) as session:

        async def ask() -> object:
            async with session.post(url, json=QUESTION) as answer:
                return json.loads(await answer.read())

        return await ask_all(ask)


async def with_httpx(package: Any, url: str) -> tuple[float, float]:
    """By httpx, or by httpx2, which has the same interface."""
    limits = package.Limits(max_connections=CONCURRENT, max_keepalive_connections=CONCURRENT)
    async with package.AsyncClient(limits=limits, trust_env=False) as client:

        async def ask() -> object:
            return (await client.post(url, json=QUESTION)).json()

        return await ask_all(ask)


def main() -> None:
    here, there = multiprocessing.Pipe()
    server = multiprocessing.Process(target=serve, args=(there,), daemon=True)
    server.start()
    url = f"http://127.0.0.1:{here.recv()}/v1/completions"
    clients: dict[str, tuple[Client, str]] = {
        "aiohttp": (with_aiohttp, aiohttp.__version__),
        "httpx": (partial(with_httpx, httpx), httpx.__version__),
        "httpx2": (partial(with_httpx, httpx2), httpx2.__version__),
    }
    print("| client | requests a second | milliseconds of processor time a request |")
    print("| --- | --- | --- |")
    for name, (client, version) in clients.items():
        rounds = [asyncio.run(client(url)) for _ in range(ROUNDS)]
        rate, cpu = max(rate for rate, _ in rounds), min(cpu for _, cpu in rounds)
        print(f"| {name} {version} | {rate:,.0f} | {cpu:.2f} |")
    server.terminate()


if __name__ == "__main__":
    main()
