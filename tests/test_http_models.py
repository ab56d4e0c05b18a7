"""Models and scorers over HTTP, against staged servers of every kind."""

import functools
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from staged_server import Reply, chat, completion, pooling, script, staged, usage

from trim.config import RouterConfig
from trim.engines.chat_template import ChatTemplate, read_chat_template
from trim.engines.http import HttpServer
from trim.engines.retry import RetryPolicy
from trim.errors import ContextExceeded, InvalidInput, ModelUnavailable, Refused
from trim.models.anthropic import AnthropicModel, anthropic_server
from trim.models.continuation import (
    DEEPSEEK,
    LLAMA_CPP,
    MISTRAL,
    OPENAI,
    OTHER,
    SGLANG,
    TGI,
    VLLM,
    Continuation,
    ThinkingOff,
    find_dialect,
    without_repeated,
)
from trim.models.model import Completion, Ending, Prefix, Role, Sampling, Turn
from trim.models.openai import OpenAIModel
from trim.models.probe import ProbeResult, probe
from trim.models.prompt import Prompt, conversation
from trim.models.response import TokenMemory, read_answer
from trim.models.usage import Call
from trim.policies.registry import parse_policies
from trim.router import Router
from trim.scorers.grade import HttpGradeScorer
from trim.scorers.label import HttpLabelScorer
from trim.scorers.pooling import PoolingScorer

SAMPLING = Sampling(0.7, 0.8, 20, 64)
QUESTION = Prefix("1 + 1?")
HALF = Prefix("1 + 1?", ("Two numbers.\n\n", "They are added.\n\n"))
SAID = "Two numbers.\n\nThey are added.\n\n"
NEXT = "So it is 2.\n\n"
TEMPLATE = ChatTemplate(
    "{{ bos_token }}{% for m in messages %}<{{ m.role }}>{{ m.content }}</>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>"
    "{% if enable_thinking is defined and not enable_thinking %}<think></think>{% endif %}"
    "{% endif %}",
    {"bos_token": "<s>"},
    "template",
)
WRITTEN = Completion("a", Ending.STEP, 1, 1)


def openai(server, mode, dialect, **settings):
    http = HttpServer(server.url, retry=RetryPolicy(attempts=2, pause=0.0))
    settings = {"prompt": Prompt(), **settings}
    return OpenAIModel(http, "m", continuation=mode, dialect=dialect, **settings)


# Completions


async def test_completions_render_the_template_and_go_on_with_tokens():
    replies = script(
        completion(
            "Two numbers.",
            stop_reason="\n\n",
            prompt_token_ids=[1, 2, 3],
            token_ids=[4, 5],
            counts=usage(3, 2, prompt_tokens_details={"cached_tokens": 2}),
        ),
        completion("They are added.", stop_reason=None, prompt_token_ids=[9], token_ids=[8]),
    )
    async with staged(replies) as server:
        thinks = Prompt(system="Think.")
        model = openai(server, Continuation.COMPLETIONS, VLLM, template=TEMPLATE, prompt=thinks)
        first = await model.write_step(QUESTION, SAMPLING, 7)
        assert (first.text, first.ending) == ("Two numbers.\n\n", Ending.STEP)
        assert (first.tokens, first.prompt_tokens, first.cached_tokens) == (2, 3, 2)
        second = await model.write_step(QUESTION.then(first.text), SAMPLING, 7)
        assert (second.text, second.ending) == ("They are added.", Ending.SOLUTION)
        await model.write_step(HALF, SAMPLING, 7)
    assert server.requests[0].path == "/v1/completions"
    sent = server.bodies[0]
    rendered = "<s><system>Think.</><user>1 + 1?</><assistant>"
    assert sent["prompt"] == rendered
    assert (sent["stop"], sent["max_tokens"], sent["seed"], sent["top_k"]) == (["\n\n"], 64, 7, 20)
    assert sent["add_special_tokens"] is False
    assert server.bodies[1]["prompt"] == [1, 2, 3, 4, 5]
    # What follows a last step is not known as tokens, so it goes as text, separators included.
    assert server.bodies[2]["prompt"] == rendered + SAID


