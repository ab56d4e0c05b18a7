"""A small HTTP server that says what a test has it say, and stages what networks do."""

import asyncio
import json
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Reply:
    """What is sent back.

    `missing` bytes of the body are promised and not sent; a reply without a body never comes. With
    `later` the body goes on by those pieces, `pause` seconds apart, until the connection ends.
    """

    body: Any
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    missing: int = 0
    later: tuple[bytes, ...] = ()
    pause: float = 0.0


SILENCE = Reply(None)


@dataclass(frozen=True)
class Request:
    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    method: str = "POST"


class Connection(asyncio.Protocol):
    def __init__(self, staged):
        self.staged = staged
        self.received = b""

    def connection_made(self, transport):
        self.transport = transport
        self.staged.connections += 1

    def connection_lost(self, error):
        self.staged.lost += 1

    def data_received(self, data):
        self.received += data
        head, found, rest = self.received.partition(b"\r\n\r\n")
        if not found:
            return
        first, *lines = head.decode().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines)
        raw_headers = dict(line.split(": ", 1) for line in lines)
        length = int(headers.get("content-length", 0))
        if len(rest) < length:
            return
        self.received = rest[length:]
        method, path, _ = first.split()
        request = Request(path, raw_headers, json.loads(rest[:length] or b"{}"), method)
        self.staged.requests.append(request)
        reply = self.staged.answer(request)
        asyncio.get_running_loop().call_later(self.staged.delay, self.send, reply)

    def send(self, reply):
        if not isinstance(reply, Reply):
            reply = Reply(reply)
        if reply is SILENCE:
            return
        if self.transport.is_closing():
            return
        body = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
        headers = {
            "Content-Type": "application/json",
            "Content-Length": len(body) + reply.missing + sum(map(len, reply.later)),
            **reply.headers,
        }
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self.transport.write(f"HTTP/1.1 {reply.status} Said\r\n{lines}\r\n".encode() + body)
        if reply.later:
            self.go_on(reply.later, reply.pause)
        elif reply.missing:
            self.transport.close()

    def go_on(self, pieces, pause):
        """Goes on as fast as it is read."""
        if pieces and not self.transport.is_closing():
            waits = self.transport.get_write_buffer_size() > 2**20
            if not waits:
                self.transport.write(pieces[0])
            left = pieces[0 if waits else 1 :]
            asyncio.get_running_loop().call_later(0.01 if waits else pause, self.go_on, left, pause)


class StagedServer:
    """`answer(request)` gives the record to send, or a `Reply`, after `delay` seconds."""

    def __init__(self, answer, delay=0.0):
        self.answer = answer
        self.delay = delay
        self.requests: list[Request] = []
        self.connections = 0
        self.lost = 0
        self.url = ""

    @property
    def bodies(self):
        return [request.body for request in self.requests]


@asynccontextmanager
async def staged(answer, delay=0.0):
    server = StagedServer(answer, delay)
    loop = asyncio.get_running_loop()
    listening = await loop.create_server(lambda: Connection(server), "127.0.0.1", 0, backlog=1024)
    server.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    try:
        yield server
    finally:
        listening.close()


def script(*replies):
    """Says one after the other, and the last one for ever."""
    left = list(replies)
    return lambda request: left.pop(0) if len(left) > 1 else left[0]


def events(*records, done=True, **more):
    """A stream of server-sent events."""
    pieces = [b"data: " + json.dumps(record).encode() + b"\n\n" for record in records]
    pieces += [b"data: [DONE]\n\n"] if done else []
    return Reply(b"", headers={"Content-Type": "text/event-stream"}, later=tuple(pieces), **more)


def usage(prompt=10, tokens=3, **more):
    return {"prompt_tokens": prompt, "completion_tokens": tokens, **more}


def chat(content, finish="stop", counts=None, message=None, **choice):
    said = {"role": "assistant", "content": content, **(message or {})}
    return {
        "choices": [{"index": 0, "message": said, "finish_reason": finish, **choice}],
        "usage": counts or usage(),
    }


def completion(text, finish="stop", counts=None, **choice):
    return {
        "choices": [{"index": 0, "text": text, "finish_reason": finish, **choice}],
        "usage": counts or usage(),
    }


def pooling(rows, prompt=50, key="data"):
    return {"data": [{"index": 0, key: rows}], "usage": {"prompt_tokens": prompt}}
