"""Encodings of text files, and what terminals write into them."""

import random
import unicodedata
import zipfile
from collections import Counter
from io import BytesIO
from pathlib import Path

import pytest

from connectors.parsers.auto import AutoParser
from connectors.parsers.encoding_detection import detect_wide_encoding, guess_encoding
from connectors.parsers.terminal_codes import remove_terminal_codes
from connectors.parsers.text import TextParser, decode
from rag.errors import UnsupportedFormat
from tests.connectors.encoding_samples import SAMPLES, UNICODE_ENCODINGS, Sample, encode_text

# So many of the short texts are decoded right; those that are not are ambiguous.
MIN_SHORT_TEXTS = 39
SHORT_TEXTS = (
    ("Café", "latin-1"),
    ("Größe", "latin-1"),
    ("naïve", "latin-1"),
    ("Müller;Köln;Straße 5\nGrün;Düren;Weg 3\n", "cp1252"),
    ("Price 5 € – “quoted”", "cp1252"),
    ("It’s a test – with “quotes” and a bullet • here.", "cp1252"),
    ("Temperature: 25°C\n" * 3, "latin-1"),
    ("© 2020 Example GmbH. All rights reserved.", "latin-1"),
    ("§ 5 Abs. 2 BGB", "latin-1"),
    ("Prix : 18 €", "cp1252"),
    ("Prix : 18 €", "iso8859-15"),
    ("100 €", "cp1252"),
    ("id,name,city\n1,Jiří Dvořák,Plzeň\n2,Žofie Černá,Brno\n", "cp1250"),
    ("id,name,city\n1,Jiří Dvořák,Plzeň\n2,Žofie Černá,Brno\n", "iso8859-2"),
    ("id,name,city\n1,Łukasz Żak,Łódź\n2,Paweł Wójcik,Gdańsk\n", "cp1250"),
    ("Zażółć gęślą jaźń", "cp852"),
    ("Příliš žluťoučký kůň", "cp852"),
    ("Árvíztűrő tükörfúrógép", "iso8859-2"),
    ("Имя;Город\nИван;Москва\nАнна;Казань\n", "cp866"),
    ("Привет", "cp1251"),
    ("Привет", "koi8-r"),
    ("Привет", "cp866"),
    ("日本", "shift_jis"),
    ("日本", "euc_jp"),
    ("こんにちは", "iso2022_jp"),
    ("你好", "gbk"),
    ("姓名,城市\n王偉,臺北\n李娜,高雄\n", "big5"),
    ("이름,도시\n김민수,서울\n박지영,부산\n", "euc_kr"),
    ("שלום עולם", "cp1255"),
    ("مرحبا بالعالم", "cp1256"),
    ("สวัสดีครับ", "cp874"),
    ("Καλημέρα", "cp1253"),
    ("Günaydın, nasılsınız?", "cp1254"),
    ("Labas rytas, ačiū už žinutę", "cp1257"),
    ("Señor, ¿cómo está?", "cp850"),
    ("Perché non è più così? La città è già lì.", "cp850"),
    ("Håkan Åström och Örjan Söderström åkte till Malmö.", "cp850"),
    ("På Bjørnøya er det 5 målestasjoner for været.", "latin-1"),
    ("Ação de formação para os funcionários da região.", "cp850"),
    ("Þórður á Íslandi", "latin-1"),
    ("25 °C ± 3 µm", "latin-1"),
    ("Fläche in m²; Größe in m³", "latin-1"),
)


def normalize(text: str) -> str:
    return unicodedata.normalize("NFC", text)


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.language)
@pytest.mark.parametrize("part", ["sentence", "paragraph"])
def test_usual_encodings_of_a_language_are_detected(sample: Sample, part: str) -> None:
    text = getattr(sample, part)
    wrong = {
        encoding: decoded
        for encoding in (*sample.encodings, *UNICODE_ENCODINGS)
        if normalize(decoded := decode(encode_text(text, encoding))) != text
    }
    assert wrong == {}


def test_most_short_texts_are_decoded() -> None:
    wrong = [(text, e) for text, e in SHORT_TEXTS if decode(text.encode(e)) != text]
    assert len(SHORT_TEXTS) - len(wrong) >= MIN_SHORT_TEXTS, wrong


def test_rules_of_plausibility_correct_the_ranking_of_chardet() -> None:
    import chardet

    text = "Price 5 € – “quoted”"
    assert chardet.detect(text.encode("cp1252"))["encoding"] != "Windows-1252"
    assert decode(text.encode("cp1252")) == text


def test_encoding_of_a_long_text_is_that_of_its_sample() -> None:
    text = SAMPLES[10].paragraph * 2_000
    assert decode(text.encode("cp1251")) == text
    text = "日本の契約書、" * 40_000
    assert decode(text.encode("shift_jis")) == text


def test_superset_is_used_where_the_guessed_encoding_fails_later() -> None:
    text = SAMPLES[0].paragraph * 500
    data = text.encode("iso8859-2") + "“konec”".encode("cp1250")
    assert guess_encoding(data).startswith("iso8859")
    assert decode(data)[-7:] == "“konec”"


