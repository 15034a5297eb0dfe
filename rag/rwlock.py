"""Many may pass at once, or one alone: searches, and what must not happen under them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from rag.errors import RagIndexError


class RWLock:
    """A readers-writer lock. `shared` may be nested in a thread; `alone` waits for all others."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._inside: dict[int, int] = {}
        self._alone = False

    @contextmanager
    def read(self) -> Iterator[None]:
        """Pass together with others."""
        me = threading.get_ident()
        with self._condition:
            while self._alone and me not in self._inside:
                self._condition.wait()
            self._inside[me] = self._inside.get(me, 0) + 1
        try:
            yield
        finally:
            with self._condition:
                self._inside[me] -= 1
                if not self._inside[me]:
                    del self._inside[me]
                self._condition.notify_all()

    @contextmanager
    def write(self) -> Iterator[None]:
        """Pass when nobody else is inside, and keep everybody out. Not within `shared`."""
        with self._condition:
            if threading.get_ident() in self._inside:
                raise RagIndexError("the index cannot be closed from within a search or an ingest")
            while self._alone:
                self._condition.wait()
            self._alone = True
            while self._inside:
                self._condition.wait()
        try:
            yield
        finally:
            with self._condition:
                self._alone = False
                self._condition.notify_all()
