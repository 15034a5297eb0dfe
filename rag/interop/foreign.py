"""What parts made of other people's objects have in common."""

from __future__ import annotations

import hashlib
import json
import math
import re
from abc import abstractmethod
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from itertools import count, islice
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple
from urllib.parse import quote

from pydantic import Field, PrivateAttr, model_validator

from connectors import PART, Connector, Source
from rag.chunking import Chunker
from rag.chunking.base import TokenCounter, chunk_id
from rag.chunking.headings import refit
from rag.component import Component
from rag.embedding.base import Side
from rag.embedding.batched import BatchedEmbedder
from rag.errors import (
    DocumentNotFound,
    ModelAuthError,
    ModelError,
    ModelRateLimited,
    ModelUnreachable,
    ParseError,
    RagError,
    SourceUnreadable,
)
from rag.filters import Where
from rag.llm.tokens import count_tokens
from rag.reranking.base import Refiner, behind
from rag.retrieval import Retriever
from rag.retrieval.outside import Squeezed, found_in, outside_hit, part_id
from rag.text import Span
from rag.types import Chunk, Document, Hit, Origin, Places, flat_metadata, well_formed

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from rag.index import Index

_TELLING = (
    "model", "model_name", "model_id", "deployment", "azure_deployment", "repo_id", "dimensions",
    "size", "chunk_size", "chunk_overlap",
)  # fmt: skip
_SECRET = re.compile(r"key|token|secret|password|credential", re.IGNORECASE)
_LONGEST_LABEL = 500


class Foreign(Component):
    """A part that is another framework's object.

    ``label`` stands for it in fingerprints, in files and in the uris of what it loads. By default
    it is its class, the settings that mostly matter, and a hash of all its plain ones (texts,
    numbers, lists of them; secrets apart), so that another object is another part. Give one where
    what the object does depends on more, such as another object within it, or where plain
    settings change that mean nothing. An object cannot be built from YAML: ``-p
    module:attribute`` takes it from Python.
    """

    label: str = Field("", max_length=_LONGEST_LABEL)

    _wraps: ClassVar[str]
    """Name of the field that holds the object."""

    @property
    def is_plain(self) -> bool:
        """It is not."""
        return False

    @model_validator(mode="before")
    @classmethod
    def _with_label(cls, given: Any) -> Any:
        if isinstance(given, dict) and not given.get("label") and cls._wraps in given:
            more = given.get("arguments")
            return {**given, "label": label_of(given[cls._wraps], more)}
        return given


def label_of(given: Any, more: Any = None) -> str:
    """What an object is called: its class, what mostly matters of it, and a hash of its settings.

    `more` are settings beside it that are hashed with its own.
    """
    state = _state(given)
    told = [
        f"{name}={state[key]}"
        for name in _TELLING
        for key in (name, f"_{name}")
        if isinstance(state.get(key), str | int | float)
    ]
    plain = json.dumps([type(given).__qualname__, state, _plain(more)], sort_keys=True, default=str)
    hashed = hashlib.sha256(plain.encode(errors="replace")).hexdigest()[:8]
    shown = f"({', '.join(told)})" if told else ""
    return f"{type(given).__name__}{shown[: _LONGEST_LABEL // 2]}-{hashed}"


def _state(given: Any) -> dict[str, Any]:
    """The plain settings of an object, by name; of what is not plain, its class."""
    fields = dict(getattr(given, "__dict__", {}))
    fields |= getattr(given, "__pydantic_private__", None) or {}
    return {
        str(name): _plain(value)
        for name, value in fields.items()
        if not _SECRET.search(str(name).replace("max_tokens", "").replace("tokenizer", ""))
    }


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, set | frozenset):
        return sorted(map(repr, value))
    if isinstance(value, list | tuple):
        plain = [_plain(each) for each in value]
        objects = any(isinstance(each, dict) and "class" in each for each in plain)
        return "objects" if objects else plain
    if callable(value) and hasattr(value, "__qualname__"):
        return f"{value.__module__}.{value.__qualname__}"
    return {"class": type(value).__qualname__}


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
            return np.asarray(self._embedded(list(texts), side), dtype=np.float32)
        except Exception as error:
            raise failed(self.label, error) from error

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
            for a, b in sorted(set(fitting))
        ]

    @property
    def _overlap(self) -> int:
        """How far a piece may reach back into the one before it, in characters, as far as known."""
        return 0

    def _located(self, document: Document) -> list[Span]:
        text = document.text
        squeezed: Squeezed | None = None
        found: list[Span] = []
        for piece in self._pieces(document):
            if not isinstance(piece.text, str):
                raise ParseError(f"{self.label} gives {type(piece.text).__name__}, not text")
            words = well_formed(piece.text).strip()
            if not words:
                continue
            last = found[-1] if found else Span(-1, 0)
            # Behind the last one, or reaching back into it; anywhere, where it is in neither.
            begins = (max(last.start + 1, last.end - self._overlap), last.start + 1, 0)
            span = _said(text, piece, words) or _first(text, words, begins)
            if span is None:
                squeezed = squeezed or Squeezed(text)
                spans = (squeezed.find(words, begin) for begin in begins)
                span = next((Span(*each) for each in spans if each is not None), None)
            if span is None:
                start = " ".join(words.split())[:60]
                raise ParseError(
                    f"{self.label} changes the text: {start!r} does not stand in the document, so "
                    "that it could not be cited"
                )
            found.append(span)
        return found

    @abstractmethod
    def _pieces(self, document: Document) -> Sequence[Piece]:
        """Ask the object."""


