"""A server of models that misbehaves as real servers do, to test what calls one.

It speaks the APIs of OpenAI (Chat Completions, Responses, embeddings), Anthropic, Gemini, Ollama
and Cohere. What a shape edits are replies of Chat Completions; refusals, texts and bytes are the
same in every API.

Run it on loopback::

    with ModelServer(SHAPES["no finish_reason"]) as server:
        OpenAIChat(model="m", base_url=server.url, retries=0).complete(messages)

A `Shape` with ``expects="answer"`` has to give `REPLY`; one with ``expects="error"`` one
`rag.errors.ModelError`. Neither may show `THOUGHT`, lose text or hang. Shapes can be combined
(`Shape.combine`): every combination of shapes that expect an answer expects one.
"""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Literal

from rag.testing.wire_formats import WireFormat, find_wire_format

REPLY = "The battery lasts 34 minutes [1]."
THOUGHT = "Perhaps it is the battery that lasts 99 minutes."

Json = dict[str, Any]


@dataclass(frozen=True)
class Shape:
    """How a server differs from the format.

    ``refuses`` returns the reason to refuse a request, None to accept it; ``text`` is what the
    model says; ``edit`` changes each object of a reply (a whole reply, or a chunk of a stream);
    ``encode`` the bytes of a body; ``headers`` are added.
    """

    expects: Literal["answer", "error"] = "answer"
    refuses: tuple[Callable[[Json], str | None], ...] = ()
    status: int = 400
    text: str = REPLY
    edit: tuple[Callable[[Json], Any], ...] = ()
    encode: tuple[Callable[[bytes, bool], bytes], ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    failures: int = 0
    """Requests that fail with status 503 before one succeeds."""

    def combine(self, other: Shape) -> Shape:
        """Return a shape with what both do."""
        return replace(
            self,
            expects="error" if "error" in (self.expects, other.expects) else "answer",
            refuses=self.refuses + other.refuses,
            text=other.text if self.text == REPLY else self.text,
            edit=self.edit + other.edit,
            encode=self.encode + other.encode,
            headers={**self.headers, **other.headers},
            failures=max(self.failures, other.failures),
        )


class ModelServer:
    """Answers with `REPLY`, and with a vector for each text, in a shape; a context manager."""

    url: str
    """The base URL, which ends in ``/v1``."""

    def __init__(self, shape: Shape | None = None) -> None:
        self.shape = shape or Shape()
        self.requests: list[Json] = []
        self._failed = 0

    def __enter__(self) -> ModelServer:
        owner = self

        class Handler(_Handler):
            server_model = owner

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(
            target=lambda: self._server.serve_forever(poll_interval=0.005), daemon=True
        )
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer_get(self, path: str) -> tuple[int, str, bytes]:
        """Return status, content type and body for a request without a body: nothing is there."""
        return 404, _JSON, b"{}"

    def answer(self, request: Json, path: str) -> tuple[int, str, bytes]:
        """Return status, content type and body for a request."""
        shape = self.shape
        self.requests.append(request)
        if self._failed < shape.failures:
            self._failed += 1
            return 503, _JSON, b'{"error": {"message": "overloaded"}}'
        for refuses in shape.refuses:
            if (reason := refuses(request)) is not None:
                error = {"error": {"message": reason}} if reason else {}
                return shape.status, _JSON, json.dumps(error).encode()
        if path.endswith("/v2/embed"):
            return 200, _JSON, self._encode_whole(_make_cohere_vectors(request))
        if path.endswith("/v2/rerank"):
            return 200, _JSON, self._encode_whole(_make_scores(request))
        if path.endswith("/embeddings"):
            return 200, _JSON, self._encode(_make_vectors(request), is_stream=False)
        form = find_wire_format(path)
        is_stream = request.get("stream") or "stream" in path
        if form is not None:
            return self._answer_in(form, is_stream=is_stream)
        if is_stream:
            return 200, "text/event-stream", self._encode(_make_chunks(shape.text), is_stream=True)
        return 200, _JSON, self._encode(_make_reply(shape.text), is_stream=False)

    def _encode_whole(self, reply: Json) -> bytes:
        body = json.dumps(reply).encode()
        for encode in self.shape.encode:
            body = encode(body, False)
        return body

    def _answer_in(self, form: WireFormat, *, is_stream: bool) -> tuple[int, str, bytes]:
        """Answer in the format of another API."""
        text = self.shape.text
        if not is_stream:
            body = json.dumps(form.make_reply(text)).encode()
        else:
            events = form.make_events(text)
            body = b"".join(_write_event(event, form) for event in events)
        for encode in self.shape.encode:
            body = encode(body, is_stream)
        streamed = "application/x-ndjson" if form.lines else "text/event-stream"
        return 200, streamed if is_stream else _JSON, body

    def _encode(self, value: Any, *, is_stream: bool) -> bytes:
        values = value if is_stream else [value]
        edited = [_edit(item, self.shape) for item in values]
        kept = [item for item in edited if item is not None]
        if is_stream:
            body = b"".join(b"data: " + json.dumps(item).encode() + b"\n\n" for item in kept)
            body += b"data: [DONE]\n\n"
        else:
            body = b"".join(json.dumps(item).encode() for item in kept)
        for encode in self.shape.encode:
            body = encode(body, is_stream)
        return body


def _write_event(event: Json, form: WireFormat) -> bytes:
    if form.lines:
        return json.dumps(event).encode() + b"\n"
    name = f"event: {event['type']}\n" if form.named and "type" in event else ""
    return f"{name}data: {json.dumps(event)}\n\n".encode()


_JSON = "application/json"


class _Handler(BaseHTTPRequestHandler):
    server_model: ModelServer

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self._send(*self.server_model.answer(request, self.path))

    def do_GET(self) -> None:
        self._send(*self.server_model.answer_get(self.path))

    def _send(self, status: int, content_type: str, body: bytes) -> None:
        headers = self.server_model.shape.headers if status == 200 else {}
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        for name, value in headers.items():
            self.send_header(name, value)
        if "Content-Length" not in headers:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Log nothing."""


def _edit(item: Json, shape: Shape) -> Any:
    for edit in shape.edit:
        item = edit(item)
        if not isinstance(item, dict):
            return item
    return item


def _make_reply(text: str) -> Json:
    return {
        "id": "1",
        "object": "chat.completion",
        "created": 0,
        "model": "m",
        "choices": [
            {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
        ],
        "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
    }


def _make_chunks(text: str) -> list[Json]:
    base = {"id": "1", "object": "chat.completion.chunk", "created": 0, "model": "m"}

    def chunk(delta: Json, finish: str | None = None) -> Json:
        return base | {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}

    pieces = [text[i : i + 5] for i in range(0, len(text), 5)]
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
    return [
        chunk({"role": "assistant", "content": ""}),
        *(chunk({"content": piece}) for piece in pieces),
        chunk({}, "stop"),
        base | {"choices": [], "usage": usage},
    ]


def _make_vectors(request: Json) -> Json:
    texts = request["input"] if isinstance(request["input"], list) else [request["input"]]
    data = [
        {"object": "embedding", "index": i, "embedding": [float(len(text)), 1.0, float(i)]}
        for i, text in enumerate(texts)
    ]
    usage = {"prompt_tokens": 3, "total_tokens": 3}
    return {"object": "list", "model": "m", "data": data, "usage": usage}


def _make_cohere_vectors(request: Json) -> Json:
    vectors = [[float(len(text)), 1.0, float(i)] for i, text in enumerate(request["texts"])]
    return {"id": "1", "embeddings": {"float": vectors}, "texts": request["texts"]}


def _make_scores(request: Json) -> Json:
    """Return a score for each document, the longest first."""
    lengths = [len(document) for document in request["documents"]]
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    results = [{"index": i, "relevance_score": lengths[i] / (1 + max(lengths))} for i in order]
    return {"id": "1", "results": results}


# -- refusals ------------------------------------------------------------------------------


def _refuse(name: str, reason: str) -> Shape:
    return Shape(refuses=(lambda request: reason if name in request else None,))


def _refuse_format(kind: str) -> Callable[[Json], str | None]:
    def refuses(request: Json) -> str | None:
        is_refused = (request.get("response_format") or {}).get("type") == kind
        return "This response_format type is unavailable now" if is_refused else None

    return refuses


def _refuse_system(request: Json) -> str | None:
    roles = [message["role"] for message in request.get("messages", ())]
    return "System role not supported" if "system" in roles else None


def _refuse_stream(request: Json) -> str | None:
    """Refuse what OpenAI refuses to organizations that it has not verified."""
    reason = "Your organization must be verified to stream this model."
    return reason if request.get("stream") else None


def _refuse_large_batch(reason: str) -> Shape:
    return Shape(refuses=(lambda request: reason if len(request.get("input", ())) > 10 else None,))


_REFUSALS = {
    "stream_options": _refuse(
        "stream_options", "Extra inputs are not permitted, field: 'stream_options'"
    ),
    "stream_options, unknown name": _refuse(
        "stream_options", 'Invalid JSON payload received. Unknown name "stream_options"'
    ),
    "stream": Shape(refuses=(_refuse_stream,)),
    "temperature": _refuse(
        "temperature", "Unsupported value: 'temperature' does not support 0 with this model."
    ),
    "temperature, status 422": replace(
        _refuse("temperature", "temperature is not a valid parameter"), status=422
    ),
    "temperature, status 501": replace(
        _refuse("temperature", "temperature is not implemented"), status=501
    ),
    "max_tokens": _refuse(
        "max_tokens", "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."
    ),
    "both limits of tokens": Shape(
        refuses=(
            lambda request: (
                "unknown field max_tokens or max_completion_tokens"
                if {"max_tokens", "max_completion_tokens"} & request.keys()
                else None
            ),
        )
    ),
    "seed": _refuse("seed", "seed is not supported"),
    "json_schema": Shape(refuses=(_refuse_format("json_schema"),)),
    "any response_format": Shape(
        refuses=(_refuse_format("json_schema"), _refuse_format("json_object"))
    ),
    "system messages": Shape(refuses=(_refuse_system,)),
    "no reason, for stream_options": _refuse("stream_options", ""),
    "no reason, for temperature": _refuse("temperature", "Bad Request"),
    "encoding_format": _refuse("encoding_format", "encoding_format: unknown field"),
    "batches above ten": _refuse_large_batch(
        "batch size is invalid, it should not be larger than 10.: input.contents"
    ),
    "batches above ten, without the number": _refuse_large_batch("too many inputs in the request"),
}

# -- replies -------------------------------------------------------------------------------


def _edit_choices(change: Callable[[Json], Any]) -> Callable[[Json], Any]:
    def edit(item: Json) -> Any:
        if not item.get("choices"):
            return item
        return item | {"choices": [change(choice) for choice in item["choices"]]}

    return edit


def _edit_message(change: Callable[[Json], Any]) -> Callable[[Json], Any]:
    def edit(choice: Json) -> Json:
        name = "message" if "message" in choice else "delta"
        return choice | ({name: change(choice[name])} if name in choice else {})

    return _edit_choices(edit)


def _edit_content(change: Callable[[str], Any]) -> Callable[[Json], Any]:
    return _edit_message(lambda m: m | {"content": change(m["content"])} if "content" in m else m)


def _without(name: str) -> Callable[[Json], Json]:
    return lambda item: {key: value for key, value in item.items() if key != name}


def _finish(reason: Any) -> Callable[[Json], Any]:
    return _edit_choices(
        lambda choice: choice | ({"finish_reason": reason} if choice.get("finish_reason") else {})
    )


def _set_usage(usage: Any) -> Callable[[Json], Json]:
    return lambda item: item | ({"usage": usage} if "usage" in item else {})


def _as_text(choice: Json) -> Json:
    message = choice.get("message") or choice.get("delta") or {}
    return {
        "index": 0,
        "text": message.get("content") or "",
        "finish_reason": choice.get("finish_reason"),
    }


def _add_thought(name: str) -> Callable[[Json], Any]:
    return _edit_message(lambda message: message | {name: THOUGHT})


_REPLIES = {
    "no finish_reason": Shape(edit=(_edit_choices(_without("finish_reason")),)),
    "empty finish_reason": Shape(edit=(_finish(""),)),
    "finish_reason null": Shape(edit=(_finish(None),)),
    "finish_reason eos": Shape(edit=(_finish("eos"),)),
    "finish_reason STOP": Shape(edit=(_finish("STOP"),)),
    "no role": Shape(edit=(_edit_message(_without("role")),)),
    "no index": Shape(edit=(_edit_choices(_without("index")),)),
    "no id": Shape(edit=(_without("id"), _without("object"), _without("created"))),
    "choices null beside usage": Shape(
        edit=(lambda item: item if item.get("choices") else item | {"choices": None},)
    ),
    "no choices beside usage": Shape(
        edit=(lambda item: item if item.get("choices") else _without("choices")(item),)
    ),
    "no delta at the end": Shape(
        edit=(_edit_choices(lambda c: c if c.get("delta", True) else _without("delta")(c)),)
    ),
    "delta null at the end": Shape(
        edit=(_edit_choices(lambda c: c if c.get("delta", True) else c | {"delta": None}),)
    ),
    "content null at first": Shape(edit=(_edit_content(lambda text: text or None),)),
    "content as parts": Shape(edit=(_edit_content(lambda t: [{"type": "text", "text": t}]),)),
    "content as a part": Shape(edit=(_edit_content(lambda t: {"type": "text", "text": t}),)),
    "content as texts": Shape(edit=(_edit_content(lambda t: [t]),)),
    "content as parts with values": Shape(
        edit=(_edit_content(lambda t: [{"type": "text", "text": {"value": t}}]),)
    ),
    "messages in a stream": Shape(
        edit=(
            _edit_choices(
                lambda c: _without("delta")(c) | {"message": c.get("delta") or c.get("message")}
            ),
        )
    ),
    "the format of completions": Shape(edit=(_edit_choices(_as_text),)),
    "usage missing": Shape(edit=(_without("usage"),)),
    "usage null": Shape(edit=(_set_usage(None),)),
    "usage of zeros": Shape(edit=(_set_usage({"prompt_tokens": 0, "completion_tokens": 0}),)),
    "usage of texts": Shape(edit=(_set_usage({"prompt_tokens": "10"}),)),
    "usage below zero": Shape(edit=(_set_usage({"prompt_tokens": -1, "completion_tokens": 5}),)),
    "usage in every chunk": Shape(
        edit=(lambda item: item | {"usage": {"prompt_tokens": 10, "completion_tokens": 5}},)
    ),
    "unknown fields": Shape(edit=(lambda item: item | {"x_groq": {"id": 1}, "timings": None},)),
    "error null": Shape(edit=(lambda item: item | {"error": None},)),
    "reasoning_content": Shape(edit=(_add_thought("reasoning_content"),)),
    "reasoning": Shape(edit=(_add_thought("reasoning"),)),
    "thinking parts": Shape(
        edit=(
            _edit_content(
                lambda text: [
                    {"type": "thinking", "thinking": [{"type": "text", "text": THOUGHT}]},
                    {"type": "text", "text": text},
                ]
            ),
        )
    ),
    "think": Shape(text=f"<think>\n{THOUGHT}\n</think>\n\n{REPLY}"),
    "Thinking with attributes": Shape(text=f'<Thinking kind="x">{THOUGHT}</Thinking>\n{REPLY}'),
    "nested thoughts": Shape(text=f"<think>a <think>{THOUGHT}</think> b</think>{REPLY}"),
    "closing tag only": Shape(text=f"{THOUGHT}\n</think>\n\n{REPLY}"),
    "harmony": Shape(
        text=(
            f"<|channel|>analysis<|message|>{THOUGHT}<|end|>"
            f"<|start|>assistant<|channel|>final<|message|>{REPLY}"
        )
    ),
    "harmony without tokens": Shape(text=f"analysis{THOUGHT}assistantfinal{REPLY}"),
}

# -- bytes ---------------------------------------------------------------------------------


def _in_streams(change: Callable[[bytes], bytes]) -> Shape:
    return Shape(encode=(lambda body, is_stream: change(body) if is_stream else body,))


def _to_json_body(body: bytes) -> bytes:
    """Return a whole reply in place of a stream."""
    events = [json.loads(line[6:]) for line in body.split(b"\n") if line.startswith(b"data: {")]
    choices = [choice for event in events for choice in event.get("choices") or ()]
    messages = [choice.get("delta") or choice.get("message") or {} for choice in choices]
    text = "".join(
        message.get("content") or choice.get("text") or ""
        for message, choice in zip(messages, choices, strict=True)
    )
    return json.dumps(_make_reply(text)).encode()


_BYTES = {
    "JSON in place of a stream": _in_streams(_to_json_body),  # the first: others edit its bytes
    "byte order mark": Shape(encode=(lambda body, _: b"\xef\xbb\xbf" + body,)),
    "CRLF": _in_streams(lambda body: body.replace(b"\n", b"\r\n")),
    "CR": _in_streams(lambda body: body.replace(b"\n", b"\r")),
    "comments": _in_streams(
        lambda body: b": keep-alive\n\n" + body.replace(b"\n\n", b"\n\n: OPENROUTER PROCESSING\n\n")
    ),
    "no space after data:": _in_streams(lambda body: body.replace(b"data: ", b"data:")),
    "no empty lines": _in_streams(lambda body: body.replace(b"\n\n", b"\n")),
    "event and id fields": _in_streams(
        lambda body: body.replace(b"data: {", b"event: message\nid: 1\nretry: 5\ndata: {")
    ),
    "empty data": _in_streams(lambda body: b"data:\n\ndata: \n\n" + body),
    "no [DONE]": _in_streams(lambda body: body.replace(b"data: [DONE]\n\n", b"")),
    "no empty line at the end": _in_streams(lambda body: body.rstrip(b"\n")),
    "two [DONE]": _in_streams(lambda body: body + b"data: [DONE]\n\n"),
    "text after [DONE]": _in_streams(lambda body: body + b"data: {half\n\n<html>"),
    "JSON lines in place of events": _in_streams(
        lambda body: body.replace(b"data: [DONE]\n\n", b"").replace(b"data: ", b"")
    ),
    "white space around the body": Shape(encode=(lambda body, _: b"\n\n" + body + b"\n\n",)),
    "gzip": Shape(
        encode=(lambda body, _: gzip.compress(body),), headers={"Content-Encoding": "gzip"}
    ),
    "another content type": Shape(headers={"Content-Type": "text/plain; charset=utf-8"}),
}

# -- failures ------------------------------------------------------------------------------


def _fail(encode: Callable[[bytes, bool], bytes], **options: Any) -> Shape:
    return Shape(expects="error", encode=(encode,), **options)


def _always(status: int, reason: str) -> Shape:
    return Shape(expects="error", status=status, refuses=(lambda _: reason,))


_FAILURES = {
    "overloaded once": Shape(failures=1),
    "error in a reply of status 200": _fail(lambda *_: b'{"error": {"message": "no GPU left"}}'),
    "error text in a reply of status 200": _fail(lambda *_: b'{"error": "no GPU left"}'),
    "rate limit in a reply of status 200": _fail(
        lambda *_: b'{"error": {"message": "rate limit reached", "code": 429}}'
    ),
    "error in the middle of a stream": Shape(
        expects="error",
        encode=(
            lambda body, is_stream: (
                body[: len(body) // 2].rpartition(b"\n\n")[0]
                + b'\n\ndata: {"error": {"message": "out of memory"}}\n\n'
                if is_stream
                else b'{"error": {"message": "out of memory"}}'
            ),
        ),
    ),
    "error line in a stream": _fail(lambda *_: b'error: {"message": "out of memory"}\n\n'),
    "finish_reason error": Shape(expects="error", edit=(_finish("error"),)),
    "no choices": Shape(expects="error", edit=(lambda item: item | {"choices": []},)),
    "choices null": Shape(expects="error", edit=(lambda item: item | {"choices": None},)),
    "an HTML page": _fail(lambda *_: b"<!DOCTYPE html><title>Sign in</title>"),
    "an empty body": _fail(lambda *_: b""),
    "half of the JSON": _fail(lambda body, _: body[: len(body) // 2]),
    "a body that breaks off": _fail(
        lambda body, _: body[: len(body) // 2], headers={"Content-Length": "100000"}
    ),
    "a list": _fail(lambda *_: b"[1, 2]"),
    "a number": _fail(lambda *_: b"5"),
    "content that is a number": Shape(expects="error", edit=(_edit_content(lambda _: 5),)),
    "status 401": _always(401, "invalid key"),
    "status 403": _always(403, "forbidden"),
    "status 404": _always(404, "model 'm' not found, try pulling it first"),
    "status 404 without a reason": _always(404, ""),
    "status 429": _always(429, "slow down"),
    "status 500": _always(500, "internal error"),
    "too long a prompt": _always(400, "maximum context length is 8192 tokens"),
    "always a bad request": _always(400, "Bad Request"),
}

SHAPES: Mapping[str, Shape] = {**_REFUSALS, **_REPLIES, **_BYTES, **_FAILURES}
"""The shapes by name."""
