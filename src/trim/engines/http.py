"""An HTTP client of one server: keep-alive, a request limit, retries and a circuit breaker.

The client library is aiohttp: 6 times the requests a second of the next one and a sixth of its
processor time (`benchmarks/http_clients.py`).
"""

from __future__ import annotations

import asyncio
import json
import math
import random
import re
import time
import urllib.request
from base64 import b64encode
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit
from weakref import WeakKeyDictionary

import aiohttp

from trim.documents import parse_json
from trim.engines.body import ACCEPTED, UnreadableBody, read_body, read_error, read_pieces
from trim.engines.key import Key
from trim.engines.retry import (
    CircuitBreaker,
    RequestedPause,
    RetryPolicy,
    retry_after,
    seconds_left,
)
from trim.engines.scheduler import RequestQueue
from trim.engines.sse import EventReader
from trim.errors import ContextExceeded, InvalidInput, ModelUnavailable, Refused, TrimError
from trim.terminal import one_line

TOO_LONG = re.compile(
    r"context (?:length|size|window|limit)|exceed_context|prompt is too long|must be <= \d+",
    re.IGNORECASE,
)
LIMIT = re.compile(
    r"(?:context (?:length|size|window)(?: is| of)?(?: only)? \(?|must be <= )(\d+)",
    re.IGNORECASE,
)
READ = re.compile(
    r"(\d+) (?:in the (?:messages|prompt)|input tokens|tokens from the input|`inputs` tokens)"
)
SHOWN, SEARCHED = 300, 1 << 14
"""Characters of a server's message that an error quotes, and that are searched for the key."""


def client_error(name: str, status: int, message: str, key_source: str | None) -> TrimError:
    """The error for a response with status 300 to 499, which a retry would not fix.

    Args:
        name: the server's, for the message.
        message: the response's, as `HttpServer.shown` returns it.
        key_source: where the key came from; None without a key.
    """
    if TOO_LONG.search(message):
        limit, read = LIMIT.search(message), READ.search(message)
        room = int(limit[1]) - int(read[1]) if limit and read else None
        return ContextExceeded(f"{name}: {message}", room)
    if status in (401, 403):
        source = key_source or "no key was given; name its environment variable or file"
        return Refused(f"{name}: the key was not accepted ({source}): {status} {message}")
    if status < 400:
        return Refused(f"{name}: redirects ({status}); use the final URL")
    return Refused(f"{name}: {status} {message}")


def message_in(found: Any) -> str:
    """The message in an error response, from any server's format; `HttpServer.shown` shortens it.

    Args:
        found: the parsed response, or its text.
    """
    for name in ("error", "message", "detail"):
        while isinstance(found, dict) and found.get(name):
            found = found[name]
    try:
        return found if isinstance(found, str) else json.dumps(found)
    except (RecursionError, ValueError):
        return ""


Read = TypeVar("Read")

BEARER = ("Authorization", "Bearer ")
"""Header that carries the key, and the prefix of its value, for OpenAI's protocol."""
BUSY = (408, 409, 425, 429)
"""Statuses with which a working server asks clients to retry."""
TIME_OUT, GARBLED = "time-out", "garbled answer"
UNREADABLE = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError)
"""Errors of a function that parses an answer which is not in the expected form."""
PROBE_SECONDS = 2.0
"""How long the answer to a GET request is awaited from a server that failed."""
DRAIN_SECONDS = 0.05
"""How long the end of a response is awaited behind its last event: only after it the connection can
be used again."""


class Fault(Exception):
    """A failure that a retry may fix.

    Attributes:
        kind: a short name, by which failures are counted.
        down: whether it suggests that the server is down.
        pause: seconds after which the server asks clients to retry.
        final: whether a part of the answer has been used, which rules out a retry.
    """

    def __init__(self, kind: str, message: str = "", down: bool = True, pause: float = 0.0) -> None:
        super().__init__(f"{kind}: {message}" if message else kind)
        self.kind = kind
        self.down = down
        self.pause = pause
        self.final = False


@dataclass(frozen=True)
class Pool:
    """The connections of one event loop, and the queue of its requests."""

    session: aiohttp.ClientSession
    queue: RequestQueue
    keeper: AsyncGenerator[None]


