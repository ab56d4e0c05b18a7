"""The server as its users meet it: the official client, plain HTTP, and what goes wrong."""

import asyncio
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from types import SimpleNamespace

import httpx
import openai
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from preloaded import completed, finished, started
from staged_server import SILENCE, Reply, chat, staged, usage

from trim.configuration.source import models_in
from trim.errors import InvalidInput, ModelUnavailable
from trim.evaluation.suites import CHAIN, generate
from trim.policies.calibrated import CalibratedRouter
from trim.server import routes
from trim.server.accounts import KEY_CHECK_SECONDS
from trim.server.admission import AdmissionQueue, Limits
from trim.server.app import make_app
from trim.server.catalog import CatalogEntry, RouterCatalog, read_curve
from trim.server.errors import APIError
from trim.server.request import ChatRequest, RoutingOptions, StopFilter, validate
from trim.server.response import ChatResponse
from trim.server.run import Serving, opened
from trim.server.service import Choice
from trim.server.storage.database import open_database, url_of
from trim.shipped import FOLDER

MAIN = "from trim.cli.main import main; main()"
QUESTIONS = [problem.question for problem in generate(CHAIN, 12, seed=77)]


@contextmanager
def serving(folder, *words):
    """A server in a process of its own, and its address."""
    database = folder / "trim.sqlite"
    with started("serve", *words, "--port", "0", "--database", database) as process:
        yield process.address()
        process.send(signal.SIGTERM)
        process.process.join(30)
        assert process.code == 0


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("server")) as address:
        yield address


@pytest.fixture
def client(url):
    return openai.OpenAI(base_url=url, api_key="none", max_retries=0)


def asked(question=QUESTIONS[0], **more):
    return {"model": "trim", "messages": [{"role": "user", "content": question}], **more}


def test_the_official_client_is_answered(client):
    answer = client.chat.completions.create(**asked(seed=1))
    (choice,) = answer.choices
    assert choice.finish_reason == "stop" and r"\boxed{" in choice.message.content
    spent = answer.usage.model_extra["trim"]
    kept = spent["strong_tokens"] + spent["weak_tokens"]
    assert answer.usage.completion_tokens == kept > 0
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + kept
    assert spent["money"] > 0 and spent["policy"] == "thr:0.5"
    again = client.chat.completions.create(**asked(seed=1))
    assert again.choices[0].message.content == choice.message.content
    raw = client.chat.completions.with_raw_response.create(**asked(seed=1))
    assert raw.headers["x-trim-strong-tokens"] == str(spent["strong_tokens"])


def test_a_stream_says_the_same_step_by_step(client):
    for question in QUESTIONS[:5]:
        whole = client.chat.completions.create(**asked(question, seed=3, model="trim:thr-0.9"))
        stream = client.chat.completions.create(
            **asked(question, seed=3, model="trim:thr-0.9"),
            stream=True,
            stream_options={"include_usage": True},
            extra_body={"trim": {"steps": True}},
        )
        *pieces, last = list(stream)
        texts = [p.choices[0].delta.content for p in pieces if p.choices[0].delta.content]
        assert "".join(texts) == whole.choices[0].message.content
        (steps,) = last.usage.model_extra["trim"]["steps"]
        assert texts == [step["text"] for step in steps]
        assert all(step["text"].endswith("\n\n") for step in steps[:-1])
        assert pieces[0].choices[0].delta.role == "assistant"
        assert pieces[-1].choices[0].finish_reason == "stop"
        assert last.choices == [] and last.usage.total_tokens > 0
        assert {piece.id for piece in (*pieces, last)} == {last.id}


SPANS = ["trim:token-0.9", "trim:token-0.5-8", "trim:clause-0.9", "trim:tail-0.9"]


def pieces_of(client, **more):
    """The texts of a stream, and its usage."""
    stream = client.chat.completions.create(
        **asked(**more), stream=True, stream_options={"include_usage": True},
        extra_body={"trim": {"steps": True}},
    )  # fmt: skip
    *pieces, last = list(stream)
    texts = [piece.choices[0].delta.content for piece in pieces]
    return [text for text in texts if text], last.usage.model_extra["trim"]


