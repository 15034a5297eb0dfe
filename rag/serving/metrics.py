"""Prometheus metrics of the server."""

from __future__ import annotations

import time

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from starlette.types import ASGIApp, Receive, Scope, Send

from rag.serving.asgi import ResponseTracker
from rag.types import Answer

_BUCKET_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """The metrics of one server. No label identifies a caller or a question."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "citewell_requests",
            "Requests, by route and status.",
            ["route", "status"],
            registry=self.registry,
        )
        self.seconds = Histogram(
            "citewell_request_seconds",
            "Seconds until the end of the response.",
            ["route"],
            buckets=_BUCKET_SECONDS,
            registry=self.registry,
        )
        self.answers = Counter(
            "citewell_answers", "Answers, by status.", ["status"], registry=self.registry
        )
        self.tokens = Counter(
            "citewell_tokens", "Tokens of chat models.", ["direction"], registry=self.registry
        )
        self.running = Gauge(
            "citewell_running", "Requests that are being processed.", registry=self.registry
        )
        self.waiting = Gauge(
            "citewell_waiting", "Requests that wait for a slot.", registry=self.registry
        )
        self.namespaces = Gauge(
            "citewell_namespaces_open", "Open namespaces.", registry=self.registry
        )

    def count_answer(self, answer: Answer) -> None:
        """Count an answer and its tokens."""
        self.answers.labels(answer.status).inc()
        self.tokens.labels("in").inc(answer.usage.input_tokens)
        self.tokens.labels("out").inc(answer.usage.output_tokens)


class RequestMetrics:
    """ASGI middleware that counts requests and measures their time, by route."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start = time.perf_counter()
        tracker = ResponseTracker(send)
        try:
            await self.app(scope, receive, tracker)
        finally:
            route = getattr(scope.get("route"), "path", "other")
            self.metrics.requests.labels(route, str(tracker.status or 500)).inc()
            self.metrics.seconds.labels(route).observe(time.perf_counter() - start)
