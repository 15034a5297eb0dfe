"""The contract of lexical indexes, and their queries."""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from typing import ClassVar, NamedTuple

from rag.stores.location import DerivedStoreConfig, StoreLocation
from rag.text.tokenization import detect_language, stems, words

_LANGUAGE_SAMPLE_CHUNKS = 16  # first chunks of a document, to detect its language
_QUOTED_PHRASE = re.compile(r'"([^"]+)"|“([^”]+)”|„([^“”]+)[“”]|«([^»]+)»|「([^」]+)」')


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
    power ``1 + rarity``, where plain BM25 has the power 1. ``expansion`` are additional (stem,
    share) pairs, for example of pseudo-relevance feedback; together they have ``expansion_share``
    (0..1) of the weight of the query.
    """

    text: str
    title_weight: float = 0.25
    rarity: float = 0.35
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

    @abstractmethod
    def commit(self) -> None:
        """Make additions and deletions durable, and visible to this process."""

    @abstractmethod
    def search(
        self, query: BM25Query, k: int, documents: Collection[int] | None = None
    ) -> list[tuple[int, float]]:
        """Return up to `k` best (row, score), best first; with `documents`, only of these.

        A chunk matches if it contains a word, a phrase or an expansion stem of the query.
        """

    @abstractmethod
    def scores(self, query: BM25Query, rows: Sequence[int]) -> dict[int, float]:
        """Return the scores of these rows, without those that do not match the query."""

    @abstractmethod
    def inverse_document_frequency(self, stem: str) -> float:
        """Return the inverse document frequency of a stem in the body; 0 if no chunk has it."""

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

    ``title`` has the stems of title and headings, ``body`` those of title, headings and text.
    """

    row: int
    document: int
    language: str
    title: list[str]
    body: list[str]


def stem_entries(entries: Iterable[LexicalEntry]) -> Iterable[StemmedEntry]:
    """Stem chunks in the language of their document. Chunks of a document must be adjacent."""
    for document, group in groupby(entries, key=attrgetter("document")):
        chunks = list(group)
        language = detect_language("\n".join(c.text for c in chunks[:_LANGUAGE_SAMPLE_CHUNKS]))
        stemmed_headings: dict[str, list[str]] = {}
        for row, _, heading_context, text in chunks:
            if heading_context not in stemmed_headings:
                stemmed_headings[heading_context] = list(stems(heading_context, language))
            headings = stemmed_headings[heading_context]
            yield StemmedEntry(
                row, document, language or "", headings, [*headings, *stems(text, language)]
            )


class WordClause(NamedTuple):
    """A word to search for in one field: its stems, each with a boost of its BM25 score.

    The best of the stems counts.
    """

    field: str
    boosts: dict[str, float]


class PhraseClause(NamedTuple):
    """Adjacent stems to search for in the field ``body``, in several forms; the best counts."""

    forms: tuple[tuple[str, ...], ...]


def plan_query(
    query: BM25Query,
    languages: Sequence[str],
    count_chunks: Callable[[str, str], int],
    chunk_count: int,
) -> list[WordClause | PhraseClause]:
    """Translate a query to clauses whose BM25 scores are added. Empty: no chunk can match.

    `count_chunks` returns the number of chunks that have a stem in a field ("title" or "body").
    """
    planner = _QueryPlanner(query, count_chunks, chunk_count)
    text = "" if query.has_only_phrases else query.text
    for forms, count in Counter(_stem_forms(text, languages)).items():
        planner.add_word(forms, count)
    for phrase in query.phrases:
        planner.add_phrase({tuple(stems(phrase, language)) for language in languages})
    if text:
        planner.add_expansion()
    return planner.clauses


def compute_idf(matching: int, total: int) -> float:
    """Return BM25's inverse document frequency of a stem in `matching` of `total` chunks.

    With 1 added in the logarithm, as in Lucene and tantivy, so that it is never negative.
    """
    matching = min(matching, total)
    return math.log(1 + (total - matching + 0.5) / (matching + 0.5))


def _stem_forms(text: str, languages: Sequence[str]) -> list[tuple[str, ...]]:
    """Return the distinct stems of each word in these languages."""
    stemmed = [stems(text, language) for language in languages]
    return [tuple(dict.fromkeys(forms)) for forms in zip(*stemmed, strict=True)]


class _QueryPlanner:
    """Collects the clauses of a query."""

    def __init__(
        self, query: BM25Query, count_chunks: Callable[[str, str], int], chunk_count: int
    ) -> None:
        self._query = query
        self._count_chunks = count_chunks
        self._chunk_count = chunk_count
        self.clauses: list[WordClause | PhraseClause] = []
        self._total_weight = 0.0

    def add_word(self, forms: Sequence[str], count: int) -> None:
        """Search for a word that is `count` times in the query, in any of its stem forms.

        The inverse document frequency is that of all forms together. Otherwise a form that only
        one chunk has, because its language was detected wrongly, would outweigh all others.
        """
        weight = count * self._compute_combined_idf(forms) ** self._query.rarity
        self._total_weight += weight
        for field, share in (("body", 1.0), ("title", self._query.title_weight)):
            self._add_best_of(field, forms, weight * share)

    def _compute_combined_idf(self, forms: Sequence[str]) -> float:
        matching = sum(self._count_chunks("body", form) for form in forms)
        return compute_idf(matching, self._chunk_count) if matching else 0.0

    def _add_best_of(self, field: str, forms: Sequence[str], weight: float) -> None:
        counts = {form: self._count_chunks(field, form) for form in forms}
        combined_idf = compute_idf(sum(counts.values()), self._chunk_count)
        boosts = {
            form: weight * combined_idf / compute_idf(count, self._chunk_count)
            for form, count in counts.items()
            if count
        }
        if boosts and weight > 0:
            self.clauses.append(WordClause(field, boosts))

    def add_phrase(self, forms: Iterable[tuple[str, ...]]) -> None:
        """Search for adjacent words, in any of the stem forms of the phrase.

        A match adds to the score of the single words. It is not required: quotes in a question
        are often titles and terms that the answer does not repeat.
        """
        if phrase_forms := tuple(form for form in sorted(forms) if form):
            self.clauses.append(PhraseClause(phrase_forms))

    def add_expansion(self) -> None:
        """Search for the expansion stems. Call it last: their weight depends on the words."""
        share_of_all = self._query.expansion_share
        expansion_weight = (self._total_weight or 1.0) * share_of_all / (1 - share_of_all)
        for stem, share in self._query.expansion:
            self.clauses.append(WordClause("body", {stem: expansion_weight * share}))
