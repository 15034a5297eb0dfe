"""Analysis of a document collection: topics, similar documents, duplicates and outliers.

The vector of a document is the mean of the vectors of its chunks: nothing is embedded again.
"""

from __future__ import annotations

import hashlib
import warnings
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rag.embedding.batched import normalize
from rag.errors import DocumentNotFound, MissingExtra
from rag.retrieval.base import to_hits
from rag.text.tokenization import STOP_WORDS, words
from rag.types import Hit

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from rag.filters import Where
    from rag.index import Index

_DOCUMENTS_PER_BLOCK = 1_000  # compared with all others in one matrix product
_MAX_DOCUMENTS_PER_RUN = 100  # a run of words in more documents is boilerplate
_MAX_TOPIC_TEXT_CHARACTERS = 20_000  # of a document, read to name its topic
_TERMS_PER_TOPIC = 8
_MIN_DOCUMENTS_FOR_COMMON_WORDS = 20  # in a smaller collection, no word counts as common
_COMMON_WORD_SHARE = 0.25  # of the documents
_MIN_SAMPLE_HASHES = 16


@dataclass(frozen=True, slots=True)
class DocumentVectors:
    """Documents of an index with their vectors: float32 ``[n, dimension]``, L2-normalised."""

    uris: tuple[str, ...]
    titles: tuple[str, ...]
    vectors: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Topic:
    """A cluster of documents, as positions in `DocumentVectors`, and its distinctive terms."""

    terms: tuple[str, ...]
    documents: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class DuplicatePair:
    """Two documents with common text.

    ``shared`` is the share of the shorter document that the other one contains (0..1).
    """

    first_uri: str
    second_uri: str
    shared: float


def more_like(index: Index, uri: str, *, k: int = 10, where: Where | None = None) -> list[Hit]:
    """Return the `k` documents most similar to the document `uri`, best first.

    Each document is represented by its nearest chunk. Raises `DocumentNotFound`.
    """

    def search() -> list[Hit]:
        rows = [stretch.row for stretch in index.document_store.outline(uri)]
        if not rows:
            raise DocumentNotFound(f"the index has no document {uri}", path=index.path, uri=uri)
        _, vectors = index.vectors_of_rows(rows)
        mean = normalize(vectors.mean(axis=0, keepdims=True))[0]
        chunk_count = k + len(rows)
        while True:
            ranking = index.search_dense(mean, chunk_count, where)
            hits = to_hits(index, ranking, {"dense": ranking})
            best_hits: dict[str, Hit] = {}
            for hit in hits:
                if hit.chunk.uri != uri:
                    best_hits.setdefault(hit.chunk.uri, hit)
            if len(best_hits) >= k or len(ranking) < chunk_count:
                return list(best_hits.values())[:k]
            chunk_count *= 4

    return index.read_consistent(search)


def load_document_vectors(index: Index) -> DocumentVectors:
    """Return all documents of `index` that have chunks, with their vectors."""
    import numpy as np

    documents = [(info.uri, info.title) for info in index.document_store.documents()]
    uris, titles, means = [], [], []
    for uri, title in sorted(documents):
        rows = [stretch.row for stretch in index.document_store.outline(uri)]
        stored_rows, vectors = index.vectors_of_rows(rows)
        if stored_rows:
            uris.append(uri)
            titles.append(title)
            means.append(vectors.mean(axis=0))
    matrix = np.array(means, dtype=np.float32).reshape(len(means), index.embedder.dimension)
    return DocumentVectors(tuple(uris), tuple(titles), normalize(matrix))


def find_topics(
    index: Index, documents: DocumentVectors, *, count: int | None = None
) -> list[Topic]:
    """Cluster the documents with k-means of their vectors; return the largest topic first.

    `count` defaults to the square root of half the number of documents, from 2 to 30. The terms of
    a topic are chosen by class-based TF-IDF (Grootendorst, 2022): frequent in it, rare in others.
    """
    document_count = len(documents.uris)
    if not document_count:
        return []
    count = min(document_count, count or max(2, min(30, round((document_count / 2) ** 0.5))))
    labels = _cluster(documents.vectors, count)
    members: dict[int, list[int]] = {}
    for i, label in enumerate(labels):
        members.setdefault(label, []).append(i)
    groups = sorted(members.values(), key=lambda group: (-len(group), group))
    bags = [[_count_terms(index, documents.uris[i]) for i in group] for group in groups]
    terms = find_distinctive_terms(bags)
    return [Topic(tuple(t), tuple(group)) for t, group in zip(terms, groups, strict=True)]


def _cluster(vectors: NDArray[np.float32], count: int) -> list[int]:
    try:
        from sklearn.cluster import KMeans
    except ModuleNotFoundError:
        raise MissingExtra.of("map", "the map") from None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # KMeans warns about fewer distinct documents than clusters
        return [int(i) for i in KMeans(count, n_init=4, random_state=0).fit_predict(vectors)]


def _count_terms(index: Index, uri: str) -> Counter[str]:
    try:
        text = index.document_store.text(uri, 0, _MAX_TOPIC_TEXT_CHARACTERS)
    except DocumentNotFound:
        return Counter()
    return Counter(w for w in words(text) if w not in STOP_WORDS and _is_term(w))


