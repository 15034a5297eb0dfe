"""What calls of chat models have in common: how many run beside each other, and what they use."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import Context, ContextVar, copy_context
from functools import lru_cache
from threading import BoundedSemaphore, Lock
from typing import TypeVar

from rag.types import Usage

_In = TypeVar("_In")
_Out = TypeVar("_Out")


class Meter:
    """Adds up what the chat models use that are called while it is on; threads may share it."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._usage = Usage()

    @property
    def usage(self) -> Usage:
        """All that was used so far."""
        return self._usage

    def add(self, usage: Usage) -> None:
        """Count one more call."""
        with self._lock:
            self._usage += usage


_meters: ContextVar[tuple[Meter, ...]] = ContextVar("meters", default=())


@contextmanager
def metered() -> Iterator[Meter]:
    """Count what chat models use within, by whichever part they are called."""
    meter = Meter()
    _meters.set((*_meters.get(), meter))
    try:
        yield meter
    finally:  # not by a token: a stream may be closed in another context than it began in
        _meters.set(tuple(other for other in _meters.get() if other is not meter))


def count(usage: Usage) -> None:
    """Tell the meters that are on."""
    for meter in _meters.get():
        meter.add(usage)


@contextmanager
def slot(key: str, most: int) -> Iterator[None]:
    """Wait until fewer than `most` calls of this `key` are waited for in this process.

    To be held while a model is waited for, and no longer: what is taken to the next token of a
    stream would keep out whoever reads it, who may have a question in between.
    """
    with _slots(key, most):
        yield


@lru_cache(maxsize=1_024)
def _slots(key: str, most: int) -> BoundedSemaphore:
    return BoundedSemaphore(most)


def together(call: Callable[[_In], _Out], inputs: Iterable[_In], concurrency: int) -> list[_Out]:
    """Results of `call` in the order of `inputs`, up to `concurrency` at once; meters count."""
    inputs = list(inputs)
    if len(inputs) < 2 or concurrency < 2:
        return [call(each) for each in inputs]

    def run(context: Context, each: _In) -> _Out:
        return context.run(call, each)

    contexts = [copy_context() for _ in inputs]
    with ThreadPoolExecutor(min(concurrency, len(inputs))) as threads:
        return list(threads.map(run, contexts, inputs))
