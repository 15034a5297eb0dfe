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
from rag.providers.key_servers import trust_server
from rag.stores import Chroma

FIXTURES = Path(__file__).parent.parent / "fixtures"


class Server:
    """``chroma run`` on loopback; can be killed and started again on the same port and folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        command = Path(sys.executable).with_name("chroma")
        options = ["--path", str(self.folder), "--host", "127.0.0.1", "--port", str(self.port)]
        self.process = subprocess.Popen(
            [str(command), "run", *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path / "server")
    yield server
    server.kill()


def make_patient_config(url: str, **settings: object) -> Chroma:
    """Return a configuration that waits for a server that is just starting."""
    return Chroma.model_validate({"url": url, "attempts": 20, "wait": 0.05, **settings})


@pytest.fixture
def always_use_chroma(monkeypatch: pytest.MonkeyPatch) -> None:
    """Search small indexes with Chroma, too; by default they are searched without it."""
    monkeypatch.setattr(index_module, "EXACT_SEARCH_MAX_BYTES", 0)


def search_file_names(pipeline: Pipeline, query: str, k: int = 8) -> list[str]:
    return [hit.chunk.uri.rpartition("/")[2] for hit in pipeline.search(query, k=k)]


@pytest.mark.usefixtures("always_use_chroma")
def test_index_on_a_server(tmp_path: Path, folder: Path, server: Server) -> None:
    config = make_patient_config(server.url)
    with Pipeline(
        index=tmp_path / "i", vector_store=config, retriever=DenseRetriever()
    ) as pipeline:
        assert pipeline.ingest(folder).added == 2
        assert search_file_names(pipeline, "the propellers are made of nylon", k=1) == [
            "handbook.md"
        ]
        (folder / "notes.txt").write_text("An otter swims in the river.\n")
        with Pipeline(index=tmp_path / "i", vector_store=config) as second:
            assert second.ingest(folder).updated == 1
        assert search_file_names(pipeline, "an otter swims", k=1) == ["notes.txt"]
        assert maintenance.verify(pipeline.open()).problems == []
        maintenance.rebuild(pipeline.open())
        assert search_file_names(pipeline, "an otter swims", k=1) == ["notes.txt"]
        assert maintenance.verify(pipeline.open()).problems == []
        client = pipeline.open().vectors._database._open_client()  # type: ignore[attr-defined]
        assert len(client.list_collections()) == 1  # the old one was deleted
    assert not list((tmp_path / "i").rglob("chroma*"))


@pytest.mark.usefixtures("always_use_chroma")
def test_two_indexes_on_one_server_are_separate(
    tmp_path: Path, folder: Path, server: Server
) -> None:
    pipelines = [
        Pipeline(
            index=tmp_path / name,
            vector_store=make_patient_config(server.url),
            retriever=DenseRetriever(),
        )
        for name in "ab"
    ]
    for pipeline, file in zip(pipelines, ("handbook.md", "notes.txt"), strict=True):
        pipeline.ingest(folder / file)
        assert set(search_file_names(pipeline, "kite propeller")) == {file}
    for pipeline in pipelines:
        pipeline.close()


def write_texts(folder: Path) -> None:
    for i in range(60):
        (folder / f"{i}.txt").write_text(
            f"Text number {i} is about lions and the year {1900 + i}.\n"
        )


@pytest.mark.usefixtures("always_use_chroma")
def test_ingest_interrupted_by_a_dying_server_loses_nothing(
    tmp_path: Path, folder: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "_BATCH_CHUNKS", 10)
    write_texts(folder)
    config = make_patient_config(server.url)
    seen_counts: list[int] = []

    def kill_server(report: IngestReport) -> None:
        seen_counts.append(report.seen)
        if len(seen_counts) == 2:
            server.kill()

    hasty = Chroma(url=server.url, attempts=2, wait=0)
    with Pipeline(index=tmp_path / "i", vector_store=config) as pipeline:
        pipeline.ingest(folder / "handbook.md")
    with Pipeline(index=tmp_path / "i", vector_store=hasty) as pipeline:
        with pytest.raises(IndexUnreachable, match=r"is it running, .* so far are kept"):
            pipeline.ingest(folder, progress=kill_server)
        assert pipeline.open().document_store.stats().documents >= seen_counts[-1]
    server.start()
    with Pipeline(
        index=tmp_path / "i", vector_store=config, retriever=DenseRetriever()
    ) as pipeline:
        report = pipeline.ingest(folder)
        assert report.unchanged >= seen_counts[-1]
        assert report.seen == 62
        assert maintenance.verify(pipeline.open()).problems == []
        assert search_file_names(pipeline, "lions and the year 1907", k=1) == ["7.txt"]


@pytest.mark.usefixtures("always_use_chroma")
def test_ingest_waits_for_a_restarting_server(
    tmp_path: Path, folder: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "_BATCH_CHUNKS", 10)
    write_texts(folder)
    batch_sizes: list[int] = []

    def restart(report: IngestReport) -> None:
        batch_sizes.append(report.seen)
        if len(batch_sizes) == 2:
            server.kill()
            server.start()

    with Pipeline(index=tmp_path / "i", vector_store=make_patient_config(server.url)) as pipeline:
        assert pipeline.ingest(folder, progress=restart).added == 62
        assert maintenance.verify(pipeline.open()).problems == []


@pytest.mark.usefixtures("always_use_chroma")
def test_empty_server_is_filled_again(tmp_path: Path, folder: Path, server: Server) -> None:
    with Pipeline(index=tmp_path / "i", vector_store=make_patient_config(server.url)) as pipeline:
        pipeline.ingest(folder)
        server.kill()
        shutil.rmtree(server.folder)
        server.start()
        with pytest.raises(IndexDamaged, match="the next `rag ingest`"):
            pipeline.search("propeller")
        report = pipeline.ingest(folder)
        assert (report.unchanged, report.embedded) == (2, 0)
        assert search_file_names(pipeline, "propeller made of nylon", k=1) == ["handbook.md"]


@contextlib.contextmanager
def run_proxy(target: Server, token: str, ssl_context: ssl.SSLContext) -> Iterator[str]:
    """Run a TLS endpoint that forwards requests with the token to `target`, and refuses others."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if self.headers.get("Authorization") != f"Bearer {token}":
                self.answer(401, b'{"error": "AuthorizationError", "message": "no"}')
                return
            connection = http.client.HTTPConnection("127.0.0.1", target.port)
            try:
                headers = {"Content-Type": "application/json"}
                connection.request(self.command, self.path, body, headers)
                response = connection.getresponse()
                self.answer(response.status, response.read())
            except ConnectionRefusedError:
                self.answer(503, b"it is just starting")
            finally:
                connection.close()

        def answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PUT = do_DELETE = handle_any

        def log_message(self, *_: object) -> None:
            pass

    http_server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http_server.daemon_threads = True
    http_server.socket = ssl_context.wrap_socket(http_server.socket, server_side=True)
    thread = Thread(target=lambda: http_server.serve_forever(poll_interval=0.01), daemon=True)
    thread.start()
    yield f"https://localhost:{http_server.server_port}"
    http_server.shutdown()
    http_server.server_close()
    thread.join()