@pytest.mark.parametrize(
    ("tokens", "step"),
    [
        (("one", "\n\n"), "one\n\n"),
        (("one", "\n", "\n"), "one\n\n"),
        (("one", ".\n\n"), "one.\n\n"),
        (("one", ".\n\n\n"), "one.\n\n\n"),
        (("one", "\n", "\n\n"), "one\n\n\n"),
        (("one", "\n\n    "), "one\n\n    "),
        (("one", ".\n", "\n\n  "), "one.\n\n\n  "),
        (("\n\n",), "\n\n"),
    ],
)
async def test_what_the_last_token_holds_behind_the_separator_belongs_to_the_step(tokens, step):
    """llama.cpp leaves it out of the text; the model has written it, and reads it."""
    texts = dict(enumerate(dict.fromkeys(tokens), 10))
    ids = {text: token for token, text in texts.items()}
    told = {"stop_type": "word", "tokens": [ids[text] for text in tokens]}

    def answer(request):
        if request.path == "/tokenize":
            return {"tokens": [1, 2, 3]}
        if request.path == "/detokenize":
            return {"content": "".join(texts[token] for token in request.body["tokens"])}
        return {**completion("".join(tokens).partition("\n\n")[0]), "__verbose": told}

    async with staged(answer) as server:
        model = openai(server, Continuation.COMPLETIONS, LLAMA_CPP)
        first = await model.write_step(QUESTION, SAMPLING, 0)
        assert (first.text, first.ending) == (step, Ending.STEP)
        await model.write_step(QUESTION.then(first.text), SAMPLING, 0)
    _, second = (body["prompt"] for body in server.bodies if "prompt" in body)
    assert second == [1, 2, 3, *told["tokens"]]
    asked = [body["tokens"] for body in server.bodies if "tokens" in body]
    assert len(asked) == len(set(tokens[-2:]))  # Once, and not again for the second step.


async def test_a_server_that_begins_texts_itself_is_sent_no_second_beginning():
    async with staged(script(completion("a\n\n"))) as server:
        model = openai(server, Continuation.COMPLETIONS, TGI, template=TEMPLATE)
        step = await model.write_step(QUESTION, SAMPLING, 0)
    assert server.bodies[0]["prompt"] == "<user>1 + 1?</><assistant>"
    assert (step.text, step.ending) == ("a\n\n", Ending.STEP)


@pytest.mark.parametrize(
    ("record", "ending"),
    [
        (completion("a", stop_reason="\n\n"), Ending.STEP),
        (completion("a", stop_reason=None), Ending.SOLUTION),
        (completion("a", stop_reason=151645), Ending.SOLUTION),
        (completion("a", matched_stop="\n\n"), Ending.STEP),
        (completion("a", matched_stop=151645), Ending.SOLUTION),
        (completion("a", "length", stop_reason=None), Ending.LENGTH),
        (completion("a\n\n"), Ending.STEP),
        (completion("a"), Ending.STEP),
        (completion(""), Ending.SOLUTION),
    ],
)
async def test_how_a_step_ended_is_read_from_what_each_server_tells(record, ending):
    async with staged(script(record)) as server:
        model = openai(server, Continuation.COMPLETIONS, OTHER)
        assert (await model.write_step(QUESTION, SAMPLING, 0)).ending is ending


@pytest.mark.parametrize(
    ("stop_type", "ending"),
    [("word", Ending.STEP), ("eos", Ending.SOLUTION), ("limit", Ending.LENGTH)],
)
async def test_blank_lines_of_an_echo_are_no_ending(stop_type, ending):
    finish = "length" if stop_type == "limit" else "stop"
    told = {**chat(SAID + "So it is 2.", finish), "__verbose": {"stop_type": stop_type}}
    async with staged(script(told)) as server:
        model = openai(server, Continuation.PREFILL, LLAMA_CPP)
        step = await model.write_step(HALF, SAMPLING, 0)
    assert (step.text, step.ending) == (NEXT if ending is Ending.STEP else NEXT[:-2], ending)


async def test_a_filter_is_no_ending():
    async with staged(script(chat("a", "content_filter"))) as server:
        with pytest.raises(Refused, match="content_filter"):
            await openai(server, Continuation.USER_TURN, OPENAI).write_step(QUESTION, SAMPLING, 0)
        assert len(server.requests) == 1


REFUSALS = [
    "This model's maximum context length is 100 tokens. However, you requested 130 tokens (66 in"
    " the messages, 64 in the completion).",
    "'max_tokens' or 'max_completion_tokens' is too large: 64. This model's maximum context length"
    " is 100 tokens and your request has 66 input tokens (64 > 100 - 66).",
    "You passed 66 input tokens and requested 64 output tokens. However, the model's context"
    " length is only 100 tokens.",
    "Requested token count exceeds the model's maximum context length of 100 tokens. You requested"
    " a total of 130 tokens: 66 tokens from the input messages and 64 tokens for the completion.",
    "`inputs` tokens + `max_new_tokens` must be <= 100. Given: 66 `inputs` tokens and 64"
    " `max_new_tokens`",
]


@pytest.mark.parametrize("message", REFUSALS)
async def test_a_prompt_that_fits_is_asked_for_as_much_as_fits(message):
    refused = Reply({"error": {"message": message}}, 400)
    async with staged(script(refused, completion("a", stop_reason="\n\n"))) as server:
        model = openai(server, Continuation.COMPLETIONS, VLLM)
        assert (await model.write_step(QUESTION, SAMPLING, 0)).text == "a\n\n"
    assert [body["max_tokens"] for body in server.bodies] == [64, 34]


