"""JSON, YAML and XML: data for programs, as readable text."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from connectors.base import FailedPart, Parser
from connectors.parsers.records import JsonLinesParser
from connectors.parsers.safe_zip import local_name, parse_damaged_xml
from connectors.parsers.text import decode, extract_file_name, require_text
from connectors.parsers.text_builder import TextBuilder, build_heading_marks
from rag.errors import NoText, ParseError
from rag.types import Document, Mark, to_well_formed


class JsonParser(JsonLinesParser):
    """JSON, indented, with the names of the outermost object as headings.

    A list of objects is read as records. Invalid JSON is kept as plain text; the metadata field
    ``damage`` says what is wrong.
    """

    name: ClassVar[str] = "json"
    formats: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "application/json": (".json", ".geojson", ".webmanifest"),
    }
    keeps: ClassVar[str] = "all keys and values; lists of objects as records"

    def documents(
        self, data: bytes, *, uri: str, mime: str | None = None
    ) -> Iterator[Document | FailedPart]:
        """Parse `data` into one document, or with ``per`` = ``row`` one per object of a list."""
        if self.per == "row" and data.lstrip()[:1] == b"[":
            yield from super().documents(data, uri=uri, mime=mime)
        else:
            yield self.parse(data, uri=uri, mime=mime)

    def parse(self, data: bytes, *, uri: str, mime: str | None = None) -> Document:
        """Parse `data`. The title is the file name."""
        mime = mime or "application/json"
        text = decode(data)
        require_text(text)
        try:
            value = json.loads(text)
        except (ValueError, RecursionError) as error:
            return _keep_as_text(text, uri, mime, error)
        if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
            return super().parse(data, uri=uri, mime=mime)
        text, headings = _indent_json(text)
        return Document(
            uri=uri,
            text=text,
            title=extract_file_name(uri),
            mime=mime,
            marks=build_heading_marks(headings, len(text)),
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


def _keep_as_text(text: str, uri: str, mime: str, error: Exception) -> Document:
    damage = " ".join(str(error).split())[:200]
    return Document(
        uri=uri, text=text, title=extract_file_name(uri), mime=mime, metadata={"damage": damage}
    )


class YamlParser(Parser):
    """YAML as written, with the names of the outermost mapping as headings."""

    name: ClassVar[str] = "yaml"
    formats: ClassVar[Mapping[str, tuple[str, ...]]] = {"application/yaml": (".yaml", ".yml")}
    library: ClassVar[str] = "PyYAML"
    keeps: ClassVar[str] = "the text as written, top-level keys as headings"
    drops: ClassVar[str] = "nothing"

    def parse(self, data: bytes, *, uri: str, mime: str | None = None) -> Document:
        """Parse `data`. The title is the file name."""
        text = decode(data)
        require_text(text)
        return Document(
            uri=uri,
            text=text,
            title=extract_file_name(uri),
            mime=mime or "application/yaml",
            marks=_find_yaml_headings(text),
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


class XmlParser(Parser):
    """XML: running text as paragraphs, values with the name of their element.

    Only the entities that XML and HTML define are decoded; no other file is read.
    """

    name: ClassVar[str] = "xml"
    formats: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "application/xml": (".xml", ".xsd", ".rss", ".atom", ".opml", ".svg", ".dita"),
    }
    library: ClassVar[str] = "lxml"
    keeps: ClassVar[str] = "text and attributes, with the names of the elements"
    drops: ClassVar[str] = "comments, processing instructions, entities"

    def parse(self, data: bytes, *, uri: str, mime: str | None = None) -> Document:
        """Parse `data`. The title is the first title element or the file name."""
        if not data.strip():
            raise NoText("the file is empty")
        root, damage = parse_damaged_xml(data, "file")
        builder = TextBuilder()
        headings: list[tuple[int, int, str]] = []
        try:
            _write_xml(root, builder, headings, 1)
        except RecursionError:
            raise ParseError("the XML is nested too deep") from None
        require_text(builder.text)
        return Document(
            uri=uri,
            text=builder.text,
            title=(headings[0][2] if headings else extract_file_name(uri))[:200],
            mime=mime or "application/xml",
            metadata={"damage": damage} if damage else {},
            marks=build_heading_marks(headings, builder.offset),
        )


def _iterate_text(element: Any) -> Iterator[str]:
    """Yield the text of an element and its descendants; entities known to HTML are decoded."""
    from lxml import etree

    yield element.text or ""
    for child in element:
        if isinstance(child.tag, str):
            yield from _iterate_text(child)
        elif child.tag is etree.Entity:
            yield html.unescape(child.text or "")
        yield child.tail or ""


_TITLE_TAGS = frozenset(("title", "heading", "head", "h1", "h2", "h3"))


def _write_xml(
    element: Any, builder: TextBuilder, headings: list[tuple[int, int, str]], depth: int
) -> None:
    name = local_name(element)
    if not name:
        return
    pieces = (element.text, *(child.tail for child in element))
    has_text = any(piece and piece.strip() for piece in pieces)
    attributes = "; ".join(
        f"{key.rpartition('}')[2]}: {' '.join(value.split())}"
        for key, value in element.attrib.items()
        if value.strip() and not key.startswith("{http://www.w3.org/")
    )
    if has_text:  # running text, or a value
        text = to_well_formed(" ".join("".join(_iterate_text(element)).split()))
        if name.lower() in _TITLE_TAGS and len(text) <= 200:
            headings.append((builder.offset, depth, text))
            builder.write_line(text)
        elif len(element):
            builder.write_line(text)
        else:
            builder.write_line(f"{name}: {text}" + (f" ({attributes})" if attributes else ""))
        return
    if attributes:
        builder.write_line(to_well_formed(f"{name}: {attributes}"))
    for child in element:
        _write_xml(child, builder, headings, depth + 1)
    if depth > 1 and len(element):
        builder.write("\n")