@pytest.mark.parametrize("model", [*SPANS, "trim:thr-0.99+tail-0.9"])
def test_a_stream_sends_a_span_as_soon_as_it_is_final(client, model):
    """That is with its step where a score decides about the whole step."""
    mixed = 0
    for seed, question in enumerate(QUESTIONS[:4]):
        ask = {"question": question, "seed": seed, "model": model}
        whole = client.chat.completions.create(**asked(**ask), extra_body={"trim": {"steps": True}})
        texts, spent = pieces_of(client, **ask)
        assert "".join(texts) == whole.choices[0].message.content
        told = whole.usage.model_extra["trim"]
        (steps,) = spent["steps"]
        told["steps"] = [[{**step, "score": None} for step in told["steps"][0]]]
        assert told["steps"] == [[{**step, "score": None} for step in steps]]
        assert told["strong_calls"] == spent["strong_calls"]
        spans = [step.get("spans", [{"text": step["text"]}]) for step in steps]
        assert "".join(span["text"] for each in spans for span in each) == "".join(texts)
        if "+" in model:
            assert texts == [step["text"] for step in steps]
        else:
            assert texts == [span["text"] for each in spans for span in each]
            assert spent["strong_calls"] >= spent["interventions"]
        for step in steps:
            assert step["action"] == ("regenerate" if step["author"] == "strong" else "continue")
            for span in step.get("spans", ()):
                mixed += 1
                assert span["author"] in ("weak", "strong") and span["tokens"] > 0
    assert mixed


@pytest.mark.parametrize("model", SPANS[:1])
def test_text_that_may_begin_a_stop_string_is_held_back_across_spans(client, model):
    ask = {"question": QUESTIONS[0], "seed": 1, "model": model}
    spans, spent = pieces_of(client, **ask)
    assert spent["strong_calls"] > 0
    whole = "".join(spans)
    places = [len("".join(spans[:count])) for count in range(1, len(spans))]
    for place in places:
        stop = whole[place - 2 : place + 2]
        cut, _ = pieces_of(client, **ask, stop=[stop, "never"])
        assert "".join(cut) == whole.partition(stop)[0]
    # The beginning of a stop string that does not come is text.
    cut, _ = pieces_of(client, **ask, stop=[whole[places[0] - 2 : places[0]] + "#"])
    assert "".join(cut) == whole


def test_a_budget_holds_inside_a_step_to_the_token(client):
    for model in SPANS:
        for limit in (0, 1, 3, 10):
            answer = client.chat.completions.create(
                **asked(model=model, seed=1), extra_body={"trim": {"strong_tokens": limit}}
            )
            assert answer.usage.model_extra["trim"]["strong_tokens"] <= limit + 1
            assert answer.choices[0].finish_reason == "stop"
    free = client.chat.completions.create(
        **asked(model="trim:token-0.9", seed=1), extra_body={"trim": {"money": 0}}
    )
    assert free.usage.model_extra["trim"]["strong_calls"] == 0


@pytest.mark.parametrize("model", ["trim:token-1", "trim:thr-1+tail-1"])
def test_the_deadline_holds_inside_a_step(url, model):
    for stream in (False, True):
        body = asked(QUESTIONS[0] + " ", model=model, stream=stream, trim={"deadline": 0.02})
        answer = httpx.post(f"{url}/chat/completions", json=body, timeout=20)
        if answer.status_code == 200:
            assert stream
            error = json.loads(answer.text.split("data: ")[-1])["error"]
        else:
            assert answer.status_code in (503, 504)
            error = answer.json()["error"]
        assert error["code"] in ("model_unavailable", "deadline_exceeded")


@pytest.mark.parametrize(
    "model, policy",
    [
        ("trim:token-0.9", "token:0.9"),
        ("trim:token-0.5-8", "token:0.5:8"),
        ("trim:token-1e-05", "token:1e-05"),
        ("trim:clause-0.9", "clause:0.9"),
        ("trim:thr-0.9+tail-0.5", "thr:0.9+tail:0.5"),
        ("trim:random-0.2+tail-0.5", "random:0.2+tail:0.5"),
    ],
)
def test_policies_below_the_step_have_names(model, policy):
    assert RouterCatalog("token:0.9").choose(model, RoutingOptions()).name == policy


