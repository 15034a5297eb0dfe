"""The lexical verifier: which claims it supports, and which it does not."""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import ValidationError

from rag import LexicalVerifier, StaticEmbedder
from rag.text.sentences import sentences
from rag.verification.number_normalization import normalize_numbers
from rag.verification.swap_detection import is_swapped_statement
from rag.verification.text_facts import get_text_facts, is_repetition

VERIFIER = LexicalVerifier()


def measure_support(claim: str, passage: str) -> float:
    return float(VERIFIER.support([claim], [passage])[0, 0])


def test_support_matrix_has_shape_and_dtype() -> None:
    supports = VERIFIER.support(["a claim", "another"], ["one", "two", "three"])
    assert supports.shape == (2, 3)
    assert supports.dtype == np.float32
    assert VERIFIER.support([], ["x"]).shape == (0, 1)


@given(st.text(min_size=1, max_size=100), st.text(max_size=200))
def test_support_is_between_0_and_1(claim: str, passage: str) -> None:
    assert 0 <= measure_support(claim, passage) <= 1


# The vectors of longer texts are compared sentence by sentence, so they do not fully agree.
@given(st.text(min_size=1, max_size=100).filter(lambda text: len(sentences(text)) <= 1))
@example("\U00018d80")  # a letter that Python's `re` does not know
@example("0¨¹0")  # normalization joins the letter ¹ to the character before it
def test_sentence_fully_supports_itself(sentence: str) -> None:
    assert measure_support(sentence, sentence) in (0.0, pytest.approx(1.0))


PASSAGE = "The battery of the Kite 4 lasts 34 minutes in calm air, and 1,577.00 were sold in 2018."


@pytest.mark.parametrize(
    "claim",
    ["The battery lasts 34 minutes.", "1577 were sold in 2018.", "Batteries last 34 minutes."],
)
def test_claim_in_the_words_of_the_passage_is_supported(claim: str) -> None:
    assert measure_support(claim, PASSAGE) >= VERIFIER.threshold


@pytest.mark.parametrize(
    "claim",
    [
        "The battery lasts 43 minutes.",
        "1578 were sold in 2018.",
        "The battery lasts -34 minutes.",
        "The battery lasts twelve minutes.",
        "The battery lasts thirty hours and is made in Norway by monks.",
        "Propellers are made of nylon.",
        "",
        "?!",
    ],
)
def test_claim_that_is_not_in_the_passage_is_not_supported(claim: str) -> None:
    assert measure_support(claim, PASSAGE) < VERIFIER.threshold


@pytest.mark.parametrize(
    ("claim", "passage"),
    [
        ("The warranty covers twelve years.", "The warranty covers two years."),
        ("It needs version 3.10 to run.", "It needs version 3.1 to run."),
        ("It works at -5 degrees outside.", "It works at 5 degrees outside."),
    ],
)
def test_claim_with_another_number_is_not_supported(claim: str, passage: str) -> None:
    assert measure_support(claim, passage) < VERIFIER.threshold
    assert measure_support(passage, passage) == pytest.approx(1)


def test_number_words_are_numbers() -> None:
    assert measure_support("It lasts twelve months.", "It lasts 12 months.") > 0.9
    assert measure_support("It has three legs.", "It has 3 legs.") > measure_support(
        "It has four legs.", "It has 3 legs."
    )


@pytest.mark.parametrize(
    ("claim", "passage"),
    [
        ("They sold five million units.", "It sold 5,000,000 units in May."),
        ("It sold 1.5 million units.", "1,500,000 units were sold."),
        ("It opened on 3 May 2018.", "It opened on 2018-05-03."),
        ("It sold 1577 units.", "It sold 1,577.00 units."),
    ],
)
def test_numbers_and_dates_in_other_forms_are_supported(claim: str, passage: str) -> None:
    assert VERIFIER.status(measure_support(claim, passage)) == "supported"


@pytest.mark.parametrize(
    ("claim", "passage"),
    [
        ("It does not run on diesel.", "It runs on diesel."),
        ("The pump is covered by the warranty.", "The pump isn't covered by the warranty."),
        ("The battery lasts 43 minutes.", "The battery lasts 34 minutes."),
        ("It opened on 4 May 2018.", "It opened on 2018-05-03."),
        ("Ada Lovelace wrote it.", "Charles Babbage wrote it."),
    ],
)
def test_disagreeing_negation_number_date_or_name_is_not_supported(
    claim: str, passage: str
) -> None:
    assert VERIFIER.status(measure_support(claim, passage)) == "unsupported"


