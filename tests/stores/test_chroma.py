"""Chroma as a server: a real one on loopback, plain and behind a proxy with TLS and a token."""

import contextlib
import http.client
import shutil
import socket
import ssl
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import urlsplit

import pytest
import trustme
from pydantic import SecretStr

from rag import DenseRetriever, Pipeline
from rag.errors import ConfigError, IndexDamaged, IndexUnreachable
from rag.index import index as index_module
from rag.index import maintenance
from rag.ingestion import IngestReport, batches
from rag.stores import Chroma

FIXTURES = Path(__file__).parent.parent / "fixtures"


class Server:
    """``chroma run`` on loopback, that can be killed and started again at the same place."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        command = Path(sys.executable).with_name("chroma")
        where = ["--path", str(self.folder), "--host", "127.0.0.1", "--port", str(self.port)]
        self.process = subprocess.Popen(
            [str(command), "run", *where], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    running = Server(tmp_path / "server")
    yield running
    running.kill()


def patient(url: str, **settings: object) -> Chroma:
    """Waits for a server that is just starting."""
    return Chroma.model_validate({"url": url, "attempts": 20, "wait": 0.05, **settings})


@pytest.fixture
def asks_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small indexes are searched without Chroma otherwise."""
    monkeypatch.setattr(index_module, "_EXACT", 0)


def names(pipeline: Pipeline, query: str, k: int = 8) -> list[str]:
    return [hit.chunk.uri.rpartition("/")[2] for hit in pipeline.search(query, k=k)]


@pytest.mark.usefixtures("asks_the_server")
def test_an_index_on_a_server(tmp_path: Path, folder: Path, server: Server) -> None:
    setting = patient(server.url)
    with Pipeline(index=tmp_path / "i", vectors=setting, retriever=DenseRetriever()) as pipeline:
        assert pipeline.ingest(folder).added == 2
        assert names(pipeline, "the propellers are made of nylon", k=1) == ["handbook.md"]
        (folder / "notes.txt").write_text("An otter swims in the river.\n")
        with Pipeline(index=tmp_path / "i", vectors=setting) as other:
            assert other.ingest(folder).updated == 1
        assert names(pipeline, "an otter swims", k=1) == ["notes.txt"]
        assert maintenance.verify(pipeline.open()).problems == []
        maintenance.rebuild(pipeline.open())
        assert names(pipeline, "an otter swims", k=1) == ["notes.txt"]
        assert maintenance.verify(pipeline.open()).problems == []
        client = pipeline.open().vectors._database._connected()  # type: ignore[attr-defined]
        assert len(client.list_collections()) == 1  # that of the old stores is gone
    assert not list((tmp_path / "i").rglob("chroma*"))


@pytest.mark.usefixtures("asks_the_server")
def test_two_indexes_on_one_server(tmp_path: Path, folder: Path, server: Server) -> None:
    pipelines = [
        Pipeline(index=tmp_path / name, vectors=patient(server.url), retriever=DenseRetriever())
        for name in "ab"
    ]
    for pipeline, file in zip(pipelines, ("handbook.md", "notes.txt"), strict=True):
        pipeline.ingest(folder / file)
        assert set(names(pipeline, "kite propeller")) == {file}
    for pipeline in pipelines:
        pipeline.close()


def many(folder: Path) -> None:
    for i in range(60):
        (folder / f"{i}.txt").write_text(
            f"Text number {i} is about lions and the year {1900 + i}.\n"
        )


@pytest.mark.usefixtures("asks_the_server")
def test_a_server_that_dies_in_mid_ingest_loses_nothing(
    tmp_path: Path, folder: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "_BATCH_CHUNKS", 10)
    many(folder)
    setting = patient(server.url)
    seen: list[int] = []

    def die(report: IngestReport) -> None:
        seen.append(report.seen)
        if len(seen) == 2:
            server.kill()

    hasty = Chroma(url=server.url, attempts=2, wait=0)
    with Pipeline(index=tmp_path / "i", vectors=setting) as pipeline:
        pipeline.ingest(folder / "handbook.md")
    with Pipeline(index=tmp_path / "i", vectors=hasty) as pipeline:
        with pytest.raises(IndexUnreachable, match=r"is it running, .* so far is kept"):
            pipeline.ingest(folder, progress=die)
        assert pipeline.open().document_store.stats().documents >= seen[-1]
    server.start()
    with Pipeline(index=tmp_path / "i", vectors=setting, retriever=DenseRetriever()) as pipeline:
        report = pipeline.ingest(folder)
        assert report.unchanged >= seen[-1]
        assert report.seen == 62
        assert maintenance.verify(pipeline.open()).problems == []
        assert names(pipeline, "lions and the year 1907", k=1) == ["7.txt"]


