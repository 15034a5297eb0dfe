"""Documents that a question names are favoured, and nothing changes for other questions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rag import F, HybridRetriever, Pipeline
from rag.retrieval.named_documents import find_named_documents
from rag.text.name_keys import list_document_keys, list_query_keys, make_key
from rag.types import RetrieveStep

TOPICS = ("revenue", "inventory", "staff", "pension", "leases", "research")
COMPANIES = ("BESTBUY", "General-Mills", "3M", "Nordsee_GmbH")


def write_report(company: str, year: int) -> str:
    """Return a long report that names neither company nor year."""
    return "\n\n".join(
        f"## {topic}\n\nThe {topic} of the company grew by {len(company) + i} percent in the year."
        for i, topic in enumerate(TOPICS)
    )


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    folder = tmp_path_factory.mktemp("reports")
    for company in COMPANIES:
        for year in (2022, 2023):
            (folder / f"{company}_{year}_10K.md").write_text(write_report(company, year))
    (folder / "note.md").write_text("A short note about pension funds.")
    with Pipeline(index=tmp_path_factory.mktemp("i") / "index") as opened:
        opened.ingest(folder)
        yield opened


def list_names(pipeline: Pipeline, question: str, k: int = 4) -> list[str]:
    return [Path(hit.chunk.uri).stem for hit in pipeline.search(question, k=k)]


@pytest.mark.parametrize(
    ("question", "name"),
    [
        ("What was the pension growth of Best Buy in FY2023?", "BESTBUY_2023_10K"),
        ("How did General Mills' inventory grow in 2022?", "General-Mills_2022_10K"),
        ("leases of 3M in fiscal year 2023", "3M_2023_10K"),
        ("Wie wuchs die Nordsee GmbH 2022, research?", "Nordsee_GmbH_2022_10K"),
    ],
)
def test_the_named_document_is_first(pipeline: Pipeline, question: str, name: str) -> None:
    assert list_names(pipeline, question)[0] == name
    hit = pipeline.search(question, k=1)[0]
    assert hit.stage_scores["document"].score == max(
        find_named_documents(question, pipeline.open()).scores.values()
    )
    assert 0 < hit.score <= 1


def test_two_named_years_are_both_among_the_hits(pipeline: Pipeline) -> None:
    names = set(list_names(pipeline, "Compare the revenue of Best Buy in 2022 with 2023", k=6))
    assert {"BESTBUY_2022_10K", "BESTBUY_2023_10K"} <= names


@pytest.mark.parametrize(
    "question", ["How did the pension grow?", "What is research?", "2022", "?"]
)
def test_a_question_that_names_no_document_changes_nothing(
    pipeline: Pipeline, question: str
) -> None:
    if question != "2022":
        assert not find_named_documents(question, pipeline.open()).scores
    plain = pipeline.replace(retriever=HybridRetriever(document_weight=0))
    expected = [(hit.chunk.id, hit.score) for hit in plain.search(question, k=5)]
    found = [(hit.chunk.id, hit.score) for hit in pipeline.search(question, k=5)]
    assert found == expected


def test_filters_hold_for_named_documents(pipeline: Pipeline) -> None:
    other = next(u for u in pipeline.open().document_store.uris() if "3M_2022" in u)
    hits = pipeline.search("pension of Best Buy 2023", k=5, where=F("uri") == other)
    assert {hit.chunk.uri for hit in hits} == {other}


def test_the_trace_says_which_documents_are_favoured_and_why(pipeline: Pipeline) -> None:
    answer = pipeline.ask("What was the pension growth of Best Buy in FY2023?")
    (step,) = [step for step in answer.trace if isinstance(step, RetrieveStep)]
    assert step.favoured[0].uri.endswith("BESTBUY_2023_10K.md")
    assert step.favoured[0].names == ("Best Buy", "2023")
    assert step.favoured[0].score > step.favoured[1].score


def test_a_short_document_is_not_favoured(pipeline: Pipeline) -> None:
    assert not find_named_documents("What is in Note?", pipeline.open()).scores


def test_a_deleted_document_is_no_longer_named(tmp_path: Path) -> None:
    for company in COMPANIES:
        (tmp_path / f"{company}.md").write_text(write_report(company, 2022))
    with Pipeline(index=tmp_path / "i") as pipeline:
        pipeline.ingest(*sorted(tmp_path.glob("*.md")))
        assert find_named_documents("Best Buy pension", pipeline.open()).scores
        pipeline.delete((tmp_path / "BESTBUY.md").as_uri())
        assert not find_named_documents("Best Buy pension", pipeline.open()).scores


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("BESTBUY", "Best Buy"),
        ("Société-Générale", "societe generale"),
        ("3M", "3m"),
        ("R&D", "RD"),
    ],
)
def test_keys_ignore_case_spaces_signs_and_accents(one: str, other: str) -> None:
    assert make_key(one) == make_key(other) != ""


def test_keys_of_a_document_and_of_a_question() -> None:
    keys = list_document_keys(
        {"file": ("BESTBUY_2023", "BESTBUY", "2023"), "first_page": ("Lena Voss",)}
    )
    assert keys["bestbuy"] == 1.0
    assert keys["lenavoss"] == keys["voss"] == 0.4
    by_key = {k.key: k for k in list_query_keys("Did Best Buy's shops sell more in FY23?")}
    assert by_key["bestbuy"].is_name and by_key["2023"].is_name
    assert not by_key["shops"].is_name and not by_key["did"].is_name
