"""Kill the ingesting process at many points: the index answers, and the next run repairs it."""

import multiprocessing
import os
import random
import signal
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import pytest

from connectors import Files
from connectors.parsers.auto import AutoParser
from rag import (
    DenseRetriever,
    HeadingChunker,
    HybridRetriever,
    LexicalRetriever,
    StaticEmbedder,
)
from rag.index import Index, maintenance
from rag.index.commit_protocol import IndexWriter
from rag.index.store_set import StoreSet, list_store_set_numbers
from rag.ingestion import batches, sync
from rag.stores import (
    Chroma,
    Exact,
    LexicalIndexConfig,
    SqliteDocumentStore,
    Tantivy,
    VectorStoreConfig,
)
from rag.stores.chroma import ChromaCollection
from rag.stores.exact import ExactVectorStore
from rag.stores.memory_lexical import InMemoryLexical, InMemoryLexicalIndex
from rag.stores.tantivy import TantivyIndex

WORDS = "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda omicron sigma".split()
CHUNKER = HeadingChunker(size=48, overlap=4)
FORK_SERVER = multiprocessing.get_context("forkserver")
FORK_SERVER.set_forkserver_preload(["tests.index.preload"])
PARSER_PROCESSES = 0  # parse in this process: a killed process would leave workers running


class OtherEmbedder(StaticEmbedder):
    """Another embedder."""

    name = "other"


class Stores(NamedTuple):
    """The stores of an index. Documents are in SQLite, the only ones that outlive a process."""

    vector_store: VectorStoreConfig = Chroma()
    lexical_index: LexicalIndexConfig = Tantivy()

    def open_index(
        self, path: Path, embedder: StaticEmbedder | None = None, *, create: bool = False
    ) -> Index:
        return Index(path, embedder or StaticEmbedder(), create=create, **self._asdict())


EVERY_PAIR = pytest.mark.parametrize(
    "stores",
    [
        Stores(),
        Stores(Exact(), InMemoryLexical()),
        Stores(Chroma(), InMemoryLexical()),
        Stores(Exact(), Tantivy()),
    ],
    ids=lambda stores: f"{stores.vector_store.name}-{stores.lexical_index.name}",
)

STEPS: dict[type, tuple[str, ...]] = {
    SqliteDocumentStore: (
        "add_pending",
        "make_live",
        "stage",
        "activate_store_set",
        "mark_deleted",
        "discard",
        "remove_chunks",
        "remove_deleted_documents",
        "remove_deleted_with_chunks",
        "refresh_ledger",
        "record_failures",
    ),
    ChromaCollection: ("upsert", "delete"),
    ExactVectorStore: ("upsert", "delete"),
    TantivyIndex: ("add", "delete", "commit"),
    InMemoryLexicalIndex: ("add", "delete", "commit"),
    StoreSet: ("create", "remove"),
    IndexWriter: ("embed",),
}


def edit_documents(docs: Path, rng: random.Random) -> None:
    """Write, change and delete some of twelve documents."""
    for i in range(12):
        path = docs / f"{i}.md"
        chance = rng.random()
        if chance < 0.5 or not path.exists():
            paragraphs = [" ".join(rng.choices(WORDS, k=25)) + "." for _ in range(5)]
            path.write_text(f"# Document {i}\n\n" + "\n\n".join(paragraphs))
        elif chance < 0.65:
            path.unlink()


def ingest(stores: Stores, index_path: Path, docs: Path, embedder: StaticEmbedder) -> None:
    index = stores.open_index(index_path, embedder, create=True)
    sync(index, [Files(path=docs)], AutoParser(), CHUNKER, processes=PARSER_PROCESSES)
    index.close()


def kill_at(step: int, task: Callable[..., None], *args: object) -> bool:
    """Run `task` in a child process that dies by SIGKILL at a step: before or after a store change.

    Return whether it died; it does not if the task has fewer steps. Children are forked from a
    process that has imported everything and opened nothing, so that a hundred take a minute.
    """
    child = FORK_SERVER.Process(target=_run_until_killed, args=(step, task, *args))
    child.start()
    child.join()
    assert child.exitcode in (0, -signal.SIGKILL), child.exitcode
    died = child.exitcode != 0
    child.close()
    return died