@pytest.mark.parametrize(
    "model, status",
    [
        ("trim:token-2", 400),
        ("trim:token-0.5-0", 400),
        ("trim:tail-0.5-8", 400),
        ("trim:thr-0.9+tail-2", 400),
        ("trim:token", 404),
        ("trim:weak+tail-0.5", 404),
        ("trim:agg-/etc/passwd+tail-0.5", 404),
        ("trim:token-0.5,0.9", 404),
    ],
)
def test_no_other_names_are_theirs(model, status):
    with pytest.raises(APIError) as refused:
        RouterCatalog("token:0.9").choose(model, RoutingOptions())
    assert refused.value.status == status


def test_measured_settings_of_tokens_are_offered(tmp_path):
    points = [
        {"policy": policy, "setting": setting, "accuracy": 0.9, "strong_share": 0.1,
         "money_mean": None}
        for policy, setting in (("token", 0.9), ("token:0.5:8", None), ("thr:0.9+tail:0.9", None),
                                ("oracle-token", None), ("agg", 0.1))
    ]  # fmt: skip
    (tmp_path / "summary.json").write_text(json.dumps({"points": points}))
    catalog = RouterCatalog("weak", {}, read_curve(tmp_path / "summary.json"))
    names = [entry.name for entry in catalog.curve]
    assert names == ["token-0.9", "token-0.5-8", "thr-0.9+tail-0.9"]
    for name in names:
        assert catalog.policy(name).name == name.replace("-", ":")


async def test_a_model_that_cannot_write_inside_steps_is_refused(tmp_path):
    async with staged(counting) as server:
        path = configured(tmp_path, server)
        path.write_text(path.read_text().replace("continue_final", "user_turn"))
        manager = serving(tmp_path, path)
        url = await asyncio.to_thread(manager.__enter__)
        try:
            before = len(server.requests)
            async with httpx.AsyncClient(timeout=20) as client:
                for stream in (False, True):
                    body = asked("a question", model="trim:token-0.9", stream=stream)
                    refused = await client.post(f"{url}/chat/completions", json=body)
                    assert refused.status_code == 400
                    assert "cannot write inside a step" in refused.json()["error"]["message"]
            assert len(server.requests) == before
        finally:
            await asyncio.to_thread(manager.__exit__, None, None, None)
        words = ("serve", path, "--port", "0", "--database", tmp_path / "other.sqlite")
        ended = await finished(*words, "--policy", "token:0.9")
        assert ended[0] == 2 and "cannot write inside a step" in ended[2]


class Failing:
    """A model that answers two requests of a question inside steps, and no more."""

    def __init__(self, model):
        self.model = model
        self.asked = 0

    def __getattr__(self, name):
        return getattr(self.model, name)

    async def write_span(self, prefix, sampling, seed, stop=None):
        self.asked = 1 if not prefix.text else self.asked + 1
        if self.asked >= 3:
            raise ModelUnavailable(f"{self.model.name}: gone")
        return await self.model.write_span(prefix, sampling, seed, stop)


@pytest.mark.parametrize("model", ["trim:token-0.9", "trim:thr-1+tail-0.9"])
@pytest.mark.parametrize("role", ["weak", "strong"])
async def test_a_fallback_inside_a_step_goes_on_after_what_was_sent(tmp_path, role, model):
    shipped = models_in()
    loaded = shipped.load(slots=1)
    failing = Failing(getattr(loaded, role))
    serving = Serving("127.0.0.1", 0, str(tmp_path / "trim.sqlite"), Limits())
    async with opened(shipped, replace(loaded, **{role: failing}), serving) as service:
        transport = httpx.ASGITransport(make_app(service))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost/v1") as client:

            async def ask(**more):
                failing.asked = 0
                body = asked(model=model, seed=1, **more)
                answer = await client.post("/chat/completions", json=body)
                return answer.status_code, answer

            status, answer = await ask(trim={"fallback": "keep", "steps": True})
            assert status == 200
            whole = answer.json()["choices"][0]["message"]["content"]
            spent = answer.json()["usage"]["trim"]
            assert spent["fallbacks"] > 0 and r"\boxed{" in whole
            assert {step["fallback"] for step in spent["steps"][0]} == {None, role}
            status, answer = await ask(trim={"fallback": "keep"}, stream=True)
            events = [part.removeprefix("data: ") for part in answer.text.split("\n\n") if part]
            assert (status, events[-1]) == (200, "[DONE]")
            deltas = [json.loads(event)["choices"][0]["delta"] for event in events[:-1]]
            assert "".join(delta.get("content", "") for delta in deltas) == whole
            status, answer = await ask(trim={"fallback": "fail"})
            assert (status, answer.json()["error"]["code"]) == (503, "model_unavailable")


