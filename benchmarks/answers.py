"""What the extractive generator answers, and what it refuses.

    python -m benchmarks.answers ../shared/data

On SQuAD 2's passages: the share of answerable questions that it answers, and of these, how often
a reference answer stands in its text; and the share that it refuses, of questions that the
passages seem to answer but do not (unanswerable), and of questions about other things (those of
other collections).
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from connectors.dataset import Dataset
from rag import Answer, Pipeline

OTHERS = ("doc2dial", "cisi", "musique")
EACH = 100


def main(data: Path) -> None:
    with tempfile.TemporaryDirectory() as place:
        with Pipeline(index=Path(place) / "index") as pipeline:
            pipeline.ingest(Dataset(path=data / "retrieval" / "squad2"))
            asked = rows(data / "qa" / "squad2.jsonl")
            answerable = [row for row in asked if row["answerable"]]
            given = [(row, pipeline.ask(row["question"])) for row in answerable]
            unanswerable = [r["question"] for r in asked if not r["answerable"]]
            elsewhere = [
                row["text"]
                for name in OTHERS
                for row in rows(data / "retrieval" / name / "queries.jsonl")[:EACH]
            ]
            answered = [(row, answer) for row, answer in given if answer.status == "answered"]
            right = sum(holds(answer, row["answers"]) for row, answer in answered)
            print(
                f"answerable:   answered {share(len(answered), len(given))}, "
                f"of these with a reference answer in the text {share(right, len(answered))}"
            )
            for name, questions in (("unanswerable", unanswerable), ("other things", elsewhere)):
                refused = sum(pipeline.ask(q).status == "abstained" for q in questions)
                print(f"{name + ':':13} refused {share(refused, len(questions))}")


def holds(answer: Answer, references: list[str]) -> bool:
    text = " ".join(answer.text.split()).lower()
    return any(reference.lower() in text for reference in references)


def share(part: int, whole: int) -> str:
    return f"{part / max(1, whole):.1%} ({part} of {whole})"


def rows(path: Path) -> list[dict[str, Any]]:
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "../shared/data"))
