"""Ingest and query, compared with LangChain, LlamaIndex and Haystack on Chroma, and with raw calls.

    python3 -m venv .venv-peers && .venv-peers/bin/pip install -r benchmarks/peers.txt
    python -m benchmarks.peers ../shared/data/pdf .venv-peers/bin/python

All sides get the same static embedder and the same chunks of the same texts, split in advance. All
write to disk. The other frameworks write vectors, texts and metadata to Chroma, as they do by
default. citewell writes vectors to Chroma, the lexical index (BM25) to tantivy, and documents,
chunks, vectors and ledger to the document store. ``raw`` calls Chroma and tantivy directly, and
embeds. Each side runs in its own process, and the sides take turns. The best ingest counts, and the
median of the other measurements.
"""

from __future__ import annotations

import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

RUNS = int(os.environ.get("RUNS", "3"))
QUERIES, TOP = 200, 10

Search = Callable[[str], Any]
Data = list[tuple[str, list[tuple[int, int]]]]
"""Texts, each with the spans of its chunks."""


def chunks_of(data: Data) -> list[tuple[str, str]]:
    """Return (uri, text) of every chunk."""
    return [(f"text:{i}", text[a:b]) for i, (text, spans) in enumerate(data) for a, b in spans]


def embedder() -> Any:
    from rag.embedding import StaticEmbedder

    static = StaticEmbedder()
    static.embed_query("load the vectors")
    return static


def make_citewell_parts(data: Data) -> tuple[Any, Any, Any]:
    """Return a connector, a parser and a chunker that give exactly the chunks of `data`."""
    from connectors import Connector, Parser, Source
    from rag import Chunk, Chunker, Document

    class Texts(Connector):
        name: ClassVar[str] = "texts"

        @property
        def scope(self) -> str:
            return "text:"

        def sources(self) -> Iterator[Source]:
            for i, (text, _) in enumerate(data):
                yield Source(uri=f"text:{i}", version="1", read=text.encode)

    class Plain(Parser):
        name: ClassVar[str] = "plain"

        def parse(self, data: bytes, *, uri: str, mime: str | None = None) -> Document:
            return Document(uri=uri, text=data.decode())

    class Cut(Chunker):
        name: ClassVar[str] = "cut"

        def split(self, document: Document, tokens: Any) -> list[Chunk]:
            _, spans = data[int(document.uri.removeprefix("text:"))]
            return [
                Chunk(
                    id=f"{document.uri} {a}",
                    uri=document.uri,
                    start=a,
                    end=b,
                    text=document.text[a:b],
                )
                for a, b in spans
            ]

    return Texts(), Plain(), Cut()


def citewell(data: Data, place: Path) -> tuple[Callable[[], None], dict[str, Search]]:
    from rag import DenseRetriever, HybridRetriever, LexicalRetriever, Pipeline

    texts, parser, chunker = make_citewell_parts(data)
    pipeline = Pipeline(
        index=place / "index", parser=parser, chunker=chunker, embedder=embedder(), processes=0
    )

    def ingest() -> None:
        report = pipeline.ingest(texts)
        assert report.chunks == len(chunks_of(data)) and not report.failed

    def by(retriever: Any) -> Search:
        return lambda query: retriever.retrieve(query, k=TOP, index=pipeline.open())

    return ingest, {
        "dense": by(DenseRetriever()),
        "lexical": by(LexicalRetriever()),
        "hybrid": by(HybridRetriever()),
    }


def raw(data: Data, place: Path) -> tuple[Callable[[], None], dict[str, Search]]:
    import chromadb
    import tantivy

    static = embedder()
    chunks = chunks_of(data)
    collection = chromadb.PersistentClient(str(place / "chroma")).create_collection(
        "chunks", embedding_function=None
    )
    (place / "tantivy").mkdir()
    builder = tantivy.SchemaBuilder()
    builder.add_text_field("body", tokenizer_name="en_stem", stored=True)
    words = tantivy.Index(builder.build(), path=str(place / "tantivy"))

    def ingest() -> None:
        writer = words.writer()
        for i in range(0, len(chunks), 5_000):
            part = chunks[i : i + 5_000]
            texts = [text for _, text in part]
            collection.add(
                ids=[str(j) for j in range(i, i + len(part))],
                embeddings=static.embed_documents(texts),
                documents=texts,
                metadatas=[{"uri": uri} for uri, _ in part],
            )
            for text in texts:
                writer.add_document(tantivy.Document(body=text))
        writer.commit()
        writer.wait_merging_threads()
        words.reload()

    def dense(query: str) -> Any:
        return collection.query(query_embeddings=[static.embed_query(query)], n_results=TOP)

    def lexical(query: str) -> Any:
        searcher = words.searcher()
        results = searcher.search(words.parse_query(query, ["body"]), TOP).hits
        return [searcher.doc(address)["body"] for _, address in results]

    def search_both(query: str) -> Any:
        return dense(query), lexical(query)

    return ingest, {"dense": dense, "lexical": lexical, "hybrid": search_both}


