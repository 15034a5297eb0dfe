"""The vectors: a Chroma collection of row numbers and vectors, derived from the library.

Chroma runs in this process on a folder of the index, or as a server. `Chroma` is the setting;
`ChromaCollection` is one collection.
"""

from __future__ import annotations

import logging
import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator

from rag.component import Component, NotFingerprinted
from rag.errors import ConfigError, IndexDamaged, IndexUnreachable
from rag.rwlock import RWLock

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_MANY = 5_000  # rows a call; Chroma refuses more than 5,461
# With Chroma's own `ef_search` a fifth of the ten nearest are missed where a few documents lie
# beside many of another kind (docs/decisions.md). `sync_threshold`: rows between writes to disk.
_GRAPH = {"space": "ip", "ef_search": 1_000, "sync_threshold": 10_000}


class VectorStore(Component):
    """Where the vectors are kept. `Chroma` is the one there is."""

    kind: ClassVar[str] = "vector_store"


class Chroma(VectorStore):
    """Where the vectors are: Chroma in this process (the default), a Chroma server, or its Cloud.

    Without ``url`` they are in the index's own folder. A server is ``http://host:port`` or
    ``https://``; its certificate is checked against the system's authorities, or those of the
    file ``certificate``. ``api_key`` (default: ``CHROMA_API_KEY``) is sent as a bearer token and
    as Chroma's own header. For Chroma Cloud: ``url="https://api.trychroma.com"``, your tenant
    and database, ``batch=300``.

    A call that fails for want of a connection, or takes more than ``timeout`` seconds, is made
    again, up to ``attempts`` times, after ``wait`` seconds, then twice as long, and so on.
    ``batch`` is the number of rows a call.
    ``store_text`` also writes each chunk's text and metadata, for people who read the collection
    with other tools; it slows writing down.

    Source: https://docs.trychroma.com
    """

    name: ClassVar[str] = "chroma"

    url: str = ""
    tenant: str = "default_tenant"
    database: str = "default_database"
    api_key: SecretStr | None = None
    certificate: Path | None = None
    timeout: Annotated[float, NotFingerprinted] = Field(60, gt=0)
    attempts: Annotated[int, NotFingerprinted] = Field(6, ge=1, le=20)
    wait: Annotated[float, NotFingerprinted] = Field(0.25, ge=0, le=60)
    batch: Annotated[int, NotFingerprinted] = Field(_MANY, ge=1, le=_MANY)
    store_text: bool = False

    @field_validator("url")
    @classmethod
    def _a_server(cls, url: str) -> str:
        if url and (
            urlsplit(url).scheme not in ("http", "https")
            or not urlsplit(url).hostname
            or urlsplit(url).path.strip("/")
        ):
            raise ValueError("the url of a Chroma server is http(s)://host:port, without a path")
        return url.rstrip("/")


class _Database(ABC):
    """The Chroma client behind a collection."""

    place: str
    """Where it is, for messages."""

    @abstractmethod
    def collection(self, name: str) -> Any:
        """The collection, opened or made. Only within `using`."""

    @abstractmethod
    def drop(self, name: str) -> None:
        """Delete the collection, if it is there."""

    def using(self) -> AbstractContextManager[None]:
        """What calls are made within."""
        return nullcontext()

    def renew(self, generation: int) -> None:  # noqa: B027 (a server needs nothing)
        """See what other processes have written up to `generation`."""

    def writing(self) -> AbstractContextManager[None]:
        """What this process writes within."""
        return nullcontext()

    def wrote(self, generation: int) -> None:  # noqa: B027
        """Take note that all that was written up to `generation` was written here."""

    def call(self, method: Callable[[], Any]) -> Any:
        """Make one call; raises `IndexDamaged` or `IndexUnreachable`."""
        with self.using():
            return method()

    @abstractmethod
    def release(self) -> None:
        """Let go of it, if nobody else in this process uses it."""


