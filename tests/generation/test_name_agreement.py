from collections.abc import Sequence

import pytest

from connectors.parsers.markdown import MarkdownParser
from rag.chunking import HeadingChunker, split_document
from rag.embedding import StaticEmbedder
from rag.generation.context_packing import pack
from rag.generation.marker_repair import find_supporting_quotes
from rag.generation.name_agreement import (
    find_name_words,
    find_unknown_identifiers,
    find_unknown_names,
    has_asked_name,
)
from rag.generation.passages import Passage
from rag.text.sentences import Span
from rag.types import Hit
from rag.verification import LexicalVerifier

DEPOTS = """# Depots

## Lyon depot

The depot closes at six. It has 14 gates.

## Turin depot

The depot closes at nine. It has 33 gates.

## Rates

| Depot | Night rate | Pallets |
|---|---|---|
| Lyon | 12 euros | 400 |
| Turin | 19 euros | 950 |

## Valve KX-40

The valve opens at 3 bar.

## Valve KX-60

The valve opens at 5 bar.
"""
VERIFIER = LexicalVerifier()


def make_passages() -> tuple[Passage, ...]:
    document = MarkdownParser().parse(DEPOTS.encode(), uri="depots.md")
    chunks = split_document(HeadingChunker(), document, StaticEmbedder())
    hits = [Hit(chunk=chunk, score=1.0) for chunk in chunks]
    return pack(hits, 10_000, lambda text: len(text.split())).passages


def measure_support(claim: str, question: str = "", marked: Sequence[int] = ()) -> float:
    return find_supporting_quotes(claim, marked, make_passages(), VERIFIER, question)[1]


@pytest.mark.parametrize(
    ("question", "true_claim", "false_claim"),
    [
        (
            "When does the Turin depot close?",
            "The Turin depot closes at nine.",
            "The Turin depot closes at six.",
        ),
        (
            "How many gates does the Lyon depot have?",
            "The Lyon depot has 14 gates.",
            "The Lyon depot has 33 gates.",
        ),
        (
            "What is the night rate in Turin?",
            "The night rate in Turin is 19 euros.",
            "The night rate in Turin is 12 euros.",
        ),
        ("What is the night rate in Lyon?", "12 euros", "19 euros"),
        ("How many pallets does Lyon take?", "400", "950"),
        (
            "At what pressure does the KX-60 open?",
            "The KX60 valve opens at 5 bar.",
            "The KX60 valve opens at 3 bar.",
        ),
    ],
)
@pytest.mark.parametrize("marked", [(), (1,), (2,), (1, 2)])
def test_claim_is_compared_with_the_sentence_below_its_own_name(
    question: str, true_claim: str, false_claim: str, marked: Sequence[int]
) -> None:
    assert measure_support(true_claim, question, marked) >= VERIFIER.threshold
    assert measure_support(false_claim, question, marked) < VERIFIER.threshold


@pytest.mark.parametrize(
    "claim",
    ["The night rate in Nice is 12 euros.", "In Nice, the night rate is 19 euros for a pallet."],
)
def test_name_that_no_source_has_is_not_supported(claim: str) -> None:
    assert measure_support(claim, "What is the night rate in Nice?") < VERIFIER.partial


def test_claim_about_two_sections_may_use_both_names() -> None:
    claim = "The Turin depot closes at nine, after the Lyon depot."
    assert measure_support(claim) >= VERIFIER.threshold


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("What does ERR-07 mean in Oslo?", {"err07", "oslo"}),
        ("Anna's B07 and err_12", {"anna", "b07", "err12"}),
        ("In 2024 the office was open", {"2024"}),
        ("der Preis in München", {"preis", "munchen"}),
        ("the fees of FY24 and FY2023", {"2024", "2023"}),
        ("nothing here", set()),
    ],
)
def test_names_are_words_with_a_capital_or_a_digit(text: str, names: set[str]) -> None:
    assert find_name_words(text) == names


HOTELS = """# Hotel Adler

## Parking

It costs 12 euros a day.

## Staff

All people have 31 days of leave.

Rooms
-----

Rooms are cleaned on Friday.
"""


