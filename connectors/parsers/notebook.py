"""Jupyter notebooks: cells in order, as Markdown."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from pydantic import Field

from connectors.base import Parser
from connectors.parsers.embedded_data import log_embedded_data, remove_embedded_data_of_json
from connectors.parsers.markdown import find_structure_marks
from connectors.parsers.omissions import OmissionLog
from connectors.parsers.terminal_codes import remove_terminal_codes
from connectors.parsers.text import decode
from connectors.parsers.text_builder import TextBuilder
from connectors.parsers.titles import choose_title, find_title_heading
from rag.errors import NoText, ParseError
from rag.types import Document, flatten_metadata, to_well_formed


class NotebookParser(Parser):
    """Text cells as written, code and its output in fences; each cell is marked as a row.

    ``output`` is the number of characters to keep of each output.
    """

    name: ClassVar[str] = "notebook"
    revision: ClassVar[int] = 5
    formats: ClassVar[Mapping[str, tuple[str, ...]]] = {"application/x-ipynb+json": (".ipynb",)}
    library: ClassVar[str] = "json (Python)"
    keeps: ClassVar[str] = "cells (`row` is the cell number), headings, language, printed results"
    drops: ClassVar[str] = "images, widgets, long results"

    output: int = Field(2_000, ge=0)

    def parse(self, data: bytes, *, uri: str, mime: str | None = None) -> Document:
        """Parse `data`. The title is from the metadata, the first heading or the file name."""
        try:
            source, sizes = remove_embedded_data_of_json(decode(data))
            notebook = json.loads(source)
            cells = notebook.get("cells")
            if cells is None:  # version 3
                sheets = notebook.get("worksheets") or [{}]
                cells = [cell for sheet in sheets for cell in sheet.get("cells") or ()]
            notebook_metadata = notebook.get("metadata") or {}
            language = (
                notebook_metadata.get("language_info") or notebook_metadata.get("kernelspec") or {}
            ).get("name", "")
            builder, source_texts = TextBuilder(), list[str]()
            for number, cell in enumerate(cells, start=1):
                source_texts += _list_texts(cell)
                with builder.mark_block("row", number):
                    for block in _format_cell(cell, str(language), self.output):
                        builder.write_paragraph(block)
        except (ValueError, AttributeError, TypeError, RecursionError) as error:
            raise ParseError(f"not a notebook, or a damaged one: {error}") from None
        if not builder.text.strip():
            raise NoText("the notebook contains no text")
        log = OmissionLog()
        log_embedded_data(log, sizes)
        marks = find_structure_marks(builder.text)
        heading = find_title_heading(builder.text, marks)
        return Document(
            uri=uri,
            text=builder.text,
            title=choose_title(notebook_metadata.get("title"), heading=heading, uri=uri),
            mime=mime or "application/x-ipynb+json",
            metadata=flatten_metadata({"code_language": language or None}),
            # A cell is a row of the notebook, so the rows of its tables have no marks.
            marks=(*builder.marks, *(mark for mark in marks if mark.kind != "row")),
            coverage=log.measure(builder.text, source_texts),
        )


def _format_cell(cell: Mapping[str, Any], language: str, max_characters: int) -> Iterator[str]:
    source = _join_lines(cell.get("source", cell.get("input", "")))
    if cell.get("cell_type") != "code":
        level = cell.get("level") if cell.get("cell_type") == "heading" else None
        yield f"{'#' * int(level)} {source}" if level else source
        return
    if source.strip():
        yield _fence_code(source, language)
    for output in cell.get("outputs") or ():
        data = output.get("data") or {}
        result = output.get("text") or data.get("text/markdown") or data.get("text/plain") or ""
        text = remove_terminal_codes(_join_lines(result)).strip()[:max_characters]
        if output.get("output_type") == "error":
            text = f"{output.get('ename', '')}: {output.get('evalue', '')}"[:max_characters]
        if text:
            yield _fence_code(text, "")


def _list_texts(cell: Mapping[str, Any]) -> Iterator[str]:
    """Yield all text of a cell: its source and the complete outputs."""
    yield _join_lines(cell.get("source", cell.get("input", "")))
    for output in cell.get("outputs") or ():
        data = output.get("data") or {}
        result = output.get("text") or data.get("text/markdown") or data.get("text/plain") or ""
        yield remove_terminal_codes(_join_lines(result))


def _join_lines(lines: Any) -> str:
    return to_well_formed("".join(map(str, lines)) if isinstance(lines, list) else str(lines))


def _fence_code(text: str, language: str) -> str:
    fence = "```"
    while fence in text:
        fence += "`"
    text = text.strip("\n")
    return f"{fence}{language}\n{text}\n{fence}"
