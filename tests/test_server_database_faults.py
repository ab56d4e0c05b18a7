"""A database that does not answer for a while, as those who ask see it."""

import json
import os
import signal
import sqlite3
import subprocess
import time
from contextlib import contextmanager

import httpx
import postgres
import pytest
from preloaded import completed, started
from test_server_api import asked

BREAK = {
    "sqlite": ("ALTER TABLE requests RENAME TO elsewhere", "ALTER TABLE keys RENAME TO others"),
    "postgresql": (
        "ALTER DATABASE {name} WITH ALLOW_CONNECTIONS false",
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'",
    ),
}
REPAIR = {
    "sqlite": ("ALTER TABLE elsewhere RENAME TO requests", "ALTER TABLE others RENAME TO keys"),
    "postgresql": ("ALTER DATABASE {name} WITH ALLOW_CONNECTIONS true",),
}


def change(address, statements):
    """By another program than the server."""
    if not address.startswith("postgresql"):
        with sqlite3.connect(address) as connection:
            for statement in statements["sqlite"]:
                connection.execute(statement)
        connection.close()
        return
    server, _, name = address.rpartition("/")
    for statement in statements["postgresql"]:
        psql(f"{server}/postgres", statement.format(name=name))


def psql(address, statement):
    """What it shows, a row a line."""
    command = [postgres.programs() / "psql", "-qAt", address, "-c", statement]
    done = subprocess.run(command, check=True, timeout=60, capture_output=True, text=True)
    return done.stdout.split()


@contextmanager
def broken(address):
    change(address, BREAK)
    try:
        yield
    finally:
        change(address, REPAIR)


@contextmanager
def serving(address, stage=None):
    words = ("serve", "--port", "0", "--database", address, "--log-format", "json")
    with started(*words, stage=stage) as process:
        yield process.address(), process


def error_of(answer):
    """The status, and the code of the error, which may be in the last event of a stream."""
    events = [line[6:] for line in answer.text.splitlines() if line.startswith("data: ")]
    error = json.loads(events[-1] if events else answer.text)["error"]
    assert "sql" not in error["message"].lower() and "trim_" not in error["message"]
    return answer.status_code, error["code"]


def test_what_cannot_be_kept_is_told_and_the_server_goes_on(address):
    with serving(address) as (url, process), httpx.Client(timeout=60) as client:
        root = url.removesuffix("/v1")

        def ask(path="/chat/completions", **more):
            return client.post(url + path, json=asked(**more))

        assert ask().status_code == 200
        with broken(address):
            assert error_of(ask()) == (503, "database_unavailable")
            # A stream has begun by then.
            assert error_of(ask(stream=True)) == (200, "database_unavailable")
            page = client.post(f"{root}/page/solutions", json=asked())
            assert error_of(page) == (200, "database_unavailable")
            traffic = client.get(f"{root}/page/traffic")
            assert error_of(traffic) == (503, "database_unavailable")
            if address.startswith("postgresql"):
                ready = client.get(f"{root}/readyz")
                assert (ready.status_code, ready.json()["silent"]) == (503, ["the database"])
            assert client.get(f"{root}/healthz").status_code == 200
        assert ask().status_code == 200
        assert client.get(f"{root}/readyz").status_code == 200
        assert client.get(f"{root}/page/traffic").json()["outcomes"]
        lines = [json.loads(line) for line in process.written[1].splitlines()[1:]]
        asked_for = [line for line in lines if line["event"] == "request"]
        untold = [line["path"] for line in asked_for if line["status"] == 200 and "error" in line]
        assert untold == ["/v1/chat/completions", "/page/solutions"]  # Their streams told it.


def test_who_cannot_be_identified_is_told_why(address):
    key = completed("keys", "create", "app", "--money-a-day", 5, "--database", address).stdout
    headers = {"Authorization": f"Bearer {key.strip()}"}
    with serving(address) as (url, _), httpx.Client(timeout=60, headers=headers) as client:
        ask = lambda: client.post(f"{url}/chat/completions", json=asked())  # noqa: E731
        assert ask().status_code == 200
        with broken(address):
            for answer in (ask(), client.get(f"{url}/models")):
                assert error_of(answer) == (503, "database_unavailable")
                assert answer.headers["Retry-After"] == "5"
        assert ask().status_code == 200


def hurry():
    from trim.server.storage import database

    database.SERVER_TIMEOUT = 2.0


def test_a_connection_to_the_database_that_hangs_is_given_up(address):
    if not address.startswith("postgresql"):
        pytest.skip("a file has no connection that could hang")
    server, _, name = address.rpartition("/")
    ours = f"SELECT pid FROM pg_stat_activity WHERE datname = '{name}'"
    with serving(address, hurry) as (url, _), httpx.Client(timeout=60) as client:

        def ask():
            return client.post(f"{url}/chat/completions", json=asked())

        assert ask().status_code == 200
        # The record of this request may open another connection, which would answer the next one.
        deadline = time.monotonic() + 60
        while psql(address, "SELECT count(*) FROM requests") != ["1"]:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        hung: set[int] = set()

        def ask_while_all_hang():
            for process in map(int, psql(f"{server}/postgres", ours)):
                hung.add(process)
                os.kill(process, signal.SIGSTOP)
            return ask()

        try:
            # A task of the server may open a connection between the two, which then answers.
            while (answer := ask_while_all_hang()).status_code == 200:
                assert time.monotonic() < deadline
            assert hung
            assert error_of(answer) == (503, "database_unavailable")
            assert ask().status_code == 200  # By a new one.
        finally:
            for process in hung:
                os.kill(process, signal.SIGCONT)
