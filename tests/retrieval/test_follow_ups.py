"""Follow-up questions: what is replaced, what is carried, and what stands by itself."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag import Pipeline
from rag.query import Query
from rag.retrieval import CarryOver
from rag.retrieval.follow_ups import Turn, complete_follow_up
from rag.types import NO_ANSWER, Message

CONVERSATIONS = [
    (["Who leads the Turin site?"], "", "And the Bergen site?", "Who leads the Bergen site?"),
    (
        ["Who leads the Turin site?", "And the Bergen site?"],
        "",
        "What is its phone number?",
        "What is its phone number? (Bergen site)",
    ),
    (
        ["How much does the Basic plan cost?"],
        "",
        "And the Team plan?",
        "How much does the Team plan cost?",
    ),
    (
        ["How much does the Basic plan cost?", "And the Team plan?"],
        "",
        "How many users does it include?",
        "How many users does it include? (Team plan)",
    ),
    (
        ["How many workers does the Bergen site have?"],
        "",
        "What about Turin?",
        "How many workers does the Turin site have?",
    ),
    (
        ["How many workers does the Bergen site have?", "What about Turin?"],
        "",
        "Who leads it?",
        "Who leads it? (Turin site)",
    ),
    (["What does the Max plan cost?"], "", "and Basic?", "What does the Basic plan cost?"),
    (
        ["What does the Max plan cost?", "and Basic?"],
        "",
        "How many users are included in it?",
        "How many users are included in it? (Basic plan)",
    ),
    (
        ["How many instruments were checked in 2022?"],
        "",
        "And in 2024?",
        "How many instruments were checked in 2024?",
    ),
    (
        ["How many instruments were checked in 2022?"],
        "",
        "no, I meant 2023",
        "How many instruments were checked in 2023?",
    ),
    (
        ["How many instruments were checked in 2022?"],
        "",
        "Sorry, 2023",
        "How many instruments were checked in 2023?",
    ),
    (
        ["Who leads the Turin site?"],
        "",
        "no, I meant the Bergen site",
        "Who leads the Bergen site?",
    ),
    (["Who leads the Turin site?"], "", "Not Turin, Bergen", "Who leads the Bergen site?"),
    (["Who leads the Turin site?"], "", "I mean Bergen, not Turin", "Who leads the Bergen site?"),
    (
        ["What is the rent of the Kite 4?"],
        "",
        "And in Bergen?",
        "What is the rent of the Kite 4 in Bergen?",
    ),
    (["What does the Kite 4 cost?"], "", "And the Kite 5?", "What does the Kite 5 cost?"),
    (
        ["How long is the warranty of the P-7?"],
        "",
        "And the P-9?",
        "How long is the warranty of the P-9?",
    ),
    (["How much does a coffee cost?"], "", "And tea?", "How much does a tea cost?"),
    (["How long does charging take?"], "", "And flying?", "How long does flying take?"),
    (
        ["How much does the pressure sensor cost?"],
        "",
        "And the humidity sensor?",
        "How much does the humidity sensor cost?",
    ),
    (
        ["What does a ticket cost for adults?"],
        "",
        "And for children?",
        "What does a ticket cost for children?",
    ),
    (
        ["When does the library open on Monday?"],
        "",
        "And on Sunday?",
        "When does the library open on Sunday?",
    ),
    (
        ["What was the turnover in March 2024?"],
        "",
        "And in April?",
        "What was the turnover in April 2024?",
    ),
    (["What was the turnover?"], "", "In 2023?", "What was the turnover in 2023?"),
    (
        ["How heavy is the Kite 4?"],
        "",
        "What about the propellers?",
        "What about the propellers? (Kite 4)",
    ),
    (
        ["Who leads the Bergen site?"],
        "",
        "And the phone number?",
        "And the phone number? (Bergen site)",
    ),
    (
        ["Who leads the Bergen site?"],
        "",
        "When was it opened?",
        "When was it opened? (Bergen site)",
    ),
    (
        ["How do I get to the Bergen site?"],
        "",
        "Who works there?",
        "Who works there? (get Bergen site)",
    ),
    (
        ["How many days of leave are there?"],
        "",
        "Is it allowed to carry them over?",
        "Is it allowed to carry them over? (days leave)",
    ),
    (
        ["How many days of leave do I get?"],
        "",
        "How long does it take to ship an order to France?",
        "How long does it take to ship an order to France?",
    ),
    (
        ["How many days of leave do I get?"],
        "",
        "Which printer is on the second floor?",
        "Which printer is on the second floor?",
    ),
    (
        ["How many days of leave do I get?"],
        "",
        "What is the report that was filed in May about?",
        "What is the report that was filed in May about?",
    ),
    (
        ["How many days of leave do I get?"],
        "",
        "Does the H-120 keep its warranty after a repair?",
        "Does the H-120 keep its warranty after a repair?",
    ),
    (
        ["Compare the Basic plan and the Team plan"],
        "",
        "How much does the latter cost?",
        "How much does the latter cost? (Team)",
    ),
    (["Wer leitet den Standort Turin?"], "", "Und Bergen?", "Wer leitet den Standort Bergen?"),
    (
        ["Wer leitet den Standort Turin?"],
        "",
        "Und den Standort Bergen?",
        "Wer leitet den Standort Bergen?",
    ),
    (["Was kostet der Basic-Tarif?"], "", "Und der Team-Tarif?", "Was kostet der Team-Tarif?"),
    (
        ["Wie hoch ist die Miete in Berlin?"],
        "",
        "Und in Hamburg?",
        "Wie hoch ist die Miete in Hamburg?",
    ),
    (["Wie hoch war der Umsatz 2022?"], "", "Und 2023?", "Wie hoch war der Umsatz 2023?"),
    (
        ["Wie hoch war der Umsatz 2022?"],
        "",
        "Nein, ich meinte 2023.",
        "Wie hoch war der Umsatz 2023?",
    ),
    (
        ["Wie lange ist die Garantie der P-7?"],
        "",
        "Und wie viel kostet sie?",
        "Und wie viel kostet sie? (Garantie P-7)",
    ),
    (
        ["Wer leitet den Standort Bergen?"],
        "",
        "Wie ist seine Telefonnummer?",
        "Wie ist seine Telefonnummer? (Standort Bergen)",
    ),
    (
        ["Qui dirige le site de Turin ?"],
        "",
        "Et le site d'Bergen ?",
        "Qui dirige le site de Bergen ?",
    ),
    (
        ["Combien coûte le forfait Basic ?"],
        "",
        "Et le forfait Team ?",
        "Combien coûte le forfait Team ?",
    ),
    (
        ["Combien coûte le forfait Basic ?"],
        "",
        "Non, je voulais dire Team",
        "Combien coûte le forfait Team ?",
    ),
    (
        ["Quel était le chiffre d'affaires en 2022 ?"],
        "",
        "Et en 2023 ?",
        "Quel était le chiffre d'affaires en 2023 ?",
    ),
    (
        ["Combien coûte le forfait Basic ?"],
        "",
        "Combien d'utilisateurs sont inclus dans celui-ci ?",
        "Combien d'utilisateurs sont inclus dans celui-ci ? (forfait Basic)",
    ),
    (
        ["¿Quién dirige la sede de Turin?"],
        "",
        "¿Y la de Bergen?",
        "¿Quién dirige la sede de Bergen?",
    ),
    (["¿Cuánto cuesta el plan Basic?"], "", "¿Y el plan Team?", "¿Cuánto cuesta el plan Team?"),
    (
        ["¿Cuánto cuesta el plan Basic?"],
        "",
        "No, me refería a Team",
        "¿Cuánto cuesta el plan Team?",
    ),
    (["¿Cuánto cuesta el plan Basic?"], "", "¿Y en 2023?", "¿Cuánto cuesta el plan Basic en 2023?"),
    (["Chi dirige la sede di Turin?"], "", "E quella di Bergen?", "Chi dirige la sede di Bergen?"),
    (["Quanto costa il piano Basic?"], "", "E il piano Team?", "Quanto costa il piano Team?"),
    (["Quanto costa il piano Basic?"], "", "No, intendevo Team", "Quanto costa il piano Team?"),
    (
        ["Quem dirige a filial de Turin?"],
        "",
        "E a filial de Bergen?",
        "Quem dirige a filial de Bergen?",
    ),
    (["Quanto custa o plano Basic?"], "", "E o plano Team?", "Quanto custa o plano Team?"),
    (["Quanto custa o plano Basic?"], "", "Não, eu quis dizer Team", "Quanto custa o plano Team?"),
    (
        ["Wie leidt de vestiging Turin?"],
        "",
        "En de vestiging Bergen?",
        "Wie leidt de vestiging Bergen?",
    ),
    (
        ["Hoeveel kost het Basic-abonnement?"],
        "",
        "En het Team-abonnement?",
        "Hoeveel kost het Team-abonnement?",
    ),
    (
        ["Hoeveel was de omzet in 2022?"],
        "",
        "Nee, ik bedoelde 2023",
        "Hoeveel was de omzet in 2023?",
    ),
    (
        ["How long is the probation period?"],
        "",
        "And the notice period?",
        "How long is the notice period?",
    ),
    (
        ["How long is the probation period?"],
        "",
        "How long is it for managers?",
        "How long is it for managers? (probation period)",
    ),
    (["Who is the treasurer?"], "", "And the secretary?", "Who is the secretary?"),
    (
        ["Who is the treasurer?"],
        "The treasurer is Ruth Adler. [1]",
        "What is her e-mail address?",
        "What is her e-mail address? (Ruth Adler treasurer)",
    ),
    (["Who is the treasurer?"], "", "Since when?", "Since when? (treasurer)"),
    (["Who is the treasurer?"], "", "What about last year?", "Who is the treasurer last year?"),
    (
        ["What did the board decide in March?"],
        "",
        "and in april",
        "What did the board decide in april?",
    ),
    (
        ["What does the LX-40 weigh?"],
        "",
        "and how much does it cost",
        "and how much does it cost (LX-40)",
    ),
    (["what does the lx-40 weigh"], "", "and the lx-60", "what does the lx-60 weigh"),
    (["what does the lx-40 weigh"], "", "lx-60?", "what does the lx-60 weigh"),
    (
        ["How do I reset my password?"],
        "",
        "What if that doesn't work?",
        "What if that doesn't work? (reset password)",
    ),
    (
        ["How do I reset my password?"],
        "",
        "And on the phone?",
        "How do I reset my password on the phone?",
    ),
    (
        ["How many days of leave do part-time employees get?"],
        "",
        "And full-time employees?",
        "How many days of leave do full-time employees get?",
    ),
    (["Can I work from abroad?"], "", "For how long?", "For how long? (work abroad)"),
    (
        ["Can I work from abroad?"],
        "",
        "And within the EU?",
        "Can I work from abroad within the EU?",
    ),
    (
        ["What is the deposit for the small van?"],
        "",
        "and the large one?",
        "What is the deposit for the large van?",
    ),
    (
        ["Which suppliers deliver screws?"],
        "Adler GmbH delivers screws. [1] Bolt and Co delivers screws. [2]",
        "What is the phone number of the second one?",
        "What is the phone number of the second one? (Bolt Co)",
    ),
    (
        ["Which suppliers deliver screws?"],
        "Adler GmbH delivers screws. [1] Bolt and Co delivers screws. [2]",
        "And the last one?",
        "And the last one? (Bolt Co)",
    ),
    (
        ["Which suppliers deliver screws?"],
        "",
        "When does the second quarter begin?",
        "When does the second quarter begin?",
    ),
    (
        ["What is the budget of Project Heron?"],
        "",
        "Who runs it?",
        "Who runs it? (budget Project Heron)",
    ),
    (
        ["What is the budget of Project Heron?"],
        "",
        "And Project Otter?",
        "What is the budget of Project Otter?",
    ),
    (
        ["What is the budget of Project Heron?"],
        "",
        "No, who runs it?",
        "who runs it? (budget Project Heron)",
    ),
    (["What is the budget of Project Heron?"], "", "Thanks!", "Thanks!"),
    (["What is the budget of Project Heron?"], "", "Why?", "Why? (budget Project Heron)"),
    (["What is the budget of Project Heron?"], "", "Expense policy", "Expense policy"),
    (
        ["What is the budget of Project Heron?"],
        "",
        "How do they test it in Berlin?",
        "How do they test it in Berlin? (budget)",
    ),
    (
        ["When was the Berlin office opened?"],
        "",
        "And Aarhus?",
        "When was the Aarhus office opened?",
    ),
    (
        ["When was the Berlin office opened?"],
        "",
        "How many people work there?",
        "How many people work there? (Berlin office)",
    ),
    (
        ["When was the Berlin office opened?"],
        "",
        "How many people work in the Aarhus office?",
        "How many people work in the Aarhus office?",
    ),
    (
        ["When was the Berlin office opened?", "How many people work there?"],
        "",
        "And in Aarhus?",
        "How many people work there? (Aarhus office)",
    ),
    (["What is the warranty of the P-7?"], "", "Is the P-9's longer?", "Is the P-9's longer?"),
    (
        ["Wie lange ist die Kündigungsfrist?"],
        "",
        "Und in der Probezeit?",
        "Wie lange ist die Kündigungsfrist in der Probezeit?",
    ),
    (
        ["Wie lange ist die Kündigungsfrist?"],
        "",
        "Gilt das auch für Praktikanten?",
        "Gilt das auch für Praktikanten? (Kündigungsfrist)",
    ),
    (
        ["Wer ist die Kassiererin?"],
        "Die Kassiererin ist Ruth Adler. [1]",
        "Wie ist ihre Telefonnummer?",
        "Wie ist ihre Telefonnummer? (Ruth Adler Kassiererin)",
    ),
    (["Was kostet die Pumpe P-7?"], "", "Und die Garantie?", "Und die Garantie? (Pumpe P-7)"),
    (["Was kostet die Pumpe P-7?"], "", "Und die P-9?", "Was kostet die Pumpe P-9?"),
    (
        ["Was kostet die Pumpe P-7?"],
        "",
        "Wo kann ich sie kaufen?",
        "Wo kann ich sie kaufen? (Pumpe P-7)",
    ),
    (
        ["Quel est le délai de livraison du modèle B20 ?"],
        "",
        "Et le prix ?",
        "Et le prix ? (délai livraison modèle B20)",
    ),
    (
        ["Quel est le délai de livraison du modèle B20 ?"],
        "",
        "Et du B30 ?",
        "Quel est le délai de livraison du modèle B30 ?",
    ),
    (
        ["¿Cuál es el plazo de entrega del modelo B20?"],
        "",
        "¿Y el precio?",
        "¿Y el precio? (plazo entrega modelo B20)",
    ),
    (
        ["¿Cuál es el plazo de entrega del modelo B20?"],
        "",
        "¿Y cuánto cuesta?",
        "¿Y cuánto cuesta? (plazo entrega modelo B20)",
    ),
    (
        ["Qual è il prezzo del modello B20?"],
        "",
        "E la garanzia?",
        "E la garanzia? (prezzo modello B20)",
    ),
    (
        ["Qual è il prezzo del modello B20?"],
        "",
        "Quanto pesa?",
        "Quanto pesa? (prezzo modello B20)",
    ),
    (["Qual é o preço do modelo B20?"], "", "E a garantia?", "E a garantia? (preço modelo B20)"),
    (
        ["Wat is de prijs van model B20?"],
        "",
        "En de garantie?",
        "En de garantie? (prijs model B20)",
    ),
    (["Wat is de prijs van model B20?"], "", "Hoe zwaar is het?", "Hoe zwaar is het? (model B20)"),
]


@pytest.mark.parametrize(("earlier", "reply", "question", "understood"), CONVERSATIONS)
def test_a_follow_up_is_understood(
    earlier: list[str], reply: str, question: str, understood: str
) -> None:
    turns = [Turn(text, reply or "So.") for text in earlier]
    assert str(complete_follow_up(question, turns, 6)) == understood


def test_what_was_asked_last_is_the_anchor_also_without_an_answer() -> None:
    turns = [
        Turn("How long does the battery last?", "34 minutes."),
        Turn("Who designed the propellers?", NO_ANSWER),
    ]
    query = complete_follow_up("What are they made of?", turns, 6)
    assert query == Query("What are they made of?", carried_terms=("propellers",))


def test_an_ordinal_is_that_of_the_last_list() -> None:
    turns = [
        Turn("Which valves are blue?", "V-5 is blue. [1] P-10 is blue. [2]"),
        Turn("What is the weight of the second one?", "P-10 weighs 2 kg. [1]"),
    ]
    assert complete_follow_up("And the first one?", turns, 6).carried_terms == ("V-5",)


@pytest.mark.parametrize("text", [" " * 50_000 + "rent", ", " * 20_000, "and " * 10_000])
def test_a_huge_turn_is_read_in_linear_time(text: str) -> None:
    query = complete_follow_up("And in 2024?", [Turn(text, text)] * 3, 6)
    assert len(query.text) < 2_000
    assert complete_follow_up(text, [Turn("Who pays the rent?", "")], 6) == Query(text)


def test_the_first_question_is_never_changed() -> None:
    assert complete_follow_up("And the other one?", [], 6) == Query("And the other one?")


SITES = """\
# Sites

