"""Verify, repair, rebuild and compact; indexes that are damaged, replaced or locked."""

import random
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from rag import DenseRetriever, Pipeline, StaticEmbedder
from rag.errors import IndexDamaged, IndexLocked, IndexNotFound, RagIndexError
from rag.index import Index, commit_protocol, maintenance
from rag.index.store_set import list_store_set_numbers
from rag.stores.lexical_index import BM25Query
from rag.stores.tantivy import TantivyIndex
from tests.index.helpers import (
    add_vector,
    change_vector,
    delete_tantivy,
    duplicate_words,
    execute_sql,
    ingest_folder,
    lose_embeddings,
    remove_vectors,
    remove_words,
    store_nan_embedding,
)


@pytest.mark.parametrize(
    ("damage", "store", "message"),
    [
        (remove_vectors, "vectors", "2 chunks are missing"),
        (add_vector, "vectors", "1 chunks should not be in the store"),
        (change_vector, "vectors", "1 chunks differ from the document store"),
        (remove_words, "words", "1 chunks are missing"),
        (duplicate_words, "words", "1 chunks differ from the document store"),
        (delete_tantivy, "words", "there is no folder"),
        (lose_embeddings, "library", "2 chunks have no vector"),
        (store_nan_embedding, "library", "1 chunks have no vector"),
    ],
)
def test_verify_finds_and_repair_fixes_damage(
    tmp_path: Path, folder: Path, damage: Callable[[Index], None], store: str, message: str
) -> None:
    index = ingest_folder(tmp_path / "i", folder)
    before = set(index.document_store.live_rows())
    assert maintenance.verify(index).is_intact
    damage(index)
    index.close()
    index = Index(tmp_path / "i", StaticEmbedder(), create=True)
    verification = maintenance.verify(index)
    assert [problem.store for problem in verification.problems] == [store]
    assert message in verification.problems[0].what
    assert maintenance.repair(index).lost_uris == []
    assert maintenance.verify(index).is_intact
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
def test_repair_deletes_and_names_unreadable_document(
    tmp_path: Path, folder: Path, statement: str
) -> None:
    index = ingest_folder(tmp_path / "i", folder)
    (uri,) = [uri for uri in index.document_store.uris() if "handbook" in uri]
    execute_sql(index, statement)
    verification = maintenance.verify(index)
    assert [problem.uri for problem in verification.problems if problem.uri] == [uri]
    assert maintenance.repair(index).lost_uris == [uri]
    assert maintenance.verify(index).is_intact
    assert len(index.document_store.uris()) == 1
    index.close()
    index = ingest_folder(tmp_path / "i", folder)  # reads its source again
    assert len(index.document_store.uris()) == 2
    assert maintenance.verify(index).is_intact
    index.close()


