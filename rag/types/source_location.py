"""Source locations: page, slide, sheet, row, symbol or time within a source."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from typing import Any, Literal, Self, cast

from pydantic import (
    Field,
    computed_field,
    model_validator,
)

from rag.types.base import FrozenModel, Text
from rag.types.tables import Table

LOCATION_KINDS = ("page", "slide", "sheet", "table", "row", "symbol", "time")
"""Kinds of marks that make up a source location, from the largest unit to the smallest."""

MarkKind = Literal[
    "page", "slide", "sheet", "table", "row", "value", "symbol", "time", "heading", "contents"
]
MarkValue = int | float | Text | tuple[Text, ...] | Table

_VALUE_TYPES: dict[str, type | tuple[type, ...]] = {
    "page": int,
    "slide": int,
    "sheet": str,
    "table": Table,
    "row": int,
    "value": (int, float, str),
    "symbol": str,
    "time": (int, float),
    "heading": tuple,
    "contents": int,
}


class Mark(FrozenModel):
    """Assigns the span ``[start, end)`` of a document's text to a part of its source.

    The value of each ``kind``:

    * ``page``, ``slide``: the number that a viewer shows, from 1
    * ``sheet``: the name of a sheet of a workbook
    * ``table``: the `Table`, with the names of its columns
    * ``row``: the number of a row as a spreadsheet shows it, from 1; in other tables, the number of
      the row below the header; for records without rows, the number of the record
    * ``value``: the stored value of a cell that is shown otherwise: .075 for "7.5 %"
    * ``symbol``: the qualified name of a function, class and so on in source code
    * ``time``: seconds from the beginning of an audio or video recording
    * ``heading``: the path of headings, from the outermost
    * ``contents``: the number of entries of a table of contents

    Marks of one kind do not overlap.
    """

    start: int = Field(ge=0)
    end: int = Field(ge=0)
    kind: MarkKind
    value: MarkValue

    @model_validator(mode="after")
    def _check_span_and_value(self) -> Self:
        if self.end < self.start:
            raise ValueError(f"mark ends ({self.end}) before it starts ({self.start})")
        if isinstance(self.value, bool) or not isinstance(self.value, _VALUE_TYPES[self.kind]):
            raise ValueError(f"the value of a {self.kind} mark cannot be {self.value!r}")
        return self


SourceLocation = dict[
    Literal["page", "slide", "sheet", "table", "row", "column", "symbol", "time"],
    int | float | Text,
]
"""A location by kind of mark, without headings: ``{"sheet": "Costs", "row": 12}``.

``table`` is the caption of a table, or its number in the document. ``column`` is the name of the
column, for a citation of one cell.
"""


class LocationIndex:
    """Finds the source location of a span of a document, from the document's marks."""

    def __init__(self, marks: Iterable[Mark]) -> None:
        by_kind: dict[str, list[Mark]] = {}
        for mark in marks:
            if mark.kind in LOCATION_KINDS and mark.end > mark.start:
                by_kind.setdefault(mark.kind, []).append(mark)
        self._marks = {
            kind: sorted(by_kind[kind], key=lambda mark: mark.start)
            for kind in LOCATION_KINDS
            if kind in by_kind
        }
        self._starts = {kind: [m.start for m in marks] for kind, marks in self._marks.items()}

    def locate(self, start: int, end: int | None = None) -> SourceLocation:
        """Return the source location of the character at `start`.

        If `end` is given and no mark of a kind covers `start`, the first mark of that kind in
        ``[start, end)`` counts: a chunk may begin just before a row or a function.
        """
        end = start + 1 if end is None else end
        location: dict[str, Any] = {}
        for kind, marks in self._marks.items():
            i = bisect_right(self._starts[kind], start) - 1
            if i < 0 or marks[i].end <= start:
                i += 1
            if i < len(marks) and marks[i].start < max(end, start + 1):
                value = marks[i].value
                location[kind] = (value.name or i + 1) if isinstance(value, Table) else value
        return cast(SourceLocation, location)


def format_location(location: SourceLocation) -> str:
    """Return a location as text for people: ``page 3``; ``sheet Costs, row 12``; ``at 0:01:02``."""
    parts = [
        f"at {_format_clock(int(value))}" if kind == "time" else f"{kind} {value}"
        for kind, value in location.items()
    ]
    return ", ".join(parts)


RENAMED_FIELDS = {"place": "location", "context": "heading_context", "origins": "stage_scores"}
"""Field names of version 0.1 in stored JSON (conversations, evaluation runs), with the new ones."""


def _format_clock(seconds: int) -> str:
    return f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"


class LocatedModel(FrozenModel):
    """Base class of data types with a source location.

    Their JSON contains ``page`` as well as ``location``.
    """

    location: SourceLocation = {}

    @computed_field  # type: ignore[prop-decorator]
    @property
    def page(self) -> int | None:
        """Page of the first character; None if the source has no pages."""
        page = self.location.get("page")
        return page if isinstance(page, int) else None

    @model_validator(mode="before")
    @classmethod
    def _accept_page_and_old_names(cls, data: Any) -> Any:
        """Accept ``page``, which is also in the JSON, and the field names of version 0.1."""
        if not isinstance(data, Mapping):
            return data
        fields = {RENAMED_FIELDS.get(key, key): value for key, value in data.items()}
        page = fields.pop("page", None)
        if page is not None:
            fields["location"] = {"page": page, **fields.get("location", {})}
        return fields
