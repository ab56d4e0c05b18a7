"""Requests as OpenTelemetry traces: in memory, and at a collector that decodes what it is sent."""

import subprocess
import sys
import threading
from contextlib import asynccontextmanager, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from test_server_api import QUESTIONS, asked, serving

from trim.configuration.source import models_in
from trim.errors import InvalidInput
from trim.server.admission import Limits
from trim.server.app import make_app
from trim.server.run import Serving, open_tracing, opened
from trim.server.tracing import Tracing

CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"


@pytest.fixture(scope="module")
def models():
    return models_in().load()


@asynccontextmanager
async def traced(folder, models, keep_texts=False):
    """A client of a server in this process, and the spans that have ended."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    serving = Serving("127.0.0.1", 0, str(folder / "trim.sqlite"), Limits())
    async with opened(models_in(), models, serving) as service:
        service.tracing = Tracing(provider, keep_texts)
        transport = httpx.ASGITransport(make_app(service))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            yield client, exporter.get_finished_spans


async def ask(client, question=QUESTIONS[0], headers=None, **more):
    answer = await client.post(
        "/v1/chat/completions", json=asked(question, seed=1, **more), headers=headers
    )
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.mark.parametrize("keep_texts", [False, True])
async def test_a_span_a_step_in_a_span_a_request(tmp_path, models, keep_texts):
    async with traced(tmp_path, models, keep_texts) as (client, spans):
        answer = await ask(client, model="trim:thr-0.9", headers={"traceparent": CALLER},
                           trim={"steps": True})  # fmt: skip
        *steps, request = spans()
    assert request.name == "chat trim:thr-0.9" and request.kind is SpanKind.SERVER
    assert f"{request.context.trace_id:032x}" == CALLER.split("-")[1]
    assert f"{request.parent.span_id:016x}" == CALLER.split("-")[2]
    told, usage = request.attributes, answer["usage"]
    assert f"chatcmpl-{told['gen_ai.response.id']}" == answer["id"]
    assert told["gen_ai.usage.input_tokens"] == usage["prompt_tokens"]
    assert told["gen_ai.usage.output_tokens"] == usage["completion_tokens"]
    for name in ("strong_tokens", "weak_tokens", "discarded_tokens", "money", "interventions"):
        assert told[f"trim.{name}"] == usage["trim"][name]
    assert told["gen_ai.response.finish_reasons"] == ("stop",)
    assert told["trim.policy"] == "thr:0.9"
    (listed,) = usage["trim"]["steps"]
    assert [span.name for span in steps] == [f"step {n}" for n in range(1, len(listed) + 1)]
    assert any(step["author"] == "strong" for step in listed)
    before = request.start_time
    for span, step in zip(steps, listed, strict=True):
        assert span.parent.span_id == request.context.span_id
        assert span.attributes["trim.step.author"] == step["author"]
        assert span.attributes["trim.step.action"] == step["action"]
        assert span.attributes["trim.step.score"] == step["score"]
        assert span.attributes["gen_ai.usage.output_tokens"] == step["tokens"]
        assert (span.attributes["trim.step.discarded_tokens"] > 0) == bool(step["discarded"])
        assert [event.name for event in span.events][:3] == ["drafted", "scored", "decided"]
        assert before <= span.start_time <= span.end_time <= request.end_time
        before = span.end_time
        assert span.attributes.get("text") == (step["text"] if keep_texts else None)
    discarded = sum(span.attributes["trim.step.discarded_tokens"] for span in steps)
    assert discarded == usage["trim"]["discarded_tokens"]
    written = "".join(span.to_json() for span in (*steps, request))
    assert (QUESTIONS[0][:20] in written) == keep_texts
    assert ("boxed" in written) == keep_texts


@pytest.mark.parametrize("keep_texts", [False, True])
async def test_the_spans_of_a_step_are_events_in_its_span(tmp_path, models, keep_texts):
    async with traced(tmp_path, models, keep_texts) as (client, spans):
        answer = await ask(client, model="trim:token-0.9", trim={"steps": True})
        *steps, request = spans()
        metrics = (await client.get("/metrics")).text
    spent = answer["usage"]["trim"]
    assert request.attributes["trim.strong_calls"] == spent["strong_calls"] > 0
    assert f'trim_calls_total{{role="strong"}} {float(spent["strong_calls"])}' in metrics
    assert sum(span.attributes["trim.step.rewrites"] for span in steps) == spent["interventions"]
    for span, step in zip(steps, spent["steps"][0], strict=True):
        parts = [event.attributes for event in span.events if event.name == "span"]
        told = step.get("spans", [{"author": step["author"], "text": step["text"]}])
        assert [part["author"] for part in parts] == [each["author"] for each in told]
        texts = [each["text"] if keep_texts else None for each in told]
        assert [part.get("text") for part in parts] == texts


async def test_what_the_page_asks_has_its_steps(tmp_path, models):
    async with traced(tmp_path, models) as (client, spans):
        told = await client.post("/page/solutions", json=asked(seed=1, stream=True))
        *steps, request = spans()
    kept = told.text.count('"event":"kept"')
    assert [span.name for span in steps] == [f"step {n}" for n in range(1, kept + 1)] != []
    assert all(span.parent.span_id == request.context.span_id for span in steps)


async def test_choices_restarts_streams_and_completions(tmp_path, models):
    async with traced(tmp_path, models) as (client, spans):
        await ask(client, n=2, model="trim:weak")
        *steps, request = spans()
        assert request.attributes["gen_ai.request.choice.count"] == 2
        assert {span.attributes["trim.choice"] for span in steps} == {0, 1}
        body = asked(model="trim:cascade-1", stream=True, seed=1)
        streamed = await client.post("/v1/chat/completions", json=body)
        assert streamed.text.endswith("data: [DONE]\n\n")
        *steps, request = spans()[len(steps) + 1 :]
        actions = [event.attributes["action"] for span in steps for event in span.events
                   if event.name == "decided"]  # fmt: skip
        assert "restart" in actions and request.attributes["trim.stream"]
        assert steps[-1].attributes["trim.step.author"] == "strong"
        completion = {"model": "trim", "prompt": QUESTIONS[1]}
        assert (await client.post("/v1/completions", json=completion)).status_code == 200
        assert spans()[-1].name == "text_completion trim"
        assert spans()[-1].parent is None


async def test_what_fails_says_so(tmp_path, models):
    async with traced(tmp_path, models) as (client, spans):
        answer = await client.post("/v1/chat/completions", json=asked("word " * 5_000))
        assert answer.status_code == 400
        (request,) = spans()
    assert request.status.status_code is StatusCode.ERROR
    assert request.attributes["trim.finish"] == "failed"


@contextmanager
def collector():
    """Where a server sends its spans, and what has come."""
    received = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            assert self.path == "/v1/traces"
            received.append((body, ExportTraceServiceRequest.FromString(body)))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *said):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", received
    finally:
        server.shutdown()
        server.server_close()


def test_a_collector_is_sent_all_spans_before_the_server_ends(tmp_path, monkeypatch):
    with collector() as (address, received):
        monkeypatch.setenv(ENDPOINT, address)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "none")
        with serving(tmp_path) as url:
            answers = [
                httpx.post(f"{url}/chat/completions", timeout=20,
                           json=asked(question, trim={"steps": True})).json()
                for question in QUESTIONS[:4]
            ]  # fmt: skip
        resources = [each for _, request in received for each in request.resource_spans]
        spans = [span for each in resources for scope in each.scope_spans for span in scope.spans]
    names = {pair.key: pair.value.string_value for pair in resources[0].resource.attributes}
    assert names["service.name"] == "trim"
    by_id = {span.span_id: span for span in spans}
    roots = [span for span in spans if not span.parent_span_id]
    assert len(roots) == 4
    steps = [span for span in spans if span.parent_span_id]
    assert all(by_id[span.parent_span_id].trace_id == span.trace_id for span in steps)
    assert len(steps) == sum(len(a["usage"]["trim"]["steps"][0]) for a in answers)
    assert not any(QUESTIONS[0][:20].encode() in body for body, _ in received)


def test_a_collector_that_is_down_hinders_nobody(tmp_path, monkeypatch):
    monkeypatch.setenv(ENDPOINT, "http://127.0.0.1:1")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    with serving(tmp_path) as url:
        answer = httpx.post(f"{url}/chat/completions", json=asked(), timeout=20)
        assert answer.status_code == 200


def test_the_standard_variables_decide(monkeypatch):
    for variables in (
        {},
        {ENDPOINT: ""},
        {ENDPOINT: "http://x:1", "OTEL_SDK_DISABLED": "true"},
        {ENDPOINT: "http://x:1", "OTEL_TRACES_EXPORTER": "none"},
    ):
        assert open_tracing(False, variables) is None
    with pytest.raises(InvalidInput, match="only http/protobuf is supported"):
        open_tracing(False, {ENDPOINT: "http://x:1", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"})
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    monkeypatch.delitem(sys.modules, "trim.server.tracing")
    with pytest.raises(InvalidInput, match=r"pip install 'trim-router\[telemetry\]'"):
        open_tracing(False, {ENDPOINT: "http://x:1"})


def test_without_a_collector_its_software_is_not_imported():
    code = "import sys, trim.server.run; print('opentelemetry.sdk' in sys.modules)"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ended.stdout == "False\n", ended.stderr
