"""Compound sentences, and who speaks in a mail: each statement is about its own subject."""

from __future__ import annotations

import pytest

from rag import LexicalVerifier
from rag.verification.compound_sentences import exchanges_clauses

VERIFIER = LexicalVerifier()
LID = "The case is grey and the lid is blue."
STAFF = "Anna leads marketing and Bert leads sales."
ARCHIVE = "The archive is in building C, and the canteen is in building D."
APPROVAL = "Purchases above 500 EUR are approved by Ann Lee; smaller ones by Raj Patel."
GERMAN = "Das Gehäuse ist grau und der Deckel ist blau."
MAIL = (
    "From: Lena Vogt\nTo: Marcus Hale\nSubject: Ladder\n\nHi Marcus,\n"
    "I have returned the ladder today. Joan will send the invoice.\nLena\n\n"
    "On Monday, Marcus Hale wrote:\n> Can the ladder stay?"
)


@pytest.mark.parametrize(
    ("passage", "claim"),
    [
        (LID, "The lid is grey."),
        (LID, "The case is blue."),
        (STAFF, "Anna leads sales."),
        (STAFF, "Bert leads marketing."),
        (ARCHIVE, "The archive is in building D."),
        (ARCHIVE, "Where is the archive? Building D"),
        (APPROVAL, "Purchases above 500 EUR are approved by Raj Patel."),
        (APPROVAL, "Who approves purchases above 500 EUR? Raj Patel"),
        (GERMAN, "Der Deckel ist grau."),
        (f"{LID} It weighs two kilos.", "The lid is grey."),
    ],
)
def test_a_part_of_another_clause_is_not_supported(passage: str, claim: str) -> None:
    assert VERIFIER.scores([(claim, passage)])[0] < VERIFIER.partial
    assert VERIFIER.contradicts(claim, passage)


@pytest.mark.parametrize(
    ("passage", "claim"),
    [
        (LID, "The lid is blue."),
        (LID, "The case is grey and the lid is blue."),
        (STAFF, "Bert leads sales."),
        (ARCHIVE, "The archive is in building C."),
        (APPROVAL, "Purchases above 500 EUR are approved by Ann Lee."),
        ("The hotel has a pool and the guests like it.", "The guests like the pool."),
        ("The hotel has a heated pool and a large garden.", "The hotel has a garden."),
        ("The pump is quiet and has a steel filter.", "The pump has a filter."),
        ("Anna and Bert lead sales.", "Anna leads sales."),
        (f"{LID} Since May, the lid is grey.", "The lid is grey."),
        ("Room: Maple; Seats: 10; Floor: 1", "Maple has 10 seats."),
    ],
)
def test_other_sentences_exchange_nothing(passage: str, claim: str) -> None:
    assert not exchanges_clauses(claim, passage.split(". "))


@pytest.mark.parametrize(
    ("claim", "is_supported"),
    [
        ("Lena Vogt has returned the ladder.", True),
        ("Lena has returned the ladder.", True),
        ("Marcus Hale has returned the ladder.", False),
        ("Marcus has returned the ladder.", False),
        ("Joan will send the invoice.", True),
        ("Lena will send the invoice.", False),
        ("The ladder has been returned.", True),
        ("Marcus asked whether the ladder can stay.", True),
    ],
)
def test_the_sender_of_a_mail_is_who_writes_i(claim: str, is_supported: bool) -> None:
    assert bool(VERIFIER.scores([(claim, MAIL)])[0] >= VERIFIER.threshold) == is_supported


@pytest.mark.parametrize(
    ("passage", "claim"),
    [
        ("The shop closes at 14:00.", "The shop closes at 4 pm."),
        ("The shop closes at 14:00.", "The shop closes at 2 am."),
        ("The train leaves at 3 p.m.", "The train leaves at 17:00."),
        (
            "The server was moved on 2025-05-29.",
            "The server was moved at the beginning of May 2025.",
        ),
        ("The server was moved on 2 May 2025.", "The server was moved at the end of May 2025."),
        ("Model C is faster than model D.", "Model D is faster than model C."),
    ],
)
def test_another_time_is_not_supported(passage: str, claim: str) -> None:
    assert VERIFIER.scores([(claim, passage)])[0] < VERIFIER.threshold
