"""The contract of lexical indexes, and their queries."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from typing import ClassVar, NamedTuple

from rag.call_context import check_limits
from rag.embedding.sparse import SparseEncoder, SparseVector
from rag.stores.location import DerivedStoreConfig, StoreLocation
from rag.text.spellings import (
    list_forms,
    list_pieces,
)
from rag.text.tokenization import detect_language, index_stems, words

_LANGUAGE_SAMPLE_CHUNKS = 16  # first chunks of a document, to detect its language
_SPARSE_BITS = 7
_SPARSE_STEP = 1 / 32
_MAX_SPARSE_WEIGHT = 4.0
_QUOTED_PHRASE = re.compile(r'"([^"]++)"|“([^“”]++)”|„([^„“”]++)[“”]|«([^«»]++)»|「([^「」]++)」')


class LexicalIndexConfig(DerivedStoreConfig):
    """Configuration of a lexical index: the component that a pipeline names."""

    kind: ClassVar[str] = "lexical_index"

    @abstractmethod
    def open(self, location: StoreLocation) -> LexicalIndex:
        """Open the index. Raises `IndexDamaged` if its storage is missing or broken."""


class LexicalEntry(NamedTuple):
    """What a lexical index stores of a chunk: its row, its document's number, and its texts."""

    row: int
    document: int
    heading_context: str
    text: str


@dataclass(frozen=True, slots=True)
class BM25Query:
    """A query to the lexical index.

    ``title_weight`` is the weight of a match in title and headings, added to the weight 1 of a
    match in the whole text. Rare words weigh more: by their inverse document frequency to the
    power ``1 + rarity``, where plain BM25 has the power 1. English stop words count
    ``stop_word_weight`` times as much: in a small index they are rare. ``spelling_weight`` is the
    weight of the joined forms of the query (`rag.text.spellings`), ``typo_weight`` that of the
    known words for which an unknown word may be a misspelling, ``synonym_weight`` that of words of
    the same meaning (`rag.text.synonyms`); 0 turns them off. ``expansion`` are
    additional (stem, share) pairs, for example of pseudo-relevance feedback; together they have
    ``expansion_share`` (0..1) of the weight of the query.
    """

    text: str
    title_weight: float = 0.25
    rarity: float = 0.35
    stop_word_weight: float = 0.3
    spelling_weight: float = 0.5
    typo_weight: float = 0.7
    synonym_weight: float = 0.3
    expansion: tuple[tuple[str, float], ...] = ()
    expansion_share: float = 0.0

    @property
    def has_only_phrases(self) -> bool:
        """Whether all words of the query are in quotes."""
        unquoted_text = _QUOTED_PHRASE.sub(" ", self.text)
        return not words(unquoted_text) and any(map(words, self.phrases))

    @property
    def phrases(self) -> list[str]:
        """Phrases in quotes, without the quotes."""
        return [next(filter(None, match.groups())) for match in _QUOTED_PHRASE.finditer(self.text)]


@dataclass(frozen=True, slots=True)
class SparseQuery:
    """A query by learned token weights (`rag.embedding.sparse`), as (token, weight) pairs.

    The score of a chunk is the inner product with its vector. Only for an index whose
    `sparse_encoder` is not None.
    """

    weights: tuple[tuple[str, float], ...]


LexicalQuery = BM25Query | SparseQuery


