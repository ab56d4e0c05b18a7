"""A server over HTTP: connections kept, requests limited, faults retried, a dead one left alone.

The client is aiohttp: 6 times the requests a second of the next one and a sixth of its
processor time (`benchmarks/http_clients.py`).
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import time
import urllib.request
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

import aiohttp

from trim.engines.key import Key
from trim.engines.retry import Breaker, RetryPolicy, retry_after, seconds_left
from trim.engines.scheduler import Turns
from trim.errors import ContextExceeded, InvalidInput, ModelUnavailable, Refused, TrimError

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
SHOWN = 300
"""Characters of a server's message that are shown."""


def refusal(name: str, status: int, body: str, key_source: str | None) -> TrimError:
    """The error for an answer with a status from 300 to 499 that asking again would not mend.

    Args:
        name: of the server, for the message.
        body: the answer, without any key.
        key_source: where the key came from; None without a key.
    """
    message = message_in(body)
    if TOO_LONG.search(message):
        limit, read = LIMIT.search(message), READ.search(message)
        room = int(limit[1]) - int(read[1]) if limit and read else None
        return ContextExceeded(f"{name}: {message}", room)
    if status in (401, 403):
        told = key_source or "no key was given; name its environment variable or file"
        return Refused(f"{name}: the key was not accepted ({told}): {status} {message}")
    if status < 400:
        return Refused(f"{name}: sends elsewhere ({status}); give the address where it ends")
    return Refused(f"{name}: {status} {message}")


def message_in(body: str) -> str:
    """The message in an error's body, in one line; the forms differ from server to server."""
    try:
        found: Any = json.loads(body)
    except ValueError:
        found = body
    for name in ("error", "message", "detail"):
        while isinstance(found, dict) and found.get(name):
            found = found[name]
    return " ".join(str(found).split())[:SHOWN] or "without a reason"


Read = TypeVar("Read")

BEARER = ("Authorization", "Bearer ")
"""Header that carries the key, and what stands before it: OpenAI's way."""
BUSY = (408, 409, 425, 429)
"""Statuses of a server that is alive and wishes to be asked again."""


class Fault(Exception):
    """A failure that asking again may mend.

    Attributes:
        kind: one word or two, under which it is counted.
        down: whether it speaks for a dead server.
        pause: seconds that the server wishes to be left alone.
    """

    def __init__(self, kind: str, message: str = "", down: bool = True, pause: float = 0.0) -> None:
        super().__init__(f"{kind}: {message}" if message else kind)
        self.kind = kind
        self.down = down
        self.pause = pause


@dataclass(frozen=True)
class Pool:
    """The connections of one event loop, and the turns of its requests."""

    session: aiohttp.ClientSession
    turns: Turns
    keeper: AsyncIterator[None]


