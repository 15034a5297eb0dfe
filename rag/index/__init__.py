"""The index: library (SQLite), vectors (Chroma), lexical (tantivy), and sync."""

from rag.index.index import Index, open_library
from rag.index.library import Library, Stats
from rag.index.report import Failure, IngestReport, Move
from rag.index.syncing import plan, sync
from rag.index.vectors import Chroma, VectorStore

__all__ = [
    "Chroma",
    "Failure",
    "Index",
    "IngestReport",
    "Library",
    "Move",
    "Stats",
    "VectorStore",
    "open_library",
    "plan",
    "sync",
]
