"""A lexical index in memory: BM25 over postings in NumPy arrays.

Like Lucene's, the index consists of segments, which do not change. A commit adds a segment with
the new chunks and marks deleted chunks in the others. Small segments are merged.
"""

from __future__ import annotations

import threading
from array import array
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from rag.embedding.sparse import SparseEncoder
from rag.stores.lexical_index import (
    LexicalEntry,
    LexicalIndex,
    LexicalIndexConfig,
    LexicalQuery,
    StemmedEntry,
    stem_entries,
)
from rag.stores.location import StoreLocation
from rag.stores.query_plan import (
    Clause,
    PhraseClause,
    SparseClause,
    WordClause,
    compute_idf,
    plan_query,
)
from rag.text.tokenization import STEMMED_LANGUAGES

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_K1 = 1.2  # BM25: saturation of the term frequency; as in Lucene and tantivy
_B = 0.75  # BM25: influence of the field length; as in Lucene and tantivy
_LANGUAGES = (*STEMMED_LANGUAGES, "")
_MERGE_FACTOR = 4  # a segment has more than this many times the chunks of the next one


class InMemoryLexical(LexicalIndexConfig):
    """Search words in memory, without files: for tests, and for indexes of up to 200,000 chunks.

    The index fills it from the document store whenever it is opened. ``sparse_encoder`` adds the
    learned sparse vectors that `SparseRetriever` searches; they are computed again each time.
    """

    name: ClassVar[str] = "memory"
    is_persistent: ClassVar[bool] = False

    sparse_encoder: SparseEncoder | None = None

    def create(self, location: StoreLocation) -> None:
        """Do nothing: there is no storage."""

    def open(self, location: StoreLocation) -> InMemoryLexicalIndex:
        """Return a new, empty index."""
        return InMemoryLexicalIndex(self.sparse_encoder)


class InMemoryLexicalIndex(LexicalIndex):
    """BM25 search by chunk row, in memory.

    A row that was added twice counts as two chunks: a search ranks both, as in tantivy, and
    `scores` returns the better score. Readers see the last commit, and never a part of one. The
    index does not see what other processes write.

        from rag.stores.lexical_index import BM25Query, LexicalEntry
        from rag.stores.memory_lexical import InMemoryLexicalIndex

        index = InMemoryLexicalIndex()
        index.add([LexicalEntry(row=7, document=1, heading_context="Battery", text="Charge it.")])
        index.commit()
        assert [row for row, score in index.search(BM25Query("charging"), k=3)] == [7]
    """

    def __init__(self, encoder: SparseEncoder | None = None) -> None:
        self._encoder = encoder
        self._lock = threading.Lock()  # of the buffer; readers only take the current segments
        self._segments: tuple[_Segment, ...] = ()
        self._discard_buffer()

    def _discard_buffer(self) -> None:
        self._builder = _SegmentBuilder()
        self._additions_before_deletion: dict[int, int] = {}  # by deleted row

    def add(self, entries: Iterable[LexicalEntry]) -> None:
        """See `LexicalIndex.add`."""
        with self._lock:
            for entry in stem_entries(entries, self._encoder):
                self._builder.add_entry(entry)

    def delete(self, rows: Sequence[int]) -> None:
        """See `LexicalIndex.delete`."""
        with self._lock:
            addition_count = len(self._builder.rows)
            self._additions_before_deletion.update(dict.fromkeys(rows, addition_count))

    def commit(self) -> None:
        """See `LexicalIndex.commit`."""
        with self._lock:
            deletions = self._additions_before_deletion
            segments = list(self._segments)
            if deletions:
                segments = [segment.delete_rows(deletions) for segment in segments]
            segments.append(self._builder.build().delete_first_additions(deletions))
            self._segments = tuple(_merge_small_segments(segments))
            self._discard_buffer()

    def end_writing(self) -> None:
        """See `LexicalIndex.end_writing`."""
        with self._lock:
            self._discard_buffer()

    def search(
        self, query: LexicalQuery, k: int, documents: Collection[int] | None = None
    ) -> list[tuple[int, float]]:
        """See `LexicalIndex.search`. Chunks with equal scores are ordered by row."""
        import numpy as np

        if k < 1:
            return []
        rows, scores = _Search(self._segments).run(query, documents=documents)
        if k < len(rows):
            is_candidate = scores >= np.partition(scores, -k)[-k]
            rows, scores = rows[is_candidate], scores[is_candidate]
        order = np.lexsort((rows, -scores))[:k]
        return list(zip(rows[order].tolist(), scores[order].tolist(), strict=True))

    def scores(self, query: LexicalQuery, rows: Sequence[int]) -> dict[int, float]:
        """See `LexicalIndex.scores`."""
        matching_rows, scores = _Search(self._segments).run(query, rows=rows)
        # In this order, the best score of a row that was added twice remains.
        return dict(sorted(zip(matching_rows.tolist(), scores.tolist(), strict=True)))

    def inverse_document_frequency(self, stem: str) -> float:
        """See `LexicalIndex.inverse_document_frequency`."""
        search = _Search(self._segments)
        chunk_count = search.count_chunks("body", stem)
        return compute_idf(chunk_count, search.chunk_count) if chunk_count else 0.0

    @property
    def sparse_encoder(self) -> SparseEncoder | None:
        """See `LexicalIndex.sparse_encoder`."""
        return self._encoder

    def list_stems(self, prefix: str) -> dict[str, int]:
        """See `LexicalIndex.list_stems`."""
        return _Search(self._segments).list_stems(prefix)

    def languages(self) -> list[str]:
        """See `LexicalIndex.languages`."""
        return _list_languages(self._segments)

    def rows(self) -> list[int]:
        """See `LexicalIndex.rows`."""
        return [row for segment in self._segments for row in segment.rows[segment.is_live].tolist()]

    def count(self) -> int:
        """See `LexicalIndex.count`."""
        return sum(segment.live_count for segment in self._segments)


