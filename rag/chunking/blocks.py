"""The sections of a document, and the blocks of a section: what a chunk should not cut.

A section is the text under one heading. Its blocks are the rows of tables, records, lists, code
blocks, and the running text between them.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from rag.chunking.semantic_split import split_semantically
from rag.text.sentences import Span
from rag.types import Document, Mark, Table

_BLOCK_CHARACTERS = 200_000  # split in one call, to bound the memory
_MAX_HEADING_CHARACTERS = 300  # of a section that contains only its heading
_MAX_ROW_LABEL_CHARACTERS = 80
_CODE_BLOCK = re.compile(
    r"^[ ]{0,3}(?P<fence>`{3,}+|~{3,}+)[^\n]*+\n(?s:.*?)(?:^[ ]{0,3}(?P=fence)[`~]*+[ \t]*+$|\Z)",
    re.M,
)
_ITEM_END = re.compile(r"\n[ \t]*\n(?=\S)")
_LIST_ITEM = re.compile(r"^[ \t]*(?:[-*+•◦▪]|\d{1,3}[.)])[ \t]+\S", re.M)


class Section(NamedTuple):
    """The text below one heading, with the marks of its tables and rows."""

    span: Span
    headings: tuple[str, ...] = ()
    tables: tuple[Mark, ...] = ()
    rows: tuple[Mark, ...] = ()

    def find_table(self, span: Span) -> int | None:
        """Return the index of the table in which `span` begins; None if there is none."""
        for i, table in enumerate(self.tables):
            if table.start <= span.start < table.end:
                return i
        return None

    def find_row_label(self, text: str, offset: int) -> str:
        """Return the first value of the row that contains `offset` and begins before it."""
        i = bisect_right(self.rows, offset - 1, key=lambda row: row.start) - 1
        if i < 0 or self.rows[i].end <= offset:
            return ""
        first_part, _, _ = text[self.rows[i].start : offset].strip("| \n").partition("\n")
        return re.split(r"; | \| ", first_part, maxsplit=1)[0][:_MAX_ROW_LABEL_CHARACTERS]


class Block(NamedTuple):
    """A span of a section; if it is `whole`, it is cut only if it does not fit into a chunk."""

    span: Span
    whole: bool = False


def find_sections(document: Document) -> list[Section]:
    """Return the sections of the document in order; together they cover its text.

    Text without a heading is a section with an empty heading path. A heading directly above a
    lower one belongs to the section of the lower one.
    """
    spans: list[tuple[Span, tuple[str, ...]]] = []
    position = 0
    for mark in _sort_marks(document, "heading"):
        if not isinstance(mark.value, tuple):
            continue
        start = max(mark.start, position)
        if start > position:
            spans.append((Span(position, start), ()))
        if mark.end > start:
            spans.append((Span(start, mark.end), mark.value))
        position = max(position, mark.end)
    if position < len(document.text):
        spans.append((Span(position, len(document.text)), ()))
    return list(_add_tables(document, _join_bare_headings(document.text, spans)))


def _sort_marks(document: Document, kind: str) -> list[Mark]:
    return sorted((mark for mark in document.marks if mark.kind == kind), key=lambda m: m.start)


def _join_bare_headings(
    text: str, spans: Sequence[tuple[Span, tuple[str, ...]]]
) -> Iterator[tuple[Span, tuple[str, ...]]]:
    """Join each section that is only a heading with the section below it, if that is lower."""
    pending_start: int | None = None
    for i, (span, headings) in enumerate(spans):
        start = span.start if pending_start is None else pending_start
        pending_start = None
        next_headings = spans[i + 1][1] if i + 1 < len(spans) else ()
        if (
            headings
            and len(next_headings) > len(headings)
            and next_headings[: len(headings)] == headings
            and span.end - span.start <= _MAX_HEADING_CHARACTERS
            and "\n" not in text[span.start : span.end].strip()
        ):
            pending_start = start
        else:
            yield Span(start, span.end), headings


def _add_tables(
    document: Document, spans: Iterator[tuple[Span, tuple[str, ...]]]
) -> Iterator[Section]:
    """Yield the sections with the marks of the tables and rows that begin in them."""
    tables, rows = _sort_marks(document, "table"), _sort_marks(document, "row")
    table_index = row_index = 0
    for span, headings in spans:
        first_table, first_row = table_index, row_index
        while table_index < len(tables) and tables[table_index].start < span.end:
            table_index += 1
        while row_index < len(rows) and rows[row_index].start < span.end:
            row_index += 1
        yield Section(
            span,
            headings,
            tuple(tables[first_table:table_index]),
            tuple(rows[first_row:row_index]),
        )


def find_blocks(text: str, section: Section, target_characters: int) -> list[Block]:
    """Return the blocks of a section in order; they cover its text but white space.

    A list of more than `target_characters` is divided into its items.
    """
    blocks: list[Block] = []
    position = section.span.start
    for span in _find_rows(section):
        start, end = max(span.start, position), min(span.end, section.span.end)
        if end <= start:
            continue
        blocks += _divide_prose(text, position, start, target_characters)
        blocks.append(Block(Span(start, end), whole=True))
        position = end
    blocks += _divide_prose(text, position, section.span.end, target_characters)
    return blocks


def _find_rows(section: Section) -> list[Span]:
    """Return the spans of the rows of a section; the first row of a table has its header."""
    spans = [Span(row.start, row.end) for row in section.rows]
    starts = [span.start for span in spans]
    for table in section.tables:
        header = table.value.header if isinstance(table.value, Table) else 0
        i = bisect_right(starts, table.start - 1)
        if header and i < len(spans) and spans[i].start < table.end:
            spans[i] = Span(table.start, max(spans[i].end, table.start + header))
    return spans


def _divide_prose(text: str, start: int, end: int, target_characters: int) -> list[Block]:
    """Return the lists, the code blocks and the other text of ``[start, end)`` as blocks."""
    if not text[start:end].strip():
        return []
    blocks: list[Block] = []
    position = start
    for span, whole in _find_lists_and_code(text, start, end, target_characters):
        if text[position : span.start].strip():
            blocks.append(Block(Span(position, span.start)))
        blocks.append(Block(span, whole))
        position = span.end
    if text[position:end].strip():
        blocks.append(Block(Span(position, end)))
    return blocks


def _find_lists_and_code(
    text: str, start: int, end: int, target_characters: int
) -> Iterator[tuple[Span, bool]]:
    position = start
    for code in [*_CODE_BLOCK.finditer(text, start, end), None]:
        stop = code.start() if code else end
        for items in _find_lists(text, position, stop):
            if items[-1].end - items[0].start <= target_characters:
                yield Span(items[0].start, items[-1].end), True
            else:
                yield from ((item, True) for item in items)
        if code:
            yield Span(code.start(), code.end()), True
            position = code.end()


def _find_lists(text: str, start: int, end: int) -> Iterator[list[Span]]:
    """Yield the items of each list of at least two.

    An item ends before the next one, or at the first line after a blank line that is not indented.
    """
    starts = [match.start() for match in _LIST_ITEM.finditer(text, start, end)]
    items: list[Span] = []
    for item_start, next_start in pairwise([*starts, end]):
        if items and text[items[-1].end : item_start].strip():  # other text between the items
            if len(items) > 1:
                yield items
            items = []
        boundary = _ITEM_END.search(text, item_start, next_start)
        items.append(Span(item_start, boundary.start() if boundary else next_start))
    if len(items) > 1:
        yield items


def split_block(text: str, block: Block, target_characters: int) -> Iterator[Span]:
    """Yield spans of at most `target_characters`; a whole block that fits is one span."""
    start, end = block.span
    if block.whole and end - start <= target_characters:
        yield block.span
        return
    for position in range(start, end, _BLOCK_CHARACTERS):
        stop = min(position + _BLOCK_CHARACTERS, end)
        yield from merge_neighbours(
            split_semantically(text, position, stop, target_characters), target_characters
        )


def merge_neighbours(spans: Sequence[Span], target_characters: int) -> list[Span]:
    """Join neighbouring spans that fit together: semchunk leaves small spans at larger breaks."""
    merged_spans: list[Span] = []
    for span in spans:
        if merged_spans and span.end - merged_spans[-1].start <= target_characters:
            merged_spans[-1] = Span(merged_spans[-1].start, span.end)
        else:
            merged_spans.append(span)
    return merged_spans


class BlockIndex:
    """Finds the blocks at an offset."""

    def __init__(self, blocks: Sequence[Block]) -> None:
        self._blocks = blocks
        self._starts = [block.span.start for block in blocks]

    def find_blocks(self, span: Span) -> Iterator[Block]:
        """Yield the blocks in `span`, cut at its ends."""
        i = max(0, bisect_right(self._starts, span.start) - 1)
        while i < len(self._blocks) and self._starts[i] < span.end:
            block = self._blocks[i]
            start, end = max(block.span.start, span.start), min(block.span.end, span.end)
            if start < end:
                yield Block(Span(start, end), block.whole)
            i += 1

    def find_prose_start(self, offset: int) -> int:
        """Return the start of the running text at `offset`; `offset` if it is not running text."""
        i = bisect_right(self._starts, offset) - 1
        if i < 0 or self._blocks[i].whole:
            return offset
        return self._blocks[i].span.start