def _run_until_killed(step: int, task: Callable[..., None], *args: object) -> None:
    _install_kill(step)
    task(*args)


def _install_kill(remaining_steps: int) -> None:
    """Make this process kill itself after so many steps."""
    batches._BATCH_CHUNKS = 12

    def count_step() -> None:
        nonlocal remaining_steps
        remaining_steps -= 1
        if remaining_steps <= 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def wrap_method(owner: type, name: str) -> None:
        original = getattr(owner, name)

        def call_between_steps(*args: object, **kwargs: object) -> object:
            count_step()
            try:
                return original(*args, **kwargs)
            finally:
                count_step()

        setattr(owner, name, call_between_steps)

    for owner, names in STEPS.items():
        for name in names:
            wrap_method(owner, name)


def run_in_child(task: Callable[..., None], *args: object) -> None:
    """Run `task` in a child process to its end."""
    assert not kill_at(sys.maxsize, task, *args)


def assert_complete_answers(stores: Stores, index_path: Path, embedder: StaticEmbedder) -> None:
    """Check that searches find exactly one version of each document, with all its chunks."""
    index = stores.open_index(index_path, embedder)
    hits = HybridRetriever().retrieve("document alpha beta", k=1_000, index=index)
    for uri in index.document_store.uris():
        document = index.document_store.document(uri)
        expected = {c.id for c in CHUNKER.split(document, embedder)}
        chunk_ids = [hit.chunk.id for hit in hits if hit.chunk.uri == uri]
        assert set(chunk_ids) == expected and len(chunk_ids) == len(expected)
    assert {hit.chunk.uri for hit in hits} == set(index.document_store.uris())
    index.close()


def assert_recovery(
    stores: Stores, index_path: Path, docs: Path, clean_path: Path, embedder: StaticEmbedder
) -> None:
    """Ingest once more, and compare with an index that never crashed."""
    index = stores.open_index(index_path, embedder, create=True)
    cached = index.document_store.stats().cached_embeddings
    first = sync(index, [Files(path=docs)], AutoParser(), CHUNKER, processes=PARSER_PROCESSES)
    assert index.document_store.stats().cached_embeddings == cached + first.embedded
    second = sync(index, [Files(path=docs)], AutoParser(), CHUNKER, processes=PARSER_PROCESSES)
    assert (second.embedded, second.chunks, second.seen) == (0, 0, second.unchanged)
    assert maintenance.verify(index).problems == []  # the three stores agree, vector by vector
    assert list_store_set_numbers(index.path) == [index.document_store.state.store_set_number]
    clean = stores.open_index(clean_path, embedder, create=True)
    sync(clean, [Files(path=docs)], AutoParser(), CHUNKER, processes=PARSER_PROCESSES)
    for query in ("alpha beta", "document 3 sigma"):
        dense_hits = [
            sorted(
                (hit.chunk.id, round(hit.score, 5))
                for hit in DenseRetriever().retrieve(query, k=1_000, index=i)
            )
            for i in (index, clean)
        ]
        assert dense_hits[0] == dense_hits[1]
        # BM25 counts deleted chunks in word frequencies until segments merge, so the scores may
        # differ a little. The hits may not.
        lexical_hits = [
            sorted(h.chunk.id for h in LexicalRetriever().retrieve(query, k=1_000, index=i))
            for i in (index, clean)
        ]
        assert lexical_hits[0] == lexical_hits[1]
    clean.close()
    index.close()


