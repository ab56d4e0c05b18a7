"""Token counts as engines report them: checked, and estimated where they cannot be right."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trim.types import Usage

LARGEST_COUNT = 10_000_000
"""Tokens of one request; a larger count is an error of the engine."""
CHARACTERS_PER_TOKEN = 4
TOKENS_PER_SECOND = 50
"""For estimating the tokens of texts and of calls whose usage is unknown."""
SHOWN = 40
"""Characters of a wrong count that the warning quotes."""

LOG = logging.getLogger(__name__)
_WARNED: set[str] = set()


@dataclass(frozen=True)
class Call:
    """A request to an engine.

    Attributes:
        engine: its name, for the warning.
        prompt: a text, token ids, messages, or a body with one of these; for an estimate.
    """

    engine: str
    prompt: Any = ""


def usage_of(reported: Any, call: Call, written: int) -> Usage:
    """The tokens of one request from OpenAI's `usage`, with the cached ones of any of its dialects.

    Args:
        written: estimated tokens of the answer, which count where the engine reports no such
            number.

    Raises:
        LookupError, ValueError: the prompt is not counted at all.
    """
    fields = fields_of(reported, "prompt_tokens")
    details = fields.get("prompt_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, Mapping) else None
    return checked(
        call,
        {"prompt_tokens": fields.get("prompt_tokens")},
        ("cached_tokens", cached or fields.get("prompt_cache_hit_tokens")),
        ("completion_tokens", fields.get("completion_tokens")),
        written,
    )


def usage_of_timings(reported: Any, call: Call, written: int) -> Usage:
    """As `usage_of`, from llama.cpp's `timings`, whose `prompt_n` excludes cached tokens."""
    fields = fields_of(reported, "prompt_n")
    return checked(
        call,
        {name: fields.get(name) for name in ("cache_n", "prompt_n")},
        ("cache_n", fields.get("cache_n")),
        ("predicted_n", fields.get("predicted_n")),
        written,
    )


def usage_of_message(reported: Any, call: Call, written: int) -> Usage:
    """As `usage_of`, from Anthropic's `usage`, whose `input_tokens` exclude the tokens that were
    read from the cache or written to it."""
    fields = fields_of(reported, "input_tokens")
    read = "cache_read_input_tokens"
    parts = {name: fields.get(name) or 0 for name in (read, "cache_creation_input_tokens")}
    return checked(
        call,
        {"input_tokens": fields.get("input_tokens"), **parts},
        (read, parts[read]),
        ("output_tokens", fields.get("output_tokens")),
        written,
    )


def fields_of(reported: Any, required: str) -> Mapping[str, Any]:
    if not isinstance(reported, Mapping):
        raise ValueError("usage holds no token counts")
    if required not in reported:
        raise LookupError(f"usage lacks {required}")
    return reported


def checked(
    call: Call,
    read: Mapping[str, Any],
    cached: tuple[str, Any],
    decoded: tuple[str, Any],
    written: int,
) -> Usage:
    """Usage from reported numbers, with one warning for each engine that reports wrong ones.

    A number that is no count of tokens is replaced by an estimate, so that wrong reports are never
    free; one of cached tokens is 0. More cached tokens than the prompt has are all of it.

    Args:
        read: the parts of the prompt.
        cached: cached tokens, among them; None for unknown.
        decoded: tokens of the answer.
    """
    wrong = {name: value for name, value in read.items() if count_in(value) is None}
    parts = [count_in(value) for value in read.values()]
    known = [part for part in parts if part is not None]
    prompt = tokens_in(call.prompt) if wrong else min(sum(known), LARGEST_COUNT)
    tokens = count_in(decoded[1])
    if tokens is None:
        tokens = written
        if written or decoded[1] is not None:
            wrong[decoded[0]] = decoded[1]
    hit = 0 if cached[1] is None else count_in(cached[1])
    if hit is None or hit > prompt:
        wrong[cached[0]] = cached[1]
    usage = Usage(prompt, min(hit or 0, prompt), tokens)
    if wrong and call.engine not in _WARNED:
        _WARNED.add(call.engine)
        named = ", ".join(f"{name} {value!r:.{SHOWN}}" for name, value in wrong.items())
        LOG.warning(
            "%s: reports a usage that cannot be right (%s); counted as %d prompt tokens, %d of"
            " them cached, and %d decoded; further ones are corrected without a warning",
            *(call.engine, named, usage.prompt_tokens, usage.cached_tokens, usage.tokens),
        )
    return usage


def count_in(value: Any) -> int | None:
    """The count of tokens in a JSON value, up to `LARGEST_COUNT`; None for anything else.

    Whole numbers count in any spelling, such as 3.0 and "3".
    """
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < SHOWN:
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= LARGEST_COUNT:
        return value
    return None


def tokens_in(given: Any) -> int:
    """An estimate of the tokens in a prompt: a text, token ids, messages, or a body with them."""
    if isinstance(given, list) and given and all(isinstance(each, int) for each in given):
        return min(len(given), LARGEST_COUNT)
    characters = sum(map(len, texts_in(given)))
    return min(math.ceil(characters / CHARACTERS_PER_TOKEN), LARGEST_COUNT)


def texts_in(given: Any) -> list[str]:
    """The texts in messages, in one of them, in a prompt, or in a body with these."""
    match given:
        case str():
            return [given]
        case list():
            return [text for each in given for text in texts_in(each)]
        case {"text": str(text)}:
            return [text]
        case {"content": content}:
            return texts_in(content)
        case {"messages": messages, **rest}:
            return [*texts_in(rest.get("system")), *texts_in(messages)]
        case {"prompt": prompt} | {"input": prompt}:
            return texts_in(prompt)
    return []


def tokens_after(seconds: float, limit: int) -> int:
    """An estimate of the tokens that a call has decoded after `seconds`, at most its limit."""
    return max(0, min(int(seconds * TOKENS_PER_SECOND), limit, LARGEST_COUNT))
