"""Questions about company filings: is the best hit from the right filing, and on the right page?

    python -m benchmarks.filings ../shared/data/pdf

The folder has PDF files and ``questions.jsonl``, whose questions name the filing (``doc_name``) and
the pages with the answer (``evidence``, from 0). Each line of the output is a configuration:
``first`` is the share of questions whose best hit is from the right filing, ``filing`` the share of
the eight hits that are, and ``page`` the share of questions with a right page among the eight hits.
``rank`` is the same for ``first`` with the order of documents (`Pipeline.rank_documents`).
``refused`` is the share of questions without an answer of the extractive generator, and ``number``
the number of answers whose quotes have a number of the expected answer, of those that have one.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import unquote

from rag import HybridRetriever, Pipeline
from rag.types import Hit

HITS = 8
_NUMBER = re.compile(r"\d+(?:,\d{3})*(?:\.\d+)?")
_MAX_DAY = 31
UNITS = (1, 1_000, 1 / 1_000)  # the answer is in millions, and the filing may be in thousands
EMBEDDERS = sys.argv[2:] or ["static"]


def main(folder: Path) -> None:
    lines = (folder / "questions.jsonl").read_text().splitlines()
    questions = [json.loads(line) for line in lines]
    print(
        f"{'':<26}{'first':>7}{'filing':>8}{'page':>7}{'rank':>7}{'refused':>9}{'number':>9}{'ms':>7}"
    )
    for embedder in EMBEDDERS:
        with tempfile.TemporaryDirectory() as index:
            pipeline = Pipeline(index=Path(index) / "index", embedder=embedder)
            pipeline.ingest(*sorted(folder.glob("*.pdf")))
            for weight in (0.0, HybridRetriever().document_weight):
                name = f"{embedder}, document weight {weight:g}"
                retriever = HybridRetriever(document_weight=weight)
                print(f"{name:<26}{measure(pipeline.replace(retriever=retriever), questions)}")
            pipeline.close()


def measure(pipeline: Pipeline, questions: list[dict[str, object]]) -> str:
    """Return the columns of a line."""
    first = filing = page = rank = refused = 0.0
    with_number = numeric = 0
    started = time.perf_counter()
    for question in questions:
        text, name = str(question["question"]), question["doc_name"]
        hits = pipeline.search(text, k=HITS)
        names = [read_name(hit.chunk.uri) for hit in hits]
        first += names[:1] == [name]
        filing += names.count(name) / HITS
        pages = {(item["doc"], item["page"] + 1) for item in question["evidence"]}  # type: ignore[attr-defined]
        page += any((read_name(h.chunk.uri), p) in pages for h in hits for p in list_pages(h))
        best = next(iter(pipeline.rank_documents(text, k=1)), "")
        rank += read_name(best) == name
    milliseconds = 1000 * (time.perf_counter() - started) / len(questions)
    for question in questions:
        answer = pipeline.ask(str(question["question"]))
        refused += answer.status == "abstained"
        if numbers := find_numbers(str(question["answer"])):
            numeric += 1
            quotes = " ".join(citation.quote for citation in answer.citations)
            quoted_numbers = find_numbers(quotes)
            with_number += any(
                abs(n * unit - quoted) <= max(unit / 2, 1e-9) * (unit > 1)
                for n in numbers
                for quoted in quoted_numbers
                for unit in UNITS
            )
    shares = [value / len(questions) for value in (first, filing, page, rank, refused)]
    return (
        f"{shares[0]:>7.2f}{shares[1]:>8.2f}{shares[2]:>7.2f}{shares[3]:>7.2f}{shares[4]:>9.2f}"
        f"{f'{with_number}/{numeric}':>9}{milliseconds:>7.1f}"
    )


def find_numbers(text: str) -> set[float]:
    """Return the numbers in a text, but not years and days of a month."""
    numbers = (float(n.replace(",", "")) for n in _NUMBER.findall(text))
    return {number for number in numbers if number > _MAX_DAY and not 1990 <= number <= 2035}


def list_pages(hit: Hit) -> list[int]:
    """Return the page of a hit."""
    page = hit.chunk.location.get("page")
    return [page] if isinstance(page, int) else []


def read_name(uri: str) -> str:
    return unquote(uri).rpartition("/")[2].removesuffix(".pdf")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
