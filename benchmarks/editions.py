"""Speed of this edition compared with an earlier one: ingest, search, answers and start-up.

    python -m benchmarks.editions ebdd8e4
    python -m benchmarks.editions ebdd8e4 3843f6c

The argument is a git revision; a second one takes the place of this edition. Their packages are
installed into temporary folders, without dependencies. Both editions run with the dependencies of
this environment. Each measurement runs in its own process, and the editions take turns. The best of
several rounds counts. The last line of the output contains the ratio of the times (this edition /
the earlier one) for each measurement.
"""

from __future__ import annotations

import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROUNDS = 5
DOCUMENTS, PARAGRAPHS = 150, 40
QUERIES = 200
PASSAGES = 8
ROOT = Path(__file__).resolve().parent.parent
WORDS = """battery charger propeller camera landing gear altitude wind speed warranty serial number
pilot licence insurance repair spare parts shipping invoice region office schedule maintenance
firmware update sensor calibration storage temperature transport case weight range signal""".split()


def main(revision: str, later_revision: str = "") -> None:
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        editions = {
            "earlier": install_edition(revision, work / "earlier"),
            "this": install_edition(later_revision, work / "later") if later_revision else ROOT,
        }
        write_documents(work / "docs")
        best: dict[str, dict[str, float]] = {name: {} for name in editions}
        for round_number in range(ROUNDS):
            for name, path in editions.items():
                index = work / f"index-{name}-{round_number}"
                seconds = measure_start(path)
                seconds |= json.loads(run(path, __file__, "--worker", work / "docs", index))
                seconds["rag ask"] = time_process(
                    path, "-c", CLI, "ask", "the battery warranty", "--index", index
                )
                for measurement, value in seconds.items():
                    best[name][measurement] = min(best[name].get(measurement, value), value)
        print_table(best)


def install_edition(revision: str, work: Path) -> Path:
    """Install the packages of a git revision into a separate folder."""
    source, site = work / "source", work / "site"
    source.mkdir(parents=True)
    archive = subprocess.run(
        ["git", "archive", revision], cwd=ROOT, check=True, capture_output=True
    ).stdout
    subprocess.run(["tar", "-x", "-C", source], input=archive, check=True)
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", site, source]
    subprocess.run(pip, check=True, stderr=subprocess.DEVNULL)
    return site


def write_documents(folder: Path) -> None:
    folder.mkdir()
    generator = random.Random(5)
    for number in range(DOCUMENTS):
        paragraphs = [
            " ".join(generator.choice(WORDS) for _ in range(60)).capitalize() + "."
            for _ in range(PARAGRAPHS)
        ]
        text = f"# Document {number}\n\n" + "\n\n".join(paragraphs)
        (folder / f"{number}.md").write_text(text, encoding="utf-8")


CLI = "import sys; from rag.cli import main; sys.argv[0] = 'rag'; main()"


def measure_start(path: Path) -> dict[str, float]:
    return {
        "import rag": time_process(path, "-c", "import rag"),
        "rag --help": time_process(path, "-c", CLI, "--help"),
    }


def run(path: Path, *arguments: object) -> str:
    command = [sys.executable, "-P", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(path)}
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            command, cwd=folder, env=environment, check=True, capture_output=True, text=True
        )
    return done.stdout


def time_process(path: Path, *arguments: object) -> float:
    start = time.perf_counter()
    run(path, *arguments)
    return time.perf_counter() - start


def measure(docs: Path, index: Path) -> dict[str, float]:
    """Measure one edition in this process. Uses only names that both editions have."""
    from rag import DenseRetriever, HybridRetriever, Pipeline

    generator = random.Random(6)
    queries = [" ".join(generator.sample(WORDS, 4)) for _ in range(QUERIES)]
    with Pipeline(index=index) as pipeline:
        pipeline.embedder.embed_query("load the vectors")
        start = time.perf_counter()
        pipeline.ingest(docs)
        seconds = {"ingest": time.perf_counter() - start}
        opened = pipeline.open()
        for name, retriever in (("dense", DenseRetriever()), ("hybrid", HybridRetriever())):
            times = []
            for query in queries:
                start = time.perf_counter()
                retriever.retrieve(query, k=10, index=opened)
                times.append(time.perf_counter() - start)
            seconds[name] = statistics.median(times)
        times = []
        for query in queries[:50]:
            start = time.perf_counter()
            pipeline.ask(query)
            times.append(time.perf_counter() - start)
        seconds["ask (extractive)"] = statistics.median(times)
        hits = pipeline.search(queries[0], k=PASSAGES)
    return seconds | {"overhead": measure_overhead(hits)}


def measure_overhead(hits: list[Any]) -> float:
    """Return the median time of a grounded answer over eight passages, with an instant model."""
    from rag import GroundedGenerator
    from rag.llm import ChatModel, Completion

    reply = ""

    class InstantModel(ChatModel):
        name = "instant"  # type: ignore[misc]

        def _complete(self, messages: Any, **_: Any) -> Completion:
            return Completion(reply)

    grounded = GroundedGenerator(model=InstantModel())
    generator, times = random.Random(7), []
    for _ in range(QUERIES):
        words = hits[0].chunk.text.split()
        offset = generator.randrange(len(words) - 12)
        reply = " ".join(words[offset : offset + 12]) + " [1]. The battery lasts an hour [2]."
        start = time.perf_counter()
        grounded.answer("What do the passages say?", hits)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def print_table(best: dict[str, dict[str, float]]) -> None:
    ratios = {name: best["this"][name] / value for name, value in best["earlier"].items()}
    for name, ratio in ratios.items():
        print(
            f"{name:18}{best['earlier'][name] * 1000:10.2f} ms{best['this'][name] * 1000:10.2f} ms"
            f"{ratio:8.2f}"
        )
    print(json.dumps({name: round(ratio, 3) for name, ratio in ratios.items()}))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        print(json.dumps(measure(Path(sys.argv[2]), Path(sys.argv[3]))))
    else:
        main(*sys.argv[1:])