@pytest.mark.slow
@EVERY_PAIR
def test_ingest_killed_at_many_points_answers_and_recovers(stores: Stores, tmp_path: Path) -> None:
    rng = random.Random(20)
    docs, index_path = tmp_path / "docs", tmp_path / "index"
    docs.mkdir()
    edit_documents(docs, rng)
    run_in_child(ingest, stores, index_path, docs, StaticEmbedder())
    edit_documents(docs, rng)
    # The other stores keep nothing of their own across a crash, so fewer points are enough.
    enough = 45 if stores == Stores() else 12
    kill_count = 0
    for attempt in range(2 * enough):
        step = rng.randint(1, 30)
        kill_count += kill_at(step, ingest, stores, index_path, docs, StaticEmbedder())
        run_in_child(assert_complete_answers, stores, index_path, StaticEmbedder())
        if rng.random() < 0.3:
            clean = tmp_path / f"clean{attempt}"
            run_in_child(assert_recovery, stores, index_path, docs, clean, StaticEmbedder())
            edit_documents(docs, rng)
        elif rng.random() < 0.5:
            edit_documents(docs, rng)
        if kill_count == enough:
            break
    assert kill_count == enough


@pytest.mark.slow
@EVERY_PAIR
def test_reembedding_killed_at_many_points_answers_and_recovers(
    stores: Stores, tmp_path: Path
) -> None:
    rng = random.Random(21)
    docs = tmp_path / "docs"
    docs.mkdir()
    edit_documents(docs, rng)
    switch_count = 0
    for attempt, step in enumerate(range(4, 200, 9)):
        index_path = tmp_path / f"index{attempt}"
        run_in_child(ingest, stores, index_path, docs, StaticEmbedder())
        if not kill_at(step, ingest, stores, index_path, docs, OtherEmbedder()):
            break
        file = index_path / "library.sqlite"
        with closing(SqliteDocumentStore(file, read_only=True)) as document_store:
            fingerprint = document_store.state.embedder_fingerprint
        has_switched = fingerprint == OtherEmbedder().fingerprint
        switch_count += has_switched
        embedder = OtherEmbedder() if has_switched else StaticEmbedder()
        run_in_child(assert_complete_answers, stores, index_path, embedder)
        if attempt % 3 == 2:  # with the old embedder, the old index is still complete
            reverted = tmp_path / f"reverted{step}"
            run_in_child(assert_recovery, stores, index_path, docs, reverted, StaticEmbedder())
        clean = tmp_path / f"clean{step}"
        run_in_child(assert_recovery, stores, index_path, docs, clean, OtherEmbedder())
    assert attempt >= 6
    assert 0 < switch_count < attempt


def take_snapshot(stores: Stores, index_path: Path) -> None:
    index = stores.open_index(index_path)
    maintenance.snapshot(index, "before")
    index.close()


def restore_snapshot(stores: Stores, index_path: Path) -> None:
    index = stores.open_index(index_path)
    maintenance.restore(index, "before")
    index.close()


@pytest.mark.slow
@EVERY_PAIR
def test_restore_killed_at_many_points_answers_and_recovers(stores: Stores, tmp_path: Path) -> None:
    rng = random.Random(22)
    docs, index_path = tmp_path / "docs", tmp_path / "index"
    docs.mkdir()
    edit_documents(docs, rng)

    run_in_child(ingest, stores, index_path, docs, StaticEmbedder())
    run_in_child(take_snapshot, stores, index_path)
    for step in range(1, 14):
        edit_documents(docs, rng)
        run_in_child(ingest, stores, index_path, docs, StaticEmbedder())
        kill_at(step, restore_snapshot, stores, index_path)
        run_in_child(assert_complete_answers, stores, index_path, StaticEmbedder())
        clean = tmp_path / f"clean{step}"
        run_in_child(assert_recovery, stores, index_path, docs, clean, StaticEmbedder())


def test_store_set_of_a_killed_build_is_removed(tmp_path: Path, folder: Path) -> None:
    index = Index(tmp_path / "index", StaticEmbedder(), create=True)
    sync(index, [Files(path=folder)], AutoParser(), CHUNKER)
    (index.path / "derived" / "7" / "chroma").mkdir(parents=True)
    sync(index, [Files(path=folder)], AutoParser(), CHUNKER)
    assert list_store_set_numbers(index.path) == [1]
    index.close()
