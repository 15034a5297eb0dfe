"""The ingesting process is killed at many points; what is left answers, and the next run heals it."""

import multiprocessing
import os
import random
import signal
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

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
from rag.index.commit_protocol import Writer
from rag.index.store_set import StoreSet, numbers
from rag.ingestion import batches, sync
from rag.stores import Chroma
from rag.stores.chroma import ChromaCollection
from rag.stores.sqlite import SqliteDocumentStore
from rag.stores.tantivy import TantivyIndex

WORDS = "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda omicron sigma".split()
CHUNKER = HeadingChunker(size=48, overlap=4, smallest=8)
FORKING = multiprocessing.get_context("forkserver")
FORKING.set_forkserver_preload(["tests.index.preload"])
NO_PARSERS = 0  # in this process: a killed one cannot leave others behind


class Other(StaticEmbedder):
    """Another embedder."""

    name = "other"


STEPS: dict[type, tuple[str, ...]] = {
    SqliteDocumentStore: (
        "add_pending",
        "make_live",
        "stage",
        "switch",
        "doom",
        "doom_pending",
        "remove_chunks",
        "remove_doomed",
        "purge",
        "touch",
        "adopt",
    ),
    ChromaCollection: ("upsert", "delete"),
    TantivyIndex: ("add", "delete", "commit"),
    StoreSet: ("create", "remove"),
    Writer: ("embed",),
}


def edit(docs: Path, pick: random.Random) -> None:
    """Write, change and delete some of twelve documents."""
    for i in range(12):
        path = docs / f"{i}.md"
        chance = pick.random()
        if chance < 0.5 or not path.exists():
            paragraphs = [" ".join(pick.choices(WORDS, k=25)) + "." for _ in range(5)]
            path.write_text(f"# Document {i}\n\n" + "\n\n".join(paragraphs))
        elif chance < 0.65:
            path.unlink()


def ingest(place: Path, docs: Path, embedder: StaticEmbedder) -> None:
    index = Index(place, embedder, create=True)
    sync(index, [Files(path=docs)], AutoParser(), CHUNKER, processes=NO_PARSERS)
    index.close()


def killed_at(step: int, work: Callable[..., None], *args: object) -> bool:
    """Run `work` in a child that dies by SIGKILL at the n-th step: before or after a store changes.

    True where it died, False where it was done before. Children are forked from a process that
    has everything imported and nothing opened, so that a hundred of them take a minute.
    """
    child = FORKING.Process(target=_mortal, args=(step, work, *args))
    child.start()
    child.join()
    assert child.exitcode in (0, -signal.SIGKILL), child.exitcode
    died = child.exitcode != 0
    child.close()
    return died


def _mortal(step: int, work: Callable[..., None], *args: object) -> None:
    _die_at(step)
    work(*args)


def _die_at(left: int) -> None:
    batches._BATCH_CHUNKS = 12

    def step() -> None:
        nonlocal left
        left -= 1
        if left <= 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def killing(owner: type, name: str) -> None:
        original = getattr(owner, name)

        def wrapped(*args: object, **kwargs: object) -> object:
            step()
            try:
                return original(*args, **kwargs)
            finally:
                step()

        setattr(owner, name, wrapped)

    for owner, names in STEPS.items():
        for name in names:
            killing(owner, name)


def in_child(work: Callable[..., None], *args: object) -> None:
    """Do `work` in a child that lives."""
    assert not killed_at(sys.maxsize, work, *args)


def answers_whole(place: Path, embedder: StaticEmbedder) -> None:
    """Nothing half-written is found, and every document in one version."""
    index = Index(place, embedder)
    hits = HybridRetriever().retrieve("document alpha beta", k=1_000, index=index)
    for uri in index.document_store.uris():
        document = index.document_store.document(uri)
        expected = {c.id for c in CHUNKER.split(document, embedder)}
        found = [hit.chunk.id for hit in hits if hit.chunk.uri == uri]
        assert set(found) == expected and len(found) == len(expected)
    assert {hit.chunk.uri for hit in hits} == set(index.document_store.uris())
    index.close()


