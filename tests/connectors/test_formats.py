"""Every format: what was put into a file is found again, and the marks say where."""

from __future__ import annotations

import csv
import gzip
import io
import json
import zipfile
from collections.abc import Callable, Sequence
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.base import FailedPart
from connectors.parser_pool import ParserPool
from connectors.parsers.auto import AutoParser
from connectors.parsers.code import CodeParser
from connectors.parsers.pdf import PdfParser
from connectors.parsers.picture import PictureParser
from connectors.parsers.records import Fields, JsonLinesParser, TableParser
from rag import Document, HeadingChunker, StaticEmbedder
from rag.errors import EncryptedDocument, NoText, ParseError, UnsupportedFormat
from tests.connectors import file_fixtures

PARSER = AutoParser(pdf=PdfParser(ocr=False), picture=PictureParser(recognise=False))


def parse(data: bytes | str, name: str) -> Document:
    raw = data.encode() if isinstance(data, str) else data
    return PARSER.parse(raw, uri=f"file:///folder/{name}")


def parts(data: bytes, name: str, parser: AutoParser = PARSER) -> dict[str, Document | FailedPart]:
    uri = f"file:///folder/{name}"
    return {part.uri.removeprefix(uri): part for part in parser.documents(data, uri=uri)}


def texts(document: Document, kind: str) -> list[tuple[object, str]]:
    return [
        (mark.value, document.text[mark.start : mark.end].strip())
        for mark in document.marks
        if mark.kind == kind
    ]


# -- provenance, of every format -----------------------------------------------------------

WORD = st.from_regex(r"[A-Z][a-z]{2,8}", fullmatch=True)
SENTENCE = st.lists(WORD, min_size=1, max_size=6).map(" ".join)
UNITS = st.lists(SENTENCE, min_size=1, max_size=6)


def numbered(units: Sequence[str]) -> list[str]:
    """Units that cannot be taken for one another."""
    return [f"Unit{i} {unit}" for i, unit in enumerate(units)]


def _srt(units: Sequence[str]) -> bytes:
    return file_fixtures.srt(units)


def _functions(units: Sequence[str]) -> bytes:
    return "\n\n".join(f"def f{i}():\n    return '{u}'" for i, u in enumerate(units)).encode()


def _csv(units: Sequence[str]) -> bytes:
    out = io.StringIO()
    csv.writer(out).writerows([["Name", "Number"], *([unit, i] for i, unit in enumerate(units))])
    return out.getvalue().encode()


FORMATS: dict[str, tuple[str, Callable[[Sequence[str]], bytes], Callable[[int], object]]] = {
    "a.pdf": ("page", lambda units: file_fixtures.pdf(list(units)), lambda i: i + 1),
    "a.pptx": (
        "slide",
        lambda units: file_fixtures.pptx([(f"Title {i}", u) for i, u in enumerate(units)]),
        lambda i: i + 1,
    ),
    "a.odp": (
        "slide",
        lambda units: file_fixtures.odp([(f"Title {i}", u) for i, u in enumerate(units)]),
        lambda i: i + 1,
    ),
    "a.xlsx": (
        "row",
        lambda units: file_fixtures.xlsx(
            {"S": [["Name", "Number"], *([u, i] for i, u in enumerate(units))]}
        ),
        lambda i: i + 2,
    ),
    "b.xlsx": (
        "sheet",
        lambda units: file_fixtures.xlsx({f"Sheet {i}": [[u]] for i, u in enumerate(units)}),
        lambda i: f"Sheet {i}",
    ),
    "a.ods": (
        "row",
        lambda units: file_fixtures.ods({"S": [["Name", "Word"], *([u, "x"] for u in units)]}),
        lambda i: i + 2,
    ),
    "a.csv": ("row", _csv, lambda i: i + 2),
    "a.tsv": ("row", lambda units: _csv(units).replace(b",", b"\t"), lambda i: i + 2),
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
        lambda units: file_fixtures.ipynb([("markdown", u) for u in units]),
        lambda i: i + 1,
    ),
    "a.srt": ("time", _srt, lambda i: 10.0 * i),
    "a.vtt": (
        "time",
        lambda units: b"WEBVTT\n\n"
        + _srt(units).replace(b",000", b".000"),
        lambda i: 10.0 * i,
    ),
    "a.py": ("symbol", _functions, lambda i: f"f{i}"),
}  # fmt: skip
HEADED: dict[str, Callable[[Sequence[str]], bytes]] = {
    "a.docx": lambda units: file_fixtures.docx([(f"Head {i}", u) for i, u in enumerate(units)]),
    "a.odt": lambda units: file_fixtures.odt([(f"Head {i}", u) for i, u in enumerate(units)]),
    "a.epub": lambda units: file_fixtures.epub([(f"Head {i}", u) for i, u in enumerate(units)]),
    "a.pptx": lambda units: file_fixtures.pptx([(f"Head {i}", u) for i, u in enumerate(units)]),
    "a.md": lambda units: "".join(f"# Head {i}\n\n{u}\n\n" for i, u in enumerate(units)).encode(),
    "a.rst": lambda units: "".join(
        f"Head {i}\n==========\n\n{u}\n\n" for i, u in enumerate(units)
    ).encode(),
    "a.html": lambda units: (
        "<html><body><article>"
        + "".join(f"<h2>Head {i}</h2><p>{u} stands here.</p>" for i, u in enumerate(units))
        + "</article></body></html>"
    ).encode(),
    "a.pdf": lambda units: file_fixtures.pdf(
        [f"Head {i}\n{u}" for i, u in enumerate(units)],
        [(f"Head {i}", i) for i in range(len(units))],
    ),
    "a.yaml": lambda units: "".join(f"Head {i}:\n  - {u}\n" for i, u in enumerate(units)).encode(),
    "b.json": lambda units: json.dumps({f"Head {i}": u for i, u in enumerate(units)}).encode(),
    "a.ipynb": lambda units: file_fixtures.ipynb(
        [("markdown", f"# Head {i}\n\n{u}") for i, u in enumerate(units)]
    ),
}


