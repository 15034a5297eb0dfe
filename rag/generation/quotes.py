"""Quotes: the span of a passage that supports a claim best, and checks of quotations."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from rag import tracing
from rag.embedding import StaticEmbedder
from rag.generation.name_agreement import MAX_SHORT_CLAIM_WORDS, MISSING_NAME_FACTOR, NameAgreement
from rag.generation.passages import Passage
from rag.text.sentences import Span
from rag.text.tokenization import content_stems
from rag.types import Citation, CitationMethod, SourceLocation
from rag.verification import Verifier, is_repetition, shared_words

_SUFFICIENT_SUPPORT_SHARE = 0.95  # a shorter quote with this share of the best support is preferred
_MIN_WORD_SHARE = 0.1  # below this share of common words, whole passages are compared
_MIN_QUESTION_SIMILARITY = 0.2  # cosine of a question and a related text
_MAX_DENIALS = 2  # sentences that can deny a claim
_SPANS_IN_FIRST_ROUND = 3  # a sentence, alone and with each neighbour
_QUOTATION = re.compile(
    r"(?<![^\s(\[*_—–-])(?:\"(?=\S)([^\"\n]{1,1000})\"|“([^“”\n]{1,1000})”"
    r"|„([^„“”\n]{1,1000})[“”]|«([^«»\n]{1,1000})»)"
)
_MIN_QUOTATION_CHARACTERS = 20  # shorter ones are names and the like
_MIN_OWN_SHARE = 0.34  # of the claim's words that are not in the headings of a sentence
_ELLIPSIS = re.compile(r"(?<!\s)\s*+\[?(?:…|\.\.\.)\]?\s*+")


@dataclass(frozen=True, slots=True)
class Quote:
    """A span of a passage's text, and its support (0..1) for a claim.

    ``names_agree`` is False if the span is about another name than the claim.
    """

    passage: Passage
    span: Span
    support: float
    names_agree: bool = True

    @property
    def text(self) -> str:
        """The quoted text."""
        return self.passage.text[self.span.start : self.span.end]

    def _locate(self) -> SourceLocation:
        """Return the source location, with the column if the quote is in one cell of a table."""
        column = self.passage.column_at(self.span)
        return {**self.passage.location, "column": column} if column else self.passage.location

    def _describe_context(self) -> str:
        """Return the headings above the quote; for a quote from a table also the whole row."""
        label = self.passage.label_at(self.span.start)
        table = self.passage.table_at(self.span.start)
        if table is None or table.layout == "pairs":
            return label
        rows = "; ".join(self.passage.describe(self.span).split("\n"))
        return f"{label}: {rows}" if label else rows

    def citation(self, marker: int, method: CitationMethod) -> Citation:
        """Return the citation of this quote, with its offsets in the source."""
        return Citation(
            marker=marker,
            uri=self.passage.uri,
            start=self.passage.start + self.span.start,
            end=self.passage.start + self.span.end,
            quote=self.text,
            location=self._locate(),
            title=self.passage.title,
            heading_context=self._describe_context(),
            support=self.support,
            method=method,
        )


def find_best_quote(
    claim: str, passages: Sequence[Passage], verifier: Verifier, question: str = ""
) -> Quote | None:
    """Return the shortest span of up to three consecutive sentences that supports `claim` best.

    The verifier scores the spans that share most words with the claim: a repetition of the claim
    alone, then the first few, since they mostly suffice. If hardly any words are shared, as in
    another language, it scores whole passages. For a verifier that compares words, a claim of one
    or two words ("300 hours.") has a meaning only as an answer to the `question`, so the quote
    must be related to it.
    """
    if not claim.strip():
        return None
    if question and verifier.by_words and len(shared_words(claim, ())[0]) <= MAX_SHORT_CLAIM_WORDS:
        spans = _rank_spans(f"{claim} {question}", passages, verifier.shortlist, max_sentences=1)
        spans = [(p, s) for p, s in spans if _is_related(question, p.premise(s))]
    else:
        spans = _rank_spans(claim, passages, verifier.shortlist)
    agreement = NameAgreement(claim, question, passages)
    supports: list[float] = []
    factors: list[float] = []
    repetition_count = sum(is_repetition(claim, p.describe(s)) for p, s in spans[:1])
    for span_group in (
        spans[:repetition_count],
        spans[repetition_count:_SPANS_IN_FIRST_ROUND],
        spans[_SPANS_IN_FIRST_ROUND:],
    ):
        if span_group and max(supports, default=0.0) < verifier.threshold:
            pairs = [(claim, p.premise(s)) for p, s in span_group]
            with tracing.span(f"verify {verifier.name}", attributes={"citewell.pairs": len(pairs)}):
                scores = verifier.scores(pairs)
            factors += [
                agreement.factor(passage, span)
                * (_measure_own_share(claim, passage, span) if verifier.by_words else 1)
                for passage, span in span_group
            ]
            supports += [
                float(score) * factor
                for score, factor in zip(scores, factors[len(supports) :], strict=True)
            ]
    if not supports:
        return None
    sufficient_support = max(supports) * _SUFFICIENT_SUPPORT_SHARE
    *_, i = min(
        (span.end - span.start, -supports[i], i)
        for i, (_, span) in enumerate(spans[: len(supports)])
        if supports[i] >= sufficient_support
    )
    return Quote(*spans[i], min(1.0, supports[i]), names_agree=factors[i] == 1)


def is_contradicted(claim: str, passages: Sequence[Passage], verifier: Verifier) -> bool:
    """Whether one of the sentences that share most words with a claim denies it."""
    spans = _rank_spans(claim, passages, _MAX_DENIALS, max_sentences=1)
    return any(
        verifier.contradicts(claim, passage.premise(span))
        and NameAgreement(claim, "", passages).factor(passage, span) == 1
        for passage, span in spans
    )


def _measure_own_share(claim: str, passage: Passage, span: Span) -> float:
    """Return a factor below 1 if nearly all that a span shares with a claim is in its headings.

    "Parking is free" has a word in common with each sentence below the heading "Parking". The
    words of the claim that are in the headings must not stand in for the others.
    """
    if not (heading_path := passage.label_at(span.start)):
        return 1.0
    weights, (own, label) = shared_words(claim, [passage.describe(span), heading_path])
    needed = math.fsum(weight for word, weight in weights.items() if word not in label)
    if not label or not needed:
        return 1.0
    share = math.fsum(weights[word] for word in own - label) / needed
    return 1.0 if share >= _MIN_OWN_SHARE else MISSING_NAME_FACTOR


def _is_related(question: str, text: str) -> bool:
    """Whether a text has a word of the question, or is similar to it.

    Nearly all sentences that answer SQuAD's questions are related, and hardly any of the
    instructions in ``evals/sets/injections.yaml``.
    """
    if set(content_stems(question)) & set(content_stems(text)):
        return True
    question_vector, text_vector = StaticEmbedder().embed_documents([question, text])
    return float(question_vector @ text_vector) >= _MIN_QUESTION_SIMILARITY


def _rank_spans(
    claim: str, passages: Sequence[Passage], max_spans: int, max_sentences: int = 3
) -> list[tuple[Passage, Span]]:
    """Return the spans that share most words with a claim, best first; of equals, the shorter."""
    runs = [(p, run) for p in passages for run in p.runs(max_sentences)]
    singles = [(p, run[0]) for p, run in runs if len(run) == 1]
    labels = [p.label_at(s.start) for p, s in singles]
    distinct_labels = list(dict.fromkeys(labels))
    weights, shared = shared_words(claim, [*(p.describe(s) for p, s in singles), *distinct_labels])
    label_words = dict(zip(distinct_labels, shared[len(singles) :], strict=True))
    words = {
        (p.number, s.start): sentence_words | label_words[label]
        for (p, s), sentence_words, label in zip(
            singles, shared[: len(singles)], labels, strict=True
        )
    }
    ranked = []
    for i, (passage, run) in enumerate(runs):
        run_words = set().union(*(words[passage.number, span.start] for span in run))
        share = math.fsum(weights[word] for word in run_words)
        length = run[-1].end - run[0].start
        ranked.append((-share, length, i))
    ranked.sort()
    if not ranked or -ranked[0][0] < _MIN_WORD_SHARE:
        longest_spans = [(p, p.find_longest_span()) for p in passages]
        return [(p, Span(*span)) for p, span in longest_spans if span is not None][:max_spans]
    best_runs = [runs[i] for *_, i in ranked[:max_spans]]
    return [(passage, Span(run[0].start, run[-1].end)) for passage, run in best_runs]


def has_misquotation(claim: str, passages: Sequence[Passage]) -> bool:
    """Whether a claim has a quotation that no passage contains word for word.

    White space is ignored, and a quotation may omit words with an ellipsis.
    """
    for match in _QUOTATION.finditer(claim):
        quotation = next(group for group in match.groups() if group is not None)
        parts = [_normalize_quotation(part) for part in _ELLIPSIS.split(quotation.strip(" .,;:"))]
        if len(quotation) >= _MIN_QUOTATION_CHARACTERS and not any(
            all(part in _normalize_quotation(passage.text) for part in parts)
            for passage in passages
        ):
            return True
    return False


def _normalize_quotation(text: str) -> str:
    return " ".join(text.replace("’", "'").replace("‘", "'").split()).casefold()
