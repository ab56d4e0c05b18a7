"""What models read around a bare question: in this process, and over HTTP in every mode."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from staged_server import chat, completion, script, staged
from test_http_models import SAMPLING, TEMPLATE, claude, message, openai

from trim.configuration.protocol import AUTHORS
from trim.engines.http import HttpServer
from trim.engines.llama_cpp import Generation
from trim.errors import InvalidInput
from trim.models.continuation import (
    DEEPSEEK,
    LLAMA_CPP,
    MISTRAL,
    OPENAI,
    OTHER,
    SGLANG,
    VLLM,
    Continuation,
)
from trim.models.llama_cpp import LlamaCppModel
from trim.models.model import Ending, Prefix, Role, Turn
from trim.models.openai import OpenAIModel
from trim.models.prompt import Prompt, conversation

BRACED = "Is {question} or {x} in \\frac{1}{{2}}?\n\n    {"
ASKED = f"Think of \\boxed{{{{X}}}}.\nQuestion: {BRACED}"
PROMPT = Prompt(
    system="Be brief.",
    user="Think of \\boxed{{X}}.\nQuestion: {question}",
    assistant="Solution:\n\n",
    resumed="Solution: ",
)
BEGUN = Prefix(BRACED)
STEPS = ("Two numbers.\n\n", "    They are added.\n\n\n")
HALF = Prefix(BRACED, STEPS)
SAID = "".join(STEPS)
NEXT = "So it is 2."


# The prompt itself


@given(st.text(), st.text(), st.text())
def test_the_question_comes_where_the_template_has_it(before, question, after):
    prompt = Prompt(user=before + "{question}" + after)
    if "{question}" not in before + after:
        assert prompt.user_message(question) == before + question + after


def test_a_question_is_asked_as_it_stands():
    assert Prompt().user_message(BRACED) == BRACED
    assert PROMPT.user_message(BRACED) == ASKED
    assert (
        Prompt(user="{question} {question}").user_message("{question}") == "{question} {question}"
    )


def test_the_turn_of_the_assistant_begins_otherwise_once_there_are_steps():
    assert (PROMPT.opening(steps=False), PROMPT.opening(steps=True)) == (
        "Solution:\n\n",
        "Solution: ",
    )
    assert Prompt(assistant="So: ").opening(steps=True) == "So: "
    assert Prompt(assistant="So: ", resumed="").opening(steps=True) == ""
    assert Prompt().opening(steps=False) == Prompt().opening(steps=True) == ""


@pytest.mark.parametrize("template", ["", "Solve it.", "{Question}", "{ question }", "{}"])
def test_a_template_that_does_not_hold_the_question_is_refused(template):
    with pytest.raises(InvalidInput, match=r"lacks \{question\}, the question.s place") as no:
        Prompt(user=template)
    assert repr(template) in str(no.value)


def test_the_authors_ask_with_double_braces_and_go_on_in_the_same_line():
    asked = AUTHORS.prompt.user_message("1 + 1?")
    assert "present the final answer as \\boxed{{X}}, where" in asked
    assert asked.endswith("\nQuestion: 1 + 1?")
    assert AUTHORS.prompt.opening(steps=False) == "Solution:\n\n"
    assert AUTHORS.prompt.opening(steps=True) == "Solution: "


# In this process


class Listening:
    """Stands in for llama.cpp: keeps what it is sent, and writes steps of two tokens."""

    def __init__(self):
        self.prompts = []

    async def complete(self, prompt, **settings):
        self.prompts.append(prompt)
        verbose = {"stop_type": "word", "tokens": [7, 8]}
        choice = {"text": "a step", "finish_reason": "stop", "logprobs": None}
        usage = {"prompt_tokens": 5, "completion_tokens": 2}
        raw = {"choices": [choice], "__verbose": verbose, "usage": usage}
        return Generation("a step", 2, 5, 0, 0.0, raw)

    def spelled(self, tokens, beginning):
        return beginning


async def test_a_model_in_this_process_reads_all_of_it():
    engine = Listening()
    model = LlamaCppModel(engine, "m", template=TEMPLATE, prompt=PROMPT, adds_begin=False)
    turns = f"<s><system>Be brief.</><user>{ASKED}</><assistant>"
    first = await model.write_step(BEGUN, SAMPLING, 0)
    assert first.text == "a step\n\n"
    await model.write_step(HALF, SAMPLING, 0)
    await model.write_step(BEGUN.then(first.text), SAMPLING, 0)
    await model.prefill(HALF)
    assert engine.prompts == [
        turns + "Solution:\n\n",
        turns + "Solution: " + SAID,
        # Its own steps are read as the tokens that it wrote.
        [turns + "Solution: ", 7, 8],
        turns + "Solution: " + SAID,
    ]


async def test_without_a_chat_template_question_and_steps_are_one_text():
    engine = Listening()
    model = LlamaCppModel(
        engine, "m", template=None, prompt=Prompt(user=PROMPT.user, assistant="Solution: ")
    )
    await model.write_step(BEGUN, SAMPLING, 0)
    await model.write_step(HALF, SAMPLING, 0)
    assert engine.prompts == [f"{ASKED}\n\nSolution: ", f"{ASKED}\n\nSolution: {SAID}"]


async def test_what_was_said_before_is_not_asked_again():
    """The template is for the question alone."""
    engine = Listening()
    model = LlamaCppModel(engine, "m", template=TEMPLATE, prompt=PROMPT, adds_begin=False)
    history = (Turn(Role.USER, "2 + 2?"), Turn(Role.ASSISTANT, "4"))
    await model.write_step(Prefix("3 + 3?", (), history), SAMPLING, 0)
    (sent,) = engine.prompts
    assert "<user>2 + 2?</><assistant>4</>" in sent
    assert f"<user>{PROMPT.user_message('3 + 3?')}</>" in sent


# Over HTTP


async def sent_by(dialect, mode, reply, prompt=PROMPT, **settings):
    """What is sent for a first step and a later one."""
    async with staged(script(reply)) as server:
        model = openai(server, mode, dialect, prompt=prompt, **settings)
        await model.write_step(BEGUN, SAMPLING, 0)
        step = await model.write_step(HALF, SAMPLING, 0)
    assert (step.text, step.ending) == (f"{NEXT}\n\n", Ending.STEP)
    return server.bodies


@pytest.mark.parametrize("dialect", [VLLM, SGLANG, OTHER])
async def test_completions_begin_with_the_prompt(dialect):
    reply = completion(NEXT + "\n\n")
    first, second = await sent_by(dialect, Continuation.COMPLETIONS, reply, template=TEMPLATE)
    begin = "<s>" if dialect is VLLM else ""
    turns = f"{begin}<system>Be brief.</><user>{ASKED}</><assistant>"
    assert first["prompt"] == f"{turns}Solution:\n\n"
    assert second["prompt"] == f"{turns}Solution: {SAID}"


async def test_plain_completions_begin_with_the_prompt():
    plain = Prompt(user=PROMPT.user, assistant="Solution: ")
    reply = completion(NEXT + "\n\n")
    first, second = await sent_by(OTHER, Continuation.COMPLETIONS, reply, plain)
    assert first["prompt"] == f"{ASKED}\n\nSolution: "
    assert second["prompt"] == f"{ASKED}\n\nSolution: {SAID}"


@pytest.mark.parametrize(
    ("dialect", "mode"),
    [
        (VLLM, Continuation.CONTINUE_FINAL),
        (SGLANG, Continuation.CONTINUE_FINAL),
        (DEEPSEEK, Continuation.PREFIX),
        (MISTRAL, Continuation.PREFIX),
        (LLAMA_CPP, Continuation.PREFILL),
        (OTHER, Continuation.PREFILL),
    ],
)
async def test_a_last_message_begins_with_the_opening(dialect, mode):
    messages = conversation("Be brief.", (), ASKED)
    for body, said in zip(
        await sent_by(dialect, mode, chat(NEXT + "\n\n")),
        ("Solution:\n\n", f"Solution: {SAID}"),
        strict=True,
    ):
        *before, last = body["messages"]
        assert before == messages
        assert (last["role"], last["content"]) == ("assistant", said)
        assert last.get("prefix", False) == (mode is Continuation.PREFIX)
        continues = body.get("continue_final_message", False)
        assert continues == (mode is Continuation.CONTINUE_FINAL)


@pytest.mark.parametrize(
    ("dialect", "mode"),
    [(MISTRAL, Continuation.PREFIX), (LLAMA_CPP, Continuation.PREFILL)],
)
@pytest.mark.parametrize("trims", [False, True])
async def test_an_opening_that_is_echoed_is_no_step(dialect, mode, trims):
    def answer(request):
        said = request.body["messages"][-1]["content"]
        return chat((said.rstrip() if trims else said) + f"{NEXT}\n\n")

    async with staged(answer) as server:
        model = openai(server, mode, dialect, prompt=PROMPT)
        first = await model.write_step(BEGUN, SAMPLING, 0)
        second = await model.write_step(HALF, SAMPLING, 0)
    assert first.text == second.text == f"{NEXT}\n\n"


@pytest.mark.parametrize("dialect", [OPENAI, VLLM, MISTRAL, LLAMA_CPP])
async def test_a_user_turn_asks_with_the_prompt_and_has_no_opening(dialect):
    first, second = await sent_by(dialect, Continuation.USER_TURN, chat(NEXT + "\n\n"))
    assert first["messages"] == conversation("Be brief.", (), ASKED)
    system, turn = second["messages"]
    assert system == first["messages"][0]
    assert turn["content"].startswith(f"{ASKED}\n\n")
    assert SAID.strip() in turn["content"]
    assert "Solution:\n\n" not in turn["content"] and "Solution: " not in turn["content"]


@pytest.mark.parametrize("mode", [Continuation.PREFILL, Continuation.USER_TURN])
async def test_claude_is_asked_with_the_prompt(mode):
    async with staged(script(message(NEXT))) as server:
        model = claude(server, mode, PROMPT)
        await model.write_step(BEGUN, SAMPLING, 0)
        await model.with_mode(mode).write_step(HALF, SAMPLING, 0)
    first, second = server.bodies
    assert first["messages"][0] == {"role": "user", "content": ASKED}
    assert second["messages"][0]["content"].startswith(ASKED)
    for body in (first, second):
        assert body["system"].startswith("Be brief.\n\n")
        assert "Solution" not in body["messages"][-1]["content"].removeprefix(ASKED)
    assert "<step>Two numbers.</step>\n\n<step>    They are added.</step>" in str(
        second["messages"][-1]["content"]
    )


async def test_tokens_are_not_sent_for_another_text():
    """Behind its first step the model reads another opening than it has written after."""
    told = {"stop_reason": "\n\n", "prompt_token_ids": [1, 2], "token_ids": [3, 4]}
    replies = (completion("one", **told), completion("two", **told), completion("three", **told))
    for prompt in (PROMPT, Prompt(PROMPT.system, PROMPT.user, PROMPT.assistant)):
        async with staged(script(*replies)) as server:
            model = openai(server, Continuation.COMPLETIONS, VLLM, template=TEMPLATE, prompt=prompt)
            prefix = BEGUN
            for _ in range(3):
                prefix = prefix.then((await model.write_step(prefix, SAMPLING, 0)).text)
        _, second, third = (body["prompt"] for body in server.bodies)
        if prompt.resumed is None:
            assert second == [1, 2, 3, 4]
        else:
            assert second.endswith("<assistant>Solution: one\n\n")
        assert third == [1, 2, 3, 4]


async def test_a_model_in_another_mode_has_the_same_prompt():
    async with staged(script(chat(NEXT + "\n\n"))) as server:
        model = openai(server, Continuation.PREFIX, OTHER, prompt=PROMPT)
        await model.with_mode(Continuation.USER_TURN).write_step(BEGUN, SAMPLING, 0)
    assert server.bodies[0]["messages"] == conversation("Be brief.", (), ASKED)


async def test_the_probe_goes_on_from_the_text_that_it_says():
    """No opening comes between: the model is to go on in the middle of a sentence."""
    async with staged(script(chat(" five"))) as server:
        model = openai(server, Continuation.PREFIX, OTHER, prompt=PROMPT)
        await model.continue_text("Count.", "one, two,", 8)
    (body,) = server.bodies
    assert body["messages"][-1]["content"] == "one, two,"
    assert body["messages"][-2]["content"] == PROMPT.user_message("Count.")


async def test_a_system_message_needs_a_template_where_the_rest_does_not():
    server = HttpServer("http://127.0.0.1:1")
    with pytest.raises(InvalidInput, match="a system message needs a chat template"):
        OpenAIModel(
            server, "m", continuation=Continuation.COMPLETIONS, dialect=OTHER, prompt=PROMPT
        )
    plain = Prompt(user=PROMPT.user)
    model = OpenAIModel(
        server, "m", continuation=Continuation.COMPLETIONS, dialect=OTHER, prompt=plain
    )
    assert model.prompt is plain