def chunks_of(document: Document) -> list:
    """Small chunks, so that many begin in the middle of a unit."""
    return HeadingChunker(size=24, overlap=0, smallest=0).split(document, StaticEmbedder())


@pytest.mark.parametrize("name", FORMATS)
@given(units=UNITS.map(numbered))
@settings(max_examples=12)
def test_marks_say_where_a_text_is_from(name: str, units: list[str]) -> None:
    kind, make, value = FORMATS[name]
    document = parse(make(units), name)
    found = dict(texts(document, kind))
    for i, unit in enumerate(units):
        assert unit in found[value(i)]
        assert document.location_at(document.text.index(unit))[kind] == value(i)
    marks = sorted((m for m in document.marks if m.kind == kind), key=lambda m: m.start)
    assert all(a.end <= b.start for a, b in pairwise(marks))
    for chunk in chunks_of(document):
        assert chunk.text == document.text[chunk.start : chunk.end]
        assert chunk.place == document.location_at(chunk.start, chunk.end)
        named = [i for i, unit in enumerate(units) if chunk.text.startswith(unit.split()[0])]
        assert all(chunk.place[kind] == value(i) for i in named)


@pytest.mark.parametrize("name", HEADED)
@given(units=UNITS.map(numbered))
@settings(max_examples=12)
def test_headings_are_marked(name: str, units: list[str]) -> None:
    document = parse(HEADED[name](units), name)
    found = dict(texts(document, "heading"))
    for i, unit in enumerate(units):
        assert unit in found[(f"Head {i}",)]
    marks = sorted((m for m in document.marks if m.kind == "heading"), key=lambda m: m.start)
    assert all(a.end <= b.start for a, b in pairwise(marks))


@pytest.mark.parametrize("make", [file_fixtures.zipped, file_fixtures.tarred])
@given(units=UNITS.map(numbered))
@settings(max_examples=10)
def test_files_of_archives_are_documents(make: Callable, units: list[str]) -> None:
    found = parts(make({f"folder/{i}.md": f"# {u}".encode() for i, u in enumerate(units)}), "a.zip")
    assert [part.text for part in found.values()] == [f"# {unit}" for unit in units]
    for i, name in enumerate(found):
        assert name == f"!/folder/{i}.md"
        assert found[name].metadata["part_of"] == "file:///folder/a.zip"


# -- PDF -----------------------------------------------------------------------------------

LEFT = [f"On the left is line number {i} of the text," for i in range(8)]
RIGHT = [f"and on the right is line number {i} of it." for i in range(8)]


