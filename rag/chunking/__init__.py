"""Chunking: splits documents into chunks with exact offsets."""

from rag.chunking.base import Chunker, TokenCounter
from rag.chunking.headings import HeadingChunker
from rag.chunking.structure import StructureIndex, add_structure, split_document

__all__ = [
    "Chunker",
    "HeadingChunker",
    "StructureIndex",
    "TokenCounter",
    "add_structure",
    "split_document",
]