class _Folder(_Database):
    """The one Chroma client that this process has of a folder.

    Chroma keeps one engine a folder and process, whoever opens it, and that engine does not see
    what another process writes. So its users share it, and it is replaced for all of them.
    """

    _known: ClassVar[dict[str, _Folder]] = {}
    _guard = threading.Lock()

    def __init__(self, path: str) -> None:
        self.place = path
        self._gate, self._opening = RWLock(), threading.Lock()
        self._writers = 0
        self._users = 0
        self._generation = -1
        self._client: Any = None
        self._collections: dict[str, Any] = {}

    @classmethod
    def acquire(cls, path: Path) -> _Folder:
        with cls._guard:
            name = os.path.realpath(path)
            database = cls._known.setdefault(name, cls(name))
            database._users += 1
            return database

    def release(self) -> None:
        with self._guard, self._gate.write():
            self._users -= 1
            if not self._users:
                self._close()
                del self._known[self.place]

    def using(self) -> AbstractContextManager[None]:
        return self._gate.read()

    def renew(self, generation: int) -> None:
        """Open anew, unless that was done for this `generation`, or this process is writing."""
        with self._gate.write():
            if self._generation < generation and not self._writers:
                self._close()
                self._generation = generation

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Keep the client as it is: what this process writes, it sees."""
        with self._gate.write():
            self._writers += 1
        try:
            yield
        finally:
            with self._gate.write():
                self._writers -= 1

    def wrote(self, generation: int) -> None:
        """Nothing up to `generation` needs opening anew."""
        with self._gate.write():
            self._generation = max(self._generation, generation)

    def call(self, method: Callable[[], Any]) -> Any:
        from chromadb.errors import ChromaError

        try:
            with self.using():
                return method()
        except (ChromaError, ValueError, RuntimeError, OSError, AttributeError, KeyError) as error:
            raise IndexDamaged.by(error, "Chroma", self.place) from error
        except BaseException as error:
            if type(error).__name__ != "PanicException":  # what Rust raises, past `Exception`
                raise
            raise IndexDamaged.by(error, "Chroma", self.place) from None

    def collection(self, name: str) -> Any:
        with self._opening:
            if name not in self._collections:
                client = self._opened()
                self._collections[name] = _collection(client, name)
            return self._collections[name]

    def drop(self, name: str) -> None:
        """Nothing: a collection goes with its folder."""

    def _opened(self) -> Any:
        if self._client is None:
            import chromadb

            try:
                self._client = chromadb.PersistentClient(path=self.place, settings=_settings())
            except BaseException:
                _forget_engine(self.place)
                raise
        return self._client

    def _close(self) -> None:
        self._collections.clear()
        if self._client is not None:
            self._client.close()
            self._client = None


class _Server(_Database):
    """A client of a Chroma server, which sees what others write and outlives a restart."""

    def __init__(self, setting: Chroma) -> None:
        self.place = setting.url
        self._setting = setting
        self._opening = threading.Lock()
        self._client: Any = None
        self._collections: dict[str, Any] = {}

    def collection(self, name: str) -> Any:
        with self._opening:
            if name not in self._collections:
                self._collections[name] = _collection(self._connected(), name)
            return self._collections[name]

    def drop(self, name: str) -> None:
        with suppress(IndexDamaged):  # it is gone already
            self.call(lambda: self._connected().delete_collection(name))
        self._collections.pop(name, None)

    def call(self, method: Callable[[], Any]) -> Any:
        import httpx
        import tenacity
        from chromadb.errors import ChromaError, NotFoundError

        retrying = tenacity.Retrying(
            stop=tenacity.stop_after_attempt(self._setting.attempts),
            wait=tenacity.wait_exponential(multiplier=self._setting.wait, max=10),
            retry=tenacity.retry_if_exception(_is_passing),
            reraise=True,
        )
        try:
            return retrying(method)
        except NotFoundError as error:
            self._collections.clear()  # the server was set up anew: the next writer fills it
            raise IndexDamaged(
                f"the Chroma server at {self.place} no longer has the vectors ({error}): "
                f"{IndexDamaged.REBUILD}"
            ) from None
        except Exception as error:
            known = (ChromaError, ValueError, httpx.HTTPError)
            if isinstance(error, known) or type(error) is Exception:  # Chroma raises bare ones
                raise self._refused(error) from None
            raise

    def _connected(self) -> Any:
        if self._client is None:
            import chromadb
            import httpx

            setting, headers = self._setting, self._headers()
            parts = urlsplit(setting.url)
            secure = parts.scheme == "https"
            settings = _settings()
            if setting.certificate is not None:
                settings.chroma_server_ssl_verify = _trusting(setting.certificate)
            # Asked first by hand: a client that cannot be made leaves its sockets open.
            httpx.get(
                f"{setting.url}/api/v2/auth/identity",
                headers=headers,
                verify=settings.chroma_server_ssl_verify or True,
                timeout=setting.timeout,
            ).raise_for_status()
            self._client = chromadb.HttpClient(
                host=parts.hostname or "",
                port=parts.port or (443 if secure else 80),
                ssl=secure,
                headers=headers,
                settings=settings,
                tenant=setting.tenant,
                database=setting.database,
            )
            for part in (self._client, self._client._admin_client):
                # Chroma itself waits for ever, and has no setting for it.
                part._server._session.timeout = self._setting.timeout
        return self._client

    def _headers(self) -> dict[str, str]:
        key = self._setting.api_key
        if key is None:
            from rag.settings import load_settings

            key = load_settings().chroma_api_key
        if key is None:
            return {}
        secret = key.get_secret_value()
        return {"Authorization": f"Bearer {secret}", "X-Chroma-Token": secret}

    def _refused(self, error: BaseException) -> IndexUnreachable:
        said = " ".join(str(error).split())[:300] or type(error).__name__
        return IndexUnreachable(
            f"the Chroma server at {self.place} does not do what was asked ({said}): is it "
            "running, and is the key right? What is written so far is kept"
        )

    def release(self) -> None:
        with self._opening:
            self._collections.clear()
            if self._client is not None:
                for part in (self._client, self._client._admin_client):
                    part._server._session.close()  # Chroma itself leaves the sockets open
                self._client.close()
                self._client = None


def _collection(client: Any, name: str) -> Any:
    collection = client.get_or_create_collection(
        name, configuration={"hnsw": _GRAPH}, embedding_function=None
    )
    graph = collection.configuration.get("hnsw") or collection.configuration.get("spann") or {}
    if graph.get("space", "ip") != "ip":
        raise ValueError(f"the collection {name} was made by others, for distances of another kind")
    return collection


def _is_passing(error: BaseException | None) -> bool:
    """Whether a call may well succeed when it is made again.

    Chroma's client makes other errors of those of the connection, so that these are looked for
    behind what is raised.
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