@pytest.mark.usefixtures("always_use_chroma")
def test_server_with_tls_and_token(
    tmp_path: Path, folder: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    certificate = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(str(certificate))
    with run_proxy(server, "secret-token", context) as url:
        assert urlsplit(url).scheme == "https"
        monkeypatch.setenv("CHROMA_API_KEY", "secret-token")
        monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
        trust_server(url)  # the address is from the configuration
        config = make_patient_config(url, certificate=certificate)
        with Pipeline(
            index=tmp_path / "i", vector_store=config, retriever=DenseRetriever()
        ) as pipeline:
            assert pipeline.ingest(folder).added == 2
            assert search_file_names(pipeline, "made of nylon", k=1) == ["handbook.md"]
            assert "secret-token" not in pipeline.to_yaml()
        hasty = {"url": url, "attempts": 2, "wait": 0}
        for wrong in (
            Chroma.model_validate(
                {**hasty, "certificate": certificate, "api_key": SecretStr("x-y-z")}
            ),
            Chroma.model_validate(hasty),  # does not know the certificate authority
        ):
            with Pipeline(
                index=tmp_path / "i", vector_store=wrong, retriever=DenseRetriever()
            ) as pipeline:
                with pytest.raises(IndexUnreachable) as error:
                    pipeline.search("nylon")
                assert "x-y-z" not in str(error.value)
                assert "secret-token" not in str(error.value)


def test_missing_server_raises_index_unreachable(tmp_path: Path, folder: Path) -> None:
    unreachable = Chroma(url="http://127.0.0.1:9", attempts=1)
    with Pipeline(index=tmp_path / "i", vector_store=unreachable) as pipeline:
        with pytest.raises(IndexUnreachable, match=r"127.0.0.1:9 .*is it running"):
            pipeline.ingest(folder)


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://x", "http://", "http://h/path"])
def test_invalid_url_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="http"):
        Pipeline.from_config({"vector_store": {"type": "chroma", "url": url}})


@pytest.mark.usefixtures("always_use_chroma")
def test_folder_of_an_older_chroma_is_filled_again(tmp_path: Path, folder: Path) -> None:
    """The folder is of Chroma 0.4.24, with the same row numbers and other vectors."""
    chroma_folder = tmp_path / "i" / "derived" / "1" / "chroma"
    with Pipeline(index=tmp_path / "i") as pipeline:
        pipeline.ingest(folder)
    shutil.rmtree(chroma_folder)
    with tarfile.open(FIXTURES / "chroma-0.4.24.tar.xz") as archive:
        archive.extractall(chroma_folder, filter="data")
    with Pipeline(index=tmp_path / "i", retriever=DenseRetriever()) as pipeline:
        with pytest.raises(IndexDamaged, match="the next `rag ingest`"):
            pipeline.search("nylon")
        assert pipeline.ingest(folder).embedded == 0
        assert search_file_names(pipeline, "the propellers are made of nylon", k=1) == [
            "handbook.md"
        ]
        assert maintenance.verify(pipeline.open()).problems == []
