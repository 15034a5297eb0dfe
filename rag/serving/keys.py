"""API keys: who may ask, and of which namespace. Only their hashes are kept."""

from __future__ import annotations

import datetime
import hashlib
import os
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

from rag.errors import ConfigError, IndexDamaged, RagIndexError
from rag.index.paths import KEYS, checked_name

_PREFIX = "cw-"
_BYTES = 32
_SCHEMA = """\
CREATE TABLE IF NOT EXISTS keys (
    hash TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    namespace TEXT NOT NULL,
    created TEXT NOT NULL
) WITHOUT ROWID"""


class Principal(NamedTuple):
    """Who asks: the name of the key, and the only namespace it opens ("" is the index itself)."""

    name: str
    namespace: str


class KeyInfo(NamedTuple):
    """A key in a list; the key itself is known to nobody but its holder."""

    name: str
    namespace: str
    created: str


class KeyStore:
    """Keys in the SQLite file `path`, made when the first key is.

    What is stored is the SHA-256 of each key. The keys are 256 bits of the system's random source,
    so that there is nothing to guess and a slow hash would add nothing. May be shared by threads
    and by processes: a key that is revoked is refused from the next request on.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def add(self, name: str, namespace: str = "") -> str:
        """Make a key and return it; it cannot be shown again. Raises `ConfigError`."""
        checked_name(name, "key")
        if namespace:
            checked_name(namespace, "namespace")
        key = _PREFIX + secrets.token_urlsafe(_BYTES)
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        try:
            with self._connection(write=True) as connection:
                connection.execute(
                    "INSERT INTO keys VALUES (?, ?, ?, ?)", (_hashed(key), name, namespace, now)
                )
        except sqlite3.IntegrityError:
            raise ConfigError(f"there is a key named {name!r} already: revoke it first") from None
        return key

    def holder(self, key: str) -> Principal | None:
        """Who holds `key`; None where nobody does."""
        if not self.path.is_file() or not key.startswith(_PREFIX):
            return None
        with self._connection() as connection:
            found = connection.execute(
                "SELECT name, namespace FROM keys WHERE hash = ?", (_hashed(key),)
            ).fetchone()
        return Principal(*found) if found else None

    def revoke(self, name: str) -> bool:
        """Forget the key of that name; whether there was one."""
        if not self.path.is_file():
            return False
        with self._connection(write=True) as connection:
            done = connection.execute("DELETE FROM keys WHERE name = ?", (name,))
            return done.rowcount > 0

    def keys(self) -> list[KeyInfo]:
        """All keys, by name."""
        if not self.path.is_file():
            return []
        with self._connection() as connection:
            rows = connection.execute("SELECT name, namespace, created FROM keys ORDER BY name")
            return [KeyInfo(*row) for row in rows.fetchall()]

    @contextmanager
    def _connection(self, *, write: bool = False) -> Iterator[sqlite3.Connection]:
        try:
            if not self.path.exists():  # nobody else's from its first byte on
                os.close(os.open(self.path, os.O_CREAT | os.O_RDWR, 0o600))
            with closing(
                sqlite3.connect(self.path, timeout=30, isolation_level=None)
            ) as connection:
                connection.execute(_SCHEMA)
                if write:
                    connection.execute("BEGIN IMMEDIATE")
                yield connection
                if write:
                    connection.execute("COMMIT")
        except (sqlite3.OperationalError, OSError) as error:
            raise RagIndexError(f"cannot use {self.path}: {error}") from error
        except sqlite3.IntegrityError:
            raise
        except sqlite3.DatabaseError as error:
            raise IndexDamaged(
                f"{self.path} is damaged ({error}): move it away and make new keys"
            ) from error


def _hashed(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def key_store(index: Path) -> KeyStore:
    """The keys of the index in the folder `index`."""
    return KeyStore(index / KEYS)
