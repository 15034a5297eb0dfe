"""Context packing: hits to numbered passages that fit into a model's context."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Literal

from rag.llm.prompting import escape_prompt_markup
from rag.text.sentences import Span, sentences
from rag.types import Chunk, Hit, SourceLocation, format_location

_TAGS = 32  # tokens around a passage: its number, where it is from, the marks that set it apart
_GAP = 4  # characters between two chunks that may be a paragraph's end


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
    place: SourceLocation
    score: float
    """The best of its hits' scores, over the best of all: 0..1."""
    joints: tuple[int, ...] = ()
    """Offsets in `text` where chunks meet whose gap is not known; no quote crosses one."""

    @property
    def label(self) -> str:
        """Where it is from, for people and models: title, headings, page or other place."""
        where = " > ".join(dict.fromkeys(part for part in (self.title, *self.headings) if part))
        return ", ".join(part for part in (where, format_location(self.place)) if part)

    def runs(self, longest: int = 3) -> tuple[tuple[Span, ...], ...]:
        """Every run of up to `longest` sentences in a row, as their spans in this text."""
        return _runs(self.text, self.joints, longest)

    def sentence_spans(self) -> list[Span]:
        """Spans of the sentences, in this passage's text."""
        return [run[0] for run in self.runs(1)]

    def whole_span(self) -> tuple[int, int] | None:
        """The longest span of it that can be quoted, without white space around it."""
        parts = _parts(self.text, self.joints)
        start, end = max(parts, key=lambda part: part[1] - part[0])
        piece = self.text[start:end]
        start += len(piece) - len(piece.lstrip())
        return (start, start + len(piece.strip())) if piece.strip() else None


def _parts(text: str, joints: tuple[int, ...]) -> list[tuple[int, int]]:
    bounds = [0, *joints, len(text)]
    return list(pairwise(bounds))


@lru_cache(maxsize=256)  # every sentence of an answer is compared with the same passages
def _runs(text: str, joints: tuple[int, ...], longest: int) -> tuple[tuple[Span, ...], ...]:
    found: list[tuple[Span, ...]] = []
    for start, end in _parts(text, joints):
        spans = [Span(start + s.start, start + s.end) for s in sentences(text[start:end])]
        found += [
            tuple(spans[i:j])
            for i in range(len(spans))
            for j in range(i + 1, min(i + longest, len(spans)) + 1)
        ]
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Packed:
    """Passages that fit into ``budget`` tokens, what they take, and how many hits did not fit."""

    passages: tuple[Passage, ...]
    left_out: int
    budget: int
    tokens: int
    shortest: int


Order = Literal["relevance", "document", "edges"]


def pack(
    hits: Sequence[Hit],
    budget: int,
    count_tokens: Callable[[str], int],
    order: Order = "relevance",
) -> Packed:
    """Take hits, best first, as long as they fit into `budget` tokens.

    A hit that does not fit is left out whole, never cut, and counted. Chunks of a document that
    overlap, or that follow each other with nothing but white space between them, become one
    passage. The passages are numbered in the `order` they are shown in: the best first
    (``relevance``), as they stand in their documents, the document with the best first
    (``document``), or the best at both ends (``edges``), where models read most attentively (Liu
    et al., 2023).
    """
    chosen: list[Chunk] = []
    scores = {hit.chunk.id: hit.score for hit in hits}
    best = max(scores.values(), default=0.0)
    room, shortest = budget, 0
    for hit in hits:
        cost = count_tokens(hit.chunk.embedded_text) + _TAGS
        shortest = min(shortest or cost, cost)
        if cost <= room:
            room -= cost
            chosen.append(hit.chunk)
    groups = _ordered(_overlapping(chosen), order)
    passages = tuple(
        _joined(group, number, max(scores[chunk.id] for chunk in group) / best if best > 0 else 0.0)
        for number, group in enumerate(groups, start=1)
    )
    return Packed(
        passages,
        left_out=len(hits) - len(chosen),
        budget=max(0, budget),
        tokens=budget - room,
        shortest=shortest,
    )


def _overlapping(chunks: Sequence[Chunk]) -> list[list[Chunk]]:
    """Group chunks of the same source that overlap or touch; groups by their best member."""
    rank = {chunk.id: i for i, chunk in reversed(list(enumerate(chunks)))}
    groups: list[list[Chunk]] = []
    for chunk in sorted({c.id: c for c in chunks}.values(), key=lambda c: (c.uri, c.start, c.end)):
        last = groups[-1] if groups else []
        if last and _meet(last, chunk):
            last.append(chunk)
        else:
            groups.append([chunk])
    return sorted(groups, key=lambda group: min(rank[chunk.id] for chunk in group))


def _meet(group: Sequence[Chunk], chunk: Chunk) -> bool:
    """Whether the chunk overlaps the group, or follows it in the same section."""
    if group[0].uri != chunk.uri:
        return False
    gap = chunk.start - max(other.end for other in group)
    return gap <= 0 or (gap <= _GAP and group[-1].headings == chunk.headings)


def _ordered(groups: list[list[Chunk]], order: Order) -> list[list[Chunk]]:
    """Groups, best first, in the order they are to be shown in."""
    if order == "document":
        place = {uri: i for i, uri in enumerate(dict.fromkeys(group[0].uri for group in groups))}
        return sorted(groups, key=lambda group: (place[group[0].uri], group[0].start))
    if order == "edges":
        return groups[::2] + groups[1::2][::-1]
    return groups


def _joined(group: Sequence[Chunk], number: int, score: float) -> Passage:
    first = group[0]
    text, end = first.text, first.end
    joints = []
    for chunk in group[1:]:
        if chunk.start > end:  # between chunks a chunker leaves white space only
            joints.append(len(text))
            text += "\n" * (chunk.start - end)
            joints.append(len(text))
            end = chunk.start
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
        place=first.location,
        score=score,
        joints=tuple(joints),
    )


def shown_passages(passages: Sequence[Passage]) -> list[dict[str, object]]:
    """Passages as templates are given them: nothing in them can be taken for the prompt."""
    return [
        {
            "number": p.number,
            "label": " ".join(escape_prompt_markup(p.label).replace('"', "'").split()),
            "text": escape_prompt_markup(p.text),
        }
        for p in passages
    ]


def boundary(question: str, passages: Sequence[Passage]) -> str:
    """What sets passages apart: the same for the same, and in none of them."""
    hashed = hashlib.sha256("\0".join([question, *(p.text for p in passages)]).encode())
    while True:
        found = hashed.hexdigest()[:12]
        if not any(found in text for p in passages for text in (p.text, p.label)):
            return found
        hashed.update(b"again")
