"""Whatever is sent, the server answers in its declared forms, or hangs up, and goes on."""

import json
import os
import random
import socket
from collections import Counter
from contextlib import suppress

import httpx
import pytest
import schemathesis
from fuzzing import other_seeds
from hypothesis import HealthCheck, given, settings
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from test_server_api import asked, serving

CHECKS = [content_type_conformance, response_schema_conformance, status_code_conformance]
RANDOM = 100
EXAMPLES = int(os.environ.get("TRIM_EXAMPLES", "80"))
"""Of each operation; `benchmarks/server_promises.py` asks for more."""
LIMIT = 20.0
"""Seconds that nothing here may take."""


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("server")) as address:
        yield address


def test_answers_are_as_openapi_json_declares(url, record_property):
    schema = schemathesis.openapi.from_url(url.removesuffix("/v1") + "/openapi.json")
    operations = [found.ok() for found in schema.get_all_operations()]
    assert {"/v1/chat/completions", "/v1/completions", "/v1/models"} <= {o.path for o in operations}
    seen = Counter()
    for operation in operations:

        @given(operation.as_strategy())
        @settings(max_examples=EXAMPLES, derandomize=True, suppress_health_check=list(HealthCheck))
        def ask(case):
            body = case.body
            if isinstance(body, dict) and isinstance(body.get("model"), str):
                # A random name is none, and a random question may take all steps.
                body["model"] = ("trim", "trim:weak", body["model"])[len(body["model"]) % 3]
                body["max_tokens"] = 8
            answer = case.call(timeout=LIMIT)
            seen[answer.status_code] += 1
            assert answer.status_code != 500, answer.text
            case.validate_response(answer, checks=CHECKS)

        ask()
    record_property(
        "counted",
        f"{seen.total()} requests from openapi.json, by status {dict(sorted(seen.items()))}",
    )
    assert {200, 400, 404} <= set(seen), seen


def valid(**more):
    return json.dumps(asked(max_tokens=8, **more))


def quoted(text):
    return f'{{"model": "trim", "messages": [{{"role": "user", "content": {text}}}]}}'


BODIES = [
    b"", b"{", b"null", b"[]", b"3", b'""', b"\xff\xfe{}", b"\xef\xbb\xbf{}", b"{}" * 2,
    b"[" * 100_000, b'{"a":' * 100_000, b'{"model": NaN}', b'{"model": Infinity}',
    b"9" * 500_000, quoted('"\\ud800"'), quoted('"\\udc00 \\ud800"'), quoted("1e999"),
    quoted('"\\u0000"').replace("user", "us\\u0000er"),
    valid(seed=2**63), valid(seed=-(2**63) - 1), valid(n=10**300), valid(temperature="hot"),
    valid()[:-1] + ', "temperature": 1e999}', valid()[:-1] + ', "n": ' + "9" * 5000 + "}",
    valid(trim={"deadline": -1}), valid(trim={"policy": "\x00" * 100}), valid(trim=[]),
    valid(stop=[""]), valid(stop=["a"] * 99), valid(stream="perhaps"), valid(stream_options=3),
    valid(tools={"type": 3}), valid(tools=[[[]]]), valid(response_format=[1]),
    json.dumps({"model": "trim", "messages": [[]] * 1000}),
    json.dumps({"model": "trim", "messages": [{"role": "user", "content": [{"type": ["x"]}]}]}),
    json.dumps({"model": "x" * 100_000, "messages": []}),
]  # fmt: skip
WELL = [
    valid(max_completion_tokens=10**300), valid(seed=2**63 - 1, n=2), valid(seed=-(2**63)),
    valid(temperature=0, top_p=1e-300), valid(stop="\x00"), valid(trim={"deadline": 3600}),
    valid(user="\u2028" * 1000), valid(metadata={"a": [None, 1e300, 10**400]}),
    quoted('"\\u0000 \\ud83d\\ude00 \\r\\n\\n\\n 3"').replace("{", '{"max_tokens": 8, ', 1),
]  # fmt: skip


