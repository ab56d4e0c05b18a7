"""Errors as OpenAI's API reports them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MESSAGE = 1000
"""Characters of a message; it may quote what a client or a model server has sent."""
NAME = 200
"""Characters of a code, and of the name of a field."""


class APIError(Exception):
    """An API error response; overlong texts are cut.

    Attributes:
        status: HTTP status.
        kind: OpenAI's `type`, such as `invalid_request_error`.
        code: for programs to tell errors apart.
        param: the field of the request that caused it.
        retry_after: seconds after which a retry makes sense; None if it does not.
        headers: of the response.
    """

    def __init__(
        self,
        status: int,
        message: str,
        kind: str = "invalid_request_error",
        code: str | None = None,
        param: str | None = None,
        retry_after: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        message = cut(message, MESSAGE)
        super().__init__(message)
        self.status = status
        self.message = message
        self.kind = kind
        self.code = code and cut(code, NAME)
        self.param = param and cut(param, NAME)
        self.retry_after = retry_after
        retry = {} if retry_after is None else {"Retry-After": str(retry_after)}
        self.headers = {**retry, **(headers or {})}

    @property
    def body(self) -> dict[str, Any]:
        return {
            "error": {
                "message": self.message,
                "type": self.kind,
                "param": self.param,
                "code": self.code,
            }
        }


def cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"


def invalid(message: str, param: str | None = None, code: str | None = None) -> APIError:
    """An error in the request (400)."""
    return APIError(400, message, code=code, param=param)


def unsupported(feature: str) -> APIError:
    """The request needs a feature that routing does not offer (400)."""
    return invalid(
        f"{feature}: not supported by routing, and no model is configured to take such requests"
        " (server.passthrough)",
        feature,
        "unsupported_feature",
    )


def unavailable(message: str) -> APIError:
    """A model does not answer (503)."""
    return APIError(503, message, "server_error", "model_unavailable", retry_after=5)


def internal() -> APIError:
    """An error of this program, or of a part of another package."""
    return APIError(500, "internal server error; see the server log", "server_error")
