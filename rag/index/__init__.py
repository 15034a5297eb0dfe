"""The index: three stores kept consistent, the commit protocol, and maintenance."""

from rag.index.index import Index, open_document_store

__all__ = ["Index", "open_document_store"]
