"""How near the sentences of passages are to a question: what to quote, and whether to answer."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence, Set
from typing import NamedTuple

from rag.embedding import Embedder
from rag.generation.context_packing import Passage
from rag.text.sentences import Span
from rag.text.tokenization import content_stems, stems

_LEADING_MARKUP = re.compile(r"(?:[-*+•>]|\d{1,3}[.)])\s+")
_NOT_PROSE = re.compile(r"#{1,6}\s|\|?[\s:|-]+\|?$")
_PASSAGE_WEIGHT = 0.5  # how much the passage's own score counts beside its sentence's
_UNFINISHED = 0.4  # taken off what does not end like a sentence: a caption, a bare heading
_CARRIED = re.compile(r"\s\([^()]{1,300}\)\Z")
_FINISHED = re.compile(r"[.!?…。！？।؟:;][\"'”’»)\]]*$|\|$")


class Candidate(NamedTuple):
    """A sentence of a passage, how relevant it is (0..2), and its score among the others."""

    passage: Passage
    span: Span
    relevance: float
    score: float

    @property
    def text(self) -> str:
        """The sentence."""
        return self.passage.text[self.span.start : self.span.end]


def candidates(question: str, passages: Sequence[Passage], embedder: Embedder) -> list[Candidate]:
    """Every sentence worth quoting.

    Its relevance is the share of the question's words that it or its headings have, plus the
    cosine of both, and half of that where it has none of the question's words but those that were
    carried over from an earlier one, in brackets at its end. Its score has the rarer words count
    more, and the passage's own score added.
    """
    wanted = set(content_stems(question))
    if not wanted:
        return []
    spans = [(p, span) for p in passages for span in _prose(p)]
    texts = [passage.text[span.start : span.end] for passage, span in spans]
    question_vector = embedder.embed_query(question)
    cosines = (embedder.embed_documents(texts) @ question_vector).tolist()
    context = {p.number: set(stems(p.label)) for p in passages}
    words = [
        wanted & (set(stems(text)) | context[p.number])
        for (p, _), text in zip(spans, texts, strict=True)
    ]
    rarity = _rarity(wanted, words)
    own = set(content_stems(_CARRIED.sub("", question))) & wanted
    return [
        Candidate(
            passage,
            span,
            relevance=(len(held) / len(wanted) + max(0.0, cosine)) * (1 if held & own else 0.5),
            score=sum(rarity[word] for word in held)
            + max(0.0, cosine)
            + _PASSAGE_WEIGHT * passage.score
            - (0.0 if _FINISHED.search(text) else _UNFINISHED),
        )
        for (passage, span), text, held, cosine in zip(spans, texts, words, cosines, strict=True)
    ]


def _rarity(wanted: Set[str], held: Sequence[Set[str]]) -> dict[str, float]:
    """Weights of the question's words, the rarer among the candidates the higher; they sum to 1."""
    weights = {
        word: math.log(1 + len(held) / (0.5 + sum(word in words for words in held)))
        for word in wanted
    }
    total = sum(weights.values())
    return {word: weight / total for word, weight in weights.items()} if total else weights


def _prose(passage: Passage) -> Iterator[Span]:
    """Sentences worth quoting: no headings, no rules, no fragments; without list markers."""
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
