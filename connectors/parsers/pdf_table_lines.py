"""Lines of Markdown for the tables of PDF pages, with the marks of table and rows."""

from __future__ import annotations

import re
from collections.abc import Sequence

from connectors.parsers.pdf_fonts import clean_characters
from connectors.parsers.pdf_layout import LINE_END_HYPHEN, Line
from rag.types import Table


def format_table(
    lead: str, caption: str, names: Sequence[str], grid: Sequence[Sequence[str]]
) -> Line:
    """Return a line with the text of a table, and with marks that count from its beginning."""
    lines = [_format_row(names), "|" + " --- |" * len(names)] if any(names) else []
    start = len(lead) + 1 if lead else 0
    header = sum(len(line) + 1 for line in lines)
    position = start + header
    marks: list[tuple[int, int, Table | int]] = []
    for number, cells in enumerate(grid, start=1):
        row = _format_row(cells)
        marks.append((position, position + len(row), number))
        position += len(row) + 1
        lines.append(row)
    table = Table(name=caption, columns=tuple(names), header=header)
    marks.insert(0, (start, position - 1, table))
    text = "\n".join([lead, *lines] if lead else lines)
    return Line(text, marks=tuple(marks))


def _format_row(cells: Sequence[str]) -> str:
    return "|" + "|".join([f" {_escape_cell(cell)} " if cell else " " for cell in cells]) + "|"


def _escape_cell(text: str) -> str:
    if "|" not in text and "\\" not in text:
        return text
    return re.sub(r"\\(?=[\\|])", r"\\\\", text).replace("|", "\\|")


def join_cell_lines(lines: Sequence[str]) -> str:
    """Return the text of a cell from its lines.

    `LINE_END_HYPHEN` stands for a hyphen at the end of a line: `join_divided_words` decides
    whether it belongs to its word.
    """
    text = ""
    for part in lines:
        if text.endswith((LINE_END_HYPHEN, "-")) and len(text) > 1 and text[-2].isalnum():
            text = f"{text[:-1]}{LINE_END_HYPHEN}{part}"
        else:
            text = f"{text} {part}" if text else part
    return clean_characters(text)
