"""A figure belongs to the label that it stands beside."""

import pytest

from rag.verification import LexicalVerifier
from rag.verification.labelled_values import find_labelled_values

PASSAGES = (
    "The Basic plan costs 10 euros a month. It has 5 seats.",
    "The Pro plan costs 20 euros a month. It has 50 seats.",
    "The Team plan costs 30 euros a month. It has 15 seats.",
)
CABINS = "Fjord cabin sleeps 6 guests. Ridge cabin sleeps 4 guests."


def is_supported(claim: str, passage: str) -> bool:
    verifier = LexicalVerifier()
    return float(verifier.scores([(claim, passage)])[0]) >= verifier.threshold


@pytest.mark.parametrize(
    "wording",
    [
        "- {}: {} euros",
        "**{}**: {} euros",
        "- {} plan: {} euros a month",
        "- {} - {} euros",
        "{} – {} euros",
        "- {} ({} euros)",
        "For the {} plan, it is {} euros.",
        "{} = {} euros",
        "| {} | {} euros |",
    ],
)
def test_a_figure_of_another_label_is_not_supported(wording: str) -> None:
    for name, figure, passage in (("Pro", 20, 1), ("Team", 30, 2)):
        claim = wording.format(name, figure)
        assert is_supported(claim, PASSAGES[passage]), claim
        for other in ("Basic", "Gold", "Team" if name == "Pro" else "Pro"):
            false_claim = wording.format(other, figure)
            assert not is_supported(false_claim, PASSAGES[passage]), false_claim


@pytest.mark.parametrize(
    "claim",
    [
        "- Price: 20 euros a month",
        "- Cost: 20 euros",
        "Monthly fee: 20 euros",
        "Seats: 50",
        "- Answer: 20 euros a month",
        "In the passage, it is 20 euros a month.",
    ],
)
def test_a_label_that_says_what_is_measured_is_no_name(claim: str) -> None:
    assert is_supported(claim, PASSAGES[1])


def test_each_figure_belongs_to_the_label_of_its_own_sentence() -> None:
    assert is_supported("Fjord: 6 guests; Ridge: 4 guests", CABINS)
    assert not is_supported("Fjord: 4 guests; Ridge: 6 guests", CABINS)


def test_a_sentence_that_points_back_has_the_label_of_the_one_before() -> None:
    assert is_supported("- Pro: 50 seats", PASSAGES[1])
    assert not is_supported("- Pro: 50 seats", "The Team plan is new. It has 50 seats.")


def test_a_heading_is_the_label_of_the_sentences_below_it() -> None:
    premise = "Prices > Pro plan: Payment is due on day 5. The fee is 20 euros a month."
    assert is_supported("- Pro: 20 euros a month", premise)
    assert not is_supported("- Team: 20 euros a month", premise)


@pytest.mark.parametrize(
    "claim",
    [
        "",
        ":",
        "- : 5",
        "a:",
        "10:30",
        "It opens at 9:30.",
        "Call 555-0199",
        "| | 5 |",
        "(5)",
        "5 (6)",
    ],
)
def test_texts_without_a_label_have_no_labelled_values(claim: str) -> None:
    assert not find_labelled_values(claim)


def test_a_long_text_takes_no_long_time() -> None:
    for text in (
        "a: " * 20_000,
        "|5" * 20_000,
        "- " * 20_000 + "5",
        "x " * 20_000 + "for y",
        "(1" * 9_000,
    ):
        assert find_labelled_values(text) in ((), find_labelled_values(text))


@pytest.mark.parametrize(
    "heading",
    ["Plans and pricing", "Pension plans", "May 2024", "Expected delivery", "If you are ill",
     "Only members", "No smoking", "Not covered", "Unless stated otherwise", "Guide > Plans"],
)  # fmt: skip
def test_headings_are_no_words_of_the_sentence_below_them(heading: str) -> None:
    sentence = "The Team plan costs 30 euros per month."
    assert is_supported(sentence, f"{heading}: {sentence}")
    verifier = LexicalVerifier()
    assert not verifier.contradicts(sentence, f"{heading}: {sentence}")
    assert verifier.contradicts("The Team plan costs 40 euros per month.", f"{heading}: {sentence}")


def test_a_limit_is_the_figure_of_its_label() -> None:
    assert is_supported(
        "- Berlin: 140 euros", "Hotels in Berlin may cost up to 140 euros per night."
    )


def test_groups_of_people_are_labels() -> None:
    assert not is_supported("- Members: 12 euros", "Guests pay 12 euros.")
