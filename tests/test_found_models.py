"""Models by a URL or a file alone: what is not given is found at the first request, once."""

import asyncio
import json
import os
import subprocess
import sys

import pytest
from llama_server import PLAIN_CHAT, start
from staged_server import Reply, chat, completion, pooling, staged, usage

from trim import Router, parse_policies
from trim.config import RouterConfig
from trim.engines import llama_cpp
from trim.engines.http import HttpServer
from trim.engines.key import find_key
from trim.engines.llama_cpp import LlamaCppEngine
from trim.errors import InvalidInput, MissingExtra, ModelUnavailable
from trim.models.anthropic import AnthropicModel
from trim.models.continuation import SGLANG, VLLM, Continuation, ThinkingOff
from trim.models.llama_cpp import LlamaCppModel
from trim.models.model import Completion, Ending, Prefix, Sampling
from trim.models.openai import OpenAIModel
from trim.models.prompt import STEP_BY_STEP, Prompt
from trim.scorers.label import HttpLabelScorer
from trim.scorers.pooling import PoolingScorer
from trim.shipped import FOLDER, SAMPLING

QUESTION = Prefix("1 + 1?")
GREEDY = Sampling(0.0, 1.0, 0, 64)
SECRET = "sk-secret"
TEMPLATE = "{% for m in messages %}<{{ m.role }}>{{ m.content }}</>{% endfor %}<assistant>"
WRITTEN = Completion("a", Ending.STEP, 1, 1)


def listing(owner, *names):
    return {"data": [{"id": name, "owned_by": owner} for name in names]}


def server_of(owner, continues, names=("m",), routes=()):
    """A server whose model can count, and `continues(body)` half a sentence or starts over."""

    def answer(request):
        if request.method == "GET":
            known = {"/v1/models": listing(owner, *names), **dict(routes)}
            return known.get(request.path, Reply({}, 404))
        body = request.body
        text = " five, six" if continues(body) else "one, two, three, four, five"
        counts = usage(len(str(body.get("messages") or body["prompt"])))
        if "prompt" in body:
            return completion(text, counts=counts)
        return chat(text, counts=counts)

    return answer


def posts(server):
    return [request for request in server.requests if request.method == "POST"]


async def test_a_url_and_a_name_suffice():
    continues = server_of("vllm", lambda body: "continue_final_message" in body)
    async with staged(continues) as server:
        model = OpenAIModel(server.url, "m")
        step = await model.write_step(QUESTION, GREEDY, 7)
    assert (model.dialect, model.continuation) == (VLLM, Continuation.CONTINUE_FINAL)
    assert model.log_probabilities
    assert step.text
    asked = posts(server)[-1].body
    assert asked["messages"][0] == {"role": "system", "content": STEP_BY_STEP.system}


async def test_it_is_found_once_for_all_who_ask_together():
    async with staged(server_of("sglang", lambda body: True)) as server:
        model = OpenAIModel(server.url)
        before = model.name
        await asyncio.gather(*(model.write_step(QUESTION, GREEDY, seed) for seed in range(8)))
        found = len(server.requests)
        await model.write_step(QUESTION, GREEDY, 9)
        assert len(server.requests) == found + 1
    assert (model.model, model.dialect, model.name) == ("m", SGLANG, before)
    assert [request.path for request in server.requests].count("/v1/models") == 1


async def test_what_is_given_is_not_looked_for():
    async with staged(server_of("vllm", lambda body: False)) as server:
        model = OpenAIModel(server.url, "m", continuation="user_turn", dialect="openai")
        await model.write_step(QUESTION, GREEDY, 0)
        half = OpenAIModel(server.url, "m", continuation="user_turn")
        await half.write_step(QUESTION, GREEDY, 0)
    assert [request.path for request in server.requests] == [
        "/v1/chat/completions",
        "/v1/models",
        "/v1/chat/completions",
    ]
    assert half.dialect is VLLM


async def test_a_given_continuation_has_to_fit_the_server_that_is_found():
    async with staged(server_of("vllm", lambda body: True)) as server:
        model = OpenAIModel(server.url, "m", continuation=Continuation.PREFIX)
        with pytest.raises(InvalidInput, match="'vllm' do not take the mode 'prefix'"):
            await model.write_step(QUESTION, GREEDY, 0)
    with pytest.raises(InvalidInput, match="unknown Continuation 'x'; known: completions"):
        OpenAIModel(server.url, "m", continuation="x")
    with pytest.raises(InvalidInput, match="unknown kind of server 'x'"):
        OpenAIModel(server.url, "m", dialect="x")


async def test_the_template_of_a_llama_cpp_server_is_used():
    properties = {
        "default_generation_settings": {},
        "total_slots": 2,
        "chat_template": TEMPLATE,
        "bos_token": "<s>",
    }
    answer = server_of("llamacpp", lambda body: "prompt" in body, routes={"/props": properties})

    def with_tokens(request):
        return {"tokens": [1]} if request.path == "/tokenize" else answer(request)

    async with staged(with_tokens) as server:
        model = OpenAIModel(server.url)
        await model.write_step(QUESTION, GREEDY, 0)
    assert model.continuation is Continuation.COMPLETIONS
    assert model.template.source == TEMPLATE
    assert model.server.concurrency == 2
    sent = [request.body["content"] for request in posts(server) if request.path == "/tokenize"]
    assert sent == [f"<system>{STEP_BY_STEP.system}</><user>1 + 1?</><assistant>"]


