"""Clients of Chroma: embedded in this process on a folder, or of a server."""

from __future__ import annotations

import logging
import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import urlsplit

from rag.errors import ConfigError, IndexDamaged, IndexUnreachable
from rag.providers.key_servers import Origin, explain_withheld_key, find_origin
from rag.rwlock import RWLock

if TYPE_CHECKING:
    from rag.stores.chroma import Chroma

# Chroma's default `ef_search` misses a fifth of the ten nearest in an index with a few documents
# of one kind and many of another (docs/decisions.md). `sync_threshold` is the number of rows
# between writes to disk.
_HNSW_CONFIGURATION = {"space": "ip", "ef_search": 1_000, "sync_threshold": 10_000}


class ChromaDatabase(ABC):
    """A Chroma client with its open collections."""

    location: str
    """Folder, or url of the server, for messages."""

    @abstractmethod
    def collection(self, name: str) -> Any:
        """Return the collection; open or create it at first use. Only within `use_client`."""

    @abstractmethod
    def drop(self, name: str) -> None:
        """Delete the collection if it exists."""

    def use_client(self) -> AbstractContextManager[None]:
        """Keep the client open during a call."""
        return nullcontext()

    def refresh(self, generation: int) -> None:  # noqa: B027 (a server needs nothing)
        """Make calls see what other processes wrote up to `generation`."""

    def begin_writing(self) -> None:  # noqa: B027
        """Keep the current client while this process writes."""

    def end_writing(self, generation: int) -> None:  # noqa: B027
        """End the writes of this process, which has seen everything up to `generation`."""

    def call(self, method: Callable[[], Any]) -> Any:
        """Call `method`. Raises `IndexDamaged` or `IndexUnreachable`."""
        with self.use_client():
            return method()

    @abstractmethod
    def release(self) -> None:
        """Close the client if nothing else in this process uses it."""


class EmbeddedDatabase(ChromaDatabase):
    """The single Chroma client of a folder in this process.

    Chroma has one engine per folder and process, shared by all clients, and the engine does not
    see what another process writes. So all users of a folder share one client, and `refresh`
    replaces it for all of them.
    """

    _instances: ClassVar[dict[str, EmbeddedDatabase]] = {}
    _instances_lock = threading.Lock()

    def __init__(self, path: str) -> None:
        self.location = path
        self._client_lock, self._open_lock = RWLock(), threading.Lock()
        self._writer_count = 0
        self._user_count = 0
        self._generation = -1
        self._client: Any = None
        self._collections: dict[str, Any] = {}

    @classmethod
    def acquire(cls, path: Path) -> EmbeddedDatabase:
        """Return the database of a folder; call `release` after use."""
        with cls._instances_lock:
            folder = os.path.realpath(path)
            database = cls._instances.setdefault(folder, cls(folder))
            database._user_count += 1
            return database

    def release(self) -> None:
        """Close the client after its last user released it."""
        with self._instances_lock, self._client_lock.write():
            self._user_count -= 1
            if not self._user_count:
                self._close()
                del self._instances[self.location]

    def use_client(self) -> AbstractContextManager[None]:
        """Keep the client open during a call: `refresh` waits."""
        return self._client_lock.read()

    def refresh(self, generation: int) -> None:
        """Close the client unless it has seen `generation` or this process is writing.

        The next call opens a new client.
        """
        with self._client_lock.write():
            if self._generation < generation and not self._writer_count:
                self._close()
                self._generation = generation

    def begin_writing(self) -> None:
        """Suspend `refresh` while this process writes: the client sees its own writes."""
        with self._client_lock.write():
            self._writer_count += 1

    def end_writing(self, generation: int) -> None:
        """Resume `refresh`. The client has seen all writes up to `generation`."""
        with self._client_lock.write():
            self._writer_count -= 1
            self._generation = max(self._generation, generation)

    def call(self, method: Callable[[], Any]) -> Any:
        """Call `method`. Raises `IndexDamaged` for every error of Chroma."""
        from chromadb.errors import ChromaError

        try:
            with self.use_client():
                return method()
        except (ChromaError, ValueError, RuntimeError, OSError, AttributeError, KeyError) as error:
            raise IndexDamaged.from_store_error(error, "Chroma", self.location) from error
        except BaseException as error:
            if type(error).__name__ != "PanicException":  # of Rust; no `Exception`
                raise
            raise IndexDamaged.from_store_error(error, "Chroma", self.location) from None

    def collection(self, name: str) -> Any:
        """Return the collection; open or create it at first use."""
        with self._open_lock:
            if name not in self._collections:
                client = self._open_client()
                self._collections[name] = _open_collection(client, name)
            return self._collections[name]

    def drop(self, name: str) -> None:
        """Do nothing: deleting the folder deletes its collections."""

    def _open_client(self) -> Any:
        if self._client is None:
            import chromadb

            try:
                self._client = chromadb.PersistentClient(
                    path=self.location, settings=_make_client_settings()
                )
            except BaseException:
                _drop_failed_engine(self.location)
                raise
        return self._client

    def _close(self) -> None:
        self._collections.clear()
        if self._client is not None:
            self._client.close()
            self._client = None


