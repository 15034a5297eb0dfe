"""Content of web pages: nothing but navigation and hidden text is left out, and that is recorded."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.parsers.html import HtmlParser
from connectors.parsers.html_fragments import to_markdown
from rag.types import Document

PROSE = (
    "The ferry office on the east pier sells tickets for both islands and has done so since the "
    "bridge was closed. It opens an hour before the first boat, and in winter the timetable hangs "
    "in the window because the door is kept shut against the wind. Groups call the day before. "
)


def parse_page(body: str, head: str = "<title>Ferry office</title>") -> Document:
    page = f"<!DOCTYPE html><html lang=en><head>{head}</head><body>{body}</body></html>"
    return HtmlParser().parse(page.encode(), uri="file:///ferry.html")


def parse_content(content: str) -> Document:
    menu = "<nav><a href=/>Home</a><a href=/fares>Fares</a></nav>"
    after = f"<h2>More</h2><p>{PROSE}</p>"
    return parse_page(f"{menu}<main><h1>Ferry</h1><p>{PROSE}</p>{content}{after}</main>")


def list_headings(document: Document) -> list[str]:
    return [
        m.value[-1] for m in document.marks if m.kind == "heading" and isinstance(m.value, tuple)
    ]


def find_heading(document: Document, text: str) -> str:
    """Return the last heading above a text."""
    start = document.text.index(text)
    paths = [m.value for m in document.marks if m.kind == "heading" and m.start <= start < m.end]
    return paths[-1][-1] if paths and isinstance(paths[-1], tuple) else ""


@pytest.mark.parametrize(
    "question",
    [
        "<h3><button aria-expanded=false>May dogs travel?</button></h3>",
        "<h3><a href='#a1'>May dogs travel?</a></h3>",
        "<button aria-controls=a1>May dogs travel?</button>",
        "<div class=accordion-toggle data-target='#a1'>May dogs travel?</div>",
        "<h3>May <span><button>dogs</button></span> travel? <a class=headerlink href='#a1'>¶</a></h3>",
    ],
)
def test_the_question_of_a_folded_answer_is_its_heading(question: str) -> None:
    document = parse_content(
        f"{question}<div id=a1 class=panel style='display:none'><p>Dogs travel on deck.</p></div>"
    )
    assert find_heading(document, "Dogs travel on deck.") == "May dogs travel?"
    assert document.text.count("May dogs travel?") == 1


def test_details_and_definitions_have_their_labels() -> None:
    document = parse_content(
        "<dl><dt>Pier</dt><dd>where boats stop</dd>"
        "<dt>What is a roll-on?</dt><dd>A boat for cars.</dd>"
        "<div><dt>Deck</dt><dt>Upper deck</dt><dd>open <b>all</b> year</dd></div></dl>"
        "<details><summary>Lost tickets</summary><p>Show the receipt.</p></details>"
    )
    assert find_heading(document, "Show the receipt.") == "Lost tickets"
    assert "\nPier: where boats stop\n" in document.text
    assert find_heading(document, "A boat for cars.") == "What is a roll-on?"
    assert "Deck, Upper deck: open **all** year" in document.text


def test_a_label_above_other_content_is_no_heading() -> None:
    document = parse_content(
        "<h2>Fees</h2><details><summary>Old prices</summary><p>It was 3.</p></details>"
        "<p>Pay until Friday.</p><button aria-expanded=false>Where?</button><div>At the desk.</div>"
    )
    assert find_heading(document, "Pay until Friday.") == "Fees"
    assert "**Old prices**\n\nIt was 3." in document.text
    assert "Where?" in document.text


@pytest.mark.parametrize(
    "name",
    [
        *("comment", "timeline-comment", "social-security", "canteen-menu", "related-standards"),
        *("cookie-policy", "share-capital", "with-sidebar", "consent-form", "newsletter-archive"),
    ],
)
@pytest.mark.parametrize("attribute", ["class", "id"])
def test_names_of_classes_do_not_make_text_navigation(name: str, attribute: str) -> None:
    document = parse_content(f"<div {attribute}={name}><p>Set the flag in version 2.1.</p></div>")
    assert "Set the flag in version 2.1." in document.text


@pytest.mark.parametrize("count", [1, 5])
def test_short_sections_beside_the_main_text_are_kept(count: int) -> None:
    document = parse_page(
        f"<nav><a href=/>Home</a></nav><div><h1>Firm</h1>{f'<p>{PROSE}</p>' * count}</div>"
        "<div><h2>Hours</h2><p>Monday 9 to 17</p></div><div class=col-4>Pier Street 4</div>"
        "<main><p>Hero</p></main>"
    )
    assert find_heading(document, "Monday 9 to 17") == "Hours"
    assert "Pier Street 4" in document.text


def test_values_of_forms_are_text() -> None:
    document = parse_content(
        "<form><label>City</label> <input value=Leeds> <input type=hidden value=token>"
        "<textarea>Pays late.</textarea><select><option>Retail<option selected>Wholesale</select>"
        "<select><option>230 V<option>400 V</select><input type=checkbox checked>Insured</form>"
    )
    assert "City Leeds Pays late. Wholesale 230 V, 400 V [x] Insured" in " ".join(
        document.text.split()
    )
    assert "token" not in document.text


def test_deeply_nested_elements_are_read() -> None:
    document = parse_content("<div>" * 400 + "Deep text." + "</div>" * 400)
    assert "Deep text." in document.text


def test_text_after_a_list_in_a_list_item_is_separate() -> None:
    text = parse_content("<ul><li>one<ul><li>two</li></ul>three</li></ul>").text
    assert "twothree" not in text


def test_tabs_are_sections_with_the_labels_of_the_tabs() -> None:
    document = parse_content(
        "<ul role=tablist><li role=tab aria-controls=w>Windows</li>"
        "<li><a data-toggle=tab href='#m'>macOS</a></li></ul>"
        "<div id=w role=tabpanel>Press F5 twice.</div>"
        "<div id=m style='display:none'>Press Command-R.</div>"
    )
    assert find_heading(document, "Press F5 twice.") == "Windows"
    assert find_heading(document, "Press Command-R.") == "macOS"


@pytest.mark.parametrize(
    "following", ["<p>Capacity: 5 l.</p>", "<dl><dt>Capacity</dt><dd>5 l.</dd></dl>"]
)
def test_what_follows_the_tabs_belongs_to_none_of_them(following: str) -> None:
    document = parse_content(
        "<h2>Kettle</h2><div role=tablist><button role=tab aria-controls=e>Europe</button>"
        "<button role=tab aria-controls=u>USA</button></div><div id=e role=tabpanel>230 V.</div>"
        f"<div id=u role=tabpanel hidden><p>120 V.</p></div>{following}"
    )
    assert "Europe: 230 V." in document.text
    assert "USA: 120 V." in document.text
    assert find_heading(document, "Capacity: 5 l.") == "Kettle"


STYLE = """
.old, #draft { display: none }  /* .new { display: none } */
.tab-text { display: none } .tab-text.open { display: block }
.script-shown { visibility: hidden }
p { display: none }
@media print { .screen { display: none } @page { margin: 0 } .wide { display: none } }
.struck { text-decoration: line-through }
"""


def test_the_styles_of_a_page_hide_and_strike_out() -> None:
    document = parse_content(
        f"<style>{STYLE}</style><script>show('.script-shown')</script>"
        "<h2>Fees</h2><p>Ticket 79.</p><p class='big old'>Ticket 99.</p><p id=draft>Ticket 89.</p>"
        "<p class=new>Dog 3.</p><p class=tab-text>Bicycle 8.</p><p class=script-shown>Car 30.</p>"
        "<p class=screen>Van 40.</p><p class=wide>Bus 90.</p>"
        "<p>Cabin <span class=struck>50</span> 45.</p><p style='text-decoration: line-through'>Gone</p>"
    )
    for text in ("Ticket 79", "Dog 3", "Bicycle 8", "Car 30", "Van 40", "Bus 90"):
        assert text in document.text
    for hidden in ("Ticket 99", "Ticket 89"):
        assert hidden not in document.text
    assert "Cabin ~~50~~ 45." in document.text
    assert "~~Gone~~" in document.text
    assert document.coverage is not None
    assert [o.name for o in document.coverage.omissions if o.reason == "hidden"] == [
        "<p big old>",
        "<p draft>",
    ]


@pytest.mark.parametrize(
    ("items", "lines"),
    [
        ("<ol><li>a<li>b</ol>", ["1. a", "2. b"]),
        ("<ol start=4><li>a<li>b</ol>", ["4. a", "5. b"]),
        ("<ol><li value=5>a<li>b</ol>", ["- 5. a", "- 6. b"]),
        ("<ol><li>a<li value=7>b</ol>", ["- 1. a", "- 7. b"]),
        ("<ol reversed><li>a<li>b<li>c</ol>", ["- 3. a", "- 2. b", "- 1. c"]),
        ("<ol type=A start=26><li><p>a</p><li>b</ol>", ["- Z. a", "- AA. b"]),
        ("<ol type=i><li>a<li>b<li>c<li>d</ol>", ["- i. a", "- ii. b", "- iii. c", "- iv. d"]),
        ("<ol style='list-style-type: upper-roman' start=9><li>a</ol>", ["- IX. a"]),
        ("<ol type=a start=0><li>a</ol>", ["- 0. a"]),
        ("<ol start=x><li value=9999999999>a</ol>", ["1. a"]),
    ],
)
def test_items_of_lists_have_their_numbers(items: str, lines: list[str]) -> None:
    document = parse_content(f"<h2>Rules</h2>{items}<p>The rules of the boat.</p>")
    text = document.text.partition("## Rules")[2].partition("The rules")[0]
    assert [line for line in text.splitlines() if line.strip()] == lines


@pytest.mark.parametrize(
    "picture",
    [
        "<img src=a.png alt=yes>",
        "<svg aria-label=yes><path/></svg>",
        "<svg><title>yes</title><path/></svg>",
        "<i class=check title=yes></i>",
    ],
)
def test_a_picture_alone_in_a_cell_says_its_text(picture: str) -> None:
    document = parse_content(
        "<table><tr><th>Boat<th>Dogs<tr><td>Ferry<td>no<tr><td>Cutter"
        f"<td>{picture}<tr><td>Yacht<td><img src=b.png> no</table>"
    )
    assert "| Cutter | yes |" in document.text
    assert "| Yacht | no |" in document.text


@pytest.mark.parametrize(
    "content",
    [
        "<aside class=warning>Never board while the ramp moves.</aside>",
        "<aside><p>Never board while the ramp moves.</p></aside>",
        "<figure><img src=a.png><figcaption>Never board while the ramp moves.</figcaption></figure>",
        "<div class='box banner'><p>Never board while the ramp moves.</p></div>",
        "<table><tr><th>Rule<th>Text<tr><td>1<td><ul><li>Never board while the ramp moves.</ul></table>",
        "<blockquote>Never board while the ramp moves.</blockquote>",
        "<address>Never board while the ramp moves.</address>",
        "<form><label>Never board while the ramp moves.</label><input></form>",
        "<section><header><h2>Rule</h2></header><p>Never board while the ramp moves.</p></section>",
        "<pre>Never board while the ramp moves.</pre>",
        "Never board while the ramp moves.",
    ],
)
def test_content_is_kept_whatever_its_element(content: str) -> None:
    document = parse_content(content)
    assert "Never board while the ramp moves." in document.text
    assert document.coverage is not None
    assert document.coverage.missing == 0


def test_navigation_is_left_out_and_recorded() -> None:
    links = "".join(
        f"<li><a href=/{name}>{name.title()}</a></li>" for name in ("fares", "boats", "jobs")
    )
    document = parse_page(
        f"<header><a href=/>Harbour</a></header><div class=topnav><ul>{links}</ul></div>"
        f"<div><div class=breadcrumb><a href=/>Start</a> / Ferry</div><h1>Ferry</h1><p>{PROSE}</p>"
        f"<p>{PROSE}</p><p>{PROSE}</p><div class=share><a href=/s>Share</a></div></div>"
        f"<div id=sidebar><ul>{links}</ul></div><footer>Imprint 1998</footer>"
    )
    for text in ("Harbour", "Fares", "Start", "Share", "Imprint"):
        assert text not in document.text
    assert document.text.startswith("# Ferry")
    assert document.coverage is not None
    assert document.coverage.missing == 0
    assert sum(omission.words for omission in document.coverage.omissions) >= 8


def test_a_list_of_links_in_the_content_is_content() -> None:
    links = "<ul><li><a href=a>Form A</a><li><a href=b>Form B</a><li><a href=c>Form C</a></ul>"
    assert "Form B" in parse_content(f"<h2>Forms</h2>{links}").text


def test_links_to_the_headings_of_the_page_are_navigation() -> None:
    links = "<ul><li><a href='#a'>Fares</a><li><a href='#b'>Boats</a><li><a href='#c'>Jobs</a></ul>"
    document = parse_content(f"{links}<h2 id=a>Fares</h2><p>Ten euros.</p>")
    assert document.text.count("Fares") == 1
    assert "Boats" not in document.text


def test_the_title_of_the_page_is_kept_where_it_stands_outside_of_the_content() -> None:
    document = parse_page(f"<header><h1>Ferry</h1></header><main><p>{PROSE}</p></main>")
    assert document.text.startswith("# Ferry\n")


@pytest.mark.parametrize("hiding", ["style='display: none'", "hidden", "style='font-size:0'"])
def test_hidden_text_is_left_out_and_named(hiding: str) -> None:
    document = parse_content(f"<p {hiding} id=note>Ignore all fares.</p>")
    assert "Ignore all fares" not in document.text
    assert document.metadata["hidden"] == ("<p note>",)


def test_indices_are_characters() -> None:
    document = parse_content(
        "<p>CO<sub>2</sub> per m<sup>2</sup>, 10<sup>-6</sup> a, the 4<sup>th</sup> of May, "
        "x &lt; 3.</p><p>Four percent<sup><a href='#f1'>1</a></sup> of it.<sup><a href='#f2'>[2]</a>"
        "</sup></p>"
    )
    assert "CO2 per m², 10⁻⁶ a, the 4th of May, x < 3." in document.text
    assert "Four percent[^1] of it.[^2]" in document.text
    indices = parse_content("<p>x<sub>i+1</sub> = x<sub>i</sub>, e<sup>x/2</sup></p>").text
    assert to_markdown("a<sup>2<sub>i<sup>3</sup></sub></sup> b") == "a²ⁱ³ b"
    assert "x_(i+1) = xi, e^(x/2)" in indices


def test_lines_of_the_source_are_no_lines_of_the_text() -> None:
    text = parse_content("<p>one\n   line <b>bold</b><b> text</b></p><pre>two\nlines</pre>").text
    assert "one line **bold text**" in text
    assert "two\nlines" in text


def test_folded_text_and_pictures_of_mail_and_books_are_no_loss() -> None:
    text = to_markdown(
        "<details><summary>More</summary>H<sub>2</sub>O</details><script>x()</script>"
    )
    assert text == "## More\n\nH2O"


_WORDS = st.sampled_from(["ferry", "pier", "deck", "fare", "boat", "winter", "ticket", "rope"])
_TEXT = st.lists(_WORDS, min_size=1, max_size=6).map(" ".join)
_BLOCK = st.recursive(
    st.builds(
        "<{0}>{1}</{0}>".format,
        st.sampled_from(["p", "div", "h2", "li", "aside", "figcaption", "summary", "span", "td"]),
        _TEXT,
    ),
    lambda inner: st.builds(
        "<{0}>{1}</{0}>".format,
        st.sampled_from(
            ["div", "section", "ul", "details", "figure", "blockquote", "article", "form"]
        ),
        st.lists(inner, max_size=4).map("".join),
    ),
    max_leaves=12,
)


@given(st.lists(_BLOCK, min_size=1, max_size=6))
def test_no_word_of_a_page_is_lost(blocks: list[str]) -> None:
    body = "".join(blocks)
    document = parse_page(f"<p>{PROSE}</p>{body}")
    assert document.coverage is not None
    assert document.coverage.missing == 0
    assert not document.coverage.omissions


_TAGS = st.sampled_from(
    "a b button dd details div dl dt form h2 input label li math mfrac mn msup nav ol option p pre s"
    " script section select span strong sub summary sup table td textarea th tr ul".split()
)
_ATTRIBUTES = st.sampled_from(
    ["", " href='#a'", " id=a", " hidden", " aria-expanded=false", " role=tab aria-controls=a"]
)
_ELEMENT = st.recursive(
    _TEXT,
    lambda inner: st.builds(
        "<{0}{1}>{2}</{0}>".format, _TAGS, _ATTRIBUTES, st.lists(inner, max_size=4).map(" ".join)
    ),
    max_leaves=20,
)


@given(st.lists(_ELEMENT, max_size=4).map("".join))
def test_any_nesting_of_elements_is_read(body: str) -> None:
    document = parse_page(f"<p>{PROSE}</p>{body}")
    assert "The ferry office" in document.text
    assert isinstance(to_markdown(body), str)


@pytest.mark.parametrize(
    "control",
    ["\x1b[31m", "\x1b", "\x08", "\x00", "\x7f", "\ufffe", "&#27;", "&#x1B;", "&#8;", "&#0000007;"],
)
def test_control_characters_do_not_break_a_page(control: str) -> None:
    page = f"<h1>Pumps{control}</h1><p title='a{control}'>Pump{control} P-7 runs at 4&#9;bar.</p>"
    text = to_markdown(page)
    assert "# Pumps" in text and "Pump P-7 runs at 4" in text
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f\ufffe]|&#", text)


def test_a_form_feed_divides_words() -> None:
    assert "one two" in to_markdown("<p>one\x0ctwo</p>")
    assert "‹five›" in to_markdown("<p>&#x2039;five&#8250;</p>")
