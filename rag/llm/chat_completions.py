"""Replies in the format of the Chat Completions API: of OpenAI's client and of LiteLLM."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from rag.errors import ModelReplyError
from rag.llm.base import JsonSchema
from rag.llm.completion import Completion, Delta
from rag.llm.hosted import HostedChat, StreamParser
from rag.llm.structured import to_strict_schema
from rag.types import Usage


class ChatCompletionsModel(HostedChat):
    """Base class of chat models whose replies have the format of Chat Completions."""

    def _parse_reply(self, reply: Any) -> Completion:
        if not reply.choices:
            raise ModelReplyError(f"the reply of {self.model} has no choices", model=self.model)
        choice = reply.choices[0]
        refusal = getattr(choice.message, "refusal", None)
        text = self._check_text(choice.message.content or refusal or "")
        is_refusal = refusal and not choice.message.content
        finish = "refusal" if is_refusal else _read_finish_reason(choice)
        return Completion(text, convert_usage(reply.usage), finish)

    def _parse_events(self, events: Iterable[Any]) -> Iterator[Delta]:
        yield from ChatCompletionsParser(self).parse(events)


class ChatCompletionsParser(StreamParser):
    """Parses the events of a stream of Chat Completions."""

    def __init__(self, model: HostedChat) -> None:
        self._model = model
        self._parts: list[str] = []
        self._usage = Usage()
        self._finish_reason = ""

    def feed(self, event: Any) -> str:
        """See `StreamParser.feed`."""
        if (tokens := getattr(event, "usage", None)) is not None:
            self._usage = convert_usage(tokens)
        text = ""
        for choice in event.choices[:1]:
            refusal = getattr(choice.delta, "refusal", None)
            self._finish_reason = _read_finish_reason(choice, self._finish_reason)
            text = self._model._check_text(choice.delta.content or refusal or "")
            self._finish_reason = "refusal" if refusal else self._finish_reason
        self._parts.append(text)
        return text

    def finish(self) -> Completion:
        """See `StreamParser.finish`."""
        if not self._finish_reason:
            raise self._model._make_incomplete_error()
        return Completion("".join(self._parts), self._usage, self._finish_reason)


def describe_schema(schema: JsonSchema) -> dict[str, Any]:
    """Return the value of ``json_schema`` in a request; strict if the schema allows it."""
    strict = to_strict_schema(schema)
    return {
        "name": re.sub(r"[^A-Za-z0-9_-]", "_", str(schema.get("title") or "reply"))[:64],
        "schema": strict if strict is not None else dict(schema),
        "strict": strict is not None,
    }


def make_usage(input_tokens: int | None, output_tokens: int | None) -> Usage:
    """Return the usage of a call; zero if the server reports a negative number."""
    if min(input_tokens or 0, output_tokens or 0) < 0:
        return Usage()
    return Usage(input_tokens=input_tokens or 0, output_tokens=output_tokens or 0)


def convert_usage(usage: Any) -> Usage:
    """Return the ``usage`` of a reply as ours; zero if the server reports none."""
    return Usage() if usage is None else make_usage(usage.prompt_tokens, usage.completion_tokens)


def _read_finish_reason(choice: Any, default: str = "stop") -> str:
    reason = choice.finish_reason
    return reason if isinstance(reason, str) and reason else default
