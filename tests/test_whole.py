"""Whole answers: one request in the engine's own chat format, streamed, counted and limited."""

import asyncio
import json
import sqlite3
from contextlib import asynccontextmanager
from dataclasses import replace

import httpx
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from staged_server import Reply, chat, completion, events, staged, usage

from trim.config import Fallback, Fallbacks, RouterConfig
from trim.configuration.source import models_in, open_models
from trim.costs import Price, Prices
from trim.engines.chat_template import ChatTemplate
from trim.engines.http import HttpServer
from trim.engines.key import Key
from trim.engines.retry import RetryPolicy
from trim.errors import ContextExceeded, InvalidInput, ModelUnavailable, Refused
from trim.evaluation.suites import CHAIN, generate
from trim.events import Finished, Kept, SpanWritten
from trim.models.anthropic import AnthropicModel, anthropic_server
from trim.models.continuation import DIALECTS, Continuation
from trim.models.model import Completion, Ending, Role, Sampling, Turn
from trim.models.openai import LONGEST, OpenAIModel
from trim.models.prompt import Prompt
from trim.models.whole import WholeRequest
from trim.policies.fixed import WeakAlone
from trim.router import Router
from trim.server.admission import Limits
from trim.server.app import make_app
from trim.server.run import Serving, opened
from trim.types import Finish, Trace, Whole

BOXED = Prompt("Put your final answer within \\boxed{}.", "Q: {question}", "Solution: ")
FENCED = "A list:\n\n- one\n\n- two\n\n```python\nx = 1\n\ny = 2\n```\n\nDone."
SAMPLING = Sampling(0.7, 0.8, 20, 64)
SAYS = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}<assistant>"


def model(server, mode=Continuation.USER_TURN, kind="other", attempts=2, **settings):
    http = HttpServer(server.url, retry=RetryPolicy(attempts=attempts, pause=0.0))
    return OpenAIModel(http, "m", continuation=mode, dialect=kind, **{"prompt": BOXED, **settings})


def piece(text=None, finish=None, **more):
    delta = {} if text is None else {"content": text}
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **more}


COUNTED = {"choices": [], "usage": usage(20, 9)}


def pieces_of(text, size=7):
    return [text[start : start + size] for start in range(0, len(text), size)]


def streamed(text, finish="stop", counted=COUNTED, size=7):
    """A stream of an answer, in the form of the endpoint that was asked."""

    def answer(request):
        if request.path.endswith("/chat/completions"):
            parts = [piece(each) for each in pieces_of(text, size)]
            return events(*parts, piece("", finish), *([counted] if counted else []))
        parts = [completion(each, None, {}) for each in pieces_of(text, size)]
        return events(*parts, completion("", finish, {}), *([counted] if counted else []))

    return answer


async def written(writer, on_text=None, **request):
    taken = []

    def take(text):
        taken.append(text)
        return False

    asked = WholeRequest(**{"question": "hello", "sampling": SAMPLING, "seed": 3, **request})
    answer = await writer.write_whole(asked, on_text or take)
    assert on_text or "".join(taken) == answer.text
    return answer


MODES = [
    (Continuation.USER_TURN, "openai"),
    (Continuation.USER_TURN, "other"),
    (Continuation.PREFIX, "deepseek"),
    (Continuation.PREFIX, "mistral"),
    (Continuation.PREFILL, "llama_cpp"),
    (Continuation.CONTINUE_FINAL, "vllm"),
    (Continuation.COMPLETIONS, "vllm"),
    (Continuation.COMPLETIONS, "tgi"),
]


@pytest.mark.parametrize(("mode", "kind"), MODES)
async def test_it_is_one_request_in_the_chat_format_of_the_engine(mode, kind):
    history = (Turn(Role.SYSTEM, "Be brief."), Turn(Role.USER, "Hi."), Turn(Role.ASSISTANT, "Yes?"))
    template = ChatTemplate(SAYS, {}, "test") if mode is Continuation.COMPLETIONS else None
    async with staged(streamed(FENCED)) as server:
        writer = model(server, mode, kind, template=template)
        answer = await written(writer, history=history, prompted=False, stops=("END",))
    assert answer.text == FENCED and answer.ending is Ending.SOLUTION
    assert (answer.tokens, answer.prompt_tokens) == (9, 20)
    (request,) = server.requests
    body = request.body
    if mode is Continuation.COMPLETIONS:
        read = "<system>Be brief.<user>Hi.<assistant>Yes?<user>hello<assistant>"
        assert body["prompt"] == read and body["max_tokens"] == LONGEST
    else:
        assert body["messages"] == [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Hi."},
            {"role": "assistant", "content": "Yes?"},
            {"role": "user", "content": "hello"},
        ]
        assert not {"max_tokens", "max_completion_tokens"} & body.keys()
        assert "continue_final_message" not in body
    assert (body["stop"], body["stream"]) == (["END"], True)
    assert ("stream_options" in body) == (kind != "mistral")
    assert not {"verbose", "logprobs", "return_token_ids", "return_tokens"} & body.keys()


