"""Usage tracking: the tokens, calls and cost of chat models."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

from rag.call_context import current_context, update_context
from rag.types import Usage


class UsageTracker:
    """Adds up the usage of the model calls made while it is active; thread-safe."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._usage = Usage()

    @property
    def usage(self) -> Usage:
        """Total usage of all calls so far."""
        return self._usage

    def add(self, usage: Usage) -> None:
        """Add the usage of one call."""
        with self._lock:
            self._usage += usage


@contextmanager
def track_usage() -> Iterator[UsageTracker]:
    """Count the usage of all model calls within the ``with``, whichever component makes them.

    Trackers can be nested: each counts the calls made while it is active.
    """
    tracker = UsageTracker()
    update_context(usage_trackers=(*current_context().usage_trackers, tracker))
    try:
        yield tracker
    finally:  # no reset by token: a stream may be closed in another context than it began in
        trackers = current_context().usage_trackers
        update_context(usage_trackers=tuple(t for t in trackers if t is not tracker))


def record_usage(usage: Usage) -> None:
    """Add `usage` to all active usage trackers."""
    for tracker in current_context().usage_trackers:
        tracker.add(usage)