async def test_a_prompt_that_does_not_fit_is_not_asked_again():
    message = "This model's maximum context length is 100 tokens. However, you requested 164"
    refused = Reply({"error": {"message": message}}, 400)
    async with staged(script(refused)) as server:
        with pytest.raises(ContextExceeded, match="maximum context length is 100"):
            await openai(server, Continuation.COMPLETIONS, VLLM).write_step(QUESTION, SAMPLING, 0)
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("dialect", "sent"), [(VLLM, -1), (LLAMA_CPP, 0), (TGI, None), (DEEPSEEK, None)]
)
async def test_all_tokens_are_kept_in_the_words_of_each_server(dialect, sent):
    """A field left out would mean the server's own default, which may keep few."""
    async with staged(script(chat("a"))) as server:
        model = openai(server, Continuation.USER_TURN, dialect)
        await model.write_step(QUESTION, Sampling(0.0, 1.0, 0, 64), 0)
    assert server.bodies[0].get("top_k") == sent


# Log-probabilities


TOPS = [{" a": -0.1, " b": -2.4}, {"b": -0.2}, {"\n\n": -0.3}]
LISTS = {
    "tokens": [" a", "b", "\n\n"],
    "token_logprobs": [-0.1, -0.2, -3.0],
    "top_logprobs": TOPS,
}
ENTRIES = {
    "content": [
        {
            "token": token,
            "logprob": value,
            "top_logprobs": [{"token": t, "logprob": v} for t, v in top.items()],
        }
        for token, value, top in zip(LISTS["tokens"], LISTS["token_logprobs"], TOPS, strict=True)
    ]
}


@pytest.mark.parametrize("record", [LISTS, ENTRIES])
@pytest.mark.parametrize("mode", [Continuation.COMPLETIONS, Continuation.CONTINUE_FINAL])
async def test_confidence_is_read_from_either_form_without_the_separator(record, mode):
    completions = mode is Continuation.COMPLETIONS
    said = (completion if completions else chat)(" ab", logprobs=record, stop_reason="\n\n")
    async with staged(script(said)) as server:
        step = await openai(server, mode, VLLM, entropy=True).write_step(QUESTION, SAMPLING, 0)
    assert step.log_probability == pytest.approx(-0.15)
    chances = [math.exp(-0.1), math.exp(-2.4)]
    chances.append(1 - sum(chances))
    assert step.first_entropy == pytest.approx(-sum(p * math.log(p) for p in chances if p > 0))
    asked = server.bodies[0]
    assert (asked["logprobs"], asked.get("top_logprobs")) == (
        (20, None) if completions else (True, 20)
    )


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "x", None])
async def test_log_probabilities_that_are_none_are_a_fault(value):
    broken = {"tokens": ["a"], "token_logprobs": [value], "top_logprobs": [{}]}
    said = completion("a", stop_reason="\n\n", logprobs=broken)
    async with staged(script(said, completion("b", stop_reason="\n\n"))) as server:
        step = await openai(server, Continuation.COMPLETIONS, VLLM).write_step(
            QUESTION, SAMPLING, 0
        )
    assert (step.text, step.log_probability) == ("b\n\n", None)


async def test_what_is_repeated_has_no_part_in_the_confidence():
    """Nor has the separator, nor the end."""
    spelled = {"They are": -9, " added.": -9, "\n\n": -9, "So": -0.1, " it": -0.3, "\n\n\n": -9}
    content = [
        {"token": token, "logprob": value, "top_logprobs": [{"token": token, "logprob": value}]}
        for token, value in spelled.items()
    ]
    said = chat("They are added.\n\nSo it", logprobs={"content": content})
    async with staged(script(said)) as server:
        model = openai(server, Continuation.USER_TURN, OPENAI, entropy=True)
        step = await model.write_step(HALF, SAMPLING, 0)
    assert step.text == "So it\n\n"
    assert step.log_probability == pytest.approx(-0.2)
    expected = -sum(p * math.log(p) for p in (math.exp(-0.1), 1 - math.exp(-0.1)))
    assert step.first_entropy == pytest.approx(expected)


# Chat modes


@pytest.mark.parametrize("dialect", [VLLM, SGLANG])
async def test_a_final_message_is_continued(dialect):
    said = chat("So it is 2.", stop_reason="\n\n", matched_stop="\n\n")
    async with staged(script(said)) as server:
        model = openai(server, Continuation.CONTINUE_FINAL, dialect, prompt=Prompt("Think."))
        await model.write_step(QUESTION, SAMPLING, 0)
        step = await model.write_step(HALF, SAMPLING, 0)
    assert step.text == NEXT
    first, second = server.bodies
    assert [message["role"] for message in first["messages"]] == ["system", "user"]
    assert "continue_final_message" not in first
    assert second["messages"][-1] == {"role": "assistant", "content": SAID}
    assert (second["continue_final_message"], second["add_generation_prompt"]) == (True, False)