def test_columns_are_read_one_after_the_other() -> None:
    """Also where the file draws them line by line, side by side."""
    lines = [(50.0, 740.0, 14.0, "A title that goes across both of the columns on this page")]
    for i, (left, right) in enumerate(zip(LEFT, RIGHT, strict=True)):
        lines += [(50, 700 - 14 * i, 10, left), (320, 700 - 14 * i, 10, right)]
    text = parse(file_fixtures.pdf([lines]), "a.pdf").text
    assert text.split("\n")[1:] == LEFT + RIGHT
    raw = (
        PdfParser(clean=False, ocr=False)
        .parse(file_fixtures.pdf([lines]), uri="file:///a.pdf")
        .text
    )
    assert raw.index(RIGHT[0]) < raw.index(LEFT[1])


def test_cells_of_a_table_stay_in_their_rows() -> None:
    rows = [
        ("Net sales of products and services", "1,234,567"),
        ("Cost of goods sold", "45,678"),
    ] * 5
    lines = [
        (x, 700 - 14 * i, 10, text)
        for i, row in enumerate(rows)
        for x, text in zip((50, 400), row, strict=True)
    ]
    text = parse(file_fixtures.pdf([lines]), "a.pdf").text
    assert text.split() == " ".join(" ".join(row) for row in rows).split()


def test_words_divided_at_the_end_of_a_line_are_joined() -> None:
    text = (
        "It is an exam-\nple of a well-\nknown rule. A well-known rule is a worst-\ncase rule.\n"
        "The worst case is a case."
    )
    found = parse(file_fixtures.pdf([text]), "a.pdf").text
    assert "an example of a well-known rule" in found
    assert "a worst-case rule" in found


def test_headers_and_footers_stay_where_they_stand_first() -> None:
    pages = [
        f"Annual report of the trust\nText of page {i} is about {word}.\nThe total is {i * 7}\nPage {i + 10} of 15"
        for i, word in enumerate(["rain", "snow", "wind", "hail", "fog"], start=1)
    ]
    document = parse(file_fixtures.pdf(pages), "a.pdf")
    assert document.text.count("Annual report of the trust") == 1
    assert [line for line in document.text.split("\n") if line.startswith("Page")] == [
        "Page 11 of 15"
    ]
    for i, word in enumerate(["rain", "snow", "wind", "hail", "fog"], start=1):
        assert document.location_at(document.text.index(word)) == {"page": i}
        assert f"The total is {i * 7}" in document.text  # a number that says something stays


@pytest.mark.slow
def test_a_scanned_page_is_recognised() -> None:
    """With the models that come with the extra."""
    document = PdfParser(ocr=True).parse(
        file_fixtures.scan("A scan of a letter"), uri="file:///a.pdf"
    )
    assert document.metadata["pages_recognised"] == (1,)
    assert texts(document, "page") == [(1, "A scan of a letter")]
    found = PictureParser(recognise=True).parse(file_fixtures.png("The kettle is green"), uri="u")
    assert "kettle" in found.text


# -- office --------------------------------------------------------------------------------


def test_docx_keeps_tables_and_properties() -> None:
    table = file_fixtures.docx_table([["Name", "Sum"], ["Rent", "1200"]])
    document = parse(
        file_fixtures.docx([("One", "Text.")], title="A letter", extra=table), "a.docx"
    )
    assert "| Name | Sum |\n| --- | --- |\n| Rent | 1200 |" in document.text
    assert (document.title, document.metadata) == (
        "A letter",
        {"author": "Ada", "created": "2024-05-01"},
    )


def test_pptx_has_notes_and_what_stands_higher_comes_first() -> None:
    document = parse(file_fixtures.pptx([("One", "Body")], notes="Say hello"), "a.pptx")
    assert document.text.split("\n\n") == ["# One", "Body", "Notes: Say hello\n"]


def test_rows_of_a_sheet_can_be_read_by_themselves() -> None:
    import datetime

    rows = [
        ["Costs of the year"],
        [],
        ["Item", "Sum", "", "Day"],
        ["Rent", 1200, "x", "2024-01-01"],
        ["Light", 3.5, None, "2024-02-01"],
    ]
    document = parse(
        file_fixtures.xlsx({"Costs": rows, "Secret": [["hidden"]]}, hidden=["Secret"]), "a.xlsx"
    )
    assert texts(document, "row") == [
        (1, "Costs of the year"),
        (3, "Item | Sum | Day"),
        (4, "Item: Rent; Sum: 1200; x; Day: 2024-01-01"),
        (5, "Item: Light; Sum: 3.5; Day: 2024-02-01"),
    ]
    assert "hidden" not in document.text
    (chunk,) = HeadingChunker().split(document, StaticEmbedder())
    assert chunk.location == {"sheet": "Costs", "row": 1}
    assert datetime.date(2024, 1, 1)


