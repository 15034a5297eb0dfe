"""Conversions of hits, citations and answers to LlamaIndex's nodes and responses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llama_index.core.schema import NodeRelationship, NodeWithScore, RelatedNodeInfo, TextNode

from rag.types import Answer, Citation, Hit


def hit_to_node(hit: Hit, extra_metadata: Mapping[str, Any] | None = None) -> NodeWithScore:
    """Return a hit as a node; its span is in ``start_char_idx`` and ``end_char_idx``.

    Models do not see `extra_metadata`.
    """
    chunk = hit.chunk
    hidden_metadata = extra_metadata or {}
    source_metadata: dict[str, Any] = {"uri": chunk.uri, "title": chunk.title, **hidden_metadata}
    source_metadata |= {str(kind): value for kind, value in chunk.location.items()}
    node = TextNode(
        id_=chunk.id,
        text=chunk.text,
        start_char_idx=chunk.start,
        end_char_idx=chunk.end,
        metadata={**_tuples_to_lists(chunk.metadata), **source_metadata},
        excluded_embed_metadata_keys=list(source_metadata),
        excluded_llm_metadata_keys=list(hidden_metadata),
        relationships={NodeRelationship.SOURCE: RelatedNodeInfo(node_id=chunk.uri)},
    )
    return NodeWithScore(node=node, score=hit.score)


def _tuples_to_lists(metadata: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: list(value) if isinstance(value, tuple) else value for key, value in metadata.items()
    }


def citation_to_node(citation: Citation) -> NodeWithScore:
    """Return a citation as a source node: the quote, its exact span, and whether it is verified."""
    fields = citation.model_dump(mode="json", exclude={"quote", "start", "end", "location", "page"})
    node = TextNode(
        text=citation.quote,
        start_char_idx=citation.start,
        end_char_idx=citation.end,
        metadata={**fields, **citation.location},
        relationships={NodeRelationship.SOURCE: RelatedNodeInfo(node_id=citation.uri)},
    )
    return NodeWithScore(node=node, score=citation.support)


def citation_nodes(answer: Answer) -> list[NodeWithScore]:
    """Return the citations of an answer as nodes, in the order of their markers."""
    citations = sorted(answer.citations, key=lambda citation: (citation.marker, citation.start))
    return [citation_to_node(citation) for citation in citations]


def response_metadata(answer: Answer) -> dict[str, Any]:
    """Return the metadata of the response for an answer."""
    return {
        "status": answer.status,
        "reason": answer.reason,
        "sentences": [sentence.model_dump(mode="json") for sentence in answer.sentences],
        "passages": [hit_to_node(hit) for hit in answer.hits],
    }
