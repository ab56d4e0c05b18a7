"""What routing cannot serve is handed on to one model, or refused."""

import asyncio
import sqlite3
from contextlib import asynccontextmanager

import httpx
import openai
import pytest
import yaml
from staged_server import SILENCE, Reply, chat, events, staged, usage
from test_server_api import asked, counting, serving, trim, until_desk

TOOL = {
    "type": "function",
    "function": {"name": "add", "parameters": {"type": "object", "properties": {}}},
}
CALL = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
IMAGE = [
    {"type": "text", "text": "What is it?"},
    {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}},
]
SECRET = "sk-the-upstream-key"


def configuration(folder, server, **more):
    model = {"api": "openai", "url": server.url, "server": "sglang", "attempts": 1,
             "continuation": "continue_final"}  # fmt: skip
    document = {
        "weak": {**model, "model": "weak"},
        "strong": {**model, "model": "strong-7b", "key_variable": "UPSTREAM_KEY"},
        "routing": {"policy": "random:0.5"},
        "server": {"passthrough": "strong"},
        **more,
    }
    path = folder / "trim.yaml"
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    return path


@asynccontextmanager
async def passing(monkeypatch, folder, answer, *words):
    """A server that hands requests on to `answer(request)`, which is what came after its probes."""
    monkeypatch.setenv("UPSTREAM_KEY", SECRET)

    def answer_all(request):
        first = request.body["messages"][0]["content"]
        return counting(request) if str(first).startswith("Count") else answer(request)

    async with staged(answer_all) as upstream:
        manager = serving(folder, configuration(folder, upstream), *words)
        url = await asyncio.to_thread(manager.__enter__)
        upstream.requests.clear()
        try:
            yield upstream, openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0)
        finally:
            await asyncio.to_thread(manager.__exit__, None, None, None)


def kept(folder):
    connection = sqlite3.connect(folder / "trim.sqlite")
    with connection:
        return list(
            connection.execute("SELECT policy, finish, strong_tokens, money, model FROM requests")
        )


async def until_kept(folder, count):
    while len(found := kept(folder)) < count:
        await asyncio.sleep(0.02)
    return found


async def test_tools_are_handed_on_as_they_are(monkeypatch, tmp_path):
    def answer(request):
        return chat(None, "tool_calls", usage(1_000_000, 100_000), {"tool_calls": [CALL]})

    async with passing(monkeypatch, tmp_path, answer) as (upstream, client):
        sent = asked(tools=[TOOL], tool_choice="auto", seed=3, user="somebody")
        raw = await client.chat.completions.with_raw_response.create(
            **sent, extra_body={"trim": {"deadline": 20}, "guided": {"x": None}}
        )
        answered = raw.parse()
        (request,) = upstream.requests
        assert request.path == "/v1/chat/completions"
        assert request.body == {**sent, "model": "strong-7b", "guided": {"x": None}}
        headers = {name.lower(): value for name, value in request.headers.items()}
        assert headers["authorization"] == f"Bearer {SECRET}"
        assert answered.choices[0].finish_reason == "tool_calls"
        assert answered.choices[0].message.tool_calls[0].function.name == "add"
        assert SECRET not in raw.text and SECRET not in str(raw.headers)
        assert raw.headers["x-trim-strong-tokens"] == "100000"
        # A million prompt tokens cost 1, a million written ones 4.
        assert kept(tmp_path) == [("passthrough", "stop", 100_000, pytest.approx(1.4), "trim")]


@pytest.mark.parametrize("messages", [{"role": "user", "content": "hi"}, 5, True])
async def test_messages_that_are_no_list_are_refused_and_reserve_nothing(
    monkeypatch, tmp_path, messages
):
    async with passing(monkeypatch, tmp_path, lambda request: chat("no")) as (upstream, client):
        async with httpx.AsyncClient() as plain:
            body = {"model": "trim", "tools": [TOOL], "messages": messages}
            answer = await plain.post(f"{client.base_url}chat/completions", json=body)
        assert answer.status_code == 400
        assert answer.json()["error"]["param"] == "messages"
        assert upstream.requests == []


def piece(delta, finish=None, **more):
    return {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "strong-7b",
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **more}  # fmt: skip


PIECES = [
    piece({"role": "assistant", "content": "a"}),
    piece({"tool_calls": [{"index": 0, **CALL}]}),
    piece({}, "tool_calls"),
]
SPENT = {**piece({}), "choices": [], "usage": usage(10, 7)}