@pytest.mark.parametrize("stream", [False, True])
def test_bodies_are_answered_or_refused(url, stream, record_property):
    with httpx.Client(timeout=LIMIT) as client:
        for body, right in [*((b, False) for b in BODIES), *((b, True) for b in WELL)]:
            content = body.encode() if isinstance(body, str) else body
            if stream:
                content = content.replace(b"{", b'{"stream": true, ', 1)
            answer = client.post(
                f"{url}/chat/completions", content=content,
                headers={"Content-Type": "application/json"},
            )  # fmt: skip
            assert answer.status_code in ((200,) if right else (400, 404)), (content, answer.text)
            if not right:
                error = answer.json()["error"]
                assert error["message"] and len(error["message"]) < 1000
    record_property("counted", f"{len(BODIES) + len(WELL)} bodies{', streamed' if stream else ''}")


def talk(url, *pieces, rest=True):
    """What a server says to bytes, until it is silent or has closed; None for a reset."""
    host, port = url[7:-3].split(":")
    with socket.create_connection((host, int(port)), timeout=LIMIT) as connection:
        said = b""
        with suppress(ConnectionError):
            for piece in pieces:
                connection.sendall(piece)
            while rest and (part := connection.recv(65536)):
                said += part
        return said


def head(*lines, path="/v1/chat/completions", method="POST"):
    first = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    return first.encode() + b"".join(line + b"\r\n" for line in lines) + b"\r\n"


JSON = b"Content-Type: application/json"
BODY = valid(n=1).encode()
LENGTH = b"Content-Length: %d" % len(BODY)
HEADS = [
    (head(JSON, LENGTH, LENGTH) + BODY, (200, 400)),
    (head(JSON, LENGTH, b"Content-Length: 3") + BODY, (400,)),
    (head(JSON, b"Content-Length: -1") + BODY, (400,)),
    (head(JSON, b"Content-Length: " + b"9" * 100) + BODY, (400, 413)),
    (head(JSON, b"Content-Length: 99999999999") + BODY, (413,)),
    (head(JSON, LENGTH, b"Transfer-Encoding: chunked") + BODY, (400,)),
    (head(JSON, b"Transfer-Encoding: chunked") + b"zz\r\n", (400,)),
    (head(JSON, b"Transfer-Encoding: chunked") + b"f4242\r\n" + b"1" * 1_000_002, (413,)),
    (head(b"Content-Type: text/plain", LENGTH) + BODY, (415,)),
    (head(b"Content-Type: application/json; charset=utf-7", LENGTH) + BODY, (200,)),
    (head(b"Content-Type: " + b"\xff" * 100, LENGTH) + BODY, (415,)),
    (head(JSON, JSON, LENGTH) + BODY, (200,)),
    (head(JSON, LENGTH, b"Authorization: Bearer \xff\xfe", b"Authorization: x") + BODY, (200,)),
    (head(JSON, LENGTH, b"X: " + b"y" * 200_000) + BODY, (None, 400, 431)),
    (head(JSON, LENGTH, b"a: b" * 3_000) + BODY, (200, 400)),
    (head(path="/v1/chat/completions/%00/%ff"), (404,)),
    (head(path="/" + "a" * 5_000), (404,)),
    (head(path="\x00"), (400,)),
    (b"\x16\x03\x01\x02\x00\x01\x00", (400,)),
    (b"GET\r\n\r\n", (400,)),
]  # fmt: skip


def test_heads_are_answered_or_refused(url, record_property):
    for sent, statuses in HEADS:
        said = talk(url, sent)
        status = int(said.split()[1]) if said else None
        assert status in statuses, (sent[:200], said[:300])
    record_property("counted", f"{len(HEADS)} heads")


def test_random_bytes_do_no_harm(url, record_property):
    send_random_bytes(url, random.Random(5), RANDOM)
    record_property("counted", f"{RANDOM} requests with random bytes")


@pytest.mark.fuzz
def test_random_bytes_of_other_seeds(url):
    for seed in other_seeds(0.15):
        send_random_bytes(url, random.Random(seed), 100)


def send_random_bytes(url, chance, count):
    for _ in range(count):
        sent = bytearray(head(JSON, LENGTH) + BODY)
        for _ in range(chance.randint(1, 5)):
            sent[chance.randrange(len(sent))] = chance.randrange(256)
        host, port = url[7:-3].split(":")
        with socket.create_connection((host, int(port)), timeout=LIMIT) as connection:
            connection.sendall(bytes(sent[: chance.randint(1, len(sent))]))
            connection.shutdown(socket.SHUT_WR)
            with suppress(ConnectionError):
                said = connection.recv(65536)
                assert not said or int(said.split()[1]) != 500, sent
    assert httpx.get(url.removesuffix("/v1") + "/readyz").json() == {"status": "ready"}
