"""Where an answer of the server ends, and that nothing in it is lost: chats are no problems with an
answer in a box."""

import asyncio
import json
import sqlite3
from contextlib import asynccontextmanager

import httpx
import pytest
import yaml
from staged_server import chat, completion, staged, usage
from test_server_api import asked, serving

CHAT = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}<assistant>"
CODE = """Here it is:

```python
def root(x):

    if x < 0:

        raise ValueError("\\\\boxed{x} is negative")


    # Two blank lines stand above.



\treturn x ** 0.5   \r
```

---

  - indented, and the end has blanks.  \n"""
BOXED = "It is\n\n\\boxed{2} apples.\n\nOr rather\n\n\\boxed{3}.\n\nBe careful."
LONG = "\n\n".join(f"Paragraph {number}." for number in range(1, 46))


def up_to_stop(text, request):
    """The text before the request's stop string, and whether that is there; a whole answer has
    none."""
    (stop,) = request.body.get("stop") or ["\0"]
    piece, found, _ = text.partition(stop)
    return piece, found


def writing(text):
    """A server whose models write `text`, and count on where they are probed."""

    def answer(request):
        said = request.body["prompt"].rpartition("<assistant>")[2]
        said = said.removeprefix("Solution:\n\n").removeprefix("Solution: ")
        if said.startswith("one, two"):
            return completion(" five, six", stop_reason=None)
        assert text.startswith(said), said
        piece, found = up_to_stop(text[len(said) :], request)
        return completion(piece, stop_reason="\n\n" if found else None)

    return answer


def chatting(text):
    """The same behind a chat template that keeps a message as it is."""

    def answer(request):
        last = request.body["messages"][-1]
        said = last["content"] if last["role"] == "assistant" else ""
        if said.startswith("one, two"):
            return chat(" five, six", counts=usage(len(said)), stop_reason=None)
        assert text.startswith(said), said
        piece, found = up_to_stop(text[len(said) :], request)
        return chat(piece, stop_reason="\n\n" if found else None)

    return answer


def configured(folder, server, continuation="completions", **document):
    model = {"api": "openai", "url": server.url, "server": "vllm", "attempts": 1,
             "continuation": continuation}  # fmt: skip
    if continuation == "completions":
        (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": CHAT}))
        model["template"] = "."
    path = folder / "trim.yaml"
    models = {role: {**model, "model": role} for role in ("weak", "strong")}
    path.write_text(yaml.safe_dump({**models, "routing": {"policy": "random:0.5"}, **document}))
    return path


@asynccontextmanager
async def answers(folder, answer, continuation="completions", **document):
    """Asks a server of its own, and gives what its official form holds."""
    async with staged(answer) as server:
        manager = serving(folder, configured(folder, server, continuation, **document))
        url = await asyncio.to_thread(manager.__enter__)
        try:
            async with httpx.AsyncClient(timeout=60) as client:

                async def ask(**more):
                    body = asked("What now?", **more)
                    answered = await client.post(f"{url}/chat/completions", json=body)
                    assert answered.status_code == 200, answered.text
                    return answered

                yield ask
        finally:
            await asyncio.to_thread(manager.__exit__, None, None, None)


def whole(answered):
    (choice,) = answered.json()["choices"]
    return choice["message"]["content"], choice["finish_reason"]


def streamed(answered):
    events = [part.removeprefix("data: ") for part in answered.text.split("\n\n") if part]
    assert events[-1] == "[DONE]"
    choices = [json.loads(event)["choices"][0] for event in events[:-1]]
    text = "".join(choice["delta"].get("content") or "" for choice in choices)
    return text, choices[-1]["finish_reason"]


def finishes(folder):
    connection = sqlite3.connect(folder / "trim.sqlite")
    with connection:
        return [finish for (finish,) in connection.execute("SELECT finish FROM requests")]


@pytest.mark.parametrize("text", [CODE, BOXED, LONG], ids=["code", "boxed", "long"])
async def test_an_answer_is_what_its_model_wrote_to_its_end_byte_for_byte(tmp_path, text):
    """Boxes, thirty paragraphs and indentation are text like any other."""
    async with answers(tmp_path, writing(text)) as ask:
        for model in ("trim:weak", "trim:strong", "trim:random-0.5"):
            assert whole(await ask(model=model)) == (text, "stop")
            assert streamed(await ask(model=model, stream=True)) == (text, "stop")
    assert finishes(tmp_path) == ["stop"] * 6


@pytest.mark.parametrize("text", [BOXED, LONG], ids=["boxed", "long"])
async def test_so_it_is_where_the_last_message_is_continued(tmp_path, text):
    async with answers(tmp_path, chatting(text), "continue_final") as ask:
        assert whole(await ask(model="trim:weak")) == (text, "stop")
        assert streamed(await ask(model="trim", stream=True)) == (text, "stop")


async def test_a_box_ends_an_answer_where_the_configuration_says_so(tmp_path):
    routing = {"policy": "random:0.5", "ends": "box"}
    async with answers(tmp_path, writing(BOXED), routing=routing) as ask:
        text, reason = whole(await ask(model="trim"))
        assert (text.rstrip("\n"), reason) == ("It is\n\n\\boxed{2} apples.", "stop")
        assert streamed(await ask(model="trim", stream=True)) == (text, reason)
        # A whole answer ends where the model ends it.
        assert whole(await ask(model="trim:weak")) == (BOXED, "stop")
    assert finishes(tmp_path) == ["answer"] * 3


async def test_a_limit_on_steps_is_the_configurations(tmp_path):
    routing = {"policy": "random:0.5", "max_steps": 30}
    async with answers(tmp_path, writing(LONG), routing=routing) as ask:
        text, reason = whole(await ask(model="trim"))
        assert whole(await ask(model="trim:weak")) == (LONG, "stop")
    assert LONG.startswith(text) and text.rstrip("\n").endswith("\n\nParagraph 30.")
    assert reason == "length"
    assert finishes(tmp_path) == ["steps", "stop"]


async def test_a_protocol_of_evaluations_does_not_keep_an_answer_from_its_end(tmp_path):
    """By the authors' a model that has ended without a box is asked for another step."""
    text = "Hello.\n\nHow are you?"
    async with answers(tmp_path, writing(text), protocol="authors") as ask:
        for model in ("trim:weak", "trim:strong"):
            assert whole(await ask(model=model)) == (text, "stop")


async def test_a_step_that_was_cut_ends_an_answer(tmp_path):
    def cut(request):
        answer = writing(LONG)(request)
        return {**answer, "choices": [{**answer["choices"][0], "finish_reason": "length"}]}

    async with answers(tmp_path, lambda request: cut(request)) as ask:
        assert whole(await ask(model="trim")) == ("Paragraph 1.", "length")
        assert whole(await ask(model="trim:weak")) == (LONG, "length")
    assert finishes(tmp_path) == ["length"] * 2
