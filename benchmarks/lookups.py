"""Look-ups: is an identifier, number, date or compound found in another spelling?

    python -m benchmarks.lookups                                # two sets of 200 look-ups
    python -m benchmarks.lookups ../shared/data/retrieval/doc2dial   # questions with typos

``benchmarks/data/lookups-*.jsonl`` have 400 short passages each and 200 queries with the one right
passage. They were written by people who had not seen the code. Each line of the output has the
number of queries whose first hit, and one of whose first three hits, is the right passage, and the
milliseconds of CPU time per query.

With a data set, the words of its questions get a typo each (one letter changed, dropped, doubled or
swapped, in one word of at least five letters), and the output is nDCG@10 without and with the
recognition of typos.
"""

from __future__ import annotations

import json
import random
import re
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from evals.datasets import load_retrieval_set
from evals.retrieval import evaluate_retrieval
from rag import HybridRetriever, LexicalRetriever, Pipeline
from rag.retrieval import Retriever

DATA = Path(__file__).parent / "data"
PLAIN = LexicalRetriever(spelling_weight=0, typo_weight=0)
RETRIEVERS: dict[str, Retriever] = {
    "BM25, words only": PLAIN,
    "BM25": LexicalRetriever(),
    "hybrid, words only": HybridRetriever(lexical=PLAIN),
    "hybrid (the default)": HybridRetriever(),
}


def main() -> None:
    for path in sorted(DATA.glob("lookups-*.jsonl")):
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        queries = [line for line in lines if "query" in line]
        with tempfile.TemporaryDirectory() as work:
            for line in lines:
                if "text" in line:
                    (Path(work) / line["file"]).write_text(line["text"], encoding="utf-8")
            pipeline = Pipeline(index=Path(work) / ".index")
            pipeline.ingest(work)
            print(f"{path.stem}, {len(queries)} queries{'first':>12}{'three':>7}{'ms':>7}")
            for name, retriever in RETRIEVERS.items():
                print(f"{name:<30}{measure(pipeline.replace(retriever=retriever), queries)}")
            pipeline.close()


def measure(pipeline: Pipeline, queries: list[dict[str, str]]) -> str:
    """Return the columns of a line."""
    first = three = 0
    started = time.process_time()
    for query in queries:
        uris = [hit.chunk.uri for hit in pipeline.search(query["query"], k=3)]
        ranks = [i for i, uri in enumerate(uris) if uri.endswith("/" + query["file"])]
        first += ranks[:1] == [0]
        three += bool(ranks)
    milliseconds = 1000 * (time.process_time() - started) / len(queries)
    return f"{first:>8}{three:>7}{milliseconds:>7.1f}"


def measure_typos(folder: Path) -> None:
    """Print nDCG@10 of a data set whose questions have a typo each."""
    clean = load_retrieval_set(folder)
    chance = random.Random(7)
    misspelt = replace(
        clean, queries={key: add_typo(text, chance) for key, text in clean.queries.items()}
    )
    with tempfile.TemporaryDirectory() as work:
        for name, dataset, typo_weight in (
            ("clean", clean, 0.7),
            ("typos, not recognised", misspelt, 0.0),
            ("typos", misspelt, 0.7),
        ):
            retriever = HybridRetriever(lexical=LexicalRetriever(typo_weight=typo_weight))
            pipeline = Pipeline(index=Path(work) / "unused", retriever=retriever)
            result = evaluate_retrieval(pipeline, dataset, index=Path(work), timed=False)
            print(f"{name:<24}{result.metrics['ndcg@10'].value:.4f}")


def add_typo(text: str, chance: random.Random) -> str:
    """Return a question with a typo in one of its long words."""
    words = [match.span() for match in re.finditer(r"[A-Za-z]{5,}", text)]
    if not words:
        return text
    start, end = chance.choice(words)
    i = chance.randrange(start, end - 1)
    letter = chance.choice("abcdefghijklmnopqrstuvwxyz")
    kind = chance.randrange(4)
    if kind == 0:
        return text[:i] + letter + text[i + 1 :]
    if kind == 1:
        return text[:i] + text[i + 1 :]
    if kind == 2:
        return text[:i] + text[i] + text[i:]
    return text[:i] + text[i + 1] + text[i] + text[i + 2 :]


if __name__ == "__main__":
    if len(sys.argv) > 1:
        measure_typos(Path(sys.argv[1]))
    else:
        main()
