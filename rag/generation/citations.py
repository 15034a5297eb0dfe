"""From a draft with markers to sentences with exact, verified citations."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from rag.generation.context import Passage
from rag.text import Span, sentences
from rag.types import Citation, Sentence
from rag.verification import Verifier

_MARKER = re.compile(r"\s?\[(\d{1,4}(?:\s*[-–,;]\s*\d{1,4})*)\]")
_LONGEST_RANGE = 50
_NEEDLESS = 0.95  # a shorter quote is preferred that has this share of the best one's support


def marked_numbers(marker: str) -> list[int]:
    """Numbers in what stands between brackets: ``1``, ``1, 2`` or ``1-3``; in order, each once."""
    numbers: list[int] = []
    for part in re.split(r"[,;]", marker):
        first, *last = (int(number) for number in re.findall(r"\d+", part))
        end = last[-1] if last else first
        numbers += range(first, min(end, first + _LONGEST_RANGE) + 1) if end >= first else [first]
    return list(dict.fromkeys(numbers))


@dataclass(slots=True)
class CitedText:
    """A draft after checking: the text as it will be shown, its sentences and citations."""

    text: str
    sentences: tuple[Sentence, ...]
    citations: tuple[Citation, ...]
    dropped_markers: int
    attributed: int


@dataclass(slots=True)
class _Builder:
    """Writes the checked text sentence by sentence, counting offsets as it goes."""

    passages: Sequence[Passage]
    verifier: Verifier
    parts: list[str] = field(default_factory=list)
    at: int = 0
    sentences: list[Sentence] = field(default_factory=list)
    citations: list[Citation] = field(default_factory=list)
    dropped: int = 0
    attributed: int = 0

    def write(self, text: str) -> None:
        self.parts.append(text)
        self.at += len(text)

    def cite(self, sentence: str) -> None:
        """Write a sentence and what it rests on."""
        numbers = self._valid_numbers(sentence)
        shown = _MARKER.sub(self._keep_valid, sentence)
        claim = _MARKER.sub("", sentence)
        start = self.at
        method: Literal["marker", "attribution"] = "marker"
        if numbers:
            cited = [self.passages[number - 1] for number in numbers]
            quotes = [best_quote(claim, [passage], self.verifier) for passage in cited]
            found = [quote for quote in quotes if quote is not None]
        else:
            best = best_quote(claim, self.passages, self.verifier)
            found = [best] if best and best.support >= self.verifier.threshold else []
            method = "attribution"
            if found:
                shown += f" [{found[0].passage.number}]"
                self.attributed += 1
        self.write(shown)
        support = max((quote.support for quote in found), default=0.0)
        self.sentences.append(
            Sentence(
                start=start,
                end=self.at,
                citations=tuple(self._add(quote, method) for quote in found),
                support=support,
                supported=support >= self.verifier.threshold,
            )
        )

    def _valid_numbers(self, sentence: str) -> list[int]:
        numbers = [n for m in _MARKER.finditer(sentence) for n in marked_numbers(m.group(1))]
        valid = [number for number in numbers if 1 <= number <= len(self.passages)]
        self.dropped += len(numbers) - len(valid)
        return list(dict.fromkeys(valid))

    def _keep_valid(self, marker: re.Match[str]) -> str:
        numbers = marked_numbers(marker.group(1))
        valid = [number for number in numbers if 1 <= number <= len(self.passages)]
        if valid == numbers:
            return marker.group()
        space = " " if marker.group().startswith(" ") else ""
        return f"{space}[{', '.join(map(str, valid))}]" if valid else ""

    def _add(self, quote: Quote, method: Literal["marker", "attribution"]) -> int:
        citation = quote.citation(quote.passage.number, method)
        if citation in self.citations:
            return self.citations.index(citation)
        self.citations.append(citation)
        return len(self.citations) - 1


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

    def citation(
        self, marker: int, method: Literal["marker", "attribution", "extractive"]
    ) -> Citation:
        """The citation of this quote, at its place in the source."""
        return Citation(
            marker=marker,
            uri=self.passage.uri,
            start=self.passage.start + self.span.start,
            end=self.passage.start + self.span.end,
            quote=self.text,
            page=self.passage.page,
            title=self.passage.title,
            support=self.support,
            method=method,
        )


def best_quote(claim: str, passages: Sequence[Passage], verifier: Verifier) -> Quote | None:
    """Find the sentences, up to three in a row, that support `claim` best; the fewest that do."""
    spans = [(p, Span(*span)) for p in passages for span in p.sentence_spans()]
    if not spans or not claim.strip():
        return None
    supports = verifier.support([claim], [p.text[s.start : s.end] for p, s in spans])[0]
    enough = float(supports.max()) * _NEEDLESS
    *_, i = min(
        (span.end - span.start, -float(supports[i]), i)
        for i, (_, span) in enumerate(spans)
        if supports[i] >= enough
    )
    passage, span = spans[i]
    return Quote(passage, span, min(1.0, float(supports[i])))


def cite(draft: str, passages: Sequence[Passage], verifier: Verifier) -> CitedText:
    """Check a draft: drop markers of passages that are not there, and tie each sentence down.

    A sentence with markers cites, from each passage marked, the exact span that supports it
    best. One without gets the passage that supports it, if one does, and a marker for it. A
    sentence is supported where one of its quotes reaches the verifier's threshold.
    """
    builder = _Builder(passages, verifier)
    at = 0
    for span in sentences(draft):
        builder.write(draft[at : span.start])
        builder.cite(draft[span.start : span.end])
        at = span.end
    return CitedText(
        text="".join(builder.parts),
        sentences=tuple(builder.sentences),
        citations=tuple(builder.citations),
        dropped_markers=builder.dropped,
        attributed=builder.attributed,
    )
