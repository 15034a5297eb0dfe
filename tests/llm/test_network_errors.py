"""What is in the way of a server, and how much its model reads."""

import json
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from rag import Message, OpenAIChat
from rag.errors import ModelError, ModelUnreachable
from rag.providers.context_length import ASSUMED_CONTEXT_TOKENS
from rag.providers.network_errors import explain_unreachable, find_proxy, remove_api_path
from rag.testing import ModelServer

HELLO = [Message(role="user", content="Hello")]


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


def ask(url: str) -> str:
    return OpenAIChat(model="m", base_url=url, retries=0, timeout=20).complete(HELLO).text


@pytest.mark.parametrize(
    "suffix", ["", "/", "/chat/completions", "/chat/completions/", "/embeddings", "/models"]
)
def test_the_address_of_a_call_is_a_base_url(suffix: str) -> None:
    with ModelServer() as server:
        assert "34 minutes" in ask(server.url + suffix)
    assert remove_api_path("http://h/v1/models/x") == "http://h/v1/models/x"


@pytest.mark.parametrize("name", ["HTTP_PROXY", "ALL_PROXY"])
def test_a_proxy_in_the_way_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "http://user:secret@127.0.0.1:9")
    with ModelServer() as server, pytest.raises(ModelUnreachable) as caught:
        ask(server.url)
    message = str(caught.value)
    assert "http://127.0.0.1:9" in message and "NO_PROXY=127.0.0.1" in message
    assert "secret" not in message
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with ModelServer() as server:
        assert "34 minutes" in ask(server.url)
    assert find_proxy(server.url) == ""


def test_https_to_a_server_without_tls_is_told() -> None:
    with ModelServer() as server, pytest.raises(ModelUnreachable, match="use http://"):
        ask(server.url.replace("http://", "https://"))


def test_other_reasons_are_told_in_plain_words() -> None:
    untrusted = ssl.SSLCertVerificationError("certificate verify failed: self-signed")
    assert "SSL_CERT_FILE" in explain_unreachable("https://h/v1", untrusted)
    unknown = socket.gaierror(-2, "Name or service not known")
    assert "host h is not known" in explain_unreachable("http://h/v1", unknown)
    assert explain_unreachable("http://127.0.0.1:1/v1", None) == "is the server running?"


# -- how much a model reads ----------------------------------------------------------------


@contextmanager
def serve(replies: dict[str, Any]) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            self.rfile.read(length)
            value = replies.get(self.path)
            body = json.dumps(value).encode()
            self.send_response(404 if value is None else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=lambda: server.serve_forever(poll_interval=0.005), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize(
    ("replies", "tokens"),
    [
        ({"/props": {"default_generation_settings": {"n_ctx": 2048}}}, 2048),
        ({"/props": {"n_ctx": 3000}}, 3000),
        ({"/v1/models": {"data": [{"id": "x"}, {"id": "m", "max_model_len": 40960}]}}, 40960),
        ({"/v1/models": {"data": [{"id": "m", "context_length": 131072}]}}, 131072),
        ({"/api/v0/models": {"data": [{"id": "m", "loaded_context_length": 5000}]}}, 5000),
        (
            {
                "/api/version": {"version": "0.9"},
                "/api/ps": {"models": [{"name": "m", "context_length": 16384}]},
            },
            16384,
        ),
        (
            {
                "/api/version": {"version": "0.9"},
                "/api/ps": {"models": []},
                "/api/show": {"parameters": "stop x\nnum_ctx 6000"},
            },
            6000,
        ),
        ({"/api/version": {"version": "0.9"}}, 4096),
        ({"/info": {"max_total_tokens": 2000}}, 2000),
        ({"/v1/models": {"data": [{"id": "other", "max_model_len": 9}]}}, ASSUMED_CONTEXT_TOKENS),
        ({"/props": [], "/v1/models": {"data": "x"}, "/info": 5}, ASSUMED_CONTEXT_TOKENS),
        ({"/props": {"n_ctx": "many"}}, ASSUMED_CONTEXT_TOKENS),
        ({"/props": {"n_ctx": 0}}, ASSUMED_CONTEXT_TOKENS),
    ],
)
def test_the_server_is_asked_how_much_its_model_reads(replies: dict[str, Any], tokens: int) -> None:
    with serve(replies) as url:
        assert OpenAIChat(model="m", base_url=url).context_tokens == tokens
        assert OpenAIChat(model="m", base_url=url, context=999).context_tokens == 999


def test_a_server_that_does_not_answer_is_asked_again() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    model = OpenAIChat(model="m", base_url=f"http://127.0.0.1:{port}/v1", retries=0)
    assert model.context_tokens == ASSUMED_CONTEXT_TOKENS
    with pytest.raises(ModelError):
        model.complete(HELLO)
