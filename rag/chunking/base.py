"""What every chunker does."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Protocol

from rag.component import Component
from rag.types import Chunk, Document


class TokenCounter(Protocol):
    """What a chunker needs of an embedder: its measure of length, and its limit."""

    @property
    def max_tokens(self) -> int:
        """Longest text that is embedded whole, in tokens."""

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Length of each text in tokens."""


class Chunker(Component):
    """A document to the chunks it is retrieved by."""

    kind: ClassVar[str] = "chunker"

    @abstractmethod
    def split(self, document: Document, tokens: TokenCounter) -> list[Chunk]:
        """Split `document` into chunks, in the order of the text.

        For each, ``document.text[chunk.start:chunk.end] == chunk.text``, ``chunk.text`` is not
        blank, and ``chunk.embedded_text`` has at most ``tokens.max_tokens`` tokens. Every
        character of the document that is not white space is in a chunk. A blank document has no
        chunks.
        """


def chunk_id(document_digest: str, chunker_fingerprint: str, start: int, end: int) -> str:
    """Name a chunk: 32 hex digits, the same in every run over the same version of a document.

    Two versions of a document have no id in common, so that the old one can be removed from the
    stores without touching the new one.
    """
    key = f"{document_digest} {chunker_fingerprint} {start} {end}"
    return hashlib.sha256(key.encode()).hexdigest()[:32]
