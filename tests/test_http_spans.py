"""Spans over HTTP, against staged streams of every kind; real ones are in test_llama_http.py."""

import asyncio
import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from staged_server import Reply, chat, completion, events, script, staged, usage

from trim.config import RouterConfig
from trim.engines.http import HttpServer
from trim.engines.key import Key
from trim.engines.retry import RetryPolicy, until
from trim.engines.sse import LINE_LIMIT, EventReader
from trim.errors import ContextExceeded, InvalidInput, ModelUnavailable, Refused
from trim.models.anthropic import AnthropicModel
from trim.models.continuation import (
    DEEPSEEK,
    MISTRAL,
    OPENAI,
    OTHER,
    SGLANG,
    TGI,
    VLLM,
    Continuation,
)
from trim.models.model import Ending, Prefix, Sampling, Token
from trim.models.openai import OpenAIModel
from trim.models.prompt import Prompt
from trim.models.response import spelled
from trim.models.spans import require_spans, span_obstacle
from trim.policies.registry import parse_policies
from trim.router import Router

SAMPLING = Sampling(0.7, 0.8, 20, 64)
HALF = Prefix("1 + 1?", ("Two numbers.\n\n",), begun="1 + 1")
WRITTEN = (" =", " 2", ".\n\n")
STREAMING = [VLLM, SGLANG]
MODES = [Continuation.COMPLETIONS, Continuation.CONTINUE_FINAL]


def model(server, mode=Continuation.COMPLETIONS, dialect=VLLM, attempts=2, key=None, **settings):
    http = HttpServer(server.url, key, retry=RetryPolicy(attempts=attempts, pause=0.0))
    return OpenAIModel(
        http, "m", continuation=mode, dialect=dialect, **{"prompt": Prompt(), **settings}
    )


def keep(count):
    """A rule that keeps so many tokens."""
    return lambda tokens: count if len(tokens) > count else None


def entry(text, logprob=-0.5):
    return {
        "token": text,
        "logprob": logprob,
        "top_logprobs": [{"token": text, "logprob": logprob}],
    }


def choice(mode, tokens, text=None, **fields):
    """A part of a stream in the form of a mode: tokens as the server decodes each alone."""
    text = "".join(tokens) if text is None else text
    if mode is Continuation.COMPLETIONS:
        record = {
            "tokens": list(tokens),
            "token_logprobs": [-0.5] * len(tokens),
            "top_logprobs": [{token: -0.5} for token in tokens],
        }
        said = {"text": text}
    else:
        record = {"content": [entry(token) for token in tokens]}
        said = {"delta": {"content": text}}
    return {"index": 0, **said, "logprobs": record, "finish_reason": None, **fields}


def stream(dialect, mode, written=WRITTEN, end=("stop", "\n\n"), cached=None, **more):
    """The stream of a server, one token a chunk, with the tokens counted in each."""
    chunks = []
    if mode is not Continuation.COMPLETIONS:
        first = {"role": "assistant", "content": ""}
        chunks.append({"choices": [{"index": 0, "delta": first}], "usage": usage(10, 0)})
    reason, stopped = end
    for count, text in enumerate(written, 1):
        last = {}
        if count == len(written):
            name = "stop_reason" if dialect is VLLM else "matched_stop"
            last = {"finish_reason": reason, name: stopped}
        chunks.append({"choices": [choice(mode, [text], **last)], "usage": usage(10, count)})
    counts = usage(10, len(written))
    if cached is not None:
        counts["prompt_tokens_details"] = {"cached_tokens": cached}
    chunks.append({"choices": [], "usage": counts})
    return events(*chunks, **more)


# Streams


@pytest.mark.parametrize("dialect", STREAMING, ids=lambda each: each.name)
@pytest.mark.parametrize("mode", MODES)
async def test_a_stream_is_read_to_the_end_of_the_step(dialect, mode):
    async with staged(script(stream(dialect, mode, cached=4))) as server:
        span = await model(server, mode, dialect).write_span(HALF, SAMPLING, 7)
    assert (span.text, span.ending) == (" = 2.\n\n", Ending.STEP)
    assert [token.text for token in span.decoded] == list(WRITTEN)
    assert (span.tokens, span.prompt_tokens, span.cached_tokens) == (3, 10, 4)
    assert span.dropped == ()
    assert span.log_probability == pytest.approx(-0.5)
    (sent,) = server.bodies
    assert sent["stream"] is True
    assert sent["stream_options"] == {"include_usage": True, "continuous_usage_stats": True}
    assert (sent["stop"], sent["seed"]) == (["\n\n"], 7)
    if mode is Continuation.COMPLETIONS:
        assert sent["prompt"].endswith("Two numbers.\n\n1 + 1")
        assert sent["logprobs"] == 2
    else:
        assert sent["messages"][-1]["content"] == "Two numbers.\n\n1 + 1"
        assert (sent["logprobs"], sent["top_logprobs"]) == (True, 2)