def langchain(data: Data, place: Path) -> tuple[Callable[[], None], dict[str, Search]]:
    from langchain_chroma import Chroma
    from langchain_core.documents import Document
    from langchain_core.embeddings import Embeddings

    static = embedder()

    class Static(Embeddings):
        def embed_documents(self, texts: list[str]) -> list[list[float]]:
            return static.embed_documents(texts).tolist()

        def embed_query(self, text: str) -> list[float]:
            return static.embed_query(text).tolist()

    store = Chroma("chunks", Static(), persist_directory=str(place / "chroma"))
    chunks = chunks_of(data)

    def ingest() -> None:
        for i in range(0, len(chunks), 5_000):  # Chroma accepts at most 5,461 per call
            store.add_documents(
                [Document(text, metadata={"uri": uri}) for uri, text in chunks[i : i + 5_000]]
            )

    return ingest, {"dense": lambda query: store.similarity_search_with_score(query, k=TOP)}


def llama_index(data: Data, place: Path) -> tuple[Callable[[], None], dict[str, Search]]:
    import chromadb
    from llama_index.core import StorageContext, VectorStoreIndex
    from llama_index.core.embeddings import BaseEmbedding
    from llama_index.core.schema import TextNode
    from llama_index.vector_stores.chroma import ChromaVectorStore

    static = embedder()

    class Static(BaseEmbedding):
        def _get_text_embedding(self, text: str) -> list[float]:
            return static.embed_query(text).tolist()

        def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
            return static.embed_documents(texts).tolist()

        def _get_query_embedding(self, query: str) -> list[float]:
            return static.embed_query(query).tolist()

        async def _aget_query_embedding(self, query: str) -> list[float]:
            return self._get_query_embedding(query)

    collection = chromadb.PersistentClient(str(place / "chroma")).create_collection("chunks")
    store = ChromaVectorStore(chroma_collection=collection)
    model = Static(embed_batch_size=1_000)
    chunks = chunks_of(data)

    def ingest() -> None:
        nodes = [TextNode(text=text, metadata={"uri": uri}) for uri, text in chunks]
        VectorStoreIndex(
            nodes,
            storage_context=StorageContext.from_defaults(vector_store=store),
            embed_model=model,
        )

    def dense(query: str) -> Any:
        index = VectorStoreIndex.from_vector_store(store, embed_model=model)
        return index.as_retriever(similarity_top_k=TOP).retrieve(query)

    return ingest, {"dense": dense}


def haystack(data: Data, place: Path) -> tuple[Callable[[], None], dict[str, Search]]:
    from haystack import Document, Pipeline, component
    from haystack.components.writers import DocumentWriter
    from haystack_integrations.components.retrievers.chroma import ChromaEmbeddingRetriever
    from haystack_integrations.document_stores.chroma import ChromaDocumentStore

    static = embedder()

    @component
    class Static:
        @component.output_types(documents=list[Document])
        def run(self, documents: list[Document]) -> dict[str, Any]:
            for i in range(0, len(documents), 1_000):
                part = documents[i : i + 1_000]
                vectors = static.embed_documents([str(d.content) for d in part]).tolist()
                for document, vector in zip(part, vectors, strict=True):
                    document.embedding = vector
            return {"documents": documents}

    store = ChromaDocumentStore("chunks", persist_path=str(place / "chroma"))
    writing = Pipeline()
    writing.add_component("embed", Static())
    writing.add_component("write", DocumentWriter(store))
    writing.connect("embed", "write")
    retriever = ChromaEmbeddingRetriever(store, top_k=TOP)
    chunks = chunks_of(data)

    def ingest() -> None:
        for i in range(0, len(chunks), 5_000):
            documents = [  # default ids are hashes of the text; a duplicate is refused
                Document(id=str(j), content=text, meta={"uri": uri})
                for j, (uri, text) in enumerate(chunks[i : i + 5_000], start=i)
            ]
            writing.run({"embed": {"documents": documents}})

    def dense(query: str) -> Any:
        return retriever.run(query_embedding=static.embed_query(query).tolist())

    return ingest, {"dense": dense}


SIDES: dict[str, Callable[[Data, Path], tuple[Callable[[], None], dict[str, Search]]]] = {
    "citewell": citewell,
    "raw": raw,
    "langchain": langchain,
    "llama_index": llama_index,
    "haystack": haystack,
}
PACKAGES = {
    "citewell": "citewell",
    "raw": "chromadb",
    "langchain": "langchain-chroma",
    "llama_index": "llama-index-vector-stores-chroma",
    "haystack": "chroma-haystack",
}


