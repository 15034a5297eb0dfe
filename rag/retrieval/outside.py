"""What was found elsewhere than in the index, so that it can be cited all the same.

A foreign retriever gives texts, and seldom says where in their sources they stand. Where the index
holds the source, and the text stands in it to the letter (up to white space), it is a chunk of
that document. Where not, the passage is a source by itself, named by its content: its uri is
``passage:`` and the hash of its text, so that whoever has the text can check a quote of it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from rag.errors import DocumentNotFound
from rag.filters import Filter, Where
from rag.types import Chunk, Document, Hit, Origin, flat_metadata, well_formed

if TYPE_CHECKING:
    from rag.index import Index

SCHEME = "passage:"
_NAMES = ("uri", "source", "file_path", "path", "url", "file_name", "filename")
_IDS = ("ref_doc_id",)
_LONGEST = 200_000  # characters of a text that is looked for with white space of any kind


def passage_uri(text: str) -> str:
    """The uri of a passage that is its own source."""
    return SCHEME + hashlib.sha256(text.encode()).hexdigest()[:32]


def outside_passages(hits: Iterable[Hit]) -> dict[str, str]:
    """Texts, by uri, of those hits that are their own sources; only of what is named rightly."""
    return {
        hit.chunk.uri: hit.chunk.text
        for hit in hits
        if hit.chunk.uri.startswith(SCHEME) and hit.chunk.uri == passage_uri(hit.chunk.text)
    }


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
    return Hit(chunk=chunk, score=score, origins={origin: Origin(rank=rank, score=score)})


def _by_itself(text: str, metadata: Mapping[str, Any]) -> tuple[Document, Chunk]:
    uri = passage_uri(text)
    flat = flat_metadata(metadata)
    named = next((str(flat[name]) for name in ("title", *_NAMES) if flat.get(name)), "")
    page = flat.get("page", flat.get("page_label"))
    number = page if isinstance(page, int) and not isinstance(page, bool) and page > 0 else None
    document = Document(uri=uri, text=text, title=named, metadata=flat)
    return document, Chunk(
        id=uri.removeprefix(SCHEME),
        uri=uri,
        start=0,
        end=len(text),
        text=text,
        title=named,
        metadata=flat,
        place={} if number is None else {"page": number},
    )


def _in_library(
    index: Index, text: str, metadata: Mapping[str, Any], start: int | None
) -> tuple[Document, Chunk] | None:
    """The text as a chunk of a document that the index holds; None where it is in none."""
    for uri in _uris(metadata):
        try:
            document = index.library.document(uri)
        except DocumentNotFound:
            continue
        span = found_in(document.text, text, start)
        if span is None:
            continue
        a, b = span
        return document, Chunk(
            id=hashlib.sha256(f"{document.digest} {a} {b}".encode()).hexdigest()[:32],
            uri=uri,
            start=a,
            end=b,
            text=document.text[a:b],
            title=document.title,
            place=document.place_at(a, b),
            metadata=document.metadata,
        )
    return None


def _uris(metadata: Mapping[str, Any]) -> Iterable[str]:
    """What the source of a foreign text may be called in the index."""
    for name in (*_NAMES, *_IDS):
        value = metadata.get(name)
        if not isinstance(value, str) or not value.strip():
            continue
        yield value
        if not urlsplit(value).scheme:
            yield Path(value).absolute().as_uri()


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
    if len(piece) > _LONGEST:
        return None
    words = [re.escape(word) for word in piece.split()]
    found = re.search(r"\s+".join(words), text)
    return (found.start(), found.end()) if found else None