@pytest.mark.parametrize("mode", MODES)
async def test_a_rule_that_ends_at_the_limit_waits_for_the_cached_tokens(mode):
    """One token of the strong model: the server stops by itself, and counts what it has read."""
    one = stream(VLLM, mode, [" ="], ("length", None), cached=8)
    async with staged(script(one)) as server:
        writer = model(server, mode)
        for _ in range(2):
            span = await writer.write_span(HALF, Sampling(max_tokens=1), 0, len)
            assert (span.text, span.ending, span.tokens) == (" =", Ending.RULE, 1)
            assert (span.prompt_tokens, span.cached_tokens) == (10, 8)
    assert server.connections == 1


@pytest.mark.parametrize("dialect", STREAMING, ids=lambda each: each.name)
@pytest.mark.parametrize("mode", MODES)
async def test_a_rule_closes_the_connection_at_its_token(dialect, mode):
    """The server would go on for minutes; the counts are those up to the token."""
    long = stream(dialect, mode, [" a"] * 1000, pause=0.05)
    async with staged(script(long)) as server:
        started = time.perf_counter()
        span = await model(server, mode, dialect).write_span(HALF, SAMPLING, 7, keep(2))
        assert time.perf_counter() - started < 20
        await asyncio.sleep(0.2)
        assert server.lost == 1
    assert (span.text, span.ending, span.tokens, span.prompt_tokens) == (" a a", Ending.RULE, 3, 10)
    assert [token.text for token in span.dropped] == [" a"]


async def test_tokens_of_one_chunk_behind_the_end_are_counted_and_dropped():
    mode = Continuation.COMPLETIONS
    chunk = {"choices": [choice(mode, [" a", " b", " c", " d"])], "usage": usage(10, 4)}
    async with staged(script(events(chunk, done=False))) as server:
        span = await model(server).write_span(HALF, SAMPLING, 0, keep(1))
    assert (span.text, span.tokens) == (" a", 4)
    assert [token.text for token in span.dropped] == [" b", " c", " d"]


@pytest.mark.parametrize("mode", MODES)
async def test_the_blank_line_that_ends_a_step_may_begin_before_the_span(mode):
    """The server does not see it, as its stop string is only in part in the new text."""
    begun = Prefix("q", begun="one.\n")
    written = ["\n", "two", "\n\n"]
    async with staged(script(stream(VLLM, mode, written, pause=0.02))) as server:
        span = await model(server, mode).write_span(begun, SAMPLING, 0)
    assert (span.text, span.ending, span.tokens) == ("\n", Ending.STEP, 1)


@pytest.mark.parametrize(
    ("written", "end", "text", "ending"),
    [
        ((" a", " b"), ("length", None), " a b", Ending.LENGTH),
        ((" a", " b"), ("stop", None), " a b", Ending.SOLUTION),
        ((" a", "\n", "\n"), ("stop", "\n\n"), " a\n\n", Ending.STEP),
    ],
)
@pytest.mark.parametrize("mode", MODES)
async def test_how_a_stream_ends_is_told(mode, written, end, text, ending):
    async with staged(script(stream(VLLM, mode, written, end))) as server:
        span = await model(server, mode).write_span(HALF, SAMPLING, 0)
    assert (span.text, span.ending, span.tokens) == (text, ending, len(written))
    assert "".join(token.text for token in span.decoded) == text


async def test_an_end_token_is_seen_by_the_rule_but_is_no_text():
    mode = Continuation.COMPLETIONS
    ended = choice(mode, ["<|im_end|>"], "", finish_reason="stop", stop_reason=None)
    chunks = (
        {"choices": [choice(mode, [" 2."])], "usage": usage(10, 1)},
        {"choices": [ended], "usage": usage(10, 2)},
        {"choices": [], "usage": usage(10, 2)},
    )
    seen = []
    async with staged(script(events(*chunks))) as server:
        span = await model(server).write_span(
            HALF, SAMPLING, 0, lambda tokens: seen.append(len(tokens))
        )
    assert (span.text, span.ending, span.tokens, len(span.decoded)) == (
        " 2.",
        Ending.SOLUTION,
        2,
        1,
    )
    assert seen == [1, 2]


