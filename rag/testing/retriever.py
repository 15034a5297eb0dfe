"""The contract of retrievers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, ClassVar
from unittest import SkipTest

from rag.component import Component
from rag.filters import F, Where
from rag.retrieval.base import Retriever
from rag.testing.base import PartContract
from rag.testing.calls import call_from_threads
from rag.testing.samples import (
    BLANK_TEXTS,
    HOSTILE_TEXTS,
    SAMPLE_TOPICS,
    make_sample_documents,
    open_sample_index,
)
from rag.types import Document, Hit

if TYPE_CHECKING:
    from rag.embedding import Embedder
    from rag.index import Index

QUERY = "battery propeller camera fly drone inspection valve minutes"  # has a word of each document


class RetrieverContract(PartContract[Retriever]):
    """Checks of `rag.Retriever`: number and order of hits, filters, live chunks, hostile queries.

    Override `make_embedder` for a retriever that needs token vectors or another similarity. For a
    retriever that searches outside the index, override `make_index` so that the index has the same
    documents; checks of the content of the index are then skipped.
    """

    part_class: ClassVar[type[Component]] = Retriever

    def make_embedder(self) -> Embedder:
        """Return the embedder of the index; by default, the static embedder."""
        from rag.embedding import StaticEmbedder

        return StaticEmbedder()

    def make_index(self, *states: Sequence[Document]) -> AbstractContextManager[Index]:
        """Return a context manager that opens an index in which each of `states` was ingested."""
        return open_sample_index(self.make_embedder(), *states)

    def test_number_of_hits_is_at_most_k(self) -> None:
        """A search returns up to `k` hits, and some."""
        retriever = self.make_part()
        with self.make_index(make_sample_documents()) as index:
            for k in (1, 2, 5, 1_000):
                hits = retriever.retrieve(QUERY, k=k, index=index)
                assert 0 < len(hits) <= k, f"{len(hits)} hits for k={k}"

    def test_hits_are_sorted_and_unique(self) -> None:
        """The best hit is first, scores are finite, and no chunk occurs twice."""
        retriever = self.make_part()
        with self.make_index(make_sample_documents()) as index:
            for query in (QUERY, *SAMPLE_TOPICS.values()):
                _check_order(retriever.retrieve(query, k=50, index=index))

    def test_best_document_is_found(self) -> None:
        """A query with the words of a document has a hit in this document."""
        retriever = self.make_part()
        with self.make_index(make_sample_documents()) as index:
            for topic, text in SAMPLE_TOPICS.items():
                hits = retriever.retrieve(text, k=5, index=index)
                uris = [hit.chunk.uri for hit in hits]
                assert f"sample:{topic}" in uris, f"{text!r} has the hits {uris}"

    def test_chunks_are_those_of_the_index(self) -> None:
        """The text of a hit is the span of the stored document."""
        retriever = self._make_internal_part()
        with self.make_index(make_sample_documents()) as index:
            for hit in retriever.retrieve(QUERY, k=50, index=index):
                chunk = hit.chunk
                text = index.document_store.text(chunk.uri, chunk.start, chunk.end)
                assert text == chunk.text, f"{chunk.uri}[{chunk.start}:{chunk.end}] is inexact"

    def test_deleted_and_old_documents_have_no_hits(self) -> None:
        """Hits are in live documents: none in deleted ones, none in old versions."""
        retriever = self._make_internal_part()
        documents = make_sample_documents()
        old_text = SAMPLE_TOPICS["battery"]
        changed = documents[0].model_copy(update={"text": old_text.replace("34", "51")})
        with self.make_index(documents, [changed, *documents[2:]]) as index:
            for query in (QUERY, old_text, SAMPLE_TOPICS["propeller"]):
                for hit in retriever.retrieve(query, k=50, index=index):
                    assert hit.chunk.uri != "sample:propeller", "a hit in a deleted document"
                    assert "lasts 34 minutes" not in hit.chunk.text, "a hit in an old version"

    def test_filter_is_honoured(self) -> None:
        """All hits are in documents that the filter selects, and none is lost because of `k`."""
        retriever = self.make_part()
        filters: list[tuple[Where, set[str]]] = [
            ({"topic": "camera"}, {"sample:camera"}),
            ({"topic": ["camera", "battery"]}, {"sample:camera", "sample:battery"}),
            ((F("year") >= 2021) & (F("year") < 2023), {"sample:propeller", "sample:camera"}),
            ({"topic": "nothing"}, set()),
            ({"no_such_key": 1}, set()),
        ]
        with self.make_index(make_sample_documents()) as index:
            for where, expected_uris in filters:
                for k in (3, 50):
                    hits = retriever.retrieve(QUERY, k=k, index=index, where=where)
                    uris = {hit.chunk.uri for hit in hits}
                    assert uris <= expected_uris, f"{where}: hits in {uris - expected_uris}"
                    assert bool(uris) == bool(expected_uris), f"{where}: no hit with k={k}"

    def test_empty_filter_selects_everything(self) -> None:
        """No filter and an empty filter give equal hits."""
        retriever = self.make_part()
        with self.make_index(make_sample_documents()) as index:
            expected = retriever.retrieve(QUERY, k=5, index=index)
            assert retriever.retrieve(QUERY, k=5, index=index, where={}) == expected

    def test_query_without_a_word_has_no_hits(self) -> None:
        """A blank query and a query of punctuation have no hits."""
        retriever = self.make_part()
        with self.make_index(make_sample_documents()) as index:
            for query in (*BLANK_TEXTS, "?!", "...", '""'):
                hits = retriever.retrieve(query, k=5, index=index)
                assert hits == [], f"the query {query[:9]!r} has {len(hits)} hits"

    def test_hostile_query_raises_no_error(self) -> None:
        """Any text can be a query."""
        retriever = self.make_part()
        with self.make_index(make_sample_documents()) as index:
            for text in HOSTILE_TEXTS.values():
                hits = retriever.retrieve(text[:20_000], k=5, index=index)
                assert len(hits) <= 5, f"{len(hits)} hits for {text[:80]!r}"
                _check_order(hits)

    def test_empty_index_has_no_hits(self) -> None:
        """A search in an index without documents has no hits, and raises no error."""
        retriever = self._make_internal_part()
        with self.make_index([]) as index:
            assert retriever.retrieve(QUERY, k=5, index=index) == [], "hits in an empty index"

    def test_hits_are_the_same_in_every_run(self) -> None:
        """Two calls and two threads give equal hits."""
        retriever = self.make_part()
        with self.make_index(make_sample_documents()) as index:
            expected = retriever.retrieve(QUERY, k=10, index=index)
            assert retriever.retrieve(QUERY, k=10, index=index) == expected, "the second call"
            for hits in call_from_threads(lambda: retriever.retrieve(QUERY, k=10, index=index)):
                assert hits == expected, "two threads at once have other hits"

    def _make_internal_part(self) -> Retriever:
        retriever = self.make_part()
        if retriever.is_external:
            raise SkipTest("the retriever searches outside the index")
        return retriever


def _check_order(hits: Sequence[Hit]) -> None:
    scores = [hit.score for hit in hits]
    assert all(map(math.isfinite, scores)), f"the scores are {scores}"
    assert scores == sorted(scores, reverse=True), f"the scores are not sorted: {scores}"
    spans = [(hit.chunk.uri, hit.chunk.start, hit.chunk.end) for hit in hits]
    assert len(set(spans)) == len(spans), "a chunk is a hit twice"
    assert len({hit.chunk.id for hit in hits}) == len(hits), "two hits have one chunk id"
