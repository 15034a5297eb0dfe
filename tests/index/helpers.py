"""Helpers of the tests of the index."""

import shutil
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from connectors import Files
from connectors.parsers.auto import AutoParser
from rag import HeadingChunker, StaticEmbedder
from rag.index import Index
from rag.ingestion import sync
from rag.stores import LexicalEntry


class ReversedEmbedder(StaticEmbedder):
    """Another embedder: the same vectors with their values reversed."""

    name = "other"

    def embed_documents(self, texts: Sequence[str]) -> Any:
        return np.ascontiguousarray(super().embed_documents(texts)[:, ::-1])


def ingest_folder(path: Path, folder: Path) -> Index:
    """Open the index in `path` and ingest `folder`."""
    index = Index(path, StaticEmbedder(), create=True)
    sync(index, [Files(path=folder)], AutoParser(), HeadingChunker(size=48, overlap=0))
    return index


def execute_sql(index: Index, statement: str) -> None:
    """Change the document store without the index."""
    connection = sqlite3.connect(index.path / "library.sqlite")
    connection.execute(statement)
    connection.commit()
    connection.close()


def remove_vectors(index: Index) -> None:
    index.vectors.delete(list(index.document_store.live_rows())[:2])


def add_vector(index: Index) -> None:
    index.vectors.upsert([10_000], [1], np.ones((1, 256), dtype=np.float32), [])


def change_vector(index: Index) -> None:
    (row, document), *_ = index.document_store.live_rows().items()
    index.vectors.upsert([row], [document], np.ones((1, 256), dtype=np.float32), [])


def remove_words(index: Index) -> None:
    index.lexical.delete(list(index.document_store.live_rows())[:1])
    index.lexical.commit()
    index.lexical.end_writing()


def duplicate_words(index: Index) -> None:
    index.lexical.add([LexicalEntry(next(iter(index.document_store.live_rows())), 1, "", "twice")])
    index.lexical.commit()
    index.lexical.end_writing()


def delete_tantivy(index: Index) -> None:
    shutil.rmtree(index.store_set.path / "tantivy")


def lose_embeddings(index: Index) -> None:
    execute_sql(index, "DELETE FROM embeddings WHERE number <= 2")


def store_nan_embedding(index: Index) -> None:
    nan = np.full(256, np.nan, dtype=np.float32).tobytes().hex()
    execute_sql(index, f"UPDATE embeddings SET vector = x'{nan}' WHERE number = 1")
