"""One line a request on stderr: who, what, how long and for how much, and nothing that was said."""

import json
import signal
import sqlite3
import subprocess
import sys
from datetime import datetime

import httpx
import openai
import pytest
from preloaded import started
from test_server_api import MAIN, asked, trim

SAID = "a question that nobody else shall read"


def serve(folder, *words):
    process = subprocess.Popen(
        [sys.executable, "-c", MAIN, "serve", "--port", "0", *words,
         "--database", str(folder / "trim.sqlite")],
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    line = process.stderr.readline()
    assert line.startswith("trim: listening on ")
    return process, line.split()[-1]


def ended(process):
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 0
    return said


def ask_in_many_ways(folder, url, key):
    """Requests that are answered, refused and failed."""
    client = openai.OpenAI(base_url=url, api_key=key, max_retries=0)
    client.chat.completions.create(**asked(SAID, max_tokens=8, model="trim:strong"))
    stream = client.chat.completions.create(**asked(SAID, max_tokens=8), stream=True)
    list(stream)
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(**asked(SAID, tools=[{"type": SAID}]))
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(**asked(SAID, model=SAID))
    with pytest.raises(openai.AuthenticationError):
        client.with_options(api_key=key + "x").chat.completions.create(**asked(SAID))
    httpx.get(f"{url}/{SAID}", params={"key": key})
    httpx.post(f"{url}/chat/completions", content=SAID, headers={"Authorization": f"Bearer {key}"})
    httpx.get(url.removesuffix("/v1") + "/healthz")
    with sqlite3.connect(folder / "trim.sqlite") as database:
        database.execute("DROP TABLE steps")
    with pytest.raises(openai.InternalServerError):
        client.chat.completions.create(**asked(SAID, max_tokens=8))


def test_lines_tell_all_but_what_was_said(tmp_path):
    key = trim("keys", "create", "app", folder=tmp_path).stdout.strip()
    process, url = serve(tmp_path, "--keep-texts")
    ask_in_many_ways(tmp_path, url, key)
    said = ended(process)
    secret = key[-16:]  # a key may hold hyphens anywhere
    assert SAID not in said and secret not in said and "nobody else" not in said
    lines = [json.loads(line) for line in said.splitlines()]
    requests = [line for line in lines if line["event"] == "request"]
    assert [line["status"] for line in requests] == [200, 200, 400, 404, 401, 404, 415, 503]
    whole, stream, feature, _, nobody, *_, failed = requests
    assert (whole["key"], whole["model"], whole["policy"]) == ("app", "trim:strong", "strong")
    assert (whole["finish"], whole["path"]) == ("tokens", "/v1/chat/completions")
    assert whole["seconds"] > 0 and whole["strong_tokens"] > 0 and whole["money"] > 0
    assert (whole["stream"], stream["stream"]) == (False, True)
    assert datetime.fromisoformat(whole["time"]) <= datetime.fromisoformat(stream["time"])
    assert (feature["error"], nobody["error"]) == ("unsupported_feature", "invalid_api_key")
    assert "key" not in nobody and failed["error"] == "database_unavailable"
    with sqlite3.connect(tmp_path / "trim.sqlite") as database:
        kept = {name for (name,) in database.execute("SELECT id FROM requests")}
    assert kept == {whole["id"], stream["id"]}
    fault = next(line for line in lines if line["level"] == "warning")
    assert (fault["event"], fault["exception"]) == (
        "1 requests could not be recorded",
        "OperationalError",
    )
    assert any("recorder.py" in place for place in fault["places"])


def make_a_mistake():
    from trim.server.service import Service

    def prepare(self, request):
        raise LookupError(SAID)

    Service.prepare = prepare


def test_a_mistake_in_the_server_is_500_and_can_be_found(tmp_path):
    words = ("--log-format", "json", "--port", "0", "--database", tmp_path / "trim.sqlite")
    with started("serve", *words, stage=make_a_mistake) as process:
        client = openai.OpenAI(base_url=process.address(), api_key="none", max_retries=0)
        for stream in (False, True):
            with pytest.raises(
                openai.InternalServerError, match="internal server error"
            ) as mistake:
                client.chat.completions.create(**asked(SAID), stream=stream)
            # The connection is closed now, and the client is told not to use it again.
            assert mistake.value.response.headers["connection"] == "close"
        process.send(signal.SIGTERM)
        process.process.join(30)
        lines = [json.loads(line) for line in process.written[1].splitlines()[1:]]
        assert SAID not in process.written[1]
    assert [line["status"] for line in lines if line["event"] == "request"] == [500, 500]
    mistake = next(line for line in lines if line["level"] == "error")
    assert mistake["exception"] == "LookupError"
    assert any("test_server_access_log.py" in place for place in mistake["places"])


def test_lines_for_people(tmp_path):
    process, url = serve(tmp_path, "--log-format", "text")
    client = openai.OpenAI(base_url=url, api_key="none", max_retries=0)
    client.chat.completions.create(**asked(SAID, max_tokens=8))
    (line,) = ended(process).splitlines()
    assert " request status=200 path=/v1/chat/completions " in line
    assert " policy=thr:0.5 " in line and SAID not in line
