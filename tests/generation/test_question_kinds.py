"""Questions that one sentence does not answer: lists, comparisons, summaries, files."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag import Answer, Pipeline
from rag.generation.question_kinds import find_question_kind

FILES = {
    "bookings.csv": "booking,guest,hall,state\n"
    "B-11,Choir Nord,Oak hall,Confirmed\n"
    "B-12,Chess club,Ash hall,Cancelled\n"
    "B-13,Choir Nord,Ash hall,Confirmed\n"
    "B-14,Yoga group,Oak hall,Confirmed\n"
    "B-15,Film night,Elm hall,Cancelled\n",
    "halls.md": "# Halls of the centre\n\n"
    "## Oak hall\n\nThe Oak hall has 120 seats. The rent is 90 euros an evening.\n\n"
    "## Ash hall\n\nThe Ash hall has 40 seats. The rent is 35 euros an evening.\n\n"
    "## Elm hall\n\nThe Elm hall is a cinema with a piano.\n",
    "rules.md": "# House rules\n\n## Before the event\n\nYou need to bring:\n\n"
    "- a signed contract\n- proof of insurance\n- the deposit in cash\n- a list of guests\n\n"
    "## Noise\n\nMusic ends at ten. Windows stay closed.\n\n"
    "## Cleaning\n\nThe hall is swept by the guests. Rubbish is taken home.\n",
    "minutes.txt": "Minutes of 4 May. Ruth Adler reported on the roof. The roof will be repaired.\n",
}


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    folder = tmp_path_factory.mktemp("docs")
    for name, text in FILES.items():
        (folder / name).write_text(text)
    pipeline = Pipeline(index=tmp_path_factory.mktemp("index"))
    pipeline.ingest(folder)
    return pipeline


def quotes(answer: Answer) -> list[str]:
    return [citation.quote for citation in answer.citations]


def test_all_rows_that_fit_are_listed_and_counted(pipeline: Pipeline) -> None:
    answer = pipeline.ask("Which bookings are confirmed?")
    assert [quote.split(";")[0] for quote in quotes(answer)] == [
        "booking: B-11",
        "booking: B-13",
        "booking: B-14",
    ]
    everything = pipeline.ask("List all bookings")
    assert len(everything.citations) == 5
    assert everything.text.endswith("\n(5 in the passages that were found)")
    assert everything.sentences[-1].status == "needs_none"


def test_a_row_must_fit_in_all_words(pipeline: Pipeline) -> None:
    answer = pipeline.ask("Which bookings of Choir Nord are in the Ash hall?")
    assert [quote.split(";")[0] for quote in quotes(answer)] == ["booking: B-13"]


@pytest.mark.parametrize(
    ("question", "bookings"),
    [
        ("Which bookings are not confirmed?", ["B-12", "B-15"]),
        ("Which bookings are confirmed or cancelled?", ["B-11", "B-12", "B-13", "B-14", "B-15"]),
        ("Which bookings are not in the Oak hall?", ["B-12", "B-13", "B-15"]),
    ],
)
def test_negations_and_alternatives_of_a_list(
    pipeline: Pipeline, question: str, bookings: list[str]
) -> None:
    listed = [
        quote.split(";")[0].removeprefix("booking: ") for quote in quotes(pipeline.ask(question))
    ]
    assert listed == bookings


@pytest.mark.parametrize(
    "question", ["Which bookings are delayed?", "Which bookings have more than 12 guests?"]
)
def test_a_condition_that_no_row_has_gives_no_complete_list(
    pipeline: Pipeline, question: str
) -> None:
    assert "that were found)" not in pipeline.ask(question).text


def test_a_refusal_does_not_name_the_command(pipeline: Pipeline) -> None:
    answer = pipeline.ask("List all unicorns")
    assert answer.status == "abstained"
    assert 'do not mention "unicorns" (' in answer.reason


def test_the_items_of_a_list_are_all_quoted(pipeline: Pipeline) -> None:
    answer = pipeline.ask("Which documents do I need to bring before the event?")
    assert quotes(answer)[:3] == ["You need to bring:", "a signed contract", "proof of insurance"]
    assert len(answer.citations) == 5
    assert answer.text.endswith("\n(4 in the passages that were found)")  # without the lead-in


def test_headings_are_the_items(pipeline: Pipeline) -> None:
    assert quotes(pipeline.ask("Which halls are there?")) == ["Oak hall", "Ash hall", "Elm hall"]


def test_each_side_of_a_comparison_is_quoted(pipeline: Pipeline) -> None:
    answer = pipeline.ask("Compare the rent of the Oak hall and the Ash hall")
    assert len(answer.citations) == 2
    assert "90 euros" in quotes(answer)[0]
    assert "35 euros" in quotes(answer)[1]
    assert [line.split(":")[0] for line in answer.text.splitlines()] == ["Oak hall", "Ash hall"]


@pytest.mark.parametrize(
    ("question", "side"),
    [
        ("Compare the Oak hall and the Pine hall", "Pine hall"),
        ("What is the difference between the rent of the Oak hall and the Elm hall?", "Elm hall"),
    ],
)
def test_a_side_that_is_not_found_is_named(pipeline: Pipeline, question: str, side: str) -> None:
    answer = pipeline.ask(question)
    assert answer.status == "abstained"
    assert f"is about {side}" in answer.reason
    assert "a chat model could compare" in answer.reason


def test_a_summary_has_the_first_sentences_of_the_sections(pipeline: Pipeline) -> None:
    answer = pipeline.ask("Summarize the house rules")
    assert {"Music ends at ten.", "The hall is swept by the guests."} <= set(quotes(answer))
    assert len({citation.uri for citation in answer.citations}) == 1


def test_a_summary_of_nothing_is_refused(pipeline: Pipeline) -> None:
    answer = pipeline.ask("Summarize the moon landing")
    assert answer.status == "abstained"
    assert "a chat model could sum up" in answer.reason


def test_files_that_mention_something(pipeline: Pipeline) -> None:
    answer = pipeline.ask("Which files mention the Ash hall?")
    assert {citation.uri.rsplit("/")[-1] for citation in answer.citations} == {
        "bookings.csv",
        "halls.md",
    }
    assert pipeline.ask("Which documents mention Rudolf Steiner?").status == "abstained"


@pytest.mark.parametrize(
    ("question", "kind", "topic", "sides"),
    [
        ("Which bus goes to Aarhus?", "fact", "Which bus goes to Aarhus?", ()),
        ("What is the status of order 7?", "fact", "What is the status of order 7?", ()),
        ("What happens if I lose my badge?", "fact", "What happens if I lose my badge?", ()),
        ("Which documents do I need to bring?", "list", "documents do I need to bring", ()),
        ("Which files mention Lene Falk?", "files", "Lene Falk", ()),
        ("What is the travel report about?", "summary", "the travel report", ()),
        ("Worum geht es im Reisebericht?", "summary", "Reisebericht", ()),
        ("Which is cheaper, the Basic plan or the Team plan?", "comparison", "cheaper",
         ("Basic plan", "Team plan")),
        ("Compare the number of checks in 2022 and 2024", "comparison", "the number of checks",
         ("2022", "2024")),
        ("Is the H-1 heavier than the P-9?", "comparison", "heavier", ("H-1", "P-9")),
        ("Welche Bestellungen sind offen?", "list", "Bestellungen sind offen", ()),
    ],
)  # fmt: skip
def test_the_kind_of_a_question(
    question: str, kind: str, topic: str, sides: tuple[str, ...]
) -> None:
    assert find_question_kind(question) == (kind, topic, sides)


@given(st.text(max_size=400))
def test_every_text_has_a_kind(text: str) -> None:
    assert find_question_kind(text).kind


@pytest.mark.parametrize(
    ("question", "text"),
    [
        ("When does the music end?", "Noise: Music ends at ten. [1]"),
        ("What is the accent of the Elm hall?", None),
        ("How long is the guarantee of the K-50?", "K-50, Guarantee: Three years. [1]"),
        ("Which valve replaces the K-40?", "K-50: Replaces the K-40, which is no longer made. [1]"),
    ],
)
def test_a_short_sentence_has_the_headings_that_it_needs(
    tmp_path: Path, question: str, text: str | None
) -> None:
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "valves.md").write_text(
        "# Valves\n\n## K-50\n\nReplaces the K-40, which is no longer made.\n\n"
        "### Guarantee\n\nThree years.\n"
    )
    (folder / "rules.md").write_text(FILES["rules.md"])
    with Pipeline(index=tmp_path / "i") as pipeline:
        pipeline.ingest(folder)
        answer = pipeline.ask(question)
    if text is None:
        assert answer.status == "abstained"
    else:
        assert answer.text.splitlines()[0] == text
        assert answer.citations[0].quote in text


def test_a_long_list_says_how_much_of_it_is_quoted(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    rows = "".join(f"T-{i},row {i},Open\n" for i in range(30))
    (tmp_path / "docs" / "tickets.csv").write_text(f"ticket,seat,state\n{rows}")
    with Pipeline(index=tmp_path / "i") as pipeline:
        pipeline.ingest(tmp_path / "docs")
        answer = pipeline.ask("List all open tickets")
    assert len(answer.citations) == 20
    assert answer.text.endswith("\n(the first 20 of 30 in the passages that were found)")


@pytest.mark.parametrize(
    ("question", "quantities"),
    [
        (
            "What is the current ratio? It is defined as total current assets divided by total current"
            " liabilities. Round to two places.",
            ("total current assets", "total current liabilities"),
        ),
        (
            "Define the margin as gross profit / revenue. How high was it in 2024?",
            ("gross profit", "revenue"),
        ),
        (
            "Calculate the result using operating income and D&A (from the cash flow statement).",
            ("operating income", "D&A"),
        ),
        (
            "DPO is defined as: 365 * (average accounts payable between 2016 and 2017) / 2017 COGS",
            ("accounts payable", "COGS"),
        ),
        ("Die Quote ist definiert als Eigenkapital geteilt durch Bilanzsumme.",
         ("Eigenkapital", "Bilanzsumme")),
        ("How is overtime calculated?", ()),
        ("Who is defined as the controller?", ()),
    ],
)  # fmt: skip
def test_a_definition_names_the_quantities_of_a_calculation(
    question: str, quantities: tuple[str, ...]
) -> None:
    asked = find_question_kind(question)
    assert (asked.kind == "calculation") == bool(quantities)
    if quantities:
        assert asked.sides == quantities


BALANCE = """\
# Harbour Ltd, balance sheet 2024

| In thousands | 2024 | 2023 |
|---|---|---|
| Cash | 120 | 90 |
| Other current assets | 56 | 41 |
| Total current assets | 1,001 | 705 |
| Other current liabilities | 73 | 29 |
| Total current liabilities | 577 | 334 |
| Turnover | 4,300 | 4,100 |
"""


def test_the_quantities_of_a_calculation_are_quoted(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "balance.md").write_text(BALANCE)
    with Pipeline(index=tmp_path / "i") as pipeline:
        pipeline.ingest(tmp_path / "docs")
        ratio = pipeline.ask(
            "What is the working capital ratio of Harbour for 2024? Define it as total current assets"
            " divided by total current liabilities."
        )
        share = pipeline.ask("Calculate the share of cash using cash and revenue. How high is it?")
    assert [quote.split("|")[1].strip() for quote in quotes(ratio)] == [
        "Total current assets",
        "Total current liabilities",
    ]
    assert [quote.split("|")[1].strip() for quote in quotes(share)] == ["Cash", "Turnover"]