@pytest.mark.parametrize(
    "claim",
    [
        "Parking at Hotel Adler is free.",
        "The staff of Hotel Adler has 27 weeks.",
        "The rooms of Hotel Adler face the garden.",
    ],
)
def test_words_of_the_headings_do_not_stand_in_for_the_sentence(claim: str) -> None:
    document = MarkdownParser().parse(HOTELS.encode(), uri="hotel.md")
    chunks = split_document(HeadingChunker(), document, StaticEmbedder())
    hits = [Hit(chunk=chunk, score=1.0) for chunk in chunks]
    passages = pack(hits, 10_000, lambda text: len(text.split())).passages
    _, support = find_supporting_quotes(claim, [], passages, VERIFIER, "")
    assert support < VERIFIER.partial


def test_headings_and_the_lines_below_them_are_not_quoted() -> None:
    document = MarkdownParser().parse(HOTELS.encode(), uri="hotel.md")
    chunks = split_document(HeadingChunker(), document, StaticEmbedder())
    hits = [Hit(chunk=chunk, score=1.0) for chunk in chunks]
    passages = pack(hits, 10_000, lambda text: len(text.split())).passages
    quotable = [p.text[s.start : s.end] for p in passages for s in p.sentence_spans()]
    assert quotable == [
        "It costs 12 euros a day.",
        "All people have 31 days of leave.",
        "Rooms are cleaned on Friday.",
    ]


@pytest.mark.parametrize(
    ("names", "uri", "text", "expected"),
    [
        ({"2023"}, "energy_2024.csv", "The peak was 425 kW.", False),
        ({"2023"}, "energy_2023.csv", "The peak was 425 kW.", True),
        ({"2023"}, "report-2024.md", "In 2023, the peak was 425 kW.", True),
        ({"2023", "2024"}, "report-2024.md", "In 2023, the peak was 425 kW.", True),
        ({"p7"}, "manual_P-9.md", "It weighs two kilos.", False),
        ({"p7"}, "manual.md", "The P-9 weighs two kilos.", False),
    ],
)
def test_the_year_of_the_file_is_compared(
    names: set[str], uri: str, text: str, expected: bool
) -> None:
    passage = Passage(1, f"file:///docs/{uri}", 0, len(text), text, "", (), {}, 1.0)
    assert has_asked_name(names, passage, Span(0, len(text))) == expected


@pytest.mark.parametrize(
    ("question", "text", "unknown"),
    [
        ("Who pays for damage above 2000 euros?", "Staff pay up to 50 euros.", set()),
        ("What was sold in FY2024?", "In 2024, 12 pumps were sold.", set()),
        ("What was sold in 2024?", "In FY24, 12 pumps were sold.", set()),
        ("What was sold in 2021?", "In FY24, 12 pumps were sold.", {"2021"}),
        ("What does the P-7 weigh?", "The P-9 weighs two kilos.", {"p7"}),
    ],
)
def test_identifiers_that_no_passage_has(question: str, text: str, unknown: set[str]) -> None:
    passage = Passage(1, "file:///docs/a.md", 0, len(text), text, "", (), {}, 1.0)
    assert find_unknown_identifiers(question, [passage]) == unknown


@pytest.mark.parametrize(
    ("question", "text", "unknown"),
    [
        ("What did Kestrel earn?", "Merlin earned two million.", {"kestrel"}),
        ("What did JnJ earn?", "Johnson & Johnson earned two million.", set()),
        ("What did JNJ earn?", "Jane and Nick earned two million.", {"jnj"}),
        ("What did BMW earn?", "Bayerische Motoren Werke earned two million.", set()),
        ("What did UNHCR earn?", "The High Commissioner earned two million.", {"unhcr"}),
        ("Is there AI?", "He said: an item is missing.", {"ai"}),
        ("What is the PPNE?", "Property, plant and equipment: 12,645", set()),
        ("What is the ratio? Define it first.", "The ratio is two.", set()),
    ],
)
def test_names_that_no_passage_has(question: str, text: str, unknown: set[str]) -> None:
    passage = Passage(1, "file:///docs/a.md", 0, len(text), text, "", (), {}, 1.0)
    assert find_unknown_names(question, [passage]) == unknown


MINUTES = {
    "2025-02-04.md": "# Board meeting\n\n- The launch of the P-11 moves to 1 October 2025.\n",
    "2025-03-11.md": "# Board meeting\n\n- The launch of the P-11 moves again, to 15 January 2026.\n",
}


