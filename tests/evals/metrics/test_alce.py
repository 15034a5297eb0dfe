"""ALCE's citation scores, quirks and all, against values worked out by hand from its eval.py.

The entailment model is a table: a passage entails a claim when it holds every word of it. Each
case names the quirk it is about; the numbers are sentences supported / sentences, and citations
right / citations counted.
"""

from __future__ import annotations

import re

import pytest

from evals.metrics.citation import AlceCounts, alce, citation_scores, plain_sentences
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
    wanted = set(re.findall(r"[a-z]+", claim.lower()))
    return bool(wanted) and wanted <= set(re.findall(r"[a-z]+", passage.lower()))


CASES = [
    # what it is about, the output, supported, sentences, precise, citations
    ("one citation that supports", "The sky is blue [1].", 1, 1, 1, 1),
    ("one that does not", "The sky is blue [3].", 0, 1, 0, 1),
    ("no citation", "The sky is blue.", 0, 1, 0, 0),
    ("half cited", "The sky is blue [1]. Snow is white.", 1, 2, 1, 1),
    ("two sentences", "The sky is blue [1]. Snow is white [3].", 2, 2, 2, 2),
    ("a needless one beside", "The sky is blue [1][3].", 1, 1, 1, 2),
    ("needless, in the other order", "The sky is blue [3][1].", 1, 1, 1, 2),
    ("both by themselves", "The sky is [1][4].", 1, 1, 2, 2),
    ("only together", "The sky is blue and wide and tall [1][2][4].", 1, 1, 3, 3),
    ("together, one needless", "The sky is blue, wide [1][4][5].", 1, 1, 2, 3),
    ("joint support fails, one alone would not say more", "Grass is red [2][5].", 0, 1, 0, 2),
    ("a range counts its first", "The sky is blue [1-3].", 1, 1, 1, 1),
    ("a range whose second would support", "Snow is white [1-3].", 0, 1, 0, 1),
    ("a list in brackets counts its first", "The sky is blue [1, 2].", 1, 1, 1, 1),
    ("a list leaves the rest in the claim", "Grass is green [2, 3].", 1, 1, 1, 1),
    ("the same twice counts twice", "The sky is blue [1][1].", 1, 1, 2, 2),
    ("the same wrong one twice", "The sky is blue [3][3].", 0, 1, 0, 2),
    ("nought is the last document", "Coal is black [0].", 1, 1, 1, 1),
    ("nought that does not support", "Snow is white [0].", 0, 1, 0, 1),
    ("out of range is not counted", "The sky is blue [9].", 0, 1, 0, 0),
    ("one out of range spoils the rest", "The sky is blue [1][9].", 0, 1, 0, 0),
    ("behind the stop is the next one's", "The sky is blue. [1] Snow is white. [3]", 0, 3, 0, 2),
    ("behind the last stop stands alone", "The sky is blue. [1]", 0, 2, 0, 1),
    ("of four the first three count", "The sky is blue [1][4][2][3].", 1, 1, 1, 3),
    ("the fourth is what would support", "Coal is black [1][2][3][5].", 0, 1, 0, 3),
    ("only the first line", "The sky is blue [1].\nSnow is white [3].", 1, 1, 1, 1),
    ("the end token", "The sky is blue [1].<|im_end|>", 1, 1, 1, 1),
    ("white space around", "   The sky is blue [1].   ", 1, 1, 1, 1),
    ("a heading counts as a sentence", "Colours! The sky is blue [1].", 1, 2, 1, 1),
    ("a marker before the words", "[1] The sky is blue.", 1, 1, 1, 1),
    ("a bar after the marker", "The sky is blue [1] |.", 1, 1, 1, 1),
]


@pytest.mark.parametrize(
    ("output", "supported", "count", "precise", "citations"),
    [case[1:] for case in CASES],
    ids=[case[0] for case in CASES],
)
def test_by_hand(output: str, supported: int, count: int, precise: int, citations: int) -> None:
    found = alce(output, DOCUMENTS, entails)
    assert found == AlceCounts(supported, count, precise, citations)


def test_there_are_enough_of_them() -> None:
    assert len(CASES) >= 25


def test_an_empty_output_vanishes() -> None:
    assert alce("", DOCUMENTS, entails) is None
    assert alce("  \nThe sky is blue [1].", DOCUMENTS, entails) is not None


def test_all_citations_count_where_none_is_the_most() -> None:
    found = alce("The sky is blue [1][4][2][3].", DOCUMENTS, entails, at_most_citations=None)
    assert found == AlceCounts(1, 1, 1, 4)


def test_the_titles_stand_before_the_texts() -> None:
    seen: list[str] = []

    def note(passage: str, claim: str) -> bool:
        seen.append(f"{passage} => {claim}")
        return True

    alce("Snow is white [3][1].", DOCUMENTS, note)
    assert seen == [
        "Title: C\nsnow is white\nTitle: A\nthe sky is blue => Snow is white.",
        "Title: C\nsnow is white => Snow is white.",
        "Title: A\nthe sky is blue => Snow is white.",
    ]


def test_both_ways_of_counting_an_answer() -> None:
    contexts = passages([text for _, text in DOCUMENTS])
    answer = "The sky is blue. [1] Snow is white. [3]"
    sample = Sample(id="1", question="?", answer=answer, contexts=contexts)
    ours = {name: s.value for name, s in citation_scores(sample).items()}
    theirs = {name: s.value for name, s in citation_scores(sample, mode="alce").items()}
    assert ours == {"recall": 1.0, "precision": 1.0, "f1": 1.0}
    assert theirs == {"recall": 0.0, "precision": 0.0, "f1": 0.0}
    with pytest.raises(ConfigError):
        citation_scores(sample, mode="mine")  # type: ignore[arg-type]


def test_a_splitter_of_ones_own() -> None:
    found = alce("a [1]; b [2]", DOCUMENTS, lambda *_: True, split=lambda text: text.split(";"))
    assert found == AlceCounts(2, 2, 2, 2)
    assert plain_sentences("J. Smith came. He left!") == ["J. Smith came.", "He left!"]
