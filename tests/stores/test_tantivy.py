import itertools
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag.stores.lexical_index import BM25Query, LexicalEntry
from rag.stores.location import StoreLocation
from rag.stores.tantivy import Tantivy, TantivyIndex

COMMON = "the and of is"  # English to `detect_language`
WORDS = ["waaa", "wbbb", "wccc", "wddd", "weee", "wfff"]
QUERIES = [
    BM25Query("waaa wbbb"),
    BM25Query('wccc wddd "waaa wbbb"'),
    BM25Query("the wccc and the wddd"),
    BM25Query("wbbx", expansion=(("weee", 1.0),), expansion_share=0.5),
]


def test_only_a_refresh_shows_a_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reload by a thread of tantivy could show an earlier commit than the last refresh did."""
    policies: list[str] = []
    configure = TantivyIndex._configure

    class RecordingIndex:
        def __init__(self, index: Any) -> None:
            self._index = index

        def config_reader(self, reload_policy: str = "commit") -> None:
            policies.append(reload_policy)
            self._index.config_reader(reload_policy)

        def __getattr__(self, name: str) -> Any:
            return getattr(self._index, name)

    monkeypatch.setattr(
        TantivyIndex,
        "_configure",
        lambda store, index: configure(store, RecordingIndex(index))._index,
    )
    location = StoreLocation(tmp_path, "words")
    Tantivy().create(location)
    Tantivy().open(location).close()
    assert policies == ["manual"]


def open_index(folder: Path) -> TantivyIndex:
    location = StoreLocation(folder, "words")
    Tantivy().create(location)
    return Tantivy().open(location)


def draw_history(draw: st.DrawFn) -> list[tuple[dict[int, str], set[int]]]:
    """Draw commits: new texts by document, all of one length, and deleted documents."""
    text = st.lists(st.sampled_from(WORDS), min_size=8, max_size=8).map(" ".join)
    commit = st.tuples(
        st.dictionaries(st.integers(0, 19), text, max_size=12),
        st.sets(st.integers(0, 19), max_size=4),
    )
    return draw(st.lists(commit, min_size=1, max_size=6))


@settings(max_examples=20)
@given(history=st.composite(draw_history)())
def test_scores_are_those_of_a_new_index_after_any_history(
    history: list[tuple[dict[int, str], set[int]]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """tantivy counts deleted chunks. With equal lengths, all that they change is corrected."""
    index = open_index(tmp_path_factory.mktemp("updated"))
    live: dict[int, LexicalEntry] = {}
    rows = itertools.count()
    for texts, deleted in history:
        replaced = (texts.keys() | deleted) & live.keys()
        index.delete([live.pop(document).row for document in replaced])
        new = [LexicalEntry(next(rows), i, "", f"{COMMON} {text}") for i, text in texts.items()]
        index.add(new)
        index.commit()
        live |= {entry.document: entry for entry in new}
    new_index = open_index(tmp_path_factory.mktemp("new"))
    new_index.add(live.values())
    new_index.commit()
    assert index.count() == len(live)
    assert index.languages() == new_index.languages()
    assert index.list_stems("w") == new_index.list_stems("w")
    for word in WORDS:
        idf = new_index.inverse_document_frequency(word)
        assert index.inverse_document_frequency(word) == pytest.approx(idf)
    for query in QUERIES:
        scores = dict(index.search(query, 100))
        assert scores == pytest.approx(dict(new_index.search(query, 100)), rel=1e-5)
    index.replace_all(live.values())
    index.commit()
    for query in QUERIES:
        assert index.search(query, 100) == new_index.search(query, 100)
    index.close()
    new_index.close()


def test_a_replacement_that_is_not_committed_changes_nothing(tmp_path: Path) -> None:
    index = open_index(tmp_path)
    index.add([LexicalEntry(1, 1, "", "waaa"), LexicalEntry(2, 2, "", "wbbb")])
    index.commit()
    index.replace_all([LexicalEntry(3, 3, "", "wccc")])
    assert sorted(index.rows()) == [1, 2]
    index.end_writing()
    index.close()
    assert sorted(open_index(tmp_path).rows()) == [1, 2]