@pytest.mark.parametrize("dialect", [DEEPSEEK, MISTRAL])
async def test_a_prefix_is_continued(dialect):
    echo = SAID if dialect.echoes else ""
    counts = usage(9, 4, prompt_cache_hit_tokens=6)
    async with staged(script(chat(echo + "So it is 2.", counts=counts))) as server:
        step = await openai(server, Continuation.PREFIX, dialect).write_step(HALF, SAMPLING, 5)
    sent = server.bodies[0]
    assert sent["messages"][-1] == {"role": "assistant", "content": SAID, "prefix": True}
    assert (step.text, step.tokens, step.cached_tokens) == (NEXT, 4, 6)
    assert "top_k" not in sent
    assert "seed" not in sent
    assert sent.get("random_seed") == (5 if dialect is MISTRAL else None)


@pytest.mark.parametrize("again", ["", "They are added.\n\n", SAID])
async def test_a_user_turn_quotes_the_steps_and_drops_their_repetition(again):
    async with staged(script(chat(again + "So it is 2."))) as server:
        step = await openai(server, Continuation.USER_TURN, OPENAI).write_step(HALF, SAMPLING, 0)
    (message,) = server.bodies[0]["messages"]
    assert SAID.strip() in message["content"]
    assert QUESTION.question in message["content"]
    assert (step.text, step.ending) == (NEXT, Ending.STEP)
    assert server.bodies[0]["max_completion_tokens"] == 64


async def test_a_mere_repetition_is_asked_on_and_paid():
    replies = script(
        chat("Two numbers.", counts=usage(10, 5)),
        chat(SAID + "So it is 2.\n\nMore.", counts=usage(10, 30)),
    )
    async with staged(replies) as server:
        step = await openai(server, Continuation.USER_TURN, OPENAI).write_step(HALF, SAMPLING, 0)
    assert (step.text, step.ending, step.tokens) == (NEXT, Ending.STEP, 35)
    assert step.prompt_tokens == 20
    assert "stop" not in server.bodies[1]


words = st.text("abc", min_size=1, max_size=3)
sentences = st.lists(words, min_size=1, max_size=4).map(" ".join)


@given(st.lists(sentences, min_size=1, max_size=5), st.integers(1, 5), st.booleans())
def test_whatever_whole_steps_are_repeated_is_dropped(steps, repeated, wrapped):
    said = "".join(step + "\n\n" for step in steps)
    tail = "\n\n".join(steps[-repeated:])
    again = tail.replace(" ", "\n") if wrapped else tail
    assert without_repeated(said, f"{again}\n\nnew step") == "new step"
    assert without_repeated(said, "new step\n\nand more") == "new step\n\nand more"
    assert without_repeated(said, again[: len(again)].strip()) == ""
    assert without_repeated("", "new step") == "new step"


@pytest.mark.parametrize(
    ("off", "field", "value"),
    [
        (ThinkingOff.TEMPLATE, "chat_template_kwargs", {"enable_thinking": False}),
        (ThinkingOff.DISABLED, "thinking", {"type": "disabled"}),
        (ThinkingOff.EFFORT, "reasoning_effort", "none"),
    ],
)
async def test_thinking_is_switched_off_by_a_field(off, field, value):
    async with staged(script(chat("a"))) as server:
        model = openai(server, Continuation.USER_TURN, OTHER, thinking_off=off)
        await model.write_step(QUESTION, SAMPLING, 0)
    assert server.bodies[0][field] == value


async def test_thinking_is_switched_off_by_words_or_in_the_template():
    async with staged(script(completion("a"))) as server:
        for off in (ThinkingOff.NO_THINK, ThinkingOff.TEMPLATE):
            model = openai(
                server, Continuation.COMPLETIONS, OTHER, template=TEMPLATE, thinking_off=off
            )
            await model.write_step(QUESTION, SAMPLING, 0)
    prompts = [body["prompt"] for body in server.bodies]
    assert prompts == [
        "<user>1 + 1? /no_think</><assistant>",
        "<user>1 + 1?</><assistant><think></think>",
    ]


async def test_extra_fields_are_over_all_others_and_none_leaves_one_out():
    extra = {"temperature": None, "seed": 3, "provider": {"order": ["a"]}}
    async with staged(script(chat("a"))) as server:
        model = openai(server, Continuation.USER_TURN, OTHER, extra_body=extra)
        await model.write_step(QUESTION, SAMPLING, 0)
    sent = server.bodies[0]
    assert "temperature" not in sent
    assert (sent["seed"], sent["provider"]) == (3, {"order": ["a"]})


# Anthropic


def message(text, reason="stop_sequence", **counts):
    return {
        "content": [{"type": "text", "text": text}],
        "stop_reason": reason,
        "usage": {"input_tokens": 10, "output_tokens": 4, **counts},
    }


def claude(server, mode, prompt=Prompt()):  # noqa: B008 - it cannot change
    http = anthropic_server(None, server.url, retry=RetryPolicy(attempts=2, pause=0.0))
    return AnthropicModel("claude", http, continuation=mode, prompt=prompt)