async def test_the_tokens_of_a_span_are_sent_when_the_model_goes_on():
    mode = Continuation.COMPLETIONS
    first = choice(mode, [" ="], prompt_token_ids=[1, 2], token_ids=[3])
    second = choice(mode, [" 2"], token_ids=[4])
    chunks = [
        {"choices": [each], "usage": usage(2, n)} for n, each in enumerate((first, second), 1)
    ]
    async with staged(script(events(*chunks, done=False))) as server:
        writer = model(server)
        span = await writer.write_span(HALF, SAMPLING, 0, keep(1))
        await writer.write_span(HALF.inside(HALF.begun + span.text), SAMPLING, 0, keep(1))
    assert server.bodies[0]["return_token_ids"] is True
    assert server.bodies[1]["prompt"] == [1, 2, 3]


# Faults


async def test_a_stream_that_breaks_off_is_not_asked_again():
    """Tokens are decoded by then, and were read."""
    whole = stream(VLLM, Continuation.COMPLETIONS)
    body = b"".join(whole.later[:2])
    ended, cut = (Reply(body, headers=whole.headers, missing=missing) for missing in (0, 100))
    for broken, why in ((ended, "the stream ended early"), (cut, "connection")):
        async with staged(script(broken)) as server:
            with pytest.raises(ModelUnavailable, match=f"broke off; the last failure: .*{why}"):
                await model(server).write_span(HALF, SAMPLING, 0)
            assert len(server.requests) == 1


async def test_a_fault_before_the_first_token_is_retried():
    good = stream(VLLM, Continuation.COMPLETIONS)
    empty = events(done=False)
    for fault in (Reply({"error": "busy"}, 503), Reply({"error": "wait"}, 429), empty):
        async with staged(script(fault, good)) as server:
            writer = model(server)
            span = await writer.write_span(HALF, SAMPLING, 0)
        assert (span.text, len(server.requests)) == (" = 2.\n\n", 2)
        assert sum(writer.server.faults.values()) == 1


@pytest.mark.parametrize(
    "record",
    [
        b"data: {\n\n",
        b"data: []\n\n",
        b'data: {"choices": [{"text": 3, "logprobs": {"tokens": ["a"]}}]}\n\n',
        b'data: {"choices": [{"index": 0}], "usage": {"prompt_tokens": "x"}}\n\n',
        b"data: \xff\xfe\n\n",
        b"data: " + b"9" * (LINE_LIMIT + 1),
        b"9" * (LINE_LIMIT + 9),
    ],
)
async def test_a_garbled_stream_is_a_fault(record):
    good = stream(VLLM, Continuation.COMPLETIONS)
    bad = Reply(b"", headers=good.headers, later=(record,))
    async with staged(script(bad, good)) as server:
        writer = model(server)
        assert (await writer.write_span(HALF, SAMPLING, 0)).text == " = 2.\n\n"
        assert list(writer.server.faults) == ["garbled answer"]
    late = Reply(b"", headers=good.headers, later=(good.later[0], record))
    async with staged(script(late)) as server:
        with pytest.raises(ModelUnavailable, match="garbled answer"):
            await model(server).write_span(HALF, SAMPLING, 0)
        assert len(server.requests) == 1


async def test_an_error_in_a_stream_is_told_without_the_key():
    mode = Continuation.COMPLETIONS
    begun = {"choices": [choice(mode, [" ="])], "usage": usage(10, 1)}
    error = {"error": {"message": "the engine died of Zx81-very-secret", "code": 500}}
    async with staged(script(events(begun, error))) as server:
        writer = model(server, key=Key("Zx81-very-secret", "a test"))
        with pytest.raises(ModelUnavailable, match="the engine died") as caught:
            await writer.write_span(HALF, SAMPLING, 0)
        assert "Zx81" not in str(caught.value)


async def test_a_context_that_is_exceeded_is_told_in_a_stream():
    error = {"error": {"message": "The input exceeds the model's maximum context length of 9"}}
    async with staged(script(events(error))) as server:
        with pytest.raises(ContextExceeded):
            await model(server).write_span(HALF, SAMPLING, 0)
        assert len(server.requests) == 1


async def test_a_stream_without_end_is_ended():
    """By the tokens that were requested, with or without counts."""
    mode = Continuation.COMPLETIONS
    chunk = b"data: " + json.dumps({"choices": [choice(mode, [" a"])]}).encode() + b"\n\n"
    endless = Reply(b"", headers={"Content-Type": "text/event-stream"}, later=(chunk,) * 10**6)
    async with staged(script(endless)) as server:
        with pytest.raises(ModelUnavailable, match="more tokens than the 64 that were requested"):
            await model(server).write_span(HALF, SAMPLING, 0)
        await asyncio.sleep(0.1)
        assert server.lost == 1