class HttpServer:
    """Sends JSON to one server and reads JSON from it.

    May be used from several event loops, one after the other: each has its own connections,
    which are closed when it ends.

    Args:
        url: where the paths begin, as in `http://127.0.0.1:8000/v1`; `/v1` is added to an
            address without any path.
        key: sent in the header `key_header`, and never shown.
        concurrency: requests that are under way at a time; the others wait for their turn,
            those of earlier problems first (`trim.engines.scheduler`).
        headers: more headers, which must not be secret.

    Attributes:
        faults: how often each kind of failure was met, those included that a retry has mended.
        requests: requests that were sent.
    """

    def __init__(
        self,
        url: str,
        key: Key | None = None,
        concurrency: int = 64,
        patience: RetryPolicy = RetryPolicy(),  # noqa: B008 (frozen)
        breaker: Breaker | None = None,
        key_header: tuple[str, str] = BEARER,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.url = checked_url(url)
        self.root = self.url.removesuffix("/v1")
        self.name = urlsplit(self.url).netloc
        if concurrency < 1:
            raise InvalidInput(f"{self.name}: concurrency {concurrency} must be at least 1")
        self.concurrency = concurrency
        self.patience = patience
        self.breaker = breaker or Breaker()
        self.faults: Counter[str] = Counter()
        self.requests = 0
        self._key = key
        self._headers = {"Content-Type": "application/json", **(headers or {})}
        if key:
            self._headers[key_header[0]] = key_header[1] + key.secret
        self._proxy = proxy_for(self.url)
        self._busy_until = 0.0
        self._pools: WeakKeyDictionary[asyncio.AbstractEventLoop, Pool] = WeakKeyDictionary()

    def __repr__(self) -> str:
        return f"HttpServer({self.url!r})"

    async def ask(self, path: str, body: Mapping[str, Any], read: Callable[[Any], Read]) -> Read:
        """Post `body` and hand the answer to `read`, again after a fault while there is time.

        Args:
            path: below the server's URL, or below its root with a leading `//`.
            body: the fields to send; those that are None are left out.
            read: makes sense of the answer; a LookupError, TypeError, ValueError or
                AttributeError of it counts as a garbled answer, which is a fault.

        Raises:
            Refused: the server does not take this request.
            ContextExceeded: it says that the prompt is too long.
            ModelUnavailable: no answer after all attempts, within the problem's deadline, or
                from a server that has been dead for a while.
        """
        url = self.root + path[1:] if path.startswith("//") else self.url + path
        sent = {name: value for name, value in body.items() if value is not None}
        fault: Fault | None = None
        for attempt in range(self.patience.attempts):
            await self._wait(self.patience.before(attempt), fault, attempt)
            try:
                raw = await self._send(url, sent)
                answer = self._read(raw, read)
            except Fault as met:
                fault = met
                self.faults[fault.kind] += 1
                if fault.down:
                    self.breaker.failed(time.monotonic())
                else:
                    self.breaker.succeeded()
                self._busy_until = max(self._busy_until, time.monotonic() + fault.pause)
            except TrimError:
                self.breaker.succeeded()
                raise
            else:
                self.breaker.succeeded()
                return answer
        raise self._gave_up(self.patience.attempts, seconds_left() <= 0, fault)

    async def look(self, path: str, seconds: float = 10.0) -> Any | None:
        """What a GET answers, asked for once; None where there is no such path.

        Args:
            path: as of `ask`.

        Raises:
            Refused: the key was not accepted.
            ModelUnavailable: no answer.
        """
        url = self.root + path[1:] if path.startswith("//") else self.url + path
        pool = await self._pool()
        try:
            async with pool.session.get(
                url,
                timeout=aiohttp.ClientTimeout(total=seconds),
                allow_redirects=False,
                proxy=self._proxy,
            ) as answer:
                text = await self.text_of(answer)
        except TimeoutError as error:
            raise self._unavailable(f"no answer in {seconds:.3g} s", None) from error
        except (aiohttp.ClientError, OSError) as error:
            raise self._unavailable(f"no answer: {self.hidden(str(error))}", None) from error
        if answer.status in (401, 403):
            source = self._key.source if self._key else None
            raise refusal(self.name, answer.status, text, source)
        try:
            return json.loads(text) if answer.status == 200 else None
        except ValueError:
            return None

    @asynccontextmanager
    async def relay(
        self, path: str, body: bytes, seconds: float
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Post `body` once and hand on what comes, whatever its status; not read before it is
        asked for, and no longer sent once the context is left.

        Args:
            seconds: for the whole answer.

        Raises:
            ModelUnavailable: no answer, one that breaks off, or a server that is left alone.
        """
        if self.breaker.wait(time.monotonic()) > 0:
            raise self._unavailable("has not answered for a while and is left alone", None)
        pool = await self._pool()
        async with pool.turns:
            self.requests += 1
            try:
                async with pool.session.post(
                    self.url + path,
                    data=body,
                    timeout=aiohttp.ClientTimeout(total=seconds),
                    allow_redirects=False,
                    proxy=self._proxy,
                ) as answer:
                    if answer.status >= 500:
                        raise Fault(str(answer.status), message_in(await self.text_of(answer)))
                    self.breaker.succeeded()
                    yield answer
            except TimeoutError as error:
                self.faults["time-out"] += 1
                raise self._unavailable(f"no whole answer in {seconds:.3g} s", None) from error
            except (aiohttp.ClientError, OSError, Fault) as error:
                fault = error if isinstance(error, Fault) else None
                fault = fault or Fault("connection", self.hidden(str(error)))
                self.faults[fault.kind] += 1
                self.breaker.failed(time.monotonic())
                raise self._unavailable("no answer", fault) from error

    async def text_of(self, answer: aiohttp.ClientResponse) -> str:
        """The rest of an answer, without any key."""
        return self.hidden((await answer.read()).decode("utf-8", "replace"))

    async def _wait(self, pause: float, fault: Fault | None, attempts: int) -> None:
        """Until the next attempt may be made, if that is before the problem's deadline."""
        resume = time.monotonic() + pause
        while True:
            now = time.monotonic()
            wait = max(resume, self._busy_until) - now
            if wait <= 0:
                wait = self.breaker.wait(now)
                if wait > 0 and self.breaker.is_dead(now):
                    raise self._unavailable("has not answered for a while and is left alone", fault)
            left = seconds_left()
            if left <= max(wait, 0.0):
                raise self._gave_up(attempts, True, fault)
            if self._busy_until - now > self.patience.longest_wish:
                raise self._unavailable(f"wishes to be left alone for {wait:.0f} s", fault)
            if wait <= 0:
                return
            # A little by chance, so that those who wait together do not come back together.
            await asyncio.sleep(min(wait * random.uniform(1.0, 1.1) + 0.001, left))

    async def _send(self, url: str, body: Mapping[str, Any]) -> Any:
        pool = await self._pool()
        async with pool.turns:
            seconds = min(self.patience.seconds, max(seconds_left(), 0.001))
            self.requests += 1
            try:
                async with pool.session.post(
                    url,
                    data=json.dumps(body).encode(),
                    timeout=aiohttp.ClientTimeout(total=seconds),
                    allow_redirects=False,
                    proxy=self._proxy,
                ) as answer:
                    content = await answer.read()
                    status, headers = answer.status, answer.headers
            except TimeoutError as error:
                # Cut short by the problem's deadline, it says nothing about the server.
                whole = seconds == self.patience.seconds
                raise Fault("time-out", f"{seconds:.3g} s", down=whole) from error
            except (aiohttp.ClientError, OSError) as error:
                raise Fault("connection", self.hidden(str(error))) from error
        if status == 200:
            try:
                return json.loads(content)
            except ValueError as error:
                raise Fault("garbled answer", "no JSON") from error
        text = self.hidden(content.decode("utf-8", "replace"))
        if status in BUSY:
            raise Fault(str(status), message_in(text), down=False, pause=retry_after(headers))
        if status >= 500 or status < 300:
            raise Fault(str(status), message_in(text), pause=retry_after(headers))
        raise refusal(self.name, status, text, self._key.source if self._key else None)

    def _read(self, raw: Any, read: Callable[[Any], Read]) -> Read:
        if isinstance(raw, dict) and raw.get("error"):
            raise Fault("error", self.hidden(message_in(json.dumps(raw))))
        try:
            return read(raw)
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            reason = self.hidden(f"{type(error).__name__} {error}")
            raise Fault("garbled answer", reason) from error

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

    async def _pool(self) -> Pool:
        loop = asyncio.get_running_loop()
        if loop not in self._pools:
            connector = aiohttp.TCPConnector(limit=self.concurrency)
            session = aiohttp.ClientSession(connector=connector, headers=self._headers)
            keeper = self._keep(loop, session)
            self._pools[loop] = Pool(session, Turns(self.concurrency), keeper)
            await anext(keeper)
        return self._pools[loop]

    async def _keep(
        self, loop: asyncio.AbstractEventLoop, session: aiohttp.ClientSession
    ) -> AsyncIterator[None]:
        """Closes the connections when the loop ends, which finishes its open generators."""
        try:
            yield
        finally:
            self._pools.pop(loop, None)
            await session.close()


def checked_url(url: str) -> str:
    """Raises InvalidInput for what is no address of a server, or holds a key."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InvalidInput(f"{url!r}: no address of a server, such as http://127.0.0.1:8000/v1")
    if parts.username or parts.password or parts.query:
        raise InvalidInput(
            f"{parts.hostname}: an address holds no key; name an environment variable or a key file"
        )
    path = parts.path.rstrip("/") or "/v1"
    return f"{parts.scheme}://{parts.netloc}{path}"


def proxy_for(url: str) -> str | None:
    """The proxy that the environment names for this address, as for other programs."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if host in ("localhost", "127.0.0.1", "::1") or urllib.request.proxy_bypass(host):
        return None
    return urllib.request.getproxies().get(parts.scheme)