async def test_the_models_own_prompt_is_for_questions_that_need_it():
    async with staged(streamed("4")) as server:
        await written(model(server), prompted=True)
        await written(model(server, Continuation.PREFILL, "llama_cpp"), prompted=True)
        plain = model(server, Continuation.COMPLETIONS, "vllm", prompt=Prompt())
        await written(plain, prompted=False)
    first, second, third = server.bodies
    messages = [
        {"role": "system", "content": BOXED.system},
        {"role": "user", "content": "Q: hello"},
    ]
    assert first["messages"] == messages
    assert second["messages"] == [*messages, {"role": "assistant", "content": "Solution: "}]
    assert third["prompt"] == "hello\n\n"


async def test_a_limit_is_sent_and_kept_by_an_engine_that_ignores_it():
    async with staged(streamed("abcdefghij", size=1)) as server:
        answer = await written(model(server), limit=4)
        kept = await written(model(server, kind="openai"), limit=10)
    assert (answer.text, answer.ending, answer.tokens) == ("abcd", Ending.LENGTH, 4)
    assert (kept.text, kept.ending) == ("abcdefghij", Ending.SOLUTION)
    assert [body.get("max_tokens") for body in server.bodies] == [4, None]
    assert server.bodies[1]["max_completion_tokens"] == 10


async def test_tokens_that_no_server_counts_are_estimated():
    async with staged(streamed("abcdefgh", size=2, counted=None)) as server:
        answer = await written(model(server), question="word " * 80)
    assert answer.tokens == 4 and 100 <= answer.prompt_tokens < 120


async def test_a_server_that_does_not_stream_answers_all_the_same():
    async with staged(lambda request: chat(FENCED, counts=usage(5, 8))) as server:
        answer = await written(model(server))
    assert (answer.text, answer.tokens, answer.ending) == (FENCED, 8, Ending.SOLUTION)


FULL = "maximum context length is 100 tokens. However, your prompt has 60 input tokens"


@pytest.mark.parametrize(("message", "sent"), [(FULL, 40), ("prompt is too long", 64)])
async def test_a_plain_text_is_as_long_as_the_context_allows(message, sent):
    def answer(request):
        if request.body["max_tokens"] > 64:
            return Reply({"error": {"message": message}}, 400)
        return streamed("short")(request)

    async with staged(answer) as server:
        answered = await written(model(server, Continuation.COMPLETIONS, "vllm", prompt=Prompt()))
    assert answered.text == "short"
    assert [body["max_tokens"] for body in server.bodies] == [LONGEST, sent]


async def test_what_does_not_fit_or_was_stopped_is_refused():
    full = Reply({"error": {"message": FULL.replace("60", "160")}}, 400)
    async with staged(lambda request: full) as server:
        with pytest.raises(ContextExceeded):
            await written(model(server))
    async with staged(streamed("I ca", "content_filter")) as server:
        with pytest.raises(Refused, match="content_filter"):
            await written(model(server))


@given(st.text(max_size=60), st.integers(1, 9))
def test_any_pieces_join_to_the_text(text, size):
    async def run():
        async with staged(streamed(text, size=size)) as server:
            return await written(model(server))

    assert asyncio.run(run()).text == text


# Anthropic


def message_events(*texts, reason="end_turn"):
    counts = {"input_tokens": 12, "cache_read_input_tokens": 8, "output_tokens": 1}
    return events(
        {"type": "message_start", "message": {"usage": counts}},
        {"type": "ping"},
        {"type": "content_block_start", "content_block": {"type": "text", "text": ""}},
        *(
            {"type": "content_block_delta", "delta": {"type": "text_delta", "text": text}}
            for text in texts
        ),
        {"type": "message_delta", "delta": {"stop_reason": reason}, "usage": {"output_tokens": 6}},
        {"type": "message_stop"},
        done=False,
    )


