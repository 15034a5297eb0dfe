"""Text boxes and comments of XLSX workbooks, which are stored outside of the cells."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator

from connectors.parsers.omissions import OmissionLog
from connectors.parsers.safe_zip import ZippedFile, local_name, parse_xml
from rag.errors import ParseError
from rag.types import to_well_formed

_COMMENT_FILE = re.compile(r"xl/(?:comments\d*|comments/comment\d*|threadedComments/[^/]*)\.xml")


def read_text_boxes(archive: ZippedFile, sheet_path: str) -> Iterator[str]:
    """Yield the texts of the shapes that are drawn on a sheet, from top to bottom."""
    folder, name = posixpath.split(sheet_path)
    relations = f"{folder}/_rels/{name}.rels"
    if relations not in archive.names:
        return
    try:
        for relation in parse_xml(archive.read(relations), "workbook"):
            target = posixpath.normpath(posixpath.join("/", folder, relation.get("Target", "")))
            drawing = target.lstrip("/")
            if (relation.get("Type") or "").endswith("/drawing") and drawing in archive.names:
                yield from _read_shapes(archive.read(drawing))
    except ParseError:  # a damaged drawing does not make the cells unreadable
        return


def _read_shapes(xml: bytes) -> Iterator[str]:
    anchors = [
        (int(row.text) if (row.text or "").isdecimal() else 0, anchor)
        for anchor in parse_xml(xml, "workbook")
        for row in [next(anchor.iter("{*}row"), anchor)]
    ]
    for _, anchor in sorted(anchors, key=lambda pair: pair[0]):
        for body in anchor.iter("{*}txBody"):
            paragraphs = (
                "".join(part.text or "" for part in paragraph.iter("{*}t"))
                for paragraph in body.iter("{*}p")
            )
            if text := "\n".join(filter(str.strip, paragraphs)):
                yield to_well_formed(text)


def log_comments(archive: ZippedFile, log: OmissionLog) -> Iterator[str]:
    """Record the comments on cells as left out, and yield their texts."""
    for name in sorted(filter(_COMMENT_FILE.fullmatch, archive.names)):
        try:
            root = parse_xml(archive.read(name), "workbook")
        except ParseError:
            continue
        for comment in root.iter():
            if local_name(comment) in ("comment", "threadedComment"):
                text = to_well_formed("".join(comment.itertext()))
                log.add("comment", f"comment on {comment.get('ref', 'a cell')}", text)
                yield text
