"""Parts of Office files: their text, relationships, XML, and all words for comparison."""

from __future__ import annotations

import io
import posixpath
import re
import zipfile
from collections.abc import Iterator
from typing import Any, NamedTuple
from urllib.parse import unquote

from connectors.parsers.omissions import OmissionLog
from connectors.parsers.safe_zip import ZippedFile, local_name, parse_damaged_xml
from connectors.parsers.text_builder import TextBuilder
from rag.errors import ParseError

WORD = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
DRAWING = "{http://schemas.openxmlformats.org/drawingml/2006/main}"
CHART = "{http://schemas.openxmlformats.org/drawingml/2006/chart}"
EXTENDED_CHART = "{http://schemas.microsoft.com/office/drawing/2014/chartex}"
DIAGRAM = "{http://schemas.openxmlformats.org/drawingml/2006/diagram}"
MATH = "{http://schemas.openxmlformats.org/officeDocument/2006/math}"
COMPATIBILITY = "{http://schemas.openxmlformats.org/markup-compatibility/2006}"
_RELATIONSHIP_IDS = (
    "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}",
    "{http://purl.oclc.org/ooxml/officeDocument/relationships}",
)
_STRICT = b"http://purl.oclc.org/ooxml/"
_STRICT_ADDRESS = re.compile(rb"http://purl\.oclc\.org/ooxml/(\w{1,40})/")
_USUAL_ADDRESS = rb"http://schemas.openxmlformats.org/\1/2006/"
_STRICT_NAMESPACES = {
    _STRICT + b"wordprocessingml/main": WORD,
    _STRICT + b"drawingml/main": DRAWING,
    _STRICT + b"drawingml/chart": CHART,
    _STRICT + b"drawingml/diagram": DIAGRAM,
    _STRICT + b"officeDocument/math": MATH,
}
_CONTENT_TAGS = (
    *(f"{namespace}t" for namespace in (WORD, DRAWING, MATH)),
    f"{WORD}sym",
    f"{CHART}chart",
    f"{EXTENDED_CHART}chart",
    f"{DIAGRAM}relIds",
)
_BRANCH_TAGS = tuple(
    f"{COMPATIBILITY}{name}" for name in ("AlternateContent", "Choice", "Fallback")
)
_TEXT_TAGS = {f"{namespace}t" for namespace in (WORD, DRAWING, MATH)}
_BREAK_TAGS = {
    f"{namespace}{name}" for namespace in (WORD, DRAWING) for name in ("p", "br", "tab", "tc")
} | {f"{WORD}{name}" for name in ("cr", "ptab", "txbxContent")}
_DELETED_TAGS = {f"{WORD}moveFrom", f"{WORD}del"}
_SPACES = re.compile(r"\s")


class OfficeText(NamedTuple):
    """The text of an office file: `headings` are the offset, level and text of each heading."""

    builder: TextBuilder
    headings: list[tuple[int, int, str]]
    title: str
    slides_with_notes: tuple[int, ...]
    log: OmissionLog
    source_texts: list[str]


class Relationship(NamedTuple):
    """What a part refers to: the last word of its type, and the name of the other part."""

    kind: str
    target: str


def read_relationships(archive: ZippedFile, part: str) -> dict[str, Relationship]:
    """Return the relationships of a part by their ids; {} if they are missing or damaged."""
    folder, name = posixpath.split(part)
    file = posixpath.join(folder, "_rels", f"{name}.rels")
    root = parse_part(archive, file, "package")
    if root is None:
        return {}
    return {
        element.get("Id", ""): Relationship(
            element.get("Type", "").rpartition("/")[2],
            _resolve_target(archive, folder, element.get("Target", "")),
        )
        for element in root
        if local_name(element) == "Relationship" and element.get("TargetMode") != "External"
    }


def _resolve_target(archive: ZippedFile, folder: str, target: str) -> str:
    path = posixpath.normpath(posixpath.join("/", folder, target)).lstrip("/")
    return path if path in archive.names else unquote(path)


