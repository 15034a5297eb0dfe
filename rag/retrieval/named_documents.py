"""Which documents a question names: by title, file name, company, product, year and the like.

The names of documents are their identity terms (`rag.ingestion.identity`). A name that few
documents have tells more. A question without such a name favours no document. A document counts
the more, the more chunks it has: a name in the only chunk of a document is found there anyway.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from rag.text.name_keys import QueryKey, list_query_keys
from rag.text.tokenization import stems
from rag.types import FavouredDocument

if TYPE_CHECKING:
    from rag.index import Index
    from rag.stores.document_store import NamedDocument

_MAX_DOCUMENTS_PER_NAME = 1_000
_MAX_SHARE_PER_NAME = 0.05  # of the documents; what more of them have is no name of a document
_MIN_DOCUMENTS_PER_NAME = 8  # the limit in a small collection
_MIN_SCORE = 0.65  # sum of inverse document frequencies of the names of the best document
_MIN_SHARE = 0.3  # of the best score; a document with less is not favoured
_CANDIDATE_SHARE = 0.7  # of the best score; such documents are searched separately
_MAX_CANDIDATE_DOCUMENTS = 8
_MAX_LISTED = 8
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


def find_named_documents(query: str, index: Index) -> NamedDocuments:
    """Return the documents that `query` names, the best first."""
    return index.cache_result(f"named {query}", lambda: _find_named_documents(query, index))


def _find_named_documents(query: str, index: Index) -> NamedDocuments:
    store = index.document_store
    document_count = store.document_count()
    if document_count < 2:
        return NO_NAMED_DOCUMENTS
    limit = max(_MIN_DOCUMENTS_PER_NAME, int(document_count * _MAX_SHARE_PER_NAME))
    limit = min(limit, _MAX_DOCUMENTS_PER_NAME, document_count // 2)
    query_keys = list_query_keys(query)
    by_key = store.find_named_documents([k.key for k in query_keys], limit=limit)
    names = _choose_names(query_keys, by_key, index)
    if not names:
        return NO_NAMED_DOCUMENTS
    frequent_names = [
        k for k in query_keys if k.is_name and k.key not in by_key and k.end - k.first < 2
    ]
    numbers = {number for name in names for number in by_key[name.key]}
    if frequent_names:
        keys = [name.key for name in frequent_names]
        frequent = store.find_named_documents(keys, limit=len(numbers), documents=numbers)
        by_key = {**frequent, **by_key}
        names += [name for name in frequent_names if name.key in frequent]
    return _score_documents(names, by_key, document_count)


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
        if positions and not _is_distinctive(query_key, documents, index):
            continue
        names.append(query_key)
        used_positions.update(positions)
    return names


def _is_distinctive(
    query_key: QueryKey, documents: Mapping[int, NamedDocument], index: Index
) -> bool:
    """Whether the rarest word occurs mostly in the documents that it names, not everywhere."""
    languages = index.lexical.languages() or [""]
    word_stems = stems(query_key.text, languages[0])
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
    texts: dict[int, list[str]] = {}
    for name in names:
        documents = by_key[name.key]
        idf = math.log(document_count / len(documents))
        for number, document in documents.items():
            weight = document.weight * max(0.0, 1 - _SHORT_CHUNKS / max(document.chunks, 1))
            if weight:
                scores[number] = scores.get(number, 0.0) + idf * weight
                texts.setdefault(number, []).append(name.text)
    best = max(scores.values(), default=0.0)
    if best < _MIN_SCORE:
        return NO_NAMED_DOCUMENTS
    total_idf = sum(math.log(document_count / len(by_key[name.key])) for name in names)
    ranked = sorted(scores.items(), key=lambda item: (-item[1], item[0]))
    favoured = {number: score / total_idf for number, score in ranked if score >= _MIN_SHARE * best}
    return NamedDocuments(favoured, {number: tuple(texts[number]) for number in favoured})
