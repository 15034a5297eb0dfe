"""Which documents are at and below a path, in any Unicode spelling of it."""

from __future__ import annotations

import unicodedata
from urllib.parse import quote

from hypothesis import given
from hypothesis import strategies as st

from rag.index.document_paths import select_below


def to_uri(path: str, form: str = "NFC") -> str:
    return f"file://{quote(unicodedata.normalize(form, path))}"


def test_a_name_is_no_beginning_of_another() -> None:
    uris = ["file:///a/b", "file:///a/b/c.txt", "file:///a/bc.txt", "file:///a/b.zip#!/x.txt"]
    assert select_below(uris, "file:///a/b") == uris[:2]
    assert select_below(uris, "file:///a/b/") == uris[1:2]
    assert select_below(uris, "file:///a") == uris
    assert select_below(uris, "file:///c") == []


def test_other_spellings_count_only_if_there_is_no_equal_one() -> None:
    composed, decomposed = to_uri("/d/Müller/a.txt"), to_uri("/d/Müller/a.txt", "NFD")
    assert composed != decomposed
    assert select_below([decomposed], to_uri("/d/Müller")) == [decomposed]
    assert select_below([composed], to_uri("/d/Müller", "NFD")) == [composed]
    assert select_below([composed, decomposed], to_uri("/d/Müller")) == [composed]


@given(st.lists(st.text(alphabet="aé/ü", max_size=6)), st.text(alphabet="aé/ü", max_size=4))
def test_what_is_selected_does_not_depend_on_the_spelling(paths: list[str], path: str) -> None:
    composed = [to_uri(f"/{p}") for p in paths]
    decomposed = [to_uri(f"/{p}", "NFD") for p in paths]
    numbers = [composed.index(uri) for uri in select_below(composed, to_uri(f"/{path}"))]
    other_numbers = [
        decomposed.index(u) for u in select_below(decomposed, to_uri(f"/{path}", "NFD"))
    ]
    assert numbers == other_numbers
