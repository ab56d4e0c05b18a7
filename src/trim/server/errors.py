"""Errors as OpenAI's API reports them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class APIError(Exception):
    """An API error response.

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
        super().__init__(message)
        self.status = status
        self.message = message
        self.kind = kind
        self.code = code
        self.param = param
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
