"""OpenDocument files: headings, numbers, hidden and deleted content, comments, charts."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from connectors.parsers.office import OdtParser
from rag import Document
from tests.connectors import file_fixtures
from tests.connectors.parsing import list_marked_texts, parse

_NAMES = "urn:oasis:names:tc:opendocument:xmlns"
_NAMESPACES = (
    " ".join(
        f'xmlns:{prefix}="{_NAMES}:{name}:1.0"'
        for prefix, name in {
            "office": "office",
            "text": "text",
            "table": "table",
            "draw": "drawing",
            "style": "style",
            "presentation": "presentation",
            "chart": "chart",
        }.items()
    )
    + ' xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:xlink="http://www.w3.org/1999/xlink"'
)


def make_file(
    body: str, styles: str = "", common: str = "", kind: str = "text", parts: Mapping[str, str] = {}
) -> bytes:
    """Make a file with automatic styles, common styles and other parts."""
    content = (
        f"<office:document-content {_NAMESPACES}><office:automatic-styles>{styles}"
        f"</office:automatic-styles><office:body><office:{kind}>{body}</office:{kind}></office:body>"
        "</office:document-content>"
    )
    common = f"<office:document-styles {_NAMESPACES}>{common}</office:document-styles>"
    mime = f"application/vnd.oasis.opendocument.{kind}"
    return file_fixtures.make_zip(
        {"mimetype": mime, "content.xml": content, "styles.xml": common, **parts}
    )


def make_style(name: str, properties: str = "", parent: str = "", family: str = "paragraph") -> str:
    return (
        f'<style:style style:name="{name}" style:family="{family}" '
        f'style:parent-style-name="{parent}">{properties}</style:style>'
    )


def list_headings(document: Document) -> list[object]:
    return [mark.value for mark in document.marks if mark.kind == "heading"]


def list_omissions(document: Document) -> list[tuple[str, str, int]]:
    assert document.coverage is not None and document.coverage.missing == 0
    return [(o.reason, o.name, o.words) for o in document.coverage.omissions]


def test_paragraphs_in_heading_styles_are_headings() -> None:
    styles = make_style("P1", parent="Own") + make_style("P2", parent="Title")
    common = make_style("Own", parent="Heading_20_2") + make_style("Heading_20_2", parent="Heading")
    body = (
        '<text:p text:style-name="P2">Report</text:p><text:p text:style-name="P1">Scope</text:p>'
        '<text:p text:style-name="Heading_20_3">Detail</text:p><text:p>Text.</text:p>'
    )
    document = parse(make_file(body, styles, common), "a.odt")
    assert document.text == "# Report\n\n## Scope\n\n### Detail\n\nText.\n"
    assert list_headings(document)[-1] == ("Report", "Scope", "Detail")
    assert document.title == "Report"


def test_numbers_of_headings_and_lists() -> None:
    level = '<text:{0}-level-style text:level="{1}" style:num-format="{2}" {3}/>'.format
    outline = level("outline", 1, "1", "") + level("outline", 2, "1", 'text:display-levels="2"')
    common = f"<text:outline-style>{outline}</text:outline-style>"
    numbers = (
        '<text:list-level-style-number text:level="1" style:num-format="a" style:num-prefix="(" '
        'style:num-suffix=")"/><text:list-level-style-bullet text:level="2"/>'
    )
    styles = f'<text:list-style style:name="L">{numbers}</text:list-style>'
    item = "<text:list-item><text:p>{}</text:p>{}</text:list-item>".format
    inner = f"<text:list>{item('inner', '')}</text:list>"
    heading = '<text:h text:outline-level="{}">{}</text:h>'.format
    own = '<text:list-style style:name="N"><text:list-level-style-number text:level="2" '
    styles += own + 'style:num-format="i" style:num-suffix="."/></text:list-style>'
    inner += f'<text:list text:style-name="N">{item("roman", "")}</text:list>'
    in_list = f"<text:list-item>{heading(3, 'Deep')}</text:list-item>"
    body = (
        heading(1, "One") + heading(2, "Sub") + heading(1, "Two") + heading(2, "Other")
        + f'<text:list text:style-name="L">{item("dog", inner)}{item("cat", "")}</text:list>'
        + "<text:p>Between.</text:p>"
        + f'<text:list text:style-name="L" text:continue-numbering="true">{item("cow", "")}</text:list>'
        + f"<text:list>{item('plain', '')}</text:list>"
        + f'<text:list text:style-name="L">{in_list}</text:list>'
    )  # fmt: skip
    lines = parse(make_file(body, styles, common), "a.odt").text.split("\n")
    assert [line for line in lines if line] == [
        "# 1 One", "## 1.1 Sub", "# 2 Two", "## 2.1 Other", "(a) dog", "  - inner", "  i. roman",
        "(b) cat",
        "Between.", "(c) cow", "- plain", "### (a) Deep",
    ]  # fmt: skip


def test_hidden_text_is_left_out_and_named() -> None:
    hiding = '<style:text-properties text:display="none"/>'
    styles = make_style("T1", hiding, family="text") + make_style("P1", hiding)
    body = (
        '<text:p>Price 100. <text:span text:style-name="T1">Margin 40.</text:span> End.</text:p>'
        '<text:p text:style-name="P1">A secret</text:p>'
        '<text:p><text:hidden-paragraph text:is-hidden="true"/>Also secret</text:p>'
        '<text:section text:display="none"><text:p>Section text</text:p></text:section>'
        '<text:p>Seen<text:hidden-text text:is-hidden="true"> unseen</text:hidden-text></text:p>'
    )
    data = make_file(body, styles)
    document = parse(data, "a.odt")
    assert document.text.split("\n\n") == ["Price 100.  End.", "Seen\n"]
    assert document.metadata["hidden"] == ("text",)
    assert list_omissions(document) == [("hidden", "text", words) for words in (2, 2, 2, 2, 1)]
    everything = OdtParser(hidden=True).parse(data, uri="file:///a.odt")
    assert "Margin 40." in everything.text and "Section text" in everything.text


def test_deleted_text_and_comments() -> None:
    body = (
        "<text:tracked-changes><text:changed-region><text:deletion><office:change-info><dc:creator>"
        "Ann</dc:creator><dc:date>2025-01-01</dc:date></office:change-info><text:p>old words</text:p>"
        "</text:deletion></text:changed-region></text:tracked-changes>"
        "<text:p>Text<office:annotation><dc:creator>Ada</dc:creator><dc:date>2025-01-01</dc:date>"
        "<text:p>Too</text:p><text:p>long</text:p></office:annotation> more"
        "<text:ruby><text:ruby-base>東京</text:ruby-base><text:ruby-text>とうきょう</text:ruby-text>"
        "</text:ruby></text:p><text:p>End</text:p>"
    )
    document = parse(make_file(body), "a.odt")
    assert document.text == "Text more東京\n\n[Comment by Ada: Too long]\n\nEnd\n"
    assert list_omissions(document) == [("deleted", "text deleted by Ann", 2)]


def test_hidden_rows_and_columns_of_tables() -> None:
    cell = "<table:table-cell><text:p>{}</text:p></table:table-cell>".format
    row = "<table:table-row {}>{}</table:table-row>".format
    hidden = 'table:visibility="collapse"'
    body = (
        f"<table:table><table:table-column/><table:table-column {hidden}/><table:table-column/>"
        + row("", cell("Name") + cell("Salary") + cell("Role"))
        + row("", cell("Ann") + cell("70000") + cell("Clerk"))
        + row(hidden, cell("Ben") + cell("99000") + cell("Chief"))
        + row("", '<table:table-cell table:number-columns-spanned="3"><text:p>All</text:p>'
              "</table:table-cell>" + "<table:covered-table-cell/>" * 2)
        + "</table:table>"
    )  # fmt: skip
    data = make_file(body)
    document = parse(data, "a.odt")
    assert document.text.splitlines() == [
        "| Name | Role |", "| --- | --- |", "| Ann | Clerk |", "| All | All |",
    ]  # fmt: skip
    assert document.metadata["hidden"] == ("table column 2", "table row")
    assert ("hidden", "table row", 3) in list_omissions(document)
    assert "99000" in OdtParser(hidden=True).parse(data, uri="file:///a.odt").text


@pytest.mark.parametrize("is_hidden", [True, False])
def test_hidden_slides_and_speaker_notes(is_hidden: bool) -> None:
    visibility = "hidden" if is_hidden else "visible"
    properties = f'<style:drawing-page-properties presentation:visibility="{visibility}"/>'
    styles = make_style("dp1", properties, family="drawing-page")
    frame = "<draw:frame {}><draw:text-box><text:p>{}</text:p></draw:text-box></draw:frame>".format
    notes = f"<presentation:notes>{frame('', 'Say hello')}</presentation:notes>"
    number = frame('presentation:class="page-number"', "41")
    body = (
        f"<draw:page>{frame('presentation:class=chr34titlechr34'.replace('chr34', chr(34)), 'One')}{number}{notes}</draw:page>"
        f'<draw:page draw:style-name="dp1">{frame("", "Two")}</draw:page>'
    )
    document = parse(make_file(body, styles, kind="presentation"), "a.odp")
    expected = "# One\n\nNotes: Say hello\n"
    assert document.text == (expected if is_hidden else f"{expected}\nTwo\n")
    assert document.metadata["slides_with_notes"] == (1,)
    slides = [value for value, _ in list_marked_texts(document, "slide")]
    assert slides == ([1] if is_hidden else [1, 2])
    omissions = [("repeated", "page number", 1), ("hidden", "slide 2", 1)]
    assert list_omissions(document) == omissions[: 1 + is_hidden]


def test_charts_are_tables() -> None:
    row = "<table:table-row>{}</table:table-row>".format
    cell = "<table:table-cell><text:p>{}</text:p></table:table-cell>".format
    chart = (
        f"<office:document-content {_NAMESPACES}><office:body><office:chart><chart:chart>"
        "<chart:title><text:p>Sales</text:p></chart:title><table:table>"
        f"{row(cell('Q') + cell('Cars'))}{row(cell('Q1') + cell('3'))}</table:table>"
        "</chart:chart></office:chart></office:body></office:document-content>"
    )
    body = '<text:p>See<draw:frame><draw:object xlink:href="./Object 1"/></draw:frame></text:p>'
    document = parse(make_file(body, parts={"Object 1/content.xml": chart}), "a.odt")
    assert "Sales\n\n| Q | Cars |\n| --- | --- |\n| Q1 | 3 |" in document.text
    assert list_marked_texts(document, "row") == [(1, "| Q1 | 3 |")]
