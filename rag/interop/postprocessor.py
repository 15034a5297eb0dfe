"""The base class of adapters for another framework's rerankers, filters and extractors."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from pydantic import Field

from rag.errors import DocumentNotFound
from rag.interop.base import Adapter, translate_error
from rag.interop.retriever import finite_score
from rag.postprocessing.base import Postprocessor, append_below
from rag.retrieval.external_passages import find_piece, part_id
from rag.types import Hit, StageScore

if TYPE_CHECKING:
    from rag.index import Index

HIT_NUMBER_KEY = "citewell_number"
"""Metadata key that carries a hit's number through the wrapped object."""


class RankedPassage(NamedTuple):
    """A passage that a wrapped postprocessor returns; ``number`` is the index of its hit."""

    number: int
    text: str
    score: float | None


class PostprocessorAdapter(Adapter, Postprocessor):
    """Another framework's reranker, filter or extractor as a postprocessor.

    Selection and order are those of the wrapped object. If it shortens a passage to words that
    occur in the passage, the hit is narrowed to them. If it returns other words, the hit stays
    unchanged, since other words could not be quoted. The wrapped object gets the first ``depth``
    hits.
    """

    depth: int = Field(30, ge=1, le=1_000)

    @property
    def input_depth(self) -> int:
        """Number of hits that the wrapped object gets."""
        return self.depth

    def process(self, query: str, hits: Sequence[Hit], *, index: Index) -> list[Hit]:
        """See `Postprocessor.process`."""
        first_hits, lower_hits = hits[: self.depth], list(hits[self.depth :])
        if not first_hits:
            return []
        try:
            passages = [
                passage
                for passage in self._rank_passages(query, first_hits)
                if 0 <= passage.number < len(first_hits)
            ]
        except Exception as error:
            raise translate_error(self.label, error) from error
        scored_hits: dict[str, tuple[Hit, float | None]] = {}
        for passage in passages:
            hit = narrow_hit(first_hits[passage.number], passage.text, index)
            scored_hits.setdefault(hit.chunk.id, (hit, finite_score(passage.score)))
        reranked_hits = _rescore(self.name, list(scored_hits.values()))
        return append_below(reranked_hits, lower_hits) if reranked_hits else []

    @abstractmethod
    def _rank_passages(self, query: str, hits: Sequence[Hit]) -> list[RankedPassage]:
        """Return the passages that the wrapped object selects, best first."""


def narrow_hit(hit: Hit, text: str, index: Index) -> Hit:
    """Return the hit narrowed to `text`, or the unchanged hit if its chunk does not contain it."""
    chunk = hit.chunk
    if text.strip() == chunk.text.strip():
        return hit
    span = find_piece(chunk.text, text)
    if span is None:
        return hit
    start, end = chunk.start + span[0], chunk.start + span[1]
    try:
        location = index.document_store.location(chunk.uri, start)
    except DocumentNotFound:  # an external passage, which the index does not hold
        location = chunk.location
    narrowed_chunk = chunk.model_copy(
        update={
            "id": part_id(chunk.id, start, end),
            "start": start,
            "end": end,
            "text": chunk.text[span[0] : span[1]],
            "location": location,
        }
    )
    return hit.model_copy(update={"chunk": narrowed_chunk})


def _rescore(name: str, scored_hits: Sequence[tuple[Hit, float | None]]) -> list[Hit]:
    """Return the hits with their new scores, or with 1 / rank if scores are missing or unsorted."""
    scores = [score for _, score in scored_hits if score is not None]
    are_usable = len(scores) == len(scored_hits) and scores == sorted(scores, reverse=True)
    rescored_hits = []
    for rank, (hit, passage_score) in enumerate(scored_hits, start=1):
        score = passage_score if are_usable and passage_score is not None else 1.0 / rank
        stage_scores = hit.stage_scores | {name: StageScore(rank=rank, score=score)}
        rescored_hits.append(hit.model_copy(update={"score": score, "stage_scores": stage_scores}))
    return rescored_hits
