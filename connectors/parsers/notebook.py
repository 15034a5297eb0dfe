"""Jupyter notebooks: cells in their order, as Markdown."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from pydantic import Field

from connectors.base import Parser
from connectors.parsers.markdown import heading_marks
from connectors.parsers.text import decode, name_of
from connectors.parsers.text_builder import TextBuilder
from rag.errors import NoText, ParseError
from rag.types import Document, flat_metadata, well_formed

_ESCAPES = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


class NotebookParser(Parser):
    """Text cells as they stand, code and what it printed in fences; each cell is a row.

    Of what a cell printed, ``output`` characters are kept.
    """

    name: ClassVar[str] = "notebook"
    formats: ClassVar[Mapping[str, tuple[str, ...]]] = {"application/x-ipynb+json": (".ipynb",)}
    library: ClassVar[str] = "json (Python)"
    keeps: ClassVar[str] = "cells (their number as row), headings, language, printed results"
    drops: ClassVar[str] = "pictures, widgets, long results"

    output: int = Field(2_000, ge=0)

    def parse(self, data: bytes, *, uri: str, mime: str | None = None) -> Document:
        """Parse `data`. The title is the notebook's own, its first heading or the file name."""
        try:
            notebook = json.loads(decode(data))
            cells = notebook.get("cells")
            if cells is None:  # version 3
                sheets = notebook.get("worksheets") or [{}]
                cells = [cell for sheet in sheets for cell in sheet.get("cells") or ()]
            about = notebook.get("metadata") or {}
            language = (about.get("language_info") or about.get("kernelspec") or {}).get("name", "")
            built = TextBuilder()
            for number, cell in enumerate(cells, start=1):
                with built.marked("row", number):
                    for block in _blocks(cell, str(language), self.output):
                        built.paragraph(block)
        except (ValueError, AttributeError, TypeError, RecursionError) as error:
            raise ParseError(f"not a notebook, or a damaged one: {error}") from None
        if not built.text.strip():
            raise NoText("a notebook without any text")
        marks = heading_marks(built.text)
        first = next((mark.value[0] for mark in marks if isinstance(mark.value, tuple)), "")
        title = about.get("title") or first or name_of(uri)
        return Document(
            uri=uri,
            text=built.text,
            title=str(title)[:200],
            mime=mime or "application/x-ipynb+json",
            metadata=flat_metadata({"code_language": language or None}),
            marks=(*built.marks, *marks),
        )


def _blocks(cell: Mapping[str, Any], language: str, longest: int) -> Iterator[str]:
    source = _text(cell.get("source", cell.get("input", "")))
    if cell.get("cell_type") != "code":
        level = cell.get("level") if cell.get("cell_type") == "heading" else None
        yield f"{'#' * int(level)} {source}" if level else source
        return
    if source.strip():
        yield _fenced(source, language)
    for output in cell.get("outputs") or ():
        data = output.get("data") or {}
        said = output.get("text") or data.get("text/markdown") or data.get("text/plain") or ""
        text = _ESCAPES.sub("", _text(said)).strip()[:longest]
        if output.get("output_type") == "error":
            text = f"{output.get('ename', '')}: {output.get('evalue', '')}"[:longest]
        if text:
            yield _fenced(text, "")


def _text(lines: Any) -> str:
    return well_formed("".join(map(str, lines)) if isinstance(lines, list) else str(lines))


def _fenced(text: str, language: str) -> str:
    fence = "```"
    while fence in text:
        fence += "`"
    text = text.strip("\n")
    return f"{fence}{language}\n{text}\n{fence}"