def make_minutes() -> tuple[Passage, ...]:
    hits = [
        Hit(chunk=chunk, score=1.0)
        for name, text in MINUTES.items()
        for chunk in split_document(
            HeadingChunker(),
            MarkdownParser().parse(text.encode(), uri=f"file:///minutes/{name}"),
            StaticEmbedder(),
        )
    ]
    return pack(hits, 10_000, lambda text: len(text.split())).passages


@pytest.mark.parametrize(
    ("question", "claim", "is_supported"),
    [
        ("What was decided on 11 March 2025?", "The launch moves to 15 January 2026.", True),
        ("What was decided on 11 March 2025?", "The launch moves to 1 October 2025.", False),
        ("What was decided on 11 March?", "The launch moves to 1 October 2025.", False),
        ("What was decided in March 2025?", "The launch moves to 1 October 2025.", False),
        ("What was decided on 4 February 2025?", "The launch moves to 1 October 2025.", True),
        ("What was decided before 11 March 2025?", "The launch moves to 1 October 2025.", True),
        ("What was decided on 5 May 2025?", "The launch moves to 1 October 2025.", True),
        ("When is the launch?", "The launch moves to 1 October 2025.", True),
    ],
)
def test_the_date_of_the_question_is_that_of_the_source(
    question: str, claim: str, is_supported: bool
) -> None:
    _, support = find_supporting_quotes(claim, [], make_minutes(), VERIFIER, question)
    assert (support >= VERIFIER.threshold) is is_supported


ORDERS = """# Orders

| Order | Customer | Product | Status |
|---|---|---|---|
| SO-1 | Brenna Foods | T-300 | delivered |
| SO-2 | Okafor Labs | H-120 | in transit |
| SO-3 | Lumen Ltd | H-120 | cancelled |
"""


@pytest.mark.parametrize(
    ("claim", "is_supported"),
    [
        ("The order of Lumen Ltd was cancelled.", True),
        ("The order of Lumen Ltd was delivered.", False),
        ("The order of Lumen Ltd is in transit.", False),
        ("Lumen Ltd ordered the H-120.", True),
        ("Lumen Ltd ordered the T-300.", False),
        ("The order of Okafor Labs is in transit.", True),
    ],
)
def test_value_of_another_row_does_not_support_a_claim(claim: str, is_supported: bool) -> None:
    document = MarkdownParser().parse(ORDERS.encode(), uri="file:///orders.md")
    chunks = split_document(HeadingChunker(), document, StaticEmbedder())
    hits = [Hit(chunk=chunk, score=1.0) for chunk in chunks]
    passages = pack(hits, 10_000, lambda text: len(text.split())).passages
    _, support = find_supporting_quotes(claim, [], passages, VERIFIER, "")
    assert (support >= VERIFIER.threshold) is is_supported


AUDITS = {
    "audit-2022.md": "Calibration audit 2022\n\n412 instruments were checked and 19 failed. The next audit is in "
    "May 2024.\n",
    "audit-2024.md": "Calibration audit 2024\n\n530 instruments were checked and 11 failed. In 2022, 400 had a seal.\n",
}


@pytest.mark.parametrize(
    ("claim", "is_supported"),
    [
        ("In 2022, 412 instruments were checked.", True),
        ("In 2024, 530 instruments were checked.", True),
        ("In 2024, 412 instruments were checked.", False),
        ("In 2022, 530 instruments were checked.", False),
        ("In 2022, 400 instruments had a seal.", True),
        ("After the audit of 2022, the next audit is in May 2024.", True),
    ],
)
def test_numbers_of_another_year_do_not_support_a_claim(claim: str, is_supported: bool) -> None:
    hits = [
        Hit(chunk=chunk, score=1.0)
        for name, text in AUDITS.items()
        for chunk in split_document(
            HeadingChunker(),
            MarkdownParser().parse(text.encode(), uri=f"file:///quality/{name}"),
            StaticEmbedder(),
        )
    ]
    passages = pack(hits, 10_000, lambda text: len(text.split())).passages
    support = find_supporting_quotes(claim, (), passages, VERIFIER, "How many instruments?")[1]
    assert (support >= VERIFIER.threshold) == is_supported
