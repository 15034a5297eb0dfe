"""Verify, repair, rebuild, compact, snapshots, namespaces, and passing to another embedder."""

import shutil
import sqlite3
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors import Files
from connectors.parsers.auto import AutoParser
from rag import DenseRetriever, HeadingChunker, HybridRetriever, Pipeline, StaticEmbedder
from rag.errors import (
    ConfigError,
    EmbedderMismatch,
    EmbeddingError,
    IndexDamaged,
    IndexLocked,
    IndexNotFound,
    RagIndexError,
)
from rag.index import Index, maintenance
from rag.index import index as index_module
from rag.index.paths import escaped, namespaces
from rag.index.store_set import numbers
from rag.ingestion import IngestReport, batches, sync


class Other(StaticEmbedder):
    """Another embedder: the same vectors turned around."""

    name = "other"

    def embed_documents(self, texts: Sequence[str]) -> Any:
        return np.ascontiguousarray(super().embed_documents(texts)[:, ::-1])


class Refusing(Other):
    """Refuses one text."""

    name = "refusing"

    def embed_documents(self, texts: Sequence[str]) -> Any:
        if any("3 May" in text for text in texts):
            raise EmbeddingError("refused")
        return super().embed_documents(texts)


def sql(index: Index, statement: str) -> None:
    """Damage the library behind its back."""
    connection = sqlite3.connect(index.path / "library.sqlite")
    connection.execute(statement)
    connection.commit()
    connection.close()


def filled(place: Path, folder: Path) -> Index:
    index = Index(place, StaticEmbedder(), create=True)
    sync(index, [Files(path=folder)], AutoParser(), HeadingChunker(size=48, overlap=0, smallest=8))
    return index


def remove_vectors(index: Index) -> None:
    index.vectors.delete(list(index.document_store.live_rows())[:2])


def add_a_vector(index: Index) -> None:
    index.vectors.upsert([10_000], np.ones((1, 256), dtype=np.float32))


def change_a_vector(index: Index) -> None:
    index.vectors.upsert(
        list(index.document_store.live_rows())[:1], np.ones((1, 256), dtype=np.float32)
    )


def remove_words(index: Index) -> None:
    index.lexical.delete(list(index.document_store.live_rows())[:1])
    index.lexical.commit()
    index.lexical.close()


def double_words(index: Index) -> None:
    index.lexical.add([(next(iter(index.document_store.live_rows())), 1, "", "twice")])
    index.lexical.commit()
    index.lexical.close()


def delete_tantivy(index: Index) -> None:
    shutil.rmtree(index.stores.path / "tantivy")


def lose_embeddings(index: Index) -> None:
    sql(index, "DELETE FROM embeddings WHERE number <= 2")


def poison_an_embedding(index: Index) -> None:
    nan = np.full(256, np.nan, dtype=np.float32).tobytes().hex()
    sql(index, f"UPDATE embeddings SET vector = x'{nan}' WHERE number = 1")


@pytest.mark.parametrize(
    ("damage", "store", "said"),
    [
        (remove_vectors, "vectors", "2 chunks are missing"),
        (add_a_vector, "vectors", "1 are there that should not be"),
        (change_a_vector, "vectors", "1 are not what the library has"),
        (remove_words, "words", "1 chunks are missing"),
        (double_words, "words", "1 are not what the library has"),
        (delete_tantivy, "words", "there is no folder"),
        (lose_embeddings, "library", "2 chunks have no vector"),
        (poison_an_embedding, "library", "1 chunks have no vector"),
    ],
)
def test_damage_is_found_and_mended(
    tmp_path: Path, folder: Path, damage: Callable[[Index], None], store: str, said: str
) -> None:
    index = filled(tmp_path / "i", folder)
    before = set(index.document_store.live_rows())
    assert maintenance.verify(index).fine
    damage(index)
    index.close()
    index = Index(tmp_path / "i", StaticEmbedder(), create=True)
    found = maintenance.verify(index)
    assert [problem.store for problem in found.problems] == [store]
    assert said in found.problems[0].what
    assert maintenance.repair(index).lost == []
    assert maintenance.verify(index).fine
    assert set(index.document_store.live_rows()) == before
    index.close()


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM chunks WHERE row = 1",
        "UPDATE blocks SET text = x'00' WHERE document = 1",
        "DELETE FROM blocks WHERE document = 1",
        "UPDATE documents SET digest = 'x' WHERE id = 1",
        "UPDATE documents SET metadata = '{' WHERE id = 1",
        'UPDATE chunks SET "end" = "end" + 1000 WHERE document = 1',
    ],
)
def test_a_document_that_cannot_be_read_back_is_named(
    tmp_path: Path, folder: Path, statement: str
) -> None:
    index = filled(tmp_path / "i", folder)
    (uri,) = [uri for uri in index.document_store.uris() if "handbook" in uri]
    sql(index, statement)
    found = maintenance.verify(index)
    assert [problem.uri for problem in found.problems if problem.uri] == [uri]
    assert maintenance.repair(index).lost == [uri]
    assert maintenance.verify(index).fine
    assert len(index.document_store.uris()) == 1
    index.close()
    index = filled(tmp_path / "i", folder)  # its source is read again
    assert len(index.document_store.uris()) == 2
    assert maintenance.verify(index).fine
    index.close()