class HttpServer:
    """Sends JSON to one server and reads JSON from it.

    Several event loops may use it, one after the other: each has its own connections, which are
    closed with the loop.

    Args:
        url: base of the paths, as `http://127.0.0.1:8000/v1`; `/v1` is added to an address
            without a path.
        key: sent in the header `key_header`; no repr, log or error shows it.
        concurrency: requests in flight; further ones wait, those of earlier problems first
            (`trim.engines.scheduler`).
        retry: how often a request is sent.
        breaker: the circuit breaker; the usual one by default.
        headers: further headers, not secret.

    Attributes:
        faults: failures by kind, those that a retry fixed included.
        requests: number of requests sent.
    """

    def __init__(
        self,
        url: str,
        key: Key | None = None,
        concurrency: int = 64,
        retry: RetryPolicy = RetryPolicy(),  # noqa: B008 (frozen)
        breaker: CircuitBreaker | None = None,
        key_header: tuple[str, str] = BEARER,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.url = checked_url(url)
        self.root = self.url.removesuffix("/v1")
        self.name = urlsplit(self.url).netloc
        if concurrency < 1:
            raise InvalidInput(f"{self.name}: concurrency {concurrency} must be at least 1")
        self.concurrency = concurrency
        self.retry = retry
        self.breaker = breaker or CircuitBreaker()
        self.faults: Counter[str] = Counter()
        self.requests = 0
        self._key = key
        self._headers = {
            "Content-Type": "application/json",
            "Accept-Encoding": ACCEPTED,
            **(headers or {}),
        }
        if key:
            self._headers[key_header[0]] = key_header[1] + key.secret
        self._proxy = proxy_fields(proxy_for(self.url))
        self._requested = RequestedPause(retry.max_retry_after)
        self._pools: WeakKeyDictionary[asyncio.AbstractEventLoop, Pool] = WeakKeyDictionary()

    async def limit(self, concurrency: int) -> None:
        """Lower the number of requests in flight; not to be called while there are any."""
        self.concurrency = min(self.concurrency, concurrency)
        pool = self._pools.get(asyncio.get_running_loop())
        if pool:
            await pool.keeper.aclose()

    def __repr__(self) -> str:
        return f"HttpServer({self.url!r})"

    @property
    def available(self) -> bool:
        """Whether requests are sent: no failures in a row, and no long pause that it asked for."""
        return not self.breaker.is_open and not self._requested.fails_at(time.monotonic())

    async def may_recover(self) -> bool:
        """Whether a trial request is due at a server that failed, and it answers a GET request."""
        if not self.breaker.is_due(time.monotonic()):
            return False
        try:
            status, _ = await self._get("/models", PROBE_SECONDS)
        except ModelUnavailable:
            return False
        except Refused:  # The trial will show it.
            return True
        return status < 500

    async def post(self, path: str, body: Mapping[str, Any], read: Callable[[Any], Read]) -> Read:
        """Post `body` and return `read(answer)`; retry after a fault until the deadline.

        Args:
            path: below the server's URL, or below its root with a leading `//`.
            body: the fields to send; None leaves a field out.
            read: parses the answer; its errors in `UNREADABLE` count as a garbled answer, which is
                a fault.

        Raises:
            Refused: the server rejects the request.
            ContextExceeded: the prompt is too long.
            ModelUnavailable: no answer after all attempts or before the problem's deadline, or
                the circuit breaker is open.
        """

        async def attempt(url: str, sent: bytes) -> Read:
            return self._read(await self._send(url, sent), read)

        return await self._retried(path, body, attempt)

    async def read_events(
        self,
        path: str,
        body: Mapping[str, Any],
        read: Callable[[Any], bool],
        keep: bool = True,
    ) -> None:
        """Post `body` and call `read` with each record of the stream of server-sent events.

        A server that does not stream sends a single record, as JSON. When `read` returns True the
        connection is closed, as on cancellation: the server then stops decoding. A fault is retried
        as in `post`, but only before the first record. At the problem's deadline a stream that has
        begun ends without an error.

        Args:
            read: parses a record; its errors count as for `post`.
            keep: use the connection again after a whole stream.

        Raises:
            Refused, ContextExceeded, ModelUnavailable: as `post`; also ModelUnavailable where the
                stream breaks off, or is longer than a model's answer can be (`trim.engines.sse`).
        """

        async def attempt(url: str, sent: bytes) -> None:
            events, begun = EventReader(), False
            try:
                async with self._posted(url, sent, keep) as answer:
                    if answer.content_type == "application/json":
                        self._read(self._json(await read_body(answer)), read)
                        return
                    async with aclosing(read_pieces(answer)) as pieces:
                        async for data in pieces:
                            for record in self._parsed(events, data):
                                if self._read(record, read):
                                    answer.close()
                                    return
                                begun = True
                            if events.done:
                                if keep:
                                    await self._drain(answer)
                                return
                    raise Fault("connection", "the stream ended early")
            except Fault as fault:
                if begun and fault.kind == TIME_OUT and not fault.down:
                    return
                fault.final = begun
                raise

        await self._retried(path, body, attempt)

    def _address(self, path: str) -> str:
        return self.root + path[1:] if path.startswith("//") else self.url + path

    async def _retried(
        self,
        path: str,
        body: Mapping[str, Any],
        attempt: Callable[[str, bytes], Awaitable[Read]],
    ) -> Read:
        """The result of the first attempt without a fault; see `post`."""
        url = self._address(path)
        fields = {name: value for name, value in body.items() if value is not None}
        sent = json.dumps(fields).encode()
        fault: Fault | None = None
        for number in range(self.retry.attempts):
            await self._wait(self.retry.before(number), fault, number)
            try:
                answer = await attempt(url, sent)
            except Fault as met:
                fault = met
                self.faults[fault.kind] += 1
                if fault.down:
                    self.breaker.failed(time.monotonic())
                elif fault.kind != TIME_OUT:
                    self.breaker.succeeded()
                self._requested.ask(fault.pause, time.monotonic())
                if fault.final:
                    raise self._unavailable("the answer broke off", fault) from fault
            except TrimError:
                self._answered()
                raise
            else:
                self._answered()
                return answer
        raise self._gave_up(self.retry.attempts, seconds_left() <= 0, fault)

    def _answered(self) -> None:
        self.breaker.succeeded()
        self._requested.answered()

    async def get(self, path: str, seconds: float = 10.0) -> Any | None:
        """The JSON that a path returns, requested once; None for an unknown path.

        Args:
            path: as for `post`.

        Raises:
            Refused: the key was not accepted.
            ModelUnavailable: no answer.
        """
        status, content = await self._get(path, seconds)
        try:
            return parse_json(content, finite=False) if status == 200 else None
        except ValueError:
            return None

    async def _get(self, path: str, seconds: float) -> tuple[int, bytes]:
        """Status and body of the answer to a request that is sent once; raises as `get`."""
        pool = await self._pool()
        try:
            async with pool.session.get(
                self._address(path),
                timeout=aiohttp.ClientTimeout(total=seconds),
                allow_redirects=False,
                **self._proxy,
            ) as answer:
                if answer.status in (401, 403):
                    raise self._refused(answer.status, await self.error_in(answer))
                return answer.status, await read_body(answer) if answer.status == 200 else b""
        except TimeoutError as error:
            raise self._unavailable(f"no answer in {seconds:.3g} s", None) from error
        except (aiohttp.ClientError, OSError) as error:
            raise self._unavailable(f"no answer: {self.shown(str(error))}", None) from error
        except UnreadableBody as error:
            raise self._unavailable(f"garbled answer: {error}", None) from error

    @asynccontextmanager
    async def stream(
        self, path: str, body: bytes, seconds: float
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Post `body` once and yield the response of any status, its body unread; leaving the
        context cancels the request.

        Args:
            seconds: time limit of the whole response, the wait for a connection included.

        Raises:
            ModelUnavailable: no response, an incomplete one, or the circuit breaker is open.
        """
        if self.breaker.wait(time.monotonic()) > 0:
            raise self._unavailable("not responding; requests are paused", None)
        pool, end = await self._pool(), time.monotonic() + seconds
        try:
            async with self._turn(pool.queue, seconds):
                self.requests += 1
                async with pool.session.post(
                    self.url + path,
                    data=body,
                    timeout=aiohttp.ClientTimeout(total=max(end - time.monotonic(), 0.001)),
                    allow_redirects=False,
                    **self._proxy,
                ) as answer:
                    if answer.status >= 500:
                        raise Fault(str(answer.status), await self.error_in(answer))
                    self.breaker.succeeded()
                    yield answer
        except TimeoutError as error:
            self.faults[TIME_OUT] += 1
            raise self._unavailable(f"no whole answer in {seconds:.3g} s", None) from error
        except UnreadableBody as error:
            self.faults[GARBLED] += 1
            raise self._unavailable("no answer", Fault(GARBLED, str(error))) from error
        except (aiohttp.ClientError, OSError, Fault) as error:
            fault = error if isinstance(error, Fault) else None
            fault = fault or Fault("connection", self.shown(str(error)))
            self.faults[fault.kind] += 1
            if fault.down:
                self.breaker.failed(time.monotonic())
            raise self._unavailable("no answer", fault) from error

    async def error_in(self, answer: aiohttp.ClientResponse) -> str:
        """The message of an error response, as `shown`."""
        return self.shown(message_in(await read_error(answer)))

    async def _wait(self, pause: float, fault: Fault | None, attempts: int) -> None:
        """Wait until the next attempt may start; raise if that is after the problem's deadline."""
        resume = time.monotonic() + pause
        while True:
            now = time.monotonic()
            if self._requested.fails_at(now):
                asked = f"asked clients to retry after {self._requested.seconds:.0f} s"
                raise self._unavailable(asked, fault)
            wait = max(resume - now, self._requested.wait(now))
            if wait <= 0:
                wait = self.breaker.wait(now)
                if wait > 0 and self.breaker.is_dead(now):
                    raise self._unavailable("not responding; requests are paused", fault)
            left = seconds_left()
            if left <= max(wait, 0.0):
                raise self._gave_up(attempts, True, fault)
            if wait <= 0:
                self._requested.sent(now)
                return
            # Jitter: waiting requests must not all come back at once.
            await asyncio.sleep(min(wait * random.uniform(1.0, 1.1) + 0.001, left))

    async def _send(self, url: str, body: bytes) -> Any:
        async with self._posted(url, body) as answer:
            return self._json(await read_body(answer))

    def _json(self, content: bytes) -> Any:
        try:
            return parse_json(content, finite=False)
        except ValueError as error:
            raise Fault(GARBLED, "no JSON") from error

    @asynccontextmanager
    async def _posted(
        self, url: str, body: bytes, keep: bool = True
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Post `body` once and yield the response of status 200, its body unread.

        Args:
            keep: use the connection again.

        Raises:
            Fault: no response, an incomplete one, or a status that a retry may change.
            Refused, ContextExceeded: see `post`.
        """
        pool = await self._pool()
        async with self._turn(pool.queue, seconds_left()):
            seconds = min(self.retry.seconds, max(seconds_left(), 0.001))
            self.requests += 1
            try:
                async with pool.session.post(
                    url,
                    data=body,
                    headers=None if keep else {"Connection": "close"},
                    timeout=aiohttp.ClientTimeout(total=seconds),
                    allow_redirects=False,
                    **self._proxy,
                ) as answer:
                    if answer.status != 200:
                        raise self._rejected(answer, await self.error_in(answer))
                    yield answer
            except TimeoutError as error:
                # A time-out at the problem's deadline says nothing about the server.
                whole = seconds == self.retry.seconds
                raise Fault(TIME_OUT, f"{seconds:.3g} s", down=whole) from error
            except (aiohttp.ClientError, OSError) as error:
                raise Fault("connection", self.shown(str(error))) from error
            except UnreadableBody as error:
                raise Fault(GARBLED, str(error)) from error

    @asynccontextmanager
    async def _turn(self, queue: RequestQueue, left: float) -> AsyncIterator[None]:
        """Wait for a connection, at most so many seconds."""
        async with AsyncExitStack() as stack:
            try:
                async with asyncio.timeout(None if math.isinf(left) else left):
                    await stack.enter_async_context(queue)
            except TimeoutError as error:
                raise Fault(TIME_OUT, "in the queue", down=False) from error
            yield

    def _rejected(self, answer: aiohttp.ClientResponse, message: str) -> Fault | TrimError:
        """The error for a response whose status is not 200."""
        status, pause = answer.status, retry_after(answer.headers)
        if status in BUSY:
            return Fault(str(status), message, down=False, pause=pause)
        if status >= 500 or status < 300:
            return Fault(str(status), message, pause=pause)
        return self._refused(status, message)

    def _refused(self, status: int, message: str) -> TrimError:
        return client_error(self.name, status, message, self._key.source if self._key else None)

    def _parsed(self, events: EventReader, data: bytes) -> Iterator[Any]:
        try:
            yield from events.feed(data)
        except ValueError as error:
            raise Fault(GARBLED, f"in the stream: {self.shown(str(error))}") from error

    async def _drain(self, answer: aiohttp.ClientResponse) -> None:
        """Read the end of a response behind its last event."""
        with suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_SECONDS):
                await answer.content.readany()

    def _read(self, raw: Any, read: Callable[[Any], Read]) -> Read:
        if isinstance(raw, dict) and raw.get("error"):
            message = self.shown(message_in(raw))
            if TOO_LONG.search(message):
                raise client_error(self.name, 400, message, None)
            raise Fault("error", message)
        try:
            return read(raw)
        except Refused as error:
            raise Refused(self.shown(str(error))) from error
        except UNREADABLE as error:
            reason = self.shown(f"{type(error).__name__} {error}")
            raise Fault(GARBLED, reason) from error

    def _gave_up(self, attempts: int, due: bool, fault: Fault | None) -> ModelUnavailable:
        tried = f"{attempts} attempts" if attempts != 1 else "1 attempt"
        why = f"the problem's time is up after {tried}" if due else f"no answer in {tried}"
        return self._unavailable(why, fault)

    def _unavailable(self, why: str, fault: Fault | None) -> ModelUnavailable:
        last = f"; the last failure: {fault}" if fault else ""
        return ModelUnavailable(f"{self.name}: {why}{last}")

    def hidden(self, text: str) -> str:
        """`text` without the key."""
        return self._key.hide(text) if self._key else text

    def shown(self, text: str) -> str:
        """A server's message for errors and logs: without the key, in one line of `SHOWN` printable
        characters."""
        words = text[:SEARCHED].split()
        if len(text) > SEARCHED:
            words = words[:-1]  # it may be the beginning of the key
        line = self.hidden(" ".join(words))[:SHOWN]
        return one_line(line) or "no message"

    async def _pool(self) -> Pool:
        loop = asyncio.get_running_loop()
        if loop not in self._pools:
            connector = aiohttp.TCPConnector(limit=self.concurrency)
            session = aiohttp.ClientSession(
                connector=connector, headers=self._headers, auto_decompress=False
            )
            keeper = self._keep(loop, session)
            self._pools[loop] = Pool(session, RequestQueue(self.concurrency), keeper)
            await anext(keeper)
        return self._pools[loop]

    async def _keep(
        self, loop: asyncio.AbstractEventLoop, session: aiohttp.ClientSession
    ) -> AsyncGenerator[None]:
        """Close the connections with the loop: it finishes its open generators when it ends."""
        try:
            yield
        finally:
            self._pools.pop(loop, None)
            await session.close()


def checked_url(url: str) -> str:
    """The URL in its usual form; InvalidInput for an invalid one, or one that holds a key."""
    if not is_address(url):
        raise InvalidInput(f"{url!r}: not a server's URL, such as http://127.0.0.1:8000/v1")
    parts = urlsplit(url)
    if parts.username or parts.password or parts.query:
        raise InvalidInput(
            f"{parts.hostname}: a URL must not hold a key; name its environment variable or file"
        )
    path = parts.path.rstrip("/") or "/v1"
    return f"{parts.scheme}://{parts.netloc}{path}"


def is_address(url: str) -> bool:
    """Whether a text is a URL of HTTP whose host and port can be asked."""
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").encode("idna"), parts.port
    except ValueError:  # no port, no address in brackets, or an empty or long part of a name
        return False
    http = parts.scheme in ("http", "https")
    return http and bool(host) and port != 0 and url.isprintable() and " " not in url


def proxy_fields(proxy: str | None) -> dict[str, Any]:
    """A proxy as aiohttp's arguments, its password apart: errors show the address."""
    if proxy is None:
        return {}
    parts = urlsplit(proxy)
    if parts.username is None:
        return {"proxy": proxy}
    login = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
    bare = parts._replace(netloc=parts.netloc.rpartition("@")[2])
    headers = {"Proxy-Authorization": f"Basic {b64encode(login).decode()}"}
    return {"proxy": bare.geturl(), "proxy_headers": headers}


def proxy_for(url: str) -> str | None:
    """The proxy that the environment names for this URL; InvalidInput for an invalid one."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if host in ("localhost", "127.0.0.1", "::1") or urllib.request.proxy_bypass(host):
        return None
    proxy = urllib.request.getproxies().get(parts.scheme)
    if proxy and not is_address(proxy):  # it may hold a password
        raise InvalidInput(
            f"the environment variable {parts.scheme}_proxy: not a URL, such as http://proxy:3128"
        )
    return proxy
