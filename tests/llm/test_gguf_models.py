"""GGUF files of the list: download from a hub on loopback, and the check of their content."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from rag.errors import ConfigError, ModelError, ModelUnreachable
from rag.llm.gguf_models import GGUF_MODELS, GgufModel, download_gguf_model, find_gguf_model

CONTENT = b"GGUF" + bytes(range(256)) * 40
MODEL = GgufModel(
    name="tiny",
    repository="someone/tiny-GGUF",
    revision="a" * 40,
    file="tiny.gguf",
    size=len(CONTENT),
    sha256=hashlib.sha256(CONTENT).hexdigest(),
    licence="Apache-2.0",
    context=2_048,
    summary="",
)


class Hub(ThreadingHTTPServer):
    content = CONTENT

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), HubHandler)
        self.requests: list[tuple[str, str]] = []
        self.tokens: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class HubHandler(BaseHTTPRequestHandler):
    server: Hub

    def do_HEAD(self) -> None:
        self._send(has_body=False)

    def do_GET(self) -> None:
        self._send(has_body=True)

    def _send(self, *, has_body: bool) -> None:
        self.server.requests.append((self.command, self.path))
        self.server.tokens.append(self.headers.get("authorization"))
        expected_path = f"/{MODEL.repository}/resolve/{MODEL.revision}/{MODEL.file}"
        if self.path != expected_path:
            self.send_error(404)
            return
        body = self.server.content
        self.send_response(200)
        self.send_header("ETag", f'"{hashlib.sha256(body).hexdigest()}"')
        self.send_header("X-Repo-Commit", MODEL.revision)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if has_body:
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_file_is_downloaded_once_and_without_a_token(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    path = download_gguf_model(MODEL, tmp_path / "models", endpoint=hub.url)
    assert path == tmp_path / "models" / "tiny.gguf"
    assert path.read_bytes() == CONTENT
    requests = len(hub.requests)
    assert requests
    assert set(hub.tokens) == {None}
    assert download_gguf_model(MODEL, tmp_path / "models", endpoint=hub.url) == path
    assert len(hub.requests) == requests


def test_a_damaged_file_is_downloaded_again(hub: Hub, tmp_path: Path) -> None:
    path = tmp_path / "tiny.gguf"
    path.write_bytes(CONTENT[:-1])
    assert download_gguf_model(MODEL, tmp_path, endpoint=hub.url).read_bytes() == CONTENT


def test_another_file_than_expected_is_refused_and_deleted(hub: Hub, tmp_path: Path) -> None:
    hub.content = b"GGUF of somebody else"
    with pytest.raises(ModelError, match="not the expected file") as caught:
        download_gguf_model(MODEL, tmp_path, endpoint=hub.url)
    assert not isinstance(caught.value, ModelUnreachable)
    assert not (tmp_path / "tiny.gguf").exists()


def test_without_the_hub_the_error_says_what_to_do_by_hand(hub: Hub, tmp_path: Path) -> None:
    missing = MODEL._replace(file="other.gguf")
    with pytest.raises(ModelUnreachable, match=r"By hand: save https://huggingface\.co/someone/"):
        download_gguf_model(missing, tmp_path, endpoint=hub.url)


def test_every_model_of_the_list_is_pinned() -> None:
    assert len({model.name for model in GGUF_MODELS}) == len(GGUF_MODELS)
    for model in GGUF_MODELS:
        assert find_gguf_model(model.name) is model
        assert (len(model.revision), len(model.sha256)) == (40, 64)
        assert model.size > 100_000_000
        assert model.licence == "Apache-2.0"
        assert model.file in model.url
    assert find_gguf_model("Qwen3-4B").name == "qwen3-4b"


@pytest.mark.parametrize("name", ["", "llama", "../qwen3-4b", "a" * 500])
def test_a_name_that_is_not_in_the_list_shows_the_list(name: str) -> None:
    with pytest.raises(ConfigError, match=r"there are qwen2\.5-coder-0\.5b") as caught:
        find_gguf_model(name)
    assert len(str(caught.value)) < 400


def test_the_command_lists_files_and_says_how_to_get_one(tmp_path: Path) -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "rag", "models", *arguments],
            cwd=tmp_path,
            env={**os.environ, "HF_ENDPOINT": "http://127.0.0.1:9", "COLUMNS": "200"},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    listed = run("list")
    assert listed.returncode == 0
    assert "rag models get NAME" in listed.stdout
    assert "qwen2.5-coder-1.5b" in listed.stdout
    refused = run("get", "qwen2.5-coder-0.5b")
    assert refused.returncode == 1
    assert "By hand: save https://huggingface.co/Qwen/" in refused.stderr
    assert "Traceback" not in refused.stderr
