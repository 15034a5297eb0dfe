"""Workbooks in the XML format of Excel 2003, which many programs still export as .xls or .xml."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from connectors.parsers.old_workbooks import OldSheet
from connectors.parsers.safe_zip import local_name, parse_xml
from connectors.parsers.table_layout import Span
from rag.errors import ParseError

_NAMESPACE = "urn:schemas-microsoft-com:office:spreadsheet"
_START = re.compile(rb"(?:\xef\xbb\xbf)?\s*<\?xml|(?:\xef\xbb\xbf)?\s*<Workbook")
_HEAD_BYTES = 2_000
_MAX_CELLS = 20_000_000  # of a sheet, with the empty ones between others
_MAX_ROWS, _MAX_COLUMNS = 1_048_576, 16_384


def is_xml_workbook(data: bytes) -> bool:
    """Whether the first bytes are those of a workbook in XML."""
    head = data[:_HEAD_BYTES]
    return _NAMESPACE.encode() in head and _START.match(head) is not None


def read_xml_workbook(data: bytes) -> Iterator[OldSheet]:
    """Yield the sheets of a workbook in XML. Raises `ParseError`."""
    root = parse_xml(data, "workbook")
    for sheet in root.iter(f"{{{_NAMESPACE}}}Worksheet"):
        rows: list[list[Any]] = []
        spans: list[Span] = []
        cell_count = 0
        for row in sheet.iter(f"{{{_NAMESPACE}}}Row"):
            y = _read_index(row, len(rows), _MAX_ROWS)
            rows += [[] for _ in range(y - len(rows))]
            rows.append(_read_row(row, y, spans))
            cell_count += len(rows[-1])
            if cell_count > _MAX_CELLS:
                raise ParseError(f"a sheet has more than {_MAX_CELLS:,} cells")
        hidden = next(sheet.iter("{*}Visible"), None)
        is_hidden = hidden is not None and (hidden.text or "").strip().startswith("SheetHidden")
        yield OldSheet(_get(sheet, "Name") or "Sheet", rows, spans, is_hidden)


def _read_row(row: Any, y: int, spans: list[Span]) -> list[Any]:
    values: list[Any] = []
    for cell in row:
        if local_name(cell) != "Cell":
            continue
        x = _read_index(cell, len(values), _MAX_COLUMNS)
        across, down = _read_count(cell, "MergeAcross"), _read_count(cell, "MergeDown")
        values += [""] * (x - len(values))
        data = next((child for child in cell if local_name(child) == "Data"), None)
        values.append("" if data is None else _read_value(data))
        values += [""] * across
        if across or down:
            spans.append(Span(y, y + down + 1, x, x + across + 1))
    return values


def _read_value(data: Any) -> Any:
    text = "".join(data.itertext())
    kind = _get(data, "Type")
    with suppress(ValueError):
        if kind == "Number":
            return float(text)
        if kind == "DateTime":
            return datetime.datetime.fromisoformat(text.strip())
    if kind == "Boolean":
        return text.strip() == "1"
    return "" if kind == "Error" else text


def _read_index(element: Any, following: int, limit: int) -> int:
    """Return the index of a row or cell, from 0: the next one, or a later one that it names."""
    index = _get(element, "Index")
    if not index.isascii() or not index.isdecimal() or len(index) > len(str(limit)):
        return following
    return min(max(following, int(index) - 1), limit)


def _read_count(cell: Any, name: str) -> int:
    count = _get(cell, name)
    return min(int(count), _MAX_COLUMNS) if count.isascii() and count.isdecimal() else 0


def _get(element: Any, name: str) -> str:
    return element.get(f"{{{_NAMESPACE}}}{name}") or ""
