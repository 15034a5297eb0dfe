"""The ingesting process is killed at many points; what is left answers, and the next run heals it."""

import random
import signal
import subprocess
import sys
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
from rag.index import Index, sync

WORDS = "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda omicron sigma".split()
CHUNKER = HeadingChunker(size=48, overlap=4, smallest=8)

# Dies by SIGKILL at the n-th step: before or after every call that changes a store.
CHILD = """
import os, signal, sys
from pathlib import Path
from connectors import Files
from connectors.parsers.auto import AutoParser
from rag import HeadingChunker, StaticEmbedder
from rag.index import Index, sync
import rag.index.sync as sync_module
from rag.index.writer import Writer
from rag.index.lexical import LexicalStore
from rag.index.library import Library
from rag.index.vectors import ChromaVectors

place, docs, left = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
sync_module._BATCH_CHUNKS = 12

def step():
    global left
    left -= 1
    if left <= 0:
        os.kill(os.getpid(), signal.SIGKILL)

def killing(owner, name):
    original = getattr(owner, name)
    def wrapped(*args, **kwargs):
        step()
        try:
            return original(*args, **kwargs)
        finally:
            step()
    setattr(owner, name, wrapped)

for owner, names in {
    Library: ("add_pending", "make_live", "doom", "remove_chunks", "remove_doomed", "touch"),
    ChromaVectors: ("upsert", "delete"),
    LexicalStore: ("add", "delete", "commit"),
    Writer: ("embed",),
}.items():
    for name in names:
        killing(owner, name)
index = Index(place, StaticEmbedder(), create=True)
chunker = HeadingChunker(size=48, overlap=4, smallest=8)
sync(index, [Files(path=docs)], AutoParser(), chunker)
index.close()
print("finished")
"""


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


def state(index: Index) -> tuple[set[str], set[str], int]:
    """Live chunk ids in the library, ids in Chroma, rows in tantivy."""
    rows = index.library.all_live_rows()
    live = {chunk.id for chunk in index.library.chunks(rows).values()}
    return live, set(index.vectors._call("get", include=[])["ids"]), index.lexical.count()


@pytest.mark.slow
def test_killed_anywhere_it_answers_and_heals(tmp_path: Path) -> None:
    pick = random.Random(20)
    docs, place = tmp_path / "docs", tmp_path / "index"
    docs.mkdir()
    edit(docs, pick)
    killed = 0
    for attempt in range(25):
        child = [sys.executable, "-c", CHILD, str(place), str(docs), str(pick.randint(1, 24))]
        died = subprocess.run(child, capture_output=True, text=True)
        assert died.returncode in (0, -signal.SIGKILL), died.stderr
        killed += died.returncode != 0
        if not (place / "library.sqlite").exists():
            continue
        index = Index(place, StaticEmbedder())
        # Nothing half-written is found, and every document is there in one version.
        for uri in index.library.uris():
            document = index.library.document(uri)
            expected = {c.id for c in CHUNKER.split(document, index.embedder)}
            hits = HybridRetriever().retrieve("document alpha beta", k=1_000, index=index)
            assert {h.chunk.id for h in hits if h.chunk.uri == uri} <= expected
        if pick.random() < 0.5:
            sync(index, [Files(path=docs)], AutoParser(), CHUNKER)
            again = sync(index, [Files(path=docs)], AutoParser(), CHUNKER)
            assert (again.embedded, again.chunks) == (0, 0)
            live, in_chroma, in_tantivy = state(index)
            clean = Index(tmp_path / f"clean{attempt}", StaticEmbedder(), create=True)
            sync(clean, [Files(path=docs)], AutoParser(), CHUNKER)
            assert live == in_chroma == state(clean)[0]
            assert in_tantivy == len(live)
            for query in ("alpha beta", "document 3 sigma"):
                nearest = [
                    [
                        (h.chunk.id, round(h.score, 5))
                        for h in DenseRetriever().retrieve(query, k=20, index=i)
                    ]
                    for i in (index, clean)
                ]
                assert sorted(nearest[0]) == sorted(nearest[1])
                # BM25 weighs words by counts that hold deleted chunks until segments merge, so
                # the scores may differ a little; what is found may not.
                found = [
                    {h.chunk.id for h in LexicalRetriever().retrieve(query, k=1_000, index=i)}
                    for i in (index, clean)
                ]
                assert found[0] == found[1]
            clean.close()
            edit(docs, pick)
        index.close()
    assert killed >= 15