async def test_the_asynchronous_client_and_text_completions(url):
    client = openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0)
    answer, models = await asyncio.gather(
        client.completions.create(model="trim:strong", prompt=QUESTIONS[0], seed=2),
        client.models.list(),
    )
    assert r"\boxed{" in answer.choices[0].text
    assert [model.id for model in models.data][:3] == ["trim", "trim:weak", "trim:strong"]
    stream = await client.completions.create(
        model="trim:strong", prompt=QUESTIONS[0], seed=2, stream=True
    )
    assert "".join([piece.choices[0].text async for piece in stream]) == answer.choices[0].text


def test_several_choices_stops_and_limits(client):
    answer = client.chat.completions.create(**asked(n=3, seed=5))
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    alone = [client.chat.completions.create(**asked(seed=5 + n)) for n in range(3)]
    assert [c.message.content for c in answer.choices] == [
        a.choices[0].message.content for a in alone
    ]
    whole = alone[0].choices[0].message.content
    cut = client.chat.completions.create(**asked(seed=5, stop=["\n\n2)", "never"]))
    assert cut.choices[0].message.content == whole.partition("\n\n2)")[0]
    assert cut.choices[0].finish_reason == "stop"
    short = client.chat.completions.create(**asked(seed=5, max_tokens=20))
    assert short.usage.completion_tokens <= 20
    assert short.choices[0].finish_reason == "length"
    assert whole.startswith(short.choices[0].message.content)


def test_who_wishes_is_routed_so(client):
    for name, wish in (("strong_tokens", 0), ("money", 0)):
        answer = client.chat.completions.create(
            **asked(model="trim:thr-1"), extra_body={"trim": {name: wish, "steps": True}}
        )
        spent = answer.usage.model_extra["trim"]
        assert spent["strong_tokens"] == 0
        assert all(step["denied"] for step in spent["steps"][0])


WRONG = [
    (asked(model="gpt-4"), 404, "model_not_found"),
    (asked(model="trim:router-x"), 404, "model_not_found"),
    (asked(model="trim:pomdp-/etc/passwd"), 404, "model_not_found"),
    (asked(model="trim:thr-2"), 400, None),
    (asked(messages=[]), 400, None),
    (asked(messages=[{"role": "assistant", "content": "x"}]), 400, None),
    (asked(" "), 400, None),
    (asked("x" * 100_001), 400, "context_length_exceeded"),
    (asked("word " * 5_000), 400, "context_length_exceeded"),
    (asked(n=9), 400, None),
    (asked(temperature=-1), 400, None),
    (asked(trim={"unknown": 1}), 400, None),
    (asked(trim={"strong_share": 0.5, "accuracy": 0.9}), 400, None),
    (asked(tools=[{"type": "function"}]), 400, "unsupported_feature"),
    (asked(response_format={"type": "json_object"}), 400, "unsupported_feature"),
    (asked(logprobs=True), 400, "unsupported_feature"),
    (asked(messages=[{"role": "user", "content": [{"type": "image_url"}]}]), 400,
     "unsupported_feature"),
]  # fmt: skip


@pytest.mark.parametrize("body, status, code", WRONG)
def test_what_is_wrong_is_said_in_openais_form(url, body, status, code):
    answer = httpx.post(f"{url}/chat/completions", json=body, timeout=20)
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["code"] == code
    assert error["message"] and "\n" not in error["message"]


@pytest.mark.parametrize(
    "content, status",
    [(b"{", 400), (b"\xff\xfe", 400), (b"null", 400), (b"[]", 400), (b"1" * 1_000_001, 413)],
)
def test_a_body_that_is_none(url, content, status):
    headers = {"Content-Type": "application/json"}
    answer = httpx.post(f"{url}/chat/completions", content=content, headers=headers)
    assert (answer.status_code, "error" in answer.json()) == (status, True)


def test_other_paths_and_methods(url):
    assert httpx.get(f"{url}/nothing").status_code == 404
    answer = httpx.get(f"{url}/chat/completions")
    assert (answer.status_code, "error" in answer.json()) == (405, True)
    assert httpx.get(url.removesuffix("/v1") + "/healthz").json() == {"status": "ok"}