def test_truncated_document_store_is_reported_and_can_be_restored(
    tmp_path: Path, folder: Path
) -> None:
    with Pipeline(index=tmp_path / "i") as pipeline:
        pipeline.ingest(folder)
        maintenance.snapshot(pipeline.open(), "good")
    file = tmp_path / "i" / "library.sqlite"
    content = file.read_bytes()
    for length in (0, 100, 4096, 20_000, len(content) // 2, len(content) - 4096):
        file.write_bytes(content[:length])
        with Pipeline(index=tmp_path / "i") as pipeline:
            with pytest.raises(Exception, match=r"damaged|malformed|another version") as error:
                pipeline.ingest(folder)
                assert maintenance.verify(pipeline.open()).is_intact
                raise IndexDamaged("not malformed at all")
        assert type(error.value).__module__ == "rag.errors"
    file.write_bytes(content[:20_000])
    maintenance.restore_damaged(tmp_path / "i", "good")
    with Pipeline(index=tmp_path / "i") as pipeline:
        assert pipeline.ingest(folder).unchanged == 2
        assert maintenance.verify(pipeline.open()).is_intact


@pytest.mark.parametrize("damage", ["deleted", "emptied"])
def test_missing_document_store_is_not_created_again(
    tmp_path: Path, folder: Path, damage: str
) -> None:
    with Pipeline(index=tmp_path / "i") as pipeline:
        pipeline.ingest(folder)
        maintenance.snapshot(pipeline.open(), "good")
        file = pipeline.open().document_store.path
    file.unlink()
    if damage == "emptied":
        file.touch()
    with Pipeline(index=tmp_path / "i") as pipeline, pytest.raises(IndexDamaged, match="restore"):
        pipeline.ingest(folder)
    with Pipeline(index=tmp_path / "i") as pipeline:
        for call in (
            lambda: pipeline.search("kite"),
            lambda: pipeline.ingest(folder, dry_run=True),
        ):
            with pytest.raises(IndexDamaged, match="restore"):
                call()
    maintenance.restore_damaged(tmp_path / "i", "good")
    with Pipeline(index=tmp_path / "i") as pipeline:
        assert pipeline.ingest(folder).unchanged == 2
        assert maintenance.verify(pipeline.open()).is_intact


def test_open_pipeline_notices_that_its_index_was_replaced(tmp_path: Path, folder: Path) -> None:
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
        assert maintenance.verify(pipeline.open()).is_intact


def test_open_reader_sees_a_repair(tmp_path: Path, folder: Path) -> None:
    index = ingest_folder(tmp_path / "i", folder)
    chunk_count = len(index.document_store.live_rows())
    execute_sql(index, "DELETE FROM embeddings WHERE number = 1")
    reader = Index(tmp_path / "i", StaticEmbedder())

    def count_hits() -> int:
        return len(DenseRetriever().retrieve("kite", k=100, index=reader))

    assert count_hits() == chunk_count - 1
    maintenance.repair(index)
    assert count_hits() == chunk_count
    reader.close()
    index.close()


def test_compact_frees_space(tmp_path: Path, folder: Path) -> None:
    index = ingest_folder(tmp_path / "i", folder)
    for i in range(30):
        (folder / "notes.txt").write_text(f"Version {i} of the notes. " * 500)
        ingest_folder(tmp_path / "i", folder).close()
    before, after = maintenance.compact(index)
    assert after < before * 0.8
    assert maintenance.verify(index).is_intact
    rows = list(index.document_store.live_rows())
    texts = {chunk.embedded_text for chunk in index.document_store.chunks(rows).values()}
    assert index.document_store.stats().cached_embeddings == len(texts)
    assert list_store_set_numbers(index.path) == [index.document_store.state.store_set_number]
    index.close()


def test_maintenance_fails_while_a_writer_is_open(tmp_path: Path, folder: Path) -> None:
    index = ingest_folder(tmp_path / "i", folder)
    with index.open_writer():
        for command in (
            maintenance.verify,
            maintenance.repair,
            maintenance.rebuild,
            maintenance.compact,
        ):
            with pytest.raises(IndexLocked):
                command(index)
        maintenance.snapshot(index, "meanwhile")  # needs no lock
    index.close()


def test_deleted_stores_of_an_open_index_are_filled_again(tmp_path: Path, folder: Path) -> None:
    with Pipeline(index=tmp_path / "i") as pipeline:
        pipeline.ingest(folder)
        assert pipeline.search("kite")
        for name in ("tantivy", "chroma"):
            shutil.rmtree(pipeline.open().store_set.path / name)
            report = pipeline.ingest(folder)
            assert (report.unchanged, report.embedded) == (2, 0)
            assert maintenance.verify(pipeline.open()).is_intact
            assert pipeline.search("kite")


def test_example_in_the_module_docstring_runs(tmp_path: Path, folder: Path) -> None:
    with closing(ingest_folder(tmp_path / ".rag", folder)) as index:
        lose_embeddings(index)
    _, _, example = (maintenance.__doc__ or "").partition("Example:\n")
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(example)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout == "library: 2 chunks have no vector\n"


def test_store_set_of_another_document_store_is_filled_again(tmp_path: Path, folder: Path) -> None:
    with Pipeline(index=tmp_path / "i") as pipeline:
        pipeline.ingest(folder)
        expected = pipeline.search("battery")
    (tmp_path / "i" / "derived" / "1" / "document-store-id").write_text("another")
    with Pipeline(index=tmp_path / "i") as pipeline:
        with pytest.raises(IndexDamaged, match="another document store"):
            pipeline.search("battery")
        assert pipeline.ingest(folder).embedded == 0
        assert pipeline.search("battery") == expected
        assert maintenance.verify(pipeline.open()).problems == []


@pytest.mark.parametrize("max_chunks", [1_000, 0])  # a small index; a large one
def test_the_ranking_after_updates_is_that_of_a_new_index(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, max_chunks: int
) -> None:
    monkeypatch.setattr(commit_protocol, "_MAX_CHUNKS_TO_MERGE_ALWAYS", max_chunks)
    folder = tmp_path / "documents"
    folder.mkdir()
    generator = random.Random(7)
    vocabulary = [f"word{letter}{other}" for letter in "abcdefgh" for other in "klmnop"]

    def write_document(number: int) -> None:
        words = generator.choices(vocabulary, range(1, 49), k=generator.randint(5, 40))
        (folder / f"{number}.txt").write_text("the text of " + " ".join(words), encoding="utf-8")

    for number in range(40):
        write_document(number)
    ingest_folder(tmp_path / "updated", folder).close()
    for _ in range(2):
        for number in generator.sample(range(40), 20):
            write_document(number)
        ingest_folder(tmp_path / "updated", folder).close()
    with (
        closing(ingest_folder(tmp_path / "updated", folder)) as index,
        closing(ingest_folder(tmp_path / "new", folder)) as new_index,
    ):
        assert index.lexical.deleted_count == 0
        for word in vocabulary:
            query = BM25Query(f"the {word} {generator.choice(vocabulary)}")
            scores = [score for _, score in index.lexical.search(query, 50)]
            assert scores == [score for _, score in new_index.lexical.search(query, 50)]
        assert maintenance.verify(index).is_intact


def test_a_few_deleted_chunks_of_a_large_index_are_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commit_protocol, "_MAX_CHUNKS_TO_MERGE_ALWAYS", 0)
    folder = tmp_path / "documents"
    folder.mkdir()
    for number in range(10):
        (folder / f"{number}.txt").write_text(f"Paragraph {number}.", encoding="utf-8")
    with closing(ingest_folder(tmp_path / "i", folder)) as index:
        deleted_counts = []
        for uri in index.document_store.uris()[:3]:
            with index.open_writer() as writer:
                writer.delete([uri])
            deleted_counts.append(index.lexical.deleted_count)
        assert deleted_counts == [1, 2, 0]  # more than a quarter of the seven that are left


def test_an_ingest_does_not_fail_if_the_merge_does(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise IndexDamaged("the disk is full")

    with closing(ingest_folder(tmp_path / "i", folder)) as index:
        monkeypatch.setattr(TantivyIndex, "replace_all", fail)
        with index.open_writer() as writer:
            writer.delete(index.document_store.uris()[:1])
        assert index.lexical.deleted_count > 0
        monkeypatch.undo()
        with index.open_writer():
            pass
        assert index.lexical.deleted_count == 0
        assert maintenance.verify(index).is_intact


def test_no_chunk_is_encoded_again_for_the_statistics(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(ingest_folder(tmp_path / "i", folder)) as index:
        monkeypatch.setattr(TantivyIndex, "sparse_encoder", object())
        with index.open_writer() as writer:
            writer.delete(index.document_store.uris()[1:])
        assert index.lexical.deleted_count == 1
