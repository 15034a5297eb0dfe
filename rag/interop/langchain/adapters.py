"""Adapters: LangChain's objects as our parts."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Protocol, runtime_checkable

from langchain_core.document_loaders import BaseLoader
from langchain_core.documents import BaseDocumentCompressor
from langchain_core.documents import Document as LangChainDocument
from langchain_core.embeddings import Embeddings
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import Runnable
from langchain_core.vectorstores import VectorStore

from rag.component import Component
from rag.interop.base import Adapter, ExternalText, WrappedObject, adapt_object
from rag.interop.chat_model import ChatModelAdapter
from rag.interop.chunker import ChunkerAdapter, Piece
from rag.interop.connector import ConnectorAdapter
from rag.interop.embedder import EmbedderAdapter
from rag.interop.langchain.convert import to_langchain_message
from rag.interop.postprocessor import HIT_NUMBER_KEY, PostprocessorAdapter, RankedPassage
from rag.interop.retriever import RetrieverAdapter
from rag.llm import Completion, Delta
from rag.llm.base import JsonSchema
from rag.types import Document, Hit, Message, Usage

_CHARACTERS_PER_UNIT = 8
"""Upper limit of the characters in a unit of a splitter that does not count characters."""
_LENGTH_REASONS = ("length", "max_tokens", "MAX_TOKENS", "model_length")
_REFUSAL_REASONS = ("refusal", "content_filter", "SAFETY")


class _LangChainAdapter(Adapter):
    name: ClassVar[str] = "langchain"
    extra: ClassVar[str] = "langchain"


class LangChainEmbedder(_LangChainAdapter, EmbedderAdapter):
    """An ``Embeddings`` of LangChain as an embedder.

    Passages and questions are embedded by different methods, as in our embedders.
    """

    embeddings: WrappedObject

    def _request_document_vectors(self, texts: list[str]) -> Sequence[Sequence[float]]:
        return self.embeddings.embed_documents(texts)  # type: ignore[no-any-return]

    def _request_query_vector(self, text: str) -> Sequence[float]:
        return self.embeddings.embed_query(text)  # type: ignore[no-any-return]


class LangChainChat(_LangChainAdapter, ChatModelAdapter):
    """A ``BaseChatModel`` of LangChain as a chat model, or a ``Runnable`` around one.

    ``bind``, ``with_retry`` and ``with_fallbacks`` make such runnables. ``context`` is the context
    window in tokens; LangChain's interface does not report it. A JSON schema is passed to
    ``with_structured_output`` if the model has that method.
    """

    model: WrappedObject

    @property
    def model_id(self) -> str:
        """See `ChatModel.model_id`."""
        return str(getattr(self.model, "model_name", None) or self.label)

    def _request(self, messages: Sequence[Message], schema: JsonSchema | None) -> Completion:
        prompt = [to_langchain_message(message) for message in messages]
        completion = None if schema is None else self._request_json(prompt, schema)
        return completion or _to_completion(self.model.invoke(prompt))

    def _request_json(self, prompt: list[BaseMessage], schema: JsonSchema) -> Completion | None:
        """Return a reply that follows a schema, or None if the model does not support schemas."""
        titled_schema = {"title": "Reply", "description": "The reply.", **schema}
        try:
            structured_model = self.model.with_structured_output(titled_schema, include_raw=True)
        except (AttributeError, NotImplementedError, TypeError, ValueError):
            return None
        reply = structured_model.invoke(prompt)
        completion = _to_completion(reply["raw"])
        if reply["parsed"] is None:
            return completion
        return completion._replace(text=json.dumps(reply["parsed"]))

    def _request_stream(
        self, messages: Sequence[Message], schema: JsonSchema | None
    ) -> Iterator[Delta]:
        if schema is not None:
            raise NotImplementedError("replies that follow a schema are not streamed")
        reply: Any = None
        for chunk in self.model.stream([to_langchain_message(message) for message in messages]):
            reply = chunk if reply is None else reply + chunk
            if text := _message_text(chunk):
                yield Delta(text)
        yield Delta("", Completion("") if reply is None else _to_completion(reply))


def _message_text(message: BaseMessage) -> str:
    """Return the text of a message; its content may be a list of blocks."""
    return str(message.text)


def _to_completion(message: AIMessage) -> Completion:
    token_counts = message.usage_metadata or {"input_tokens": 0, "output_tokens": 0}
    usage = Usage(
        input_tokens=token_counts["input_tokens"], output_tokens=token_counts["output_tokens"]
    )
    metadata = message.response_metadata
    reason = str(metadata.get("finish_reason") or metadata.get("stop_reason") or "stop")
    if reason in _LENGTH_REASONS:
        return Completion(_message_text(message), usage, "length")
    finish_reason = "refusal" if reason in _REFUSAL_REASONS else "stop"
    return Completion(_message_text(message), usage, finish_reason)


class LangChainLoader(_LangChainAdapter, ConnectorAdapter):
    """A ``BaseLoader`` of LangChain as a connector."""

    loader: WrappedObject

    def _load_texts(self) -> Iterator[ExternalText]:
        for document in self.loader.lazy_load():
            yield ExternalText(document.page_content, document.metadata, name=document.id)


class LangChainRetriever(_LangChainAdapter, RetrieverAdapter):
    """A ``BaseRetriever`` of LangChain as a retriever. Most choose the number of results."""

    retriever: WrappedObject

    def _retrieve_passages(self, query: str, k: int) -> Iterator[ExternalText]:
        for document in self.retriever.invoke(query):
            yield _to_external_text(document)


class LangChainVectorStore(_LangChainAdapter, RetrieverAdapter):
    """A ``VectorStore`` of LangChain as a retriever that searches by similarity.

    The score is the store's relevance score (0 to 1) if it has one.
    """

    name: ClassVar[str] = "langchain-vector-store"
    store: WrappedObject

    def _retrieve_passages(self, query: str, k: int) -> Iterator[ExternalText]:
        try:
            scored_documents = self.store.similarity_search_with_relevance_scores(query, k=k)
        except NotImplementedError:
            for document in self.store.similarity_search(query, k=k):
                yield _to_external_text(document)
            return
        for document, score in scored_documents:
            yield _to_external_text(document)._replace(score=score)


def _to_external_text(document: LangChainDocument) -> ExternalText:
    start = document.metadata.get("start_index")
    return ExternalText(
        document.page_content,
        document.metadata,
        score=document.metadata.get("relevance_score"),
        start=start if isinstance(start, int) else None,
        name=document.id,
    )


@runtime_checkable
class _SplitsText(Protocol):
    def split_text(self, text: str) -> Sequence[Any]: ...


class LangChainSplitter(_LangChainAdapter, ChunkerAdapter):
    """A ``TextSplitter`` of LangChain, or any object with ``split_text``, as a chunker."""

    splitter: WrappedObject

    @property
    def _overlap_characters(self) -> int:
        overlap = int(getattr(self.splitter, "_chunk_overlap", 0))
        counts_characters = getattr(self.splitter, "_length_function", len) is len
        return overlap if counts_characters else overlap * _CHARACTERS_PER_UNIT

    def _split_text(self, document: Document) -> Sequence[Piece]:
        return [
            Piece(piece.page_content if hasattr(piece, "page_content") else piece)
            for piece in self.splitter.split_text(document.text)
        ]


class LangChainCompressor(_LangChainAdapter, PostprocessorAdapter):
    """A document compressor of LangChain as a postprocessor: rerankers, filters, extractors.

    See `PostprocessorAdapter`.
    """

    compressor: WrappedObject

    def _rank_passages(self, query: str, hits: Sequence[Hit]) -> list[RankedPassage]:
        documents = [
            LangChainDocument(
                page_content=hit.chunk.text,
                metadata={**hit.chunk.metadata, "source": hit.chunk.uri, HIT_NUMBER_KEY: number},
            )
            for number, hit in enumerate(hits)
        ]
        return [
            RankedPassage(
                document.metadata.get(HIT_NUMBER_KEY, -1),
                document.page_content,
                document.metadata.get("relevance_score"),
            )
            for document in self.compressor.compress_documents(documents, query)
        ]


_ADAPTERS: tuple[tuple[type, type[Adapter]], ...] = (
    (Embeddings, LangChainEmbedder),
    (Runnable, LangChainChat),
    (BaseLoader, LangChainLoader),
    (BaseRetriever, LangChainRetriever),
    (VectorStore, LangChainVectorStore),
    (BaseDocumentCompressor, LangChainCompressor),
    (_SplitsText, LangChainSplitter),
)


def adapt(kind: str, candidate: object) -> Component | None:
    """Return an object of LangChain as a part of that kind, or None if no adapter accepts it."""
    if kind == "chat_model" and isinstance(candidate, BaseRetriever):
        return None  # a retriever is a Runnable, but not a model
    return adapt_object(kind, candidate, _ADAPTERS)
