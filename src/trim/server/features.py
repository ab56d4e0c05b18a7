"""Features of OpenAI's API that step-level routing cannot serve, and those that change nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

HARMLESS: Mapping[str, Callable[[Any], bool]] = {
    "tools": lambda value: value == [],
    "tool_choice": lambda value: value in ("none", "auto"),
    "parallel_tool_calls": lambda value: True,
    "functions": lambda value: value == [],
    "function_call": lambda value: value in ("none", "auto"),
    "response_format": lambda value: value == {"type": "text"},
    "logprobs": lambda value: value in (False, 0),
    "top_logprobs": lambda value: value == 0,
    "logit_bias": lambda value: value == {},
    "presence_penalty": lambda value: value == 0,
    "frequency_penalty": lambda value: value == 0,
    "modalities": lambda value: value == ["text"],
    "audio": lambda value: False,
    "prediction": lambda value: False,
    "web_search_options": lambda value: False,
    "reasoning_effort": lambda value: False,
    "echo": lambda value: value is False,
    "suffix": lambda value: value == "",
    "best_of": lambda value: value == 1,
}
"""Values with which a field asks for nothing. Fields that are not here (`metadata`, `store`,
`service_tier` and whatever comes) are taken and ignored."""


def unserved(fields: Mapping[str, Any]) -> str | None:
    """What of a request's body asks for what routing cannot give: a field, or a kind of message;
    None where there is nothing."""
    for name, value in fields.items():
        if value is not None and name in HARMLESS and not HARMLESS[name](value):
            return name
    return unserved_message(fields)


def unserved_message(body: Mapping[str, Any]) -> str | None:
    """What a message holds that is no text: a role or a kind of part; None where all is text."""
    messages = body.get("messages")
    for message in messages if isinstance(messages, list) else ():
        if not isinstance(message, dict):
            continue
        if message.get("role") in ("tool", "function") or message.get("tool_calls"):
            return "tools"
        content = message.get("content")
        for part in content if isinstance(content, list) else ():
            if isinstance(part, dict) and part.get("type") not in (None, "text"):
                return str(part["type"])
    return None
