"""The contract of postprocessors and rerankers."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, ClassVar
from unittest import SkipTest

from rag.component import Component
from rag.postprocessing.base import Postprocessor, Reranker
from rag.testing.base import PartContract
from rag.testing.calls import call_from_threads
from rag.testing.samples import (
    BLANK_TEXTS,
    HOSTILE_TEXTS,
    make_sample_documents,
    open_sample_index,
)
from rag.types import Hit

if TYPE_CHECKING:
    from rag.embedding import Embedder
    from rag.index import Index

QUERY = "How long does the battery of the drone last?"


class PostprocessorContract(PartContract[Postprocessor]):
    """Checks of `rag.Postprocessor`: hits of the input only, exact chunks, order, no hits.

    Rerankers have more checks. A part with a scripted chat model needs about 200 equal replies.
    """

    part_class: ClassVar[type[Component]] = Postprocessor

    def make_embedder(self) -> Embedder:
        """Return the embedder of the index; by default, the static embedder."""
        from rag.embedding import StaticEmbedder

        return StaticEmbedder()

    def make_index(self) -> AbstractContextManager[Index]:
        """Return a context manager that opens the index of the hits."""
        return open_sample_index(self.make_embedder(), make_sample_documents())

    def sample_hits(self, index: Index) -> list[Hit]:
        """Return hits of the index, best first; by default, those of a hybrid search."""
        from rag.retrieval import HybridRetriever

        return HybridRetriever().retrieve(QUERY, k=15, index=index)

    def test_no_hits_give_no_hits(self) -> None:
        """Without hits, there is nothing to return, for any query."""
        postprocessor = self.make_part()
        with self.make_index() as index:
            for query in (QUERY, ""):
                assert postprocessor.process(query, [], index=index) == [], "hits from nothing"

    def test_hits_come_from_the_input(self) -> None:
        """Each hit is an input hit or overlaps one in its document; there are not more of them."""
        postprocessor = self.make_part()
        with self.make_index() as index:
            sample = self.sample_hits(index)
            hits = postprocessor.process(QUERY, sample, index=index)
            assert len(hits) <= len(sample), f"{len(hits)} hits from {len(sample)}"
            for hit in hits:
                assert any(_overlap(hit, other) for other in sample), f"a new hit: {hit.chunk}"

    def test_chunks_are_exact(self) -> None:
        """The text of a chunk is the span of the stored document; an id keeps its chunk."""
        postprocessor = self.make_part()
        with self.make_index() as index:
            sample = self.sample_hits(index)
            chunks = {hit.chunk.id: hit.chunk for hit in sample}
            for hit in postprocessor.process(QUERY, sample, index=index):
                chunk = hit.chunk
                text = index.document_store.text(chunk.uri, chunk.start, chunk.end)
                assert text == chunk.text, f"{chunk.uri}[{chunk.start}:{chunk.end}] is inexact"
                assert chunks.get(chunk.id, chunk) == chunk, "a changed chunk has the old id"

    def test_hits_are_unique_and_sorted(self) -> None:
        """No span occurs twice, scores are finite, and the best hit is first.

        A postprocessor that must be the last one, or that keeps the scores, may have another order.
        """
        postprocessor = self.make_part()
        with self.make_index() as index:
            sample = self.sample_hits(index)
            hits = postprocessor.process(QUERY, sample, index=index)
        spans = [(hit.chunk.uri, hit.chunk.start, hit.chunk.end) for hit in hits]
        assert len(set(spans)) == len(spans), "a span is a hit twice"
        scores = [hit.score for hit in hits]
        assert all(map(math.isfinite, scores)), f"the scores are {scores}"
        has_new_scores = not set(scores) <= {hit.score for hit in sample}
        if has_new_scores and not postprocessor.must_be_last:
            assert scores == sorted(scores, reverse=True), f"the scores are not sorted: {scores}"

    def test_input_is_not_changed(self) -> None:
        """The list of hits and the hits in it stay as they are."""
        postprocessor = self.make_part()
        with self.make_index() as index:
            sample = self.sample_hits(index)
            copies = [hit.model_copy(deep=True) for hit in sample]
            postprocessor.process(QUERY, sample, index=index)
            assert sample == copies, "the postprocessor changed its input"

    def test_unusual_hits_are_accepted(self) -> None:
        """One hit, equal scores, negative scores and the reversed order raise no error."""
        postprocessor = self.make_part()
        with self.make_index() as index:
            sample = self.sample_hits(index)
            equal = [hit.model_copy(update={"score": 0.0}) for hit in sample]
            negative = [
                hit.model_copy(update={"score": -float(rank)}) for rank, hit in enumerate(sample)
            ]
            for hits in (sample[:1], equal, negative, sample[::-1]):
                processed = postprocessor.process(QUERY, hits, index=index)
                assert len(processed) <= len(hits), f"{len(processed)} hits from {len(hits)}"

    def test_hostile_query_raises_no_error(self) -> None:
        """Any text can be the query."""
        postprocessor = self.make_part()
        with self.make_index() as index:
            sample = self.sample_hits(index)[:3]
            for query in (*HOSTILE_TEXTS.values(), *BLANK_TEXTS):
                hits = postprocessor.process(query[:20_000], sample, index=index)
                assert len(hits) <= len(sample), f"{len(hits)} hits for {query[:80]!r}"

    def test_hits_are_the_same_in_every_run(self) -> None:
        """Two calls and two threads give equal hits."""
        postprocessor = self.make_part()
        with self.make_index() as index:
            sample = self.sample_hits(index)
            expected = postprocessor.process(QUERY, sample, index=index)
            assert postprocessor.process(QUERY, sample, index=index) == expected, "the second call"
            for hits in call_from_threads(
                lambda: postprocessor.process(QUERY, sample, index=index)
            ):
                assert hits == expected, "two threads at once have other hits"

    def test_requested_numbers_of_hits_are_not_negative(self) -> None:
        """`input_depth` and `oversample` are numbers of hits."""
        postprocessor = self.make_part()
        assert postprocessor.input_depth >= 0, f"input_depth is {postprocessor.input_depth}"
        assert postprocessor.oversample >= 0, f"oversample is {postprocessor.oversample}"

    def test_reranker_scores_each_text(self) -> None:
        """A reranker returns one finite score for each text, and none for no texts."""
        reranker = self._make_reranker()
        texts = [document.text[:500] for document in make_sample_documents()]
        for batch in (texts, texts[:1], [text[:500] for text in HOSTILE_TEXTS.values()], []):
            scores = [float(score) for score in reranker.score(QUERY, batch)]
            assert len(scores) == len(batch), f"{len(scores)} scores for {len(batch)} texts"
            assert all(map(math.isfinite, scores)), f"the scores are {scores}"

    def test_reranker_keeps_all_hits(self) -> None:
        """A reranker reorders; hits below its depth come last, in their old order."""
        reranker = self._make_reranker().model_copy(update={"depth": 3})
        with self.make_index() as index:
            sample = self.sample_hits(index)
            hits = reranker.process(QUERY, sample, index=index)
        ids, given_ids = ([hit.chunk.id for hit in some] for some in (hits, sample))
        assert set(ids[:3]) == set(given_ids[:3]), "the first three hits are others"
        assert ids[3:] == given_ids[3:], "hits below the depth have another order"
        scores = [hit.score for hit in hits]
        assert scores == sorted(scores, reverse=True), f"the scores are not sorted: {scores}"

    def _make_reranker(self) -> Reranker:
        postprocessor = self.make_part()
        if not isinstance(postprocessor, Reranker):
            raise SkipTest("the postprocessor is not a reranker")
        return postprocessor


def _overlap(first: Hit, second: Hit) -> bool:
    one, other = first.chunk, second.chunk
    return one.uri == other.uri and one.start < other.end and other.start < one.end
