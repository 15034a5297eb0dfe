from __future__ import annotations

import threading
import time
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
from rag.serving.http_protocol import make_http_protocol

QUESTION = "How long does a full battery last?"
REPLY = "A full battery lasts 34 minutes in calm air [1]."
START_TIMEOUT_SECONDS = 120
JOB_TIMEOUT_SECONDS = 600


@dataclass
class Server:
    """A server on loopback, and a client for it."""

    url: str
    client: httpx.Client
    app: Any
    keys: KeyStore | None

    def bearer(self, name: str, namespace: str = "") -> dict[str, str]:
        """Create a key, and return the headers of requests with it."""
        assert self.keys is not None
        return {"Authorization": f"Bearer {self.keys.add(name, namespace)}"}

    def upload(self, name: str, content: bytes, headers: dict[str, str] | None = None) -> Any:
        """Upload a file, and return its job when that has ended."""
        response = self.client.post("/documents", files={"files": (name, content)}, headers=headers)
        assert response.status_code == 202, response.text
        return self.await_job(response.json()["id"], headers)

    def await_job(self, job_id: str, headers: dict[str, str] | None = None) -> Any:
        """Wait until a job has ended, and return it."""
        deadline = time.monotonic() + JOB_TIMEOUT_SECONDS
        while True:
            job = self.client.get(f"/jobs/{job_id}", headers=headers).json()
            if job["state"] not in ("waiting", "running"):
                return job
            assert time.monotonic() < deadline, job


@contextmanager
def serve_pipeline(
    pipeline: Pipeline,
    *,
    with_keys: bool = False,
    options: Options | None = None,
    local: bool = True,
) -> Iterator[Server]:
    """Serve a pipeline in a thread of this process."""
    pipeline.index.mkdir(parents=True, exist_ok=True)
    key_store = KeyStore(pipeline.index / "keys.sqlite") if with_keys else None
    hosts = frozenset({"127.0.0.1", "localhost"}) if local and not with_keys else None
    options = options or Options(rate=1e9, burst=10**9)
    app = create_app(pipeline, keys=key_store, options=options, hosts=hosts)
    with serve_app(app) as url, httpx.Client(base_url=url, timeout=60) as client:
        yield Server(url, client, app, key_store)


@contextmanager
def serve_app(app: Any, *, head_seconds: float = 60) -> Iterator[str]:
    """Serve an ASGI app on loopback in a thread of this process, and yield its address."""
    config = uvicorn.Config(
        app,
        http=make_http_protocol(head_seconds),
        host="127.0.0.1",
        port=0,
        log_level="error",
        server_header=False,
        timeout_keep_alive=60,  # a busy machine closes no connection that the client uses again
    )
    server = uvicorn.Server(config)
    has_started = threading.Event()
    original_startup = server.startup

    async def startup(sockets: Any = None) -> None:
        await original_startup(sockets)
        has_started.set()

    server.startup = startup  # type: ignore[method-assign]
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    assert has_started.wait(START_TIMEOUT_SECONDS)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(START_TIMEOUT_SECONDS)
        assert not thread.is_alive()


@pytest.fixture
def server(pipeline: Pipeline, folder: Path) -> Iterator[Server]:
    """A server without keys, for the small folder."""
    pipeline.ingest(folder)
    with serve_pipeline(pipeline) as server:
        yield server


@pytest.fixture
def keyed_server(pipeline: Pipeline) -> Iterator[Server]:
    """A server with keys and an empty index."""
    with serve_pipeline(pipeline, with_keys=True) as server:
        yield server
