from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.base import FailedPart
from connectors.parser_pool import ParserLimits, ParserPool
from connectors.parsers.auto import AutoParser
from connectors.parsers.markdown import find_heading_marks
from connectors.parsers.pdf import PdfParser
from connectors.parsers.picture import PictureParser
from connectors.parsers.text import TextParser
from rag.errors import EncryptedDocument, NoText, ParseError, SourceError
from tests.connectors.parsing import PARSER, parse

SAMPLE = Path(__file__).parents[2] / "pipelines" / "sample"
FIXTURES = Path(__file__).parents[1] / "fixtures"


# -- text ----------------------------------------------------------------------------------

MIXED_SCRIPTS = "Größe, naïve café: ここに東京。 Все люди рождаются свободными."


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "utf-16-be"], ids=str
)
def test_unicode_encodings_are_detected(encoding: str) -> None:
    data = MIXED_SCRIPTS.encode(encoding)
    if encoding == "utf-16-be":
        data = b"\xfe\xff" + data
    assert parse(data).text == MIXED_SCRIPTS


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("cp1252", "Die Größe der Bäume überrascht die Wanderer in den schönen Wäldern. " * 5),
        ("cp1252", "L’été, la forêt résonne d’éclats de voix à l’ombre des chênes. " * 5),
        ("cp1251", "Все люди рождаются свободными и равными в своём достоинстве и правах. " * 5),
        ("shift_jis", "すべての人間は、生まれながらにして自由であり、平等である。" * 5),
        ("gb18030", "人人生而自由，在尊严和权利上一律平等。他们赋有理性和良心。" * 5),
    ],
)
def test_older_encodings_are_guessed(encoding: str, text: str) -> None:
    assert parse(text.encode(encoding)).text == text


def test_line_ends_and_form_feeds_are_kept() -> None:
    assert parse("a\r\nb\rc\x0cd\ne").text == "a\r\nb\rc\x0cd\ne"


@pytest.mark.parametrize("data", [b"", b" \n\t "])
def test_empty_text_raises_no_text(data: bytes) -> None:
    with pytest.raises(NoText):
        parse(data)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "a picture: pip install"),
        (b"PK\x03\x04\x14\0\0\0", "it contains files"),
        (bytes(range(256)) * 20, "binary"),
        (b"\0\1\2\3" * 100, "binary"),
    ],
)
def test_binary_files_fail_with_a_reason(data: bytes, reason: str) -> None:
    with pytest.raises(ParseError, match=reason):
        parse(data, "file.bin")


def test_text_that_starts_with_a_binary_signature_is_text() -> None:
    assert parse("MZ is the stock symbol of Milestone Scientific.").text.startswith("MZ")


@given(st.binary(max_size=500), st.sampled_from(["a.txt", "a.md", "a.html", "a.pdf", "a"]))
@settings(max_examples=300)
def test_any_bytes_parse_or_fail_with_a_parse_error(data: bytes, name: str) -> None:
    try:
        document = parse(data, name)
    except ParseError as error:
        assert str(error)
    else:
        assert document.text.strip()


# -- Markdown ------------------------------------------------------------------------------


def test_front_matter_becomes_metadata() -> None:
    document = parse("---\ntitle: T\ntags: [a, b]\nwhen: 2025-01-02\n---\n# H\n\nText.\n", "a.md")
    assert document.title == "T"
    assert document.metadata == {"tags": ("a", "b"), "when": "2025-01-02"}
    assert document.text == "# H\n\nText.\n"


def test_a_list_in_front_matter_is_kept_as_text() -> None:
    text = "---\n- a list\n---\nText."
    assert parse(text, "a.md").text == text


def test_markdown_title_is_the_first_heading_or_the_file_name() -> None:
    assert parse("Text.\n\n# The **bold** [link](x)\n", "a.md").title == "The bold link"
    assert parse("Text.", "no%20heading.md").title == "no heading.md"


def list_heading_paths(text: str) -> list[tuple[str, ...]]:
    return [mark.value for mark in find_heading_marks(text) if isinstance(mark.value, tuple)]


def test_headings_have_their_path() -> None:
    text = "intro\n# A\na\n## B\nb\n### C ###\nc\n## D\nd\n\nE\n=\ne\n\nF\nG\n---\nf\n"
    assert list_heading_paths(text) == [
        ("A",),
        ("A", "B"),
        ("A", "B", "C"),
        ("A", "D"),
        ("E",),
        ("E", "F G"),
    ]


def test_marks_cover_the_text_from_the_first_heading() -> None:
    text = "intro\n# A\na\n## B\nb\n"
    marks = find_heading_marks(text)
    assert text[marks[0].start :].startswith("# A")
    assert marks[0].end == marks[1].start
    assert marks[-1].end == len(text)


@pytest.mark.parametrize(
    "text",
    [
        "```\n# not a heading\n```\n",
        "~~~python\n# no\n```\n# still no\n~~~\n",
        "    # indented code\n",
        "#hashtag\n",
        "- item\n---\n",
        "> quoted\nlazy\n---\n",
        "| a |\n|---|\n---\n",
        "a\n\n---\n",
        "#\n",
    ],
)
def test_text_that_looks_like_a_heading_is_not_marked(text: str) -> None:
    assert list_heading_paths(text) == []


