"""The fallback for citation markers that are wrong or missing."""

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray

from rag.generation.citations import cite
from rag.generation.marker_repair import (
    add_missing_markers,
    drop_wrong_markers,
    find_supporting_quotes,
)
from rag.verification import LexicalVerifier, Verifier
from tests.generation.samples import (
    PASSAGES,
    QUESTION,
    SUPPORTED,
    VERIFIER,
    run_generator,
)


def find_quote_texts(claim: str, marked_numbers: list[int]) -> list[str]:
    quotes, _ = find_supporting_quotes(claim, marked_numbers, PASSAGES, VERIFIER, QUESTION)
    return [quote.text for quote in quotes]


@pytest.mark.parametrize("marked_numbers", [[], [1], [2]])
def test_best_passage_is_quoted_whatever_the_marker(marked_numbers: list[int]) -> None:
    claim = "The battery lasts 34 minutes."
    assert find_quote_texts(claim, marked_numbers) == ["The battery lasts 34 minutes."]


def test_unsupported_claim_gets_no_quote() -> None:
    quotes, support = find_supporting_quotes(
        "It was invented by llamas in Peru.", [1], PASSAGES, VERIFIER, QUESTION
    )
    assert quotes == []
    assert 0 <= support < VERIFIER.partial


class BatteryVerifier(Verifier):
    """Gives a passage about batteries a support of 0.4, any other 0.3."""

    name: ClassVar[str] = "battery"

    def scores(self, pairs: Sequence[tuple[str, str]]) -> NDArray[np.float32]:
        return np.array([0.4 if "battery" in text else 0.3 for _, text in pairs], np.float32)


class RecordingVerifier(LexicalVerifier):
    """Records the passages that it compares."""

    name: ClassVar[str] = "recording"
    premises: ClassVar[list[str]] = []

    def scores(self, pairs: Sequence[tuple[str, str]]) -> NDArray[np.float32]:
        self.premises.extend(premise for _, premise in pairs)
        return super().scores(pairs)


@pytest.mark.parametrize(
    ("claim", "is_repetition"),
    [
        ("The battery lasts 34 minutes.", True),
        ("The  battery lasts 34 minutes", True),
        ("The battery lasts 35 minutes.", False),
        ("The battery lasts for 34 minutes.", False),
    ],
)
def test_only_a_sentence_word_for_word_is_compared_alone(claim: str, is_repetition: bool) -> None:
    verifier = RecordingVerifier()
    verifier.premises.clear()
    find_supporting_quotes(claim, [1], PASSAGES, verifier, QUESTION)
    assert (len(verifier.premises) == 1) == is_repetition


@pytest.mark.parametrize(
    ("marked_numbers", "threshold", "uris"),
    [
        ([], 0.5, ["doc1"]),  # partial support is enough without a marker
        ([2], 0.5, ["doc2"]),  # and does not replace a marker with partial support
        ([2], 0.4, ["doc1"]),
    ],
)
def test_marker_gives_way_only_to_full_support(
    marked_numbers: list[int], threshold: float, uris: list[str]
) -> None:
    claim = "the battery or the propellers last for a long time"
    verifier = BatteryVerifier(threshold=threshold, partial=0.25)
    quotes, _ = find_supporting_quotes(claim, marked_numbers, PASSAGES, verifier, "")
    assert [quote.passage.uri for quote in quotes] == uris


def test_wrong_numbers_are_dropped_from_markers() -> None:
    sentence, marked_numbers = drop_wrong_markers("A [1, 9] and b [2][7].", {1, 2})
    assert (sentence, marked_numbers) == ("A [1] and b [2].", [1, 9, 2, 7])


def test_missing_markers_are_added_in_order() -> None:
    assert add_missing_markers("A.", [2, 1]) == "A. [2] [1]"
    assert add_missing_markers("A [1].", []) == "A [1]."
    assert add_missing_markers("|A|5|", [1]) == "|A|5 [1] |"


@pytest.mark.parametrize(
    ("draft", "text", "dropped_markers"),
    [
        ("The battery lasts 34 minutes [9].", "The battery lasts 34 minutes. [1]", 1),
        ("The battery lasts 34 minutes [1, 9].", "The battery lasts 34 minutes [1].", 1),
        ("The battery lasts 34 minutes [0].", "The battery lasts 34 minutes. [1]", 1),
        ("Charging takes 90 minutes [1-4].", "Charging takes 90 minutes [1].", 3),
        ("The battery lasts 34 minutes [1].  [2, 7]", "The battery lasts 34 minutes [1].", 2),
        (
            "The battery lasts 34 minutes [1].  [7]Charging takes 90 minutes [1].",
            "The battery lasts 34 minutes [1]. Charging takes 90 minutes [1].",
            1,
        ),
    ],
)
def test_markers_of_missing_or_unsupporting_passages_are_dropped(
    draft: str, text: str, dropped_markers: int
) -> None:
    cited = cite(draft, PASSAGES, VERIFIER)
    assert (cited.text, cited.dropped_markers) == (text, dropped_markers)
    assert cited.text[: cited.sentences[0].end].endswith((".", "]"))


def test_missing_citation_is_attributed() -> None:
    cited = cite("The propellers are made of nylon.", PASSAGES, VERIFIER)
    assert cited.text == "The propellers are made of nylon. [2]"
    assert (cited.citations[0].method, cited.attributed) == ("attribution", 1)
    assert cited.sentences[0].end == len(cited.text)


def test_unsupported_sentence_without_marker_gets_none() -> None:
    cited = cite("It was invented in Peru by llamas.", PASSAGES, VERIFIER)
    assert (cited.citations, cited.attributed) == ((), 0)


def test_wrong_marker_is_replaced() -> None:
    answer, _ = run_generator("The battery lasts 34 minutes [2].")
    assert answer.text == "The battery lasts 34 minutes. [1]"
    assert (answer.citations[0].uri, answer.citations[0].method) == ("battery", "attribution")


def test_two_passages_support_a_sentence_together() -> None:
    text = "The battery lasts 34 minutes, and the propellers are made of nylon [1][2]."
    answer, _ = run_generator(text)
    assert answer.text == text
    (sentence,) = answer.sentences
    assert sentence.status == "supported"
    assert [answer.citations[i].uri for i in sentence.citations] == ["battery", "propeller"]
    assert sentence.support > max(citation.support for citation in answer.citations)


def test_quote_that_adds_nothing_to_two_others_is_omitted() -> None:
    third = replace(PASSAGES[0], number=3, uri="doc3", text="The battery is red.")
    quotes, support = find_supporting_quotes(
        "The battery lasts 34 minutes, and the propellers are made of nylon.",
        [1, 2, 3],
        [*PASSAGES, third],
        VERIFIER,
        QUESTION,
    )
    assert [quote.passage.uri for quote in quotes] == ["doc1", "doc2"]
    assert support >= VERIFIER.threshold


def test_marker_that_adds_no_support_is_dropped() -> None:
    answer, _ = run_generator("The battery lasts 34 minutes [1][2].")
    assert answer.text == SUPPORTED
