"""Model servers that never end, clients that hang up, and clients that never finish a request."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import signal
import socket
import socketserver
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import httpx
import pytest

from rag import Pipeline
from rag.embedding import static
from rag.serving import Options, create_app
from rag.serving.limits import BodyLimit
from rag.serving.service import Service
from tests.conftest import HANDBOOK
from tests.serving.conftest import QUESTION, REPLY, serve_app, serve_pipeline

HEADERS = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
WAIT_SECONDS = 20


class ModelServer(socketserver.ThreadingTCPServer):
    """A server of OpenAI's API that answers, or sends comments until its client is gone."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, mode: str) -> None:
        super().__init__(("127.0.0.1", 0), ModelHandler)
        self.mode = mode
        self.started: SimpleQueue[None] = SimpleQueue()
        self.hung_up: SimpleQueue[None] = SimpleQueue()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class ModelHandler(socketserver.BaseRequestHandler):
    server: ModelServer

    def handle(self) -> None:
        request = b""
        while b"\r\n\r\n" not in request:
            request += self.request.recv(65_536)
        if self.server.mode == "answers":
            chunk = {"choices": [{"index": 0, "delta": {"content": REPLY}, "finish_reason": None}]}
            end = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
            lines = [f"data: {json.dumps(event)}\n\n" for event in (chunk, end)]
            self.request.sendall(HEADERS + "".join([*lines, "data: [DONE]\n\n"]).encode())
            return
        try:
            if self.server.mode == "sends comments":
                self.request.sendall(HEADERS)
            self.server.started.put(None)
            self.request.settimeout(0.05)
            while True:
                if self.server.mode == "sends comments":
                    self.request.sendall(b": keep-alive\n\n")
                try:
                    if not self.request.recv(65_536):
                        break
                except TimeoutError:
                    pass
        except OSError:
            pass
        self.server.hung_up.put(None)


@pytest.fixture
def model_server(request: Any) -> Iterator[ModelServer]:
    with ModelServer(request.param) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()


def make_pipeline(folder: Path, index: Path, url: str) -> Pipeline:
    model = {"type": "openai", "model": "m", "base_url": url, "api_key": "k"}
    pipeline = Pipeline(
        index=index, generator={"type": "grounded", "model": model, "fallback": None}, processes=0
    )
    pipeline.ingest(folder)
    return pipeline


def send_ask(url: str, *, stream: bool) -> socket.socket:
    """Send a question, and return the connection with nothing read from it."""
    host, port = url.removeprefix("http://").split(":")
    body = json.dumps({"question": QUESTION, "stream": stream}).encode()
    connection = socket.create_connection((host, int(port)), timeout=WAIT_SECONDS)
    connection.sendall(
        f"POST /ask HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n".encode()
        + body
    )
    return connection


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize("model_server", ["sends comments", "is silent"], indirect=True)
def test_clients_that_hang_up_free_their_slots(
    folder: Path, tmp_path: Path, model_server: ModelServer, stream: bool
) -> None:
    pipeline = make_pipeline(folder, tmp_path / "index", model_server.url)
    options = Options(rate=1e9, burst=10**9, concurrency=2)
    with pipeline, serve_pipeline(pipeline, options=options) as server:
        for _ in range(3):  # more than there are slots
            connections = [send_ask(server.url, stream=stream) for _ in range(2)]
            for _ in connections:
                model_server.started.get(timeout=WAIT_SECONDS)
            for connection in connections:
                connection.close()
            for _ in connections:  # the model's connections are closed with the clients'
                model_server.hung_up.get(timeout=WAIT_SECONDS)
        model_server.mode = "answers"
        answer = server.client.post("/ask", json={"question": QUESTION}).json()
        assert answer["status"] == "answered"


SERVE = """
import sys
from pathlib import Path
from rag.serving import serve
from tests.serving.test_stalls import make_pipeline
folder, index, url = sys.argv[1:]
with make_pipeline(Path(folder), Path(index), url) as pipeline:
    serve(pipeline, port=0, log_level="warning", announce=lambda address: print(address, flush=True))
print("ended", flush=True)
"""


@pytest.mark.parametrize("model_server", ["sends comments", "is silent"], indirect=True)
def test_sigterm_ends_a_server_whose_model_never_ends(
    folder: Path, tmp_path: Path, model_server: ModelServer
) -> None:
    arguments = [sys.executable, "-c", SERVE, str(folder), str(tmp_path / "i"), model_server.url]
    with subprocess.Popen(
        arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ
    ) as process:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        connections = [send_ask(address, stream=stream) for stream in (True, False)]
        for _ in connections:
            model_server.started.get(timeout=WAIT_SECONDS)
        process.send_signal(signal.SIGTERM)
        replies = []
        for connection in connections:
            with connection:
                replies.append(read_reply(connection))
        output, errors = process.communicate(timeout=WAIT_SECONDS)
    assert all(b"shutting_down" in reply for reply in replies)
    assert process.returncode == 0, errors
    assert output.strip() == "ended"
    assert "Traceback" not in errors
    assert "never retrieved" not in errors


def read_reply(connection: socket.socket) -> bytes:
    """Return all bytes until the server closes the connection."""
    parts = []
    while part := connection.recv(65_536):
        parts.append(part)
    return b"".join(parts)


