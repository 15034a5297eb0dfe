import contextlib
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from connectors import Connector, Files, Source
from connectors.base import FailedPart
from connectors.parsers.auto import AutoParser
from rag import (
    Chunk,
    DenseRetriever,
    Document,
    HeadingChunker,
    HybridRetriever,
    Pipeline,
    StaticEmbedder,
)
from rag.chunking import TokenCounter
from rag.errors import (
    EmbedderMismatch,
    EmbeddingError,
    IndexDamaged,
    IndexLocked,
    RagError,
    SourceUnreadable,
)
from rag.index import Index, maintenance
from rag.index import index as index_module
from rag.index.commit_protocol import IndexWriter
from rag.ingestion import IngestReport, sync
from rag.stores import Chroma
from rag.stores.chroma import ChromaCollection
from rag.stores.chroma_database import EmbeddedDatabase
from rag.stores.lexical_index import BM25Query
from rag.stores.sqlite import SqliteDocumentStore
from tests.connectors.file_fixtures import make_zip


class OtherEmbedder(StaticEmbedder):
    """Another embedder."""

    name = "other"


def run_sync(index: Index, *paths: Path, **components: Any) -> IngestReport:
    connectors = [Files(path=path) for path in paths]
    return sync(
        index,
        components.get("connectors", connectors),
        components.get("parser", AutoParser()),
        components.get("chunker", HeadingChunker()),
        progress=components.get("progress"),
    )


def count_outcomes(report: IngestReport) -> tuple[int, int, int, int, int]:
    return (
        report.added,
        report.updated,
        report.unchanged,
        report.deleted,
        len(report.failed),
    )


def check_stores_agree(index: Index) -> set[str]:
    """Check that the three stores contain the same chunks, and return their texts."""
    rows = list(index.document_store.live_rows())
    chunks = index.document_store.chunks(rows)
    assert index.vectors.count() == index.lexical.count() == len(rows)
    assert sorted(index.vectors.rows()) == sorted(index.lexical.rows()) == rows
    assert maintenance.verify(index).problems == []
    for row, chunk in chunks.items():
        assert row in index.lexical.scores(BM25Query(chunk.text), [row]), chunk.text
    stats = index.document_store.stats()
    assert stats.unfinished == 0
    return {chunk.text for chunk in chunks.values()}


def search_file_names(index: Index, query: str) -> set[str]:
    hits = HybridRetriever().retrieve(query, k=20, index=index)
    return {hit.chunk.uri.rpartition("/")[2] for hit in hits}


def test_a_second_run_parses_and_embeds_nothing(
    index: Index, folder: Path, monkeypatch: Any
) -> None:
    assert count_outcomes(run_sync(index, folder)) == (2, 0, 0, 0, 0)
    monkeypatch.setattr(StaticEmbedder, "embed_documents", _fail_when_called)
    monkeypatch.setattr(AutoParser, "parse", _fail_when_called)
    report = run_sync(index, folder)
    assert count_outcomes(report) == (0, 0, 2, 0, 0)
    assert (report.chunks, report.embedded) == (0, 0)


def _fail_when_called(*_: Any, **__: Any) -> Any:
    raise AssertionError("called")


def test_a_touched_file_is_read_but_not_parsed(
    index: Index, folder: Path, monkeypatch: Any
) -> None:
    run_sync(index, folder)
    (folder / "notes.txt").touch()
    monkeypatch.setattr(AutoParser, "parse", _fail_when_called)
    assert count_outcomes(run_sync(index, folder)) == (0, 0, 2, 0, 0)


def test_an_edit_replaces_the_old_chunks(index: Index, folder: Path) -> None:
    run_sync(index, folder)
    texts_before = check_stores_agree(index)
    (folder / "notes.txt").write_text("Flight of 4 May: everything went well.\n")
    report = run_sync(index, folder)
    assert count_outcomes(report) == (0, 1, 1, 0, 0)
    texts_after = check_stores_agree(index)
    assert len(texts_after) == len(texts_before)
    assert not any("3 May" in text for text in texts_after)
    assert any("4 May" in text for text in texts_after)


def test_an_edit_embeds_only_new_chunks(index: Index, tmp_path: Path) -> None:
    paragraphs = [f"Paragraph number {i} says something. " * 20 for i in range(20)]
    (tmp_path / "a.txt").write_text("\n\n".join(paragraphs))
    first_report = run_sync(index, tmp_path / "a.txt", chunker=HeadingChunker(overlap=0))
    paragraphs[-1] = "The last paragraph is another one. " * 20
    (tmp_path / "a.txt").write_text("\n\n".join(paragraphs))
    second_report = run_sync(index, tmp_path / "a.txt", chunker=HeadingChunker(overlap=0))
    assert first_report.embedded > 10
    assert 1 <= second_report.embedded <= 2
    check_stores_agree(index)


