"""The document store in SQLite, and filters as SQL."""

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag import Chunk, Document, F, Filter, Mark
from rag.errors import DocumentNotFound, IndexDamaged, IndexNotFound, QueryError, RagIndexError
from rag.stores import LedgerEntry, PendingDocument, SqliteDocumentStore
from rag.stores.document_store import hash_text


@pytest.fixture
def document_store(tmp_path: Path) -> Iterator[SqliteDocumentStore]:
    opened = SqliteDocumentStore(tmp_path / "library.sqlite", create=True)
    yield opened
    opened.close()


def execute_sql(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(statement)
        connection.commit()


def make_entry(document: Document) -> LedgerEntry:
    return LedgerEntry(
        source=document.uri,
        source_version="1",
        content_hash="h",
        parser="p",
        chunker="c",
        digest=document.digest,
    )


def make_pending(document: Document, chunks: Sequence[Chunk] = ()) -> PendingDocument:
    vectors = np.ones((len(chunks), 2), dtype=np.float32)
    hashes = [hash_text(chunk.embedded_text) for chunk in chunks]
    return PendingDocument(document, make_entry(document), chunks, hashes, vectors)


def add_live(
    document_store: SqliteDocumentStore, document: Document, *spans: tuple[int, int]
) -> list[int]:
    chunks = [
        Chunk(
            id=f"{document.digest}-{a}", uri=document.uri, start=a, end=b, text=document.text[a:b]
        )
        for a, b in spans
    ]
    numbers, rows = document_store.add_pending([make_pending(document, chunks)], "embedder")
    document_store.make_live(numbers)
    return rows


def test_documents_and_chunks_are_read_back_exactly(document_store: SqliteDocumentStore) -> None:
    text = "é\0\r\n😀" * 30_000
    document = Document(
        uri="u",
        text=text,
        title="T",
        metadata={"a": (1, "x"), "b": True, "f": 1.5},
        marks=(Mark(start=0, end=len(text), kind="page", value=1),),
    )
    rows = add_live(document_store, document, (0, 5), (32_766, 32_771), (100_000, 150_000))
    assert document_store.document("u") == document
    for row, chunk in document_store.chunks(rows).items():
        assert row in rows
        assert chunk.text == text[chunk.start : chunk.end]
    assert document_store.text("u", 32_000, 70_000) == text[32_000:70_000]
    assert document_store.text("u", 149_999, 10**9) == text[149_999:]
    assert document_store.text("u", 5, 5) == ""
    assert document_store.location("u", 70_000) == {"page": 1}


def test_pending_and_deleted_documents_are_invisible(document_store: SqliteDocumentStore) -> None:
    old, new = (Document(uri="u", text=text) for text in ("old text", "new text"))
    (old_row,) = add_live(document_store, old, (0, 3))
    chunk = Chunk(id="new", uri="u", start=0, end=3, text="new")
    numbers, (new_row,) = document_store.add_pending([make_pending(new, [chunk])], "embedder")
    assert document_store.document("u").text == "old text"
    assert (
        set(document_store.chunks([old_row, new_row]))
        == set(document_store.live_documents_by_row([old_row, new_row]))
        == {old_row}
    )
    generation = document_store.generation
    document_store.make_live(numbers)
    assert document_store.generation > generation
    assert document_store.document("u").text == "new text"
    assert (
        set(document_store.chunks([old_row, new_row]))
        == set(document_store.live_documents_by_row([old_row, new_row]))
        == {new_row}
    )
    assert document_store.deleted_chunk_rows(10) == [old_row]


def test_row_numbers_are_never_reused(document_store: SqliteDocumentStore) -> None:
    rows = add_live(document_store, Document(uri="u", text="abc"), (0, 1), (1, 2))
    document_store.mark_deleted(["u"])
    document_store.remove_chunks(rows)
    document_store.remove_deleted_documents()
    assert min(add_live(document_store, Document(uri="u", text="abc"), (0, 1))) > max(rows)


def test_missing_and_damaged_files_raise_errors(
    document_store: SqliteDocumentStore, tmp_path: Path
) -> None:
    with pytest.raises(DocumentNotFound, match="no document nowhere"):
        document_store.document("nowhere")
    with pytest.raises(IndexNotFound, match="rag ingest"):
        SqliteDocumentStore(tmp_path / "nowhere" / "library.sqlite")
    (tmp_path / "broken.sqlite").write_bytes(b"no database at all" * 100)
    with pytest.raises(IndexDamaged, match="is damaged"):
        SqliteDocumentStore(tmp_path / "broken.sqlite")
    execute_sql(document_store.path, "UPDATE meta SET value = '99' WHERE key = 'schema'")
    with pytest.raises(RagIndexError, match="another version"):
        SqliteDocumentStore(document_store.path)


def test_failed_transaction_is_rolled_back(document_store: SqliteDocumentStore) -> None:
    with pytest.raises(ZeroDivisionError), document_store.transaction():
        document_store._write_meta("key", "value")
        raise ZeroDivisionError
    assert document_store.meta("key") is None


SCALARS = st.one_of(
    st.booleans(),
    st.integers(-3, 3),
    st.sampled_from([2**63 - 1, -(2**63), 2**53 + 1]),
    st.sampled_from([0.0, 1.0, 1.5, -2.0, 1e300, 2.0**53, 1 / 3, 0.1 + 0.2, 123456789.12345679]),
    st.sampled_from(
        ["a\0b", "a\0", "", "1", "true", "a", "ab", "Ä", 'q"uote', "1.5", "%", "_", "😀"]
    ),
)
FIELDS = st.sampled_from(["x", "y", "a.b", 'we"ird', "日本", "uri", "title"])
METADATA = st.dictionaries(FIELDS, st.one_of(SCALARS, st.lists(SCALARS, max_size=3)), max_size=3)
ORDERED = SCALARS.filter(lambda value: not isinstance(value, bool))
COMPARISONS = st.one_of(
    st.builds(lambda f, v: F(f) == v, FIELDS, SCALARS),
    st.builds(lambda f, v: F(f) != v, FIELDS, SCALARS),
    st.builds(lambda f, v: F(f).in_(v), FIELDS, st.lists(SCALARS, max_size=3)),
    st.builds(lambda f, v: F(f).not_in(v), FIELDS, st.lists(SCALARS, max_size=3)),
    st.builds(lambda f, v: F(f) < v, FIELDS, ORDERED),
    st.builds(lambda f, v: F(f) <= v, FIELDS, ORDERED),
    st.builds(lambda f, v: F(f) > v, FIELDS, ORDERED),
    st.builds(lambda f, v: F(f) >= v, FIELDS, ORDERED),
    st.builds(lambda f, v: F(f).startswith(v), FIELDS, st.sampled_from(["", "a", "%", "1", "u"])),
    st.builds(lambda f, v: F(f).contains(v), FIELDS, st.sampled_from(["", "b", "_", "1", "😀"])),
    st.builds(lambda f: F(f).exists(), FIELDS),
)
FILTERS = st.recursive(
    COMPARISONS,
    lambda inner: st.one_of(
        st.builds(lambda a, b: a & b, inner, inner),
        st.builds(lambda a, b: a | b, inner, inner),
        st.builds(lambda a: ~a, inner),
    ),
    max_leaves=6,
)


@given(st.lists(METADATA, min_size=1, max_size=6), st.lists(FILTERS, min_size=1, max_size=5))
@settings(max_examples=200)
def test_filters_in_sql_match_filters_in_python(
    tmp_path_factory: pytest.TempPathFactory,
    metadata: list[dict[str, object]],
    filters: list[Filter],
) -> None:
    document_store = SqliteDocumentStore(
        tmp_path_factory.mktemp("f") / "library.sqlite", create=True
    )
    documents = [
        Document.model_validate({"uri": f"u{i}", "text": "t", "title": "1", "metadata": fields})
        for i, fields in enumerate(metadata)
    ]
    numbers, _ = document_store.add_pending([make_pending(d) for d in documents], "e")
    document_store.make_live(numbers)
    for where in filters:
        expected = {n for n, d in zip(numbers, documents, strict=True) if where.matches(d)}
        assert set(document_store.matching_documents(where)) == expected
        assert (
            set(document_store.matching_documents(json.loads(json.dumps(where.to_json()))))
            == expected
        )
    document_store.close()


def test_filters_may_have_thousands_of_conditions(document_store: SqliteDocumentStore) -> None:
    add_live(document_store, Document(uri="u", text="t", metadata={"x": 3}), (0, 1))
    any_of = F("x") == -1
    for i in range(5_000):
        any_of = any_of | (F("x") == i)
    assert document_store.matching_documents(any_of)
    assert not document_store.matching_documents({f"x{i}": i for i in range(2_000)})
    assert document_store.matching_documents(F("x").in_(range(100_000)))


def test_filter_values_must_be_scalars(document_store: SqliteDocumentStore) -> None:
    with pytest.raises(QueryError, match="'x' has no operator 'y'"):
        document_store.matching_documents({"x": {"y": 1}})
    with pytest.raises(QueryError, match="cannot compare"):
        document_store.matching_documents({"x": [{"y": 1}]})


def test_filters_cannot_inject_sql(document_store: SqliteDocumentStore) -> None:
    add_live(document_store, Document(uri="u", text="t"), (0, 1))
    assert document_store.matching_documents({"x' OR '1'='1": "a' OR 1=1 --"}) == {}
    assert document_store.uris("u' OR 1=1 --") == []
