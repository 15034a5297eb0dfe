"""JSON, YAML and XML: data that was written to be read by programs."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from connectors.base import FailedPart, Parser
from connectors.parsers.records import JsonLinesParser
from connectors.parsers.safe_zip import local_name, parse_xml_noting
from connectors.parsers.text import decode, name_of, require_text
from connectors.parsers.text_builder import TextBuilder, heading_path_marks
from rag.errors import NoText, ParseError
from rag.types import Document, Mark, well_formed


class JsonParser(JsonLinesParser):
    """JSON, indented, with the names of the outermost object as headings.

    A list of objects is read as records. What is not JSON after all is kept as it stands, with
    the reason in the metadata as ``damage``.
    """

    name: ClassVar[str] = "json"
    formats: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "application/json": (".json", ".geojson", ".webmanifest"),
    }
    keeps: ClassVar[str] = "every value with its name; lists of objects as records"

    def documents(
        self, data: bytes, *, uri: str, mime: str | None = None
    ) -> Iterator[Document | FailedPart]:
        """One document; of a list of objects one for each, if ``per`` says so."""
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
            return _as_it_stands(text, uri, mime, error)
        if isinstance(value, list) and value and all(isinstance(v, dict) for v in value):
            return super().parse(data, uri=uri, mime=mime)
        text, heads = _indented(text)
        return Document(
            uri=uri,
            text=text,
            title=name_of(uri),
            mime=mime,
            marks=heading_path_marks(heads, len(text)),
        )


_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s{}\[\],:"]+', re.S)


def _indented(text: str) -> tuple[str, list[tuple[int, int, str]]]:
    """JSON with a line for each value, and the names of the outermost object as headings.

    Numbers stay as they are written, names that come twice come twice, escapes are resolved.
    """
    built = TextBuilder()
    heads: list[tuple[int, int, str]] = []
    depth, before = 0, ""
    of_names = text.lstrip().startswith("{")
    for found in _TOKEN.finditer(text):
        token = found.group()
        if token in "}]":
            depth -= 1
        if before and (before in "{[," or token in "}]") and before + token not in ("{}", "[]"):
            built.write("\n" + "  " * min(depth, 40))
        if token.startswith('"'):
            token = json.dumps(json.loads(token, strict=False), ensure_ascii=False)
            if depth == 1 and before in "{," and of_names:
                heads.append((built.at, 1, well_formed(json.loads(token))[:200] or '""'))
        built.write(well_formed(": " if token == ":" else token))
        depth += token in "{["
        before = token
    return built.text, heads


def _as_it_stands(text: str, uri: str, mime: str, error: Exception) -> Document:
    damage = " ".join(str(error).split())[:200]
    return Document(uri=uri, text=text, title=name_of(uri), mime=mime, metadata={"damage": damage})


class YamlParser(Parser):
    """YAML as it is written, with the names of the outermost mapping as headings."""

    name: ClassVar[str] = "yaml"
    formats: ClassVar[Mapping[str, tuple[str, ...]]] = {"application/yaml": (".yaml", ".yml")}
    library: ClassVar[str] = "PyYAML"
    keeps: ClassVar[str] = "the text as written, outermost names as headings"
    drops: ClassVar[str] = "nothing"

    def parse(self, data: bytes, *, uri: str, mime: str | None = None) -> Document:
        """Parse `data`. The title is the file name."""
        text = decode(data)
        require_text(text)
        return Document(
            uri=uri,
            text=text,
            title=name_of(uri),
            mime=mime or "application/yaml",
            marks=_yaml_headings(text),
        )


def _yaml_headings(text: str) -> tuple[Mark, ...]:
    """Headings from the nodes of the file: nothing is made of them, and no alias repeated."""
    import yaml

    heads: list[tuple[int, int, str]] = []
    try:
        for node in yaml.compose_all(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
            for name, _ in node.value if isinstance(node, yaml.MappingNode) else ():
                title = name.value.strip() if isinstance(name, yaml.ScalarNode) else ""
                if title and name.start_mark is not None:
                    heads.append((name.start_mark.index, 1, well_formed(title)[:200]))
    except MemoryError:
        raise
    except Exception:  # PyYAML lets anything out; then it is text without headings
        return ()
    return heading_path_marks(heads, len(text))


class XmlParser(Parser):
    """XML: running text as paragraphs, values with the name of their element.

    Entities other than XML's own are left out, and nothing outside the file is looked at.
    """

    name: ClassVar[str] = "xml"
    formats: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "application/xml": (".xml", ".xsd", ".rss", ".atom", ".opml", ".svg", ".dita"),
    }
    library: ClassVar[str] = "lxml"
    keeps: ClassVar[str] = "text, values with the names of their elements, attributes of those"
    drops: ClassVar[str] = "comments, instructions, entities"

    def parse(self, data: bytes, *, uri: str, mime: str | None = None) -> Document:
        """Parse `data`. The title is the first one in it or the file name."""
        if not data.strip():
            raise NoText("the file is empty")
        root, damage = parse_xml_noting(data, "file")
        built = TextBuilder()
        heads: list[tuple[int, int, str]] = []
        try:
            _write_xml(root, built, heads, 1)
        except RecursionError:
            raise ParseError("XML nested too deep") from None
        require_text(built.text)
        return Document(
            uri=uri,
            text=built.text,
            title=(heads[0][2] if heads else name_of(uri))[:200],
            mime=mime or "application/xml",
            metadata={"damage": damage} if damage else {},
            marks=heading_path_marks(heads, built.at),
        )


def _all_text(element: Any) -> Iterator[str]:
    """Text of an element and those in it, in order; of entities those that HTML knows."""
    from lxml import etree

    yield element.text or ""
    for child in element:
        if isinstance(child.tag, str):
            yield from _all_text(child)
        elif child.tag is etree.Entity:
            yield html.unescape(child.text or "")
        yield child.tail or ""


_TITLES = frozenset(("title", "heading", "head", "h1", "h2", "h3"))


def _write_xml(
    element: Any, built: TextBuilder, heads: list[tuple[int, int, str]], depth: int
) -> None:
    name = local_name(element)
    if not name:
        return
    pieces = (element.text, *(child.tail for child in element))
    says = any(piece and piece.strip() for piece in pieces)
    attributes = "; ".join(
        f"{key.rpartition('}')[2]}: {' '.join(value.split())}"
        for key, value in element.attrib.items()
        if value.strip() and not key.startswith("{http://www.w3.org/")
    )
    if says:  # running text, or a value
        text = well_formed(" ".join("".join(_all_text(element)).split()))
        if name.lower() in _TITLES and len(text) <= 200:
            heads.append((built.at, depth, text))
            built.line(text)
        elif len(element):
            built.line(text)
        else:
            built.line(f"{name}: {text}" + (f" ({attributes})" if attributes else ""))
        return
    if attributes:
        built.line(well_formed(f"{name}: {attributes}"))
    for child in element:
        _write_xml(child, built, heads, depth + 1)
    if depth > 1 and len(element):
        built.write("\n")