def test_alternating_between_two_versions(index: Index, folder: Path) -> None:
    versions = ["The first version of it.", "A second version of it."]
    for text in versions * 3:
        (folder / "notes.txt").write_text(text)
        run_sync(index, folder)
        assert text in check_stores_agree(index)


def test_a_deleted_file_is_removed_from_the_index(index: Index, folder: Path) -> None:
    run_sync(index, folder)
    (folder / "notes.txt").unlink()
    assert count_outcomes(run_sync(index, folder)) == (0, 0, 1, 1, 0)
    assert not any("3 May" in text for text in check_stores_agree(index))
    assert "notes.txt" not in search_file_names(index, "flight of 3 may")


def test_the_same_text_twice_is_embedded_once(index: Index, tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / "same.txt").write_text("Exactly the same words.")
    report = run_sync(index, tmp_path / "a", tmp_path / "b")
    assert (report.added, report.chunks, report.embedded) == (2, 2, 1)
    (tmp_path / "a" / "same.txt").unlink()
    run_sync(index, tmp_path / "a", tmp_path / "b")
    assert check_stores_agree(index) == {"Exactly the same words."}


def test_a_source_named_twice_counts_once(index: Index, folder: Path) -> None:
    assert count_outcomes(run_sync(index, folder, folder / "notes.txt")) == (2, 0, 0, 0, 0)