async def test_a_silent_stream_ends_at_the_deadline_with_what_it_has():
    silent = stream(VLLM, Continuation.COMPLETIONS, [" a"] * 9, pause=10)
    async with staged(script(silent)) as server:
        started = time.monotonic()
        with until(started + 0.5):
            span = await model(server).write_span(HALF, SAMPLING, 0)
        assert time.monotonic() - started < 5
    assert span.ending is Ending.RULE
    assert 0 < span.tokens < 9
    assert span.text == " a" * span.tokens


async def test_a_cancelled_span_closes_its_connection():
    endless = stream(VLLM, Continuation.COMPLETIONS, [" a"] * 1000, pause=0.05)
    async with staged(script(endless)) as server:
        task = asyncio.ensure_future(model(server).write_span(HALF, SAMPLING, 0))
        await asyncio.sleep(0.3)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.sleep(0.1)
        assert server.lost == 1


async def test_a_whole_stream_keeps_its_connection():
    good = stream(VLLM, Continuation.COMPLETIONS)
    async with staged(script(good)) as server:
        writer = model(server)
        for _ in range(3):
            await writer.write_span(HALF, SAMPLING, 0)
        assert (server.connections, len(server.requests)) == (1, 3)


# Servers that do not stream


LISTS = {
    "tokens": [" =", " 2", "."],
    "token_logprobs": [-0.1, -2.0, -0.2],
    "top_logprobs": [{" =": -0.1}, {" 2": -2.0}, {".": -0.2}],
}


async def test_without_a_stream_the_whole_answer_is_counted_and_cut():
    said = completion(" = 2.", logprobs=LISTS, counts=usage(10, 4))
    async with staged(script(said)) as server:
        writer = model(server, dialect=TGI)
        cut = await writer.write_span(HALF, SAMPLING, 0, keep(1))
        whole = await writer.write_span(HALF, SAMPLING, 0)
    assert (cut.text, cut.ending, cut.tokens) == (" =", Ending.RULE, 4)
    assert [token.text for token in cut.dropped] == [" 2", "."]
    assert (whole.text, whole.ending, whole.dropped) == (" = 2.", Ending.STEP, ())
    assert "stream" not in server.bodies[0]
    assert server.bodies[0]["stop"] == ["\n\n"]


async def test_a_prefix_is_continued_inside_a_step():
    record = {"content": [entry(" ="), entry(" 2.")]}
    async with staged(script(chat(" = 2.", logprobs=record))) as server:
        span = await model(server, Continuation.PREFIX, DEEPSEEK).write_span(HALF, SAMPLING, 0)
    sent = server.bodies[0]
    assert sent["messages"][-1] == {
        "role": "assistant", "content": "Two numbers.\n\n1 + 1", "prefix": True,
    }  # fmt: skip
    assert (span.text, len(span.decoded)) == (" = 2.", 2)


@pytest.mark.parametrize(("begun", "ending"), [("", Ending.SOLUTION), ("one.", Ending.STEP)])
async def test_nothing_after_half_a_step_is_the_blank_line_that_the_server_leaves_out(
    begun, ending
):
    async with staged(script(chat(""))) as server:
        writer = model(server, Continuation.PREFIX, DEEPSEEK)
        span = await writer.write_span(Prefix("q", begun=begun), SAMPLING, 0)
    assert (span.text, span.ending) == ("", ending)


# Obstacles


@pytest.mark.parametrize(
    ("mode", "dialect"),
    [
        (Continuation.USER_TURN, OPENAI),
        (Continuation.USER_TURN, VLLM),
        (Continuation.USER_TURN, OTHER),
    ],
)
async def test_a_question_cannot_be_continued_and_nothing_is_spent(mode, dialect):
    (policy,) = parse_policies("token:0.9")
    async with staged(script(chat("a"))) as server:
        writer = model(server, mode, dialect)
        with pytest.raises(InvalidInput, match="the mode user_turn quotes the text"):
            await require_spans(writer)
        with pytest.raises(InvalidInput, match="cannot write inside a step"):
            await writer.write_span(HALF, SAMPLING, 0)
        router = Router(weak=writer, strong=writer, policy=policy, config=RouterConfig())
        with pytest.raises(InvalidInput, match="choose a policy for whole steps"):
            await router.asolve("1 + 1?")
        assert server.requests == []


