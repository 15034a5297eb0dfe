"""Building the text of a document from parts, with marks at the right offsets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from rag.types import Mark, MarkKind, MarkValue


class TextBuilder:
    """Text that is written in pieces, and marks over it."""

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._offset = 0
        self._last = ""
        self.marks: list[Mark] = []

    @property
    def offset(self) -> int:
        """Length of the text so far: the offset of the next piece."""
        return self._offset

    @property
    def text(self) -> str:
        """The text so far."""
        return "".join(self._pieces)

    def write(self, text: str) -> None:
        """Add `text`."""
        if text:
            self._pieces.append(text)
            self._offset += len(text)
            self._last = (self._last + text)[-2:]

    def write_line(self, text: str) -> None:
        """Add a line."""
        self.write(text + "\n")

    def write_paragraph(self, text: str) -> None:
        """Add `text` as a paragraph, separated by a blank line from the text before it."""
        if not text.strip():
            return
        if self._offset:
            self.write("\n" * (2 - len(self._last) + len(self._last.rstrip("\n"))))
        self.write(text.strip("\n") + "\n")

    def mark(self, kind: MarkKind, value: MarkValue, start: int, end: int | None = None) -> None:
        """Mark ``[start, end)``; `end` is by default the length of the text so far."""
        self.marks.append(
            Mark(start=start, end=self._offset if end is None else end, kind=kind, value=value)
        )

    @contextmanager
    def mark_block(self, kind: MarkKind, value: MarkValue) -> Iterator[None]:
        """Mark the text written in this context, without leading white space."""
        start, piece_index = self._offset, len(self._pieces)
        yield
        while piece_index < len(self._pieces) and not self._pieces[piece_index].strip():
            start += len(self._pieces[piece_index])
            piece_index += 1
        if self._offset > start:
            self.mark(kind, value, start)


def build_heading_marks(headings: Iterable[tuple[int, int, str]], end: int) -> tuple[Mark, ...]:
    """Build marks with heading paths from (offset, level, title).

    Each mark ends at the next heading; the last one ends at `end`.
    """
    heading_list = list(headings)
    marks: list[Mark] = []
    path: list[tuple[int, str]] = []
    for i, (start, level, title) in enumerate(heading_list):
        path = [(depth, name) for depth, name in path if depth < level] + [(level, title)]
        stop_offset = heading_list[i + 1][0] if i + 1 < len(heading_list) else end
        if stop_offset > start:
            value = tuple(name for _, name in path)
            marks.append(Mark(start=start, end=stop_offset, kind="heading", value=value))
    return tuple(marks)
