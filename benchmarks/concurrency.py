"""Latency of searches during an ingest, in the same process and in another process.

    python -m benchmarks.concurrency ../shared/data/pdf

An index of about 10,000 chunks is searched alone, then while the same number of chunks is ingested.
There is one search every 20 ms, as of one busy user; the ingest itself uses all cores. The floor is
the same search next to a process that only embeds.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.growth import write_documents
from benchmarks.machine import machine
from rag import HybridRetriever, Pipeline

DOCUMENTS = 500
INGEST = "import sys; from rag import Pipeline; Pipeline(index=sys.argv[1]).ingest(sys.argv[2])"
EMBED = """
import sys
from rag import StaticEmbedder
embedder = StaticEmbedder()
while True:
    embedder.embed_documents(["Some words to embed, over and over again. " * 20] * 1_024)
"""


def measure_searches(
    pipeline: Pipeline, queries: list[str], going_on: Callable[[], bool]
) -> dict[str, Any]:
    retriever = HybridRetriever()
    index = pipeline.open()
    times = []
    while going_on():
        for query in queries:
            started = time.perf_counter()
            assert retriever.retrieve(query, k=10, index=index)
            times.append((time.perf_counter() - started) * 1e3)
            if not going_on():
                break
            time.sleep(0.02)
    times.sort()
    return {
        "searches": len(times),
        "p50_ms": round(statistics.median(times), 2),
        "p95_ms": round(times[int(len(times) * 0.95)], 2),
    }


def main(pdfs: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        for name in ("first", "second", "third"):
            (work / name).mkdir()
        queries = write_documents(pdfs, work / "first", DOCUMENTS)
        write_documents(pdfs, work / "second", DOCUMENTS)
        write_documents(pdfs, work / "third", DOCUMENTS)
        for path in (*work.glob("second/*/*"), *work.glob("third/*/*")):
            path.write_text(path.read_text().replace(" the ", f" the {path.parent.parent.name} "))
        with Pipeline(index=work / "index") as pipeline:
            pipeline.ingest(work / "first")
            measure_searches(pipeline, queries, rounds(1))
            latencies = {"alone": measure_searches(pipeline, queries, rounds(3))}
            floor = subprocess.Popen([sys.executable, "-c", EMBED])
            latencies["beside embedding"] = measure_searches(pipeline, queries, rounds(3))
            floor.kill()
            floor.wait()
            process = subprocess.Popen(
                [sys.executable, "-c", INGEST, str(work / "index"), str(work / "second")]
            )
            latencies["ingest in another process"] = measure_searches(
                pipeline, queries, lambda: process.poll() is None
            )
            latencies["alone between"] = measure_searches(pipeline, queries, rounds(3))
            thread = threading.Thread(target=pipeline.ingest, args=(work / "third",))
            thread.start()
            latencies["ingest in this process"] = measure_searches(
                pipeline, queries, thread.is_alive
            )
            thread.join()
            latencies["alone afterwards"] = measure_searches(pipeline, queries, rounds(3))
            latencies["chunks"] = pipeline.stats().chunks
    for name, figures in latencies.items():
        print(f"{name}: {figures}")
    idle = {
        "beside embedding": ("alone", "alone"),
        "ingest in another process": ("alone", "alone between"),
        "ingest in this process": ("alone between", "alone afterwards"),
    }
    ratios = {
        name: round(
            latencies[name]["p50_ms"]
            / statistics.mean(latencies[when]["p50_ms"] for when in times),
            2,
        )
        for name, times in idle.items()
    }
    print(f"p50 / alone (the mean of before and after, as the index grows): {ratios}")
    print(json.dumps({"ratios": ratios, **latencies, "machine": machine()}))


def rounds(count: int) -> Callable[[], bool]:
    remaining = [count * 100]

    def going_on() -> bool:
        remaining[0] -= 1
        return remaining[0] > 0

    return going_on


if __name__ == "__main__":
    main(Path(sys.argv[1]))
