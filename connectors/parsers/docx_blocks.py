"""The content of a Word document as the reader sees it: paragraphs and tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from connectors.parsers.docx_numbering import Label


class TextFormat(NamedTuple):
    """How text looks, as far as it matters."""

    is_bold: bool = False
    """Whether the text itself is set in bold."""
    is_shown_bold: bool = False
    """Whether it is bold, also by its style."""
    is_italic: bool = False
    is_struck: bool = False
    position: str = ""
    half_points: int = 0


class Run(NamedTuple):
    """Text in one format; or XML for something else, such as a reference to a footnote."""

    text: str
    format: TextFormat = TextFormat()
    xml: str = ""


@dataclass(slots=True)
class Paragraph:
    """A paragraph, and what comes after it: text boxes, charts and comments anchored in it."""

    runs: list[Run] = field(default_factory=list)
    level: int | None = None
    """Level of a heading, 1 to 9."""
    is_title: bool = False
    label: Label | None = None
    joins_next: bool = False
    """Whether the next paragraph continues this one: the break between them is deleted."""
    after: list[Block] = field(default_factory=list)

    @property
    def text(self) -> str:
        """The text without label."""
        return "".join(run.text for run in self.runs)


@dataclass(slots=True)
class Cell:
    """A cell of a table; `merge` is "restart" or "continue" if it is merged vertically."""

    blocks: list[Block] = field(default_factory=list)
    columns: int = 1
    merge: str = ""
    is_merged_left: bool = False


@dataclass(slots=True)
class Row:
    """A row of a table."""

    cells: list[Cell] = field(default_factory=list)
    is_header: bool = False


@dataclass(slots=True)
class Table:
    """A table."""

    rows: list[Row] = field(default_factory=list)


Block = Paragraph | Table


def make_text_paragraph(text: str) -> Paragraph:
    """Make a paragraph of plain text."""
    return Paragraph([Run(text)])


def make_list_item(text: str) -> Paragraph:
    """Make an item of a list with bullets."""
    return Paragraph([Run(text)], label=Label("", 0, is_bullet=True))


def make_table(grid: Sequence[Sequence[str]]) -> Table:
    """Make a table of a grid of cells whose first row is the header."""
    return Table(
        [
            Row([Cell([make_text_paragraph(text)]) for text in row], is_header=i == 0)
            for i, row in enumerate(grid)
        ]
    )


def join_paragraphs(blocks: Sequence[Block]) -> list[Block]:
    """Return the blocks; paragraphs whose end is deleted are joined with the next one."""
    joined: list[Block] = []
    waiting: list[Run] = []
    for block in blocks:
        if isinstance(block, Paragraph):
            if block.joins_next:
                waiting += block.runs
                continue
            if waiting:
                block.runs[:0] = waiting
                waiting = []
        joined.append(block)
    if waiting:
        joined.append(Paragraph(waiting))
    return joined


def iterate_paragraphs(blocks: Sequence[Block]) -> Iterator[Paragraph]:
    """Yield all paragraphs in order, also those in tables."""
    stack: list[Block] = list(reversed(blocks))
    while stack:
        block = stack.pop()
        if isinstance(block, Paragraph):
            yield block
            continue
        cells = [cell for row in block.rows for cell in row.cells]
        stack += [part for cell in reversed(cells) for part in reversed(cell.blocks)]
