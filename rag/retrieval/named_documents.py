"""Which documents a question names: by title, file name, company, product, year and the like.

The names of documents are their identity terms (`rag.ingestion.identity`). A name that few
documents have tells more. A question without such a name favours no document. A document counts
the more, the more chunks it has: a name in the only chunk of a document is found there anyway.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Collection, Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, NamedTuple

from rag.text.name_keys import MIN_STRONG_WEIGHT, QueryKey, is_year, list_query_keys
from rag.text.tokenization import STOP_WORDS, index_stems
from rag.types import FavouredDocument

if TYPE_CHECKING:
    from rag.index import Index
    from rag.stores.document_store import DocumentStore, NamedDocument

_MAX_DOCUMENTS_PER_NAME = 1_000
_MAX_SHARE_PER_NAME = 0.05  # of the documents; what more of them have is no name of a document
_MAX_SHARE_PER_FILE_NAME = 0.25  # the same, of a name of files or folders
_MIN_DOCUMENTS_PER_NAME = 8  # the limit in a small collection
_MIN_SCORE = 0.65  # sum of inverse document frequencies of the names of the best document
_MIN_SHARE = 0.3  # of the best score; a document with less is not favoured
_CANDIDATE_SHARE = 0.7  # of the best score; such documents are searched separately
_MAX_CANDIDATE_DOCUMENTS = 8
_MAX_LISTED = 8
_YEAR_SHARE = 0.5  # of the weight, for a question that names a year and nothing else
_MAX_YEARS_LATER = 2  # of a document that may have the figures of a year
_LATER_YEAR_SHARE = 0.5  # of the weight of the year itself
_SHORT_CHUNKS = 3  # a document with so many chunks or fewer has its names in its text


class NamedDocuments(NamedTuple):
    """The documents that a question names, with a score from 0 to 1, by document number."""

    scores: dict[int, float]
    names: dict[int, tuple[str, ...]]
    """The words of the question that name the document."""

    @property
    def candidates(self) -> list[int]:
        """The documents to search separately; none if too many are named alike."""
        best = max(self.scores.values(), default=0.0)
        numbers = [n for n, score in self.scores.items() if score >= _CANDIDATE_SHARE * best]
        return numbers if len(numbers) <= _MAX_CANDIDATE_DOCUMENTS else []

    def describe(self, uris: Mapping[int, str]) -> tuple[FavouredDocument, ...]:
        """Return the best documents for a trace; `uris` has the uris by number."""
        return tuple(
            FavouredDocument(uri=uris[number], score=score, names=self.names[number])
            for number, score in list(self.scores.items())[:_MAX_LISTED]
            if number in uris
        )


NO_NAMED_DOCUMENTS = NamedDocuments({}, {})


def find_named_documents(
    query: str, index: Index, today: datetime.date | None = None
) -> NamedDocuments:
    """Return the documents that `query` names, the best first.

    "Last year" is that before `today` (default: the date of the system).
    """
    day = today or datetime.date.today()
    return index.cache_result(
        f"named {day.year} {query}", lambda: _find_named_documents(query, index, day)
    )


def _find_named_documents(query: str, index: Index, today: datetime.date) -> NamedDocuments:
    store = index.document_store
    document_count = store.document_count()
    if document_count < 2:
        return NO_NAMED_DOCUMENTS
    query_keys = list_query_keys(query, today)
    by_key = _find_documents(query_keys, store, document_count)
    names = _choose_names(query_keys, by_key, index)
    # A year tells the documents of a company apart. By itself, it names all documents of the year.
    if any(not is_year(name.key) for name in names):
        refining_names = [name for name in names if is_year(name.key)]
        names = [name for name in names if not is_year(name.key)]
    else:
        refining_names = []
    if not names:
        return NO_NAMED_DOCUMENTS
    refining_names += [
        k for k in query_keys if k.is_name and k.key not in by_key and k.end - k.first < 2
    ]
    numbers = {number for name in names for number in by_key[name.key]}
    if refining_names:
        keys = [name.key for name in refining_names]
        refined = store.find_named_documents(keys, limit=len(numbers), documents=numbers)
        refined |= _find_following_years(refining_names, refined, store, numbers)
        by_key = {name.key: by_key[name.key] for name in names} | refined
        names += [name for name in refining_names if name.key in by_key]
    return _score_documents(names, by_key, document_count)


def _find_following_years(
    names: Sequence[QueryKey],
    by_key: Mapping[str, Mapping[int, NamedDocument]],
    store: DocumentStore,
    numbers: Collection[int],
) -> dict[str, dict[int, NamedDocument]]:
    """Return, for each year that none of the documents has, those of the next year that some have.

    A report shows the figures of the years before it.
    """
    following: dict[str, dict[int, NamedDocument]] = {}
    for name in names:
        if not is_year(name.key) or name.key in by_key:
            continue
        for year in range(int(name.key) + 1, int(name.key) + _MAX_YEARS_LATER + 1):
            by_year = store.find_named_documents([str(year)], limit=len(numbers), documents=numbers)
            if documents := by_year.get(str(year)):
                following[name.key] = {
                    number: document._replace(weight=_LATER_YEAR_SHARE * document.weight)
                    for number, document in documents.items()
                }
                break
    return following


def _find_documents(
    query_keys: Sequence[QueryKey], store: DocumentStore, document_count: int
) -> dict[str, dict[int, NamedDocument]]:
    """Return the documents by the keys in the question that few documents have.

    If a key is the name of files or folders, documents that only mention it do not count.
    """
    keys = [query_key.key for query_key in query_keys]
    by_key = store.find_named_documents(
        keys,
        limit=_limit_documents(document_count, _MAX_SHARE_PER_FILE_NAME),
        min_weight=MIN_STRONG_WEIGHT,
    )
    other_keys = [key for key in keys if key not in by_key]
    return by_key | store.find_named_documents(
        other_keys, limit=_limit_documents(document_count, _MAX_SHARE_PER_NAME)
    )


def _limit_documents(document_count: int, share: float) -> int:
    limit = max(_MIN_DOCUMENTS_PER_NAME, int(document_count * share))
    return min(limit, _MAX_DOCUMENTS_PER_NAME, document_count // 2)


def _choose_names(
    query_keys: Sequence[QueryKey],
    by_key: Mapping[str, Mapping[int, NamedDocument]],
    index: Index,
) -> list[QueryKey]:
    """Return the names in the question; a word is part of one name, the longest."""
    names: list[QueryKey] = []
    used_positions: set[int] = set()
    for query_key in query_keys:
        positions = range(query_key.first, query_key.end)
        documents = by_key.get(query_key.key)
        if documents is None or not query_key.is_name or not used_positions.isdisjoint(positions):
            continue
        if query_key.text.lower() in STOP_WORDS or _is_short_number(query_key.key):
            continue
        if positions and not _is_distinctive(query_key, documents, index):
            continue
        names.append(query_key)
        used_positions.update(positions)
    return names


def _is_short_number(key: str) -> bool:
    """Whether a key is a number that is more often a count than a name."""
    return key.isdecimal() and len(key) < 4


def _is_distinctive(
    query_key: QueryKey, documents: Mapping[int, NamedDocument], index: Index
) -> bool:
    """Whether the rarest word occurs mostly in the documents that it names, not everywhere."""
    if all(document.weight >= MIN_STRONG_WEIGHT for document in documents.values()):
        return True
    languages = index.lexical.languages() or [""]
    word_stems = index_stems(query_key.text, languages[0])
    if not word_stems:
        return True
    idf = max(map(index.lexical.inverse_document_frequency, word_stems))
    chunk_count = _count_chunks(idf, index.lexical.count())
    own_count = sum(document.chunks for document in documents.values())
    return chunk_count <= own_count


def _count_chunks(idf: float, total: int) -> float:
    """Return the number of chunks with a word, from its inverse document frequency."""
    if not idf:
        return 0.0
    odds = math.exp(idf) - 1
    return max(0.0, (total + 0.5 - 0.5 * odds) / (1 + odds))


def _score_documents(
    names: Sequence[QueryKey],
    by_key: Mapping[str, Mapping[int, NamedDocument]],
    document_count: int,
) -> NamedDocuments:
    scores: dict[int, float] = {}
    year_scores: dict[int, float] = {}
    texts: dict[int, list[str]] = {}
    total_idf = max_year_idf = 0.0
    for name in names:
        documents = by_key[name.key]
        idf = math.log(document_count / len(documents))
        if is_year(name.key):
            max_year_idf = max(max_year_idf, idf)
        else:
            total_idf += idf
        strong_weight = fmean(document.weight for document in documents.values())
        for number, document in documents.items():
            weight = document.weight if is_year(name.key) else strong_weight
            if document.weight < MIN_STRONG_WEIGHT:
                weight = document.weight * max(0.0, 1 - _SHORT_CHUNKS / max(document.chunks, 1))
            if not weight:
                continue
            texts.setdefault(number, []).append(name.text)
            if is_year(name.key):  # a document is of one year, even if it mentions others
                year_scores[number] = max(year_scores.get(number, 0.0), idf * weight)
            else:
                scores[number] = scores.get(number, 0.0) + idf * weight
    for number, score in year_scores.items():
        scores[number] = scores.get(number, 0.0) + score
    best = max(scores.values(), default=0.0)
    if best < _MIN_SCORE:
        return NO_NAMED_DOCUMENTS
    total_idf = total_idf + max_year_idf if total_idf else max_year_idf / _YEAR_SHARE
    ranked = sorted(scores.items(), key=lambda item: (-item[1], item[0]))
    favoured = {number: score / total_idf for number, score in ranked if score >= _MIN_SHARE * best}
    return NamedDocuments(favoured, {number: tuple(texts[number]) for number in favoured})