def _is_term(word: str) -> bool:
    return not word[0].isdigit() and (len(word) > 2 or not word.isascii())


def find_distinctive_terms(
    groups: Sequence[Sequence[Counter[str]]], count: int = _TERMS_PER_TOPIC
) -> list[list[str]]:
    """Return the words that distinguish each group of documents from the others, best first.

    Words are ranked by class-based TF-IDF. In a collection of at least 20 documents, a word that
    occurs in more than a quarter of them and in most groups is common in any language: it ranks
    last.
    """
    import math

    document_counts: Counter[str] = Counter()
    for group in groups:
        for document in group:
            document_counts.update(document.keys())
    document_total = sum(map(len, groups))
    bags = [sum(group, Counter()) for group in groups]
    common_words = {
        word
        for word, document_count in document_counts.items()
        if document_total >= _MIN_DOCUMENTS_FOR_COMMON_WORDS
        and document_count > document_total * _COMMON_WORD_SHARE
        and sum(word in bag for bag in bags) > 2 / 3 * len(bags)
    }
    totals: Counter[str] = sum(bags, Counter())
    mean_size = sum(totals.values()) / max(1, len(bags))
    terms = []
    for bag in bags:
        size = sum(bag.values()) or 1
        weights = {w: n / size * math.log(1 + mean_size / totals[w]) for w, n in bag.items()}
        terms.append(sorted(weights, key=lambda w: (w in common_words, -weights[w], w))[:count])
    return terms


def find_duplicates(index: Index, *, shared: float = 0.8, run: int = 4) -> list[DuplicatePair]:
    """Return pairs of documents with common text, the largest share first.

    A pair shares at least `shared` (0..1) of the runs of `run` words of the shorter document.
    Candidate pairs are found by a sample of the runs' hashes (as in Broder, 1997). Runs that occur
    in more than 100 documents are boilerplate and are not used to find candidates. Exact copies
    are paired with the first of them only.
    """
    from rag.postprocessing.deduplicate import overlap_share, word_runs

    uris = sorted(info.uri for info in index.document_store.documents())
    first_copy: dict[str, int] = {}
    pairs: list[DuplicatePair] = []
    samples: dict[int, frozenset[int]] = {}
    holders: dict[int, list[int]] = {}
    for i, uri in enumerate(uris):
        text = _read_text(index, uri)
        original = first_copy.setdefault(hashlib.sha256(text.encode()).hexdigest(), i)
        if original != i:
            if text.strip():
                pairs.append(DuplicatePair(uris[original], uri, 1.0))
            continue
        samples[i] = _sample_hashes(word_runs(text, run))
        for run_hash in samples[i]:
            holders.setdefault(run_hash, []).append(i)
    for i, sample in samples.items():
        common_hash_counts = Counter(
            j
            for run_hash in sample
            if len(holders[run_hash]) <= _MAX_DOCUMENTS_PER_RUN
            for j in holders[run_hash]
            if j < i
        )
        for j, common_count in sorted(common_hash_counts.items()):
            # The sample estimates the share: half of it leaves room for its error.
            if common_count < shared / 2 * min(len(sample), len(samples[j])):
                continue
            first_runs, second_runs = (word_runs(_read_text(index, uris[n]), run) for n in (j, i))
            share = overlap_share(first_runs, second_runs)
            if share >= shared:
                pairs.append(DuplicatePair(uris[j], uris[i], share))
    return sorted(pairs, key=lambda pair: (-pair.shared, pair.first_uri, pair.second_uri))


def _read_text(index: Index, uri: str) -> str:
    try:
        return index.document_store.document(uri).text
    except DocumentNotFound:  # deleted since it was listed
        return ""


def _sample_hashes(runs: frozenset[tuple[str, ...]]) -> frozenset[int]:
    """Return an eighth of the runs' hashes (those divisible by 8) and always the 16 lowest."""
    hashes = sorted(zlib.crc32(" ".join(run).encode()) for run in runs)
    return frozenset([*hashes[:_MIN_SAMPLE_HASHES], *(value for value in hashes if value % 8 == 0)])


def find_outliers(
    documents: DocumentVectors, *, count: int = 10, neighbours: int = 5
) -> list[tuple[str, float]]:
    """Return the documents that are least similar to the others, the least similar first.

    Each is a uri with the mean cosine similarity to its nearest `neighbours`.
    """
    import numpy as np

    document_count = len(documents.uris)
    if document_count < 2:
        return []
    neighbours = min(neighbours, document_count - 1)
    means = np.zeros(document_count)
    for start in range(0, document_count, _DOCUMENTS_PER_BLOCK):
        block = documents.vectors[start : start + _DOCUMENTS_PER_BLOCK] @ documents.vectors.T
        for i in range(len(block)):
            block[i, start + i] = -1  # a document is not its own neighbour
        nearest = np.partition(block, -neighbours, axis=1)[:, -neighbours:]
        means[start : start + len(block)] = nearest.mean(axis=1)
    order = np.argsort(means, kind="stable")[:count]
    return [(documents.uris[i], float(means[i])) for i in order]
