"""Usage tracking: the tokens, calls and cost of chat models."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from threading import Lock

from rag.types import Usage


class UsageTracker:
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


_meters: ContextVar[tuple[UsageTracker, ...]] = ContextVar("meters", default=())


@contextmanager
def track_usage() -> Iterator[UsageTracker]:
    """Count what chat models use within, by whichever part they are called."""
    meter = UsageTracker()
    _meters.set((*_meters.get(), meter))
    try:
        yield meter
    finally:  # not by a token: a stream may be closed in another context than it began in
        _meters.set(tuple(other for other in _meters.get() if other is not meter))


def record_usage(usage: Usage) -> None:
    """Tell the meters that are on."""
    for meter in _meters.get():
        meter.add(usage)
