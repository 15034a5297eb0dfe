"""Cells of workbooks as their texts: XLSX with number formats, ODS with displayed texts, XLS, XLSB.

XLSX, XLS and XLSB are read by calamine, which knows no number formats. Those of XLSX come from
``xl/styles.xml`` and the style of each cell. In ODS, every cell has the text that it shows.
"""

from __future__ import annotations

import datetime
import io
import posixpath
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from connectors.parsers.hidden_cells import (
    NO_HIDDEN_LINES,
    HiddenLines,
    find_hidden_lines,
    find_unresolved_formulas,
    format_column,
    parse_column,
)
from connectors.parsers.number_formats import (
    BUILT_IN_CODES,
    Moment,
    format_general,
    format_moment,
    format_number,
)
from connectors.parsers.office_parts import get_relationship_id, parse_part, read_relationships
from connectors.parsers.old_workbooks import read_old_workbook
from connectors.parsers.safe_zip import ZippedFile, local_name, parse_xml
from connectors.parsers.table_layout import Span
from connectors.parsers.workbook_drawings import (
    Comment,
    Drawing,
    read_comments,
    read_drawings,
    refers_only_to,
)
from connectors.parsers.xml_workbooks import is_xml_workbook, read_xml_workbook
from rag.errors import EncryptedDocument, ParseError
from rag.types import to_well_formed

_MAX_CELLS = 20_000_000  # of a sheet in ODS, after cells are repeated
_MAX_COLUMNS = 16_384
_MAX_ROWS = 1_048_576
_XML_ELEMENT = re.compile(rb"<(?:\w+:)?(row|c)\s([^>]*)>")
_XML_ATTRIBUTE = re.compile(rb"""\b([rs])\s*=\s*["']([A-Za-z]*)(\d*)["']""")
_FORMATTED_CELL = re.compile(rb'<c r="([A-Z]{1,3})(\d+)" s="(\d+)"')
_BOOK = "xl/workbook.xml"
_ODF_DRAWING = "{urn:oasis:names:tc:opendocument:xmlns:drawing:1.0}"

Codes = Mapping[int, Mapping[int, str]]
"""Codes of number formats by row and column, both from 0."""


class SheetCells(NamedTuple):
    """The cells of a sheet: texts as a person sees them, from the first row and column."""

    name: str
    rows: list[list[str]]
    raw_values: dict[tuple[int, int], int | float | str]
    """Stored values of the cells that are shown otherwise, by row and column from 0."""
    spans: list[Span]
    """Merged cells."""
    hidden_lines: HiddenLines = NO_HIDDEN_LINES
    is_hidden: bool = False
    """Whether the whole sheet is hidden."""
    formulas: tuple[str, ...] = ()
    """The cells with a formula that has no stored result, such as ``C2``."""
    drawings: tuple[Drawing, ...] = ()
    """The shapes and charts on the sheet."""
    comments: tuple[Comment, ...] = ()
    """The comments on cells."""


def read_workbook(data: bytes, archive: ZippedFile | None) -> Iterator[SheetCells]:
    """Read the sheets of a workbook, one by one; `archive` is None for XLS.

    Raises `ParseError` and `EncryptedDocument`, also while the sheets are read.
    """
    if archive is not None and "content.xml" in archive.names:
        return _read_ods(archive)
    return _read_excel(data, archive)


# -- Excel ---------------------------------------------------------------------------------


def _read_excel(data: bytes, archive: ZippedFile | None) -> Iterator[SheetCells]:
    import python_calamine as calamine

    try:
        book = calamine.CalamineWorkbook.from_filelike(io.BytesIO(data))
    except calamine.PasswordError:
        raise EncryptedDocument("protected by a password: save a copy without one") from None
    except calamine.CalamineError as error:
        if archive is None:
            return _read_old_excel(data, error)
        raise ParseError(f"a damaged workbook: {error}") from None
    kinds = (calamine.SheetTypeEnum.WorkSheet, calamine.SheetTypeEnum.ChartSheet)
    sheets = [s for s in book.sheets_metadata if s.typ in kinds]
    visible = calamine.SheetVisibleEnum.Visible
    is_hidden = {s.name: s.visible != visible for s in sheets}
    chart_sheets = {s.name for s in sheets if s.typ == calamine.SheetTypeEnum.ChartSheet}
    return _iterate_sheets(book, is_hidden, chart_sheets, archive)