def _said(text: str, piece: Piece, words: str) -> Span | None:
    """The span that a piece says it has, where its words do stand there."""
    if piece.start is None or piece.start < 0:
        return None
    start = piece.start + len(piece.text) - len(piece.text.lstrip())
    return Span(start, start + len(words)) if text.startswith(words, start) else None


def _first(text: str, words: str, begins: Sequence[int]) -> Span | None:
    """The first place of some words behind the first of `begins` that there is any behind."""
    for begin in begins:
        if (at := text.find(words, begin)) >= 0:
            return Span(at, at + len(words))
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
        marks = (mark for mark in document.marks if mark.kind == "heading")
        self._marks = sorted(marks, key=lambda mark: mark.start)
        self._starts = [mark.start for mark in self._marks]

    def at(self, offset: int) -> tuple[str, ...]:
        i = bisect_right(self._starts, offset) - 1
        if i < 0 or self._marks[i].end <= offset:
            return ()
        value = self._marks[i].value
        return value if isinstance(value, tuple) else ()


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
            score = _finite(found.score)
            score = 1.0 / rank if score is None else score
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
        """Load, and list what was loaded. Where that fails, nothing loaded before is deleted."""
        counts: dict[str, int] = {}
        loaded = self._loaded()
        for number in count(1):
            try:
                found = next(loaded, None)
            except Exception as error:
                yield _failed_source(self.scope, self.label, error)
                return
            if found is None:
                return
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


def _failed_source(scope: str, label: str, error: Exception) -> Source:
    said = " ".join(str(error).split())[:300]

    def read() -> bytes:
        raise SourceUnreadable(f"{label} failed: {type(error).__name__}: {said}")

    return Source(uri=scope, version="", read=read, shelter=scope)


def _named(found: Text, number: int) -> str:
    for name in ("source", "file_path", "url", "path", "file_name"):
        value = found.metadata.get(name)
        if isinstance(value, str) and value.strip():
            return value.lstrip("/")
    return found.name or f"document-{number}"


class Kept(NamedTuple):
    """A passage that a foreign refiner keeps: which one it was, what is left of it, its score."""

    number: int
    text: str
    score: float | None


class ForeignRefiner(Foreign, Refiner):
    """Another framework's reranker, filter or extractor.

    What it keeps is kept, in its order. Where it shortens a passage to words that stand in it, the
    hit is narrowed to them; where it puts other words in its place, the passage stays as it was,
    since nothing else could be quoted. It is given ``depth`` hits.
    """

    depth: int = Field(30, ge=1, le=1_000)

    @property
    def wanted(self) -> int:
        """The depth."""
        return self.depth

    def refine(self, query: str, hits: Sequence[Hit], *, index: Index) -> list[Hit]:
        """See `Refiner.refine`."""
        first, rest = hits[: self.depth], list(hits[self.depth :])
        if not first:
            return []
        try:
            kept = [each for each in self._kept(query, first) if 0 <= each.number < len(first)]
        except Exception as error:
            raise failed(self.label, error) from error
        found: dict[str, tuple[Hit, float | None]] = {}
        for each in kept:
            hit = narrowed(first[each.number], each.text, index)
            found.setdefault(hit.chunk.id, (hit, _finite(each.score)))
        ordered = _rescored(self.name, list(found.values()))
        return behind(ordered, rest) if ordered else []

    @abstractmethod
    def _kept(self, query: str, hits: Sequence[Hit]) -> list[Kept]:
        """Ask the object; best first."""


def narrowed(hit: Hit, text: str, index: Index) -> Hit:
    """The hit with only `text` of its chunk; the hit as it is, where that does not stand in it."""
    chunk = hit.chunk
    if text.strip() == chunk.text.strip():
        return hit
    span = found_in(chunk.text, text)
    if span is None:
        return hit
    start, end = chunk.start + span[0], chunk.start + span[1]
    try:
        place = index.library.place(chunk.uri, start)
    except DocumentNotFound:  # a passage by itself
        place = chunk.place
    shorter = chunk.model_copy(
        update={
            "id": part_id(chunk.id, start, end),
            "start": start,
            "end": end,
            "text": chunk.text[span[0] : span[1]],
            "place": place,
        }
    )
    return hit.model_copy(update={"chunk": shorter})


def _rescored(name: str, hits: Sequence[tuple[Hit, float | None]]) -> list[Hit]:
    """Hits in their new order, with their new scores; falling ones where any has none."""
    known = [score for _, score in hits if score is not None]
    complete = len(known) == len(hits) and known == sorted(known, reverse=True)
    out = []
    for rank, (hit, given) in enumerate(hits, start=1):
        score = given if complete and given is not None else 1.0 / rank
        origins = hit.origins | {name: Origin(rank=rank, score=score)}
        out.append(hit.model_copy(update={"score": score, "origins": origins}))
    return out


def _finite(score: object) -> float | None:
    """A score, where it is a number that can be compared; numbers of NumPy are some too."""
    try:
        number = float(score)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None
