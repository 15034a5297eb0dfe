import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from connectors import Connector, Files, Source
from connectors.parsers.auto import AutoParser
from rag import Document, HeadingChunker, HybridRetriever, StaticEmbedder
from rag.errors import EmbedderMismatch, IndexDamaged, IndexLocked, SourceUnreadable
from rag.index import Index, IngestReport, sync
from rag.index.index import Writer
from rag.index.library import Library


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
    rows = [row for row, _ in index.library.live_chunks(0, 10**6)]
    chunks = index.library.chunks(rows)
    assert index.vectors.count() == index.lexical.count() == len(rows)
    found = index.vectors._collection.get(include=[])["ids"]
    assert set(found) == {chunk.id for chunk in chunks.values()}
    for row, chunk in chunks.items():
        assert row in index.lexical.scores(chunk.text, [row]), chunk.text
    stats = index.library.stats()
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
    assert index.library.stats().documents == 2


def test_a_broken_new_version_leaves_the_old_one(index: Index, folder: Path) -> None:
    run(index, folder)
    (folder / "notes.txt").write_bytes(b"\0\1\2" * 50)
    report = run(index, folder)
    assert counts(report) == (0, 0, 1, 0, 1)
    assert "binary" in report.failed[0].error
    assert "notes.txt" in words(index, "flight of 3 may")
    assert len(index.library.failures()) == 1
    (folder / "notes.txt").write_text("Mended.")
    assert counts(run(index, folder)) == (0, 1, 1, 0, 0)
    assert index.library.failures() == []


def test_a_failure_is_forgotten_with_its_file(index: Index, folder: Path) -> None:
    (folder / "bad.pdf").write_bytes(b"%PDF-1.4 nothing")
    run(index, folder)
    assert len(index.library.failures()) == 1
    (folder / "bad.pdf").unlink()
    run(index, folder)
    assert index.library.failures() == []


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
    assert index.library.uris() == ["x://a", "x://folder/b", "x://folder/c"]
    assert counts(report) == (0, 0, 1, 1, 1)
    assert report.failed[0].error == "the network is down"


class Fragile(AutoParser):
    """A parser with a bug."""

    def parse(self, data: bytes, *, uri: str, mime: str | None = None) -> Document:
        if "notes" in uri:
            raise KeyError("surprise")
        return super().parse(data, uri=uri, mime=mime)


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
    shutil.rmtree(path / "chroma")
    shutil.rmtree(path / "tantivy")
    monkeypatch.setattr(StaticEmbedder, "embed_documents", _must_not_be_called)
    again = Index(path, StaticEmbedder())
    with pytest.raises(IndexDamaged, match="tantivy folder .* next `rag ingest`"):
        again.check_derived()
    run(again, folder)
    assert agree(again) == before
    again.check_derived()
    again.close()


STAGES: list[tuple[type, str]] = [
    (Writer, "embed"),
    (Library, "add_pending"),
    (Writer, "_store_vectors"),
    (Library, "make_live"),
    (Library, "doomed"),
    (Library, "remove_chunks"),
    (Library, "remove_doomed"),
    (Library, "touch"),
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

    with monkeypatch.context() as patch, pytest.raises(OSError, match="disk full"):
        patch.setattr(owner, stage, failing)
        run(index, folder)
    rows = [row for row, _ in index.library.live_chunks(0, 100)]
    texts = {chunk.text for chunk in index.library.chunks(rows).values()}
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
    assert index.library.stats().documents >= 1  # what was done is kept
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
