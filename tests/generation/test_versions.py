"""Old and new versions of a document: the newest value stands first, and both are quoted."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote

import pytest

from rag import Answer, Pipeline
from rag.generation.passages import Passage
from rag.generation.relevance import Candidate
from rag.generation.versions import put_newest_first
from rag.text.sentences import Span

RULES = "# House rules\n\nThe gate closes at {}. Visitors sign in at the desk.\n"
PRICES = "Service,Unit,Price EUR\nStorage,pallet per month,{}\nWrapping,pallet,4.20\n"
MINUTES = "# Board meeting, {}\n\nThe membership fee is set at {} euros a year.\n"
GATE, STORAGE, FEE = (
    "When does the gate close?",
    "How much is storage?",
    "How much is the membership fee?",
)


@pytest.mark.parametrize(
    ("question", "files", "newest"),
    [
        (GATE, {"rules v1.md": RULES.format("20:00"), "rules v2.md": RULES.format("22:00")}, 1),
        (GATE, {"rules v10.md": RULES.format("20:00"), "rules v9.md": RULES.format("22:00")}, 0),
        (GATE, {"a/old/rules.md": RULES.format("20:00"), "a/rules.md": RULES.format("22:00")}, 1),
        (GATE, {"old/rules.md": RULES.format("20:00"), "rules.md": RULES.format("22:00")}, 1),
        (GATE, {"2024/rules.md": RULES.format("22:00"), "2023/rules.md": RULES.format("20:00")}, 0),
        (GATE, {"rules draft.md": RULES.format("20:00"), "rules.md": RULES.format("22:00")}, 1),
        (GATE, {"rules (Entwurf).md": RULES.format("20:00"), "rules.md": RULES.format("22:00")}, 1),
        (STORAGE, {"Prices 2023.csv": PRICES.format("12.50"), "Prices 2024.csv": PRICES.format("13.80")}, 1),
        (FEE, {"2024-03-12 minutes.md": MINUTES.format("new fees", 55), "2022-03-14 minutes.md": MINUTES.format("new fees", 40)}, 0),
        (FEE, {"a.md": MINUTES.format("12 June 2024", 55), "b.md": MINUTES.format("14 March 2024", 40)}, 0),
    ],
)  # fmt: skip
def test_the_newest_version_stands_first(
    pipeline: Pipeline, tmp_path: Path, question: str, files: dict[str, str], newest: int
) -> None:
    answer = ask(pipeline, tmp_path, question, files)
    cited = [unquote(citation.uri).split("/docs/")[1] for citation in answer.citations]
    assert cited[:2] == [list(files)[newest], list(files)[1 - newest]]


@pytest.mark.parametrize(
    ("question", "files", "cited"),
    [
        ("When did the gate close in the old rules?", {"rules (old).md": RULES.format("20:00"), "rules.md": RULES.format("22:00")}, "rules (old).md"),
        ("How much was storage in 2023?", {"Prices 2023.csv": PRICES.format("12.50"), "Prices 2024.csv": PRICES.format("13.80")}, "Prices 2023.csv"),
        ("What was the first membership fee?", {"2022-03-14 minutes.md": MINUTES.format("new fees", 40)}, "2022-03-14 minutes.md"),
    ],
)  # fmt: skip
def test_a_question_about_the_past_keeps_the_order(
    pipeline: Pipeline, tmp_path: Path, question: str, files: dict[str, str], cited: str
) -> None:
    answer = ask(pipeline, tmp_path, question, files)
    assert unquote(answer.citations[0].uri).endswith(cited)


def test_documents_with_other_names_are_no_versions(pipeline: Pipeline, tmp_path: Path) -> None:
    """Berlin's rules of 2023 are not replaced by Aarhus' of 2024."""
    files = {
        "Berlin rules 2023.md": "# Berlin rules\n\nParking in the yard costs 5 euros a day.\n",
        "Aarhus rules 2024.md": "# Aarhus rules\n\nParking in the yard costs 3 euros a day.\n",
    }
    answer = ask(pipeline, tmp_path, "How much is parking at the Berlin yard?", files)
    assert "5 euros" in answer.text.split("\n")[0]


def test_documents_of_other_folders_are_no_versions() -> None:
    """The price list of Oslo of 2023 is not replaced by that of Aarhus of 2024."""
    first, second = (
        Candidate(
            Passage(1, f"file:///sites/{name}.csv", 0, 9, text, "", (), {}, 1.0),
            Span(0, len(text)),
            1.0,
            1.0,
        )
        for name, text in [
            ("Oslo/prices 2023", "Storage costs 12 euros."),
            ("Aarhus/prices 2024", "Storage costs 13 euros."),
        ]
    )
    assert put_newest_first("How much is storage?", [first, second], []) == [first, second]


def ask(pipeline: Pipeline, folder: Path, question: str, files: dict[str, str]) -> Answer:
    for name, text in files.items():
        path = folder / "docs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    pipeline.ingest(folder / "docs")
    return pipeline.ask(question)