def _read_old_excel(data: bytes, error: Exception) -> Iterator[SheetCells]:
    """Read a workbook that calamine refuses with `error`."""
    is_xml = is_xml_workbook(data)
    for sheet in read_xml_workbook(data) if is_xml else read_old_workbook(data, error):
        rows, raw_values = _format_rows(iter(sheet.rows), {}, 0)
        yield SheetCells(sheet.name, rows, raw_values, sheet.spans, is_hidden=sheet.is_hidden)


def _iterate_sheets(
    book: Any,
    is_hidden: Mapping[str, bool],
    chart_sheets: Collection[str],
    archive: ZippedFile | None,
) -> Iterator[SheetCells]:
    import python_calamine as calamine

    styles, paths = _read_styles(archive), _find_sheet_files(archive)
    visible = [name for name in is_hidden if not is_hidden[name]]
    for name in is_hidden:
        sheet = SheetCells(name, [], {}, [], is_hidden=is_hidden[name])
        path = paths.get(name, "")
        if archive is not None and path:
            sheet = sheet._replace(
                drawings=tuple(read_drawings(archive, path, visible)),
                comments=tuple(read_comments(archive, path)),
            )
        try:
            cells = None if name in chart_sheets else book.get_sheet_by_name(name)
            if cells is None or not cells.height:
                yield sheet
                continue
            merged = cells.merged_cell_ranges or []
            xml = archive.read(path) if archive is not None and path in archive.names else b""
            codes = _find_codes(xml, styles) if any(styles) else {}
            rows, raw_values = _format_rows(cells.iter_rows(), codes, cells.start[1])
        except calamine.CalamineError as error:
            raise ParseError(f"a damaged workbook: {error}") from None
        spans = [
            Span(first_row, last_row + 1, first_column, last_column + 1)
            for (first_row, first_column), (last_row, last_column) in merged
        ]
        yield sheet._replace(
            rows=rows,
            raw_values=raw_values,
            spans=spans,
            hidden_lines=find_hidden_lines(xml),
            formulas=tuple(_write_unresolved_formulas(rows, xml)),
        )


def _write_unresolved_formulas(rows: list[list[str]], xml: bytes) -> Iterator[str]:
    """Write each formula without a stored result into its cell; yield the names of the cells."""
    for y, x, formula in find_unresolved_formulas(xml):
        if y < len(rows):
            row = rows[y]
            row += [""] * (x + 1 - len(row))
            row[x] = row[x] or formula
            yield f"{format_column(x)}{y + 1}"


def _format_rows(
    values: Iterator[list[Any]], codes: Codes, first_column: int
) -> tuple[list[list[str]], dict[tuple[int, int], int | float | str]]:
    """Return the texts of all cells, and the stored values of those that are shown otherwise.

    `first_column` is the column of the first value of each row.
    """
    rows: list[list[str]] = []
    raw_values: dict[tuple[int, int], int | float | str] = {}
    for y, row in enumerate(values):
        if first_column:
            row = [""] * first_column + row
        row_codes = codes.get(y)
        texts = [
            (" ".join(value.split()) if value else "")
            if type(value) is str
            else _format_value(value)
            for value in row
        ]
        if row_codes:
            for x, code in row_codes.items():
                value: Any = row[x] if x < len(row) else ""
                if type(value) is str or type(value) is bool:
                    continue
                plain, texts[x] = texts[x], _apply_code(value, code, texts[x])
                if plain != texts[x]:
                    is_number = isinstance(value, int | float)
                    raw_values[y, x] = _simplify(value) if is_number else plain
        rows.append(texts)
    return rows, raw_values


