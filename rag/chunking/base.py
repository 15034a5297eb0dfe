"""Base class of chunkers, and the ids of chunks."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Protocol

from rag.component import Component
from rag.types import Chunk, Document


class TokenCounter(Protocol):
    """The token count and the limit of an embedder, as far as a chunker needs them."""

    @property
    def max_tokens(self) -> int:
        """Length of the longest text that the embedder reads in full, in tokens."""

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return the length of each text in tokens."""


class Chunker(Component):
    """Splits a document into chunks, the units of retrieval."""

    kind: ClassVar[str] = "chunker"

    @abstractmethod
    def split(self, document: Document, tokens: TokenCounter) -> list[Chunk]:
        """Split `document` into chunks, in the order of the text.

        For each chunk, ``document.text[chunk.start:chunk.end] == chunk.text``, ``chunk.text`` is
        not blank, and ``chunk.embedded_text`` has at most ``tokens.max_tokens`` tokens. Every
        character of the document that is not white space is in a chunk. A blank document has no
        chunks.
        """


def chunk_id(document_digest: str, chunker_fingerprint: str, start: int, end: int) -> str:
    """Return the id of a chunk: 32 hex digits, equal in every run for the same document version.

    Two versions of a document share no ids, so that the old version can be removed from the
    stores without changing the new one.
    """
    key = f"{document_digest} {chunker_fingerprint} {start} {end}"
    return hashlib.sha256(key.encode()).hexdigest()[:32]
