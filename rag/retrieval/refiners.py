"""Refiners that read no model: diversity, context, order."""

from __future__ import annotations

import datetime
import hashlib
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from rag.component import Tuning
from rag.embedding.batched import normalised
from rag.errors import DocumentNotFound
from rag.reranking.base import Refiner, reordered
from rag.types import Chunk, Hit
from rag.words import words

if TYPE_CHECKING:
    from rag.index import Index
    from rag.index.library import Stretch


class Diversity(Refiner):
    """Maximal marginal relevance: each next hit near to the question and far from those before.

    ``relevance`` 1 leaves the order as it is, 0 looks at the distance alone. Nearness of hits is
    the cosine of their vectors; their scores are taken from 0 to 1, the best. It is given
    ``depth`` hits (Carbonell and Goldstein, 1998).
    """

    name: ClassVar[str] = "diversity"

    relevance: float = Field(0.7, ge=0, le=1)
    depth: int = Field(50, ge=1, le=1_000)

    @property
    def wanted(self) -> int:
        """The depth."""
        return self.depth

    def refine(self, query: str, hits: Sequence[Hit], *, index: Index) -> list[Hit]:
        """See `Refiner.refine`."""
        import numpy as np

        if len(hits) < 2:
            return list(hits)
        vectors = index.vectors_for([hit.chunk for hit in hits])
        vectors = normalised(vectors)
        best = max(hit.score for hit in hits)
        lowest = min(0.0, *(hit.score for hit in hits))
        span = (best - lowest) or 1.0
        relevance = np.array([(hit.score - lowest) / span for hit in hits])
        nearest = np.zeros(len(hits))
        left = list(range(len(hits)))
        order: list[int] = []
        while left:
            gains = self.relevance * relevance[left] - (1 - self.relevance) * nearest[left]
            chosen = left.pop(int(np.argmax(gains)))
            order.append(chosen)
            nearest = np.maximum(nearest, vectors @ vectors[chosen])
        return [hits[i] for i in order]


class Deduplicate(Refiner):
    """Drop hits that say what a better one says already.

    Two are the same where the share of runs of ``run`` words that they have in common, of all
    that the shorter one has, is ``threshold`` or more: copies, quotations, overlapping chunks.
    It is given ``spare`` hits more than are asked for, to make up for those.
    """

    name: ClassVar[str] = "deduplicate"

    threshold: float = Field(0.8, gt=0, le=1)
    run: int = Field(4, ge=1, le=50)
    spare: int = Field(16, ge=0, le=1_000)

    @property
    def more(self) -> int:
        """The spare."""
        return self.spare

    def refine(self, query: str, hits: Sequence[Hit], *, index: Index) -> list[Hit]:
        """See `Refiner.refine`."""
        kept: list[tuple[Hit, frozenset[tuple[str, ...]]]] = []
        for hit in hits:
            runs = word_runs(hit.chunk.text, self.run)
            if not any(shared_runs(runs, other) >= self.threshold for _, other in kept):
                kept.append((hit, runs))
        return [hit for hit, _ in kept]


def word_runs(text: str, length: int) -> frozenset[tuple[str, ...]]:
    """Runs of `length` words of `text`; of a shorter text, the whole of it."""
    found = words(text) or [text.strip()]  # of signs alone, those
    return frozenset(tuple(found[i : i + length]) for i in range(max(1, len(found) - length + 1)))


def shared_runs(one: frozenset[tuple[str, ...]], other: frozenset[tuple[str, ...]]) -> float:
    """Share (0..1) of the runs of the one that has fewer that the other has too."""
    shorter = min(len(one), len(other))
    return len(one & other) / shorter if shorter else float(one == other)


