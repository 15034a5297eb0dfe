"""Text boxes, charts and comments of workbooks, which are stored outside of the cells."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import Any, NamedTuple

from connectors.parsers.office_charts import read_chart
from connectors.parsers.office_parts import (
    CHART,
    EXTENDED_CHART,
    Relationship,
    find_unused_branches,
    get_relationship_id,
    parse_part,
    read_relationships,
)
from connectors.parsers.safe_zip import ZippedFile, local_name
from rag.types import to_well_formed

_CHARTS = (f"{CHART}chart", f"{EXTENDED_CHART}chart")
_SHEET_IN_REFERENCE = re.compile(
    r"(?<!')'((?:[^']++|'')++)'[!.]|(?<![^\s'!(),;:.$])([^\s'!(),;:.$]+)[!.]"
)


class Drawing(NamedTuple):
    """A shape or a chart on a sheet."""

    text: str
    grid: list[list[str]] = []
    """The values of a chart that are not in the cells of a sheet: a row of names, then values."""
    is_chart: bool = False


class Comment(NamedTuple):
    """A comment on a cell, such as ``C2``."""

    cell: str
    text: str


def read_drawings(
    archive: ZippedFile, sheet_path: str, read_sheets: Collection[str]
) -> Iterator[Drawing]:
    """Yield the shapes and charts that are drawn on a sheet of XLSX, from top to bottom.

    The values of a chart are left out if they are in cells of the sheets `read_sheets`.
    """
    for relationship in read_relationships(archive, sheet_path).values():
        if relationship.kind == "drawing":
            # A damaged drawing does not make the cells unreadable.
            root = parse_part(archive, relationship.target, "workbook")
            relationships = read_relationships(archive, relationship.target)
            if root is not None:
                yield from _read_anchors(archive, root, relationships, read_sheets)


def _read_anchors(
    archive: ZippedFile,
    root: Any,
    relationships: dict[str, Relationship],
    read_sheets: Collection[str],
) -> Iterator[Drawing]:
    unused = find_unused_branches(root)
    for anchor in sorted(root, key=_find_row):
        for element in _iterate_content(anchor, unused):
            if local_name(element) == "txBody":
                paragraphs = (
                    "".join(part.text or "" for part in paragraph.iter("{*}t"))
                    for paragraph in element.iter("{*}p")
                )
                if text := "\n".join(filter(str.strip, paragraphs)):
                    yield Drawing(to_well_formed(text))
                continue
            relationship = relationships.get(get_relationship_id(element))
            chart = relationship and parse_part(archive, relationship.target, "workbook")
            if chart is not None:
                yield from _describe_chart(chart, read_sheets)


def _iterate_content(root: Any, unused: Collection[Any]) -> Iterator[Any]:
    """Yield the bodies of shapes and the references to charts, without unused alternatives."""
    stack = [root]
    while stack:
        element = stack.pop()
        if element in unused or not isinstance(element.tag, str):
            continue
        if local_name(element) == "txBody" or element.tag in _CHARTS:
            yield element
        else:
            stack += reversed(element)


def _find_row(anchor: Any) -> int:
    text = next(anchor.iter("{*}row"), anchor).text or ""
    return int(text) if text.isdecimal() and len(text) < 10 else 0


def _describe_chart(root: Any, read_sheets: Collection[str]) -> Iterator[Drawing]:
    """Yield the title of a chart, and its values unless they are in the cells of `read_sheets`."""
    references = [formula.text or "" for formula in root.iter("{*}f")]
    has_literals = any(local_name(e) in ("numLit", "strLit") for e in root.iter())
    values_are_in_cells = not has_literals and refers_only_to(references, read_sheets)
    for title, grid in read_chart(root):
        if title or not values_are_in_cells:
            shown_grid = [] if values_are_in_cells else grid
            yield Drawing(to_well_formed(title), shown_grid, is_chart=True)


def refers_only_to(references: Collection[str], sheets: Collection[str]) -> bool:
    """Whether all references name a sheet of `sheets`.

    References are such as ``Costs!$A$2:$A$9`` in XLSX and ``Costs.A2:A9`` in ODS.
    """
    for reference in references:
        names = [
            (quoted or plain).replace("''", "'")
            for quoted, plain in _SHEET_IN_REFERENCE.findall(reference)
        ]
        if not names or not all(name in sheets for name in names):
            return False
    return bool(references)


def read_comments(archive: ZippedFile, sheet_path: str) -> Iterator[Comment]:
    """Yield the comments on the cells of a sheet of XLSX."""
    for relationship in read_relationships(archive, sheet_path).values():
        if relationship.kind in ("comments", "threadedComment"):
            root = parse_part(archive, relationship.target, "workbook")
            for element in root.iter() if root is not None else ():
                if local_name(element) in ("comment", "threadedComment"):
                    text = to_well_formed("".join(element.itertext()))
                    yield Comment(element.get("ref", ""), text)