async def test_claude_is_prefilled_up_to_the_mark_of_the_next_step():
    counts = {"cache_read_input_tokens": 100, "cache_creation_input_tokens": 20}
    async with staged(script(message("So it\n\nis 2.", **counts))) as server:
        step = await claude(server, Continuation.PREFILL).write_step(HALF, SAMPLING, 0)
    sent = server.bodies[0]
    assert server.requests[0].path == "/v1/messages"
    assert server.requests[0].headers["anthropic-version"]
    last = sent["messages"][-1]
    assert last["role"] == "assistant"
    assert last["content"] == (
        "<step>Two numbers.</step>\n\n<step>They are added.</step>\n\n<step>"
    )
    assert all(stop.strip() for stop in sent["stop_sequences"])
    assert (step.text, step.ending) == ("So it\nis 2.", Ending.STEP)
    assert (step.tokens, step.prompt_tokens, step.cached_tokens) == (4, 130, 100)


@pytest.mark.parametrize(
    ("said", "reason", "text", "ending"),
    [
        ("<step>So it is 2.", "stop_sequence", "So it is 2.", Ending.STEP),
        ("Going on: <step>So it is 2.", "stop_sequence", "So it is 2.", Ending.STEP),
        ("So it is 2.", "end_turn", "So it is 2.", Ending.SOLUTION),
        ("<step>So it", "max_tokens", "So it", Ending.LENGTH),
    ],
)
async def test_claude_is_asked_for_the_next_step(said, reason, text, ending):
    async with staged(script(message(said, reason))) as server:
        step = await claude(server, Continuation.USER_TURN).write_step(HALF, SAMPLING, 0)
    assert (step.text, step.ending) == (text, ending)
    assert "<step>They are added.</step>" in server.bodies[0]["messages"][-1]["content"]


async def test_claude_refuses_and_is_overloaded():
    overloaded = Reply({"type": "error", "error": {"message": "Overloaded"}}, 529)
    async with staged(script(overloaded, message("a", "refusal"))) as server:
        with pytest.raises(Refused, match="refusal"):
            await claude(server, Continuation.USER_TURN).write_step(QUESTION, SAMPLING, 0)
        assert len(server.requests) == 2


def test_claude_has_no_other_mode():
    with pytest.raises(InvalidInput, match="it takes prefill, user_turn"):
        claude(type("S", (), {"url": "http://a"}), Continuation.PREFIX)


# The probe


def counting(continues, counts=None):
    """A chat model that can count, on a server that `continues(body)` a half sentence or not."""

    def answer(request):
        body = request.body
        text = " five, six, seven" if continues(body) else "one, two, three, four, five"
        told = usage(len(str(body.get("messages") or body["prompt"]))) if counts is None else counts
        return completion(text, counts=told) if "prompt" in body else chat(text, counts=told)

    return answer


async def test_a_mode_that_works_is_taken():
    async with staged(counting(lambda body: True)) as server:
        model = openai(server, Continuation.CONTINUE_FINAL, VLLM)
        assert (await probe(model)).verdict is ProbeResult.CONTINUED


@pytest.mark.parametrize(
    ("works", "template", "advice"),
    [
        (lambda body: "prompt" in body, TEMPLATE, "the mode 'completions' works"),
        (lambda body: "prompt" in body, None, "the mode 'user_turn' works"),
    ],
)
async def test_a_server_that_begins_anew_is_found_out(works, template, advice):
    """As SGLang does, or an older vLLM, with a last message that it is not told to continue."""
    async with staged(counting(works)) as server:
        model = openai(server, Continuation.CONTINUE_FINAL, SGLANG, template=template)
        with pytest.raises(InvalidInput, match="starts over instead of continuing") as caught:
            await probe(model)
    assert advice in str(caught.value)
    assert "\n" not in str(caught.value)


async def test_a_server_that_refuses_a_prefill_is_found_out():
    def answer(request):
        if request.body["messages"][-1]["role"] == "assistant":
            error = "This model does not support assistant message prefill."
            return Reply({"type": "error", "error": {"message": error}}, 400)
        return message("five, six", "end_turn")

    async with staged(answer) as server:
        with pytest.raises(InvalidInput, match=r"'prefill' does not work: .*400 .*'user_turn' wor"):
            await probe(claude(server, Continuation.PREFILL))
        assert (
            await probe(claude(server, Continuation.USER_TURN))
        ).verdict is ProbeResult.CONTINUED


async def test_a_model_that_thinks_is_found_out():
    thinking = chat("five", message={"reasoning_content": "Let me see."})
    async with staged(script(thinking)) as server:
        with pytest.raises(InvalidInput, match="a thought is not a step; no other mode works"):
            await probe(openai(server, Continuation.PREFIX, DEEPSEEK))


async def test_a_template_that_trims_is_found_out():
    async with staged(counting(lambda body: True, usage(50))) as server:
        with pytest.raises(InvalidInput, match="drops the blank line") as caught:
            await probe(openai(server, Continuation.CONTINUE_FINAL, VLLM, template=TEMPLATE))
    assert "'completions' works" in str(caught.value)


async def test_a_server_that_is_down_is_no_matter_of_modes():
    async with staged(script(Reply({}, 500))) as server:
        with pytest.raises(ModelUnavailable, match="no answer in 2 attempts"):
            await probe(openai(server, Continuation.USER_TURN, OPENAI))