def _trusting(certificate: Path) -> Any:
    import ssl

    try:
        return ssl.create_default_context(cafile=certificate)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"cannot read the certificate {certificate}: {error}") from None


def _settings() -> Any:
    from chromadb.config import Settings

    logging.getLogger("chromadb.telemetry").setLevel(logging.CRITICAL)
    return Settings(anonymized_telemetry=False)


def _forget_engine(path: str) -> None:
    """Chroma keeps an engine that failed to start, and gives it to whoever opens it next."""
    from chromadb.api.shared_system_client import SharedSystemClient

    SharedSystemClient._identifier_to_system.pop(path, None)


class ChromaCollection:
    """Vectors by chunk row in one collection; opened when first used.

    `path` is the folder of an embedded Chroma, and not used with a server. Similarity is the
    inner product, which for normalised vectors is the cosine. Only rows and vectors are kept:
    text and metadata are the library's, which also decides filters (``docs/decisions.md`` has
    the measurements). May be shared by threads.
    """

    MOST = _MANY
    """Rows a query can return."""

    def __init__(self, setting: Chroma, path: Path, collection: str) -> None:
        self._setting = setting
        self._name = collection
        self._database = _Server(setting) if setting.url else _Folder.acquire(path)
        self._closed = False

    @property
    def place(self) -> str:
        """The folder or the server."""
        return self._database.place

    def refresh(self, generation: int) -> None:
        """Let searches find what another process has written up to `generation`."""
        self._database.renew(generation)

    def writing(self) -> AbstractContextManager[None]:
        """Keep the database open as it is: this process writes to it, and sees what it writes."""
        return self._database.writing()

    def wrote(self, generation: int) -> None:
        """Take note that all that was written up to `generation` was written by this process."""
        self._database.wrote(generation)

    def close(self) -> None:
        """Let go of the files, if nobody else in this process uses them."""
        if not self._closed:
            self._closed = True
            self._database.release()

    def drop(self) -> None:
        """Delete the collection from a server; an embedded one goes with its folder."""
        self._database.drop(self._name)

    def upsert(
        self,
        rows: Sequence[int],
        vectors: NDArray[np.float32],
        *,
        texts: Sequence[str] | None = None,
        metadata: Sequence[Mapping[str, Any]] | None = None,
    ) -> None:
        """Write vectors ``[len(rows), dimension]``; a row that is there is overwritten."""
        for part in self._parts(rows):
            arguments: dict[str, Any] = {"ids": _ids(rows[part]), "embeddings": vectors[part]}
            if texts is not None:
                arguments["documents"] = list(texts[part])
            if metadata is not None:
                arguments["metadatas"] = [dict(fields) or None for fields in metadata[part]]
            self._call("upsert", **arguments)

    def delete(self, rows: Sequence[int]) -> None:
        """Remove vectors; rows that are not there are no error."""
        for part in self._parts(rows):
            self._call("delete", ids=_ids(rows[part]))

    def count(self) -> int:
        """Number of vectors."""
        return int(self._call("count"))

    def rows(self) -> list[int]:
        """Rows of all vectors."""
        found: list[int] = []
        step = self._setting.batch * 10 if not self._setting.url else self._setting.batch
        while ids := self._call("get", include=[], limit=step, offset=len(found))["ids"]:
            found += map(int, ids)
        return found

    def vectors(self, rows: Sequence[int]) -> dict[int, NDArray[np.float32]]:
        """Vectors of those of the rows that are there."""
        found: dict[int, NDArray[np.float32]] = {}
        for part in self._parts(rows):
            got = self._call("get", ids=_ids(rows[part]), include=["embeddings"])
            found.update(zip(map(int, got["ids"]), got["embeddings"], strict=True))
        return found

    def query(self, vector: NDArray[np.float32], k: int) -> list[tuple[int, float]]:
        """Up to `k` nearest (row, cosine), best first; by HNSW, which misses some."""
        if k < 1:
            return []
        found = self._call(
            "query",
            query_embeddings=[vector],
            n_results=min(k, self.MOST),
            include=["distances"],
        )
        return [
            (int(name), 1.0 - distance)
            for name, distance in zip(found["ids"][0], found["distances"][0], strict=True)
        ]

    def _parts(self, rows: Sequence[int]) -> Iterator[slice]:
        step = self._setting.batch
        return (slice(i, i + step) for i in range(0, len(rows), step))

    def _call(self, method: str, **arguments: Any) -> Any:
        def call() -> Any:
            if self._closed:
                raise IndexDamaged(f"{self.place} was closed while in use, or replaced")
            return getattr(self._database.collection(self._name), method)(**arguments)

        return self._database.call(call)


def _ids(rows: Sequence[int]) -> list[str]:
    return [str(row) for row in rows]
