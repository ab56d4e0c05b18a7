"""Whether traces of requests are sent to an OpenTelemetry collector, by its standard variables."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from trim.errors import InvalidInput

if TYPE_CHECKING:
    from trim.server.tracing import Tracing

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
SPOKEN = "http/protobuf"


def open_tracing(keep_texts: bool, variables: Mapping[str, str] | None = None) -> Tracing | None:
    """What sends the traces; None where no collector is named, or the standard variables
    switch traces off.

    Args:
        keep_texts: send questions, answers and steps, not only what they cost.
        variables: of the environment.

    Raises:
        InvalidInput: the extra `telemetry` is not installed, or another protocol is asked for.
    """
    known = os.environ if variables is None else variables
    named = next((name for name in ENDPOINTS if known.get(name)), None)
    off = known.get("OTEL_SDK_DISABLED", "").lower() == "true"
    if named is None or off or known.get("OTEL_TRACES_EXPORTER") == "none":
        return None
    for name in PROTOCOLS:
        if known.get(name, SPOKEN) != SPOKEN:
            raise InvalidInput(f"{name}={known[name]}: traces are sent by {SPOKEN}")
    try:
        from trim.server.tracing import Tracing, exporting
    except ImportError as error:
        raise InvalidInput(
            f"{named} is set, and traces need the extra: pip install 'trim[telemetry]'"
        ) from error
    return Tracing(exporting(), keep_texts)