def test_modes_that_cannot_work_are_refused_before_any_request():
    http = HttpServer("http://127.0.0.1:1")
    with pytest.raises(InvalidInput, match="they take user_turn"):
        OpenAIModel(http, "m", continuation=Continuation.PREFILL, dialect=OPENAI)
    with pytest.raises(InvalidInput, match="needs a chat template"):
        OpenAIModel(
            http,
            "m",
            continuation=Continuation.COMPLETIONS,
            dialect=VLLM,
            prompt=Prompt("Think."),
        )
    with pytest.raises(InvalidInput, match="known: vllm, sglang"):
        find_dialect("vlm")


# Scorers


def scorer_on(server, **settings):
    http = HttpServer(server.url, retry=RetryPolicy(attempts=2, pause=0.0))
    return PoolingScorer(http, "prm", template=TEMPLATE, **settings)


@pytest.mark.parametrize(
    "record",
    [
        pooling([[0.9, 0.1], [0.25, 0.75]]),
        pooling([[0.1], [0.75]]),
        pooling([0.1, 0.75]),
        pooling([[0.9, 0.1], [0.25, 0.75]], key="embedding"),
    ],
)
async def test_step_scores_are_read_from_old_and_new_forms(record):
    async with staged(script(record)) as server:
        scores = await scorer_on(server).score(HALF, [WRITTEN])
        both = await scorer_on(server).score(HALF, [WRITTEN, WRITTEN])
    assert (scores.values, both.values) == ((0.75,), (0.1, 0.75))
    assert (scores.prompt_tokens, scores.unread_steps) == (50, 0)
    assert server.requests[0].path == "/pooling"
    assert server.bodies[0]["input"].endswith(
        "<user>1 + 1?</><assistant>Two numbers.<extra_0>They are added.<extra_0></>"
    )


async def test_logits_become_probabilities_where_said_so():
    async with staged(script(pooling([[0.0, 0.0], [1.0, 4.0]]))) as server:
        scores = await scorer_on(server, logits=True).score(HALF, [WRITTEN])
    assert scores.values == pytest.approx((1 / (1 + math.exp(-3)),))


@pytest.mark.parametrize("rows", [[], [[0.5, 0.5]], [[0.5, 0.5]] * 3])
async def test_as_many_scores_as_steps_or_one_clear_error(rows):
    async with staged(script(pooling(rows))) as server:
        with pytest.raises(InvalidInput, match=rf"prm: {len(rows)} scores for 2 steps; .*step_tag"):
            await scorer_on(server).score(HALF, [WRITTEN])
        assert len(server.requests) == 1


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -0.1, 1.1, "x", None])
async def test_scores_outside_the_unit_interval_are_asked_anew_and_then_an_error(value):
    bad, good = pooling([[0.5, 0.5], [0.5, value]]), pooling([[0.5, 0.5]] * 2)
    async with staged(script(bad, good, bad)) as server:
        assert (await scorer_on(server).score(HALF, [WRITTEN])).values == (0.5,)
        with pytest.raises(ModelUnavailable, match=r"score 2 of 2 is .*, not within \[0, 1\]"):
            await scorer_on(server).score(HALF, [WRITTEN])


@given(st.lists(st.text("ab <extra_0>", max_size=30), min_size=1, max_size=6))
def test_there_is_one_tag_a_step_whatever_is_written(steps):
    scorer = PoolingScorer(HttpServer("http://127.0.0.1:1"), "prm", template=TEMPLATE)
    assert scorer.rendered("<extra_0>?", steps).count("<extra_0>") == len(steps)


def reward_model(context, told=True):
    """A reward model that reads a token a character, and refuses more than `context`."""

    def answer(request):
        text = request.body["input"]
        if len(text) > context:
            return Reply({"error": {"message": f"maximum context length is {context}"}}, 400)
        rows = [[0.5, 0.5]] * text.count("<extra_0>")
        return pooling(rows, len(text))

    return answer


@pytest.mark.parametrize(("context", "limit"), [(400, None), (10_000, 400), (400, 4096)])
async def test_a_trace_that_is_too_long_is_cut_at_whole_steps_and_said_so(context, limit):
    trace = Prefix("1 + 1?", tuple(f"step {n} " + "x" * 40 for n in range(12)))
    async with staged(reward_model(context)) as server:
        scorer = scorer_on(server, limit=limit)
        scores = await scorer.score(trace, [WRITTEN])
        kept = server.bodies[-1]["input"]
        sent = len(server.requests)
        await scorer.score(trace.then("and more"), [WRITTEN])
    assert len(scores.values) == 1
    assert 0 < scores.unread_steps < 12
    assert len(kept) <= 400
    assert kept.count("<extra_0>") == 12 - scores.unread_steps
    assert all(step in kept for step in trace.steps[scores.unread_steps :])
    assert "1 + 1?" in kept
    if limit == 400:
        # What is known of lengths spares the second trace a reading of the whole.
        assert len(server.requests) == sent + 1


