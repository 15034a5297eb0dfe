"""The index: three stores kept consistent, the commit protocol, and maintenance."""

from rag.index.index import Index, check_stores, open_document_store

__all__ = ["Index", "check_stores", "open_document_store"]
