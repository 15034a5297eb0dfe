"""Questions to a messy office folder: is the right file first, and is the answer among the hits?

    python -m benchmarks.office_folder [EMBEDDER ...]

``benchmarks/data/office-folder.tar.xz`` has 60 files of an invented company (several years, three
sites, versions of policies) and 88 questions in a colleague's own words, eight of which nothing
answers. They were written by people who had not seen the code. ``first`` is the number of
answerable questions whose best hit is from a right file, ``passage`` the number with an answer in
one of the eight hits from a right file. ``right`` is the number whose answer without a model
contains a right one, ``wrong`` that of other answers, to answerable questions or not, and
``refused`` the number of answerable questions without an answer.
"""

from __future__ import annotations

import json
import re
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from rag import HybridRetriever, Pipeline

ARCHIVE = Path(__file__).parent / "data" / "office-folder.tar.xz"
HITS = 8


def main(embedders: list[str]) -> None:
    with tempfile.TemporaryDirectory() as work:
        with tarfile.open(ARCHIVE) as archive:
            archive.extractall(work, filter="data")
        lines = (Path(work) / "questions.jsonl").read_text(encoding="utf-8").splitlines()
        questions = [json.loads(line) for line in lines]
        columns = f"{'first':>7}{'passage':>9}{'right':>7}{'wrong':>7}{'refused':>9}"
        print(f"{len(questions)} questions{'':<22}{columns}")
        for embedder in embedders:
            index = Path(work) / f"index-{len(list(Path(work).iterdir()))}"
            pipeline = Pipeline(index=index, embedder=embedder)
            pipeline.ingest(Path(work) / "folder")
            for weight in (0.0, HybridRetriever().document_weight):
                retriever = HybridRetriever(document_weight=weight)
                variant = pipeline.replace(retriever=retriever)
                first, passage = measure(variant, [q for q in questions if q["answer"]])
                right, wrong, refused = measure_answers(variant, questions)
                name = f"{embedder[:12]}, document weight {weight:g}"
                print(f"{name:<34}{first:>7}{passage:>9}{right:>7}{wrong:>7}{refused:>9}")
            pipeline.close()


def measure(pipeline: Pipeline, questions: list[dict[str, Any]]) -> tuple[int, int]:
    """Return the questions whose first hit is right, and those with an answer among the hits."""
    first = passage = 0
    for question in questions:
        hits = pipeline.search(question["question"], k=HITS)
        files = [unquote(hit.chunk.uri).split("/folder/", 1)[1].split("!/")[0] for hit in hits]
        first += files[0] in question["file"]
        passage += any(
            file in question["file"]
            and any(normalize(a) in normalize(hit.chunk.embedded_text) for a in question["answer"])
            for file, hit in zip(files, hits, strict=True)
        )
    return first, passage


def measure_answers(pipeline: Pipeline, questions: list[dict[str, Any]]) -> tuple[int, int, int]:
    """Return the numbers of right answers, of wrong answers, and of answerable ones refused."""
    right = wrong = refused = 0
    for question in questions:
        answer = pipeline.ask(question["question"])
        if answer.status == "abstained":
            refused += bool(question["answer"])
        elif any(normalize(a) in normalize(answer.text) for a in question["answer"]):
            right += 1
        else:
            wrong += 1
    return right, wrong, refused


def normalize(text: str) -> str:
    return re.sub(r"\W+", " ", text.lower()).strip()


if __name__ == "__main__":
    main(sys.argv[1:] or ["static"])
