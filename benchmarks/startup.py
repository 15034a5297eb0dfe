"""Start-up time: the import, the help, and a whole `rag ask` on 10,000 chunks.

    python -m benchmarks.startup

Each measurement is a process of its own, and the best of several runs counts. `rag ask` is compared
with the import of chromadb in the same run: everything else should take no longer than this import.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rag import Pipeline

RUNS = 7
CHUNKS = 10_000
RAG = str(Path(sys.executable).with_name("rag"))


def main() -> None:
    seconds = {
        "python -c pass": best([sys.executable, "-c", "pass"]),
        "import rag": best([sys.executable, "-c", "import rag"]),
        "rag --help": best([RAG, "--help"]),
        "import chromadb": best([sys.executable, "-c", "import chromadb"]),
    }
    with tempfile.TemporaryDirectory() as folder:
        index = Path(folder) / "index"
        chunks = build(Path(folder) / "docs", index)
        question = "How long does the red battery number 1234 last?"
        seconds["rag ask"] = best([RAG, "ask", question, "--index", str(index)])
    rest = seconds["rag ask"] - seconds["import chromadb"]
    for name, value in seconds.items():
        print(f"{name:18}{value:7.3f} s")
    print(
        f"rag ask on {chunks:,} chunks, less importing chromadb: {rest:.3f} s, "
        f"{rest / seconds['import chromadb']:.2f} of that import"
    )
    print(json.dumps({"chunks": chunks, **{k: round(v, 3) for k, v in seconds.items()}}))


def build(docs: Path, index: Path) -> int:
    """Build an index of about `CHUNKS` chunks; return the number of chunks."""
    docs.mkdir()
    pick = random.Random(0)
    words = ["battery", "red", "lasts", "minutes", "kite", "flight", "lake", "storm", "school"]
    for name in range(CHUNKS // 100):
        paragraphs = [
            f"The {pick.choice(words)} number {name * 100 + i}. "
            + " ".join(pick.choice(words) for _ in range(120))
            + "."
            for i in range(100)
        ]
        (docs / f"{name}.txt").write_text("\n\n".join(paragraphs))
    with Pipeline(index=index) as pipeline:
        pipeline.ingest(docs)
        return pipeline.stats().chunks


def best(command: list[str]) -> float:
    times = []
    for _ in range(RUNS):
        started = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        times.append(time.perf_counter() - started)
    return min(times)


if __name__ == "__main__":
    main()
