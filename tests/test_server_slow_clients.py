"""Clients that trickle, stop in the middle or do not read: each ends, and nothing stays."""

import asyncio
import json
import socket
import sqlite3
import sys
import time
from collections import Counter
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from staged_server import events, staged
from test_server_api import asked, counting
from test_server_passthrough import PIECES, TOOL, configuration, piece

SHORT = 1.0
LIMIT = 30.0
SERVE = """
import sys
from pathlib import Path
from trim.configuration.source import open_models
from trim.server.admission import Limits
from trim.server.run import Serving, serve
path, database, seconds = sys.argv[1:]
source = open_models(path or None)
limits = Limits(upload=float(seconds), stalled=float(seconds))
serve(source, Serving("127.0.0.1", 0, database, limits))
"""


class Process:
    def __init__(self, process, url):
        self.process = process
        self.url = url
        self.host, port = url[7:-3].split(":")
        self.port = int(port)

    @property
    def descriptors(self):
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))

    @property
    def mebibytes(self):
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024

    async def connect(self, sent=b"", receive_buffer=None):
        connection = socket.socket()
        if receive_buffer:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        connection.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(connection, (self.host, self.port))
        await loop.sock_sendall(connection, sent)
        return connection

    async def until_descriptors(self, count):
        async with asyncio.timeout(LIMIT):
            while self.descriptors > count:
                await asyncio.sleep(0.05)


@asynccontextmanager
async def short_of_patience(folder, path=""):
    if not Path("/proc/self/fd").exists():
        pytest.skip("open files are counted in /proc")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SERVE, str(path), str(folder / "trim.sqlite"), str(SHORT),
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    line = (await process.stderr.readline()).decode()
    assert line.startswith("trim: listening on "), line
    draining = asyncio.create_task(process.stderr.read())
    server = Process(process, line.split()[-1])
    async with httpx.AsyncClient() as client:
        # The first request opens what stays open.
        answer = await client.post(f"{server.url}/chat/completions", json=asked("x", max_tokens=1))
        assert answer.status_code == 200
    try:
        await asyncio.sleep(0.2)
        yield server
    finally:
        process.terminate()
        async with asyncio.timeout(LIMIT):
            assert await process.wait() == 0
        await draining


async def read_all(connection):
    """All that comes until the server ends the connection."""
    loop, said = asyncio.get_running_loop(), b""
    async with asyncio.timeout(LIMIT):
        try:
            while part := await loop.sock_recv(connection, 65536):
                said += part
        except ConnectionError:
            pass
    connection.close()
    return said


async def trickle(connection, byte=b"a"):
    """A byte now and then, without an end."""
    loop = asyncio.get_running_loop()
    try:
        while True:
            await loop.sock_sendall(connection, byte)
            await asyncio.sleep(0.1)
    except OSError:
        return


HEAD = (
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
)
QUERY = "SELECT finish FROM requests WHERE policy = 'passthrough'"
OPEN = {
    "nothing": (b"", None),
    "half a head": (HEAD, None),
    "a head that trickles": (HEAD + b"X: ", b"y"),
    "a body that does not come": (HEAD + b"Content-Length: 100\r\n\r\n{", None),
    "a body that trickles": (HEAD + b"Content-Length: 100000\r\n\r\n{", b" "),
    "chunks that trickle": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
    "the body of a request without one": (
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n", b" "),
    "a second head that trickles": (
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\nGET /healthz HTTP/1.1\r\nX: ", b"y"),
}  # fmt: skip


async def test_who_sends_no_whole_request_is_hung_up_on(tmp_path, record_property):
    async with short_of_patience(tmp_path) as server:
        before, size = server.descriptors, server.mebibytes
        kinds = [kind for kind in OPEN for _ in range(40)]
        connections = [await server.connect(OPEN[kind][0]) for kind in kinds]
        trickling = [
            asyncio.create_task(trickle(connection, OPEN[kind][1]))
            for kind, connection in zip(kinds, connections, strict=True)
            if OPEN[kind][1]
        ]
        async with httpx.AsyncClient(timeout=LIMIT) as client:
            # Meanwhile others are served.
            answer = await client.post(f"{server.url}/chat/completions", json=asked())
            assert answer.status_code == 200
        said = await asyncio.gather(*map(read_all, connections))
        for task in trickling:
            task.cancel()
        lost = Counter()
        for kind, words in zip(kinds, said, strict=True):
            if not words and "trickle" in kind:
                # A client's next byte resets the connection: it may lose what it has not read yet.
                lost[kind] += 1
            elif ("body" in kind and "without" not in kind) or "chunks" in kind:
                assert words.startswith(b"HTTP/1.1 408 "), (kind, words)
                assert b'"body_too_slow"' in words
            else:
                assert b" 408 " not in words and b" 500 " not in words
        assert max(lost["a body that trickles"], lost["chunks that trickle"]) < 20, lost
        await server.until_descriptors(before)
        assert server.mebibytes < size + 30
    record_property("counted", f"{len(kinds)} connections that are slow to send")


async def test_a_head_without_an_end_is_not_kept(tmp_path):
    async with short_of_patience(tmp_path) as server:
        connection = await server.connect(HEAD)
        size, loop = server.mebibytes, asyncio.get_running_loop()
        with pytest.raises(OSError):
            for number in range(1_000):
                await loop.sock_sendall(connection, b"X%d: %s\r\n" % (number, b"y" * 50_000))
        connection.close()
        assert server.mebibytes < size + 10


async def test_who_does_not_read_a_stream_is_hung_up_on(tmp_path, monkeypatch):
    """The upstream writes as fast as it is read, without an end."""
    monkeypatch.setenv("UPSTREAM_KEY", "sk-1")
    long = events(*[piece({"content": "x" * 60_000})] * 2_000, *PIECES)

    def answer(request):
        first = str(request.body["messages"][0]["content"])
        return (
            counting(request) if first.startswith("Count") or "tools" not in request.body else long
        )

    async with (
        staged(answer) as upstream,
        short_of_patience(tmp_path, configuration(tmp_path, upstream)) as server,
    ):
        before, size = server.descriptors, server.mebibytes
        body = json.dumps(asked(tools=[TOOL], stream=True)).encode()
        sent = HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body
        connections = [await server.connect(sent, receive_buffer=4096) for _ in range(5)]
        biggest, stop = size, time.monotonic() + LIMIT

        def rows():
            with sqlite3.connect(tmp_path / "trim.sqlite") as database:
                return list(database.execute(QUERY))

        while len(rows()) < 5:
            biggest = max(biggest, server.mebibytes)
            assert time.monotonic() < stop
            await asyncio.sleep(0.1)
        assert {finish for (finish,) in rows()} == {"abandoned"}
        assert biggest < size + 60  # Of 600 MB that would come.
        for connection in connections:
            connection.close()
        await server.until_descriptors(before)
        async with httpx.AsyncClient() as client:
            page = (await client.get(server.url.removesuffix("/v1") + "/metrics")).text
        assert "trim_running 0.0" in page and "trim_waiting 0.0" in page
