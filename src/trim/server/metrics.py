"""Metrics for Prometheus."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from trim.costs import Prices
from trim.engines.http import HttpServer
from trim.server.controller import Controller
from trim.types import Trace

FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
"""Names the folder that the processes of a server share; set before they start."""
MONEY = "trim_money"
SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160, 320)
SCORES = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1)


class Metrics:
    """Metrics since the server started, over all its processes."""

    def __init__(self, prices: Prices, servers: Sequence[HttpServer]) -> None:
        self.registry = CollectorRegistry()
        self.prices = prices
        self.servers = servers
        self.requests = Counter(
            "trim_requests",
            "Finished requests by their finish.",
            ["finish"],
            registry=self.registry,
        )
        self.seconds = Histogram(
            "trim_request_seconds",
            "Seconds from a request to the end of its answer.",
            buckets=SECONDS,
            registry=self.registry,
        )
        self.steps = Counter(
            "trim_steps", "Kept steps.", ["author", "action"], registry=self.registry
        )
        self.scores = Histogram(
            "trim_score",
            "Scores of the weak model's drafts, discarded ones included.",
            buckets=SCORES,
            registry=self.registry,
        )
        self.fallbacks = Counter(
            "trim_fallbacks",
            "Steps for which a model or the scorer did not answer.",
            ["part"],
            registry=self.registry,
        )
        self.tokens = Counter("trim_tokens", "Tokens decoded.", ["role"], registry=self.registry)
        self.calls = Counter(
            "trim_calls",
            "Answered calls of models and the scorer.",
            ["role"],
            registry=self.registry,
        )
        self.discarded = Counter(
            "trim_discarded_tokens",
            "Tokens of discarded drafts.",
            registry=self.registry,
        )
        self.money = Counter(MONEY, "Cost by the price list.", registry=self.registry)
        self.faults = Counter(
            "trim_faults",
            "Failed calls of model servers, including retried ones.",
            ["server", "kind"],
            registry=self.registry,
        )
        self._controller: Controller | None = None
        self._counted = [dict[str, int]() for _ in servers]
        self.running, self.waiting = (
            Gauge(name, text, registry=self.registry, multiprocess_mode="livesum")
            for name, text in (
                ("trim_running", "Solutions in progress."),
                ("trim_waiting", "Solutions in the queue."),
            )
        )

    def set_load(self, running: int, waiting: int) -> None:
        """Set the numbers of solutions in progress and in the queue."""
        self.running.set(running)
        self.waiting.set(waiting)

    def watch(self, controller: Controller) -> None:
        """Export the state of a controller, separately for each process."""
        self._controller = controller
        self.target, self.realised, self.place = (
            Gauge(name, text, registry=self.registry, multiprocess_mode="liveall")
            for name, text in (
                ("trim_target_share", "Target of the strong share."),
                ("trim_realised_share", "Realised strong share of recent requests."),
                ("trim_controller_place", "Index of the setting in the family's sweep."),
            )
        )
        self.update_controller()

    def update_controller(self) -> None:
        """Export the state of the controller after it has moved."""
        if controller := self._controller:
            self.target.set(controller.target)
            self.realised.set(controller.share or 0.0)
            self.place.set(controller.place)

    def record(self, traces: Sequence[Trace], finish: str, seconds: float) -> None:
        """Count a request that has ended, in any way."""
        self._count_faults()
        self.requests.labels(finish).inc()
        self.seconds.observe(seconds)
        for trace in traces:
            self.money.inc(self.prices.of(trace))
            self.discarded.inc(trace.discarded_tokens)
            for role, used in trace.usage.items():
                self.tokens.labels(role).inc(used.tokens)
                self.calls.labels(role).inc(used.requests)
            for step in trace.steps:
                self.steps.labels(str(step.author), str(step.action)).inc()
                if step.fallback:
                    self.fallbacks.labels(step.fallback).inc()
            for step in (*trace.abandoned, *trace.steps):
                if step.first_score is not None:
                    self.scores.observe(step.first_score)

    def render(self, money: bool = True) -> bytes:
        """All metrics in Prometheus' text format, with or without money."""
        self._count_faults()
        registry = self.registry
        if folder := os.environ.get(FOLDER_VARIABLE):
            registry = CollectorRegistry()
            MultiProcessCollector(registry, folder)  # type: ignore[no-untyped-call]
        if money:
            return generate_latest(registry)
        shown = CollectorRegistry(auto_describe=False)
        shown.register(WithoutMoney(registry))
        return generate_latest(shown)

    def _count_faults(self) -> None:
        """Add the faults of model and scorer servers since the last call."""
        for server, counted in zip(self.servers, self._counted, strict=True):
            for kind, count in server.faults.items():
                self.faults.labels(server.name, kind).inc(count - counted.get(kind, 0))
                counted[kind] = count


class WithoutMoney(Collector):
    """The metrics of a registry without money."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry

    def collect(self) -> Iterator[Metric]:
        return (metric for metric in self.registry.collect() if metric.name != MONEY)