async def test_another_problem_shortens_no_trace():
    def digits_are_tokens(request):
        text = request.body["input"]
        count = sum(1 if character.isdigit() else 0.25 for character in text)
        return pooling([[0.5, 0.5]] * text.count("<extra_0>"), int(count))

    prose = Prefix("why?", tuple("some words " * 40 for _ in range(10)))
    async with staged(digits_are_tokens) as server:
        scorer = scorer_on(server, limit=1500)
        await scorer.score(Prefix("1 + 1?", ("1234567890" * 40,)), [WRITTEN])
        scores = await scorer.score(prose, [WRITTEN])
    assert (scores.unread_steps, len(server.requests)) == (0, 2)


async def test_what_was_left_unread_is_on_the_step():
    def answer(request):
        if request.path == "/pooling":
            return reward_model(330)(request)
        return chat("x" * 60, stop_reason="\n\n")

    (policy,) = parse_policies("thr:0.1")
    async with staged(answer) as server:
        weak = openai(server, Continuation.CONTINUE_FINAL, VLLM)
        router = Router(
            weak=weak,
            strong=weak,
            scorer=scorer_on(server),
            policy=policy,
            config=RouterConfig(sampling=SAMPLING, max_steps=6),
        )
        trace = await router.asolve("1 + 1?")
    unread = [step.unread for step in trace.steps]
    assert unread[0] == 0
    assert unread[-1] > 0
    assert unread == sorted(unread)


async def test_a_step_that_alone_is_too_long_ends_the_solution():
    async with staged(reward_model(50)) as server:
        with pytest.raises(ContextExceeded, match="do not fit"):
            await scorer_on(server).score(HALF, [WRITTEN])


def next_token(**chances):
    tops = {name.replace("_", " "): math.log(p) for name, p in chances.items()}
    record = {"tokens": [next(iter(tops))], "token_logprobs": [-0.1], "top_logprobs": [tops]}
    return completion("x", "length", logprobs=record, counts=usage(20, 1))


async def test_labels_are_compared_with_turns_for_steps():
    async with staged(script(next_token(good=0.6, _good=0.1, bad=0.1, other=0.1))) as server:
        model = openai(server, Continuation.COMPLETIONS, VLLM)
        scorer = HttpLabelScorer(model, TEMPLATE, "good", "bad")
        scores = await scorer.score(HALF, [WRITTEN, WRITTEN])
    assert scores.values == pytest.approx((0.875, 0.875))
    assert (scores.prompt_tokens, scores.tokens) == (40, 2)
    assert [body["prompt"] for body in server.bodies] == [
        "<user>1 + 1? Two numbers.</><assistant>",
        "<user>1 + 1? Two numbers.</><assistant>good</><user>They are added.</><assistant>",
    ]


async def test_a_model_without_labels_is_named_as_the_reason():
    async with staged(script(next_token(other=0.9))) as server:
        model = openai(server, Continuation.COMPLETIONS, VLLM)
        with pytest.raises(Refused, match=r"neither '\+' nor '-'"):
            await HttpLabelScorer(model).score(HALF, [WRITTEN])


async def test_a_grade_is_what_the_digits_expect():
    tops = [{"token": "9", "logprob": math.log(0.5)}, {"token": "3", "logprob": math.log(0.5)}]
    record = {"content": [{"token": "9", "logprob": -0.7, "top_logprobs": tops}]}
    async with staged(script(chat("9", logprobs=record), chat(" 3"))) as server:
        scorer = HttpGradeScorer(openai(server, Continuation.USER_TURN, OPENAI))
        told = await scorer.score(HALF, [WRITTEN])
        untold = await scorer.score(HALF, [WRITTEN])
    assert told.values == pytest.approx((6 / 9,))
    assert untold.values == pytest.approx((3 / 9,))
    assert (told.prompt_tokens, told.tokens) == (10, 3)


@pytest.mark.parametrize(
    ("dialect", "temperature", "top_p", "sent"),
    [(OPENAI, 0.7, 0.8, 0.8), (OPENAI, 0.7, 1.0, 1.0), (OPENAI, 0.0, 0.8, 1.0),
     (TGI, 0.7, 0.8, 0.8), (TGI, 0.7, 1.0, None), (TGI, 0.0, 0.8, None)],
)  # fmt: skip
async def test_top_p_is_sent_where_it_is_taken(dialect, temperature, top_p, sent):
    async with staged(script(chat("so"))) as server:
        model = openai(server, Continuation.USER_TURN, dialect)
        await model.write_step(Prefix("q"), Sampling(temperature, top_p, 0, 9), 0)
        assert server.requests[0].body.get("top_p") == sent


# Chat templates


def test_templates_are_rendered_as_by_tokenizers():
    source = (
        "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}"
        "{{ messages | tojson(ensure_ascii=True, separators=(',', ':')) }}"
    )
    rendered = ChatTemplate(source, {}, "here").render(MESSAGES)
    assert rendered == 'é[{"role":"user","content":"\\u00e9"}]'