def test_a_sheet_with_one_cell_far_away_is_no_danger() -> None:
    document = parse(file_fixtures.xlsx({"S": [["a", "b"], *[[]] * 5_000, ["c", "d"]]}), "a.xlsx")
    assert texts(document, "row")[-1][0] == 5_002


def test_odt_keeps_lists_and_tables() -> None:
    extra = (
        "<text:list><text:list-item><text:p>apples</text:p></text:list-item>"
        "<text:list-item><text:p>pears</text:p></text:list-item></text:list>"
        "<table:table><table:table-row><table:table-cell><text:p>a</text:p></table:table-cell>"
        '<table:table-cell><text:p>b<text:s text:c="2"/>c</text:p></table:table-cell></table:table-row></table:table>'
    )
    document = parse(file_fixtures.odt([("One", "Text.")], title="T", extra=extra), "a.odt")
    assert "- apples\n- pears" in document.text
    assert "| a | b c |" in document.text
    assert document.title == "T"


def test_rtf() -> None:
    assert parse(file_fixtures.rtf(["Größe {x}", "two"]), "a.rtf").text == "Größe {x}\ntwo"


def test_epub_reads_chapters_in_the_order_of_the_book() -> None:
    document = parse(
        file_fixtures.epub([("One", "First."), ("Two", "Second.")], "A book"), "a.epub"
    )
    assert document.text.index("First.") < document.text.index("Second.")
    assert (document.title, document.metadata) == ("A book", {"author": "Ada", "language": "en"})


def test_old_office_files_say_what_to_do() -> None:
    head = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 600
    for stream, message in (
        ("WordDocument", r"save it as \.docx"),
        ("PowerPoint Document", r"save it as \.pptx"),
        ("__substg1.0_0037001F", r"save it as \.eml"),
    ):
        with pytest.raises(UnsupportedFormat, match=message):
            parse(head + stream.encode("utf-16-le"), "a.bin")
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
def test_csv(text: str, lines: list[str]) -> None:
    assert [line for _, line in texts(parse(text, "a.csv"), "row")] == lines


def test_a_row_can_be_a_document() -> None:
    fields = Fields(text="{q}\n{a}", title="q", key="id", metadata=("topic",))
    parser = AutoParser(table=TableParser(per="row", fields=fields))
    data = b"id,q,a,topic,other\n7,Why?,Because.,x,y\n8,How?,,z,y\n7,Again?,No.,x,y\n"
    found = parts(data, "a.csv", parser)
    assert set(found) == {"!/7", "!/8", "!/record 4".replace(" ", "%20")}
    seven = found["!/7"]
    assert (seven.text, seven.title) == ("Why?\nBecause.", "Why?")
    assert (seven.metadata, seven.location_at(0)) == ({"topic": "x"}, {"row": 2})
    assert "same key" in str(found["!/record%204"].error)


def test_json_lines_can_be_documents() -> None:
    parser = AutoParser(jsonl=JsonLinesParser(per="row", fields=Fields(key="n", title="t")))
    found = parts(
        b'{"n": 1, "t": "One", "x": {"y": [1, 2]}}\n{"n": 2, "t": "Two"}\n', "a.jsonl", parser
    )
    assert found["!/1"].text == "x.y: 1, 2"
    assert isinstance(found["!/2"].error, NoText)


@pytest.mark.parametrize("text", ["{}", "{", "{id} {}"])
def test_a_template_that_names_no_field_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        Fields(text=text)


def test_a_field_that_is_missing_is_named() -> None:
    parser = AutoParser(table=TableParser(fields=Fields(text="{nothing}")))
    with pytest.raises(ParseError, match="no field 'nothing'; there are 'a', 'b'"):
        parser.parse(b"a,b\n1,2\n", uri="file:///a.csv")


# -- data ----------------------------------------------------------------------------------


