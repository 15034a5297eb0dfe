"""Sentence splitting."""

import random
import textwrap

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.text.sentences import sentences

PARAGRAPH = (
    "The Heron pump was built in 2019 by Anna Larsen of Nordic Flow in Bergen. At full load the "
    "motor runs for 34 hours on one tank. The FX-310 filter takes 50 litres and draws up to 65 W "
    "from the mains. Dr. Berg tested it with Fjord Energy on 12 March 2021 in Oslo."
)
GERMAN_PARAGRAPH = (
    "Das Modell Heron wurde im Jahr 2019 von Anna Larsen bei der Firma Nordic Flow in Bergen "
    "gebaut. Bei voller Last liegt die Laufzeit des Motors laut Handbuch bei 34 Stunden pro "
    "Tank. Die Garantie gilt laut Herrn Doktor Kraus Funk zwei Jahre ab Kauf der Pumpe."
)
FRENCH_PARAGRAPH = (
    "Le moteur de la pompe Heron tourne selon le manuel de la maison Nordic Flow environ 34 heures "
    "par plein. Le filtre FX-310 prend 50 litres et Madame Durand de Paris l'a mesuré à Lyon."
)
WIDTHS = (30, 36, 40, 44, 50, 60, 72, 80, 100)
LONG_ADDRESS = "See https://example.org/" + "some/long/path/" * 12 + "index.html for more."


def split_sentences(text: str) -> list[str]:
    return [text[a:b] for a, b in sentences(text)]


def split_into_lines(text: str) -> list[str]:
    """Return the sentences, each in one line and without quotation marks of mail."""
    return [
        " ".join(s.replace("\n> ", " ").removeprefix("> ").split()) for s in split_sentences(text)
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two! Three?", ["One.", "Two!", "Three?"]),
        ("Call reception (ext. 100). Then wait.", 2),
        ("Tel. +49 40 123. Ask for Ms Li.", 2),
        ("It takes 10 min. 5 people wait.", 2),
        ("Load it with max. 20 kg. Then close it.", 2),
        ("Die Miete inkl. Strom und zzgl. Wasser beträgt 400 Euro. Nr. 5 ist frei.", 2),
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


# -- wrapped lines ---------------------------------------------------------------------------


@pytest.mark.parametrize("paragraph", [PARAGRAPH, GERMAN_PARAGRAPH, FRENCH_PARAGRAPH])
@pytest.mark.parametrize("width", WIDTHS)
def test_a_wrapped_paragraph_has_the_same_sentences(paragraph: str, width: int) -> None:
    expected = split_sentences(paragraph)
    text = textwrap.fill(paragraph, width)
    assert split_into_lines(text) == expected
    assert split_into_lines(text.replace("\n", "\r\n")) == expected
    assert split_into_lines(textwrap.indent(text, "> ")) == expected


@pytest.mark.parametrize("width", WIDTHS)
def test_other_paragraphs_do_not_change_how_a_paragraph_is_wrapped(width: int) -> None:
    expected = split_sentences(PARAGRAPH)
    text = textwrap.fill(PARAGRAPH, width)
    assert split_into_lines(f"{text}\n\n{LONG_ADDRESS}")[:-1] == expected
    assert split_into_lines(f"{text}\n{LONG_ADDRESS}")[:-1] == expected
    assert split_into_lines(f"{text}\n\n{GERMAN_PARAGRAPH}")[: len(expected)] == expected
    assert split_into_lines(f"{GERMAN_PARAGRAPH}\n{text}")[-len(expected) :] == expected
    headings = f"Heron pump\n{text}\nCare and cleaning\nUse a soft cloth."
    assert split_into_lines(headings) == [
        "Heron pump",
        *expected,
        "Care and cleaning",
        "Use a soft cloth.",
    ]


WORDS = """the pump motor runs at full load and takes oil from its tank while a filter keeps dust
    out of every valve XR-200 Larsen Bergen Fjord 34 2019 1,500 maintenance specification
    environmentally Straßenbeleuchtungsanlage""".split()


@given(st.integers(30, 100), st.integers(0, 10_000))
def test_wrapping_at_any_width_keeps_the_sentences(width: int, seed: int) -> None:
    rng = random.Random(seed)
    expected = []
    for _ in range(rng.randint(2, 6)):
        words = ["The", "pump", *rng.choices(WORDS, k=rng.randint(6, 25)), "is", "closed."]
        expected.append(" ".join(words))
    assert split_into_lines(textwrap.fill(" ".join(expected), width)) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # The next word would have fitted, but the last word of the line cannot end a sentence.
        ("At full load with a fresh tank the\nmotor runs for\n34 hours.", 1),
        ("The number of hours that the motor runs at full load is\n34. The case is red.", 2),
        ("The pump was built for us in the year 2019 by\nNordic Flow in Bergen.", 1),
        ("It was tested at the works in Oslo last year by Dr.\nBerg of Fjord Energy.", 1),
        ("The temperature must be in the range from 20\n- 30 degrees, which is\nnormal.", 1),
        ("型号为FX-310的水泵每三个月更换一次\n密封圈，首先关闭电源。", 1),
    ],
)
def test_a_line_break_within_a_sentence_does_not_end_it(text: str, expected: int) -> None:
    assert len(split_sentences(text)) == expected


