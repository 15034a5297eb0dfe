"""Kill the ingesting process at many points: the index answers, and the next run repairs it."""

import multiprocessing
import os
import random
import shutil
import signal
import sys
import tarfile
from collections import Counter
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
from rag.stores.sqlite import migrations
from rag.stores.tantivy import TantivyIndex

WORDS = "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda omicron sigma".split()
CHUNKER = HeadingChunker(size=48, overlap=4)
FORK_SERVER = multiprocessing.get_context("forkserver")
FORK_SERVER.set_forkserver_preload(["tests.index.preload"])
OLD_INDEX = Path(__file__).parent.parent / "fixtures" / "index-0.1.tar.xz"
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

STEPS: dict[object, tuple[str, ...]] = {
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
    TantivyIndex: ("add", "delete", "replace_all", "commit"),
    InMemoryLexicalIndex: ("add", "delete", "commit"),
    StoreSet: ("create", "remove"),
    IndexWriter: ("embed",),
    migrations: ("_read_version",),
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

    def wrap_method(owner: object, name: str) -> None:
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


def assert_complete_answers(stores: Stores, index_path: Path) -> None:
    """Check that searches find exactly one version of each document, with all its chunks."""
    embedder = read_embedder(index_path)
    index = stores.open_index(index_path, embedder)
    hits = HybridRetriever().retrieve("document alpha beta", k=1_000, index=index)
    for uri in index.document_store.uris():
        document = index.document_store.document(uri)
        expected = {c.id for c in CHUNKER.split(document, embedder)}
        chunk_ids = [hit.chunk.id for hit in hits if hit.chunk.uri == uri]
        assert set(chunk_ids) == expected and len(chunk_ids) == len(expected)
    assert {hit.chunk.uri for hit in hits} == set(index.document_store.uris())
    index.close()


def assert_recovery(stores: Stores, index_path: Path, docs: Path, clean_path: Path) -> None:
    """Ingest once more, and compare with an index that never crashed."""
    embedder = read_embedder(index_path)
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
    for query in ("alpha beta", "document 3 sigma", "kappa lambda omicron the theta"):
        for retriever in (DenseRetriever(), LexicalRetriever()):
            scores = [
                sorted(
                    (hit.chunk.id, round(hit.score, 5))
                    for hit in retriever.retrieve(query, k=1_000, index=i)
                )
                for i in (index, clean)
            ]
            assert scores[0] == scores[1], retriever.name
    clean.close()
    index.close()


def ingest_with_other_embedder(stores: Stores, index_path: Path, docs: Path) -> None:
    """Embed all texts again, with the embedder that the index does not have."""
    other = {StaticEmbedder: OtherEmbedder(), OtherEmbedder: StaticEmbedder()}
    ingest(stores, index_path, docs, other[type(read_embedder(index_path))])


def ingest_again(stores: Stores, index_path: Path, docs: Path) -> None:
    ingest(stores, index_path, docs, read_embedder(index_path))


def compact(stores: Stores, index_path: Path, _: Path) -> None:
    with closing(stores.open_index(index_path, read_embedder(index_path))) as index:
        maintenance.compact(index)


def rebuild(stores: Stores, index_path: Path, _: Path) -> None:
    with closing(stores.open_index(index_path, read_embedder(index_path))) as index:
        maintenance.rebuild(index)


def take_snapshot(stores: Stores, index_path: Path, name: str) -> None:
    with closing(stores.open_index(index_path, read_embedder(index_path))) as index:
        maintenance.snapshot(index, name)


def restore(stores: Stores, index_path: Path, _: Path) -> None:
    with closing(stores.open_index(index_path, read_embedder(index_path))) as index:
        names = [snapshot.name for snapshot in maintenance.snapshots(index_path)]
        maintenance.restore(index, names[-1])


def damage(stores: Stores, index_path: Path, _: Path) -> None:
    """Remove chunks from the vector store and the lexical index."""
    with closing(stores.open_index(index_path, read_embedder(index_path))) as index:
        rows = list(index.document_store.live_rows())
        index.vectors.delete(rows[:2])
        index.lexical.delete(rows[-2:])
        index.lexical.commit()
        index.lexical.end_writing()


def repair(stores: Stores, index_path: Path, _: Path) -> None:
    with closing(stores.open_index(index_path, read_embedder(index_path))) as index:
        maintenance.repair(index)


def read_embedder(index_path: Path) -> StaticEmbedder:
    """Return the embedder of the vectors that the index has."""
    with closing(SqliteDocumentStore(index_path / "library.sqlite", read_only=True)) as documents:
        fingerprint = documents.state.embedder_fingerprint
    other = OtherEmbedder()
    return other if fingerprint == other.fingerprint else StaticEmbedder()


# The steps of each task, about: a task may end before the step at which it is to die.
TASKS: dict[Callable[[Stores, Path, Path], None], int] = {
    ingest_again: 30,
    ingest_with_other_embedder: 60,
    compact: 14,
    rebuild: 14,
    restore: 16,
    repair: 18,
}


@pytest.mark.slow
@EVERY_PAIR
def test_an_index_survives_kills_at_any_point_of_any_task(stores: Stores, tmp_path: Path) -> None:
    """For more than the default: ``CITEWELL_KILLS=200 pytest tests/index/test_crashes.py``."""
    # The other stores keep nothing of their own across a crash, so fewer points are enough.
    enough = int(os.environ.get("CITEWELL_KILLS", 40 if stores == Stores() else 12))
    rng = random.Random(20)
    docs, index_path = tmp_path / "docs", tmp_path / "index"
    docs.mkdir()
    edit_documents(docs, rng)
    run_in_child(ingest, stores, index_path, docs, StaticEmbedder())
    run_in_child(take_snapshot, stores, index_path, "first")
    edit_documents(docs, rng)
    kills: Counter[str] = Counter()
    while kills.total() < enough:
        # Each task at least once, then any of them.
        task = next((t for t in TASKS if not kills[t.__name__]), rng.choice(list(TASKS)))
        step = rng.randint(1, TASKS[task])
        if task is repair:
            run_in_child(damage, stores, index_path, docs)
        has_died = kill_at(step, task, stores, index_path, docs)
        kills[task.__name__] += has_died
        if task is repair and has_died:  # until then, the damage may be there
            run_in_child(repair, stores, index_path, docs)
        run_in_child(assert_complete_answers, stores, index_path)
        if rng.random() < 0.25:
            clean = tmp_path / f"clean{kills.total()}-{step}"
            run_in_child(assert_recovery, stores, index_path, docs, clean)
            shutil.rmtree(clean)
        if rng.random() < 0.7:
            edit_documents(docs, rng)
    clean = tmp_path / "clean"
    run_in_child(assert_recovery, stores, index_path, docs, clean)
    assert set(kills) == {task.__name__ for task in TASKS}


def open_old_index(stores: Stores, index_path: Path, docs: Path) -> None:
    """Convert an index of version 0.1 to this format, and add a folder."""
    ingest(stores, index_path, docs, StaticEmbedder())


def assert_old_documents_answer(stores: Stores, index_path: Path) -> None:
    with closing(stores.open_index(index_path)) as index:
        hits = HybridRetriever().retrieve("kettle litres", k=1_000, index=index)
        uris = [hit.chunk.uri for hit in hits]
        assert uris.count("notes:kettle") == 1
        assert {"notes:fan", "notes:lamp"} < set(index.document_store.uris())
        assert "notes:radio" not in {*uris, *index.document_store.uris()}


@pytest.mark.slow
@EVERY_PAIR
def test_a_migration_survives_kills_at_any_point(stores: Stores, tmp_path: Path) -> None:
    """With ``CITEWELL_KILLS``, it is killed at each of its steps."""
    rng = random.Random(23)
    docs = tmp_path / "docs"
    docs.mkdir()
    edit_documents(docs, rng)
    kill_count = 0
    steps = range(1, 200) if "CITEWELL_KILLS" in os.environ else (1, 3, 4, 7, 12, 20)
    for step in steps:
        folder = tmp_path / str(step)
        with tarfile.open(OLD_INDEX) as archive:
            archive.extractall(folder, filter="data")
        index_path = folder / "index"
        has_died = kill_at(step, open_old_index, stores, index_path, docs)
        kill_count += has_died
        run_in_child(assert_old_documents_answer, stores, index_path)
        run_in_child(open_old_index, stores, index_path, docs)
        run_in_child(assert_old_documents_answer, stores, index_path)
        run_in_child(assert_intact, stores, index_path)
        if not has_died:  # it has no more steps
            break
    assert kill_count >= 5


def assert_intact(stores: Stores, index_path: Path) -> None:
    with closing(stores.open_index(index_path)) as index:
        assert maintenance.verify(index).problems == []


def test_store_set_of_a_killed_build_is_removed(tmp_path: Path, folder: Path) -> None:
    index = Index(tmp_path / "index", StaticEmbedder(), create=True)
    sync(index, [Files(path=folder)], AutoParser(), CHUNKER)
    (index.path / "derived" / "7" / "chroma").mkdir(parents=True)
    sync(index, [Files(path=folder)], AutoParser(), CHUNKER)
    assert list_store_set_numbers(index.path) == [1]
    index.close()
