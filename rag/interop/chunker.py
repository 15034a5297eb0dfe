"""Another framework's splitter, held to our contract."""

from __future__ import annotations

from abc import abstractmethod
from bisect import bisect_right
from collections.abc import Sequence
from typing import NamedTuple

from rag.chunking import Chunker
from rag.chunking.base import TokenCounter, chunk_id
from rag.chunking.headings import refit
from rag.errors import ParseError
from rag.interop.base import Foreign
from rag.retrieval.external_passages import WhitespaceNormalizedText
from rag.text.sentences import Span
from rag.types import Chunk, Document, LocationIndex, well_formed


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
        places, digest = LocationIndex(document.marks), document.digest
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
                location=places.locate(a, b),
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
        squeezed: WhitespaceNormalizedText | None = None
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
                squeezed = squeezed or WhitespaceNormalizedText(text)
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