@pytest.mark.parametrize("wanted", [False, True])
async def test_a_stream_is_handed_on_and_counted(monkeypatch, tmp_path, wanted):
    async with passing(monkeypatch, tmp_path, lambda _: events(*PIECES, SPENT)) as (
        upstream,
        client,
    ):
        options = {"stream_options": {"include_usage": True}} if wanted else {}
        stream = await client.chat.completions.create(**asked(tools=[TOOL]), stream=True, **options)
        got, seen = [], []
        async for each in stream:
            got.append(each)
            seen.append(len(kept(tmp_path)))
        assert upstream.bodies[0]["stream_options"] == {"include_usage": True}
        assert [bool(each.choices) for each in got] == [True] * 3 + [False] * wanted
        assert got[1].choices[0].delta.tool_calls[0].function.arguments == '{"a": 1}'
        assert not wanted or got[-1].usage.completion_tokens == 7
        # The finish comes when the request is on disk.
        assert seen[2:] == [1] * len(seen[2:])
        assert kept(tmp_path)[0][:3] == ("passthrough", "stop", 7)


HANDED_ON = [
    {"messages": [{"role": "user", "content": IMAGE}]},
    {"response_format": {"type": "json_object"}},
    {"logprobs": True, "top_logprobs": 2},
    {"presence_penalty": 0.5},
    {"messages": [{"role": "user", "content": "add"},
                  {"role": "assistant", "content": None, "tool_calls": [CALL]},
                  {"role": "tool", "tool_call_id": "c1", "content": "2"}]},
]  # fmt: skip


async def test_what_is_handed_on(monkeypatch, tmp_path):
    async with passing(monkeypatch, tmp_path, lambda _: chat("yes", "length")) as (
        upstream,
        client,
    ):
        bodies = [{**asked(), **more} for more in HANDED_ON]
        for body in bodies:
            answered = await client.chat.completions.create(**body)
            assert answered.choices[0].message.content == "yes"
        assert upstream.bodies == [{**body, "model": "strong-7b"} for body in bodies]
        assert {row[:3] for row in kept(tmp_path)} == {("passthrough", "tokens", 3)}


TOLD = {"error": {"message": f"no tools here, {SECRET}", "param": "tools", "code": "no_tools"}}
REFUSALS = [
    (Reply(TOLD, 400), openai.BadRequestError, "no_tools", "no tools here, ***"),
    (Reply(b"what?", 422), openai.UnprocessableEntityError, None, "what?"),
    (Reply({"error": {"message": "slow"}}, 429, {"Retry-After": "7"}), openai.RateLimitError,
     "rate_limit_exceeded", "slow"),
    (Reply({"error": {"message": f"wrong key {SECRET}"}}, 401), openai.InternalServerError,
     "model_unavailable", "rejects requests of this server"),
    (Reply({"error": {"message": "no such model"}}, 404), openai.InternalServerError,
     "model_unavailable", "404"),
    (Reply(b"<html>", 502), openai.InternalServerError, "model_unavailable", "502"),
    (Reply(b"{}", missing=9), openai.InternalServerError, "model_unavailable", "connection"),
    (Reply(b"no json"), openai.InternalServerError, "model_unavailable", "expected"),
    (Reply({"choices": 3}), openai.InternalServerError, "model_unavailable", "OpenAI's form"),
]  # fmt: skip


@pytest.mark.parametrize("stream", [False, True])
async def test_what_the_upstream_refuses(monkeypatch, tmp_path, stream):
    replies = [reply for reply, *_ in REFUSALS]
    if stream:
        replies = [reply for reply in replies if reply.status != 200]
    left = list(replies)
    async with passing(monkeypatch, tmp_path, lambda _: left.pop(0)) as (_, client):
        for _, kind, code, message in REFUSALS[: len(replies)]:
            with pytest.raises(kind) as told:
                await client.chat.completions.create(**asked(tools=[TOOL], stream=stream))
            assert (told.value.code, message in str(told.value)) == (code, True), told.value
            assert SECRET not in str(told.value.response.text)
            if kind is openai.RateLimitError:
                assert told.value.response.headers["retry-after"] == "7"
        assert {row[1] for row in kept(tmp_path)} == {"failed"}
        assert len(kept(tmp_path)) == len(replies)


async def test_a_stream_that_breaks_off(monkeypatch, tmp_path):
    broken = [
        events(*PIECES[:2], done=False),
        events(PIECES[0], {"error": {"message": "out of memory"}}),
    ]
    async with passing(monkeypatch, tmp_path, lambda _: broken.pop(0)) as (_, client):
        for message in ("ended before", "out of memory"):
            with pytest.raises(openai.APIError, match=message):
                stream = await client.chat.completions.create(**asked(tools=[TOOL]), stream=True)
                async for _ in stream:
                    pass
        # Counted by what came, for nobody told more.
        rows = kept(tmp_path)
        assert [row[1:3] for row in rows] == [("failed", 2), ("failed", 1)]
        assert all(row[3] > 0 for row in rows)


