"""Figures of parallel clauses: each belongs to its own clause."""

from __future__ import annotations

import pytest

from rag import LexicalVerifier
from rag.verification.parallel_clauses import gives_figures_to_others

VALVES = "The red valve opens at 5 bar, the blue valve at 7 bar."
PRICES = "Adults pay 12 euros, children 6 euros."
PLANS = "Team costs 30 euros a month. Pro costs 20 euros a month."
HOURS = "Opening hours: Monday 9 to 17, Saturday 10 to 14."
TYRES = "New tyres last 40,000 km; retreaded tyres last 25,000 km."
GERMAN = "Der rote Hahn öffnet bei 5 bar und der blaue Hahn bei 7 bar."
SHIFTS = "Shift A works from 6 to 14, shift B from 14 to 22, shift C from 22 to 6."
CAMPAIGN = "In the April campaign, 480 valves were checked and 17 failed."
REVENUE = "Revenue fell from 7.8 million EUR in 2022 to 7.2 million EUR in 2023."
BUDGET = "Item: Licences; Planned: 31,000 EUR; Spent: 12,400 EUR; Remaining: 18,600 EUR"
YEARS = "Item: Revenue; 2022: 7.8; 2023: 7.2"
AUDIT = "In 2024, 530 instruments were checked and 11 failed."
WALKS = "Minutes from the hotel: airport 35 minutes, station 12 minutes, fair 20 minutes."


@pytest.mark.parametrize(
    ("passage", "claim"),
    [
        (AUDIT, "11 instruments were checked in 2024."),
        (AUDIT, "530 instruments failed."),
        (CAMPAIGN, "In the April campaign, 480 valves failed."),
        (CAMPAIGN, "In the April campaign, 17 valves were checked."),
        (REVENUE, "In 2023, revenue was 7.8 million EUR."),
        (REVENUE, "Revenue in 2022 was 7.2 million EUR."),
        (
            "Revenue was 7.8 million in 2022 and 7.2 million in 2023.",
            "In 2023, revenue was 7.8 million.",
        ),
        (BUDGET, "For licences, 18,600 EUR have been spent and 12,400 EUR are remaining."),
        (YEARS, "Revenue was 7.8 in 2023."),
        ("530 instruments were checked and 11 failed.", "11 instruments were checked in 2024."),
        (AUDIT, "In 2024, 530 failed."),
        (SHIFTS, "Shift A works from 14 to 22."),
        (SHIFTS, "Shift A works from 22 to 6."),
        (WALKS, "It takes 20 minutes from the hotel to the airport."),
        (WALKS, "The fair is 35 minutes from the hotel."),
        (VALVES, "The red valve opens at 7 bar."),
        (VALVES, "The blue valve opens at 5 bar."),
        (VALVES, "The red valve opens at 7 bar and the blue valve at 5 bar."),
        (PRICES, "Adults pay 6 euros."),
        (PRICES, "Children pay 12 euros."),
        (PLANS, "Team costs 20 euros and Pro costs 30 euros a month."),
        (HOURS, "It is open Monday 10 to 14 and Saturday 9 to 17."),
        (TYRES, "Retreaded tyres last 40,000 km."),
        (GERMAN, "Der rote Hahn öffnet bei 7 bar."),
    ],
)
def test_an_exchanged_figure_is_not_supported(passage: str, claim: str) -> None:
    verifier = LexicalVerifier()
    support = float(verifier.scores([(claim, passage)])[0])
    assert verifier.status(support) == "unsupported"
    assert verifier.contradicts(claim, passage)


@pytest.mark.parametrize(
    ("passage", "claim"),
    [
        (AUDIT, "530 instruments were checked in 2024."),
        (CAMPAIGN, "In the April campaign, 17 valves failed."),
        (CAMPAIGN, "In the April campaign, 480 valves were checked."),
        (REVENUE, "In 2023, revenue was 7.2 million EUR."),
        (REVENUE, "Revenue in 2022 was 7.8 million EUR."),
        (BUDGET, "For licences, 12,400 EUR have been spent and 18,600 EUR are remaining."),
        (YEARS, "Revenue was 7.2 in 2023."),
        (AUDIT, "Of the instruments checked in 2024, 11 failed."),
        (AUDIT, "11 of the 530 instruments failed."),
        (AUDIT, "11 instruments missed the check."),
        ("The course costs 30 euros and lasts 2 days.", "The course costs 30 euros."),
        ("The team has 12 people and won 3 prizes.", "The team of 12 people won 3 prizes."),
        (SHIFTS, "Shift B works from 14 to 22."),
        (WALKS, "It takes 35 minutes from the hotel to the airport."),
        (VALVES, "The red valve opens at 5 bar."),
        (VALVES, "The blue valve opens at 7 bar."),
        (VALVES, "The blue valve opens at 7 bar, unlike the red valve."),
        (VALVES, "The red valve opens earlier than the blue one, at 5 bar."),
        (f"{VALVES} Since 2024, the red valve opens at 7 bar.", "The red valve opens at 7 bar."),
        (PRICES, "Children pay 6 euros."),
        (PRICES, "Adults and children pay 12 and 6 euros."),
        (PRICES, "Adults and children pay 12 and 6 euros respectively."),
        (PLANS, "Pro costs 20 euros and Team 30 euros a month."),
        (HOURS, "On Saturday it is open 10 to 14."),
        (TYRES, "New tyres last 40,000 km."),
        ("It was founded in 1999, and has 12 staff.", "The founders have 12 staff since 1999."),
        ("The pump weighs 5 kg, the hose 7 m.", "The pump weighs 5 kg."),
        ("", "It has 12 staff."),
        ("12", "13"),
    ],
)
def test_a_figure_in_its_own_clause_is_not_exchanged(passage: str, claim: str) -> None:
    assert not gives_figures_to_others(claim, [passage])
