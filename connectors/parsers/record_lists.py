"""Lists of records in data of JSON, YAML and XML: finding them, and writing them as text.

A list of records is a list of mappings, at any depth. Data are mappings, lists and scalars.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from connectors.parsers.text_builder import TextBuilder
from rag.types import to_well_formed

NAME_FIELDS = (
    *("name", "title", "label", "full_name", "fullname", "display_name", "displayname"),
    *("hostname", "username", "key", "code", "id", "identifier", "slug", "sku", "symbol"),
)
"""Fields whose value names a record, the best ones first, in any case."""

MAX_NAME_CHARACTERS = 100
MAX_LINE_CHARACTERS = 600
"""Characters of the longest record on one line; a longer one has a line for each field."""
MAX_INLINE_CHARACTERS = 500
"""Characters of the longest record that contains its lists of records as dotted names."""
MAX_DEPTH = 40
"""Nested mappings that become dotted names; deeper ones are written as JSON."""


class WrittenFloat(float):
    """A number that remembers how the file writes it: ``1.10``."""

    literal: str

    def __new__(cls, literal: str) -> WrittenFloat:
        """Return the number with this literal. Raises `ValueError`."""
        number = super().__new__(cls, literal)
        number.literal = literal
        return number


def to_plain_number(value: Any) -> Any:
    """Return a `WrittenFloat` as a float, or as text if it is not finite; others unchanged."""
    if isinstance(value, tuple):
        return tuple(map(to_plain_number, value))
    if isinstance(value, WrittenFloat):
        return float(value) if math.isfinite(value) else value.literal
    return value


def load_json(text: str) -> Any:
    """Parse JSON. Numbers know how they are written, and duplicate names are numbered.

    Raises `ValueError` or `RecursionError`.
    """
    return json.loads(
        text,
        parse_float=WrittenFloat,
        parse_int=parse_integer,
        parse_constant=WrittenFloat,
        object_pairs_hook=make_unique_mapping,
    )


def parse_integer(text: str) -> int | str:
    """Return an integer, or its text if it has thousands of digits."""
    try:
        return int(text)
    except ValueError:
        return text


def make_unique_mapping(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Return a mapping of all pairs: a name that is repeated gets a number."""
    mapping: dict[str, Any] = {}
    for name, value in pairs:
        number, unique_name = 1, name
        while unique_name in mapping:
            number += 1
            unique_name = f"{name} ({number})"
        mapping[unique_name] = value
    return mapping


def is_record_list(value: Any) -> bool:
    """Return whether `value` is a list of mappings that are not all empty."""
    return isinstance(value, list) and all(isinstance(item, dict) for item in value) and any(value)


def is_table_like(value: Any) -> bool:
    """Return whether `value` is a list of two or more records that have a field in common."""
    if not is_record_list(value) or len(value) < 2:
        return False
    return bool(set(value[0]).intersection(*value[1:]))


def iterate_record_lists(
    data: Any, is_list: Callable[[Any], bool] = is_record_list
) -> Iterator[tuple[tuple[str, ...], list[Any]]]:
    """Yield the outermost lists of records with their path of keys, in the order of the file."""
    stack: list[tuple[tuple[str, ...], Any]] = [((), data)]
    while stack:
        path, value = stack.pop()
        if is_list(value):
            yield path, value
        elif isinstance(value, dict):
            stack += [((*path, str(key)), item) for key, item in reversed(value.items())]
        elif isinstance(value, list):
            stack += [(path, item) for item in reversed(value)]


def has_records(data: Any, is_list: Callable[[Any], bool] = is_record_list) -> bool:
    """Return whether there is a list of records in `data`."""
    return any(True for _ in iterate_record_lists(data, is_list))


def flatten_record(record: Mapping[Any, Any]) -> dict[str, Any]:
    """Return the fields of a record by dotted name, the one that names the record first.

    Lists of scalars become tuples; the mappings of a list are numbered from 1. Empty values are
    dropped.
    """
    flat = make_unique_mapping(list(_flatten(record, "", 0)))
    name_field = find_name_field(flat)
    return {name_field: flat[name_field], **flat} if name_field is not None else flat


def _flatten(value: Any, prefix: str, depth: int) -> Iterator[tuple[str, Any]]:
    if value is None or value in ({}, []):
        return
    if depth > MAX_DEPTH:
        yield prefix, dump_json(value)
    elif isinstance(value, Mapping):
        for key, item in value.items():
            # An empty key is the text of an XML element that also has attributes.
            name = ".".join(part for part in (prefix, str(key)) if part)
            yield from _flatten(item, name, depth + 1)
    elif isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
        for number, item in enumerate(value, start=1):
            yield from _flatten(item, f"{prefix}.{number}", depth + 1)
    elif isinstance(value, list):
        yield (
            prefix,
            tuple(
                dump_json(item) if isinstance(item, list) else item
                for item in value
                if item is not None
            ),
        )
    else:
        yield prefix, value


def dump_json(value: Any) -> str:
    """Return a value as JSON on one line."""
    return json.dumps(value, ensure_ascii=False, default=str)


def find_name_field(record: Mapping[str, Any]) -> str | None:
    """Return the field that names a flat record: one of `NAME_FIELDS`, or the first short text."""
    names = {name.lower(): name for name in reversed(list(record))}
    for candidate in NAME_FIELDS:
        if candidate in names and _is_name(record[names[candidate]]):
            return names[candidate]
    texts = (name for name, value in record.items() if isinstance(value, str) and _is_name(value))
    return next(texts, None)