async def test_anthropics_api_writes_without_marks_of_steps():
    async with staged(lambda request: message_events("Hel", "lo.\n\nYou?")) as server:
        http = anthropic_server(Key("k", "test"), server.url)
        claude = AnthropicModel("claude", http, continuation="user_turn", prompt=BOXED)
        answer = await written(claude, prompted=False, stops=("END", "\n"))
    assert (answer.text, answer.ending) == ("Hello.\n\nYou?", Ending.SOLUTION)
    assert (answer.tokens, answer.prompt_tokens, answer.cached_tokens) == (6, 20, 8)
    (body,) = server.bodies
    assert body["messages"] == [{"role": "user", "content": "hello"}] and "system" not in body
    assert (body["max_tokens"], body["stop_sequences"]) == (64, ["END"])  # it takes no blank one


async def test_anthropics_api_says_why_a_message_ended():
    async with staged(lambda request: message_events("Hel", reason="max_tokens")) as server:
        http = anthropic_server(Key("k", "test"), server.url)
        claude = AnthropicModel("claude", http, continuation="user_turn")
        assert (await written(claude)).ending is Ending.LENGTH
    async with staged(lambda request: message_events("Hel", reason="refusal")) as server:
        claude = AnthropicModel(
            "claude", anthropic_server(Key("k", "test"), server.url), continuation="user_turn"
        )
        with pytest.raises(Refused, match="refusal"):
            await written(claude)


# The router


class Writing:
    """A model that writes these pieces, an error among them raised, and steps never."""

    def __init__(self, *pieces, name="writing", ending=Ending.SOLUTION):
        self.name = name
        self.pieces = pieces
        self.ending = ending
        self.requests = []

    async def write_step(self, prefix, sampling, seed):
        raise AssertionError("it is asked for whole answers only")

    async def write_whole(self, request, on_text):
        self.requests.append(request)
        written = []
        for text in self.pieces:
            await asyncio.sleep(0)
            if isinstance(text, Exception):
                raise text
            if on_text(text):
                break
            written.append(text)
        return Completion("".join(written), self.ending, len(written) + 1, 30)


GONE = ModelUnavailable("server: gone")


def answers(role="weak", weak=("a ", "b"), strong=("A ", "B"), middle=("m",), **config):
    models = [
        part if isinstance(part, Writing) else Writing(*part) for part in (weak, middle, strong)
    ]
    router = Router(
        weak=models[0], intermediate=models[1:2], strong=models[2], policy="thr:0.5",
        config=RouterConfig(**config),
    )  # fmt: skip
    return router.whole(role, "no reasoning"), models


@pytest.mark.parametrize(
    ("role", "text", "author", "action"),
    [
        ("weak", "a b", "weak", "continue"),
        ("intermediate-1", "m", "intermediate", "regenerate"),
        ("strong", "A B", "strong", "take_over"),
    ],
)
def test_one_model_writes_the_whole_answer_and_the_trace_says_so(role, text, author, action):
    router, models = answers(role)
    *events_, last = router.events("hello", 5)
    trace = last.trace
    assert [step.text for step in trace.steps] == [text]
    assert (trace.steps[0].author, trace.steps[0].action) == (author, action)
    assert (trace.finish, trace.policy) == (Finish.STOP, f"whole:{role}")
    assert trace.whole == Whole(role, "no reasoning")
    assert "".join(e.text for e in events_ if isinstance(e, SpanWritten)) == text
    assert isinstance(events_[-1], Kept)
    used = {name: each.tokens for name, each in trace.usage.items() if each.tokens}
    assert used == {role: len(text.split()) + 1}
    assert sum(len(each.requests) for each in models) == 1
    assert Trace.from_json(json.loads(json.dumps(trace.to_json()))) == trace


def test_a_trace_from_before_and_a_routed_one_say_nothing_of_it():
    trace = Trace("q", "thr:0.5", 0)
    assert "whole" not in trace.to_json() and Trace.from_json(trace.to_json()) == trace