@pytest.mark.parametrize(
    "items",
    [
        ["1. Open the red case and take out\n   the filter", "2. Clean it", "3. Close it"],
        ["What to do with the filter of the pump", "1. Take it all out", "2. Clean the others"],
        ["- The pump was built in 2019 for\n  Fjord Energy", "- The case is red", "- Two keys"],
        ["• At full load the motor of the pump runs\n34 hours per tank", "• Red case"],
        ["a) take it out", "b) clean it"],
        # A verse
        [
            "Two boats lay still in a silver bay,",
            "And one of them spoke of the morning light,",
            "The other was silent for all that day,",
            "And nobody knows if it slept that night.",
        ],
        [
            "Grey hills rest under heavy rain",
            "Silver streams run to open seas",
            "Geese return again",
        ],
        # Postal addresses and signatures
        ["Nordic Flow Systems AS", "Department of Customer Support", "Havnegata 12", "5003 Bergen"],
        [
            "Best regards,",
            "Anna Larsen",
            "Head of Support, Nordic Flow Systems AS",
            "Havnegata 12, 5003 Bergen",
            "+47 22 33 44 55",
            "www.flow.example",
        ],
        # Keys and values, rows
        ["Load: 34 hours at most", "Weight: 900 kg with oil and filter", "colour: red"],
        ["Running time at full load 34 hours", "Weight with oil and filter 900 kg", "Colour red"],
        [
            "Model      Hours   Weight",
            "Heron 4    34      900",
            "Heron 5 with big tank    40    1100",
        ],
        ["From: anna@flow.example", "To: ben@flow.example", "Subject: Filter"],
        ["| a | b |", "|---|---|", "| 1 | 2 |", "Text after the table"],
        # Headings without punctuation, quotations in mail
        ["Motor", "The motor runs for 34 hours.", "Filter", "It takes 50 litres."],
        ["> > The motor runs for about\n> > 34 hours.", "> Is that true?", "Yes, it is."],
    ],
)
def test_lines_that_are_not_wrapped_stay_sentences(items: list[str]) -> None:
    assert split_sentences("\n".join(items)) == items


@pytest.mark.parametrize(
    "piece", ["> ", ">", "1. x\n", "- a\n", "A\n", "x: y\n", "a  b\t", "A b\n\n"]
)
def test_line_breaks_take_linear_time(piece: str) -> None:
    assert sentences(piece * (300_000 // len(piece)) + "x")


@pytest.mark.parametrize("stop", "।॥؟۔։።။។。．")
def test_sentences_end_at_the_stops_of_all_scripts(stop: str) -> None:
    assert split_sentences(f"ab{stop} cd{stop}") == [f"ab{stop}", f"cd{stop}"]


@pytest.mark.parametrize(
    "sentence",
    [
        "Am 3. Mai 2011 wurde das Haus eröffnet.",
        "Er schloss am 31. Dezember 1999.",
        "Den 5. juni er en fridag.",
        "Avattu 12. kesäkuuta 2020.",
        "Otevřeno od 1. ledna 2022.",
        "Sie ist bis zum 3. Werktag fällig.",
        "Das gilt ab dem 1. des Monats.",
        "Under 28 U.S.C. § 586, the trustee acts.",
    ],
)
def test_full_stop_of_an_ordinal_date_ends_no_sentence(sentence: str) -> None:
    text = f"Vorher. {sentence} Danach."
    assert [text[start:end] for start, end in sentences(text)] == ["Vorher.", sentence, "Danach."]
    assert split_sentences("Wir kommen am 3. Das ist gut.") == ["Wir kommen am 3.", "Das ist gut."]


def test_number_before_another_word_ends_a_sentence() -> None:
    text = "The office is in room 5. Marketing is in room 6."
    assert len(sentences(text)) == 2


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("Travel hoist 20 t, ser. no. TH-1188, was paid. It works.", 2),
        ("Max. load is 5 t. The ramp is wet.", 2),
        ("The pump runs.   it is new", 1),
        ("ok. see you there. bye", 3),
        ("Der Raum ist ca. zehn Meter lang. er ist neu", 1),
    ],
)
def test_a_small_letter_begins_no_sentence_where_sentences_have_capitals(
    text: str, count: int
) -> None:
    assert len(sentences(text)) == count
