"""The stretch of a passage that supports a claim best."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from rag import tracing
from rag.embedding import StaticEmbedder
from rag.generation.context_packing import Passage
from rag.text.sentences import Span
from rag.text.tokenization import content_stems
from rag.types import Citation, CitationMethod
from rag.verification import Verifier, shared_words

_NEEDLESS = 0.95  # a shorter quote is preferred that has this share of the best one's support
_NO_SIGNAL = 0.1  # share of common words below which words do not say where to look
_SHORT = 2  # words of content that are no claim by themselves
_LIKE = 0.2  # cosine from which a text is like a question
_FIRST = 3  # a sentence, and it with a neighbour
_QUOTED = re.compile(
    r"(?<![^\s(\[*_—–-])(?:\"(?=\S)([^\"\n]{1,1000})\"|“([^“”\n]{1,1000})”"
    r"|„([^„“”\n]{1,1000})[“”]|«([^«»\n]{1,1000})»)"
)
_SHORTEST = 20  # characters; shorter ones are names and the like
_ELLIPSIS = re.compile(r"\s*(?:\[?(?:…|\.\.\.)\]?)\s*")


@dataclass(frozen=True, slots=True)
class Quote:
    """A stretch of a passage and how well it supports a claim; the span is in the passage."""

    passage: Passage
    span: Span
    support: float

    @property
    def text(self) -> str:
        """The words themselves."""
        return self.passage.text[self.span.start : self.span.end]

    def citation(self, marker: int, method: CitationMethod) -> Citation:
        """The citation of this quote, at its place in the source."""
        return Citation(
            marker=marker,
            uri=self.passage.uri,
            start=self.passage.start + self.span.start,
            end=self.passage.start + self.span.end,
            quote=self.text,
            location=self.passage.place,
            title=self.passage.title,
            support=self.support,
            method=method,
        )


def best_quote(
    claim: str, passages: Sequence[Passage], verifier: Verifier, question: str = ""
) -> Quote | None:
    """Find the sentences, up to three in a row, that support `claim` best; the fewest that do.

    Those that share most words with the claim are shown to the verifier, the first few by
    themselves, since they mostly do; where hardly any are shared, as in another language, whole
    passages are. For a verifier that goes by words, a claim of a word or two ("300 hours.") says
    something as an answer to the `question` only: then the quote must have to do with that.
    """
    if not claim.strip():
        return None
    if question and verifier.by_words and len(shared_words(claim, ())[0]) <= _SHORT:
        spans = _nearest(f"{claim} {question}", passages, verifier.shortlist, longest=1)
        spans = [(p, s) for p, s in spans if _bears_on(question, p.text[s.start : s.end])]
    else:
        spans = _nearest(claim, passages, verifier.shortlist)
    supports: list[float] = []
    for group in (spans[:_FIRST], spans[_FIRST:]):
        if group and max(supports, default=0.0) < verifier.threshold:
            pairs = [(claim, p.text[s.start : s.end]) for p, s in group]
            with tracing.span(f"verify {verifier.name}", attributes={"citewell.pairs": len(pairs)}):
                supports += [float(support) for support in verifier.scores(pairs)]
    if not supports:
        return None
    enough = max(supports) * _NEEDLESS
    *_, i = min(
        (span.end - span.start, -supports[i], i)
        for i, (_, span) in enumerate(spans[: len(supports)])
        if supports[i] >= enough
    )
    return Quote(*spans[i], min(1.0, supports[i]))


def _bears_on(question: str, text: str) -> bool:
    """Whether a text has a word of the question, or is at all like it.

    Nearly all sentences that answer SQuAD's questions do, and hardly any of the orders in
    ``evals/sets/injections.yaml``.
    """
    if set(content_stems(question)) & set(content_stems(text)):
        return True
    asked, given = StaticEmbedder().embed_documents([question, text])
    return float(asked @ given) >= _LIKE


def _nearest(
    claim: str, passages: Sequence[Passage], most: int, longest: int = 3
) -> list[tuple[Passage, Span]]:
    """The stretches that share most words with a claim, nearest first; the shorter before."""
    runs = [(p, run) for p in passages for run in p.runs(longest)]
    singles = [(p, run[0]) for p, run in runs if len(run) == 1]
    weights, held = shared_words(claim, [p.text[s.start : s.end] for p, s in singles])
    words = {(p.number, s.start): found for (p, s), found in zip(singles, held, strict=True)}
    ranked = []
    for i, (passage, run) in enumerate(runs):
        found = set().union(*(words[passage.number, span.start] for span in run))
        share = sum(weights[word] for word in found)
        length = run[-1].end - run[0].start
        ranked.append((-share, length, i))
    ranked.sort()
    if not ranked or -ranked[0][0] < _NO_SIGNAL:
        whole = [(p, p.whole_span()) for p in passages]
        return [(p, Span(*span)) for p, span in whole if span is not None][:most]
    best = [runs[i] for *_, i in ranked[:most]]
    return [(passage, Span(run[0].start, run[-1].end)) for passage, run in best]


def misquotes(claim: str, passages: Sequence[Passage]) -> bool:
    """Whether a claim puts words in quotation marks that stand in no passage word for word.

    White space does not count, and a quotation may leave something out with an ellipsis.
    """
    for match in _QUOTED.finditer(claim):
        said = next(group for group in match.groups() if group is not None)
        parts = [_plain(part) for part in _ELLIPSIS.split(said.strip(" .,;:"))]
        if len(said) >= _SHORTEST and not any(
            all(part in _plain(passage.text) for part in parts) for passage in passages
        ):
            return True
    return False


def _plain(text: str) -> str:
    return " ".join(text.replace("’", "'").replace("‘", "'").split()).casefold()