@pytest.mark.parametrize(
    ("dialect", "reply"),
    [
        (TGI, completion(" five, six")),
        (MISTRAL, chat(" five, six")),
        (VLLM, events({"choices": [{"index": 0, "text": " five", "finish_reason": None}]})),
    ],
)
async def test_missing_log_probabilities_are_an_obstacle_found_once(dialect, reply):
    mode = dialect.modes[0]
    async with staged(script(reply)) as server:
        writer = model(server, mode, dialect)
        for _ in range(2):
            obstacle = await span_obstacle(writer)
            assert obstacle == "the server returns no log-probabilities of its tokens"
        assert len(server.requests) == 1
        with pytest.raises(Refused, match="returns no log-probabilities"):
            await writer.write_span(HALF, SAMPLING, 0)


async def test_a_request_that_the_server_refuses_is_an_obstacle():
    refused = Reply({"error": {"message": "logprobs is not supported by this model"}}, 400)
    async with staged(script(refused)) as server:
        obstacle = await span_obstacle(model(server, Continuation.PREFIX, DEEPSEEK))
    assert "logprobs is not supported by this model" in obstacle


@pytest.mark.parametrize(("trims", "obstacle"), [(True, "drops white space"), (False, None)])
async def test_a_template_that_trims_is_an_obstacle(trims, obstacle):
    def answer(request):
        if request.path == "/tokenize":
            return {"tokens": [1, 2, 3]}
        said = request.body["messages"][-1]["content"]
        read = len(said.rstrip() if trims else said)
        if request.body.get("stream"):
            return stream(VLLM, Continuation.CONTINUE_FINAL)
        return chat(" six", counts=usage(read, 1))

    async with staged(answer) as server:
        writer = model(server, Continuation.CONTINUE_FINAL)
        found = await span_obstacle(writer)
        assert found is None if obstacle is None else obstacle in found
        assert (writer.vocabulary is None) is trims


async def test_vocabularies_are_compared_by_how_they_cut_a_text():
    def answer(tokens):
        good = stream(VLLM, Continuation.COMPLETIONS)
        return lambda request: tokens if request.path == "/tokenize" else good

    found = []
    for tokens in ({"tokens": [1, 2]}, {"tokens": [1, 2]}, {"tokens": [1, 3]}, Reply({}, 404), {}):
        async with staged(answer(tokens)) as server:
            writer = model(server)
            assert await span_obstacle(writer) is None
            found.append(writer.vocabulary)
    same, again, other, *unknown = found
    assert same == again != other
    assert unknown == [None, None]


async def test_anthropic_says_why():
    writer = AnthropicModel("claude", "http://127.0.0.1:9", continuation="prefill", key="k")
    with pytest.raises(InvalidInput, match="Anthropic's API returns no log-probabilities"):
        await require_spans(writer)


# Texts of tokens


def token(text):
    return Token(text, -0.5)


@pytest.mark.parametrize(
    ("alone", "text", "texts"),
    [
        (["a", " b"], "a b", ["a", " b"]),
        (["a", "b"], "a b", ["a", " b"]),  # SentencePiece: a token alone loses its blank
        (["\ufffd", "\ufffd", "x"], "éx", ["", "é", "x"]),
        ([" ", "\ufffd", "\ufffd"], " é", [" ", "", "é"]),
        (["a", "<|im_end|>"], "a", ["a", ""]),
        (["a", ".\n\n  "], "a.\n\n", ["a", ".\n\n  "]),  # cut after its stop string
        (["a", ".\n\n"], "a.", ["a", ".\n\n"]),  # cut before it
        (["a", "\n", "\n"], "a", ["a", "\n", "\n"]),
        ([], "", []),
    ],
)
def test_tokens_spell_the_text_together(alone, text, texts):
    assert [each.text for each in spelled([token(each) for each in alone], text)] == texts


@given(st.lists(st.text("ab é🙂", min_size=1, max_size=3), max_size=8), st.data())
def test_however_tokens_are_decoded_their_texts_are_the_text(texts, data):
    damaged = [
        data.draw(st.sampled_from([text, text.strip(" "), "\ufffd", "<end>"])) for text in texts
    ]
    text = "".join(texts)
    found = "".join(each.text for each in spelled([token(each) for each in damaged], text))
    assert found == text


@given(st.lists(st.integers(0, 99), max_size=9), st.integers(1, 7), st.booleans())
def test_events_are_read_from_any_pieces(records, size, done):
    lines = [b": a comment\r\n\r\n", b"event: message\n"]
    lines += [b"data: " + json.dumps({"n": each}).encode() + b"\r\n\r\n" for each in records]
    lines += [b"data:[DONE]\n\n"] if done else []
    stream = b"".join(lines)
    reader, found = EventReader(), []
    for start in range(0, len(stream), size):
        found += reader.feed(stream[start : start + size])
    assert found == [{"n": each} for each in records]
    assert reader.done is done