def _is_name(value: Any) -> bool:
    text = str(value)
    is_scalar = isinstance(value, str | int | float) and not isinstance(value, bool)
    return is_scalar and 0 < len(text.strip()) <= MAX_NAME_CHARACTERS and "\n" not in text.strip()


def format_scalar(value: Any) -> str:
    """Format a value of a flat record as the file writes it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return ", ".join(map(format_scalar, value))
    return value.literal if isinstance(value, WrittenFloat) else str(value).strip()


def format_record(record: Mapping[str, Any]) -> str:
    """Format a flat record as one paragraph: ``name: value`` pairs, or lines if they are long."""
    pairs = [
        (f"{name}: " if name else "", text)
        for name, value in record.items()
        if (text := format_scalar(value))
    ]
    line = "; ".join(label + " ".join(text.split()) for label, text in pairs)
    if len(line) <= MAX_LINE_CHARACTERS:
        return line
    return "\n".join(
        label + "\n".join(part for part in text.splitlines() if part.strip())
        for label, text in pairs
    )


@dataclass
class RecordWriter:
    """Writes data with lists of records as paragraphs, with marks for records and key paths."""

    builder: TextBuilder = field(default_factory=TextBuilder)
    headings: list[tuple[int, int, str]] = field(default_factory=list)
    is_list: Callable[[Any], bool] = is_record_list
    format_flat: Callable[[Mapping[str, Any]], str] = format_record
    splits_records: bool = True
    has_headings: bool = True
    before_record: Callable[[Mapping[str, Any]], None] = lambda record: None
    _next_headings: list[tuple[int, str]] = field(default_factory=list)

    def write_data(self, value: Any, path: tuple[str, ...] = ()) -> None:
        """Write a value and all values in it. Raises `RecursionError` for very deep data."""
        if self.is_list(value):
            self.write_records(value, path)
        elif isinstance(value, dict) and (not path or self._has_records(value)):
            is_below_section = False
            for key, item in value.items():
                is_section = self._has_records(item)
                if is_below_section and not is_section and path:  # back in the section of `path`
                    self.add_heading(len(path), path[-1])
                self._write_entry(str(key), item, path)
                is_below_section = is_section
        elif isinstance(value, list) and self._has_records(value):
            for item in value:
                self.write_data(item, path)
        elif value not in (None, {}, []):
            flat = make_unique_mapping(list(_flatten(value, path[-1] if path else "value", 0)))
            self.write_paragraph(format_record(flat))

    def _has_records(self, value: Any) -> bool:
        return has_records(value, self.is_list)

    def _write_entry(self, key: str, value: Any, path: tuple[str, ...]) -> None:
        has_records = self._has_records(value)
        if not path or has_records:
            self.add_heading(len(path) + 1, key)
        if has_records:
            self.write_paragraph(key)
        self.write_data(value, (*path, key))

    def add_heading(self, level: int, title: str) -> None:
        """Begin a section with the next paragraph."""
        if self.has_headings and (title := to_well_formed(" ".join(title.split()))[:200]):
            self._next_headings.append((level, title))

    def write_paragraph(self, text: str) -> tuple[int, int]:
        """Write a paragraph, at which the headings added before begin. Return its span."""
        text = to_well_formed(text).strip("\n")
        self.builder.write_paragraph(text)
        end = self.builder.offset - 1
        if text.strip():
            start = end - len(text)
            self.headings += [(start, level, title) for level, title in self._next_headings]
            self._next_headings = []
            return start, end
        return end, end

    def write_records(
        self, records: Sequence[Mapping[str, Any]], path: tuple[str, ...], owner: str = ""
    ) -> None:
        """Write each record as a paragraph with a ``row`` mark; `owner` names what they belong to.

        The lists of records in a long record are written after it, as records of their own.
        """
        for number, record in enumerate(records, start=1):
            self.before_record(record)
            flat, inner_lists = self._split_record(record)
            if owner and flat:
                name_field = next(iter(flat))
                owner_field = path[-2] if len(path) > 1 else "in"
                flat = {name_field: flat[name_field], f"({owner_field})": owner, **flat}
            text = self.format_flat(flat)
            if text.strip():
                self.builder.mark("row", number, *self.write_paragraph(text))
            name_field_or_none = find_name_field(flat)
            name = format_scalar(flat[name_field_or_none]) if name_field_or_none else str(number)
            for key, items in inner_lists:
                self.add_heading(len(path) + 1, f"{name}: {key}")
                self.write_records(items, (*path, key), owner=name)
            if inner_lists and number < len(records) and path:
                self.add_heading(len(path), path[-1])

    def _split_record(
        self, record: Mapping[str, Any]
    ) -> tuple[dict[str, Any], list[tuple[str, list[Any]]]]:
        """Return a flat record, and the lists of records in it that are written separately."""
        flat = flatten_record(record)
        inner_lists = [(key, value) for key, value in record.items() if self.is_list(value)]
        is_short = len(format_record(flat)) <= MAX_INLINE_CHARACTERS
        if not inner_lists or is_short or not self.splits_records:
            return flat, []
        keys = {key for key, _ in inner_lists}
        return flatten_record({k: v for k, v in record.items() if k not in keys}), inner_lists
