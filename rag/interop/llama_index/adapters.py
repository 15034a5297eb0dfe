"""LlamaIndex's objects as parts of ours."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

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

_NUMBER = "citewell_number"


def adapted(kind: str, given: object) -> Component | None:
    """The part of that kind that an object of LlamaIndex becomes; None where it becomes none."""
    from llama_index.core.base.base_retriever import BaseRetriever
    from llama_index.core.base.embeddings.base import BaseEmbedding
    from llama_index.core.base.llms.base import BaseLLM
    from llama_index.core.indices.base import BaseIndex
    from llama_index.core.node_parser import NodeParser
    from llama_index.core.postprocessor.types import BaseNodePostprocessor
    from llama_index.core.readers.base import BaseReader

    if kind == "embedder" and isinstance(given, BaseEmbedding):
        return LlamaIndexEmbedder(embedding=given)
    if kind == "chat_model" and isinstance(given, BaseLLM):
        return LlamaIndexChat(llm=given)
    if kind == "connector" and isinstance(given, BaseReader):
        return LlamaIndexReader(reader=given)
    if kind == "retriever" and isinstance(given, BaseRetriever | BaseIndex):
        return LlamaIndexRetriever(retriever=given)
    if kind == "postprocessor" and isinstance(given, BaseNodePostprocessor):
        return LlamaIndexPostprocessor(postprocessor=given)
    if kind == "chunker" and isinstance(given, NodeParser):
        return LlamaIndexNodeParser(parser=given)
    return None


class LlamaIndexEmbedder(ForeignEmbedder):
    """A ``BaseEmbedding`` of LlamaIndex."""

    name: ClassVar[str] = "llama-index"
    extra: ClassVar[str] = "llama-index"
    _wraps: ClassVar[str] = "embedding"

    embedding: Any = Field(exclude=True, repr=False)

    def _embedded(self, texts: list[str], side: Side) -> Sequence[Sequence[float]]:
        if side == "document":
            return self.embedding.get_text_embedding_batch(texts)  # type: ignore[no-any-return]
        return [self.embedding.get_query_embedding(text) for text in texts]


class LlamaIndexChat(Foreign, ChatModel):
    """An ``LLM`` of LlamaIndex. What it reads, in tokens, is what its metadata says."""

    name: ClassVar[str] = "llama-index"
    extra: ClassVar[str] = "llama-index"
    _wraps: ClassVar[str] = "llm"

    llm: Any = Field(exclude=True, repr=False)
    context: int | None = Field(None, ge=256)

    @property
    def context_tokens(self) -> int | None:
        """See `ChatModel.context_tokens`."""
        told = self.context or self.llm.metadata.context_window
        return int(told) if told and told > 0 else None

    @property
    def reply_tokens(self) -> int:
        """See `ChatModel.reply_tokens`."""
        told = self.llm.metadata.num_output
        return int(told) if told and told > 0 else super().reply_tokens

    @property
    def model_id(self) -> str:
        """See `ChatModel.model_id`."""
        return str(self.llm.metadata.model_name or self.label)

    def _complete(
        self, messages: Sequence[Message], *, schema: JsonSchema | None, sources: Sequence[Source]
    ) -> Completion:
        try:
            return _completion(self.llm.chat(_to_messages(messages)))
        except Exception as error:
            raise failed(self.label, error) from error

    def _stream(
        self, messages: Sequence[Message], *, schema: JsonSchema | None, sources: Sequence[Source]
    ) -> Iterator[Delta]:
        last: Any = None
        said = ""
        try:
            for response in self.llm.stream_chat(_to_messages(messages)):
                last = response
                if response.delta:
                    said += response.delta
                    yield Delta(response.delta)
        except NotImplementedError:
            completion = self._complete(messages, schema=schema, sources=sources)
            yield Delta(completion.text)
            yield Delta("", completion)
            return
        except Exception as error:
            raise failed(self.label, error) from error
        whole = Completion("") if last is None else _completion(last)
        yield Delta("", whole._replace(text=said))


def _to_messages(messages: Sequence[Message]) -> list[Any]:
    from llama_index.core.base.llms.types import ChatMessage, MessageRole

    return [ChatMessage(role=MessageRole(each.role), content=each.content) for each in messages]


def _completion(response: Any) -> Completion:
    told = dict(response.additional_kwargs or {})
    raw = response.raw
    used = getattr(raw, "usage", None) if not isinstance(raw, Mapping) else raw.get("usage")
    if used is not None:
        told |= dict(used) if isinstance(used, Mapping) else dict(vars(used))
    usage = Usage(
        input_tokens=_count(told, "prompt_tokens", "input_tokens"),
        output_tokens=_count(told, "completion_tokens", "output_tokens"),
    )
    return Completion(str(response.message.content or ""), usage)


def _count(told: Mapping[str, Any], *names: str) -> int:
    return next((told[name] for name in names if isinstance(told.get(name), int)), 0)


class LlamaIndexReader(ForeignConnector):
    """A reader of LlamaIndex; ``arguments`` are what its ``load_data`` is called with."""

    name: ClassVar[str] = "llama-index"
    extra: ClassVar[str] = "llama-index"
    _wraps: ClassVar[str] = "reader"
    _scheme: ClassVar[str] = "llama-index"

    reader: Any = Field(exclude=True, repr=False)
    arguments: dict[str, Any] = Field({}, exclude=True)

    def _loaded(self) -> Iterator[Text]:
        for document in self.reader.load_data(**self.arguments):
            yield Text(document.text, document.metadata, name=_own_name(document))


def _own_name(document: Any) -> str | None:
    """Its id, unless that is made up anew every time it is loaded."""
    import uuid

    name = str(document.id_)
    try:
        uuid.UUID(name)
    except ValueError:
        return name
    return None


class LlamaIndexNodeParser(ForeignChunker):
    """A node parser of LlamaIndex; the offsets it gives are kept where they are true."""

    name: ClassVar[str] = "llama-index"
    extra: ClassVar[str] = "llama-index"
    _wraps: ClassVar[str] = "parser"

    parser: Any = Field(exclude=True, repr=False)

    def _pieces(self, document: Document) -> Sequence[Piece]:
        from llama_index.core.schema import Document as TheirDocument
        from llama_index.core.schema import MetadataMode

        theirs = TheirDocument(text=document.text, id_=document.uri)
        return [
            Piece(node.get_content(metadata_mode=MetadataMode.NONE), _start(node))
            for node in self.parser.get_nodes_from_documents([theirs])
        ]


def _start(node: Any) -> int | None:
    start = getattr(node, "start_char_idx", None)
    return start if isinstance(start, int) else None


class LlamaIndexRetriever(ForeignRetriever):
    """A retriever of LlamaIndex, or an index: then it finds as many as are asked for."""

    name: ClassVar[str] = "llama-index"
    extra: ClassVar[str] = "llama-index"
    _wraps: ClassVar[str] = "retriever"

    retriever: Any = Field(exclude=True, repr=False)

    def _found(self, query: str, k: int) -> Iterator[Text]:
        retriever = self.retriever
        if hasattr(retriever, "as_retriever"):
            retriever = retriever.as_retriever(similarity_top_k=k)
        for found in retriever.retrieve(query):
            node = found.node
            metadata = {**node.metadata}
            if node.ref_doc_id:
                metadata["ref_doc_id"] = node.ref_doc_id
            yield Text(_content(node), metadata, score=found.score, start=_start(node))


def _content(node: Any) -> str:
    from llama_index.core.schema import MetadataMode

    return str(node.get_content(metadata_mode=MetadataMode.NONE))


class LlamaIndexPostprocessor(ForeignRefiner):
    """A node postprocessor of LlamaIndex: rerankers, filters, optimisers. See `ForeignRefiner`."""

    name: ClassVar[str] = "llama-index"
    extra: ClassVar[str] = "llama-index"
    _wraps: ClassVar[str] = "postprocessor"

    postprocessor: Any = Field(exclude=True, repr=False)

    def _kept(self, query: str, hits: Sequence[Hit]) -> list[Kept]:
        from rag.interop.llama_index.exports import node_of

        given = [node_of(hit, {_NUMBER: number}) for number, hit in enumerate(hits)]
        return [
            Kept(each.node.metadata.get(_NUMBER, -1), _content(each.node), each.score)
            for each in self.postprocessor.postprocess_nodes(given, query_str=query)
        ]
