"""Requests as OpenTelemetry traces: a span for each request, with a child for each step."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from opentelemetry import propagate
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, set_span_in_context

from trim.costs import Prices
from trim.errors import DISTRIBUTION
from trim.events import Decided, Drafted, Event, Finished, Kept, Regenerated, Scored, SpanWritten
from trim.server.accounts import RequestRecord
from trim.server.response import Choice, usage_body
from trim.types import Action, Step, Trace

TOTALS = ("strong_tokens", "middle_tokens", "weak_tokens", "discarded_tokens", "scorer_tokens",
          "interventions", "strong_calls", "fallbacks", "money")  # fmt: skip


def make_provider() -> TracerProvider:
    """Exports spans in the background to the collector named by the standard variables."""
    named = {} if os.environ.get("OTEL_SERVICE_NAME") else {"service.name": "trim"}
    resource = Resource.create(
        {**named, "service.version": version(DISTRIBUTION), "process.pid": os.getpid()}
    )
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider


class Tracing:
    """Creates spans, by OpenTelemetry's conventions for generative models where they fit.

    Args:
        keep_texts: put questions, answers and steps into the spans.
    """

    def __init__(self, provider: TracerProvider, keep_texts: bool) -> None:
        self.provider = provider
        self.keep_texts = keep_texts
        self.tracer = provider.get_tracer("trim", version(DISTRIBUTION))

    def start(
        self, record: RequestRecord, choices: Sequence[Choice], prices: Prices
    ) -> RequestSpan:
        """Start the span of a request, a child of the caller's; it listens to the choices."""
        return RequestSpan(self, record, choices, prices)

    def close(self) -> None:
        """Export the remaining spans."""
        self.provider.shutdown()


class RequestSpan:
    """The span of a request in progress."""

    def __init__(
        self, tracing: Tracing, record: RequestRecord, choices: Sequence[Choice], prices: Prices
    ) -> None:
        self.tracing = tracing
        self.record = record
        self.prices = prices
        operation = "chat" if record.chat else "text_completion"
        self.span = tracing.tracer.start_span(
            f"{operation} {record.model}",
            propagate.extract(record.headers),
            SpanKind.SERVER,
            {
                "gen_ai.operation.name": operation,
                "gen_ai.provider.name": "trim",
                "gen_ai.request.model": record.model,
                "gen_ai.request.choice.count": len(choices),
                "gen_ai.response.id": record.id,
                "trim.stream": record.stream,
            },
            start_time=int(record.created * 1e9),
        )
        self.steps = [StepSpans(self, choice) for choice in choices]

    def end(self, traces: Sequence[Trace], finish: str, failure: str | None) -> None:
        """End the span of a request that has ended, in any way."""
        for steps in self.steps:
            steps.end()
        usage = usage_body(traces, self.prices, with_steps=False)
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
        if spent["whole"]:
            self.span.set_attribute("trim.whole", spent["whole"]["role"])
        if self.tracing.keep_texts:
            self.span.set_attribute("gen_ai.input.messages", messages("user", self.record.question))
            solutions = [trace.solution for trace in traces]
            self.span.set_attribute("gen_ai.output.messages", messages("assistant", *solutions))
        if failure is not None:
            self.span.set_status(Status(StatusCode.ERROR, failure))
            self.span.set_attribute("error.type", finish)
        self.span.end()


class StepSpans:
    """Spans of the steps of one choice, each from the end of the one before."""

    def __init__(self, request: RequestSpan, choice: Choice) -> None:
        self.request = request
        self.choice = choice
        self.ended: int | None = None
        self.span: Span | None = None
        choice.listener = self.on_event

    def on_event(self, event: Event) -> None:
        """Update from an event of the router."""
        if isinstance(event, Finished):
            return
        span = self.span = self.span or self._start(event.index)
        match event:
            case Drafted(_, text, tokens):
                span.add_event("drafted", self._with_text(text, {"tokens": tokens}))
            case SpanWritten(_, author, text, tokens):
                part = {"tokens": tokens, "author": str(author)}
                span.add_event("span", self._with_text(text, part))
            case Scored(_, score):
                span.add_event("scored", {"score": score})
            case Decided(_, action):
                span.add_event("decided", {"action": str(action)})
                if action is Action.RESTART:
                    self.end()
            case Regenerated(_, text, tokens, author):
                written = {"tokens": tokens, "author": str(author)}
                span.add_event("regenerated", self._with_text(text, written))
            case Kept(_, step):
                span.set_attributes(self._with_text(step.text, attributes_of(step)))
                self.end()

    def end(self) -> None:
        """End the span of the step in progress, if there is one."""
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

    def _with_text(self, text: str, attributes: dict[str, Any]) -> dict[str, Any]:
        return {**attributes, "text": text} if self.request.tracing.keep_texts else attributes


def attributes_of(step: Step) -> dict[str, Any]:
    decoded = step.draft_tokens + step.intermediate_tokens + step.strong_tokens
    known = {
        "trim.step.author": str(step.author),
        "trim.step.action": str(step.action),
        "trim.step.score": step.score,
        "trim.step.denied": step.denied,
        "trim.step.fallback": step.fallback,
        "trim.step.rewrites": step.rewrites,
        "trim.step.discarded_tokens": decoded - step.tokens,
        "gen_ai.usage.output_tokens": step.tokens,
    }
    return {name: value for name, value in known.items() if value is not None}


def messages(role: str, *texts: str) -> str:
    """Texts in the form of OpenTelemetry's conventions."""
    listed = [{"role": role, "parts": [{"type": "text", "content": text}]} for text in texts]
    return json.dumps(listed, ensure_ascii=False)