def test_what_is_not_json_is_kept_with_the_reason() -> None:
    document = parse('{"a": 1,', "a.json")
    assert document.text == '{"a": 1,'
    assert "Expecting property name" in str(document.metadata["damage"])


def test_xml_is_read_as_text() -> None:
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


# -- mail ----------------------------------------------------------------------------------


def test_attachments_are_documents_of_their_own() -> None:
    inner = file_fixtures.eml("The inner text.", "Inner", identity="<2@example.org>")
    data = file_fixtures.eml(
        "Dear Bob, see the table.",
        "On tea",
        {
            "costs.csv": b"Name,Sum\nRent,12\n",
            "more.zip": file_fixtures.zipped({"a/b.txt": "Deep."}),
        },
    )
    found = parts(data, "a.eml")
    assert set(found) == {"", "!/costs.csv", "!/more.zip!/a/b.txt"}
    message = found[""]
    assert message.text.startswith("From: Ada <ada@example.org>\nTo: Bob")
    assert "Dear Bob, see the table." in message.text
    assert message.title == "On tea"
    assert message.metadata["date"] == "2024-05-01T10:00:00+00:00"
    assert message.metadata["attachments"] == ("costs.csv", "more.zip")
    assert found["!/costs.csv"].metadata["part_of"] == "file:///folder/a.eml"
    assert found["!/costs.csv"].location_at(20) == {"row": 2}
    assert "Name: Rent" in found["!/costs.csv"].text
    assert found["!/more.zip!/a/b.txt"].text == "Deep."
    assert "The inner text." in parts(inner, "b.eml")[""].text


def test_html_mail_is_read_as_text() -> None:
    document = parse(file_fixtures.eml("", html="<h1>Hello</h1><p>It is <b>hot</b>.</p>"), "a.eml")
    assert "# Hello\n\nIt is **hot**." in document.text


def test_mbox_names_messages_by_their_id() -> None:
    data = file_fixtures.mbox(
        [
            file_fixtures.eml("One."),
            file_fixtures.eml("Two.", identity="<2@x>"),
            file_fixtures.eml("Copy."),
        ]
    )
    found = parts(data, "a.mbox")
    assert set(found) == {"!/1%40example.org", "!/2%40x", "!/1%40example.org~2"}
    assert "Two." in found["!/2%40x"].text


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
def test_symbols(name: str) -> None:
    code, names = CODE[name]
    document = parse(code, name)
    assert document.text == code
    assert [value for value, _ in texts(document, "symbol")] == names
    assert [".".join(value) for value, _ in texts(document, "heading")] == names


def test_a_symbol_has_its_comment_and_decorator() -> None:
    document = parse(CODE["a.py"][0], "a.py")
    (method,) = [text for value, text in texts(document, "symbol") if value == "A.m"]
    assert method.startswith("# about m\n    @staticmethod")
    assert method.endswith('return "é"')


def test_code_is_text_without_the_extra() -> None:
    document = CodeParser(symbols=False).parse(b"def f(): pass", uri="file:///a.py")
    assert (document.marks, document.metadata) == ((), {"code_language": "python"})


def test_a_notebook_has_code_and_what_it_printed() -> None:
    document = parse(
        file_fixtures.ipynb([("markdown", "# Title"), ("code", "print('x')")]), "a.ipynb"
    )
    assert "```python\nprint('x')\n```\n\n```\nprinted\n```" in document.text
    assert (document.title, document.metadata["code_language"]) == ("Title", "python")


def test_subtitles_say_when() -> None:
    data = "WEBVTT\n\n00:01:02.500 --> 00:01:04.000\n<v Ada>Hello\nthere</v>\n"
    document = parse(data, "a.vtt")
    assert document.location_at(0) == {"time": 62.5}
    assert "Hello there" in document.text


def test_rst_runs_no_directive(tmp_path: object) -> None:
    text = "Title\n=====\n\n.. include:: /etc/passwd\n\n.. raw:: html\n   :file: /etc/passwd\n\nSub\n---\n\nEnd.\n"
    document = parse(text, "a.rst")
    assert document.text == text
    assert [value for value, _ in texts(document, "heading")] == [("Title",), ("Title", "Sub")]


# -- what is packed ------------------------------------------------------------------------


def test_a_compressed_file_is_its_contents() -> None:
    found = parts(gzip.compress(b"# Title\n"), "a.md.gz")
    assert found["!/a.md"].mime == "text/markdown"