class LexicalIndex(ABC):
    """BM25 search by chunk row, over the texts of the document store.

    The score of a chunk is the sum over the clauses of `plan_query`. A `WordClause` has the BM25
    score of its best stem, times the boost; a `PhraseClause` that of its best form, whose inverse
    document frequency is the sum of those of its stems. BM25 has ``k1`` 1.2 and ``b`` .75, and the
    length of the field. A row that was added twice may be found twice.

    A row is the number of a chunk in the document store; it is never used again for another
    chunk. Each document is stemmed in its language (see `rag.text.tokenization`), and a query in
    every language of the index (`languages`); if the stems of a word differ, the best match
    counts. `stem_entries` and `plan_query` do this for every implementation. Threads may share an
    index; one process writes at a time, and others read meanwhile. Every method may raise
    `IndexDamaged`, and `IndexUnreachable` if a server does not answer.
    """

    @abstractmethod
    def add(self, entries: Iterable[LexicalEntry]) -> None:
        """Add chunks. They are found after `commit`.

        Chunks of one document are adjacent: its language is detected from them together.
        """

    @abstractmethod
    def delete(self, rows: Sequence[int]) -> None:
        """Remove chunk rows, also those added since the last commit. They are found until `commit`.

        Unknown rows are ignored.
        """

    def replace_all(self, entries: Iterable[LexicalEntry]) -> None:
        """Remove all chunks and add these. Searches see the old ones until `commit`."""
        self.delete(self.rows())
        self.add(entries)

    @abstractmethod
    def commit(self) -> None:
        """Make additions and deletions durable, and visible to this process."""

    @abstractmethod
    def search(
        self, query: LexicalQuery, k: int, documents: Collection[int] | None = None
    ) -> list[tuple[int, float]]:
        """Return up to `k` best (row, score), best first; with `documents`, only of these.

        A chunk matches if it contains a word, a phrase or an expansion stem of the query, or a
        token of a sparse query.
        """

    @abstractmethod
    def scores(self, query: LexicalQuery, rows: Sequence[int]) -> dict[int, float]:
        """Return the scores of these rows, without those that do not match the query."""

    @abstractmethod
    def inverse_document_frequency(self, stem: str) -> float:
        """Return the inverse document frequency of a stem in the body; 0 if no chunk has it."""

    def list_stems(self, prefix: str) -> Mapping[str, int]:
        """Return the stems of the body that begin with `prefix`, with their numbers of chunks.

        The default returns none; then words with two typos are not recognised.
        """
        return {}

    @property
    def sparse_encoder(self) -> SparseEncoder | None:
        """The encoder of the sparse vectors of all chunks; None, the default, if it has none."""
        return None

    @property
    def is_outdated(self) -> bool:
        """Whether the storage lacks a field: an earlier version or another encoder wrote it.

        It can be searched. The next ingest fills a new one from the document store.
        """
        return False

    @property
    def deleted_count(self) -> int:
        """Number of removed chunks that still affect scores; 0, the default, if none can.

        If there are many, the writer calls `replace_all`.
        """
        return 0

    @abstractmethod
    def languages(self) -> list[str]:
        """Return the languages of the chunks, that of most chunks first; "" for unstemmed chunks.

        Languages of equally many chunks have any order.
        """

    @abstractmethod
    def rows(self) -> list[int]:
        """Return the rows of all chunks. A row that was added twice is listed twice."""

    def count(self) -> int:
        """Return the number of chunk rows."""
        return len(self.rows())

    def refresh(self, generation: int) -> None:  # noqa: B027 (most see writes at once)
        """Make reads and writes see what other processes wrote up to `generation`.

        The index calls it before searches and before the first write.
        """

    def end_writing(self) -> None:  # noqa: B027
        """Release what only writes need. Changes that are not committed are lost."""

    def storage_exists(self) -> bool:
        """Whether the storage that was opened still exists. Checked before each write session.

        Override it if the store has files. Return False if they were deleted.
        """
        return True

    def close(self) -> None:  # noqa: B027
        """Release files and connections. Called more than once."""


class StemmedEntry(NamedTuple):
    """A chunk to index: its row, its document, its language, and the stems of its fields.

    ``title`` has the stems of title and headings. ``body`` has those of title, headings and text,
    and those of the parts of words such as ``parseConfig``. ``forms`` has the joined forms of
    title, headings and text (`rag.text.spellings`). ``sparse`` has the terms of the sparse vector
    (`list_sparse_terms`).
    """

    row: int
    document: int
    language: str
    title: list[str]
    body: list[str]
    forms: list[str]
    sparse: list[str]


def stem_entries(
    entries: Iterable[LexicalEntry], encoder: SparseEncoder | None = None
) -> Iterable[StemmedEntry]:
    """Stem chunks in the language of their document. Chunks of a document must be adjacent.

    With `encoder`, their sparse vectors are computed, too. It may raise `EmbeddingError`.
    """
    for document, group in groupby(entries, key=attrgetter("document")):
        chunks = list(group)
        language = detect_language("\n".join(c.text for c in chunks[:_LANGUAGE_SAMPLE_CHUNKS]))
        stemmed_headings: dict[str, list[str]] = {}
        full_texts = [f"{chunk.heading_context}\n{chunk.text}" for chunk in chunks]
        vectors = encoder.encode_documents(full_texts) if encoder else [{} for _ in chunks]
        for chunk, full_text, vector in zip(chunks, full_texts, vectors, strict=True):
            check_limits()
            row, _, heading_context, text = chunk
            if heading_context not in stemmed_headings:
                stemmed_headings[heading_context] = list(index_stems(heading_context, language))
            headings = stemmed_headings[heading_context]
            pieces = index_stems("\n".join(list_pieces(full_text)), language)
            body = [*headings, *index_stems(text, language), *pieces]
            yield StemmedEntry(
                row,
                document,
                language or "",
                headings,
                body,
                list_forms(full_text),
                list_sparse_terms(vector),
            )


def list_sparse_terms(vector: SparseVector) -> list[str]:
    """Return the terms that represent a sparse vector in an inverted index.

    A weight is rounded to a multiple of 1/32 below 4. Each binary digit that is set is one term, so
    the sum over the terms of a token is its weight: see `weigh_sparse_terms`.
    """
    terms = []
    for token, weight in vector.items():
        if not weight > 0:  # also no number
            continue
        level = min(2**_SPARSE_BITS - 1, round(min(weight, _MAX_SPARSE_WEIGHT) / _SPARSE_STEP))
        terms += [_sparse_term(bit, token) for bit in range(_SPARSE_BITS) if level >> bit & 1]
    return terms


def weigh_sparse_terms(query: SparseQuery) -> dict[str, float]:
    """Return the score that each term of a chunk's sparse vector adds."""
    return {
        _sparse_term(bit, token): weight * _SPARSE_STEP * 2**bit
        for token, weight in query.weights
        for bit in range(_SPARSE_BITS)
    }


def _sparse_term(bit: int, token: str) -> str:
    return f"{bit}:{'▁'.join(token.split())}"
