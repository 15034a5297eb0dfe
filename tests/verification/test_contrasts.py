"""Exceptions, "only" and clauses without a verb: what a sentence says of each side."""

from __future__ import annotations

import pytest

from rag import LexicalVerifier
from rag.verification.contrasts import select_side

VERIFIER = LexicalVerifier()


@pytest.mark.parametrize(
    ("passage", "claim", "is_supported"),
    [
        (
            "Dogs may be brought into the garden, but not into the dining room.",
            "Dogs may not be brought into the dining room.",
            True,
        ),
        (
            "Dogs may be brought into the garden, but not into the dining room.",
            "Dogs may be brought into the garden.",
            True,
        ),
        (
            "Dogs may be brought into the garden, but not into the dining room.",
            "Dogs may be brought into the dining room.",
            False,
        ),
        (
            "Dogs may be brought into the garden, but not into the dining room.",
            "Dogs may not be brought into the garden.",
            False,
        ),
        (
            "Bicycles may not be left in the hall, only in the cellar.",
            "Bicycles may be left in the cellar.",
            True,
        ),
        (
            "Bicycles may not be left in the hall, only in the cellar.",
            "Bicycles may not be left in the hall.",
            True,
        ),
        (
            "Bicycles may not be left in the hall, only in the cellar.",
            "Bicycles may be left in the hall.",
            False,
        ),
        (
            "Fahrräder dürfen nicht im Treppenhaus abgestellt werden, nur im Keller.",
            "Fahrräder dürfen im Keller abgestellt werden.",
            True,
        ),
        (
            "Fahrräder dürfen nicht im Treppenhaus abgestellt werden, nur im Keller.",
            "Fahrräder dürfen im Treppenhaus abgestellt werden.",
            False,
        ),
        (
            "Pupils need not wear slippers, except in the gym.",
            "Pupils must wear slippers in the gym.",
            True,
        ),
        (
            "Visitors must sign the book, except on open days.",
            "Visitors need not sign the book on open days.",
            True,
        ),
        ("Only members may vote.", "Members may vote.", True),
        ("The museum is only open in summer.", "The museum is open.", False),
        ("Notice is only valid in writing.", "Notice is valid in writing.", True),
        ("Fahrräder dürfen nur im Keller stehen.", "Fahrräder dürfen im Keller stehen.", True),
        (
            "The stove is serviced in October, and the chimney in November.",
            "The chimney is serviced in October.",
            False,
        ),
        (
            "The stove is serviced in October, and the chimney in November.",
            "The chimney is serviced in November.",
            True,
        ),
        (
            "The stove is serviced in October, and the chimney in November.",
            "The stove is serviced in October.",
            True,
        ),
        (
            "The stove is cleaned by Ann, and the chimney by Ben.",
            "The chimney is cleaned by Ann.",
            False,
        ),
        (
            "The stove is cleaned by Ann, and the chimney by Ben.",
            "The chimney is cleaned by Ben.",
            True,
        ),
        (
            "The club has a hall, a kitchen, and the finest garden in town.",
            "The club has a garden.",
            True,
        ),
        ("He did not come on Monday but on Tuesday.", "He came on Tuesday.", True),
        ("The fee covers tea but not cake.", "The fee does not cover cake.", True),
        ("The fee covers tea but not cake.", "The fee covers cake.", False),
        (
            "It is open from 8 to 5 on all weekdays except Wednesday.",
            "It is open from 8 to 5 on all weekdays.",
            False,
        ),
        ("The loan is free for the first six months only.", "The loan is free.", False),
    ],
)
def test_each_side_of_a_contrast(passage: str, claim: str, is_supported: bool) -> None:
    assert bool(VERIFIER.scores([(claim, passage)])[0] >= VERIFIER.threshold) == is_supported
    assert not (is_supported and VERIFIER.contradicts(claim, passage))


@pytest.mark.parametrize(
    ("sentence", "side"),
    [
        ("It may be in the hall, but not in the yard.", "It may be in the hall."),
        ("It is open, only in May it is closed.", "It is open, only in May it is closed."),
        ("It costs 5 euros.", "It costs 5 euros."),
        ("", ""),
    ],
)
def test_the_side_of_other_claims(sentence: str, side: str) -> None:
    assert select_side("It may be in the hall.", sentence) == side