def test_hidden_and_odd_names() -> None:
    data = file_fixtures.zipped(
        {".git/x": "a", "__MACOSX/b": "b", "../../up.txt": "c", "ü?.txt": "d"}
    )
    assert set(parts(data, "a.zip")) == {"!/up.txt", "!/%C3%BC%3F.txt"}
    assert set(parts(file_fixtures.tarred({"./a.txt": b"x"}), "a.tar.gz")) == {"!/a.txt"}


def test_two_members_of_one_name() -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive, pytest.warns(UserWarning):
        archive.writestr("a.txt", "one")
        archive.writestr("a.txt", "two")
    assert [part.text for part in parts(out.getvalue(), "a.zip").values()] == ["one", "two"]


def test_a_bad_member_costs_itself() -> None:
    found = parts(
        file_fixtures.zipped({"a.txt": "fine", "b.txt": b"", "c.bin": bytes(range(256))}), "a.zip"
    )
    assert found["!/a.txt"].text == "fine"
    assert isinstance(found["!/b.txt"].error, NoText)
    assert isinstance(found["!/c.bin"].error, ParseError)


def test_an_empty_archive_says_so() -> None:
    with pytest.raises(NoText, match="without any file"):
        parts(file_fixtures.zipped({}), "a.zip")


def test_archives_in_archives_end_somewhere() -> None:
    data = b"text"
    for i in range(8):
        data = file_fixtures.zipped({f"{i}.zip" if i else "a.txt": data})
    (found,) = parts(data, "a.zip").values()
    assert "more than 4 archives in one another" in str(found.error)


def test_a_zip_that_is_cut_short_is_not_another_one() -> None:
    """The end of an archive that is stored in it is not its own."""
    inner, outer = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr("in.txt", "nested")
    with zipfile.ZipFile(outer, "w") as archive:
        archive.writestr("a.txt", "one")
        archive.writestr("n.zip", inner.getvalue())
    for cut in (30, 60, 200):
        with pytest.raises(ParseError, match="damaged"):
            parts(outer.getvalue()[:-cut], "a.zip")


def test_a_zip_may_have_a_member_called_mimetype() -> None:
    found = parts(file_fixtures.zipped({"mimetype": "x/y", "a.txt": "one"}), "a.zip")
    assert found["!/a.txt"].text == "one"


def test_many_members_of_one_name_take_linear_time() -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive, pytest.warns(UserWarning):
        for _ in range(3_000):
            archive.writestr("a.txt", "one")
    found = parts(out.getvalue(), "a.zip")
    assert len(found) == 3_000
    assert max(map(len, found)) < 20


# -- found by trying to break it -----------------------------------------------------------


def test_sentences_do_not_go_from_row_to_row() -> None:
    from rag.text.sentences import sentences

    document = parse("city,population\nparis,200\nrome,400\n", "a.csv")
    found = [document.text[a:b] for a, b in sentences(document.text)]
    assert "city: rome; population: 400" in found


def test_mail_with_text_behind_a_picture() -> None:
    data = (
        b"From: a@x\nSubject: S\nContent-Type: multipart/mixed; boundary=B\n\n"
        b"--B\nContent-Type: text/plain\n\nFirst.\n"
        b"--B\nContent-Type: image/png\nContent-Disposition: inline; filename=a.png\n\nx\n"
        b"--B\nContent-Type: text/html\n\n<p>The deadline is <b>Friday</b>.</p>\n"
        b"--B\nContent-Type: text/plain\nContent-Disposition: inline; filename=notes.txt\n\nNotes.\n"
        b"--B\nContent-Type: text/calendar\n\nBEGIN:VCALENDAR\n--B--\n"
    )
    found = parts(data, "a.eml")
    assert "First.\n\nThe deadline is **Friday**." in found[""].text
    assert found["!/notes.txt"].text.strip() == "Notes."
    assert len(found) == 3


def test_mail_that_is_one_file() -> None:
    data = (
        b"From: a@x\nSubject: S\nContent-Type: text/html; name=a.html\n"
        b"Content-Disposition: attachment; filename=a.html\n\n<p>It is all in here.</p>\n"
    )
    found = parts(data, "a.eml")
    assert "It is all in here." in found["!/a.html"].text


