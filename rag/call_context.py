"""The context of a call: its limits, and who observes it.

One object has everything that a call hands on without naming it in every signature: the deadline
and the cancellation, the observers (span, span processors, usage trackers) and the reply cache.
Threads and generators of a call run in a copy of it, so calls never see each other's.

    from rag import Pipeline
    from rag.call_context import Cancellation, limit_call

    cancellation = Cancellation()  # cancel() from another thread stops the call
    with Pipeline(index=".rag") as pipeline, limit_call(seconds=30, cancellation=cancellation):
        answer = pipeline.ask("How long does the battery last?")

A limit is checked between stages, between the tokens of a model and before each retry. Calls of
async model clients end as soon as a limit is reached (`rag.concurrency.stop_at_limits`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from threading import Event, RLock
from typing import Any

from rag.errors import CallCancelled, DeadlineExceeded


class Cancellation:
    """A request to stop a call, from any thread."""

    def __init__(self) -> None:
        self._event = Event()
        self._callbacks: list[Callable[[], object]] = []
        self._lock = RLock()  # reentrant: a signal handler may call `cancel` at any time

    def cancel(self) -> None:
        """Stop the calls that have this cancellation, at their next check.

        Calls of async model clients end at once.
        """
        with self._lock:
            self._event.set()
            for callback in tuple(self._callbacks):
                callback()

    @property
    def is_cancelled(self) -> bool:
        """Whether `cancel` was called."""
        return self._event.is_set()

    @contextmanager
    def notify(self, callback: Callable[[], object]) -> Iterator[None]:
        """Call `callback` if `cancel` is called during the block, in the thread that calls it.

        If it was called before, `callback` is called at the beginning.
        """
        with self._lock:
            self._callbacks.append(callback)
            if self.is_cancelled:
                callback()
        try:
            yield
        finally:
            with self._lock:
                self._callbacks.remove(callback)


@dataclass(frozen=True, slots=True)
class CallContext:
    """What a call hands on.

    ``deadline`` is on the clock of `time.monotonic`, in seconds. The types of ``span``,
    ``processors`` (`rag.tracing`), ``usage_trackers`` (`rag.llm.usage`), ``reply_cache`` and
    ``repeat`` (`rag.llm.cache`) belong to modules above this one.
    """

    deadline: float | None = None
    cancellations: tuple[Cancellation, ...] = ()
    span: Any = None
    processors: tuple[Any, ...] = ()
    usage_trackers: tuple[Any, ...] = ()
    reply_cache: Any = None
    repeat: tuple[int, ...] = ()

    @property
    def remaining_seconds(self) -> float | None:
        """Time until the deadline, at least 0; None without a deadline."""
        return None if self.deadline is None else max(0.0, self.deadline - time.monotonic())

    def check(self) -> None:
        """Raise `CallCancelled` or `DeadlineExceeded` if the call must stop."""
        if any(cancellation.is_cancelled for cancellation in self.cancellations):
            raise CallCancelled("the call was cancelled")
        if self.deadline is not None and time.monotonic() >= self.deadline:
            raise DeadlineExceeded("the call took longer than its deadline allows")


_current: ContextVar[CallContext] = ContextVar("call_context", default=CallContext())  # noqa: B039 (frozen)


def current_context() -> CallContext:
    """Return the context of the running call."""
    return _current.get()


def update_context(**changes: Any) -> None:
    """Change fields of the context of the running call.

    Not undone by a token: a stream may be closed in another context than it began in.
    """
    _current.set(replace(_current.get(), **changes))


def check_limits() -> None:
    """Raise `CallCancelled` or `DeadlineExceeded` if the running call must stop."""
    _current.get().check()


@contextmanager
def limit_call(
    *, seconds: float | None = None, cancellation: Cancellation | None = None
) -> Iterator[CallContext]:
    """Limit the calls within the block: they end after `seconds`, or when they are cancelled.

    Nested limits hold together: the earliest deadline counts. The calls raise `DeadlineExceeded`
    or `CallCancelled`.
    """
    outer = _current.get()
    deadlines = [deadline for deadline in (outer.deadline,) if deadline is not None]
    if seconds is not None:
        deadlines.append(time.monotonic() + seconds)
    cancellations = outer.cancellations + (() if cancellation is None else (cancellation,))
    update_context(deadline=min(deadlines, default=None), cancellations=cancellations)
    try:
        yield _current.get()
    finally:
        update_context(deadline=outer.deadline, cancellations=outer.cancellations)
