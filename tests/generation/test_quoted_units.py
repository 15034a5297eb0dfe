"""What is quoted as one unit: the row of a range, a sentence with its exception, a mail's sender."""

from pathlib import Path

import pytest

from rag import (
    Answer,
    ExtractiveGenerator,
    GroundedGenerator,
    Pipeline,
    ScriptedChat,
    StaticEmbedder,
)
from rag.generation.answer_types import find_answer_type, has_answer_of_type, has_new_answer
from rag.generation.passages import Passage
from rag.generation.relevance import list_features
from rag.query import Query
from rag.text.function_words import points_back

FEES = """\
# Delivery

| Zone | Distance | Fee |
| --- | --- | --- |
| A | up to 20 km | 35 euros |
| B | 20–60 km | 70 euros |
| C | over 60 km | on request |

## Group size

One guide leads 1 to 8 guests. Two guides lead 9 to 20 guests.
"""
TERMS = """\
# Cancelling

You can cancel free of charge up to 10 days before the party. After that, we charge 50 % of the rent.

# Deposit

The deposit is 100 euros. Otherwise pay cash.

The keys are at the gate.

# Parking

A parking place costs 40 euros a month. It can be cancelled at the end of a quarter. The barrier is opened with a card.

It closes by itself.
"""
MAIL = """\
From: Lena Fuchs <lena@example.com>
To: office@example.com
Subject: Heater
Date: Mon, 05 May 2025 10:00:00 +0200

The heater did not work on Saturday. We ask for a refund of 320 euros, half of the rent.

Lena Fuchs

On Fri, 2 May 2025 at 09:00, Jonas Weber wrote:
> Dear Lena, the plumber repairs the heater in cabin 4 on
> Thursday morning.
"""


@pytest.fixture
def office(tmp_path: Path, pipeline: Pipeline) -> Pipeline:
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "fees.md").write_text(FEES, encoding="utf-8")
    (docs / "terms.md").write_text(TERMS, encoding="utf-8")
    (docs / "heater.eml").write_text(MAIL, encoding="utf-8")
    pipeline.ingest(docs)
    return pipeline


def quote(office: Pipeline, question: str) -> str:
    return office.replace(generator=ExtractiveGenerator(answerability=0.1)).ask(question).text


@pytest.mark.parametrize(
    ("question", "answer", "other"),
    [
        ("What is the delivery fee for 12 km?", "35 euros", "70"),
        ("What is the delivery fee for 45 km?", "70 euros", "35"),
        ("What is the delivery fee for 75 km?", "on request", "35"),
        ("How many guides lead 15 guests?", "Two guides", "One guide"),
    ],
)
def test_the_row_whose_range_has_the_number_is_quoted(
    office: Pipeline, question: str, answer: str, other: str
) -> None:
    text = quote(office, question)
    assert answer in text and other not in text


def test_a_number_outside_of_all_ranges_changes_nothing(office: Pipeline) -> None:
    assert "guides lead" in quote(office, "How many guides lead 99 guests?")


def test_a_sentence_is_quoted_with_its_exception(office: Pipeline) -> None:
    answer = office.ask("Is it free of charge to cancel before the party?")
    assert "After that, we charge 50 %" in answer.text
    assert all(citation.verified for citation in answer.citations)
    text = quote(office, "How much is the deposit?")
    assert "100 euros. Otherwise pay cash. [1]" in text


def test_a_sentence_with_a_pronoun_is_quoted_with_what_it_points_to(office: Pipeline) -> None:
    answer = office.ask("When can the parking place be cancelled?")
    quote_ = "A parking place costs 40 euros a month. It can be cancelled at the end of a quarter."
    assert answer.text.count("costs 40 euros") == 1
    assert answer.citations[0].quote == quote_
    assert all(citation.verified for citation in answer.citations)


@pytest.mark.parametrize(
    "text",
    [
        "It is due on the third working day.",
        "Die Miete ist am dritten Werktag fällig.",
        "It ends on the last day of the lease.",
        "It can be cancelled at the end of a quarter.",
        "Pay within 14 days.",
    ],
)
def test_a_day_without_a_date_is_a_time(text: str) -> None:
    assert has_answer_of_type(text, "time")


@pytest.mark.parametrize(
    ("question", "kind"),
    [
        ("When is the rent due?", "time"),
        ("By when must the fee be paid?", "time"),
        ("Who pays the rent?", "person"),
        ("Who sets the maximum price?", "person"),
        ("How much is the rent?", "money"),
        ("What is the rent?", "money"),
        ("How long is the rent fixed?", "duration"),
    ],
)
def test_the_question_word_says_what_is_asked_for(question: str, kind: str) -> None:
    assert find_answer_type(question) == kind


@pytest.mark.parametrize(
    ("question", "text", "expected"),
    [
        ("How long must a password be?", "It has at least 14 characters.", True),
        ("How long is the hall?", "The hall is 30 m by 12 m.", True),
        ("How long is the hall?", "It may be used for two hours.", True),
        ("How long does the course take?", "It has 14 pages.", False),
        ("Wie lang muss das Passwort sein?", "Es hat mindestens 14 Zeichen.", True),
    ],
)
def test_how_long_asks_for_a_time_or_a_length(question: str, text: str, expected: bool) -> None:
    assert has_new_answer(question, text, "duration") is expected


