"""Our parts as LlamaIndex's objects."""

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
    RelatedNodeInfo,
    TextNode,
)
from llama_index.core.tools import FunctionTool
from pydantic import PrivateAttr

from rag.chunking import Chunker
from rag.component import Component, build
from rag.embedding import Embedder
from rag.filters import Where
from rag.generation import AnswerCompleted, Event, TextDelta
from rag.interop.formatting import as_told
from rag.pipeline import Pipeline
from rag.types import Answer, Chunk, Citation, Document, Hit, flat_metadata


def node_of(hit: Hit, more: Mapping[str, Any] | None = None) -> NodeWithScore:
    """A hit as a node: its span is in ``start_char_idx`` and ``end_char_idx``."""
    return NodeWithScore(node=_chunk_node(hit.chunk, more), score=hit.score)


def _chunk_node(chunk: Chunk, more: Mapping[str, Any] | None = None) -> TextNode:
    own: dict[str, Any] = {"uri": chunk.uri, "title": chunk.title, **(more or {})}
    own |= {str(kind): value for kind, value in chunk.location.items()}
    return TextNode(
        id_=chunk.id,
        text=chunk.text,
        start_char_idx=chunk.start,
        end_char_idx=chunk.end,
        metadata={**_plain(chunk.metadata), **own},
        excluded_embed_metadata_keys=list(own),
        excluded_llm_metadata_keys=list(more or {}),
        relationships={NodeRelationship.SOURCE: RelatedNodeInfo(node_id=chunk.uri)},
    )


def _plain(metadata: Mapping[str, Any]) -> dict[str, Any]:
    return {key: list(v) if isinstance(v, tuple) else v for key, v in metadata.items()}


def citation_node(citation: Citation) -> NodeWithScore:
    """A citation as a source node: the quote, its exact span, and whether it is verified."""
    told = citation.model_dump(mode="json", exclude={"quote", "start", "end", "location", "page"})
    node = TextNode(
        text=citation.quote,
        start_char_idx=citation.start,
        end_char_idx=citation.end,
        metadata={**told, **citation.location},
        relationships={NodeRelationship.SOURCE: RelatedNodeInfo(node_id=citation.uri)},
    )
    return NodeWithScore(node=node, score=citation.support)


class CitewellRetriever(BaseRetriever):
    """The search of a pipeline as a retriever; `k` is how many it finds, `where` a filter."""

    def __init__(
        self, pipeline: Pipeline, *, k: int | None = None, where: Where | None = None, **more: Any
    ) -> None:
        super().__init__(**more)
        self.pipeline = pipeline
        self.k = k
        self.where = where

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        hits = self.pipeline.search(query_bundle.query_str, k=self.k, where=self.where)
        return [node_of(hit) for hit in hits]

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        hits = await self.pipeline.asearch(query_bundle.query_str, k=self.k, where=self.where)
        return [node_of(hit) for hit in hits]


class CitewellQueryEngine(BaseQueryEngine):
    """A pipeline as a query engine.

    The source nodes of a response are the citations, in the order of their markers: each holds
    its quote, the exact span in its source, ``marker``, ``support`` and ``verified``. The
    response's metadata has ``status``, ``reason``, ``sentences`` and ``passages`` (nodes of what
    was retrieved). With `streaming`, both are filled when the text has come to its end.
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
            return _response(self.pipeline.ask(question, where=self.where))
        nodes: list[NodeWithScore] = []
        told: dict[str, Any] = {}
        texts = _texts(self.pipeline.stream(question, where=self.where), nodes, told)
        return StreamingResponse(response_gen=texts, source_nodes=nodes, metadata=told)  # type: ignore[arg-type]

    async def _aquery(self, query_bundle: QueryBundle) -> Response | AsyncStreamingResponse:
        question = query_bundle.query_str
        if not self.streaming:
            return _response(await self.pipeline.aask(question, where=self.where))
        nodes: list[NodeWithScore] = []
        told: dict[str, Any] = {}
        texts = _atexts(self.pipeline.astream(question, where=self.where), nodes, told)
        return AsyncStreamingResponse(response_gen=texts, source_nodes=nodes, metadata=told)  # type: ignore[arg-type]


def _response(answer: Answer) -> Response:
    return Response(response=answer.text, source_nodes=_cited(answer), metadata=_told(answer))


def _cited(answer: Answer) -> list[NodeWithScore]:
    return [citation_node(c) for c in sorted(answer.citations, key=lambda c: (c.marker, c.start))]


def _told(answer: Answer) -> dict[str, Any]:
    return {
        "status": answer.status,
        "reason": answer.reason,
        "sentences": [sentence.model_dump(mode="json") for sentence in answer.sentences],
        "passages": [node_of(hit) for hit in answer.hits],
    }


def _texts(
    events: Iterator[Event], nodes: list[NodeWithScore], told: dict[str, Any]
) -> Iterator[str]:
    said = ""
    for event in events:
        yield from _said(event, said, nodes, told)
        said += event.text if isinstance(event, TextDelta) else ""


async def _atexts(
    events: AsyncIterator[Event], nodes: list[NodeWithScore], told: dict[str, Any]
) -> AsyncIterator[str]:
    said = ""
    async for event in events:
        for text in _said(event, said, nodes, told):
            yield text
        said += event.text if isinstance(event, TextDelta) else ""


def _said(
    event: Event, said: str, nodes: list[NodeWithScore], told: dict[str, Any]
) -> Iterator[str]:
    if isinstance(event, TextDelta):
        yield event.text
    elif isinstance(event, AnswerCompleted):
        nodes += _cited(event.answer)
        told |= _told(event.answer)
        if event.answer.text != said:
            yield f"\n\n{event.answer.text}" if said else event.answer.text


class CitewellEmbedding(BaseEmbedding):
    """An embedder as an embedding; `embedder` is a part, its name, or its configuration.

    Its configuration and fingerprint stand in the field of that name, so that LlamaIndex's caches
    tell one from another, and what was written down can be read again.
    """

    embedder: dict[str, Any]
    _part: Embedder = PrivateAttr()

    def __init__(
        self, embedder: Embedder | Mapping[str, Any] | str = "static", **more: Any
    ) -> None:
        part = cast(Embedder, _built("embedder", embedder))
        super().__init__(**{**more, "model_name": _model(part), "embedder": _written(part)})
        self._part = part

    @classmethod
    def class_name(cls) -> str:
        """Name in LlamaIndex's files."""
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