@pytest.mark.parametrize(
    "head",
    [b"", b"GET /", b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nX-A: 1\r\n"],
    ids=["nothing", "half a line", "headers"],
)
def test_a_head_that_never_ends_is_cut_off(pipeline: Pipeline, head: bytes) -> None:
    app = create_app(pipeline, hosts=frozenset({"127.0.0.1"}))
    with serve_app(app, head_seconds=0.2) as url:
        host, port = url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=WAIT_SECONDS) as connection:
            connection.sendall(head)
            assert read_reply(connection) == b""


def test_a_slow_connection_may_send_many_requests(pipeline: Pipeline) -> None:
    """The limit is for one head: it is not counted from the beginning of the connection."""
    app = create_app(pipeline, hosts=frozenset({"127.0.0.1"}))
    with serve_app(app, head_seconds=0.5) as url, httpx.Client(base_url=url) as client:
        ports = set()
        stop = threading.Event()
        for _ in range(4):
            response = client.get("/healthz")
            assert response.status_code == 200
            ports.add(response.extensions["network_stream"].get_extra_info("client_addr"))
            stop.wait(0.3)
        assert len(ports) == 1


def test_a_body_that_stops_is_refused() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        while (await receive()).get("more_body"):
            pass

    async def run() -> list[Any]:
        sent: list[Any] = []
        parts = iter([{"type": "http.request", "body": b"a", "more_body": True}])

        async def receive() -> Any:
            if (part := next(parts, None)) is not None:
                return part
            await asyncio.Event().wait()

        async def send(message: Any) -> None:
            sent.append(message)

        limited = BodyLimit(app, lambda path: 100, idle_seconds=0.05)
        await limited({"type": "http", "path": "/ask", "headers": []}, receive, send)
        return sent

    start, body = asyncio.run(run())
    assert start["status"] == 408
    assert json.loads(body["body"])["error"]["code"] == "timeout"


def test_the_end_of_a_stream_that_nobody_reads_is_no_log_line(
    caplog: pytest.LogCaptureFixture, pipeline: Pipeline
) -> None:
    """A client may go while the last event is being made."""

    async def run() -> None:
        service = Service(pipeline, None, Options())
        has_ended = asyncio.Event()

        async def make_events() -> AsyncIterator[int]:
            yield 1
            has_ended.set()

        events = service.iterate_in_slots(make_events())
        assert await anext(events) == 1
        waiting = asyncio.ensure_future(anext(events))
        await has_ended.wait()
        waiting.cancel()
        with contextlib.suppress(asyncio.CancelledError, StopAsyncIteration):
            await waiting
        await events.aclose()  # type: ignore[attr-defined]

    asyncio.run(run())
    gc.collect()
    assert "never retrieved" not in caplog.text


@pytest.mark.parametrize(("has_ended", "code"), [(False, 7), (True, 0)])
def test_a_process_ends_although_a_thread_never_does(has_ended: bool, code: int) -> None:
    program = """
import sys, threading
from rag.serving.app import end_process_unless
has_ended = threading.Event()
if sys.argv[1] == "True":
    has_ended.set()
end_process_unless(has_ended, 0.1, code=7)
threading.Event().wait(None if sys.argv[1] == "False" else 0.5)
"""
    arguments = [sys.executable, "-c", program, str(has_ended)]
    process = subprocess.run(arguments, timeout=WAIT_SECONDS, check=False)
    assert process.returncode == code


def test_threads_that_begin_at_once_share_one_background_loop() -> None:
    from rag import concurrency

    concurrency._start_background_loop.cache_clear()
    barrier = threading.Barrier(20)

    def get_loop(_: int) -> object:
        barrier.wait()
        return concurrency._get_background_loop(os.getpid())

    with ThreadPoolExecutor(20) as threads:
        assert len(set(map(id, threads.map(get_loop, range(20))))) == 1


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/ask", {"question": QUESTION}),
        ("/ask", {"question": QUESTION, "stream": True}),
        ("/ask", {"question": QUESTION, "conversation": "c"}),
        ("/search", {"query": QUESTION}),
        (
            "/v1/chat/completions",
            {"model": "citewell", "messages": [{"role": "user", "content": QUESTION}]},
        ),
        ("/v1/responses", {"model": "citewell", "input": QUESTION}),
        ("/v1/embeddings", {"model": "static", "input": QUESTION}),
    ],
)
def test_work_for_a_request_does_not_hold_the_event_loop(
    pipeline: Pipeline,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    path: str,
    body: dict[str, Any],
) -> None:
    """While an embedder computes, the server answers other requests."""
    computes, goes_on = threading.Event(), threading.Event()
    embed = static._embed

    def embed_slowly(texts: Sequence[str], dimension: int) -> Any:
        computes.set()
        assert goes_on.wait(WAIT_SECONDS)
        return embed(texts, dimension)

    (tmp_path / "handbook.md").write_text(HANDBOOK)
    pipeline.ingest(tmp_path / "handbook.md")
    monkeypatch.setattr(static, "_embed", embed_slowly)
    with serve_pipeline(pipeline) as server, ThreadPoolExecutor(1) as pool:
        request = pool.submit(server.client.post, path, json=body)
        assert computes.wait(WAIT_SECONDS)
        assert httpx.get(f"{server.url}/healthz", timeout=WAIT_SECONDS / 2).status_code == 200
        goes_on.set()
        assert request.result().status_code == 200, request.result().text
