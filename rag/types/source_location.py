"""Where something is in its source: page, slide, sheet, row, symbol, time."""

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

LOCATION_KINDS = ("page", "slide", "sheet", "row", "symbol", "time")
"""Kinds of marks that say where in its source something stands, from the largest."""

MarkKind = Literal["page", "slide", "sheet", "row", "symbol", "time", "heading"]
MarkValue = int | float | Text | tuple[Text, ...]

_VALUES: dict[str, type | tuple[type, ...]] = {
    "page": int,
    "slide": int,
    "sheet": str,
    "row": int,
    "symbol": str,
    "time": (int, float),
    "heading": tuple,
}


class Mark(FrozenModel):
    """Where in its source a stretch of a document's text stands: it covers ``[start, end)``.

    The value of each ``kind``:

    * ``page``, ``slide``: the number a reader sees in a viewer, from 1
    * ``sheet``: the name of a sheet of a workbook; ``row``: the number of a row, from 1, as a
      spreadsheet shows it (for records without rows, the number of the record)
    * ``symbol``: the qualified name of a function, class or the like in source code
    * ``time``: seconds from the beginning of a sound or film
    * ``heading``: the path from the outermost heading

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
        wanted = _VALUES[self.kind]
        if isinstance(self.value, bool) or not isinstance(self.value, wanted):
            raise ValueError(f"the value of a {self.kind} mark cannot be {self.value!r}")
        return self


SourceLocation = dict[
    Literal["page", "slide", "sheet", "row", "symbol", "time"], int | float | Text
]
"""Where something stands, by kind of mark, headings apart: ``{"sheet": "Costs", "row": 12}``."""


class LocationIndex:
    """Looks up where a stretch of a document stands, by the document's marks."""

    def __init__(self, marks: Iterable[Mark]) -> None:
        by_kind: dict[str, list[Mark]] = {}
        for mark in marks:
            if mark.kind != "heading" and mark.end > mark.start:
                by_kind.setdefault(mark.kind, []).append(mark)
        self._marks = {
            kind: sorted(by_kind[kind], key=lambda mark: mark.start)
            for kind in LOCATION_KINDS
            if kind in by_kind
        }
        self._starts = {kind: [m.start for m in marks] for kind, marks in self._marks.items()}

    def locate(self, start: int, end: int | None = None) -> SourceLocation:
        """Say where the character at `start` stands.

        Where `end` is given and nothing of a kind covers `start`, the first mark of that kind in
        ``[start, end)`` counts: a chunk may begin just before a row or a function does.
        """
        end = start + 1 if end is None else end
        found: dict[str, Any] = {}
        for kind, marks in self._marks.items():
            i = bisect_right(self._starts[kind], start) - 1
            if i < 0 or marks[i].end <= start:
                i += 1
            if i < len(marks) and marks[i].start < max(end, start + 1):
                found[kind] = marks[i].value
        return cast(SourceLocation, found)


def format_location(place: SourceLocation) -> str:
    """Write a place for people: ``page 3``; ``sheet Costs, row 12``; ``at 0:01:02``."""
    parts = [
        f"at {_clock(int(value))}" if kind == "time" else f"{kind} {value}"
        for kind, value in place.items()
    ]
    return ", ".join(parts)


FIELD_NAMES_0_1 = {"place": "location", "context": "heading_context", "origins": "stage_scores"}
"""Old field names in stored JSON (conversations, evaluation runs), and what they are called now."""


def _clock(seconds: int) -> str:
    return f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"


class Located(FrozenModel):
    """What is somewhere in a source: ``place`` says where; ``page`` is in its JSON as well."""

    location: SourceLocation = {}

    @computed_field  # type: ignore[prop-decorator]
    @property
    def page(self) -> int | None:
        """Page of the first character; None without pages."""
        page = self.location.get("page")
        return page if isinstance(page, int) else None

    @model_validator(mode="before")
    @classmethod
    def _accept_page_and_old_names(cls, data: Any) -> Any:
        """Accept ``page``, which JSON repeats, and the field names of version 0.1."""
        if not isinstance(data, Mapping):
            return data
        fields = {FIELD_NAMES_0_1.get(key, key): value for key, value in data.items()}
        page = fields.pop("page", None)
        if page is not None:
            fields["location"] = {"page": page, **fields.get("location", {})}
        return fields