@pytest.mark.usefixtures("asks_the_server")
def test_a_server_that_comes_back_is_waited_for(
    tmp_path: Path, folder: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "_BATCH_CHUNKS", 10)
    many(folder)
    batch_sizes: list[int] = []

    def restart(report: IngestReport) -> None:
        batch_sizes.append(report.seen)
        if len(batch_sizes) == 2:
            server.kill()
            server.start()

    with Pipeline(index=tmp_path / "i", vectors=patient(server.url)) as pipeline:
        assert pipeline.ingest(folder, progress=restart).added == 62
        assert maintenance.verify(pipeline.open()).problems == []


@pytest.mark.usefixtures("asks_the_server")
def test_a_server_set_up_anew_is_filled_again(tmp_path: Path, folder: Path, server: Server) -> None:
    with Pipeline(index=tmp_path / "i", vectors=patient(server.url)) as pipeline:
        pipeline.ingest(folder)
        server.kill()
        shutil.rmtree(server.folder)
        server.start()
        with pytest.raises(IndexDamaged, match="the next `rag ingest`"):
            pipeline.search("propeller")
        report = pipeline.ingest(folder)
        assert (report.unchanged, report.embedded) == (2, 0)
        assert names(pipeline, "propeller made of nylon", k=1) == ["handbook.md"]


@contextlib.contextmanager
def proxy(target: Server, token: str, certified: ssl.SSLContext) -> Iterator[str]:
    """A TLS endpoint that forwards to `target` what carries the token, and refuses the rest."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if self.headers.get("Authorization") != f"Bearer {token}":
                self.answer(401, b'{"error": "AuthorizationError", "message": "no"}')
                return
            onward = http.client.HTTPConnection("127.0.0.1", target.port)
            try:
                onward.request(self.command, self.path, body, {"Content-Type": "application/json"})
                reply = onward.getresponse()
                self.answer(reply.status, reply.read())
            except ConnectionRefusedError:
                self.answer(503, b"it is just starting")
            finally:
                onward.close()

        def answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PUT = do_DELETE = handle_any

        def log_message(self, *_: object) -> None:
            pass

    served = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served.daemon_threads = True
    served.socket = certified.wrap_socket(served.socket, server_side=True)
    thread = Thread(target=served.serve_forever, daemon=True)
    thread.start()
    yield f"https://localhost:{served.server_port}"
    served.shutdown()
    served.server_close()
    thread.join()


@pytest.mark.usefixtures("asks_the_server")
def test_tls_and_a_token(
    tmp_path: Path, folder: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    certificate = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(str(certificate))
    with proxy(server, "secret-token", context) as url:
        assert urlsplit(url).scheme == "https"
        monkeypatch.setenv("CHROMA_API_KEY", "secret-token")
        setting = patient(url, certificate=certificate)
        with Pipeline(
            index=tmp_path / "i", vectors=setting, retriever=DenseRetriever()
        ) as pipeline:
            assert pipeline.ingest(folder).added == 2
            assert names(pipeline, "made of nylon", k=1) == ["handbook.md"]
            assert "secret-token" not in pipeline.to_yaml()
        hasty = {"url": url, "attempts": 2, "wait": 0}
        for wrong in (
            Chroma.model_validate(
                {**hasty, "certificate": certificate, "api_key": SecretStr("x-y-z")}
            ),
            Chroma.model_validate(hasty),  # an authority nobody knows
        ):
            with Pipeline(
                index=tmp_path / "i", vectors=wrong, retriever=DenseRetriever()
            ) as pipeline:
                with pytest.raises(IndexUnreachable) as refused:
                    pipeline.search("nylon")
                assert "x-y-z" not in str(refused.value)
                assert "secret-token" not in str(refused.value)


def test_no_server_at_all(tmp_path: Path, folder: Path) -> None:
    gone = Chroma(url="http://127.0.0.1:9", attempts=1)
    with Pipeline(index=tmp_path / "i", vectors=gone) as pipeline:
        with pytest.raises(IndexUnreachable, match=r"127.0.0.1:9 .*is it running"):
            pipeline.ingest(folder)


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://x", "http://", "http://h/path"])
def test_a_url_that_is_none(url: str) -> None:
    with pytest.raises(ConfigError, match="http"):
        Pipeline.from_config({"vectors": {"type": "chroma", "url": url}})


@pytest.mark.usefixtures("asks_the_server")
def test_a_folder_of_an_older_chroma(tmp_path: Path, folder: Path) -> None:
    """Made by Chroma 0.4.24, with rows of the same numbers and other vectors."""
    place = tmp_path / "i" / "derived" / "1" / "chroma"
    with Pipeline(index=tmp_path / "i") as pipeline:
        pipeline.ingest(folder)
    shutil.rmtree(place)
    with tarfile.open(FIXTURES / "chroma-0.4.24.tar.xz") as packed:
        packed.extractall(place, filter="data")
    with Pipeline(index=tmp_path / "i", retriever=DenseRetriever()) as pipeline:
        with pytest.raises(IndexDamaged, match="the next `rag ingest`"):
            pipeline.search("nylon")
        assert pipeline.ingest(folder).embedded == 0
        assert names(pipeline, "the propellers are made of nylon", k=1) == ["handbook.md"]
        assert maintenance.verify(pipeline.open()).problems == []
