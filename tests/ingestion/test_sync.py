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
from rag.index.commit_protocol import Writer
from rag.ingestion import IngestReport, sync
from rag.stores import Chroma
from rag.stores.chroma import ChromaCollection, _Folder
from rag.stores.sqlite import SqliteDocumentStore
from rag.stores.tantivy import BM25Query
from tests.connectors.file_fixtures import zipped


class Other(StaticEmbedder):
    """Another embedder."""

    name = "other"


def run(index: Index, *paths: Path, **parts: Any) -> IngestReport:
    connectors = [Files(path=path) for path in paths]
    return sync(
        index,
        parts.get("connectors", connectors),
        parts.get("parser", AutoParser()),
        parts.get("chunker", HeadingChunker()),
        progress=parts.get("progress"),
    )


def counts(report: IngestReport) -> tuple[int, int, int, int, int]:
    return (
        report.added,
        report.updated,
        report.unchanged,
        report.deleted,
        len(report.failed),
    )


def agree(index: Index) -> set[str]:
    """Check that the three stores hold the same chunks; returns their texts."""
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


def words(index: Index, query: str) -> set[str]:
    hits = HybridRetriever().retrieve(query, k=20, index=index)
    return {hit.chunk.uri.rpartition("/")[2] for hit in hits}


def test_a_second_run_embeds_nothing(index: Index, folder: Path, monkeypatch: Any) -> None:
    assert counts(run(index, folder)) == (2, 0, 0, 0, 0)
    monkeypatch.setattr(StaticEmbedder, "embed_documents", _must_not_be_called)
    monkeypatch.setattr(AutoParser, "parse", _must_not_be_called)
    report = run(index, folder)
    assert counts(report) == (0, 0, 2, 0, 0)
    assert (report.chunks, report.embedded) == (0, 0)


def _must_not_be_called(*_: Any, **__: Any) -> Any:
    raise AssertionError("called")


def test_a_touched_file_is_read_but_not_parsed(
    index: Index, folder: Path, monkeypatch: Any
) -> None:
    run(index, folder)
    (folder / "notes.txt").touch()
    monkeypatch.setattr(AutoParser, "parse", _must_not_be_called)
    assert counts(run(index, folder)) == (0, 0, 2, 0, 0)


def test_an_edit_replaces_the_old_chunks(index: Index, folder: Path) -> None:
    run(index, folder)
    before = agree(index)
    (folder / "notes.txt").write_text("Flight of 4 May: everything went well.\n")
    report = run(index, folder)
    assert counts(report) == (0, 1, 1, 0, 0)
    after = agree(index)
    assert len(after) == len(before)
    assert not any("3 May" in text for text in after)
    assert any("4 May" in text for text in after)


def test_an_edit_embeds_only_what_is_new(index: Index, tmp_path: Path) -> None:
    paragraphs = [f"Paragraph number {i} says something. " * 20 for i in range(20)]
    (tmp_path / "a.txt").write_text("\n\n".join(paragraphs))
    first = run(index, tmp_path / "a.txt", chunker=HeadingChunker(overlap=0))
    paragraphs[-1] = "The last paragraph is another one. " * 20
    (tmp_path / "a.txt").write_text("\n\n".join(paragraphs))
    second = run(index, tmp_path / "a.txt", chunker=HeadingChunker(overlap=0))
    assert first.embedded > 10
    assert 1 <= second.embedded <= 2
    agree(index)


def test_back_and_forth_between_two_versions(index: Index, folder: Path) -> None:
    versions = ["The first version of it.", "A second version of it."]
    for text in versions * 3:
        (folder / "notes.txt").write_text(text)
        run(index, folder)
        assert text in agree(index)


def test_a_deleted_file_is_gone(index: Index, folder: Path) -> None:
    run(index, folder)
    (folder / "notes.txt").unlink()
    assert counts(run(index, folder)) == (0, 0, 1, 1, 0)
    assert not any("3 May" in text for text in agree(index))
    assert "notes.txt" not in words(index, "flight of 3 may")


def test_the_same_text_twice_is_embedded_once(index: Index, tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / "same.txt").write_text("Exactly the same words.")
    report = run(index, tmp_path / "a", tmp_path / "b")
    assert (report.added, report.chunks, report.embedded) == (2, 2, 1)
    (tmp_path / "a" / "same.txt").unlink()
    run(index, tmp_path / "a", tmp_path / "b")
    assert agree(index) == {"Exactly the same words."}


