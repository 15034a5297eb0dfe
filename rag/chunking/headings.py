"""The default chunker: sections first, then semantic boundaries within them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import ClassVar, NamedTuple, Self

from pydantic import Field, model_validator

from rag.chunking.base import Chunker, TokenCounter, chunk_id
from rag.text.sentences import Span
from rag.types import Chunk, Document, LocationIndex

_SAMPLE = 1_000  # characters a sample, of which four estimate a document's characters per token
_BLOCK = 200_000  # characters given to semchunk at once, so that its memory stays bounded
_UNSURE = 1.2  # how far the estimate of a text's tokens may be off
_BREAK = re.compile(r"(?<=[.!?。！？])\s+|\n\s*|\s+")


class HeadingChunker(Chunker):
    """Split at headings, join sections that are small, split those that are large.

    ``size`` and ``overlap`` are in tokens of the embedder; ``size`` bounds the chunk's text and
    is lowered where the embedder reads less. A section that is little longer, up to ``stretch``
    times the size, stays whole: half an abstract is found worse than all of it
    (``docs/decisions.md``). Others are split by semchunk, at the largest break that fits
    (paragraph, line, sentence, clause, word). A section joins its
    neighbour where both fit into one chunk and one of them is smaller than ``smallest`` tokens.
    Chunks overlap within a section only. With ``with_context`` the title and headings stand in
    front of the text that is embedded and indexed, never in the text itself.

    Tokens are counted per chunk, after a split by an estimate: to tokenise a whole report first
    is many times slower (``docs/decisions.md``).
    """

    name: ClassVar[str] = "headings"

    size: int = Field(256, ge=16, le=100_000)
    overlap: int = Field(32, ge=0)
    smallest: int = Field(64, ge=0)
    stretch: float = Field(1.75, ge=1, le=10)
    with_context: bool = True

    @model_validator(mode="after")
    def _overlap_leaves_room(self) -> Self:
        if self.overlap > self.size // 2:
            raise ValueError(f"overlap ({self.overlap}) is more than half of size ({self.size})")
        return self

    def split(self, document: Document, tokens: TokenCounter) -> list[Chunk]:
        """Split `document`; see `Chunker.split` for what holds of the result."""
        text = document.text
        if not text.strip():
            return []
        digest, fingerprint = document.digest, self.fingerprint
        ratio = _characters_per_token(text, tokens)
        places = LocationIndex(document.marks)
        chunks: list[Chunk] = []
        for section in self._joined(_sections(document), ratio):
            context, most = self._context(document.title, section.headings, tokens)
            for span in self._spans(text, section.span, most, ratio, tokens):
                chunks.append(
                    Chunk(
                        id=chunk_id(digest, fingerprint, span.start, span.end),
                        uri=document.uri,
                        start=span.start,
                        end=span.end,
                        text=text[span.start : span.end],
                        title=document.title,
                        headings=section.headings,
                        heading_context=context,
                        location=places.locate(span.start, span.end),
                        metadata=document.metadata,
                    )
                )
        return _within(chunks, tokens) if self.with_context else chunks

    def _context(
        self, title: str, headings: tuple[str, ...], tokens: TokenCounter
    ) -> tuple[str, int]:
        """Title and headings in one line, each once, and the tokens the embedder then still reads.

        Where they would take more than half of what the embedder reads, the line is halved.
        """
        if not self.with_context:
            return "", tokens.max_tokens
        line = " > ".join(dict.fromkeys(part for part in (title, *headings) if part))
        while line:
            # Two more than counted: the blank line, and a token that may split differently.
            cost = tokens.count_tokens([line])[0] + 2
            if cost <= tokens.max_tokens // 2:
                return line, tokens.max_tokens - cost
            line = line[: len(line) // 2]
        return "", tokens.max_tokens

    def _joined(self, sections: Sequence[_Section], ratio: float) -> Iterator[_Section]:
        group: _Section | None = None
        for section in sections:
            if group is None:
                group = section
                continue
            small = min(group.length, section.length) < self.smallest * ratio
            if small and section.span.end - group.span.start <= self.size * ratio:
                group = _Section(
                    Span(group.span.start, section.span.end),
                    _common_prefix(group.headings, section.headings),
                )
            else:
                yield group
                group = section
        if group is not None:
            yield group

    def _spans(
        self, text: str, section: Span, most: int, ratio: float, tokens: TokenCounter
    ) -> list[Span]:
        room = min(self.size, most)
        whole = min(self.size * self.stretch, most)
        if self.stretch > 1 and section.end - section.start <= whole * ratio * _UNSURE:
            span = _stripped(text, section.start, section.end)
            if tokens.count_tokens([text[span.start : span.end]])[0] <= whole:
                return [span] if span.start < span.end else []
        overlap = min(self.overlap, room // 4)
        target = max(1, int((room - overlap) * ratio))
        core = [
            span
            for start in range(section.start, section.end, _BLOCK)
            for span in _filled(
                _semantic_spans(text, start, min(start + _BLOCK, section.end), target), target
            )
        ]
        lengths = tokens.count_tokens([text[a:b] for a, b in core])
        fitting: list[tuple[Span, int]] = []
        for span, length in zip(core, lengths, strict=True):
            fitting += (
                [(span, length)] if length <= room else refit(text, span, length, room, tokens)
            )
        if overlap == 0 or len(fitting) < 2:
            return [span for span, _ in fitting]
        return self._overlapping(text, fitting, room, int(overlap * ratio), tokens)

    def _overlapping(
        self,
        text: str,
        fitting: Sequence[tuple[Span, int]],
        room: int,
        reach: int,
        tokens: TokenCounter,
    ) -> list[Span]:
        """Let spans begin up to `reach` characters earlier, as far as they have room for it.

        What is added is counted by itself, which costs an eighth of counting both together; that
        is done where the sum does not settle it.
        """
        wide = [
            Span(_reach_back(text, previous.start, span.start, reach), span.end)
            for (previous, _), (span, _) in pairwise(fitting)
        ]
        narrow = [span for span, _ in fitting[1:]]
        added = tokens.count_tokens(
            [text[w.start : n.start] for w, n in zip(wide, narrow, strict=True)]
        )
        sums = [length + more for (_, length), more in zip(fitting[1:], added, strict=True)]
        # A word may be split into a token or two more beside others.
        unsure = [i for i, total in enumerate(sums) if total + 2 > room]
        exact = tokens.count_tokens([text[wide[i].start : wide[i].end] for i in unsure])
        for i, length in zip(unsure, exact, strict=True):
            if length > room:
                wide[i] = narrow[i]
        return [fitting[0][0], *wide]


def _within(chunks: list[Chunk], tokens: TokenCounter) -> list[Chunk]:
    """Take the context from chunks that do not fit with it.

    Context and text were counted apart, and a tokenizer may see more in the two together.
    """
    if not chunks or max(len(c.embedded_text.encode()) for c in chunks) <= tokens.max_tokens:
        return chunks  # no tokenizer makes more tokens than there are bytes
    lengths = tokens.count_tokens([chunk.embedded_text for chunk in chunks])
    return [
        chunk if length <= tokens.max_tokens else chunk.model_copy(update={"heading_context": ""})
        for chunk, length in zip(chunks, lengths, strict=True)
    ]


class _Section(NamedTuple):
    span: Span
    headings: tuple[str, ...]

    @property
    def length(self) -> int:
        return self.span.end - self.span.start


def _sections(document: Document) -> list[_Section]:
    """Cover the text with the stretches below one heading path each, in order."""
    sections: list[_Section] = []
    at = 0
    headed = [m for m in document.marks if m.kind == "heading" and isinstance(m.value, tuple)]
    for mark in sorted(headed, key=lambda mark: mark.start):
        start = max(mark.start, at)
        if start > at:
            sections.append(_Section(Span(at, start), ()))
        if mark.end > start and isinstance(mark.value, tuple):
            sections.append(_Section(Span(start, mark.end), mark.value))
        at = max(at, mark.end)
    if at < len(document.text):
        sections.append(_Section(Span(at, len(document.text)), ()))
    return sections


def _common_prefix(a: tuple[str, ...], b: tuple[str, ...]) -> tuple[str, ...]:
    shared = 0
    while shared < min(len(a), len(b)) and a[shared] == b[shared]:
        shared += 1
    return a[:shared]


def _characters_per_token(text: str, tokens: TokenCounter) -> float:
    step = max(len(text) // 4, _SAMPLE)
    samples = [text[i : i + _SAMPLE] for i in range(0, len(text), step)]
    return max(0.25, sum(map(len, samples)) / max(1, sum(tokens.count_tokens(samples))))


def _semantic_spans(text: str, start: int, end: int, target: int) -> list[Span]:
    """Spans of at most `target` characters that cover what is not white space."""
    from semchunk import chunk

    if end - start <= target:
        return [_stripped(text, start, end)] if not text[start:end].isspace() else []
    try:
        # `len` counts characters; memoising it would keep every text for ever.
        _, offsets = chunk(text[start:end], target, len, offsets=True, memoize=False)
    except RecursionError:  # text made of ever longer runs of breaks: any cut is as good
        offsets = [(i, min(i + target, end - start)) for i in range(0, end - start, target)]
    return [
        _stripped(text, start + a, start + b)
        for a, b in offsets
        if text[start + a : start + b].strip()
    ]


def _filled(spans: Sequence[Span], target: int) -> list[Span]:
    """Join neighbours as long as they fit: semchunk leaves a small rest at every larger break."""
    filled: list[Span] = []
    for span in spans:
        if filled and span.end - filled[-1].start <= target:
            filled[-1] = Span(filled[-1].start, span.end)
        else:
            filled.append(span)
    return filled


def _stripped(text: str, start: int, end: int) -> Span:
    piece = text[start:end]
    left = start + len(piece) - len(piece.lstrip())
    return Span(left, left + len(piece.strip()))


def refit(
    text: str, span: Span, length: int, room: int, tokens: TokenCounter
) -> list[tuple[Span, int]]:
    """Split a span of `length` tokens into spans of at most `room` tokens, with their lengths."""
    target = max(1, (span.end - span.start) * room // (length + 1))
    parts = _semantic_spans(text, span.start, span.end, target)
    lengths = tokens.count_tokens([text[a:b] for a, b in parts])
    fitting: list[tuple[Span, int]] = []
    for part, tokens_of_part in zip(parts, lengths, strict=True):
        if tokens_of_part <= room or target == 1:
            fitting.append((part, tokens_of_part))
        else:
            fitting += refit(text, part, tokens_of_part, room, tokens)
    return fitting


def _reach_back(text: str, floor: int, start: int, reach: int) -> int:
    """Begin earlier by up to `reach` characters, at a sentence, line or word, not before floor."""
    window_start = max(floor, start - reach)
    best: dict[int, int] = {}
    for gap in _BREAK.finditer(text, window_start, start):
        if gap.end() >= start:
            break
        rank = 0 if gap.start() and text[gap.start() - 1] in ".!?。！？" else 1
        rank = 0 if "\n" in gap.group() else rank
        best.setdefault(rank, gap.end())
    return best.get(0, best.get(1, start))