def test_a_truncated_library_is_told_and_not_touched(tmp_path: Path, folder: Path) -> None:
    with Pipeline(index=tmp_path / "i") as pipeline:
        pipeline.ingest(folder)
        maintenance.snapshot(pipeline.open(), "good")
    library = tmp_path / "i" / "library.sqlite"
    whole = library.read_bytes()
    for length in (0, 100, 4096, 20_000, len(whole) // 2, len(whole) - 4096):
        library.write_bytes(whole[:length])
        with Pipeline(index=tmp_path / "i") as pipeline:
            with pytest.raises(Exception, match=r"damaged|malformed|another version") as told:
                pipeline.ingest(folder)
                assert maintenance.verify(pipeline.open()).fine
                raise IndexDamaged("not malformed at all")
        assert type(told.value).__module__ == "rag.errors"
    library.write_bytes(whole[:20_000])
    maintenance.restore_damaged(tmp_path / "i", "good")
    with Pipeline(index=tmp_path / "i") as pipeline:
        assert pipeline.ingest(folder).unchanged == 2
        assert maintenance.verify(pipeline.open()).fine


@pytest.mark.parametrize("gone", ["deleted", "emptied"])
def test_a_library_that_is_gone_is_not_begun_anew(tmp_path: Path, folder: Path, gone: str) -> None:
    with Pipeline(index=tmp_path / "i") as pipeline:
        pipeline.ingest(folder)
        maintenance.snapshot(pipeline.open(), "good")
        library = pipeline.open().document_store.path
    library.unlink()
    if gone == "emptied":
        library.touch()
    with Pipeline(index=tmp_path / "i") as pipeline, pytest.raises(IndexDamaged, match="restore"):
        pipeline.ingest(folder)
    with Pipeline(index=tmp_path / "i") as pipeline:
        for work in (
            lambda: pipeline.search("kite"),
            lambda: pipeline.ingest(folder, dry_run=True),
        ):
            with pytest.raises(IndexDamaged, match="restore"):
                work()
    maintenance.restore_damaged(tmp_path / "i", "good")
    with Pipeline(index=tmp_path / "i") as pipeline:
        assert pipeline.ingest(folder).unchanged == 2
        assert maintenance.verify(pipeline.open()).fine


def test_a_damaged_snapshot_is_called_so(tmp_path: Path, folder: Path) -> None:
    with Pipeline(index=tmp_path / "i") as pipeline:
        pipeline.ingest(folder)
        for name in ("bad", "good"):
            maintenance.snapshot(pipeline.open(), name)
        bad = tmp_path / "i" / "snapshots" / "bad.sqlite"
        for content in (b"", b"garbage" * 999, bad.read_bytes()[:9_000]):
            bad.write_bytes(content)
            found = {s.name: s.damaged for s in maintenance.snapshots(tmp_path / "i")}
            assert found.keys() == {"bad", "good"} and not found["good"]
            with pytest.raises(IndexDamaged, match=r"bad.sqlite is damaged itself"):
                maintenance.restore(pipeline.open(), "bad")
        assert maintenance.verify(pipeline.open()).fine


def test_an_open_pipeline_notices_that_its_index_was_replaced(tmp_path: Path, folder: Path) -> None:
    with Pipeline(index=tmp_path / "i") as pipeline:
        pipeline.ingest(folder)
        old = Index(tmp_path / "i", StaticEmbedder())
        assert pipeline.search("flight of May")
        shutil.rmtree(tmp_path / "i")
        with pytest.raises(IndexNotFound):
            pipeline.search("flight of May")
        with pytest.raises(RagIndexError, match="replaced while it was open"):
            old.read_consistent(lambda: None)
        old.close()
        (folder / "notes.txt").unlink()
        assert pipeline.ingest(folder).added == 1
        assert {h.chunk.uri.rpartition("/")[2] for h in pipeline.search("flight of May kite")} == {
            "handbook.md"
        }
        assert maintenance.verify(pipeline.open()).fine


def test_an_open_reader_sees_what_was_repaired(tmp_path: Path, folder: Path) -> None:
    index = filled(tmp_path / "i", folder)
    whole = len(index.document_store.live_rows())
    sql(index, "DELETE FROM embeddings WHERE number = 1")
    reader = Index(tmp_path / "i", StaticEmbedder())

    def found() -> int:
        return len(DenseRetriever().retrieve("kite", k=100, index=reader))

    assert found() == whole - 1
    maintenance.repair(index)
    assert found() == whole
    reader.close()
    index.close()


def test_what_an_interrupted_restore_left_is_thrown_away(tmp_path: Path, folder: Path) -> None:
    index = filled(tmp_path / "i", folder)
    maintenance.snapshot(index, "s")
    (index.path / "snapshots" / "restoring-x").mkdir()
    (index.path / "snapshots" / "t.sqlite.partial").touch()
    dropped = index.path / "namespaces" / "x.dropped"
    dropped.mkdir(parents=True)
    (dropped / "library.sqlite").touch()
    assert namespaces(index.path) == []
    filled(tmp_path / "i", folder).close()
    assert [path.name for path in (index.path / "snapshots").iterdir()] == ["s.sqlite"]
    assert not dropped.exists()
    index.close()


def test_compacting_gives_space_back(tmp_path: Path, folder: Path) -> None:
    index = filled(tmp_path / "i", folder)
    for i in range(30):
        (folder / "notes.txt").write_text(f"Version {i} of the notes. " * 500)
        filled(tmp_path / "i", folder).close()
    before, after = maintenance.compact(index)
    assert after < before * 0.8
    assert maintenance.verify(index).fine
    rows = list(index.document_store.live_rows())
    texts = {chunk.embedded_text for chunk in index.document_store.chunks(rows).values()}
    assert index.document_store.stats().cached_embeddings == len(texts)
    assert numbers(index.path) == [index.document_store.state.derived]
    index.close()


# -- snapshots -----------------------------------------------------------------------------


def uris(index: Index) -> set[str]:
    hits = HybridRetriever().retrieve("kite flight battery text", k=100, index=index)
    return {hit.chunk.uri.rpartition("/")[2] for hit in hits}


def test_going_back_to_a_snapshot(tmp_path: Path, folder: Path) -> None:
    index = filled(tmp_path / "i", folder)
    reader = Index(tmp_path / "i", StaticEmbedder())
    assert uris(reader) == {"handbook.md", "notes.txt"}
    taken = maintenance.snapshot(index, "first one")
    assert (taken.name, taken.documents) == ("first one", 2)
    (folder / "notes.txt").unlink()
    (folder / "new.txt").write_text("A new text about a kite.")
    index.close()
    index = filled(tmp_path / "i", folder)
    maintenance.snapshot(index, "second")
    highest = max(list(index.document_store.live_rows()))
    assert uris(reader) == uris(index) == {"handbook.md", "new.txt"}
    maintenance.restore(index, "first one")
    assert uris(reader) == uris(index) == {"handbook.md", "notes.txt"}
    assert maintenance.verify(index).fine
    (folder / "later.txt").write_text("A later text about a kite.")
    index.close()
    index = filled(tmp_path / "i", folder)
    assert max(list(index.document_store.live_rows())) > highest  # no row number is used twice
    maintenance.restore(index, "second")
    assert uris(reader) == {"handbook.md", "new.txt"}
    assert [snapshot.name for snapshot in maintenance.snapshots(tmp_path / "i")] == [
        "first one",
        "second",
    ]
    with pytest.raises(ConfigError, match="already"):
        maintenance.snapshot(index, "second")
    with pytest.raises(ConfigError, match="no snapshot 'third'"):
        maintenance.restore(index, "third")
    for name in ("", " ", "a\nb", "x" * 65, "\ud800"):
        with pytest.raises(ConfigError, match="is no name"):
            maintenance.snapshot(index, name)
    maintenance.snapshot(index, "../../etc/passwd")
    assert {path.parent for path in tmp_path.rglob("*.sqlite")} == {
        tmp_path / "i",
        tmp_path / "i" / "snapshots",
    }
    reader.close()
    index.close()


def test_a_snapshot_during_an_ingest_is_of_one_moment(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "_BATCH_CHUNKS", 5)
    for i in range(60):
        (folder / f"{i}.txt").write_text(f"Text number {i} about a kite.")
    taken: list[maintenance.Snapshot] = []
    with Pipeline(index=tmp_path / "i") as pipeline:

        def snap(report: IngestReport) -> None:
            taken.append(maintenance.snapshot(pipeline.open(), f"{len(taken)} at {report.seen}"))

        pipeline.ingest(folder, progress=snap)
        assert len(taken) > 5
        for snapshot in taken[:3]:
            maintenance.restore(pipeline.open(), snapshot.name)
            assert maintenance.verify(pipeline.open()).fine
            assert pipeline.stats().documents == snapshot.documents == int(snapshot.name.split()[2])


def test_searches_go_on_while_stores_are_built_anew(tmp_path: Path, folder: Path) -> None:
    with Pipeline(index=tmp_path / "i") as pipeline, Pipeline(index=tmp_path / "i") as reader:
        pipeline.ingest(folder)
        maintenance.snapshot(pipeline.open(), "s")
        done, errors, searches = threading.Event(), [], []

        def search(searching: Pipeline) -> None:
            try:
                while not done.is_set():
                    searches.append(len(searching.search("kite propeller flight")))
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=search, args=(p,)) for p in (pipeline, reader, reader)]
        for thread in threads:
            thread.start()
        for _ in range(8):
            maintenance.rebuild(pipeline.open())
            maintenance.restore(pipeline.open(), "s")
        done.set()
        for thread in threads:
            thread.join()
        assert errors == []
        assert set(searches) == {len(pipeline.search("kite propeller flight"))}


