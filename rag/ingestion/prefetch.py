"""Prefetching: an iterator that a background thread runs ahead of its consumer."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterator
from contextlib import suppress
from contextvars import copy_context
from typing import Any, TypeVar

from rag.call_context import check_limits

_T = TypeVar("_T")


class Prefetcher(Iterator[_T]):
    """Run an iterator in a background thread, up to `depth` items ahead of its consumer.

    An exception of the iterator is raised in the consumer. `close` stops the thread. When the call
    is cancelled or its deadline passes, the consumer gets `CallCancelled` or `DeadlineExceeded`.
    """

    _END_OF_ITEMS = object()

    def __init__(self, items: Iterator[_T], depth: int = 2) -> None:
        self._queue: queue.Queue[Any] = queue.Queue(maxsize=depth)
        self._closed_event = threading.Event()
        self._error: BaseException | None = None
        self._items = items
        self._thread = threading.Thread(
            target=copy_context().run,
            args=(self._produce_items,),
            name="citewell-ahead",
            daemon=True,
        )
        self._thread.start()

    def _produce_items(self) -> None:
        try:
            for item in self._items:
                if not self._put_item(item):
                    return
        except BaseException as error:
            self._error = error
        finally:
            if isinstance(self._items, Generator):
                self._items.close()
        self._put_item(self._END_OF_ITEMS)

    def _put_item(self, item: Any) -> bool:
        while not self._closed_event.is_set():
            try:
                self._queue.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def _get_item(self) -> Any:
        while True:
            check_limits()
            with suppress(queue.Empty):
                return self._queue.get(timeout=0.1)

    def __next__(self) -> _T:
        item = self._get_item()
        if item is self._END_OF_ITEMS:
            self._queue.put(self._END_OF_ITEMS)
            if self._error is not None:
                raise self._error
            raise StopIteration
        result: _T = item
        return result

    def close(self) -> None:
        """Stop the thread and wait for it."""
        self._closed_event.set()
        self._thread.join()