def test_sources_delete_in_their_own_scope_only(index: Index, tmp_path: Path) -> None:
    for name in ("a", "ab"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.txt").write_text(f"The text of {name}.")
    run_sync(index, tmp_path / "a", tmp_path / "ab")
    (tmp_path / "ab" / "x.txt").unlink()
    assert count_outcomes(run_sync(index, tmp_path / "a")) == (0, 0, 1, 0, 0)
    assert count_outcomes(run_sync(index, tmp_path / "ab")) == (0, 0, 0, 1, 0)


def test_two_globs_on_one_folder_do_not_delete_documents_of_each_other(
    index: Index, folder: Path
) -> None:
    for glob in ("*.md", "*.txt", "*.md"):
        run_sync(index, connectors=[Files(path=folder, include=(glob,))])
    assert index.document_store.stats().documents == 2


def test_a_broken_new_version_keeps_the_old_one(index: Index, folder: Path) -> None:
    run_sync(index, folder)
    (folder / "notes.txt").write_bytes(b"\0\1\2" * 50)
    report = run_sync(index, folder)
    assert count_outcomes(report) == (0, 0, 1, 0, 1)
    assert "binary" in report.failed[0].error
    assert "notes.txt" in search_file_names(index, "flight of 3 may")
    assert len(index.document_store.failures()) == 1
    (folder / "notes.txt").write_text("Repaired.")
    assert count_outcomes(run_sync(index, folder)) == (0, 1, 1, 0, 0)
    assert index.document_store.failures() == []


def test_a_failure_is_deleted_with_its_file(index: Index, folder: Path) -> None:
    (folder / "bad.pdf").write_bytes(b"%PDF-1.4 nothing")
    run_sync(index, folder)
    assert len(index.document_store.failures()) == 1
    (folder / "bad.pdf").unlink()
    run_sync(index, folder)
    assert index.document_store.failures() == []


def test_every_source_is_counted_once_in_the_report(index: Index, folder: Path) -> None:
    (folder / "empty.txt").write_text("")
    (folder / "bad.pdf").write_bytes(b"%PDF-1.4 nothing")
    run_sync(index, folder)
    (folder / "notes.txt").write_text("Changed.")
    (folder / "new.txt").write_text("New.")
    (folder / "handbook.md").unlink()
    report = run_sync(index, folder)
    assert count_outcomes(report) == (1, 1, 0, 1, 2)
    assert report.seen == 5


class UnreachableConnector(Connector):
    """Lists one document, and a folder that cannot be listed."""

    name = "unreachable"

    @property
    def scope(self) -> str:
        return "x://"

    def sources(self) -> Iterator[Source]:
        def refuse() -> bytes:
            raise SourceUnreadable("the network is down")

        yield Source(uri="x://a", version="1", read=lambda: b"Still here.")
        yield Source(uri="x://folder", version="", read=refuse)


class ReachableConnector(UnreachableConnector):
    def sources(self) -> Iterator[Source]:
        for name in ("a", "folder/b", "folder/c", "folder2/d"):
            yield Source(uri=f"x://{name}", version="1", read=lambda name=name: name.encode())


def test_documents_of_an_unlistable_folder_are_not_deleted(index: Index) -> None:
    run_sync(index, connectors=[ReachableConnector()])
    report = run_sync(index, connectors=[UnreachableConnector()])
    assert index.document_store.uris() == ["x://a", "x://folder/b", "x://folder/c"]
    assert count_outcomes(report) == (0, 0, 1, 1, 1)
    assert report.failed[0].error == "the network is down"


class FailingParser(AutoParser):
    """A parser with a bug."""

    def documents(
        self, data: bytes, *, uri: str, mime: str | None = None
    ) -> Iterator[Document | FailedPart]:
        if "notes" in uri:
            raise KeyError("surprise")
        yield from super().documents(data, uri=uri, mime=mime)


def test_a_parser_bug_fails_only_its_document(index: Index, folder: Path) -> None:
    report = run_sync(index, folder, parser=FailingParser())
    assert count_outcomes(report) == (1, 0, 0, 0, 1)
    assert "KeyError: 'surprise'" in report.failed[0].error


def test_the_index_is_not_ingested_into_itself(folder: Path, embedder: StaticEmbedder) -> None:
    index = Index(folder / "my-index", embedder, create=True)
    for _ in range(2):
        report = run_sync(index, folder)
    assert count_outcomes(report) == (0, 0, 2, 0, 0)
    index.close()


def test_a_changed_chunker_updates_all_documents(index: Index, folder: Path) -> None:
    (folder / "long.txt").write_text("One more sentence is here. " * 100)
    run_sync(index, folder)
    texts_before = check_stores_agree(index)
    report = run_sync(index, folder, chunker=HeadingChunker(size=64, overlap=0))
    assert count_outcomes(report) == (0, 3, 0, 0, 0)
    assert len(check_stores_agree(index)) != len(texts_before)
    assert count_outcomes(run_sync(index, folder, chunker=HeadingChunker(size=64, overlap=0))) == (
        0,
        0,
        3,
        0,
        0,
    )


def test_another_embedder_is_refused(index: Index, folder: Path) -> None:
    run_sync(index, folder)
    with pytest.raises(EmbedderMismatch, match=r"built with the embedder static, .* has other"):
        Index(index.path, OtherEmbedder())


def test_deleted_stores_are_rebuilt_without_embedding(
    index: Index, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_sync(index, folder)
    texts_before = check_stores_agree(index)
    path = index.path
    index.close()
    shutil.rmtree(path / "derived" / "1" / "chroma")
    shutil.rmtree(path / "derived" / "1" / "tantivy")
    monkeypatch.setattr(StaticEmbedder, "embed_documents", _fail_when_called)
    reopened_index = Index(path, StaticEmbedder())
    with pytest.raises(IndexDamaged, match=r"no folder .*tantivy: the next `rag ingest`"):
        reopened_index.check_store_set()
    run_sync(reopened_index, folder)
    assert check_stores_agree(reopened_index) == texts_before
    reopened_index.check_store_set()
    reopened_index.close()


STAGES: list[tuple[type, str]] = [
    (IndexWriter, "embed"),
    (SqliteDocumentStore, "add_pending"),
    (ChromaCollection, "upsert"),
    (SqliteDocumentStore, "make_live"),
    (SqliteDocumentStore, "deleted_chunk_rows"),
    (SqliteDocumentStore, "remove_chunks"),
    (SqliteDocumentStore, "remove_deleted_documents"),
    (SqliteDocumentStore, "refresh_ledger"),
]


@pytest.mark.parametrize("late", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(("owner", "stage"), STAGES, ids=lambda v: getattr(v, "__name__", v))
def test_a_failure_at_any_stage_is_repaired_by_the_next_run(
    owner: type,
    stage: str,
    late: bool,
    tmp_path: Path,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Searches find one complete version after the failure; the next run repairs the index."""
    index = Index(tmp_path / "index", StaticEmbedder(), create=True)
    run_sync(index, folder)
    texts_before = check_stores_agree(index)
    (folder / "notes.txt").write_text("Flight of 4 May: all well.\n")
    (folder / "handbook.md").touch()
    original = getattr(owner, stage)

    def fail(*args: Any, **kwargs: Any) -> Any:
        if late:
            original(*args, **kwargs)
        raise OSError("disk full")

    with monkeypatch.context() as patch, pytest.raises(RagError, match="disk full"):
        patch.setattr(owner, stage, fail)
        run_sync(index, folder)
    rows = list(index.document_store.live_rows())
    texts = {chunk.text for chunk in index.document_store.chunks(rows).values()}
    assert texts == texts_before or any("4 May" in text for text in texts)
    assert len(texts) == len(texts_before)
    assert search_file_names(index, "flight of may") >= {"notes.txt"}
    run_sync(index, folder)
    repaired_texts = check_stores_agree(index)
    assert any("4 May" in text for text in repaired_texts)
    assert not any("3 May" in text for text in repaired_texts)
    index.close()


def test_a_second_writer_is_refused(index: Index, folder: Path) -> None:
    with index.open_writer(), pytest.raises(IndexLocked):
        run_sync(index, folder)
    assert count_outcomes(run_sync(index, folder)) == (2, 0, 0, 0, 0)


def test_searches_during_a_run_find_one_version_of_each_document(
    index: Index, tmp_path: Path
) -> None:
    docs = tmp_path / "many"
    docs.mkdir()

    def write(version: int) -> None:
        for i in range(40):
            (docs / f"{i:02}.txt").write_text(f"Document {i} in version{version} of the text.")

    write(0)
    run_sync(index, docs)
    stop_event, uri_lists = threading.Event(), []

    def search() -> None:
        while not stop_event.is_set():
            hits = HybridRetriever().retrieve("document version text", k=100, index=index)
            uri_lists.append(sorted(hit.chunk.uri for hit in hits))

    readers = [threading.Thread(target=search) for _ in range(2)]
    for reader in readers:
        reader.start()
    for version in range(1, 4):
        write(version)
        run_sync(index, docs)
    stop_event.set()
    for reader in readers:
        reader.join()
    all_uris = [f"{(docs / f'{i:02}.txt').as_uri()}" for i in range(40)]
    assert uri_lists
    assert all(uris == all_uris for uris in uri_lists)


def test_a_failing_run_stops_its_threads(index: Index, tmp_path: Path) -> None:
    (tmp_path / "many").mkdir()
    for i in range(30):
        (tmp_path / "many" / f"{i}.txt").write_text("word " * 20_000)

    def stop(report: IngestReport) -> None:
        if report.seen:  # the first call comes before any document
            raise KeyboardInterrupt

    threads_before = set(threading.enumerate())
    with pytest.raises(KeyboardInterrupt):
        sync(
            index,
            [Files(path=tmp_path / "many")],
            AutoParser(),
            HeadingChunker(),
            progress=stop,
        )
    new_threads = set(threading.enumerate()) - threads_before
    assert not [t for t in new_threads if t.name.startswith("citewell")]
    assert index.document_store.stats().documents >= 1  # finished documents stay
    report = run_sync(index, tmp_path / "many")
    assert report.added + report.unchanged == 30
    check_stores_agree(index)


def test_progress_reports_the_number_of_documents(index: Index, folder: Path) -> None:
    seen_counts: list[int] = []
    sync(
        index,
        [Files(path=folder)],
        AutoParser(),
        HeadingChunker(),
        progress=lambda report: seen_counts.append(report.seen),
    )
    assert seen_counts[-1] == 2


class RejectingEmbedder(StaticEmbedder):
    """An embedder that rejects the texts that contain `refused`."""

    name = "picky"
    refused: str = "refuse me"

    def embed_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        if any(self.refused in text for text in texts):
            raise EmbeddingError("the input was refused")
        return super().embed_documents(texts)


def test_a_text_the_embedder_rejects_fails_only_its_document(tmp_path: Path, folder: Path) -> None:
    (folder / "bad.txt").write_text("Please refuse me.")
    index = Index(tmp_path / "index", RejectingEmbedder(), create=True)
    report = run_sync(index, folder)
    assert count_outcomes(report) == (2, 0, 0, 0, 1)
    assert report.failed[0].error == "the input was refused"
    check_stores_agree(index)
    index.close()


def test_an_embedder_that_rejects_everything_stops_the_run(tmp_path: Path, folder: Path) -> None:
    index = Index(tmp_path / "index", RejectingEmbedder(refused=""), create=True)
    with pytest.raises(EmbeddingError, match="refused"):
        run_sync(index, folder)
    assert index.document_store.stats().documents == 0
    index.close()


class InvalidChunker(HeadingChunker):
    """A chunker that breaks its contract."""

    name = "lying"
    fault: str = "end"

    def split(self, document: Document, tokens: TokenCounter) -> list[Chunk]:
        chunks = super().split(document, tokens)
        if self.fault == "end":
            return [chunk.model_copy(update={"end": chunk.end + 5}) for chunk in chunks]
        return [*chunks, *chunks]


@pytest.mark.parametrize(
    ("fault", "message"), [("end", "not the text at its"), ("twice", "the same id")]
)
def test_chunks_that_break_the_contract_fail_the_document(
    index: Index, folder: Path, fault: str, message: str
) -> None:
    report = run_sync(index, folder, chunker=InvalidChunker(fault=fault))
    assert len(report.failed) == 2
    assert "the chunker 'lying'" in report.failed[0].error
    assert message in report.failed[0].error


def test_a_file_becomes_a_folder_and_a_folder_a_file(index: Index, tmp_path: Path) -> None:
    path = tmp_path / "path"
    path.write_text("I am a file.")
    run_sync(index, path)
    path.unlink()
    path.mkdir()
    (path / "inside.txt").write_text("I am inside.")
    assert count_outcomes(run_sync(index, path)) == (1, 0, 0, 1, 0)
    shutil.rmtree(path)
    path.write_text("I am a file reopened_index.")
    assert count_outcomes(run_sync(index, path)) == (1, 0, 0, 1, 0)
    assert check_stores_agree(index) == {"I am a file reopened_index."}


def test_a_temporary_failure_is_removed_from_the_record(index: Index, folder: Path) -> None:
    run_sync(index, folder)
    run_sync(index, connectors=[Files(path=folder, max_bytes=3)])
    assert len(index.document_store.failures()) == 2
    assert count_outcomes(run_sync(index, folder)) == (0, 0, 2, 0, 0)
    assert index.document_store.failures() == []


def test_a_very_deep_folder_is_ingested(index: Index, tmp_path: Path) -> None:
    deep = tmp_path / "deep"
    deep.mkdir()
    working_folder = Path.cwd()
    os.chdir(deep)
    try:
        for _ in range(300):  # deeper than the recursion limit, with short names
            Path("d").mkdir()
            os.chdir("d")
        Path("end.txt").write_text("At the very end.")
    finally:
        os.chdir(working_folder)
    assert run_sync(index, deep).added == 1


@pytest.mark.parametrize("file", ["chroma/chroma.sqlite3", "tantivy/meta.json"])
def test_a_damaged_store_is_rebuilt(tmp_path: Path, folder: Path, file: str) -> None:
    with Pipeline(index=tmp_path / "index") as pipeline:
        pipeline.ingest(folder)
    (tmp_path / "index" / "derived" / "1" / file).write_bytes(b"garbage" * 1000)
    with Pipeline(index=tmp_path / "index") as pipeline:
        assert pipeline.ingest(folder).unchanged == 2
        assert {"handbook.md", "notes.txt"} <= search_file_names(
            pipeline.open(), "kite propeller battery"
        )
        check_stores_agree(pipeline.open())


# -- threads and processes -----------------------------------------------------------------


def test_many_threads_search_one_pipeline_during_ingests(tmp_path: Path, folder: Path) -> None:
    with Pipeline(index=tmp_path / "index") as pipeline:
        pipeline.ingest(folder)
        stop_event, errors = threading.Event(), []

        def search() -> None:
            try:
                while not stop_event.is_set():
                    assert pipeline.search("propeller battery kite")
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=search) for _ in range(3)]
        for thread in threads:
            thread.start()
        for version in range(12):
            (folder / "notes.txt").write_text(f"The kite flew {version} times in May.")
            pipeline.ingest(folder)
        stop_event.set()
        for thread in threads:
            thread.join()
        assert errors == []
        check_stores_agree(pipeline.open())


def test_closing_waits_for_searches(tmp_path: Path, folder: Path) -> None:
    pipeline = Pipeline(index=tmp_path / "index")
    pipeline.ingest(folder)
    stop_event, errors = threading.Event(), []

    def search() -> None:
        while not stop_event.is_set():
            try:
                pipeline.search("propeller")
            except RagError as error:
                assert "closed" in str(error)
            except BaseException as error:
                errors.append(error)

    threads = [threading.Thread(target=search) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(60):
        pipeline.search("battery")
        pipeline.close()
    stop_event.set()
    for thread in threads:
        thread.join()
    pipeline.close()
    assert errors == []


def test_closing_waits_for_an_ingest(tmp_path: Path, folder: Path) -> None:
    pipeline = Pipeline(index=tmp_path / "index")
    started = threading.Event()
    reports: list[IngestReport] = []
    for i in range(40):
        (folder / f"{i}.txt").write_text(f"Text number {i}. " * 2_000)
    thread = threading.Thread(
        target=lambda: reports.append(pipeline.ingest(folder, progress=lambda _: started.set()))
    )
    thread.start()
    started.wait()
    pipeline.close()
    thread.join()
    assert reports[0].added == 42
    assert str(tmp_path / "index" / "derived" / "1" / "chroma") not in EmbeddedDatabase._instances
    with pipeline:
        assert pipeline.ingest(folder).unchanged == 42


def test_threads_leave_no_files_open(tmp_path: Path, folder: Path) -> None:
    with Pipeline(index=tmp_path / "index") as pipeline:
        pipeline.ingest(folder)
        pipeline.search("propeller")
        file_count_before = len(list(Path("/proc/self/fd").iterdir()))
        for _ in range(30):
            thread = threading.Thread(target=pipeline.search, args=("propeller",))
            thread.start()
            thread.join()
        assert len(list(Path("/proc/self/fd").iterdir())) <= file_count_before + 2


INGEST = "import sys; from rag import Pipeline; Pipeline(index=sys.argv[1]).ingest(sys.argv[2])"


@pytest.mark.parametrize("exact", [64 * 2**20, 0], ids=["compared", "Chroma"])
def test_open_readers_see_the_changes_of_another_process(
    tmp_path: Path, folder: Path, exact: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_module, "EXACT_SEARCH_MAX_BYTES", exact)
    path = tmp_path / "index"

    def ingest_elsewhere() -> None:
        subprocess.run([sys.executable, "-c", INGEST, str(path), str(folder)], check=True)

    ingest_elsewhere()
    readers = [Pipeline(index=path, retriever=DenseRetriever()) for _ in range(2)]
    for reader in readers:
        assert reader.search("propeller")
    for version in ("A lion sleeps in the tall grass.", "An otter swims in the cold river."):
        (folder / "notes.txt").write_text(version)
        (folder / "new.txt").write_text(f"More of it. {version}")
        ingest_elsewhere()
        for reader in readers:
            texts = {hit.chunk.text for hit in reader.search(version, k=2)}
            assert texts == {version, f"More of it. {version}"}
    for reader in readers:
        reader.close()


def test_a_filter_finds_documents_that_are_far_from_the_query(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_module, "EXACT_SEARCH_MAX_BYTES", 0)
    monkeypatch.setattr(ChromaCollection, "max_query_results", 10)
    for i in range(30):
        near = f"---\ngroup: near\n---\nA lion sleeps in the tall grass, number {i}."
        far = f"---\ngroup: far\n---\nThe tax of the year {i} was paid."
        (tmp_path / f"near{i}.md").write_text(near)
        (tmp_path / f"far{i}.md").write_text(far)
    with Pipeline(index=tmp_path / "index", retriever=DenseRetriever()) as pipeline:
        pipeline.ingest(tmp_path)
        hits = pipeline.search("lion in the tall grass", where={"group": "far"}, k=8)
    assert len(hits) == 8


def test_texts_and_metadata_can_be_stored_in_chroma(tmp_path: Path, folder: Path) -> None:
    (folder / "mixed.md").write_text("---\ntags: [1, a, true]\nempty: []\n---\nMixed tags.")
    with Pipeline(index=tmp_path / "index", vector_store=Chroma(store_text=True)) as pipeline:
        assert pipeline.ingest(folder).failed == []
        stored_items = pipeline.open().vectors._call("get", include=["documents", "metadatas"])
    (mixed_item,) = [
        (text, fields)
        for text, fields in zip(stored_items["documents"], stored_items["metadatas"], strict=True)
        if "Mixed" in text
    ]
    assert mixed_item[1]["meta.tags"] == ["1", "a", "True"]


class OtterRejectingEmbedder(StaticEmbedder):
    """An embedder that rejects texts about otters."""

    name = "no-otters"

    def embed_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        if any("otter" in text for text in texts):
            raise EmbeddingError("no otters")
        return super().embed_documents(texts)


def test_a_document_that_is_rejected_again_does_not_stop_the_next_run(
    tmp_path: Path, folder: Path
) -> None:
    (folder / "otter.txt").write_text("An otter swims in the river.")
    with Pipeline(index=tmp_path / "i", embedder=OtterRejectingEmbedder()) as pipeline:
        assert count_outcomes(pipeline.ingest(folder)) == (2, 0, 0, 0, 1)
        (folder / "notes.txt").unlink()
        assert count_outcomes(pipeline.ingest(folder)) == (0, 0, 1, 1, 1)


def test_ctrl_c_stops_between_two_documents(tmp_path: Path, folder: Path) -> None:
    """Also between two documents of the same batch."""
    program = (
        "import os, signal, sys, threading\n"
        "from connectors.files import Files\n"
        "from connectors.parsers.auto import AutoParser\n"
        "from rag import Pipeline\n"
        "parse_calls, original = [], AutoParser.documents\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores it\n"
        "def parse(self, data, **kwargs):\n"
        "    parse_calls.append(1)\n"
        "    if len(parse_calls) == 3:\n"
        "        os.kill(os.getpid(), signal.SIGINT)\n"
        "        threading.Event().wait(1)\n"
        "    return original(self, data, **kwargs)\n"
        "AutoParser.documents = parse\n"
        "try:\n"
        "    Pipeline(index=sys.argv[1], processes=0).ingest(sys.argv[2])\n"
        "except KeyboardInterrupt:\n"
        "    print('stopped after', len(parse_calls))\n"
    )
    for i in range(200):
        (folder / f"{i}.txt").write_text(f"Text number {i}.")
    completed = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "i"), str(folder)],
        capture_output=True,
        text=True,
    )
    assert completed.returncode == 0, completed.stderr
    assert int(completed.stdout.removeprefix("stopped after ")) < 10
    with Pipeline(index=tmp_path / "i") as pipeline:
        assert pipeline.ingest(folder).seen == 202
        check_stores_agree(pipeline.open())


def test_close_does_not_deadlock_with_a_progress_callback(tmp_path: Path, folder: Path) -> None:
    pipeline = Pipeline(index=tmp_path / "i")
    called, closing = threading.Event(), threading.Event()

    def call_pipeline(_: IngestReport) -> None:
        called.set()
        closing.wait(5)
        with contextlib.suppress(RagError):
            pipeline.stats()

    ingest = threading.Thread(target=lambda: pipeline.ingest(folder, progress=call_pipeline))
    ingest.start()
    called.wait()

    def close() -> None:
        closing.set()
        pipeline.close()

    closer = threading.Thread(target=close)
    closer.start()
    closer.join(30)
    ingest.join(30)
    assert not closer.is_alive() and not ingest.is_alive()
    pipeline.close()


@pytest.mark.parametrize("ending", ["txt", "md"])
def test_a_document_is_read_in_one_version(
    tmp_path: Path, ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / f"a.{ending}"
    file.write_text("# H\n\n" + "old text " * 50)
    with Pipeline(index=tmp_path / "i") as pipeline, Pipeline(index=tmp_path / "i") as writer:
        pipeline.ingest(file)
        original = SqliteDocumentStore._read_text

        def write_then_read(self: SqliteDocumentStore, *args: Any) -> str:
            monkeypatch.setattr(SqliteDocumentStore, "_read_text", original)
            file.write_text("# H\n\n" + "new text " * 70)
            writer.ingest(file)
            return original(self, *args)

        monkeypatch.setattr(SqliteDocumentStore, "_read_text", write_then_read)
        assert "old text" in pipeline.document(file.as_uri()).text
        assert "new text" in pipeline.document(file.as_uri()).text


# -- sources that hold several documents ---------------------------------------------------


def write_archive(path: Path, files: dict[str, str | bytes]) -> None:
    path.write_bytes(make_zip(files))


def test_an_archive_is_one_source_of_many_documents(index: Index, tmp_path: Path) -> None:
    folder = tmp_path / "docs"
    folder.mkdir()
    path = folder / "a.zip"
    write_archive(
        path, {f"{i}.txt": f"Text number {i}." for i in range(4)} | {"bad.bin": bytes(range(256))}
    )
    report = run_sync(index, folder)
    assert count_outcomes(report) == (4, 0, 0, 0, 1)
    assert report.failed[0].uri == f"{path.as_uri()}!/bad.bin"
    assert count_outcomes(run_sync(index, folder)) == (0, 0, 4, 0, 1)  # without reading it
    write_archive(path, {f"{i}.txt": f"Text number {i or 'null'}." for i in range(3)})
    report = run_sync(index, folder)
    assert count_outcomes(report) == (0, 1, 2, 1, 0)
    assert index.document_store.uris() == [f"{path.as_uri()}!/{i}.txt" for i in range(3)]
    assert index.document_store.failures() == []
    check_stores_agree(index)
    path.unlink()
    assert count_outcomes(run_sync(index, folder)) == (0, 0, 0, 3, 0)


def test_permanent_failures_are_not_read_again(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "a.bin").write_bytes(bytes(range(256)))
    write_archive(folder / "b.zip", {"a.txt": "Text.", "b.bin": bytes(range(256))})
    first_report = run_sync(index, folder)
    opened_paths: list[str] = []
    monkeypatch.setattr(
        "connectors.files.open", lambda path, *_: opened_paths.append(path) or 1 / 0, raising=False
    )
    second_report = run_sync(index, folder)
    assert opened_paths == []
    assert (second_report.failed, second_report.unchanged) == (first_report.failed, 1)
    monkeypatch.undo()
    # A failure is not permanent for another parser, or for a changed file.
    third_report = run_sync(index, folder, parser=AutoParser(depth=0))
    assert len(third_report.failed) == 3
    (folder / "a.bin").write_text("Now it is text.")
    assert count_outcomes(run_sync(index, folder, parser=AutoParser(depth=0)))[0] == 1


def test_a_partly_written_archive_is_completed_by_the_next_run(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run is interrupted between two batches of the documents of one source."""
    folder = tmp_path / "docs"
    folder.mkdir()
    write_archive(folder / "a.zip", {f"{i}.txt": f"Text number {i}." for i in range(10)})
    monkeypatch.setattr("rag.ingestion.batches._BATCH_DOCUMENTS", 3)

    def stop(report: IngestReport) -> None:
        if report.added == 6:
            raise RuntimeError("pulled the plug")

    with pytest.raises(RuntimeError):
        run_sync(index, folder, progress=stop)
    assert len(index.document_store.uris()) == 6
    assert count_outcomes(run_sync(index, folder)) == (4, 0, 6, 0, 0)
    assert count_outcomes(run_sync(index, folder)) == (0, 0, 10, 0, 0)
    check_stores_agree(index)


def test_a_damaged_archive_keeps_its_documents(index: Index, tmp_path: Path) -> None:
    folder = tmp_path / "docs"
    folder.mkdir()
    path = folder / "a.zip"
    write_archive(path, {"a.txt": "One.", "b.txt": "Two."})
    run_sync(index, folder)
    valid_bytes = path.read_bytes()
    path.write_bytes(valid_bytes[:-30])
    assert count_outcomes(run_sync(index, folder)) == (0, 0, 0, 0, 1)
    assert len(index.document_store.uris()) == 2
    assert count_outcomes(run_sync(index, folder)) == (0, 0, 0, 0, 1)
    path.write_bytes(valid_bytes)
    assert count_outcomes(run_sync(index, folder)) == (0, 0, 2, 0, 0)
    assert index.document_store.failures() == []


def test_a_moved_archive_is_reported_as_moves(index: Index, tmp_path: Path) -> None:
    folder = tmp_path / "docs"
    folder.mkdir()
    write_archive(folder / "a.zip", {"a.txt": "One.", "b.txt": "Two."})
    run_sync(index, folder)
    (folder / "a.zip").rename(folder / "z.zip")
    report = run_sync(index, folder)
    names = [(m.old.rpartition("docs/")[2], m.new.rpartition("docs/")[2]) for m in report.moved]
    assert names == [("a.zip!/a.txt", "z.zip!/a.txt"), ("a.zip!/b.txt", "z.zip!/b.txt")]


def test_a_changed_chunker_does_not_read_the_archive(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "docs"
    folder.mkdir()
    write_archive(
        folder / "a.zip", {"a.txt": "One. " * 200, "b.txt": "Two.", "c.bin": bytes(range(256))}
    )
    run_sync(index, folder)
    monkeypatch.setattr("connectors.files.open", lambda *_: 1 / 0, raising=False)
    chunker = HeadingChunker(size=64, overlap=0)
    assert count_outcomes(run_sync(index, folder, chunker=chunker)) == (0, 2, 0, 0, 1)
    assert count_outcomes(run_sync(index, folder, chunker=chunker)) == (0, 0, 2, 0, 1)


def test_deleting_an_archive_deletes_its_documents(tmp_path: Path) -> None:
    folder = tmp_path / "docs"
    folder.mkdir()
    write_archive(folder / "a.zip", {"a.txt": "One.", "b.txt": "Two."})
    (folder / "a.zip.txt").write_text("Three.")
    with Pipeline(index=tmp_path / "i") as pipeline:
        pipeline.ingest(folder)
        assert pipeline.delete((folder / "a.zip").as_uri()) == 2
        assert pipeline.stats().documents == 1


class TitledConnector(Connector):
    """Gives its documents a title and metadata that are not in their bytes."""

    name = "titled"
    title: str
    year: int

    @property
    def scope(self) -> str:
        return "t://"

    def sources(self) -> Iterator[Source]:
        metadata = {"year": self.year}
        yield Source(
            uri="t://a", version="", read=lambda: b"Text.", title=self.title, metadata=metadata
        )


def test_title_and_metadata_of_the_source_are_stored(index: Index) -> None:
    run_sync(index, connectors=[TitledConnector(title="One", year=1)])
    assert count_outcomes(run_sync(index, connectors=[TitledConnector(title="One", year=1)])) == (
        0,
        0,
        1,
        0,
        0,
    )
    assert count_outcomes(run_sync(index, connectors=[TitledConnector(title="One", year=2)])) == (
        0,
        1,
        0,
        0,
        0,
    )
    document = index.document_store.document("t://a")
    assert (document.title, document.metadata) == ("One", {"year": 2})


class UnversionedConnector(Connector):
    """Lists an archive without a version."""

    name = "undated"
    path: Path

    @property
    def scope(self) -> str:
        return "u://"

    def sources(self) -> Iterator[Source]:
        yield Source(uri="u://a.zip", version="", read=self.path.read_bytes)


def test_a_part_that_failed_is_tried_again(index: Index, tmp_path: Path) -> None:
    """The archive has no version, so that only its bytes tell whether it changed."""
    path = tmp_path / "a.zip"
    write_archive(path, {"a.txt": "One.", "b.txt": "Old."})
    run_sync(index, connectors=[UnversionedConnector(path=path)])
    write_archive(path, {"a.txt": "One.", "b.txt": b""})
    assert count_outcomes(run_sync(index, connectors=[UnversionedConnector(path=path)])) == (
        0,
        0,
        1,
        0,
        1,
    )
    assert count_outcomes(run_sync(index, connectors=[UnversionedConnector(path=path)])) == (
        0,
        0,
        1,
        0,
        1,
    )
    assert index.document_store.document("u://a.zip!/b.txt").text == "Old."
    write_archive(path, {"a.txt": "One.", "b.txt": "New."})
    assert count_outcomes(run_sync(index, connectors=[UnversionedConnector(path=path)])) == (
        0,
        1,
        1,
        0,
        0,
    )
    assert index.document_store.document("u://a.zip!/b.txt").text == "New."


def test_kept_parts_do_not_make_an_archive_look_changed(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.zip"
    write_archive(path, {"a.txt": "One.", "b.txt": "Two."})
    connectors = [Files(path=path)]
    components = (connectors, AutoParser(), HeadingChunker())
    sync(index, *components)
    write_archive(path, {"a.txt": "One."})
    assert sync(index, *components, keep_missing=True).kept == 1
    monkeypatch.setattr("connectors.files.open", lambda *_: 1 / 0, raising=False)
    report = sync(index, *components, keep_missing=True)
    assert (report.kept, report.unchanged, report.failed) == (1, 1, [])
    assert sync(index, *components).deleted == 1


def test_a_link_to_itself_fails_alone(index: Index, tmp_path: Path) -> None:
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "a.txt").write_text("One.")
    (folder / "loop").symlink_to("loop")
    report = run_sync(index, folder)
    assert count_outcomes(report) == (1, 0, 0, 0, 1)
    assert "does not exist" in report.failed[0].error
