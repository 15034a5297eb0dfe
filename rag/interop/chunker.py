"""The base class of adapters for another framework's text splitters."""

from __future__ import annotations

from abc import abstractmethod
from bisect import bisect_right
from collections.abc import Sequence
from typing import NamedTuple

from rag.chunking import Chunker
from rag.chunking.base import TokenCounter, chunk_id
from rag.chunking.headings import refit
from rag.errors import ParseError
from rag.interop.base import Adapter
from rag.retrieval.external_passages import WhitespaceNormalizedText
from rag.text.sentences import Span
from rag.types import Chunk, Document, LocationIndex, to_well_formed

_ERROR_TEXT_CHARACTERS = 60


class Piece(NamedTuple):
    """A piece of text that a splitter returns; ``start`` is the offset that it reports."""

    text: str
    start: int | None = None


class ChunkerAdapter(Adapter, Chunker):
    """Another framework's splitter as a chunker.

    Each piece is located in the document, at the offset that the splitter reports or at the next
    occurrence of the same words; white space may differ. Text that the splitter leaves out is added
    to the piece after it, and pieces longer than the embedder reads are cut. If a splitter changes
    the words, the document fails with a `ParseError`, since its chunks could not be cited.
    """

    def split(self, document: Document, tokens: TokenCounter) -> list[Chunk]:
        """See `Chunker.split`."""
        if not document.text.strip():
            return []
        spans = cover_text(document.text, self._locate_pieces(document))
        lengths = tokens.count_tokens([document.text[start:end] for start, end in spans])
        fitting_spans: list[Span] = []
        for span, length in zip(spans, lengths, strict=True):
            if length <= tokens.max_tokens:
                fitting_spans.append(span)
            else:
                parts = refit(document.text, span, length, tokens.max_tokens, tokens)
                fitting_spans += [part for part, _ in parts]
        locations, digest = LocationIndex(document.marks), document.digest
        headings = _HeadingIndex(document)
        return [
            Chunk(
                id=chunk_id(digest, self.fingerprint, start, end),
                uri=document.uri,
                start=start,
                end=end,
                text=document.text[start:end],
                title=document.title,
                headings=headings.find(start),
                location=locations.locate(start, end),
                metadata=document.metadata,
            )
            for start, end in sorted(set(fitting_spans))
        ]

    @property
    def _overlap_characters(self) -> int:
        """Upper limit of the overlap between two pieces, in characters; 0 if unknown."""
        return 0

    def _locate_pieces(self, document: Document) -> list[Span]:
        """Return the spans of the splitter's pieces. Raises `ParseError`."""
        text = document.text
        normalized_text: WhitespaceNormalizedText | None = None
        spans: list[Span] = []
        for piece in self._split_text(document):
            if not isinstance(piece.text, str):
                raise ParseError(f"{self.label} returned {type(piece.text).__name__}, not text")
            words = to_well_formed(piece.text).strip()
            if not words:
                continue
            last = spans[-1] if spans else Span(-1, 0)
            # A piece follows the last one, or overlaps it; failing that, search the whole text.
            search_starts = (
                max(last.start + 1, last.end - self._overlap_characters),
                last.start + 1,
                0,
            )
            span = _check_reported_offset(text, piece, words) or _find_words(
                text, words, search_starts
            )
            if span is None:
                normalized_text = normalized_text or WhitespaceNormalizedText(text)
                matches = (normalized_text.find(words, start) for start in search_starts)
                span = next((Span(*match) for match in matches if match is not None), None)
            if span is None:
                beginning = " ".join(words.split())[:_ERROR_TEXT_CHARACTERS]
                raise ParseError(
                    f"{self.label} changes the text: {beginning!r} is not in the document, so its "
                    "chunks could not be cited"
                )
            spans.append(span)
        return spans

    @abstractmethod
    def _split_text(self, document: Document) -> Sequence[Piece]:
        """Return the pieces that the wrapped object makes of a document."""


def _check_reported_offset(text: str, piece: Piece, words: str) -> Span | None:
    """Return the span at the piece's reported offset, or None if its words are not there."""
    if piece.start is None or piece.start < 0:
        return None
    start = piece.start + len(piece.text) - len(piece.text.lstrip())
    return Span(start, start + len(words)) if text.startswith(words, start) else None


def _find_words(text: str, words: str, search_starts: Sequence[int]) -> Span | None:
    """Search for words from each of `search_starts` in turn, and return the first match."""
    for search_start in search_starts:
        if (start := text.find(words, search_start)) >= 0:
            return Span(start, start + len(words))
    return None


def cover_text(text: str, spans: Sequence[Span]) -> list[Span]:
    """Return the spans in order, widened so that they leave out nothing but white space."""
    covering_spans: list[Span] = []
    covered = 0
    for span in sorted(spans):
        gap = text[covered : span.start]
        start = span.start
        if span.start > covered and gap.strip():
            start = covered + len(gap) - len(gap.lstrip())
        covering_spans.append(Span(start, span.end))
        covered = max(covered, span.end)
    tail = text[covered:]
    if tail.strip():
        end = covered + len(tail.rstrip())
        start = covered + len(tail) - len(tail.lstrip())
        if covering_spans:
            last = max(range(len(covering_spans)), key=lambda i: covering_spans[i].end)
            covering_spans[last] = Span(covering_spans[last].start, end)
        else:
            covering_spans.append(Span(start, end))
    return covering_spans


class _HeadingIndex:
    """Finds the headings of an offset."""

    def __init__(self, document: Document) -> None:
        marks = (mark for mark in document.marks if mark.kind == "heading")
        self._marks = sorted(marks, key=lambda mark: mark.start)
        self._starts = [mark.start for mark in self._marks]

    def find(self, offset: int) -> tuple[str, ...]:
        i = bisect_right(self._starts, offset) - 1
        if i < 0 or self._marks[i].end <= offset:
            return ()
        value = self._marks[i].value
        return value if isinstance(value, tuple) else ()
