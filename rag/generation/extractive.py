"""The extractive generator: answers in the words of the sources, without a language model."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import ClassVar

from pydantic import Field

from rag.embedding import Embedder, StaticEmbedder
from rag.generation.base import Generator, abstention
from rag.generation.context_packing import pack
from rag.generation.links import remove_uncited_links
from rag.generation.question_spelling import respell_question
from rag.generation.quotes import Quote
from rag.generation.relevance import Candidate, explain_low_relevance, score_candidates
from rag.query import Query
from rag.text.tokens import count_tokens
from rag.types import Answer, Citation, ExtractStep, Hit, Message, Sentence


class ExtractiveGenerator(Generator):
    """Quotes the sentences that answer best, verbatim, each with its citation.

    It cannot hallucinate, since it only quotes. First, the question is written as the passages
    spell it (`rag.generation.question_spelling`). A sentence's relevance (0..2) is the share of the
    question's words that it or its headings have, plus the cosine of sentence and question; it is
    lower if names, or what is asked of a name, are missing. If no sentence reaches ``threshold``,
    the generator abstains. It quotes up to ``sentences`` sentences
    whose score is at least ``near`` times the best score; the score is the relevance with rarer
    words counting more and the passage's score added. In the answer's text, white space is
    collapsed and links lead to the cited source only; the citations' quotes are unchanged.

    `benchmarks/answers.py` prints how many answerable questions the default threshold keeps, and
    how many unanswerable ones it refuses.
    """

    name: ClassVar[str] = "extractive"

    sentences: int = Field(3, ge=1, le=20)
    threshold: float = Field(0.85, ge=0, le=2)
    near: float = Field(0.85, ge=0, le=1)
    streams: ClassVar[bool] = False

    budget: int = Field(4_000, ge=64)
    embedder: Embedder = StaticEmbedder()

    def answer(
        self, question: str | Query, hits: Sequence[Hit], history: Sequence[Message] = ()
    ) -> Answer:
        """See `Generator.answer`; `history` is not used."""
        start_time = time.perf_counter()
        packed = pack(hits, self.budget, count_tokens)
        query = respell_question(Query.of(question), packed.passages, self.embedder)
        candidates = score_candidates(query, packed.passages, self.embedder)
        best_relevance = max((c.relevance for c in candidates), default=0.0)

        def make_step() -> ExtractStep:
            return ExtractStep(
                name="extract",
                seconds=time.perf_counter() - start_time,
                passages=len(packed.passages),
                left_out=packed.omitted_hits,
                candidates=len(candidates),
                relevance=round(best_relevance, 3),
            )

        selected = self._select_candidates(candidates)
        if not selected or best_relevance < self.threshold:
            reason = (
                explain_low_relevance(query.text, packed.passages, best_relevance, self.threshold)
                if candidates
                else "nothing was retrieved"
            )
            return abstention(reason, hits, trace=(make_step(),))
        text, sentences, citations = _compose_answer(selected)
        return Answer(
            text=text,
            status="answered",
            sentences=sentences,
            citations=citations,
            hits=tuple(hits),
            trace=(make_step(),),
        )

    def _select_candidates(self, candidates: Iterable[Candidate]) -> list[Candidate]:
        """Return the candidates to quote, best first, without duplicate texts."""
        ranked = sorted(candidates, key=lambda c: (-c.score, c.passage.number, c.span))
        selected: list[Candidate] = []
        selected_texts: set[str] = set()
        for candidate in ranked:
            text = _collapse_white_space(candidate.text)
            if len(selected) == self.sentences or (
                selected and candidate.score < self.near * selected[0].score
            ):
                break
            if text not in selected_texts and _render_candidate(candidate).strip():
                selected_texts.add(text)
                selected.append(candidate)
        return selected


def _compose_answer(
    candidates: Sequence[Candidate],
) -> tuple[str, tuple[Sentence, ...], tuple[Citation, ...]]:
    """Compose the answer: each sentence on one line, with its marker."""
    parts: list[str] = []
    sentences: list[Sentence] = []
    citations: list[Citation] = []
    start = 0
    for marker, candidate in enumerate(candidates, start=1):
        text = f"{_render_candidate(candidate)} [{marker}]"
        quote = Quote(candidate.passage, candidate.span, 1.0)
        citations.append(quote.citation(marker, "extractive"))
        sentences.append(
            Sentence(
                start=start,
                end=start + len(text),
                citations=(marker - 1,),
                support=1.0,
                status="supported",
            )
        )
        parts.append(text)
        start += len(text) + 1
    return " ".join(parts), tuple(sentences), tuple(citations)


def _render_candidate(candidate: Candidate) -> str:
    text = _collapse_white_space(candidate.text)
    source = candidate.passage.uri
    return remove_uncited_links(text, is_cited=lambda url: url == source, is_quoted=lambda _: True)


def _collapse_white_space(text: str) -> str:
    return " ".join(text.split())
