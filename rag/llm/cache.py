"""A cache of model replies on disk, keyed by model, prompt, parameters and input.

Evaluation uses it: a resumed run, or a run with one more metric, does not repeat model calls.
Nothing is cached outside of `use_cache`.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rag.call_context import current_context, update_context
from rag.errors import ConfigError
from rag.llm.completion import Completion, NativeCitation
from rag.types import Message, Usage


class CompletionCache:
    """Completions in an SQLite file; threads and processes may share it.

    The key is the hash of the model's fingerprint (its name, revision and all parameters), the
    messages, the schema, the sources and the repeat number. Raises `ConfigError` if the file is
    not such a cache.
    """

    def __init__(self, path: Path) -> None:
        self.hits = 0
        self._guard = threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(path, timeout=60, check_same_thread=False)
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute(
                "CREATE TABLE IF NOT EXISTS completions (key TEXT PRIMARY KEY, reply TEXT) STRICT"
            )
            self._connection.commit()
        except (sqlite3.Error, OSError) as error:
            raise ConfigError(f"{path} cannot be used as a cache of replies: {error}") from None

    def close(self) -> None:
        """Close the file."""
        with self._guard:
            self._connection.close()

    def get(self, key: str) -> Completion | None:
        """Return the completion stored under `key`, with zero usage; None if there is none."""
        with self._guard:
            select = "SELECT reply FROM completions WHERE key = ?"
            row = self._connection.execute(select, (key,)).fetchone()
            self.hits += row is not None
        if row is None:
            return None
        reply = json.loads(row[0])
        citations = tuple(
            NativeCitation(start, end, tuple(sources)) for start, end, sources in reply["citations"]
        )
        return Completion(reply["text"], Usage(), reply["finish_reason"], citations)

    def forget(self, key: str) -> None:
        """Delete the completion stored under `key`, if any."""
        with self._guard, self._connection:
            self._connection.execute("DELETE FROM completions WHERE key = ?", (key,))

    def put(self, key: str, completion: Completion) -> None:
        """Store a completion under `key`; it is on disk when this returns."""
        reply = {
            "text": completion.text,
            "finish_reason": completion.finish_reason,
            "citations": [list(citation) for citation in completion.citations],
        }
        with self._guard, self._connection:
            self._connection.execute(
                "INSERT OR REPLACE INTO completions VALUES (?, ?)", (key, json.dumps(reply))
            )


@contextmanager
def use_cache(cache: CompletionCache | None) -> Iterator[None]:
    """Read and store replies in `cache` within the ``with``; None turns caching off."""
    outer_cache = current_context().reply_cache
    update_context(reply_cache=cache)
    try:
        yield
    finally:
        update_context(reply_cache=outer_cache)


@contextmanager
def mark_repeat(*repeat: int) -> Iterator[None]:
    """Give calls within the ``with`` their own cache keys, for repeats that are intended.

    Nested calls append their numbers.
    """
    outer_repeat = current_context().repeat
    update_context(repeat=(*outer_repeat, *repeat))
    try:
        yield
    finally:
        update_context(repeat=outer_repeat)


def active_cache() -> CompletionCache | None:
    """Return the cache in use; None if caching is off."""
    cache: CompletionCache | None = current_context().reply_cache
    return cache


def completion_key(
    fingerprint: str, messages: Sequence[Message], schema: Any, sources: Sequence[Any]
) -> str:
    """Return the cache key of a call: a SHA-256 in hexadecimal."""
    call = [
        fingerprint,
        [[message.role, message.content] for message in messages],
        schema,
        [list(source) for source in sources],
        list(current_context().repeat),
    ]
    canonical = json.dumps(call, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode("utf-8", "surrogatepass")).hexdigest()
