"""Titles of documents: which candidates are titles, and what stands in for a missing one."""

import io
import zipfile

import pytest

from connectors.parsers.markdown import find_structure_marks
from connectors.parsers.titles import choose_title, find_title_heading, is_title
from tests.connectors import file_fixtures
from tests.connectors.parsing import parse

URI = "file:///folder/report-2023.docx"
_TITLE_STYLE = '<w:style w:type="paragraph" w:styleId="Titel"><w:name w:val="Title"/></w:style>'
_ODF_TITLE = '<text:p text:style-name="P1">Remote work</text:p>'


@pytest.mark.parametrize(
    "title",
    [
        "Microsoft Word - draft3.doc",
        "PowerPoint Presentation",
        "PowerPoint-Präsentation",
        "Untitled",
        "untitled 2",
        "Document1",
        "Dokument 3",
        "Book1",
        "Slide 1",
        "2023",
        "2023-05-01",
        "12 May 2023",
        "Q3",
        "report-2023",
        "REPORT-2023.docx",
        "final.docx",
        "C:\\reports\\a.doc",
        "file:///tmp/a.html",
        "  ",
        "---",
    ],
)
def test_default_names_are_no_titles(title: str) -> None:
    assert not is_title(title, URI)
    assert choose_title(title, heading="Sales", uri=URI) == "Sales"


@pytest.mark.parametrize(
    "title",
    [
        "Annual report 2023",
        "Remote work",
        "Book of records",
        "Page layout for beginners",
        "May",
        "AC/DC",
        "T",
        "東京",
        "Form 10-K",
        "Minutes of 12 May 2023",
    ],
)
def test_titles_are_accepted(title: str) -> None:
    assert choose_title(None, "", title, heading="Sales", uri=URI) == title


def test_the_name_of_the_file_is_used_if_nothing_else_is_a_title() -> None:
    assert choose_title("Untitled", heading="2023", uri=URI) == "report-2023.docx"
    assert choose_title(uri="file:///a.zip!/b/c%20d.txt") == "c d.txt"


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("# Handbook\n\n## Use\n\nx\n\n# Appendix\n", "Handbook"),
        ("## Contents\n\nx\n\n# Handbook\n\ny\n", "Handbook"),
        ("## Only\n\nx\n\n### Below\n\ny\n", "Only"),
        ("## One\n\nx\n\n## Two\n\ny\n", ""),
        ("### Deep\n\nx\n\n## Higher\n\ny\n", ""),
        ("Handbook\n========\n\nx\n\nUse\n---\n", "Handbook"),
        ("Use\n---\n\nx\n\nCare\n----\n", ""),
        ("## Start\n\n" + "word " * 600 + "\n\n# Far down\n", ""),
        ("No heading.\n", ""),
    ],
)
def test_title_heading_is_alone_on_the_highest_level(text: str, title: str) -> None:
    assert find_title_heading(text, find_structure_marks(text)) == title


def edit_zip(data: bytes, **changes: tuple[str, str]) -> bytes:
    """Replace a text in the members of a ZIP file; the keys are the names without the suffix."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {name: archive.read(name).decode() for name in archive.namelist()}
    for name in members:
        old, new = changes.get(name.rpartition("/")[2].partition(".")[0], ("", ""))
        members[name] = members[name].replace(old, new) if old else members[name]
    return file_fixtures.make_zip(members)


def make_titled_docx(style_id: str, title: str = "") -> bytes:
    paragraph = (
        f'<w:p><w:pPr><w:pStyle w:val="{style_id}"/></w:pPr><w:r><w:t>{{}}</w:t></w:r></w:p>'
    )
    lines = "".join(paragraph.format(line) for line in ("Remote", "work"))
    return edit_zip(
        file_fixtures.make_docx([("Days", "Three days."), ("Abroad", "20 days.")], title),
        document=("<w:body>", f"<w:body>{lines}"),
        styles=("</w:styles>", f"{_TITLE_STYLE}</w:styles>"),
    )


@pytest.mark.parametrize("style_id", ["Title", "Titel"])
def test_paragraphs_in_the_style_title_are_the_title_of_a_word_document(style_id: str) -> None:
    document = parse(make_titled_docx(style_id, "Template for letters"), "a.docx")
    assert document.title == "Remote work"
    assert document.text.startswith("# Remote work\n\n# Days")


def test_word_document_without_a_title_paragraph() -> None:
    sections = [("Days", "Three days."), ("Abroad", "20 days.")]
    for title, expected in (("Policy", "Policy"), ("Microsoft Word - x.doc", "Days")):
        assert parse(file_fixtures.make_docx(sections, title), "a.docx").title == expected


def test_paragraph_in_a_style_derived_from_title_is_the_title_of_an_open_document() -> None:
    styles = (
        '<office:automatic-styles><style:style xmlns:style="urn:oasis:names:tc:opendocument:xmlns:'
        'style:1.0" style:name="P1" style:parent-style-name="Title"/></office:automatic-styles>'
    )
    data = edit_zip(
        file_fixtures.make_odt([("Days", "Three days.")], "Old title"),
        content=("<office:body><office:text>", f"{styles}<office:body><office:text>{_ODF_TITLE}"),
    )
    assert parse(data, "a.odt").title == "Remote work"
    assert parse(file_fixtures.make_odt([("Days", "x")], "Document1"), "a.odt").title == "Days"


def test_slides_html_and_front_matter_without_a_title() -> None:
    slides = file_fixtures.make_pptx([("Clean rooms", "x"), ("Gloves", "y")])
    assert parse(slides, "a.pptx").title == "a.pptx"  # the first slide is no title slide
    page = "<html><head><title>Untitled Document</title></head><body><h1>Sites</h1><p>x</p></body>"
    assert parse(page, "a.html").title == "Sites"
    assert parse("---\ntitle: Untitled\n---\n# Sites\n\nx\n", "a.md").title == "Sites"
    assert parse("---\ntitle: 2024-01-02\n---\nx\n", "a.md").title == "a.md"
