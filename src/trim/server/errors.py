"""What goes wrong with a request, in OpenAI's form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class Gone(Exception):
    """The client has closed the connection."""


class APIError(Exception):
    """An answer that is an error.

    Attributes:
        status: of HTTP.
        kind: OpenAI's type, as `invalid_request_error`.
        code: what a program can tell it by.
        param: the field of the request that is to blame.
        retry_after: seconds after which asking again makes sense; None where it does not.
        headers: of the answer.
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
        wish = {} if retry_after is None else {"Retry-After": str(retry_after)}
        self.headers = {**wish, **(headers or {})}

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
    """The request is at fault."""
    return APIError(400, message, code=code, param=param)


def unsupported(feature: str) -> APIError:
    """The request asks for what routing cannot give."""
    return invalid(
        f"{feature}: this server routes steps of text, and none of its models is configured to be"
        " handed the rest (server.passthrough)",
        feature,
        "unsupported_feature",
    )


def unavailable(message: str) -> APIError:
    """A model does not answer."""
    return APIError(503, message, "server_error", "model_unavailable", retry_after=5)
