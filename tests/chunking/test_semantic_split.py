"""Splits at the largest breaks, in all scripts."""

import unicodedata
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.chunking.semantic_split import find_overlap_start, split_semantically

CHINESE = "打开箱子，然后取出两个过滤器。每六个月清洗一次过滤器，型号为FX-310。如果温度超过80度，请关闭阀门！"
TEXTS = {
    "Chinese": (CHINESE, "。！"),
    "Japanese": (
        "フィルターFX-310は、50分で洗えます。部品は3．5です．次に弁を閉じます！",
        "。．！",
    ),
    "Hindi": ("पंप 34 घंटे चलता है। फ़िल्टर FX-310 को साफ करें, फिर वाल्व बंद करें। ", "।"),
    "Arabic": ("هل المرشح FX-310 أحمر؟ تعمل المضخة 34 ساعة، ثم تتوقف. ", "؟."),
    "Urdu": ("پمپ 34 گھنٹے چلتا ہے۔ فلٹر FX-310 کو صاف کریں۔ ", "۔"),
    "Armenian": ("Պոմպը աշխատում է 34 ժամ։ Զտիչը FX-310 է։ ", "։"),
    "Amharic": ("ፓምፑ 34 ሰዓት ይሰራል። ማጣሪያው FX-310 ነው። ", "።"),
    "Khmer": ("ម៉ាស៊ីនដំណើរការ ៣៤ ម៉ោង។ តម្រង FX-310 ពណ៌ក្រហម។ ", "។"),
    "Burmese": ("ပန့်သည် ၃၄ နာရီ အလုပ်လုပ်သည်။စစ်ထုတ်စက် FX-310 ဖြစ်သည်။", "။"),
    "Tibetan": ("བཀྲ་ཤིས་བདེ་ལེགས། ང་བོད་ལ་འགྲོ་གི་ཡིན། ", "།"),
}


@pytest.mark.parametrize("name", TEXTS)
def test_spans_end_at_sentences(name: str) -> None:
    sentence_pair, stops = TEXTS[name]
    text = sentence_pair * 10
    spans = split_semantically(text, 0, len(text), 100)
    assert len(spans) > 3
    assert all(text[b - 1] in stops for _, b in spans)
    for previous, span in pairwise(spans):
        overlap_start = find_overlap_start(text, previous.start, span.start, 95)
        assert previous.start <= overlap_start < span.start
        assert text[:overlap_start].rstrip()[-1:] in stops or overlap_start == previous.start


def test_clauses_are_the_breaks_of_a_long_sentence() -> None:
    text = "打开箱子然后取出两个过滤器，" * 10
    assert {text[a:b] for a, b in split_semantically(text, 0, len(text), 20)} == {text[:14]}


def test_clauses_are_larger_breaks_than_words() -> None:
    clause = "تعمل المضخة ثم تتوقف،"
    text = f"{clause} " * 10
    spans = split_semantically(text, 0, len(text), len(clause) + 10)
    assert {text[a:b] for a, b in spans} == {clause}


@pytest.mark.parametrize("target", range(5, 20))
def test_long_word_in_katakana_is_not_cut_before_a_small_kana_or_a_long_vowel(target: int) -> None:
    text = "コンピューターサーバー" * 10
    spans = split_semantically(text, 0, len(text), target)
    assert not {text[a] for a, _ in spans} & {"ュ", "ー"}


@pytest.mark.parametrize("target", range(8, 30))
@pytest.mark.parametrize(
    "text", ["เปิดกล่องแล้วนำไส้กรองออก" * 6, "次は「弁」と「箱」を「閉じて」ください" * 6, "مَكَتَبَ" * 20]
)
def test_accents_and_brackets_stay_with_their_letters(text: str, target: int) -> None:
    for start, end in split_semantically(text, 0, len(text), target):
        assert not unicodedata.category(text[start]).startswith("M")
        assert text[end - 1] not in "「เแโใไ"


