"""Workbooks of Excel before version 97, and damaged ones (.xls), read by xlrd."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any, NamedTuple

from connectors.parsers.table_layout import Span
from rag.errors import EncryptedDocument, ParseError, ParserNotInstalled

_XLS_STARTS = (b"\xd0\xcf\x11\xe0", b"\x09\x00", b"\x09\x02", b"\x09\x04", b"\x09\x08")


class OldSheet(NamedTuple):
    """A sheet: its name, stored values by row, merged cells, and whether it is hidden."""

    name: str
    rows: list[list[Any]]
    spans: list[Span]
    is_hidden: bool


def read_old_workbook(data: bytes, error: Exception) -> Iterator[OldSheet]:
    """Read the sheets of a workbook that calamine refuses with `error`.

    Raises `ParseError`, `EncryptedDocument` and `ParserNotInstalled`.
    """
    if not data.startswith(_XLS_STARTS):
        raise ParseError(f"a damaged workbook: {error}")
    try:
        import xlrd
    except ImportError:
        raise ParserNotInstalled.of("legacy", "sheet") from None
    try:
        book = xlrd.open_workbook(
            file_contents=data, logfile=io.StringIO(), formatting_info=False, on_demand=False
        )
    except MemoryError:
        raise
    except Exception as failure:  # xlrd raises many types for damaged files
        reason = " ".join(str(failure).split())[:200]
        if "encrypted" in reason.lower():
            raise EncryptedDocument("protected by a password: save a copy without one") from None
        raise ParseError(f"a damaged workbook: {reason or type(failure).__name__}") from None
    return _iterate_sheets(book)


def _iterate_sheets(book: Any) -> Iterator[OldSheet]:
    for sheet in book.sheets():
        rows = [
            [_read_value(cell, book.datemode) for cell in sheet.row(number)]
            for number in range(sheet.nrows)
        ]
        spans = [Span(top, bottom, left, right) for top, bottom, left, right in sheet.merged_cells]
        yield OldSheet(sheet.name, rows, spans, bool(sheet.visibility))


def _read_value(cell: Any, date_mode: int) -> Any:
    import xlrd

    if cell.ctype == xlrd.XL_CELL_DATE:
        try:
            moment = xlrd.xldate_as_datetime(cell.value, date_mode)
        except (xlrd.XLDateError, OverflowError, ValueError):
            return cell.value
        return moment.time() if cell.value < 1 else moment
    if cell.ctype == xlrd.XL_CELL_BOOLEAN:
        return bool(cell.value)
    if cell.ctype == xlrd.XL_CELL_ERROR:
        return ""
    if cell.ctype == xlrd.XL_CELL_TEXT:
        return cell.value
    return cell.value if isinstance(cell.value, int | float) else ""
