"""What every route shares: who asks, how much at once, and what is counted."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

import anyio
from anyio import to_thread
from fastapi import Depends, Request
from fastapi.responses import StreamingResponse
from fastapi.security import HTTPBearer
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from rag.pipeline import Pipeline
from rag.serving.errors import ApiError, told
from rag.serving.keys import KeyStore, Principal
from rag.serving.limits import RateLimit, route_path
from rag.serving.tenants import Tenant, Tenants

_T = TypeVar("_T")

_DRAWERS = 2  # processes that draw pages of PDFs
_SHORT = 8  # threads for what does not take long
_WAITING_FOR_MODELS = 16  # requests worked on at once
_PING = 15.0  # seconds of silence after which a stream says that it is alive
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """How a server behaves.

    ``model`` is the name under which chat clients know the pipeline. ``rate`` is requests a minute
    for each key (or address, without keys), up to ``burst`` at once; ``concurrency`` is how many
    are worked on at once (default: 16 where a chat model is waited for, else one for each core),
    and up to ``waiting`` more wait for their turn. ``upload_bytes`` bounds
    one upload request, ``namespace_bytes`` all uploads of a namespace, ``body_bytes`` every other
    request. ``origins`` are the origins of pages of other sites that may ask (CORS); none by
    default.
    """

    model: str = "citewell"
    rate: float = 600.0
    burst: int = 100
    concurrency: int | None = None
    waiting: int = 256
    body_bytes: int = 1_000_000
    upload_bytes: int = 100_000_000
    namespace_bytes: int = 5_000_000_000
    origins: tuple[str, ...] = ()


class Metrics:
    """What Prometheus reads; no label says who asked or what."""

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
            "Seconds to the end of the response.",
            ["route"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.answers = Counter(
            "citewell_answers", "Answers, by status.", ["status"], registry=self.registry
        )
        self.tokens = Counter(
            "citewell_tokens", "Tokens of chat models.", ["direction"], registry=self.registry
        )
        self.running = Gauge(
            "citewell_running", "Requests that are worked on now.", registry=self.registry
        )
        self.waiting = Gauge(
            "citewell_waiting", "Requests that wait for their turn.", registry=self.registry
        )
        self.namespaces = Gauge(
            "citewell_namespaces_open", "Namespaces that are open.", registry=self.registry
        )


class Service:
    """A pipeline that is served: its tenants, keys and limits.

    With `keys`, and without `open_until_keyed`, every request needs one; with it, only once there
    is a key.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        keys: KeyStore | None,
        options: Options,
        *,
        open_until_keyed: bool = False,
    ) -> None:
        self.pipeline = pipeline
        self.keys = keys
        self.options = options
        self.open_until_keyed = open_until_keyed
        self.tenants = Tenants(pipeline)
        self.rate = RateLimit(options.rate, options.burst)
        self.metrics = Metrics()
        self.metrics.namespaces.set_function(lambda: self.tenants.open_count)
        self.concurrency = options.concurrency or _slots(pipeline)
        self.drawers = anyio.Semaphore(_DRAWERS)
        self.processes = anyio.CapacityLimiter(_DRAWERS)
        self._slots = anyio.Semaphore(self.concurrency)
        self._threads = anyio.CapacityLimiter(self.concurrency + _SHORT)
        self._lookups = anyio.CapacityLimiter(_SHORT)
        self._waiting = 0

    async def principal(self, address: str, key: str | None) -> Principal:
        """Who asks. Raises `ApiError` where the key is missing or wrong, or asks too often."""
        found: Principal | None = Principal("", "")
        client = f"address {address}"
        if self.keys is not None and not await self._is_open(self.keys):
            found = None
            if key:
                found = await to_thread.run_sync(self.keys.holder, key, limiter=self._lookups)
            client = f"key {found.name}" if found else f"stranger {address}"
        if wait := self.rate.wait(client):
            raise ApiError(429, "too many requests: slow down", "rate_limited", retry_after=wait)
        if found is None:
            said = "this API key is not known" if key else "an API key is needed"
            raise ApiError(401, f"{said}: Authorization: Bearer KEY", "invalid_api_key")
        return found

    async def _is_open(self, keys: KeyStore) -> bool:
        if not self.open_until_keyed:
            return False
        return not await to_thread.run_sync(keys.keys, limiter=self._lookups)

    @asynccontextmanager
    async def slot(self, *, again: bool = False) -> AsyncIterator[None]:
        """A turn at working. Raises `ApiError` where too many wait already.

        Whoever has had one before comes `again`, and is not turned away.
        """
        try:
            self._slots.acquire_nowait()
        except anyio.WouldBlock:
            if not again and self._waiting >= self.options.waiting:
                busy = "too many requests are waiting"
                raise ApiError(503, busy, "busy", retry_after=2) from None
            self._waiting += 1
            self.metrics.waiting.set(self._waiting)
            try:
                await self._slots.acquire()
            finally:
                self._waiting -= 1
                self.metrics.waiting.set(self._waiting)
        self.metrics.running.inc()
        try:
            yield
        finally:
            self.metrics.running.dec()
            self._slots.release()

    async def work(self, call: Callable[[], _T]) -> _T:
        """Run `call` in a worker thread, in a turn of its own."""
        async with self.slot():
            return await to_thread.run_sync(call, limiter=self._threads)

    async def events(self, items: AsyncIterator[_T]) -> AsyncIterator[_T | None]:
        """Items, each made in a turn of its own, so that a slow reader keeps nobody waiting.

        None comes where nothing has for a while, so that the connection can be kept alive.
        """
        begun = False

        async def step() -> _T:
            nonlocal begun
            async with self.slot(again=begun):
                begun = True
                return await anext(items)

        task: asyncio.Task[_T] | None = None
        try:
            while True:
                task = asyncio.create_task(step())
                while not (await asyncio.wait({task}, timeout=_PING))[0]:
                    yield None
                try:
                    yield task.result()
                except StopAsyncIteration:
                    return
        finally:
            with anyio.CancelScope(shield=True):
                if task is not None and not task.done():
                    task.cancel()
                    with contextlib.suppress(BaseException):
                        await task
                if (close := getattr(items, "aclose", None)) is not None:
                    await close()


