"""Exports: our parts as LlamaIndex's objects."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, cast

from anyio import to_thread
from llama_index.core.base.base_query_engine import BaseQueryEngine
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.base.response.schema import (
    AsyncStreamingResponse,
    Response,
    StreamingResponse,
)
from llama_index.core.node_parser import NodeParser
from llama_index.core.schema import (
    BaseNode,
    NodeRelationship,
    NodeWithScore,
    QueryBundle,
    TextNode,
)
from llama_index.core.tools import FunctionTool
from pydantic import PrivateAttr

from rag.chunking import Chunker
from rag.component import Component, build
from rag.embedding import Embedder
from rag.filters import Where
from rag.generation import AnswerCompleted, Event, TextDelta
from rag.interop.formatting import format_answer
from rag.interop.llama_index.convert import citation_nodes, hit_to_node, response_metadata
from rag.pipeline import Pipeline
from rag.types import Answer, Document, flatten_metadata


class CitewellRetriever(BaseRetriever):
    """The search of a pipeline as a retriever; `k` is the number of nodes, `where` a filter."""

    def __init__(
        self,
        pipeline: Pipeline,
        *,
        k: int | None = None,
        where: Where | None = None,
        **base_options: Any,
    ) -> None:
        super().__init__(**base_options)
        self.pipeline = pipeline
        self.k = k
        self.where = where

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        hits = self.pipeline.search(query_bundle.query_str, k=self.k, where=self.where)
        return [hit_to_node(hit) for hit in hits]

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        hits = await self.pipeline.asearch(query_bundle.query_str, k=self.k, where=self.where)
        return [hit_to_node(hit) for hit in hits]


class CitewellQueryEngine(BaseQueryEngine):
    """A pipeline as a query engine.

    The source nodes of a response are the citations, in the order of their markers: each holds
    its quote, the exact span in its source, ``marker``, ``support`` and ``verified``. The
    response's metadata has ``status``, ``reason``, ``sentences`` and ``passages`` (nodes of the
    retrieved chunks). With `streaming`, nodes and metadata are filled in when the text is complete.
    """

    def __init__(
        self, pipeline: Pipeline, *, where: Where | None = None, streaming: bool = False
    ) -> None:
        super().__init__(callback_manager=None)
        self.pipeline = pipeline
        self.where = where
        self.streaming = streaming

    def _get_prompt_modules(self) -> dict[str, Any]:
        return {}

    def _query(self, query_bundle: QueryBundle) -> Response | StreamingResponse:
        question = query_bundle.query_str
        if not self.streaming:
            return _to_response(self.pipeline.ask(question, where=self.where))
        stream = _AnswerStream()
        texts = stream.iterate(self.pipeline.stream(question, where=self.where))
        return StreamingResponse(texts, stream.nodes, stream.metadata)  # type: ignore[arg-type]

    async def _aquery(self, query_bundle: QueryBundle) -> Response | AsyncStreamingResponse:
        question = query_bundle.query_str
        if not self.streaming:
            return _to_response(await self.pipeline.aask(question, where=self.where))
        stream = _AnswerStream()
        texts = stream.aiterate(self.pipeline.astream(question, where=self.where))
        return AsyncStreamingResponse(texts, stream.nodes, stream.metadata)  # type: ignore[arg-type]


def _to_response(answer: Answer) -> Response:
    return Response(
        response=answer.text,
        source_nodes=citation_nodes(answer),
        metadata=response_metadata(answer),
    )


class _AnswerStream:
    """Yields the text of events, and collects the nodes and metadata of the completed answer."""

    def __init__(self) -> None:
        self.nodes: list[NodeWithScore] = []
        self.metadata: dict[str, Any] = {}
        self._streamed_text = ""

    def iterate(self, events: Iterator[Event]) -> Iterator[str]:
        for event in events:
            yield from self._convert(event)

    async def aiterate(self, events: AsyncIterator[Event]) -> AsyncIterator[str]:
        async for event in events:
            for text in self._convert(event):
                yield text

    def _convert(self, event: Event) -> Iterator[str]:
        """Yield the text of an event; the answer follows streamed text that is withdrawn."""
        if isinstance(event, TextDelta):
            self._streamed_text += event.text
            yield event.text
        elif isinstance(event, AnswerCompleted):
            answer = event.answer
            self.nodes += citation_nodes(answer)
            self.metadata |= response_metadata(answer)
            if answer.text != self._streamed_text:
                yield f"\n\n{answer.text}" if self._streamed_text else answer.text


class CitewellEmbedding(BaseEmbedding):
    """An embedder as an embedding; `embedder` is a part, its name, or its configuration.

    The field ``embedder`` holds its configuration and fingerprint, so that LlamaIndex's caches
    distinguish embedders, and a saved embedding can be loaded again.
    """

    embedder: dict[str, Any]
    _part: Embedder = PrivateAttr()

    def __init__(
        self, embedder: Embedder | Mapping[str, Any] | str = "static", **base_options: Any
    ) -> None:
        part = cast(Embedder, _build_part("embedder", embedder))
        fields = {"model_name": _model_name(part), "embedder": _serialize_part(part)}
        super().__init__(**{**base_options, **fields})
        self._part = part

    @classmethod
    def class_name(cls) -> str:
        """Return the name in LlamaIndex's files."""
        return "CitewellEmbedding"

    def _get_query_embedding(self, query: str) -> list[float]:
        return cast(list[float], self._part.embed_query(query).tolist())

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return await to_thread.run_sync(self._get_query_embedding, query)

    def _get_text_embedding(self, text: str) -> list[float]:
        return self._get_text_embeddings([text])[0]

    def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return cast(list[list[float]], self._part.embed_documents(texts).tolist())

    async def _aget_text_embedding(self, text: str) -> list[float]:
        return await to_thread.run_sync(self._get_text_embedding, text)

    async def _aget_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return await to_thread.run_sync(self._get_text_embeddings, texts)


