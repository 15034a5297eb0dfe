"""Reused connections that a server closes when the next request is on its way."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable
from contextlib import closing

import pytest
from pydantic import SecretStr

from rag import OpenAIChat
from rag.errors import ModelUnreachable
from rag.llm import ChatModel, GeminiChat, OllamaChat
from rag.types import Message

HELLO = [Message(role="user", content="Hello")]


class DroppingServer:
    """Answers the first request of each connection, and closes it when it has read the second.

    With `drops_all`, it answers none. `requests` counts those that it has read.
    """

    def __init__(self, reply: bytes, *, drops_all: bool = False) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._reply, self._drops_all = reply, drops_all
        self.requests = 0
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)  # which ends the waiting for a connection
        self._socket.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=[connection], daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as file:
            for is_answered in (not self._drops_all, False):
                length = 0
                while (line := file.readline()).strip():
                    name, _, value = line.partition(b":")
                    length = int(value) if name.lower() == b"content-length" else length
                if not line:
                    return
                file.read(length)
                self.requests += 1
                if not is_answered:
                    return
                head = f"HTTP/1.1 200 OK\r\nContent-Type: {self._type}\r\n"
                head += f"Content-Length: {len(self._reply)}\r\n\r\n"
                connection.sendall(head.encode() + self._reply)

    @property
    def _type(self) -> str:
        return "text/event-stream" if self._reply.startswith(b"data:") else "application/json"


def make_events(*events: object) -> bytes:
    return b"".join(f"data: {json.dumps(event)}\n\n".encode() for event in events)


OPENAI = (
    make_events(
        {
            "id": "1",
            "object": "chat.completion.chunk",
            "created": 0,
            "model": "m",
            "choices": [{"index": 0, "delta": {"content": "Hi"}, "finish_reason": "stop"}],
        }
    )
    + b"data: [DONE]\n\n"
)
GEMINI = make_events(
    {"candidates": [{"content": {"parts": [{"text": "Hi"}]}, "finishReason": "STOP"}]}
)
OLLAMA = b'{"message": {"content": "Hi"}, "done": true, "done_reason": "stop"}\n'
KEY = SecretStr("k")
MODELS: dict[str, tuple[bytes, Callable[[str], ChatModel]]] = {
    "openai": (
        OPENAI,
        lambda url: OpenAIChat(model="m", base_url=f"{url}/v1", api_key=KEY, retries=0),
    ),
    "gemini": (
        GEMINI,
        lambda url: GeminiChat(model="m", base_url=url, api_key=KEY, retries=0),
    ),
    "ollama": (OLLAMA, lambda url: OllamaChat(model="m", base_url=url, retries=0)),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_request_that_meets_the_end_of_a_connection_is_sent_again(name: str) -> None:
    reply, make = MODELS[name]
    with closing(DroppingServer(reply)) as server:
        model = make(server.url)
        texts = [model.complete(HELLO).text for _ in range(4)]
        assert texts == ["Hi"] * 4
        assert server.requests > 4  # some were read twice


@pytest.mark.parametrize("name", ["openai", "gemini"])  # Ollama is asked for its context, too
def test_a_request_on_a_new_connection_is_sent_once(name: str) -> None:
    reply, make = MODELS[name]
    with closing(DroppingServer(reply, drops_all=True)) as server:
        with pytest.raises(ModelUnreachable):
            make(server.url).complete(HELLO)
        assert server.requests == 1
