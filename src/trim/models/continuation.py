"""How a model on a server is made to continue a text, and what each kind of server takes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeVar

from trim.errors import InvalidInput
from trim.steps import SEPARATOR, split_steps


class Continuation(StrEnum):
    """Ways to continue a text; docs/concepts/continuation.md lists the servers that take each."""

    COMPLETIONS = "completions"
    """The whole text, with a chat template rendered here, goes to `/completions`."""
    CONTINUE_FINAL = "continue_final"
    """Last message from the assistant, `continue_final_message: true` (vLLM, SGLang)."""
    PREFIX = "prefix"
    """Last message from the assistant with `prefix: true` (DeepSeek, Mistral)."""
    PREFILL = "prefill"
    """Last message from the assistant, without any flag (llama.cpp, Claude up to 4.5)."""
    USER_TURN = "user_turn"
    """A user message quotes the steps so far; the model's repetition of them is removed."""


REQUEST = (
    "{question}\n\nThe solution begins with these steps, separated by blank lines:\n\n{steps}\n\n"
    "Go on exactly where it ends, with the next step only. Repeat nothing and introduce nothing."
)
"""The user message of the mode `user_turn`."""


def request(question: str, solution: str) -> str:
    """A user message that asks to continue `solution`; the bare question where that is empty."""
    steps = solution.strip()
    return REQUEST.format(question=question, steps=steps) if steps else question


def without_repeated(solution: str, text: str) -> str:
    """`text` without a beginning that repeats `solution`, all of it or its last whole steps.

    Words are compared, not the blanks between them. A text that is only a beginning of `solution`
    is a repetition as a whole.
    """
    old = solution.split()
    words = list(re.finditer(r"\S+", text))
    new = [word[0] for word in words]
    repeated = 0
    if new and old[: len(new)] == new:
        repeated = len(new)
    length = 0
    for step in reversed(split_steps(solution)):
        length += len(step.split())
        if new[:length] == old[-length:]:
            repeated = max(repeated, length)
    if not repeated:
        return text
    return text[words[repeated - 1].end() :].lstrip()


def first_step(text: str) -> str:
    """The beginning of `text` up to the first separator."""
    return text.lstrip("\n").partition(SEPARATOR)[0]


class ThinkingOff(StrEnum):
    """How thinking is disabled for a model that thinks before it answers."""

    TEMPLATE = "template"
    """`enable_thinking: false` for its chat template (Qwen3 and others on vLLM, SGLang,
    llama.cpp, or rendered here)."""
    NO_THINK = "no_think"
    """The words `/no_think` at the end of the question (Qwen3 on any server)."""
    DISABLED = "disabled"
    """`thinking: {"type": "disabled"}` (DeepSeek, GLM)."""
    EFFORT = "effort"
    """`reasoning_effort: "none"` (OpenAI's newer models)."""


@dataclass(frozen=True)
class Dialect:
    """One kind of server.

    Attributes:
        modes: continuations that it may take, the best first.
        fields: sent with every request; they make the answer report how a step ended.
        limit: field for the maximum tokens of an answer.
        seed: field for the seed; None where it takes none.
        top_k: whether it takes top-k sampling.
        all_tokens: the top-k that keeps all tokens; None leaves the field out.
        log_probabilities: whether it returns them at little cost.
        adds_begin: whether it adds the BOS token to a prompt by itself.
        echoes: whether an answer begins with the assistant's message that it continues.
        returned_ids: field that makes `/completions` return token ids of prompt and answer.
        tokenizes: whether it has a route `/tokenize`, and takes prompts of token ids.
        text_field: field of the text in a request to `/tokenize`; None without that route.
        streams: fields with which it streams its tokens and counts them in each chunk; None where
            it does not, and a text is ended only after the whole answer.
        keeps: whether it keeps the connection after a stream.
        counts_streams: whether it counts the tokens of a stream unasked, and takes no
            `stream_options`.
        thinking_off: how thinking is disabled there; None where no way is known.
        whole_top_p: whether it takes a `top_p` of 1.
    """

    name: str
    modes: tuple[Continuation, ...]
    fields: Mapping[str, Any] = field(default_factory=dict)
    limit: str = "max_tokens"
    seed: str | None = "seed"
    top_k: bool = True
    all_tokens: int | None = None
    log_probabilities: bool = False
    adds_begin: bool = True
    echoes: bool = False
    returned_ids: str | None = None
    tokenizes: bool = False
    text_field: str | None = None
    streams: Mapping[str, Any] | None = None
    keeps: bool = True
    counts_streams: bool = False
    thinking_off: ThinkingOff | None = None
    whole_top_p: bool = True


