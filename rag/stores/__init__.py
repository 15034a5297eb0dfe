"""The stores: documents in SQLite, vectors in Chroma, the lexical index in tantivy."""

from rag.stores.chroma import Chroma, VectorStore
from rag.stores.sqlite import SqliteDocumentStore, Stats

__all__ = ["Chroma", "SqliteDocumentStore", "Stats", "VectorStore"]
