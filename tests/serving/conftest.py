from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from rag import Pipeline
from rag.serving import KeyStore, Options, create_app


@dataclass
class Server:
    """A server on loopback, and a client for it."""

    url: str
    client: httpx.Client
    app: Any
    keys: KeyStore | None

    def bearer(self, name: str, namespace: str = "") -> dict[str, str]:
        """Headers with a key that is made for it."""
        assert self.keys is not None
        return {"Authorization": f"Bearer {self.keys.add(name, namespace)}"}

    def upload(self, name: str, content: bytes, headers: dict[str, str] | None = None) -> Any:
        """Upload a file, and wait until it is ingested."""
        sent = self.client.post("/documents", files={"files": (name, content)}, headers=headers)
        assert sent.status_code == 202, sent.text
        job = sent.json()
        waits = 0
        while job["state"] in ("waiting", "running"):
            waits += 1
            assert waits < 1_000_000
            job = self.client.get(f"/jobs/{job['id']}", headers=headers).json()
        return job


@contextmanager
def running(
    pipeline: Pipeline, *, keys: bool = False, options: Options | None = None, local: bool = True
) -> Iterator[Server]:
    """Serve a pipeline from a thread of this process."""
    pipeline.index.mkdir(parents=True, exist_ok=True)
    store = KeyStore(pipeline.index / "keys.sqlite") if keys else None
    hosts = frozenset({"127.0.0.1", "localhost"}) if local and not keys else None
    options = options or Options(rate=1e9, burst=10**9)
    app = create_app(pipeline, keys=store, options=options, hosts=hosts)
    with listening(app) as url, httpx.Client(base_url=url, timeout=60) as client:
        yield Server(url, client, app, store)


@contextmanager
def listening(app: Any) -> Iterator[str]:
    """Serve an ASGI app on loopback, from a thread of this process: its address."""
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error", server_header=False)
    server = uvicorn.Server(config)
    begun = threading.Event()
    usual = server.startup

    async def startup(sockets: Any = None) -> None:
        await usual(sockets)
        begun.set()

    server.startup = startup  # type: ignore[method-assign]
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    assert begun.wait(120)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(120)
        assert not thread.is_alive()


@pytest.fixture
def server(pipeline: Pipeline, folder: Path) -> Iterator[Server]:
    """A server without keys, over the small folder."""
    pipeline.ingest(folder)
    with running(pipeline) as made:
        yield made


@pytest.fixture
def keyed(pipeline: Pipeline) -> Iterator[Server]:
    """A server with keys, and nothing in its index."""
    with running(pipeline, keys=True) as made:
        yield made
