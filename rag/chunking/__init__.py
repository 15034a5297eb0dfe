"""Chunking: splits documents into chunks with exact offsets."""

from rag.chunking.base import Chunker, TokenCounter
from rag.chunking.headings import HeadingChunker

__all__ = ["Chunker", "HeadingChunker", "TokenCounter"]
