"""Writing paragraphs and tables as a small Word document for mammoth, and reading its labels."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Mapping, Sequence
from itertools import groupby
from xml.sax.saxutils import escape, quoteattr

from connectors.parsers.docx_blocks import Block, Paragraph, Run, Table, TextFormat
from rag.types import to_well_formed

LABEL_START, LABEL_END = "\ue0f0", "\ue0f1"
"""Private characters around the label of an item of a list until it is in Markdown."""
_MAX_LIST_DEPTH = 5  # that mammoth converts
_NAMESPACE = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]|[\ue0f0\ue0f1]")
_LABEL_LINE = re.compile(
    rf"(?m)^([ \t]*)(?:(?:\d+[.)]|-)[ \t]+)*"
    rf"{LABEL_START}([^{LABEL_START}{LABEL_END}\n]*+){LABEL_END}[ \t]*"
)
_LABEL = re.compile(rf"{LABEL_START}([^{LABEL_START}{LABEL_END}\n]*+){LABEL_END}[ \t]*")
_SEPARATOR = re.compile(r"([\n\t])")


def write_package(
    body: Sequence[Block], notes: Mapping[str, Mapping[str, Sequence[Block]]]
) -> bytes:
    """Return a Word document of `body` and of `notes`: by "footnote" or "endnote", and by id."""
    files = {
        "word/document.xml": f"<w:document {_NAMESPACE}><w:body>{_write_blocks(body)}</w:body>"
        "</w:document>",
        "word/numbering.xml": f"<w:numbering {_NAMESPACE}>{_write_numbering()}</w:numbering>",
    }
    for kind, blocks_by_id in notes.items():
        parts = "".join(
            f"<w:{kind} w:id={quoteattr(note_id)}>{_write_blocks(blocks)}</w:{kind}>"
            for note_id, blocks in blocks_by_id.items()
        )
        files[f"word/{kind}s.xml"] = f"<w:{kind}s {_NAMESPACE}>{parts}</w:{kind}s>"
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, xml in files.items():
            archive.writestr(name, to_well_formed(xml).encode())
    return buffer.getvalue()


def replace_labels(markdown: str) -> str:
    """Replace the marker of each item of a list by its label."""
    if LABEL_START not in markdown and LABEL_END not in markdown:
        return markdown
    text = _LABEL_LINE.sub(r"\1\2 ", markdown)
    text = _LABEL.sub(r"\1 ", text)
    return text.replace(LABEL_START, "").replace(LABEL_END, "")


def _write_numbering() -> str:
    levels = {
        number_format: "".join(
            f'<w:lvl w:ilvl="{i}"><w:numFmt w:val="{number_format}"/></w:lvl>'
            for i in range(_MAX_LIST_DEPTH)
        )
        for number_format in ("bullet", "decimal")
    }
    return "".join(
        f'<w:abstractNum w:abstractNumId="{i}">{xml}</w:abstractNum>'
        for i, xml in enumerate(levels.values())
    ) + "".join(
        f'<w:num w:numId="{i}"><w:abstractNumId w:val="{i}"/></w:num>' for i in range(len(levels))
    )


def _write_blocks(blocks: Sequence[Block]) -> str:
    """Write blocks; the tables in the cells of tables are written with them, from the inside."""
    table_texts: dict[int, str] = {}
    pending: list[tuple[Table, bool]] = [(b, False) for b in blocks if isinstance(b, Table)]
    while pending:
        table, is_ready = pending.pop()
        if is_ready:
            table_texts[id(table)] = _write_table(table, table_texts)
            continue
        pending.append((table, True))
        pending += [
            (block, False)
            for row in table.rows
            for cell in row.cells
            for block in cell.blocks
            if isinstance(block, Table)
        ]
    return _join_blocks(blocks, table_texts)


def _join_blocks(blocks: Sequence[Block], tables: dict[int, str]) -> str:
    pieces: list[str] = []
    levels: list[int] = []
    for block in blocks:
        if isinstance(block, Table):
            levels = []
            pieces.append(tables.pop(id(block)))
        elif block.runs:
            if block.level is None and block.label is not None and block.label.is_item:
                while levels and levels[-1] >= block.label.level:
                    levels.pop()
                levels.append(block.label.level)
            else:
                levels = []
            pieces.append(_write_paragraph(block, len(levels)))
    return "".join(pieces)


def _write_table(table: Table, tables: dict[int, str]) -> str:
    rows: list[str] = []
    for row in table.rows:
        cells: list[str] = []
        for cell in row.cells:
            span = f'<w:gridSpan w:val="{cell.columns}"/>' if cell.columns > 1 else ""
            merge = f"<w:vMerge w:val={quoteattr(cell.merge)}/>" if cell.merge else ""
            content = _join_blocks(cell.blocks, tables)
            cells.append(f"<w:tc><w:tcPr>{span}{merge}</w:tcPr>{content}</w:tc>")
        header = "<w:trPr><w:tblHeader/></w:trPr>" if row.is_header else ""
        rows.append(f"<w:tr>{header}{''.join(cells)}</w:tr>")
    return f"<w:tbl>{''.join(rows)}</w:tbl>"


def _write_paragraph(paragraph: Paragraph, list_depth: int) -> str:
    """Write a paragraph as a heading, as an item of a list, or with its label as text."""
    runs = paragraph.runs
    label = paragraph.label
    properties = prefix = ""
    if paragraph.level is not None:
        properties = f'<w:pStyle w:val="Heading{min(paragraph.level, 6)}"/>'
        runs = [
            run._replace(
                text=_SEPARATOR.sub(" ", run.text), format=run.format._replace(is_bold=False)
            )
            for run in runs
        ]
        prefix = f"{label.text} " if label and label.text else ""
    elif list_depth and label:
        depth = min(list_depth, _MAX_LIST_DEPTH) - 1
        list_id = 0 if label.is_bullet else 1
        properties = f'<w:numPr><w:ilvl w:val="{depth}"/><w:numId w:val="{list_id}"/></w:numPr>'
    elif label and label.text:
        prefix = f"{label.text} "
    start = _write_text(_clean(prefix)) if prefix else ""
    if properties and paragraph.level is None and label and not label.is_bullet:
        text = f"{LABEL_START}{_clean(label.text)}{LABEL_END}"
        start = f'<w:r><w:t xml:space="preserve">{escape(text)}</w:t></w:r>'
    content = "".join(
        _write_run("".join(run.text for run in group), text_format, xml)
        for (text_format, xml), group in groupby(runs, key=_get_run_kind)
    )
    return f"<w:p><w:pPr>{properties}</w:pPr>{start}{content}</w:p>"


def _get_run_kind(run: Run) -> tuple[TextFormat, str]:
    text_format = run.format._replace(half_points=0, is_shown_bold=False)
    return text_format, run.xml


def _write_run(text: str, text_format: TextFormat, xml: str) -> str:
    properties = "<w:b/>" * text_format.is_bold + "<w:i/>" * text_format.is_italic
    properties += "<w:strike/>" * text_format.is_struck
    if text_format.position:
        properties += f'<w:vertAlign w:val="{text_format.position}"/>'
    content = xml or _write_text(_clean(text), "")
    return f"<w:r><w:rPr>{properties}</w:rPr>{content}</w:r>" if content else ""


def _write_text(text: str, tag: str = "w:r") -> str:
    pieces: list[str] = []
    for part in _SEPARATOR.split(text):
        if part == "\n":
            pieces.append("<w:br/>")
        elif part == "\t":
            pieces.append("<w:tab/>")
        elif part:
            pieces.append(f'<w:t xml:space="preserve">{escape(part)}</w:t>')
    content = "".join(pieces)
    return f"<{tag}>{content}</{tag}>" if tag and content else content


def _clean(text: str) -> str:
    """Return text without characters that XML or the marks of labels forbid."""
    return _FORBIDDEN.sub("", text)