@given(st.text(st.sampled_from("#=-~` \n\r\tab[]()*_"), max_size=200))
def test_heading_marks_are_in_order_and_adjacent(text: str) -> None:
    marks = find_heading_marks(text)
    assert all(a.end == b.start for a, b in zip(marks, marks[1:], strict=False))
    assert not marks or marks[-1].end == len(text)


@pytest.mark.parametrize(
    "line", ["# a" + " " * 300_000 + "b", "#" * 300_000, "[" * 300_000, "`" * 300_000]
)
def test_long_lines_take_linear_time(line: str) -> None:
    find_heading_marks(line + "\n===\n" + line)


# -- HTML ----------------------------------------------------------------------------------


def test_html_keeps_the_text_and_drops_the_menu() -> None:
    document = parse((SAMPLE / "visitors.html").read_bytes(), "visitors.html")
    assert document.title == "Visiting Heron Point"
    assert "open every day from 9" in document.text
    assert "Shop" not in document.text
    assert ("Visiting Heron Point", "Tickets") in [m.value for m in document.marks]


def test_html_page_without_main_text_keeps_all_text() -> None:
    assert "Hi there" in parse("<html><body><p>Hi there</p></body></html>", "a.html").text


def test_html_is_detected_without_a_suffix() -> None:
    assert PARSER.guess(b"<!DOCTYPE html><html>", uri="file:///x", mime=None) == "text/html"
    assert PARSER.guess(b"a < b", uri="file:///x", mime=None) == "text/plain"


def test_html_scripts_are_dropped() -> None:
    document = parse(
        "<html><body><p>Good text stands here.</p><script>alert('x')</script></body></html>",
        "a.html",
    )
    assert "alert" not in document.text


# -- PDF -----------------------------------------------------------------------------------


def test_pdf_pages_have_marks() -> None:
    document = parse((SAMPLE / "annual-report-2025.pdf").read_bytes(), "report.pdf")
    assert document.title == "Annual report 2025"
    assert document.metadata["pages"] == 4
    assert document.metadata["author"] == "Heron Point Trust"
    for words, page in (("11,420 visitors", 1), ("93 knots", 2), ("85.5 %", 3), ("172,600", 4)):
        assert document.location_at(document.text.index(words))["page"] == page
    starts = [mark.start for mark in document.marks if mark.kind == "page"]
    assert starts == sorted(starts)


def test_pdf_is_detected_without_its_suffix() -> None:
    assert (
        parse((SAMPLE / "annual-report-2025.pdf").read_bytes(), "x.txt").mime == "application/pdf"
    )


@pytest.mark.parametrize("cut", [0.3, 0.6, 0.95])
def test_truncated_pdf_parses_or_fails_with_a_reason(cut: float) -> None:
    data = (SAMPLE / "annual-report-2025.pdf").read_bytes()
    try:
        document = parse(data[: int(len(data) * cut)], "cut.pdf")
    except ParseError as error:
        assert "PDF" in str(error) or "page" in str(error)
    else:
        assert document.text.strip()


def test_corrupt_pdf_fails_with_a_reason() -> None:
    with pytest.raises(ParseError, match="not a PDF, or a damaged one"):
        parse(b"%PDF-1.7\n" + b"garbage" * 100, "bad.pdf")


def test_encrypted_pdf_fails_with_a_reason() -> None:
    with pytest.raises(EncryptedDocument, match="protected by a password"):
        parse((FIXTURES / "encrypted.pdf").read_bytes(), "encrypted.pdf")


def test_error_for_a_scan_names_the_extra() -> None:
    with pytest.raises(NoText, match=r"none of the 2 pages has a text layer .*citewell\[ocr\]"):
        PdfParser(ocr=False).parse((FIXTURES / "scan.pdf").read_bytes(), uri="file:///scan.pdf")


def test_pdf_pages_without_text_are_listed_in_the_metadata() -> None:
    data = (FIXTURES / "half-scanned.pdf").read_bytes()
    document = PdfParser(ocr=False).parse(data, uri="file:///half-scanned.pdf")
    assert document.metadata["pages_without_text"] == (2,)
    assert document.location_at(document.text.index("So has the third")) == {"page": 3}


@pytest.mark.data
@pytest.mark.slow
def test_every_mixed_file_parses_or_fails_with_a_reason(data: Path) -> None:
    """No file is lost or hangs, and no reason is an internal error."""
    parser = AutoParser(pdf=PdfParser(ocr=False), picture=PictureParser(recognise=False))
    parser_pool = ParserPool(parser, 2, ParserLimits(seconds=60))
    paths = [path for path in sorted((data / "files").rglob("*")) if path.is_file()]
    outcomes: Counter[str] = Counter()

    def parse_file(path: Path) -> None:
        try:
            parts = parser_pool.parse(path.read_bytes(), uri=path.as_uri(), mime=None)
        except SourceError as error:
            assert isinstance(error, ParseError), f"{path}: {error}"
            outcomes["failed"] += 1
            return
        assert parts, path
        assert all(isinstance(f, FailedPart) or f.text.strip() for f in parts), path
        outcomes["parsed"] += 1

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(parse_file, paths))
    parser_pool.close()
    assert outcomes.total() == len(paths)
    assert outcomes["parsed"] > 0.85 * len(paths)


def test_single_parser_works_without_auto_parser() -> None:
    assert TextParser().parse(b"x", uri="u").title == "u"
