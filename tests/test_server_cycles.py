"""No answered request leaves a cycle: Python's collector, which would find it, runs seldom."""

import asyncio
import gc
import json

import pytest
from test_server_api import QUESTIONS, asked

from trim.configuration.source import models_in
from trim.server.admission import Limits
from trim.server.run import Server, Serving, listen, opened, server_config


async def answered(reader, writer, question, **more):
    body = json.dumps(asked(question, seed=1, **more)).encode()
    writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n")
    writer.write(b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK")
    if more["stream"]:
        await reader.readuntil(b"0\r\n\r\n")
    else:
        (length,) = (line for line in head.split(b"\r\n") if line.startswith(b"content-length"))
        await reader.readexactly(int(length.split()[1]))


@pytest.mark.parametrize("stream", [True, False])
async def test_requests_leave_no_cycles(stream, tmp_path):
    source = models_in()
    serving = Serving("127.0.0.1", 0, str(tmp_path / "trim.sqlite"), Limits())
    listening = listen("127.0.0.1", 0)
    ready = asyncio.Event()
    async with opened(source, source.load(), serving) as service:
        server = Server(server_config(service), ready.set)
        work = asyncio.create_task(server.serve([listening]))
        await ready.wait()
        reader, writer = await asyncio.open_connection(*listening.getsockname())
        for question in QUESTIONS[:3]:
            await answered(reader, writer, question, stream=stream)
        gc.collect()
        gc.disable()
        try:
            for question in QUESTIONS:
                await answered(reader, writer, question, stream=stream)
            found = gc.collect()
        finally:
            gc.enable()
        writer.close()
        server.should_exit = True
        await work
    assert found < len(QUESTIONS)
