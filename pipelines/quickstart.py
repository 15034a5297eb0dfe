"""Cited answers from a folder of documents, without a key and without a download.

    python -m pipelines.quickstart              # the sample folder
    rag chat your/folder -p pipelines.quickstart:pipeline

The pipeline below states the defaults explicitly, as a starting point for changes.
"""

from __future__ import annotations

import sys
from pathlib import Path

from rag import (
    Answer,
    ExtractiveGenerator,
    HeadingChunker,
    HybridRetriever,
    IngestReport,
    Pipeline,
    StaticEmbedder,
)

SAMPLE = Path(__file__).parent / "sample"
QUESTIONS = (
    "How often does the tide gauge take a sample?",
    "How high were the gusts in the storm?",
    "When is the observatory open in winter?",
)

pipeline = Pipeline(
    chunker=HeadingChunker(size=256, overlap=32),
    embedder=StaticEmbedder(),
    retriever=HybridRetriever(),
    generator=ExtractiveGenerator(sentences=2),
)


def main(index: Path = Path(".rag-demo")) -> list[Answer]:
    """Ingest the sample folder, ask three questions and print the answers with their citations."""
    answers: list[Answer] = []
    with pipeline.model_copy(update={"index": index}) as demo:
        print(f"Reading {SAMPLE} ...")
        report = demo.ingest(SAMPLE, progress=_print_progress)
        print(
            f"{report.added} added, {report.unchanged} unchanged, {len(report.failed)} failed, "
            f"{report.chunks} chunks written in {report.seconds:.1f} s\n"
        )
        for question in QUESTIONS:
            answers.append(demo.ask(question))
            _print_answer(question, answers[-1])
    command = Path(sys.executable).with_name("rag")
    if command.is_relative_to(Path.cwd()):
        command = command.relative_to(Path.cwd())
    print(f"Ask your own:  {command} ask 'What does a ticket cost?' --index {index}")
    return answers


def _print_progress(report: IngestReport) -> None:
    if report.seen:  # the first call comes before any document
        print(f"  {report.seen} documents, {report.chunks} chunks", file=sys.stderr)


def _print_answer(question: str, answer: Answer) -> None:
    print(f"Q: {question}\nA: {answer.text}")
    for citation in answer.citations:
        name = citation.uri.rpartition("/")[2]
        page = "" if citation.page is None else f", page {citation.page}"
        check = "verified" if citation.verified else "NOT VERIFIED"
        print(f'   [{citation.marker}] {name}{page}: "{citation.quote}" ({check})')
    print()


if __name__ == "__main__":
    main()
