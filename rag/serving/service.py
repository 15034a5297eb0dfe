"""The service behind all routes: its options, tenants, keys and concurrency limits."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar

import anyio
from anyio import to_thread

from rag.pipeline import Pipeline
from rag.serving.errors import ApiError
from rag.serving.keys import KeyStore, Principal
from rag.serving.limits import RateLimit
from rag.serving.metrics import Metrics
from rag.serving.streaming import cancel_task
from rag.serving.tenants import Tenants

_T = TypeVar("_T")

_PAGE_RENDERERS = 2  # processes
_SHORT_TASK_THREADS = 8
_MODEL_CONCURRENCY = 16  # requests at once, if the pipeline waits for a chat model
_KEEP_ALIVE_SECONDS = 15.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """Settings of a server.

    ``model`` is the pipeline's model name for chat clients. ``rate`` is the number of requests a
    minute for each key (or address, without keys), up to ``burst`` at once. ``concurrency`` is the
    number of requests that are processed at once (default: 16 if the pipeline waits for a chat
    model, else one for each core, but at least 2); up to ``waiting`` more requests wait.
    ``upload_bytes`` limits one upload request, and ``body_bytes`` every other request. A namespace
    may have ``namespace_bytes`` of uploads, ``namespace_documents`` documents from uploads and
    ``namespace_conversations`` conversations. Clients may choose one of the chat ``models``, such
    as ``openai:gpt-4.1-mini``; ``none`` quotes the sources. Pages of the sites in ``origins`` may
    use the server (CORS); none by default.
    """

    model: str = "citewell"
    models: tuple[str, ...] = ()
    rate: float = 600.0
    burst: int = 100
    concurrency: int | None = None
    waiting: int = 256
    body_bytes: int = 1_000_000
    upload_bytes: int = 100_000_000
    namespace_bytes: int = 5_000_000_000
    namespace_documents: int = 100_000
    namespace_conversations: int = 10_000
    origins: tuple[str, ...] = ()


class Service:
    """A pipeline that is served: its tenants, keys and limits.

    If there are `keys`, every request needs one. With `open_until_keyed`, that holds only once the
    key store has a key.
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
        self.concurrency = options.concurrency or _default_concurrency(pipeline)
        self.page_renderers = anyio.Semaphore(_PAGE_RENDERERS)
        self.renderer_processes = anyio.CapacityLimiter(_PAGE_RENDERERS)
        self._slots = anyio.Semaphore(self.concurrency)
        self._worker_threads = anyio.CapacityLimiter(self.concurrency + _SHORT_TASK_THREADS)
        self._key_lookup_threads = anyio.CapacityLimiter(_SHORT_TASK_THREADS)
        self._waiting = 0

    async def authenticate(self, address: str, key: str | None) -> Principal:
        """Return whom a request comes from.

        Raises `ApiError` if the key is missing or unknown, or if the client sends too many
        requests.
        """
        principal: Principal | None = Principal("", "")
        client = f"address {address}"
        if self.keys is not None and not await self._is_open(self.keys):
            principal = None
            if key:
                principal = await to_thread.run_sync(
                    self.keys.holder, key, limiter=self._key_lookup_threads
                )
            client = f"key {principal.name}" if principal else f"stranger {address}"
        if seconds := self.rate.take(client):
            message = "too many requests: wait before the next one"
            raise ApiError(429, message, "rate_limited", retry_after=seconds)
        if principal is None:
            fault = "unknown API key" if key else "an API key is required"
            raise ApiError(401, f"{fault}: send Authorization: Bearer KEY", "invalid_api_key")
        return principal

    async def _is_open(self, keys: KeyStore) -> bool:
        if not self.open_until_keyed:
            return False
        return not await to_thread.run_sync(keys.keys, limiter=self._key_lookup_threads)

    @asynccontextmanager
    async def slot(self, *, must_wait: bool = False) -> AsyncIterator[None]:
        """Hold one of the slots for requests that are processed at once.

        Raises `ApiError` if too many requests are waiting. With `must_wait`, the request waits all
        the same: a stream that has started is not refused.
        """
        try:
            self._slots.acquire_nowait()
        except anyio.WouldBlock:
            if not must_wait and self._waiting >= self.options.waiting:
                message = "too many requests are waiting: try again later"
                raise ApiError(503, message, "busy", retry_after=2) from None
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

    async def run_in_thread(self, call: Callable[[], _T]) -> _T:
        """Run `call` in a worker thread, in a slot."""
        async with self.slot():
            return await to_thread.run_sync(call, limiter=self._worker_threads)

    async def iterate_in_slots(self, items: AsyncIterator[_T]) -> AsyncIterator[_T | None]:
        """Yield items, taking a slot for each, so that a slow reader does not block a slot.

        After some seconds without an item, None is yielded, so that the caller can keep the
        connection alive.
        """
        has_started = False

        async def next_item() -> _T:
            nonlocal has_started
            async with self.slot(must_wait=has_started):
                has_started = True
                return await anext(items)

        task: asyncio.Task[_T] | None = None
        try:
            while True:
                task = asyncio.create_task(next_item())
                while not (await asyncio.wait({task}, timeout=_KEEP_ALIVE_SECONDS))[0]:
                    yield None
                try:
                    yield task.result()
                except StopAsyncIteration:
                    return
        finally:
            with anyio.CancelScope(shield=True):
                if task is not None:
                    await cancel_task(task)
                if (close := getattr(items, "aclose", None)) is not None:
                    await close()


def _default_concurrency(pipeline: Pipeline) -> int:
    """Return the number of requests at once: without a model to wait for, the number of cores.

    More threads than cores would only slow each other down.
    """
    return _MODEL_CONCURRENCY if pipeline.generator.streams else max(2, os.cpu_count() or 1)
