"""Relevance of sentences to a question: which ones to quote, and whether to answer at all."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence, Set
from typing import TYPE_CHECKING, NamedTuple

from rag.embedding import Embedder
from rag.generation.name_agreement import (
    MISSING_NAME_FACTOR,
    find_asked_names,
    has_asked_name,
)
from rag.generation.passages import Passage
from rag.query import Query
from rag.text.sentences import Span
from rag.text.tokenization import content_stems, stems

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_LEADING_MARKUP = re.compile(r"(?:[-*+•>]|\d{1,3}[.)])\s+")
_NOT_PROSE = re.compile(r"#{1,6}\s|\|?[\s:|-]+\|?$")
_CARRIED_TERMS_FACTOR = 0.5  # of the relevance, if only terms of an earlier question are shared
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
    the cosine of the question and of the sentence with its headings. It is lowered if the
    sentence has only words that the query carries from an earlier question, or if it stands in a
    passage that has none of the question's names. In the score, rarer words count more, and the
    passage's score is added.
    """
    question = str(query)
    question_stems = set(content_stems(question))
    if not question_stems:
        return []
    spans = [(p, span) for p in passages for span in _iterate_quotable_spans(p)]
    texts = [passage.describe(span) for passage, span in spans]
    labels = [passage.label_at(span.start) for passage, span in spans]
    label_stems = {label: set(stems(label)) for label in set(labels)}
    shared_stems = [
        question_stems & (set(stems(text)) | label_stems[label])
        for text, label in zip(texts, labels, strict=True)
    ]
    heading_paths = [
        "" if passage.table_at(span.start) else " > ".join(passage.headings_at(span.start))
        for passage, span in spans
    ]  # the names of the columns explain a row better
    vectors = _embed_below_headings(texts, heading_paths, embedder)
    cosines = (vectors @ embedder.embed_query(question)).tolist()
    rarity = _weigh_by_rarity(question_stems, shared_stems)
    own_stems = set(content_stems(query.text)) & question_stems
    asked_names = find_asked_names(query.text)
    factors = [
        (1 if shared & own_stems else _CARRIED_TERMS_FACTOR)
        * (1 if has_asked_name(asked_names, passage, span) else MISSING_NAME_FACTOR)
        for shared, (passage, span) in zip(shared_stems, spans, strict=True)
    ]
    return [
        Candidate(
            passage,
            span,
            relevance=(len(shared) / len(question_stems) + max(0.0, cosine)) * factor,
            score=(factor - 1)
            + math.fsum(rarity[word] for word in shared)
            + max(0.0, cosine)
            + _PASSAGE_WEIGHT * passage.score
            - (0.0 if _is_complete(passage, span, text) else _INCOMPLETE_SENTENCE_PENALTY),
        )
        for (passage, span), text, shared, cosine, factor in zip(
            spans, texts, shared_stems, cosines, factors, strict=True
        )
    ]


def _embed_below_headings(
    texts: Sequence[str], heading_paths: Sequence[str], embedder: Embedder
) -> NDArray[np.float32]:
    """Return unit vectors ``[n, d]``: the sums of the vectors of each text and of its headings.

    The share of a heading is the same in a short and in a long sentence; in the vector of both
    texts together, a long path of headings would outweigh "Three years."
    """
    import numpy as np

    vectors = embedder.embed_documents(texts)
    distinct_paths = [path for path in dict.fromkeys(heading_paths) if path]
    if not distinct_paths:
        return vectors
    path_vectors = dict(zip(distinct_paths, embedder.embed_documents(distinct_paths), strict=True))
    sums = np.array(
        [
            vector + path_vectors[path] if path else vector
            for vector, path in zip(vectors, heading_paths, strict=True)
        ]
    )
    return np.asarray(sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12))


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
        if len(stems(sentence)) >= _count_required_words(passage, span, sentence):
            yield span


def _is_complete(passage: Passage, span: Span, text: str) -> bool:
    """Whether a text says something alone: it is a sentence, or the row of a table."""
    return bool(_COMPLETE_SENTENCE.search(text)) or passage.table_at(span.start) is not None


def _count_required_words(passage: Passage, span: Span, sentence: str) -> int:
    """Return the number of words that a sentence needs: a heading explains a short sentence."""
    if passage.table_at(span.start) is not None or sentence.startswith("|"):
        return 2
    has_heading = bool(passage.headings_at(span.start))
    return 1 if has_heading and _COMPLETE_SENTENCE.search(sentence) else 3
