"""The stores: documents (the authority), vectors and the lexical index, each with a contract.

Documents are in SQLite or in memory, vectors in Chroma or in memory (exact search), the lexical
index in tantivy or in memory. Each contract has a configuration, which a pipeline names, and a live
object, which owns files and connections.
"""

from rag.stores.chroma import Chroma
from rag.stores.document_store import (
    ChunkRow,
    ChunkSpan,
    DocumentInfo,
    DocumentState,
    DocumentStore,
    DocumentStoreConfig,
    FailureEntry,
    IndexState,
    LedgerEntry,
    PendingDocument,
    Stats,
    hash_text,
)
from rag.stores.exact import Exact
from rag.stores.lexical_index import (
    BM25Query,
    LexicalEntry,
    LexicalIndex,
    LexicalIndexConfig,
    LexicalQuery,
    SparseQuery,
    StemmedEntry,
    stem_entries,
)
from rag.stores.location import StoreLocation
from rag.stores.query_plan import (
    PhraseClause,
    SparseClause,
    WordClause,
    compute_idf,
    plan_query,
)
from rag.stores.sqlite import Sqlite, SqliteDocumentStore
from rag.stores.tantivy import Tantivy
from rag.stores.vector_store import VectorStore, VectorStoreConfig

__all__ = [
    "BM25Query",
    "Chroma",
    "ChunkRow",
    "ChunkSpan",
    "DocumentInfo",
    "DocumentState",
    "DocumentStore",
    "DocumentStoreConfig",
    "Exact",
    "FailureEntry",
    "IndexState",
    "LedgerEntry",
    "LexicalEntry",
    "LexicalIndex",
    "LexicalIndexConfig",
    "LexicalQuery",
    "PendingDocument",
    "PhraseClause",
    "SparseClause",
    "SparseQuery",
    "Sqlite",
    "SqliteDocumentStore",
    "Stats",
    "StemmedEntry",
    "StoreLocation",
    "Tantivy",
    "VectorStore",
    "VectorStoreConfig",
    "WordClause",
    "compute_idf",
    "hash_text",
    "plan_query",
    "stem_entries",
]
