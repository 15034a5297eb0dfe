"""Context packing: joins hits into numbered passages that fit into a model's context."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from rag.generation.passages import Passage
from rag.llm.prompting import escape_prompt_markup
from rag.types import Chunk, Hit

_TOKENS_AROUND_PASSAGE = 32  # a passage's number, label and delimiters
_MAX_GAP_CHARACTERS = 4  # between two chunks: as long as the end of a paragraph


@dataclass(frozen=True, slots=True)
class PackedPassages:
    """Passages that fit into ``budget`` tokens.

    ``tokens`` is their length, ``omitted_hits`` the number of hits that did not fit, and
    ``shortest_hit_tokens`` the length of the shortest hit.
    """

    passages: tuple[Passage, ...]
    omitted_hits: int
    budget: int
    tokens: int
    shortest_hit_tokens: int


Order = Literal["relevance", "document", "edges"]


def pack(
    hits: Sequence[Hit],
    budget: int,
    count_tokens: Callable[[str], int],
    order: Order = "relevance",
) -> PackedPassages:
    """Pack hits, best first, into passages of at most `budget` tokens.

    A hit that does not fit is omitted, never cut, and counted. Chunks of a document that overlap,
    or that are separated by white space only, become one passage. `order` is the order of the
    passages, which are numbered in it: best first (``relevance``); by document, the document of the
    best passage first, in each document by position (``document``); or the best at both ends
    (``edges``), where models read most attentively (Liu et al., 2023).
    """
    chunks: list[Chunk] = []
    scores = {hit.chunk.id: hit.score for hit in hits}
    best_score = max(scores.values(), default=0.0)
    remaining_tokens, shortest_hit_tokens = budget, 0
    for hit in hits:
        cost = count_tokens(hit.chunk.embedded_text) + _TOKENS_AROUND_PASSAGE
        shortest_hit_tokens = min(shortest_hit_tokens or cost, cost)
        if cost <= remaining_tokens:
            remaining_tokens -= cost
            chunks.append(hit.chunk)
    groups = _order_groups(_group_adjacent_chunks(chunks), order)
    passages = tuple(
        _join_chunks(
            group,
            number,
            max(scores[chunk.id] for chunk in group) / best_score if best_score > 0 else 0.0,
        )
        for number, group in enumerate(groups, start=1)
    )
    return PackedPassages(
        passages,
        omitted_hits=len(hits) - len(chunks),
        budget=max(0, budget),
        tokens=budget - remaining_tokens,
        shortest_hit_tokens=shortest_hit_tokens,
    )


def _group_adjacent_chunks(chunks: Sequence[Chunk]) -> list[list[Chunk]]:
    """Group chunks of the same source that overlap or touch; return the best group first."""
    rank = {chunk.id: i for i, chunk in reversed(list(enumerate(chunks)))}
    groups: list[list[Chunk]] = []
    for chunk in sorted({c.id: c for c in chunks}.values(), key=lambda c: (c.uri, c.start, c.end)):
        last = groups[-1] if groups else []
        if last and _is_adjacent(last, chunk):
            last.append(chunk)
        else:
            groups.append([chunk])
    return sorted(groups, key=lambda group: min(rank[chunk.id] for chunk in group))


def _is_adjacent(group: Sequence[Chunk], chunk: Chunk) -> bool:
    """Whether the chunk overlaps the group, or follows it, in the same section."""
    if (group[0].uri, group[-1].headings) != (chunk.uri, chunk.headings):
        return False
    return chunk.start - max(member.end for member in group) <= _MAX_GAP_CHARACTERS


def _order_groups(groups: list[list[Chunk]], order: Order) -> list[list[Chunk]]:
    """Sort groups, which come best first, by `order`."""
    if order == "document":
        document_ranks = {
            uri: i for i, uri in enumerate(dict.fromkeys(group[0].uri for group in groups))
        }
        return sorted(groups, key=lambda group: (document_ranks[group[0].uri], group[0].start))
    if order == "edges":
        return groups[::2] + groups[1::2][::-1]
    return groups


def _join_chunks(group: Sequence[Chunk], number: int, score: float) -> Passage:
    first = group[0]
    text, end = first.text, first.end
    joints = []
    for chunk in group[1:]:
        if chunk.start > end:  # a chunker leaves only white space between chunks
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
        location=first.location,
        score=score,
        joints=tuple(joints),
        marks=tuple(dict.fromkeys(mark for chunk in group for mark in chunk.marks)),
    )


def build_prompt_passages(passages: Sequence[Passage]) -> list[dict[str, object]]:
    """Return passages as template inputs, escaped so that they cannot imitate the prompt."""
    return [
        {
            "number": p.number,
            "label": " ".join(escape_prompt_markup(p.label).replace('"', "'").split()),
            "text": escape_prompt_markup(p.text_for_model),
        }
        for p in passages
    ]


def make_boundary(question: str, passages: Sequence[Passage]) -> str:
    """Return a delimiter that no passage contains; it is the same for the same input."""
    digest = hashlib.sha256("\0".join([question, *(p.text for p in passages)]).encode())
    while True:
        candidate = digest.hexdigest()[:12]
        if not any(candidate in text for p in passages for text in (p.text, p.label)):
            return candidate
        digest.update(b"again")