_FINGERPRINT = "fingerprint"


def _serialize_part(part: Component) -> dict[str, Any]:
    return {**part.config(), _FINGERPRINT: part.fingerprint}


def _build_part(kind: str, config: Any) -> Component:
    """Build a part; its configuration may be one that `_serialize_part` has returned."""
    if isinstance(config, Mapping):
        config = {key: value for key, value in config.items() if key != _FINGERPRINT}
    return build(kind, config)


def _model_name(part: Component) -> str:
    return str(getattr(part, "model", None) or getattr(part, "label", None) or part.name)


class CitewellNodeParser(NodeParser):
    """A chunker as a node parser: nodes with exact offsets.

    `chunker` is a part, its name, or its configuration; `embedder` counts the tokens. The fields of
    these names hold configurations and fingerprints, as in `CitewellEmbedding`.
    """

    chunker: dict[str, Any]
    embedder: dict[str, Any]
    _chunker: Chunker = PrivateAttr()
    _embedder: Embedder = PrivateAttr()

    def __init__(
        self,
        chunker: Chunker | Mapping[str, Any] | str = "headings",
        embedder: Embedder | Mapping[str, Any] | str = "static",
        **base_options: Any,
    ) -> None:
        chunker_part = cast(Chunker, _build_part("chunker", chunker))
        embedder_part = cast(Embedder, _build_part("embedder", embedder))
        base_options.pop("id_func", None)  # nodes have the ids of the chunks
        fields = {
            "chunker": _serialize_part(chunker_part),
            "embedder": _serialize_part(embedder_part),
        }
        super().__init__(**{**base_options, **fields})
        self._chunker, self._embedder = chunker_part, embedder_part

    @classmethod
    def class_name(cls) -> str:
        """Return the name in LlamaIndex's files."""
        return "CitewellNodeParser"

    def _parse_nodes(
        self, nodes: Sequence[BaseNode], show_progress: bool = False, **kwargs: Any
    ) -> list[BaseNode]:
        return [chunk_node for node in nodes for chunk_node in self._split_node(node)]

    def _split_node(self, node: BaseNode) -> Iterator[BaseNode]:
        document = Document(
            uri=node.node_id or "document",
            text=getattr(node, "text", node.get_content()),
            metadata=flatten_metadata(node.metadata),
        )
        inherited_fields = {
            name: getattr(node, name)
            for name in _INHERITED_FIELDS
            if name in type(node).model_fields and name in TextNode.model_fields
        }
        for chunk in self._chunker.split(document, self._embedder):
            yield TextNode(
                id_=chunk.id,
                text=chunk.text,
                start_char_idx=chunk.start,
                end_char_idx=chunk.end,
                metadata=dict(node.metadata) if self.include_metadata else {},
                relationships={NodeRelationship.SOURCE: node.as_related_node_info()},
                **inherited_fields,
            )

    def _postprocess_parsed_nodes(
        self, nodes: list[BaseNode], parent_doc_map: dict[str, Any]
    ) -> list[BaseNode]:
        """Link each node with its neighbours. The offsets are already exact."""
        for previous, following in pairwise(nodes) if self.include_prev_next_rel else ():
            if previous.ref_doc_id == following.ref_doc_id:
                previous.relationships[NodeRelationship.NEXT] = following.as_related_node_info()
                following.relationships[NodeRelationship.PREVIOUS] = previous.as_related_node_info()
        return nodes


_INHERITED_FIELDS = (
    "excluded_embed_metadata_keys",
    "excluded_llm_metadata_keys",
    "metadata_separator",
    "metadata_template",
    "text_template",
)


def citewell_tool(
    pipeline: Pipeline,
    *,
    name: str = "ask_documents",
    description: str = "Answers a question from the documents, citing exact quotes from them.",
    where: Where | None = None,
) -> FunctionTool:
    """Return a pipeline as a tool for agents; the model reads the answer and its quotes."""

    def ask(question: str) -> str:
        return format_answer(pipeline.ask(question, where=where))

    async def aask(question: str) -> str:
        return format_answer(await pipeline.aask(question, where=where))

    return FunctionTool.from_defaults(ask, async_fn=aask, name=name, description=description)
