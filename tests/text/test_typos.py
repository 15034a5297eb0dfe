"""How many typos a word may have, and the words that it may stand for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.text.typos import find_words_with_two_typos, list_edits, max_typos


@pytest.mark.parametrize(
    ("word", "typos"), [("cat", 0), ("12345", 0), ("tree", 1), ("battery", 1), ("warranty", 2)]
)
def test_the_number_of_typos_depends_on_the_length(word: str, typos: int) -> None:
    assert max_typos(word) == typos


@given(st.text("abcdefghij", min_size=4, max_size=8), st.randoms())
def test_edits_are_symmetric(word: str, random: object) -> None:
    edits = list_edits(word)
    assert word not in edits
    assert all(abs(len(edit) - len(word)) <= 1 for edit in edits)
    for edit in edits[:: max(1, len(edits) // 10)]:
        if edit:
            assert word in list_edits(edit)


def test_the_nearest_words_with_two_typos() -> None:
    counts = {"warranti": 3, "warrant": 1, "warden": 5, "war": 9}
    assert find_words_with_two_typos("warantti", counts) == {"warranti": 3}
    assert find_words_with_two_typos("zeppelin", counts) == {}
