"""The index: library (SQLite), vectors (Chroma), lexical (tantivy), and sync."""

from rag.index.index import Index, open_library
from rag.index.library import Library, Stats
from rag.index.sync import Failure, IngestReport, sync

__all__ = ["Failure", "Index", "IngestReport", "Library", "Stats", "open_library", "sync"]