class _Postings(NamedTuple):
    """The chunks that contain a stem or a phrase: their slots, ascending, and how often each."""

    slots: NDArray[np.int32]
    frequencies: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class _Field:
    """The inverted index of one field of the chunks of a segment.

    Each stem has a number ``i``; its occurrences are ``offsets[i]:offsets[i + 1]``, in the order
    of the text. A position is the number of an occurrence in the text of all chunks, with a gap
    of 1 between chunks, so that no phrase extends over two chunks. ``lengths`` are the numbers of
    stems of each chunk.
    """

    stem_numbers: Mapping[str, int]
    offsets: NDArray[np.int64]
    slots: NDArray[np.int32]
    positions: NDArray[np.int32]
    lengths: NDArray[np.int32]

    def find_phrase(self, stems: Sequence[str]) -> NDArray[np.int32]:
        """Return the slot of each occurrence of adjacent `stems`, ascending."""
        first_stem = self._find_occurrences(stems[0])
        slots, starts = self.slots[first_stem], self.positions[first_stem]
        for distance, stem in enumerate(stems[1:], start=1):
            positions = self.positions[self._find_occurrences(stem)]
            is_followed = _is_in_sorted(starts + distance, positions)
            slots, starts = slots[is_followed], starts[is_followed]
        return slots

    def _find_occurrences(self, stem: str) -> slice:
        number = self.stem_numbers.get(stem)
        if number is None:
            return slice(0, 0)
        return slice(int(self.offsets[number]), int(self.offsets[number + 1]))

    def list_tokens(self) -> NDArray[np.int32]:
        """Return the number of each stem, in the order of the text."""
        import numpy as np

        stem_numbers = np.arange(len(self.stem_numbers), dtype=np.int32)
        tokens = np.empty(len(self.positions), dtype=np.int32)
        tokens[self.positions - self.slots] = np.repeat(stem_numbers, np.diff(self.offsets))
        return tokens


