"""A chat model that says what it is told to: for tests, yours included."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from threading import Lock
from typing import ClassVar

from pydantic import Field, PrivateAttr

from rag.errors import ModelReplyError
from rag.llm.base import ChatModel, Completion, Delta, JsonSchema, Source
from rag.types import Message, Usage


class ScriptedChat(ChatModel):
    """Gives ``replies`` one after another, and remembers in `requests` what it was asked.

    Streams word by word. Tokens are words. Raises `ModelReplyError` when the replies run out.
    What it was asked to fit stands in `schemas`. May be asked by several threads.
    """

    name: ClassVar[str] = "scripted"

    replies: tuple[str, ...] = Field(min_length=1)
    _requests: list[list[Message]] = PrivateAttr(default_factory=list)
    _schemas: list[JsonSchema | None] = PrivateAttr(default_factory=list)
    _guard: Lock = PrivateAttr(default_factory=Lock)

    @property
    def requests(self) -> list[list[Message]]:
        """The messages of each call so far."""
        return self._requests

    @property
    def schemas(self) -> list[JsonSchema | None]:
        """The JSON schema of each call so far."""
        return self._schemas

    def _complete(
        self, messages: Sequence[Message], *, schema: JsonSchema | None, sources: Sequence[Source]
    ) -> Completion:
        with self._guard:
            if len(self._requests) >= len(self.replies):
                raise ModelReplyError(f"the script has only {len(self.replies)} replies")
            text = self.replies[len(self._requests)]
            self._requests.append(list(messages))
            self._schemas.append(schema)
        asked = sum(len(message.content.split()) for message in messages)
        return Completion(text, Usage(input_tokens=asked, output_tokens=len(text.split())))

    def _stream(
        self, messages: Sequence[Message], *, schema: JsonSchema | None, sources: Sequence[Source]
    ) -> Iterator[Delta]:
        completion = self._complete(messages, schema=schema, sources=sources)
        for word in re.findall(r"\s*\S+|\s+$", completion.text):
            yield Delta(word)
        yield Delta("", completion)

    def count_tokens(self, text: str) -> int:
        """Count words."""
        return len(text.split())
