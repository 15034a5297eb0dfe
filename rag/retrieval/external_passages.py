"""Passages from outside the index, and how they become citable.

A retriever of another framework returns texts, usually without their position in a source. If the
index holds the source, and the text occurs in it verbatim (up to white space), the hit is a chunk
of that document. Otherwise the passage is its own source, named by its content: its uri is
``passage:`` and the hash of its text, so anyone with the text can check a quote of it.
"""

from __future__ import annotations

import hashlib
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from rag.chunking import StructureIndex, add_structure
from rag.errors import DocumentNotFound
from rag.filters import Filter, Where
from rag.types import Chunk, Document, Hit, StageScore, flatten_metadata, to_well_formed

if TYPE_CHECKING:
    from rag.index import Index

SCHEME = "passage:"
SOURCE_NAME_FIELDS = ("uri", "source", "file_path", "path", "url", "file_name", "filename")
SOURCE_ID_FIELDS = ("ref_doc_id",)


def passage_uri(text: str) -> str:
    """Return the uri of a passage that is its own source."""
    return SCHEME + hashlib.sha256(text.encode()).hexdigest()[:32]


def external_passages(hits: Iterable[Hit]) -> dict[str, str]:
    """Return the texts, by uri, of hits that are their own sources and have the right hash."""
    return {
        hit.chunk.uri: hit.chunk.text
        for hit in hits
        if hit.chunk.uri.startswith(SCHEME) and hit.chunk.uri == passage_uri(hit.chunk.text)
    }


def part_id(key: str, start: int, end: int) -> str:
    """Return an id (32 hex digits) for a span of the text with the id or digest `key`."""
    return hashlib.sha256(f"{key} {start} {end}".encode()).hexdigest()[:32]


def make_external_hit(
    index: Index,
    text: str,
    metadata: Mapping[str, Any],
    *,
    stage: str,
    rank: int,
    score: float,
    where: Where | None = None,
    start: int | None = None,
) -> Hit | None:
    """Make a hit from a foreign `text`. Return None if it is blank or `where` does not select it.

    `metadata` comes from the other framework. `start` is the stated offset of the text in its
    source.
    """
    text = to_well_formed(text)
    if not text.strip():
        return None
    document, chunk = _find_in_index(index, text, metadata, start) or _make_own_source(
        text, metadata
    )
    if where is not None and not Filter.of(where).matches(document):
        return None
    return Hit(chunk=chunk, score=score, stage_scores={stage: StageScore(rank=rank, score=score)})


def _make_own_source(text: str, metadata: Mapping[str, Any]) -> tuple[Document, Chunk]:
    uri = passage_uri(text)
    flat = flatten_metadata(metadata)
    title = next(
        (to_well_formed(str(flat[n])) for n in ("title", *SOURCE_NAME_FIELDS) if flat.get(n)), ""
    )
    page = flat.get("page", flat.get("page_label"))
    number = page if isinstance(page, int) and not isinstance(page, bool) and page > 0 else None
    mime = next((flat[name] for name in ("mime", "mime_type", "file_type") if flat.get(name)), None)
    kind = mime if isinstance(mime, str) else "text/plain"
    document = Document(uri=uri, text=text, title=title, mime=kind, metadata=flat)
    return document, Chunk(
        id=uri.removeprefix(SCHEME),
        uri=uri,
        start=0,
        end=len(text),
        text=text,
        title=title,
        metadata=document.metadata,
        location={} if number is None else {"page": number},
    )


def _find_in_index(
    index: Index, text: str, metadata: Mapping[str, Any], start: int | None
) -> tuple[Document, Chunk] | None:
    """Find the text in a document of the index. Return None if no document holds it."""
    for uri in _candidate_uris(metadata):
        try:
            document = index.document_store.document(uri)
        except DocumentNotFound:
            continue
        span = find_piece(document.text, text, start)
        if span is not None:
            return document, _find_or_make_chunk(index, document, *span)
    return None


def _find_or_make_chunk(index: Index, document: Document, start: int, end: int) -> Chunk:
    """Return the chunk of the index with that span, or a new one."""
    rows = [
        s.row
        for s in index.document_store.outline(document.uri)
        if (s.start, s.end) == (start, end)
    ]
    for chunk in index.document_store.chunks(rows[:1]).values():
        return chunk
    chunk = Chunk(
        id=part_id(document.digest, start, end),
        uri=document.uri,
        start=start,
        end=end,
        text=document.text[start:end],
        title=document.title,
        location=document.location_at(start, end),
        metadata=document.metadata,
    )
    return add_structure(chunk, StructureIndex(document))


def _candidate_uris(metadata: Mapping[str, Any]) -> Iterator[str]:
    """Yield the uris that the source of a foreign text may have in the index."""
    for name in (*SOURCE_NAME_FIELDS, *SOURCE_ID_FIELDS):
        value = metadata.get(name)
        if not isinstance(value, str) or not value.strip() or value != to_well_formed(value):
            continue
        yield value
        try:
            if not urlsplit(value).scheme:
                yield Path(value).absolute().as_uri()
        except (ValueError, OSError):  # no address and no path
            continue


class WhitespaceNormalizedText:
    """A text with single spaces, and the original offset of each word."""

    def __init__(self, text: str) -> None:
        words = list(re.finditer(r"\S+", text))
        self._original_offsets = [word.start() for word in words]
        self._normalized_offsets: list[int] = []
        offset = 0
        for word in words:
            self._normalized_offsets.append(offset)
            offset += word.end() - word.start() + 1
        self._text = " ".join(word.group() for word in words)

    def find(self, piece: str, min_offset: int = 0) -> tuple[int, int] | None:
        """Return the original span of the first `piece` at or after `min_offset`, or None."""
        normalized_piece = " ".join(piece.split())
        if not normalized_piece or not self._normalized_offsets:
            return None
        word_number = max(0, bisect_right(self._original_offsets, min_offset) - 1)
        begin = self._normalized_offsets[word_number] + max(
            0, min_offset - self._original_offsets[word_number]
        )
        index = self._text.find(normalized_piece, begin)
        if index < 0:
            return None
        return self._original_offset(index), self._original_offset(
            index + len(normalized_piece) - 1
        ) + 1

    def _original_offset(self, offset: int) -> int:
        word_number = bisect_right(self._normalized_offsets, offset) - 1
        return self._original_offsets[word_number] + offset - self._normalized_offsets[word_number]


def find_piece(text: str, piece: str, start: int | None = None) -> tuple[int, int] | None:
    """Find `piece` in `text`, verbatim or with other white space. Return its span, or None.

    `start` is the stated offset, which is used if it is correct.
    """
    piece = piece.strip()
    if not piece:
        return None
    if start is not None and start >= 0:
        offset_near_start = text.find(piece, start, start + len(piece) + 64)
        if offset_near_start >= 0:
            return offset_near_start, offset_near_start + len(piece)
    offset = text.find(piece)
    if offset >= 0:
        return offset, offset + len(piece)
    return WhitespaceNormalizedText(text).find(piece)
