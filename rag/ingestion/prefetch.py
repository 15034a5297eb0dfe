"""An iterator that runs ahead of its consumer in a thread."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterator
from contextlib import suppress
from contextvars import copy_context
from typing import Any, TypeVar

_T = TypeVar("_T")


class Prefetcher(Iterator[_T]):
    """Run an iterator in a thread of its own, `depth` items ahead of its consumer.

    An exception in it is raised where its items are consumed; `close` stops it. When `stop` is
    set, the consumer is told by a `KeyboardInterrupt`.
    """

    _END = object()

    def __init__(self, items: Iterator[_T], stop: threading.Event, depth: int = 2) -> None:
        self._stop = stop
        self._queue: queue.Queue[Any] = queue.Queue(maxsize=depth)
        self._stopped = threading.Event()
        self._error: BaseException | None = None
        self._items = items
        self._thread = threading.Thread(
            target=copy_context().run, args=(self._work,), name="citewell-ahead", daemon=True
        )
        self._thread.start()

    def _work(self) -> None:
        try:
            for item in self._items:
                if not self._put(item):
                    return
        except BaseException as error:
            self._error = error
        finally:
            if isinstance(self._items, Generator):
                self._items.close()
        self._put(self._END)

    def _put(self, item: Any) -> bool:
        while not self._stopped.is_set():
            try:
                self._queue.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def _next(self) -> Any:
        while not self._stop.is_set():
            with suppress(queue.Empty):
                return self._queue.get(timeout=0.1)
        raise KeyboardInterrupt

    def __next__(self) -> _T:
        item = self._next()
        if item is self._END:
            self._queue.put(self._END)
            if self._error is not None:
                raise self._error
            raise StopIteration
        result: _T = item
        return result

    def close(self) -> None:
        """Stop the thread and wait for it."""
        self._stopped.set()
        self._thread.join()