def _written(part: Component) -> dict[str, Any]:
    return {**part.config(), _FINGERPRINT: part.fingerprint}


def _built(kind: str, given: Any) -> Component:
    if isinstance(given, Mapping):
        given = {key: value for key, value in given.items() if key != _FINGERPRINT}
    return build(kind, given)


def _model(part: Component) -> str:
    return str(getattr(part, "model", None) or getattr(part, "label", None) or part.name)


class CitewellNodeParser(NodeParser):
    """A chunker as a node parser: nodes with exact offsets.

    `chunker` is a part, its name, or its configuration; tokens are the `embedder`'s. Both stand in
    the fields of these names, as with `CitewellEmbedding`.
    """

    chunker: dict[str, Any]
    embedder: dict[str, Any]
    _chunker: Chunker = PrivateAttr()
    _embedder: Embedder = PrivateAttr()

    def __init__(
        self,
        chunker: Chunker | Mapping[str, Any] | str = "headings",
        embedder: Embedder | Mapping[str, Any] | str = "static",
        **more: Any,
    ) -> None:
        parts = (_built("chunker", chunker), _built("embedder", embedder))
        more.pop("id_func", None)  # ids are the chunks' own
        super().__init__(**{**more, "chunker": _written(parts[0]), "embedder": _written(parts[1])})
        self._chunker, self._embedder = cast(Chunker, parts[0]), cast(Embedder, parts[1])

    @classmethod
    def class_name(cls) -> str:
        """Name in LlamaIndex's files."""
        return "CitewellNodeParser"

    def _parse_nodes(
        self, nodes: Sequence[BaseNode], show_progress: bool = False, **kwargs: Any
    ) -> list[BaseNode]:
        return [made for node in nodes for made in self._split(node)]

    def _split(self, node: BaseNode) -> Iterator[BaseNode]:
        document = Document(
            uri=node.node_id or "document",
            text=getattr(node, "text", node.get_content()),
            metadata=flat_metadata(node.metadata),
        )
        kept = {
            name: getattr(node, name)
            for name in _INHERITED
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
                **kept,
            )

    def _postprocess_parsed_nodes(
        self, nodes: list[BaseNode], parent_doc_map: dict[str, Any]
    ) -> list[BaseNode]:
        """Link the nodes with those before and behind them; their offsets are exact already."""
        for before, after in pairwise(nodes) if self.include_prev_next_rel else ():
            if before.ref_doc_id == after.ref_doc_id:
                before.relationships[NodeRelationship.NEXT] = after.as_related_node_info()
                after.relationships[NodeRelationship.PREVIOUS] = before.as_related_node_info()
        return nodes


_INHERITED = (
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
    """A pipeline as a tool for agents: the model reads the answer and its quotes."""

    def ask(question: str) -> str:
        return as_told(pipeline.ask(question, where=where))

    async def aask(question: str) -> str:
        return as_told(await pipeline.aask(question, where=where))

    return FunctionTool.from_defaults(ask, async_fn=aask, name=name, description=description)
