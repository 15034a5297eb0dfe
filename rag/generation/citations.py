"""From a draft with markers to sentences with exact, verified citations."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from rag.generation.context import Passage
from rag.text import Span, sentences
from rag.types import Citation, Sentence
from rag.verification import Verifier

# [1], [1, 2], [1-3], [^1] and 【1†source】; no year, and nothing within `code`.
_MARKER = re.compile(
    r"\s?(?:\[\^?(\d{1,3}(?:\s*+[-–,;]\s*+\d{1,3})*+)\](?![(:])|【(\d{1,3})(?:†[^】\n]{0,80})?】)"
)
_INLINE_CODE = re.compile(r"(?<!`)(`++).{1,500}?(?<!`)\1(?!`)")
_FENCED_CODE = re.compile(
    r"^[ >]{0,8}+(`{3,}+(?![^\n]*`)|~{3,}+)[^\n]*+\n.*?(?:^[ >]{0,8}+\1[`~]*+[ \t\r]*+$|\Z)",
    re.M | re.S,
)
_NO_CLAIM = re.compile(r"\s*(?:#{1,6}\s|(?:[-*_]\s*){3,}$|\|?[\s:|-]+\|?$)")
_TABLE_RULE = re.compile(r"\|?\s*+:?-{2,}+[\s:|-]*+$")
_LONGEST_RANGE = 50
_NEEDLESS = 0.95  # a shorter quote is preferred that has this share of the best one's support


def marked_numbers(marker: str) -> list[int]:
    """Numbers in what stands between brackets: ``1``, ``1, 2`` or ``1-3``; in order, each once."""
    numbers: list[int] = []
    for part in re.split(r"[,;]", marker):
        found = [int(number) for number in re.findall(r"\d+", part)]
        if len(found) == 2 and found[0] <= found[1]:
            found = list(range(found[0], min(found[1], found[0] + _LONGEST_RANGE) + 1))
        numbers += found
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
        numbers: list[int] = []
        shown = self._checked_markers(sentence, numbers)
        claim = _without_markers(sentence)
        if not re.search(r"\w", claim):
            self.write(shown)
            return
        bare = shown.lstrip()
        self.write(shown[: len(shown) - len(bare)])
        shown, start = bare, self.at
        method: Literal["marker", "attribution"] = "marker"
        if numbers:
            cited = [self.passages[number - 1] for number in dict.fromkeys(numbers)]
            quotes = [best_quote(claim, [passage], self.verifier) for passage in cited]
            found = [quote for quote in quotes if quote is not None]
        else:
            best = best_quote(claim, self.passages, self.verifier)
            found = [best] if best and best.support >= self.verifier.threshold else []
            method = "attribution"
            if found:
                shown = _marked(shown, found[0].passage.number)
                self.attributed += 1
        self.write(shown)
        support = max((quote.support for quote in found), default=0.0)
        self.sentences.append(
            Sentence(
                start=start,
                end=self.at,
                citations=tuple(dict.fromkeys(self._add(quote, method) for quote in found)),
                support=support,
                supported=support >= self.verifier.threshold,
            )
        )

    def _checked_markers(self, sentence: str, valid: list[int]) -> str:
        """The sentence without markers of passages that do not exist; `valid` gets the others."""

        def checked(marker: re.Match[str]) -> str:
            numbers = marked_numbers(marker.group(1) or marker.group(2))
            real = [number for number in numbers if 1 <= number <= len(self.passages)]
            if not real and _glued(marker, sentence):
                return marker.group()  # an index, as in argv[0], rather than a citation
            valid.extend(real)
            self.dropped += len(numbers) - len(real)
            if real == numbers:
                return marker.group()
            space = " " if marker.group().startswith(" ") else ""
            return f"{space}[{', '.join(map(str, real))}]" if real else ""

        return _outside_code(sentence, lambda text: _MARKER.sub(checked, text))

    def _add(self, quote: Quote, method: Literal["marker", "attribution"]) -> int:
        citation = quote.citation(quote.passage.number, method)
        if citation not in self.citations:
            self.citations.append(citation)
        return self.citations.index(citation)


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
            place=self.passage.place,
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


def _outside_code(sentence: str, change: Callable[[str], str]) -> str:
    parts: list[str] = []
    at = 0
    for code in _INLINE_CODE.finditer(sentence):
        parts += [change(sentence[at : code.start()]), code.group()]
        at = code.end()
    return "".join([*parts, change(sentence[at:])])


def _without_markers(sentence: str) -> str:
    return _outside_code(
        sentence,
        lambda text: _MARKER.sub(lambda m: m.group() if _glued(m, text) else "", text),
    )


def _glued(marker: re.Match[str], text: str) -> bool:
    """Whether the marker follows an identifier without a space, and is not a passage's."""
    before = text[: marker.start()][-1:]
    return marker.group(1) == "0" and marker.group().startswith("[") and before.isalnum()


def _marked(sentence: str, number: int) -> str:
    """Put a marker behind a sentence, or into the last cell of a table's row."""
    if sentence.endswith("|") and sentence.count("|") > 1:
        return f"{sentence[:-1].rstrip()} [{number}] |"
    return f"{sentence} [{number}]"


def cite(draft: str, passages: Sequence[Passage], verifier: Verifier) -> CitedText:
    """Check a draft: drop markers of passages that are not there, and tie each sentence down.

    A sentence with markers cites, from each passage marked, the exact span that supports it
    best. One without gets the passage that supports it, if one does, and a marker for it. A
    sentence is supported where one of its quotes reaches the verifier's threshold. Code stays as
    it is; headings, rules and the heads of tables claim nothing.
    """
    builder = _Builder(passages, verifier)
    at = 0
    for code in _FENCED_CODE.finditer(draft):
        _cite_prose(builder, draft[at : code.start()])
        builder.write(code.group())
        at = code.end()
    _cite_prose(builder, draft[at:])
    return CitedText(
        text="".join(builder.parts),
        sentences=tuple(builder.sentences),
        citations=tuple(builder.citations),
        dropped_markers=builder.dropped,
        attributed=builder.attributed,
    )


def _cite_prose(builder: _Builder, prose: str) -> None:
    at = 0
    # Code is one word here, so that no full stop in it ends a sentence.
    spans = sentences(_INLINE_CODE.sub(lambda code: "x" * len(code.group()), prose))
    texts = [prose[span.start : span.end] for span in spans]
    for i, (span, text) in enumerate(zip(spans, texts, strict=True)):
        builder.write(prose[at : span.start])
        below = [*text.splitlines()[1:], *texts[i + 1 : i + 2]]
        if _NO_CLAIM.match(text) or any(_TABLE_RULE.match(line) for line in below):
            builder.write(text)
        else:
            builder.cite(text)
        at = span.end
    builder.write(prose[at:])