def measure(side: str, data: Data, queries: Sequence[str], place: Path) -> dict[str, Any]:
    from importlib.metadata import version

    ingest, searches = SIDES[side](data, place)
    before = peak_memory()
    started = time.perf_counter()
    ingest()
    figures: dict[str, Any] = {
        "version": version(PACKAGES[side]),
        "chunks": len(chunks_of(data)),
        "ingest_s": time.perf_counter() - started,
        "disk_mib": sum(p.stat().st_size for p in place.rglob("*") if p.is_file()) / 2**20,
        "memory_mib": peak_memory(),
        "memory_for_ingest_mib": peak_memory() - before,
    }
    for name, search in searches.items():
        for query in queries[:20]:
            search(query)
        times = []
        for query in queries:
            started = time.perf_counter()
            search(query)
            times.append((time.perf_counter() - started) * 1e3)
        times.sort()
        figures[f"{name}_p50_ms"] = statistics.median(times)
        figures[f"{name}_p95_ms"] = times[int(len(times) * 0.95)]
    return figures


def peak_memory() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def main(folder: Path, peers: str) -> None:
    from benchmarks.machine import machine
    from connectors import Files
    from connectors.parsers.auto import AutoParser
    from rag import HeadingChunker, StaticEmbedder

    parser, chunker, static = AutoParser(), HeadingChunker(), StaticEmbedder()
    documents = [
        parser.parse(source.read(), uri=source.uri)
        for source in Files(path=folder, include=("*.pdf",)).sources()
    ]
    data = [(d.text, [(c.start, c.end) for c in chunker.split(d, static)]) for d in documents]
    pick = random.Random(7)
    queries = []
    for _ in range(QUERIES):
        text, spans = pick.choice([item for item in data if item[1]])
        a, b = pick.choice(spans)
        words = [word for word in text[a:b].split() if word.isalnum()] or ["nothing"]
        offset = pick.randrange(len(words))
        queries.append(" ".join(words[offset : offset + 9]))
    runs: dict[str, list[dict[str, Any]]] = {side: [] for side in SIDES}
    with tempfile.TemporaryDirectory() as work:
        file = Path(work) / "data.json"
        file.write_text(json.dumps([data, queries]))
        for _ in range(RUNS):
            for side in SIDES:
                python = (
                    peers if side in ("langchain", "llama_index", "haystack") else sys.executable
                )
                runs[side].append(_run(python, side, file))
    best = {side: _summary(run_figures) for side, run_figures in runs.items()}
    for side, figures in best.items():
        print(f"{side:12} {figures}")
    fastest = max(best[side]["chunks_per_s"] for side in SIDES if side not in ("citewell", "raw"))
    ours, by_hand = best["citewell"], best["raw"]
    quickest = {
        p: min(best[side][f"dense_{p}_ms"] for side in ("langchain", "llama_index", "haystack"))
        for p in ("p50", "p95")
    }
    ratios = {
        "ingest: citewell / fastest peer": ours["chunks_per_s"] / fastest,
        "dense p50: citewell / quickest peer": ours["dense_p50_ms"] / quickest["p50"],
        "dense p95: citewell / quickest peer": ours["dense_p95_ms"] / quickest["p95"],
        "hybrid p50: citewell / raw Chroma and raw tantivy": ours["hybrid_p50_ms"]
        / by_hand["hybrid_p50_ms"],
    }
    for name, ratio in ratios.items():
        print(f"{name}: {ratio:.2f}")
    print(json.dumps({"ratios": ratios, "sides": best, "machine": machine()}))


def _summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    seconds = min(run["ingest_s"] for run in runs)
    summary: dict[str, Any] = {"chunks_per_s": round(runs[0]["chunks"] / seconds)}
    for name in runs[0]:
        if name == "version":
            summary[name] = runs[0][name]
        elif name != "ingest_s":
            summary[name] = round(statistics.median(run[name] for run in runs), 2)
    return summary


def _run(python: str, side: str, data: Path) -> dict[str, Any]:
    """Run one side in a separate process and an empty folder."""
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [python, "-m", "benchmarks.peers", "--side", side, str(data), folder],
            env={**os.environ, "HAYSTACK_TELEMETRY_ENABLED": "False", "ANONYMIZED_TELEMETRY": "0"},
            cwd=Path(__file__).parent.parent,
            check=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL if not os.environ.get("DEBUG") else None,
        )
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return figures


if __name__ == "__main__":
    if sys.argv[1:2] == ["--side"]:
        side, file, work = sys.argv[2:]
        data, queries = json.loads(Path(file).read_text())
        print(json.dumps(measure(side, data, queries, Path(work))))
    else:
        main(Path(sys.argv[1]), sys.argv[2])
