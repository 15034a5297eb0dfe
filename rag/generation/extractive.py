"""The extractive generator: answers in the words of the sources, without a language model."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import ClassVar

from pydantic import Field

from rag.embedding import Embedder, StaticEmbedder
from rag.generation.answer_scorer import estimate_answerability, rank_candidates
from rag.generation.base import Generator, abstention
from rag.generation.closest_passages import find_closest_passages
from rag.generation.context_packing import pack
from rag.generation.links import remove_uncited_links
from rag.generation.question_spelling import respell_question
from rag.generation.quotes import Quote
from rag.generation.relevance import Candidate, explain_missing_answer
from rag.query import Query
from rag.text.tokens import count_tokens
from rag.types import Answer, Citation, ExtractStep, Hit, Message, Sentence


class ExtractiveGenerator(Generator):
    """Quotes the sentences that answer best, verbatim, each with its citation.

    It cannot hallucinate, since it only quotes. First, the question is written as the passages
    spell it (`rag.generation.question_spelling`). A learned scorer (`rag.generation.answer_scorer`)
    ranks the sentences. If the probability (0..1) that the best ones hold the answer is below
    ``answerability``, or the best relevance (0..2, see `rag.generation.relevance`) below
    ``threshold``, the generator abstains. It quotes up to ``sentences`` sentences whose odds are at
    least ``near`` times those of the best, each on a line of its own. In the answer's text, white
    space is collapsed, a row of a table has the names of its columns, and links lead to the cited
    source only; the citations' quotes are unchanged.

    `benchmarks/answers.py` prints how many answerable questions the defaults keep, and how many
    unanswerable ones they refuse.
    """

    name: ClassVar[str] = "extractive"
    revision: ClassVar[int] = 2

    sentences: int = Field(3, ge=1, le=20)
    answerability: float = Field(0.27, ge=0, le=1)
    threshold: float = Field(0.0, ge=0, le=2)
    near: float = Field(0.33, ge=0, le=1)
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
        candidates = rank_candidates(query, packed.passages, self.embedder)
        best_relevance = max((c.relevance for c in candidates), default=0.0)
        answerability = estimate_answerability(candidates[0].score) if candidates else 0.0

        def make_step() -> ExtractStep:
            return ExtractStep(
                name="extract",
                seconds=time.perf_counter() - start_time,
                passages=len(packed.passages),
                left_out=packed.omitted_hits,
                candidates=len(candidates),
                relevance=round(best_relevance, 3),
                answerability=round(answerability, 3),
            )

        selected = self._select_candidates(candidates)
        if not selected or answerability < self.answerability or best_relevance < self.threshold:
            reason = (
                explain_missing_answer(query.text, packed.passages, answerability)
                if candidates
                else "nothing was retrieved"
            )
            closest = find_closest_passages(query, packed.passages, self.embedder)
            return abstention(reason, hits, closest=closest, trace=(make_step(),))
        text, sentences, citations = _compose_answer(selected)
        return Answer(
            text=text,
            status="answered",
            sentences=sentences,
            citations=citations,
            hits=tuple(hits),
            trace=(make_step(),),
        )

    def _select_candidates(self, ranked: Sequence[Candidate]) -> list[Candidate]:
        """Return the candidates to quote, best first, without duplicate texts."""
        max_distance = -math.log(self.near) if self.near else math.inf
        selected: list[Candidate] = []
        selected_texts: set[str] = set()
        for candidate in ranked:
            text = _collapse_white_space(candidate.text)
            if len(selected) == self.sentences or (
                selected and candidate.score < selected[0].score - max_distance
            ):
                break
            if text not in selected_texts and _render_candidate(candidate).strip():
                selected_texts.add(text)
                selected.append(candidate)
        return selected


def _compose_answer(
    candidates: Sequence[Candidate],
) -> tuple[str, tuple[Sentence, ...], tuple[Citation, ...]]:
    """Compose the answer: each sentence or row on a line of its own, with its marker."""
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
    return "\n".join(parts), tuple(sentences), tuple(citations)


def _render_candidate(candidate: Candidate) -> str:
    text = _collapse_white_space(candidate.passage.describe(candidate.span))
    source = candidate.passage.uri
    return remove_uncited_links(text, is_cited=lambda url: url == source, is_quoted=lambda _: True)


def _collapse_white_space(text: str) -> str:
    return " ".join(text.split())