def test_figures_and_readiness(url, client):
    root = url.removesuffix("/v1")
    assert httpx.get(f"{root}/readyz").json() == {"status": "ready"}

    def figure(name):
        lines = httpx.get(f"{root}/metrics").text.splitlines()
        values = [float(line.split()[-1]) for line in lines if line.startswith(name)]
        return sum(values)

    names = ("trim_requests_total", 'trim_tokens_total{role="strong"}', "trim_steps_total")
    before = [figure(name) for name in names]
    answer = client.chat.completions.create(
        **asked(model="trim:strong"), extra_body={"trim": {"steps": True}}
    )
    spent = answer.usage.model_extra["trim"]
    after = [figure(name) for name in names]
    changes = [new - old for new, old in zip(after, before, strict=True)]
    assert changes == [1, spent["strong_tokens"], len(spent["steps"][0])]
    assert figure("trim_running") == figure("trim_waiting") == 0


def configured(folder, server):
    model = {"api": "openai", "url": server.url, "server": "sglang", "attempts": 1,
             "continuation": "continue_final"}  # fmt: skip
    document = {"weak": {**model, "model": "weak"}, "strong": {**model, "model": "strong"},
                "routing": {"policy": "random:0.5"}}  # fmt: skip
    path = folder / "trim.yaml"
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    return path


def counting(request):
    """A model that writes step after step, and counts on where it is probed."""
    messages = request.body["messages"]
    said = messages[1]["content"] if len(messages) > 1 else ""
    counts = usage(len(str(messages)))
    if messages[0]["content"].startswith("Count"):
        return chat(" five, six", counts=counts, matched_stop=None)
    return chat(f"step {said.count('step')}", counts=counts, matched_stop="\n\n")


async def until_quiet(server):
    count = -1
    while count != len(server.requests):
        count = len(server.requests)
        await asyncio.sleep(0.3)
    return count


@pytest.mark.parametrize("stream", [False, True])
async def test_who_leaves_stops_all_work(tmp_path, stream):
    async with staged(counting, delay=0.1) as server:
        manager = serving(tmp_path, configured(tmp_path, server))
        url = await asyncio.to_thread(manager.__enter__)
        try:
            before = len(server.requests)
            body = json.dumps(asked("a question", stream=stream)).encode()
            _, writer = await asyncio.open_connection(*url[7:-3].split(":"))
            head = f"POST /v1/chat/completions HTTP/1.1\r\nContent-Length: {len(body)}\r\n"
            lines = "Host: localhost\r\nContent-Type: application/json\r\n\r\n"
            writer.write(f"{head}{lines}".encode() + body)
            while len(server.requests) < before + 3:
                await asyncio.sleep(0.01)
            writer.close()
            left = await until_quiet(server)
            assert before + 3 <= left <= before + 6  # Of steps without end.
            while not (kept := await rows(tmp_path)):
                await asyncio.sleep(0.05)
            assert kept == [("abandoned", True)]
        finally:
            await asyncio.to_thread(manager.__exit__, None, None, None)


async def rows(folder):
    import sqlite3

    connection = sqlite3.connect(folder / "trim.sqlite")
    with connection:
        found = connection.execute("SELECT finish, weak_tokens + strong_tokens > 0 FROM requests")
        return list(found)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_model_that_falls_silent(tmp_path, stream):
    def answer(request):
        said = counting(request)
        deep = "step 2" in str(request.body["messages"])
        return Reply({"error": "gone"}, 500) if deep else said

    async with staged(answer) as server:
        manager = serving(tmp_path, configured(tmp_path, server))
        url = await asyncio.to_thread(manager.__enter__)
        try:
            async with httpx.AsyncClient(timeout=20) as client:
                answered = await client.post(
                    f"{url}/chat/completions", json=asked("a question", stream=stream)
                )
            if stream:
                events = [e for e in answered.text.split("\n\n") if e]
                assert answered.status_code == 200 and "[DONE]" not in answered.text
                assert json.loads(events[-1][6:])["error"]["code"] == "model_unavailable"
            else:
                assert answered.status_code == 503
                assert answered.json()["error"]["code"] == "model_unavailable"
                assert answered.headers["Retry-After"]
            async with httpx.AsyncClient() as client:
                figures = (await client.get(url.removesuffix("/v1") + "/metrics")).text
            assert 'trim_faults_total{kind="500"' in figures
            assert 'trim_requests_total{finish="failed"} 1.0' in figures
            assert await rows(tmp_path) == [("failed", True)]
        finally:
            await asyncio.to_thread(manager.__exit__, None, None, None)


