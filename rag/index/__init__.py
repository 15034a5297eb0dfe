"""The index: three stores kept in agreement, the commit protocol, and maintenance."""

from rag.index.index import Index, open_library

__all__ = ["Index", "open_library"]
