"""What parts made of other people's objects have in common."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple
from urllib.parse import quote

from pydantic import Field, PrivateAttr, SecretStr, model_validator

from connectors import PART, Connector, Source
from rag.chunking import Chunker
from rag.chunking.base import TokenCounter, chunk_id
from rag.chunking.headings import refit
from rag.component import Component
from rag.embedding.base import Side
from rag.embedding.batched import BatchedEmbedder
from rag.errors import (
    ModelAuthError,
    ModelError,
    ModelRateLimited,
    ModelUnreachable,
    ParseError,
    RagError,
)
from rag.filters import Where
from rag.llm.tokens import count_tokens
from rag.retrieval import Retriever
from rag.retrieval.outside import found_in, outside_hit
from rag.text import Span
from rag.types import Chunk, Document, Hit, Places, flat_metadata, well_formed

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from rag.index import Index

_TELLING = (
    "model", "model_name", "model_id", "deployment", "azure_deployment", "repo_id", "dimensions",
    "size", "chunk_size", "chunk_overlap", "separators", "k", "top_n", "top_k", "search_type",
)  # fmt: skip
_LONGEST_LABEL = 500


class Foreign(Component):
    """A part that is another framework's object.

    ``label`` stands for it in fingerprints and in files: give one where what the object does
    depends on more than its class and its model. By default it is its class, with those of its
    settings that mostly matter (``model``, ``chunk_size`` ...). An object cannot be built from
    YAML: ``-p module:attribute`` takes it from Python.
    """

    label: str = Field("", max_length=_LONGEST_LABEL)

    _wraps: ClassVar[str]
    """Name of the field that holds the object."""

    @model_validator(mode="before")
    @classmethod
    def _with_label(cls, given: Any) -> Any:
        if isinstance(given, dict) and not given.get("label") and cls._wraps in given:
            return {**given, "label": label_of(given[cls._wraps])}
        return given


def label_of(given: Any) -> str:
    """What an object is called: its class, and those of its settings that mostly matter."""
    told = []
    for name in _TELLING:
        value = getattr(given, name, None)
        if isinstance(value, str | int | float | bool) and not isinstance(value, SecretStr):
            told.append(f"{name}={value}")
        elif isinstance(value, list | tuple) and all(isinstance(each, str) for each in value):
            told.append(f"{name}={list(value)}")
    return f"{type(given).__name__}({', '.join(told)})"[:_LONGEST_LABEL]


def failed(label: str, error: Exception) -> RagError:
    """The error for what a foreign model said, by what it is called."""
    if isinstance(error, RagError):
        return error
    said = " ".join(str(error).split())[:300]
    names = " ".join(kind.__name__ for kind in type(error).__mro__)
    kinds: tuple[tuple[type[ModelError], tuple[str, ...]], ...] = (
        (ModelRateLimited, ("RateLimit", "TooManyRequests", "ResourceExhausted")),
        (ModelAuthError, ("Authentication", "PermissionDenied", "Unauthorized")),
        (ModelUnreachable, ("Timeout", "APIConnection", "ConnectError", "ConnectionError")),
    )
    found = next((kind for kind, words in kinds if any(w in names for w in words)), ModelError)
    return found(f"{label} failed: {type(error).__name__}: {said}")


class ForeignEmbedder(Foreign, BatchedEmbedder):
    """Another framework's embeddings.

    ``limit`` is the longest text that the model reads, in tokens as `rag.llm.tokens` counts them;
    it is not told by their interface. The length of a vector is found by embedding one.
    """

    limit: int = Field(512, ge=16, le=1_000_000)
    _length: int | None = PrivateAttr(None)

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        if self.dimensions is not None:
            return self.dimensions
        if self._length is None:
            self._length = int(self._vectors(["a"], "query").shape[1])
        return self._length

    @property
    def max_tokens(self) -> int:
        """See `Embedder.max_tokens`."""
        return self.limit

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """See `Embedder.count_tokens`."""
        return [count_tokens(text) for text in texts]

    @property
    def usd_per_million_tokens(self) -> float | None:
        """Not known."""
        return None

    def _embed(self, texts: Sequence[str], side: Side) -> NDArray[np.float32]:
        return self._vectors(texts, side)

    def _vectors(self, texts: Sequence[str], side: Side) -> NDArray[np.float32]:
        import numpy as np

        try:
            rows = self._embedded(list(texts), side)
        except Exception as error:
            raise failed(self.label, error) from error
        return np.asarray(rows, dtype=np.float32)

    @abstractmethod
    def _embedded(self, texts: list[str], side: Side) -> Sequence[Sequence[float]]:
        """Ask the object."""


class Piece(NamedTuple):
    """A stretch that a foreign splitter made; ``start`` is where it says that it stands."""

    text: str
    start: int | None = None


class ForeignChunker(Foreign, Chunker):
    """Another framework's splitter, held to our contract.

    Each piece is found in the document again, at the offset the splitter gives or at the next
    place that has the same words; white space may differ. Text that the splitter leaves out goes
    with the piece behind it, and pieces longer than the embedder reads are cut. A splitter that
    changes the words is refused, document by document, with a `ParseError`: what it makes cannot
    be cited.
    """

    def split(self, document: Document, tokens: TokenCounter) -> list[Chunk]:
        """See `Chunker.split`."""
        if not document.text.strip():
            return []
        spans = covering(document.text, self._located(document))
        lengths = tokens.count_tokens([document.text[a:b] for a, b in spans])
        fitting: list[Span] = []
        for span, length in zip(spans, lengths, strict=True):
            if length <= tokens.max_tokens:
                fitting.append(span)
            else:
                parts = refit(document.text, span, length, tokens.max_tokens, tokens)
                fitting += [part for part, _ in parts]
        places, digest = Places(document.marks), document.digest
        headings = _Headings(document)
        return [
            Chunk(
                id=chunk_id(digest, self.fingerprint, a, b),
                uri=document.uri,
                start=a,
                end=b,
                text=document.text[a:b],
                title=document.title,
                headings=headings.at(a),
                place=places.at(a, b),
                metadata=document.metadata,
            )
            for a, b in dict.fromkeys(fitting)
        ]

    def _located(self, document: Document) -> list[Span]:
        text = document.text
        found: list[Span] = []
        at = 0
        for piece in self._pieces(document):
            if not piece.text.strip():
                continue
            span = _where(text, well_formed(piece.text), piece.start, at)
            if span is None:
                start = " ".join(piece.text.split())[:60]
                raise ParseError(
                    f"{self.label} changes the text: {start!r} does not stand in the document, so "
                    "that it could not be cited"
                )
            found.append(span)
            at = span.start + 1
        return found

    @abstractmethod
    def _pieces(self, document: Document) -> Sequence[Piece]:
        """Ask the object."""


def _where(text: str, piece: str, said: int | None, at: int) -> Span | None:
    """Where a piece stands: where it is said to, or at the first place from `at` on."""
    stripped = piece.strip()
    if said is not None and said >= 0:
        start = said + len(piece) - len(piece.lstrip())
        if text[start : start + len(stripped)] == stripped:
            return Span(start, start + len(stripped))
    for begin in (at, 0):
        if (span := found_in(text[begin:], stripped)) is not None:
            return Span(span[0] + begin, span[1] + begin)
    return None


def covering(text: str, spans: Sequence[Span]) -> list[Span]:
    """The spans in order, widened so that nothing but white space is left out."""
    out: list[Span] = []
    covered = 0
    for span in sorted(spans):
        gap = text[covered : span.start]
        start = span.start
        if span.start > covered and gap.strip():
            start = covered + len(gap) - len(gap.lstrip())
        out.append(Span(start, span.end))
        covered = max(covered, span.end)
    rest = text[covered:]
    if rest.strip():
        end = covered + len(rest.rstrip())
        start = covered + len(rest) - len(rest.lstrip())
        if out:
            last = max(range(len(out)), key=lambda i: out[i].end)
            out[last] = Span(out[last].start, end)
        else:
            out.append(Span(start, end))
    return out


class _Headings:
    """Looks up the headings at an offset."""

    def __init__(self, document: Document) -> None:
        self._marks = sorted(
            (mark for mark in document.marks if mark.kind == "heading"), key=lambda m: m.start
        )

    def at(self, offset: int) -> tuple[str, ...]:
        for mark in self._marks:
            if mark.start <= offset < mark.end and isinstance(mark.value, tuple):
                return mark.value
        return ()


class Text(NamedTuple):
    """A text with what came with it: a document that was loaded, or a passage that was found.

    ``start`` is where in its source it is said to stand, ``name`` an id of its own.
    """

    text: str
    metadata: Mapping[str, Any]
    score: float | None = None
    start: int | None = None
    name: str | None = None


class ForeignRetriever(Foreign, Retriever):
    """Another framework's retriever, over whatever it has.

    What it finds is a chunk of our index where a document of it is named in the metadata
    (``source``, ``file_path``, ``url`` ...) and holds the same words; other passages are sources
    by themselves, and are quoted from as they were given (see `rag.retrieval.outside`). `where` is
    applied to what came back.
    """

    @property
    def outside(self) -> bool:
        """It is."""
        return True

    def retrieve(
        self, query: str, *, k: int, index: Index, where: Where | None = None
    ) -> list[Hit]:
        """See `Retriever.retrieve`."""
        try:
            texts = list(islice(self._found(query, k), 10_000))
        except Exception as error:
            raise failed(self.label, error) from error
        hits: dict[str, Hit] = {}
        for rank, found in enumerate(texts, start=1):
            score = 1.0 / rank if found.score is None else float(found.score)
            hit = outside_hit(
                index,
                found.text,
                found.metadata,
                origin=self.name,
                rank=rank,
                score=score,
                where=where,
                start=found.start,
            )
            if hit is not None:
                hits.setdefault(hit.chunk.id, hit)
        return list(hits.values())[:k]

    @abstractmethod
    def _found(self, query: str, k: int) -> Iterator[Text]:
        """Ask the object; best first."""


class ForeignConnector(Foreign, Connector):
    """Another framework's loader: the texts it loads become documents.

    The uris are made of the ``label``, of what a document calls its ``source``, and of a number,
    since one source may give several documents. ``mime`` says what the texts are, for the
    parser. Their loaders do not say what has changed, so all is loaded in every run; what is the
    same is not embedded again, and what is gone is deleted.
    """

    mime: str = "text/plain"

    _scheme: ClassVar[str]

    @property
    def scope(self) -> str:
        """Prefix of all uris."""
        return f"{self._scheme}://{quote(self.label, safe='')}/"

    def sources(self) -> Iterator[Source]:
        """Load, and list what was loaded."""
        counts: dict[str, int] = {}
        for number, found in enumerate(self._loaded(), start=1):
            named = _named(found, number)
            counts[named] = counts.get(named, 0) + 1
            data = well_formed(found.text).encode()
            metadata = flat_metadata(found.metadata)
            title = metadata.get("title")
            yield Source(
                uri=f"{self.scope}{quote(named, safe='/:')}{PART}{counts[named]}",
                version=hashlib.sha256(data + repr(sorted(metadata.items())).encode()).hexdigest(),
                read=lambda data=data: data,  # type: ignore[misc]
                mime=self.mime,
                title=title if isinstance(title, str) else named.rpartition("/")[2],
                metadata=metadata,
            )

    @abstractmethod
    def _loaded(self) -> Iterator[Text]:
        """Ask the object."""


def _named(found: Text, number: int) -> str:
    for name in ("source", "file_path", "url", "path", "file_name"):
        value = found.metadata.get(name)
        if isinstance(value, str) and value.strip():
            return value.lstrip("/")
    return found.name or f"document-{number}"


def narrowed(hit: Hit, text: str) -> Hit:
    """The hit with only `text` of its chunk; the hit as it is, where that does not stand in it."""
    chunk = hit.chunk
    if text.strip() == chunk.text.strip():
        return hit
    span = found_in(chunk.text, text)
    if span is None:
        return hit
    start, end = chunk.start + span[0], chunk.start + span[1]
    shorter = chunk.model_copy(
        update={
            "id": hashlib.sha256(f"{chunk.id} {start} {end}".encode()).hexdigest()[:32],
            "start": start,
            "end": end,
            "text": chunk.text[span[0] : span[1]],
        }
    )
    return hit.model_copy(update={"chunk": shorter})


def rescored(hits: Sequence[tuple[Hit, float | None]]) -> list[Hit]:
    """Hits in their new order, with their new scores; falling ones where any has none."""
    known = [score for _, score in hits if score is not None]
    complete = len(known) == len(hits) and known == sorted(known, reverse=True)
    return [
        hit.model_copy(update={"score": float(score or 0.0) if complete else 1.0 / rank})
        for rank, (hit, score) in enumerate(hits, start=1)
    ]
