"""How a model on a server is made to go on from a text that is already there."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from trim.errors import InvalidInput
from trim.steps import SEPARATOR, split_steps


class Continuation(StrEnum):
    """The ways; docs/engines.md says which server takes which."""

    COMPLETIONS = "completions"
    """The whole text, with a chat template rendered here, goes to `/completions`."""
    CONTINUE_FINAL = "continue_final"
    """Last message from the assistant, `continue_final_message: true` (vLLM, SGLang)."""
    PREFIX = "prefix"
    """Last message from the assistant with `prefix: true` (DeepSeek, Mistral)."""
    PREFILL = "prefill"
    """Last message from the assistant, continued without a word (llama.cpp, older Claude)."""
    USER_TURN = "user_turn"
    """The steps so far are quoted to the model, and what it repeats of them is removed."""


REQUEST = (
    "{question}\n\nThe solution begins with these steps, separated by blank lines:\n\n{said}\n\n"
    "Go on exactly where it ends, with the next step only. Repeat nothing and introduce nothing."
)
"""What a user turn asks for."""


def request(question: str, said: str) -> str:
    """A user turn that asks to go on from `said`; the bare question where nothing is said."""
    return REQUEST.format(question=question, said=said.strip()) if said.strip() else question


def without_repeated(said: str, text: str) -> str:
    """`text` without the beginning that only repeats `said`: all of it, or its last whole steps.

    Words are compared, not blanks between them. A text that begins anew with the beginning of
    `said` and ends before it is over repeats only.
    """
    old = said.split()
    words = list(re.finditer(r"\S+", text))
    new = [word[0] for word in words]
    repeated = 0
    if new and old[: len(new)] == new:
        repeated = len(new)
    length = 0
    for step in reversed(split_steps(said)):
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
    """How a model that thinks before it answers is told not to."""

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
        modes: ways of continuing that it may take, the best first.
        fields: sent with every request, so that the answer tells how a step ended.
        limit: field for the tokens that a step may have.
        seed: field for the seed; None where it takes none.
        top_k: whether it takes top-k sampling.
        all_tokens: the top-k that keeps all tokens; None for leaving the field out.
        log_probabilities: whether it tells them without being much slower.
        adds_begin: whether it puts the token that begins a text before a text of its own accord.
        echoes: whether an answer begins with the assistant's message that it continues.
        returned_ids: field with which `/completions` tells the tokens of prompt and answer.
        tokenizes: whether it has a route `/tokenize`, and takes prompts of tokens.
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


VLLM = Dialect(
    "vllm",
    (Continuation.COMPLETIONS, Continuation.CONTINUE_FINAL, Continuation.USER_TURN),
    all_tokens=-1,
    log_probabilities=True,
    adds_begin=False,  # since `add_special_tokens: false` is sent
    returned_ids="return_token_ids",
)
SGLANG = Dialect(
    "sglang",
    (Continuation.COMPLETIONS, Continuation.CONTINUE_FINAL, Continuation.USER_TURN),
    all_tokens=-1,
    log_probabilities=True,
)
LLAMA_CPP = Dialect(
    "llama_cpp",
    (Continuation.COMPLETIONS, Continuation.PREFILL, Continuation.USER_TURN),
    # Only the verbose record tells a stop string from an end token.
    fields={"verbose": True, "return_tokens": True, "cache_prompt": True, "min_p": 0.0},
    all_tokens=0,
    log_probabilities=True,
    echoes=True,
    tokenizes=True,
)
TGI = Dialect("tgi", (Continuation.COMPLETIONS, Continuation.USER_TURN))
OPENAI = Dialect(
    "openai",
    (Continuation.USER_TURN,),
    limit="max_completion_tokens",
    top_k=False,
)
DEEPSEEK = Dialect(
    "deepseek", (Continuation.PREFIX, Continuation.USER_TURN), seed=None, top_k=False
)
MISTRAL = Dialect(
    "mistral",
    (Continuation.PREFIX, Continuation.USER_TURN),
    seed="random_seed",
    top_k=False,
    echoes=True,
)
OTHER = Dialect("other", tuple(Continuation), top_k=False)
"""LiteLLM, OpenRouter and whatever else: only what OpenAI's protocol has is sent."""

DIALECTS = {
    dialect.name: dialect
    for dialect in (VLLM, SGLANG, LLAMA_CPP, TGI, OPENAI, DEEPSEEK, MISTRAL, OTHER)
}


def find_dialect(name: str) -> Dialect:
    """Raises InvalidInput for an unknown name."""
    if name not in DIALECTS:
        raise InvalidInput(f"unknown kind of server {name!r}; known: {', '.join(DIALECTS)}")
    return DIALECTS[name]
