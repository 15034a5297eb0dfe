"""HTML in other formats: conversion to Markdown of all text, and of tables."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import takewhile
from typing import Any, NamedTuple

from connectors.parsers.html_content import remove_hidden
from connectors.parsers.html_elements import HEADINGS, rename_blocks, simplify_elements
from connectors.parsers.html_styles import apply_page_styles
from connectors.parsers.markdown_tables import (
    Cell,
    format_table,
    join_lines,
    repeat_spanned_cells,
)
from connectors.parsers.omissions import OmissionLog
from connectors.parsers.text import decode
from rag.errors import ParseError
from rag.types import to_well_formed

_BLANK_LINES = re.compile(r"\n(?:[ \t]*\n){2,}")
_HEADING_SIGN = re.compile(r"^(\s{0,3})#(?=#{0,5}\s)")
_CONTROLS = dict.fromkeys((*range(9), *range(14, 32), 0x7F, 0xFFFE, 0xFFFF), "") | {
    0x0B: " ",
    0x0C: " ",
}
_TERMINAL_COLOR = re.compile(r"\x1b\[[0-9;]{0,20}[A-Za-z]")
_CONTROL_REFERENCE = re.compile(r"&#(?:[xX](?P<hex>[0-9a-fA-F]{1,8})|(?P<decimal>[0-9]{1,8}));?")
_DROPPED_TAGS = ("script", "style", "head", "noscript", "template", "svg")
_BYTE_ORDER_MARKS = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")
_WIDER_ENCODINGS = {  # as browsers read them
    "iso-8859-1": "cp1252",
    "latin-1": "cp1252",
    "us-ascii": "cp1252",
    "ascii": "cp1252",
    "iso-8859-9": "cp1254",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "shift_jis": "cp932",
    "x-sjis": "cp932",
    "ks_c_5601-1987": "cp949",
    "euc-kr": "cp949",
    "big5": "big5hkscs",
}
_BLOCK_TAGS = frozenset(
    (*HEADINGS, "p", "div", "li", "dt", "dd", "td", "th", "caption", "blockquote", "pre")
)
_MAX_SPAN = 65_534  # the limit of rowspan in HTML
_MAX_COLUMN_SPAN = 1_000  # the limit of colspan in HTML
_MAX_LABEL_CHARACTERS = 200  # of a cell of a table with one row
_MAX_CELL_CHARACTERS = 1_000  # of a cell of a table with two rows; longer ones are a layout


def to_markdown(html: str | bytes, log: OmissionLog | None = None) -> str:
    """Convert HTML to Markdown, without pictures, scripts, hidden text and addresses of links.

    `log` gets the hidden text. Raises `ParseError` for HTML that cannot be read.
    """
    if not html.strip():
        return ""
    tree = parse_html(html)
    apply_page_styles(tree)
    remove_hidden(next(tree.iter("body"), tree), log or OmissionLog())
    return convert_tree(tree)


def parse_html(html: str | bytes) -> Any:
    """Return the lxml tree of a page or fragment; bytes are decoded as the page declares.

    Raises `ParseError` for HTML that cannot be read.
    """
    import lxml.html
    from lxml.etree import LxmlError

    if isinstance(html, bytes):
        html = _decode_html(html)
    parser = lxml.html.HTMLParser(encoding="utf-8", huge_tree=True)
    data = to_well_formed(_remove_controls(html)).encode()
    try:
        return lxml.html.document_fromstring(data, parser=parser, ensure_head_body=True)
    except (LxmlError, ValueError, AssertionError) as error:
        raise ParseError(f"broken HTML: {error}") from None


def _remove_controls(html: str) -> str:
    """Return HTML without control characters, which no tree can hold, and terminal colors."""
    html = _TERMINAL_COLOR.sub("", html).translate(_CONTROLS)
    return _CONTROL_REFERENCE.sub(_remove_if_control, html)


def _remove_if_control(reference: re.Match[str]) -> str:
    code = int(reference["hex"], 16) if reference["hex"] else int(reference["decimal"])
    return "" if code in _CONTROLS else reference.group()


def _decode_html(data: bytes) -> str:
    """Decode a page: a byte order mark, the declared encoding, or a guess."""
    from bs4.dammit import EncodingDetector

    if not data.startswith(_BYTE_ORDER_MARKS):
        if not data.isascii():
            with suppress(UnicodeDecodeError):
                return data.decode()  # valid UTF-8 is hardly ever anything else
        declared = EncodingDetector.find_declared_encoding(data, is_html=True)
        try:
            return data.decode(_WIDER_ENCODINGS.get(str(declared).lower(), declared or "utf-8"))
        except (LookupError, UnicodeDecodeError):
            pass
    return decode(data)


def convert_tree(root: Any, *, links: bool = False) -> str:
    """Convert an lxml tree to Markdown; with `links`, with the addresses of links.

    The tree is changed. Raises `ParseError` for a tree that is nested too deep.
    """
    from bs4 import BeautifulSoup
    from lxml.etree import LxmlError, tostring

    try:
        simplify_elements(root)
        blocks = replace_tables(root)
        rename_blocks(root)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # reading XHTML as HTML is intended
            soup = BeautifulSoup(tostring(root, encoding="unicode", method="html"), "lxml")
        text = str(_make_converter(links).convert_soup(soup))
    except (RecursionError, ValueError, AssertionError, AttributeError, LxmlError) as error:
        raise ParseError(f"broken HTML: {error}") from None
    text = insert_tables(text.replace("\xa0", " "), blocks)
    return to_well_formed(_BLANK_LINES.sub("\n\n", text).strip())


def _make_converter(links: bool) -> Any:
    from markdownify import ATX, MarkdownConverter

    class Converter(MarkdownConverter):
        """Drops link addresses and pictures, and escapes characters that Markdown would read."""

        def convert_a(self, el: Any, text: str, parent_tags: Any) -> str:
            return str(super().convert_a(el, text, parent_tags)) if links else text  # type: ignore[misc]

        def convert_p(self, el: Any, text: str, parent_tags: Any) -> str:
            return str(super().convert_p(el, _HEADING_SIGN.sub(r"\1\\#", text), parent_tags))  # type: ignore[misc]

        def convert_img(self, el: Any, text: str, parent_tags: Any) -> str:
            return ""

    return Converter(
        heading_style=ATX,
        bullets="-",
        table_infer_header=True,
        escape_asterisks=False,
        escape_underscores=False,
        escape_misc=False,
    )


# -- Tables --------------------------------------------------------------------------------


def replace_tables(root: Any) -> dict[str, str]:
    """Replace the data tables of an lxml tree by paragraphs; return the Markdown of each.

    The keys are the placeholders in the paragraphs. The elements of a table that is a layout
    become blocks of text.
    """
    source = "".join(root.itertext())
    prefix = "TableBlock"
    while prefix in source:
        prefix += "x"
    blocks: dict[str, str] = {}
    for table in list(root.iter("table")):
        if table is root or table.getparent() is None or _is_detached(table, root):
            continue
        data = _read_table(table)
        if data is None:
            _unwrap_table(table)
        elif block := format_table(data.grid, data.header_rows, data.caption):
            placeholder = f"{prefix}{len(blocks)}x"
            blocks[placeholder] = block
            _replace_by_paragraph(table, placeholder)
    return blocks


def insert_tables(text: str, blocks: Mapping[str, str]) -> str:
    """Replace each line with a placeholder by the table, as a block of its own."""
    if not blocks:
        return text
    prefix = re.escape(re.sub(r"(?<!\d)\d++x$", "", next(iter(blocks))))
    pattern = re.compile(rf"(?m)(?:^[ \t]*[-*>][ \t]+)?[ \t]*({prefix}\d+x)[ \t]*")

    def insert_block(match: re.Match[str]) -> str:
        block = blocks.get(match.group(1))
        return f"\n\n{block}\n\n" if block else match.group()

    return _BLANK_LINES.sub("\n\n", pattern.sub(insert_block, text)).strip()


class _HtmlTable(NamedTuple):
    grid: list[list[str]]
    header_rows: int | None
    caption: str


def _read_table(table: Any) -> _HtmlTable | None:
    """Read a data table; None if the table is a layout."""
    rows = [row for row in table.iter("tr") if next(row.iterancestors("table")) is table]
    rows.sort(key=lambda row: row.getparent().tag == "tfoot")  # a footer may precede the body
    cells = [[cell for cell in row if cell.tag in ("td", "th")] for row in rows]
    texts = {cell: read_cell_text(cell) for row in cells for cell in row}
    caption = _take_caption(table)
    if not _is_data_table(table, rows, cells, texts, is_named=bool(caption)):
        return None
    grid = repeat_spanned_cells(
        [
            [
                Cell(
                    texts[cell],
                    _read_span(cell, "rowspan", min(_MAX_SPAN, len(cells))),
                    _read_span(cell, "colspan", _MAX_COLUMN_SPAN),
                )
                for cell in row
            ]
            for row in cells
        ]
    )
    filled = [i for i, row in enumerate(grid) if any(row)]
    header_rows = _count_header_rows([rows[i] for i in filled], [cells[i] for i in filled], texts)
    return _HtmlTable(grid, header_rows, caption)


def _take_caption(table: Any) -> str:
    """Return the caption of a table; remove it if it is that of a figure around the table."""
    for child in table:
        if child.tag == "caption":
            return join_lines(read_cell_text(child))
    figure = next(table.iterancestors("figure"), None)
    if figure is None or len(list(figure.iter("table"))) > 1:
        return ""
    caption = next(figure.iter("figcaption"), None)
    if caption is None:
        return ""
    text = join_lines(read_cell_text(caption))
    caption.clear(keep_tail=True)
    return text


def _is_data_table(
    table: Any,
    rows: Sequence[Any],
    cells: Sequence[Sequence[Any]],
    texts: Mapping[Any, str],
    is_named: bool,
) -> bool:
    if (table.get("role") or "").lower() in ("presentation", "none") or not rows:
        return False
    filled = [cell for row in cells for cell in row if texts[cell]]
    if len(filled) < 2:
        return False
    if is_named or any(cell.tag == "th" for cell in filled):
        return True
    if max(len(row) for row in cells) < 2:
        return False
    longest = max(len(texts[cell]) for cell in filled)
    if any(True for row in rows[1:] for _ in row.iter(*HEADINGS)):
        return False
    nested = sum(len(texts[cell]) for cell in filled if next(cell.iter("table"), None) is not None)
    if nested > sum(len(texts[cell]) for cell in filled) / 2:
        return False
    if len(rows) == 1:
        return not nested and longest <= _MAX_LABEL_CHARACTERS
    return len(rows) > 2 or longest <= _MAX_CELL_CHARACTERS


def _count_header_rows(
    rows: Sequence[Any], cells: Sequence[Sequence[Any]], texts: Mapping[Any, str]
) -> int | None:
    """Return the number of header rows that the markup declares; None if it declares none."""

    def is_header(pair: tuple[Any, Sequence[Any]]) -> bool:
        row, row_cells = pair
        return row.getparent().tag == "thead" or all(
            cell.tag == "th" for cell in row_cells if texts[cell]
        )

    count = sum(1 for _ in takewhile(is_header, zip(rows, cells, strict=True)))
    if count == len(rows):
        return 1
    if count:
        return count
    if all(row[0].tag == "th" for row in cells if row):
        return 0
    bold = [[_is_bold(cell) for cell in row if texts[cell]] for row in cells[:3]]
    if len(bold) > 1 and bold[0] and all(bold[0]) and not all(bold[1]):
        return 1
    if len(cells[0]) == 2 and all(row and row[0] and not any(row[1:]) for row in bold):
        return 0
    return None


def _is_bold(cell: Any) -> bool:
    text = "".join("".join(cell.itertext()).split())
    bold = "".join("".join(part) for tag in cell.iter("b", "strong") for part in tag.itertext())
    return len("".join(bold.split())) >= len(text)


def _read_span(cell: Any, attribute: str, limit: int) -> int:
    value = (cell.get(attribute) or "1").strip()
    if not value.isdecimal() or len(value) > 9:
        return 1
    return limit if value == "0" and attribute == "rowspan" else max(1, min(int(value), limit))


def read_cell_text(cell: Any) -> str:
    """Return the text of a cell; with ``LF`` between blocks and ``VT`` for line breaks."""
    from lxml.etree import iterwalk

    pieces: list[str] = []
    hidden: Any = None
    for event, element in iterwalk(cell, events=("start", "end", "comment", "pi")):
        is_text = event in ("start", "end") and isinstance(element.tag, str)
        is_block = is_text and element is not cell and element.tag in _BLOCK_TAGS
        if event == "start" and hidden is None:
            if element.tag in _DROPPED_TAGS:
                hidden = element
                continue
            pieces.append("\n" if is_block else "\v" if element.tag == "br" else "")
            pieces.append("~~" if element.tag in ("del", "s", "strike") else "")
            pieces.append(" ".join(re.split(r"\s+", element.text or "")))
        elif event != "start" and (hidden is None or hidden is element):
            if hidden is None and event == "end":
                pieces.append("~~" if element.tag in ("del", "s", "strike") else "")
                pieces.append("\n" if is_block else "")
            hidden = None
            if element is not cell:
                pieces.append(" ".join(re.split(r"\s+", element.tail or "")))
    text = to_well_formed("".join(pieces))
    return re.sub(r"[ \n\v]+", _choose_separator, text).strip()


def _choose_separator(match: re.Match[str]) -> str:
    return next((separator for separator in "\n\v" if separator in match.group()), " ")


def _replace_by_paragraph(table: Any, text: str) -> None:
    paragraph = table.makeelement("p")
    paragraph.text = text
    paragraph.tail = table.tail
    parent = table.getparent()
    if parent.tag == "p":  # a paragraph has no paragraphs
        parent.tag = "div"
    parent.replace(table, paragraph)


def _unwrap_table(table: Any) -> None:
    """Turn a table that is a layout into blocks of text."""
    for element in list(_iter_own_elements(table)):
        element.tag = "div"
    table.tag = "div"
    table.attrib.pop("role", None)


def _iter_own_elements(table: Any) -> Iterator[Any]:
    """Yield the rows, the groups of rows and the cells of a table, without nested tables."""
    stack = list(reversed(table))
    while stack:
        element = stack.pop()
        if element.tag in ("tr", "td", "th", "tbody", "thead", "tfoot", "caption"):
            yield element
        if element.tag in ("tr", "tbody", "thead", "tfoot"):
            stack.extend(reversed(element))


def _is_detached(element: Any, root: Any) -> bool:
    """Whether an element is no longer in the tree of `root`."""
    return next((a for a in element.iterancestors() if a is root), None) is None
