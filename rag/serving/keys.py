"""API keys: each gives access to one namespace. Only hashes of the keys are stored."""

from __future__ import annotations

import datetime
import hashlib
import secrets
import sqlite3
from pathlib import Path
from typing import NamedTuple

from rag.errors import ConfigError
from rag.index.paths import KEYS_FILE, validate_name
from rag.stores.sqlite.private_database import PrivateDatabase

_KEY_PREFIX = "cw-"
_KEY_BYTES = 32
_FORMAT = 1
_SCHEMA = """\
CREATE TABLE IF NOT EXISTS keys (
    hash TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    namespace TEXT NOT NULL,
    created TEXT NOT NULL
) WITHOUT ROWID"""


class Principal(NamedTuple):
    """Whom a request comes from: the name of the key, and its namespace ("" is the default)."""

    name: str
    namespace: str


class KeyInfo(NamedTuple):
    """A key in a list, without the key itself, which is not stored."""

    name: str
    namespace: str
    created: str


class KeyStore:
    """Keys in the SQLite file `path`, which is created with the first key.

    The SHA-256 of each key is stored. A key has 256 bits from the system's random source, so it
    cannot be guessed, and a slow hash would add no protection. Threads and processes may share a
    store; a revoked key is refused from the next request on.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._database = PrivateDatabase(path, _SCHEMA, _FORMAT, "keys")

    def add(self, name: str, namespace: str = "") -> str:
        """Create a key and return it; it cannot be shown again.

        Raises `ConfigError` if the name is taken or not valid.
        """
        validate_name(name, "key")
        if namespace:
            validate_name(namespace, "namespace")
        key = _KEY_PREFIX + secrets.token_urlsafe(_KEY_BYTES)
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        try:
            with self._database.transaction(write=True) as connection:
                connection.execute(
                    "INSERT INTO keys VALUES (?, ?, ?, ?)", (_hash_key(key), name, namespace, now)
                )
        except sqlite3.IntegrityError:
            raise ConfigError(f"a key named {name!r} exists already: revoke it first") from None
        return key

    def holder(self, key: str) -> Principal | None:
        """Return the name and the namespace of a key, or None if it is not known."""
        if not self.path.is_file() or not key.startswith(_KEY_PREFIX):
            return None
        with self._database.transaction() as connection:
            row = connection.execute(
                "SELECT name, namespace FROM keys WHERE hash = ?", (_hash_key(key),)
            ).fetchone()
        return Principal(*row) if row else None

    def revoke(self, name: str) -> bool:
        """Delete the key of that name, and return whether it existed."""
        if not self.path.is_file():
            return False
        with self._database.transaction(write=True) as connection:
            cursor = connection.execute("DELETE FROM keys WHERE name = ?", (name,))
            return cursor.rowcount > 0

    def keys(self) -> list[KeyInfo]:
        """Return all keys, sorted by name."""
        if not self.path.is_file():
            return []
        with self._database.transaction() as connection:
            rows = connection.execute("SELECT name, namespace, created FROM keys ORDER BY name")
            return [KeyInfo(*row) for row in rows.fetchall()]


def _hash_key(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def open_key_store(index: Path) -> KeyStore:
    """Return the key store of the index in the folder `index`."""
    return KeyStore(index / KEYS_FILE)
