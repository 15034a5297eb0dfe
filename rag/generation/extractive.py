"""Answers without a language model: the sources' own sentences."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import ClassVar

from pydantic import Field

from rag.embedding import Embedder, StaticEmbedder
from rag.generation.base import Generator, abstention
from rag.generation.context_packing import pack
from rag.generation.links import without_links
from rag.generation.quotes import Quote
from rag.generation.relevance import Candidate, candidates
from rag.text.tokens import count_tokens
from rag.types import Answer, Citation, Hit, Message, Sentence, Step


class ExtractiveGenerator(Generator):
    """Quotes the sentences that answer best, verbatim, each with its citation.

    It cannot hallucinate, since it has no words of its own. A sentence's relevance (0..2) is the
    share of the question's words that it or its headings have, plus the cosine of both; where
    none is as relevant as ``threshold``, the answer is abstained from. Up to ``sentences`` are
    quoted, ranked by the same with rarer words counting more and the passage's own score added,
    as far as they reach ``near`` of the best one's score. In the answer's text, white space is
    collapsed and links lead to the cited source only; the citations' quotes are as they stand.

    `benchmarks/answers.py` prints how many answerable questions the default threshold keeps, and
    how many of those about other things it refuses.
    """

    name: ClassVar[str] = "extractive"

    sentences: int = Field(3, ge=1, le=20)
    threshold: float = Field(0.85, ge=0, le=2)
    near: float = Field(0.85, ge=0, le=1)
    streams: ClassVar[bool] = False

    budget: int = Field(4_000, ge=64)
    embedder: Embedder = StaticEmbedder()

    def answer(self, question: str, hits: Sequence[Hit], history: Sequence[Message] = ()) -> Answer:
        """See `Generator.answer`; `history` is not used."""
        started = time.perf_counter()
        packed = pack(hits, self.budget, count_tokens)
        found = candidates(question, packed.passages, self.embedder)
        best = max((c.relevance for c in found), default=0.0)

        def step() -> Step:
            detail = {
                "passages": len(packed.passages),
                "left_out": packed.left_out,
                "candidates": len(found),
                "relevance": round(best, 3),
            }
            return Step(name="extract", seconds=time.perf_counter() - started, detail=detail)

        if best < self.threshold:
            reason = (
                f"the nearest sentence has a relevance of {best:.2f}, below {self.threshold:.2f}"
                if found
                else "nothing was retrieved"
            )
            return abstention(reason, hits, trace=(step(),))
        text, said, citations = _quoted(self._best(found))
        return Answer(
            text=text,
            status="answered",
            sentences=said,
            citations=citations,
            hits=tuple(hits),
            trace=(step(),),
        )

    def _best(self, found: Iterable[Candidate]) -> list[Candidate]:
        """Those to quote, best first, no words twice."""
        ranked = sorted(found, key=lambda c: (-c.score, c.passage.number, c.span))
        chosen: list[Candidate] = []
        said: set[str] = set()
        for candidate in ranked:
            words = _collapsed(candidate.text)
            if candidate.score < self.near * ranked[0].score or len(chosen) == self.sentences:
                break
            if words not in said:
                said.add(words)
                chosen.append(candidate)
        return chosen


def _quoted(
    chosen: Sequence[Candidate],
) -> tuple[str, tuple[Sentence, ...], tuple[Citation, ...]]:
    """Write the answer: each sentence on one line, with its marker."""
    parts: list[str] = []
    found: list[Sentence] = []
    citations: list[Citation] = []
    at = 0
    for marker, candidate in enumerate(chosen, start=1):
        text = f"{_shown(candidate)} [{marker}]"
        quote = Quote(candidate.passage, candidate.span, 1.0)
        citations.append(quote.citation(marker, "extractive"))
        found.append(
            Sentence(
                start=at,
                end=at + len(text),
                citations=(marker - 1,),
                support=1.0,
                status="supported",
            )
        )
        parts.append(text)
        at += len(text) + 1
    return " ".join(parts), tuple(found), tuple(citations)


def _shown(candidate: Candidate) -> str:
    text = _collapsed(candidate.text)
    source = candidate.passage.uri
    return without_links(text, cited=lambda url: url == source, quoted=lambda _: True)


def _collapsed(text: str) -> str:
    return " ".join(text.split())
