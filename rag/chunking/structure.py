"""The structure of documents: the headings, tables, records and contents a span lies in."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable

from rag.chunking.base import Chunker, TokenCounter
from rag.chunking.contents import find_contents
from rag.types import Chunk, Document, Mark


def split_document(chunker: Chunker, document: Document, tokens: TokenCounter) -> list[Chunk]:
    """Split `document`, and give each chunk the marks of its structure."""
    chunks = chunker.split(document, tokens)
    index = StructureIndex(document)
    if index.is_empty:
        return chunks
    return [add_structure(chunk, index) for chunk in chunks]


def add_structure(chunk: Chunk, index: StructureIndex) -> Chunk:
    """Return the chunk with the marks that are in it."""
    marks = index.find_marks(chunk.start, chunk.end)
    headings = [mark for mark in marks if mark.kind == "heading"]
    if len(headings) <= 1 and all(mark.value == chunk.headings for mark in headings):
        marks = tuple(mark for mark in marks if mark.kind != "heading")  # `headings` says it
    return chunk.model_copy(update={"marks": marks}) if marks else chunk


class StructureIndex:
    """Finds the marks of headings, tables, records and contents that overlap a span."""

    def __init__(self, document: Document) -> None:
        self._marks_by_kind = {
            kind: _sort_marks(mark for mark in document.marks if mark.kind == kind)
            for kind in ("heading", "table")
        }
        self._marks_by_kind["row"] = _sort_marks(
            mark
            for mark in document.marks
            if mark.kind == "row" and "\n" in document.text[mark.start : mark.end].strip()
        )  # a record of several lines; a row of one line is seen in the text
        is_code = any(mark.kind == "symbol" for mark in document.marks)
        self._marks_by_kind["contents"] = [] if is_code else find_contents(document.text)
        self._ends = {
            kind: [mark.end for mark in marks] for kind, marks in self._marks_by_kind.items()
        }

    @property
    def is_empty(self) -> bool:
        """Whether the document has no headings, tables, records and contents."""
        return not any(self._marks_by_kind.values())

    def find_marks(self, start: int, end: int) -> tuple[Mark, ...]:
        """Return the marks that overlap ``[start, end)``, by kind and in order."""
        found: list[Mark] = []
        for kind, marks in self._marks_by_kind.items():
            i = bisect_left(self._ends[kind], start + 1)
            while i < len(marks) and marks[i].start < end:
                found.append(marks[i])
                i += 1
        return tuple(found)


def _sort_marks(marks: Iterable[Mark]) -> list[Mark]:
    return sorted((mark for mark in marks if mark.end > mark.start), key=lambda mark: mark.start)
