"""LangChain's objects as parts of ours."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from rag.component import Component
from rag.embedding.base import Side
from rag.interop.base import Foreign, ForeignEmbedder, Text, failed
from rag.interop.chunker import ForeignChunker, Piece
from rag.interop.connector import ForeignConnector
from rag.interop.retriever import ForeignRefiner, ForeignRetriever, Kept
from rag.llm import ChatModel, Completion, Delta
from rag.llm.base import JsonSchema, Source
from rag.types import Document, Hit, Message, Usage

if TYPE_CHECKING:
    from langchain_core.documents import Document as TheirDocument
    from langchain_core.messages import AIMessage, BaseMessage


_PER_TOKEN = 8  # characters, at most, of what a splitter counts otherwise
_LENGTH = ("length", "max_tokens", "MAX_TOKENS", "model_length")
_REFUSED = ("refusal", "content_filter", "SAFETY")


def adapted(kind: str, given: object) -> Component | None:
    """The part of that kind that an object of LangChain becomes; None where it becomes none."""
    from langchain_core.document_loaders import BaseLoader
    from langchain_core.documents import BaseDocumentCompressor
    from langchain_core.embeddings import Embeddings
    from langchain_core.retrievers import BaseRetriever
    from langchain_core.runnables import Runnable
    from langchain_core.vectorstores import VectorStore

    if kind == "embedder" and isinstance(given, Embeddings):
        return LangChainEmbedder(embeddings=given)
    if (
        kind == "chat_model"
        and isinstance(given, Runnable)
        and not isinstance(given, BaseRetriever)
    ):
        return LangChainChat(
            model=given
        )  # bound, with retries or fallbacks, it is no BaseChatModel
    if kind == "connector" and isinstance(given, BaseLoader):
        return LangChainLoader(loader=given)
    if kind == "retriever" and isinstance(given, BaseRetriever):
        return LangChainRetriever(retriever=given)
    if kind == "retriever" and isinstance(given, VectorStore):
        return LangChainVectorStore(store=given)
    if kind == "postprocessor" and isinstance(given, BaseDocumentCompressor):
        return LangChainCompressor(compressor=given)
    if kind == "chunker" and hasattr(given, "split_text"):
        return LangChainSplitter(splitter=given)
    return None


class LangChainEmbedder(ForeignEmbedder):
    """An ``Embeddings`` of LangChain."""

    name: ClassVar[str] = "langchain"
    extra: ClassVar[str] = "langchain"
    _wraps: ClassVar[str] = "embeddings"

    embeddings: Any = Field(exclude=True, repr=False)

    def _embedded(self, texts: list[str], side: Side) -> Sequence[Sequence[float]]:
        if side == "document":
            return self.embeddings.embed_documents(texts)  # type: ignore[no-any-return]
        return [self.embeddings.embed_query(text) for text in texts]


class LangChainChat(Foreign, ChatModel):
    """A ``BaseChatModel`` of LangChain, or a ``Runnable`` around one: ``bind``, ``with_retry``.

    ``context`` is what it reads, in tokens: their interface does not tell. JSON schemas go by its
    ``with_structured_output`` where it has that.
    """

    name: ClassVar[str] = "langchain"
    extra: ClassVar[str] = "langchain"
    _wraps: ClassVar[str] = "model"

    model: Any = Field(exclude=True, repr=False)
    context: int | None = Field(None, ge=256)

    @property
    def context_tokens(self) -> int | None:
        """See `ChatModel.context_tokens`."""
        return self.context

    @property
    def model_id(self) -> str:
        """See `ChatModel.model_id`."""
        return str(getattr(self.model, "model_name", None) or self.label)

    def _complete(
        self, messages: Sequence[Message], *, schema: JsonSchema | None, sources: Sequence[Source]
    ) -> Completion:
        from rag.interop.langchain.convert import message_of

        asked = [message_of(message) for message in messages]
        try:
            if schema is not None and (found := self._structured(asked, schema)) is not None:
                return found
            return _completion(self.model.invoke(asked))
        except Exception as error:
            raise failed(self.label, error) from error

    def _structured(self, asked: list[BaseMessage], schema: JsonSchema) -> Completion | None:
        """A reply held to a schema; None where the model cannot do that."""
        named = {"title": "Reply", "description": "The reply.", **schema}
        try:
            bound = self.model.with_structured_output(named, include_raw=True)
        except (AttributeError, NotImplementedError, TypeError, ValueError):
            return None
        found = bound.invoke(asked)
        raw, parsed = _completion(found["raw"]), found["parsed"]
        if parsed is None:
            return raw
        return raw._replace(text=json.dumps(parsed))

    def _stream(
        self, messages: Sequence[Message], *, schema: JsonSchema | None, sources: Sequence[Source]
    ) -> Iterator[Delta]:
        if schema is not None:
            completion = self._complete(messages, schema=schema, sources=sources)
            yield Delta(completion.text)
            yield Delta("", completion)
            return
        from rag.interop.langchain.convert import message_of

        whole: Any = None
        try:
            for chunk in self.model.stream([message_of(message) for message in messages]):
                whole = chunk if whole is None else whole + chunk
                if said := _text(chunk):
                    yield Delta(said)
        except Exception as error:
            raise failed(self.label, error) from error
        yield Delta("", _completion(whole) if whole is not None else Completion(""))


def _text(message: BaseMessage) -> str:
    """What a message says; its content may be a list of blocks."""
    return str(message.text)


def _completion(message: AIMessage) -> Completion:
    used = message.usage_metadata or {"input_tokens": 0, "output_tokens": 0}
    told = message.response_metadata
    reason = str(told.get("finish_reason") or told.get("stop_reason") or "stop")
    reason = "length" if reason in _LENGTH else "refusal" if reason in _REFUSED else "stop"
    usage = Usage(input_tokens=used["input_tokens"], output_tokens=used["output_tokens"])
    return Completion(_text(message), usage, reason)


class LangChainLoader(ForeignConnector):
    """A ``BaseLoader`` of LangChain."""

    name: ClassVar[str] = "langchain"
    extra: ClassVar[str] = "langchain"
    _wraps: ClassVar[str] = "loader"
    _scheme: ClassVar[str] = "langchain"

    loader: Any = Field(exclude=True, repr=False)

    def _loaded(self) -> Iterator[Text]:
        for document in self.loader.lazy_load():
            yield Text(document.page_content, document.metadata, name=document.id)


class LangChainRetriever(ForeignRetriever):
    """A ``BaseRetriever`` of LangChain. How many it finds is mostly its own to say."""

    name: ClassVar[str] = "langchain"
    extra: ClassVar[str] = "langchain"
    _wraps: ClassVar[str] = "retriever"

    retriever: Any = Field(exclude=True, repr=False)

    def _found(self, query: str, k: int) -> Iterator[Text]:
        for document in self.retriever.invoke(query):
            yield _passage(document)


class LangChainVectorStore(ForeignRetriever):
    """A ``VectorStore`` of LangChain, searched by similarity.

    The score is its relevance (0 to 1) where the store tells one.
    """

    name: ClassVar[str] = "langchain-vector-store"
    extra: ClassVar[str] = "langchain"
    _wraps: ClassVar[str] = "store"

    store: Any = Field(exclude=True, repr=False)

    def _found(self, query: str, k: int) -> Iterator[Text]:
        try:
            scored = self.store.similarity_search_with_relevance_scores(query, k=k)
        except NotImplementedError:
            for document in self.store.similarity_search(query, k=k):
                yield _passage(document)
            return
        for document, score in scored:
            yield _passage(document)._replace(score=score)


def _passage(document: TheirDocument) -> Text:
    start = document.metadata.get("start_index")
    return Text(
        document.page_content,
        document.metadata,
        score=document.metadata.get("relevance_score"),
        start=start if isinstance(start, int) else None,
        name=document.id,
    )


class LangChainSplitter(ForeignChunker):
    """A ``TextSplitter`` of LangChain, or whatever has a ``split_text``."""

    name: ClassVar[str] = "langchain"
    extra: ClassVar[str] = "langchain"
    _wraps: ClassVar[str] = "splitter"

    splitter: Any = Field(exclude=True, repr=False)

    @property
    def _overlap(self) -> int:
        known = getattr(self.splitter, "_chunk_overlap", 0)
        counts = getattr(self.splitter, "_length_function", len)
        return int(known) if counts is len else int(known) * _PER_TOKEN

    def _pieces(self, document: Document) -> Sequence[Piece]:
        found = self.splitter.split_text(document.text)
        return [
            Piece(each.page_content if hasattr(each, "page_content") else each) for each in found
        ]


class LangChainCompressor(ForeignRefiner):
    """A document compressor of LangChain: rerankers, filters, extractors. See `ForeignRefiner`."""

    name: ClassVar[str] = "langchain"
    extra: ClassVar[str] = "langchain"
    _wraps: ClassVar[str] = "compressor"

    compressor: Any = Field(exclude=True, repr=False)

    def _kept(self, query: str, hits: Sequence[Hit]) -> list[Kept]:
        from langchain_core.documents import Document as TheirDocument

        given = [
            TheirDocument(
                page_content=hit.chunk.text,
                metadata={**hit.chunk.metadata, "source": hit.chunk.uri, _NUMBER: number},
            )
            for number, hit in enumerate(hits)
        ]
        return [
            Kept(
                document.metadata.get(_NUMBER, -1),
                document.page_content,
                document.metadata.get("relevance_score"),
            )
            for document in self.compressor.compress_documents(given, query)
        ]


_NUMBER = "citewell_number"
