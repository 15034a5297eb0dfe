"""Adapters: LlamaIndex's objects as our parts."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.base.llms.base import BaseLLM
from llama_index.core.base.llms.types import ChatMessage, MessageRole
from llama_index.core.indices.base import BaseIndex
from llama_index.core.node_parser import NodeParser
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.readers.base import BaseReader
from llama_index.core.schema import Document as LlamaIndexDocument
from llama_index.core.schema import MetadataMode
from pydantic import Field

from rag.component import Component
from rag.interop.base import Adapter, ExternalText, WrappedObject, adapt_object
from rag.interop.chat_model import ChatModelAdapter
from rag.interop.chunker import ChunkerAdapter, Piece
from rag.interop.connector import ConnectorAdapter
from rag.interop.embedder import EmbedderAdapter
from rag.interop.llama_index.convert import hit_to_node
from rag.interop.postprocessor import HIT_NUMBER_KEY, PostprocessorAdapter, RankedPassage
from rag.interop.retriever import RetrieverAdapter
from rag.llm import Completion, Delta
from rag.llm.base import JsonSchema
from rag.types import Document, Hit, Message, Usage


class _LlamaIndexAdapter(Adapter):
    name: ClassVar[str] = "llama-index"
    extra: ClassVar[str] = "llama-index"


class LlamaIndexReader(_LlamaIndexAdapter, ConnectorAdapter):
    """A reader of LlamaIndex as a connector; ``arguments`` are passed to its ``load_data``."""

    reader: WrappedObject
    arguments: dict[str, Any] = Field({}, exclude=True)

    def _load_texts(self) -> Iterator[ExternalText]:
        for document in self.reader.load_data(**self.arguments):
            yield ExternalText(document.text, document.metadata, name=_stable_id(document))


def _stable_id(document: Any) -> str | None:
    """Return the document's id, or None if it is a UUID, since that changes with every load."""
    document_id = str(document.id_)
    try:
        uuid.UUID(document_id)
    except ValueError:
        return document_id
    return None


class LlamaIndexNodeParser(_LlamaIndexAdapter, ChunkerAdapter):
    """A node parser of LlamaIndex as a chunker; the offsets of its nodes are used if correct."""

    parser: WrappedObject

    def _split_text(self, document: Document) -> Sequence[Piece]:
        llama_document = LlamaIndexDocument(text=document.text, id_=document.uri)
        nodes = self.parser.get_nodes_from_documents([llama_document])
        return [Piece(_node_text(node), _node_start(node)) for node in nodes]


def _node_text(node: Any) -> str:
    return str(node.get_content(metadata_mode=MetadataMode.NONE))


def _node_start(node: Any) -> int | None:
    start = getattr(node, "start_char_idx", None)
    return start if isinstance(start, int) else None


class LlamaIndexEmbedder(_LlamaIndexAdapter, EmbedderAdapter):
    """A ``BaseEmbedding`` of LlamaIndex as an embedder."""

    embedding: WrappedObject

    def _request_document_vectors(self, texts: list[str]) -> Sequence[Sequence[float]]:
        vectors: list[list[float]] = self.embedding.get_text_embedding_batch(texts)
        return vectors

    def _request_query_vector(self, text: str) -> Sequence[float]:
        return self.embedding.get_query_embedding(text)  # type: ignore[no-any-return]


