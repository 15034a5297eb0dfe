"""ALCE's citation scores, with all quirks, compared with values computed by hand from its eval.py.

The entailment model is simple: a passage entails a claim if it contains every word of the claim.
Each case names its quirk; the numbers are supported sentences, sentences, correct citations, and
counted citations.
"""

from __future__ import annotations

import re

import pytest

from evals.metrics.citation import AlceCounts, alce, citation_scores, split_plain_sentences
from evals.samples import Sample, passages
from rag.errors import ConfigError

DOCUMENTS = [
    ("A", "the sky is blue"),
    ("B", "grass is green and tall"),
    ("C", "snow is white"),
    ("D", "the sky is wide"),
    ("E", "coal is black"),
]


def entails(passage: str, claim: str) -> bool:
    claim_words = set(re.findall(r"[a-z]+", claim.lower()))
    return bool(claim_words) and claim_words <= set(re.findall(r"[a-z]+", passage.lower()))


CASES = [
    # name, output, supported sentences, sentences, correct citations, citations
    ("one citation that supports", "The sky is blue [1].", 1, 1, 1, 1),
    ("one citation that does not support", "The sky is blue [3].", 0, 1, 0, 1),
    ("no citation", "The sky is blue.", 0, 1, 0, 0),
    ("one of two sentences cited", "The sky is blue [1]. Snow is white.", 1, 2, 1, 1),
    ("two sentences", "The sky is blue [1]. Snow is white [3].", 2, 2, 2, 2),
    ("a second, needless citation", "The sky is blue [1][3].", 1, 1, 1, 2),
    ("a first, needless citation", "The sky is blue [3][1].", 1, 1, 1, 2),
    ("each supports alone", "The sky is [1][4].", 1, 1, 2, 2),
    ("support only together", "The sky is blue and wide and tall [1][2][4].", 1, 1, 3, 3),
    ("support together, one needless", "The sky is blue, wide [1][4][5].", 1, 1, 2, 3),
    ("no joint support", "Grass is red [2][5].", 0, 1, 0, 2),
    ("a range cites its first number", "The sky is blue [1-3].", 1, 1, 1, 1),
    ("a range does not cite its second number", "Snow is white [1-3].", 0, 1, 0, 1),
    ("a list cites its first number", "The sky is blue [1, 2].", 1, 1, 1, 1),
    ("a list leaves its other numbers in the claim", "Grass is green [2, 3].", 1, 1, 1, 1),
    ("a repeated citation counts twice", "The sky is blue [1][1].", 1, 1, 2, 2),
    ("a repeated wrong citation counts twice", "The sky is blue [3][3].", 0, 1, 0, 2),
    ("zero is the last document", "Coal is black [0].", 1, 1, 1, 1),
    ("zero that does not support", "Snow is white [0].", 0, 1, 0, 1),
    ("a number out of range is not counted", "The sky is blue [9].", 0, 1, 0, 0),
    ("a number out of range invalidates the others", "The sky is blue [1][9].", 0, 1, 0, 0),
    (
        "a marker after the full stop belongs to the next sentence",
        "The sky is blue. [1] Snow is white. [3]",
        0,
        3,
        0,
        2,
    ),
    ("a marker after the last full stop is a sentence", "The sky is blue. [1]", 0, 2, 0, 1),
    ("only the first three citations count", "The sky is blue [1][4][2][3].", 1, 1, 1, 3),
    ("a fourth citation cannot support", "Coal is black [1][2][3][5].", 0, 1, 0, 3),
    ("only the first line counts", "The sky is blue [1].\nSnow is white [3].", 1, 1, 1, 1),
    ("the end token is removed", "The sky is blue [1].<|im_end|>", 1, 1, 1, 1),
    ("surrounding white space is removed", "   The sky is blue [1].   ", 1, 1, 1, 1),
    ("a heading counts as a sentence", "Colours! The sky is blue [1].", 1, 2, 1, 1),
    ("a marker before the sentence", "[1] The sky is blue.", 1, 1, 1, 1),
    ("a bar after the marker is removed", "The sky is blue [1] |.", 1, 1, 1, 1),
]


@pytest.mark.parametrize(
    ("output", "supported", "count", "precise", "citations"),
    [case[1:] for case in CASES],
    ids=[case[0] for case in CASES],
)
def test_counts_equal_those_computed_by_hand(
    output: str, supported: int, count: int, precise: int, citations: int
) -> None:
    counts = alce(output, DOCUMENTS, entails)
    assert counts == AlceCounts(supported, count, precise, citations)


def test_at_least_25_cases_are_checked() -> None:
    assert len(CASES) >= 25


def test_empty_output_is_left_out() -> None:
    assert alce("", DOCUMENTS, entails) is None
    assert alce("  \nThe sky is blue [1].", DOCUMENTS, entails) is not None


def test_all_citations_count_without_a_limit() -> None:
    counts = alce("The sky is blue [1][4][2][3].", DOCUMENTS, entails, max_citations=None)
    assert counts == AlceCounts(1, 1, 1, 4)


def test_documents_are_formatted_with_title_and_text() -> None:
    requests: list[str] = []

    def record(passage: str, claim: str) -> bool:
        requests.append(f"{passage} => {claim}")
        return True

    alce("Snow is white [3][1].", DOCUMENTS, record)
    assert requests == [
        "Title: C\nsnow is white\nTitle: A\nthe sky is blue => Snow is white.",
        "Title: C\nsnow is white => Snow is white.",
        "Title: A\nthe sky is blue => Snow is white.",
    ]


def test_citation_scores_in_both_modes() -> None:
    contexts = passages([text for _, text in DOCUMENTS])
    answer = "The sky is blue. [1] Snow is white. [3]"
    sample = Sample(id="1", question="?", answer=answer, contexts=contexts)
    ours = {name: s.value for name, s in citation_scores(sample).items()}
    theirs = {name: s.value for name, s in citation_scores(sample, mode="alce").items()}
    assert ours == {"recall": 1.0, "precision": 1.0, "f1": 1.0}
    assert theirs == {"recall": 0.0, "precision": 0.0, "f1": 0.0}
    with pytest.raises(ConfigError):
        citation_scores(sample, mode="mine")  # type: ignore[arg-type]


def test_custom_sentence_splitter() -> None:
    counts = alce("a [1]; b [2]", DOCUMENTS, lambda *_: True, split=lambda text: text.split(";"))
    assert counts == AlceCounts(2, 2, 2, 2)
    assert split_plain_sentences("J. Smith came. He left!") == ["J. Smith came.", "He left!"]
