"""Our nouns as LangChain's, and theirs as ours."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from langchain_core.documents import Document as TheirDocument
from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    HumanMessage,
    SystemMessage,
    convert_to_messages,
)

from rag.types import Document, Hit, Message

_KINDS: dict[str, type[BaseMessage]] = {
    "system": SystemMessage,
    "user": HumanMessage,
    "assistant": AIMessage,
}


def message_of(message: Message) -> BaseMessage:
    """One of theirs."""
    return _KINDS[message.role](content=message.content)


def messages_from(given: Iterable[Any]) -> list[Message]:
    """Ours, of what their chat models take: messages, pairs, mappings. Others are left out."""
    roles = {"system": "system", "human": "user", "ai": "assistant"}
    return [
        Message(role=roles[each.type], content=str(each.text))
        for each in convert_to_messages(list(given))
        if each.type in roles and str(each.text).strip()
    ]


def document_of(hit: Hit) -> TheirDocument:
    """A hit as a document of theirs: ``source`` and ``start_index`` say where it stands."""
    chunk = hit.chunk
    return TheirDocument(
        id=chunk.id,
        page_content=chunk.text,
        metadata={
            **chunk.metadata,
            "source": chunk.uri,
            "title": chunk.title,
            "headings": list(chunk.headings),
            **chunk.location,
            "start_index": chunk.start,
            "end_index": chunk.end,
            "score": hit.score,
        },
    )


def loaded(document: Document) -> TheirDocument:
    """A parsed document as one of theirs."""
    return TheirDocument(
        id=document.uri,
        page_content=document.text,
        metadata={
            **document.metadata,
            "source": document.uri,
            "title": document.title,
            "mime": document.mime,
        },
    )
