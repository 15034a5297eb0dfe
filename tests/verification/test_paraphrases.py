"""Claims in other words than their source: neither refused nor called contradicted."""

from __future__ import annotations

import pytest

from rag import LexicalVerifier
from rag.verification.paraphrases import unify_wordings

SAME = [
    ("Visitors do not pay for parking.", "Parking is free for visitors."),
    ("Parking is free of charge for visitors.", "Visitors do not pay for parking."),
    ("Trainees may not work overtime.", "Overtime is forbidden for trainees."),
    ("Overtime is forbidden for trainees.", "Trainees are not allowed to work overtime."),
    (
        "The warranty does not cover damage caused by frost.",
        "Frost damage is not covered by the warranty.",
    ),
    ("The warranty covers damage caused by frost.", "Frost damage is covered by the warranty."),
    ("The warranty does not cover frost damage.", "Frost damage is excluded from the warranty."),
    ("Max. speed: 25 km/h.", "The maximum speed is 25 kilometres per hour."),
    ("Smoking is not permitted on the terrace.", "May I smoke on the terrace? No."),
    ("Smoking is permitted on the terrace.", "May I smoke on the terrace? Yes."),
    ("The shop closes at 14:00.", "The shop closes at 2 pm."),
    (
        "Orders above 50 euros need a deposit; all others need only a signature.",
        "Orders above 50 euros need a deposit.",
    ),
    ("Die Rampe trägt höchstens 3 Tonnen.", "Die Rampe trägt nicht mehr als 3 Tonnen."),
    ("Der Auftrag hat mindestens 5 Teile.", "Der Auftrag hat nicht weniger als 5 Teile."),
    ("Parking costs 5 euros per hour.", "Parking costs 5 euros an hour."),
    ("The licence costs 900 Swiss francs.", "The licence costs 900 CHF."),
    ("Taxis are paid after 10 p.m. if no train runs.", "Taxis are paid if no train runs."),
    ("Drivers must check the tyres.", "Drivers must check the tyres every week."),
    ("Smoking is prohibited.", "Smoking is not allowed."),
    ("Smoking is prohibited.", "Smoking isn't permitted."),
    ("Dogs are not allowed.", "Dogs are forbidden."),
    ("The office is closed on Sundays.", "The office is not open on Sundays."),
    ("At most 10 people may enter.", "No more than 10 people may enter."),
    ("At least two people must be present.", "No fewer than two people must be present."),
    ("The contract cannot be cancelled.", "It is impossible to cancel the contract."),
    ("The load must not exceed 900 kg.", "The load must be at most 900 kg."),
    ("The annual fee is 40 euros.", "The yearly fee is 40 euros."),
    ("The fee is 40 euros per month.", "The fee is 40 euros every month."),
    ("Visitors must wear a helmet.", "Visitors are required to wear a helmet."),
    ("The price rose by 10 percent.", "The price increased by 10 percent."),
    ("Sales fell by 5 percent.", "Sales declined by 5 percent."),
    ("The gate opens at 8 a.m.", "The gate opens at 8:00."),
    ("The gate closes at 8:30 pm.", "The gate closes at 20:30."),
    ("The visit lasts half an hour.", "The visit lasts 30 minutes."),
    ("The front door needs a code.", "A code is needed for the front door."),
    ("Invoices are paid within 14 working days.", "Invoices are paid within 14 days."),
    ("Delivery takes 10-14 days.", "Delivery takes up to 14 days."),
    ("The gate opens at 8 a.m.", "The gate opens at 8."),
    ("The warranty is 24 months.", "The warranty is two years."),
    ("The gate closes at 20:00.", "The gate closes at 8 p.m."),
    ("The warranty is two years.", "The warranty is 24 months."),
    ("Reply within 14 days.", "Reply within two weeks."),
    ("Alcohol is banned on the premises.", "No alcohol is allowed on the premises."),
    ("The library is open from 9 to 17.", "The library opens at 9 and closes at 17."),
    ("The heating is turned off at 22:00.", "At 10 pm, the heating is switched off."),
    ("The course starts in May.", "The course begins in May."),
]
OTHER = [
    ("The annual licence costs 1,900 Swiss francs.", "The annual licence costs 1,900 euros."),
    ("The visit costs 300 kronor.", "The visit costs 300 euros."),
    ("Parking costs 5 euros per hour.", "Parking costs 5 euros per day."),
    ("Parking costs 5 euros an hour.", "Parking costs 5 euros a month."),
    ("Drivers should check the tyres.", "Drivers must check the tyres."),
    (
        "Der neue Drucker ist langsamer als der alte.",
        "Der neue Drucker ist schneller als der alte.",
    ),
    ("Der Versand kostet mindestens 8 Euro.", "Der Versand kostet höchstens 8 Euro."),
    ("Taxis are paid after 10 p.m. if no train runs.", "Taxis are paid after 10 p.m."),
    ("Smoking is allowed.", "Smoking is not allowed."),
    ("Smoking is allowed.", "Smoking isn't permitted."),
    ("The lift is open.", "The lift is not open."),
    ("The lift is open.", "The lift isn't open."),
    ("The lift is open.", "The lift is shut."),
    ("He must sign.", "He does not have to sign."),
    ("The load exceeds 900 kg.", "The load does not exceed 900 kg."),
    ("Rauchen ist erlaubt.", "Rauchen ist nicht erlaubt."),
    ("Das Büro ist geöffnet.", "Das Büro ist geschlossen."),
    ("The lamp is on.", "The lamp is off."),
    ("The alarm is switched on.", "The alarm is switched off."),
    ("The alarm is turned off.", "The alarm is turned on."),
    ("Toner is in stock.", "Toner is out of stock."),
    ("Toner is sold out.", "Toner is available."),
    ("Attendance is optional.", "Attendance is mandatory."),
    ("The deposit is refundable.", "The deposit is non-refundable."),
    ("The deposit is non-refundable.", "The deposit is refundable."),
    ("The trip is paid.", "The trip is unpaid."),
    ("The contract is invalid.", "The contract is valid."),
    ("Entry is possible.", "Entry is impossible."),
    ("The door is locked.", "The door is unlocked."),
    ("The port is connected.", "The port is disconnected."),
    ("The list is incomplete.", "The list is complete."),
    ("Die Klausel ist zulässig.", "Die Klausel ist unzulässig."),
    ("Smoking is prohibited.", "Smoking is allowed."),
    ("Smoking is prohibited.", "Smoking is not prohibited."),
    ("The office is closed on Sundays.", "The office is open on Sundays."),
    ("At most 10 people may enter.", "At least 10 people may enter."),
    ("At most 10 people may enter.", "No fewer than 10 people may enter."),
    ("The contract cannot be cancelled.", "It is possible to cancel the contract."),
    ("The annual fee is 40 euros.", "The monthly fee is 40 euros."),
    ("The price rose by 10 percent.", "The price decreased by 10 percent."),
    ("The gate opens at 8 a.m.", "The gate opens at 8 p.m."),
    ("The gate opens at 8 a.m.", "The gate opens at 20:00."),
    ("The visit lasts half an hour.", "The visit lasts 90 minutes."),
    ("The lift is not working.", "The lift is working."),
    ("The heating is turned off at 22:00.", "The heating is turned on at 22:00."),
    ("The warranty is two years.", "The warranty is 36 months."),
    ("Reply within 14 days.", "Reply within 14 weeks."),
    ("Anna beat Ben.", "Ben beat Anna."),
]


@pytest.mark.parametrize(("passage", "claim"), SAME)
@pytest.mark.parametrize("context", ["", " Guests sign in at the desk. The yard is lit at night."])
def test_other_words_for_the_same_are_supported(passage: str, claim: str, context: str) -> None:
    verifier = LexicalVerifier()
    support = float(verifier.scores([(claim, passage + context)])[0])
    assert verifier.status(support) == "supported"
    assert not verifier.contradicts(claim, passage + context)


@pytest.mark.parametrize(("passage", "claim"), OTHER)
def test_like_words_for_the_opposite_are_not(passage: str, claim: str) -> None:
    verifier = LexicalVerifier()
    support = float(verifier.scores([(claim, passage)])[0])
    assert verifier.status(support) != "supported"


@pytest.mark.parametrize("text", ["", "per day", "n't", "It is required to", "can't", "\u2019t"])
def test_a_text_of_wordings_alone_has_a_score(text: str) -> None:
    assert (
        0
        <= float(
            LexicalVerifier().scores(
                [
                    (text, "It is required to."),
                ]
            )[0]
        )
        <= 1
    )
    assert unify_wordings(unify_wordings(text)) == unify_wordings(text)
