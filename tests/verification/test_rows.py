"""Claims about rows of tables: their values count, the order of their cells does not."""

from __future__ import annotations

import pytest

from rag import LexicalVerifier
from rag.verification.rows import replaces_value, split_row

VERIFIER = LexicalVerifier()
AUDIT = "Audit > Results: Line: Temperature; Checked: 240; Failed: 5; Reference: REF-T6"
STAFF = "Staff: Name: Lena Brandt; Role: Head of sales; Phone: 4411; Office: Bonn; Since: 2019"
PRICES = "Item: Hex bolt M8; Size: 40 mm; Price: 0.35 EUR; Stock: 1200; Minimum order: 100"
ROOM = "Room: Maple; Seats: 10; Projector: no; Lift: yes"
ORDER = "Orders: Order: SO-31; Date: 2025-03-01; Customer: Lumen Ltd; Pieces: 900; Status: Open"


@pytest.mark.parametrize(
    ("row", "claim"),
    [
        (AUDIT, "5 temperature instruments failed."),
        (AUDIT, "240 temperature instruments were checked."),
        (AUDIT, "Of 240 temperature instruments, 5 failed."),
        (AUDIT, "The reference of the temperature line is REF-T6."),
        (AUDIT, "Temperature 240 5 REF-T6"),
        (STAFF, "Lena Brandt is the head of sales."),
        (STAFF, "The head of sales is Lena Brandt."),
        (STAFF, "Lena Brandt's phone number is 4411."),
        (STAFF, "Lena Brandt works in Bonn."),
        (PRICES, "A hex bolt M8 costs 0.35 EUR."),
        (PRICES, "There are 1200 hex bolts M8 in stock."),
        (PRICES, "The minimum order of the hex bolt M8 is 100."),
        (ORDER, "On 1 March 2025, Lumen Ltd ordered 900 pieces."),
        (ORDER, "The order SO-31 is open."),
        (ORDER, "The order number SO-31 was placed on 2025-03-01 by Lumen Ltd."),
        (ROOM, "The Maple room has no projector."),
        (ROOM, "The Maple room has a lift."),
    ],
)
def test_right_values_are_supported(row: str, claim: str) -> None:
    assert VERIFIER.scores([(claim, row)])[0] >= VERIFIER.threshold
    assert not VERIFIER.contradicts(claim, row)


@pytest.mark.parametrize(
    ("row", "claim"),
    [
        (AUDIT, "5 temperature instruments were checked."),
        (AUDIT, "240 temperature instruments failed."),
        (AUDIT, "3 temperature instruments failed."),
        (AUDIT, "5 humidity instruments failed."),
        (STAFF, "Lena Brandt is the head of marketing."),
        (STAFF, "Lena Brandt works in Berlin."),
        (PRICES, "There are 100 hex bolts M8 in stock."),
        (PRICES, "The minimum order of the hex bolt M8 is 1200."),
        (PRICES, "A hex bolt M8 costs 40 EUR."),
        (ORDER, "40 pieces did Lumen Ltd order."),
        (ROOM, "The Maple room has a projector."),
        (ROOM, "The Maple room has no lift."),
        (PRICES, "Machine wrapping of a pallet costs 0.35 EUR."),
        (ORDER, "On 1 April 2025, Lumen Ltd ordered 900 pieces."),
    ],
)
def test_wrong_values_are_not_supported(row: str, claim: str) -> None:
    assert VERIFIER.scores([(claim, row)])[0] < VERIFIER.partial


@pytest.mark.parametrize(
    ("sentence", "cells"),
    [
        ("A: 1; B: 2", (("A", "1"), ("B", "2"))),
        ("Guide > Plans: A: 1; B: x: y", (("A", "1"), ("x", "y"))),
        ("The price: it is low; the quality is high.", ()),
        ("A: 1", ()),
        ("", ()),
    ],
)
def test_cells_of_a_row(sentence: str, cells: tuple[tuple[str, str], ...]) -> None:
    assert split_row(sentence) == cells


@pytest.mark.parametrize(
    ("claim", "is_replaced"),
    [
        ("She is head of marketing.", True),
        ("She is the head of sales.", False),
        ("She is the head.", False),
        ("She is head of the office in Bonn.", False),
        ("Her role is head of Bonn.", False),  # all words are in the row
        ("", False),
    ],
)
def test_a_value_with_one_other_word_is_replaced(claim: str, is_replaced: bool) -> None:
    assert replaces_value(claim, split_row(STAFF)) is is_replaced
