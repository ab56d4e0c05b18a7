"""Attacks on the server's border: memory, descriptors, other sites' pages, the log, the disk."""

import asyncio
import errno
import json
import logging
import os
import random
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest
from fuzzing import other_seeds
from hypothesis import given
from hypothesis import strategies as st
from preloaded import started
from staged_server import staged
from test_server_api import MAIN, asked, trim
from test_server_passthrough import TOOL, configuration, counting

from trim.server.access_log import Formatter, LogFormat
from trim.server.errors import invalid
from trim.shipped import FOLDER

LIMIT = 20.0
"""Seconds that nothing here may take."""
SENT = 24 * 2**20
"""Bytes that an attack sends unless the server hangs up."""
GROWTH = 16
"""Mebibytes by which an attack may make the server grow."""
DESCRIPTORS = 128
JSON = "Content-Type: application/json\r\n"


class Served:
    """A server in a process of its own."""

    def __init__(self, command):
        self.command = command
        self.root = command.address().removesuffix("/v1")
        host, port = self.root[7:].split(":")
        self.place = (host, int(port))
        self.host = f"{host}:{port}"
        self.pid = command.process.pid

    @property
    def mebibytes(self):
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024

    @property
    def log(self):
        return self.command.written[1]

    def get(self, path, **headers):
        return httpx.get(self.root + path, headers=headers, timeout=LIMIT)

    def ask(self, content=None, path="/v1/chat/completions", **headers):
        body = json.dumps(asked(max_tokens=1)) if content is None else content
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        return httpx.post(self.root + path, content=body, headers=given, timeout=LIMIT)

    def open(self, sent=b""):
        connection = socket.create_connection(self.place, timeout=LIMIT)
        connection.sendall(sent)
        return connection

    def say(self, sent):
        """All that the server answers to bytes until it hangs up."""
        with self.open(sent) as connection:
            said = b""
            try:
                while part := connection.recv(65536):
                    said += part
            except ConnectionError:
                pass
        return said


@contextmanager
def attacked(folder, *words, stage=None, limit=None, end=True):
    if not Path("/proc/self/status").exists():
        pytest.skip("memory is read in /proc")
    words = ("--port", "0", "--database", folder / "trim.sqlite", *words)
    with started("serve", *words, stage=stage, limit=limit) as command:
        yield Served(command)
        command.send(signal.SIGTERM)
        command.process.join(LIMIT)
        assert command.code == 0


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with attacked(tmp_path_factory.mktemp("keyless")) as served:
        served.ask(Content_Type="application/json")  # The first request loads what stays.
        yield served


@pytest.fixture(scope="module")
def locked(tmp_path_factory):
    """A server with a key, and both of its keys."""
    folder = tmp_path_factory.mktemp("keys")
    app = trim("keys", "create", "app", folder=folder).stdout.strip()
    boss = trim("keys", "create", "boss", "--operator", folder=folder).stdout.strip()
    with attacked(folder) as served:
        yield served, app, boss


# Memory

CHUNKED = "Transfer-Encoding: chunked\r\n\r\n"
ENDLESS = {
    "heads": ("X: y\r\n", b"a:b\r\n"),
    "one header": ("X: y\r\nZ: ", b"z" * 100),
    "trailers": (CHUNKED + "0\r\n", b"a:b\r\n"),
    "one trailer": (CHUNKED + "0\r\na: ", b"b" * 100),
    "a chunk's extension": (CHUNKED + "1;", b"a" * 100),
    "a chunk's size": (CHUNKED, b"0" * 100),
    "chunks of extensions": (CHUNKED, b"1;a=" + b"b" * 1000 + b"\r\nx\r\n"),
    "requests ahead": ("Content-Length: 0\r\n\r\n", b"GET /healthz HTTP/1.1\r\n\r\n"),
}