COUNTED: Mapping[str, Any] = {
    "stream": True,
    "stream_options": {"include_usage": True, "continuous_usage_stats": True},
    "stop": [SEPARATOR],
}
"""Fields of a stream on vLLM and SGLang."""

VLLM = Dialect(
    "vllm",
    (Continuation.COMPLETIONS, Continuation.CONTINUE_FINAL, Continuation.USER_TURN),
    all_tokens=-1,
    log_probabilities=True,
    adds_begin=False,  # since `add_special_tokens: false` is sent
    returned_ids="return_token_ids",
    text_field="prompt",
    # Without the stop string in the text, the text lags behind the tokens.
    streams={**COUNTED, "include_stop_str_in_output": True},
    thinking_off=ThinkingOff.TEMPLATE,
)
SGLANG = Dialect(
    "sglang",
    (Continuation.COMPLETIONS, Continuation.CONTINUE_FINAL, Continuation.USER_TURN),
    all_tokens=-1,
    log_probabilities=True,
    text_field="prompt",
    streams={**COUNTED, "no_stop_trim": True},
    thinking_off=ThinkingOff.TEMPLATE,
)
LLAMA_CPP = Dialect(
    "llama_cpp",
    (Continuation.COMPLETIONS, Continuation.PREFILL, Continuation.USER_TURN),
    # Only the verbose record distinguishes a stop string from an end token.
    fields={"verbose": True, "return_tokens": True, "cache_prompt": True, "min_p": 0.0},
    all_tokens=0,
    log_probabilities=True,
    echoes=True,
    tokenizes=True,
    text_field="content",
    # No `stop`: llama.cpp withholds the text of a token that may begin a stop string. A text that
    # stops is then at its end token, and the verbose record, large in each chunk, is not needed.
    streams={"stream": True, "timings_per_token": True, "verbose": None, "return_tokens": None},
    keeps=False,
    thinking_off=ThinkingOff.TEMPLATE,
)
TGI = Dialect("tgi", (Continuation.COMPLETIONS, Continuation.USER_TURN), whole_top_p=False)
OPENAI = Dialect(
    "openai",
    (Continuation.USER_TURN,),
    limit="max_completion_tokens",
    top_k=False,
    thinking_off=ThinkingOff.EFFORT,
)
DEEPSEEK = Dialect(
    "deepseek",
    (Continuation.PREFIX, Continuation.USER_TURN),
    seed=None,
    top_k=False,
    thinking_off=ThinkingOff.DISABLED,
)
MISTRAL = Dialect(
    "mistral",
    (Continuation.PREFIX, Continuation.USER_TURN),
    seed="random_seed",
    top_k=False,
    echoes=True,
    counts_streams=True,
)
OTHER = Dialect("other", tuple(Continuation), top_k=False)
"""LiteLLM, OpenRouter and others: only fields of OpenAI's protocol are sent."""

DIALECTS = {
    dialect.name: dialect
    for dialect in (VLLM, SGLANG, LLAMA_CPP, TGI, OPENAI, DEEPSEEK, MISTRAL, OTHER)
}


def find_dialect(name: str) -> Dialect:
    """The kind of server by its name; InvalidInput for an unknown one."""
    if name not in DIALECTS:
        raise InvalidInput(f"unknown kind of server {name!r}; known: {', '.join(DIALECTS)}")
    return DIALECTS[name]


Member = TypeVar("Member", bound=StrEnum)


def parse_member(kind: type[Member], value: Member | str) -> Member:
    """A member of an enumeration by its value; InvalidInput for an unknown one."""
    try:
        return kind(value)
    except ValueError:
        raise InvalidInput(f"unknown {kind.__name__} {value!r}; known: {', '.join(kind)}") from None
