from contextlib import closing
from pathlib import Path

import pytest

from rag.index.live_rows import LiveRows
from rag.stores.document_store import DocumentStore
from rag.stores.sqlite import SqliteDocumentStore
from rag.testing.document_store import make_pending
from rag.types import Document


def add(store: DocumentStore, uri: str, text: str) -> list[int]:
    numbers, rows = store.add_pending([make_pending(Document(uri=uri, text=text))], "embedder")
    store.make_live(numbers)
    return rows


def test_many_lookups_are_answered_from_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(SqliteDocumentStore(tmp_path / "documents.sqlite", create=True)) as store:
        old_rows = add(store, "a:1", "the old text of a document " * 5)
        other_rows = add(store, "a:2", "another document " * 5)
        rows = [*reversed(old_rows), *other_rows, other_rows[-1] + 1]
        expected = store.live_documents_by_row(rows)
        assert len(expected) == len(rows) - 1
        live_rows = LiveRows(store)
        assert live_rows.find_documents(rows[:2]) == store.live_documents_by_row(rows[:2])
        assert live_rows.find_documents(rows) == expected
        with monkeypatch.context() as patch:
            patch.setattr(store, "live_documents_by_row", None)  # all are in memory now
            assert live_rows.find_documents(rows) == expected
            assert live_rows.find_documents([]) == {}
            assert live_rows.find_documents([10**9, rows[0]]) == {rows[0]: expected[rows[0]]}
        new_rows = add(store, "a:1", "the new text")
        found = live_rows.find_documents([*rows, *new_rows])
        assert set(found) == {*other_rows, *new_rows}


def test_few_lookups_are_asked_of_the_store(tmp_path: Path) -> None:
    with closing(SqliteDocumentStore(tmp_path / "documents.sqlite", create=True)) as store:
        live_rows = LiveRows(store)
        assert live_rows.find_documents([1, 2]) == {}
        rows = add(store, "a:1", "the old text of a document " * 5)
        live_rows.find_documents(rows[:1])
        assert live_rows._arrays is None