@pytest.mark.parametrize("stream", [False, True])
async def test_who_leaves_ends_the_request_upstream(monkeypatch, tmp_path, stream):
    def answer(request):
        return events(*PIECES[:1] * 10_000, pause=0.02) if stream else SILENCE

    async with passing(monkeypatch, tmp_path, answer) as (upstream, client):
        asking = asyncio.create_task(
            client.chat.completions.create(**asked(tools=[TOOL], stream=stream))
        )
        while not upstream.requests:
            await asyncio.sleep(0.01)
        before = upstream.lost
        if stream:
            answered = await asking
            await anext(aiter(answered))
            await answered.close()
        else:
            asking.cancel()
        ((policy, finish, *_),) = await until_kept(tmp_path, 1)
        assert (policy, finish) == ("passthrough", "abandoned")
        while upstream.lost == before:
            await asyncio.sleep(0.01)
        async with httpx.AsyncClient() as plain:
            await until_desk(plain, str(client.base_url).rstrip("/"), running=0, waiting=0)


async def test_limits_that_cannot_be_kept_and_deadlines(monkeypatch, tmp_path):
    async with passing(monkeypatch, tmp_path, lambda _: SILENCE) as (upstream, client):
        for limit in ("money", "strong_tokens"):
            with pytest.raises(openai.BadRequestError, match=f"trim.{limit}: cannot be enforced"):
                await client.chat.completions.create(
                    **asked(tools=[TOOL]), extra_body={"trim": {limit: 1}}
                )
        with pytest.raises(openai.NotFoundError):
            await client.chat.completions.create(**asked(tools=[TOOL], model="gpt-4"))
        assert not upstream.requests
        with pytest.raises(openai.InternalServerError, match="no whole answer in 0"):
            await client.chat.completions.create(
                **asked(tools=[TOOL]), extra_body={"trim": {"deadline": 0.2}}
            )


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("more", [{"model": "trim:strong"}, {"tools": [TOOL]}])
async def test_what_one_request_has_reserved_is_refused_to_the_others(
    monkeypatch, tmp_path, more, stream
):
    words = ("keys", "create", "app", "--strong-tokens-a-day", "2")
    made = await asyncio.to_thread(trim, *words, folder=tmp_path)
    whole = chat("\\boxed{7}", counts=usage(5, 6), matched_stop=None)

    def answer(request):
        if "tools" not in request.body:
            return events(piece({"content": "7"}), piece({}, "stop"), SPENT)
        return events(*PIECES) if request.body.get("stream") else whole

    async with passing(monkeypatch, tmp_path, answer, "--running", 1) as (upstream, client):
        upstream.delay = 0.5
        url = f"{client.base_url}chat/completions"
        headers = {"Authorization": f"Bearer {made.stdout.strip()}"}
        async with httpx.AsyncClient(timeout=30, headers=headers) as plain:
            body = asked(stream=stream, **more)
            ended = await asyncio.gather(*(plain.post(url, json=body) for _ in range(8)))
        statuses = sorted(one.status_code for one in ended)
        assert statuses == [200] + [429] * 7
        assert len(upstream.requests) == len(kept(tmp_path)) == 1
        refused = [one for one in ended if one.status_code == 429]
        assert {one.json()["error"]["code"] for one in refused} == {"budget_reserved"}
        assert {one.headers["Retry-After"] for one in refused} == {"1"}


async def test_budgets_hold_for_what_is_handed_on(monkeypatch, tmp_path):
    words = ("keys", "create", "app", "--strong-tokens-a-day", "10")
    made = await asyncio.to_thread(trim, *words, folder=tmp_path)
    key = made.stdout.strip()
    answers = lambda _: chat("yes", counts=usage(5, 6))  # noqa: E731
    async with passing(monkeypatch, tmp_path, answers) as (upstream, client):
        with pytest.raises(openai.AuthenticationError):
            await client.chat.completions.create(**asked(tools=[TOOL]))
        allowed = client.with_options(api_key=key)
        for _ in range(2):
            await allowed.chat.completions.create(**asked(tools=[TOOL]))
        with pytest.raises(openai.RateLimitError, match="has spent its strong tokens"):
            await allowed.chat.completions.create(**asked(tools=[TOOL]))
        assert len(upstream.requests) == 2
        listed = await asyncio.to_thread(trim, "keys", "list", folder=tmp_path)
        assert "12 of 10" in " ".join(listed.stdout.split())


def test_only_a_server_with_openais_protocol_can_be_handed_requests(tmp_path):
    path = tmp_path / "trim.yaml"
    document = {"weak": {"gguf": "w.gguf"}, "strong": {"gguf": "s.gguf"},
                "server": {"passthrough": "strong"}}  # fmt: skip
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    refused = trim("serve", str(path), folder=tmp_path)
    assert refused.returncode == 2
    assert "server.passthrough: strong must be a server with OpenAI's protocol" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