async def until_desk(client, url, **counts):
    """Until so many solutions run and wait."""
    lines = {f"trim_{name} {float(count)}" for name, count in counts.items()}
    while not lines <= set(
        (await client.get(url.removesuffix("/v1") + "/metrics")).text.split("\n")
    ):
        await asyncio.sleep(0.05)


async def test_who_comes_when_all_is_full_is_sent_away(tmp_path):
    def answer(request):
        probed = request.body["messages"][0]["content"].startswith("Count")
        return counting(request) if probed else SILENCE

    async with staged(answer) as server:
        words = (configured(tmp_path, server), "--running", 1, "--queue", 1)
        manager = serving(tmp_path, *words)
        url = await asyncio.to_thread(manager.__enter__)
        try:
            async with httpx.AsyncClient(timeout=20) as client:
                waiting = [
                    asyncio.create_task(client.post(f"{url}/chat/completions", json=asked("q")))
                    for _ in range(2)
                ]
                await until_desk(client, url, running=1, waiting=1)
                refused = await client.post(f"{url}/chat/completions", json=asked("q"))
                assert refused.status_code == 503
                assert refused.json()["error"]["code"] == "overloaded"
                assert refused.headers["Retry-After"] == "1"
                late = asked("q", trim={"deadline": 0.2})
                for task in waiting:
                    task.cancel()
                await asyncio.gather(*waiting, return_exceptions=True)
                await until_desk(client, url, running=0, waiting=0)
                due = await client.post(f"{url}/chat/completions", json=late)
                assert due.status_code == 503
                assert "time is up after 1 attempt" in due.json()["error"]["message"]
        finally:
            await asyncio.to_thread(manager.__exit__, None, None, None)


def trim(*words, folder):
    return completed(*words, "--database", folder / "trim.sqlite")


def test_routers_of_a_configuration_and_a_measured_curve(tmp_path):
    points = [
        {"policy": "thr", "setting": k, "accuracy": a, "strong_share": c, "money_mean": c}
        for k, a, c in ((0.1, 0.6, 0.1), (0.5, 0.9, 0.3), (0.9, 0.95, 0.5))
    ]
    (tmp_path / "summary.json").write_text(json.dumps({"points": points}))

    def file(name):
        return {"gguf": str(FOLDER / f"{name}.gguf"), "context": 1024}

    document = {
        "weak": file("weak"),
        "strong": file("strong"),
        "scorer": {"kind": "label", **file("scorer")},
        "sampling": {"max_tokens": 96},
    }
    document["server"] = {
        "routers": [{"name": "pomdp-share-0.2", "policy": "thr:0.05"}],
        "curve": "summary.json",
    }
    path = tmp_path / "trim.yaml"
    path.write_text(yaml.safe_dump(document))
    with serving(tmp_path, path) as url:
        client = openai.OpenAI(base_url=url, api_key="none", max_retries=0)

        def policy(model="trim", **wishes):
            answer = client.chat.completions.create(
                **asked(model=model), extra_body={"trim": wishes}
            )
            return answer.usage.model_extra["trim"]["policy"]

        assert policy("trim:pomdp-share-0.2") == "thr:0.05"
        assert policy(strong_share=0.4) == "thr:0.5"
        assert policy(accuracy=0.92) == "thr:0.9"
        assert policy(policy="pomdp-share-0.2") == "thr:0.05"
        with pytest.raises(openai.BadRequestError, match="the smallest measured share"):
            policy(strong_share=0.01)
        with pytest.raises(openai.BadRequestError, match="name the router once"):
            policy("trim:weak", accuracy=0.9)
        names = {model.id for model in client.models.list()}
        assert {"trim:pomdp-share-0.2", "trim:thr-0.5"} <= names


