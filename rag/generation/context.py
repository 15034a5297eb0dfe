"""Context packing: hits to numbered passages that fit into a model's context."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from rag.text import sentences
from rag.types import Chunk, Hit, Place, describe_place


@dataclass(frozen=True, slots=True)
class Passage:
    """A stretch ``[start, end)`` of a source as a model is shown it, under a number from 1."""

    number: int
    uri: str
    start: int
    end: int
    text: str
    title: str
    headings: tuple[str, ...]
    place: Place
    score: float
    """The best of its hits' scores, over the best of all: 0..1."""

    @property
    def label(self) -> str:
        """Where it is from, for people and models: title, headings, page or other place."""
        where = " > ".join(dict.fromkeys(part for part in (self.title, *self.headings) if part))
        return ", ".join(part for part in (where, describe_place(self.place)) if part)

    def sentence_spans(self, longest: int = 3) -> list[tuple[int, int]]:
        """Spans, in this passage's text, of every run of up to `longest` sentences."""
        return list(_runs(self.text, longest))


@lru_cache(maxsize=256)  # every sentence of an answer is compared with the same passages
def _runs(text: str, longest: int) -> tuple[tuple[int, int], ...]:
    spans = sentences(text)
    return tuple(
        (spans[i].start, spans[j].end)
        for i in range(len(spans))
        for j in range(i, min(i + longest, len(spans)))
    )


@dataclass(frozen=True, slots=True)
class Packed:
    """Passages that fit, and how many hits did not."""

    passages: tuple[Passage, ...]
    left_out: int


def pack(hits: Sequence[Hit], budget: int, count_tokens: Callable[[str], int]) -> Packed:
    """Take hits, best first, as long as they fit into `budget` tokens.

    A hit that does not fit is left out whole, never cut. Chunks that overlap become one passage,
    at the place of the better one.
    """
    chosen: list[Chunk] = []
    scores = {hit.chunk.id: hit.score for hit in hits}
    best = max(scores.values(), default=0.0)
    room = budget
    for hit in hits:
        cost = count_tokens(hit.chunk.embedded_text) + 16  # number, tags, page
        if cost <= room:
            room -= cost
            chosen.append(hit.chunk)
    groups = _overlapping(chosen)
    passages = tuple(
        _joined(group, number, max(scores[chunk.id] for chunk in group) / best if best > 0 else 0.0)
        for number, group in enumerate(groups, start=1)
    )
    return Packed(passages, len(hits) - len(chosen))


def _overlapping(chunks: Sequence[Chunk]) -> list[list[Chunk]]:
    """Group chunks of the same source that overlap or touch; groups by their best member."""
    rank = {chunk.id: i for i, chunk in reversed(list(enumerate(chunks)))}
    groups: list[list[Chunk]] = []
    for chunk in sorted({c.id: c for c in chunks}.values(), key=lambda c: (c.uri, c.start, c.end)):
        last = groups[-1] if groups else []
        if last and last[0].uri == chunk.uri and chunk.start <= max(c.end for c in last):
            last.append(chunk)
        else:
            groups.append([chunk])
    return sorted(groups, key=lambda group: min(rank[chunk.id] for chunk in group))


def _joined(group: Sequence[Chunk], number: int, score: float) -> Passage:
    first = group[0]
    text, end = first.text, first.end
    for chunk in group[1:]:
        if chunk.end > end:
            text += chunk.text[end - chunk.start :]
            end = chunk.end
    return Passage(
        number=number,
        uri=first.uri,
        start=first.start,
        end=end,
        text=text,
        title=first.title,
        headings=first.headings,
        place=first.place,
        score=score,
    )