class _FieldBuilder:
    """Collects the texts of one field of the chunks of a new segment."""

    def __init__(self) -> None:
        self._stem_numbers: dict[str, int] = {}
        self._tokens = array("i")
        self._lengths = array("i")

    def add_text(self, stems: Sequence[str]) -> None:
        """Add the text of one chunk."""
        numbers = self._stem_numbers
        self._tokens.extend([numbers.setdefault(stem, len(numbers)) for stem in stems])
        self._lengths.append(len(stems))

    def add_field(self, field: _Field, is_live: NDArray[np.bool_]) -> None:
        """Add the texts of the live chunks of an existing segment."""
        import numpy as np

        tokens = field.list_tokens()[np.repeat(is_live, field.lengths)]
        is_used = np.bincount(tokens, minlength=len(field.stem_numbers)) > 0
        new_numbers = np.zeros(len(is_used), dtype=np.int32)
        for stem, number in field.stem_numbers.items():
            if is_used[number]:
                new_number = self._stem_numbers.setdefault(stem, len(self._stem_numbers))
                new_numbers[number] = new_number
        self._tokens.frombytes(new_numbers[tokens].tobytes())
        self._lengths.frombytes(field.lengths[is_live].tobytes())

    def build(self) -> _Field:
        """Sort the occurrences by stem."""
        import numpy as np

        tokens = np.array(self._tokens, dtype=np.int32)
        lengths = np.array(self._lengths, dtype=np.int32)
        order = np.argsort(tokens, kind="stable").astype(np.int32)
        slots = np.repeat(np.arange(len(lengths), dtype=np.int32), lengths)[order]
        counts = np.bincount(tokens, minlength=len(self._stem_numbers))
        offsets = np.concatenate([[0], np.cumsum(counts)])
        return _Field(self._stem_numbers, offsets, slots, order + slots, lengths)


@dataclass(frozen=True, eq=False)
class _Segment:
    """Chunks with their inverted fields. A slot is the number of a chunk in the segment."""

    rows: NDArray[np.int64]
    documents: NDArray[np.int64]
    languages: NDArray[np.int8]
    is_live: NDArray[np.bool_]
    title: _Field
    body: _Field
    forms: _Field
    sparse: _Field

    @cached_property
    def live_count(self) -> int:
        """Number of live chunks."""
        return int(self.is_live.sum())

    @cached_property
    def stem_counts(self) -> dict[str, int]:
        """Number of stems in the live chunks, by field."""
        return {
            name: int(self.get_field(name).lengths[self.is_live].sum())
            for name in ("title", "body", "forms", "sparse")
        }

    @cached_property
    def language_counts(self) -> NDArray[np.int64]:
        """Number of live chunks in each of `_LANGUAGES`."""
        import numpy as np

        return np.bincount(self.languages[self.is_live], minlength=len(_LANGUAGES))

    def get_field(self, name: str) -> _Field:
        """Return the field "title", "body", "forms" or "sparse"."""
        fields = {"title": self.title, "body": self.body, "forms": self.forms}
        return fields.get(name, self.sparse)

    def find_phrase(self, field: str, stems: Sequence[str]) -> _Postings:
        """Return the live chunks that contain adjacent `stems`, or a single one, in a field."""
        import numpy as np

        occurrence_slots = self.get_field(field).find_phrase(stems)
        first_occurrences = np.flatnonzero(np.diff(occurrence_slots, prepend=-1))
        slots = occurrence_slots[first_occurrences]
        frequencies = np.diff(first_occurrences, append=len(occurrence_slots))
        is_live = self.is_live[slots]
        return _Postings(slots[is_live], frequencies[is_live])

    def delete_rows(self, rows: Collection[int]) -> _Segment:
        """Return the segment without these rows. It shares all arrays but ``is_live``."""
        is_deleted = _is_any_of(self.rows, rows)
        return replace(self, is_live=self.is_live & ~is_deleted) if is_deleted.any() else self

    def delete_first_additions(self, counts: Mapping[int, int]) -> _Segment:
        """Return the segment without the chunks of a row in the first ``counts[row]`` slots."""
        import numpy as np

        deleted_slots = [
            slot for slot, row in enumerate(self.rows.tolist()) if slot < counts.get(row, 0)
        ]
        is_live = self.is_live.copy()
        is_live[np.array(deleted_slots, dtype=np.int64)] = False
        return replace(self, is_live=is_live)


