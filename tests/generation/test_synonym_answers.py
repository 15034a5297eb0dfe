"""Questions in other words than the documents: synonyms find the answer."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rag import Pipeline

DOCUMENTS = {
    "report-2023.md": """\
# Annual report 2023

| Item | Amount |
|---|---|
| Turnover | 48.2 million |
| Operating profit | 3.1 million |
| Sick leave | 5.4 % |
| Investments | 6.7 million |
""",
    "terms.md": """\
# Terms of sale

## Payment

Invoices are payable within 21 days. Reminders are sent by post.

## Carriage

Parcels up to 5 kg are sent for 6.90.
""",
    "handbook.md": """\
# Handbook

## Animals

Dogs are forbidden in the laboratory.

## Canteen

Lunch is served from half past eleven in the canteen on the second floor.

## Lost badges

A new badge is 15 euros.
""",
    "hausordnung.md": """\
# Hausordnung

## Abfall

Abfälle werden am Dienstag abgeholt.

## Aufzug

Der Aufzug wird im Mai gewartet.
""",
}


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    folder = tmp_path_factory.mktemp("synonyms")
    for name, text in DOCUMENTS.items():
        (folder / name).write_text(text, encoding="utf-8")
    with Pipeline(index=folder.parent / "synonyms-index") as opened:
        opened.ingest(folder)
        yield opened


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("What was the revenue in 2023?", "48.2 million"),
        ("EBIT 2023?", "3.1 million"),
        ("How high was the absence due to illness in 2023?", "5.4 %"),
        ("What is the credit period for bills?", "21 days"),
        ("What are the shipping costs of a package?", "6.90"),
        ("Are pets allowed in the laboratory?", "forbidden"),
        ("When can I get a midday meal in the cafeteria?", "half past eleven"),
        ("What does it cost if I lose my entry card?", "15 euros"),
        ("An welchem Tag wird der Müll abgeholt?", "Dienstag"),
        ("Wann ist die Inspektion des Fahrstuhls?", "im Mai"),
    ],
)
def test_the_answer_in_other_words_is_quoted_first(
    pipeline: Pipeline, question: str, answer: str
) -> None:
    result = pipeline.ask(question)
    assert result.status == "answered"
    assert answer in result.citations[0].quote


@pytest.mark.parametrize(
    "question", ["Who repairs the elevator?", "When is the refuse of Ålesund taken?"]
)
def test_no_synonym_answers_what_no_document_says(pipeline: Pipeline, question: str) -> None:
    assert pipeline.ask(question).status == "abstained"
