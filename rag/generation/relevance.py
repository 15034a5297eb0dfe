"""Relevance of sentences to a question: which ones to quote, and whether to answer at all."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence, Set
from typing import NamedTuple

from rag.embedding import Embedder
from rag.generation.context_packing import Passage
from rag.query import Query
from rag.text.sentences import Span
from rag.text.tokenization import content_stems, stems

_LEADING_MARKUP = re.compile(r"(?:[-*+•>]|\d{1,3}[.)])\s+")
_NOT_PROSE = re.compile(r"#{1,6}\s|\|?[\s:|-]+\|?$")
_PASSAGE_WEIGHT = 0.5  # weight of the passage's score in a sentence's score
_INCOMPLETE_SENTENCE_PENALTY = 0.4  # for text without a sentence's end: a caption, a heading
_COMPLETE_SENTENCE = re.compile(r"[.!?…。！？।؟:;][\"'”’»)\]]*$|\|$")


class Candidate(NamedTuple):
    """A sentence of a passage, its relevance to the question (0..2), and its score for ranking."""

    passage: Passage
    span: Span
    relevance: float
    score: float

    @property
    def text(self) -> str:
        """The text of the sentence."""
        return self.passage.text[self.span.start : self.span.end]


def score_candidates(
    query: Query, passages: Sequence[Passage], embedder: Embedder
) -> list[Candidate]:
    """Return every quotable sentence with its relevance and score.

    The relevance is the share of the question's words that the sentence or its headings have, plus
    the cosine of sentence and question. It is halved if the sentence has only words that the
    query carries from an earlier question. In the score, rarer words count more, and the passage's
    score is added.
    """
    question = str(query)
    question_stems = set(content_stems(question))
    if not question_stems:
        return []
    spans = [(p, span) for p in passages for span in _iterate_quotable_spans(p)]
    texts = [passage.text[span.start : span.end] for passage, span in spans]
    question_vector = embedder.embed_query(question)
    cosines = (embedder.embed_documents(texts) @ question_vector).tolist()
    label_stems = {p.number: set(stems(p.label)) for p in passages}
    shared_stems = [
        question_stems & (set(stems(text)) | label_stems[p.number])
        for (p, _), text in zip(spans, texts, strict=True)
    ]
    rarity = _weigh_by_rarity(question_stems, shared_stems)
    own_stems = set(content_stems(query.text)) & question_stems
    return [
        Candidate(
            passage,
            span,
            relevance=(len(shared) / len(question_stems) + max(0.0, cosine))
            * (1 if shared & own_stems else 0.5),
            score=sum(rarity[word] for word in shared)
            + max(0.0, cosine)
            + _PASSAGE_WEIGHT * passage.score
            - (0.0 if _COMPLETE_SENTENCE.search(text) else _INCOMPLETE_SENTENCE_PENALTY),
        )
        for (passage, span), text, shared, cosine in zip(
            spans, texts, shared_stems, cosines, strict=True
        )
    ]


def _weigh_by_rarity(
    question_stems: Set[str], shared_stems: Sequence[Set[str]]
) -> dict[str, float]:
    """Return weights of the question's words: higher if rarer in the sentences, with the sum 1."""
    weights = {
        word: math.log(1 + len(shared_stems) / (0.5 + sum(word in words for words in shared_stems)))
        for word in question_stems
    }
    total = sum(weights.values())
    return {word: weight / total for word, weight in weights.items()} if total else weights


def _iterate_quotable_spans(passage: Passage) -> Iterator[Span]:
    """Yield the quotable sentences, without headings, rules, fragments and list markers."""
    for start, end in passage.sentence_spans():
        span = Span(start, end)
        sentence = passage.text[start:end]
        if _NOT_PROSE.match(sentence):
            continue
        if marker := _LEADING_MARKUP.match(sentence):
            span = Span(start + marker.end(), end)
            sentence = passage.text[span.start : end]
        if len(stems(sentence)) >= (2 if sentence.startswith("|") else 3):
            yield span