def test_a_line_that_begins_with_from_is_text() -> None:
    body = "Dear Bob,\n\nFrom what I know this line is text.\n"
    data = file_fixtures.mbox(
        [file_fixtures.eml(body), file_fixtures.eml(">From quoted.", identity="<2@x>")]
    )
    data = data.replace(b">From quoted", b">>From quoted")
    found = parts(data, "a.mbox")
    assert len(found) == 2
    assert "From what I know" in found["!/1%40example.org"].text
    assert "\n>From quoted." in found["!/2%40x"].text
    with pytest.raises(NoText):
        parts(b"no mailbox at all", "a.mbox")


def test_xml_keeps_what_stands_behind_an_entity() -> None:
    data = "<d><p>Price&nbsp;is 100 of <b>X</b> tail</p></d>"
    assert "Price is 100 of X tail" in parse(data, "a.xml").text
    data = "<!DOCTYPE d [<!ENTITY co 'x'>]><d><p>by &co; of <b>X</b> tail</p></d>"
    assert "of X tail" in parse(data, "a.xml").text
    deep = "<a>" * 400 + "deep" + "</a>" * 400
    assert "deep" in parse(deep, "a.xml").text
    long = "<d><p>" + "word " * 2_500_000 + "</p><p>the end</p></d>"
    assert parse(long, "a.xml").text.endswith("p: the end\n")
    assert "damage" in parse("<d><p>one</p><p>two", "a.xml").metadata


def test_json_is_kept_as_it_is_written() -> None:
    data = '{"id": 12345678901234567890.12, "p": 1.10, "p": "caf\\u00e9", "q": {"r": [], "s": {}}}'
    document = parse(data, "a.json")
    assert '"id": 12345678901234567890.12,\n  "p": 1.10,\n  "p": "café"' in document.text
    assert [value for value, _ in texts(document, "heading")] == [("id",), ("p",), ("p",), ("q",)]
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
def test_json_means_the_same_when_it_is_indented(value: object) -> None:
    data = json.dumps({"a": value})
    document = parse(data, "a.json")
    assert repr(json.loads(document.text)) == repr(json.loads(data))


def test_a_bad_line_of_json_lines_is_text() -> None:
    document = parse('{"a": 1}\n{"b": \n{"c": 3}\n', "a.jsonl")
    assert texts(document, "row") == [(1, "a: 1"), (2, 'value: {"b":'), (3, "c: 3")]


def test_docx_keeps_fields_and_equations() -> None:
    m = 'xmlns:m="http://schemas.openxmlformats.org/officeDocument/2006/math"'
    extra = (
        '<w:p><w:r><w:t xml:space="preserve">See </w:t></w:r><w:fldSimple w:instr="REF x"><w:r><w:t>'
        f"page 7</w:t></w:r></w:fldSimple></w:p><w:p><m:oMath {m}><m:r><m:t>a+b</m:t></m:r></m:oMath></w:p>"
        f"<w:p><m:oMathPara {m}><m:oMath><m:r><m:t>c=d</m:t></m:r></m:oMath></m:oMathPara></w:p>"
    )
    text = parse(file_fixtures.docx([("One", "Text.")], extra=extra), "a.docx").text
    assert "See page 7" in text and "a+b" in text and "c=d" in text


def test_hidden_sheets_are_named() -> None:
    data = file_fixtures.xlsx({"A": [["x", "y"]], "B": [["secret", "z"]]}, hidden=["B"])
    assert parse(data, "a.xlsx").metadata["hidden_sheets"] == ("B",)


def test_webvtt_speakers_and_signs() -> None:
    data = (
        "WEBVTT\n\n00:01.000 --> 00:03.000\n<v Roger>Tom &amp; Jerry <00:02.000>late <i>now</i>\n"
    )
    assert parse(data, "a.vtt").text == "Roger: Tom & Jerry late now\n"


def test_a_short_page_keeps_its_table_and_not_its_menu() -> None:
    data = "<html><body><nav>menu</nav><table><tr><th>a</th><th>b</th></tr><tr><td>1</td><td>2</td></tr></table></body></html>"
    document = parse(data, "a.html")
    assert "menu" not in document.text
    assert "1" in document.text


