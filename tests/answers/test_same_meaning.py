"""Whether two questions ask for the same thing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.answers.same_meaning import depends_on_today, mean_the_same

PAIRS = Path(__file__).parents[2] / "benchmarks" / "question_pairs.jsonl"


@pytest.mark.parametrize(
    ("question", "other"),
    [
        ("What does the H-120 cost?", "Please tell me the price of the H-120."),
        ("What is the price of the heater?", "What is the cost of the heater?"),
        ("WHO APPROVES TRAVEL EXPENSES?", "Who approves travel expenses?"),
        ("What are the opening hours of the Oslo site?", "opening hours of the Oslo site"),
        ("Hello, could you please tell me the opening hours?", "What are the opening hours?"),
        ("Tell me about the rent.", "What is the rent?"),
        ("Can you tell me what the H-120 costs?", "How much does the H-120 cost?"),
        ("What is the rent, please?", "What is the rent? Thanks!"),
        ("what is the price of the h-120?", "What is the price of the H-120?"),
        (
            "What are the payment terms for Kestrel Ltd?",
            "What are the terms of payment for Kestrel Limited?",
        ),
        ("In 2023, how many members were there?", "How many members were there in 2023?"),
        ("Who signs the contracts?", "Who signs contracts"),
        ("How many days of leave are there?", "How many days of leave are there"),
        ("Wie hoch ist die Miete?", "Wie hoch ist die Miete"),
    ],
)
def test_the_same_in_other_words(question: str, other: str) -> None:
    assert mean_the_same(question, other)
    assert mean_the_same(other, question)


@pytest.mark.parametrize(
    ("question", "other"),
    [
        ("What was the rent in 2023?", "What was the rent in 2024?"),
        ("May I smoke in the yard?", "Why may I not smoke in the yard?"),
        ("Does Anna report to Ben?", "Does Ben report to Anna?"),
        ("Which documents did we send to the auditor?", "Which documents did the auditor send us?"),
        ("How many part-time workers are there?", "How many full-time workers are there?"),
        ("What is the maximum load?", "What is the minimum load?"),
        ("What is the Einfuhr limit?", "What is the Ausfuhr limit?"),
        ("What is the net price?", "What is the gross price?"),
        ("What must be done before delivery?", "What must be done after delivery?"),
        ("Who leads the sales department?", "Who leads the support department?"),
        ("When is the canteen open?", "Where is the canteen?"),
        ("What is the notice period?", "What is the notice period during probation?"),
        ("What is in box 1.5?", "What is in box 15?"),
        ("", "What?"),
        ("Who hired Anna?", "Who fired Anna?"),
        ("Who is the employer?", "Who is the employee?"),
        ("What was the rent?", "What is the rent?"),
        ("What will the rent be?", "What is the rent?"),
        ("Who owns it?", "Who owned it?"),
        ("What is C++?", "What is C#?"),
        ("Who pays?", "Who is paid?"),
        ("How many employees left?", "How many employees are left?"),
        ("房租是多少?", "房租不是多少?"),
        ("What is the latitude?", "What is the altitude?"),
        ("Who loves Anna?", "Who lives with Anna?"),
        ("Which values are >=5?", "Which values are <=5?"),
        ("Is it 5%?", "Is it 5‰?"),
        ("What is May's rent?", "What is my rent?"),
        ("What does -v do?", "What does -V do?"),
        ("Who teaches Anna?", "Who reaches Anna?"),
        ("Who signs contracts?", "Who signs contarcts?"),
        ("Is it valid up to 10² orders?", "Is it valid up to 102 orders?"),
        ("What is x₁?", "What is x1?"),
        ("Does the Turkey warranty apply?", "Does the turkey warranty apply?"),
        ("When does the march start?", "When does the March start?"),
        ("Wann können Sie liefern?", "Wann können sie liefern?"),
        ("¿Cuántos años tiene?", "¿Cuántos anos tiene?"),
        ("Où est le pêcheur ?", "Où est le pécheur ?"),
        ("What does → mean?", "What does ← mean?"),
        ("What does 🔴 mean?", "What does 🟢 mean?"),
        ("What is 3 × 4?", "What is 3 - 4?"),
        ("Where are the goods?", "Where are the good?"),
        ("Who has the glasses?", "Who has the glass?"),
        ("What can the warranty cover?", "What does the warranty cover?"),
        ("What may I bring?", "What do I bring?"),
        ("Is please a word?", "Is a word?"),
        ("Can I get a refund?", "What is a refund?"),
        ("Can you give me a refund?", "What is a refund?"),
        ("Do you show films?", "What are films?"),
        ("Do we need insurance?", "What is the insurance?"),
        ("How much is parking?", "Is there parking?"),
        ("How is the food?", "What is the food?"),
        ("Do I pay?", "Do you pay?"),
        ("What is my salary?", "What is your salary?"),
        ("Where is the key?", "What is the key?"),
        ("Is the pool open?", "When is the pool open?"),
        ("Gibt es einen Pool?", "Was ist ein Pool?"),
    ],
)
def test_another_question(question: str, other: str) -> None:
    assert not mean_the_same(question, other)
    assert not mean_the_same(other, question)


def test_no_pair_of_different_questions_counts_as_the_same() -> None:
    pairs = [json.loads(line) for line in PAIRS.read_text(encoding="utf-8").splitlines()]
    mistaken = [p for p in pairs if not p["same"] and mean_the_same(p["a"], p["b"])]
    assert not mistaken
    recognized = sum(mean_the_same(p["a"], p["b"]) for p in pairs if p["same"])
    assert recognized >= 10


@given(st.text(max_size=60), st.text(max_size=60))
def test_any_two_texts_are_compared_in_both_directions_alike(text: str, other: str) -> None:
    assert mean_the_same(text, text)
    assert mean_the_same(text, other) == mean_the_same(other, text)


@pytest.mark.parametrize(
    "question",
    [
        "What was ordered last month?",
        "Is the office open today?",
        "Wer hat heute Dienst?",
        "How many days until Christmas?",
        "Is the contract still valid?",
        "Has the warranty expired?",
        "What is due soon?",
        "今天谁值班?",
        "Кто сегодня дежурит?",
    ],
)
def test_a_question_about_today(question: str) -> None:
    assert depends_on_today(question)


def test_a_question_about_a_date_does_not_depend_on_today() -> None:
    assert not depends_on_today("What was the rent in March 2023?")