def _format_value(value: Any) -> str:
    """Return a stored value that is not text in its plain form."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return format_general(value)
    if isinstance(value, datetime.datetime):
        is_day = value.time() == datetime.time()
        return (value.date() if is_day else value).isoformat()
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, datetime.timedelta):
        return format_moment(value, "[h]:mm:ss")
    return "" if value is None else str(value)


def _simplify(value: float) -> int | float:
    return int(value) if float(value).is_integer() and abs(value) < 1e15 else value


def _apply_code(value: float | Moment, code: str, plain: str) -> str:
    """Return a value in the format `code`; in its plain form if the format does not apply."""
    try:
        if isinstance(value, int | float):
            text = format_number(value, code)
        else:
            text = format_moment(value, code)
    except (ValueError, ArithmeticError):
        return plain
    return text or plain


def _read_styles(archive: ZippedFile | None) -> list[str]:
    """Return the code of the number format of each cell style; "" for none."""
    if archive is None or "xl/styles.xml" not in archive.names:
        return []
    try:
        root = parse_xml(archive.read("xl/styles.xml"), "workbook")
    except ParseError:
        return []
    codes = dict(BUILT_IN_CODES)
    styles: list[str] = []
    for element in root.iter():
        name = local_name(element)
        if name == "numFmt" and element.get("numFmtId", "").isdecimal():
            if local_name(element.getparent()) == "numFmts":
                codes[int(element.get("numFmtId"))] = element.get("formatCode", "")
        elif name == "xf" and local_name(element.getparent()) == "cellXfs":
            number = element.get("numFmtId", "0")
            code = codes.get(int(number), "") if number.isdecimal() else ""
            styles.append("" if code.lower() in ("general", "@") else code)
    return styles


def _find_sheet_files(archive: ZippedFile | None) -> dict[str, str]:
    """Return the name of the XML file of each sheet of an XLSX workbook."""
    book = None if archive is None else parse_part(archive, _BOOK, "workbook")
    if archive is None or book is None:
        return {}
    files = read_relationships(archive, _BOOK)
    return {
        element.get("name", ""): file.target
        for element in book.iter("{*}sheet")
        if (file := files.get(get_relationship_id(element)))
    }


def _find_codes(xml: bytes, styles: Sequence[str]) -> Codes:
    """Return the codes of number formats of the cells in the XML file of a sheet.

    The elements are found by a pattern, which is several times faster than parsing.
    """
    codes: dict[int, dict[int, str]] = {}
    columns: dict[bytes, int] = {}
    for y, x, style in _iterate_cell_styles(xml, columns):
        if style < len(styles) and (code := styles[style]):
            codes.setdefault(y, {})[x] = code
    return codes


def _iterate_cell_styles(xml: bytes, columns: dict[bytes, int]) -> Iterator[tuple[int, int, int]]:
    """Yield row, column and style of each cell that has a style."""
    if b'<c r="' in xml[:20_000]:  # the order of attributes that nearly all programs write
        for letters, row, style in _FORMATTED_CELL.findall(xml):
            if letters not in columns:
                columns[letters] = parse_column(letters)
            yield int(row) - 1, columns[letters], int(style)
        return
    y, x = -1, -1
    for match in _XML_ELEMENT.finditer(xml):
        attributes = {a[0]: (a[1], a[2]) for a in _XML_ATTRIBUTE.findall(match.group(2))}
        letters, number = attributes.get(b"r", (b"", b""))
        if match.group(1) == b"row":
            y, x = (int(number) - 1 if number else y + 1), -1
            continue
        x = parse_column(letters) if letters else x + 1
        if b"s" in attributes and attributes[b"s"][1]:
            yield y, x, int(attributes[b"s"][1])


# -- OpenDocument --------------------------------------------------------------------------


def _read_ods(archive: ZippedFile) -> Iterator[SheetCells]:
    if "META-INF/manifest.xml" in archive.names:
        manifest = archive.read("META-INF/manifest.xml")
        if b"encryption-data" in manifest:
            raise EncryptedDocument("protected by a password: save a copy without one")
    root = parse_xml(archive.read("content.xml"), "workbook")
    hidden_styles = {
        _get(style, "name")
        for style in root.iter("{*}style")
        for properties in style.iter("{*}table-properties")
        if _get(properties, "display") == "false"
    }
    book = next(root.iter("{*}spreadsheet"), None)
    if book is None:
        raise ParseError("a damaged workbook: it contains no spreadsheet")
    is_hidden = {
        table: _get(table, "style-name") in hidden_styles
        for table in book
        if local_name(table) == "table"
    }
    visible = [_get(table, "name") for table in is_hidden if not is_hidden[table]]
    return (
        _read_ods_sheet(table)._replace(
            is_hidden=is_hidden[table],
            drawings=tuple(_read_ods_drawings(archive, table, visible)),
            comments=tuple(_read_ods_comments(table)),
        )
        for table in is_hidden
    )


def _get(element: Any, name: str) -> str:
    """Return an attribute by its name without namespace."""
    for key, value in element.attrib.items():
        if key.rpartition("}")[2] == name:
            return str(value)
    return ""


def _get_count(element: Any, name: str, limit: int) -> int:
    value = _get(element, name)
    return max(1, min(int(value[:9]), limit)) if value.isdecimal() else 1


def _read_ods_sheet(table: Any) -> SheetCells:
    sheet = SheetCells(_get(table, "name"), [], {}, [])
    hidden_rows: set[int] = set()
    cell_count = 0
    pending = 0  # empty rows that are only kept above others
    for row in table.iter("{*}table-row"):
        repeat = _get_count(row, "number-rows-repeated", _MAX_ROWS)
        y = len(sheet.rows) + pending
        cells, raw_values = _read_ods_row(row, y, sheet.spans)
        if not any(cells):
            pending += repeat
            continue
        if _get(row, "visibility") in ("collapse", "filter"):
            hidden_rows.update(range(y, y + repeat))
        cell_count += (len(cells) + 1) * repeat + pending
        if cell_count > _MAX_CELLS or y + repeat > _MAX_ROWS:
            raise ParseError("a workbook with too many repeated cells: it may be an attack")
        sheet.rows.extend([] for _ in range(pending))
        pending = 0
        for i in range(repeat):
            sheet.rows.append(cells)
            sheet.raw_values.update({(y + i, x): value for x, value in raw_values.items()})
    lines = HiddenLines(frozenset(hidden_rows), frozenset(_find_hidden_ods_columns(table)))
    return sheet._replace(hidden_lines=lines)


def _find_hidden_ods_columns(table: Any) -> Iterator[int]:
    x = 0
    for column in table.iter("{*}table-column"):
        repeat = _get_count(column, "number-columns-repeated", _MAX_COLUMNS)
        if _get(column, "visibility") in ("collapse", "filter"):
            yield from range(x, min(x + repeat, _MAX_COLUMNS))
        x += repeat


def _read_ods_row(
    row: Any, y: int, spans: list[Span]
) -> tuple[list[str], dict[int, int | float | str]]:
    """Return the texts and the other stored values of a row; add its merged cells to `spans`."""
    texts: list[str] = []
    raw_values: dict[int, int | float | str] = {}
    x = 0
    for cell in row:
        kind = local_name(cell)
        if kind not in ("table-cell", "covered-table-cell"):
            continue
        repeat = _get_count(cell, "number-columns-repeated", _MAX_COLUMNS)
        text = _read_displayed_text(cell) if kind == "table-cell" and len(cell) else ""
        if kind == "table-cell":
            text = text or _get(cell, "string-value")
            height = _get_count(cell, "number-rows-spanned", _MAX_ROWS)
            width = _get_count(cell, "number-columns-spanned", _MAX_COLUMNS)
            if height * width > 1:
                spans.append(Span(y, y + height, x, x + width))
        if text and x < _MAX_COLUMNS:
            repeat = min(repeat, _MAX_COLUMNS - x)
            texts += [""] * (x - len(texts)) + [text] * repeat
            raw_value = _read_raw_value(cell, text)
            if raw_value is not None:
                raw_values.update(dict.fromkeys(range(x, x + repeat), raw_value))
        x += repeat
    return texts, raw_values


def _read_displayed_text(cell: Any) -> str:
    """Return the paragraphs of a cell on one line, without its comment."""
    paragraphs = (_join_text(child) for child in cell if local_name(child) in ("p", "h"))
    return " ".join(filter(None, paragraphs))


def _join_text(paragraph: Any) -> str:
    """Return the text of a paragraph on one line."""
    pieces: list[str] = []
    for element in paragraph.iter():
        if local_name(element) in ("s", "tab", "line-break"):
            pieces.append(" ")
        if isinstance(element.tag, str) and element.text:
            pieces.append(element.text)
        if element is not paragraph and element.tail:
            pieces.append(element.tail)
    return " ".join("".join(pieces).split())


def _read_raw_value(cell: Any, text: str) -> int | float | str | None:
    """Return the stored value of a cell; None if it is shown as it is stored."""
    kind = _get(cell, "value-type")
    if kind in ("date", "time"):
        value = _get(cell, f"{kind}-value")
        return value if value and value != text else None
    if kind not in ("float", "percentage", "currency"):
        return None
    try:
        number = _simplify(float(_get(cell, "value")))
    except (ValueError, OverflowError):
        return None
    return number if format_general(number) != text else None


def _read_ods_drawings(
    archive: ZippedFile, table: Any, read_sheets: Collection[str]
) -> Iterator[Drawing]:
    """Yield the shapes and charts on a sheet, as `read_drawings` does for XLSX."""
    shapes_read: set[Any] = set()
    for element in table.iter(f"{_ODF_DRAWING}*"):
        if local_name(element) == "object":
            yield from _read_ods_chart(archive, _get(element, "href"), read_sheets)
        elif local_name(element) in ("frame", "g") or not shapes_read.isdisjoint(
            element.iterancestors()
        ):
            continue
        else:
            shapes_read.add(element)
            paragraphs = (_join_text(paragraph) for paragraph in element.iter("{*}p", "{*}h"))
            if text := "\n".join(filter(None, paragraphs)):
                yield Drawing(to_well_formed(text))


def _read_ods_chart(
    archive: ZippedFile, target: str, read_sheets: Collection[str]
) -> Iterator[Drawing]:
    """Yield the titles of a chart, and its values unless they are in cells of `read_sheets`."""
    path = posixpath.normpath(target).lstrip("/")
    root = parse_part(archive, f"{path}/content.xml", "workbook")
    chart = None if root is None else next(root.iter("{*}chart"), None)
    if chart is None:
        return
    titles = (_join_text(title) for title in chart.iter("{*}title", "{*}subtitle"))
    title = ", ".join(dict.fromkeys(filter(None, titles)))
    references = [_get(series, "values-cell-range-address") for series in chart.iter("{*}series")]
    grid: list[list[str]] = []
    if not refers_only_to(references, read_sheets):
        grid = next((_read_ods_sheet(table).rows for table in chart.iter("{*}table")), grid)
    if title or grid:
        yield Drawing(to_well_formed(title), grid, is_chart=True)


def _read_ods_comments(table: Any) -> Iterator[Comment]:
    for annotation in table.iter("{*}annotation"):
        text = "\n".join(_join_text(paragraph) for paragraph in annotation.iter("{*}p"))
        yield Comment("", to_well_formed(text))
