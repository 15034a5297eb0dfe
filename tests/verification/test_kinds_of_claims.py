"""Claims as models write them: what a passage says in another form, and what it does not say."""

from __future__ import annotations

import pytest

from rag import LexicalVerifier
from rag.verification.clock_times import write_clock_times
from rag.verification.linked_clauses import compare_links
from rag.verification.references import write_out

VERIFIER = LexicalVerifier()

CASES = {
    "exceptions": [
        ("The bar is open all week.", "The bar is open all week apart from Monday.", False),
        ("All boats have a radio.", "All boats, with the exception of the ferry, have a radio.", False),
        ("Der Hafen ist täglich offen.", "Der Hafen ist täglich außer montags offen.", False),
        ("Alle Boote haben Funk.", "Alle Boote mit Ausnahme der Fähre haben Funk.", False),
        ("The bar is open all week except Monday.", "The bar is open all week apart from Monday.", True),
        ("Der Hafen ist geschlossen.", "Der Hafen ist bis auf Weiteres geschlossen.", True),
    ],
    "only": [
        ("Only skippers may use the crane.", "Skippers may use the crane.", False),
        ("Guests may use the crane.", "Only skippers may use the crane. Guests may watch.", False),
        ("Gäste dürfen den Kran benutzen.", "Nur Skipper dürfen den Kran benutzen.", False),
        ("The sauna is open only on Fridays.", "The sauna is open on Fridays.", False),
        ("Only skippers may use the crane.", "The crane may be used by skippers only.", True),
        ("Skippers may use the crane.", "Only skippers may use the crane.", True),
        ("Den Kran dürfen nur Skipper benutzen.", "Nur Skipper dürfen den Kran benutzen.", True),
    ],
    "plans": [
        ("The club bought a hall.", "The club plans to buy a hall.", False),
        ("The club moved to the quay.", "The club hoped to move to the quay.", False),
        ("The slipway was repaired in May.", "The slipway is due to be repaired in May.", False),
        ("The slipway was repaired in May.", "The repair of the slipway is scheduled for May.", False),
        ("Der Verein hat das Boot verkauft.", "Der Verein will das Boot verkaufen.", False),
        ("The club intends to buy a hall.", "The club plans to buy a hall.", True),
        ("The bar opens on 3 May.", "The bar will open on 3 May.", True),
        ("The planned repair was finished in May.", "The planned repair was finished in May.", True),
        ("The delay was caused by the storm.", "The delay is due to the storm.", True),
        ("The update opens on 3 May.", "The update will open on 3 May.", True),
    ],
    "negative verbs": [
        ("The skipper closed the valve.", "The skipper forgot to close the valve.", False),
        ("The board paid the bill.", "The board refused to pay the bill.", False),
        ("Der Vorstand nahm den Antrag an.", "Der Vorstand lehnte den Antrag ab.", False),
        ("Der Vorstand stimmte dem Antrag zu.", "Der Vorstand lehnte den Antrag ab.", False),
        ("The board did not pay the bill.", "The board declined to pay the bill.", True),
        ("Der Vorstand lehnte den Antrag ab.", "Der Vorstand lehnte den Antrag ab.", True),
    ],
    "linked clauses": [
        ("The mast broke because the race stopped.", "The race stopped because the mast broke.", False),
        ("The mast broke, so the race stopped.", "The race stopped because the mast broke.", True),
        ("Because the mast broke, the race stopped.", "The race stopped because the mast broke.", True),
        ("The race was after the dinner.", "The dinner was after the race.", False),
        ("The race was before the dinner.", "The dinner was after the race.", True),
        (
            "Wenn der Wind dreht, endet das Rennen.",
            "Das Rennen endet, wenn der Wind dreht.",
            True,
        ),
    ],
    "times": [
        ("The bar closes at 9 am.", "The bar opens at 9 am and closes at 11 pm.", False),
        ("The bar closes at 11 pm.", "The bar opens at 9 am and closes at 11 pm.", True),
        ("The bar closes at 23:00.", "The bar opens at 9 am and closes at 11 pm.", True),
        ("Die Bar öffnet um 9 Uhr.", "Die Bar öffnet um 9:00 Uhr und schließt um 23:00 Uhr.", True),
        ("Die Bar öffnet um 8 Uhr.", "Die Bar öffnet um 9:00 Uhr und schließt um 23:00 Uhr.", False),
    ],
    "left out": [
        ("The long berth costs 90 euros.", "The short berth costs 60 euros, the long one 90 euros.", True),
        ("The long berth costs 60 euros.", "The short berth costs 60 euros, the long one 90 euros.", False),
        ("Das lange Boot kostet 60 Euro.", "Das kurze Boot kostet 60 Euro, das lange 90 Euro.", False),
        ("Ms Reed paints signs.", "Mr Holt paints hulls, Ms Reed signs.", True),
        ("Ms Reed paints hulls.", "Mr Holt paints hulls, Ms Reed signs.", False),
        (
            "The trailer is kept in the yard.",
            "We own a bus and a trailer. The former is kept in the hall, the latter in the yard.",
            True,
        ),
        (
            "The trailer is kept in the hall.",
            "We own a bus and a trailer. The former is kept in the hall, the latter in the yard.",
            False,
        ),
        ("The former chair is Ann Lee.", "We drink tea and coffee. The former chair is Ann Lee.", True),
        ("Members must not light fires.", "Members must not:\n- light fires\n- swim", True),
        ("Members may light fires.", "Members must not:\n- light fires\n- swim", False),
    ],
    "bounds": [
        ("A crew has at least four people.", "A crew has at most four people.", False),
        ("Eine Crew hat höchstens vier Leute.", "Eine Crew hat wenigstens vier Leute.", False),
        ("Eine Crew hat mindestens vier Leute.", "Eine Crew hat wenigstens vier Leute.", True),
    ],
    "order of German and Romance sentences": [
        ("Am Freitag beginnt die Regatta.", "Die Regatta beginnt am Freitag.", True),
        ("Am Freitag endet die Regatta.", "Die Regatta beginnt am Freitag.", False),
        ("Der Wirt verklagt den Verein.", "Der Verein verklagt den Wirt.", False),
        ("Le mât a été réparé par Paul.", "Paul a réparé le mât.", True),
        ("El socio debe avisar al patrón.", "El patrón debe avisar al socio.", False),
        ("Le client a été payé par la banque.", "Le client a payé la banque.", False),
    ],
    "comparisons": [
        ("Rope is cheaper than chain.", "Rope is more expensive than chain.", False),
        ("Chain lasts longer than rope.", "Rope does not last as long as chain.", True),
        ("The hall is bigger than the shed.", "The shed is not as big as the hall.", True),
        ("The shed is bigger than the hall.", "The shed is not as big as the hall.", False),
        ("Costs in May were lower than in June.", "Costs in June were higher than in May.", True),
    ],
    "how often": [
        ("Die Pumpe wird jeden Monat geprüft.", "Die Pumpe wird jedes Jahr geprüft.", False),
        ("Die Pumpe wird monatlich geprüft.", "Die Pumpe wird jeden Monat geprüft.", True),
        ("The pump is checked weekly.", "The pump is checked daily.", False),
        ("Der Beitrag ist 30 Euro pro Jahr.", "Der Beitrag ist 30 Euro im Jahr.", True),
        ("Im Mai 2023 kamen 300 Gäste.", "Im Jahr 2023 kamen im Mai 300 Gäste.", True),
    ],
    "additions": [
        ("The mast was replaced because of a crack.", "The mast was replaced.", False),
        ("The mast was painted by a pupil.", "The mast was painted.", False),
        ("The bar has a stove and sells ice cream.", "The bar has a stove and a piano.", False),
        ("The bar has a stove and a piano.", "The bar has a stove and a piano, near the quay.", True),
        ("The mast was replaced.", "The mast was replaced because of a crack.", True),
    ],
    "other names": [
        (
            "The Kiel branch opened in 2011 with 30 members.",
            "The Kiel branch opened in 2011. The Bremen branch has 30 members.",
            False,
        ),
        (
            "The Kiel branch opened in 2011 and has 30 members.",
            "The Kiel branch opened in 2011. It has 30 members.",
            True,
        ),
        ("The Bremen branch has a crane.", "## Kiel branch\n\nThe branch has a crane.", False),
        ("Eva Lund writes the log.", "Eva Lund steers and Ben Fox writes the log.", False),
        ("Ben Fox writes the log.", "Eva Lund steers and Ben Fox writes the log.", True),
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("claim", "passage", "is_supported"),
    [case for cases in CASES.values() for case in cases],
)
def test_support(claim: str, passage: str, is_supported: bool) -> None:
    score = float(VERIFIER.scores([(claim, passage)])[0])
    assert (score >= VERIFIER.threshold) == is_supported, score
    if is_supported:
        assert not VERIFIER.contradicts(claim, passage)


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("from 8 to 10 p.m., at 9 am", "from 20:00 to 22:00, at 9:00"),
        ("11 to 2 pm", "11:00 to 14:00"),
        ("ab 8 Uhr, 8.30 Uhr, 18 Uhr 15", "ab 8:00, 8:30, 18:15"),
        ("à 9h30 et à 18 h", "à 9:30 et à 18:00"),
        ("a las 9 y a las 18:00 horas", "a las 9:00 y a las 18:00"),
        ("6 hours, 5 h, 3,5 h, 13 pm", "6 hours, 5 h, 3,5 h, 13 pm"),
        ("12 am, 12 pm, 09:05", "0:00, 12:00, 9:05"),
    ],
)
def test_times_have_one_form(text: str, written: str) -> None:
    assert write_clock_times(text) == written
    assert write_clock_times(written) == written


def test_references_without_a_name_stay() -> None:
    for text in ("The blue one is new.", "The former is red.", "To: Ann Lee", "One of the boats"):
        assert write_out(text) == text


def test_links_of_other_clauses_are_not_compared() -> None:
    assert compare_links("It broke because it rained.", "He left before he ate.") is None
    assert compare_links("No link.", "He left before he ate.") is None
    assert compare_links("", "") is None
