"""Concurrency: limits, parallel calls, and synchronous iterators for event loops."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import Context, copy_context
from functools import lru_cache
from threading import BoundedSemaphore, Lock
from typing import TypeVar

from rag.call_context import check_limits

_In = TypeVar("_In")
_Out = TypeVar("_Out")
_Item = TypeVar("_Item")


@contextmanager
def limit_concurrency(key: str, limit: int) -> Iterator[None]:
    """Run the body of the ``with`` in at most `limit` threads of this process at once, per `key`.

    Further threads wait. Hold it only while you wait for the model, not while a stream is consumed:
    the consumer of a stream may call the same model between two tokens and would wait forever.
    """
    with _get_semaphore(key, limit):
        yield


@lru_cache(maxsize=1_024)
def _get_semaphore(key: str, limit: int) -> BoundedSemaphore:
    return BoundedSemaphore(limit)


def map_concurrently(
    call: Callable[[_In], _Out], inputs: Iterable[_In], concurrency: int
) -> list[_Out]:
    """Return the results of `call` for all `inputs`, in their order.

    Up to `concurrency` calls run at once, in threads. Each runs in a copy of the caller's context,
    so usage trackers of the caller count what the calls use.
    """
    inputs = list(inputs)
    if len(inputs) < 2 or concurrency < 2:
        return [call(item) for item in inputs]

    def call_within_limits(item: _In) -> _Out:
        check_limits()
        return call(item)

    def run(context: Context, item: _In) -> _Out:
        return context.run(call_within_limits, item)

    contexts = [copy_context() for _ in inputs]
    with ThreadPoolExecutor(min(concurrency, len(inputs))) as threads:
        return list(threads.map(run, contexts, inputs))


@contextmanager
def close_at_end(items: Iterator[_Item]) -> Iterator[Iterator[_Item]]:
    """Close the generator `items` when the ``with`` ends; other iterators are left alone."""
    try:
        yield items
    finally:
        if (close := getattr(items, "close", None)) is not None:
            close()


def iterate_in_own_context(items: Iterator[_Item]) -> Iterator[_Item]:
    """Yield the items of a generator, and run all its steps in one copy of the current context.

    Context variables that the generator sets (a usage tracker, a span) keep their values from step
    to step, in whichever thread each step runs, and do not change the consumer's context.
    """
    context = copy_context()
    end = object()

    def close() -> None:
        with close_at_end(items):
            pass

    try:
        while (item := context.run(next, items, end)) is not end:
            yield item  # type: ignore[misc]
    finally:
        context.run(close)


async def iterate_in_threads(
    items: Iterator[_Item], *, at_once: bool = False
) -> AsyncIterator[_Item]:
    """Yield the items of a generator without blocking the event loop.

    Each step runs in a worker thread; `at_once` runs all steps in one go, which is faster if the
    generator does not wait between items. When this iterator is closed or cancelled, the generator
    is closed as well.
    """
    from anyio import CancelScope, to_thread

    steps = iterate_in_own_context(items)
    end = object()
    step_lock = Lock()

    def step() -> _Item | object:
        with step_lock:
            return next(steps, end)

    def all_steps() -> list[_Item]:
        with step_lock:
            return list(steps)

    def close() -> None:
        with step_lock, close_at_end(steps):  # waits until a cancelled step has ended
            pass

    try:
        if at_once:
            for item in await to_thread.run_sync(all_steps):
                yield item
            return
        while (result := await to_thread.run_sync(step)) is not end:
            yield result  # type: ignore[misc]
    finally:
        with CancelScope(shield=True):
            await to_thread.run_sync(close)
