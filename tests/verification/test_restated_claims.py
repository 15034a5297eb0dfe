"""Claims that write measures, dates, periods and conditions otherwise than their source."""

from __future__ import annotations

import pytest

from rag import LexicalVerifier
from rag.verification.text_facts import split_passage

VERIFIER = LexicalVerifier()
RIGHT = [
    ("The library is closed from 3 to 14 March.", "The library is closed on 10 March."),
    ("The library is closed from 3 to 14 March.", "The library is closed on 4 March."),
    (
        "The library is closed from 3 to 14 March.",
        "The library is closed from 3 March to 14 March.",
    ),
    ("The library is closed from 3 to 14 March.", "The library is closed from 3 to 14 March."),
    (
        "Das Schwimmbad ist vom 1. bis 12. September geschlossen.",
        "Das Schwimmbad ist am 5. September geschlossen.",
    ),
    ("The fair is from 28 February to 3 March 2026.", "The fair is open on 1 March 2026."),
    ("A parcel may weigh up to 2.5 kg.", "A parcel may weigh up to 2500 g."),
    ("A parcel may weigh up to 2.5 kg.", "A parcel may weigh up to 2,500 grams."),
    ("The shelf is 180 cm high.", "The shelf is 1.8 m high."),
    ("The shelf is 180 cm high.", "The shelf is 1.80 m high."),
    ("The stamp costs 80 cents.", "The stamp costs 0.80 EUR."),
    ("Die Gebühr beträgt 1.284,50 EUR.", "Die Gebühr beträgt 1284,50 EUR."),
    ("The fee is 1,50 Euro.", "The fee is 1.50 EUR."),
    ("The choir rehearses every second Friday.", "The choir rehearses every second Friday."),
    ("The course has at most 30 participants.", "The course has no more than 30 participants."),
    ("The course has more than 30 participants.", "The course has more than 30 participants."),
    (
        "The deposit is refunded unless the room is left dirty.",
        "The deposit is not refunded if the room is left dirty.",
    ),
    (
        "The deposit is refunded unless the room is left dirty.",
        "The deposit is refunded unless the room is dirty.",
    ),
    (
        "Dogs may be brought into the garden, but not into the dining room.",
        "Dogs may not be brought into the dining room.",
    ),
    (
        "Dogs may be brought into the garden, but not into the dining room.",
        "Dogs are not allowed in the dining room.",
    ),
    ("Guests may not smoke on the balconies.", "May guests smoke on the balconies? No"),
    (
        "Guests may not smoke on the balconies.",
        "Are guests allowed to smoke on the balconies? No, guests may not smoke on the balconies.",
    ),
    ("Der Speisesaal hat 64 Plätze.", "Wie viele Plätze hat der Speisesaal? 64"),
    (
        "Mieten > Haus B: Wohnung: 2. OG links; Mieter: Familie Tarnow; Kaltmiete: 640 EUR; Nebenkosten: 155 EUR",
        "Die Kaltmiete der Wohnung 2. OG links beträgt 640 EUR.",
    ),
    ("Item: Folding table; Quantity: 46; Shelf: C3", "The folding table is on shelf C3."),
    ("The tenant informs the landlord.", "The landlord is informed by the tenant."),
]
WRONG = [
    ("The library is closed from 3 to 14 March.", "The library is closed on 20 March."),
    ("The library is closed from 3 to 14 March.", "The library is closed from 3 to 20 March."),
    ("A parcel may weigh up to 2.5 kg.", "A parcel may weigh up to 250 g."),
    ("The fee is 1,50 Euro.", "The fee is 1.60 EUR."),
    ("The choir rehearses every second Friday.", "The choir rehearses every Friday."),
    (
        "Der Müll wird jeden ersten Montag im Monat abgeholt.",
        "Der Müll wird jeden Montag abgeholt.",
    ),
    ("The course has 20 to 30 participants.", "The course has more than 30 participants."),
    ("The course has at most 30 participants.", "The course has more than 30 participants."),
    ("The course has 20 to 30 participants.", "The course has fewer than 20 participants."),
    (
        "The deposit is refunded unless the room is left dirty.",
        "The deposit is refunded if the room is left dirty.",
    ),
    ("Item: Folding table; Quantity: 46; Shelf: C3", "The folding table is on shelf C4."),
    ("Locker: 12b; Tenant: Mia Sol", "Mia Sol has locker 12c."),
    ("The tenant informs the landlord.", "The tenant is informed by the landlord."),
]


@pytest.mark.parametrize(("passage", "claim"), RIGHT)
def test_the_same_in_another_form_is_supported(passage: str, claim: str) -> None:
    assert VERIFIER.scores([(claim, passage)])[0] >= VERIFIER.threshold
    assert not VERIFIER.contradicts(claim, passage)


@pytest.mark.parametrize(("passage", "claim"), WRONG)
def test_something_else_in_nearly_the_same_words_is_not_supported(passage: str, claim: str) -> None:
    assert VERIFIER.scores([(claim, passage)])[0] < VERIFIER.threshold


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("Flat: 2. OG left; Rent: 640 EUR", ("Flat: 2. OG left; Rent: 640 EUR",)),
        (
            "Flat: 1. OG; Rent: 6\nFlat: 2. OG; Rent: 7",
            ("Flat: 1. OG; Rent: 6", "Flat: 2. OG; Rent: 7"),
        ),
        ("It is open; all may come. It is free.", ("It is open; all may come.", "It is free.")),
        ("", ()),
    ],
)
def test_a_row_is_one_sentence(text: str, sentences: tuple[str, ...]) -> None:
    assert split_passage(text) == sentences


KEG = "Beer: Stout; Keg size: 50 l; Net price (EUR): 171.00; Deposit (EUR): 50.00"
CADDY = "Model: VW Caddy; Site: Cardiff; Mileage (km): 41,950; Next inspection: 06/2026"


@pytest.mark.parametrize(
    ("claim", "passage"),
    [
        ("The net price of stout is 171 euros.", KEG),
        ("The deposit for stout is 50 euros.", KEG),
        ("A 50-litre keg of stout costs 171 euros net, with a deposit of 50 euros.", KEG),
        ("The mileage of the VW Caddy is 41,950 kilometres.", CADDY),
        ("The next inspection of the VW Caddy is in June 2026.", CADDY),
        ("The server has 256 gigabytes of RAM.", "Server: orion; RAM: 256 GB"),
        ("The motor has 5 megawatts.", "The motor has 5 MW."),
    ],
)
def test_units_of_labels_and_months_with_slashes_are_known(claim: str, passage: str) -> None:
    verifier = LexicalVerifier()
    assert float(verifier.scores([(claim, passage)])[0]) >= verifier.threshold
    assert not verifier.contradicts(claim, passage)


@pytest.mark.parametrize(
    ("claim", "passage"),
    [
        ("The deposit for stout is 171 euros.", KEG),
        ("A keg of stout costs 50 euros.", KEG),
        ("The next inspection of the VW Caddy is in July 2026.", CADDY),
        ("The motor has 5 MW.", "The motor has 5 mW."),
    ],
)
def test_other_values_of_labels_are_refused(claim: str, passage: str) -> None:
    verifier = LexicalVerifier()
    assert float(verifier.scores([(claim, passage)])[0]) < verifier.threshold
