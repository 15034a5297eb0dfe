"""What every chat model does."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import ClassVar, NamedTuple

from rag.component import Component
from rag.types import Message, Usage


class Completion(NamedTuple):
    """A whole reply. ``finish_reason`` is ``length`` where it was cut off by the token limit."""

    text: str
    usage: Usage = Usage()
    finish_reason: str = "stop"


class Delta(NamedTuple):
    """A piece of a reply as it comes; the last one, without text, brings the completion."""

    text: str
    completion: Completion | None = None


class ChatModel(Component):
    """Messages in, a reply out. Raises `ModelError` and what derives from it."""

    kind: ClassVar[str] = "chat_model"

    @abstractmethod
    def complete(self, messages: Sequence[Message]) -> Completion:
        """Answer in one piece."""

    @abstractmethod
    def stream(self, messages: Sequence[Message]) -> Iterator[Delta]:
        """Answer piece by piece. To stop early, close the iterator: the connection goes too."""

    def count_tokens(self, text: str) -> int:
        """Length of `text` in tokens, near enough to fill a context; never a network call."""
        from rag.llm.tokens import count_tokens

        return count_tokens(text)
