"""Types of the values in tables: numbers, booleans and dates that are written as text."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable, Mapping
from typing import Any

from rag.types.comparison import read_moment, read_number

TypedValue = bool | int | float | datetime.date | str
"""A value of a column; a `datetime.datetime` is a `datetime.date`, too."""

_DATE_PREFIX = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_TEXT_COLUMN = re.compile(
    r"(?:^|[^a-z])(?:version|release|phone|telephone|mobile|fax|zip|zipcode|postcode|isbn|plz)s?"
    r"(?:$|[^a-z])",
    re.IGNORECASE,
)


def parse_typed_value(text: str) -> TypedValue:
    """Return the number, boolean or date that `text` is in plain form; otherwise `text` itself.

    Numbers are ``-12.50`` and the like; with leading zeros, a plus sign, an exponent or more than
    15 digits, a text remains a text. Booleans are ``true`` and ``false`` in any case. Dates and
    date-times are in ISO 8601 form.
    """
    text = text.strip()
    if (number := read_number(text)) is not None:
        return number
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    if _DATE_PREFIX.match(text) and read_moment(text) is not None:
        try:
            if len(text) == len("2025-03-05"):
                return datetime.date.fromisoformat(text)
            return datetime.datetime.fromisoformat(text.upper().replace(",", "."))
        except ValueError:
            return text
    return text


def find_typed_columns(records: Iterable[Mapping[str, Any]]) -> frozenset[str]:
    """Return the names of the columns whose values all have one type other than text.

    A column with one text in it stays a column of texts, so that one filter applies to all rows.
    So do columns whose name says that they hold versions, telephone numbers or postcodes.
    """
    types: dict[str, type | None] = {}
    for record in records:
        for name, value in record.items():
            if not isinstance(value, str) or not value.strip():
                continue
            if types.get(name, object) is None:
                continue
            value_type = _classify_value(value)
            types[name] = value_type if types.get(name, value_type) is value_type else None
    return frozenset(
        name
        for name, value_type in types.items()
        if value_type is not None and not _TEXT_COLUMN.search(name)
    )


def _classify_value(text: str) -> type | None:
    value = parse_typed_value(text)
    if isinstance(value, bool):
        return bool
    if isinstance(value, int | float):
        return float
    return datetime.date if isinstance(value, datetime.date) else None


def convert_typed_columns(
    record: Mapping[str, Any], typed_columns: frozenset[str]
) -> dict[str, Any]:
    """Return `record` with the values of the `typed_columns` as numbers, booleans and dates."""
    return {
        name: parse_typed_value(value)
        if name in typed_columns and isinstance(value, str)
        else value
        for name, value in record.items()
    }
