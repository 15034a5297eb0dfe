"""Preparing a Word document for conversion: all of its parts, read as the reader sees them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from connectors.parsers.docx_blocks import (
    Block,
    iterate_paragraphs,
)
from connectors.parsers.docx_embedded import insert_embedded_documents
from connectors.parsers.docx_headings import join_titles, set_heading_levels
from connectors.parsers.docx_markup import write_package
from connectors.parsers.docx_numbering import Numbering
from connectors.parsers.docx_structure import DocumentContext, PartReader
from connectors.parsers.docx_styles import StyleSheet
from connectors.parsers.office_charts import list_chart_texts
from connectors.parsers.office_parts import (
    DIAGRAM,
    WORD,
    Relationship,
    list_part_texts,
    parse_part,
    parse_required_part,
    read_relationships,
)
from connectors.parsers.omissions import OmissionLog
from connectors.parsers.safe_zip import ZippedFile
from rag.errors import ParseError
from rag.types import to_well_formed

_DESCRIPTION = "Word document"
_DEFAULT_BODY = "word/document.xml"
_MAX_PARAGRAPHS_ABOVE_TITLE = 50
_NOTE_KINDS = ("footnote", "endnote")
_SPACES = re.compile(r"\s+")


class WordDocument(NamedTuple):
    """A Word document that is ready for conversion.

    `package` is a Word document for mammoth, `title` the text in the style Title at the beginning,
    and `source_texts` has all text of the file.
    """

    package: bytes
    title: str
    log: OmissionLog
    source_texts: list[str]


class _Parts(NamedTuple):
    body: Any
    relationships: dict[str, Relationship]
    notes: dict[str, Any]
    note_relationships: dict[str, dict[str, Relationship]]
    comments: Any


def prepare_word_document(archive: ZippedFile, hidden: bool = False) -> WordDocument:
    """Read a Word document. Hidden text is left out unless `hidden`.

    Raises `ParseError` for a damaged document.
    """
    body_name = _find_body(archive)
    relationships = read_relationships(archive, body_name)

    def find(kind: str, default: str) -> str:
        targets = (r.target for r in relationships.values() if r.kind == kind)
        return next((t for t in targets if t in archive.names), f"word/{default}.xml")

    note_names = {kind: find(f"{kind}s", f"{kind}s") for kind in _NOTE_KINDS}
    parts = _Parts(
        parse_required_part(archive, body_name, _DESCRIPTION),
        relationships,
        {kind: parse_part(archive, name, _DESCRIPTION) for kind, name in note_names.items()},
        {kind: read_relationships(archive, name) for kind, name in note_names.items()},
        parse_part(archive, find("comments", "comments"), _DESCRIPTION),
    )
    styles = StyleSheet(parse_part(archive, find("styles", "styles"), _DESCRIPTION))
    numbering = Numbering(parse_part(archive, find("numbering", "numbering"), _DESCRIPTION), styles)
    log = OmissionLog()
    insert_embedded_documents(parts.body, archive, relationships, log)
    comments = _read_comments(parts.comments)
    context = DocumentContext(archive, styles, numbering, comments, log, hidden)
    source_texts = [
        *list_part_texts(parts.body),
        *_list_texts(*parts.notes.values(), parts.comments),
        *_read_margins(archive, relationships, log),
        *_list_drawing_texts(archive, relationships),
    ]
    package, title = _convert_parts(parts, context)
    return WordDocument(package, title, log, source_texts)


def _find_body(archive: ZippedFile) -> str:
    for relationship in read_relationships(archive, "").values():
        if relationship.kind == "officeDocument" and relationship.target in archive.names:
            return relationship.target
    return _DEFAULT_BODY


def _convert_parts(parts: _Parts, context: DocumentContext) -> tuple[bytes, str]:
    """Return the document for mammoth, and the title."""
    content = parts.body.find(f"{WORD}body")
    if content is None:
        raise ParseError(f"a damaged {_DESCRIPTION}: it has no body")
    reader = PartReader(context, parts.relationships)
    body = join_titles(reader.read(content))
    omitted_notes = dict(reader.omitted_notes)
    notes: dict[str, dict[str, Sequence[Block]]] = {}
    for kind, root in parts.notes.items():
        if root is None:
            continue
        reader = PartReader(context, parts.note_relationships[kind])
        notes[kind] = {
            note.get(f"{WORD}id", ""): reader.read(note)
            for note in root
            if note.tag == f"{WORD}{kind}" and "eparator" not in note.get(f"{WORD}type", "")
        }
        for (note_kind, note_id), omitted in omitted_notes.items():
            if note_kind == kind:
                blocks = notes[kind].get(note_id, ())
                text = "\n".join(paragraph.text for paragraph in iterate_paragraphs(blocks))
                context.log.add(omitted.reason, f"{kind} in {omitted.name}", text)
    set_heading_levels(body)
    return write_package(body, notes), _find_title(body)


def _find_title(blocks: Sequence[Block]) -> str:
    """Return the paragraphs in the style Title at the beginning of the document."""
    lines: list[str] = []
    for i, paragraph in enumerate(iterate_paragraphs(blocks)):
        is_titled = paragraph.is_title and paragraph.text.strip()
        if i >= _MAX_PARAGRAPHS_ABOVE_TITLE or (not is_titled and lines):
            break
        if is_titled:
            lines.append(paragraph.text.replace("\n", " "))
    return to_well_formed(" ".join(lines))


def _read_comments(root: Any) -> dict[str, str]:
    """Return the text to write for each comment, by its id."""
    comments: dict[str, str] = {}
    for comment in root if root is not None else ():
        if comment.tag == f"{WORD}comment":
            text = _SPACES.sub(" ", " ".join(list_part_texts(comment))).strip()
            name = comment.get(f"{WORD}author", "").strip()
            if text:
                head = f"Comment by {name}" if name else "Comment"
                comments[comment.get(f"{WORD}id", "")] = f"[{head}: {text}]"
    return comments


def _list_texts(*roots: Any) -> list[str]:
    return [text for root in roots if root is not None for text in list_part_texts(root)]


def _read_margins(
    archive: ZippedFile, relationships: dict[str, Relationship], log: OmissionLog
) -> list[str]:
    """Record headers and footers as left out; return their texts."""
    texts: list[str] = []
    for name, kind in sorted({(r.target, r.kind) for r in relationships.values()}):
        if kind in ("header", "footer") and name in archive.names:
            root = parse_part(archive, name, _DESCRIPTION)
            lines = [] if root is None else [t for t in list_part_texts(root) if t.strip()]
            if lines:
                log.add("repeated", f"page {kind}", "\n".join(lines))
                texts += lines
    return texts


def _list_drawing_texts(archive: ZippedFile, relationships: dict[str, Relationship]) -> list[str]:
    """Return the texts of charts and diagrams."""
    texts: list[str] = []
    for name, kind in sorted({(r.target, r.kind) for r in relationships.values()}):
        if kind not in ("chart", "diagramData") or name not in archive.names:
            continue
        root = parse_part(archive, name, _DESCRIPTION)
        if root is None:
            continue
        if kind == "chart":
            texts += list_chart_texts(root)
        else:
            points = root.iter(f"{DIAGRAM}pt")
            texts += [t for p in points if p.get("type") != "pres" for t in list_part_texts(p)]
    return texts