class LlamaIndexChat(_LlamaIndexAdapter, ChatModelAdapter):
    """An ``LLM`` of LlamaIndex as a chat model.

    Its token limits are those of its metadata; ``context`` overrides the context window.
    """

    llm: WrappedObject

    @property
    def context_tokens(self) -> int | None:
        """See `ChatModel.context_tokens`."""
        token_count = self.context or self.llm.metadata.context_window
        return int(token_count) if token_count and token_count > 0 else None

    @property
    def reply_tokens(self) -> int:
        """See `ChatModel.reply_tokens`."""
        token_count = self.llm.metadata.num_output
        return int(token_count) if token_count and token_count > 0 else super().reply_tokens

    @property
    def model_id(self) -> str:
        """See `ChatModel.model_id`."""
        return str(self.llm.metadata.model_name or self.label)

    def _request(self, messages: Sequence[Message], schema: JsonSchema | None) -> Completion:
        return _to_completion(self.llm.chat(_to_chat_messages(messages)))

    def _request_stream(
        self, messages: Sequence[Message], schema: JsonSchema | None
    ) -> Iterator[Delta]:
        response: Any = None
        text = ""
        for response in self.llm.stream_chat(_to_chat_messages(messages)):
            if response.delta:
                text += response.delta
                yield Delta(response.delta)
        completion = Completion("") if response is None else _to_completion(response)
        yield Delta("", completion._replace(text=text))


def _to_chat_messages(messages: Sequence[Message]) -> list[ChatMessage]:
    return [
        ChatMessage(role=MessageRole(message.role), content=message.content) for message in messages
    ]


def _to_completion(response: Any) -> Completion:
    token_counts = dict(response.additional_kwargs or {})
    raw = response.raw
    raw_usage = raw.get("usage") if isinstance(raw, Mapping) else getattr(raw, "usage", None)
    if raw_usage is not None:
        token_counts |= raw_usage if isinstance(raw_usage, Mapping) else vars(raw_usage)
    usage = Usage(
        input_tokens=_first_integer(token_counts, "prompt_tokens", "input_tokens"),
        output_tokens=_first_integer(token_counts, "completion_tokens", "output_tokens"),
    )
    return Completion(str(response.message.content or ""), usage)


def _first_integer(values: Mapping[str, Any], *keys: str) -> int:
    """Return the first value that is an integer, or 0."""
    return next((values[key] for key in keys if isinstance(values.get(key), int)), 0)


class LlamaIndexRetriever(_LlamaIndexAdapter, RetrieverAdapter):
    """A retriever of LlamaIndex as a retriever, or an index, which returns `k` hits."""

    retriever: WrappedObject

    def _retrieve_passages(self, query: str, k: int) -> Iterator[ExternalText]:
        retriever = self.retriever
        if hasattr(retriever, "as_retriever"):
            retriever = retriever.as_retriever(similarity_top_k=k)
        for scored_node in retriever.retrieve(query):
            node = scored_node.node
            metadata = {**node.metadata}
            if node.ref_doc_id:
                metadata["ref_doc_id"] = node.ref_doc_id
            yield ExternalText(
                _node_text(node), metadata, score=scored_node.score, start=_node_start(node)
            )


class LlamaIndexPostprocessor(_LlamaIndexAdapter, PostprocessorAdapter):
    """A node postprocessor of LlamaIndex as a postprocessor: rerankers, filters, optimizers.

    See `PostprocessorAdapter`.
    """

    postprocessor: WrappedObject

    def _rank_passages(self, query: str, hits: Sequence[Hit]) -> list[RankedPassage]:
        nodes = [hit_to_node(hit, {HIT_NUMBER_KEY: number}) for number, hit in enumerate(hits)]
        ranked_nodes = self.postprocessor.postprocess_nodes(nodes, query_str=query)
        return [
            RankedPassage(node.metadata.get(HIT_NUMBER_KEY, -1), _node_text(node), node.score)
            for node in ranked_nodes
        ]


_ADAPTERS: tuple[tuple[type, type[Adapter]], ...] = (
    (BaseReader, LlamaIndexReader),
    (NodeParser, LlamaIndexNodeParser),
    (BaseEmbedding, LlamaIndexEmbedder),
    (BaseLLM, LlamaIndexChat),
    (BaseRetriever, LlamaIndexRetriever),
    (BaseIndex, LlamaIndexRetriever),
    (BaseNodePostprocessor, LlamaIndexPostprocessor),
)


def adapt(kind: str, candidate: object) -> Component | None:
    """Return an object of LlamaIndex as a part of that kind, or None if no adapter accepts it."""
    return adapt_object(kind, candidate, _ADAPTERS)
