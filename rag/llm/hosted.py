"""The base class of chat models that are called over HTTP."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from typing import Any

from pydantic import Field

from rag.errors import ModelReplyError
from rag.llm.base import ChatModel
from rag.llm.completion import Completion, Delta
from rag.providers.base import HostedModel
from rag.types import to_well_formed


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
    def reply_tokens(self) -> int:
        """See `ChatModel.reply_tokens`."""
        return self.max_output_tokens

    def _check_text(self, text: Any) -> str:
        if not isinstance(text, str):
            raise ModelReplyError(f"the reply of {self.model} is not text", model=self.model)
        return to_well_formed(text)

    def _make_incomplete_error(self) -> ModelReplyError:
        return ModelReplyError(
            f"the reply of {self.model} ended unexpectedly; try again", model=self.model
        )


class StreamParser(ABC):
    """Parses the events of one streamed reply, of a synchronous or an async client."""

    @abstractmethod
    def feed(self, event: Any) -> str:
        """Return the text of the next event; "" for an event without text."""

    @abstractmethod
    def finish(self) -> Completion:
        """Return the completion after the last event. Raises `ModelReplyError` if it has no end."""

    def parse(self, events: Iterable[Any]) -> Iterator[Delta]:
        """Yield the text of `events` piece by piece, and the completion."""
        for event in events:
            if text := self.feed(event):
                yield Delta(text)
        yield Delta("", self.finish())

    async def aparse(self, events: AsyncIterable[Any]) -> AsyncIterator[Delta]:
        """Do as `parse` with the events of an async client."""
        async for event in events:
            if text := self.feed(event):
                yield Delta(text)
        yield Delta("", self.finish())
