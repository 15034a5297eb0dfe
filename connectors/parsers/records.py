"""Tables and records: CSV, TSV and JSON Lines.

Each row becomes text that can be understood alone, because the name of its column precedes each
value, and has a mark with its number.
"""

from __future__ import annotations

import csv
import datetime
import io
import json
import re
import string
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from connectors.base import FailedPart, Parser, part_uri
from connectors.parsers.embedded_data import (
    log_embedded_data,
    remove_embedded_data,
    remove_embedded_data_of_json,
)
from connectors.parsers.omissions import OmissionLog
from connectors.parsers.record_lists import (
    WrittenFloat,
    flatten_record,
    format_record,
    load_json,
    to_plain_number,
)
from connectors.parsers.table_layout import (
    Region,
    Span,
    find_tables,
    name_columns,
    repeat_group_labels,
    repeat_merged_cells,
)
from connectors.parsers.text import decode, extract_file_name, require_text
from connectors.parsers.text_builder import TextBuilder
from connectors.parsers.titles import choose_title
from connectors.parsers.typed_values import convert_typed_columns, find_typed_columns
from rag.errors import NoText, ParseError
from rag.types import Document, Mark, Table, flatten_metadata, to_well_formed

_SNIFFED_ROWS = 50  # rows that the delimiter is guessed from
_SEPARATOR = re.compile(r"sep=([,;\t|])\r?\n", re.I)

_Row = tuple[int, Sequence[str]]
"""Index of a row in its sheet, from 0, and its cells."""

_ShownValue = tuple[int, int, int | float | str]
"""Start and end of a value in the text of its row, and its stored value."""


class Fields(BaseModel):
    """How the fields of a record become a document.

    ``text`` is a template such as ``"{question}: {answer}"``; "" writes all fields except the
    key, the title and the metadata, one per line. ``title`` and ``key`` each name a field. The
    key becomes the end of the document's uri; it should be unique and not change (default: the
    record's number). ``metadata`` lists the fields to keep for filters; None keeps all fields that
    are not in the text.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    text: str = ""
    title: str = ""
    key: str = ""
    metadata: tuple[str, ...] | None = None

    @field_validator("text")
    @classmethod
    def _is_template(cls, text: str) -> str:
        for _, name, _, _ in string.Formatter().parse(text):
            if name == "":
                raise ValueError("a field of the template has no name")
        return text

    @property
    def template_fields(self) -> list[str]:
        """Names of the fields in the template."""
        return [name for _, name, _, _ in string.Formatter().parse(self.text) if name]

    def render(self, record: Mapping[str, Any]) -> str:
        """Return the text of a record. Raises `ParseError` if a template field is missing."""
        if self.text:
            return "".join(
                before + (format_value(_get_field(record, name)) if name is not None else "")
                for before, name, _, _ in string.Formatter().parse(self.text)
            )
        separate_fields = {self.title, self.key, *(self.metadata or ())} - {""}
        return "\n".join(
            f"{name}: {text}"
            for name, value in record.items()
            if name not in separate_fields and (text := format_value(value))
        )

    def format_paragraph(self, record: Mapping[str, Any]) -> str:
        """Return a record as one paragraph of a document with others: see `render`.

        Without a template, the fields are on one line, unless they are long.
        """
        if self.text:
            return self.render(record)
        separate_fields = {self.title, self.key, *(self.metadata or ())} - {""}
        return format_record({n: v for n, v in record.items() if n not in separate_fields})

    def name_record(self, record: Mapping[str, Any], number: int) -> str:
        """Return the key of a record, or its number. Raises `ParseError` if it has no key."""
        key = format_value(_get_field(record, self.key)) if self.key else str(number)
        if not key:
            raise ParseError(f"the record has no value for the key {self.key!r}")
        return key

    def build_document(
        self,
        record: Mapping[str, Any],
        uri: str,
        number: int,
        mime: str,
        typed_columns: frozenset[str] = frozenset(),
    ) -> Document:
        """Build a document from record `number` of the source `uri`.

        The text has all values as written. In the metadata, the texts of `typed_columns` are
        numbers, booleans and dates.
        """
        text = to_well_formed(self.render(record))
        if not text.strip():
            raise NoText("the record contains no text")
        key = self.name_record(record, number)
        used_fields = {*self.template_fields, self.title, self.key}
        unused_fields = [n for n in record if n not in used_fields] if self.text else []
        metadata_fields = (
            unused_fields if self.metadata is None else [n for n in self.metadata if n in record]
        )
        title = format_value(_get_field(record, self.title)) if self.title else ""
        return Document(
            uri=part_uri(uri, key),
            text=text,
            title=title[:200] or f"{extract_file_name(uri)} {key}"[:200],
            mime=mime,
            metadata=flatten_metadata(
                convert_typed_columns(
                    {n: to_plain_number(record[n]) for n in metadata_fields if record[n] != ""},
                    typed_columns,
                )
            ),
            marks=(Mark(start=0, end=len(text), kind="row", value=number),),
        )


def _get_field(record: Mapping[str, Any], name: str) -> Any:
    if name not in record:
        raise ParseError(f"no field {name!r}; the fields are {', '.join(map(repr, record))}"[:300])
    return record[name]


def format_value(value: Any) -> str:
    """Format a value as a person would write it."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, WrittenFloat):
        return value.literal
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
    if isinstance(value, datetime.datetime) and value.time() == datetime.time():
        return value.date().isoformat()
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, tuple):
        return ", ".join(map(format_value, value))
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False)
    return str(value)


