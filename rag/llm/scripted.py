"""A fake chat model with scripted replies, for tests, including yours."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from threading import Lock
from typing import ClassVar

from pydantic import Field, PrivateAttr

from rag.errors import ModelReplyError
from rag.llm.base import ChatModel, JsonSchema
from rag.llm.completion import Completion, Delta, Source
from rag.types import Message, Usage

_record_lock = Lock()  # of all instances: a lock in an instance could not be copied or pickled


class ScriptedChat(ChatModel):
    """Returns its ``replies`` one after another, and records the calls.

    `requests` has the messages of each call, `schemas` the JSON schemas. Replies are streamed
    word by word; tokens are words. Raises `ModelReplyError` when the replies run out. Threads may
    share it.
    """

    name: ClassVar[str] = "scripted"

    replies: tuple[str, ...] = Field(min_length=1)
    _requests: list[list[Message]] = PrivateAttr(default_factory=list)
    _schemas: list[JsonSchema | None] = PrivateAttr(default_factory=list)

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
        with _record_lock:
            if len(self._requests) >= len(self.replies):
                raise ModelReplyError(f"the script has only {len(self.replies)} replies")
            text = self.replies[len(self._requests)]
            self._requests.append(list(messages))
            self._schemas.append(schema)
        input_tokens = sum(self.count_tokens(message.content) for message in messages)
        usage = Usage(input_tokens=input_tokens, output_tokens=self.count_tokens(text))
        return Completion(text, usage)

    def _stream(
        self, messages: Sequence[Message], *, schema: JsonSchema | None, sources: Sequence[Source]
    ) -> Iterator[Delta]:
        completion = self._complete(messages, schema=schema, sources=sources)
        for word in re.findall(r"\s*\S+|\s+$", completion.text):
            yield Delta(word)
        yield Delta("", completion)

    def count_tokens(self, text: str) -> int:
        """Return the number of words."""
        return len(text.split())
