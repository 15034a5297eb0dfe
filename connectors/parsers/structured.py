"""JSON, YAML and XML: data for programs, as readable text."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from itertools import chain
from typing import Any, ClassVar

from connectors.base import FailedPart
from connectors.parsers.embedded_data import (
    log_embedded_data,
    remove_embedded_data,
    remove_embedded_data_of_json,
    remove_embedded_data_of_markup,
)
from connectors.parsers.omissions import OmissionLog
from connectors.parsers.record_lists import (
    RecordWriter,
    flatten_record,
    has_records,
    is_table_like,
    iterate_record_lists,
    load_json,
)
from connectors.parsers.records import Fields, JsonLinesParser, RecordParser
from connectors.parsers.safe_zip import local_name, parse_damaged_xml
from connectors.parsers.text import decode, extract_file_name, require_text
from connectors.parsers.text_builder import TextBuilder, build_heading_marks
from connectors.parsers.xml_records import (
    PROSE_ELEMENTS,
    find_record_names,
    iterate_text,
    list_attributes,
    read_element,
)
from connectors.parsers.yaml_records import CommentedWriter, find_comments, load_yaml_data
from rag.errors import NoText, ParseError
from rag.types import Document, Mark, to_well_formed


class DataFileParser(RecordParser):
    """Base class of the parsers for files that may contain lists of records, or none."""

    def documents(
        self, data: bytes, *, uri: str, mime: str | None = None
    ) -> Iterator[Document | FailedPart]:
        """Parse `data` into one document, or with ``per`` = ``row`` into one per record."""
        if self.per == "row" and next(self.records(data), None) is not None:
            yield from super().documents(data, uri=uri, mime=mime)
        else:
            yield self.parse(data, uri=uri, mime=mime)


class JsonParser(DataFileParser, JsonLinesParser):
    """JSON: lists of objects as records, other data indented, with key paths as headings.

    Lists of objects can be at any depth. Without one, the text is the JSON, indented. Invalid JSON
    is kept as plain text; the metadata field ``damage`` says what is wrong.
    """

    name: ClassVar[str] = "json"
    revision: ClassVar[int] = 5
    formats: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "application/json": (".json", ".geojson", ".webmanifest"),
    }
    keeps: ClassVar[str] = "all keys and values; lists of objects at any depth as records"
    drops: ClassVar[str] = "data in base64"

    def records(self, data: bytes) -> Iterator[tuple[int, Mapping[str, Any]]]:
        """Yield the records of all lists, numbered from 1."""
        try:
            text, _ = remove_embedded_data_of_json(decode(data))
            lists = iterate_record_lists(load_json(text))
        except (ValueError, RecursionError):  # not JSON
            return
        records = chain.from_iterable(items for _, items in lists)
        for number, record in enumerate(records, start=1):
            yield number, flatten_record(record)

    def parse(self, data: bytes, *, uri: str, mime: str | None = None) -> Document:
        """Parse `data`. The title is the file name."""
        mime = mime or "application/json"
        text, sizes = remove_embedded_data_of_json(decode(data))
        require_text(text)
        log = OmissionLog()
        log_embedded_data(log, sizes)
        try:
            value = load_json(text)
        except (ValueError, RecursionError) as error:
            return _keep_as_text(text, uri, mime, error, log)
        if has_records(value):
            writer = RecordWriter(**_list_format(self.fields))
            write = partial(writer.write_data, value)
            document = _write_record_document(
                write, writer, uri, mime, log=log, source_texts=_list_json_texts(value)
            )
            if document is not None:
                return document
        text, headings = _indent_json(text)
        return Document(
            uri=uri,
            text=text,
            title=extract_file_name(uri),
            mime=mime,
            marks=build_heading_marks(headings, len(text)),
            coverage=log.measure(text, _list_json_texts(value)),
        )


def _list_json_texts(value: Any) -> Iterator[str]:
    """Yield the texts of parsed JSON, and the keys of all values that are not empty."""
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, Mapping):
            stack += [part for pair in item.items() if pair[1] or pair[1] == 0 for part in pair]
        elif isinstance(item, list | tuple):
            stack += item
        elif isinstance(item, str):
            yield item


def _list_format(fields: Fields) -> dict[str, Any]:
    """Return the settings of a `RecordWriter` for the format of `fields`."""
    return {"format_flat": fields.format_paragraph, "splits_records": not fields.text}


def _write_record_document(
    write: Callable[[], None],
    writer: RecordWriter,
    uri: str,
    mime: str,
    *,
    log: OmissionLog,
    source_texts: Iterable[str],
) -> Document | None:
    """Return a document of data with lists of records; None if they are nested too deep."""
    try:
        write()
    except RecursionError:
        return None
    builder = writer.builder
    if not builder.text.strip():
        return None
    headings = build_heading_marks(writer.headings, builder.offset)
    return Document(
        uri=uri,
        text=builder.text,
        title=extract_file_name(uri),
        mime=mime,
        marks=(*builder.marks, *headings),
        coverage=log.measure(builder.text, source_texts),
    )


_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s{}\[\],:"]+', re.S)


def _indent_json(text: str) -> tuple[str, list[tuple[int, int, str]]]:
    """Indent JSON, one value per line; return the outermost names as (offset, level, title).

    Numbers are kept as written, duplicate names are kept, and escapes are decoded.
    """
    builder = TextBuilder()
    headings: list[tuple[int, int, str]] = []
    depth, previous = 0, ""
    is_object = text.lstrip().startswith("{")
    for match in _TOKEN.finditer(text):
        token = match.group()
        if token in "}]":
            depth -= 1
        if (
            previous
            and (previous in "{[," or token in "}]")
            and previous + token not in ("{}", "[]")
        ):
            builder.write("\n" + "  " * min(depth, 40))
        if token.startswith('"'):
            token = json.dumps(json.loads(token, strict=False), ensure_ascii=False)
            if depth == 1 and previous in "{," and is_object:
                headings.append(
                    (builder.offset, 1, to_well_formed(json.loads(token))[:200] or '""')
                )
        builder.write(to_well_formed(": " if token == ":" else token))
        depth += token in "{["
        previous = token
    return builder.text, headings


def _keep_as_text(text: str, uri: str, mime: str, error: Exception, log: OmissionLog) -> Document:
    damage = " ".join(str(error).split())[:200]
    return Document(
        uri=uri,
        text=text,
        title=extract_file_name(uri),
        mime=mime,
        metadata={"damage": damage},
        coverage=log.count_unchanged(text),
    )


class YamlParser(DataFileParser):
    """YAML as written, with the names of the outermost mapping as headings.

    Lists of two or more mappings with a common key are records, as in JSON. If a file contains
    one, its text is that of the records and of everything beside them, with the comments.
    """

    name: ClassVar[str] = "yaml"
    revision: ClassVar[int] = 4
    has_typed_values: ClassVar[bool] = True
    formats: ClassVar[Mapping[str, tuple[str, ...]]] = {"application/yaml": (".yaml", ".yml")}
    library: ClassVar[str] = "PyYAML"
    keeps: ClassVar[str] = "the text as written, top-level keys as headings; lists as records"
    drops: ClassVar[str] = "data in base64, the layout of files with lists of records"

    def records(self, data: bytes) -> Iterator[tuple[int, Mapping[str, Any]]]:
        """Yield the records of all lists, numbered from 1."""
        text, _ = remove_embedded_data(decode(data))
        documents = load_yaml_data(text) or []
        roots = [documents] if is_table_like(documents) else documents
        lists = chain.from_iterable(map(iterate_record_lists, roots))
        records = chain.from_iterable(items for _, items in lists)
        for number, record in enumerate(records, start=1):
            yield number, flatten_record(record)

    def parse(self, data: bytes, *, uri: str, mime: str | None = None) -> Document:
        """Parse `data`. The title is the file name."""
        text, sizes = remove_embedded_data(decode(data))
        mime = mime or "application/yaml"
        require_text(text)
        log = OmissionLog()
        log_embedded_data(log, sizes)
        if (documents := load_yaml_data(text)) is not None:
            writer = RecordWriter(**_list_format(self.fields))
            commented = CommentedWriter(writer, find_comments(text))
            write = partial(commented.write, documents)
            document = _write_record_document(
                write, writer, uri, mime, log=log, source_texts=_list_json_texts(documents)
            )
            if document is not None:
                return document
        return Document(
            uri=uri,
            text=text,
            title=extract_file_name(uri),
            mime=mime,
            marks=_find_yaml_headings(text),
            coverage=log.count_unchanged(text),
        )


def _find_yaml_headings(text: str) -> tuple[Mark, ...]:
    """Find headings in the nodes of the file, without building objects or expanding aliases."""
    import yaml

    headings: list[tuple[int, int, str]] = []
    try:
        for node in yaml.compose_all(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
            for name, _ in node.value if isinstance(node, yaml.MappingNode) else ():
                title = name.value.strip() if isinstance(name, yaml.ScalarNode) else ""
                if title and name.start_mark is not None:
                    headings.append((name.start_mark.index, 1, to_well_formed(title)[:200]))
    except MemoryError:
        raise
    except Exception:  # PyYAML raises many types; then the text has no headings
        return ()
    return build_heading_marks(headings, len(text))


class XmlParser(DataFileParser):
    """XML: running text as paragraphs, values with the name of their element, lists as records.

    Two or more elements with the same name and a common child or attribute are records, unless
    they contain running text. Only the entities that XML and HTML define are decoded; no other file
    is read.
    """

    name: ClassVar[str] = "xml"
    revision: ClassVar[int] = 4
    has_typed_values: ClassVar[bool] = False
    formats: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "application/xml": (".xml", ".xsd", ".rss", ".atom", ".opml", ".svg", ".dita"),
    }
    library: ClassVar[str] = "lxml"
    keeps: ClassVar[str] = "text and attributes, with the names of the elements; lists as records"
    drops: ClassVar[str] = "data in base64, comments, processing instructions, entities"

    def records(self, data: bytes) -> Iterator[tuple[int, Mapping[str, Any]]]:
        """Yield the records of all lists, numbered from 1."""
        if not data.strip():
            raise NoText("the file is empty")
        root, _ = parse_damaged_xml(remove_embedded_data_of_markup(data)[0], "file")
        try:
            for number, element in enumerate(_iterate_record_elements(root), start=1):
                value = read_element(element)
                yield number, flatten_record(value) if isinstance(value, Mapping) else {"": value}
        except RecursionError:
            raise ParseError("the XML is nested too deep") from None

    def parse(self, data: bytes, *, uri: str, mime: str | None = None) -> Document:
        """Parse `data`. The title is the first title element or the file name."""
        if not data.strip():
            raise NoText("the file is empty")
        data, sizes = remove_embedded_data_of_markup(data)
        root, damage = parse_damaged_xml(data, "file")
        writer = RecordWriter(has_headings=False, **_list_format(self.fields))
        xml_writer = _XmlWriter(writer)
        try:
            xml_writer.write(root)
        except RecursionError:
            raise ParseError("the XML is nested too deep") from None
        builder = writer.builder
        require_text(builder.text)
        log = OmissionLog()
        log_embedded_data(log, sizes)
        return Document(
            uri=uri,
            text=builder.text,
            title=(xml_writer.title or extract_file_name(uri))[:200],
            mime=mime or "application/xml",
            metadata={"damage": damage} if damage else {},
            marks=(*builder.marks, *build_heading_marks(xml_writer.headings, builder.offset)),
            coverage=log.measure(builder.text, _list_xml_texts(root)),
        )


def _list_xml_texts(root: Any) -> Iterator[str]:
    """Yield the texts and the values of the attributes of all elements."""
    for element in root.iter("*"):
        yield element.text or ""
        yield element.tail or ""
        yield from element.attrib.values()


def _iterate_record_elements(element: Any) -> Iterator[Any]:
    """Yield the elements of the outermost lists of records."""
    record_names = find_record_names(element)
    for child in element:
        if local_name(child) in record_names:
            yield child
        elif local_name(child):
            yield from _iterate_record_elements(child)


_MAX_TITLE_CHARACTERS = 200
_TITLE_TAGS = frozenset(("title", "heading", "head", "h1", "h2", "h3"))


def _names_its_values(element: Any) -> bool:
    """Whether an element groups values, which say little without its name: ``<site>``."""
    names = {local_name(child).lower() for child in element} | {local_name(element).lower()}
    return names.isdisjoint(PROSE_ELEMENTS | _TITLE_TAGS) and any(
        local_name(child) and not len(child) and (child.text or "").strip() for child in element
    )


class _XmlWriter:
    """Writes elements: running text, values with their names, and lists of records.

    An element that groups values is a section with its name; so is the element below it.
    """

    def __init__(self, writer: RecordWriter) -> None:
        self.title = ""
        self.headings: list[tuple[int, int, str]] = []
        self._writer = writer

    def write(self, element: Any, path: tuple[str, ...] = ()) -> None:
        """Write an element and all in it. Raises `RecursionError` for very deep data."""
        builder, name = self._writer.builder, local_name(element)
        if not name:
            return
        attributes = "; ".join(f"{key}: {value}" for key, value in list_attributes(element))
        pieces = (element.text, *(child.tail for child in element))
        if any(piece and piece.strip() for piece in pieces):  # running text, or a value
            text = to_well_formed(" ".join("".join(iterate_text(element)).split()))
            if name.lower() in _TITLE_TAGS and len(text) <= _MAX_TITLE_CHARACTERS:
                self.title = self.title or text
                self._add_heading(text, path)
                builder.write_line(text)
            elif len(element):
                builder.write_line(text)
            else:
                builder.write_line(f"{name}: {text}" + (f" ({attributes})" if attributes else ""))
            return
        is_section = bool(path) and _names_its_values(element)
        if is_section:
            self._add_heading(name, path)
        if attributes or is_section:
            builder.write_line(to_well_formed(f"{name}: {attributes}" if attributes else name))
        self._write_children(element, (*path, name), name if is_section else "")
        if path and len(element):
            builder.write("\n")

    def _add_heading(self, title: str, path: tuple[str, ...]) -> None:
        self.headings.append((self._writer.builder.offset, len(path) + 1, to_well_formed(title)))

    def _write_children(self, element: Any, path: tuple[str, ...], section: str) -> None:
        """Write the children of an element; those that form lists of records, list by list."""
        record_names = find_record_names(element)
        written_names: set[str] = set()
        is_below_section = False
        for child in element:
            name = local_name(child)
            is_section = name not in record_names and _is_data_section(child)
            if is_below_section and not is_section and name and name not in written_names:
                self._add_heading(section or name, path[:-1] if section else path)
            is_below_section = is_section or (is_below_section and not name)
            if name not in record_names:
                self.write(child, path)
            elif name not in written_names:
                written_names.add(name)
                records = [read_element(item) for item in element if local_name(item) == name]
                mappings = [record for record in records if isinstance(record, Mapping)]
                self._writer.write_paragraph(path[-1])
                self._writer.write_records(mappings, (*path, name))
                self._writer.builder.write("\n")


def _is_data_section(element: Any) -> bool:
    """Whether an element is written as a section, or has one in it."""
    return any(len(item) and _names_its_values(item) for item in element.iter("*"))
