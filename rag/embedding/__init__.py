"""Text to vectors."""

from rag.embedding.base import Embedder
from rag.embedding.static import StaticEmbedder

__all__ = ["Embedder", "StaticEmbedder"]
