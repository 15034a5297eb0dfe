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
    from rag.stores.sqlite import ChunkSpan


class ExpandContext(Postprocessor):
    """Widen each hit by what stands around it in its document.

    ``around`` "chunks" adds ``neighbours`` chunks on either side, "section" all below the same
    heading; neither goes further than ``characters`` in all. Hits that then meet become one, with
    the better score, in the better one's place. The wider text is read from the library: its
    offsets are exact, and citations are of it.
    """

    name: ClassVar[str] = "expand-context"

    around: Literal["chunks", "section"] = "chunks"
    neighbours: int = Field(1, ge=1, le=100)
    characters: int = Field(6_000, ge=1)

    def process(self, query: str, hits: Sequence[Hit], *, index: Index) -> list[Hit]:
        """See `Postprocessor.process`."""
        outlines: dict[str, list[ChunkSpan]] = {}
        wide: list[tuple[Hit, int, int]] = []
        for hit in hits:
            uri = hit.chunk.uri
            if uri not in outlines:
                outlines[uri] = index.document_store.outline(uri)
            self._join(wide, hit, *self._span(hit.chunk, outlines[uri]))
        return [found for hit, a, b in wide if (found := _widened(hit, a, b, index)) is not None]

    def _join(self, wide: list[tuple[Hit, int, int]], hit: Hit, start: int, end: int) -> None:
        """Add a stretch, or let it and those it meets be one, in the best one's place."""
        place = len(wide)
        while True:
            for i, (other, a, b) in enumerate(wide):
                meets = other.chunk.uri == hit.chunk.uri and start <= b and a <= end
                inside = (a <= start and end <= b) or (start <= a and b <= end)
                low, high = min(a, start), max(b, end)
                if meets and (inside or high - low <= self.characters):
                    if i <= place:
                        hit, place = other, min(i, place)
                    start, end = low, high
                    del wide[i]
                    break
            else:
                wide.insert(min(place, len(wide)), (hit, start, end))
                return

    def _span(self, chunk: Chunk, outline: Sequence[ChunkSpan]) -> tuple[int, int]:
        """Characters around `chunk`, from the nearest stretch on, as many as there is room for."""
        at = next((i for i, s in enumerate(outline) if s.start == chunk.start), None)
        start, end = chunk.start, chunk.end
        if at is None:
            return start, end
        for stretch in self._by_distance(outline, at):
            if max(end, stretch.end) - min(start, stretch.start) > self.characters:
                break
            start, end = min(start, stretch.start), max(end, stretch.end)
        return start, end

    def _by_distance(self, outline: Sequence[ChunkSpan], at: int) -> Iterator[ChunkSpan]:
        sides = {-1: True, 1: True}
        for distance in range(1, len(outline)):
            if self.around == "chunks" and distance > self.neighbours:
                return
            for side in (-1, 1):
                i = at + side * distance
                sides[side] = (
                    sides[side]
                    and 0 <= i < len(outline)
                    and (self.around == "chunks" or outline[i].headings == outline[at].headings)
                )
                if sides[side]:
                    yield outline[i]
            if not any(sides.values()):
                return


def _widened(hit: Hit, start: int, end: int, index: Index) -> Hit | None:
    """The hit with that stretch of its document; None where it was deleted meanwhile."""
    chunk = hit.chunk
    if (start, end) == (chunk.start, chunk.end):
        return hit
    try:
        text = index.document_store.text(chunk.uri, start, end)
        place = index.document_store.location(chunk.uri, start)
    except DocumentNotFound:
        return None
    key = f"{chunk.id} {start} {end}"
    wide = chunk.model_copy(
        update={
            "id": hashlib.sha256(key.encode()).hexdigest()[:32],
            "start": start,
            "end": start + len(text),
            "text": text,
            "location": place,
        }
    )
    return hit.model_copy(update={"chunk": wide})