def get_relationship_id(element: Any, name: str = "id") -> str:
    """Return the attribute of an element that refers to a relationship; "" if there is none."""
    return next((v for n in _RELATIONSHIP_IDS if (v := element.get(n + name))), "")


def parse_part(archive: ZippedFile, name: str, description: str) -> Any:
    """Return the root of a part, with the usual namespaces; None if it is missing or damaged."""
    try:
        return parse_required_part(archive, name, description)
    except ParseError:
        return None


def parse_required_part(archive: ZippedFile, name: str, description: str) -> Any:
    """Return the root of a part, with the usual namespaces.

    Raises `ParseError` if the part is missing or damaged.
    """
    data = archive.read(name)
    if _STRICT in data:
        for strict, usual in _STRICT_NAMESPACES.items():
            data = data.replace(b'"' + strict + b'"', b'"' + usual[1:-1].encode() + b'"')
    root, damage = parse_damaged_xml(data, description)
    if damage:
        raise ParseError(f"a damaged {description}: {name}: {damage}")
    return root


def convert_strict_package(data: bytes, description: str) -> bytes:
    """Return an Office file with the usual namespaces in place of those of ISO's strict variant.

    Libraries do not read that variant, which Office offers as "Strict Open XML". Other files are
    returned as they are. Raises `ParseError`.
    """
    archive = ZippedFile(data, description)
    if not any(_STRICT in archive.read(name) for name in archive.names if name.endswith(".rels")):
        return data
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as converted:
        for name in sorted(archive.names):
            content = archive.read(name)
            if name.endswith((".xml", ".rels")):
                content = _STRICT_ADDRESS.sub(_USUAL_ADDRESS, content)
            converted.writestr(name, content)
    return buffer.getvalue()


def find_unused_branches(root: Any) -> set[Any]:
    """Return the branches of alternate content to skip: all but the first that has content."""
    from lxml import etree

    unused: set[Any] = set()
    content_count = 0
    open_contents: list[list[tuple[Any, bool]]] = []
    counts: list[int] = []
    tags = (*_BRANCH_TAGS, *_CONTENT_TAGS)
    for event, element in etree.iterwalk(root, events=("start", "end"), tag=tags):
        if element.tag not in _BRANCH_TAGS:
            content_count += event == "start"
        elif element.tag == _BRANCH_TAGS[0]:
            if event == "start":
                open_contents.append([])
                continue
            branches = open_contents.pop()
            branch_to_read = next((branch for branch, has_content in branches if has_content), None)
            unused.update(branch for branch, _ in branches if branch is not branch_to_read)
        elif event == "start":
            counts.append(content_count)
        else:
            has_content = content_count > counts.pop()
            if open_contents:
                open_contents[-1].append((element, has_content))
    return unused


def list_part_texts(root: Any) -> Iterator[str]:
    """Yield the text of each paragraph of a part, with all that is hidden, deleted or a comment.

    This is independent of the conversion, to compare its result with.
    """
    unused = find_unused_branches(root)
    pieces: list[str] = []
    deleted: list[str] = []
    deletions: list[Any] = []
    stack: list[tuple[Any, Any]] = [(root, iter(root))]
    while stack:
        parent, children = stack[-1]
        element = next(children, None)
        if element is None:
            stack.pop()
            if parent.tag in _BREAK_TAGS:
                pieces.append("\n")
            if deletions and deletions[-1] is parent:
                deletions.pop()
                deleted.append("\n")
            continue
        tag = element.tag
        if tag in _TEXT_TAGS or tag == f"{WORD}delText":
            is_deleted = deletions or tag == f"{WORD}delText"
            (deleted if is_deleted else pieces).append(_SPACES.sub(" ", element.text or ""))
        elif tag in (f"{WORD}noBreakHyphen", f"{MATH}oMath"):
            pieces.append(" ")
        if tag in _BREAK_TAGS:
            pieces.append("\n")
        if tag == f"{WORD}rt" or element in unused or not isinstance(tag, str):
            continue
        if tag in _DELETED_TAGS:
            deletions.append(element)
        stack.append((element, iter(element)))
    yield from "".join(pieces).split("\n")
    yield from "".join(deleted).split("\n")
