"""Expansion of hits to neighbouring chunks or to their section."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from rag.errors import DocumentNotFound
from rag.postprocessing.base import Postprocessor
from rag.types import Chunk, Hit

if TYPE_CHECKING:
    from rag.index import Index
    from rag.stores import ChunkSpan


class ExpandContext(Postprocessor):
    """Widens each hit by the surrounding text of its document.

    ``around`` "chunks" adds ``neighbours`` chunks on each side; "section" adds everything under the
    same heading. Both stop at ``characters`` in total. Hits that overlap afterwards are merged at
    the position and with the score of the better one. The text comes from the document store, so
    offsets and citations are exact.
    """

    name: ClassVar[str] = "expand-context"

    around: Literal["chunks", "section"] = "chunks"
    neighbours: int = Field(1, ge=1, le=100)
    characters: int = Field(6_000, ge=1)

    def process(self, query: str, hits: Sequence[Hit], *, index: Index) -> list[Hit]:
        """See `Postprocessor.process`."""
        outlines: dict[str, list[ChunkSpan]] = {}
        spans: list[tuple[Hit, int, int]] = []
        for hit in hits:
            uri = hit.chunk.uri
            if uri not in outlines:
                outlines[uri] = index.document_store.outline(uri)
            self._merge_span(spans, hit, *self._find_span(hit.chunk, outlines[uri]))
        return [
            widened for hit, a, b in spans if (widened := _widen_hit(hit, a, b, index)) is not None
        ]

    def _merge_span(
        self, spans: list[tuple[Hit, int, int]], hit: Hit, start: int, end: int
    ) -> None:
        """Add a span, or merge it with the spans that it overlaps, at the best position."""
        position = len(spans)
        while True:
            for i, (span_hit, span_start, span_end) in enumerate(spans):
                meets = (
                    span_hit.chunk.uri == hit.chunk.uri and start <= span_end and span_start <= end
                )
                is_nested = (span_start <= start and end <= span_end) or (
                    start <= span_start and span_end <= end
                )
                merged_start, merged_end = min(span_start, start), max(span_end, end)
                if meets and (is_nested or merged_end - merged_start <= self.characters):
                    if i <= position:
                        hit, position = span_hit, min(i, position)
                    start, end = merged_start, merged_end
                    del spans[i]
                    break
            else:
                spans.insert(min(position, len(spans)), (hit, start, end))
                return

    def _find_span(self, chunk: Chunk, outline: Sequence[ChunkSpan]) -> tuple[int, int]:
        """Return the span around `chunk`, extended by the nearest chunks while they fit."""
        position = next((i for i, s in enumerate(outline) if s.start == chunk.start), None)
        start, end = chunk.start, chunk.end
        if position is None:
            return start, end
        for chunk_span in self._iterate_by_distance(outline, position):
            if max(end, chunk_span.end) - min(start, chunk_span.start) > self.characters:
                break
            start, end = min(start, chunk_span.start), max(end, chunk_span.end)
        return start, end

    def _iterate_by_distance(
        self, outline: Sequence[ChunkSpan], position: int
    ) -> Iterator[ChunkSpan]:
        sides = {-1: True, 1: True}
        for distance in range(1, len(outline)):
            if self.around == "chunks" and distance > self.neighbours:
                return
            for side in (-1, 1):
                i = position + side * distance
                sides[side] = (
                    sides[side]
                    and 0 <= i < len(outline)
                    and (
                        self.around == "chunks" or outline[i].headings == outline[position].headings
                    )
                )
                if sides[side]:
                    yield outline[i]
            if not any(sides.values()):
                return


def _widen_hit(hit: Hit, start: int, end: int, index: Index) -> Hit | None:
    """Return the hit with a wider span; None if its document was deleted meanwhile."""
    chunk = hit.chunk
    if (start, end) == (chunk.start, chunk.end):
        return hit
    try:
        text = index.document_store.text(chunk.uri, start, end)
        location = index.document_store.location(chunk.uri, start)
    except DocumentNotFound:
        return None
    key = f"{chunk.id} {start} {end}"
    widened_chunk = chunk.model_copy(
        update={
            "id": hashlib.sha256(key.encode()).hexdigest()[:32],
            "start": start,
            "end": start + len(text),
            "text": text,
            "location": location,
        }
    )
    return hit.model_copy(update={"chunk": widened_chunk})
