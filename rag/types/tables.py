"""Tables: the names of their columns, and how a row of their text is read."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field

from rag.types.base import FrozenModel, Text

_SEPARATOR = re.compile(r"(?<!\\)(?:\\\\)*(\|)")
_ESCAPED_CHARACTER = re.compile(r"\\([\\|])")
_RULE = re.compile(r"[\s|:+=-]+")


class Table(FrozenModel):
    """The value of a mark of the kind ``table``.

    * ``name``: the caption, or "" if there is none
    * ``columns``: the name of each column; several header rows are joined ("2024 Units"), and a
      column without a name is ""
    * ``header``: length of the header rows in the text, in characters from the beginning of the
      mark; 0 if the text begins with the first row
    * ``layout``: ``cells`` for rows of Markdown (``| Japan | 60 |``), one per line; ``pairs`` for
      rows that have the names in them (``Country: Japan; Per day: 60``)

    The rows are the lines after the header. Each has a mark of the kind ``row``.
    """

    name: Text = ""
    columns: tuple[Text, ...] = ()
    header: int = Field(default=0, ge=0)
    layout: Literal["cells", "pairs"] = "cells"

    @property
    def column_line(self) -> str:
        """The names of the columns as one line."""
        return " | ".join(name for name in self.columns if name)

    def describe_row(self, row: str) -> str:
        """Return a row as pairs of column name and value: ``Country: Japan; Per day: 60``.

        A label and its value in a table without names are a pair: ``Rated load: 1400 kg``.
        """
        if self.layout == "pairs":
            return row
        parts: list[str] = []
        for i, (start, end) in enumerate(split_cells(row)):
            value = _ESCAPED_CHARACTER.sub(r"\1", row[start:end])
            name = self.columns[i] if i < len(self.columns) else ""
            if value:
                parts.append(f"{name}: {value}" if name and name != value else value)
        if len(parts) == 2 and not any(self.columns):
            return f"{parts[0].rstrip(':')}: {parts[1]}"
        return "; ".join(parts)

    def find_row_label(self, row: str) -> str:
        """Return the first value of a row, which names it; "" for an empty row."""
        if self.layout == "cells":
            values = (row[start:end] for start, end in split_cells(row) if end > start)
            return _ESCAPED_CHARACTER.sub(r"\1", next(values, ""))
        for i, name in enumerate(self.columns):
            if name and row.startswith(f"{name}: "):
                following = [row.find(f"; {other}: ") for other in self.columns[i + 1 :] if other]
                end = min((position for position in following if position >= 0), default=len(row))
                return row[len(name) + 2 : end]
        return row

    def find_column(self, row: str, start: int, end: int) -> str:
        """Return the name of the column that ``row[start:end]`` lies in; "" if there is none."""
        if self.layout == "cells":
            cells = split_cells(row)
            for name, (cell_start, cell_end) in zip(self.columns, cells, strict=False):
                if cell_start <= start and end <= cell_end:
                    return name
            return ""
        position = 0
        for name in self.columns:  # `name: value; name: value`, empty values left out
            prefix = f"{name}: "
            if not row.startswith(prefix, position):
                continue
            stop = len(row)
            for other in self.columns:
                following = row.find(f"; {other}: ", position)
                if following >= 0:
                    stop = min(stop, following)
            if position <= start and end <= stop:
                return name
            position = min(len(row), stop + 2)
        return ""


def split_cells(row: str) -> list[tuple[int, int]]:
    """Return the span of each cell of a Markdown table row, without surrounding white space."""
    bounds = [match.start(1) for match in _SEPARATOR.finditer(row)]
    starts = [0, *(bound + 1 for bound in bounds)]
    ends = [*bounds, len(row)]
    if bounds and not row[: bounds[0]].strip():
        starts, ends = starts[1:], ends[1:]
    if bounds and ends and not row[starts[-1] :].strip() and len(starts) > 1:
        starts, ends = starts[:-1], ends[:-1]
    cells: list[tuple[int, int]] = []
    for start, end in zip(starts, ends, strict=True):
        piece = row[start:end]
        first = start + len(piece) - len(piece.lstrip())
        cells.append((first, max(first, start + len(piece.rstrip()))))
    return cells


def is_table_rule(line: str) -> bool:
    """Whether a line is the rule below a Markdown header row: ``| --- | :-: |``."""
    return "-" in line and _RULE.fullmatch(line) is not None