class _SegmentBuilder:
    """Collects the chunks of a new segment."""

    def __init__(self) -> None:
        self.rows = array("q")
        self._documents = array("q")
        self._languages = array("b")
        self._title = _FieldBuilder()
        self._body = _FieldBuilder()
        self._forms = _FieldBuilder()
        self._sparse = _FieldBuilder()

    def add_entry(self, entry: StemmedEntry) -> None:
        """Add a chunk."""
        self.rows.append(entry.row)
        self._documents.append(entry.document)
        self._languages.append(_LANGUAGES.index(entry.language))
        self._title.add_text(entry.title)
        self._body.add_text(entry.body)
        self._forms.add_text(entry.forms)
        self._sparse.add_text(entry.sparse)

    def add_segment(self, segment: _Segment) -> None:
        """Add the live chunks of a segment."""
        is_live = segment.is_live
        self.rows.frombytes(segment.rows[is_live].tobytes())
        self._documents.frombytes(segment.documents[is_live].tobytes())
        self._languages.frombytes(segment.languages[is_live].tobytes())
        self._title.add_field(segment.title, is_live)
        self._body.add_field(segment.body, is_live)
        self._forms.add_field(segment.forms, is_live)
        self._sparse.add_field(segment.sparse, is_live)

    def build(self) -> _Segment:
        """Return the segment of these chunks."""
        import numpy as np

        return _Segment(
            np.array(self.rows, dtype=np.int64),
            np.array(self._documents, dtype=np.int64),
            np.array(self._languages, dtype=np.int8),
            np.ones(len(self.rows), dtype=np.bool_),
            self._title.build(),
            self._body.build(),
            self._forms.build(),
            self._sparse.build(),
        )


def _merge_small_segments(segments: Iterable[_Segment]) -> list[_Segment]:
    """Merge segments until each has more than `_MERGE_FACTOR` times the chunks of the next one.

    Their number then grows with the logarithm of the number of chunks, and so does the number of
    times that a chunk is written again. A segment with more deleted than live chunks is rewritten.
    """
    merged: list[_Segment] = []
    for segment in segments:
        group, chunk_count = [segment], segment.live_count
        if not chunk_count:
            continue
        while merged and merged[-1].live_count <= _MERGE_FACTOR * chunk_count:
            group.insert(0, merged.pop())
            chunk_count += group[0].live_count
        if len(group) > 1 or len(segment.rows) > 2 * chunk_count:
            builder = _SegmentBuilder()
            for part in group:
                builder.add_segment(part)
            segment = builder.build()
        merged.append(segment)
    return merged


def _list_languages(segments: Sequence[_Segment]) -> list[str]:
    """Return the languages of the live chunks, most frequent first."""
    counts = [sum(numbers) for numbers in zip(*(s.language_counts for s in segments), strict=True)]
    frequent_first = sorted(
        (-count, number) for number, count in enumerate(counts) if count
    )  # ties in the order of `_LANGUAGES`
    return [_LANGUAGES[number] for _, number in frequent_first]


