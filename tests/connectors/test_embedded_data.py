"""Pictures and other data in base64 are no text."""

import base64
import json
import random
from urllib.parse import quote

import pytest

from connectors.base import Parser
from connectors.parsers.code import CodeParser
from connectors.parsers.embedded_data import (
    remove_embedded_data,
    remove_embedded_data_of_json,
    remove_embedded_data_of_markup,
)
from connectors.parsers.html import HtmlParser
from connectors.parsers.mail import EmailParser
from connectors.parsers.markdown import MarkdownParser
from connectors.parsers.notebook import NotebookParser
from connectors.parsers.records import JsonLinesParser, TableParser
from connectors.parsers.structured import JsonParser, XmlParser, YamlParser
from connectors.parsers.text import TextParser

BYTES = random.Random(1).randbytes(3_000)
BASE64 = base64.b64encode(BYTES).decode()
URI = f"data:image/png;base64,{BASE64}"
LINES = base64.encodebytes(BYTES).decode()
SVG = "<svg xmlns='http://www.w3.org/2000/svg'><path d='M1 1h7v2H1z'/><text>A drawing</text></svg>"
PEM = f"-----BEGIN CERTIFICATE-----\n{LINES}-----END CERTIFICATE-----\n"


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        (f"before ![a pump]({URI}) after", "before ![a pump]() after"),
        (f"![a pump][p]\n\n[p]: {URI}\n\nText.", "![a pump][p]\n\n\nText."),
        (f'<img alt="a" src="{URI}"> after', '<img alt="a" src=""> after'),
        (f"url({URI.replace('=', '%3D')}) after", "url() after"),
        (f"data:;base64,{BASE64} after", " after"),
        (f"data:text/plain;charset=utf-8;base64,{BASE64} after", " after"),
        (f"a data:image/svg+xml;utf8,{SVG} b", "a  b"),
        (f"a data:image/svg+xml,{quote(SVG, safe=' =:')} b", "a  b"),
        (f"a data:image/svg+xml,{quote(SVG)} b", "a  b"),
        (f"a data:text/html,{quote(SVG + SVG)} b", "a  b"),
        (f"before {BASE64} after", "before  after"),
        (base64.urlsafe_b64encode(BYTES).decode(), ""),
        (f"before\n{LINES}\nafter", "before\n\n\nafter"),
        (f"before\r\n{LINES}\nafter".replace("\n", "\r\n"), "before\r\r\n\r\n\r\nafter"),
        ("> " + LINES.strip().replace("\n", "\n> "), "> "),
        (f"key: |\n  {LINES.strip()}".replace("\n", "\n  ") + "\nb: 1", "key: |\n    \nb: 1"),
        (f"a\n{PEM}b", "a\n\nb"),
        ("a\nbegin 644 a.gif\nM1TE&.#EA\n`\nend\nb", "a\n\nb"),
    ],
)
def test_embedded_data_is_removed(text: str, rest: str) -> None:
    cleaned, sizes = remove_embedded_data(text)
    assert cleaned == rest
    assert len(sizes) == 1


@pytest.mark.parametrize(
    "text",
    [
        "0123456789abcdef" * 60,  # hexadecimal
        "0123456789ABCDEFabcdef"[:16] * 60,
        "\n".join(random.Random(2).randbytes(32).hex() for _ in range(20)),  # hashes
        "".join(random.Random(3).choices("ACGT", k=2_000)),  # bases
        "\n".join("".join(random.Random(n).choices("ACGT", k=70)) for n in range(20)),
        "MKVLAAGIVGLCAKAYTELQSWRRPGVNDF" * 30,  # a protein
        f"https://example.com/{BASE64.replace('+', 'a')}",  # the path of a URL
        "https://example.com/p?token=" + base64.urlsafe_b64encode(BYTES).decode(),
        "GetTheNumberOfRowsInTheTable" * 40,
        "the-name-of-a-very-long-file_" * 40,
        "一个没有空格的句子" * 200,
        "Donaudampfschifffahrtsgesellschaft" * 30,
        "=" * 900,
        "-" * 900,
        "_" * 900,
        "1234567890" * 90,
        "use data:image/png;base64,iVBOR in CSS",
        "data: base64, and so on; the data:image/png prefix",
        "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA1\n\nThe pump is in hall 7.\n",
        "begin 644 the sentence\nwith more words\nend",
        BASE64[:300],
    ],
)
def test_other_long_words_are_text(text: str) -> None:
    assert remove_embedded_data(text) == (text, [])