@pytest.mark.parametrize("returned", [True, False])
async def test_log_probabilities_are_requested_where_they_are_returned(returned):
    """The usual scorer of a router reads them."""
    continues = server_of("someone", lambda body: True)

    def answer(request):
        if "logprobs" not in request.body:
            return continues(request)
        if not returned:
            return Reply({"error": {"message": "logprobs are not supported"}}, 400)
        entry = {"token": "a step", "logprob": -0.5, "top_logprobs": []}
        return chat("a step", logprobs={"content": [entry]})

    async with staged(answer) as server:
        model = OpenAIModel(server.url, "m", dialect="mistral")
        step = await model.write_step(QUESTION, GREEDY, 0)
    assert model.log_probabilities is returned
    assert step.log_probability == (-0.5 if returned else None)


async def test_a_model_that_thinks_is_told_not_to():
    def answer(request):
        if request.method == "GET":
            return listing("vllm", "m") if request.path == "/v1/models" else Reply({}, 404)
        if "prompt" in request.body:
            return Reply({"error": "no"}, 404)
        off = "chat_template_kwargs" in request.body
        counts = usage(len(str(request.body["messages"])))
        return chat("five", counts=counts, message=None if off else {"reasoning_content": "Hm."})

    async with staged(answer) as server:
        model = OpenAIModel(server.url, "m")
        await model.write_step(QUESTION, GREEDY, 0)
    assert model.thinking_off is ThinkingOff.TEMPLATE
    assert model.continuation is Continuation.CONTINUE_FINAL


async def test_where_nothing_works_the_error_asks_for_what_is_missing():
    def answer(request):
        if request.method == "GET":
            return listing("vllm", "m") if request.path == "/v1/models" else Reply({}, 404)
        return Reply({"error": {"message": "no such route"}}, 404)

    async with staged(answer) as server:
        with pytest.raises(InvalidInput) as caught:
            await OpenAIModel(server.url, "m").write_step(QUESTION, GREEDY, 0)
    message = str(caught.value)
    assert "m: no continuation works" in message
    assert "pass continuation=, and for 'completions' template=" in message
    assert "\n" not in message


async def test_one_of_several_models_has_to_be_named():
    async with staged(server_of("vllm", lambda body: True, names=("a", "b"))) as server:
        with pytest.raises(InvalidInput, match=r"name one of its models, as model=NAME; .*: a, b"):
            await OpenAIModel(server.url).write_step(QUESTION, GREEDY, 0)


async def test_a_server_that_was_down_is_asked_again():
    working = server_of("vllm", lambda body: True)
    down = True
    async with staged(lambda request: Reply(b"", missing=1) if down else working(request)) as there:
        model = OpenAIModel(there.url, "m")
        with pytest.raises(ModelUnavailable, match="no answer"):
            await model.write_step(QUESTION, GREEDY, 0)
        down = False
        assert (await model.write_step(QUESTION, GREEDY, 0)).text


def test_each_event_loop_may_be_the_first():
    async def ask(model, url):
        async with staged(server_of("vllm", lambda body: True)) as server:
            model.server.url = server.url + "/v1"
            return await asyncio.gather(*(model.write_step(QUESTION, GREEDY, 0) for _ in range(3)))

    model = OpenAIModel("http://127.0.0.1:9", "m")
    for _ in range(2):
        assert len(asyncio.run(ask(model, model.server.url))) == 3


async def test_keys_come_from_an_argument_or_a_variable(monkeypatch):
    monkeypatch.setenv("A_KEY", SECRET)
    async with staged(server_of("vllm", lambda body: True)) as server:
        for given in ({"key": SECRET}, {"key_variable": "A_KEY"}):
            await OpenAIModel(server.url, "m", **given).write_step(QUESTION, GREEDY, 0)
    assert {each.headers["Authorization"] for each in server.requests} == {f"Bearer {SECRET}"}
    with pytest.raises(InvalidInput, match="A_MISSING_KEY holds no key"):
        OpenAIModel(server.url, "m", key_variable="A_MISSING_KEY")
    with pytest.raises(InvalidInput, match="pass the key to HttpServer"):
        OpenAIModel(HttpServer(server.url), "m", key=SECRET)
    with pytest.raises(InvalidInput) as caught:
        OpenAIModel(server.url, "m", key=f"{SECRET} and more")
    assert SECRET not in str(caught.value)


