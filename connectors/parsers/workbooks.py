"""Workbooks: the rows of their sheets with the names of their columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar

from connectors.base import Parser
from connectors.parsers.hidden_cells import NO_HIDDEN_LINES, HiddenLines, remove_hidden_lines
from connectors.parsers.markdown_tables import find_table_marks, format_table
from connectors.parsers.office_parts import convert_strict_package
from connectors.parsers.omissions import OmissionLog
from connectors.parsers.records import Fields, SheetTables, build_table_document, write_rows
from connectors.parsers.safe_zip import ZippedFile, read_office_properties
from connectors.parsers.text_builder import TextBuilder, build_heading_marks
from connectors.parsers.workbook_cells import SheetCells, read_workbook
from connectors.parsers.workbook_drawings import Drawing
from rag.types import Document, flatten_metadata, to_well_formed

_MAX_HEADING_CHARACTERS = 200
_MAX_FORMULAS_LISTED = 100  # in the metadata


class SheetParser(Parser):
    """Workbooks: a mark for each sheet, table and row; each row with the names of its columns.

    Numbers and dates are written as a cell shows them; marks have the stored values. Hidden sheets,
    rows and columns are skipped unless ``hidden``; the metadata field ``hidden`` names them. A
    formula without a stored result is written as it is, and ``formulas_without_result`` lists it.
    """

    name: ClassVar[str] = "sheet"
    revision: ClassVar[int] = 9
    formats: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": (".xlsx", ".xlsm"),
        "application/vnd.ms-excel.sheet.binary.macroenabled.12": (".xlsb",),
        "application/vnd.ms-excel": (".xls",),
        "application/vnd.oasis.opendocument.spreadsheet": (".ods",),
    }
    library: ClassVar[str] = "python-calamine, lxml"
    keeps: ClassVar[str] = (
        "sheets, tables, rows with column names, numbers and dates as shown, merged cells, results "
        "of formulas, text boxes, titles of charts and their values that are in no cell"
    )
    drops: ClassVar[str] = (
        "the formulas themselves, errors, comments, hidden sheets, hidden rows and columns "
        "of .xlsx and .ods; number formats of .xls and .xlsb"
    )

    hidden: bool = False

    def parse(self, data: bytes, *, uri: str, mime: str | None = None) -> Document:
        """Parse `data`. The title is the document title or the file name."""
        if data[:2] == b"PK":
            data = convert_strict_package(data, "workbook")
        archive = ZippedFile(data, "workbook") if data[:2] == b"PK" else None
        metadata = read_office_properties(archive) if archive else {}
        builder = TextBuilder()
        log = OmissionLog()
        formulas: list[str] = []
        source_texts: list[str] = []
        for sheet in read_workbook(data, archive):
            sheet = sheet._replace(name=to_well_formed(sheet.name))
            lines = [" ".join(filter(None, row)) for row in sheet.rows]
            for drawing in sheet.drawings:
                lines += [drawing.text, *(" ".join(row) for row in drawing.grid)]
            text = to_well_formed("\n".join(lines))
            source_texts.append(text)
            for cell, comment in sheet.comments:
                log.add("comment", f"comment on {cell or 'a cell'}", comment)
                source_texts.append(comment)
            if sheet.is_hidden and not self.hidden:
                log.add("hidden", f"sheet {sheet.name}", text)
            elif text.strip():
                formulas += [f"{sheet.name}!{cell}" for cell in sheet.formulas]
                hidden_lines = NO_HIDDEN_LINES if self.hidden else sheet.hidden_lines
                _write_sheet(builder, sheet, hidden_lines, log)
        metadata |= flatten_metadata({"formulas_without_result": formulas[:_MAX_FORMULAS_LISTED]})
        document = build_table_document(
            builder, uri, mime or "application/vnd.ms-excel", metadata | log.metadata
        )
        coverage = log.measure(document.text, source_texts)
        return document.model_copy(update={"coverage": coverage})


def _write_sheet(
    builder: TextBuilder, sheet: SheetCells, lines: HiddenLines, log: OmissionLog
) -> None:
    rows, raw_values, spans = sheet.rows, sheet.raw_values, sheet.spans
    numbers: Sequence[int] = range(1, len(rows) + 1)
    if any(lines):
        rows, raw_values, spans, numbers, hidden = remove_hidden_lines(
            rows, raw_values, spans, lines
        )
        for line_name, text in hidden:
            log.add("hidden", f"{line_name} of sheet {sheet.name}", to_well_formed(text))
    heading = f"# {sheet.name}"
    with builder.mark_block("sheet", sheet.name):
        builder.write_paragraph(heading)
        heading_start = builder.offset - len(heading) - 1
        builder.write("\n")
        write_rows(builder, SheetTables(rows, None, numbers, raw_values, spans), Fields())
        for drawing in sheet.drawings:
            if not drawing.is_chart:
                builder.write_paragraph(drawing.text)
        headings = [(heading_start, 1, sheet.name)]
        for drawing in sheet.drawings:
            if drawing.is_chart:
                headings += _write_chart(builder, drawing)
    builder.marks += build_heading_marks(headings, builder.offset)


def _write_chart(builder: TextBuilder, chart: Drawing) -> Iterator[tuple[int, int, str]]:
    """Write a chart with its values as a table; yield the offset, level and text of its heading."""
    if chart.text:
        builder.write_paragraph(chart.text)
        yield builder.offset - len(chart.text) - 1, 2, chart.text[:_MAX_HEADING_CHARACTERS]
    table = format_table(chart.grid, header_rows=1) if chart.grid else ""
    builder.write_paragraph(table)
    start = builder.offset - len(table) - 1
    for mark in find_table_marks(table):
        builder.mark(mark.kind, mark.value, start + mark.start, start + mark.end)
