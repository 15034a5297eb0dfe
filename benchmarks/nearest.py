"""Recall and time of Chroma's graph search, compared with exact search.

    python -m benchmarks.nearest ../shared/data/pdf

A few documents (the sample folder, the README) are among many of another kind (filings, in small
chunks), as in a personal folder. Recall is the share of the exact ten nearest chunks among the
first hundred of the graph.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from connectors import Files
from connectors.parsers.auto import AutoParser
from rag import HeadingChunker, StaticEmbedder
from rag.stores.chroma import _HNSW_CONFIGURATION

SAMPLE = Path(__file__).parent.parent / "pipelines" / "sample"
README = Path(__file__).parent.parent / "README.md"
QUESTIONS = (
    "how deep is the camera", "tide gauge battery", "when is it open in winter",
    "wave recorder storm", "ticket price children", "dogs allowed",
    "annotated pipeline in python", "yaml configuration", "extractive answers with citations",
    "lobsters in the cable duct", "what command ingests a folder",
    "environment variables for keys", "mean sea level", "wages", "net income of amazon",
    "capital expenditure", "aircraft deliveries", "streaming members", "leases",
    "lighthouse on the coast",
)  # fmt: skip


def main(folder: Path) -> None:
    import chromadb
    from chromadb.config import Settings

    embedder, chunker, parser = StaticEmbedder(), HeadingChunker(size=96, overlap=8), AutoParser()
    sources = [
        *Files(path=SAMPLE).sources(),
        *Files(path=README).sources(),
        *Files(path=folder, include=("*.pdf",)).sources(),
    ]
    texts = [
        chunk.embedded_text
        for source in sources
        for chunk in chunker.split(parser.parse(source.read(), uri=source.uri), embedder)
    ]
    vectors = embedder.embed_documents(texts)
    queries = np.stack([embedder.embed_query(question) for question in QUESTIONS])
    started = time.perf_counter()
    exact = [np.argsort(-(vectors @ query), kind="stable")[:10] for query in queries]
    print(f"{len(texts):,} chunks")
    print(f"{'compared with each':22} recall 1.00  {took(started):6.1f} ms a query")
    for name, settings in (
        ("Chroma's own settings", {"space": "ip"}),
        ("ours", _HNSW_CONFIGURATION),
    ):
        with tempfile.TemporaryDirectory() as work:
            client = chromadb.PersistentClient(work, settings=Settings(anonymized_telemetry=False))
            collection = client.create_collection(
                "nearest", configuration={"hnsw": settings}, embedding_function=None
            )
            for i in range(0, len(texts), 1_000):
                rows = vectors[i : i + 1_000]
                collection.upsert(ids=[str(j) for j in range(i, i + len(rows))], embeddings=rows)
            collection.query(query_embeddings=[queries[0]], n_results=100)
            started = time.perf_counter()
            nearest_rows = [
                collection.query(query_embeddings=[query], n_results=100, include=[])["ids"][0]
                for query in queries
            ]
            seconds = took(started)
        recall = np.mean(
            [
                len(set(map(int, ids)) & set(best)) / 10
                for ids, best in zip(nearest_rows, exact, strict=True)
            ]
        )
        print(f"{name:22} recall {recall:.2f}  {seconds:6.1f} ms a query")


def took(started: float) -> float:
    return 1e3 * (time.perf_counter() - started) / len(QUESTIONS)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
