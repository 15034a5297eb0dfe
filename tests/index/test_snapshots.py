"""Snapshots and restores, also while others search and ingest."""

import threading
from pathlib import Path
from typing import Any

import pytest

from rag import HybridRetriever, Pipeline, StaticEmbedder
from rag.errors import ConfigError, IndexDamaged
from rag.index import Index, maintenance
from rag.index.paths import list_namespaces
from rag.ingestion import IngestReport, batches
from tests.index.helpers import ingest_folder


def search_file_names(index: Index) -> set[str]:
    hits = HybridRetriever().retrieve("kite flight battery text", k=100, index=index)
    return {hit.chunk.uri.rpartition("/")[2] for hit in hits}


def test_restore_returns_to_a_snapshot(tmp_path: Path, folder: Path) -> None:
    index = ingest_folder(tmp_path / "i", folder)
    reader = Index(tmp_path / "i", StaticEmbedder())
    assert search_file_names(reader) == {"handbook.md", "notes.txt"}
    first = maintenance.snapshot(index, "first one")
    assert (first.name, first.documents) == ("first one", 2)
    (folder / "notes.txt").unlink()
    (folder / "new.txt").write_text("A new text about a kite.")
    index.close()
    index = ingest_folder(tmp_path / "i", folder)
    maintenance.snapshot(index, "second")
    highest_row = max(list(index.document_store.live_rows()))
    assert search_file_names(reader) == search_file_names(index) == {"handbook.md", "new.txt"}
    maintenance.restore(index, "first one")
    assert search_file_names(reader) == search_file_names(index) == {"handbook.md", "notes.txt"}
    assert maintenance.verify(index).is_intact
    (folder / "later.txt").write_text("A later text about a kite.")
    index.close()
    index = ingest_folder(tmp_path / "i", folder)
    assert max(list(index.document_store.live_rows())) > highest_row  # no row is used twice
    maintenance.restore(index, "second")
    assert search_file_names(reader) == {"handbook.md", "new.txt"}
    assert [snapshot.name for snapshot in maintenance.snapshots(tmp_path / "i")] == [
        "first one",
        "second",
    ]
    reader.close()
    index.close()


def test_snapshot_names_are_checked(tmp_path: Path, folder: Path) -> None:
    index = ingest_folder(tmp_path / "i", folder)
    maintenance.snapshot(index, "second")
    with pytest.raises(ConfigError, match="already"):
        maintenance.snapshot(index, "second")
    with pytest.raises(ConfigError, match="no snapshot 'third'"):
        maintenance.restore(index, "third")
    for name in ("", " ", "a\nb", "x" * 65, "\ud800"):
        with pytest.raises(ConfigError, match="is not a valid snapshot name"):
            maintenance.snapshot(index, name)
    maintenance.snapshot(index, "../../etc/passwd")
    assert {path.parent for path in tmp_path.rglob("*.sqlite")} == {
        tmp_path / "i",
        tmp_path / "i" / "snapshots",
    }
    index.close()


def test_damaged_snapshot_is_listed_and_refused(tmp_path: Path, folder: Path) -> None:
    with Pipeline(index=tmp_path / "i") as pipeline:
        pipeline.ingest(folder)
        for name in ("bad", "good"):
            maintenance.snapshot(pipeline.open(), name)
        bad = tmp_path / "i" / "snapshots" / "bad.sqlite"
        for content in (b"", b"garbage" * 999, bad.read_bytes()[:9_000]):
            bad.write_bytes(content)
            is_damaged = {s.name: s.damaged for s in maintenance.snapshots(tmp_path / "i")}
            assert is_damaged.keys() == {"bad", "good"} and not is_damaged["good"]
            with pytest.raises(IndexDamaged, match=r"snapshot .*bad.sqlite is damaged"):
                maintenance.restore(pipeline.open(), "bad")
        assert maintenance.verify(pipeline.open()).is_intact


def test_next_writer_deletes_files_of_interrupted_restores_and_drops(
    tmp_path: Path, folder: Path
) -> None:
    index = ingest_folder(tmp_path / "i", folder)
    maintenance.snapshot(index, "s")
    (index.path / "snapshots" / "restoring-x").mkdir()
    (index.path / "snapshots" / "t.sqlite.partial").touch()
    dropped = index.path / "namespaces" / "x.dropped"
    dropped.mkdir(parents=True)
    (dropped / "library.sqlite").touch()
    assert list_namespaces(index.path) == []
    ingest_folder(tmp_path / "i", folder).close()
    assert [path.name for path in (index.path / "snapshots").iterdir()] == ["s.sqlite"]
    assert not dropped.exists()
    index.close()


def test_snapshots_during_an_ingest_are_consistent(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "_BATCH_CHUNKS", 5)
    for i in range(60):
        (folder / f"{i}.txt").write_text(f"Text number {i} about a kite.")
    snapshots: list[maintenance.Snapshot] = []
    with Pipeline(index=tmp_path / "i") as pipeline:

        def take_snapshot(report: IngestReport) -> None:
            name = f"{len(snapshots)} at {report.seen}"
            snapshots.append(maintenance.snapshot(pipeline.open(), name))

        pipeline.ingest(folder, progress=take_snapshot)
        assert len(snapshots) > 5
        for snapshot in snapshots[:3]:
            maintenance.restore(pipeline.open(), snapshot.name)
            assert maintenance.verify(pipeline.open()).is_intact
            assert pipeline.stats().documents == snapshot.documents == int(snapshot.name.split()[2])


def test_searches_continue_during_rebuilds_and_restores(tmp_path: Path, folder: Path) -> None:
    with Pipeline(index=tmp_path / "i") as pipeline, Pipeline(index=tmp_path / "i") as reader:
        pipeline.ingest(folder)
        maintenance.snapshot(pipeline.open(), "s")
        done, errors, hit_counts = threading.Event(), [], []

        def search_until_done(searching: Pipeline) -> None:
            try:
                while not done.is_set():
                    hit_counts.append(len(searching.search("kite propeller flight")))
            except BaseException as error:
                errors.append(error)

        threads = [
            threading.Thread(target=search_until_done, args=(searching,))
            for searching in (pipeline, reader, reader)
        ]
        for thread in threads:
            thread.start()
        for _ in range(8):
            maintenance.rebuild(pipeline.open())
            maintenance.restore(pipeline.open(), "s")
        done.set()
        for thread in threads:
            thread.join()
        assert errors == []
        assert set(hit_counts) == {len(pipeline.search("kite propeller flight"))}


def test_searches_wait_for_a_switch_of_the_store_set(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A search does not begin between the switch in the document store and that in the index."""
    with Pipeline(index=tmp_path / "i") as pipeline:
        pipeline.ingest(folder)
        expected = len(pipeline.search("kite propeller flight"))
        maintenance.snapshot(pipeline.open(), "s")
        hit_counts: list[int] = []
        original = Index.use_store_set

        def search_before_switch(index: Index, store_set: Any) -> None:
            thread = threading.Thread(
                target=lambda: hit_counts.append(len(pipeline.search("kite propeller flight")))
            )
            thread.start()
            thread.join(0.3)  # it cannot end before the switch
            original(index, store_set)
            threads.append(thread)

        threads: list[threading.Thread] = []
        monkeypatch.setattr(Index, "use_store_set", search_before_switch)
        maintenance.restore(pipeline.open(), "s")
        maintenance.rebuild(pipeline.open())
        for thread in threads:
            thread.join()
        assert hit_counts == [expected, expected]
