"""Figures for Prometheus."""

from __future__ import annotations

import os
from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from trim.costs import Prices
from trim.engines.http import HttpServer
from trim.server.controller import Controller
from trim.types import Trace

FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
"""Names the folder in which the figures of several processes meet; set before they begin."""
SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160, 320)
SCORES = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1)


class Metrics:
    """Counted since the server began, over all its processes."""

    def __init__(self, prices: Prices, servers: Sequence[HttpServer]) -> None:
        self.registry = CollectorRegistry()
        self.prices = prices
        self.servers = servers
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
        self.scores = Histogram(
            "trim_score",
            "Scores that steps were decided by.",
            buckets=SCORES,
            registry=self.registry,
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
        self.faults = Counter(
            "trim_faults",
            "Failures of model servers, retried ones included.",
            ["server", "kind"],
            registry=self.registry,
        )
        self._watched: Controller | None = None
        self._told = [dict[str, int]() for _ in servers]
        self.running, self.waiting = (
            Gauge(name, said, registry=self.registry, multiprocess_mode="livesum")
            for name, said in (
                ("trim_running", "Solutions under way."),
                ("trim_waiting", "Solutions in the queue."),
            )
        )

    def show(self, running: int, waiting: int) -> None:
        """Solutions under way and in the queue, now."""
        self.running.set(running)
        self.waiting.set(waiting)

    def watch(self, controller: Controller) -> None:
        """Show from now on where a controller is; that of each process for itself."""
        self._watched = controller
        self.target, self.realised, self.place = (
            Gauge(name, said, registry=self.registry, multiprocess_mode="liveall")
            for name, said in (
                ("trim_target_share", "Strong share to hold."),
                ("trim_realised_share", "Strong share held lately."),
                ("trim_controller_place", "Setting, by its place in the family's sweep."),
            )
        )
        self.steered()

    def steered(self) -> None:
        """The controller has moved."""
        if controller := self._watched:
            self.target.set(controller.target)
            self.realised.set(controller.share or 0.0)
            self.place.set(controller.place)

    def answered(self, traces: Sequence[Trace], finish: str, seconds: float) -> None:
        """Count a request that has ended, whatever became of it."""
        self._count_faults()
        self.requests.labels(finish).inc()
        self.seconds.observe(seconds)
        for trace in traces:
            self.money.inc(self.prices.of(trace))
            self.discarded.inc(trace.discarded_tokens)
            for role, used in trace.usage.items():
                self.tokens.labels(role).inc(used.tokens)
            for step in trace.steps:
                self.steps.labels(str(step.author), str(step.action)).inc()
                if step.score is not None:
                    self.scores.observe(step.score)
                if step.fallback:
                    self.fallbacks.labels(step.fallback).inc()

    def page(self) -> bytes:
        """In Prometheus' text form."""
        self._count_faults()
        if folder := os.environ.get(FOLDER_VARIABLE):
            together = CollectorRegistry()
            MultiProcessCollector(together, folder)  # type: ignore[no-untyped-call]
            return generate_latest(together)
        return generate_latest(self.registry)

    def _count_faults(self) -> None:
        """Add what the clients of models and scorers have met since."""
        for server, told in zip(self.servers, self._told, strict=True):
            for kind, count in server.faults.items():
                self.faults.labels(server.name, kind).inc(count - told.get(kind, 0))
                told[kind] = count
