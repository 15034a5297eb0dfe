"""A readers-writer lock: many threads hold it together, or one thread holds it alone."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from rag.errors import RagIndexError


class RWLock:
    """A readers-writer lock.

    A thread may nest `read`. `write` waits until no other thread holds the lock.
    """

    def __init__(self) -> None:
        self._state_changed = threading.Condition()
        self._reader_depths: dict[int, int] = {}
        self._has_writer = False

    @contextmanager
    def read(self) -> Iterator[None]:
        """Hold the lock together with other readers."""
        thread_id = threading.get_ident()
        with self._state_changed:
            while self._has_writer and thread_id not in self._reader_depths:
                self._state_changed.wait()
            self._reader_depths[thread_id] = self._reader_depths.get(thread_id, 0) + 1
        try:
            yield
        finally:
            with self._state_changed:
                self._reader_depths[thread_id] -= 1
                if not self._reader_depths[thread_id]:
                    del self._reader_depths[thread_id]
                self._state_changed.notify_all()

    @contextmanager
    def write(self) -> Iterator[None]:
        """Hold the lock alone: wait for all readers, and keep new ones out.

        Raises `RagIndexError` within `read` of the same thread, which would wait for itself.
        """
        with self._state_changed:
            if threading.get_ident() in self._reader_depths:
                raise RagIndexError("the index cannot be closed from within a search or an ingest")
            while self._has_writer:
                self._state_changed.wait()
            self._has_writer = True
            while self._reader_depths:
                self._state_changed.wait()
        try:
            yield
        finally:
            with self._state_changed:
                self._has_writer = False
                self._state_changed.notify_all()