def test_keys_let_in_and_budgets_hold(tmp_path):
    key = trim("keys", "create", "app", "--strong-tokens-a-day", "60", folder=tmp_path).stdout
    with serving(tmp_path) as url:
        for wrong in ("", "trim-0-0", key.strip() + "x"):
            client = openai.OpenAI(base_url=url, api_key=wrong or "x", max_retries=0)
            with pytest.raises(openai.AuthenticationError, match="no valid key"):
                client.chat.completions.create(**asked())
        client = openai.OpenAI(base_url=url, api_key=key.strip(), max_retries=0)
        spent = 0
        with pytest.raises(openai.RateLimitError, match="has spent its strong tokens") as told:
            for question in QUESTIONS * 3:
                answer = client.chat.completions.create(**asked(question, model="trim:thr-0.9"))
                spent += answer.usage.model_extra["trim"]["strong_tokens"]
        assert 60 <= spent < 60 + 40  # One step may pass it.
        assert told.value.code == "insufficient_quota"
        listed = trim("keys", "list", folder=tmp_path).stdout
        assert f"{spent} of 60" in " ".join(listed.split())
        assert trim("keys", "revoke", "app", folder=tmp_path).returncode == 0
        for call in (lambda: client.chat.completions.create(**asked()), client.models.list):
            with pytest.raises(openai.AuthenticationError):
                call()


def test_a_running_server_asks_for_a_key_once_there_is_one(tmp_path):
    with serving(tmp_path) as url:
        nobody = openai.OpenAI(base_url=url, api_key="none", max_retries=0)
        assert nobody.models.list().data
        key = trim("keys", "create", "app", folder=tmp_path).stdout.strip()
        time.sleep(KEY_CHECK_SECONDS)
        with pytest.raises(openai.AuthenticationError):
            nobody.models.list()
        assert nobody.with_options(api_key=key).models.list().data
        trim("keys", "revoke", "app", folder=tmp_path)
        time.sleep(KEY_CHECK_SECONDS)
        with pytest.raises(openai.AuthenticationError):
            nobody.models.list()


def test_a_mistyped_database_is_not_made(tmp_path):
    for words in (("keys", "list"), ("keys", "revoke", "app"),
                  ("traffic", "delete", "--older-than", "1")):  # fmt: skip
        refused = trim(*words, folder=tmp_path)
        assert (refused.returncode, "no such database" in refused.stderr) == (2, True)
    assert not list(tmp_path.iterdir())


def test_who_asks_sees_no_path_of_the_server(tmp_path):
    promise = {"target": {}, "confidence": 0.9, "horizon": None, "bound": ""}
    file = CalibratedRouter("thr", 0.25, None, "joint", {}, None, promise)
    path = tmp_path / "kept.json"
    path.write_text(json.dumps(file.to_json(path)))
    catalog = RouterCatalog(f"router:{path}", {"cheap": f"router:{path}"})
    assert catalog.usual.name == "router:kept"
    assert catalog.choose("trim:cheap", RoutingOptions()).name == "router:cheap"


def test_without_keys_only_this_machine_is_served(tmp_path):
    refused = trim("serve", "--host", "0.0.0.0", "--port", "0", folder=tmp_path)
    assert (refused.returncode, "trim keys create" in refused.stderr) == (2, True)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        refused = trim("serve", "--port", port, folder=tmp_path)
    assert (refused.returncode, "cannot listen" in refused.stderr) == (2, True)
    assert "; choose another --port" in refused.stderr


def test_ctrl_c_ends_a_server_quietly(tmp_path):
    words = ("serve", "--port", "0", "--database", str(tmp_path / "trim.sqlite"))
    process = subprocess.Popen(
        [sys.executable, "-c", MAIN, *words], stderr=subprocess.PIPE, text=True
    )
    line = process.stderr.readline()
    process.send_signal(signal.SIGINT)
    assert (process.wait(20), process.stderr.read()) == (0, "")
    assert line.startswith("trim: listening on ")


def test_an_answer_under_way_is_finished_before_the_end(tmp_path):
    answers = []
    with serving(tmp_path) as url:
        client = openai.OpenAI(base_url=url, api_key="none", max_retries=0)

        def ask():
            answers.append(client.chat.completions.create(**asked(n=8)))

        asking = threading.Thread(target=ask)
        asking.start()
        metrics = url.removesuffix("/v1") + "/metrics"
        while "trim_running 0.0" in httpx.get(metrics).text and not answers:
            time.sleep(0.01)
    asking.join()
    assert len(answers[0].choices) == 8


async def test_a_wait_for_a_slot_ends_at_the_deadline():
    queue = AdmissionQueue(Limits(running=1))
    async with queue.slot(time.monotonic() + 60):
        started = time.monotonic()
        with pytest.raises(APIError, match="the deadline passed") as caught:
            async with queue.slot(started + 0.1):
                pass
        assert (caught.value.status, queue.waiting) == (504, 0)
        assert time.monotonic() - started < 10
    async with queue.slot(time.monotonic() + 60) as seconds:
        assert 50 < seconds <= 60
        assert queue.running == 1


