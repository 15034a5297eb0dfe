"""Answers without a language model: the sources' own sentences."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterable, Iterator, Sequence, Set
from typing import ClassVar, NamedTuple

from pydantic import Field

from rag.embedding import Embedder, StaticEmbedder
from rag.generation.base import Generator, abstention
from rag.generation.citations import Quote
from rag.generation.context import Passage, pack
from rag.llm.tokens import count_tokens
from rag.text import Span, sentences
from rag.types import Answer, Citation, Hit, Message, Sentence, Step
from rag.words import content_stems, stems

_LEADING_MARKUP = re.compile(r"(?:[-*+•>]|\d{1,3}[.)])\s+")
_NOT_PROSE = re.compile(r"#{1,6}\s|\|?[\s:|-]+\|?$")
_PASSAGE_WEIGHT = 0.5  # how much the passage's own score counts beside its sentence's
_UNFINISHED = 0.4  # taken off what does not end like a sentence: a caption, a bare heading
_FINISHED = re.compile(r"[.!?…。！？।؟:;][\"'”’»)\]]*$|\|$")


class ExtractiveGenerator(Generator):
    """Quotes the sentences that answer best, verbatim, each with its citation.

    It cannot hallucinate, since it has no words of its own. A sentence's relevance (0..2) is the
    share of the question's words that it or its headings have, plus the cosine of both; where
    none is as relevant as ``threshold``, the answer is abstained from. Up to ``sentences`` are
    quoted, ranked by the same with rarer words counting more and the passage's own score added,
    as far as they reach ``near`` of the best one's score.

    `benchmarks/answers.py` prints how many answerable questions the default threshold keeps, and
    how many of those about other things it refuses.
    """

    name: ClassVar[str] = "extractive"

    sentences: int = Field(3, ge=1, le=20)
    threshold: float = Field(0.85, ge=0, le=2)
    near: float = Field(0.85, ge=0, le=1)
    budget: int = Field(4_000, ge=64)
    embedder: Embedder = StaticEmbedder()

    def answer(self, question: str, hits: Sequence[Hit], history: Sequence[Message] = ()) -> Answer:
        """See `Generator.answer`; `history` is not used."""
        started = time.perf_counter()
        packed = pack(hits, self.budget, count_tokens)
        candidates = self._candidates(question, packed.passages)
        best = max((c.relevance for c in candidates), default=0.0)

        def step() -> Step:
            detail = {
                "passages": len(packed.passages),
                "candidates": len(candidates),
                "relevance": round(best, 3),
            }
            return Step(name="extract", seconds=time.perf_counter() - started, detail=detail)

        if best < self.threshold:
            reason = (
                f"the nearest sentence has a relevance of {best:.2f}, below {self.threshold:.2f}"
                if candidates
                else "nothing was retrieved"
            )
            return abstention(reason, hits, trace=(step(),))
        text, found, citations = _quoted(self._best(candidates))
        return Answer(
            text=text,
            status="answered",
            sentences=found,
            citations=citations,
            hits=tuple(hits),
            trace=(step(),),
        )

    def _candidates(self, question: str, passages: Sequence[Passage]) -> list[_Candidate]:
        wanted = set(content_stems(question))
        if not wanted:
            return []
        spans = [(p, span) for p in passages for span in _prose(p.text)]
        texts = [passage.text[span.start : span.end] for passage, span in spans]
        question_vector = self.embedder.embed_query(question)
        cosines = (self.embedder.embed_documents(texts) @ question_vector).tolist()
        context = {p.number: set(stems(p.label)) for p in passages}
        words = [
            wanted & (set(stems(text)) | context[p.number])
            for (p, _), text in zip(spans, texts, strict=True)
        ]
        rarity = _rarity(wanted, words)
        return [
            _Candidate(
                passage,
                span,
                relevance=len(held) / len(wanted) + max(0.0, cosine),
                score=sum(rarity[word] for word in held)
                + max(0.0, cosine)
                + _PASSAGE_WEIGHT * passage.score
                - (0.0 if _FINISHED.search(text) else _UNFINISHED),
            )
            for (passage, span), text, held, cosine in zip(
                spans, texts, words, cosines, strict=True
            )
        ]

    def _best(self, candidates: Iterable[_Candidate]) -> list[_Candidate]:
        """Those to quote, best first, no words twice."""
        ranked = sorted(candidates, key=lambda c: (-c.score, c.passage.number, c.span))
        chosen: list[_Candidate] = []
        said: set[str] = set()
        for candidate in ranked:
            words = _collapsed(candidate.text)
            if candidate.score < self.near * ranked[0].score or len(chosen) == self.sentences:
                break
            if words not in said:
                said.add(words)
                chosen.append(candidate)
        return chosen


class _Candidate(NamedTuple):
    passage: Passage
    span: Span
    relevance: float
    score: float

    @property
    def text(self) -> str:
        return self.passage.text[self.span.start : self.span.end]


def _rarity(wanted: Set[str], held: Sequence[Set[str]]) -> dict[str, float]:
    """Weights of the question's words, the rarer among the candidates the higher; they sum to 1."""
    weights = {
        word: math.log(1 + len(held) / (0.5 + sum(word in words for words in held)))
        for word in wanted
    }
    total = sum(weights.values())
    return {word: weight / total for word, weight in weights.items()} if total else weights


def _prose(text: str) -> Iterator[Span]:
    """Sentences worth quoting: no headings, no rules, no fragments; without list markers."""
    for span in sentences(text):
        sentence = text[span.start : span.end]
        if _NOT_PROSE.match(sentence):
            continue
        if marker := _LEADING_MARKUP.match(sentence):
            span = Span(span.start + marker.end(), span.end)
            sentence = text[span.start : span.end]
        if len(stems(sentence)) >= (2 if sentence.startswith("|") else 3):
            yield span


def _quoted(
    chosen: Sequence[_Candidate],
) -> tuple[str, tuple[Sentence, ...], tuple[Citation, ...]]:
    """Write the answer: each sentence on one line, with its marker."""
    parts: list[str] = []
    found: list[Sentence] = []
    citations: list[Citation] = []
    at = 0
    for marker, candidate in enumerate(chosen, start=1):
        text = f"{_collapsed(candidate.text)} [{marker}]"
        quote = Quote(candidate.passage, candidate.span, 1.0)
        citations.append(quote.citation(marker, "extractive"))
        found.append(
            Sentence(
                start=at, end=at + len(text), citations=(marker - 1,), support=1.0, supported=True
            )
        )
        parts.append(text)
        at += len(text) + 1
    return " ".join(parts), tuple(found), tuple(citations)


def _collapsed(text: str) -> str:
    return " ".join(text.split())
