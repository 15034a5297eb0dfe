"""Every format: the text of a file is in the document, and marks give its location."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Callable, Sequence
from itertools import pairwise

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from connectors.parser_pool import ParserPool
from connectors.parsers.auto import AutoParser
from connectors.parsers.code import CodeParser
from connectors.parsers.pdf import PdfParser
from connectors.parsers.picture import PictureParser
from connectors.parsers.record_lists import has_records
from connectors.parsers.records import Fields, JsonLinesParser, TableParser
from rag import Document, HeadingChunker, StaticEmbedder
from rag.errors import (
    EncryptedDocument,
    NoText,
    ParseError,
    ParserNotInstalled,
    UnsupportedFormat,
)
from tests.connectors import file_fixtures
from tests.connectors.parsing import PARSER, list_marked_texts, parse, parse_parts

# -- source locations, in every format ------------------------------------------------------

WORD = st.from_regex(r"[A-Z][a-z]{2,8}", fullmatch=True)
SENTENCE = st.lists(WORD, min_size=1, max_size=6).map(" ".join)
UNITS = st.lists(SENTENCE, min_size=1, max_size=6)


def number_units(units: Sequence[str]) -> list[str]:
    """Number the units, so that each is unique."""
    return [f"Unit{i} {unit}" for i, unit in enumerate(units)]


def _make_srt(units: Sequence[str]) -> bytes:
    return file_fixtures.make_srt(units)


def _make_code(units: Sequence[str]) -> bytes:
    return "\n\n".join(f"def f{i}():\n    return '{u}'" for i, u in enumerate(units)).encode()


def _make_csv(units: Sequence[str]) -> bytes:
    out = io.StringIO()
    csv.writer(out).writerows([["Name", "Number"], *([unit, i] for i, unit in enumerate(units))])
    return out.getvalue().encode()


FORMATS: dict[str, tuple[str, Callable[[Sequence[str]], bytes], Callable[[int], object]]] = {
    "a.pdf": ("page", lambda units: file_fixtures.make_pdf(list(units)), lambda i: i + 1),
    "a.pptx": (
        "slide",
        lambda units: file_fixtures.make_pptx([(f"Title {i}", u) for i, u in enumerate(units)]),
        lambda i: i + 1,
    ),
    "a.odp": (
        "slide",
        lambda units: file_fixtures.make_odp([(f"Title {i}", u) for i, u in enumerate(units)]),
        lambda i: i + 1,
    ),
    "a.xlsx": (
        "row",
        lambda units: file_fixtures.make_xlsx(
            {"S": [["Name", "Number"], *([u, i] for i, u in enumerate(units))]}
        ),
        lambda i: i + 2,
    ),
    "b.xlsx": (
        "sheet",
        lambda units: file_fixtures.make_xlsx({f"Sheet {i}": [[u]] for i, u in enumerate(units)}),
        lambda i: f"Sheet {i}",
    ),
    "a.ods": (
        "row",
        lambda units: file_fixtures.make_ods({"S": [["Name", "Word"], *([u, "x"] for u in units)]}),
        lambda i: i + 2,
    ),
    "a.csv": ("row", _make_csv, lambda i: i + 2),
    "a.tsv": ("row", lambda units: _make_csv(units).replace(b",", b"\t"), lambda i: i + 2),
    "a.jsonl": (
        "row",
        lambda units: "\n".join(json.dumps({"name": u}) for u in units).encode(),
        lambda i: i + 1,
    ),
    "a.json": (
        "row",
        lambda units: json.dumps([{"name": u} for u in units]).encode(),
        lambda i: i + 1,
    ),
    "a.ipynb": (
        "row",
        lambda units: file_fixtures.make_ipynb([("markdown", u) for u in units]),
        lambda i: i + 1,
    ),
    "a.srt": ("time", _make_srt, lambda i: 10.0 * i),
    "a.vtt": (
        "time",
        lambda units: b"WEBVTT\n\n"
        + _make_srt(units).replace(b",000", b".000"),
        lambda i: 10.0 * i,
    ),
    "a.py": ("symbol", _make_code, lambda i: f"f{i}"),
}  # fmt: skip
FORMATS_WITH_HEADINGS: dict[str, Callable[[Sequence[str]], bytes]] = {
    "a.docx": lambda units: file_fixtures.make_docx(
        [(f"Head {i}", u) for i, u in enumerate(units)]
    ),
    "a.odt": lambda units: file_fixtures.make_odt([(f"Head {i}", u) for i, u in enumerate(units)]),
    "a.epub": lambda units: file_fixtures.make_epub(
        [(f"Head {i}", u) for i, u in enumerate(units)]
    ),
    "a.pptx": lambda units: file_fixtures.make_pptx(
        [(f"Head {i}", u) for i, u in enumerate(units)]
    ),
    "a.md": lambda units: "".join(f"# Head {i}\n\n{u}\n\n" for i, u in enumerate(units)).encode(),
    "a.rst": lambda units: "".join(
        f"Head {i}\n==========\n\n{u}\n\n" for i, u in enumerate(units)
    ).encode(),
    "a.html": lambda units: (
        "<html><body><article>"
        + "".join(f"<h2>Head {i}</h2><p>{u} stands here.</p>" for i, u in enumerate(units))
        + "</article></body></html>"
    ).encode(),
    "a.pdf": lambda units: file_fixtures.make_pdf(
        [f"Head {i}\n{u}" for i, u in enumerate(units)],
        [(f"Head {i}", i) for i in range(len(units))],
    ),
    "a.yaml": lambda units: "".join(f"Head {i}:\n  - {u}\n" for i, u in enumerate(units)).encode(),
    "b.json": lambda units: json.dumps({f"Head {i}": u for i, u in enumerate(units)}).encode(),
    "a.ipynb": lambda units: file_fixtures.make_ipynb(
        [("markdown", f"# Head {i}\n\n{u}") for i, u in enumerate(units)]
    ),
}


def split_into_chunks(document: Document) -> list:
    """Split into small chunks, so that many start in the middle of a unit."""
    return HeadingChunker(size=24, overlap=0).split(document, StaticEmbedder())


@pytest.mark.parametrize("name", FORMATS)
@given(units=UNITS.map(number_units))
@settings(max_examples=12)
def test_marks_give_the_source_location_of_text(name: str, units: list[str]) -> None:
    kind, make, value = FORMATS[name]
    document = parse(make(units), name)
    texts_by_value = dict(list_marked_texts(document, kind))
    for i, unit in enumerate(units):
        assert unit in texts_by_value[value(i)]
        assert document.location_at(document.text.index(unit))[kind] == value(i)
    marks = sorted((m for m in document.marks if m.kind == kind), key=lambda m: m.start)
    assert all(a.end <= b.start for a, b in pairwise(marks))
    for chunk in split_into_chunks(document):
        assert chunk.text == document.text[chunk.start : chunk.end]
        assert chunk.location == document.location_at(chunk.start, chunk.end)
        unit_numbers = [i for i, unit in enumerate(units) if chunk.text.startswith(unit.split()[0])]
        assert all(chunk.location[kind] == value(i) for i in unit_numbers)


@pytest.mark.parametrize("name", FORMATS_WITH_HEADINGS)
@given(units=UNITS.map(number_units))
@settings(max_examples=12)
def test_headings_have_marks(name: str, units: list[str]) -> None:
    document = parse(FORMATS_WITH_HEADINGS[name](units), name)
    texts_by_path = dict(list_marked_texts(document, "heading"))
    for i, unit in enumerate(units):
        assert unit in texts_by_path[(f"Head {i}",)]
    marks = sorted((m for m in document.marks if m.kind == "heading"), key=lambda m: m.start)
    assert all(a.end <= b.start for a, b in pairwise(marks))


# -- PDF -----------------------------------------------------------------------------------

LEFT_LINES = [f"On the left is line number {i} of the text," for i in range(8)]
RIGHT_LINES = [f"and on the right is line number {i} of it." for i in range(8)]


def test_pdf_columns_are_put_in_reading_order() -> None:
    """The file draws the columns line by line."""
    lines = [(50.0, 740.0, 14.0, "A title that goes across both of the columns on this page")]
    for i, (left_line, right_line) in enumerate(zip(LEFT_LINES, RIGHT_LINES, strict=True)):
        lines += [(50, 700 - 14 * i, 10, left_line), (320, 700 - 14 * i, 10, right_line)]
    text = parse(file_fixtures.make_pdf([lines]), "a.pdf").text
    assert text.split("\n")[1:] == LEFT_LINES + RIGHT_LINES
    raw_text = (
        PdfParser(clean=False, ocr=False)
        .parse(file_fixtures.make_pdf([lines]), uri="file:///a.pdf")
        .text
    )
    assert raw_text.index(RIGHT_LINES[0]) < raw_text.index(LEFT_LINES[1])


def test_pdf_table_cells_stay_in_their_rows() -> None:
    rows = [
        ("Net sales of products and services", "1,234,567"),
        ("Cost of goods sold", "45,678"),
    ] * 5
    lines = [
        (x, 700 - 14 * i, 10, text)
        for i, row in enumerate(rows)
        for x, text in zip((50, 400), row, strict=True)
    ]
    text = parse(file_fixtures.make_pdf([lines]), "a.pdf").text
    assert text == "\n".join(f"| {label} | {value} |" for label, value in rows)


def test_pdf_words_divided_at_a_line_end_are_joined() -> None:
    text = (
        "It is an exam-\nple of a well-\nknown rule. A well-known rule is a worst-\ncase rule.\n"
        "The worst case is a case."
    )
    parsed_text = parse(file_fixtures.make_pdf([text]), "a.pdf").text
    assert "an example of a well-known rule" in parsed_text
    assert "a worst-case rule" in parsed_text


def test_pdf_headers_and_footers_are_kept_at_their_first_occurrence() -> None:
    pages = [
        f"Annual report of the trust\nText of page {i} is about {word}.\nThe total is {i * 7}\nPage {i + 10} of 15"
        for i, word in enumerate(["rain", "snow", "wind", "hail", "fog"], start=1)
    ]
    document = parse(file_fixtures.make_pdf(pages), "a.pdf")
    assert document.text.count("Annual report of the trust") == 1
    assert [line for line in document.text.split("\n") if line.startswith("Page")] == [
        "Page 11 of 15"
    ]
    for i, word in enumerate(["rain", "snow", "wind", "hail", "fog"], start=1):
        assert document.location_at(document.text.index(word)) == {"page": i}
        assert f"The total is {i * 7}" in document.text  # a number in the content is kept


@pytest.mark.slow
def test_text_of_a_scanned_page_is_recognised() -> None:
    """Uses the models in the wheel of the extra."""
    document = PdfParser(ocr=True).parse(
        file_fixtures.make_scan("A scan of a letter"), uri="file:///a.pdf"
    )
    assert document.metadata["pages_recognised"] == (1,)
    assert list_marked_texts(document, "page") == [(1, "A scan of a letter")]
    picture_document = PictureParser(recognise=True).parse(
        file_fixtures.make_png("The kettle is green"), uri="u"
    )
    assert "kettle" in picture_document.text


# -- office --------------------------------------------------------------------------------


def test_docx_keeps_tables_and_properties() -> None:
    table = file_fixtures.make_docx_table([["Name", "Sum"], ["Rent", "1200"]])
    document = parse(
        file_fixtures.make_docx([("One", "Text.")], title="A letter", extra=table), "a.docx"
    )
    assert "| Name | Sum |\n| --- | --- |\n| Rent | 1200 |" in document.text
    assert (document.title, document.metadata) == (
        "A letter",
        {"author": "Ada", "created": "2024-05-01"},
    )


def test_pptx_shapes_are_read_from_top_to_bottom_with_notes() -> None:
    document = parse(file_fixtures.make_pptx([("One", "Body")], notes="Say hello"), "a.pptx")
    assert document.text.split("\n\n") == ["# One", "Body", "Notes: Say hello\n"]


def test_rows_of_a_sheet_have_their_column_names() -> None:
    rows = [
        ["Costs of the year"],
        [],
        ["Item", "Sum", "", "Day"],
        ["Rent", 1200, "x", "2024-01-01"],
        ["Light", 3.5, None, "2024-02-01"],
    ]
    document = parse(
        file_fixtures.make_xlsx({"Costs": rows, "Secret": [["hidden"]]}, hidden=["Secret"]),
        "a.xlsx",
    )
    assert list_marked_texts(document, "row") == [
        (1, "Costs of the year"),
        (3, "Item | Sum | Day"),
        (4, "Item: Rent; Sum: 1200; x; Day: 2024-01-01"),
        (5, "Item: Light; Sum: 3.5; Day: 2024-02-01"),
    ]
    assert "hidden" not in document.text
    (chunk,) = HeadingChunker().split(document, StaticEmbedder())
    assert chunk.location == {"sheet": "Costs", "table": "Costs of the year", "row": 1}


def test_sheet_with_a_distant_cell_is_parsed() -> None:
    document = parse(
        file_fixtures.make_xlsx({"S": [["a", "b"], *[[]] * 5_000, ["c", "d"]]}), "a.xlsx"
    )
    assert list_marked_texts(document, "row")[-1][0] == 5_002


def test_odt_keeps_lists_and_tables() -> None:
    extra = (
        "<text:list><text:list-item><text:p>apples</text:p></text:list-item>"
        "<text:list-item><text:p>pears</text:p></text:list-item></text:list>"
        "<table:table><table:table-row><table:table-cell><text:p>a</text:p></table:table-cell>"
        '<table:table-cell><text:p>b<text:s text:c="2"/>c</text:p></table:table-cell></table:table-row></table:table>'
    )
    document = parse(file_fixtures.make_odt([("One", "Text.")], title="T", extra=extra), "a.odt")
    assert "- apples\n- pears" in document.text
    assert "| a | b c |" in document.text
    assert document.title == "T"


def test_rtf_is_read_as_plain_text() -> None:
    assert parse(file_fixtures.make_rtf(["Größe {x}", "two"]), "a.rtf").text == "Größe {x}\ntwo"


def test_epub_chapters_are_in_reading_order() -> None:
    document = parse(
        file_fixtures.make_epub([("One", "First."), ("Two", "Second.")], "A book"), "a.epub"
    )
    assert document.text.index("First.") < document.text.index("Second.")
    assert (document.title, document.metadata) == ("A book", {"author": "Ada", "language": "en"})


def test_old_office_files_are_detected_by_their_streams() -> None:
    head = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 600
    for stream, mime in (
        ("WordDocument", "application/msword"),
        ("PowerPoint Document", "application/vnd.ms-powerpoint"),
        ("__substg1.0_0037001F", "application/vnd.ms-outlook"),
    ):
        data = head + stream.encode("utf-16-le")
        assert PARSER.guess(data, uri="file:///a.bin", mime=None) == mime
        with pytest.raises((ParseError, ParserNotInstalled)):
            parse(data, "a.bin")
    with pytest.raises(UnsupportedFormat):
        parse(head, "a.bin")
    with pytest.raises(EncryptedDocument):
        parse(head + "EncryptedPackage".encode("utf-16-le"), "a.docx")


# -- records -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("a,b\n1,2\n", ["a | b", "a: 1; b: 2"]),
        ("a;b\n1,5;2\n", ["a | b", "a: 1,5; b: 2"]),
        ("a\tb\n1\t2\n", ["a | b", "a: 1; b: 2"]),
        ("a|b\n1|2\n", ["a | b", "a: 1; b: 2"]),
        ('a,b\n"x, y","line\nbreak"\n', ["a | b", "a: x, y; b: line break"]),
        ("1,2\n3,4\n", ["1 | 2", "3 | 4"]),
        ("only one column\nof text\n", ["only one column", "of text"]),
        ("a,b,c\n1,2\n", ["a | b | c", "a: 1; b: 2"]),
        ("a,b\n1,2,3\n", ["a | b", "a: 1; b: 2; 3"]),
        ("a,a\n1,2\n", ["a | a", "1 | 2"]),
    ],
)
def test_csv_delimiter_and_header_are_guessed(text: str, lines: list[str]) -> None:
    assert [line for _, line in list_marked_texts(parse(text, "a.csv"), "row")] == lines


def test_each_csv_row_becomes_a_document() -> None:
    fields = Fields(text="{q}\n{a}", title="q", key="id", metadata=("topic",))
    parser = AutoParser(table=TableParser(per="row", fields=fields))
    data = b"id,q,a,topic,other\n7,Why?,Because.,x,y\n8,How?,,z,y\n7,Again?,No.,x,y\n"
    parts = parse_parts(data, "a.csv", parser)
    assert set(parts) == {"!/7", "!/8", "!/record 4".replace(" ", "%20")}
    document = parts["!/7"]
    assert (document.text, document.title) == ("Why?\nBecause.", "Why?")
    assert (document.metadata, document.location_at(0)) == ({"topic": "x"}, {"row": 2})
    assert "same key" in str(parts["!/record%204"].error)


def test_each_json_line_becomes_a_document() -> None:
    parser = AutoParser(jsonl=JsonLinesParser(per="row", fields=Fields(key="n", title="t")))
    parts = parse_parts(
        b'{"n": 1, "t": "One", "x": {"y": [1, 2]}}\n{"n": 2, "t": "Two"}\n', "a.jsonl", parser
    )
    assert parts["!/1"].text == "x.y: 1, 2"
    assert isinstance(parts["!/2"].error, NoText)


@pytest.mark.parametrize("text", ["{}", "{", "{id} {}"])
def test_template_without_field_names_is_rejected(text: str) -> None:
    with pytest.raises(ValueError):
        Fields(text=text)


def test_error_for_a_missing_field_names_it() -> None:
    parser = AutoParser(table=TableParser(fields=Fields(text="{nothing}")))
    with pytest.raises(ParseError, match="no field 'nothing'; the fields are 'a', 'b'"):
        parser.parse(b"a,b\n1,2\n", uri="file:///a.csv")


# -- data ----------------------------------------------------------------------------------


def test_invalid_json_is_kept_with_the_reason() -> None:
    document = parse('{"a": 1,', "a.json")
    assert document.text == '{"a": 1,'
    assert "Expecting property name" in str(document.metadata["damage"])


def test_xml_becomes_text_with_element_names() -> None:
    data = (
        "<?xml version='1.0'?><book lang='en'><title>On tea</title><p>Water is <b>hot</b>.</p>"
        "<price unit='EUR'>4</price></book>"
    )
    document = parse(data, "a.xml")
    assert document.text.split("\n") == [
        "book: lang: en",
        "On tea",
        "Water is hot.",
        "price: 4 (unit: EUR)",
        "",
    ]
    assert document.title == "On tea"


# -- code, notebooks, subtitles ------------------------------------------------------------

CODE = {
    "a.py": (
        'class A:\n    """Über."""\n\n    # about m\n    @staticmethod\n    def m():\n        return "é"\n\n\ndef f():\n    pass\n',
        ["A", "A.m", "f"],
    ),
    "a.ts": (
        "interface I { x: number }\nexport class A {\n  m(): void {}\n}\nfunction f() {}\n",
        ["I", "A", "A.m", "A", "f"],
    ),
    "a.js": ("class A {\n  m() {}\n}\nfunction f() {}\n", ["A", "A.m", "A", "f"]),
    "A.java": ("class A {\n  int m() { return 1; }\n}\n", ["A", "A.m", "A"]),
    "a.go": ("package a\n\ntype T struct{}\n\nfunc F() {}\n", ["T", "F"]),
    "a.rs": ("struct S;\nimpl S {\n  fn m() {}\n}\n", ["S", "S", "S.m", "S"]),
    "a.c": ("int *f(int a) {\n  return 0;\n}\n", ["f"]),
    "a.cpp": ("namespace n {\nclass A {\n void m() {}\n};\n}\n", ["n", "n.A", "n.A.m", "n.A", "n"]),
    "a.cs": ("class A {\n  void M() {}\n}\n", ["A", "A.M", "A"]),
    "a.rb": ("class A\n  def m\n  end\nend\n", ["A", "A.m", "A"]),
    "a.php": ("<?php\nclass A {\n  function m() {}\n}\n", ["A", "A.m", "A"]),
    "a.sh": ("f() {\n  echo\n}\n", ["f"]),
}


@pytest.mark.parametrize("name", CODE)
def test_functions_and_classes_have_marks(name: str) -> None:
    code, names = CODE[name]
    document = parse(code, name)
    assert document.text == code
    assert [value for value, _ in list_marked_texts(document, "symbol")] == names
    assert [".".join(value) for value, _ in list_marked_texts(document, "heading")] == names


def test_symbol_includes_its_comment_and_decorator() -> None:
    document = parse(CODE["a.py"][0], "a.py")
    (method,) = [text for value, text in list_marked_texts(document, "symbol") if value == "A.m"]
    assert method.startswith("# about m\n    @staticmethod")
    assert method.endswith('return "é"')


def test_code_without_the_extra_has_no_marks() -> None:
    document = CodeParser(symbols=False).parse(b"def f(): pass", uri="file:///a.py")
    assert (document.marks, document.metadata) == ((), {"code_language": "python"})


def test_notebook_has_code_and_printed_output() -> None:
    document = parse(
        file_fixtures.make_ipynb([("markdown", "# Title"), ("code", "print('x')")]), "a.ipynb"
    )
    assert "```python\nprint('x')\n```\n\n```\nprinted\n```" in document.text
    assert (document.title, document.metadata["code_language"]) == ("Title", "python")


def test_subtitles_have_time_marks() -> None:
    data = "WEBVTT\n\n00:01:02.500 --> 00:01:04.000\n<v Ada>Hello\nthere</v>\n"
    document = parse(data, "a.vtt")
    assert document.location_at(0) == {"time": 62.5}
    assert "Hello there" in document.text


def test_rst_directives_are_not_executed(tmp_path: object) -> None:
    text = "Title\n=====\n\n.. include:: /etc/passwd\n\n.. raw:: html\n   :file: /etc/passwd\n\nSub\n---\n\nEnd.\n"
    document = parse(text, "a.rst")
    assert document.text == text
    assert [value for value, _ in list_marked_texts(document, "heading")] == [
        ("Title",),
        ("Title", "Sub"),
    ]


# -- details of single formats -------------------------------------------------------------


def test_sentences_end_at_the_end_of_a_row() -> None:
    from rag.text.sentences import sentences

    document = parse("city,population\nparis,200\nrome,400\n", "a.csv")
    sentence_texts = [document.text[a:b] for a, b in sentences(document.text)]
    assert "city: rome; population: 400" in sentence_texts


def test_xml_keeps_text_after_an_entity() -> None:
    data = "<d><p>Price&nbsp;is 100 of <b>X</b> tail</p></d>"
    assert "Price is 100 of X tail" in parse(data, "a.xml").text
    data = "<!DOCTYPE d [<!ENTITY co 'x'>]><d><p>by &co; of <b>X</b> tail</p></d>"
    assert "of X tail" in parse(data, "a.xml").text
    deep = "<a>" * 400 + "deep" + "</a>" * 400
    assert "deep" in parse(deep, "a.xml").text
    long = "<d><p>" + "word " * 2_500_000 + "</p><p>the end</p></d>"
    assert parse(long, "a.xml").text.endswith("p: the end\n")
    assert "damage" in parse("<d><p>one</p><p>two", "a.xml").metadata


def test_json_numbers_and_duplicate_names_are_kept() -> None:
    data = '{"id": 12345678901234567890.12, "p": 1.10, "p": "caf\\u00e9", "q": {"r": [], "s": {}}}'
    document = parse(data, "a.json")
    assert '"id": 12345678901234567890.12,\n  "p": 1.10,\n  "p": "café"' in document.text
    assert [value for value, _ in list_marked_texts(document, "heading")] == [
        ("id",),
        ("p",),
        ("p",),
        ("q",),
    ]
    assert json.loads(document.text) == json.loads(data)


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4)
        ),
        max_leaves=12,
    )
)
def test_indented_json_has_the_same_value(value: object) -> None:
    data = json.dumps({"a": value})
    assume(not has_records(value))
    document = parse(data, "a.json")
    assert repr(json.loads(document.text)) == repr(json.loads(data))


def test_invalid_line_of_json_lines_is_kept_as_text() -> None:
    document = parse('{"a": 1}\n{"b": \n{"c": 3}\n', "a.jsonl")
    assert list_marked_texts(document, "row") == [(1, "a: 1"), (2, 'value: {"b":'), (3, "c: 3")]


def test_docx_keeps_fields_and_equations() -> None:
    m = 'xmlns:m="http://schemas.openxmlformats.org/officeDocument/2006/math"'
    extra = (
        '<w:p><w:r><w:t xml:space="preserve">See </w:t></w:r><w:fldSimple w:instr="REF x"><w:r><w:t>'
        f"page 7</w:t></w:r></w:fldSimple></w:p><w:p><m:oMath {m}><m:r><m:t>a+b</m:t></m:r></m:oMath></w:p>"
        f"<w:p><m:oMathPara {m}><m:oMath><m:r><m:t>c=d</m:t></m:r></m:oMath></m:oMathPara></w:p>"
    )
    text = parse(file_fixtures.make_docx([("One", "Text.")], extra=extra), "a.docx").text
    assert "See page 7" in text and "a+b" in text and "c=d" in text


def test_hidden_sheets_are_listed_in_the_metadata() -> None:
    data = file_fixtures.make_xlsx({"A": [["x", "y"]], "B": [["secret", "z"]]}, hidden=["B"])
    assert parse(data, "a.xlsx").metadata["hidden"] == ("sheet B",)


def test_webvtt_speakers_are_named_and_entities_decoded() -> None:
    data = (
        "WEBVTT\n\n00:01.000 --> 00:03.000\n<v Roger>Tom &amp; Jerry <00:02.000>late <i>now</i>\n"
    )
    assert parse(data, "a.vtt").text == "Roger: Tom & Jerry late now\n"


def test_short_html_page_keeps_its_table_without_its_menu() -> None:
    data = "<html><body><nav>menu</nav><table><tr><th>a</th><th>b</th></tr><tr><td>1</td><td>2</td></tr></table></body></html>"
    document = parse(data, "a.html")
    assert "menu" not in document.text
    assert "1" in document.text


def test_odt_keeps_text_boxes_and_repeated_cells() -> None:
    extra = (
        "<text:p><draw:frame><draw:text-box><text:p>in a box</text:p></draw:text-box></draw:frame>after</text:p>"
        '<table:table><table:table-row><table:table-cell table:number-columns-repeated="2"><text:p>x</text:p></table:table-cell>'
        "</table:table-row></table:table>"
    )
    text = parse(file_fixtures.make_odt([("One", "Text.")], extra=extra), "a.odt").text
    assert "in a box\n" in text and "after" in text
    assert "| x | x |" in text


def test_csv_separator_line_of_excel_sets_the_delimiter() -> None:
    document = parse("sep=;\na;b\n1;2\n", "a.csv")
    assert list_marked_texts(document, "row") == [(2, "a | b"), (3, "a: 1; b: 2")]


def test_pdf_titles_with_a_running_number_are_kept() -> None:
    pages = [f"Invoice {i}\nTo be paid for {word}" for i, word in enumerate("abcdef", start=1)]
    text = parse(file_fixtures.make_pdf(pages), "a.pdf").text
    assert all(f"Invoice {i}" in text for i in range(1, 7))


def test_rst_heading_after_a_form_feed_is_found() -> None:
    text = "Title\n=====\n\none\f\n\f\nSecond\n======\n\ntwo\n"
    heading_texts = list_marked_texts(parse(text, "a.rst"), "heading")
    assert heading_texts == [
        (("Title",), "Title\n=====\n\none"),
        (("Second",), "Second\n======\n\ntwo"),
    ]


def test_record_keys_that_look_like_failed_parts_stay_unique() -> None:
    parser = AutoParser(table=TableParser(per="row", fields=Fields(key="k")))
    data = b"k,v\n,x\nrecord 2,y\n/a,z\na,w\n"
    parts = ParserPool(parser, 0).parse(data, uri="file:///a.csv", mime=None)
    assert sum(isinstance(part, Document) for part in parts) == 2
    assert len({part.uri for part in parts}) == len(parts) == 4


def test_docx_text_that_looks_like_markdown_is_escaped() -> None:
    table = file_fixtures.make_docx_table([["a|b", "c"], ["1", "2"]])
    document = parse(
        file_fixtures.make_docx([("One", "# no heading"), ("Two", "x")], extra=table), "a.docx"
    )
    assert [value for value, _ in list_marked_texts(document, "heading")] == [("One",), ("Two",)]
    assert "\\# no heading" in document.text
    assert "| a\\|b | c |" in document.text


def test_rtf_title_is_read() -> None:
    data = file_fixtures.make_rtf(["Text."]).replace(
        b"{\\fonttbl", b"{\\info{\\title A letter}}{\\fonttbl"
    )
    assert parse(data, "a.rtf").title == "A letter"


def test_docx_with_a_damaged_picture_is_parsed() -> None:
    extra = '<w:p><w:fldSimple w:instr="REF x"><w:r><w:t>page 7</w:t></w:r></w:fldSimple></w:p>'
    with zipfile.ZipFile(
        io.BytesIO(file_fixtures.make_docx([("One", "Text.")], extra=extra))
    ) as good:
        files = {name: good.read(name) for name in good.namelist()}
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, body in {**files, "word/media/a.png": b"PICTURE-PICTURE"}.items():
            archive.writestr(name, body)
    data = out.getvalue().replace(b"PICTURE-PICTURE", b"PICTURE-DAMAGED")
    assert "page 7" in parse(data, "a.docx").text


def test_captions_with_the_time_of_each_word_are_kept() -> None:
    data = (
        "WEBVTT\n\n00:00:00.000 --> 00:00:02.000\nHello all\n\n00:00:09.000 --> 00:00:10.000\n"
        "start<00:00:09.100><c> of</c><00:00:09.500><c> song</c>\n"
    )
    assert parse(data.encode(), "a.vtt").text == "Hello all\nstart of song\n"


def test_captions_that_roll_up_are_written_once() -> None:
    cues = [
        "we look at pumps",
        "we look at pumps\nand its seal",
        "and its seal\nthree valves",
        "No. No.",
    ]
    cues += ["No. No."]
    data = "WEBVTT\n" + "".join(
        f"\n00:00:0{i}.000 --> 00:00:0{i + 1}.000\n{cue}\n" for i, cue in enumerate(cues)
    )
    text = parse(data.encode(), "a.vtt").text
    assert text.splitlines() == [
        "we look at pumps",
        "and its seal",
        "three valves",
        *["No. No."] * 2,
    ]


@pytest.mark.parametrize("name", ["a.txt", "a.md", "a.csv"])
def test_characters_without_width_divide_no_word(name: str) -> None:
    text = "in\u00adfor\u200bma\u2060tion,b\nc,d\n"
    assert "information" in parse(text.encode(), name).text


RTF_START = r"{\rtf1\ansi\ansicpg1252\deff0{\fonttbl{\f0 Arial;}{\f1\fcharset204 Arial;}}\pard "


@pytest.mark.parametrize(
    ("rtf", "text"),
    [
        (r"Contract: \f1\'c4\'ee\'e3\'ee\'e2\f0  ends \'fc", "Contract: Догов ends ü"),
        (r"{\f1 \'c4\'ee}\'fc", "Доü"),
        (r"seen {\v hidden \'fc text}here", "seen here"),
        (r"Fee {\deleted 100 }{\revised 80}", "Fee 80"),
        (r"a \v b \v0 c", "a c"),
        (r"smile \u-10179?\u-8704?", "smile \U0001f600"),
        (r"a \{b\} \vertalc c", "a {b} c"),
    ],
)
def test_rtf_has_the_characters_that_are_shown(rtf: str, text: str) -> None:
    document = parse(f"{RTF_START}{rtf}\\par}}".encode(), "a.rtf")
    assert " ".join(document.text.split()) == text