def test_no_search_falls_between_two_sets_of_stores(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the library's switch and that of the stores, a search waits."""
    with Pipeline(index=tmp_path / "i") as pipeline:
        pipeline.ingest(folder)
        whole = len(pipeline.search("kite propeller flight"))
        maintenance.snapshot(pipeline.open(), "s")
        found: list[int] = []
        original = Index.use_stores

        def slowly(index: Index, fresh: Any) -> None:
            thread = threading.Thread(
                target=lambda: found.append(len(pipeline.search("kite propeller flight")))
            )
            thread.start()
            thread.join(0.3)  # it cannot finish before the stores are there
            original(index, fresh)
            threads.append(thread)

        threads: list[threading.Thread] = []
        monkeypatch.setattr(Index, "use_stores", slowly)
        maintenance.restore(pipeline.open(), "s")
        maintenance.rebuild(pipeline.open())
        for thread in threads:
            thread.join()
        assert found == [whole, whole]


# -- another embedder ----------------------------------------------------------------------


@pytest.mark.parametrize("exact", [64 * 2**20, 0], ids=["compared", "Chroma"])
def test_another_embedder_takes_over_at_once(
    tmp_path: Path, folder: Path, exact: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_module, "_EXACT", exact)
    monkeypatch.setattr(batches, "_BATCH_CHUNKS", 1)
    old = Pipeline(index=tmp_path / "i", retriever=DenseRetriever())
    old.ingest(folder)
    before = [hit.chunk.text for hit in old.search("propeller of nylon")]
    new = old.model_copy(update={"embedder": Other()})
    with pytest.raises(EmbedderMismatch, match=r"embedder static, .* has other.*rag ingest"):
        new.search("propeller")
    during: list[list[str]] = []

    def ask(report: IngestReport) -> None:
        if report.reembedded and not report.seen:
            during.append([hit.chunk.text for hit in old.search("propeller of nylon")])

    planned = new.ingest(folder, dry_run=True)
    report = new.ingest(folder, progress=ask)
    assert (planned.reembedded, planned.embedded) == (2, report.embedded)
    assert (report.reembedded, report.unchanged) == (2, 2)
    assert during and all(texts == before for texts in during)
    assert [hit.chunk.text for hit in new.search("propeller of nylon")] == before
    with pytest.raises(EmbedderMismatch, match=r"embedder other, .* has static"):
        old.search("propeller")
    assert maintenance.verify(new.open()).fine
    back = old.model_copy()
    again = back.ingest(folder)
    assert (again.reembedded, again.embedded) == (2, 0)  # all still in the cache
    assert [hit.chunk.text for hit in back.search("propeller of nylon")] == before
    for pipeline in (old, new, back):
        pipeline.close()


def test_an_embedder_that_refuses_a_document_takes_nothing_over(
    tmp_path: Path, folder: Path
) -> None:
    with Pipeline(index=tmp_path / "i") as old:
        old.ingest(folder)
        with Pipeline(index=tmp_path / "i", embedder=Refusing()) as new:
            with pytest.raises(EmbeddingError, match=r"notes.txt: refused"):
                new.ingest(folder)
        assert old.search("kite")
        assert old.ingest(folder).unchanged == 2
        assert maintenance.verify(old.open()).fine


def test_only_what_depends_on_a_change_is_done_again(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Pipeline(index=tmp_path / "i") as pipeline:
        pipeline.ingest(folder)
        smaller = pipeline.model_copy(
            update={"chunker": HeadingChunker(size=16, overlap=0, smallest=8)}
        )
        with monkeypatch.context() as patch:  # the text is in the library
            patch.setattr(AutoParser, "parse", None)
            assert smaller.ingest(folder).updated == 2
        assert maintenance.verify(smaller.open()).fine
        smaller.close()


# -- namespaces ----------------------------------------------------------------------------


def test_no_filter_leads_out_of_a_namespace(tmp_path: Path, folder: Path) -> None:
    (folder / "secret.md").write_text("---\nnamespace: alice\ngroup: a\n---\nThe kite is secret.\n")
    with Pipeline(index=tmp_path / "i") as root:
        root.ingest(folder / "handbook.md")
        alice, bob = root.with_namespace("alice"), root.with_namespace("bob")
        alice.ingest(folder / "secret.md")
        bob.ingest(folder / "notes.txt")
        for where in (
            None,
            {"namespace": "alice"},
            {"namespace": ["alice", "bob", ""]},
            {"uri": (folder / "secret.md").as_uri()},
            {"group": "a"},
            {"mime": "text/markdown"},
            {"'; DROP TABLE documents; --": "x' OR 1=1"},
        ):
            for pipeline, own in ((bob, "notes.txt"), (root, "handbook.md")):
                found = pipeline.search("the kite is secret", where=where)
                assert {hit.chunk.uri.rpartition("/")[2] for hit in found} <= {own}
        assert bob.delete((folder / "secret.md").as_uri()) == 0
        assert alice.stats().documents == 1
        assert namespaces(tmp_path / "i") == ["alice", "bob"]
        with pytest.raises(IndexNotFound, match="no namespace 'carol'"):
            root.with_namespace("carol").search("kite")
        for closing in (alice, bob):
            closing.close()
        maintenance.drop(tmp_path / "i", "alice")
        assert namespaces(tmp_path / "i") == ["bob"]
        assert bob.search("kite")
        assert root.search("kite")
        bob.close()


@pytest.mark.parametrize("name", ["", "..", "../bob", "a/b", "a\0b", "/etc", "x" * 65, "\ud800"])
def test_hostile_names_stay_in_their_place(tmp_path: Path, folder: Path, name: str) -> None:
    pipeline = Pipeline(index=tmp_path / "deep" / "i")
    try:
        hostile = pipeline.with_namespace(name)
    except ConfigError:
        return
    hostile.ingest(folder)
    assert [path.parent.parent for path in tmp_path.rglob("library.sqlite")] == [
        tmp_path / "deep" / "i" / "namespaces"
    ]
    assert namespaces(tmp_path / "deep" / "i") == [name]
    hostile.close()


@given(st.lists(st.text(min_size=1, max_size=8), min_size=2, max_size=2, unique=True))
@settings(max_examples=300)
def test_different_names_are_different_on_any_file_system(names: list[str]) -> None:
    try:
        first, second = (escaped(name) for name in names)
    except UnicodeEncodeError:
        return
    assert first != second
    assert first.lower() == first and second.lower() == second
    assert not set(first) & set("/\\.:*? ")


# -- locks ---------------------------------------------------------------------------------


def test_care_waits_for_no_writer(tmp_path: Path, folder: Path) -> None:
    index = filled(tmp_path / "i", folder)
    with index.writing():
        for work in (
            maintenance.verify,
            maintenance.repair,
            maintenance.rebuild,
            maintenance.compact,
        ):
            with pytest.raises(IndexLocked):
                work(index)
        maintenance.snapshot(index, "meanwhile")  # this one need not wait
    index.close()


def test_stores_deleted_under_an_open_index_are_filled_again(tmp_path: Path, folder: Path) -> None:
    with Pipeline(index=tmp_path / "i") as pipeline:
        pipeline.ingest(folder)
        assert pipeline.search("kite")
        for name in ("tantivy", "chroma"):
            shutil.rmtree(pipeline.open().stores.path / name)
            report = pipeline.ingest(folder)
            assert (report.unchanged, report.embedded) == (2, 0)
            assert maintenance.verify(pipeline.open()).fine
            assert pipeline.search("kite")
