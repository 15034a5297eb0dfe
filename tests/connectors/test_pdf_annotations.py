"""Form values, text boxes and comments of PDFs are in the text, at their places."""

from __future__ import annotations

from connectors.parsers.pdf import PdfParser
from rag.types import Document
from tests.connectors.pdf_writer import Page, build_pdf


def parse(*pages: Page, form: bool = False) -> Document:
    return PdfParser(ocr=False).parse(build_pdf(pages, form=form), uri="file:///a.pdf")


def add_field(page: Page, x: float, y: float, name: str, value: str, **keys: str) -> None:
    page.annotate("Widget", (x, y - 4, x + 120, y + 12), FT="/Tx", T=f"({name})", V=value, **keys)


def test_values_of_fields_follow_their_labels() -> None:
    page = Page()
    page.write(50, 700, "Surname:")
    add_field(page, 120, 700, "surname", "(Okonkwo)")
    page.write(50, 670, "Street and number")
    add_field(page, 50, 652, "street", "(Harbour Street 4)")
    page.write(50, 620, "The end of the form.")
    add_field(page, 400, 500, "remarks", "(Come early)")
    add_field(page, 120, 640, "empty", "()")
    assert parse(page, form=True).text.split("\n") == [
        "Surname: Okonkwo",
        "Street and number Harbour Street 4",
        "The end of the form.",
        "remarks: Come early",
    ]


def test_two_fields_on_a_line_stand_behind_their_own_labels() -> None:
    page = Page()
    page.write(50, 700, "From:")
    page.write(250, 700, "To:")
    add_field(page, 90, 700, "from", "(Monday)")
    add_field(page, 290, 700, "to", "(Friday)")
    assert parse(page, form=True).text == "From: Monday To: Friday"


def test_check_boxes_and_radio_buttons_are_marked() -> None:
    page = Page()
    states = "<</N<</Yes 1 0 R/Off 1 0 R>>>>"
    for y, label, state in (
        (700, "Resident of the town", "/Yes"),
        (680, "Owner of a boat", "/Off"),
    ):
        page.write(70, y, label)
        page.annotate(
            "Widget",
            (50, y - 3, 62, y + 9),
            FT="/Btn",
            T=f"({label[0]})",
            V=state,
            AS=state,
            AP=states,
        )
    assert parse(page, form=True).text.split("\n") == [
        "[x] Resident of the town",
        "[ ] Owner of a boat",
    ]


def test_selected_options_are_written_as_their_labels() -> None:
    page = Page()
    page.write(50, 700, "Zone:")
    options = "[[(c) (Zone C)] [(d) (Zone D)]]"
    page.annotate(
        "Widget", (100, 696, 200, 712), FT="/Ch", Ff="131072", T="(zone)", V="(d)", Opt=options
    )
    assert parse(page, form=True).text == "Zone: Zone D"


def test_passwords_are_not_read() -> None:
    page = Page()
    page.write(50, 700, "Password:")
    add_field(page, 120, 700, "password", "(secret)", Ff="8192")
    assert parse(page, form=True).text == "Password:"


def test_text_boxes_are_text_and_notes_are_marked_as_comments() -> None:
    page = Page()
    page.write_lines(
        50, 700, ["The offer of May is valid for the whole", "summer, until the end of it."]
    )
    page.write(50, 600, "Signed in the harbour.")
    page.annotate("FreeText", (50, 640, 250, 660), Contents="(Approved with discount)")
    page.annotate("Text", (300, 700, 320, 712), Contents="(Ask Lena)", T="(Ada)")
    page.annotate("Link", (50, 700, 90, 712), Contents="(a link)")
    assert parse(page).text.split("\n") == [
        "The offer of May is valid for the whole",
        "summer, until the end of it.",
        "",
        "[Comment by Ada: Ask Lena]",
        "",
        "Approved with discount",
        "Signed in the harbour.",
    ]


def test_text_of_a_box_that_the_page_has_itself_is_written_once() -> None:
    page = Page()
    page.write(50, 700, "Approved with discount")
    page.annotate("FreeText", (40, 690, 250, 720), Contents="(Approved with discount)")
    assert parse(page).text == "Approved with discount"


def test_hidden_annotations_are_omitted_and_recorded() -> None:
    page = Page()
    page.write(50, 700, "The offer is valid.")
    page.annotate("FreeText", (50, 640, 250, 660), Contents="(Secret draft)", F="2")
    document = parse(page)
    assert document.text == "The offer is valid."
    assert document.metadata["hidden"] == ("annotation",)
    assert document.coverage is not None
    assert [(o.reason, o.words) for o in document.coverage.omissions] == [("hidden", 2)]
