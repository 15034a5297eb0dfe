"""Words, their stems, and the language they are stemmed in."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.text.tokenization import (
    MAX_WORD_CHARACTERS,
    STEMMED_LANGUAGES,
    content_stems,
    detect_language,
    index_stems,
    split_into_character_bigrams,
    stems,
    words,
)


def test_forms_of_a_word_have_the_same_stem() -> None:
    assert stems("Batteries charging") == stems("battery charge")


@pytest.mark.parametrize(
    ("british", "american"),
    [
        ("tyres", "tires"),
        ("coloured", "colored"),
        ("organising", "organizing"),
        ("authorised", "authorized"),
        ("centres", "centers"),
        ("kilometre", "kilometer"),
        ("licence", "license"),
        ("catalogues", "catalogs"),
        ("cancelled", "canceled"),
        ("aluminium", "aluminum"),
        ("programmes", "programs"),
        ("favourites", "favorites"),
    ],
)
def test_british_and_american_words_are_equal_where_texts_are_compared(
    british: str, american: str
) -> None:
    assert stems(british) == stems(american)
    assert stems("four sources rise wise hour") == index_stems("four sources rise wise hour", "en")


@pytest.mark.parametrize(
    ("text", "bigrams"),
    [
        ("ภาษาไทย", ["ภา", "าษ", "ษา", "าไ", "ไท", "ทย"]),
        ("東京都", ["東京", "京都"]),
        ("京", ["京"]),
        ("a東京b", ["a", "東京", "b"]),
    ],
)
def test_scripts_without_spaces_become_character_bigrams(text: str, bigrams: list[str]) -> None:
    assert split_into_character_bigrams(text).split() == bigrams
    assert words(text) == bigrams


def test_text_without_spaces_is_found_by_a_part() -> None:
    assert set(stems("東京")) <= set(stems("私は東京都に住んでいます"))
    assert split_into_character_bigrams("plain ascii") == "plain ascii"


def test_combining_marks_stay_with_their_letter() -> None:
    assert stems("हिन्दी भाषा") == ["हिन्दी", "भाषा"]


def test_content_stems_fall_back_on_stop_words() -> None:
    assert content_stems("Who is the owner?") == ["owner"]
    assert content_stems("Who are you?") == ["who", "are", "you"]


@pytest.mark.parametrize(
    ("language", "form", "other_form"),
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
def test_each_language_has_its_own_stemmer(language: str, form: str, other_form: str) -> None:
    assert index_stems(form, language) == index_stems(other_form, language)
    assert index_stems(form, "") != index_stems(other_form, "")


def test_unicode_forms_of_a_letter_are_equal() -> None:
    assert words("ﬁnal caf\u00e9 ｗｉｄｅ") == words("final cafe\u0301 wide")


def test_raised_figures() -> None:
    assert words("cash flows¹ and sales¹,³ of 25 m²") == words("cash flows and sales of 25 m2")
    assert words("10⁶ germs") == words("10^6 germs") == ["10", "6", "germs"]
    assert words("STRASSE İstanbul") == ["strasse", "istanbul"]
    assert words("IŞIK ISPARTA", "tr") == ["ışık", "ısparta"]
    assert words("ISPARTA", "tr") == ["ısparta"]


def test_hangul_is_found_without_particles() -> None:
    assert set(stems("학교")) <= set(stems("학교에서 배운다"))


@given(st.text(max_size=200))
def test_word_count_does_not_depend_on_the_language(text: str) -> None:
    assert {len(index_stems(text, language)) for language in (*STEMMED_LANGUAGES, "")} == {
        len(words(text))
    }
    assert all(0 < len(word) <= MAX_WORD_CHARACTERS for word in words(text))


@pytest.mark.parametrize("text", ["I\u3099\u0301", "ships I\u0e48\u0301", "I\u0300 İ"])
def test_marks_on_an_i_stay_in_one_word_in_turkish(text: str) -> None:
    assert len(words(text, "tr")) == len(words(text, "en"))


def test_very_long_word_is_cut() -> None:
    assert words("x" * 100_000) == ["x" * MAX_WORD_CHARACTERS]
    assert len(words("ü" * 100_000)[0]) == MAX_WORD_CHARACTERS


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
def test_detect_language(text: str, language: str) -> None:
    assert detect_language(text) == language


def test_threads_get_equal_stems() -> None:
    text = "continuously running batteries were charged " * 50
    with ThreadPoolExecutor(4) as threads:
        stem_lists = list(threads.map(lambda _: stems(text), range(40)))
    assert all(stem_list == stem_lists[0] for stem_list in stem_lists)