The Turin site is led by Ana Paz. The phone number of the Turin site is 4410. It has 120 workers.

The Bergen site is led by Ben Dahl. The phone number of the Bergen site is 5520.

# Plans

## Basic

The Basic plan costs 10 euros a month. It includes 3 users.

## Team

The Team plan costs 40 euros a month. It includes 25 users.
"""


@pytest.mark.parametrize(
    ("questions", "expected"),
    [
        (
            ("Who leads the Turin site?", "And the Bergen site?", "What is its phone number?"),
            "5520",
        ),
        (("How much does the Basic plan cost?", "And Team?", "How many users does it have?"), "25"),
        (("What does the Team plan cost?", "no, I meant Basic"), "10 euros"),
        (("Who leads the Turin site?", "And the Bergen site?"), "Ben Dahl"),
    ],
)
def test_a_conversation_is_answered_from_the_right_section(
    tmp_path: Path, questions: tuple[str, ...], expected: str
) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "notes.md").write_text(SITES)
    with Pipeline(index=tmp_path / "i") as pipeline:
        pipeline.ingest(tmp_path / "docs")
        chat = pipeline.chat("talk")
        answers = [chat.ask(question) for question in questions]
    assert expected in answers[-1].text.split("[1]")[0]


TEXTS = st.text(alphabet="AaOo sité-7'’.,?! 2023inthe", max_size=40)


@given(st.lists(st.tuples(TEXTS, TEXTS), max_size=4), TEXTS)
def test_any_text_is_understood_as_something(turns: list[tuple[str, str]], question: str) -> None:
    query = complete_follow_up(question, [Turn(*turn) for turn in turns], 6)
    assert len(query.carried_terms) <= 6
    assert not turns or not question.strip() or query.text.strip()


def test_messages_that_are_no_pairs_are_read() -> None:
    messages = [
        Message(role="user", content="Who leads the Turin site?"),
        Message(role="user", content="And the Bergen site?"),
    ]
    (query,) = CarryOver().transform("What is its phone number?", messages)
    assert query.carried_terms == ("Bergen", "site")
