"""The default chunker: splits at headings, then at semantic boundaries within sections."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import ClassVar, NamedTuple, Self

from pydantic import Field, model_validator

from rag.chunking.base import Chunker, TokenCounter, chunk_id
from rag.chunking.semantic_split import find_overlap_start, split_semantically, strip_span
from rag.text.sentences import Span
from rag.types import Chunk, Document, LocationIndex

_SAMPLE_CHARACTERS = (
    1_000  # per sample; four samples estimate the characters per token of a document
)
_BLOCK_CHARACTERS = 200_000  # passed to semchunk in one call, to bound its memory
_ESTIMATE_TOLERANCE = 1.2  # the estimated token count may be wrong by this factor


class HeadingChunker(Chunker):
    """Splits a document at headings, joins small sections, and splits large ones.

    ``size`` and ``overlap`` are in tokens of the embedder. ``size`` is the maximum length of the
    text of a chunk; it is lowered if the embedder reads less. A section of up to ``stretch``
    times the size stays one chunk, because half an abstract is retrieved worse than a whole one
    (``docs/decisions.md``). Longer sections are split by semchunk, at the largest break that fits
    (paragraph, line, sentence, clause, word). A section is joined with the next one if both fit
    into one chunk and one of them has fewer than ``smallest`` tokens. Chunks overlap within a
    section only. With ``with_context`` the title and headings precede the text that is embedded
    and indexed; they are not part of ``chunk.text``.

    The split uses an estimate of the characters per token, and tokens are then counted per chunk:
    tokenising a whole report first is many times slower (``docs/decisions.md``).
    """

    name: ClassVar[str] = "headings"

    size: int = Field(256, ge=16, le=100_000)
    overlap: int = Field(32, ge=0)
    smallest: int = Field(64, ge=0)
    stretch: float = Field(1.75, ge=1, le=10)
    with_context: bool = True

    @model_validator(mode="after")
    def _check_overlap(self) -> Self:
        if self.overlap > self.size // 2:
            raise ValueError(f"overlap ({self.overlap}) is more than half of size ({self.size})")
        return self

    def split(self, document: Document, tokens: TokenCounter) -> list[Chunk]:
        """Split `document`; `Chunker.split` describes the result."""
        text = document.text
        if not text.strip():
            return []
        digest, fingerprint = document.digest, self.fingerprint
        characters_per_token = _estimate_characters_per_token(text, tokens)
        location_index = LocationIndex(document.marks)
        chunks: list[Chunk] = []
        for section in self._join_small_sections(_find_sections(document), characters_per_token):
            heading_context, max_tokens = self._make_heading_context(
                document.title, section.headings, tokens
            )
            for span in self._split_section(
                text, section.span, max_tokens, characters_per_token, tokens
            ):
                chunks.append(
                    Chunk(
                        id=chunk_id(digest, fingerprint, span.start, span.end),
                        uri=document.uri,
                        start=span.start,
                        end=span.end,
                        text=text[span.start : span.end],
                        title=document.title,
                        headings=section.headings,
                        heading_context=heading_context,
                        location=location_index.locate(span.start, span.end),
                        metadata=document.metadata,
                    )
                )
        return _drop_oversized_contexts(chunks, tokens) if self.with_context else chunks

    def _make_heading_context(
        self, title: str, headings: tuple[str, ...], tokens: TokenCounter
    ) -> tuple[str, int]:
        """Return the heading context, and the tokens that remain for the text of a chunk.

        The heading context is one line with the title and headings, each once. It is halved until
        it takes at most half of the tokens that the embedder reads.
        """
        if not self.with_context:
            return "", tokens.max_tokens
        line = " > ".join(dict.fromkeys(part for part in (title, *headings) if part))
        while line:
            # Two tokens more: the blank line, and a token that may be split differently.
            cost = tokens.count_tokens([line])[0] + 2
            if cost <= tokens.max_tokens // 2:
                return line, tokens.max_tokens - cost
            line = line[: len(line) // 2]
        return "", tokens.max_tokens

    def _join_small_sections(
        self, sections: Sequence[_Section], characters_per_token: float
    ) -> Iterator[_Section]:
        """Join each small section with its neighbour, if both fit into one chunk."""
        group: _Section | None = None
        for section in sections:
            if group is None:
                group = section
                continue
            is_small = min(group.length, section.length) < self.smallest * characters_per_token
            if is_small and section.span.end - group.span.start <= self.size * characters_per_token:
                group = _Section(
                    Span(group.span.start, section.span.end),
                    _find_common_prefix(group.headings, section.headings),
                )
            else:
                yield group
                group = section
        if group is not None:
            yield group

    def _split_section(
        self,
        text: str,
        section: Span,
        max_tokens: int,
        characters_per_token: float,
        tokens: TokenCounter,
    ) -> list[Span]:
        """Return the spans of the chunks of a section, of at most `max_tokens` tokens each."""
        max_chunk_tokens = min(self.size, max_tokens)
        max_whole_tokens = min(self.size * self.stretch, max_tokens)
        if (
            self.stretch > 1
            and section.end - section.start
            <= max_whole_tokens * characters_per_token * _ESTIMATE_TOLERANCE
        ):
            span = strip_span(text, section.start, section.end)
            if tokens.count_tokens([text[span.start : span.end]])[0] <= max_whole_tokens:
                return [span] if span.start < span.end else []
        overlap = min(self.overlap, max_chunk_tokens // 4)
        target_characters = max(1, int((max_chunk_tokens - overlap) * characters_per_token))
        core_spans = [
            span
            for start in range(section.start, section.end, _BLOCK_CHARACTERS)
            for span in _merge_neighbours(
                split_semantically(
                    text, start, min(start + _BLOCK_CHARACTERS, section.end), target_characters
                ),
                target_characters,
            )
        ]
        lengths = tokens.count_tokens([text[a:b] for a, b in core_spans])
        fitting_spans: list[tuple[Span, int]] = []
        for span, length in zip(core_spans, lengths, strict=True):
            fitting_spans += (
                [(span, length)]
                if length <= max_chunk_tokens
                else refit(text, span, length, max_chunk_tokens, tokens)
            )
        if overlap == 0 or len(fitting_spans) < 2:
            return [span for span, _ in fitting_spans]
        return self._extend_backwards(
            text, fitting_spans, max_chunk_tokens, int(overlap * characters_per_token), tokens
        )

    def _extend_backwards(
        self,
        text: str,
        fitting_spans: Sequence[tuple[Span, int]],
        max_chunk_tokens: int,
        overlap_characters: int,
        tokens: TokenCounter,
    ) -> list[Span]:
        """Extend each span but the first backwards by up to `overlap_characters`, if it fits.

        The tokens of the added text are counted separately, which costs an eighth of counting the
        extended span. The extended span is counted only if the sum is close to the limit.
        """
        extended_spans = [
            Span(find_overlap_start(text, previous.start, span.start, overlap_characters), span.end)
            for (previous, _), (span, _) in pairwise(fitting_spans)
        ]
        core_spans = [span for span, _ in fitting_spans[1:]]
        added_lengths = tokens.count_tokens(
            [
                text[extended.start : core.start]
                for extended, core in zip(extended_spans, core_spans, strict=True)
            ]
        )
        length_sums = [
            length + added_length
            for (_, length), added_length in zip(fitting_spans[1:], added_lengths, strict=True)
        ]
        # The tokens of two texts joined may be a token or two more than their sum.
        uncertain_indices = [
            index
            for index, length_sum in enumerate(length_sums)
            if length_sum + 2 > max_chunk_tokens
        ]
        exact_lengths = tokens.count_tokens(
            [
                text[extended_spans[index].start : extended_spans[index].end]
                for index in uncertain_indices
            ]
        )
        for index, length in zip(uncertain_indices, exact_lengths, strict=True):
            if length > max_chunk_tokens:
                extended_spans[index] = core_spans[index]
        return [fitting_spans[0][0], *extended_spans]


def _drop_oversized_contexts(chunks: list[Chunk], tokens: TokenCounter) -> list[Chunk]:
    """Remove the heading context from chunks that exceed the token limit with it.

    Heading context and text were counted separately, and their tokens joined may be more than
    the sum.
    """
    if not chunks or max(len(c.embedded_text.encode()) for c in chunks) <= tokens.max_tokens:
        return chunks  # a text never has more tokens than bytes
    lengths = tokens.count_tokens([chunk.embedded_text for chunk in chunks])
    return [
        chunk if length <= tokens.max_tokens else chunk.model_copy(update={"heading_context": ""})
        for chunk, length in zip(chunks, lengths, strict=True)
    ]


class _Section(NamedTuple):
    """The text below one heading."""

    span: Span
    headings: tuple[str, ...]

    @property
    def length(self) -> int:
        """Length in characters."""
        return self.span.end - self.span.start


def _find_sections(document: Document) -> list[_Section]:
    """Return the sections of the document in order; together they cover its text.

    Text without a heading is a section with an empty heading path.
    """
    sections: list[_Section] = []
    position = 0
    heading_marks = [mark for mark in document.marks if mark.kind == "heading"]
    for mark in sorted(heading_marks, key=lambda mark: mark.start):
        if not isinstance(mark.value, tuple):
            continue
        start = max(mark.start, position)
        if start > position:
            sections.append(_Section(Span(position, start), ()))
        if mark.end > start:
            sections.append(_Section(Span(start, mark.end), mark.value))
        position = max(position, mark.end)
    if position < len(document.text):
        sections.append(_Section(Span(position, len(document.text)), ()))
    return sections


def _find_common_prefix(a: tuple[str, ...], b: tuple[str, ...]) -> tuple[str, ...]:
    shared_count = 0
    while shared_count < min(len(a), len(b)) and a[shared_count] == b[shared_count]:
        shared_count += 1
    return a[:shared_count]


def _estimate_characters_per_token(text: str, tokens: TokenCounter) -> float:
    step = max(len(text) // 4, _SAMPLE_CHARACTERS)
    samples = [text[i : i + _SAMPLE_CHARACTERS] for i in range(0, len(text), step)]
    return max(0.25, sum(map(len, samples)) / max(1, sum(tokens.count_tokens(samples))))


def _merge_neighbours(spans: Sequence[Span], target_characters: int) -> list[Span]:
    """Join neighbouring spans that fit together: semchunk leaves small spans at larger breaks."""
    merged_spans: list[Span] = []
    for span in spans:
        if merged_spans and span.end - merged_spans[-1].start <= target_characters:
            merged_spans[-1] = Span(merged_spans[-1].start, span.end)
        else:
            merged_spans.append(span)
    return merged_spans


def refit(
    text: str, span: Span, length: int, max_tokens: int, tokens: TokenCounter
) -> list[tuple[Span, int]]:
    """Split a span of `length` tokens into (span, length) pairs of at most `max_tokens` each."""
    target_characters = max(1, (span.end - span.start) * max_tokens // (length + 1))
    parts = split_semantically(text, span.start, span.end, target_characters)
    lengths = tokens.count_tokens([text[a:b] for a, b in parts])
    fitting_spans: list[tuple[Span, int]] = []
    for part, part_length in zip(parts, lengths, strict=True):
        if part_length <= max_tokens or target_characters == 1:
            fitting_spans.append((part, part_length))
        else:
            fitting_spans += refit(text, part, part_length, max_tokens, tokens)
    return fitting_spans
