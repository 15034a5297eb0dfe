"""The base class of chat models that are called over HTTP."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

from pydantic import Field

from rag.concurrency import aclose_at_end
from rag.errors import ModelReplyError
from rag.llm.base import ChatModel, JsonSchema
from rag.llm.completion import Completion, Delta, Source
from rag.providers.base import HostedModel
from rag.providers.reply_limits import ReplyLimits
from rag.providers.retries import acall_with_retries
from rag.types import Message, Usage, to_well_formed

_MESSAGE_TOKENS = 4  # of a message, besides its text
_CHARACTERS_PER_TOKEN = 64
_SMALL_REPLY_CHARACTERS = 100_000
_BYTES_PER_TOKEN = 4_000  # a token is an event of its own in a stream, with its metadata
_SMALL_REPLY_BYTES = 4_000_000


class HostedChat(HostedModel, ChatModel):
    """Base class of chat models that are called over HTTP.

    ``max_output_tokens`` limits the length of a reply. ``context`` is the context window in
    tokens; set it for models whose context window is not known. For the other settings see
    `HostedModel` and `ChatModel`.
    """

    max_output_tokens: int = Field(1024, ge=1)
    context: int | None = Field(None, ge=256)

    @property
    def context_tokens(self) -> int | None:
        """See `ChatModel.context_tokens`."""
        return self.context or super().context_tokens

    @property
    def _limits(self) -> ReplyLimits:
        max_bytes = _SMALL_REPLY_BYTES + self.max_output_tokens * _BYTES_PER_TOKEN
        return replace(super()._limits, max_bytes=max_bytes)

    @property
    def reply_tokens(self) -> int:
        """See `ChatModel.reply_tokens`."""
        return self.max_output_tokens

    async def _acomplete(
        self, messages: Sequence[Message], *, schema: JsonSchema | None, sources: Sequence[Source]
    ) -> Completion:
        """See `ChatModel._acomplete`. A reply that breaks off is asked for again."""
        model = self.model_copy(update={"retries": 0})  # it is retried as a whole

        async def call() -> Completion:
            return await ChatModel._acomplete(model, messages, schema=schema, sources=sources)

        return await acall_with_retries(call, self.retries)

    def _check_text(self, text: Any) -> str:
        if not isinstance(text, str):
            raise ModelReplyError(f"the reply of {self.model} is not text", model=self.model)
        return to_well_formed(text)

    def _check_length(self, character_count: int) -> None:
        """Raise `ModelReplyError` for a reply that no limit of tokens allows."""
        limit = _SMALL_REPLY_CHARACTERS + self.max_output_tokens * _CHARACTERS_PER_TOKEN
        if character_count > limit:
            raise ModelReplyError(
                f"{self.model} sent more than {limit:,} characters, though max_output_tokens is "
                f"{self.max_output_tokens}",
                model=self.model,
            )

    def _estimate_usage(self, messages: Sequence[Message], reply: str) -> Usage:
        """Return about the usage of a call whose server reports none."""
        input_tokens = sum(self.count_tokens(m.content) + _MESSAGE_TOKENS for m in messages)
        return Usage(
            input_tokens=input_tokens, output_tokens=self.count_tokens(reply), is_estimated=True
        )

    def _make_incomplete_error(self) -> ModelReplyError:
        return ModelReplyError(
            f"the reply of {self.model} ended unexpectedly; try again", model=self.model
        )


class StreamParser(ABC):
    """Parses the events of one streamed reply."""

    _model: HostedChat
    _length = 0

    @abstractmethod
    def feed(self, event: Any) -> str:
        """Return the text of the next event; "" for an event without text."""

    @abstractmethod
    def finish(self) -> Completion:
        """Return the completion after the last event. Raises `ModelReplyError` if it has no end."""

    async def parse(self, events: AsyncIterator[Any]) -> AsyncIterator[Delta]:
        """Yield the text of `events` piece by piece, and the completion; close `events`."""
        async with aclose_at_end(events):
            async for event in events:
                if text := self.feed_within_limit(event):
                    yield Delta(text)
        yield Delta("", self.finish())

    def feed_within_limit(self, event: Any) -> str:
        """Do as `feed`. Raises `ModelReplyError` if the whole text is too long."""
        text = self.feed(event)
        self._length += len(text)
        self._model._check_length(self._length)
        return text
