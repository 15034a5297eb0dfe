"""Tables and records: CSV, TSV, JSON Lines and sheets of workbooks.

Every row becomes text that can be read by itself, each value behind the name of its column, and
has a mark with its number.
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
from connectors.parsers.safe_zip import ZippedFile, office_properties
from connectors.parsers.text import decode, name_of, require_text
from connectors.parsers.text_builder import TextBuilder
from rag.errors import EncryptedDocument, NoText, ParseError
from rag.types import Document, Mark, flat_metadata, well_formed

_SNIFFED = 50  # rows that the delimiter is told by
_HEADER_WITHIN = 20  # rows among which the header is looked for
_SEPARATOR = re.compile(r"sep=([,;\t|])\r?\n", re.I)
_NO_NAME = re.compile(r"column \d+")
_NUMBER = re.compile(r"[-+($€£]*[\d.,]+[%)]*")


class Fields(BaseModel):
    """Which fields of a record are what in its document.

    ``text`` is a template such as ``"{question}: {answer}"``; "" writes all fields but the
    key, the title and the metadata, one to a line. ``title`` and ``key`` name a field each; the
    key ends the document's uri and should be unique and stay (default: the record's number).
    ``metadata`` are the fields kept to filter by; None keeps all that are not in the text.
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
    def in_text(self) -> list[str]:
        """Fields that the template names."""
        return [name for _, name, _, _ in string.Formatter().parse(self.text) if name]

    def rendered(self, record: Mapping[str, Any]) -> str:
        """Text of a record. Raises `ParseError` where a field of the template is missing."""
        if self.text:
            return "".join(
                before + (written(_field(record, name)) if name is not None else "")
                for before, name, _, _ in string.Formatter().parse(self.text)
            )
        apart = {self.title, self.key, *(self.metadata or ())}
        return "\n".join(
            f"{name}: {text}"
            for name, value in record.items()
            if name not in apart and (text := written(value))
        )

    def name(self, record: Mapping[str, Any], number: int) -> str:
        """What a record is called: its key, or its number. Raises `ParseError`."""
        key = written(_field(record, self.key)) if self.key else str(number)
        if not key:
            raise ParseError(f"a record without a value for the key {self.key!r}")
        return key

    def document(self, record: Mapping[str, Any], uri: str, number: int, mime: str) -> Document:
        """A document of its own for record `number` of the source `uri`."""
        text = well_formed(self.rendered(record))
        if not text.strip():
            raise NoText("a record without any text")
        key = self.name(record, number)
        used = {*self.in_text, self.title, self.key}
        named = [n for n in record if n not in used] if self.text else []
        kept = named if self.metadata is None else [n for n in self.metadata if n in record]
        title = written(_field(record, self.title)) if self.title else ""
        return Document(
            uri=part_uri(uri, key),
            text=text,
            title=title[:200] or f"{name_of(uri)} {key}"[:200],
            mime=mime,
            metadata=flat_metadata({n: record[n] for n in kept if record[n] != ""}),
            marks=(Mark(start=0, end=len(text), kind="row", value=number),),
        )


def _field(record: Mapping[str, Any], name: str) -> Any:
    if name not in record:
        raise ParseError(f"no field {name!r}; there are {', '.join(map(repr, record))}"[:300])
    return record[name]


def written(value: Any) -> str:
    """A value as a person would write it."""
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
        return ", ".join(map(written, value))
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False)
    return str(value)


class RecordParser(Parser):
    """What the formats of records have in common.

    With ``per`` = ``row`` every record is a document of its own, made by ``fields``; with
    ``file`` all of them are one, each written by the template of ``fields`` where there is one.
    """

    per: Literal["file", "row"] = "file"
    fields: Fields = Fields()

    @abstractmethod
    def records(self, data: bytes) -> Iterator[tuple[int, Mapping[str, Any]]]:
        """Number (from 1, as a viewer shows it) and fields of each record."""

    def documents(
        self, data: bytes, *, uri: str, mime: str | None = None
    ) -> Iterator[Document | FailedPart]:
        """One document, or one for each record; see the class."""
        if self.per == "file":
            yield self.parse(data, uri=uri, mime=mime)
            return
        seen: set[str] = set()
        unnamed: list[tuple[int, ParseError]] = []
        for number, record in self.records(data):
            try:
                name = part_uri(uri, self.fields.name(record, number))
                if name in seen:
                    raise ParseError(f"a record of the same key ({self.fields.key!r}) came before")
            except ParseError as error:
                unnamed.append((number, error))
                continue
            seen.add(name)
            try:
                yield self.fields.document(record, uri, number, mime or "text/plain")
            except ParseError as error:
                yield FailedPart(name, error)
        for number, reason in unnamed:  # at the end, when every key is known: theirs must differ
            name = part_uri(uri, f"record {number}")
            while name in seen:
                name += "~"
            seen.add(name)
            yield FailedPart(name, reason)


