"""Searches while an ingest runs: in the same process, and in another one.

    python -m benchmarks.concurrency ../shared/data/pdf

An index of some 10,000 chunks is searched alone, then while as many more are ingested. A search
every 20 ms, as one busy user would: the ingest itself keeps the cores of the machine busy. The
floor is the same search beside a process that does nothing but embed.
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


def searched(
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
        place = Path(folder)
        for name in ("first", "second", "third"):
            (place / name).mkdir()
        queries = write_documents(pdfs, place / "first", DOCUMENTS)
        write_documents(pdfs, place / "second", DOCUMENTS)
        write_documents(pdfs, place / "third", DOCUMENTS)
        for path in (*place.glob("second/*/*"), *place.glob("third/*/*")):
            path.write_text(path.read_text().replace(" the ", f" the {path.parent.parent.name} "))
        with Pipeline(index=place / "index") as pipeline:
            pipeline.ingest(place / "first")
            searched(pipeline, queries, rounds(1))
            found = {"alone": searched(pipeline, queries, rounds(3))}
            floor = subprocess.Popen([sys.executable, "-c", EMBED])
            found["beside embedding"] = searched(pipeline, queries, rounds(3))
            floor.kill()
            floor.wait()
            other = subprocess.Popen(
                [sys.executable, "-c", INGEST, str(place / "index"), str(place / "second")]
            )
            found["ingest in another process"] = searched(
                pipeline, queries, lambda: other.poll() is None
            )
            found["alone between"] = searched(pipeline, queries, rounds(3))
            thread = threading.Thread(target=pipeline.ingest, args=(place / "third",))
            thread.start()
            found["ingest in this process"] = searched(pipeline, queries, thread.is_alive)
            thread.join()
            found["alone afterwards"] = searched(pipeline, queries, rounds(3))
            found["chunks"] = pipeline.stats().chunks
    for name, figures in found.items():
        print(f"{name}: {figures}")
    idle = {
        "beside embedding": ("alone", "alone"),
        "ingest in another process": ("alone", "alone between"),
        "ingest in this process": ("alone between", "alone afterwards"),
    }
    ratios = {
        name: round(
            found[name]["p50_ms"] / statistics.mean(found[when]["p50_ms"] for when in times), 2
        )
        for name, times in idle.items()
    }
    print(f"p50 / alone (the mean of before and after, as the index grows): {ratios}")
    print(json.dumps({"ratios": ratios, **found, "machine": machine()}))


def rounds(count: int) -> Callable[[], bool]:
    left = [count * 100]

    def going_on() -> bool:
        left[0] -= 1
        return left[0] > 0

    return going_on


if __name__ == "__main__":
    main(Path(sys.argv[1]))
