"""A chat model that says what it is told to: for tests, yours included."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import ClassVar

from pydantic import Field, PrivateAttr

from rag.errors import ModelReplyError
from rag.llm.base import ChatModel, Completion, Delta
from rag.types import Message, Usage


class ScriptedChat(ChatModel):
    """Gives ``replies`` one after another, and remembers in `requests` what it was asked.

    Streams word by word. Tokens are words. Raises `ModelReplyError` when the replies run out.
    """

    name: ClassVar[str] = "scripted"

    replies: tuple[str, ...] = Field(min_length=1)
    _requests: list[list[Message]] = PrivateAttr(default_factory=list)

    @property
    def requests(self) -> list[list[Message]]:
        """The messages of each call so far."""
        return self._requests

    def complete(self, messages: Sequence[Message]) -> Completion:
        """Give the next reply."""
        if len(self._requests) >= len(self.replies):
            raise ModelReplyError(f"the script has only {len(self.replies)} replies")
        text = self.replies[len(self._requests)]
        self._requests.append(list(messages))
        asked = sum(len(message.content.split()) for message in messages)
        return Completion(text, Usage(input_tokens=asked, output_tokens=len(text.split())))

    def stream(self, messages: Sequence[Message]) -> Iterator[Delta]:
        """Give the next reply word by word."""
        completion = self.complete(messages)
        for word in re.findall(r"\s*\S+|\s+$", completion.text):
            yield Delta(word)
        yield Delta("", completion)

    def count_tokens(self, text: str) -> int:
        """Count words."""
        return len(text.split())