@pytest.mark.parametrize("begun", [False, True])
async def test_a_stream_ends_where_a_part_of_another_package_fails(begun):
    choice = Choice(0, StopFilter([]))

    async def events(job, of):
        if begun:
            of.text = "said"
            yield None
            # What was said is on its way before the failure.
            await asyncio.sleep(0.05)
        raise KeyError("a plug-in's mistake")

    service = SimpleNamespace(events=events, recording=lambda *_: nullcontext())
    job = SimpleNamespace(router=SimpleNamespace(policy=SimpleNamespace(restarts=False)))
    body = ChatRequest(model="trim", messages=[{"role": "user", "content": "q"}])
    response, sent = ChatResponse(True, "trim", "f"), []
    with pytest.raises(KeyError):
        async for data in routes.stream(service, job, body, response, [choice], None):
            sent.append(data)
    assert len(sent) == 2 * begun
    assert not begun or b"internal server error" in sent[-1]


def test_a_number_of_answers_may_be_null():
    sent = {"model": "trim", "messages": [{"role": "user", "content": "q"}], "n": None}
    assert validate(ChatRequest, sent).n == 1


def test_a_database_takes_the_address_that_its_host_gives():
    url = url_of("postgresql://me@host/db?application_name=x&sslmode=require")
    assert url == "postgresql+asyncpg://me@host/db?application_name=x&ssl=require"


async def test_an_unknown_option_of_a_database_is_one_line():
    with pytest.raises(InvalidInput, match=r"--database: an unknown option .*nonsense"):
        await open_database("postgresql://me@127.0.0.1:9/db?nonsense=1")


texts = st.text("ab\n", max_size=30)


@given(st.lists(texts, max_size=6), st.lists(st.text("ab\n", min_size=1, max_size=3), max_size=3))
def test_stop_strings_cut_as_in_the_whole_text(pieces, stops):
    stopping = StopFilter(stops)
    shown = [stopping.feed(piece) for piece in pieces]
    shown.append(stopping.flush())
    whole = "".join(pieces)
    ends = [(whole.find(stop) + len(stop), whole.find(stop)) for stop in stops if stop in whole]
    assert stopping.stopped == bool(ends)
    assert "".join(shown) == (whole[: min(ends)[1]] if ends else whole)


offers = st.lists(
    st.builds(
        CatalogEntry, st.sampled_from(["thr-0.1", "thr-0.5"]), st.floats(0, 1), st.floats(0, 1),
        st.floats(0, 9),
    ), min_size=1, max_size=6,
)  # fmt: skip


@given(offers, st.floats(0, 1))
def test_the_menu_meets_the_wish_or_says_what_it_has(curve, wish):
    catalog = RouterCatalog("thr:0.5", {}, curve)
    allowed = [offer for offer in curve if offer.strong_share <= wish]
    if allowed:
        chosen = catalog.select(RoutingOptions(strong_share=wish))
        assert chosen.strong_share <= wish
        assert chosen.accuracy == max(offer.accuracy for offer in allowed)
    else:
        with pytest.raises(APIError, match="the smallest measured share"):
            catalog.select(RoutingOptions(strong_share=wish))
    allowed = [offer for offer in curve if offer.accuracy >= wish]
    if allowed:
        chosen = catalog.select(RoutingOptions(accuracy=wish))
        assert chosen.accuracy >= wish
        assert chosen.money == min(offer.money for offer in allowed)
    else:
        with pytest.raises(APIError, match="the highest measured accuracy"):
            catalog.select(RoutingOptions(accuracy=wish))


def test_without_a_configuration_there_is_a_measured_curve(client):
    names = {model.id for model in client.models.list()}
    assert {"trim:thr-0.5", "trim:thr-0.95"} <= names
    answer = client.chat.completions.create(**asked(), extra_body={"trim": {"strong_share": 0.2}})
    assert answer.usage.model_extra["trim"]["policy"] == "thr:0.9"


def test_a_menu_refuses_what_is_none():
    with pytest.raises(APIError, match="no measured curve"):
        RouterCatalog("thr:0.5").select(RoutingOptions(strong_share=0.5))
    with pytest.raises(InvalidInput, match="exactly one setting"):
        RouterCatalog("thr:0.1,0.5")
