"""Figures for Prometheus."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from trim.engines.http import HttpServer
from trim.prices import Prices
from trim.server.controller import Controller
from trim.server.desk import Desk
from trim.trace import Trace

SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160, 320)


class Faults(Collector):
    """What the clients of models and scorers have met, mended failures included."""

    def __init__(self, servers: Sequence[HttpServer]) -> None:
        self.servers = servers

    def collect(self) -> Iterable[Metric]:
        faults = CounterMetricFamily(
            "trim_faults", "Failures of model servers, retried ones included.",
            labels=("server", "kind"),
        )  # fmt: skip
        for server in self.servers:
            for kind, count in server.faults.items():
                faults.add_metric((server.name, kind), count)
        yield faults


class Metrics:
    """Counted since the process began."""

    def __init__(self, desk: Desk, prices: Prices, servers: Sequence[HttpServer]) -> None:
        self.registry = CollectorRegistry()
        self.prices = prices
        self.requests = Counter(
            "trim_requests",
            "Requests that were begun, by how they ended.",
            ["finish"],
            registry=self.registry,
        )
        self.seconds = Histogram(
            "trim_request_seconds", "From request to end.", buckets=SECONDS, registry=self.registry
        )
        self.steps = Counter(
            "trim_steps", "Kept steps.", ["author", "action"], registry=self.registry
        )
        self.fallbacks = Counter("trim_fallbacks", "Steps that a part was silent for.",
                                 ["part"], registry=self.registry)  # fmt: skip
        self.tokens = Counter("trim_tokens", "Tokens decoded.", ["role"], registry=self.registry)
        self.discarded = Counter(
            "trim_discarded_tokens",
            "Tokens of drafts that were thrown away.",
            registry=self.registry,
        )
        self.money = Counter("trim_money", "By the price list.", registry=self.registry)
        Gauge("trim_running", "Solutions under way.", registry=self.registry).set_function(
            lambda: desk.running
        )
        Gauge("trim_waiting", "Solutions in the queue.", registry=self.registry).set_function(
            lambda: desk.waiting
        )
        self.registry.register(Faults(servers))

    def watch(self, controller: Controller) -> None:
        """Tell what a controller aims at, and where it is."""
        figures: tuple[tuple[str, str, Callable[[], float]], ...] = (
            ("trim_target_share", "Strong share to hold.", lambda: controller.target),
            ("trim_realised_share", "Strong share held lately.", lambda: controller.share or 0.0),
            ("trim_controller_place", "Setting, by its place in the family's sweep.",
             lambda: controller.place),
        )  # fmt: skip
        for name, text, figure in figures:
            Gauge(name, text, registry=self.registry).set_function(figure)

    def answered(self, traces: Sequence[Trace], finish: str, seconds: float) -> None:
        """Count a request that has ended, whatever became of it."""
        self.requests.labels(finish).inc()
        self.seconds.observe(seconds)
        for trace in traces:
            self.money.inc(self.prices.of(trace))
            self.discarded.inc(trace.discarded_tokens)
            for role, used in trace.usage.items():
                self.tokens.labels(role).inc(used.tokens)
            for step in trace.steps:
                self.steps.labels(str(step.author), str(step.action)).inc()
                if step.fallback:
                    self.fallbacks.labels(step.fallback).inc()

    def page(self) -> bytes:
        """In Prometheus' text form."""
        return generate_latest(self.registry)
