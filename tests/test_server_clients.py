"""Clients as they are, but for the base URL: the official one, and a framework built on it."""

import asyncio
import socket
import time

import httpx
import openai
import pytest
from langchain_core.messages import HumanMessage, SystemMessage
from langchain_openai import ChatOpenAI
from staged_server import SILENCE, staged
from test_server_api import QUESTIONS, asked, configured, counting, serving

from trim.server.run import listen


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("server")) as address:
        yield address


def test_small_pieces_are_not_held_back():
    """A piece that waits for the last one's receipt is 40 ms late; asyncio sees to that only for
    sockets that name their protocol."""
    with listen("127.0.0.1", 0) as listening:
        assert listening.proto == socket.IPPROTO_TCP


@pytest.fixture
def client(url):
    return openai.OpenAI(base_url=url, api_key="none", max_retries=0)


def test_the_stream_helper(client):
    with client.chat.completions.stream(
        **asked(seed=4), stream_options={"include_usage": True}
    ) as stream:
        pieces = [event.delta for event in stream if event.type == "content.delta"]
        final = stream.get_final_completion()
    whole = client.chat.completions.create(**asked(seed=4))
    text = whole.choices[0].message.content
    assert "".join(pieces) == final.choices[0].message.content == text
    assert len(pieces) > 1 and final.choices[0].finish_reason == "stop"
    assert final.usage.total_tokens > 0


async def test_the_asynchronous_client_with_many_requests(url):
    async with openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as client:

        async def ask(number):
            question = QUESTIONS[number % len(QUESTIONS)]
            async with client.chat.completions.stream(**asked(question, seed=number)) as stream:
                return (await stream.get_final_completion()).choices[0].message.content

        answers = await asyncio.gather(*map(ask, range(24)))
    assert all(r"\boxed{" in answer for answer in answers)


def test_errors_have_its_classes(client):
    for wrong, kind in (
        (asked(temperature=9), openai.BadRequestError),
        (asked(model="gpt-4"), openai.NotFoundError),
        (asked("x" * 1_000_001), openai.APIStatusError),
    ):
        with pytest.raises(kind) as told:
            client.chat.completions.create(**wrong)
        assert told.value.body["message"] in str(told.value)
    assert told.value.status_code == 413
    with pytest.raises(openai.APITimeoutError):
        client.with_options(timeout=0.001).chat.completions.create(**asked(n=8))


async def test_its_retries_wait_as_long_as_they_are_told(tmp_path):
    """A queue that is full says when to come again, and the client does."""
    silent = True

    def answer(request):
        probed = request.body["messages"][0]["content"].startswith("Count")
        return counting(request) if probed or not silent else SILENCE

    async with staged(answer) as server:
        manager = serving(tmp_path, configured(tmp_path, server), "--running", 1, "--queue", 0)
        url = await asyncio.to_thread(manager.__enter__)
        try:
            client = openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=4)
            held = asyncio.create_task(client.chat.completions.create(**asked("held")))
            async with httpx.AsyncClient() as plain:
                page = url.removesuffix("/v1") + "/metrics"
                while "trim_running 1.0" not in (await plain.get(page)).text:
                    await asyncio.sleep(0.02)
            with pytest.raises(openai.InternalServerError) as told:
                await client.with_options(max_retries=0).chat.completions.create(**asked("no"))
            assert (told.value.code, told.value.response.headers["retry-after"]) == (
                "overloaded", "1",
            )  # fmt: skip
            started = time.monotonic()
            # The model would write step after step for ever.
            patiently = asked("patient", max_tokens=20)
            patient = asyncio.create_task(client.chat.completions.create(**patiently))
            await asyncio.sleep(0.3)
            silent = False
            held.cancel()
            answered = await patient
            assert time.monotonic() - started >= 1 and answered.choices
        finally:
            await asyncio.to_thread(manager.__exit__, None, None, None)


@pytest.fixture
def langchain(url):
    return ChatOpenAI(base_url=url, api_key="none", model="trim", seed=6, max_retries=0)


def test_langchain_invokes_streams_and_batches(langchain):
    answer = langchain.invoke(QUESTIONS[0])
    assert r"\boxed{" in answer.content
    assert answer.usage_metadata["output_tokens"] > 0
    pieces = list(langchain.stream(QUESTIONS[0]))
    assert "".join(piece.content for piece in pieces) == answer.content and len(pieces) > 2
    batch = langchain.batch(QUESTIONS[:4])
    assert [r"\boxed{" in each.content for each in batch] == [True] * 4
    said = langchain.invoke([SystemMessage("Be short."), HumanMessage(QUESTIONS[1])])
    assert said.response_metadata["finish_reason"] == "stop"


async def test_langchain_asynchronously(langchain):
    answer, other = await asyncio.gather(
        langchain.ainvoke(QUESTIONS[0]), langchain.ainvoke(QUESTIONS[1])
    )
    assert answer.content != other.content
    pieces = [piece.content async for piece in langchain.astream(QUESTIONS[0])]
    assert "".join(pieces) == answer.content


def test_langchain_is_told_what_is_wrong(langchain):
    with pytest.raises(openai.BadRequestError, match="no model is configured"):
        langchain.bind(response_format={"type": "json_object"}).invoke("x")