class RecordParser(Parser):
    """Base class of the parsers for formats with records.

    With ``per`` = ``row`` each record becomes a document, built by ``fields``. With ``file`` all
    records become one document; the template of ``fields``, if any, formats each record.
    """

    has_typed_values: ClassVar[bool] = False
    """Whether the format has types. Otherwise, values are texts, and columns are given types."""

    per: Literal["file", "row"] = "file"
    fields: Fields = Fields()

    @abstractmethod
    def records(self, data: bytes) -> Iterator[tuple[int, Mapping[str, Any]]]:
        """Yield number (from 1, as a viewer shows it) and fields of each record."""

    def documents(
        self, data: bytes, *, uri: str, mime: str | None = None
    ) -> Iterator[Document | FailedPart]:
        """Parse `data` into one document, or one for each record, as ``per`` says."""
        if self.per == "file":
            yield self.parse(data, uri=uri, mime=mime)
            return
        typed_columns = (
            frozenset()
            if self.has_typed_values
            else find_typed_columns(record for _, record in self.records(data))
        )
        used_uris: set[str] = set()
        unnamed_records: list[tuple[int, ParseError]] = []
        for number, record in self.records(data):
            try:
                record_uri = part_uri(uri, self.fields.name_record(record, number))
                if record_uri in used_uris:
                    raise ParseError(f"an earlier record has the same key ({self.fields.key!r})")
            except ParseError as error:
                unnamed_records.append((number, error))
                continue
            used_uris.add(record_uri)
            try:
                yield self.fields.build_document(
                    record, uri, number, mime or "text/plain", typed_columns
                )
            except ParseError as error:
                yield FailedPart(record_uri, error)
        # Last, because their uris must differ from those of all keys.
        for number, reason in unnamed_records:
            record_uri = part_uri(uri, f"record {number}")
            while record_uri in used_uris:
                record_uri += "~"
            used_uris.add(record_uri)
            yield FailedPart(record_uri, reason)


class TableParser(RecordParser):
    """CSV and TSV, with any delimiter; the header rows name the columns.

    ``delimiter`` is guessed from the first rows by default. ``header`` is whether the first row is
    the header of the only table; by default, tables and their header rows are found by
    `connectors.parsers.table_layout.find_tables`.
    """

    name: ClassVar[str] = "table"
    revision: ClassVar[int] = 6
    formats: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "text/csv": (".csv",),
        "text/tab-separated-values": (".tsv", ".tab"),
    }
    library: ClassVar[str] = "csv (Python)"
    keeps: ClassVar[str] = "tables, rows with column names; or one document per row"
    drops: ClassVar[str] = "data in base64"

    delimiter: str = Field("", max_length=1)
    header: bool | None = None

    def parse(self, data: bytes, *, uri: str, mime: str | None = None) -> Document:
        """Parse `data` into one document. The title is the file name."""
        builder = TextBuilder()
        text, sizes = remove_embedded_data(decode(data))
        numbers, rows = self._read_rows(text)
        write_rows(builder, SheetTables(rows, self.header, numbers), self.fields)
        document = build_table_document(builder, uri, mime or "text/csv", {})
        log = OmissionLog()
        log_embedded_data(log, sizes)
        texts = (cell for row in rows for cell in row)
        return document.model_copy(update={"coverage": log.measure(document.text, texts)})

    def records(self, data: bytes) -> Iterator[tuple[int, Mapping[str, Any]]]:
        """Yield rows as values by column name; unnamed columns are ``column 1`` and so on."""
        text, _ = remove_embedded_data(decode(data))
        numbers, rows = self._read_rows(text)
        sheet = SheetTables(rows, self.header, numbers)
        for region in filter(sheet.is_record_region, sheet.regions):
            for y, cells in sheet.list_rows(region)[1]:
                yield numbers[y], _name_values(region, cells)

    def _read_rows(self, text: str) -> tuple[range, list[list[str]]]:
        """Return the numbers of the rows, and all rows."""
        require_text(text)
        csv.field_size_limit(2**31 - 1)
        separator = _SEPARATOR.match(text)  # Excel writes such a line
        delimiter = self.delimiter or (separator.group(1) if separator else _guess_delimiter(text))
        text = text[separator.end() :] if separator else text
        reader = csv.reader(io.StringIO(text.replace("\0", ""), newline=""), delimiter=delimiter)
        try:
            rows = [[" ".join(value.split()) for value in row] for row in reader]
        except csv.Error as error:
            raise ParseError(f"not a table (line {reader.line_num}): {error}") from None
        first_number = 2 if separator else 1
        return range(first_number, first_number + len(rows)), rows


