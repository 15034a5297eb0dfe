"""Cells of tables in PDFs: whether a chunk has each value with its row label and column name.

    python -m benchmarks.pdf_tables ../shared/data/pdf

``benchmarks/pdf_table_cells.jsonl`` has 60 cells that a person read on 14 pages of 10 filings:
``value`` as printed, ``row`` and ``column`` in the words of the page, and ``section`` where the
label of the row alone is ambiguous. Prints how many of them are

* named: a row in a chunk has the value under this label and this column, and the embedded text of
  the chunk has the words of all three (target: 54);
* named, with section: the label also has the words of the section;
* in one chunk: the embedded text of a chunk has the words of all three, anywhere.

The name of a column must have the words of the pick and no other year. `--misses` lists the cells
that are not named.
"""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from connectors.parsers.pdf import PdfParser
from rag.chunking.headings import HeadingChunker
from rag.embedding.static import StaticEmbedder
from rag.types import Chunk, Document, Table
from rag.types.tables import split_cells

CELLS = Path(__file__).with_name("pdf_table_cells.jsonl")
YEAR = re.compile(r"(?:19|20)\d\d")


def main(folder: Path, show_misses: bool) -> None:
    cells = [json.loads(line) for line in CELLS.read_text(encoding="utf-8").splitlines()]
    counts: Counter[str] = Counter()
    for file in dict.fromkeys(cell["file"] for cell in cells):
        path = folder / file
        document = PdfParser(ocr=False).parse(path.read_bytes(), uri=path.absolute().as_uri())
        chunks = HeadingChunker().split(document, StaticEmbedder())
        for cell in (cell for cell in cells if cell["file"] == file):
            results = check_cell(cell, document, chunks)
            counts.update(results)
            if show_misses and "named" not in results:
                print(f"{file} page {cell['page']}: {cell['row']} | {cell['column']}", end="")
                print(f" | {cell['value']}")
    for name in ("named", "named, with section", "in one chunk"):
        print(f"{name:<20}{counts[name]:>4} of {len(cells)}")


def check_cell(cell: dict[str, Any], document: Document, chunks: list[Chunk]) -> set[str]:
    page = next(m for m in document.marks if m.kind == "page" and m.value == cell["page"])
    results = set()
    for chunk in chunks:
        if chunk.end <= page.start or chunk.start >= page.end:
            continue
        words = set(split_words(chunk.embedded_text))
        if not set(split_words(f"{cell['value']} {cell['row']} {cell['column']}")) <= words:
            continue
        if cell["value"] in chunk.embedded_text:
            results.add("in one chunk")
        for label, column, value in list_cells(document, chunk, page.start, page.end):
            if value == cell["value"].replace(" ", "") and is_name(cell, label, column):
                results.add("named")
                if set(split_words(cell.get("section", ""))) <= set(split_words(label)):
                    results.add("named, with section")
    return results


def list_cells(
    document: Document, chunk: Chunk, start: int, end: int
) -> Iterator[tuple[str, str, str]]:
    """Yield label, column name and value of each cell of a chunk, in ``[start, end)``."""
    tables = [mark for mark in document.marks if isinstance(mark.value, Table)]
    for mark in document.marks:
        if mark.kind != "row" or mark.start < max(chunk.start, start) or mark.end > chunk.end:
            continue
        table = next((t.value for t in tables if t.start <= mark.start < t.end), None)
        if not isinstance(table, Table) or mark.start >= end:
            continue
        row = document.text[mark.start : mark.end]
        label, *values = [row[a:b] for a, b in split_cells(row)]
        for column, value in zip(table.columns[1:], values, strict=False):
            yield label, column, re.sub(r"[$\s]", "", value)


def is_name(cell: dict[str, Any], label: str, column: str) -> bool:
    """Whether a row label and a column name have the words of a pick."""
    return (
        " ".join(split_words(cell["row"])) in " ".join(split_words(label))
        and set(split_words(cell["column"])) <= set(split_words(column))
        and set(YEAR.findall(column)) == set(YEAR.findall(cell["column"]))
    )


def split_words(text: str) -> list[str]:
    return re.findall(r"[\w%]+", text.casefold())


if __name__ == "__main__":
    main(Path(sys.argv[1]), "--misses" in sys.argv)