def test_odt_boxes_and_repeated_cells() -> None:
    extra = (
        "<text:p><draw:frame><draw:text-box><text:p>in a box</text:p></draw:text-box></draw:frame>after</text:p>"
        '<table:table><table:table-row><table:table-cell table:number-columns-repeated="2"><text:p>x</text:p></table:table-cell>'
        "</table:table-row></table:table>"
    )
    text = parse(file_fixtures.odt([("One", "Text.")], extra=extra), "a.odt").text
    assert "in a box\n" in text and "after" in text
    assert "| x | x |" in text


def test_the_separator_that_excel_writes() -> None:
    document = parse("sep=;\na;b\n1;2\n", "a.csv")
    assert texts(document, "row") == [(2, "a | b"), (3, "a: 1; b: 2")]


def test_titles_that_count_with_the_pages_stay() -> None:
    pages = [f"Invoice {i}\nTo be paid for {word}" for i, word in enumerate("abcdef", start=1)]
    text = parse(file_fixtures.pdf(pages), "a.pdf").text
    assert all(f"Invoice {i}" in text for i in range(1, 7))


def test_rst_headings_behind_a_form_feed() -> None:
    text = "Title\n=====\n\none\f\n\f\nSecond\n======\n\ntwo\n"
    found = texts(parse(text, "a.rst"), "heading")
    assert found == [(("Title",), "Title\n=====\n\none"), (("Second",), "Second\n======\n\ntwo")]


def test_keys_that_look_like_failures() -> None:
    parser = AutoParser(table=TableParser(per="row", fields=Fields(key="k")))
    data = b"k,v\n,x\nrecord 2,y\n/a,z\na,w\n"
    found = ParserPool(parser, 0).parse(data, uri="file:///a.csv", mime=None)
    assert sum(isinstance(part, Document) for part in found) == 2
    assert len({part.uri for part in found}) == len(found) == 4


def test_what_looks_like_markdown_in_a_document_is_text() -> None:
    table = file_fixtures.docx_table([["a|b", "c"], ["1", "2"]])
    document = parse(
        file_fixtures.docx([("One", "# no heading"), ("Two", "x")], extra=table), "a.docx"
    )
    assert [value for value, _ in texts(document, "heading")] == [("One",), ("Two",)]
    assert "\\# no heading" in document.text
    assert "| a\\|b | c |" in document.text


def test_rtf_title() -> None:
    data = file_fixtures.rtf(["Text."]).replace(
        b"{\\fonttbl", b"{\\info{\\title A letter}}{\\fonttbl"
    )
    assert parse(data, "a.rtf").title == "A letter"


def test_names_that_are_made_up_may_be_taken() -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive, pytest.warns(UserWarning):
        for name in ("a.txt", "a.txt", "a.txt~2", "a.txt"):
            archive.writestr(name, "one")
    assert len(parts(out.getvalue(), "a.zip")) == 4


@pytest.mark.parametrize(
    "line", ["From a@b", "From a@b Mon, 01 Jan 2024 00:00:00 GMT", "From a@b 2024-01-01T00:00:00Z"]
)
def test_mailboxes_with_other_dates(line: str) -> None:
    data = f"{line}\nSubject: One\n\nFirst.\n\n{line}\nSubject: Two\n\nSecond.\n".encode()
    assert [part.title for part in parts(data, "a.mbox").values()] == ["One", "Two"]


def test_alternatives_of_which_the_plain_one_is_empty() -> None:
    head = b"From: a@x\nSubject: S\nContent-Type: multipart/alternative; boundary=B\n\n"
    html, plain = (
        b"--B\nContent-Type: text/html\n\n<p>THE BODY</p>\n",
        b"--B\nContent-Type: text/plain\n\n\n",
    )
    for data in (head + html + plain + b"--B--\n", head + plain + html + b"--B--\n"):
        assert "THE BODY" in parse(data, "a.eml").text


def test_a_damaged_picture_does_not_cost_the_document() -> None:
    extra = '<w:p><w:fldSimple w:instr="REF x"><w:r><w:t>page 7</w:t></w:r></w:fldSimple></w:p>'
    with zipfile.ZipFile(io.BytesIO(file_fixtures.docx([("One", "Text.")], extra=extra))) as good:
        files = {name: good.read(name) for name in good.namelist()}
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, body in {**files, "word/media/a.png": b"PICTURE-PICTURE"}.items():
            archive.writestr(name, body)
    data = out.getvalue().replace(b"PICTURE-PICTURE", b"PICTURE-DAMAGED")
    assert "page 7" in parse(data, "a.docx").text
