"""Conversions of documents and messages to LangChain's classes and back."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from langchain_core.documents import Document as LangChainDocument
from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    HumanMessage,
    SystemMessage,
    convert_to_messages,
)

from rag.types import Document, Hit, Message

_MESSAGE_CLASSES: dict[str, type[BaseMessage]] = {
    "system": SystemMessage,
    "user": HumanMessage,
    "assistant": AIMessage,
}
_ROLES = {"system": "system", "human": "user", "ai": "assistant"}


def to_langchain_message(message: Message) -> BaseMessage:
    """Return our message as LangChain's."""
    return _MESSAGE_CLASSES[message.role](content=message.content)


def from_langchain_messages(messages: Iterable[Any]) -> list[Message]:
    """Return our messages, from any form that LangChain's chat models accept.

    Messages, pairs and mappings are accepted. Blank messages and other roles, such as tool
    messages, are left out.
    """
    return [
        Message(role=_ROLES[message.type], content=str(message.text))
        for message in convert_to_messages(list(messages))
        if message.type in _ROLES and str(message.text).strip()
    ]


def hit_to_langchain_document(hit: Hit) -> LangChainDocument:
    """Return a hit as LangChain's document, with its uri, location and span in the metadata."""
    chunk = hit.chunk
    metadata: dict[str, Any] = {
        **chunk.metadata,
        "source": chunk.uri,
        "title": chunk.title,
        "headings": list(chunk.headings),
        **{str(kind): value for kind, value in chunk.location.items()},
        "start_index": chunk.start,
        "end_index": chunk.end,
        "score": hit.score,
    }
    return LangChainDocument(id=chunk.id, page_content=chunk.text, metadata=metadata)


def to_langchain_document(document: Document) -> LangChainDocument:
    """Return a parsed document as LangChain's document."""
    metadata = {
        **document.metadata,
        "source": document.uri,
        "title": document.title,
        "mime": document.mime,
    }
    return LangChainDocument(id=document.uri, page_content=document.text, metadata=metadata)
