"""Replies in the format of the Chat Completions API: of OpenAI's client and of LiteLLM."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from rag.errors import ModelReplyError
from rag.llm.base import JsonSchema
from rag.llm.completion import Completion
from rag.llm.hosted import HostedChat, StreamParser
from rag.llm.structured import to_strict_schema
from rag.providers.event_streams import EventDecoder
from rag.types import Message, Usage

_THOUGHT_FIELDS = ("reasoning_content", "reasoning", "thinking")
_FINISH_REASONS = {
    "max_tokens": "length",
    "max_output_tokens": "length",
    "model_length": "length",
    "safety": "content_filter",
    "recitation": "content_filter",
    "prohibited_content": "content_filter",
    "blocklist": "content_filter",
    "eos": "stop",
    "eos_token": "stop",
    "end_turn": "stop",
    "stop_sequence": "stop",
}


class ChatCompletionsModel(HostedChat):
    """Base class of chat models whose replies have the format of Chat Completions."""

    def _parse_reply(self, reply: Any, messages: Sequence[Message]) -> Completion:
        """Return the completion of a whole reply: an object of a client, or a mapping."""
        self._check_error(reply)
        choices = _get(reply, "choices")
        if not isinstance(choices, Sequence) or not choices:
            raise ModelReplyError(f"the reply of {self.model} has no choices", model=self.model)
        piece = _read_choice(self, choices[0])
        text = self._check_text(piece.text or piece.refusal)
        self._check_length(len(text) + len(piece.thoughts))
        usage = convert_usage(_get(reply, "usage"))
        return Completion(
            text,
            self._estimate_usage(messages, text + piece.thoughts) if usage is None else usage,
            "refusal" if piece.refusal and not piece.text else piece.finish_reason or "unknown",
            thoughts=self._check_text(piece.thoughts),
        )

    def _check_error(self, reply: Any) -> None:
        """Raise the error of a server that sends it with a status of success."""
        if not _get(reply, "choices") and (
            _get(reply, "object") == "error" or _get(reply, "detail")
        ):
            reason = _get(reply, "message") or _get(reply, "detail")
            raise self._make_embedded_error(str(reason), str(_get(reply, "code") or ""))
        if error := _get(reply, "error"):
            reason = _get(error, "message") or error
            raise self._make_embedded_error(str(reason), str(_get(error, "code") or ""))


class ChatCompletionsParser(StreamParser):
    """Parses the events of a stream of Chat Completions.

    A reply without a ``finish_reason`` counts as complete if `decoder` saw the end of the stream.
    """

    def __init__(
        self,
        model: ChatCompletionsModel,
        messages: Sequence[Message],
        decoder: EventDecoder | None = None,
    ) -> None:
        self._decoder = decoder
        self._model: ChatCompletionsModel = model
        self._messages = messages
        self._parts: list[str] = []
        self._thoughts: list[str] = []
        self._usage: Usage | None = None
        self._finish_reason = ""

    def feed(self, event: Any) -> str:
        """See `StreamParser.feed`."""
        model = self._model
        model._check_error(event)
        if (usage := convert_usage(_get(event, "usage"))) is not None:
            self._usage = usage
        choices = _get(event, "choices")
        text = ""
        for choice in choices[:1] if isinstance(choices, Sequence) else ():
            piece = _read_choice(model, choice)
            text = model._check_text(piece.text or piece.refusal)
            self._thoughts.append(model._check_text(piece.thoughts))
            self._finish_reason = piece.finish_reason or self._finish_reason
            self._finish_reason = "refusal" if piece.refusal else self._finish_reason
        self._parts.append(text)
        return text

    def finish(self) -> Completion:
        """See `StreamParser.finish`."""
        text, thoughts = "".join(self._parts), "".join(self._thoughts)
        is_done = self._decoder is not None and self._decoder.is_done
        if not self._finish_reason and not (is_done and (text or thoughts)):
            raise self._model._make_incomplete_error()
        usage = self._usage
        if usage is None:
            usage = self._model._estimate_usage(self._messages, text + thoughts)
        return Completion(text, usage, self._finish_reason or "unknown", thoughts=thoughts)


class _Piece(NamedTuple):
    text: str
    thoughts: str
    refusal: str
    finish_reason: str


def _read_choice(model: ChatCompletionsModel, choice: Any) -> _Piece:
    """Return what a choice says, in whichever of the usual fields."""
    message = _get(choice, "delta")
    if message is None:
        message = _get(choice, "message")
    content = _get(message, "content") if message is not None else _get(choice, "text")
    texts, thoughts = _read_content(model, content)
    for field in _THOUGHT_FIELDS:
        if isinstance(value := _get(message, field), str):
            thoughts += value
            break
    refusal = _get(message, "refusal")
    reason = _get(choice, "finish_reason")
    reason = reason if isinstance(reason, str) else ""
    if reason in ("error", "abort"):
        model._check_error(choice)
        raise model._make_embedded_error("the server ended its reply with an error")
    return _Piece(
        texts,
        thoughts,
        refusal if isinstance(refusal, str) else "",
        _FINISH_REASONS.get(reason.lower(), reason),
    )


def _read_content(model: ChatCompletionsModel, content: Any) -> tuple[str, str]:
    """Return the text and the thoughts of a content: a text, a part, or a list of parts."""
    if content is None:
        return "", ""
    if isinstance(content, str):
        return content, ""
    parts = content if isinstance(content, list | tuple) else [content]
    texts, thoughts = [], []
    for part in parts:
        if isinstance(part, str):
            texts.append(part)
            continue
        kind = _get(part, "type")
        if kind in ("thinking", "reasoning"):
            inner = _get(part, kind) or _get(part, "text")
            thoughts.append("".join(_read_content(model, inner)))
        elif isinstance(value := _get(part, "text"), str):
            texts.append(value)
        elif isinstance(inner := _get(value, "value"), str):  # text: {value: ...}
            texts.append(inner)
        elif kind in (None, "text", "output_text"):
            raise ModelReplyError(f"the reply of {model.model} is not text", model=model.model)
    return "".join(texts), "".join(thoughts)


def _get(value: Any, name: str) -> Any:
    """Return a field of a mapping or of an object of a client; None if it has none."""
    if isinstance(value, Mapping):
        return value.get(name)
    return getattr(value, name, None)


def describe_schema(schema: JsonSchema) -> dict[str, Any]:
    """Return the value of ``json_schema`` in a request; strict if the schema allows it."""
    strict = to_strict_schema(schema)
    return {
        "name": re.sub(r"[^A-Za-z0-9_-]", "_", str(schema.get("title") or "reply"))[:64],
        "schema": strict if strict is not None else dict(schema),
        "strict": strict is not None,
    }


def make_usage(input_tokens: Any, output_tokens: Any) -> Usage | None:
    """Return the usage of a call; None if the server reports no sensible numbers."""
    counts = [count or 0 for count in (input_tokens, output_tokens)]
    if not all(isinstance(count, int) and count >= 0 for count in counts) or not any(counts):
        return None
    return Usage(input_tokens=counts[0], output_tokens=counts[1])


def convert_usage(usage: Any) -> Usage | None:
    """Return the ``usage`` of a reply as ours; None if the server reports none."""
    return make_usage(_get(usage, "prompt_tokens"), _get(usage, "completion_tokens"))