def test_damaged_utf8_stays_utf8() -> None:
    text = "Zařízení je v pořádku. " * 20
    assert decode(text.encode() + b"\xff") == text + "\ufffd"


@pytest.mark.parametrize("encoding", ["iso2022_jp", "iso2022_jp_ext", "iso2022_kr"])
def test_escape_sequences_of_iso_2022_are_not_binary(encoding: str) -> None:
    text = "漢字" if encoding.startswith("iso2022_jp") else "안녕"
    document = TextParser().parse(f"{text} 42\n".encode(encoding), uri="file:///a.txt")
    assert document.text == f"{text} 42\n"


def test_utf16_needs_bytes_that_other_encodings_do_not_have() -> None:
    assert detect_wide_encoding("안녕하세요".encode("euc_kr") * 2) is None
    assert detect_wide_encoding(b"an ordinary text in ASCII") is None
    assert detect_wide_encoding("一二三".encode("utf-16-be") * 4) is None  # valid in GBK
    assert detect_wide_encoding("ポンプ、油。".encode("utf-16-be") * 2) == "utf-16-be"


BINARY_FILES = {
    "program": Path("/bin/ls"),
    "png": b"\x89PNG\r\n\x1a\n" + random.Random(1).randbytes(500),
    "random": random.Random(2).randbytes(5_000),
    "sqlite": b"SQLite format 3\0" + bytes(80) + random.Random(3).randbytes(900),
    "numbers": b"".join(number.to_bytes(4, "little") for number in range(1_000)),
}


@pytest.mark.parametrize("name", BINARY_FILES)
def test_binary_files_are_refused(name: str) -> None:
    content = BINARY_FILES[name]
    data = content.read_bytes() if isinstance(content, Path) else content
    with pytest.raises(UnsupportedFormat):
        decode(data)


def test_random_bytes_are_refused() -> None:
    source = random.Random(4)
    outcomes: Counter[str] = Counter()
    for size in (50, 100, 300, 1_000, 20_000) * 20:
        try:
            decode(source.randbytes(size))
            outcomes["accepted"] += 1
        except UnsupportedFormat:
            outcomes["refused"] += 1
    assert outcomes == {"refused": 100}


def test_zip_renamed_to_text_is_refused() -> None:
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.txt", "The pump stands in hall 7.")
    with pytest.raises(UnsupportedFormat):
        list(AutoParser().documents(buffer.getvalue(), uri="file:///notes.txt"))


# -- Terminals -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("\x1b[1;31mERROR\x1b[0m pump\n", "ERROR pump\n"),
        ("\x1b[38;2;1;2;3mred\x1b[m\x1b[?25l\x1b[2J done", "red done"),
        ("\x1b[38:5:1mred\x1b[K", "red"),
        ("\x1b]0;the title\x07text", "text"),
        ("\x1b]8;;https://a.example/\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1b(B\x1b[mplain\x0f \x1b7\x1b=x", "plain x"),
        ("N\bNA\bAM\bME\bE\n", "NAME\n"),
        ("_\bf_\bi_\bl_\be and f\b_", "file and f"),
        ("b\bb\bb\bbold", "bold"),
        ("+\bo bullet", "o bullet"),
        ("wrnog\b\b\bong", "wrong"),
        ("10%\r20%\r100%\nready\n", "100%\nready\n"),
        ("Loading 1 of 9\rLoading 9 of 9\r\nready\r\n", "Loading 9 of 9\r\nready\r\n"),
        ("working...\r\x1b[Kdone\n", "done\n"),
        ("working...\x1b[2K\rdone\n", "done\n"),
        ("a first line\ranother line\n", "a first line\ranother line\n"),
        ("a\rb\nc\n", "a\rb\nc\n"),
        ("one.\rtwo.\nc\n", "one.\rtwo.\nc\n"),
        ("12k of 3M\r999k of 3M\r3M of 3M\n", "3M of 3M\n"),
        ("one\rtwo\rthree", "one\rtwo\rthree"),
        ("DOS text\r\r\nmore\r\r\n", "DOS text\r\r\nmore\r\r\n"),
        ("nothing to do: [31m and C:\\b\n", "nothing to do: [31m and C:\\b\n"),
    ],
)
def test_text_is_what_a_terminal_shows(written: str, shown: str) -> None:
    assert remove_terminal_codes(written) == shown
    assert TextParser().parse(written.encode(), uri="file:///a.log").text == shown


def test_log_full_of_colours_is_text() -> None:
    data = b"\x1b[32mok\x1b[0m\n" * 200
    assert TextParser().parse(data, uri="file:///a.log").text == "ok\n" * 200
    with pytest.raises(UnsupportedFormat):
        decode(b"\x01\x02ok\n" * 200)


def test_escape_sequences_need_linear_time() -> None:
    assert remove_terminal_codes("\x1b]" * 200_000) == ""
    assert remove_terminal_codes("\x1b[" * 100_000 + "1") is not None