def test_a_hosted_apis_key_goes_to_it_alone(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    own = OpenAIModel("https://api.openai.com/v1", "gpt")
    other = OpenAIModel("https://example.com/v1", "gpt")
    assert own.server.hidden(SECRET) == "***"
    assert other.server.hidden(SECRET) == SECRET
    assert find_key(None, None) is None


def message(text):
    content = [{"type": "text", "text": text}]
    counts = {"input_tokens": 10, "output_tokens": 4}
    return {"content": content, "stop_reason": "end_turn", "usage": counts}


async def test_claude_is_prefilled_where_that_works():
    def answer(request):
        prefilled = request.body["messages"][-1]["role"] == "assistant"
        if prefilled and request.body["model"] == "new":
            return Reply({"error": {"message": "does not support prefill"}}, 400)
        return message("five, six")

    async with staged(answer) as server:
        old, new = (AnthropicModel(name, server.url, key=SECRET) for name in ("old", "new"))
        for model in (old, new):
            await model.write_step(QUESTION, GREEDY, 0)
    assert old.continuation is Continuation.PREFILL
    assert new.continuation is Continuation.USER_TURN
    assert {each.headers["x-api-key"] for each in server.requests} == {SECRET}


def test_claude_has_its_own_address_and_key(monkeypatch):
    monkeypatch.setenv("ANTHROPIC_API_KEY", SECRET)
    model = AnthropicModel("claude")
    assert model.server.url == "https://api.anthropic.com/v1"
    assert model.server.hidden(SECRET) == "***"


async def test_a_reward_model_needs_its_template(tmp_path):
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": TEMPLATE}))
    rows = pooling([[0.25, 0.75]])

    def answer(request):
        return rows if request.method == "POST" else listing("vllm", str(tmp_path))

    async with staged(answer) as server:
        for scorer in (
            PoolingScorer(server.url),
            PoolingScorer(server.url, str(tmp_path)),
            PoolingScorer(server.url, "prm", template=tmp_path),
        ):
            assert (await scorer.score(QUESTION.then("a"), [WRITTEN])).values == (0.75,)
        with pytest.raises(InvalidInput, match=r"prm: no chat template found; pass template="):
            await PoolingScorer(server.url, "prm").score(QUESTION.then("a"), [WRITTEN])


async def test_a_label_model_is_not_tried_for_a_continuation():
    tops = {"+": -0.1, "-": -2.4}
    record = {"tokens": ["+"], "token_logprobs": [-0.1], "top_logprobs": [tops]}

    def answer(request):
        if request.method == "GET":
            return listing("vllm", "m")
        return completion("+", "length", logprobs=record)

    async with staged(answer) as server:
        scorer = HttpLabelScorer(OpenAIModel(server.url))
        (value,) = (await scorer.score(QUESTION.then("a"), [WRITTEN])).values
    assert value > 0.9
    assert len(posts(server)) == 1


# llama.cpp


def test_two_servers_make_a_router_as_in_the_readme():
    """llama.cpp's real server, with and without a chat template that the shipped models read."""
    servers = [start("weak", slots=2), start("strong", slots=2, template=PLAIN_CHAT)]
    weak, strong = (OpenAIModel(f"{server.url}/v1") for server in servers)
    (policy,) = parse_policies("random:0.5")
    router = Router(weak=weak, strong=strong, policy=policy, config=RouterConfig(sampling=SAMPLING))
    assert router.solve("Start with 13. Then: add 4, add 2.").steps
    assert weak.dialect.name == "llama_cpp"
    assert (weak.continuation, weak.template) == (Continuation.COMPLETIONS, None)


async def test_a_file_suffices(tmp_path):
    model = LlamaCppModel(str(FOLDER / "weak.gguf"), slots=1, exact=True)
    plain = LlamaCppModel(LlamaCppEngine(FOLDER / "weak.gguf", 1, exact=True), "a", template=None)
    assert (model.name, model.template, model.prompt) == ("weak", None, Prompt())
    steps = [await each.write_step(QUESTION, SAMPLING, 3) for each in (model, plain)]
    assert steps[0].text == steps[1].text
    with pytest.raises(InvalidInput, match="a system message needs a chat template"):
        LlamaCppModel(model.engine, prompt=STEP_BY_STEP)
    with pytest.raises(InvalidInput, match=r"no\.gguf: no readable model file"):
        LlamaCppModel(tmp_path / "no.gguf")


IMPORTED = """
import os, sys
import trim.engines.llama_cpp, trim.models.llama_cpp, trim.scorers.label
assert "xllamacpp" not in sys.modules and "jinja2" not in sys.modules
assert "OMP_WAIT_POLICY" not in os.environ
trim.engines.llama_cpp.load_library()
assert "xllamacpp" in sys.modules and "OMP_WAIT_POLICY" not in os.environ
"""


def test_llama_cpp_is_loaded_at_first_use_and_leaves_the_environment():
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    subprocess.run([sys.executable, "-c", IMPORTED], env=environment, check=True)


def test_without_llama_cpp_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    llama_cpp.load_library.cache_clear()
    try:
        with pytest.raises(MissingExtra) as caught:
            LlamaCppModel(FOLDER / "weak.gguf")
    finally:
        llama_cpp.load_library.cache_clear()
    assert str(caught.value) == "this needs llama.cpp: pip install 'trim-router[local]'"