def test_a_quoted_mail_is_shown_without_its_signs_and_its_attribution(office: Pipeline) -> None:
    answer = office.ask("When does the plumber repair the heater in cabin 4?")
    assert "in cabin 4 on Thursday morning." in answer.text
    assert ">" not in answer.text
    assert "wrote:" not in answer.text
    (quoted,) = (c for c in answer.citations if "Thursday" in c.quote)
    assert "cabin 4 on\n> Thursday" in quoted.quote
    assert quoted.verified


def test_a_heading_alone_is_no_answer() -> None:
    """As the title of a chart is, whose values are in the cells of the sheet."""
    title = "Prices of the kayak tours"
    query = Query("What are the prices of the kayak tours?")
    features = [
        list_features(
            query,
            [Passage(1, "file:///a.xlsx", 0, len(title), title, "a", headings, {}, 1.0)],
            StaticEmbedder(),
        )
        for headings in [("Sheet", title), ("Sheet",)]
    ]
    assert [len(found) for found in features] == [0, 1]


def test_a_pronoun_does_not_point_into_another_paragraph(office: Pipeline) -> None:
    text = quote(office, "Does the barrier close by itself?")
    assert "with a card. It closes" not in text


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [
        ("It can be paid in three instalments.", True),
        ("Its lead time is 9 weeks.", True),
        ("This model has a warranty of 3 years.", True),
        ("Sie kann in drei Raten gezahlt werden.", True),
        ("Elle coûte 5 euros.", True),
        ("It is not allowed to smoke.", False),
        ("It takes two days.", False),
        ("It takes about two working days.", False),
        ("It takes long.", False),
        ("It takes a sample every 15 seconds.", True),
        ("This year, we are closed in May.", False),
        ("There is coffee.", False),
        ("Sie können die Kaution in Raten zahlen.", False),
        ("Es gibt Kaffee.", False),
        ("Il faut payer.", False),
        ("Itinerary: Oslo", False),
        ("", False),
    ],
)
def test_pronouns_point_back_unless_they_stand_for_nothing(sentence: str, expected: bool) -> None:
    assert points_back(sentence) == expected


def test_who_writes_we_in_a_mail_is_its_sender(office: Pipeline) -> None:
    assert claim_refund(office, "Lena Fuchs").status == "answered"
    assert claim_refund(office, "The customer").status == "answered"
    assert claim_refund(office, "Jonas Weber").status == "abstained"


def claim_refund(office: Pipeline, person: str) -> Answer:
    reply = f"{person} wants a refund of 320 euros, half of the rent [1]."
    generator = GroundedGenerator(model=ScriptedChat(replies=(reply,)), fallback=None)
    return office.replace(generator=generator, k=1).ask("How much refund does Lena Fuchs want?")


def test_the_name_of_a_group_of_rows_is_not_quoted(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text(
        "# Cash flows\n\n| | 2018 | 2017 |\n| --- | --- | --- |\n"
        "| Cash flows from investing | | |\n| Purchases of boats | 1,577 | 1,373 |\n"
        "| Sales of boats | 262 | 49 |\n| Closed in winter. | | |\n"
    )
    with Pipeline(index=tmp_path / "index") as pipeline:
        pipeline.ingest(tmp_path / "a.md")
        answer = pipeline.ask("What were the cash flows from investing in boats in 2018?")
    quotes = [citation.quote for citation in answer.citations]
    assert quotes and not any("flows from investing" in quote for quote in quotes)
    assert any("1,577" in quote for quote in quotes)


@pytest.mark.parametrize(
    ("question", "quote"),
    [
        (
            "Which colour of the lime means that it is used up?",
            "Check the colour of the lime. Violet means used up.",
        ),
        ("What is the weight of the anchor?", "Note the weight of the anchor. It is on its shank."),
        ("Where does the crane stand?", "The crane stands on the north quay."),  # says where
        ("When does the music end?", "The music ends at ten."),  # says when
        ("Is the colour of the lime checked?", "Check the colour of the lime."),  # decides
    ],
)
def test_a_sentence_that_repeats_the_question_comes_with_the_next_one(
    tmp_path: Path, question: str, quote: str
) -> None:
    (tmp_path / "a.md").write_text(
        "# Checks\n\n- Check the colour of the lime. Violet means used up.\n- Oil the winch.\n\n"
        "Note the weight of the anchor. It is on its shank. The anchor is new.\n\n"
        "The crane stands on the north quay. It is yellow.\n\n"
        "The music ends at ten. Windows stay closed.\n"
    )
    with Pipeline(index=tmp_path / "index") as pipeline:
        pipeline.ingest(tmp_path / "a.md")
        answer = pipeline.ask(question)
    assert answer.citations[0].quote == quote