@pytest.mark.parametrize("line", ["POST /v1/chat/completions", "GET /healthz"])
@pytest.mark.parametrize("kind", ENDLESS)
def test_what_has_no_end_takes_no_memory(server, kind, line):
    begin, more = ENDLESS[kind]
    head = f"{line} HTTP/1.1\r\nHost: {server.host}\r\n{JSON}{begin}".encode()
    piece = more * (65536 // len(more))
    before = most = server.mebibytes
    connections = [server.open(head) for _ in range(4)]
    stop = time.monotonic() + 3.0
    for number in range(SENT // len(piece)):
        if time.monotonic() > stop:
            break
        try:
            connection = connections[number % len(connections)]
            connection.settimeout(0.2)
            connection.sendall(piece)
        except TimeoutError:
            pass  # It reads no more.
        except OSError:
            connections.remove(connection)
            connection.close()
        most = max(most, server.mebibytes)
        if not connections:
            break
    for connection in connections:
        connection.close()
    assert most < before + GROWTH, f"{most - before:.0f} MiB more"
    assert server.get("/healthz").status_code == 200


@pytest.mark.parametrize("seed", range(3))
def test_any_mixture_of_framing_takes_no_memory(server, seed):
    """Pieces in any order, within one request after the other."""
    mix_framing(server, random.Random(seed))


@pytest.mark.fuzz
def test_framing_of_other_seeds(server):
    for seed in other_seeds(0.1):
        mix_framing(server, random.Random(seed))


def mix_framing(server, chance):
    before = most = server.mebibytes
    for _ in range(10):
        pieces = [chance.choice(list(ENDLESS.values())) for _ in range(20)]
        sent = "".join(begin + (more * 50).decode() for begin, more in pieces).encode()
        with server.open(f"POST /v1/completions HTTP/1.1\r\n{JSON}".encode()) as connection:
            try:
                for _ in range(20):
                    connection.sendall(sent)
            except OSError:
                pass
        most = max(most, server.mebibytes)
    assert most < before + GROWTH
    assert server.get("/healthz").status_code == 200


def test_heads_within_the_bounds_are_read_and_others_are_431(server):
    def head(count, size=1):
        lines = "".join(f"X-{n}: {'y' * size}\r\n" for n in range(count))
        first = f"GET /healthz HTTP/1.1\r\nHost: {server.host}\r\nConnection: close\r\n"
        return f"{first}{lines}\r\n".encode()

    assert b" 200 OK" in server.say(head(100))
    assert b" 200 OK" in server.say(head(3, 20_000))
    for many in (head(200), head(5, 20_000)):
        assert server.say(many).startswith(b"HTTP/1.1 431 ")


# Descriptors


def few_descriptors():
    resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))


def test_half_sent_heads_shut_nobody_out(tmp_path):
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nX: "
    with attacked(tmp_path, stage=few_descriptors) as served, ExitStack() as stack:
        for number in range(3 * DESCRIPTORS):
            stack.callback(served.open(head).close)
            if number % DESCRIPTORS == DESCRIPTORS - 1:
                assert served.get("/healthz").status_code == 200
                assert len(list(Path(f"/proc/{served.pid}/fd").iterdir())) < DESCRIPTORS
        assert served.get("/readyz").status_code == 200
        assert served.ask(Content_Type="application/json").status_code == 200
        assert len(served.log) < 4_000
        assert served.log.count("connections are open") == 1


def test_slow_bodies_shut_nobody_out(tmp_path):
    with attacked(tmp_path, stage=few_descriptors) as served, ExitStack() as stack:
        head = (
            f"POST /v1/chat/completions HTTP/1.1\r\nHost: {served.host}\r\n{JSON}"
            "Content-Length: 100\r\n\r\n{"
        )
        for _ in range(DESCRIPTORS):
            stack.callback(served.open(head.encode()).close)
        assert served.get("/healthz").status_code == 200
        assert served.ask(Content_Type="application/json").status_code == 200


