import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag import Chunk, Document, F, Filter, Mark
from rag.errors import DocumentNotFound, IndexDamaged, IndexNotFound, QueryError, RagIndexError
from rag.stores.sqlite import LedgerEntry, SqliteDocumentStore


@pytest.fixture
def library(tmp_path: Path) -> Iterator[SqliteDocumentStore]:
    opened = SqliteDocumentStore(tmp_path / "library.sqlite", create=True)
    yield opened
    opened.close()


def entry(document: Document) -> LedgerEntry:
    return LedgerEntry(
        source=document.uri,
        source_version="1",
        content_hash="h",
        parser="p",
        chunker="c",
        digest=document.digest,
    )


def add(library: SqliteDocumentStore, document: Document, *spans: tuple[int, int]) -> list[int]:
    chunks = [
        Chunk(
            id=f"{document.digest}-{a}", uri=document.uri, start=a, end=b, text=document.text[a:b]
        )
        for a, b in spans
    ]
    numbers, rows = library.add_pending(
        [(document, entry(document), chunks, [b"h" * 16] * len(chunks))], "embedder", []
    )
    library.make_live(numbers)
    return rows


def test_texts_come_back_exactly(library: SqliteDocumentStore) -> None:
    text = "é\0\r\n😀" * 30_000
    document = Document(
        uri="u",
        text=text,
        title="T",
        metadata={"a": (1, "x"), "b": True, "f": 1.5},
        marks=(Mark(start=0, end=len(text), kind="page", value=1),),
    )
    rows = add(library, document, (0, 5), (32_766, 32_771), (100_000, 150_000))
    assert library.document("u") == document
    for row, chunk in library.chunks(rows).items():
        assert row in rows
        assert chunk.text == text[chunk.start : chunk.end]
    assert library.text("u", 32_000, 70_000) == text[32_000:70_000]
    assert library.text("u", 149_999, 10**9) == text[149_999:]
    assert library.text("u", 5, 5) == ""
    assert library.location("u", 70_000) == {"page": 1}


def test_pending_and_doomed_are_invisible(library: SqliteDocumentStore) -> None:
    old, new = (Document(uri="u", text=text) for text in ("old text", "new text"))
    (old_row,) = add(library, old, (0, 3))
    chunk = Chunk(id="new", uri="u", start=0, end=3, text="new")
    numbers, (new_row,) = library.add_pending(
        [(new, entry(new), [chunk], [b"n" * 16])], "embedder", []
    )
    assert library.document("u").text == "old text"
    assert (
        set(library.chunks([old_row, new_row]))
        == set(library.live_of([old_row, new_row]))
        == {old_row}
    )
    generation = library.generation
    library.make_live(numbers)
    assert library.generation > generation
    assert library.document("u").text == "new text"
    assert (
        set(library.chunks([old_row, new_row]))
        == set(library.live_of([old_row, new_row]))
        == {new_row}
    )
    assert library.deleted_chunk_rows(10) == [old_row]


def test_row_numbers_are_never_used_twice(library: SqliteDocumentStore) -> None:
    rows = add(library, Document(uri="u", text="abc"), (0, 1), (1, 2))
    library.mark_deleted(["u"])
    library.remove_chunks(rows)
    library.remove_deleted_documents()
    assert min(add(library, Document(uri="u", text="abc"), (0, 1))) > max(rows)


def test_errors(library: SqliteDocumentStore, tmp_path: Path) -> None:
    with pytest.raises(DocumentNotFound, match="no document nowhere"):
        library.document("nowhere")
    with pytest.raises(IndexNotFound, match="rag ingest"):
        SqliteDocumentStore(tmp_path / "nowhere" / "library.sqlite")
    (tmp_path / "broken.sqlite").write_bytes(b"no database at all" * 100)
    with pytest.raises(IndexDamaged, match="is damaged"):
        SqliteDocumentStore(tmp_path / "broken.sqlite")
    library.set_meta("schema", "99")
    with pytest.raises(RagIndexError, match="another version"):
        SqliteDocumentStore(library.path)


def test_a_failed_transaction_leaves_nothing(library: SqliteDocumentStore) -> None:
    with pytest.raises(ZeroDivisionError), library.transaction():
        library._set_meta("key", "value")
        raise ZeroDivisionError
    assert library.meta("key") is None


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
def test_filters_mean_what_plain_python_says(
    tmp_path_factory: pytest.TempPathFactory,
    metadata: list[dict[str, object]],
    filters: list[Filter],
) -> None:
    library = SqliteDocumentStore(tmp_path_factory.mktemp("f") / "library.sqlite", create=True)
    documents = [
        Document.model_validate({"uri": f"u{i}", "text": "t", "title": "1", "metadata": fields})
        for i, fields in enumerate(metadata)
    ]
    numbers, _ = library.add_pending([(d, entry(d), [], []) for d in documents], "e", [])
    library.make_live(numbers)
    for where in filters:
        expected = {n for n, d in zip(numbers, documents, strict=True) if where.matches(d)}
        assert set(library.matching_documents(where)) == expected
        assert set(library.matching_documents(json.loads(json.dumps(where.to_json())))) == expected
    library.close()


def test_a_filter_of_thousands(library: SqliteDocumentStore) -> None:
    add(library, Document(uri="u", text="t", metadata={"x": 3}), (0, 1))
    any_of = F("x") == -1
    for i in range(5_000):
        any_of = any_of | (F("x") == i)
    assert library.matching_documents(any_of)
    assert not library.matching_documents({f"x{i}": i for i in range(2_000)})
    assert library.matching_documents(F("x").in_(range(100_000)))


def test_a_filter_that_is_no_scalar_is_refused(library: SqliteDocumentStore) -> None:
    with pytest.raises(QueryError, match="compares a field with scalars"):
        library.matching_documents({"x": {"y": 1}})  # type: ignore[dict-item]


def test_filters_cannot_inject_sql(library: SqliteDocumentStore) -> None:
    add(library, Document(uri="u", text="t"), (0, 1))
    assert library.matching_documents({"x' OR '1'='1": "a' OR 1=1 --"}) == {}
    assert library.uris("u' OR 1=1 --") == []
