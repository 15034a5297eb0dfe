"""Word documents: headings, numbers, text boxes, hidden and deleted text, comments, charts."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Mapping
from xml.sax.saxutils import escape

import pytest

from connectors.parsers.docx_numbering import format_count
from connectors.parsers.office import DocxParser
from rag import Document
from rag.errors import SourceError
from tests.connectors import file_fixtures
from tests.connectors.damage import damage, damage_member
from tests.connectors.parsing import PARSER, list_marked_texts, parse

_OFFICE = "http://schemas.openxmlformats.org"
_NAMESPACES = (
    f'xmlns:w="{_OFFICE}/wordprocessingml/2006/main" '
    f'xmlns:r="{_OFFICE}/officeDocument/2006/relationships" '
    f'xmlns:a="{_OFFICE}/drawingml/2006/main" '
    f'xmlns:c="{_OFFICE}/drawingml/2006/chart" '
    f'xmlns:dgm="{_OFFICE}/drawingml/2006/diagram" '
    f'xmlns:mc="{_OFFICE}/markup-compatibility/2006" '
    f'xmlns:m="{_OFFICE}/officeDocument/2006/math" '
    'xmlns:wps="http://schemas.microsoft.com/office/word/2010/wordprocessingShape" '
    'xmlns:v="urn:schemas-microsoft-com:vml"'
)
_BODY_TEXT = "The boiler is serviced once a year by a person who knows how to do it."


def make_word_file(
    body: str,
    styles: str = "",
    numbering: str = "",
    parts: Mapping[str, tuple[str, str]] | None = None,
) -> bytes:
    """Make a document; `parts` has by file name the kind of the relationship and the XML."""
    all_parts = {
        "styles.xml": ("styles", f"<w:styles {_NAMESPACES}>{styles}</w:styles>"),
        "numbering.xml": ("numbering", f"<w:numbering {_NAMESPACES}>{numbering}</w:numbering>"),
        **(parts or {}),
    }
    relationships = "".join(
        f'<Relationship Id="{name}" Target="{name}" '
        f'Type="{_OFFICE}/officeDocument/2006/relationships/{kind}"/>'
        for name, (kind, _) in all_parts.items()
    )
    files = {
        "[Content_Types].xml": "<Types/>",
        "word/_rels/document.xml.rels": f"<Relationships>{relationships}</Relationships>",
        "word/document.xml": f"<w:document {_NAMESPACES}><w:body>{body}</w:body></w:document>",
        **{f"word/{name}": xml for name, (_, xml) in all_parts.items()},
    }
    return file_fixtures.make_zip(files)


def make_run(text: str, properties: str = "") -> str:
    return f'<w:r><w:rPr>{properties}</w:rPr><w:t xml:space="preserve">{escape(text)}</w:t></w:r>'


def make_paragraph(text: str = "", style: str = "", properties: str = "", run: str = "") -> str:
    style = f'<w:pStyle w:val="{style}"/>' if style else ""
    content = make_run(text, run) if text else ""
    return f"<w:p><w:pPr>{style}{properties}</w:pPr>{content}</w:p>"


def make_style(style_id: str, name: str, parent: str = "", properties: str = "") -> str:
    parent = f'<w:basedOn w:val="{parent}"/>' if parent else ""
    return (
        f'<w:style w:type="paragraph" w:styleId="{style_id}"><w:name w:val="{name}"/>{parent}'
        f"{properties}</w:style>"
    )


def make_level(number: int, number_format: str, text: str, extra: str = "", start: int = 1) -> str:
    return (
        f'<w:lvl w:ilvl="{number}"><w:start w:val="{start}"/><w:numFmt w:val="{number_format}"/>'
        f'{extra}<w:lvlText w:val="{text}"/></w:lvl>'
    )


def make_list(list_id: int, levels: str, overrides: str = "", definition: int | None = None) -> str:
    """Make a list and its definition, or a list with an earlier definition."""
    definition_id = list_id if definition is None else definition
    own = f'<w:abstractNum w:abstractNumId="{list_id}">{levels}</w:abstractNum>'
    return (own if definition is None else "") + (
        f'<w:num w:numId="{list_id}"><w:abstractNumId w:val="{definition_id}"/>{overrides}</w:num>'
    )


def make_item(text: str, list_id: int, level: int = 0, style: str = "") -> str:
    numbering = f'<w:numPr><w:ilvl w:val="{level}"/><w:numId w:val="{list_id}"/></w:numPr>'
    return make_paragraph(text, style, numbering)


def list_headings(document: Document) -> list[object]:
    return [mark.value for mark in document.marks if mark.kind == "heading"]


def list_omissions(document: Document) -> list[tuple[str, str, int]]:
    assert document.coverage is not None
    return [(o.reason, o.name, o.words) for o in document.coverage.omissions]


# -- Headings ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("style_id", "styles"),
    [
        ("S", make_style("S", "Kapitel", properties='<w:pPr><w:outlineLvl w:val="1"/></w:pPr>')),
        ("S", make_style("S", "Own") + make_style("S2", "x")),
        ("S", make_style("S", "Own", "H2") + make_style("H2", "heading 2")),
        *(
            ("S", make_style("S", name))
            for name in (
                "Überschrift 2",
                "Titre 2",
                "Rubrik 2",
                "Заголовок 2",
                "标题 2",
                "見出し 2",
            )
        ),
        ("Heading2", ""),
        ("berschrift2", ""),
        ("A", make_style("A", "Own", "B") + make_style("B", "Other", "A")),
    ],
)
def test_outline_levels_of_styles_make_headings(style_id: str, styles: str) -> None:
    body = make_paragraph("Scope", style_id) + make_paragraph(_BODY_TEXT)
    document = parse(make_word_file(body, styles), "a.docx")
    is_plain = "Own" in styles and "heading" not in styles
    assert document.text.startswith("Scope" if is_plain else "## Scope")
    assert list_headings(document) == ([] if is_plain else [("Scope",)])


def test_outline_level_of_a_paragraph_takes_precedence() -> None:
    level = '<w:outlineLvl w:val="{}"/>'
    styles = make_style("H1", "heading 1") + make_style("TOC1", "toc 1", "H1")
    body = (
        make_paragraph("Deep", "H1", level.format(7))
        + make_paragraph("Body", "H1", level.format(9))
        + make_paragraph("Contents line", "TOC1")
        + make_paragraph("Direct", properties=level.format(0))
    )
    lines = parse(make_word_file(body, styles), "a.docx").text.split("\n\n")
    assert lines == ["###### Deep", "Body", "Contents line", "# Direct"]


def test_title_is_a_heading_and_the_title_of_the_document() -> None:
    styles = (
        make_style("T", "Title") + make_style("Own", "Own", "T") + make_style("H1", "heading 1")
    )
    body = make_paragraph("Annual report 2025", "Own") + make_paragraph("Results", "H1")
    document = parse(make_word_file(body, styles), "a.docx")
    assert document.title == "Annual report 2025"
    assert document.text == "# Annual report 2025\n\n# Results"


def test_long_paragraph_in_a_heading_style_is_text() -> None:
    styles = make_style("H1", "heading 1")
    document = parse(make_word_file(make_paragraph("word " * 60, "H1"), styles), "a.docx")
    assert document.text.startswith("word") and list_headings(document) == []


def test_large_and_numbered_bold_lines_are_headings() -> None:
    bold, large = "<w:b/>", '<w:b/><w:sz w:val="36"/>'
    body = (
        make_paragraph("Company rules", run=large)
        + make_paragraph("1. Leave", run=bold)
        + make_paragraph(_BODY_TEXT)
        + make_paragraph("1.1 Notice", run=bold)
        + make_paragraph(_BODY_TEXT)
        + make_paragraph("§ 4 Absence", run=bold)
        + make_paragraph(_BODY_TEXT)
    )
    document = parse(make_word_file(body), "a.docx")
    assert list_headings(document) == [
        ("Company rules",),
        ("Company rules", "1. Leave"),
        ("Company rules", "1. Leave", "1.1 Notice"),
        ("Company rules", "§ 4 Absence"),
    ]
    assert "## 1. Leave" in document.text.splitlines()


def test_bold_line_with_a_number_and_a_tab() -> None:
    line = make_paragraph("1.TAB Leave", run="<w:b/>").replace("TAB", "</w:t><w:tab/><w:t>")
    other = make_paragraph("AnnTAB 4", run="<w:b/>").replace("TAB", "</w:t><w:tab/><w:t>")
    text = make_paragraph(_BODY_TEXT)
    document = parse(make_word_file(line + text + other + text), "a.docx")
    assert list_headings(document) == [("1. Leave",)]


def test_bold_items_of_lists_are_headings_if_text_follows() -> None:
    numbering = make_list(1, make_level(0, "decimal", "%1.") + make_level(1, "decimal", "%1.%2"))
    bold = make_item("Leave", 1).replace("<w:rPr>", "<w:rPr><w:b/>")
    text = make_paragraph(_BODY_TEXT)
    document = parse(
        make_word_file(bold + text + bold + bold + text, numbering=numbering), "a.docx"
    )
    assert list_headings(document) == [("1. Leave",), ("3. Leave",)]
    assert "2. **Leave**" in document.text


def test_bold_by_style_and_below_the_heading_before_it() -> None:
    styles = make_style("H2", "heading 2") + make_style(
        "B", "Strong line", properties='<w:rPr><w:b/><w:sz w:val="30"/></w:rPr>'
    )
    body = make_paragraph("Rules", "H2", run='<w:sz w:val="40"/>') + make_paragraph("Sub", "B")
    text = parse(make_word_file(body + make_paragraph(_BODY_TEXT), styles), "a.docx").text
    assert text.startswith("## Rules\n\n### Sub\n\n")


@pytest.mark.parametrize(
    "line",
    [
        "WARNING: hot surface",
        "Total 45 euros",
        "Never open it.",
        "Stop",
        "3.5 million euros",
        "x" * 101,
    ],
)
def test_bold_emphasis_in_a_document_with_headings_is_text(line: str) -> None:
    body = (
        make_paragraph("Manual", "Heading1")
        + make_paragraph(line, run="<w:b/>")
        + make_paragraph(_BODY_TEXT)
    )
    document = parse(make_word_file(body), "a.docx")
    assert list_headings(document) == [("Manual",)]
    assert f"**{line}**" in document.text


def test_bold_line_alone_is_a_heading_without_other_headings() -> None:
    line = make_paragraph("Opening hours", run="<w:b/>")
    text = make_paragraph(_BODY_TEXT)
    assert list_headings(parse(make_word_file(text + line + text), "a.docx")) == [
        ("Opening hours",)
    ]
    for other in ("Total 45 euros", "WARNING: hot surface", "Partly bold"):
        run = "" if other == "Partly bold" else "<w:b/>"
        body = text + make_paragraph(other, run=run) + text
        assert list_headings(parse(make_word_file(body), "a.docx")) == []
    table = f"<w:tbl><w:tr><w:tc>{line}</w:tc><w:tc>{text}</w:tc></w:tr></w:tbl>"
    assert list_headings(parse(make_word_file(table + text), "a.docx")) == []


# -- Numbers -------------------------------------------------------------------------------

_LEGAL = make_list(
    1,
    make_level(0, "decimal", "%1", '<w:pStyle w:val="Heading1"/>')
    + make_level(1, "decimal", "%1.%2", '<w:pStyle w:val="Heading2"/>'),
)


def test_numbers_of_headings_are_part_of_them() -> None:
    numbered = '<w:pPr><w:numPr><w:numId w:val="1"/></w:numPr></w:pPr>'
    styles = make_style("Heading1", "heading 1", properties=numbered)
    styles += make_style("Heading2", "heading 2", properties=numbered)
    lines = [("Terms", 1), ("Fees", 1), ("Monthly", 2), ("Late", 2), ("End", 1), ("By you", 2)]
    body = "".join(make_paragraph(text, f"Heading{level}") for text, level in lines)
    text = parse(make_word_file(body, styles, _LEGAL), "a.docx").text
    assert text.split("\n\n") == [
        "# 1 Terms", "# 2 Fees", "## 2.1 Monthly", "## 2.2 Late", "# 3 End", "## 3.1 By you",
    ]  # fmt: skip


def test_labels_of_lists_are_as_seen() -> None:
    levels = make_level(0, "decimal", "%1.") + make_level(1, "lowerLetter", "(%2)")
    levels += make_level(2, "lowerRoman", "%3.") + make_level(3, "bullet", "x")
    items = [("Animals", 0), ("dog", 1), ("cat", 1), ("old", 2), ("grey", 3), ("Plants", 0)]
    body = "".join(make_item(text, 1, level) for text, level in items)
    body += make_paragraph("Between.") + make_item("Stones", 1) + make_item("flint", 1, 1)
    text = parse(make_word_file(body, numbering=make_list(1, levels)), "a.docx").text
    assert text.splitlines() == [
        "1. Animals",
        "   (a) dog",
        "   (b) cat",
        "      i. old",
        "         - grey",
        "2. Plants",
        "",
        "Between.",
        "",
        "3. Stones",
        "   (a) flint",
    ]


def test_numbers_restart_and_start_as_the_list_says() -> None:
    never = make_level(1, "decimal", "%1.%2.", '<w:lvlRestart w:val="0"/>')
    override = '<w:lvlOverride w:ilvl="0"><w:startOverride w:val="7"/></w:lvlOverride>'
    numbering = make_list(1, make_level(0, "upperRoman", "%1.", start=3) + never)
    numbering += make_list(2, "", override, definition=1) + make_list(3, "", definition=1)
    items = [
        ("a", 1, 0),
        ("b", 1, 1),
        ("c", 1, 0),
        ("d", 1, 1),
        ("e", 2, 0),
        ("f", 3, 0),
        ("g", 2, 0),
    ]
    body = "".join(make_item(*item) for item in items)
    text = parse(make_word_file(body, numbering=numbering), "a.docx").text
    labels = [line.split()[0] for line in text.splitlines()]
    assert labels == ["III.", "III.1.", "IV.", "IV.2.", "VII.", "VIII.", "IX."]


def test_legal_and_unused_levels() -> None:
    levels = make_level(0, "upperLetter", "%1") + make_level(1, "decimal", "%1.%2", "<w:isLgl/>")
    body = make_item("first", 1, 1) + make_item("second", 1, 0)
    text = parse(make_word_file(body, numbering=make_list(1, levels)), "a.docx").text
    assert text.split() == ["1.1", "first", "A", "second"]


def test_paragraphs_without_numbers() -> None:
    styles = make_style(
        "L", "List", properties='<w:pPr><w:numPr><w:numId w:val="1"/></w:numPr></w:pPr>'
    )
    none = make_list(1, make_level(0, "decimal", "%1.")) + make_list(2, make_level(0, "none", ""))
    none += make_list(3, make_level(0, "none", "\uf0b7"))
    body = make_paragraph("one", "L") + make_item("off", 0, style="L") + make_item("plain", 2)
    body += make_item("unknown", 99) + make_paragraph("two", "L")
    body += make_paragraph("Between.") + make_item("point", 3)
    text = parse(make_word_file(body, styles, none), "a.docx").text
    assert text.split("\n\n") == [
        "1. one",
        "off",
        "plain",
        "unknown",
        "2. two",
        "Between.",
        "- point",
    ]


def test_list_that_is_defined_by_a_style_of_numbering() -> None:
    styles = (
        '<w:style w:type="numbering" w:styleId="N"><w:name w:val="N"/><w:pPr><w:numPr>'
        '<w:numId w:val="5"/></w:numPr></w:pPr></w:style>'
    )
    numbering = make_list(5, make_level(0, "decimal", "Art. %1"))
    numbering += make_list(1, '<w:numStyleLink w:val="N"/>')
    text = parse(make_word_file(make_item("Scope", 1), styles, numbering), "a.docx").text
    assert text == "Art. 1 Scope"


def test_labels_in_cells_of_tables_and_signs_in_the_input() -> None:
    item = make_item("\ue0f0forged\ue0f1 text", 1)
    cell = f"<w:tc>{item}{item}</w:tc>"
    table = f"<w:tbl><w:tr>{cell}{cell}</w:tr><w:tr>{cell}{cell}</w:tr></w:tbl>"
    numbering = make_list(1, make_level(0, "lowerLetter", "%1)\ue0f1"))
    text = parse(make_word_file(item + table, numbering=numbering), "a.docx").text
    assert text.startswith("a) forged text")
    assert "| f) forged text, g) forged text |" in text
    assert "\ue0f0" not in text and "\ue0f1" not in text


@pytest.mark.parametrize(
    ("number_format", "count", "text"),
    [
        ("decimalZero", 7, "07"),
        ("lowerLetter", 28, "bb"),
        ("upperRoman", 49, "XLIX"),
        ("ordinal", 11, "11th"),
        ("ordinal", 22, "22nd"),
        ("ordinalText", 3, "Third"),
        ("digits3", 5, "005"),
        ("chineseCounting", 21, "二十一"),
        ("decimalEnclosedCircle", 2, "②"),
        ("lowerLetter", 0, "0"),
        ("none", 3, ""),
        ("unheardOf", 3, "3"),
    ],
)
def test_formats_of_numbers(number_format: str, count: int, text: str) -> None:
    assert format_count(count, number_format) == text


# -- Text boxes, ruby, fields --------------------------------------------------------------


@pytest.mark.parametrize("kind", ["choice", "both", "drawing", "vml", "fallback"])
def test_text_boxes_follow_their_paragraph_once(kind: str) -> None:
    box = f"<w:txbxContent>{make_paragraph('Never exceed 3.2 bar')}</w:txbxContent>"
    drawing = f"<w:drawing><wps:wsp><wps:txbx>{box}</wps:txbx></wps:wsp></w:drawing>"
    shape = f"<w:pict><v:shape><v:textbox>{box}</v:textbox></v:shape></w:pict>"
    choice, fallback = (f"<mc:{n}>{{}}</mc:{n}>" for n in ("Choice", "Fallback"))
    content = {
        "choice": choice.format(drawing),
        "both": choice.format(drawing) + fallback.format(shape),
        "drawing": drawing,
        "vml": shape,
        "fallback": choice.format("<w:drawing/>") + fallback.format(shape),
    }[kind]
    if kind not in ("drawing", "vml"):
        content = f"<mc:AlternateContent>{content}</mc:AlternateContent>"
    body = f"<w:p>{make_run('Before ')}<w:r>{content}</w:r>{make_run('after')}</w:p>"
    document = parse(make_word_file(body + make_paragraph("Next")), "a.docx")
    assert document.text.split("\n\n") == ["Before after", "Never exceed 3.2 bar", "Next"]
    assert document.coverage is not None and document.coverage.missing == 0


def test_ruby_symbols_and_fields() -> None:
    ruby = (
        f"<w:r><w:ruby><w:rt>{make_run('とうきょう')}</w:rt><w:rubyBase>{make_run('東京')}"
        "</w:rubyBase></w:ruby></w:r>"
    )
    sign = '<w:r><w:fldChar w:fldCharType="{}"/></w:r>'
    field = sign.format("begin") + make_run("x = 1") + sign.format("separate")
    field += make_run("result") + sign.format("end")
    box = (
        '<w:r><w:fldChar w:fldCharType="begin"><w:ffData><w:checkBox><w:checked/></w:checkBox>'
        f"</w:ffData></w:fldChar></w:r>{sign.format('end')}"
    )
    body = f"<w:p>{ruby}</w:p><w:p>{field}{make_run(' after')}</w:p><w:p>{box}{make_run('Agreed')}</w:p>"
    document = parse(make_word_file(body), "a.docx")
    assert document.text.split("\n\n") == ["東京", "result after", "☒ Agreed"]
    assert ("hidden", "field code", 2) in list_omissions(document)


def test_charts_and_diagrams_follow_their_paragraph() -> None:
    series = "".join(
        f"<c:ser><c:tx><c:v>{name}</c:v></c:tx><c:cat><c:strCache><c:pt idx='0'><c:v>Q1</c:v></c:pt>"
        f"</c:strCache></c:cat><c:val><c:numCache><c:pt idx='0'><c:v>{value}</c:v></c:pt>"
        "</c:numCache></c:val></c:ser>"
        for name, value in (("North", "1234567"), ("South", "0.1"))
    )
    title = (
        "<c:title><c:tx><c:rich><a:p><a:r><a:t>Sales</a:t></a:r></a:p></c:rich></c:tx></c:title>"
    )
    chart = (
        f"<c:chartSpace {_NAMESPACES}><c:chart>{title}<c:plotArea><c:barChart>{series}</c:barChart>"
        "</c:plotArea></c:chart></c:chartSpace>"
    )
    points = "".join(
        f"<dgm:pt><dgm:t><a:p><a:r><a:t>{text}</a:t></a:r></a:p></dgm:t></dgm:pt>"
        for text in ("Plan", "Build")
    )
    diagram = f"<dgm:dataModel {_NAMESPACES}><dgm:ptLst>{points}</dgm:ptLst></dgm:dataModel>"
    body = (
        '<w:p><w:r><w:t>See</w:t><w:drawing><c:chart r:id="c.xml"/></w:drawing></w:r></w:p>'
        '<w:p><w:r><w:t>And</w:t><w:drawing><dgm:relIds r:dm="d.xml"/></w:drawing></w:r></w:p>'
    )
    parts = {"c.xml": ("chart", chart), "d.xml": ("diagramData", diagram)}
    document = parse(make_word_file(body, parts=parts), "a.docx")
    assert document.text.splitlines() == [
        "See",
        "",
        "Sales",
        "",
        "|  | North | South |",
        "| --- | --- | --- |",
        "| Q1 | 1234567 | 0.1 |",
        "",
        "And",
        "",
        "- Plan",
        "- Build",
    ]
    assert document.coverage is not None and document.coverage.missing == 0


def test_first_row_of_the_table_of_a_chart_is_its_header() -> None:
    values = "".join(
        f"<c:{tag}><c:pt idx='0'><c:v>{value}</c:v></c:pt></c:{tag}>"
        for tag, value in (("cat", "2023"), ("val", "12"))
    )
    chart = (
        f"<c:chartSpace {_NAMESPACES}><c:chart><c:plotArea><c:pieChart><c:ser>"
        f"<c:tx><c:v>2024</c:v></c:tx>{values}</c:ser></c:pieChart></c:plotArea></c:chart></c:chartSpace>"
    )
    body = '<w:p><w:r><w:drawing><c:chart r:id="c.xml"/></w:drawing></w:r></w:p>'
    document = parse(make_word_file(body, parts={"c.xml": ("chart", chart)}), "a.docx")
    assert document.text == "|  | 2024 |\n| --- | --- |\n| 2023 | 12 |"


# -- Hidden and deleted text, comments -----------------------------------------------------


def test_hidden_text_is_left_out_and_named() -> None:
    hiding = "<w:rPr><w:vanish/></w:rPr>"
    styles = make_style("P", "Internal", properties=hiding)
    styles += f'<w:style w:type="character" w:styleId="C"><w:name w:val="C"/>{hiding}</w:style>'
    shown = '<w:vanish w:val="0"/>'
    body = (
        f"<w:p>{make_run('Price 100. ')}{make_run('Margin 40.', '<w:vanish/>')}{make_run(' End.')}</w:p>"
        f"<w:p>{make_run('Seen')}{make_run(' unseen', '<w:rStyle w:val=chr34Cchr34/>')}</w:p>"
        f"{make_paragraph('A secret', 'P')}{make_paragraph('No secret', 'P', run=shown)}"
        f"{make_paragraph('On the web', run='<w:webHidden/><w:specVanish/>')}"
        f"<w:tbl><w:tr><w:trPr><w:hidden/></w:trPr><w:tc>{make_paragraph('row x')}</w:tc></w:tr>"
        f"<w:tr><w:tc>{make_paragraph('row y')}</w:tc></w:tr></w:tbl>"
    ).replace("chr34", '"')
    data = make_word_file(body, styles)
    document = parse(data, "a.docx")
    assert document.text.split("\n\n") == [
        "Price 100.  End.".replace("  ", " "), "Seen", "No secret", "On the web", "row y",
    ]  # fmt: skip
    assert document.metadata["hidden"] == ("text", "table row")
    hidden = [("text", 2), ("text", 1), ("text", 2), ("table row", 2)]
    assert list_omissions(document) == [("hidden", name, words) for name, words in hidden]
    assert document.coverage is not None and document.coverage.missing == 0
    everything = DocxParser(hidden=True).parse(data, uri="file:///a.docx")
    assert "Margin 40." in everything.text and "row x" in everything.text
    assert "hidden" not in everything.metadata


def test_tracked_changes_are_applied_and_recorded() -> None:
    body = (
        f"<w:p>{make_run('It is ')}<w:del w:author='Ann'><w:r><w:delText>410</w:delText></w:r></w:del>"
        f"<w:ins w:author='Ann'>{make_run('455')}</w:ins>{make_run(' euros.')}</w:p>"
        f"<w:p><w:moveFrom w:author='Bob'>{make_run('Moved text.')}</w:moveFrom></w:p>"
        f"<w:p><w:moveTo w:author='Bob'>{make_run('Moved text.')}</w:moveTo></w:p>"
        f"{make_paragraph('First half', properties='<w:rPr><w:del/></w:rPr>')}{make_paragraph(' second half')}"
        f"<w:tbl><w:tr><w:trPr><w:del w:author='Cy'/></w:trPr><w:tc>{make_paragraph('gone')}</w:tc></w:tr>"
        f"<w:tr><w:tc>{make_paragraph('kept')}</w:tc><w:tc><w:tcPr><w:cellDel w:author='Cy'/></w:tcPr>"
        f"{make_paragraph('out')}</w:tc></w:tr></w:tbl>"
    )
    document = parse(make_word_file(body), "a.docx")
    assert document.text.split("\n\n") == [
        "It is 455 euros.", "Moved text.", "First half second half", "kept",
    ]  # fmt: skip
    assert list_omissions(document) == [
        ("deleted", "text deleted by Ann", 1),
        ("deleted", "text moved by Bob", 2),
        ("deleted", "table row deleted by Cy", 1),
        ("deleted", "table cell deleted by Cy", 1),
    ]
    assert document.coverage is not None and document.coverage.missing == 0


def test_comments_follow_their_paragraph_or_table() -> None:
    comment = '<w:comment w:id="{}" w:author="{}">{}</w:comment>'
    comments = comment.format(1, "Ada", make_paragraph("Too") + make_paragraph("long"))
    comments += comment.format(2, "", make_paragraph("Check"))
    anchor = '<w:commentRangeStart w:id="{0}"/>{1}<w:r><w:commentReference w:id="{0}"/></w:r>'
    cells = f"<w:tc><w:p>{anchor.format(2, make_run('4'))}</w:p></w:tc><w:tc>{make_paragraph('x')}</w:tc>"
    body = (
        f"<w:p>{anchor.format(1, make_run('Text.'))}{make_run(' More.')}</w:p>"
        f"<w:tbl><w:tr>{cells}</w:tr></w:tbl>{make_paragraph('End.')}"
    )
    xml = f"<w:comments {_NAMESPACES}>{comments}</w:comments>"
    document = parse(make_word_file(body, parts={"comments.xml": ("comments", xml)}), "a.docx")
    parts = document.text.split("\n\n")
    assert parts[:2] == ["Text. More.", "[Comment by Ada: Too long]"]
    assert parts[-2:] == ["[Comment: Check]", "End."]
    assert "Check" not in parts[2]


def test_notes_are_kept_and_headers_are_recorded() -> None:
    note = f'<w:footnote w:id="2">{make_paragraph("See the annex.")}</w:footnote>'
    hidden_note = f'<w:footnote w:id="3">{make_paragraph("Not for you.")}</w:footnote>'
    parts = {
        "footnotes.xml": (
            "footnotes",
            f"<w:footnotes {_NAMESPACES}>{note}{hidden_note}</w:footnotes>",
        ),
        "footer1.xml": ("footer", f"<w:ftr {_NAMESPACES}>{make_paragraph('Page one')}</w:ftr>"),
        "header1.xml": ("header", f"<w:hdr {_NAMESPACES}>{make_paragraph('Acme Ltd')}</w:hdr>"),
    }
    body = (
        f'<w:p>{make_run("The rate is 4")}<w:r><w:footnoteReference w:id="2"/></w:r>'
        '<w:r><w:rPr><w:vanish/></w:rPr><w:footnoteReference w:id="3"/></w:r></w:p>'
    )
    document = parse(make_word_file(body, parts=parts), "a.docx")
    assert "The rate is 4[^1]" in document.text and "See the annex." in document.text
    assert "Not for you" not in document.text and "Acme" not in document.text
    assert set(list_omissions(document)) == {
        ("repeated", "page header", 2),
        ("repeated", "page footer", 2),
        ("hidden", "footnote in text", 3),
    }
    assert document.coverage is not None
    assert (document.coverage.words, document.coverage.missing) == (14, 0)


def test_missing_words_are_counted() -> None:
    body = make_paragraph("Seen") + "<w:customThing><w:t>orphan</w:t></w:customThing>"
    coverage = parse(make_word_file(body), "a.docx").coverage
    assert coverage is not None
    assert (coverage.words, coverage.missing, coverage.missing_words) == (2, 1, ("orphan",))


# -- Tables, namespaces, damage ------------------------------------------------------------


def test_cells_before_the_first_column_and_merged_cells() -> None:
    cell = "<w:tc><w:tcPr>{}</w:tcPr>{}</w:tc>".format
    rows = [
        cell("", make_paragraph("Country")) + cell("", make_paragraph("City")),
        cell('<w:vMerge w:val="restart"/>', make_paragraph("France"))
        + cell("", make_paragraph("Lyon")),
        cell("<w:vMerge/>", make_paragraph()) + cell("", make_paragraph("Lille")),
        '<w:trPr><w:gridBefore w:val="1"/></w:trPr>' + cell("", make_paragraph("Nice")),
        cell("", make_paragraph("Both")) + cell('<w:hMerge w:val="continue"/>', make_paragraph()),
    ]
    table = "<w:tbl>" + "".join(f"<w:tr>{row}</w:tr>" for row in rows) + "</w:tbl>"
    lines = parse(make_word_file(table), "a.docx").text.splitlines()
    assert lines[2:] == [
        "| France | Lyon |",
        "| France | Lille |",
        "|  | Nice |",
        "| Both | Both |",
    ]


def test_strict_document_with_another_name_for_its_body() -> None:
    body = make_paragraph("Scope", "Heading1") + make_paragraph("hidden", run="<w:vanish/>")
    xml = f"<w:document {_NAMESPACES}><w:body>{body}</w:body></w:document>".replace(
        f"{_OFFICE}/wordprocessingml/2006/main", "http://purl.oclc.org/ooxml/wordprocessingml/main"
    )
    kind = "http://purl.oclc.org/ooxml/officeDocument/relationships/officeDocument"
    relationships = (
        f'<Relationships><Relationship Id="a" Type="{kind}" Target="/word/d2.xml"/></Relationships>'
    )
    files = {"_rels/.rels": relationships, "word/d2.xml": xml, "[Content_Types].xml": "<Types/>"}
    document = parse(file_fixtures.make_zip(files), "a.docx")
    assert (document.text, document.metadata["hidden"]) == ("# Scope", ("text",))


def test_damaged_copies_fail_with_errors_of_sources() -> None:
    body = make_paragraph("Scope", "Heading1") + make_item("one", 1) + make_paragraph(_BODY_TEXT)
    data = make_word_file(body, numbering=_LEGAL)
    generator = random.Random(7)
    for i in range(60):
        damaged = (damage if i % 2 else damage_member)(data, generator)
        with contextlib.suppress(SourceError):
            list(PARSER.documents(damaged, uri="file:///a.docx"))


def test_marks_cover_headings_and_tables() -> None:
    table = file_fixtures.make_docx_table([["Name", "Sum"], ["Rent", "1200"]])
    body = make_paragraph("Costs", "Heading1") + table
    document = parse(make_word_file(body), "a.docx")
    assert list_marked_texts(document, "row") == [(1, "| Rent | 1200 |")]