def test_size_is_that_of_the_bytes() -> None:
    (size,) = remove_embedded_data(BASE64)[1]
    assert size == len(BYTES)


@pytest.mark.parametrize("written", [BASE64, URI, LINES])
def test_json_stays_valid(written: str) -> None:
    value = {"name": "pump", "path": "C:\\/x", "picture": written, "n": [1.50, None]}
    dumped = json.dumps(value)
    for text in (dumped, dumped.replace("+", "\\u002B"), dumped.replace("/", "\\/")):
        cleaned, sizes = remove_embedded_data_of_json(text)
        assert json.loads(cleaned)["picture"].strip() == ""
        assert {k: v for k, v in json.loads(cleaned).items() if k != "picture"} == {
            k: v for k, v in json.loads(text).items() if k != "picture"
        }
        assert len(sizes) == 1


def test_markup_keeps_its_bytes() -> None:
    data = f"<p>é {BASE64}</p>".encode("cp1252")
    assert remove_embedded_data_of_markup(data)[0] == "<p>é </p>".encode("cp1252")
    assert remove_embedded_data_of_markup(b"\xe9\x80")[0] == b"\xe9\x80"


def test_removal_needs_linear_time() -> None:
    for text in (
        "data:image/svg+xml,<svg " * 50_000,
        "[a]: " * 99_000,
        "-----BEGIN A-----" * 9_999,
    ):
        assert remove_embedded_data(text) == (text, [])
    assert remove_embedded_data(("aB3" * 24 + "\n") * 5 + "x y\n" * 100_000)[0]


NOTEBOOK = {
    "cells": [
        {"cell_type": "markdown", "source": ["The pump is in hall 7.\n", f"![a]({URI})"]},
        {
            "cell_type": "code",
            "source": "plot()",
            "outputs": [{"output_type": "display_data", "data": {"image/png": LINES}}],
        },
        {
            "cell_type": "code",
            "source": "print(x)",
            "outputs": [{"output_type": "stream", "text": [BASE64]}],
        },
    ]
}
MAIL = f"From: a@b.example\nSubject: x\n\nThe pump is in hall 7.\n\n{LINES}\n"
HTML = f"<html><body><h1>Pump</h1><p>The pump is in hall 7.</p><pre>{BASE64}</pre></body></html>"


@pytest.mark.parametrize(
    ("parser", "text", "picture_count"),
    [
        (TextParser(), f"The pump is in hall 7.\n{LINES}", 1),
        (MarkdownParser(), f"The pump is in hall 7. ![x]({URI})\n\n![y]({URI})\n", 2),
        (JsonParser(), json.dumps({"a": "The pump is in hall 7.", "p": BASE64}), 1),
        (
            JsonParser(),
            json.dumps([{"a": "The pump is in hall 7.", "p": URI}, {"a": "two", "p": URI}]),
            2,
        ),
        (JsonLinesParser(), json.dumps({"a": "The pump is in hall 7.", "p": BASE64}), 1),
        (YamlParser(), f"a: The pump is in hall 7.\np: {BASE64}\n", 1),
        (XmlParser(), f"<r><a>The pump is in hall 7.</a><p>{LINES}</p></r>", 1),
        (TableParser(), f"a,b\nThe pump is in hall 7.,{URI}\n", 1),
        (NotebookParser(), json.dumps(NOTEBOOK), 3),
        (EmailParser(), MAIL, 1),
        (HtmlParser(), HTML, None),
        (CodeParser(symbols=False), f"# The pump is in hall 7.\nx = '{URI}'\n", 1),
    ],
    ids=lambda value: value.name if isinstance(value, Parser) else "",
)
def test_no_parser_keeps_embedded_data(
    parser: Parser, text: str, picture_count: int | None
) -> None:
    document = parser.parse(text.encode(), uri="file:///a.x")
    assert "The pump is in hall 7." in document.text
    assert BASE64[40:80] not in document.text
    assert len(document.text) < 400
    if picture_count is not None:
        assert document.coverage is not None
        names = [omission.name for omission in document.coverage.omissions]
        assert names == ["embedded picture of 3 kB"] * picture_count
        assert document.coverage.missing == 0


def test_code_keeps_base64_that_is_no_uri() -> None:
    text = f"KEY = '{BASE64}'\n"
    assert CodeParser(symbols=False).parse(text.encode(), uri="file:///a.py").text == text
