"""Anthropic's chat models, with native citations."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from pydantic import Field

from rag.llm.base import KnownChat
from rag.llm.chat_completions import describe_schema
from rag.llm.http_chat import Call, HttpChat, HttpReplyParser
from rag.providers.dialects import Feature
from rag.providers.http import Json

_MODELS = {  # https://docs.claude.com/en/docs/about-claude/pricing, read in 2026
    model.model: model
    for model in (
        KnownChat("claude-opus-4-5", 200_000, 5.0, 25.0),
        KnownChat("claude-sonnet-4-5", 200_000, 3.0, 15.0),
        KnownChat("claude-haiku-4-5", 200_000, 1.0, 5.0),
    )
}
_API_VERSION = "2023-06-01"
_FINISH_REASONS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "tool_use": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "refusal": "refusal",
}


class AnthropicParser(HttpReplyParser):
    """Parses a message of Anthropic, or the events of its stream."""

    def __init__(self, model: HttpChat, call: Call) -> None:
        super().__init__(model, call)
        self._starts: dict[Any, int] = {}  # of the blocks, by their index
        self._citing: dict[Any, list[int]] = {}

    def read(self, event: Mapping[str, Any]) -> str:
        """See `HttpReplyParser.read`."""
        kind = event.get("type")
        if kind == "message" or (kind is None and "content" in event):
            return self._read_message(event)
        if kind == "message_start":
            usage = _get(event, "message", "usage")
            if isinstance(usage, Mapping):  # what it says of the output is only a beginning
                self._read_usage({**usage, "output_tokens": 0})
        elif kind == "content_block_start":
            return self._open_block(event.get("index"), event.get("content_block") or {})
        elif kind == "content_block_delta":
            return self._read_delta(event.get("index"), event.get("delta") or {})
        elif kind == "content_block_stop":
            self._close_block(event.get("index"), len(self.text))
        elif kind == "message_delta":
            self._read_usage(event.get("usage"))
            self._read_stop(_get(event, "delta", "stop_reason"))
        elif kind == "message_stop":
            self._finish_reason = self._finish_reason or "unknown"
            self.is_complete = True
        return ""

    def _read_message(self, message: Mapping[str, Any]) -> str:
        content, text = message.get("content") or (), ""
        if isinstance(content, str):
            content = [{"type": "text", "text": content}]
        for i, block in enumerate(content):
            start = len(text)
            text += self._open_block(i, block)
            self._starts[i] = start
            self._close_block(i, len(text))
        self._read_usage(message.get("usage"))
        self._read_stop(message.get("stop_reason"))
        return text

    def _open_block(self, index: Any, block: Mapping[str, Any]) -> str:
        self._starts[index], self._citing[index] = len(self.text), []
        for citation in block.get("citations") or ():
            self._note_citation(index, citation)
        kind = block.get("type")
        if kind == "thinking":
            self._thoughts.append(str(block.get("thinking") or ""))
        elif kind == "tool_use" and self._call.schema is not None:
            arguments = block.get("input")  # in a stream, it is empty at first
            return json.dumps(arguments, ensure_ascii=False) if arguments else ""
        return (block.get("text") or "") if kind == "text" else ""

    def _read_delta(self, index: Any, delta: Mapping[str, Any]) -> str:
        kind = delta.get("type")
        if kind == "thinking_delta":
            self._thoughts.append(str(delta.get("thinking") or ""))
        elif kind == "citations_delta":
            self._note_citation(index, delta.get("citation") or {})
        elif kind == "input_json_delta" and self._call.schema is not None:
            return str(delta.get("partial_json") or "")
        return (delta.get("text") or "") if kind == "text_delta" else ""

    def _note_citation(self, index: Any, citation: Mapping[str, Any]) -> None:
        number = citation.get("document_index")
        if isinstance(number, int):
            self._citing.setdefault(index, []).append(number)

    def _close_block(self, index: Any, end: int) -> None:
        self._cite(self._starts.get(index, 0), end, self._citing.pop(index, []))

    def _read_usage(self, usage: Any) -> None:
        if isinstance(usage, Mapping):
            parts = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
            counts = [usage[part] for part in parts if isinstance(usage.get(part), int)]
            self._count_tokens(sum(counts), usage.get("output_tokens"))

    def _read_stop(self, reason: Any) -> None:
        if reason:
            self._finish_reason = _FINISH_REASONS.get(str(reason), str(reason))


class AnthropicChat(HttpChat):
    """Anthropic's models through the Messages API, which take passages as documents and cite them.

    A native citation names the document that supports a block of the answer; the verifier finds
    the exact span in the source, as for every model. ``native_citations`` turns this off: then
    the passages are in the prompt, and the model writes markers (for servers that speak the
    Messages API without its documents). A JSON schema is sent as the input of a tool that the
    model must call. ``thinking_tokens`` is how many tokens the model may think (at least 1,024;
    then ``temperature`` is not sent); they come on top of ``max_output_tokens``. ``api_key``
    defaults to ``ANTHROPIC_API_KEY``. For the other settings see `HostedChat`.

        AnthropicChat(model="claude-sonnet-4-5")
    """

    name: ClassVar[str] = "anthropic"

    model: str = Field("claude-sonnet-4-5", min_length=1)
    temperature: float | None = Field(0.0, ge=0, le=1)
    native_citations: bool = True
    thinking_tokens: int | None = Field(None, ge=1024)

    _parser = AnthropicParser
    _refusable: ClassVar[frozenset[Feature] | None] = frozenset({"temperature"})
    _key_variable: ClassVar[str] = "ANTHROPIC_API_KEY"
    _own_host: ClassVar[str] = "anthropic.com"
    _service: ClassVar[str] = "Anthropic"
    _default_url: ClassVar[str] = "https://api.anthropic.com"

    @classmethod
    def known_models(cls) -> Iterable[KnownChat]:
        """Return Anthropic's models."""
        return _MODELS.values()

    @property
    def cites(self) -> bool:
        """Whether passages are sent as documents."""
        return self.native_citations

    @property
    def _known_model(self) -> KnownChat | None:
        name = self.model
        undated = name[:-9] if name[-8:].isdigit() and name[-9:-8] == "-" else name
        return _MODELS.get(undated) if self.base_url is None else None

    @property
    def _headers(self) -> Mapping[str, str]:
        return {"x-api-key": self._key, "anthropic-version": _API_VERSION}

    def _build_path(self, call: Call) -> str:
        return "/messages" if self._url.endswith("/v1") else "/v1/messages"

    def _build_body(self, call: Call, refused: frozenset[Feature]) -> Json:
        messages: list[Json] = [{"role": m.role, "content": m.content} for m in call.turns]
        if call.sources and call.schema is None and self.cites and messages:
            last = messages[-1]
            last["content"] = [
                *(_make_document(source.title, source.text) for source in call.sources),
                {"type": "text", "text": last["content"]},
            ]
        body: Json = {
            "model": self.model,
            "max_tokens": self.max_output_tokens + (self.thinking_tokens or 0),
            "messages": messages,
            "stream": True,
        }
        if call.system:
            body["system"] = call.system
        if self.thinking_tokens and call.schema is None:  # a forced tool allows no thinking
            body["thinking"] = {"type": "enabled", "budget_tokens": self.thinking_tokens}
        elif self.temperature is not None and "temperature" not in refused:
            body["temperature"] = self.temperature
        if call.schema is not None:
            described = describe_schema(call.schema)
            name = described["name"]
            body["tools"] = [
                {
                    "name": name,
                    "description": "Reply with this tool.",
                    "input_schema": described["schema"],
                }
            ]
            body["tool_choice"] = {"type": "tool", "name": name}
        return body


def _make_document(title: str, text: str) -> Json:
    return {
        "type": "document",
        "source": {"type": "text", "media_type": "text/plain", "data": text},
        "title": title[:500] or None,
        "citations": {"enabled": True},
    }


def _get(value: Any, *names: str) -> Any:
    for name in names:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value
