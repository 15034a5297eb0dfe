"""Our stores fulfil their contracts."""

import pytest

from rag.stores import (
    Chroma,
    DocumentStoreConfig,
    Exact,
    LexicalIndexConfig,
    Sqlite,
    Tantivy,
    VectorStoreConfig,
)
from rag.stores.memory import InMemoryDocuments
from rag.stores.memory_lexical import InMemoryLexical
from rag.testing import (
    DocumentStoreContract,
    IndexContract,
    LexicalIndexContract,
    VectorStoreContract,
)


class TestSqlite(DocumentStoreContract):
    def make_part(self) -> DocumentStoreConfig:
        return Sqlite()


class TestInMemoryDocuments(DocumentStoreContract):
    def make_part(self) -> DocumentStoreConfig:
        return InMemoryDocuments()


class TestChroma(VectorStoreContract):
    def make_part(self) -> VectorStoreConfig:
        return Chroma()


class TestChromaWithTexts(VectorStoreContract):
    def make_part(self) -> VectorStoreConfig:
        return Chroma(store_text=True, batch=7)


class TestExact(VectorStoreContract):
    def make_part(self) -> VectorStoreConfig:
        return Exact()


class TestTantivy(LexicalIndexContract):
    def make_part(self) -> LexicalIndexConfig:
        return Tantivy()


class TestInMemoryLexical(LexicalIndexContract):
    def make_part(self) -> LexicalIndexConfig:
        return InMemoryLexical()


@pytest.mark.slow
class TestDefaultStores(IndexContract):
    pass


class TestStoresInMemory(IndexContract):
    def make_document_store(self) -> DocumentStoreConfig:
        return InMemoryDocuments()

    def make_vector_store(self) -> VectorStoreConfig:
        return Exact()

    def make_lexical_index(self) -> LexicalIndexConfig:
        return InMemoryLexical()
