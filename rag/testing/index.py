"""The contract of the stores of an index together: answers, edits, crashes and maintenance."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import SkipTest

from rag.index import maintenance
from rag.stores import (
    Chroma,
    DocumentStoreConfig,
    LexicalIndexConfig,
    Sqlite,
    Tantivy,
    VectorStoreConfig,
)
from rag.testing.calls import is_killed_in_new_process
from rag.testing.samples import InMemoryConnector
from rag.types import Document

if TYPE_CHECKING:
    from rag.pipeline import Pipeline

KILL_POINTS = range(1, 200, 5)
_DOCUMENT_STORE_WRITES = (
    "add_pending",
    "make_live",
    "mark_deleted",
    "discard",
    "remove_chunks",
    "remove_deleted_documents",
    "refresh_ledger",
    "activate_store_set",
)
_VECTOR_STORE_WRITES = ("upsert", "delete")
_LEXICAL_INDEX_WRITES = ("add", "delete", "commit")


def make_versions(number: int) -> tuple[Document, ...]:
    """Return the documents of version `number` of a source: some change, appear or disappear."""
    return tuple(
        Document(
            uri=f"sample:{i}",
            title=f"Report {i}",
            text=f"The measured range of drone {i} is {10 * i + number * (i % 2)} kilometres. "
            f"Its battery lasts {20 + i} minutes. The report has {i} photographs.",
        )
        for i in range(1, 13)
        if (i + number) % 5
    )


class IndexContract:
    """Checks that your stores carry an index. Override the stores that you have written.

    The default stores are SQLite, Chroma and tantivy. The classes of your stores must be in a
    module that another process can import.
    """

    def make_document_store(self) -> DocumentStoreConfig:
        """Return the configuration of the document store."""
        return Sqlite()

    def make_vector_store(self) -> VectorStoreConfig:
        """Return the configuration of the vector store."""
        return Chroma()

    def make_lexical_index(self) -> LexicalIndexConfig:
        """Return the configuration of the lexical index."""
        return Tantivy()

    @contextmanager
    def make_folder(self) -> Iterator[Path]:
        """Yield a folder for an index."""
        with tempfile.TemporaryDirectory(prefix="citewell-contract-") as folder:
            yield Path(folder) / "index"

    def open_pipeline(self, folder: Path) -> Pipeline:
        """Return a pipeline with the stores, for the index in `folder`."""
        return _make_pipeline(
            folder,
            self.make_document_store(),
            self.make_vector_store(),
            self.make_lexical_index(),
        )

    def test_vector_store_is_searched(self) -> None:
        """The vector store itself finds what was written, also after edits and for a reader."""
        with self.make_folder() as folder, self.open_pipeline(folder) as pipeline:
            for number in (1, 2):
                documents = make_versions(number)
                pipeline.ingest(InMemoryConnector(documents=documents))
                index = pipeline.open()
                query = index.embed_query("battery of the drone")
                rows = [row for row, _ in index.vectors.query(query, 200)]
                owners = index.document_store.live_documents_by_row(rows)
                live_rows = index.document_store.live_rows()
                assert set(owners) == set(live_rows), f"{len(owners)} of {len(live_rows)} chunks"

    def test_edits_are_indexed_and_answers_are_cited(self) -> None:
        """Added, changed and deleted documents are found, or not; citations are verified."""
        with self.make_folder() as folder, self.open_pipeline(folder) as pipeline:
            for number in range(4):
                documents = make_versions(number)
                report = pipeline.ingest(InMemoryConnector(documents=documents))
                assert not report.failed, f"{report.failed}"
                _check_contents(pipeline, documents)
            unchanged = pipeline.ingest(InMemoryConnector(documents=documents))
            assert unchanged.unchanged == len(documents) and not unchanged.embedded, f"{unchanged}"
            answer = pipeline.ask(f"How long does the battery of drone {_number(documents)} last?")
            assert answer.citations and all(c.verified for c in answer.citations), f"{answer}"

    def test_reopened_index_answers(self) -> None:
        """Another pipeline on the same stores finds everything, and ingests nothing again."""
        if not self.make_document_store().is_persistent:
            raise SkipTest("the document store is not persistent")
        documents = make_versions(1)
        with self.make_folder() as folder:
            with self.open_pipeline(folder) as pipeline:
                pipeline.ingest(InMemoryConnector(documents=documents))
            with self.open_pipeline(folder) as pipeline:
                assert pipeline.search("battery of the drone"), "nothing is found"
                _check_contents(pipeline, documents)
                report = pipeline.ingest(InMemoryConnector(documents=documents))
                assert not report.embedded and not report.added, f"{report}"

    def test_two_pipelines_see_each_other(self) -> None:
        """A reader sees what a writer has written since it was opened."""
        if not self.make_document_store().is_persistent:
            raise SkipTest("the document store is not persistent")
        with self.make_folder() as folder, self.open_pipeline(folder) as writer:
            writer.ingest(InMemoryConnector(documents=make_versions(1)))
            with self.open_pipeline(folder) as reader:
                reader.search("drone")
                for number in (2, 3):
                    writer.ingest(InMemoryConnector(documents=make_versions(number)))
                    expected = {document.uri for document in make_versions(number)}
                    found_uris = {hit.chunk.uri for hit in reader.search("drone range", k=100)}
                    assert found_uris == expected, f"version {number}"

    def test_filters_are_applied(self) -> None:
        """A search within selected documents returns only these."""
        with self.make_folder() as folder, self.open_pipeline(folder) as pipeline:
            documents = make_versions(1)
            pipeline.ingest(InMemoryConnector(documents=documents))
            uri = documents[3].uri
            hits = pipeline.search("battery", k=50, where={"uri": uri})
            assert {hit.chunk.uri for hit in hits} == {uri}, f"{len(hits)} hits"

    def test_maintenance(self) -> None:
        """Rebuild, compact, snapshot and restore leave an intact index."""
        with self.make_folder() as folder, self.open_pipeline(folder) as pipeline:
            pipeline.ingest(InMemoryConnector(documents=make_versions(1)))
            index = pipeline.open()
            maintenance.rebuild(index)
            _check_contents(pipeline, make_versions(1))
            snapshot = maintenance.snapshot(index, "before")
            assert snapshot.documents == len(make_versions(1)), f"{snapshot}"
            pipeline.ingest(InMemoryConnector(documents=make_versions(2)))
            maintenance.compact(index)
            _check_contents(pipeline, make_versions(2))
            maintenance.restore(index, "before")
            _check_contents(pipeline, make_versions(1))
            report = pipeline.ingest(InMemoryConnector(documents=make_versions(1)))
            assert not report.embedded, f"the restore lost embeddings: {report}"

    def test_killed_ingest_is_repaired(self) -> None:
        """A process that is killed in an ingest leaves an index that answers and can be repaired.

        The ingest is killed before and after its writes to the stores, one write after another.
        """
        stores = (self.make_document_store(), self.make_vector_store(), self.make_lexical_index())
        if not stores[0].is_persistent:
            raise SkipTest("the document store is not persistent")
        with self.make_folder() as folder:
            with self.open_pipeline(folder) as pipeline:
                pipeline.ingest(InMemoryConnector(documents=make_versions(0)))
            for number, kill_point in enumerate(KILL_POINTS, start=1):
                before, after = make_versions(number - 1), make_versions(number)
                was_killed = is_killed_in_new_process(
                    _ingest_until_killed, kill_point, number, str(folder), *stores
                )
                with self.open_pipeline(folder) as pipeline:
                    if was_killed:
                        _check_whole_documents(pipeline, (*before, *after))
                    pipeline.ingest(InMemoryConnector(documents=after))
                    _check_contents(pipeline, after)
                if not was_killed:
                    break
            assert number > 1, "the ingest has no writes that could be interrupted"


def _make_pipeline(
    folder: Path,
    document_store: DocumentStoreConfig,
    vector_store: VectorStoreConfig,
    lexical_index: LexicalIndexConfig,
) -> Pipeline:
    from rag.chunking import HeadingChunker
    from rag.pipeline import Pipeline

    return Pipeline(
        index=folder,
        document_store=document_store,
        vector_store=vector_store,
        lexical_index=lexical_index,
        chunker=HeadingChunker(size=24, overlap=0),
        processes=0,
    )


def _number(documents: Sequence[Document]) -> str:
    return documents[0].uri.partition(":")[2]


def _check_contents(pipeline: Pipeline, documents: Sequence[Document]) -> None:
    """Check that the index holds exactly `documents`, and that its stores agree."""
    index = pipeline.open()
    uris = [document.uri for document in documents]
    assert index.document_store.uris() == sorted(uris), f"{index.document_store.uris()}"
    for document in documents:
        assert index.document_store.document(document.uri).text == document.text, document.uri
    verification = maintenance.verify(index)
    assert verification.is_intact, f"{verification.problems}"
    found_uris = {hit.chunk.uri for hit in pipeline.search("battery of the drone", k=200)}
    assert found_uris == set(uris), f"found {sorted(found_uris)}"


def _check_whole_documents(pipeline: Pipeline, versions: Sequence[Document]) -> None:
    """Check that each document that is found is one whole version of it."""
    texts = {(document.uri, document.text) for document in versions}
    for hit in pipeline.search("battery of the drone", k=200):
        document = pipeline.document(hit.chunk.uri)
        assert (document.uri, document.text) in texts, f"{document.uri} is a mixture"
        quote = document.text[hit.chunk.start : hit.chunk.end]
        assert quote == hit.chunk.text, f"{document.uri}: the chunk is not in the text"


def _ingest_until_killed(
    kill_point: int,
    number: int,
    folder: str,
    document_store: DocumentStoreConfig,
    vector_store: VectorStoreConfig,
    lexical_index: LexicalIndexConfig,
) -> None:
    """Ingest a version of the source; kill this process before or after a write of a store."""
    from rag.ingestion import batches

    batches._BATCH_CHUNKS = 6
    with _make_pipeline(Path(folder), document_store, vector_store, lexical_index) as pipeline:
        index = pipeline.open(create=True)
        counter = _KillCounter(kill_point)
        counter.wrap(index.document_store, _DOCUMENT_STORE_WRITES)
        counter.wrap(index.vectors, _VECTOR_STORE_WRITES)
        counter.wrap(index.lexical, _LEXICAL_INDEX_WRITES)
        pipeline.ingest(InMemoryConnector(documents=make_versions(number)))


class _KillCounter:
    """Kills this process at the given number of steps; each wrapped call has two."""

    def __init__(self, remaining_steps: int) -> None:
        self._remaining_steps = remaining_steps

    def _count_step(self) -> None:
        self._remaining_steps -= 1
        if self._remaining_steps == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def wrap(self, store: object, names: Sequence[str]) -> None:
        """Count the calls of these methods of `store`."""
        for name in names:
            setattr(store, name, self._wrap_method(getattr(store, name)))

    def _wrap_method(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def call_between_steps(*args: Any, **options: Any) -> Any:
            self._count_step()
            try:
                return method(*args, **options)
            finally:
                self._count_step()

        return call_between_steps