def is_like_new(place: Path, docs: Path, clean_place: Path, embedder: StaticEmbedder) -> None:
    """Heal by another run, and compare with an index that never crashed."""
    index = Index(place, embedder, create=True)
    committed = index.document_store.stats().cached_embeddings
    healed = sync(index, [Files(path=docs)], AutoParser(), CHUNKER, processes=NO_PARSERS)
    assert index.document_store.stats().cached_embeddings == committed + healed.embedded
    again = sync(index, [Files(path=docs)], AutoParser(), CHUNKER, processes=NO_PARSERS)
    assert (again.embedded, again.chunks, again.seen) == (0, 0, again.unchanged)
    assert maintenance.verify(index).problems == []  # the three stores agree, vector by vector
    assert numbers(index.path) == [index.document_store.state.derived]
    clean = Index(clean_place, embedder, create=True)
    sync(clean, [Files(path=docs)], AutoParser(), CHUNKER, processes=NO_PARSERS)
    for query in ("alpha beta", "document 3 sigma"):
        nearest = [
            sorted(
                (hit.chunk.id, round(hit.score, 5))
                for hit in DenseRetriever().retrieve(query, k=1_000, index=i)
            )
            for i in (index, clean)
        ]
        assert nearest[0] == nearest[1]
        # BM25 weighs words by counts that hold deleted chunks until segments merge, so the scores
        # may differ a little; what is found may not.
        found = [
            sorted(h.chunk.id for h in LexicalRetriever().retrieve(query, k=1_000, index=i))
            for i in (index, clean)
        ]
        assert found[0] == found[1]
    clean.close()
    index.close()


@pytest.mark.slow
def test_killed_at_a_hundred_points_it_answers_and_heals(tmp_path: Path) -> None:
    pick = random.Random(20)
    docs, place = tmp_path / "docs", tmp_path / "index"
    docs.mkdir()
    edit(docs, pick)
    in_child(ingest, place, docs, StaticEmbedder())
    edit(docs, pick)
    killed = 0
    for attempt in range(200):
        at = pick.randint(1, 30)
        killed += killed_at(at, ingest, place, docs, StaticEmbedder())
        in_child(answers_whole, place, StaticEmbedder())
        if pick.random() < 0.3:
            clean = tmp_path / f"clean{attempt}"
            in_child(is_like_new, place, docs, clean, StaticEmbedder())
            edit(docs, pick)
        elif pick.random() < 0.5:
            edit(docs, pick)
        if killed == 100:
            break
    assert killed == 100


@pytest.mark.slow
def test_killed_while_another_embedder_takes_over(tmp_path: Path) -> None:
    pick = random.Random(21)
    docs = tmp_path / "docs"
    docs.mkdir()
    edit(docs, pick)
    switched = 0
    for attempt, at in enumerate(range(4, 200, 5)):
        place = tmp_path / f"index{attempt}"
        in_child(ingest, place, docs, StaticEmbedder())
        if not killed_at(at, ingest, place, docs, Other()):
            break
        with closing(SqliteDocumentStore(place / "library.sqlite", read_only=True)) as library:
            built = library.embedder_fingerprint()
        answering = Other() if built == Other().fingerprint else StaticEmbedder()
        switched += answering == Other()
        in_child(answers_whole, place, answering)
        if attempt % 3 == 2:  # whoever goes back to the old embedder has the old index
            in_child(is_like_new, place, docs, tmp_path / f"back{at}", StaticEmbedder())
        in_child(is_like_new, place, docs, tmp_path / f"clean{at}", Other())
    assert attempt >= 10
    assert 0 < switched < attempt


def take_snapshot(place: Path) -> None:
    index = Index(place, StaticEmbedder())
    maintenance.snapshot(index, "before")
    index.close()


def restore_snapshot(place: Path) -> None:
    index = Index(place, StaticEmbedder())
    maintenance.restore(index, "before")
    index.close()


@pytest.mark.slow
def test_killed_while_a_snapshot_is_restored(tmp_path: Path) -> None:
    pick = random.Random(22)
    docs, place = tmp_path / "docs", tmp_path / "index"
    docs.mkdir()
    edit(docs, pick)

    in_child(ingest, place, docs, StaticEmbedder())
    in_child(take_snapshot, place)
    for at in range(1, 14):
        edit(docs, pick)
        in_child(ingest, place, docs, StaticEmbedder())
        killed_at(at, restore_snapshot, place)
        in_child(answers_whole, place, StaticEmbedder())
        clean = tmp_path / f"clean{at}"
        in_child(is_like_new, place, docs, clean, StaticEmbedder())


def test_the_stores_of_a_killed_build_are_thrown_away(tmp_path: Path, folder: Path) -> None:
    index = Index(tmp_path / "index", StaticEmbedder(), create=True, vectors=Chroma())
    sync(index, [Files(path=folder)], AutoParser(), CHUNKER)
    (index.path / "derived" / "7" / "chroma").mkdir(parents=True)
    sync(index, [Files(path=folder)], AutoParser(), CHUNKER)
    assert numbers(index.path) == [1]
    index.close()
