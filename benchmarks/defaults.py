"""Measurements of some defaults: the static embedder and WordLlama, and metadata in Chroma.

    python -m benchmarks.defaults ../shared/data/retrieval/scifact/corpus.jsonl

Both sides of a pair are measured in one run. Compare the two; do not compare with another machine.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from rag import StaticEmbedder

ROWS = 10_000
QUERIES = 20


def main(corpus: Path) -> None:
    with corpus.open(encoding="utf-8") as lines:
        texts = [f"{row['title']}\n\n{row['text']}" for row in map(json.loads, lines)]
    embedding(texts)
    chroma()


def embedding(texts: list[str]) -> None:
    import wordllama

    own = StaticEmbedder()
    own.embed_query("load")
    folder = Path(wordllama.__file__).parent
    theirs = wordllama.WordLlama.load(cache_dir=folder, disable_download=True)
    seconds = {
        "StaticEmbedder": time_call(lambda: own.embed_documents(texts)),
        "wordllama": time_call(lambda: theirs.embed(texts, norm=True)),
    }
    for name, duration in seconds.items():
        print(f"{name:28}{len(texts) / duration:9,.0f} texts/s")
    cosines = (own.embed_documents(texts[:200]) * theirs.embed(texts[:200], norm=True)).sum(axis=1)
    print(f"{'cosine of the two':28}{cosines.min():9.3f} at least")
    print(
        f"{'NaN for an empty text':28}{np.isnan(theirs.embed([''], norm=True)).any()!s:>9} (theirs)"
    )


def chroma() -> None:
    import chromadb
    from chromadb.config import Settings

    random = np.random.default_rng(0)
    vectors = random.normal(size=(ROWS, 256)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    with tempfile.TemporaryDirectory() as folder:
        client = chromadb.PersistentClient(folder, settings=Settings(anonymized_telemetry=False))
        for keys in (0, 1, 3):
            collection = client.create_collection(
                f"keys-{keys}", configuration={"hnsw": {"space": "ip"}}, embedding_function=None
            )

            def write(collection: object = collection, keys: int = keys) -> None:
                for i in range(0, ROWS, 1_000):
                    metadata = [
                        {f"key{k}": (j // 10 + k) % 1_000 for k in range(keys)}
                        for j in range(i, i + 1_000)
                    ]
                    collection.upsert(
                        ids=[f"{j:032x}" for j in range(i, i + 1_000)],
                        embeddings=vectors[i : i + 1_000],
                        metadatas=metadata if keys else None,
                    )

            print(f"{f'Chroma, {keys} metadata keys':28}{ROWS / time_call(write):9,.0f} rows/s")

        def query(**options: object) -> None:
            for vector in vectors[:QUERIES]:
                collection.query(query_embeddings=[vector], n_results=100, **options)

        half = {"key0": {"$in": list(range(500))}}
        print(f"{'plain query':28}{1e3 * time_call(query) / QUERIES:9.1f} ms")
        duration = time_call(lambda: query(where=half))
        print(f"{'filter that keeps half':28}{1e3 * duration / QUERIES:9.1f} ms")


def time_call(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


if __name__ == "__main__":
    main(Path(sys.argv[1]))
