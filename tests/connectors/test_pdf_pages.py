from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from connectors.parsers.pdf_pages import find_quote


def test_quote_is_found_across_lines_and_divided_words() -> None:
    page = "The mea-\r\nsurement of\r\nthe tide. Another line."
    (span,) = find_quote(page, "measurement of the tide.")
    assert page[slice(*span)] == "mea-\r\nsurement of\r\nthe tide."


def test_separate_lines_of_a_quote_are_each_found() -> None:
    page = "left one\nright one\nleft two\nright two\n"
    assert [page[a:b] for a, b in find_quote(page, "left one\nleft two")] == [
        "left one",
        "left two",
    ]


def test_search_for_a_missing_quote_is_fast() -> None:
    page = ("same words again " * 20 + "\n") * 2_000
    assert find_quote(page, "same words again " * 5_000 + "but not these") == []


@given(st.text(st.sampled_from("ab -\n\u00ad"), max_size=60), st.data())
def test_any_substring_of_a_page_is_found(page: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(page)))
    end = data.draw(st.integers(start, len(page)))
    quote = page[start:end]
    spans = find_quote(page, quote)
    bare_quote = [
        character
        for character in quote
        if not character.isspace() and character not in "-\u00ad\ufffe"
    ]
    assert bool(spans) == bool(bare_quote)
    if spans:
        a, b = spans[0]
        assert [s for s in page[a:b] if not s.isspace() and s not in "-\u00ad\ufffe"] == bare_quote
