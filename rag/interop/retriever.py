"""Another framework's retrievers, rerankers and filters."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from pydantic import Field

from rag.errors import DocumentNotFound
from rag.filters import Where
from rag.interop.base import Foreign, Text, failed
from rag.postprocessing.base import Postprocessor, append_below
from rag.retrieval import Retriever
from rag.retrieval.external_passages import found_in, outside_hit, part_id
from rag.types import Hit, StageScore

if TYPE_CHECKING:
    from rag.index import Index


class ForeignRetriever(Foreign, Retriever):
    """Another framework's retriever, over whatever it has.

    What it finds is a chunk of our index where a document of it is named in the metadata
    (``source``, ``file_path``, ``url`` ...) and holds the same words; other passages are sources
    by themselves, and are quoted from as they were given (see
    `rag.retrieval.external_passages`). `where` is applied to what came back.
    """

    @property
    def is_external(self) -> bool:
        """It is."""
        return True

    def retrieve(
        self, query: str, *, k: int, index: Index, where: Where | None = None
    ) -> list[Hit]:
        """See `Retriever.retrieve`."""
        try:
            texts = list(islice(self._found(query, k), 10_000))
        except Exception as error:
            raise failed(self.label, error) from error
        hits: dict[str, Hit] = {}
        for rank, found in enumerate(texts, start=1):
            score = _finite(found.score)
            score = 1.0 / rank if score is None else score
            hit = outside_hit(
                index,
                found.text,
                found.metadata,
                origin=self.name,
                rank=rank,
                score=score,
                where=where,
                start=found.start,
            )
            if hit is not None:
                hits.setdefault(hit.chunk.id, hit)
        return list(hits.values())[:k]

    @abstractmethod
    def _found(self, query: str, k: int) -> Iterator[Text]:
        """Ask the object; best first."""


class Kept(NamedTuple):
    """A passage that a foreign postprocessor keeps: its number, its text and its score."""

    number: int
    text: str
    score: float | None


class ForeignRefiner(Foreign, Postprocessor):
    """Another framework's reranker, filter or extractor.

    What it keeps is kept, in its order. Where it shortens a passage to words that stand in it, the
    hit is narrowed to them; where it puts other words in its place, the passage stays as it was,
    since nothing else could be quoted. It is given ``depth`` hits.
    """

    depth: int = Field(30, ge=1, le=1_000)

    @property
    def input_depth(self) -> int:
        """The depth."""
        return self.depth

    def process(self, query: str, hits: Sequence[Hit], *, index: Index) -> list[Hit]:
        """See `Postprocessor.process`."""
        first, rest = hits[: self.depth], list(hits[self.depth :])
        if not first:
            return []
        try:
            kept = [each for each in self._kept(query, first) if 0 <= each.number < len(first)]
        except Exception as error:
            raise failed(self.label, error) from error
        found: dict[str, tuple[Hit, float | None]] = {}
        for each in kept:
            hit = narrowed(first[each.number], each.text, index)
            found.setdefault(hit.chunk.id, (hit, _finite(each.score)))
        ordered = _rescored(self.name, list(found.values()))
        return append_below(ordered, rest) if ordered else []

    @abstractmethod
    def _kept(self, query: str, hits: Sequence[Hit]) -> list[Kept]:
        """Ask the object; best first."""


def narrowed(hit: Hit, text: str, index: Index) -> Hit:
    """The hit with only `text` of its chunk; the hit as it is, where that does not stand in it."""
    chunk = hit.chunk
    if text.strip() == chunk.text.strip():
        return hit
    span = found_in(chunk.text, text)
    if span is None:
        return hit
    start, end = chunk.start + span[0], chunk.start + span[1]
    try:
        place = index.document_store.location(chunk.uri, start)
    except DocumentNotFound:  # a passage by itself
        place = chunk.location
    shorter = chunk.model_copy(
        update={
            "id": part_id(chunk.id, start, end),
            "start": start,
            "end": end,
            "text": chunk.text[span[0] : span[1]],
            "location": place,
        }
    )
    return hit.model_copy(update={"chunk": shorter})


def _rescored(name: str, hits: Sequence[tuple[Hit, float | None]]) -> list[Hit]:
    """Hits in their new order, with their new scores; falling ones where any has none."""
    known = [score for _, score in hits if score is not None]
    complete = len(known) == len(hits) and known == sorted(known, reverse=True)
    out = []
    for rank, (hit, given) in enumerate(hits, start=1):
        score = given if complete and given is not None else 1.0 / rank
        origins = hit.stage_scores | {name: StageScore(rank=rank, score=score)}
        out.append(hit.model_copy(update={"score": score, "stage_scores": origins}))
    return out


def _finite(score: object) -> float | None:
    """A score, where it is a number that can be compared; numbers of NumPy are some too."""
    try:
        number = float(score)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None