@pytest.mark.parametrize(
    ("claim", "passage"),
    [
        ("The Kite is made of steel.", "The Kite is made of nylon."),
        ("Beats acquired Apple.", "Apple acquired Beats."),
        ("Ben is the mother of Anna.", "Anna is the mother of Ben."),
        ("Croatia beat France 4-2.", "France beat Croatia 4-2."),
        (
            "It has 3 rooms, 42 restaurants and 2 pools.",
            "It has 42 rooms, 3 restaurants and 2 pools.",
        ),
        ("The Kite was designed by Anna Berg.", "The Kite was designed by Paul Stone."),
        ("It opened in 2019 in Hamburg.", "It opened in 2017 in Hamburg."),
    ],
)
def test_same_statement_about_something_else_is_not_supported(claim: str, passage: str) -> None:
    assert VERIFIER.status(measure_support(claim, passage)) == "unsupported"
    assert VERIFIER.status(measure_support(passage, passage)) == "supported"


@pytest.mark.parametrize(
    ("claim", "passage"),
    [
        ("Carl, Anna and Ben came to Hamburg.", "Anna, Ben and Carl came to Hamburg."),
        ("It cost 3,800 dollars in Oslo.", "It cost 3, 800 dollars in Oslo."),
        ("COVID-19 spreads in winter.", "COVID-19 spreads in winter, as the coronavirus does."),
    ],
)
def test_other_order_or_spelling_is_supported(claim: str, passage: str) -> None:
    assert VERIFIER.status(measure_support(claim, passage)) == "supported"


def test_best_part_of_a_long_passage_counts() -> None:
    filler = "The town has a bridge. " * 50
    alone = measure_support("The battery lasts 34 minutes.", "The battery lasts 34 minutes.")
    within = measure_support(
        "The battery lasts 34 minutes.", f"{filler}The battery lasts 34 minutes."
    )
    apart = measure_support(
        "The battery lasts 34 minutes.", f"The battery is new. {filler}It lasts 34 minutes."
    )
    assert alone == pytest.approx(within)
    assert apart < within


@pytest.mark.parametrize(
    ("claim", "sentence", "is_swapped"),
    [
        ("The pump runs on diesel.", "The pump runs on petrol.", True),
        ("The pump runs on diesel.", "The pump runs on that.", False),  # no word of content
        (  # a long claim may use another word for the same
            "The pump below the old town hall runs on diesel all night and is cleaned in spring.",
            "The pump below the old town hall runs on petrol all night and is cleaned in spring.",
            False,
        ),
    ],
)
def test_one_other_word_of_content_is_another_statement_in_a_short_claim(
    claim: str, sentence: str, is_swapped: bool
) -> None:
    facts = get_text_facts(claim), get_text_facts(sentence)
    assert is_swapped_statement(*facts, has_wrong_number=False) == is_swapped


@pytest.mark.parametrize(
    ("text", "normalized"),
    [
        ("2 thousand", "2000"),
        ("1.5 million", "1500000"),
        ("two billion", "2000000000"),
        ("3 trillion", "3000000000000"),
        ("1.234 thousand", "1234"),
        ("1.2345 thousand", "1.2345 thousand"),  # no whole number
    ],
)
def test_scales_become_digits(text: str, normalized: str) -> None:
    assert normalize_numbers(text) == normalized


@pytest.mark.parametrize(
    ("passage", "share"),
    [
        ("The pump and the tube.", 1),
        ("The pump runs.", 0.5),
        ("The pump runs. It rains. It snows. It pours.", 0.5),
        ("The pump runs. It rains. It snows. It pours. The tube leaks.", (1 + 0.5) / 2),
    ],
)
def test_share_of_the_words_in_the_passage_and_in_its_best_part(passage: str, share: float) -> None:
    verifier = LexicalVerifier(order=0, similarity=0)
    assert verifier.scores([("It has a pump and a tube.", passage)]) == pytest.approx([share])


def test_number_counts_only_near_the_other_words() -> None:
    claim = "The hotel in Oslo has 42 rooms."
    near = "The hotel in Oslo has 42 rooms. It was built by monks."
    apart = "The hotel in Oslo has many rooms. It was built by 42 monks."
    scores = LexicalVerifier(wrong_number=0, swapped=0).scores([(claim, near), (claim, apart)])
    assert scores[0] > 0.9
    assert scores[1] == 0


def test_score_does_not_depend_on_the_other_pairs() -> None:
    pairs = [("It lasts 34 minutes.", PASSAGE), ("It was sold.", PASSAGE), ("", PASSAGE)]
    together = VERIFIER.scores(pairs)
    assert together == pytest.approx([float(VERIFIER.scores([pair])[0]) for pair in pairs])


