"""What is quoted: spelling, names, the attribute and the kind of answer that a question asks for."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag import ExtractiveGenerator, Pipeline, StaticEmbedder
from rag.generation.answer_types import find_answer_type, has_answer_of_type, has_new_answer
from rag.generation.asked_attribute import find_asked_attribute
from rag.generation.question_spelling import respell_question
from rag.generation.relevance import find_unmentioned_words
from rag.query import Query
from tests.generation.samples import PASSAGES, make_hit

FILES = {
    "catalogue.md": """# Catalogue

## K-40 level gauge

Price: 120 euros. Accuracy 2 mm. Code GX-0815 on the label means that the float is stuck.

## K-60 level gauge

Replaces the K-50, which is no longer made. Price: 190 euros. The warranty lasts three years.
""",
    "sites.md": """# Sites

| Site | Staff | Floor space |
|---|---|---|
| Tromsø | 9 | 310 m2 |
| Cadiz | 112 | 6,900 m2 |

## Cadiz

Head of the site: Marta Ruiz. Two shifts, 06:00 to 22:00. Phone 555-3301.

## Tromsø

Head of the site: Odd Lie. Answer complaints within two working days.
""",
    "minutes.md": """# Minutes of 4 May

Odd Lie will test the new valve at Cadiz. Budget: 8,200 euros.
""",
}


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    folder = tmp_path_factory.mktemp("relevance")
    docs = folder / "docs"
    docs.mkdir()
    for name, text in FILES.items():
        (docs / name).write_text(text)
    with Pipeline(index=folder / "index") as opened:
        opened.ingest(docs)
        yield opened


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("What does GX815 mean?", "float is stuck"),  # another spelling
        ("what does the code gx 0815 mean", "float is stuck"),
        ("How long does the warrenty of the K-60 last?", "three years"),  # a typo
        ("who is the head of the site in cadis", "Marta Ruiz"),
        ("How large is the Cadiz site?", "6,900 m2"),  # a number, and not a name or a time of day
        ("What is the budget of the valve test at Cadiz?", "8,200 euros"),
    ],
)
def test_answers(pipeline: Pipeline, question: str, expected: str) -> None:
    answer = pipeline.ask(question)
    assert answer.status == "answered", answer.reason
    assert expected in answer.text
    for citation in answer.citations:
        text = pipeline.open().document_store.text(citation.uri, citation.start, citation.end)
        assert text == citation.quote


@pytest.mark.parametrize(
    "question",
    [
        "What is the accuracy of the K-50?",  # stands under the K-40
        "What is the salary of Marta Ruiz?",
        "What is Marta Ruiz's birthday?",
        "How many staff were at Cadiz in 2019?",  # no text mentions the year
    ],
)
def test_refusals(pipeline: Pipeline, question: str) -> None:
    assert pipeline.ask(question).status == "abstained"


def test_a_refusal_names_what_the_passages_do_not_mention(pipeline: Pipeline) -> None:
    reason = pipeline.ask("What is the salary of Marta Ruiz?").reason
    assert 'they do not mention "salary" (probability of an answer: ' in reason


@pytest.mark.parametrize(
    ("question", "kind"),
    [
        ("How many probes leak?", "number"),
        ("Wie groß ist die Halle?", "number"),
        ("How much is the rent?", "money"),
        ("What does the probe cost?", "money"),
        ("Was kostet die Miete?", "money"),
        ("How quickly must we answer?", "duration"),
        ("How many days of leave are there?", "duration"),
        ("When is the audit?", "time"),
        ("What time does the office open?", "time"),
        ("Who signs the letters?", "person"),
        ("What is the phone number of the reception?", "contact"),
        ("Which contractor clears the yard?", "person"),
        ("What is the name of the firm that clears the yard?", "person"),
        ("What do we pay for a pallet?", "money"),
        ("Why does it leak?", "reason"),
        ("What happens when it leaks?", None),
        ("Where is the office?", None),
    ],
)
def test_kinds_of_answers(question: str, kind: str | None) -> None:
    assert find_answer_type(question) == kind


def test_texts_with_a_kind_of_answer() -> None:
    assert has_answer_of_type("within one working day", "duration")
    assert has_answer_of_type("Tests are made every Monday.", "time")
    assert has_answer_of_type("Lunch is served from half past eleven.", "time")
    assert has_answer_of_type("Doors open at seven on Fridays.", "time")
    assert has_answer_of_type("Es beginnt um halb zwölf.", "time")
    assert not has_answer_of_type("Ask at one of the desks.", "time")
    assert not has_answer_of_type("It comes from two suppliers.", "time")
    assert has_answer_of_type("It is recorded when the goods leave.", "time")
    assert has_answer_of_type("Site manager: Marta Ruiz.", "person")
    assert has_answer_of_type("Call 555-3301.", "contact")
    assert has_answer_of_type("It is free.", "money")
    assert not has_answer_of_type("Assembly and test.", "number")
    assert not has_answer_of_type("Two shifts.", "money")
    assert not has_answer_of_type("Bought new in 2019.", "money")
    assert has_answer_of_type("| Wrapping | 2019.50 |", "money")
    assert has_answer_of_type("| Wrapping | 180 |", "money")
    assert not has_answer_of_type("Staff as of 2019.", "number")
    assert not has_answer_of_type("The glue failed.", "person")
    assert not has_answer_of_type("Room 12.", "contact")


@pytest.mark.parametrize(
    "text",
    [
        "Friday, 14 November",
        "2023-04-11",
        "open 8-12 and 14-17",
        "at 5 p.m.",
        "by the 5th",
        "in 2024",
        "am 5. jedes Monats",
        "um 8 Uhr",
        "5.4.2025",
        "week 34",
        "Q3",
        "10:30",
        "seit 1999",
    ],
)
def test_texts_with_a_time(text: str) -> None:
    assert has_answer_of_type(text, "time")


@pytest.mark.parametrize(
    "text", ["18,200 euros", "8 spaces", "Price: 1849", "3.5 hours", "32kg", "EUR1,200", "20/30"]
)
def test_amounts_are_no_times(text: str) -> None:
    assert has_answer_of_type(text, "number") and has_answer_of_type(text, "money")
    assert not has_answer_of_type(text, "time")


@pytest.mark.parametrize(
    "text",
    [
        "Subject: Invoice 2025-0341",
        "Date: Mon, 10 Mar 2025 14:02:00 +0100",
        "SN-88213",
        "the P-7",
        "space no. 9",
        "Wohnung 14",
        "§ 3",
        "see page 12",
    ],
)
def test_dates_and_identifiers_are_no_amounts(text: str) -> None:
    assert not has_answer_of_type(text, "money") and not has_answer_of_type(text, "number")


def test_a_sentence_that_only_repeats_the_person_of_the_question_is_no_answer() -> None:
    text = "The code of the door is changed on the first of each month; ask the captain."
    assert not has_new_answer("Who is the captain?", text, "person")
    assert has_new_answer("Who knows the code of the door?", text, "person")
    assert has_new_answer("Who pays for repairs?", "Repairs are paid by the tenant.", "person")
    assert has_new_answer("How many hours is a week?", "A week has 37 hours.", "number")
    hit = make_hit("a", 0, text)
    generator = ExtractiveGenerator()
    assert generator.answer("Who is the captain?", [hit]).status == "abstained"
    assert generator.answer("When is the code of the door changed?", [hit]).status == "answered"
    sure = ExtractiveGenerator(answerability=0)
    assert sure.answer("Who is the captain?", [hit]).status == "answered"


@pytest.mark.parametrize(
    ("question", "attribute"),
    [
        ("What is the accuracy of the K-50?", ("accuracy",)),
        ("What is Marta Ruiz's salary?", ("salary",)),
        ("What was the operating income of Acme in 2019?", ("operating", "income")),
        ("What is the amount of the K-50?", ()),
        ("What is the price of the valve?", ()),  # not of a name
        ("Who is Marta Ruiz?", ()),
        ("Where is the office of Marta Ruiz?", ()),
    ],
)
def test_asked_attributes(question: str, attribute: tuple[str, ...]) -> None:
    assert find_asked_attribute(question) == attribute


@pytest.mark.parametrize(
    ("question", "respelled"),
    [
        ("What does err07 mean?", "What does ERR-07 mean?"),
        ("order of 3 February 2025", "order of 2025-02-03"),
        ("Where does the propelor go?", "Where does the propelor go?"),  # two letters
        ("Is the propellar made of nylon?", "Is the propeller made of nylon?"),
        ("When was the price decreased?", "When was the price decreased?"),  # not "increased"
        ("Who is Kim?", "Who is Kim?"),  # not "Tim"
        ("Who made the Cadis site?", "Who made the Cadis site?"),  # a short name
        ("Is the chargin slow?", "Is the charging slow?"),
        ("How long does charging last?", "How long does charging last?"),
        ("How often were they charged?", "How often were they charged?"),  # of the same stem
        ("How many arrived in Nov 2024?", "How many arrived in November 2024?"),
        ("Which inspecton rules apply?", "Which inspection rules apply?"),  # in the file's name
        ("", ""),
    ],
)
def test_a_question_is_written_as_the_passages_are(question: str, respelled: str) -> None:
    texts = [
        "ERR-07 is shown. The propeller is of nylon, from 2025-02-03. Tim increased the price.",
        "Charging takes long at the Cadiz site. In November, it rained.",
    ]
    passages = [
        replace(PASSAGES[0], number=i, text=text, uri="truck-inspection.md")
        for i, text in enumerate(texts)
    ]
    query = Query(question, carried_terms=("battery",))
    expected = Query(respelled, carried_terms=("battery",))
    assert respell_question(query, passages, StaticEmbedder()) == expected


@given(st.text(max_size=200))
def test_any_question_can_be_written_as_the_passages_are(question: str) -> None:
    query = Query(question)
    respelled = respell_question(query, PASSAGES, StaticEmbedder())
    assert respell_question(respelled, PASSAGES, StaticEmbedder()) == respelled
    assert respell_question(query, [], StaticEmbedder()) == query


def test_german_forms_of_a_word_are_mentioned() -> None:
    texts = ["Hunde dürfen nur mit Zustimmung gehalten werden."]
    assert find_unmentioned_words("Ist ein Hund erlaubt?", texts) == ["erlaubt"]
    assert find_unmentioned_words("Is a zustimm a dog?", texts) == ["zustimm", "dog"]