def test_another_model_answers_where_one_is_away_before_its_first_word():
    router, _ = answers(weak=(GONE,), fallbacks=Fallbacks(weak=Fallback.ESCALATE))
    trace = router.solve("hello")
    assert (trace.solution, trace.steps[0].fallback) == ("m", "weak")
    router, _ = answers("strong", strong=(GONE,), fallbacks=Fallbacks(strong=Fallback.KEEP))
    trace = router.solve("hello")
    assert (trace.solution, trace.steps[0].fallback) == ("a b", "strong")
    middle = Fallbacks(intermediate=Fallback.KEEP)
    trace = answers("intermediate-1", middle=(GONE,), fallbacks=middle)[0].solve("hello")
    assert (trace.solution, trace.steps[0].fallback) == ("a b", "intermediate")
    both = Fallbacks(weak=Fallback.ESCALATE, intermediate=Fallback.KEEP, strong=Fallback.KEEP)
    away = answers("strong", weak=(GONE,), middle=(GONE,), strong=(GONE,), fallbacks=both)[0]
    assert away.solve("hello").finish is Finish.FAILED


def test_what_was_written_before_a_failure_is_kept_and_counted():
    everything = Fallbacks(strong=Fallback.KEEP, weak=Fallback.ESCALATE)
    for role in ("weak", "strong"):
        router, _ = answers(role, **{role: ("a ", "b", GONE)}, fallbacks=everything)
        trace = router.solve("hello " * 20)
        assert (trace.finish, trace.failure) == (Finish.FAILED, "server: gone")
        assert trace.solution == "a b"
        assert (trace.usage[role].tokens, trace.usage[role].prompt_tokens) == (2, 30)


async def test_what_was_written_for_someone_who_left_is_counted():
    router, _ = answers("strong", strong=[*["word "] * 5, *["more "] * 10_000])
    solution = router.begin("hello")
    async for event in (running := router.run(solution)):
        if isinstance(event, SpanWritten):
            break
    await running.aclose()
    spent = solution.usage["strong"]
    assert 1 <= spent.tokens <= 10_000 and spent.requests == 1
    assert solution.trace("x").solution.startswith("word ")


def test_limits_on_the_strong_model_hold_to_the_token():
    router, models = answers("strong", max_strong_tokens=7)
    router.solve("hello")
    assert models[2].requests[0].limit == 7
    prices = Prices(strong=Price(output=1e6))
    router, models = answers("strong", max_money=3.0, prices=prices, max_tokens=50)
    router.solve("hello")
    assert models[2].requests[0].limit == 3
    for none in ({"max_strong_tokens": 0}, {"max_money": 0.0}):
        trace = answers("strong", **none)[0].solve("hello")
        assert (trace.solution, trace.strong_tokens, trace.steps[0].denied) == ("a b", 0, True)
    router, models = answers("weak", max_strong_tokens=0, max_tokens=50)
    router.solve("hello")
    assert models[0].requests[0].limit == 50


def test_time_that_is_up_fails_the_answer_and_keeps_its_cost():
    class Slow(Writing):
        async def write_whole(self, request, on_text):
            while not on_text("on "):
                await asyncio.sleep(0.005)
            return Completion("", Ending.LENGTH, 9, 30)

    router, _ = answers(weak=Slow(), max_seconds=0.05)
    trace = router.solve("hello")
    assert (trace.finish, trace.usage["weak"].tokens) == (Finish.FAILED, 9)
    assert "time is up" in trace.failure


def test_a_model_of_steps_alone_is_refused():
    class Stepping:
        name = "stepping"

        async def write_step(self, prefix, sampling, seed): ...

    router = Router(weak=Stepping(), strong=Writing("a"), policy="thr:0.5")
    with pytest.raises(InvalidInput, match="stepping writes steps only"):
        router.whole("weak", "no reasoning")
    with pytest.raises(InvalidInput, match="there are weak, strong"):
        router.whole("intermediate-1", "no reasoning")


def test_a_whole_answer_is_the_text_of_the_steps():
    """Greedily, with the shipped models."""
    loaded = models_in().load(slots=1)
    config = RouterConfig(sampling=Sampling(0.0, 1.0, 0, 256))
    for problem in generate(CHAIN, 3, seed=5):
        router = Router.of(loaded, policy=WeakAlone(), config=config)
        steps = router.solve(problem.question)
        whole = router.whole("weak", "alone").solve(problem.question)
        assert (whole.solution, len(whole.steps)) == (steps.solution, 1)
        assert whole.usage["weak"].requests == 1
        assert whole.usage["weak"].tokens <= steps.usage["weak"].tokens
        cut = router.with_config(max_tokens=9).whole("weak", "alone").solve(problem.question)
        assert (cut.steps[0].tokens, cut.finish) == (9, Finish.TOKENS)
        stopped = router.with_config(stops=("2)",)).whole("weak", "alone").solve(problem.question)
        assert stopped.solution == steps.solution.partition("2)")[0]


