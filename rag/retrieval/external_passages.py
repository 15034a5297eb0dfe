"""What was found elsewhere than in the index, so that it can be cited all the same.

A foreign retriever gives texts, and seldom says where in their sources they stand. Where the index
holds the source, and the text stands in it to the letter (up to white space), it is a chunk of
that document. Where not, the passage is a source by itself, named by its content: its uri is
``passage:`` and the hash of its text, so that whoever has the text can check a quote of it.
"""

from __future__ import annotations

import hashlib
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from rag.errors import DocumentNotFound
from rag.filters import Filter, Where
from rag.types import Chunk, Document, Hit, StageScore, flat_metadata, well_formed

if TYPE_CHECKING:
    from rag.index import Index

SCHEME = "passage:"
_NAMES = ("uri", "source", "file_path", "path", "url", "file_name", "filename")
_IDS = ("ref_doc_id",)


def passage_uri(text: str) -> str:
    """The uri of a passage that is its own source."""
    return SCHEME + hashlib.sha256(text.encode()).hexdigest()[:32]


def external_passages(hits: Iterable[Hit]) -> dict[str, str]:
    """Texts, by uri, of those hits that are their own sources; only of what is named rightly."""
    return {
        hit.chunk.uri: hit.chunk.text
        for hit in hits
        if hit.chunk.uri.startswith(SCHEME) and hit.chunk.uri == passage_uri(hit.chunk.text)
    }


def part_id(key: str, start: int, end: int) -> str:
    """An id for a stretch of what has the id or digest `key`: 32 hex digits."""
    return hashlib.sha256(f"{key} {start} {end}".encode()).hexdigest()[:32]


def outside_hit(
    index: Index,
    text: str,
    metadata: Mapping[str, Any],
    *,
    origin: str,
    rank: int,
    score: float,
    where: Where | None = None,
    start: int | None = None,
) -> Hit | None:
    """A hit for a foreign `text`, or None where it is blank or `where` does not select it.

    `metadata` is what came with it; `start` says where in its source the text is said to stand.
    """
    text = well_formed(text)
    if not text.strip():
        return None
    document, chunk = _in_library(index, text, metadata, start) or _by_itself(text, metadata)
    if where is not None and not Filter.of(where).matches(document):
        return None
    return Hit(chunk=chunk, score=score, stage_scores={origin: StageScore(rank=rank, score=score)})


def _by_itself(text: str, metadata: Mapping[str, Any]) -> tuple[Document, Chunk]:
    uri = passage_uri(text)
    flat = flat_metadata(metadata)
    named = next((well_formed(str(flat[n])) for n in ("title", *_NAMES) if flat.get(n)), "")
    page = flat.get("page", flat.get("page_label"))
    number = page if isinstance(page, int) and not isinstance(page, bool) and page > 0 else None
    mime = next((flat[name] for name in ("mime", "mime_type", "file_type") if flat.get(name)), None)
    kind = mime if isinstance(mime, str) else "text/plain"
    document = Document(uri=uri, text=text, title=named, mime=kind, metadata=flat)
    return document, Chunk(
        id=uri.removeprefix(SCHEME),
        uri=uri,
        start=0,
        end=len(text),
        text=text,
        title=named,
        metadata=document.metadata,
        location={} if number is None else {"page": number},
    )


def _in_library(
    index: Index, text: str, metadata: Mapping[str, Any], start: int | None
) -> tuple[Document, Chunk] | None:
    """The text as a chunk of a document that the index holds; None where it is in none."""
    for uri in _uris(metadata):
        try:
            document = index.document_store.document(uri)
        except DocumentNotFound:
            continue
        span = found_in(document.text, text, start)
        if span is not None:
            return document, _chunk(index, document, *span)
    return None


def _chunk(index: Index, document: Document, start: int, end: int) -> Chunk:
    """The index's own chunk of that span, where there is one; else one that is made for it."""
    rows = [
        s.row
        for s in index.document_store.outline(document.uri)
        if (s.start, s.end) == (start, end)
    ]
    for chunk in index.document_store.chunks(rows[:1]).values():
        return chunk
    return Chunk(
        id=part_id(document.digest, start, end),
        uri=document.uri,
        start=start,
        end=end,
        text=document.text[start:end],
        title=document.title,
        location=document.location_at(start, end),
        metadata=document.metadata,
    )


def _uris(metadata: Mapping[str, Any]) -> Iterator[str]:
    """What the source of a foreign text may be called in the index."""
    for name in (*_NAMES, *_IDS):
        value = metadata.get(name)
        if not isinstance(value, str) or not value.strip() or value != well_formed(value):
            continue
        yield value
        try:
            if not urlsplit(value).scheme:
                yield Path(value).absolute().as_uri()
        except (ValueError, OSError):  # no address and no path
            continue


class WhitespaceNormalizedText:
    """A text with one space for every stretch of white space, and where its words really stand."""

    def __init__(self, text: str) -> None:
        words = list(re.finditer(r"\S+", text))
        self._origins = [word.start() for word in words]
        self._starts: list[int] = []
        at = 0
        for word in words:
            self._starts.append(at)
            at += word.end() - word.start() + 1
        self._text = " ".join(word.group() for word in words)

    def find(self, piece: str, at: int = 0) -> tuple[int, int] | None:
        """The first place of `piece` that begins at `at` or behind it, in the text as it was."""
        wanted = " ".join(piece.split())
        if not wanted or not self._starts:
            return None
        word = max(0, bisect_right(self._origins, at) - 1)
        begin = self._starts[word] + max(0, at - self._origins[word])
        found = self._text.find(wanted, begin)
        if found < 0:
            return None
        return self._origin(found), self._origin(found + len(wanted) - 1) + 1

    def _origin(self, place: int) -> int:
        word = bisect_right(self._starts, place) - 1
        return self._origins[word] + place - self._starts[word]


def found_in(text: str, piece: str, start: int | None = None) -> tuple[int, int] | None:
    """Where `piece` stands in `text`: to the letter, or with other white space; None if nowhere.

    `start` is where it is said to stand, which counts where it is true.
    """
    piece = piece.strip()
    if not piece:
        return None
    if start is not None and start >= 0:
        near = text.find(piece, start, start + len(piece) + 64)
        if near >= 0:
            return near, near + len(piece)
    at = text.find(piece)
    if at >= 0:
        return at, at + len(piece)
    return WhitespaceNormalizedText(text).find(piece)