class TableParser(RecordParser):
    """CSV and TSV, whatever stands between the values; the first row names the columns.

    ``delimiter`` and ``header`` are told by the first rows where they are not given.
    """

    name: ClassVar[str] = "table"
    formats: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "text/csv": (".csv",),
        "text/tab-separated-values": (".tsv", ".tab"),
    }
    library: ClassVar[str] = "csv (Python)"
    keeps: ClassVar[str] = "rows, each with the names of its columns; or a document for each row"
    drops: ClassVar[str] = "nothing"

    delimiter: str = Field("", max_length=1)
    header: bool | None = None

    def parse(self, data: bytes, *, uri: str, mime: str | None = None) -> Document:
        """Parse `data` into one document. The title is the file name."""
        built = TextBuilder()
        write_rows(built, self._rows(data), self.header, self.fields)
        return _document(built, uri, mime or "text/csv", {})

    def records(self, data: bytes) -> Iterator[tuple[int, Mapping[str, Any]]]:
        """Rows with the names of their columns; without names, these are ``column 1`` and so on."""
        found = _Table(self._rows(data), self.header)
        for number, row in found.rows:
            if any(row):
                yield number, found.named(row)

    def _rows(self, data: bytes) -> Iterator[tuple[int, list[Any]]]:
        text = decode(data)
        require_text(text)
        csv.field_size_limit(2**31 - 1)
        said = _SEPARATOR.match(text)  # as Excel writes it
        delimiter = self.delimiter or (said.group(1) if said else _delimiter(text))
        text = text[said.end() :] if said else text
        reader = csv.reader(io.StringIO(text.replace("\0", ""), newline=""), delimiter=delimiter)
        try:
            for number, row in enumerate(reader, start=2 if said else 1):
                yield number, [value.strip() for value in row]
        except csv.Error as error:
            raise ParseError(f"no table, at line {reader.line_num}: {error}") from None


def _delimiter(text: str) -> str:
    """The sign that splits the first rows into the same number of values, and most of them."""
    sample = text[:100_000].splitlines(keepends=True)[:_SNIFFED]
    best, most = ",", 0.0
    for sign in ",;\t|":
        try:
            counts = [len(row) for row in csv.reader(sample, delimiter=sign) if row]
        except csv.Error:
            continue
        usual = max(set(counts), key=lambda n: (counts.count(n), n), default=1)
        score = counts.count(usual) / len(counts) * min(usual, 10) if usual > 1 else 0.0
        if score > most:
            best, most = sign, score
    return best


class SheetParser(Parser):
    """Workbooks: a mark for each sheet and row, each row with the names of its columns.

    Hidden sheets are left out unless ``hidden``; their names are in the metadata.
    """

    name: ClassVar[str] = "sheet"
    formats: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": (".xlsx", ".xlsm"),
        "application/vnd.ms-excel.sheet.binary.macroenabled.12": (".xlsb",),
        "application/vnd.ms-excel": (".xls",),
        "application/vnd.oasis.opendocument.spreadsheet": (".ods",),
    }
    library: ClassVar[str] = "python-calamine"
    keeps: ClassVar[str] = "sheets, rows with the names of their columns, results of formulas"
    drops: ClassVar[str] = "formulas, formats of numbers, errors, charts, comments, hidden sheets"

    hidden: bool = False

    def parse(self, data: bytes, *, uri: str, mime: str | None = None) -> Document:
        """Parse `data`. The title is the workbook's own or the file name."""
        import python_calamine as calamine

        found = office_properties(ZippedFile(data, "workbook")) if data[:2] == b"PK" else {}
        built = TextBuilder()
        left_out: list[str] = []
        try:
            book = calamine.CalamineWorkbook.from_filelike(io.BytesIO(data))
            for sheet in book.sheets_metadata:
                is_table = sheet.typ == calamine.SheetTypeEnum.WorkSheet
                is_seen = sheet.visible == calamine.SheetVisibleEnum.Visible
                if is_table and not is_seen and not self.hidden:
                    left_out.append(well_formed(sheet.name))
                elif is_table:
                    rows = book.get_sheet_by_name(sheet.name)
                    if rows.height:
                        _write_sheet(built, well_formed(sheet.name), rows.iter_rows())
        except calamine.PasswordError:
            raise EncryptedDocument("protected by a password: save a copy without one") from None
        except calamine.CalamineError as error:
            raise ParseError(f"a damaged workbook: {error}") from None
        found |= flat_metadata({"hidden_sheets": left_out})
        return _document(built, uri, mime or "application/vnd.ms-excel", found)


def _write_sheet(built: TextBuilder, name: str, rows: Iterable[list[Any]]) -> None:
    start = built.at
    with built.marked("sheet", name):
        built.paragraph(f"# {name}")
        built.write("\n")
        write_rows(built, ((n, list(row)) for n, row in enumerate(rows, start=1)), None, Fields())
    built.mark("heading", (name,), start + 1 if start else 0)