# The server


def configured(folder, server, kind="openai", **routing):
    section = {"api": "openai", "url": server.url, "server": kind, "attempts": 1,
               "continuation": "user_turn", "system": BOXED.system}  # fmt: skip
    document = {
        "weak": {**section, "model": "weak"},
        "strong": {**section, "model": "strong"},
        "routing": {"policy": "random:0.5", **routing},
    }
    path = folder / "trim.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


@asynccontextmanager
async def opened_at(path):
    """The service of a configuration, in this process."""
    source = open_models(path)
    options = Serving("127.0.0.1", 0, str(path.parent / "trim.sqlite"), Limits(), keep_texts=True)
    async with opened(source, source.build(), options) as service:
        yield service


def client_of(service):
    """Asks a service without a network."""
    transport = httpx.ASGITransport(make_app(service))
    return httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1/v1")


@asynccontextmanager
async def serving(folder, server, **routing):
    path = configured(folder, server, **routing)
    async with opened_at(path) as service, client_of(service) as client:
        yield client


def body(question="hello", **more):
    return {"model": "trim", "messages": [{"role": "user", "content": question}], **more}


def records(folder):
    connection = sqlite3.connect(folder / "trim.sqlite")
    with connection:
        names = "model, policy, finish, weak_tokens, strong_tokens, answer"
        return list(connection.execute(f"SELECT {names} FROM requests"))


@pytest.mark.parametrize("role", ["weak", "strong"])
async def test_a_model_that_is_named_alone_answers_whole(tmp_path, role):
    async with staged(streamed(FENCED)) as server, serving(tmp_path, server) as client:
        model = f"trim:{role}"
        told = await client.post("/chat/completions", json=body(model=model))
        stream = await client.post("/chat/completions", json=body(model=model, stream=True))
    answer = told.json()
    assert answer["choices"][0]["message"]["content"] == FENCED
    spent = answer["usage"]["trim"]
    assert spent["policy"] == role == spent["whole"]["role"] == told.headers["x-trim-whole"]
    assert spent[f"{role}_tokens"] == 9 and answer["usage"]["prompt_tokens"] == 20
    parts = [part.removeprefix("data: ") for part in stream.text.split("\n\n") if part]
    deltas = [json.loads(part)["choices"][0]["delta"] for part in parts[:-1]]
    assert "".join(delta.get("content") or "" for delta in deltas) == FENCED
    assert len(server.requests) == 2 and {each["model"] for each in server.bodies} == {role}
    tokens = (9, 0) if role == "weak" else (0, 9)
    assert records(tmp_path) == [(model, role, "stop", *tokens, FENCED)] * 2


async def test_a_stream_comes_as_it_is_decoded(tmp_path):
    """The first piece is with the client while the engine still writes."""
    released = []

    def answer(request):
        parts = [piece("first ")] + [piece(".")] * 100 + [piece("", "stop"), COUNTED]
        return replace(events(*parts), pause=0.01)

    async with staged(answer) as server:
        source = open_models(configured(tmp_path, server))
        router = Router.of(source.build(), policy="random:0.5", config=source.chat_config)
        async for event in router.whole("weak", "no reasoning").aevents("hello"):
            if isinstance(event, SpanWritten):
                released.append(event.text)
            if isinstance(event, Finished):
                assert event.trace.solution == "".join(released)
    assert released[0] == "first " and len(released) > 20


async def test_several_choices_and_stops(tmp_path):
    async with staged(streamed("one END two")) as server, serving(tmp_path, server) as client:
        told = await client.post(
            "/chat/completions", json=body(model="trim:weak", n=2, stop=["END"], seed=1)
        )
    assert [each["message"]["content"] for each in told.json()["choices"]] == ["one "] * 2
    assert len(server.requests) == 2
    assert all(each["stop"] == ["END"] for each in server.bodies)


async def test_every_kind_of_server_has_a_limit_of_its_own():
    """A kind that is added is looked at here: whether it counts its streams."""
    counting = {name for name, kind in DIALECTS.items() if kind.counts_streams}
    assert counting == {"mistral"}