def test_a_source_named_twice_counts_once(index: Index, folder: Path) -> None:
    assert counts(run(index, folder, folder / "notes.txt")) == (2, 0, 0, 0, 0)


def test_sources_delete_in_their_own_scope_only(index: Index, tmp_path: Path) -> None:
    for name in ("a", "ab"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.txt").write_text(f"The text of {name}.")
    run(index, tmp_path / "a", tmp_path / "ab")
    (tmp_path / "ab" / "x.txt").unlink()
    assert counts(run(index, tmp_path / "a")) == (0, 0, 1, 0, 0)
    assert counts(run(index, tmp_path / "ab")) == (0, 0, 0, 1, 0)


def test_two_globs_on_one_folder_do_not_delete_each_other(index: Index, folder: Path) -> None:
    for glob in ("*.md", "*.txt", "*.md"):
        run(index, connectors=[Files(path=folder, include=(glob,))])
    assert index.document_store.stats().documents == 2


def test_a_broken_new_version_leaves_the_old_one(index: Index, folder: Path) -> None:
    run(index, folder)
    (folder / "notes.txt").write_bytes(b"\0\1\2" * 50)
    report = run(index, folder)
    assert counts(report) == (0, 0, 1, 0, 1)
    assert "binary" in report.failed[0].error
    assert "notes.txt" in words(index, "flight of 3 may")
    assert len(index.document_store.failures()) == 1
    (folder / "notes.txt").write_text("Mended.")
    assert counts(run(index, folder)) == (0, 1, 1, 0, 0)
    assert index.document_store.failures() == []


def test_a_failure_is_forgotten_with_its_file(index: Index, folder: Path) -> None:
    (folder / "bad.pdf").write_bytes(b"%PDF-1.4 nothing")
    run(index, folder)
    assert len(index.document_store.failures()) == 1
    (folder / "bad.pdf").unlink()
    run(index, folder)
    assert index.document_store.failures() == []


def test_every_source_is_accounted_for(index: Index, folder: Path) -> None:
    (folder / "empty.txt").write_text("")
    (folder / "bad.pdf").write_bytes(b"%PDF-1.4 nothing")
    run(index, folder)
    (folder / "notes.txt").write_text("Changed.")
    (folder / "new.txt").write_text("New.")
    (folder / "handbook.md").unlink()
    report = run(index, folder)
    assert counts(report) == (1, 1, 0, 1, 2)
    assert report.seen == 5


class Unreachable(Connector):
    """Lists one document, and a folder that cannot be listed this time."""

    name = "unreachable"

    @property
    def scope(self) -> str:
        return "x://"

    def sources(self) -> Iterator[Source]:
        def refuse() -> bytes:
            raise SourceUnreadable("the network is down")

        yield Source(uri="x://a", version="1", read=lambda: b"Still here.")
        yield Source(uri="x://folder", version="", read=refuse)


class Reachable(Unreachable):
    def sources(self) -> Iterator[Source]:
        for name in ("a", "folder/b", "folder/c", "folder2/d"):
            yield Source(uri=f"x://{name}", version="1", read=lambda name=name: name.encode())


def test_what_cannot_be_listed_is_not_deleted(index: Index) -> None:
    run(index, connectors=[Reachable()])
    report = run(index, connectors=[Unreachable()])
    assert index.document_store.uris() == ["x://a", "x://folder/b", "x://folder/c"]
    assert counts(report) == (0, 0, 1, 1, 1)
    assert report.failed[0].error == "the network is down"


class Fragile(AutoParser):
    """A parser with a bug."""

    def documents(
        self, data: bytes, *, uri: str, mime: str | None = None
    ) -> Iterator[Document | FailedPart]:
        if "notes" in uri:
            raise KeyError("surprise")
        yield from super().documents(data, uri=uri, mime=mime)


def test_a_parsers_bug_costs_its_document_only(index: Index, folder: Path) -> None:
    report = run(index, folder, parser=Fragile())
    assert counts(report) == (1, 0, 0, 0, 1)
    assert "KeyError: 'surprise'" in report.failed[0].error


def test_the_index_is_not_ingested_into_itself(folder: Path, embedder: StaticEmbedder) -> None:
    index = Index(folder / "my-index", embedder, create=True)
    for _ in range(2):
        report = run(index, folder)
    assert counts(report) == (0, 0, 2, 0, 0)
    index.close()


def test_a_changed_chunker_is_noticed(index: Index, folder: Path) -> None:
    (folder / "long.txt").write_text("One more sentence stands here. " * 100)
    run(index, folder)
    before = agree(index)
    report = run(index, folder, chunker=HeadingChunker(size=64, overlap=0))
    assert counts(report) == (0, 3, 0, 0, 0)
    assert len(agree(index)) != len(before)
    assert counts(run(index, folder, chunker=HeadingChunker(size=64, overlap=0))) == (0, 0, 3, 0, 0)


def test_another_embedder_is_refused(index: Index, folder: Path) -> None:
    run(index, folder)
    with pytest.raises(EmbedderMismatch, match=r"built with the embedder static, .* has other"):
        Index(index.path, Other())


def test_deleted_stores_are_filled_again_without_embedding(
    index: Index, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(index, folder)
    before = agree(index)
    path = index.path
    index.close()
    shutil.rmtree(path / "derived" / "1" / "chroma")
    shutil.rmtree(path / "derived" / "1" / "tantivy")
    monkeypatch.setattr(StaticEmbedder, "embed_documents", _must_not_be_called)
    again = Index(path, StaticEmbedder())
    with pytest.raises(IndexDamaged, match=r"no folder .*tantivy: the next `rag ingest`"):
        again.check_derived()
    run(again, folder)
    assert agree(again) == before
    again.check_derived()
    again.close()


STAGES: list[tuple[type, str]] = [
    (Writer, "embed"),
    (SqliteDocumentStore, "add_pending"),
    (Writer, "_store_vectors"),
    (SqliteDocumentStore, "make_live"),
    (SqliteDocumentStore, "doomed"),
    (SqliteDocumentStore, "remove_chunks"),
    (SqliteDocumentStore, "remove_doomed"),
    (SqliteDocumentStore, "touch"),
]


@pytest.mark.parametrize("late", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(("owner", "stage"), STAGES, ids=lambda v: getattr(v, "__name__", v))
def test_a_failure_at_any_stage_is_healed(
    owner: type,
    stage: str,
    late: bool,
    tmp_path: Path,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The next run leaves what a run without the failure leaves; searches are whole throughout."""
    index = Index(tmp_path / "index", StaticEmbedder(), create=True)
    run(index, folder)
    before = agree(index)
    (folder / "notes.txt").write_text("Flight of 4 May: all well.\n")
    (folder / "handbook.md").touch()
    original = getattr(owner, stage)

    def failing(*args: Any, **kwargs: Any) -> Any:
        if late:
            original(*args, **kwargs)
        raise OSError("disk full")

    with monkeypatch.context() as patch, pytest.raises(RagError, match="disk full"):
        patch.setattr(owner, stage, failing)
        run(index, folder)
    rows = list(index.document_store.live_rows())
    texts = {chunk.text for chunk in index.document_store.chunks(rows).values()}
    after = {t.replace("Flight of 3 May: the kite", "?") for t in before}
    assert texts == before or any("4 May" in text for text in texts)
    assert len(texts) == len(before) == len(after)
    assert words(index, "flight of may") >= {"notes.txt"}
    run(index, folder)
    healed = agree(index)
    assert any("4 May" in text for text in healed)
    assert not any("3 May" in text for text in healed)
    index.close()


def test_a_second_writer_is_refused(index: Index, folder: Path) -> None:
    with index.writing(), pytest.raises(IndexLocked):
        run(index, folder)
    assert counts(run(index, folder)) == (2, 0, 0, 0, 0)


def test_searches_during_a_run_find_one_version_of_everything(index: Index, tmp_path: Path) -> None:
    docs = tmp_path / "many"
    docs.mkdir()

    def write(version: int) -> None:
        for i in range(40):
            (docs / f"{i:02}.txt").write_text(f"Document {i} in version{version} of the text.")

    write(0)
    run(index, docs)
    done, seen = threading.Event(), []

    def search() -> None:
        while not done.is_set():
            hits = HybridRetriever().retrieve("document version text", k=100, index=index)
            seen.append(sorted(hit.chunk.uri for hit in hits))

    readers = [threading.Thread(target=search) for _ in range(2)]
    for reader in readers:
        reader.start()
    for version in range(1, 4):
        write(version)
        run(index, docs)
    done.set()
    for reader in readers:
        reader.join()
    everything = [f"{(docs / f'{i:02}.txt').as_uri()}" for i in range(40)]
    assert seen
    assert all(uris == everything for uris in seen)


def test_a_failing_run_stops_its_threads(index: Index, tmp_path: Path) -> None:
    (tmp_path / "many").mkdir()
    for i in range(30):
        (tmp_path / "many" / f"{i}.txt").write_text("word " * 20_000)

    def stop(report: IngestReport) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sync(
            index,
            [Files(path=tmp_path / "many")],
            AutoParser(),
            HeadingChunker(),
            progress=stop,
        )
    assert not [t for t in threading.enumerate() if t.name.startswith("citewell")]
    assert index.document_store.stats().documents >= 1  # what was done is kept
    report = run(index, tmp_path / "many")
    assert report.added + report.unchanged == 30
    agree(index)


def test_progress_tells_how_far(index: Index, folder: Path) -> None:
    told: list[int] = []
    sync(
        index,
        [Files(path=folder)],
        AutoParser(),
        HeadingChunker(),
        progress=lambda report: told.append(report.seen),
    )
    assert told[-1] == 2


class Picky(StaticEmbedder):
    """An embedder that refuses one text, or all."""

    name = "picky"
    refused: str = "refuse me"

    def embed_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        if any(self.refused in text for text in texts):
            raise EmbeddingError("the input was refused")
        return super().embed_documents(texts)


def test_a_text_that_the_embedder_refuses_costs_its_document_only(
    tmp_path: Path, folder: Path
) -> None:
    (folder / "bad.txt").write_text("Please refuse me.")
    index = Index(tmp_path / "index", Picky(), create=True)
    report = run(index, folder)
    assert counts(report) == (2, 0, 0, 0, 1)
    assert report.failed[0].error == "the input was refused"
    agree(index)
    index.close()


def test_an_embedder_that_refuses_everything_stops_the_run(tmp_path: Path, folder: Path) -> None:
    index = Index(tmp_path / "index", Picky(refused=""), create=True)
    with pytest.raises(EmbeddingError, match="refused"):
        run(index, folder)
    assert index.document_store.stats().documents == 0
    index.close()


class Lying(HeadingChunker):
    """A chunker that breaks its contract."""

    name = "lying"
    lie: str = "end"

    def split(self, document: Document, tokens: TokenCounter) -> list[Chunk]:
        chunks = super().split(document, tokens)
        if self.lie == "end":
            return [chunk.model_copy(update={"end": chunk.end + 5}) for chunk in chunks]
        return [*chunks, *chunks]


@pytest.mark.parametrize(
    ("lie", "said"), [("end", "not the text at its"), ("twice", "the same id")]
)
def test_a_chunker_is_held_to_its_contract(index: Index, folder: Path, lie: str, said: str) -> None:
    report = run(index, folder, chunker=Lying(lie=lie))
    assert len(report.failed) == 2
    assert "the chunker 'lying'" in report.failed[0].error
    assert said in report.failed[0].error


def test_a_file_becomes_a_folder_and_a_folder_a_file(index: Index, tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.write_text("I am a file.")
    run(index, place)
    place.unlink()
    place.mkdir()
    (place / "inside.txt").write_text("I am inside.")
    assert counts(run(index, place)) == (1, 0, 0, 1, 0)
    shutil.rmtree(place)
    place.write_text("I am a file again.")
    assert counts(run(index, place)) == (1, 0, 0, 1, 0)
    assert agree(index) == {"I am a file again."}


def test_a_passing_failure_leaves_the_record(index: Index, folder: Path) -> None:
    run(index, folder)
    run(index, connectors=[Files(path=folder, max_bytes=3)])
    assert len(index.document_store.failures()) == 2
    assert counts(run(index, folder)) == (0, 0, 2, 0, 0)
    assert index.document_store.failures() == []


def test_a_very_deep_folder(index: Index, tmp_path: Path) -> None:
    deep = tmp_path / "deep"
    deep.mkdir()
    here = Path.cwd()
    os.chdir(deep)
    try:
        for _ in range(300):  # deeper than Python's own recursion would like, in short names
            Path("d").mkdir()
            os.chdir("d")
        Path("end.txt").write_text("At the very end.")
    finally:
        os.chdir(here)
    assert run(index, deep).added == 1


@pytest.mark.parametrize("file", ["chroma/chroma.sqlite3", "tantivy/meta.json"])
def test_a_damaged_store_is_filled_again(tmp_path: Path, folder: Path, file: str) -> None:
    with Pipeline(index=tmp_path / "index") as pipeline:
        pipeline.ingest(folder)
    (tmp_path / "index" / "derived" / "1" / file).write_bytes(b"garbage" * 1000)
    with Pipeline(index=tmp_path / "index") as pipeline:
        assert pipeline.ingest(folder).unchanged == 2
        assert {"handbook.md", "notes.txt"} <= words(pipeline.open(), "kite propeller battery")
        agree(pipeline.open())


# -- threads and processes -----------------------------------------------------------------


def test_one_pipeline_is_searched_and_written_by_many_threads(tmp_path: Path, folder: Path) -> None:
    with Pipeline(index=tmp_path / "index") as pipeline:
        pipeline.ingest(folder)
        done, errors = threading.Event(), []

        def search() -> None:
            try:
                while not done.is_set():
                    assert pipeline.search("propeller battery kite")
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=search) for _ in range(3)]
        for thread in threads:
            thread.start()
        for version in range(12):
            (folder / "notes.txt").write_text(f"The kite flew {version} times in May.")
            pipeline.ingest(folder)
        done.set()
        for thread in threads:
            thread.join()
        assert errors == []
        agree(pipeline.open())


def test_closing_waits_for_searches(tmp_path: Path, folder: Path) -> None:
    pipeline = Pipeline(index=tmp_path / "index")
    pipeline.ingest(folder)
    done, errors = threading.Event(), []

    def search() -> None:
        while not done.is_set():
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
    done.set()
    for thread in threads:
        thread.join()
    pipeline.close()
    assert errors == []


def test_closing_waits_for_an_ingest(tmp_path: Path, folder: Path) -> None:
    pipeline = Pipeline(index=tmp_path / "index")
    begun = threading.Event()
    reports: list[IngestReport] = []
    for i in range(40):
        (folder / f"{i}.txt").write_text(f"Text number {i}. " * 2_000)
    thread = threading.Thread(
        target=lambda: reports.append(pipeline.ingest(folder, progress=lambda _: begun.set()))
    )
    thread.start()
    begun.wait()
    pipeline.close()
    thread.join()
    assert reports[0].added == 42
    assert str(tmp_path / "index" / "derived" / "1" / "chroma") not in _Folder._known
    with pipeline:
        assert pipeline.ingest(folder).unchanged == 42


def test_threads_leave_no_files_open(tmp_path: Path, folder: Path) -> None:
    with Pipeline(index=tmp_path / "index") as pipeline:
        pipeline.ingest(folder)
        pipeline.search("propeller")
        before = len(list(Path("/proc/self/fd").iterdir()))
        for _ in range(30):
            thread = threading.Thread(target=pipeline.search, args=("propeller",))
            thread.start()
            thread.join()
        assert len(list(Path("/proc/self/fd").iterdir())) <= before + 2


INGEST = "import sys; from rag import Pipeline; Pipeline(index=sys.argv[1]).ingest(sys.argv[2])"


@pytest.mark.parametrize("exact", [64 * 2**20, 0], ids=["compared", "Chroma"])
def test_open_readers_see_what_another_process_writes(
    tmp_path: Path, folder: Path, exact: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_module, "_EXACT", exact)
    place = tmp_path / "index"

    def ingest_elsewhere() -> None:
        subprocess.run([sys.executable, "-c", INGEST, str(place), str(folder)], check=True)

    ingest_elsewhere()
    readers = [Pipeline(index=place, retriever=DenseRetriever()) for _ in range(2)]
    for reader in readers:
        assert reader.search("propeller")
    for version in ("A lion sleeps in the tall grass.", "An otter swims in the cold river."):
        (folder / "notes.txt").write_text(version)
        (folder / "new.txt").write_text(f"More of it. {version}")
        ingest_elsewhere()
        for reader in readers:
            found = {hit.chunk.text for hit in reader.search(version, k=2)}
            assert found == {version, f"More of it. {version}"}
    for reader in readers:
        reader.close()


def test_a_wide_filter_finds_what_lies_far_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_module, "_EXACT", 0)
    monkeypatch.setattr(ChromaCollection, "MOST", 10)
    for i in range(30):
        near = f"---\ngroup: near\n---\nA lion sleeps in the tall grass, number {i}."
        far = f"---\ngroup: far\n---\nThe tax of the year {i} was paid."
        (tmp_path / f"near{i}.md").write_text(near)
        (tmp_path / f"far{i}.md").write_text(far)
    with Pipeline(index=tmp_path / "index", retriever=DenseRetriever()) as pipeline:
        pipeline.ingest(tmp_path)
        found = pipeline.search("lion in the tall grass", where={"group": "far"}, k=8)
    assert len(found) == 8


def test_texts_can_be_stored_in_chroma_too(tmp_path: Path, folder: Path) -> None:
    (folder / "mixed.md").write_text("---\ntags: [1, a, true]\nempty: []\n---\nMixed tags.")
    with Pipeline(index=tmp_path / "index", vectors=Chroma(store_text=True)) as pipeline:
        assert pipeline.ingest(folder).failed == []
        stored = pipeline.open().vectors._call("get", include=["documents", "metadatas"])
    (mixed,) = [
        (text, fields)
        for text, fields in zip(stored["documents"], stored["metadatas"], strict=True)
        if "Mixed" in text
    ]
    assert mixed[1]["meta.tags"] == ["1", "a", "True"]


class NoOtters(StaticEmbedder):
    """Refuses what is about otters."""

    name = "no-otters"

    def embed_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        if any("otter" in text for text in texts):
            raise EmbeddingError("no otters")
        return super().embed_documents(texts)


def test_a_document_that_is_refused_again_does_not_stop_the_next_run(
    tmp_path: Path, folder: Path
) -> None:
    (folder / "otter.txt").write_text("An otter swims in the river.")
    with Pipeline(index=tmp_path / "i", embedder=NoOtters()) as pipeline:
        assert counts(pipeline.ingest(folder)) == (2, 0, 0, 0, 1)
        (folder / "notes.txt").unlink()
        assert counts(pipeline.ingest(folder)) == (0, 0, 1, 1, 1)


def test_ctrl_c_is_heard_between_two_documents(tmp_path: Path, folder: Path) -> None:
    """Although they would be written together."""
    program = (
        "import os, signal, sys, threading\n"
        "from connectors.files import Files\n"
        "from connectors.parsers.auto import AutoParser\n"
        "from rag import Pipeline\n"
        "read, original = [], AutoParser.documents\n"
        "def parse(self, data, **more):\n"
        "    read.append(1)\n"
        "    if len(read) == 3:\n"
        "        os.kill(os.getpid(), signal.SIGINT)\n"
        "        threading.Event().wait(1)\n"
        "    return original(self, data, **more)\n"
        "AutoParser.documents = parse\n"
        "try:\n"
        "    Pipeline(index=sys.argv[1], processes=0).ingest(sys.argv[2])\n"
        "except KeyboardInterrupt:\n"
        "    print('stopped after', len(read))\n"
    )
    for i in range(200):
        (folder / f"{i}.txt").write_text(f"Text number {i}.")
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "i"), str(folder)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.removeprefix("stopped after ")) < 10
    with Pipeline(index=tmp_path / "i") as pipeline:
        assert pipeline.ingest(folder).seen == 202
        agree(pipeline.open())


def test_closing_while_an_ingest_calls_back(tmp_path: Path, folder: Path) -> None:
    pipeline = Pipeline(index=tmp_path / "i")
    called, closing = threading.Event(), threading.Event()

    def back(_: IngestReport) -> None:
        called.set()
        closing.wait(5)
        with contextlib.suppress(RagError):
            pipeline.stats()

    ingest = threading.Thread(target=lambda: pipeline.ingest(folder, progress=back))
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
def test_one_read_of_a_document_is_of_one_version(
    tmp_path: Path, ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / f"a.{ending}"
    file.write_text("# H\n\n" + "old text " * 50)
    with Pipeline(index=tmp_path / "i") as pipeline, Pipeline(index=tmp_path / "i") as writer:
        pipeline.ingest(file)
        original = SqliteDocumentStore._text

        def meanwhile(self: SqliteDocumentStore, *args: Any) -> str:
            monkeypatch.setattr(SqliteDocumentStore, "_text", original)
            file.write_text("# H\n\n" + "new text " * 70)
            writer.ingest(file)
            return original(self, *args)

        monkeypatch.setattr(SqliteDocumentStore, "_text", meanwhile)
        assert "old text" in pipeline.document(file.as_uri()).text
        assert "new text" in pipeline.document(file.as_uri()).text


# -- sources that hold several documents ---------------------------------------------------


def archive(path: Path, files: dict[str, str | bytes]) -> None:
    path.write_bytes(zipped(files))


def test_an_archive_is_one_source_of_many_documents(index: Index, tmp_path: Path) -> None:
    folder = tmp_path / "docs"
    folder.mkdir()
    path = folder / "a.zip"
    archive(
        path, {f"{i}.txt": f"Text number {i}." for i in range(4)} | {"bad.bin": bytes(range(256))}
    )
    report = run(index, folder)
    assert counts(report) == (4, 0, 0, 0, 1)
    assert report.failed[0].uri == f"{path.as_uri()}!/bad.bin"
    assert counts(run(index, folder)) == (0, 0, 4, 0, 1)  # and nothing was read for it
    archive(path, {f"{i}.txt": f"Text number {i or 'null'}." for i in range(3)})
    report = run(index, folder)
    assert counts(report) == (0, 1, 2, 1, 0)
    assert index.document_store.uris() == [f"{path.as_uri()}!/{i}.txt" for i in range(3)]
    assert index.document_store.failures() == []
    agree(index)
    path.unlink()
    assert counts(run(index, folder)) == (0, 0, 0, 3, 0)


def test_what_fails_for_good_is_not_read_again(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "a.bin").write_bytes(bytes(range(256)))
    archive(folder / "b.zip", {"a.txt": "Text.", "b.bin": bytes(range(256))})
    first = run(index, folder)
    read: list[str] = []
    monkeypatch.setattr(
        "connectors.files.open", lambda path, *_: read.append(path) or 1 / 0, raising=False
    )
    second = run(index, folder)
    assert read == []
    assert (second.failed, second.unchanged) == (first.failed, 1)
    monkeypatch.undo()
    # Another parser may do better, and a changed file too.
    third = run(index, folder, parser=AutoParser(depth=0))
    assert len(third.failed) == 3
    (folder / "a.bin").write_text("Now it is text.")
    assert counts(run(index, folder, parser=AutoParser(depth=0)))[0] == 1


def test_an_archive_that_was_written_in_part_is_gone_through_again(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run ends between two batches of the documents of one source."""
    folder = tmp_path / "docs"
    folder.mkdir()
    archive(folder / "a.zip", {f"{i}.txt": f"Text number {i}." for i in range(10)})
    monkeypatch.setattr("rag.ingestion.batches._BATCH_DOCUMENTS", 3)

    def stop(report: IngestReport) -> None:
        if report.added == 6:
            raise RuntimeError("pulled the plug")

    with pytest.raises(RuntimeError):
        run(index, folder, progress=stop)
    assert len(index.document_store.uris()) == 6
    assert counts(run(index, folder)) == (4, 0, 6, 0, 0)
    assert counts(run(index, folder)) == (0, 0, 10, 0, 0)
    agree(index)


def test_an_archive_that_is_damaged_keeps_its_documents(index: Index, tmp_path: Path) -> None:
    folder = tmp_path / "docs"
    folder.mkdir()
    path = folder / "a.zip"
    archive(path, {"a.txt": "One.", "b.txt": "Two."})
    run(index, folder)
    good = path.read_bytes()
    path.write_bytes(good[:-30])
    assert counts(run(index, folder)) == (0, 0, 0, 0, 1)
    assert len(index.document_store.uris()) == 2
    assert counts(run(index, folder)) == (0, 0, 0, 0, 1)
    path.write_bytes(good)
    assert counts(run(index, folder)) == (0, 0, 2, 0, 0)
    assert index.document_store.failures() == []


def test_an_archive_that_moves_is_named_so(index: Index, tmp_path: Path) -> None:
    folder = tmp_path / "docs"
    folder.mkdir()
    archive(folder / "a.zip", {"a.txt": "One.", "b.txt": "Two."})
    run(index, folder)
    (folder / "a.zip").rename(folder / "z.zip")
    report = run(index, folder)
    names = [(m.old.rpartition("docs/")[2], m.new.rpartition("docs/")[2]) for m in report.moved]
    assert names == [("a.zip!/a.txt", "z.zip!/a.txt"), ("a.zip!/b.txt", "z.zip!/b.txt")]


def test_a_changed_chunker_needs_no_archive(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "docs"
    folder.mkdir()
    archive(folder / "a.zip", {"a.txt": "One. " * 200, "b.txt": "Two.", "c.bin": bytes(range(256))})
    run(index, folder)
    monkeypatch.setattr("connectors.files.open", lambda *_: 1 / 0, raising=False)
    chunker = HeadingChunker(size=64, overlap=0)
    assert counts(run(index, folder, chunker=chunker)) == (0, 2, 0, 0, 1)
    assert counts(run(index, folder, chunker=chunker)) == (0, 0, 2, 0, 1)


def test_deleting_an_archive_by_its_uri(tmp_path: Path) -> None:
    folder = tmp_path / "docs"
    folder.mkdir()
    archive(folder / "a.zip", {"a.txt": "One.", "b.txt": "Two."})
    (folder / "a.zip.txt").write_text("Three.")
    with Pipeline(index=tmp_path / "i") as pipeline:
        pipeline.ingest(folder)
        assert pipeline.delete((folder / "a.zip").as_uri()) == 2
        assert pipeline.stats().documents == 1


class Titled(Connector):
    """Says something of its documents that is not in their bytes."""

    name = "titled"
    title: str
    year: int

    @property
    def scope(self) -> str:
        return "t://"

    def sources(self) -> Iterator[Source]:
        about = {"year": self.year}
        yield Source(
            uri="t://a", version="", read=lambda: b"Text.", title=self.title, metadata=about
        )


def test_what_a_place_says_of_a_document_is_kept(index: Index) -> None:
    run(index, connectors=[Titled(title="One", year=1)])
    assert counts(run(index, connectors=[Titled(title="One", year=1)])) == (0, 0, 1, 0, 0)
    assert counts(run(index, connectors=[Titled(title="One", year=2)])) == (0, 1, 0, 0, 0)
    document = index.document_store.document("t://a")
    assert (document.title, document.metadata) == ("One", {"year": 2})


class Undated(Connector):
    """An archive of which nothing is known before it is read."""

    name = "undated"
    path: Path

    @property
    def scope(self) -> str:
        return "u://"

    def sources(self) -> Iterator[Source]:
        yield Source(uri="u://a.zip", version="", read=self.path.read_bytes)


def test_a_part_that_failed_once_is_tried_again(index: Index, tmp_path: Path) -> None:
    """Also where only the bytes can tell whether the archive has changed."""
    path = tmp_path / "a.zip"
    archive(path, {"a.txt": "One.", "b.txt": "Old."})
    run(index, connectors=[Undated(path=path)])
    archive(path, {"a.txt": "One.", "b.txt": b""})
    assert counts(run(index, connectors=[Undated(path=path)])) == (0, 0, 1, 0, 1)
    assert counts(run(index, connectors=[Undated(path=path)])) == (0, 0, 1, 0, 1)
    assert index.document_store.document("u://a.zip!/b.txt").text == "Old."
    archive(path, {"a.txt": "One.", "b.txt": "New."})
    assert counts(run(index, connectors=[Undated(path=path)])) == (0, 1, 1, 0, 0)
    assert index.document_store.document("u://a.zip!/b.txt").text == "New."


def test_kept_parts_do_not_make_an_archive_look_changed(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.zip"
    archive(path, {"a.txt": "One.", "b.txt": "Two."})
    connectors = [Files(path=path)]
    parts = (connectors, AutoParser(), HeadingChunker())
    sync(index, *parts)
    archive(path, {"a.txt": "One."})
    assert sync(index, *parts, keep_missing=True).kept == 1
    monkeypatch.setattr("connectors.files.open", lambda *_: 1 / 0, raising=False)
    report = sync(index, *parts, keep_missing=True)
    assert (report.kept, report.unchanged, report.failed) == (1, 1, [])
    assert sync(index, *parts).deleted == 1


def test_a_link_to_itself_costs_itself(index: Index, tmp_path: Path) -> None:
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "a.txt").write_text("One.")
    (folder / "loop").symlink_to("loop")
    report = run(index, folder)
    assert counts(report) == (1, 0, 0, 0, 1)
    assert "leads nowhere" in report.failed[0].error
