"""Growth of time, memory and disk use with the index, and the cost of an unchanged folder.

    python -m benchmarks.growth ../shared/data/pdf [CHUNKS]

Text files of about 20 chunks each consist of the sentences of the PDFs in random order, with a
fixed seed. The default pipeline ingests a tenth of them first, then all. The same run measures
queries at both sizes, an ingest without changes, and filters that select a half, a tenth and a
hundredth of the documents. Raw Chroma with the same vectors and filters is the comparison.
"""

from __future__ import annotations

import json
import random
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.machine import machine
from connectors import Files
from connectors.parsers.auto import AutoParser
from rag import DenseRetriever, HybridRetriever, IngestReport, Pipeline
from rag.text.sentences import sentences

CHUNKS_PER_DOCUMENT = 20
QUERIES = 100
GROUPS = {"half": 2, "tenth": 10, "hundredth": 100}


def write_documents(pdfs: Path, folder: Path, count: int) -> list[str]:
    """Write `count` files of shuffled sentences; return the beginnings of sentences as queries."""
    parser = AutoParser()
    pool = []
    for source in Files(path=pdfs, include=("*.pdf",)).sources():
        text = parser.parse(source.read(), uri=source.uri).text
        pool += [text[a:b].strip() for a, b in sentences(text) if 40 < b - a < 400]
    pick = random.Random(11)
    for i in range(count):
        lines = []
        size = 0
        while size < CHUNKS_PER_DOCUMENT * 490:
            lines.append(pick.choice(pool))
            size += len(lines[-1])
        below = folder / f"{i % 100:02}"
        below.mkdir(exist_ok=True)
        groups = "".join(f"{name}: {i % n}\n" for name, n in GROUPS.items())
        text = "\n\n".join(" ".join(lines[j : j + 4]) for j in range(0, len(lines), 4))
        (below / f"{i}.md").write_text(f"---\n{groups}---\n{text}\n", encoding="utf-8")
    return [" ".join(pick.choice(pool).split()[:9]) for _ in range(QUERIES)]


def times(search: Callable[[str], Any], queries: Sequence[str]) -> dict[str, float]:
    for query in queries[:10]:
        search(query)
    latencies = []
    for query in queries:
        started = time.perf_counter()
        search(query)
        latencies.append((time.perf_counter() - started) * 1e3)
    latencies.sort()
    return {
        "p50_ms": round(statistics.median(latencies), 2),
        "p95_ms": round(latencies[int(len(latencies) * 0.95)], 2),
    }


def memory() -> float:
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10)


def disk(folder: Path) -> float:
    return round(sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()) / 2**20)


def main(pdfs: Path, chunks: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        docs, index = Path(folder) / "docs", Path(folder) / "index"
        docs.mkdir()
        (Path(folder) / "tenth").mkdir()
        queries = write_documents(pdfs, docs, chunks // CHUNKS_PER_DOCUMENT)
        result: dict[str, Any] = {"machine": machine(), "steps": []}
        with Pipeline(index=index) as pipeline:
            tenth = [f"{n:02}" for n in range(10)]
            rates: list[tuple[int, float]] = []

            def progress(report: IngestReport) -> None:
                rates.append((report.chunks, report.seconds))

            started = time.perf_counter()
            first = pipeline.ingest(*(docs / name for name in tenth), progress=progress)
            first_s = time.perf_counter() - started
            result["steps"].append(step(pipeline, queries, index, first_s))
            print(result["steps"][-1], flush=True)
            rates.clear()
            started = time.perf_counter()
            pipeline.ingest(docs, progress=progress)
            rest_s = time.perf_counter() - started
            result["steps"].append(step(pipeline, queries, index, first_s + rest_s))
            print(result["steps"][-1], flush=True)
            done, ended = rates[-1]
            chunks_before, since = next(r for r in rates if r[0] >= done - first.chunks)
            result["rate_first_tenth"] = round(first.chunks / first_s)
            result["rate_last_tenth"] = round((done - chunks_before) / (ended - since))
            result["last / first"] = round(
                result["rate_last_tenth"] / result["rate_first_tenth"], 2
            )
            for name in ("hybrid", "dense"):
                result[f"{name} p50: all / tenth"] = round(
                    result["steps"][1][name]["p50_ms"] / result["steps"][0][name]["p50_ms"], 2
                )
            started = time.perf_counter()
            again = pipeline.ingest(docs)
            unchanged_s = time.perf_counter() - started
            assert again.unchanged == again.seen
            result["unchanged_documents"] = again.unchanged
            result["unchanged_s"] = round(unchanged_s, 3)
            result["unchanged / first ingest"] = round(unchanged_s / (first_s + rest_s), 4)
            result["filters"] = filters(pipeline, queries)
    for name, value in result.items():
        print(f"{name}: {value}")
    print(json.dumps(result))


def step(pipeline: Pipeline, queries: list[str], index: Path, seconds: float) -> dict[str, Any]:
    opened = pipeline.open()
    return {
        "chunks": pipeline.stats().chunks,
        "seconds": round(seconds, 1),
        "disk_mib": disk(index),
        "peak_memory_mib": memory(),
        "hybrid": times(lambda q: HybridRetriever().retrieve(q, k=10, index=opened), queries),
        "dense": times(lambda q: DenseRetriever().retrieve(q, k=10, index=opened), queries),
    }


def filters(pipeline: Pipeline, queries: list[str]) -> dict[str, Any]:
    """Measure dense queries with and without filters; raw Chroma has the fields as metadata."""
    import chromadb

    opened = pipeline.open()
    library = opened.document_store
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        client = chromadb.PersistentClient(folder)
        collection = client.create_collection(
            "raw", configuration={"hnsw": {"space": "ip"}}, embedding_function=None
        )
        rows = list(library.live_rows())
        for i in range(0, len(rows), 5_000):
            part = rows[i : i + 5_000]
            _, matrix = library.vectors(part, pipeline.embedder.fingerprint)
            metadata = [dict(chunk.metadata) for chunk in library.chunks(part).values()]
            collection.add(ids=[str(r) for r in part], embeddings=matrix, metadatas=metadata)

        def raw(query: str, where: dict[str, Any] | None) -> Any:
            vector = pipeline.embedder.embed_query(query)
            return collection.query(
                query_embeddings=[vector], n_results=10, where=where, include=["distances"]
            )

        def ours(query: str, where: dict[str, Any] | None) -> Any:
            vector = pipeline.embedder.embed_query(query)
            return opened.read_consistent(lambda: opened.search_dense(vector, 10, where))

        for name in ("", *GROUPS):
            where = {name: 1} if name else None
            results[f"keeps a {name}" if name else "no filter"] = {
                "citewell": times(lambda q, w=where: ours(q, w), queries),
                "hybrid": times(
                    lambda q, w=where: HybridRetriever().retrieve(q, k=10, index=opened, where=w),
                    queries,
                ),
                "raw Chroma": times(lambda q, w=where: raw(q, w), queries),
            }
        client.close()
    return results


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 200_000)