def _guess_delimiter(text: str) -> str:
    """Return the delimiter that splits most of the first rows into the same number of values."""
    sample = text[:100_000].splitlines(keepends=True)[:_SNIFFED_ROWS]
    best_delimiter, best_score = ",", 0.0
    for delimiter in ",;\t|":
        try:
            counts = [len(row) for row in csv.reader(sample, delimiter=delimiter) if row]
        except csv.Error:
            continue
        usual_count = max(set(counts), key=lambda n: (counts.count(n), n), default=1)
        score = (
            counts.count(usual_count) / len(counts) * min(usual_count, 10)
            if usual_count > 1
            else 0.0
        )
        if score > best_score:
            best_delimiter, best_score = delimiter, score
    return best_delimiter


class SheetTables:
    """The tables of a sheet or CSV file, with their rows."""

    def __init__(
        self,
        rows: list[list[str]],
        header: bool | None,
        numbers: Sequence[int],
        raw_values: Mapping[tuple[int, int], int | float | str] | None = None,
        spans: Sequence[Span] = (),
    ) -> None:
        self.rows = rows
        self.numbers = numbers  # of the rows in the file, from 1
        self._raw_values: dict[int, dict[int, int | float | str]] = {}
        for (y, x), value in (raw_values or {}).items():
            self._raw_values.setdefault(y, {})[x] = value
        self._filled_rows = repeat_merged_cells(rows, spans)
        self._wide_rows = {span.top for span in spans if span.right - span.left > 1}
        if header is None:
            self.regions = find_tables(rows, spans)
        else:
            columns = name_columns(rows[:1]) if header else ()
            width = max(map(len, rows), default=0)
            self.regions = [Region("table", 0, len(rows), 0, width, int(header), columns)]
        self._has_table = any(region.kind != "text" for region in self.regions)

    def is_record_region(self, region: Region) -> bool:
        """Whether the rows of a region are records: it is a table, or there is none."""
        return region.kind != "text" or not self._has_table

    def list_rows(self, region: Region) -> tuple[list[_Row], list[_Row]]:
        """Return the header rows and the rows below, with the cells in the region's columns."""
        columns = slice(region.left, region.right)
        indexes = [y for y in range(region.top, region.bottom) if any(self.rows[y][columns])]
        header: list[_Row] = [(y, self.rows[y][columns]) for y in indexes[: region.header_rows]]
        indexes = indexes[region.header_rows :]
        rows = self._filled_rows if region.kind != "text" else self.rows
        cells: list[Sequence[str]] = [rows[y][columns] for y in indexes]
        if region.columns:
            cells = repeat_group_labels(cells)
        return header, list(zip(indexes, cells, strict=True))

    def format_row(
        self, region: Region, y: int, cells: Sequence[str], prefixes: Sequence[str]
    ) -> tuple[str, list[_ShownValue]]:
        """Return the text of a row, and (start, end, stored value) of the values in it."""
        separator = "; " if region.columns else " | "
        if y in self._wide_rows and sum(map(bool, self.rows[y][region.left : region.right])) == 1:
            cells, prefixes = self.rows[y][region.left : region.right], ()
        elif region.kind == "form" and len(cells) == 2 and all(cells):
            cells, prefixes = ["", cells[1]], ["", f"{cells[0].rstrip(': ')}: "]
        if len(prefixes) < len(cells):
            prefixes = [*prefixes, *[""] * (len(cells) - len(prefixes))]
        text = separator.join([a + b for a, b in zip(prefixes, cells, strict=False) if b])
        raw_values = self._raw_values.get(y)
        if not raw_values:
            return text, []
        values: list[_ShownValue] = []
        position = 0
        for x, (prefix, cell) in enumerate(zip(prefixes, cells, strict=False), start=region.left):
            if cell:
                start = position + len(prefix)
                position = start + len(cell)
                if x in raw_values:
                    values.append((start, position, raw_values[x]))
                position += len(separator)
        return text, values


