"""A comparison of two contracts: what each says on the same points, with the quotes.

python -m pipelines.gallery.compare_contracts OLD.docx NEW.docx > comparison.md
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rag import F, Pipeline

POINTS = (
    "How long is the notice period?",
    "When must invoices be paid?",
    "What is the limit of liability?",
    "Which law applies?",
)


def compare(contracts: Sequence[Path], points: Sequence[str] = POINTS) -> str:
    """Return a table in Markdown: a row for each point, a column for each contract."""
    lines = [
        "| point | " + " | ".join(path.name for path in contracts) + " |",
        "|---" * (len(contracts) + 1) + "|",
    ]
    with tempfile.TemporaryDirectory() as folder, Pipeline(index=Path(folder) / "i") as pipeline:
        pipeline.ingest(*contracts)
        for point in points:
            cells = [quote(pipeline, point, Path(path).absolute().as_uri()) for path in contracts]
            mark = "" if len(set(cells)) == 1 else " **differs**"
            lines.append(f"| {point}{mark} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def quote(pipeline: Pipeline, point: str, uri: str) -> str:
    """Return what a contract says on a point, in its own words."""
    answer = pipeline.ask(point, where=F("uri") == uri)
    quotes = [f"“{' '.join(citation.quote.split())}”" for citation in answer.citations]
    return "<br>".join(quotes).replace("|", "\\|") or "says nothing"


if __name__ == "__main__":
    print(compare([Path(argument) for argument in sys.argv[1:]]))
