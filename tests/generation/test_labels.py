"""Labels at the start of a paragraph are quoted with what they label."""

from __future__ import annotations

from pathlib import Path

import pytest

from rag import Pipeline
from rag.generation.passages import Passage

MINUTES = """\
# Committee, 13 March 2024

1. **Breakwater.** Gannet started a week late because of the gales. The work ends in June.
2. Sponsor. Brightwater pays 6,000 pounds for the regatta.

## Boiler faults

E4  flue blocked. Do not reset the boiler, and phone Hobbs.

E5  no water. Open the valve behind the boiler.

## Junior week

The price is £240 for the children of members.

We expect 42 children and eleven helpers.

## Letters

When does the club bar open again after the flood?

The club bar opens again after the flood on 2 May.
"""


@pytest.fixture
def pipeline(tmp_path: Path) -> Pipeline:
    (tmp_path / "minutes.md").write_text(MINUTES, encoding="utf-8")
    opened = Pipeline(index=tmp_path / "index")
    opened.ingest(tmp_path / "minutes.md")
    return opened


@pytest.mark.parametrize(
    ("question", "quote"),
    [
        ("Why did the work at the breakwater start late?", "because of the gales."),
        (
            "What does the sponsor pay?",
            "2. Sponsor. Brightwater pays 6,000 pounds for the regatta.",
        ),
        ("What do I do when the boiler shows E4?", "phone Hobbs."),
        ("How many children are expected at junior week?", "42 children"),
        ("When does the club bar open again after the flood?", "on 2 May."),
    ],
)
def test_the_first_quote_holds_the_answer(pipeline: Pipeline, question: str, quote: str) -> None:
    answer = pipeline.ask(question)
    assert answer.status == "answered"
    assert quote in answer.citations[0].quote or answer.citations[0].quote in quote
    for citation in answer.citations:
        text = pipeline.document(citation.uri).text
        assert text[citation.start : citation.end] == citation.quote


@pytest.mark.parametrize(
    ("text", "quotes"),
    [
        ("**Roof.** It leaks. It is old.", ["**Roof.** It leaks.", "It is old."]),
        ("2. Roof. It leaks.", ["2. Roof. It leaks."]),
        ("2 Roof. It leaks.", ["2 Roof. It leaks."]),
        ("- *Keys.* Two sets.", ["- *Keys.* Two sets."]),
        ("E4  flue blocked. Do not reset.", ["E4  flue blocked. Do not reset."]),
        ("Yes. Dogs are welcome.", ["Yes. Dogs are welcome."]),
        ("412 items were checked. One failed.", ["412 items were checked.", "One failed."]),
        ("Oh. The battery lasts 34 minutes.", ["Oh.", "The battery lasts 34 minutes."]),
        ("—. It leaks.", ["—.", "It leaks."]),
        ("The lamp is red. It is new.", ["The lamp is red.", "It is new."]),
        ("1. The pump runs well. Oil it.", ["1. The pump runs well.", "Oil it."]),
        ("Roof.\nIt leaks.", ["Roof.", "It leaks."]),
        ("It is wet. Roof. It leaks.", ["It is wet.", "Roof.", "It leaks."]),
    ],
)
def test_labels_are_a_part_of_the_sentence_behind_them(text: str, quotes: list[str]) -> None:
    passage = Passage(1, "a.md", 0, len(text), text, "", (), {}, 1.0)
    assert [text[start:end] for start, end in passage.sentence_spans()] == quotes