class ServerDatabase(ChromaDatabase):
    """A client of a Chroma server. It sees the writes of others, and survives a server restart."""

    def __init__(self, config: Chroma) -> None:
        self.location = config.url
        self._config = config
        self._open_lock = threading.Lock()
        self._client: Any = None
        self._collections: dict[str, Any] = {}

    def collection(self, name: str) -> Any:
        """Return the collection; open or create it at first use."""
        with self._open_lock:
            if name not in self._collections:
                self._collections[name] = _open_collection(self._open_client(), name)
            return self._collections[name]

    def drop(self, name: str) -> None:
        """Delete the collection if it exists."""
        with suppress(IndexDamaged):  # already deleted
            self.call(lambda: self._open_client().delete_collection(name))
        self._collections.pop(name, None)

    def call(self, method: Callable[[], Any]) -> Any:
        """Call `method`, with retries of transient errors.

        Raises `IndexDamaged` if the server lost the collection, `IndexUnreachable` for other
        errors.
        """
        import httpx
        import tenacity
        from chromadb.errors import ChromaError, NotFoundError

        retrying = tenacity.Retrying(
            stop=tenacity.stop_after_attempt(self._config.attempts),
            wait=tenacity.wait_exponential(multiplier=self._config.wait, max=10),
            retry=tenacity.retry_if_exception(_is_transient),
            reraise=True,
        )
        try:
            return retrying(method)
        except NotFoundError as error:
            self._collections.clear()  # the server lost its data: the next writer fills it
            raise IndexDamaged(
                f"the Chroma server at {self.location} no longer has the vectors ({error}): "
                f"{IndexDamaged.REFILL_HINT}"
            ) from None
        except Exception as error:
            is_of_chroma = isinstance(error, ChromaError | ValueError | httpx.HTTPError)
            if is_of_chroma or type(error) is Exception:  # Chroma raises plain `Exception`, too
                raise self._make_unreachable_error(error) from None
            raise

    def _open_client(self) -> Any:
        if self._client is None:
            import chromadb
            import httpx

            config, headers = self._config, self._make_headers()
            url_parts = urlsplit(config.url)
            is_secure = url_parts.scheme == "https"
            settings = _make_client_settings()
            if config.certificate is not None:
                settings.chroma_server_ssl_verify = _make_ssl_context(config.certificate)
            # Test the connection first: a Chroma client that fails to start leaks its sockets.
            httpx.get(
                f"{config.url}/api/v2/auth/identity",
                headers=headers,
                verify=settings.chroma_server_ssl_verify or True,
                timeout=config.timeout,
            ).raise_for_status()
            self._client = chromadb.HttpClient(
                host=url_parts.hostname or "",
                port=url_parts.port or (443 if is_secure else 80),
                ssl=is_secure,
                headers=headers,
                settings=settings,
                tenant=config.tenant,
                database=config.database,
            )
            for client in (self._client, self._client._admin_client):
                # Chroma sets no timeout, and has no option for one.
                client._server._session.timeout = config.timeout
        return self._client

    def _make_headers(self) -> dict[str, str]:
        key = self._config.api_key
        origin: Origin = "configuration"
        if key is None:
            from rag.settings import load_settings

            key, origin = load_settings().chroma_api_key, find_origin("CHROMA_API_KEY")
        if key is None:
            return {}
        if obstacle := explain_withheld_key(self._config.url, "configuration", origin):
            raise ConfigError(f"the key is not sent to {self.location}: {obstacle}", setting="url")
        secret = key.get_secret_value()
        return {"Authorization": f"Bearer {secret}", "X-Chroma-Token": secret}

    def _make_unreachable_error(self, error: BaseException) -> IndexUnreachable:
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        return IndexUnreachable(
            f"the Chroma server at {self.location} failed ({reason}): is it running, and is the "
            "API key correct? All vectors written so far are kept",
            url=self.location,
        )

    def release(self) -> None:
        """Close the client and its connections."""
        with self._open_lock:
            self._collections.clear()
            if self._client is not None:
                for client in (self._client, self._client._admin_client):
                    client._server._session.close()  # Chroma itself does not close it
                self._client.close()
                self._client = None


def _open_collection(client: Any, name: str) -> Any:
    collection = client.get_or_create_collection(
        name, configuration={"hnsw": _HNSW_CONFIGURATION}, embedding_function=None
    )
    graph = collection.configuration.get("hnsw") or collection.configuration.get("spann") or {}
    if graph.get("space", "ip") != "ip":
        raise ValueError(
            f"another program created the collection {name}, with {graph['space']} distances"
        )
    return collection


def _is_transient(error: BaseException | None) -> bool:
    """Whether a retry may succeed: connection and server errors, and rate limits.

    Chroma's client wraps connection errors in its own errors, so the whole chain of errors is
    searched.
    """
    import httpx
    from chromadb.errors import InternalError, RateLimitError

    while error is not None:
        if isinstance(error, httpx.HTTPStatusError):
            return error.response.status_code >= 500 or error.response.status_code == 429
        if isinstance(error, httpx.TransportError | InternalError | RateLimitError):
            return True
        error = error.__context__
    return False


def _make_ssl_context(certificate: Path) -> Any:
    import ssl

    try:
        return ssl.create_default_context(cafile=certificate)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"cannot read the certificate {certificate}: {error}") from None


def _make_client_settings() -> Any:
    from chromadb.config import Settings

    logging.getLogger("chromadb.telemetry").setLevel(logging.CRITICAL)
    return Settings(anonymized_telemetry=False)


def _drop_failed_engine(path: str) -> None:
    """Make Chroma forget an engine that failed to start; it would return it to the next client."""
    from chromadb.api.shared_system_client import SharedSystemClient

    SharedSystemClient._identifier_to_system.pop(path, None)
