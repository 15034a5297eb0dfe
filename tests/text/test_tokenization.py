"""Words, their stems, and the language they are stemmed in."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.text.tokenization import (
    LONGEST_WORD,
    STEMMED,
    content_stems,
    language_of,
    segment,
    stems,
    words,
)


def test_stems_meet_across_forms() -> None:
    assert stems("Batteries charging") == stems("battery charge")


def test_unsegmented_scripts_are_found_by_a_part() -> None:
    assert set(stems("東京")) <= set(stems("私は東京都に住んでいます"))
    assert segment("plain ascii") == "plain ascii"


def test_combining_marks_belong_to_their_letter() -> None:
    assert stems("हिन्दी भाषा") == ["हिन्दी", "भाषा"]


def test_content_stems_fall_back_on_stop_words() -> None:
    assert content_stems("Who is the owner?") == ["owner"]
    assert content_stems("Who are you?") == ["who", "are", "you"]


@pytest.mark.parametrize(
    ("language", "one", "other"),
    [
        ("de", "Häuser", "Haus"),
        ("fr", "continuellement", "continuelle"),
        ("el", "δρόμους", "δρόμου"),
        ("ru", "городами", "города"),
        ("ro", "orașele", "orașelor"),
        ("tr", "kitapları", "kitaplar"),
        ("hi", "लड़कियों", "लड़कियां"),
        ("fi", "taloissa", "talot"),
        ("ar", "الكتاب", "كتاب"),
    ],
)
def test_each_language_has_its_own_stemmer(language: str, one: str, other: str) -> None:
    assert stems(one, language) == stems(other, language)
    assert stems(one, "") != stems(other, "")


def test_forms_of_one_letter_are_one() -> None:
    assert words("ﬁnal caf\u00e9 ｗｉｄｅ") == words("final cafe\u0301 wide")
    assert words("STRASSE İstanbul") == ["strasse", "istanbul"]
    assert words("IŞIK ISPARTA", "tr") == ["ışık", "ısparta"]
    assert words("ISPARTA", "tr") == ["ısparta"]


def test_hangul_is_found_without_its_particles() -> None:
    assert set(stems("학교")) <= set(stems("학교에서 배운다"))


@given(st.text(max_size=200))
def test_words_are_the_same_in_number_in_every_language(text: str) -> None:
    assert {len(stems(text, language)) for language in (*STEMMED, "")} == {len(words(text))}
    assert all(0 < len(word) <= LONGEST_WORD for word in words(text))


@pytest.mark.parametrize("text", ["I\u3099\u0301", "ships I\u0e48\u0301", "I\u0300 İ"])
def test_marks_on_an_i_are_one_word_in_turkish_too(text: str) -> None:
    assert len(words(text, "tr")) == len(words(text, "en"))


def test_a_word_without_end_is_cut() -> None:
    assert words("x" * 100_000) == ["x" * LONGEST_WORD]
    assert len(words("ü" * 100_000)[0]) == LONGEST_WORD


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("The battery of the drone is charged in ninety minutes, as the manual says.", "en"),
        ("Der Akku der Drohne ist nach neunzig Minuten geladen, wie es im Handbuch steht.", "de"),
        ("La batterie du drone est chargée en quatre-vingt-dix minutes, selon le manuel.", "fr"),
        ("Аккумулятор дрона заряжается за девяносто минут, как сказано в инструкции.", "ru"),
        ("Η μπαταρία φορτίζεται σε ενενήντα λεπτά.", "el"),
        ("ドローンの電池は九十分で充電される。", ""),
        ("Pin của máy bay được sạc đầy trong chín mươi phút theo hướng dẫn sử dụng.", ""),
        ("12 34.5 x_1", "en"),
        ("", "en"),
        ("def main(): return 0", "en"),
    ],
)
def test_language(text: str, language: str) -> None:
    assert language_of(text) == language


def test_threads_share_no_stemmer() -> None:
    text = "continuously running batteries were charged " * 50
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda _: stems(text), range(40)))
    assert all(each == found[0] for each in found)