class _Search:
    """One query to the segments of one commit, with the statistics of all their live chunks."""

    def __init__(self, segments: Sequence[_Segment]) -> None:
        self._segments = segments
        self._postings: dict[tuple[str, tuple[str, ...]], list[_Postings]] = {}
        self.chunk_count = sum(segment.live_count for segment in segments)

    def count_chunks(self, field: str, stem: str) -> int:
        """Return the number of chunks that have a stem in a field."""
        return sum(len(postings.slots) for postings in self._find_phrase(field, (stem,)))

    def list_stems(self, prefix: str) -> dict[str, int]:
        """Return the stems of the body that begin with `prefix`, with their numbers of chunks."""
        stems = {
            stem
            for segment in self._segments
            for stem in segment.body.stem_numbers
            if stem.startswith(prefix)
        }
        counts = {stem: self.count_chunks("body", stem) for stem in sorted(stems)}
        return {stem: count for stem, count in counts.items() if count}

    def _find_phrase(self, field: str, form: tuple[str, ...]) -> list[_Postings]:
        """Return the chunks with adjacent stems, or a single one, by segment."""
        if (field, form) not in self._postings:
            self._postings[field, form] = [
                segment.find_phrase(field, form) for segment in self._segments
            ]
        return self._postings[field, form]

    def run(
        self,
        query: LexicalQuery,
        *,
        rows: Collection[int] | None = None,
        documents: Collection[int] | None = None,
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return the rows and scores of all matching chunks, optionally only of some."""
        import numpy as np

        clauses = plan_query(
            query,
            _list_languages(self._segments),
            self.count_chunks,
            self.chunk_count,
            self.list_stems,
        )
        parts = [(np.empty(0, dtype=np.int64), np.empty(0))]
        for number, segment in enumerate(self._segments):
            scores, is_match = self._score_segment(number, clauses)
            if rows is not None:
                is_match &= _is_any_of(segment.rows, rows)
            if documents is not None:
                is_match &= _is_any_of(segment.documents, documents)
            parts.append((segment.rows[is_match], scores[is_match]))
        row_arrays, score_arrays = zip(*parts, strict=True)
        return np.concatenate(row_arrays), np.concatenate(score_arrays)

    def _score_segment(
        self, number: int, clauses: Iterable[Clause]
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Return the score of each chunk of a segment, and whether it matches a clause."""
        import numpy as np

        chunk_count = len(self._segments[number].rows)
        scores, is_match = np.zeros(chunk_count), np.zeros(chunk_count, dtype=np.bool_)
        for clause in clauses:
            if isinstance(clause, SparseClause):
                slots = self._find_phrase("sparse", (clause.term,))[number].slots
                scores[slots] += clause.score
                is_match[slots] = True
                continue
            best_scores = np.zeros(chunk_count)
            for field, form, weight in self._weigh_forms(clause):
                postings = self._find_phrase(field, form)[number]
                form_scores = self._score_postings(number, field, postings, weight)
                slots = postings.slots
                best_scores[slots] = np.maximum(best_scores[slots], form_scores)
                is_match[slots] = True
            scores += best_scores
        return scores, is_match

    def _weigh_forms(
        self, clause: WordClause | PhraseClause
    ) -> Iterator[tuple[str, tuple[str, ...], float]]:
        """Yield field, stems and weight of each form. The weight includes BM25's idf.

        The idf of a phrase is the sum of those of its stems, as in Lucene and tantivy.
        """
        if isinstance(clause, WordClause):
            for stem, boost in clause.boosts.items():
                yield clause.field, (stem,), boost * self._compute_idf(clause.field, stem)
        else:
            for form in clause.forms:
                idf = sum(self._compute_idf("body", stem) for stem in form)
                yield "body", form, clause.boost * idf

    def _compute_idf(self, field: str, stem: str) -> float:
        return compute_idf(self.count_chunks(field, stem), self.chunk_count)

    def _score_postings(
        self, number: int, field: str, postings: _Postings, weight: float
    ) -> NDArray[np.float64]:
        """Return the BM25 scores of the chunks of `postings` (Robertson and Zaragoza, 2009)."""
        slots, frequencies = postings
        lengths = self._segments[number].get_field(field).lengths[slots]
        stem_count = sum(segment.stem_counts[field] for segment in self._segments)
        relative_lengths = lengths * (self.chunk_count / max(1, stem_count))
        saturation = _K1 * (1 - _B + _B * relative_lengths)
        scores: NDArray[np.float64] = weight * (_K1 + 1) * frequencies / (frequencies + saturation)
        return scores


def _is_any_of(numbers: NDArray[np.int64], values: Collection[int]) -> NDArray[np.bool_]:
    """Return for each number whether it is one of `values`."""
    import numpy as np

    return np.isin(numbers, np.fromiter(values, dtype=np.int64, count=len(values)))


def _is_in_sorted(numbers: NDArray[np.int32], values: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Return for each number whether it is one of the ascending `values`."""
    import numpy as np

    starts = np.searchsorted(values, numbers, side="left")
    return starts < np.searchsorted(values, numbers, side="right")
