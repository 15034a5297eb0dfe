"""Sentence splitting."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.text.sentences import sentences


def split_sentences(text: str) -> list[str]:
    return [text[a:b] for a, b in sentences(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two! Three?", ["One.", "Two!", "Three?"]),
        ("Dr. Smith met J. R. Jones, i.e. the boss. He left.", 2),
        ("It costs 3.5 euros. That is 1,000.50 too much.", 2),
        ("See Fig. 3 for details. Then stop.", 2),
        ("Yes. [1][2] Next one [3].", ["Yes. [1][2]", "Next one [3]."]),
        ("Cited after. [1, 2] Then [1-3]. End.", ["Cited after. [1, 2]", "Then [1-3].", "End."]),
        ('He said "stop." Then he left.', ['He said "stop."', "Then he left."]),
        ("- one item\n- two items", ["- one item", "- two items"]),
        ("1. first\n2. second", ["1. first", "2. second"]),
        ("# Title\n\nText here.", ["# Title", "Text here."]),
        ("| a | b |\n| 1 | 2 |", ["| a | b |", "| 1 | 2 |"]),
        ("東京は首都です。人口は多い！本当？", ["東京は首都です。", "人口は多い！", "本当？"]),
        ("a line that is broken\nanywhere in the text.", 1),
        (
            "The storm of 9 November\nIn the night a storm crossed the coast from the west and tore\n"
            "forty metres of handrail.",
            2,
        ),
        ("", []),
        (" \n\t ", []),
        ("no end", ["no end"]),
    ],
)
def test_text_is_split_into_sentences(text: str, expected: list[str] | int) -> None:
    sentence_texts = split_sentences(text)
    assert (len(sentence_texts) if isinstance(expected, int) else sentence_texts) == expected


@given(st.text(st.sampled_from("aB. \n!?[1]。-|#\"'\r\t0é")))
def test_sentences_cover_all_text_except_white_space(text: str) -> None:
    spans = sentences(text)
    covered = "".join(text[a:b] for a, b in spans)
    assert "".join(covered.split()) == "".join(text.split())
    assert all(a.end <= b.start for a, b in zip(spans, spans[1:], strict=False))
    assert all(text[a:b] == text[a:b].strip() != "" for a, b in spans)


@pytest.mark.parametrize(
    "piece",
    [
        "[",
        "1. ",
        ".\n",
        "[1",
        ". [1, ",
        ".",
        "...x",
        " ",
        "\t",
        "\n",
        " \r\n",
        "A.",
        "# ",
        "。",
        "|-",
        ")",
    ],
)
def test_sentences_take_linear_time(piece: str) -> None:
    # Quadratic time would take minutes, so no time limit is needed.
    text = "." + piece * (500_000 // len(piece)) + "x"
    assert sentences(text)
