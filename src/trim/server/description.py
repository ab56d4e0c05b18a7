"""What `/openapi.json` says of requests and answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from fastapi import FastAPI
from pydantic import BaseModel

from trim.server.request import ChatRequest, CompletionRequest, Request

MEANINGS = {
    400: "a mistake in the request",
    401: "no key that holds",
    404: "no such model",
    408: "the body has not come in time",
    413: "the body is too large",
    415: "the model that was handed the request does not take it",
    422: "the model that was handed the request does not take it",
    429: "the budget is spent",
    503: "a model does not answer, or the queue is full",
    504: "the answer was due before it began",
}

BODIES: Mapping[str, type[Request]] = {
    "/v1/chat/completions": ChatRequest,
    "/v1/completions": CompletionRequest,
}
"""What is posted where, and read by this server itself."""
EVENT = {
    "type": "object",
    "description": "`data` is a chunk as OpenAI's API has it, an error, or `[DONE]`.",
    "properties": {"data": {"type": "string"}},
    "required": ["data"],
}


class ErrorBody(BaseModel):
    """What is wrong."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorAnswer(BaseModel):
    """An error, as OpenAI tells it."""

    error: ErrorBody


class Spending(BaseModel):
    """OpenAI's usage; `trim` tells what each part did."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    trim: dict[str, Any] | None = None


class Said(BaseModel):
    """A message of the assistant."""

    role: Literal["assistant"]
    content: str | None


class ChatChoice(BaseModel):
    """One solution."""

    index: int
    message: Said
    finish_reason: str


class ChatAnswer(BaseModel):
    """The answer of `/v1/chat/completions` that is no stream."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[ChatChoice]
    usage: Spending


class TextChoice(BaseModel):
    """One solution."""

    index: int
    text: str
    finish_reason: str


class TextAnswer(BaseModel):
    """The answer of `/v1/completions` that is no stream."""

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    choices: list[TextChoice]
    usage: Spending


class ListedModel(BaseModel):
    """A router."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str


class ModelList(BaseModel):
    """The routers that a request may name."""

    object: Literal["list"]
    data: list[ListedModel]


def answers(kind: type[BaseModel]) -> dict[int | str, dict[str, Any]]:
    """What a request may be answered with."""
    whole = {
        "model": kind,
        "description": "the answer, or with `stream` its events",
        "content": {"text/event-stream": {"schema": EVENT}},
    }
    return {200: whole, **errors(*MEANINGS)}


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Errors that a route may answer."""
    return {status: {"model": ErrorAnswer, "description": MEANINGS[status]} for status in statuses}


def describe(app: FastAPI) -> None:
    """Add what FastAPI cannot know: bodies, which are read by this server itself, and keys."""
    described = app.openapi()
    parts = described["components"]
    parts["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    for path, kind in BODIES.items():
        schema = kind.model_json_schema(ref_template="#/components/schemas/{model}")
        parts["schemas"] |= schema.pop("$defs", {})
        operation = described["paths"][path]["post"]
        operation["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": schema}},
        }
    for path, method in (("/v1/models", "get"), *((path, "post") for path in BODIES)):
        # Without any key in its database a server asks for none.
        described["paths"][path][method]["security"] = [{"key": []}, {}]
