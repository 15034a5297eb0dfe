"""Tables and records: CSV, TSV, JSON Lines and sheets of workbooks.

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
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from connectors.base import FailedPart, Parser, part_uri
from connectors.parsers.safe_zip import ZippedFile, read_office_properties
from connectors.parsers.text import decode, extract_file_name, require_text
from connectors.parsers.text_builder import TextBuilder
from connectors.parsers.typed_values import convert_typed_columns, find_typed_columns
from rag.errors import EncryptedDocument, NoText, ParseError
from rag.types import Document, Mark, flatten_metadata, to_well_formed

_SNIFFED_ROWS = 50  # rows that the delimiter is guessed from
_HEADER_SEARCH_ROWS = 20  # first rows that are searched for the header
_SEPARATOR = re.compile(r"sep=([,;\t|])\r?\n", re.I)
_PLACEHOLDER_NAME = re.compile(r"column \d+")
_NUMBER = re.compile(r"[-+($€£]*[\d.,]+[%)]*")


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
        separate_fields = {self.title, self.key, *(self.metadata or ())}
        return "\n".join(
            f"{name}: {text}"
            for name, value in record.items()
            if name not in separate_fields and (text := format_value(value))
        )

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
                    {n: record[n] for n in metadata_fields if record[n] != ""}, typed_columns
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
    """CSV and TSV, with any delimiter; the header row names the columns.

    ``delimiter`` and ``header`` (whether the first row is one) are guessed from the first rows by
    default.
    """

    name: ClassVar[str] = "table"
    revision: ClassVar[int] = 2
    formats: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "text/csv": (".csv",),
        "text/tab-separated-values": (".tsv", ".tab"),
    }
    library: ClassVar[str] = "csv (Python)"
    keeps: ClassVar[str] = "rows with column names; or one document per row"
    drops: ClassVar[str] = "nothing"

    delimiter: str = Field("", max_length=1)
    header: bool | None = None

    def parse(self, data: bytes, *, uri: str, mime: str | None = None) -> Document:
        """Parse `data` into one document. The title is the file name."""
        builder = TextBuilder()
        write_rows(builder, self._read_rows(data), self.header, self.fields)
        return _build_document(builder, uri, mime or "text/csv", {})

    def records(self, data: bytes) -> Iterator[tuple[int, Mapping[str, Any]]]:
        """Yield rows as values by column name; unnamed columns are ``column 1`` and so on."""
        table = _Table(self._read_rows(data), self.header)
        for number, row in table.rows:
            if any(row):
                yield number, table.name_values(row)

    def _read_rows(self, data: bytes) -> Iterator[tuple[int, list[Any]]]:
        text = decode(data)
        require_text(text)
        csv.field_size_limit(2**31 - 1)
        separator = _SEPARATOR.match(text)  # Excel writes such a line
        delimiter = self.delimiter or (separator.group(1) if separator else _guess_delimiter(text))
        text = text[separator.end() :] if separator else text
        reader = csv.reader(io.StringIO(text.replace("\0", ""), newline=""), delimiter=delimiter)
        try:
            for number, row in enumerate(reader, start=2 if separator else 1):
                yield number, [value.strip() for value in row]
        except csv.Error as error:
            raise ParseError(f"not a table (line {reader.line_num}): {error}") from None


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


class SheetParser(Parser):
    """Workbooks: a mark for each sheet and row, each row with the names of its columns.

    Hidden sheets are skipped unless ``hidden``; the metadata field ``hidden_sheets`` names them.
    """

    name: ClassVar[str] = "sheet"
    formats: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": (".xlsx", ".xlsm"),
        "application/vnd.ms-excel.sheet.binary.macroenabled.12": (".xlsb",),
        "application/vnd.ms-excel": (".xls",),
        "application/vnd.oasis.opendocument.spreadsheet": (".ods",),
    }
    library: ClassVar[str] = "python-calamine"
    keeps: ClassVar[str] = "sheets, rows with column names, results of formulas"
    drops: ClassVar[str] = "formulas, number formats, errors, charts, comments, hidden sheets"

    hidden: bool = False

    def parse(self, data: bytes, *, uri: str, mime: str | None = None) -> Document:
        """Parse `data`. The title is the document title or the file name."""
        import python_calamine as calamine

        metadata = read_office_properties(ZippedFile(data, "workbook")) if data[:2] == b"PK" else {}
        builder = TextBuilder()
        hidden_sheets: list[str] = []
        try:
            book = calamine.CalamineWorkbook.from_filelike(io.BytesIO(data))
            for sheet in book.sheets_metadata:
                is_table = sheet.typ == calamine.SheetTypeEnum.WorkSheet
                is_visible = sheet.visible == calamine.SheetVisibleEnum.Visible
                if is_table and not is_visible and not self.hidden:
                    hidden_sheets.append(to_well_formed(sheet.name))
                elif is_table:
                    rows = book.get_sheet_by_name(sheet.name)
                    if rows.height:
                        _write_sheet(builder, to_well_formed(sheet.name), rows.iter_rows())
        except calamine.PasswordError:
            raise EncryptedDocument("protected by a password: save a copy without one") from None
        except calamine.CalamineError as error:
            raise ParseError(f"a damaged workbook: {error}") from None
        metadata |= flatten_metadata({"hidden_sheets": hidden_sheets})
        return _build_document(builder, uri, mime or "application/vnd.ms-excel", metadata)


def _write_sheet(builder: TextBuilder, name: str, rows: Iterable[list[Any]]) -> None:
    start = builder.offset
    with builder.mark_block("sheet", name):
        builder.write_paragraph(f"# {name}")
        builder.write("\n")
        write_rows(builder, ((n, list(row)) for n, row in enumerate(rows, start=1)), None, Fields())
    builder.mark("heading", (name,), start + 1 if start else 0)


class _Table:
    """A table divided into the rows above the header, the header, and the rows below it."""

    def __init__(self, rows: Iterator[tuple[int, list[Any]]], header: bool | None) -> None:
        first_rows = [(n, row) for n, row in islice(rows, _HEADER_SEARCH_ROWS)]
        header_index = (
            _find_header([row for _, row in first_rows])
            if header is None
            else (0 if header else None)
        )
        self.rows_above = [] if header_index is None else first_rows[:header_index]
        self.header = None if header_index is None or not first_rows else first_rows[header_index]
        self.names = (
            _make_unique([_format_on_one_line(name) for name in self.header[1]])
            if self.header
            else []
        )
        self.rows = chain(
            first_rows if header_index is None else first_rows[header_index + 1 :], rows
        )

    def format_row(self, row: Sequence[Any]) -> str:
        """Format a row as ``name: value`` pairs; values of unnamed columns have no name."""
        texts = (
            (name, _format_on_one_line(value)) for name, value in self.name_values(row).items()
        )
        parts = (
            text if _PLACEHOLDER_NAME.fullmatch(name) else f"{name}: {text}"
            for name, text in texts
            if text
        )
        return "; ".join(parts)

    def name_values(self, row: Sequence[Any]) -> dict[str, Any]:
        """Return the values of a row by column name."""
        names = self.names + [f"column {i + 1}" for i in range(len(self.names), len(row))]
        return dict(zip(names, row, strict=False))


def _find_header(rows: Sequence[Sequence[Any]]) -> int | None:
    """Return the index of the first row that looks like a header; None if there is none.

    It has different texts, and no numbers, in most columns, and it is not the last row.
    """
    width = max((sum(value != "" for value in row) for row in rows), default=0)
    for i, row in enumerate(rows[:-1]):
        values = [value for value in row if value != ""]
        if len(values) >= max(2, 0.6 * width):
            is_names = all(isinstance(v, str) and not _NUMBER.fullmatch(v) for v in values)
            return i if is_names and len(set(values)) == len(values) else None
    return None


def _make_unique(names: Sequence[str]) -> list[str]:
    unique_names: list[str] = []
    for i, name in enumerate(names):
        name = name or f"column {i + 1}"
        unique_names.append(name if name not in unique_names else f"{name} ({i + 1})")
    return unique_names


def write_rows(
    builder: TextBuilder, rows: Iterator[tuple[int, list[Any]]], header: bool | None, fields: Fields
) -> None:
    """Write a table: the rows above the header unchanged, then each row with column names."""
    table = _Table(rows, header)
    for number, row in [*table.rows_above, *([table.header] if table.header else [])]:
        _write_row(builder, number, _join_values(row))
    for number, row in table.rows:
        if fields.text:
            _write_row(builder, number, fields.render(table.name_values(row)))
        elif table.names:
            _write_row(builder, number, table.format_row(row))
        else:
            _write_row(builder, number, _join_values(row))


def _join_values(row: Sequence[Any]) -> str:
    return " | ".join(text for value in row if (text := _format_on_one_line(value)))


def _format_on_one_line(value: Any) -> str:
    return " ".join(format_value(value).split())


def _write_row(builder: TextBuilder, number: int, text: str) -> None:
    """Write a row as a paragraph, so that no sentence continues in the next row."""
    if text.strip():
        start = builder.offset
        builder.write(to_well_formed(text))
        builder.mark("row", number, start)
        builder.write("\n\n")


def _build_document(
    builder: TextBuilder, uri: str, mime: str, metadata: dict[str, Any]
) -> Document:
    if not any(mark.kind == "row" for mark in builder.marks):
        raise NoText("the table contains no rows")
    title = metadata.pop("title", "")
    return Document(
        uri=uri,
        text=builder.text,
        title=str(title or extract_file_name(uri))[:200],
        mime=mime,
        metadata=metadata,
        marks=tuple(builder.marks),
    )


class JsonLinesParser(RecordParser):
    """JSON Lines: one value per line; also reads a JSON file with a list of objects."""

    name: ClassVar[str] = "jsonl"
    revision: ClassVar[int] = 2
    has_typed_values: ClassVar[bool] = True
    formats: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "application/jsonl": (".jsonl", ".ndjson"),
    }
    library: ClassVar[str] = "json (Python)"
    keeps: ClassVar[str] = "records with keys and values; or one document per record"
    drops: ClassVar[str] = "nothing"

    def parse(self, data: bytes, *, uri: str, mime: str | None = None) -> Document:
        """Parse `data` into one document. The title is the file name."""
        builder = TextBuilder()
        for number, record in self.records(data):
            _write_row(builder, number, self.fields.render(record))
        return _build_document(builder, uri, mime or "application/jsonl", {})

    def records(self, data: bytes) -> Iterator[tuple[int, Mapping[str, Any]]]:
        """Yield records with the number of their line, or their position in a list (from 1)."""
        text = decode(data)
        require_text(text)
        values: Iterator[tuple[int, Any]]
        if text.lstrip().startswith("["):
            parsed = _load_json(text)
            values = iter(enumerate(parsed if isinstance(parsed, list) else [parsed], start=1))
        else:
            lines = enumerate(io.StringIO(text), start=1)
            values = ((n, _load_json(line)) for n, line in lines if line.strip())
        for number, value in values:
            yield number, flatten_metadata(value) if isinstance(value, dict) else {"value": value}


def _load_json(text: str) -> Any:
    """Return the parsed value; text that is not JSON is returned as a string."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text.strip()