def no_descriptors_but_for_connections():
    """Hold all but a few descriptors when the server listens."""
    from trim.server import run

    few_descriptors()
    configured = run.server_config

    def hold(*arguments):
        config = configured(*arguments)
        kept = []
        try:
            while True:
                kept.append(os.open(os.devnull, os.O_RDONLY))
        except OSError as error:
            assert error.errno == errno.EMFILE
        for number in kept[-4:]:
            os.close(number)
        return config

    run.server_config = hold


def test_without_descriptors_connections_are_turned_away(tmp_path):
    """Where something else takes them: nothing spins, and the log has a line a minute."""
    with attacked(tmp_path, stage=no_descriptors_but_for_connections) as served:
        spent = os.times()
        opened = []
        for _ in range(100):
            opened.append(served.open(b"GET /healthz HTTP/1.1\r\nHost: "))
        time.sleep(0.5)
        for connection in opened:
            connection.close()
        assert served.log.count("descriptors") == 1 and len(served.log) < 4_000
        fields = Path(f"/proc/{served.pid}/stat").read_text().rpartition(")")[2].split()
        assert (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") < 10, spent
        deadline = time.monotonic() + LIMIT
        while True:
            try:
                assert served.get("/healthz").status_code == 200
                break
            except httpx.TransportError:
                assert time.monotonic() < deadline
                time.sleep(0.05)


# Pages of other sites

FORMS = [
    "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/plain",
    "text/plain; application/json", "text/plain;charset=application/json", "", "json",
]  # fmt: skip


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions", "/page/solutions"])
def test_a_body_without_a_json_content_type_is_415(server, path):
    for kind in FORMS:
        answer = server.ask(path=path, Content_Type=kind)
        assert answer.status_code == 415, kind
        assert "Content-Type: application/json" in answer.json()["error"]["message"]
        assert answer.json()["error"]["code"] == "unsupported_media_type"
    bare = f"POST {path} HTTP/1.1\r\nHost: {server.host}\r\nConnection: close\r\n"
    assert server.say(f"{bare}Content-Length: 2\r\n\r\n{{}}".encode()).startswith(b"HTTP/1.1 415 ")


HOSTS = ["localhost", "LOCALHOST:8400", "127.0.0.1:1", "[::1]:8400", "[::1]", "localhost."]
FOREIGN_HOSTS = [
    "evil.example", "evil.example:8400", "127.0.0.1.evil.example", "localhost.evil.example",
    "evil.example.", "0.0.0.0:8400", "127.0.0.1@evil.example", "", "[::1", "10.0.0.1",
]  # fmt: skip


def test_dns_rebinding_reaches_nothing(server):
    for host in HOSTS:
        assert server.get("/page/menu", Host=host).status_code == 200, host
    for host in FOREIGN_HOSTS:
        for path in ("/", "/page/menu", "/page/traffic", "/metrics", "/v1/models"):
            assert server.get(path, Host=host).status_code in (400, 403), host
        answer = server.ask(
            Content_Type="application/json", Host=host, Origin=f"http://{host or 'x'}"
        )
        assert answer.status_code in (400, 403)
    said = server.get("/page/menu", Host="evil.example").json()["error"]
    assert said["code"] == "host_not_allowed" and "server.hosts" in said["message"]
    twice = b"GET /page/menu HTTP/1.1\r\nHost: localhost\r\nHost: x\r\nConnection: close\r\n\r\n"
    assert server.say(twice).startswith(b"HTTP/1.1 400 ")


ORIGINS = [
    "http://evil.example", "https://evil.example:8400", "null", "", "http://localhost:1",
    "http://127.0.0.1", "chrome-extension://abc", "http://127.0.0.1.evil.example",
]  # fmt: skip


def test_pages_of_other_sites_spend_nothing(server):
    for origin in ORIGINS:
        for headers in ({"Content_Type": "application/json"}, {"Content_Type": "text/plain"}, {}):
            answer = server.ask(Origin=origin, **headers)
            assert answer.status_code == 403, origin
            assert answer.json()["error"]["code"] == "origin_not_allowed"
            assert "access-control-allow-origin" not in answer.headers
    for site in ("cross-site", "same-site"):
        for mode in ("no-cors", "cors", "navigate"):
            headers = {"Sec_Fetch_Site": site, "Sec_Fetch_Mode": mode}
            answer = server.ask(Content_Type="application/json", **headers)
            assert answer.status_code == 403
    # Links lead to the page; pictures and scripts of other sites do not read it.
    linked = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert server.get("/", **linked).status_code == 200
    assert server.get("/page/menu", **{**linked, "Sec-Fetch-Mode": "no-cors"}).status_code == 403


def test_the_servers_own_page_spends(server):
    for name in (server.host, server.host.replace("127.0.0.1", "localhost")):
        headers = {"Host": name, "Origin": f"http://{name}", "Sec_Fetch_Site": "same-origin"}
        answer = server.ask(Content_Type="application/json", **headers)
        assert answer.status_code == 200
    answer = server.ask(Content_Type="application/json", Sec_Fetch_Site="none")
    assert answer.status_code == 200


def preflight(served, origin):
    headers = {
        "Origin": origin,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type,x-stainless-lang",
    }
    return httpx.options(served.root + "/v1/chat/completions", headers=headers, timeout=LIMIT)


def test_preflights_of_other_sites_are_refused(server):
    answer = preflight(server, "http://evil.example")
    assert answer.status_code == 403
    assert not any(name.startswith("access-control") for name in answer.headers)


def test_configured_hosts_and_origins_are_answered(tmp_path):
    text = (FOLDER / "trim.yaml").read_text(encoding="utf-8")
    document = text.split("server:")[0]
    for name in FOLDER.iterdir():
        (tmp_path / name.name).symlink_to(name)
    path = tmp_path / "mine.yaml"
    path.write_text(
        document + "server: {hosts: [trim.example], origins: ['https://app.example']}\n", "utf-8"
    )
    with attacked(tmp_path, path) as served:
        origin = "https://app.example"
        asked_first = preflight(served, origin)
        assert asked_first.status_code == 204
        assert asked_first.headers["access-control-allow-origin"] == origin
        assert "POST" in asked_first.headers["access-control-allow-methods"]
        named = asked_first.headers["access-control-allow-headers"].lower()
        assert {"authorization", "content-type", "x-stainless-lang"} <= set(named.split(","))
        assert "Origin" in asked_first.headers["vary"]
        headers = {"Content_Type": "application/json", "Sec_Fetch_Site": "cross-site"}
        answer = served.ask(Origin=origin, Host="trim.example:443", **headers)
        assert answer.status_code == 200
        assert answer.headers["access-control-allow-origin"] == origin
        assert served.ask(Origin="https://evil.example", **headers).status_code == 403
        assert preflight(served, "https://evil.example").status_code == 403
        assert served.get("/page/menu", Host="evil.example").status_code == 403
        assert served.get("/page/menu").status_code == 200


def test_a_server_with_keys_works_behind_a_proxy(locked):
    """Without a key nothing can be spent, so names and origins need no list."""
    served, app, _ = locked
    headers = {"Content_Type": "application/json", "Origin": "https://app.example"}
    answer = served.ask(Host="trim.example", Authorization=f"Bearer {app}", **headers)
    assert answer.status_code == 200
    assert "access-control-allow-origin" not in answer.headers
    assert served.ask(Host="trim.example", **headers).status_code == 401
    # A host that is none is refused even so.
    for host in ("x/v1/y?", "x y", "a\\b", "x#"):
        said = served.say(
            f"GET /healthz HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()
        )
        assert said.startswith(b"HTTP/1.1 400 "), host


async def test_no_host_steers_a_forwarded_request(tmp_path, monkeypatch):
    monkeypatch.setenv("UPSTREAM_KEY", "sk-1")
    async with staged(counting) as upstream:
        path = configuration(tmp_path, upstream)

        def attack():
            key = trim("keys", "create", "app", folder=tmp_path).stdout.strip()
            with attacked(tmp_path, path) as served:
                for host in ("x/v1/files?", "x/v1/../", "x\t/v1/files?", "x@y/v1/z#", served.host):
                    served.ask(
                        json.dumps(asked(tools=[TOOL])), Host=host,
                        Content_Type="application/json", Authorization=f"Bearer {key}",
                    )  # fmt: skip

        await asyncio.to_thread(attack)
        paths = {request.path for request in upstream.requests if "tools" in request.body}
        assert paths == {"/v1/chat/completions"}


# The page

PATHS = [
    "/", "/operator", "/page/assets/ask.js", "/page/assets/nothing.js", "/page/menu", "/healthz",
    "/readyz", "/metrics", "/openapi.json", "/v1/models", "/nothing", "/docs", "/redoc",
]  # fmt: skip


def test_every_response_has_a_policy(server):
    for path in PATHS:
        headers = server.get(path).headers
        assert "default-src 'self'" in headers["content-security-policy"], path
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cross-origin-resource-policy"] == "same-origin"
    refused = server.get("/", Host="evil.example").headers
    assert refused["x-content-type-options"] == "nosniff"


def test_no_page_loads_from_elsewhere(server):
    for path in ("/docs", "/docs/oauth2-redirect", "/redoc"):
        assert server.get(path).status_code == 404
    for path in PATHS:
        answer = server.get(path)
        if answer.headers["content-type"].startswith("text/html"):
            assert "://" not in answer.text


def test_assets_of_any_name_are_404(server):
    names = ["a" * 300 + ".js", "a" * 5000, "%00.js", "..%2f..%2fapp.py", "%2e%2e", ".js", "ask"]
    for name in names:
        assert server.get(f"/page/assets/{name}").status_code == 404, name


def test_no_redirect_names_a_foreign_host(locked):
    served, *_ = locked
    answer = served.get("/v1/models/", Host="evil.example")
    assert "evil.example" not in answer.headers.get("location", "")


# Bounds of what is echoed


def test_errors_are_short(server):
    long = "x" * 500_000
    bodies = [
        {**asked(), "trim": {long: 1}},
        asked([{"type": long}]),
        {**asked(), "messages": [{"role": "user", "content": [{"type": long}]}]},
        {**asked(), long: 1, "messages": 3},
        {**asked(), "stop": long},
    ]
    for body in bodies:
        answer = server.ask(json.dumps(body), Content_Type="application/json")
        assert answer.status_code == 400 and len(answer.content) < 3_000
    assert len(server.get("/" + "y" * 50_000).content) < 3_000
    assert len(invalid(long, long).body["error"]["param"]) < 500


# Metrics


def test_money_is_shown_to_operators_only(server, locked):
    served, app, boss = locked
    served.ask(Content_Type="application/json", Authorization=f"Bearer {app}")
    for headers, shown in (
        ({}, False),
        ({"Authorization": f"Bearer {app}"}, False),
        ({"Authorization": f"Bearer {boss}"}, True),
    ):
        answer = served.get("/metrics", **headers)
        assert answer.status_code == 200 and "trim_requests_total" in answer.text
        assert ("trim_money" in answer.text) == shown
    assert served.get("/metrics", Authorization="Bearer x").status_code == 401
    assert "trim_money" in server.get("/metrics").text


# Readiness


def test_a_full_disk_is_not_ready(tmp_path):
    """No file may grow beyond a size, as on a full disk."""
    with attacked(tmp_path, limit=700_000) as served:
        answer = served.get("/readyz")
        assert answer.status_code == 503
        assert answer.json()["silent"] == ["the disk of the database"]


def test_a_database_that_is_deleted_or_replaced_is_not_ready(tmp_path):
    with attacked(tmp_path) as served:
        database = tmp_path / "trim.sqlite"
        assert served.get("/readyz").status_code == 200
        database.rename(tmp_path / "away.sqlite")
        for step in ("deleted", "replaced"):
            if step == "replaced":
                database.write_bytes((tmp_path / "away.sqlite").read_bytes())
            answer = served.get("/readyz")
            assert answer.status_code == 503
            (said,) = answer.json()["silent"]
            assert "deleted or replaced" in said and "restart" in said
            assert str(tmp_path) not in said
        database.unlink()
        (tmp_path / "away.sqlite").rename(database)
        assert served.get("/readyz").status_code == 200


# Signals

NOHUP = "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN); "


@contextmanager
def grouped(folder, *words, before=""):
    """A server that leads a process group of its own, as of a terminal."""
    process = subprocess.Popen(
        [sys.executable, "-c", before + MAIN, "serve", *map(str, words),
         "--port", "0", "--database", str(folder / "trim.sqlite")],
        stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        yield process, process.stderr.readline().split()[-1]
        process.communicate(timeout=LIMIT)
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_closed_terminal_lets_answers_finish(tmp_path, monkeypatch, workers):
    """It sends SIGHUP to all processes of its group."""
    monkeypatch.setenv("UPSTREAM_KEY", "sk-1")
    delays = []

    def answer(request):
        server.delay = 0.7 if "tools" in request.body else 0.0
        delays.append(server.delay)
        return counting(request)

    def close_terminal():
        path = configuration(tmp_path, server)
        with grouped(tmp_path, path, "--workers", workers) as (process, url):
            result = []
            body = asked(tools=[TOOL])
            asking = threading.Thread(
                target=lambda: result.append(httpx.post(f"{url}/chat/completions", json=body))
            )
            asking.start()
            deadline = time.monotonic() + LIMIT
            while 0.7 not in delays and time.monotonic() < deadline:
                time.sleep(0.01)
            os.killpg(process.pid, signal.SIGHUP)
            asking.join(LIMIT)
        assert ([each.status_code for each in result], process.returncode) == ([200], 0)

    async with staged(answer) as server:
        await asyncio.to_thread(close_terminal)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_server_under_nohup_goes_on(tmp_path, workers):
    with grouped(tmp_path, "--workers", workers, before=NOHUP) as (process, url):
        os.killpg(process.pid, signal.SIGHUP)
        time.sleep(0.6)  # The supervisor looks twice a second.
        assert httpx.get(url.removesuffix("/v1") + "/healthz").status_code == 200
        process.terminate()
    assert process.returncode == 0


# The log

TEXTS = st.text() | st.sampled_from(["a\nb", "a\x1b[2J", "\x9b2J", "\u2028", "\ud800", "a b=c"])


@given(TEXTS, TEXTS, TEXTS)
def test_a_request_is_one_line_whatever_its_names_are(key, model, event):
    record = logging.LogRecord("x", logging.INFO, "", 0, event.replace("%", ""), (), None)
    record.fields = {"status": 200, "key": key, "model": model}
    line = Formatter(LogFormat.JSON).format(record)
    assert line.isprintable() and line.isascii()
    read = json.loads(line)
    assert (read["key"], read["model"]) == (key, model)
    line = Formatter(LogFormat.TEXT).format(record)
    assert line.isprintable()
    line.encode()


def test_names_cannot_forge_fields_of_a_line():
    record = logging.LogRecord("x", logging.INFO, "", 0, "request", (), None)
    record.fields = {"status": 200, "key": 'a status=500 "', "path": "/v1/models"}
    line = Formatter(LogFormat.TEXT).format(record)
    assert line.endswith(r' request status=200 key="a status=500 \"" path=/v1/models')


def test_bad_requests_fill_no_log(tmp_path):
    with attacked(tmp_path) as served:
        for _ in range(100):
            served.say(b"\x16\x03\x01\x02\x00\x01\x00\r\n")
        assert served.log.count("Invalid HTTP request") == 1