def test_zero_width_space_ends_a_span() -> None:
    text = "ម៉ាស៊ីនដំណើរការ\u200b" * 6
    spans = split_semantically(text, 0, len(text), 20)
    assert {text[a:b] for a, b in spans} == {"ម៉ាស៊ីនដំណើរការ\u200b"}


@pytest.mark.parametrize("target", range(12, 60))
def test_part_numbers_are_not_divided(target: int) -> None:
    text = "打开箱子取出型号为FX-310/2的过滤器重量1,250克长34毫米" * 6
    spans = split_semantically(text, 0, len(text), target)
    pieces = [text[a:b] for a, b in spans]
    assert sum(piece.count("FX-310/2") for piece in pieces) == 6
    assert sum(piece.count("1,250克") for piece in pieces) == 6
    assert sum(piece.count("34毫") for piece in pieces) == 6


@pytest.mark.parametrize("target", range(12, 60))
def test_letters_and_a_hyphen_stay_with_the_character_after_them(target: int) -> None:
    text = "打开箱子取出XR-型过滤器然后关闭阀门" * 6
    spans = split_semantically(text, 0, len(text), target)
    assert sum(text[a:b].count("XR-型") for a, b in spans) == 6


@pytest.mark.parametrize("target", range(20, 80))
def test_thai_is_cut_between_phrases(target: int) -> None:
    text = "เปิดกล่องแล้วนำไส้กรองออก ทำความสะอาด FX-310 ทุกหกเดือน จากนั้นปิดวาล์ว " * 5
    phrases = text.split()
    spans = split_semantically(text, 0, len(text), max(target, max(map(len, phrases))))
    assert [phrase for a, b in spans for phrase in text[a:b].split()] == phrases


def test_english_is_split_as_by_semchunk() -> None:
    from semchunk import chunk

    text = (
        "The pump runs for 34 hours; then it stops. “Why?”, asked Zoë… Nobody knows (yet).\n" * 20
        + "End."
    )
    _, offsets = chunk(text, 150, len, offsets=True, memoize=False)
    assert [tuple(span) for span in split_semantically(text, 0, len(text), 150)] == offsets


def test_overlap_starts_at_the_first_sentence_then_at_the_first_word() -> None:
    text = "One two. Three four. Five six"
    assert text[find_overlap_start(text, 0, 21, 18) :] == "Three four. Five six"
    assert text[find_overlap_start(text, 0, 14, 12) : 14] == "Three"
    assert find_overlap_start("onetwothree", 0, 6, 4) == 6


TEXT = st.text(
    st.sampled_from("ab .\n\r\t!?;,()-é\u030130😀東京がカタ。、，．！「」…ไเ\u0e49ทयि।ا؟\u200b་།"),
    max_size=600,
)


@given(TEXT, st.integers(1, 80), st.data())
def test_spans_are_ordered_and_cover_the_text(text: str, target: int, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    spans = split_semantically(text, start, end, target)
    assert all(start <= a < b <= end and b - a <= target for a, b in spans)
    assert all(a.end <= b.start for a, b in pairwise(spans))
    pieces = [text[a:b] for a, b in spans]
    assert all(piece == piece.strip() for piece in pieces)
    assert "".join("".join(pieces).split()) == "".join(text[start:end].split())
    for previous, span in pairwise(spans):
        assert previous.start <= find_overlap_start(text, previous.start, span.start, 20)
        assert find_overlap_start(text, previous.start, span.start, 20) <= span.start


@pytest.mark.parametrize(
    "piece", ["中", "เก", "。", "中。 ", "，1", "ก\u0e49", "…中", "。」", "中 "]
)
def test_the_split_takes_linear_time(piece: str) -> None:
    text = piece * (100_000 // len(piece)) + "中"
    for target in (10, 1_000):
        assert split_semantically(text, 0, len(text), target)
