"""Replies that were paid for once: kept on disk by model, prompt, parameters and input.

Evaluation uses it, so that a run that was killed, or is made again with one metric more, asks no
model twice for the same. Nothing is cached unless `caching` says so.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rag.errors import ConfigError
from rag.types import Message, Usage

if TYPE_CHECKING:
    from rag.llm.base import Completion


class CompletionCache:
    """Completions in an SQLite file; may be shared by threads and by processes.

    The key is the hash of the model's fingerprint (its name, revision and every parameter), the
    messages, the schema, the sources, and which repeat of the same it is. Raises `ConfigError` for
    a file that is no such cache.
    """

    def __init__(self, path: Path) -> None:
        self.hits = 0
        self._guard = threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._base = sqlite3.connect(path, timeout=60, check_same_thread=False)
            self._base.execute("PRAGMA journal_mode = WAL")
            self._base.execute(
                "CREATE TABLE IF NOT EXISTS completions (key TEXT PRIMARY KEY, reply TEXT) STRICT"
            )
            self._base.commit()
        except (sqlite3.Error, OSError) as error:
            raise ConfigError(f"{path} cannot be used as a cache of replies: {error}") from None

    def close(self) -> None:
        """Let go of the file."""
        with self._guard:
            self._base.close()

    def get(self, key: str) -> Completion | None:
        """The completion kept under `key`, with nothing used."""
        from rag.llm.base import Completion, NativeCitation

        with self._guard:
            row = self._base.execute("SELECT reply FROM completions WHERE key = ?", (key,))
            found = row.fetchone()
            self.hits += found is not None
        if found is None:
            return None
        kept = json.loads(found[0])
        citations = tuple(NativeCitation(s, e, tuple(of)) for s, e, of in kept["citations"])
        return Completion(kept["text"], Usage(), kept["finish_reason"], citations)

    def forget(self, key: str) -> None:
        """Keep nothing under `key`."""
        with self._guard, self._base:
            self._base.execute("DELETE FROM completions WHERE key = ?", (key,))

    def put(self, key: str, completion: Completion) -> None:
        """Keep a completion; it is on disk when this returns."""
        kept = {
            "text": completion.text,
            "finish_reason": completion.finish_reason,
            "citations": [list(cited) for cited in completion.citations],
        }
        with self._guard, self._base:
            self._base.execute(
                "INSERT OR REPLACE INTO completions VALUES (?, ?)", (key, json.dumps(kept))
            )


_current: ContextVar[CompletionCache | None] = ContextVar("completion_cache", default=None)
_repeat: ContextVar[tuple[int, ...]] = ContextVar("completion_repeat", default=())


@contextmanager
def caching(cache: CompletionCache | None) -> Iterator[None]:
    """Take replies from `cache`, and keep them there, within; None turns it off."""
    token = _current.set(cache)
    try:
        yield
    finally:
        _current.reset(token)


@contextmanager
def repeated(*repeat: int) -> Iterator[None]:
    """Within, the same question is another one: asked again on purpose."""
    token = _repeat.set((*_repeat.get(), *repeat))
    try:
        yield
    finally:
        _repeat.reset(token)


def current() -> CompletionCache | None:
    """The cache that is on; None where there is none."""
    return _current.get()


def key_of(
    fingerprint: str, messages: Sequence[Message], schema: Any, sources: Sequence[Any]
) -> str:
    """The key of a call."""
    said = [
        fingerprint,
        [[message.role, message.content] for message in messages],
        schema,
        [list(source) for source in sources],
        list(_repeat.get()),
    ]
    canonical = json.dumps(said, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode("utf-8", "surrogatepass")).hexdigest()