def test_config_names_the_calibration_sets() -> None:
    assert "AttributionBench" in VERIFIER.config()["calibrated_on"]
    assert 0 < VERIFIER.partial < VERIFIER.threshold < 1


@pytest.mark.parametrize("value", [-0.1, 1.1])
@pytest.mark.parametrize(
    "field",
    "threshold partial order similarity wrong_number missing_name swapped negation contradiction".split(),
)
def test_number_outside_0_to_1_is_refused(field: str, value: float) -> None:
    with pytest.raises(ValidationError, match=field):
        LexicalVerifier.model_validate({field: value})


def test_shares_over_1_are_refused() -> None:
    assert LexicalVerifier(order=0.5, similarity=0.5)
    with pytest.raises(ValidationError, match="order"):
        LexicalVerifier(order=0.6, similarity=0.5)


@pytest.mark.parametrize(
    ("claim", "passage", "factor"),
    [
        ("The pump waters the yard.", "The pump of steel has no handle.", "negation"),
        ("The old pump runs.", "The old pump doesn't run at night.", "contradiction"),
        ("It never runs at night.", "It runs on diesel at night.", "contradiction"),
        ("The pump has no handle.", "The pump of the town runs on diesel all night.", "negation"),
        ("It does not run on diesel.", "It runs on diesel.", "swapped"),
    ],
)
def test_sentence_contradicts_a_claim_only_if_it_is_about_the_same(
    claim: str, passage: str, factor: str
) -> None:
    neutral = {"negation": 1.0, "contradiction": 1.0, "swapped": 1.0}
    without_factors = LexicalVerifier(**neutral).scores([(claim, passage)])[0]
    assert without_factors > 0
    for name in neutral:
        (score,) = LexicalVerifier(**neutral | {name: 0.5}).scores([(claim, passage)])
        assert score == pytest.approx(without_factors * (0.5 if name == factor else 1)), name


def test_vectors_of_any_length_are_compared_by_their_cosine() -> None:
    class LongVectors(StaticEmbedder):
        name: ClassVar[str] = "long-vectors"
        similarity: ClassVar[str] = "dot"  # type: ignore[assignment, misc]

        def embed_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
            return 3 * super().embed_documents(texts)

    pairs = [("Batteries last long.", PASSAGE), ("It was sold.", PASSAGE), ("", PASSAGE)]
    scores = LexicalVerifier(embedder=LongVectors()).scores(pairs)
    assert scores == pytest.approx(VERIFIER.scores(pairs))


@pytest.mark.parametrize(
    ("claim", "is_supported"),
    [
        ("The battery explodes.", False),
        ("The museum is haunted.", False),
        ("Charging is forbidden.", False),
        ("The museum closes.", True),
        ("Charging takes long.", True),
        ("The museum is closed.", True),
    ],
)
def test_a_short_claim_with_an_invented_predicate_is_not_supported(
    claim: str, is_supported: bool
) -> None:
    passage = (
        "The battery lasts 34 minutes. Charging takes 90 minutes, which is long. "
        "The museum closes at five. Tickets are sold at the door."
    )
    verifier = LexicalVerifier()
    (score,) = verifier.scores([(claim, passage)])
    assert (score >= verifier.threshold) == is_supported
    if not is_supported:
        (without_rule,) = verifier.replace(invented=1.0).scores([(claim, passage)])
        assert without_rule > score


@pytest.mark.parametrize(
    "sentence",
    [
        "The red valve opens at 5 bar, the blue valve at 7 bar.",
        "Not before 2019, and never in Berlin, were 5 €, or -5 °C, forbidden",
        "If it rains, the tour to Oslo may start at 9 a.m., not at 8",
    ],
)
def test_repeated_sentence_is_supported_whatever_it_says(sentence: str) -> None:
    assert measure_support(sentence, f"Tours > Oslo: {sentence} The Team plan has 7 seats.") > 0.8


@pytest.mark.parametrize(
    ("claim", "sentence"),
    [
        ("The pump needs -5 °C.", "The pump needs 5 °C."),
        ("The fee is $5.", "The fee is €5."),
        ("The lift isn't open.", "The lift is open."),
        ("Anna pays Ben.", "Ben pays Anna."),
    ],
)
def test_sentence_with_the_same_words_is_no_repetition(claim: str, sentence: str) -> None:
    assert not is_repetition(claim, sentence)
    assert measure_support(claim, sentence) < VERIFIER.threshold
