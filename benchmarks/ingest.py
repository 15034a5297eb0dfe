"""Time from parsed text to a searchable index, compared with LangChain and langchain-chroma.

    python3 -m venv .venv-peers && .venv-peers/bin/pip install -r benchmarks/peers.txt
    python -m benchmarks.ingest ../shared/data/pdf .venv-peers/bin/python

Both sides get the same texts and the same static embedder. citewell chunks and embeds the texts. It
writes vectors to Chroma, the lexical index (BM25) to tantivy and everything to the document store.
LangChain splits with RecursiveCharacterTextSplitter, with the same chunk size (converted to
characters with the ratio of these texts), and writes vectors and texts to Chroma. The processes
take turns, and the best run of each counts.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar

RUNS = 3
CHUNK_TOKENS, OVERLAP_TOKENS = 256, 32


def citewell(texts: list[str], place: Path) -> tuple[int, float]:
    from connectors import Connector, Parser, Source
    from rag import Document, HeadingChunker, Pipeline

    class Texts(Connector):
        name: ClassVar[str] = "texts"

        @property
        def scope(self) -> str:
            return "text:"

        def sources(self) -> Iterator[Source]:
            for i, text in enumerate(texts):
                yield Source(uri=f"text:{i}", version="1", read=text.encode)

    class Plain(Parser):
        name: ClassVar[str] = "plain"

        def parse(self, data: bytes, *, uri: str, mime: str | None = None) -> Document:
            return Document(uri=uri, text=data.decode())

    chunker = HeadingChunker(size=CHUNK_TOKENS, overlap=OVERLAP_TOKENS)
    with Pipeline(index=place / "index", parser=Plain(), chunker=chunker) as pipeline:
        pipeline.embedder.embed_query("load the vectors")
        started = time.perf_counter()
        report = pipeline.ingest(Texts())
        return report.chunks, time.perf_counter() - started


def langchain(texts: list[str], place: Path) -> tuple[int, float]:
    from langchain_chroma import Chroma
    from langchain_core.documents import Document
    from langchain_core.embeddings import Embeddings
    from langchain_text_splitters import RecursiveCharacterTextSplitter

    from rag.embedding import StaticEmbedder

    embedder = StaticEmbedder()

    class Static(Embeddings):
        def embed_documents(self, texts: list[str]) -> list[list[float]]:
            return embedder.embed_documents(texts).tolist()

        def embed_query(self, text: str) -> list[float]:
            return embedder.embed_query(text).tolist()

    samples = [text[i : i + 1_000] for text in texts for i in range(0, len(text), 20_000)]
    per_token = sum(map(len, samples)) / sum(embedder.count_tokens(samples))
    splitter = RecursiveCharacterTextSplitter(
        chunk_size=int(CHUNK_TOKENS * per_token),
        chunk_overlap=int(OVERLAP_TOKENS * per_token),
        add_start_index=True,
    )
    store = Chroma("chunks", Static(), persist_directory=str(place / "chroma"))
    embedder.embed_query("load the vectors")
    started = time.perf_counter()
    documents = [Document(text, metadata={"uri": f"text:{i}"}) for i, text in enumerate(texts)]
    chunks = splitter.split_documents(documents)
    for i in range(0, len(chunks), 5_000):  # Chroma accepts at most 5,461 per call
        store.add_documents(chunks[i : i + 5_000])
    return len(chunks), time.perf_counter() - started


SIDES: dict[str, Callable[[list[str], Path], tuple[int, float]]] = {
    "citewell": citewell,
    "langchain": langchain,
}


def main(folder: Path, peers: str) -> None:
    from benchmarks.machine import machine
    from connectors import Files
    from connectors.parsers.auto import AutoParser

    parser = AutoParser()
    texts = [
        parser.parse(source.read(), uri=source.uri).text
        for source in Files(path=folder, include=("*.pdf",)).sources()
    ]
    characters = sum(map(len, texts))
    pythons = {"citewell": sys.executable, "langchain": peers}
    best: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as work:
        data = Path(work) / "texts.json"
        data.write_text(json.dumps(texts))
        for _ in range(RUNS):
            for side, python in pythons.items():
                chunks, seconds = run(python, side, data)
                if side not in best or seconds < best[side]["seconds"]:
                    best[side] = {
                        "chunks": chunks,
                        "seconds": round(seconds, 2),
                        "chunks_per_second": round(chunks / seconds),
                        "characters_per_second": round(characters / seconds),
                    }
    for side, figures in best.items():
        print(f"{side:10} {figures}")
    ratio = best["citewell"]["characters_per_second"] / best["langchain"]["characters_per_second"]
    by_chunks = best["citewell"]["chunks_per_second"] / best["langchain"]["chunks_per_second"]
    print(f"citewell / langchain: {ratio:.2f} by characters, {by_chunks:.2f} by chunks")
    print(json.dumps({"ratio": round(ratio, 2), "sides": best, "machine": machine()}))


def run(python: str, side: str, data: Path) -> tuple[int, float]:
    """Run one side in a separate process and an empty folder."""
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [python, __file__, "--side", side, str(data), folder],
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)},
            check=True,
            stdout=subprocess.PIPE,
        )
    chunks, seconds = json.loads(done.stdout.splitlines()[-1])
    return chunks, seconds


if __name__ == "__main__":
    if sys.argv[1:2] == ["--side"]:
        side, data, work = sys.argv[2:]
        print(json.dumps(SIDES[side](json.loads(Path(data).read_text()), Path(work))))
    else:
        main(Path(sys.argv[1]), sys.argv[2])