def write_template(folder, configuration, template=None):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer_config.json").write_text(json.dumps(configuration))
    if template:
        (folder / "chat_template.jinja").write_text(template)
    return folder


SOURCE = "{{ eos_token }}{% for m in messages %}{{ m.content | tojson }}{% endfor %}"
MESSAGES = [{"role": "user", "content": "é"}]


@pytest.mark.parametrize(
    ("source", "file"),
    [
        (SOURCE, None),
        ([{"name": "tool", "template": "x"}, {"name": "default", "template": SOURCE}], None),
        (None, SOURCE),
    ],
)
def test_templates_are_read_from_a_folder(tmp_path, source, file):
    configuration = {"chat_template": source, "eos_token": {"content": "</s>"}}
    template = read_chat_template(write_template(tmp_path, configuration, file))
    assert template.render(MESSAGES) == '</s>"é"'


def test_templates_are_read_from_the_hubs_cache(tmp_path, monkeypatch):
    hub = pytest.importorskip("huggingface_hub", reason="the extra `hub` is not installed")
    cached, tried = functools.partial(hub.try_to_load_from_cache, cache_dir=tmp_path), []
    monkeypatch.setattr(hub, "try_to_load_from_cache", cached)
    monkeypatch.setattr(hub, "hf_hub_download", lambda *place, **given: tried.append(place))
    monkeypatch.setattr(hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    model = tmp_path / "models--owner--name"
    (model / "refs").mkdir(parents=True)
    (model / "refs" / "main").write_text("0" * 40)
    write_template(model / "snapshots" / ("0" * 40), {"chat_template": SOURCE})
    assert read_chat_template("owner/name").render(MESSAGES) == '"é"'
    with pytest.raises(InvalidInput, match=r"owner/none: no readable tokenizer_config.json"):
        read_chat_template("owner/none")
    assert not tried, "a hub that cannot be reached is not asked for the file, with retries"


@pytest.mark.parametrize(
    ("configuration", "message"),
    [
        ({}, "no chat template"),
        ([], "is damaged"),
        ({"chat_template": "{% if %}"}, "chat template is damaged"),
    ],
)
def test_templates_that_are_none(tmp_path, configuration, message):
    with pytest.raises(InvalidInput, match=message):
        read_chat_template(write_template(tmp_path, configuration))
    with pytest.raises(InvalidInput, match="neither a folder of tokenizer files"):
        read_chat_template("nowhere/at/all")


def test_a_template_may_refuse_messages():
    template = ChatTemplate("{{ raise_exception('only users') }}", {}, "strict")
    with pytest.raises(InvalidInput, match=r"strict: .* \(only users\)"):
        template.render(MESSAGES)


def test_a_template_can_do_nothing_but_render():
    template = ChatTemplate("{{ messages.__class__.__mro__ }}", {}, "malicious")
    with pytest.raises(InvalidInput, match="malicious"):
        template.render(MESSAGES)


# Token memory


@given(st.lists(st.tuples(sentences, st.lists(st.integers(0, 10**6))), max_size=20))
def test_the_newest_tokens_are_remembered(entries):
    memory, told = TokenMemory(5), {}
    for text, tokens in entries:
        memory.remember(Prefix("q", (text + "\n\n",)), tokens)
        told.pop(text, None)
        told[text] = tokens
    for text, tokens in list(told.items())[-5:]:
        assert memory.recall(Prefix("q", (text,))) == tokens
        assert memory.recall(Prefix("q", (text + "\n\n",))) == tokens
        assert memory.recall(Prefix("q", (text + "\n\n\n",))) is None
    for text in list(told)[:-5]:
        assert memory.recall(Prefix("q", (text,))) is None


def test_tokens_are_of_a_text_wherever_its_steps_end():
    memory = TokenMemory()
    memory.remember(Prefix("q", ("---\n\n", "one\n\n")), [1, 2])
    assert memory.recall(Prefix("q", ("---\n\none\n\n",))) == [1, 2]
    assert memory.recall(Prefix("q", ("---\n\n", "  one\n\n"))) is None
    assert memory.recall(Prefix("q\n", ("---\n\none\n\n",))) is None


def test_an_answer_without_usage_is_damaged():
    record = completion("a")
    del record["usage"]
    with pytest.raises(LookupError):
        read_answer(record, Call("here"))


def test_a_conversation_has_one_system_message_and_ends_with_the_question():
    history = (
        Turn(Role.SYSTEM, "be brief"),
        Turn(Role.USER, "2 + 2?"),
        Turn(Role.ASSISTANT, "4"),
        Turn(Role.SYSTEM, "be kind"),
    )
    assert conversation("step by step", history, "and 3 + 3?") == [
        {"role": "system", "content": "step by step\n\nbe brief\n\nbe kind"},
        {"role": "user", "content": "2 + 2?"},
        {"role": "assistant", "content": "4"},
        {"role": "user", "content": "and 3 + 3?"},
    ]
    assert conversation(None, (), "q") == [{"role": "user", "content": "q"}]
