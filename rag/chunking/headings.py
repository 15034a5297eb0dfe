"""The default chunker: splits at headings, then at semantic boundaries within sections."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, ClassVar, Self

from pydantic import Field, model_validator

from rag.chunking.base import Chunker, TokenCounter, chunk_id
from rag.chunking.blocks import (
    Block,
    BlockIndex,
    Section,
    find_blocks,
    find_sections,
    merge_neighbours,
    split_block,
)
from rag.chunking.semantic_split import find_overlap_start, strip_span
from rag.text.sentences import Span
from rag.types import Chunk, Document, LocationIndex, MarkValue, Table

_SAMPLE_CHARACTERS = (
    1_000  # per sample; four samples estimate the characters per token of a document
)
_ESTIMATE_TOLERANCE = 1.2  # the estimated token count may be wrong by this factor


class HeadingChunker(Chunker):
    """Splits a document at headings, and splits long sections.

    ``size`` and ``overlap`` are in tokens of the embedder. ``size`` is the maximum length of the
    text of a chunk; it is lowered if the embedder reads less. A chunk never crosses a heading. A
    section of up to ``stretch`` times the size stays one chunk, because half an abstract is
    retrieved worse than a whole one (``docs/decisions.md``). Longer sections are split at the
    largest break that fits (paragraph, line, sentence, clause, word). A table is split between its
    rows only; a list, a record and a code block are split only if they do not fit into one chunk.
    Chunks of running text overlap within a section. With ``with_context`` the title and the
    headings precede the text that is embedded and indexed, and in a chunk of a table also its
    caption and the names of its columns; they are not part of ``chunk.text``.

    The split uses an estimate of the characters per token, and tokens are then counted per chunk:
    tokenising a whole report first is many times slower (``docs/decisions.md``).
    """

    name: ClassVar[str] = "headings"
    revision: ClassVar[int] = 3

    size: int = Field(256, ge=16, le=100_000)
    overlap: int = Field(32, ge=0)
    stretch: float = Field(1.75, ge=1, le=10)
    with_context: bool = True

    @model_validator(mode="before")
    @classmethod
    def _ignore_removed_setting(cls, data: Any) -> Any:
        if isinstance(data, Mapping) and "smallest" in data:
            warnings.warn(
                "HeadingChunker no longer joins small sections: remove `smallest`",
                DeprecationWarning,
                stacklevel=2,
            )
            return {key: value for key, value in data.items() if key != "smallest"}
        return data

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
        for section in find_sections(document):
            tables = section.tables if self.with_context else ()
            contexts = [
                self._make_heading_context((document.title, *section.headings), table, tokens)
                for table in (None, *(mark.value for mark in tables))
            ]
            max_tokens = min(remaining_tokens for _, remaining_tokens in contexts)
            for span in self._split_section(
                text, section, max_tokens, characters_per_token, tokens
            ):
                i = section.find_table(span)
                chunks.append(
                    Chunk(
                        id=chunk_id(digest, fingerprint, span.start, span.end),
                        uri=document.uri,
                        start=span.start,
                        end=span.end,
                        text=text[span.start : span.end],
                        title=document.title,
                        headings=section.headings,
                        heading_context=self._add_row_label(
                            contexts[0 if i is None or not tables else i + 1][0],
                            section.find_row_label(text, span.start),
                            text[span.start : span.end],
                            tokens,
                        ),
                        location=location_index.locate(span.start, span.end),
                        metadata=document.metadata,
                    )
                )
        return _drop_oversized_contexts(chunks, tokens) if self.with_context else chunks

    def _add_row_label(
        self, heading_context: str, row_label: str, text: str, tokens: TokenCounter
    ) -> str:
        """Add the label of a row that begins in an earlier chunk, if the chunk still fits."""
        if not (self.with_context and row_label):
            return heading_context
        labelled = f"{heading_context} > {row_label}" if heading_context else row_label
        length = tokens.count_tokens([f"{labelled}\n\n{text}"])[0]
        return labelled if length <= tokens.max_tokens else heading_context

    def _make_heading_context(
        self, path: Sequence[str], table: MarkValue | None, tokens: TokenCounter
    ) -> tuple[str, int]:
        """Return the heading context, and the tokens that remain for the text of a chunk.

        The heading context is one line with the parts of `path`, each once, and the caption and
        the columns of the `table`. It is halved until it takes at most half of the tokens that the
        embedder reads.
        """
        if not self.with_context:
            return "", tokens.max_tokens
        columns = ""
        if isinstance(table, Table):
            path = (*path, table.name)
            columns = table.column_line if table.layout == "cells" else ""
        line = " > ".join(dict.fromkeys(part for part in path if part))
        line = ": ".join(part for part in (line, columns) if part)
        while line:
            # Two tokens more: the blank line, and a token that may be split differently.
            cost = tokens.count_tokens([line])[0] + 2
            if cost <= tokens.max_tokens // 2:
                return line, tokens.max_tokens - cost
            line = line[: len(line) // 2]
        return "", tokens.max_tokens

    def _split_section(
        self,
        text: str,
        section: Section,
        max_tokens: int,
        characters_per_token: float,
        tokens: TokenCounter,
    ) -> list[Span]:
        """Return the spans of the chunks of a section, of at most `max_tokens` tokens each."""
        start, end = section.span
        max_chunk_tokens = min(self.size, max_tokens)
        max_whole_tokens = min(self.size * self.stretch, max_tokens)
        if (
            self.stretch > 1
            and end - start <= max_whole_tokens * characters_per_token * _ESTIMATE_TOLERANCE
        ):
            span = strip_span(text, start, end)
            if tokens.count_tokens([text[span.start : span.end]])[0] <= max_whole_tokens:
                return [span] if span.start < span.end else []
        overlap = min(self.overlap, max_chunk_tokens // 4)
        target_characters = max(1, int((max_chunk_tokens - overlap) * characters_per_token))
        blocks = BlockIndex(find_blocks(text, section, target_characters))
        core_spans = _split_blocks(text, blocks, section.span, target_characters)
        lengths = tokens.count_tokens([text[a:b] for a, b in core_spans])
        fitting_spans: list[tuple[Span, int]] = []
        for span, length in zip(core_spans, lengths, strict=True):
            fitting_spans += (
                [(span, length)]
                if length <= max_chunk_tokens
                else refit(text, span, length, max_chunk_tokens, tokens, blocks)
            )
        if overlap == 0 or len(fitting_spans) < 2:
            return [span for span, _ in fitting_spans]
        return self._extend_backwards(
            text,
            fitting_spans,
            blocks,
            max_chunk_tokens,
            int(overlap * characters_per_token),
            tokens,
        )

    def _extend_backwards(
        self,
        text: str,
        fitting_spans: Sequence[tuple[Span, int]],
        blocks: BlockIndex,
        max_chunk_tokens: int,
        overlap_characters: int,
        tokens: TokenCounter,
    ) -> list[Span]:
        """Extend each span but the first backwards by up to `overlap_characters`, if it fits.

        The tokens of the added text are counted separately, which costs an eighth of counting the
        extended span. The extended span is counted only if the sum is close to the limit.
        """
        extended_spans = [
            Span(
                find_overlap_start(
                    text,
                    max(previous.start, blocks.find_prose_start(span.start)),
                    span.start,
                    overlap_characters,
                ),
                span.end,
            )
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


def _estimate_characters_per_token(text: str, tokens: TokenCounter) -> float:
    step = max(len(text) // 4, _SAMPLE_CHARACTERS)
    samples = [text[i : i + _SAMPLE_CHARACTERS] for i in range(0, len(text), step)]
    return max(0.25, sum(map(len, samples)) / max(1, sum(tokens.count_tokens(samples))))


def _split_blocks(text: str, blocks: BlockIndex, span: Span, target_characters: int) -> list[Span]:
    """Return spans of at most `target_characters` that cover the blocks in `span`."""
    parts = [
        part
        for block in blocks.find_blocks(span)
        for part in split_block(text, block, target_characters)
    ]
    return [
        strip_span(text, part.start, part.end)
        for part in merge_neighbours(parts, target_characters)
        if text[part.start : part.end].strip()
    ]


def refit(
    text: str,
    span: Span,
    length: int,
    max_tokens: int,
    tokens: TokenCounter,
    blocks: BlockIndex | None = None,
) -> list[tuple[Span, int]]:
    """Split a span of `length` tokens into (span, length) pairs of at most `max_tokens` each.

    The span is split between its `blocks`, if possible.
    """
    blocks = BlockIndex([Block(span)]) if blocks is None else blocks
    target_characters = max(1, (span.end - span.start) * max_tokens // (length + 1))
    parts = _split_blocks(text, blocks, span, target_characters)
    lengths = tokens.count_tokens([text[a:b] for a, b in parts])
    fitting_spans: list[tuple[Span, int]] = []
    for part, part_length in zip(parts, lengths, strict=True):
        if part_length <= max_tokens or target_characters == 1:
            fitting_spans.append((part, part_length))
        else:
            fitting_spans += refit(text, part, part_length, max_tokens, tokens, blocks)
    return fitting_spans
