"""nDCG@10 of the default pipeline's retrievers on collections with relevance judgements.

    python -m benchmarks.retrieval ../shared/data/retrieval [NAME ...] [--size TOKENS]

Each folder holds corpus.jsonl, queries.jsonl and qrels.tsv. Documents go through the whole way
(chunk, embed, Chroma, tantivy); a document's score is that of its best chunk. Ties are broken by
document id.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar

from connectors import Connector, Parser, Source
from rag import (
    DenseRetriever,
    Document,
    HeadingChunker,
    HybridRetriever,
    LexicalRetriever,
    Pipeline,
    Retriever,
)

DEPTH = 100
NAMES = ("cranfield", "cisi", "vaswani", "scifact", "squad2", "doc2dial", "hotpotqa", "musique")


class Corpus(Connector):
    """The lines of a corpus.jsonl."""

    name: ClassVar[str] = "benchmark-corpus"
    path: Path

    @property
    def scope(self) -> str:
        return "corpus:"

    def sources(self) -> Iterator[Source]:
        with self.path.open(encoding="utf-8") as lines:
            for line in lines:
                uri = f"corpus:{json.loads(line)['_id']}"
                yield Source(uri=uri, version="1", read=line.encode)


class CorpusParser(Parser):
    """A line of a corpus.jsonl."""

    name: ClassVar[str] = "benchmark-corpus"

    def parse(self, data: bytes, *, uri: str, mime: str | None = None) -> Document:
        row = json.loads(data)
        return Document(uri=uri, text=row["text"], title=row.get("title") or "")


def evaluate(folder: Path, index: Path, size: int = 256) -> dict[str, float]:
    """nDCG@10 by retriever."""
    with (folder / "queries.jsonl").open(encoding="utf-8") as lines:
        queries = {row["_id"]: row["text"] for row in map(json.loads, lines)}
    judged = qrels(folder / "qrels.tsv")
    chunker = HeadingChunker(size=size)
    with Pipeline(index=index, parser=CorpusParser(), chunker=chunker) as pipeline:
        pipeline.ingest(Corpus(path=folder / "corpus.jsonl"))
        retrievers: list[Retriever] = [LexicalRetriever(), DenseRetriever(), HybridRetriever()]
        scores = {}
        for retriever in retrievers:
            per_query = []
            for query, relevant in judged.items():
                hits = retriever.retrieve(queries[query], k=DEPTH, index=pipeline.open())
                best: dict[str, float] = {}
                for hit in hits:
                    name = hit.chunk.uri.removeprefix("corpus:")
                    best[name] = max(hit.score, best.get(name, -math.inf))
                per_query.append(ndcg(best, relevant))
            scores[retriever.name] = sum(per_query) / len(per_query)
    return scores


def qrels(path: Path) -> dict[str, dict[str, float]]:
    """Judgements by query, of the queries that have something relevant."""
    judged: dict[str, dict[str, float]] = defaultdict(dict)
    with path.open(encoding="utf-8") as lines:
        next(lines)
        for line in lines:
            query, document, score = line.split("\t")
            if float(score) > 0:
                judged[query][document] = float(score)
    return judged


def ndcg(scores: Mapping[str, float], relevant: Mapping[str, float], k: int = 10) -> float:
    """Normalised discounted cumulative gain at `k`, as trec_eval computes it."""
    ranked = sorted(scores, key=lambda name: (-scores[name], name))[:k]
    gain = sum(relevant.get(name, 0) / math.log2(i + 2) for i, name in enumerate(ranked))
    ideal = sorted(relevant.values(), reverse=True)[:k]
    return gain / sum(score / math.log2(i + 2) for i, score in enumerate(ideal))


def main(folder: Path, names: list[str], size: int) -> None:
    print(f"{'nDCG@10':12}{'lexical':>9}{'dense':>9}{'hybrid':>9}")
    for name in names or NAMES:
        with tempfile.TemporaryDirectory() as place:
            scores = evaluate(folder / name, Path(place) / "index", size)
        line = "".join(f"{scores[which]:9.3f}" for which in ("lexical", "dense", "hybrid"))
        print(f"{name:12}{line}", flush=True)


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("folder", type=Path)
    options.add_argument("names", nargs="*")
    options.add_argument("--size", type=int, default=256)
    given = options.parse_args()
    main(given.folder, given.names, given.size)
