"""Requests as OpenTelemetry traces: a span for each, and in it one for each step."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from opentelemetry import propagate
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, set_span_in_context

from trim.costs import Prices
from trim.errors import DISTRIBUTION, InvalidInput, require_extra
from trim.events import Decided, Drafted, Event, Finished, Kept, Regenerated, Scored
from trim.server.accounts import RequestRecord
from trim.server.response import Choice, usage_of
from trim.types import Action, Step, Trace

TOTALS = ("strong_tokens", "middle_tokens", "weak_tokens", "discarded_tokens", "scorer_tokens",
          "interventions", "fallbacks", "money")  # fmt: skip


def exporting() -> TracerProvider:
    """Sends spans in the background to the collector that the standard variables name."""
    named = {} if os.environ.get("OTEL_SERVICE_NAME") else {"service.name": "trim"}
    resource = Resource.create(
        {**named, "service.version": version(DISTRIBUTION), "process.pid": os.getpid()}
    )
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider


class Tracing:
    """Makes the spans, by OpenTelemetry's conventions for generative models where they fit.

    Args:
        keep_texts: questions, answers and steps go into the spans.
    """

    def __init__(self, provider: TracerProvider, keep_texts: bool) -> None:
        self.provider = provider
        self.keep_texts = keep_texts
        self.tracer = provider.get_tracer("trim", version(DISTRIBUTION))

    def begin(self, asked: RequestRecord, choices: Sequence[Choice], prices: Prices) -> RequestSpan:
        """The span of a request, a child of its caller's; it hears what happens to the choices."""
        return RequestSpan(self, asked, choices, prices)

    def close(self) -> None:
        """Send what waits."""
        self.provider.shutdown()


class RequestSpan:
    """A request under way."""

    def __init__(
        self, tracing: Tracing, asked: RequestRecord, choices: Sequence[Choice], prices: Prices
    ) -> None:
        self.tracing = tracing
        self.asked = asked
        self.prices = prices
        operation = "chat" if asked.chat else "text_completion"
        self.span = tracing.tracer.start_span(
            f"{operation} {asked.model}",
            propagate.extract(asked.headers),
            SpanKind.SERVER,
            {
                "gen_ai.operation.name": operation,
                "gen_ai.provider.name": "trim",
                "gen_ai.request.model": asked.model,
                "gen_ai.request.choice.count": len(choices),
                "gen_ai.response.id": asked.id,
                "trim.stream": asked.stream,
            },
            start_time=int(asked.created * 1e9),
        )
        self.steps = [StepSpans(self, choice) for choice in choices]

    def end(self, traces: Sequence[Trace], finish: str, failure: str | None) -> None:
        """Whatever became of the request."""
        for steps in self.steps:
            steps.end()
        usage = usage_of(traces, self.prices, with_steps=False)
        spent = usage["trim"]
        self.span.set_attributes(
            {
                "gen_ai.usage.input_tokens": usage["prompt_tokens"],
                "gen_ai.usage.output_tokens": usage["completion_tokens"],
                "gen_ai.response.finish_reasons": [str(trace.finish) for trace in traces],
                "trim.finish": finish,
                "trim.policy": spent["policy"] or "",
                **{f"trim.{name}": spent[name] for name in TOTALS},
            }
        )
        if self.tracing.keep_texts:
            self.span.set_attribute("gen_ai.input.messages", messages("user", self.asked.question))
            solutions = [trace.solution for trace in traces]
            self.span.set_attribute("gen_ai.output.messages", messages("assistant", *solutions))
        if failure is not None:
            self.span.set_status(Status(StatusCode.ERROR, failure))
            self.span.set_attribute("error.type", finish)
        self.span.end()


class StepSpans:
    """The steps of one choice, each from the end of the one before it to its own."""

    def __init__(self, request: RequestSpan, choice: Choice) -> None:
        self.request = request
        self.choice = choice
        self.ended: int | None = None
        self.span: Span | None = None
        choice.hear = self.hear

    def hear(self, event: Event) -> None:
        """What the router reports."""
        if isinstance(event, Finished):
            return
        span = self.span = self.span or self._start(event.index)
        match event:
            case Drafted(_, text, tokens):
                span.add_event("drafted", self._told(text, {"tokens": tokens}))
            case Scored(_, score):
                span.add_event("scored", {"score": score})
            case Decided(_, action):
                span.add_event("decided", {"action": str(action)})
                if action is Action.RESTART:
                    self.end()
            case Regenerated(_, text, tokens, author):
                said = {"tokens": tokens, "author": str(author)}
                span.add_event("regenerated", self._told(text, said))
            case Kept(_, step):
                span.set_attributes(self._told(step.text, attributes_of(step)))
                self.end()

    def end(self) -> None:
        """End the step under way, if one is."""
        if self.span:
            self.span.end()
            self.span, self.ended = None, time.time_ns()

    def _start(self, index: int) -> Span:
        return self.request.tracing.tracer.start_span(
            f"step {index}",
            set_span_in_context(self.request.span),
            attributes={"trim.choice": self.choice.index, "trim.step.index": index},
            start_time=self.ended or self.choice.began,
        )

    def _told(self, text: str, attributes: dict[str, Any]) -> dict[str, Any]:
        return {**attributes, "text": text} if self.request.tracing.keep_texts else attributes


def attributes_of(step: Step) -> dict[str, Any]:
    decoded = step.draft_tokens + step.intermediate_tokens + step.strong_tokens
    known = {
        "trim.step.author": str(step.author),
        "trim.step.action": str(step.action),
        "trim.step.score": step.score,
        "trim.step.denied": step.denied,
        "trim.step.fallback": step.fallback,
        "trim.step.discarded_tokens": decoded - step.tokens,
        "gen_ai.usage.output_tokens": step.tokens,
    }
    return {name: value for name, value in known.items() if value is not None}


def messages(role: str, *texts: str) -> str:
    """Texts in the form of the conventions."""
    said = [{"role": role, "parts": [{"type": "text", "content": text}]} for text in texts]
    return json.dumps(said, ensure_ascii=False)


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
        InvalidInput: another protocol is asked for.
        MissingExtra: the extra `telemetry` is not installed.
    """
    known = os.environ if variables is None else variables
    named = next((name for name in ENDPOINTS if known.get(name)), None)
    off = known.get("OTEL_SDK_DISABLED", "").lower() == "true"
    if named is None or off or known.get("OTEL_TRACES_EXPORTER") == "none":
        return None
    for name in PROTOCOLS:
        if known.get(name, SPOKEN) != SPOKEN:
            raise InvalidInput(f"{name}={known[name]}: traces are sent by {SPOKEN}")
    with require_extra(f"{named} is set, which"):
        from trim.server.tracing import Tracing, exporting
    return Tracing(exporting(), keep_texts)
