"""Check citations of real PDFs: each quote must be at its offsets and on its page.

    python -m benchmarks.citations ../shared/data/pdf

Ingests the folder, asks every question of its questions.jsonl, and compares each citation with the
text that PDFium extracts from that page again, independently of the index.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections import Counter
from pathlib import Path

import pypdfium2 as pdfium

from connectors import Files, path_of
from evals import quote_accuracy
from rag import Citation, Pipeline


def main(folder: Path) -> int:
    with (folder / "questions.jsonl").open(encoding="utf-8") as lines:
        questions = [json.loads(line)["question"] for line in lines]
    pages: dict[Path, list[str]] = {}
    count: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as work:
        with Pipeline(index=Path(work) / "index") as pipeline:
            report = pipeline.ingest(Files(path=folder, include=("*.pdf",)))
            for question in questions:
                answer = pipeline.ask(question)
                count[answer.status] += 1
                uris = {citation.uri for citation in answer.citations}
                checked = quote_accuracy(answer, [pipeline.document(uri) for uri in uris])
                count["citations"] += checked.citations
                count["quote wrong"] += len(checked.wrong_quotes)
                count["place wrong"] += len(checked.wrong_locations)
                count["not on the page, read anew"] += sum(
                    not on_page(citation, pages) for citation in answer.citations
                )
                count["not verified"] += sum(not c.verified for c in answer.citations)
    print(
        f"{report.added} PDFs, {report.chunks:,} chunks in {report.seconds:.1f} s, "
        f"{len(questions)} questions"
    )
    wrong = 0
    for name in ("answered", "abstained", "citations"):
        print(f"{name:28}{count[name]:6}")
    for name in ("quote wrong", "place wrong", "not on the page, read anew", "not verified"):
        print(f"{name:28}{count[name]:6}")
        wrong += count[name]
    return int(wrong > 0 or not count["citations"])


def on_page(citation: Citation, pages: dict[Path, list[str]]) -> bool:
    """Return whether the quote begins on the cited page; it may end on the next page."""
    path = path_of(citation.uri)
    if path is None or citation.page is None:
        return False
    if path not in pages:
        with pdfium.PdfDocument(path) as pdf:
            pages[path] = [bare(pdf[i].get_textpage().get_text_range()) for i in range(len(pdf))]
    quote = bare(citation.quote)
    page = pages[path][citation.page - 1]
    return (
        any(quote.startswith(page[i:]) for i in range(max(0, len(page) - len(quote)), len(page)))
        or quote in page
    )


def bare(text: str) -> str:
    """Return the text without white space, and with U+FFFE replaced by a hyphen."""
    return "".join(text.replace("\ufffe", "-").split())


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else "../shared/data/pdf")))
