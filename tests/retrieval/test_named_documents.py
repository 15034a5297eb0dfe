"""Documents that a question names are favoured, and nothing changes for other questions."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from pathlib import Path

import pytest

from rag import F, HybridRetriever, Pipeline
from rag.retrieval.named_documents import find_named_documents
from rag.text.name_keys import list_document_keys, list_query_keys, make_key
from rag.text.names import list_quarters
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


@pytest.mark.parametrize(
    ("question", "year"),
    [
        ("How did the pension of Best Buy grow last year?", 2022),
        ("How did the pension of Best Buy grow this fiscal year?", 2023),
        ("Wie wuchs die pension von Best Buy im vergangenen Jahr?", 2022),
    ],
)
def test_a_year_may_be_relative_to_today(pipeline: Pipeline, question: str, year: int) -> None:
    retriever = HybridRetriever(today=datetime.date(2023, 6, 1))
    hit = pipeline.replace(retriever=retriever).search(question, k=1)[0]
    assert f"BESTBUY_{year}" in hit.chunk.uri


def test_two_named_years_are_both_among_the_hits(pipeline: Pipeline) -> None:
    names = set(list_names(pipeline, "Compare the revenue of Best Buy in 2022 with 2023", k=6))
    assert {"BESTBUY_2022_10K", "BESTBUY_2023_10K"} <= names


@pytest.mark.parametrize("question", ["How did the pension grow?", "What is research?", "12", "?"])
def test_a_question_that_names_no_document_changes_nothing(
    pipeline: Pipeline, question: str
) -> None:
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


def test_a_year_alone_favours_its_documents_less(pipeline: Pipeline) -> None:
    by_year = find_named_documents("How did leases grow in 2022?", pipeline.open())
    assert len(by_year.scores) == len(COMPANIES) and max(by_year.scores.values()) == 0.5
    by_company = find_named_documents("How did leases of 3M grow in 2022?", pipeline.open())
    assert next(iter(by_company.scores.values())) == 1.0
    uris = pipeline.open().document_store.uris_of_documents(list(by_company.scores))
    assert all("3M" in uri for uri in uris.values())  # none that only has the year


def test_a_document_of_several_years_is_not_favoured_for_all_of_them(tmp_path: Path) -> None:
    for name in ("Acme_2022_and_2023", "Acme_2023", "Acme_2022", "Other_2021", "Third_2020"):
        (tmp_path / f"{name}.md").write_text(write_report(name, 2022))
    with Pipeline(index=tmp_path / "i") as pipeline:
        pipeline.ingest(*sorted(tmp_path.glob("*.md")))
        scores = find_named_documents("Acme pension 2022 and 2023", pipeline.open()).scores
        assert len(scores) == 3 and len(set(scores.values())) == 1


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    """Files that are named alike in folders of sites, which all files mention."""
    folder = tmp_path_factory.mktemp("sites")
    for site in ("Oslo", "Aarhus", "Bjørnøya", "Köln"):
        (folder / site).mkdir()
        for year in (2023, 2024):
            (folder / site / f"energy_{year}.md").write_text(
                f"The compressors used {len(site) * year} kWh. Oslo, Aarhus and Bjørnøya report."
            )
    (folder / "staff.md").write_text("Oslo has 40 people, Aarhus 30, Bjørnøya 2. " * 30)
    with Pipeline(index=tmp_path_factory.mktemp("i") / "index") as opened:
        opened.ingest(folder)
        yield opened


@pytest.mark.parametrize(
    ("question", "file"),
    [
        ("How many kWh did the compressors use in Aarhus in 2024?", "Aarhus/energy_2024.md"),
        ("kWh of the compressors, Oslo 2023", "Oslo/energy_2023.md"),
        ("compressor kWh on Bjornoya 2023", "Bj%C3%B8rn%C3%B8ya/energy_2023.md"),
        ("compressor kWh in Koeln 2024", "K%C3%B6ln/energy_2024.md"),
    ],
)
def test_a_folder_and_a_year_name_a_file(sites: Pipeline, question: str, file: str) -> None:
    assert sites.search(question, k=1)[0].chunk.uri.endswith(file)


def test_the_number_of_a_record_is_not_the_name_of_a_file(tmp_path: Path) -> None:
    lines = [
        f'{{"_id": "{n}", "text": "The note {n} says nothing of use."}}' for n in range(100, 120)
    ]
    (tmp_path / "corpus.jsonl").write_text("\n".join(lines))
    with Pipeline(index=tmp_path / "i") as pipeline:
        pipeline.ingest(f"dataset+{(tmp_path / 'corpus.jsonl').as_uri()}")
        assert not find_named_documents("Which note costs 110 euros?", pipeline.open()).scores


@pytest.mark.parametrize("question", ["Will IT help?", "Is it OR?", "In 15 days?"])
def test_stop_words_and_counts_name_no_document(tmp_path: Path, question: str) -> None:
    for name in ("IT", "OR", "15", "will"):
        (tmp_path / f"{name}.md").write_text(write_report(name, 2022))
    with Pipeline(index=tmp_path / "i") as pipeline:
        pipeline.ingest(*sorted(tmp_path.glob("*.md")))
        assert not find_named_documents(question, pipeline.open()).scores


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


REPORTS = (
    *("Acme_2021_annual", "Acme_2023Q2_report", "Acme_2023_annual", "Acme_letter_2023-08-30"),
    *("Nord_2021_annual", "Nord_2023_annual", "Sued_2021_annual", "Sued_2023_annual"),
)


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    folder = tmp_path_factory.mktemp("files")
    for name in REPORTS:
        (folder / f"{name}.md").write_text(write_report(name, 2022))
    with Pipeline(index=tmp_path_factory.mktemp("i") / "index") as opened:
        opened.ingest(folder)
        yield opened


@pytest.mark.parametrize(
    ("question", "best"),
    [
        ("What was the pension of Acme in 2023?", "Acme_2023_annual"),
        ("What was the pension of Acme in the second quarter, 2023Q2?", "Acme_2023Q2_report"),
        ("What was the pension of Acme in 2020?", "Acme_2021_annual"),  # it has 2020, too
        ("What was the pension of Acme in 2022?", "Acme_2023_annual"),
        ("What does Acme write on 30 August 2023 about the pension?", "Acme_letter_2023-08-30"),
        ("What does Acme write on 08/30/2023 about the pension?", "Acme_letter_2023-08-30"),
    ],
)
def test_years_quarters_and_days_of_files(reports: Pipeline, question: str, best: str) -> None:
    index = reports.open()
    scores = find_named_documents(question, index).scores
    names = {
        n: Path(u).stem for n, u in index.document_store.uris_of_documents(list(scores)).items()
    }
    assert names[next(iter(scores))] == best
    assert all("Acme" in name for name in names.values())


def test_quarters_in_texts() -> None:
    assert list_quarters("2023Q2, Q3 2024, 24H1, 3Q24 and H2 2023") == [
        *(("2023", "Q2"), ("2024", "Q3"), ("2024", "H1"), ("2024", "Q3"), ("2023", "H2"))
    ]
    assert list_quarters("minutes of 2024, in 4 quarters") == []
