from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from connectors.parsers.pdf_pages import matches


def test_words_are_found_across_lines_and_divided_words() -> None:
    page = "The mea-\r\nsurement of\r\nthe tide. Another line."
    (span,) = matches(page, "measurement of the tide.")
    assert page[slice(*span)] == "mea-\r\nsurement of\r\nthe tide."


def test_lines_that_stand_apart_on_the_page_are_found_each() -> None:
    page = "left one\nright one\nleft two\nright two\n"
    assert [page[a:b] for a, b in matches(page, "left one\nleft two")] == ["left one", "left two"]


def test_what_is_not_there_is_not_found_and_quickly() -> None:
    page = ("same words again " * 20 + "\n") * 2_000
    assert matches(page, "same words again " * 5_000 + "but not these") == []


@given(st.text(st.sampled_from("ab -\n\u00ad"), max_size=60), st.data())
def test_any_stretch_of_a_page_is_found(page: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(page)))
    end = data.draw(st.integers(start, len(page)))
    quote = page[start:end]
    found = matches(page, quote)
    bare = [sign for sign in quote if not sign.isspace() and sign not in "-\u00ad\ufffe"]
    assert bool(found) == bool(bare)
    if found:
        a, b = found[0]
        assert [s for s in page[a:b] if not s.isspace() and s not in "-\u00ad\ufffe"] == bare
