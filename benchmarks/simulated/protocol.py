"""Answers of a simulated engine in the form of vLLM's server."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from simulated.engine import Engine, Request
from simulated.script import SPREAD, score, write_all, write_step
from trim.scorers.pooling import TAG
from trim.steps import SEPARATOR

Read = TypeVar("Read")

TURN = "<|im_start|>assistant\n"
"""Start of an assistant turn."""
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""The chat template of Qwen2.5, without its tools."""


async def complete(
    engine: Engine, body: Mapping[str, Any], spread: float = SPREAD
) -> dict[str, Any]:
    """`/v1/completions`: one step if the separator is a stop string, else a complete solution."""
    prompt, limit = body["prompt"], body["max_tokens"]
    request = (body["model"], prompt, body.get("seed") or 0)
    stops = SEPARATOR in (body.get("stop") or ())
    if stops:
        written = write_step(*request, spread).within(limit)
    else:
        written = write_all(*request, limit, spread).within(limit)
    served = await engine.serve(prompt.split(), written.words, written.tokens)
    choice = {
        "index": 0,
        "text": written.text,
        "finish_reason": "length" if written.cut else "stop",
        "stop_reason": SEPARATOR if written.stopped and not written.cut else None,
        "logprobs": certain(written.words) if body.get("logprobs") else None,
    }
    return {"choices": [choice], "usage": usage(served)}


async def pool(engine: Engine, body: Mapping[str, Any]) -> dict[str, Any]:
    """`/pooling`: two probabilities for each tagged step."""
    text = body["input"]
    *steps, _ = text.rpartition(TURN)[2].split(TAG)
    request = await engine.serve(text.split())
    rows = [[1 - value, value] for value in map(score, steps)]
    return {"data": [{"index": 0, "data": rows}], "usage": usage(request)}


def certain(words: Sequence[str]) -> dict[str, Any]:
    """Equal log-probabilities for all words."""
    tokens = [word if index == 0 else f" {word}" for index, word in enumerate(words)]
    tops = [{token: -0.1} for token in tokens]
    return {"tokens": tokens, "token_logprobs": [-0.1] * len(tokens), "top_logprobs": tops}


def usage(request: Request) -> dict[str, Any]:
    read = len(request.prompt)
    return {
        "prompt_tokens": read,
        "completion_tokens": request.tokens,
        "total_tokens": read + request.tokens,
        "prompt_tokens_details": {"cached_tokens": request.cached},
    }


class Direct:
    """Takes the place of a client's `HttpServer` and calls an engine without HTTP.

    Args:
        spread: of the tokens of a step (`simulated.script.SPREAD`).
    """

    def __init__(self, name: str, engine: Engine, spread: float = SPREAD) -> None:
        self.name = name
        self.engine = engine
        self.spread = spread

    async def post(self, path: str, body: Mapping[str, Any], read: Callable[[Any], Read]) -> Read:
        if path == "//pooling":
            return read(await pool(self.engine, body))
        return read(await complete(self.engine, body, self.spread))
