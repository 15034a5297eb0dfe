"""Concurrency: limits, parallel calls, and synchronous iterators for event loops."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import Context, copy_context
from functools import lru_cache
from threading import BoundedSemaphore, Lock
from typing import TypeVar

_In = TypeVar("_In")
_Out = TypeVar("_Out")


@contextmanager
def limit_concurrency(key: str, most: int) -> Iterator[None]:
    """Wait until fewer than `most` calls of this `key` are waited for in this process.

    To be held while a model is waited for, and no longer: what is taken to the next token of a
    stream would keep out whoever reads it, who may have a question in between.
    """
    with _slots(key, most):
        yield


@lru_cache(maxsize=1_024)
def _slots(key: str, most: int) -> BoundedSemaphore:
    return BoundedSemaphore(most)


def map_concurrently(
    call: Callable[[_In], _Out], inputs: Iterable[_In], concurrency: int
) -> list[_Out]:
    """Results of `call` in the order of `inputs`, up to `concurrency` at once; meters count."""
    inputs = list(inputs)
    if len(inputs) < 2 or concurrency < 2:
        return [call(each) for each in inputs]

    def run(context: Context, each: _In) -> _Out:
        return context.run(call, each)

    contexts = [copy_context() for _ in inputs]
    with ThreadPoolExecutor(min(concurrency, len(inputs))) as threads:
        return list(threads.map(run, contexts, inputs))


_T = TypeVar("_T")


@contextmanager
def close_at_end(items: Iterator[_T]) -> Iterator[Iterator[_T]]:
    """Close `items` at the end, where they are a generator; any iterator will do."""
    try:
        yield items
    finally:
        if (close := getattr(items, "close", None)) is not None:
            close()


def iterate_in_own_context(items: Iterator[_T]) -> Iterator[_T]:
    """Run every step of a generator in one context of its own.

    What it sets there (a meter, a slot it holds) is not seen by whoever takes its items, and stays
    set from one step to the next, whatever thread that is in.
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


async def iterate_in_threads(items: Iterator[_T], *, at_once: bool = False) -> AsyncIterator[_T]:
    """Take each step of a generator in a worker thread; where this is closed, so is that.

    `at_once` takes all of them in one: quicker, where there is nothing to wait for in between.
    """
    from anyio import CancelScope, to_thread

    steps = iterate_in_own_context(items)
    end = object()
    guard = Lock()

    def step() -> _T | object:
        with guard:
            return next(steps, end)

    def all_steps() -> list[_T]:
        with guard:
            return list(steps)

    def close() -> None:
        with guard, close_at_end(steps):  # when the step that was cancelled has ended
            pass

    try:
        if at_once:
            for each in await to_thread.run_sync(all_steps):
                yield each
            return
        while (item := await to_thread.run_sync(step)) is not end:
            yield item  # type: ignore[misc]
    finally:
        with CancelScope(shield=True):
            await to_thread.run_sync(close)
