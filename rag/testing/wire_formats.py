"""What a reply looks like in the API of each provider: a whole one, and the events of a stream."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

Json = dict[str, Any]


class WireFormat(NamedTuple):
    """How an API says a text.

    ``named`` is whether its events have names (``event: message_stop``); ``lines`` whether it
    sends lines of JSON in place of server-sent events.
    """

    make_reply: Callable[[str], Json]
    make_events: Callable[[str], list[Json]]
    named: bool = True
    lines: bool = False


def find_wire_format(path: str) -> WireFormat | None:
    """Return the format of the API that a request's path belongs to; None for Chat Completions."""
    path = path.partition("?")[0]
    return next((form for end, form in _FORMATS.items() if path.endswith(end)), None)


def _split(text: str) -> list[str]:
    return [text[i : i + 5] for i in range(0, len(text), 5)]


# -- Anthropic ---------------------------------------------------------------------------------


def _make_message(text: str) -> Json:
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [{"type": "text", "text": text}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 10, "output_tokens": 5},
    }


def _make_message_events(text: str) -> list[Json]:
    start = _make_message("") | {"content": [], "stop_reason": None}
    block: Json = {"type": "text", "text": ""}
    return [
        {"type": "message_start", "message": start},
        {"type": "content_block_start", "index": 0, "content_block": block},
        {"type": "ping"},
        *(
            {
                "type": "content_block_delta",
                "index": 0,
                "delta": {"type": "text_delta", "text": piece},
            }
            for piece in _split(text)
        ),
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn", "stop_sequence": None},
            "usage": {"output_tokens": 5},
        },
        {"type": "message_stop"},
    ]


# -- Gemini ------------------------------------------------------------------------------------


def _make_content(text: str, finish: str | None = "STOP") -> Json:
    candidate: Json = {"content": {"role": "model", "parts": [{"text": text}]}, "index": 0}
    if finish is not None:
        candidate["finishReason"] = finish
    usage = {"promptTokenCount": 10, "candidatesTokenCount": 5, "totalTokenCount": 15}
    return {"candidates": [candidate], "usageMetadata": usage, "modelVersion": "m"}


def _make_contents(text: str) -> list[Json]:
    *pieces, last = _split(text)
    return [*(_make_content(piece, None) for piece in pieces), _make_content(last)]


# -- Ollama ------------------------------------------------------------------------------------


def _make_line(text: str, *, done: bool) -> Json:
    line: Json = {"model": "m", "message": {"role": "assistant", "content": text}, "done": done}
    if done:
        line |= {"done_reason": "stop", "prompt_eval_count": 10, "eval_count": 5}
    return line


def _make_lines(text: str) -> list[Json]:
    return [*(_make_line(piece, done=False) for piece in _split(text)), _make_line("", done=True)]


# -- OpenAI's Responses API --------------------------------------------------------------------


def _make_response(text: str) -> Json:
    part = {"type": "output_text", "text": text, "annotations": []}
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 0,
        "model": "m",
        "status": "completed",
        "error": None,
        "output": [{"type": "message", "role": "assistant", "content": [part]}],
        "usage": {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15},
    }


def _make_response_events(text: str) -> list[Json]:
    created = _make_response("") | {"status": "in_progress", "output": []}
    return [
        {"type": "response.created", "response": created},
        *({"type": "response.output_text.delta", "delta": piece} for piece in _split(text)),
        {"type": "response.output_text.done", "text": text},
        {"type": "response.completed", "response": _make_response(text)},
    ]


# -- Cohere ------------------------------------------------------------------------------------


def _make_cohere_reply(text: str) -> Json:
    return {
        "id": "1",
        "finish_reason": "COMPLETE",
        "message": {"role": "assistant", "content": [{"type": "text", "text": text}]},
        "usage": {"billed_units": {"input_tokens": 10, "output_tokens": 5}},
    }


def _make_cohere_events(text: str) -> list[Json]:
    start = {"message": {"content": {"type": "text", "text": ""}}}
    usage = {"billed_units": {"input_tokens": 10, "output_tokens": 5}}
    return [
        {"type": "message-start", "id": "1", "delta": {"message": {"role": "assistant"}}},
        {"type": "content-start", "index": 0, "delta": start},
        *(
            {
                "type": "content-delta",
                "index": 0,
                "delta": {"message": {"content": {"text": piece}}},
            }
            for piece in _split(text)
        ),
        {"type": "content-end", "index": 0},
        {"type": "message-end", "delta": {"finish_reason": "COMPLETE", "usage": usage}},
    ]


_FORMATS = {
    "/messages": WireFormat(_make_message, _make_message_events),
    ":generateContent": WireFormat(_make_content, _make_contents),
    ":streamGenerateContent": WireFormat(_make_content, _make_contents, named=False),
    "/api/chat": WireFormat(lambda text: _make_line(text, done=True), _make_lines, lines=True),
    "/responses": WireFormat(_make_response, _make_response_events),
    "/v2/chat": WireFormat(_make_cohere_reply, _make_cohere_events),
}
