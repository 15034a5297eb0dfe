"""Replies of model servers end, whatever the servers do."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from pydantic import SecretStr

from rag import CohereChat
from rag.embedding.cohere import CohereEmbedder
from rag.embedding.openai import OpenAIEmbedder
from rag.errors import ModelError, ModelReplyError, ModelUnreachable
from rag.llm.completion import Completion
from rag.postprocessing.cohere import CohereReranker
from rag.providers.context_length import ASSUMED_CONTEXT_TOKENS, find_context_length
from rag.providers.event_streams import EventDecoder
from rag.providers.ollama import list_models
from rag.providers.reply_limits import ReplyLimits, ReplyTooLong
from rag.testing.model_server import REPLY, ModelServer, Shape
from rag.testing.wire_formats import find_wire_format
from tests.llm.test_misbehaving_servers import complete, complete_async, stream, stream_async
from tests.llm.test_native_apis import APIS, HELLO, make_model

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
PATHS = {
    "anthropic": "/v1/messages",
    "gemini": ":streamGenerateContent",
    "ollama": "/api/chat",
    "responses": "/responses",
}


@contextmanager
def serve(talk: Callable[[socket.socket, threading.Event], None]) -> Iterator[str]:
    """Run a server that reads a request, and then talks until the test has ended."""
    stop = threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))

    def answer(connection: socket.socket) -> None:
        with connection:
            try:
                connection.recv(1_000_000)
                talk(connection, stop)
            except OSError:
                pass

    def accept() -> None:
        while not stop.is_set():
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=answer, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
    finally:
        stop.set()
        listener.close()


def send_forever(piece: bytes, head: bytes = HEAD + b"\r\n") -> Callable[..., None]:
    def talk(connection: socket.socket, stop: threading.Event) -> None:
        connection.sendall(head)
        while not stop.wait(0.05):
            connection.sendall(piece)

    return talk


@pytest.mark.parametrize("api", ["anthropic", "ollama", "responses"])
@pytest.mark.parametrize("call", [stream, stream_async])
def test_comments_without_end_end_in_time(api: str, call: Callable[[Any], Completion]) -> None:
    with serve(send_forever(b": keep-alive\n\n")) as url:
        model = make_model(api, url, timeout=0.5, total_timeout=0.6)
        with pytest.raises(ModelUnreachable, match=r"no end of the reply in 0.6 s"):
            call(model)


def embed(url: str, **limits: float) -> None:
    OpenAIEmbedder(model="m", base_url=url, dimensions=3, **limits).embed_documents(["a"])


def embed_with_cohere(url: str, **limits: float) -> None:
    CohereEmbedder(base_url=url, api_key=SecretStr("k"), **limits).embed_documents(["a"])


def rerank(url: str, **limits: float) -> None:
    CohereReranker(base_url=url, api_key=SecretStr("k"), **limits).score("q", ["a"])


def chat_with(api: str, call: Callable[[Any], Completion]) -> Callable[..., Any]:
    def chat(url: str, **limits: float) -> Completion:
        return call(make_model(api, url, **limits))

    return chat


def chat_with_cohere(url: str, **limits: float) -> None:
    complete(CohereChat(base_url=url, api_key=SecretStr("k"), **limits))


@pytest.mark.parametrize(
    "call",
    [
        *(
            chat_with(api, call)
            for api in ("anthropic", "gemini", "ollama", "responses")
            for call in (complete, stream, complete_async, stream_async)
        ),
        chat_with_cohere,
        embed,
        embed_with_cohere,
        rerank,
    ],
)
@pytest.mark.parametrize(
    "start", [b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 102 Processing\r\n\r\n", b"HTTP/1.1 200 "]
)
def test_a_head_without_end_ends_in_time(call: Callable[..., Any], start: bytes) -> None:
    piece = {b"200 ": b"x", b"OK\r\n": b"X: y\r\n"}.get(start[-4:], start)
    message = r"no end of the reply in 0\.6 s"
    with serve(send_forever(piece, start)) as url, pytest.raises(ModelUnreachable, match=message):
        call(url, timeout=0.5, total_timeout=0.6, retries=0)


def test_the_message_about_the_context_length_has_no_key(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with ModelServer(Shape()) as server:
        find_context_length(f"{server.url}?key=SECRET", "m", "")
    assert "does not tell how much m reads" in caplog.text and "SECRET" not in caplog.text


def test_the_context_length_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("context_length", "ollama"):
        monkeypatch.setattr(f"rag.providers.{module}._LIMITS", ReplyLimits(0.5, 0.6))
    with serve(send_forever(b"X: y\r\n", b"HTTP/1.1 200 OK\r\n")) as url:
        assert find_context_length(url, "m", "") == ASSUMED_CONTEXT_TOKENS
        assert list_models(url) == []


def make_body(api: str) -> bytes:
    form = find_wire_format(PATHS[api])
    assert form is not None
    start = b"" if form.lines else b"data: "
    end = b"\n" if form.lines else b"\n\n"
    return b"".join(start + json.dumps(e).encode() + end for e in form.make_events(REPLY))


@pytest.mark.parametrize("api", ["anthropic", "ollama", "responses"])
@pytest.mark.parametrize("call", [stream, stream_async])
@pytest.mark.parametrize("is_silent", [True, False])
def test_a_complete_answer_needs_no_end_of_the_connection(
    api: str, call: Callable[[Any], Completion], is_silent: bool
) -> None:
    body = make_body(api)
    chunk = f"{len(body):x}\r\n".encode() + body + b"\r\n"
    head = HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunk

    client_closed = threading.Event()

    def talk(connection: socket.socket, stop: threading.Event) -> None:
        connection.settimeout(60)
        connection.sendall(head)
        try:
            while not is_silent and not stop.wait(0.05):
                connection.sendall(b"3\r\n:\n\n\r\n")
            while connection.recv(65_536):  # the rest of the request
                pass
            client_closed.set()
        except TimeoutError:
            pass
        except OSError:
            client_closed.set()

    with serve(talk) as url:
        assert call(make_model(api, url, timeout=600, total_timeout=600)).text == REPLY
        assert client_closed.wait(30)


def compress_with_zlib(data: bytes) -> bytes:
    return zlib.compress(data)


def compress_raw(data: bytes) -> bytes:
    return zlib.compress(data)[2:-4]


def send_once(body: bytes, encoding: str, status: str = "200 OK") -> Callable[..., None]:
    def talk(connection: socket.socket, stop: threading.Event) -> None:
        head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
        connection.sendall(f"{head}\r\nContent-Encoding: {encoding}\r\n\r\n".encode() + body)
        stop.wait(5)

    return talk


@pytest.mark.parametrize(
    ("encoding", "compress"),
    [("gzip", gzip.compress), ("deflate", compress_with_zlib), ("deflate", compress_raw)],
)
def test_compressed_replies_are_read(encoding: str, compress: Callable[[bytes], bytes]) -> None:
    with serve(send_once(compress(make_body("anthropic")), encoding)) as url:
        assert stream(make_model("anthropic", url)).text == REPLY
        assert stream_async(make_model("anthropic", url)).text == REPLY


@pytest.mark.parametrize("status", ["200 OK", "400 Bad Request", "500 Oops"])
@pytest.mark.parametrize("call", [complete, stream, complete_async, stream_async])
@pytest.mark.parametrize("api", ["anthropic", "responses"])
def test_a_bomb_is_not_unpacked(api: str, call: Callable[[Any], Completion], status: str) -> None:
    bomb = gzip.compress(b"x\n" * 20_000_000)
    with serve(send_once(bomb, "gzip", status)) as url:
        with pytest.raises(ModelError, match=r"more than|neither a stream nor JSON"):
            call(make_model(api, url, max_output_tokens=1))


def test_a_bomb_in_place_of_vectors_is_not_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "rag.providers.reply_limits.ReplyLimits.__init__.__defaults__", (1_000_000,)
    )
    with serve(send_once(gzip.compress(b" " * 50_000_000), "gzip")) as url:
        embedder = OpenAIEmbedder(model="m", base_url=url, retries=0, dimensions=3)
        with pytest.raises(ModelError, match="more than 1,000,000 bytes"):
            embedder.embed_documents(["a"])


@pytest.mark.parametrize("encoding", ["zstd", "br", "gzip, gzip", "x"])
def test_other_encodings_are_refused(encoding: str) -> None:
    with serve(send_once(b"x" * 100, encoding)) as url, pytest.raises(ModelReplyError):
        complete(make_model("anthropic", url))


def test_damaged_compression_is_a_fault_of_the_reply() -> None:
    with serve(send_once(b"no gzip at all", "gzip")) as url, pytest.raises(ModelReplyError):
        complete(make_model("anthropic", url))


def test_stray_lines_cost_linear_work_and_end() -> None:
    decoder = EventDecoder()
    with pytest.raises(ReplyTooLong):
        for _ in range(100):
            list(decoder.feed(b"xxxxxxxxx\n" * 100_000))


def test_a_slow_side_request_does_not_block_the_event_loop() -> None:
    has_begun = threading.Event()

    def talk(connection: socket.socket, stop: threading.Event) -> None:
        has_begun.wait(5)  # until the loop has run
        connection.sendall(
            b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        )

    async def run(url: str) -> None:
        task = asyncio.ensure_future(make_model("ollama", url, context=None).acomplete(HELLO))
        await asyncio.sleep(0)
        has_begun.set()
        with pytest.raises(ModelError):
            await task

    with serve(talk) as url:
        asyncio.run(asyncio.wait_for(run(url), 30))


def test_a_reply_that_breaks_off_is_asked_for_again() -> None:
    count = 0

    def talk(connection: socket.socket, stop: threading.Event) -> None:
        nonlocal count
        count += 1
        length = 500 if count < 3 else None
        body = make_body("anthropic")
        head = (
            f"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {length or len(body)}\r\n\r\n"
        )
        connection.sendall(head.encode() + (body[:10] if length else body))

    with serve(talk) as url:
        assert complete(make_model("anthropic", url, retries=2)).text == REPLY
        count = 0
        assert complete_async(make_model("anthropic", url, retries=2)).text == REPLY
        count = 0
        with pytest.raises(ModelUnreachable):
            complete(make_model("anthropic", url, retries=1))
    assert count == 2


def test_every_api_is_tried() -> None:
    assert set(PATHS) <= set(APIS)