def _name_values(region: Region, cells: Sequence[str]) -> dict[str, str]:
    """Return the values of a row by column name; those without a name are ``column 1``, ..."""
    names = [name or f"column {i}" for i, name in enumerate(region.columns, start=1)]
    names += [f"column {i + 1}" for i in range(len(names), len(cells))]
    return dict(zip(names, cells, strict=False))


def write_rows(builder: TextBuilder, tables: SheetTables, fields: Fields) -> None:
    """Write all regions: titles and notes unchanged, the rows of tables with column names."""
    for region in tables.regions:
        header, body = tables.list_rows(region)
        start = builder.offset
        for y, cells in header:
            _write_row(builder, tables.numbers[y], " | ".join(filter(None, cells)))
        first_row = builder.offset
        prefixes = [f"{name}: " if name else "" for name in region.columns]
        uses_template = fields.text and tables.is_record_region(region)
        for y, cells in body:
            text, values = "", list[_ShownValue]()
            if uses_template:
                text = fields.render(_name_values(region, cells))
            else:
                text, values = tables.format_row(region, y, cells, prefixes)
            row_start = builder.offset
            _write_row(builder, tables.numbers[y], text)
            for value_start, value_end, value in values:
                builder.mark("value", value, row_start + value_start, row_start + value_end)
        if region.kind != "text" and builder.offset > start:
            table = Table(
                name=to_well_formed(region.caption),
                columns=tuple(map(to_well_formed, region.columns)),
                header=first_row - start,
                layout="pairs",
            )
            builder.mark("table", table, start, builder.offset - len("\n\n"))


def _write_row(builder: TextBuilder, number: int, text: str) -> None:
    """Write a row as a paragraph, so that no sentence continues in the next row."""
    if text.strip():
        start = builder.offset
        builder.write(to_well_formed(text))
        builder.mark("row", number, start)
        builder.write("\n\n")


def build_table_document(
    builder: TextBuilder, uri: str, mime: str, metadata: dict[str, Any]
) -> Document:
    """Return the document of the text that `builder` has. Raises `NoText` if it has none."""
    if not builder.offset:
        raise NoText("the table contains no rows")
    return Document(
        uri=uri,
        text=builder.text,
        title=choose_title(metadata.pop("title", ""), uri=uri),
        mime=mime,
        metadata=metadata,
        marks=tuple(builder.marks),
    )


class JsonLinesParser(RecordParser):
    """JSON Lines: one value per line; also reads a JSON file with a list of objects."""

    name: ClassVar[str] = "jsonl"
    revision: ClassVar[int] = 6
    has_typed_values: ClassVar[bool] = True
    formats: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "application/jsonl": (".jsonl", ".ndjson"),
    }
    library: ClassVar[str] = "json (Python)"
    keeps: ClassVar[str] = "records with keys and values; or one document per record"
    drops: ClassVar[str] = "data in base64"

    def parse(self, data: bytes, *, uri: str, mime: str | None = None) -> Document:
        """Parse `data` into one document. The title is the file name."""
        builder, log = TextBuilder(), OmissionLog()
        text, sizes = remove_embedded_data_of_json(decode(data))
        log_embedded_data(log, sizes)
        source_texts: list[str] = []
        for number, record in _read_json_lines(text):
            _write_row(builder, number, self.fields.format_paragraph(record))
            for pair in record.items():
                if value := format_value(pair[1]):
                    source_texts += (pair[0], value)
        document = build_table_document(builder, uri, mime or "application/jsonl", {})
        return document.model_copy(update={"coverage": log.measure(document.text, source_texts)})

    def records(self, data: bytes) -> Iterator[tuple[int, Mapping[str, Any]]]:
        """Yield records with the number of their line, or their position in a list (from 1)."""
        yield from _read_json_lines(remove_embedded_data_of_json(decode(data))[0])


def _read_json_lines(text: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    require_text(text)
    values: Iterator[tuple[int, Any]]
    top_value = _load_json(text) if text.lstrip().startswith("[") else None
    if isinstance(top_value, list):
        values = iter(enumerate(top_value, start=1))
    else:
        lines = enumerate(io.StringIO(text), start=1)
        values = ((n, _load_json(line)) for n, line in lines if line.strip())
    for number, value in values:
        yield number, flatten_record(value) if isinstance(value, dict) else {"value": value}


def _load_json(text: str) -> Any:
    """Return the parsed value; text that is not JSON is returned as a string."""
    try:
        return load_json(text)
    except (ValueError, RecursionError):
        return text.strip()
