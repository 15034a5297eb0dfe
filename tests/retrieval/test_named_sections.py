"""Sections that a question names are favoured."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rag import HybridRetriever, Pipeline
from rag.retrieval.fusion import Fusion
from rag.types import Hit

LINES = "The total assets of the company were {} euros, and the liabilities were smaller than that."
REPORT = "# Report of the year\n\n" + "\n\n".join(
    f"## {heading}\n\n" + LINES.format(100 + i)
    for i, heading in enumerate(
        [
            "Consolidated Statement of Financial Position",
            "Statement of Cash Flows",
            "Notes",
            "Opening hours of the archive",
            "Total",
        ]
    )
)


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    folder = tmp_path_factory.mktemp("reports")
    (folder / "report.md").write_text(REPORT)
    (folder / "hours.md").write_text("# Hours\n\nThe archive is open on Mondays.\n")
    with Pipeline(index=tmp_path_factory.mktemp("i") / "index") as opened:
        opened.ingest(folder)
        yield opened


def get_first(pipeline: Pipeline, question: str) -> Hit:
    return pipeline.search(question, k=1)[0]


@pytest.mark.parametrize(
    ("question", "heading"),
    [
        (
            "What were the total assets and liabilities in the balance sheet?",
            "Consolidated Statement of Financial Position",
        ),
        ("What were the total assets in the cash flow statement?", "Statement of Cash Flows"),
        (
            "What were the total assets? Use the details in the balance sheet.",
            "Consolidated Statement of Financial Position",
        ),
    ],
)
def test_the_named_section_is_first(pipeline: Pipeline, question: str, heading: str) -> None:
    hit = get_first(pipeline, question)
    assert hit.chunk.headings[-1] == heading
    assert 0.3 < hit.stage_scores["section"].score <= 1
    assert 0 < hit.score <= 1


def test_one_word_of_a_heading_names_no_section(pipeline: Pipeline) -> None:
    for hit in pipeline.search("What were the total liabilities of the company?", k=9):
        assert "section" not in hit.stage_scores


def test_without_weight_nothing_changes(pipeline: Pipeline) -> None:
    question = "total assets in the cash flow statement"
    without = pipeline.replace(retriever=HybridRetriever(section_weight=0))
    hits = without.search(question, k=9)
    assert all("section" not in hit.stage_scores for hit in hits)
    assert {hit.chunk.id for hit in hits} == {h.chunk.id for h in pipeline.search(question, k=9)}


@pytest.mark.parametrize("fusion", ["sum", "rrf"])
def test_a_section_adds_a_tenth_of_the_best_score(pipeline: Pipeline, fusion: Fusion) -> None:
    question = "total assets in the cash flow statement"
    with_sections, without = (
        {
            hit.chunk.id: hit
            for hit in pipeline.replace(
                retriever=HybridRetriever(section_weight=weight, fusion=fusion)
            ).search(question, k=9)
        }
        for weight in (0.1, 0.0)
    )
    best = max(hit.score for hit in without.values())
    for key, hit in with_sections.items():
        section = hit.stage_scores.get("section")
        added = 0.1 * section.score if section else 0.0
        assert hit.score == pytest.approx((without[key].score + added) / 1.1)
        assert added <= 0.1 * best + 1e-9


def test_headings_are_read_for_live_chunks_only(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("# One\n\n## Two\n\nText.\n")
    with Pipeline(index=tmp_path / "index") as opened:
        opened.ingest(tmp_path / "a.md")
        index = opened.open()
        rows = list(index.document_store.live_rows())
        assert index.headings_by_row([*rows, 999]) == {rows[0]: ("One", "Two")}
        assert opened.delete((tmp_path / "a.md").as_uri()) == 1
        assert opened.open().headings_by_row(rows) == {}
