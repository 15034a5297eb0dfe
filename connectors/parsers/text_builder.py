"""Putting a document's text together from parts, with marks that stay where they belong."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from rag.types import Mark, MarkKind, MarkValue


class TextBuilder:
    """Text written piece by piece, and marks over what was written."""

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._at = 0
        self._last = ""
        self.marks: list[Mark] = []

    @property
    def at(self) -> int:
        """Offset of what is written next."""
        return self._at

    @property
    def text(self) -> str:
        """All that was written."""
        return "".join(self._pieces)

    def write(self, text: str) -> None:
        """Add `text`."""
        if text:
            self._pieces.append(text)
            self._at += len(text)
            self._last = (self._last + text)[-2:]

    def line(self, text: str) -> None:
        """Add a line."""
        self.write(text + "\n")

    def paragraph(self, text: str) -> None:
        """Add `text` with a blank line before it, where anything stands before it."""
        if not text.strip():
            return
        if self._at:
            self.write("\n" * (2 - len(self._last) + len(self._last.rstrip("\n"))))
        self.write(text.strip("\n") + "\n")

    def mark(self, kind: MarkKind, value: MarkValue, start: int, end: int | None = None) -> None:
        """Mark ``[start, end)``, by default up to here."""
        self.marks.append(
            Mark(start=start, end=self._at if end is None else end, kind=kind, value=value)
        )

    @contextmanager
    def marked(self, kind: MarkKind, value: MarkValue) -> Iterator[None]:
        """Mark what is written inside, without the white space before it."""
        start, piece = self._at, len(self._pieces)
        yield
        while piece < len(self._pieces) and not self._pieces[piece].strip():
            start += len(self._pieces[piece])
            piece += 1
        if self._at > start:
            self.mark(kind, value, start)


def heading_path_marks(headings: Iterable[tuple[int, int, str]], end: int) -> tuple[Mark, ...]:
    """Marks with the whole path for (offset, level, title), each up to the next or to `end`."""
    found = list(headings)
    marks: list[Mark] = []
    path: list[tuple[int, str]] = []
    for i, (start, level, title) in enumerate(found):
        path = [(depth, name) for depth, name in path if depth < level] + [(level, title)]
        stop = found[i + 1][0] if i + 1 < len(found) else end
        if stop > start:
            value = tuple(name for _, name in path)
            marks.append(Mark(start=start, end=stop, kind="heading", value=value))
    return tuple(marks)