EVENT_STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {
            "text/event-stream": {
                "schema": {
                    "type": "object",
                    "description": "Server-sent events, one after another.",
                    "properties": {"event": {"type": "string"}, "data": {"type": "string"}},
                }
            }
        }
    }
}
"""What a route that may stream adds to the OpenAPI document."""


class ClosingResponse(StreamingResponse):
    """A stream that is closed when its response ends, however it ends.

    Starlette leaves that to the garbage collector, which comes when the tenant's lease is over.
    `source` is closed too: a body that was never begun closes nothing that it is made of.
    """

    def __init__(self, body: AsyncIterator[str], source: AsyncIterator[Any]) -> None:
        super().__init__(body, media_type="text/event-stream")
        self._source = source

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            with anyio.CancelScope(shield=True):
                for each in (self.body_iterator, self._source):
                    if (close := getattr(each, "aclose", None)) is not None:
                        await close()


def _slots(pipeline: Pipeline) -> int:
    """More threads than cores only get in each other's way where there is no model to wait for."""
    return _WAITING_FOR_MODELS if pipeline.generator.streams else max(2, os.cpu_count() or 1)


async def unless_gone(request: Request, work: Awaitable[_T]) -> _T:
    """Await `work`; where the client hangs up before it is done, it is cancelled."""

    async def done() -> _T:
        return await work

    task = asyncio.create_task(done())

    async def gone() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    watch = asyncio.create_task(gone())
    try:
        await asyncio.wait({task, watch}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ApiError(499, "the client hung up", "client_gone")
        return task.result()
    finally:
        with anyio.CancelScope(shield=True):
            for each in (task, watch):
                if not each.done():
                    each.cancel()
                    with contextlib.suppress(BaseException):
                        await each


class Gate:
    """ASGI middleware: who asks is known before anything of the body is read.

    ``is_open`` says which paths are open to all.
    """

    def __init__(self, app: ASGIApp, service: Service, is_open: Callable[[str], bool]) -> None:
        self.app = app
        self.service = service
        self.is_open = is_open

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Take a request."""
        if scope["type"] == "http" and not self.is_open(route_path(scope)):
            kind, _, key = Headers(scope=scope).get("authorization", "").partition(" ")
            address = scope["client"][0] if scope.get("client") else ""
            try:
                found = await self.service.principal(
                    address, key.strip() if kind.lower() == "bearer" else None
                )
            except Exception as error:  # the keys may be unreadable, too
                await told(error).response(closes=True)(scope, receive, send)
                return
            scope.setdefault("state", {})["principal"] = found
        await self.app(scope, receive, send)


_bearer = HTTPBearer(auto_error=False, description="An API key, from `rag keys add`.")


def service_of(request: Request) -> Service:
    """The service of the app that got the request."""
    service: Service = request.app.state.service
    return service


async def _principal(request: Request, _: Annotated[Any, Depends(_bearer)]) -> Principal:
    found: Principal = request.state.principal  # by the gate
    return found


Caller = Annotated[Principal, Depends(_principal)]
"""Who asks; routes that take one are closed to strangers."""


async def _tenant(request: Request, caller: Caller) -> AsyncIterator[Tenant]:
    async with service_of(request).tenants.lease(caller.namespace) as tenant:
        yield tenant


Leased = Annotated[Tenant, Depends(_tenant)]
"""The caller's part of the index, open until the response is sent."""

Served = Annotated[Service, Depends(service_of)]


class Timing:
    """ASGI middleware: count each request and how long it took, by its route."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self.app = app
        self.service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Take a request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        status = 500
        started = time.perf_counter()

        async def noted(message: Any) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, noted)
        finally:
            route = getattr(scope.get("route"), "path", "other")
            self.service.metrics.requests.labels(route, str(status)).inc()
            self.service.metrics.seconds.labels(route).observe(time.perf_counter() - started)