class Expand(Refiner):
    """Widen each hit by what stands around it in its document.

    ``around`` "chunks" adds ``neighbours`` chunks on either side, "section" all below the same
    heading; neither goes further than ``characters`` in all. Hits that then meet become one, with
    the better score, in the better one's place. The wider text is read from the library: its
    offsets are exact, and citations are of it.
    """

    name: ClassVar[str] = "expand"

    around: Literal["chunks", "section"] = "chunks"
    neighbours: int = Field(1, ge=1, le=100)
    characters: int = Field(6_000, ge=1)

    def refine(self, query: str, hits: Sequence[Hit], *, index: Index) -> list[Hit]:
        """See `Refiner.refine`."""
        outlines: dict[str, list[Stretch]] = {}
        wide: list[tuple[Hit, int, int]] = []
        for hit in hits:
            uri = hit.chunk.uri
            if uri not in outlines:
                outlines[uri] = index.library.outline(uri)
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

    def _span(self, chunk: Chunk, outline: Sequence[Stretch]) -> tuple[int, int]:
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

    def _by_distance(self, outline: Sequence[Stretch], at: int) -> Iterator[Stretch]:
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
        text = index.library.text(chunk.uri, start, end)
        place = index.library.place(chunk.uri, start)
    except DocumentNotFound:
        return None
    key = f"{chunk.id} {start} {end}"
    wide = chunk.model_copy(
        update={
            "id": hashlib.sha256(key.encode()).hexdigest()[:32],
            "start": start,
            "end": start + len(text),
            "text": text,
            "place": place,
        }
    )
    return hit.model_copy(update={"chunk": wide})


class Recency(Refiner):
    """Let newer documents count more: their age halves a part of the score again and again.

    ``field`` is the metadata that holds the date (ISO 8601, or a year), ``half_life`` is in days,
    and ``share`` the part of the score that ages: ``score * (1 - share + share * 2 ** (-age /
    half_life))``, with scores counted from the lowest where that is below 0. Without a readable
    date a document counts as one half-life old. ``today`` is for repeatable runs.
    """

    name: ClassVar[str] = "recency"

    field: str = Field("date", min_length=1)
    half_life: float = Field(365.0, gt=0, allow_inf_nan=False)
    share: float = Field(0.3, ge=0, le=1)
    depth: int = Field(30, ge=1, le=1_000)
    today: Annotated[datetime.date | None, Tuning] = None

    @property
    def wanted(self) -> int:
        """The depth."""
        return self.depth

    def refine(self, query: str, hits: Sequence[Hit], *, index: Index) -> list[Hit]:
        """See `Refiner.refine`."""
        today = self.today or datetime.datetime.now(datetime.UTC).date()
        lowest = min([0.0, *(hit.score for hit in hits)])  # a part of less than nothing is more
        scores = []
        for hit in hits:
            date = _date(hit.chunk.metadata.get(self.field))
            age = max(0.0, float((today - date).days)) if date else self.half_life
            fresh = 2 ** (-age / self.half_life)
            left = 1 - self.share + self.share * fresh
            scores.append(lowest + (hit.score - lowest) * left)
        return reordered(self.name, hits, scores)


def _date(value: object) -> datetime.date | None:
    if isinstance(value, tuple) and value:
        value = value[0]
    text = str(value).strip() if value is not None and not isinstance(value, bool) else ""
    if len(text) == 4 and text.isdecimal():
        text += "-07-01"
    elif re.fullmatch(r"\d{4}-\d{2}", text):
        text += "-15"
    try:
        return datetime.date.fromisoformat(text[:10])
    except ValueError:
        return None


class EdgesFirst(Refiner):
    """The best hits at both ends, the weakest in the middle.

    Models read the beginning and the end of a long context better than its middle ("lost in the
    middle": Liu et al., 2023). The best comes first, the second best last. To be the last of the
    refiners, as the order of hits is no longer that of their scores.
    """

    name: ClassVar[str] = "edges-first"
    to_be_last: ClassVar[bool] = True

    def refine(self, query: str, hits: Sequence[Hit], *, index: Index) -> list[Hit]:
        """See `Refiner.refine`."""
        return [*hits[::2], *reversed(hits[1::2])]


class Threshold(Refiner):
    """Drop hits whose score is below ``least``, or below ``share`` of the best one's.

    What scores mean is up to what gave them: 0 to 1 for the hybrid retriever and Cohere, anything
    for cross-encoders.
    """

    name: ClassVar[str] = "threshold"

    least: float | None = Field(None, allow_inf_nan=False)
    share: float | None = Field(None, ge=0, le=1)

    @model_validator(mode="after")
    def _has_one(self) -> Self:
        if self.least is None and self.share is None:
            raise ValueError("a threshold needs `least` or `share`")
        return self

    def refine(self, query: str, hits: Sequence[Hit], *, index: Index) -> list[Hit]:
        """See `Refiner.refine`."""
        floor = float("-inf") if self.least is None else self.least
        if self.share is not None and hits:
            best = max(hit.score for hit in hits)
            floor = max(floor, best * self.share if best > 0 else best)
        return [hit for hit in hits if hit.score >= floor]