class _Table:
    """Rows parted in what stands above the names of the columns, the names, and the rest."""

    def __init__(self, rows: Iterator[tuple[int, list[Any]]], header: bool | None) -> None:
        first = [(n, row) for n, row in islice(rows, _HEADER_WITHIN)]
        at = _header_at([row for _, row in first]) if header is None else (0 if header else None)
        self.above = [] if at is None else first[:at]
        self.header = None if at is None or not first else first[at]
        self.names = _unique([_flat(name) for name in self.header[1]]) if self.header else []
        self.rows = chain(first if at is None else first[at + 1 :], rows)

    def line(self, row: Sequence[Any]) -> str:
        """Values behind the names of their columns; those of a column without one by themselves."""
        texts = ((name, _flat(value)) for name, value in self.named(row).items())
        parts = (
            text if _NO_NAME.fullmatch(name) else f"{name}: {text}" for name, text in texts if text
        )
        return "; ".join(parts)

    def named(self, row: Sequence[Any]) -> dict[str, Any]:
        """Values by the names of their columns."""
        names = self.names + [f"column {i + 1}" for i in range(len(self.names), len(row))]
        return dict(zip(names, row, strict=False))


def _header_at(rows: Sequence[Sequence[Any]]) -> int | None:
    """The first row that has a text in most columns, and no number; something stands below it."""
    width = max((sum(value != "" for value in row) for row in rows), default=0)
    for i, row in enumerate(rows[:-1]):
        values = [value for value in row if value != ""]
        if len(values) >= max(2, 0.6 * width):
            is_names = all(isinstance(v, str) and not _NUMBER.fullmatch(v) for v in values)
            return i if is_names and len(set(values)) == len(values) else None
    return None


def _unique(names: Sequence[str]) -> list[str]:
    found: list[str] = []
    for i, name in enumerate(names):
        name = name or f"column {i + 1}"
        found.append(name if name not in found else f"{name} ({i + 1})")
    return found


def write_rows(
    built: TextBuilder, rows: Iterator[tuple[int, list[Any]]], header: bool | None, fields: Fields
) -> None:
    """Write a table: what stands above its names as it is, then each row with the names."""
    found = _Table(rows, header)
    for number, row in [*found.above, *([found.header] if found.header else [])]:
        _write_row(built, number, _plain(row))
    for number, row in found.rows:
        if fields.text:
            _write_row(built, number, fields.rendered(found.named(row)))
        elif found.names:
            _write_row(built, number, found.line(row))
        else:
            _write_row(built, number, _plain(row))


def _plain(row: Sequence[Any]) -> str:
    return " | ".join(text for value in row if (text := _flat(value)))


def _flat(value: Any) -> str:
    return " ".join(written(value).split())


def _write_row(built: TextBuilder, number: int, text: str) -> None:
    """Each row is a paragraph: no sentence goes on from one to the next."""
    if text.strip():
        start = built.at
        built.write(well_formed(text))
        built.mark("row", number, start)
        built.write("\n\n")


def _document(built: TextBuilder, uri: str, mime: str, found: dict[str, Any]) -> Document:
    if not any(mark.kind == "row" for mark in built.marks):
        raise NoText("a table without any row")
    title = found.pop("title", "")
    return Document(
        uri=uri,
        text=built.text,
        title=str(title or name_of(uri))[:200],
        mime=mime,
        metadata=found,
        marks=tuple(built.marks),
    )


class JsonLinesParser(RecordParser):
    """JSON Lines: one value to a line; lists of objects in a JSON file are read so, too."""

    name: ClassVar[str] = "jsonl"
    formats: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "application/jsonl": (".jsonl", ".ndjson"),
    }
    library: ClassVar[str] = "json (Python)"
    keeps: ClassVar[str] = "records, each value with its name; or a document for each record"
    drops: ClassVar[str] = "nothing"

    def parse(self, data: bytes, *, uri: str, mime: str | None = None) -> Document:
        """Parse `data` into one document. The title is the file name."""
        built = TextBuilder()
        for number, record in self.records(data):
            _write_row(built, number, self.fields.rendered(record))
        return _document(built, uri, mime or "application/jsonl", {})

    def records(self, data: bytes) -> Iterator[tuple[int, Mapping[str, Any]]]:
        """Objects by the number of their line, or of their place in a list."""
        text = decode(data)
        require_text(text)
        values: Iterator[tuple[int, Any]]
        if text.lstrip().startswith("["):
            found = _json(text)
            values = iter(enumerate(found if isinstance(found, list) else [found], start=1))
        else:
            lines = enumerate(io.StringIO(text), start=1)
            values = ((n, _json(line)) for n, line in lines if line.strip())
        for number, value in values:
            yield number, flat_metadata(value) if isinstance(value, dict) else {"value": value}


def _json(text: str) -> Any:
    """The value; text that is no JSON is kept as it stands."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text.strip()
