"""The contract of embedders."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from rag.component import Component
from rag.embedding.base import Embedder, KnownModel
from rag.errors import ConfigError, EmbeddingError
from rag.testing.base import PartContract
from rag.testing.calls import call_from_threads, call_in_other_process
from rag.testing.samples import BLANK_TEXTS, HOSTILE_TEXTS, SAMPLE_TOPICS

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MAX_LONG_TEXT_WORDS = 20_000


class EmbedderContract(PartContract[Embedder]):
    """Checks of `rag.Embedder`: shape, type, norm, blank texts, independence of the batch.

    Override `sample_texts` and `related_texts` for a model that knows only some words.
    """

    part_class: ClassVar[type[Component]] = Embedder

    tolerance: ClassVar[float] = 1e-4
    """Largest difference of two equal vector values: a model may round otherwise in a batch."""

    def sample_texts(self) -> list[str]:
        """Return the texts to embed; by default, hostile texts of many kinds."""
        return [*SAMPLE_TOPICS.values(), *HOSTILE_TEXTS.values()]

    def related_texts(self) -> tuple[str, str, str]:
        """Return a question, a passage that answers it, and an unrelated passage."""
        return (
            "How long does a full battery last?",
            SAMPLE_TOPICS["battery"],
            "Butter, flour and sugar are mixed for the dough of the cake.",
        )

    def test_document_vectors_have_the_right_shape_and_type(self) -> None:
        """`embed_documents` returns finite float32 ``[n, dimension]``, also for no texts."""
        embedder, texts = self.make_part(), self.sample_texts()
        for batch in (texts, texts[:1], []):
            vectors = embedder.embed_documents(batch)
            _check_array(vectors, (len(batch), embedder.dimension))

    def test_query_vector_has_the_right_shape_and_type(self) -> None:
        """`embed_query` returns finite float32 ``[dimension]``."""
        embedder = self.make_part()
        for text in self.sample_texts():
            _check_array(embedder.embed_query(text), (embedder.dimension,))

    def test_vectors_are_normalized(self) -> None:
        """If the similarity is the cosine, each vector has the length 1, or is all zeros."""
        import numpy as np

        embedder, texts = self.make_part(), self.sample_texts()
        if embedder.similarity != "cosine":
            return
        vectors = [*embedder.embed_documents(texts), *map(embedder.embed_query, texts)]
        for text, vector in zip([*texts, *texts], vectors, strict=True):
            norm = float(np.linalg.norm(vector))
            assert norm == 0 or abs(norm - 1) < 1e-3, f"the vector of {text[:40]!r} has {norm=}"

    def test_blank_text_gives_zeros(self) -> None:
        """A blank text gives a row of zeros, alone and between other texts."""
        embedder, (question, passage, _) = self.make_part(), self.related_texts()
        for blank in BLANK_TEXTS:
            vectors = embedder.embed_documents([passage, blank, passage])
            _check_array(vectors, (3, embedder.dimension))
            assert not vectors[1].any(), f"the blank text {blank[:9]!r} has a vector"
            assert vectors[0].any() and vectors[2].any(), "a text beside a blank text has no vector"
            assert not embedder.embed_query(blank).any(), f"the blank query {blank[:9]!r} has one"
        assert embedder.embed_query(question).any(), f"the query {question!r} has no vector"

    def test_text_that_cannot_be_encoded_is_embedded(self) -> None:
        """A lone surrogate, as in broken JSON of a client, is no error."""
        embedder, (question, passage, _) = self.make_part(), self.related_texts()
        assert embedder.embed_query(f"{question} \ud800").any()
        assert embedder.embed_documents([f"\udfff {passage}"]).any()

    def test_vector_does_not_depend_on_the_batch(self) -> None:
        """A text has the same vector alone, in a batch, and in another order."""
        import numpy as np

        embedder, texts = self.make_part(), self.sample_texts()
        vectors = embedder.embed_documents(texts)
        self._check_close(embedder.embed_documents(texts[::-1])[::-1], vectors, "another order")
        single_vectors = [embedder.embed_documents([text])[0] for text in texts]
        self._check_close(np.stack(single_vectors), vectors, "one text at a time")
        self._check_close(
            embedder.embed_documents([*texts, *texts])[: len(texts)], vectors, "twice"
        )

    def test_vectors_are_the_same_in_every_run(self) -> None:
        """Two calls and two threads give equal vectors, and the input is not changed."""
        embedder, texts = self.make_part(), self.sample_texts()
        question, given = self.related_texts()[0], list(texts)
        vectors, query = embedder.embed_documents(texts), embedder.embed_query(question)
        self._check_close(embedder.embed_documents(texts), vectors, "the second call")
        self._check_close(embedder.embed_query(question), query, "the second query")
        for in_thread in call_from_threads(lambda: embedder.embed_documents(texts)):
            self._check_close(in_thread, vectors, "two threads at once")
        assert texts == given, "the embedder changed the list of texts"

    def test_vectors_are_the_same_in_another_process(self) -> None:
        """Another process computes the same vectors: it may search the index."""
        embedder, (question, passage, other) = self.make_part(), self.related_texts()
        expected = _embed(embedder, question, [passage, other])
        actual = call_in_other_process(_embed, embedder, question, [passage, other])
        for vectors, expected_vectors in zip(actual, expected, strict=True):
            self._check_close(vectors, expected_vectors, "another process")

    def test_question_is_nearest_to_the_passage_that_answers_it(self) -> None:
        """Vectors of queries and of documents can be compared."""
        embedder, (question, passage, other) = self.make_part(), self.related_texts()
        near, far = embedder.embed_documents([passage, other]) @ embedder.embed_query(question)
        assert near > far, f"{question!r} is nearer to {other!r} ({far}) than to {passage!r}"

    def test_text_longer_than_the_limit_is_embedded_or_refused(self) -> None:
        """A very long text has a vector, or raises `EmbeddingError`."""
        embedder = self.make_part()
        text = "battery " * min(2 * embedder.max_tokens + 1, MAX_LONG_TEXT_WORDS)
        try:
            vectors = embedder.embed_documents([text])
        except EmbeddingError:
            return
        _check_array(vectors, (1, embedder.dimension))

    def test_tokens_are_counted(self) -> None:
        """There is one count for each text, which does not depend on the other texts."""
        embedder = self.make_part()
        texts = [*self.sample_texts(), *BLANK_TEXTS]
        counts = embedder.count_tokens(texts)
        assert counts == [embedder.count_tokens([text])[0] for text in texts], (
            "the number of tokens depends on the batch"
        )
        assert all(isinstance(count, int) and count >= 0 for count in counts), f"{counts}"
        assert embedder.count_tokens([]) == [], "no texts have tokens"
        passage = self.related_texts()[1]
        one, many = embedder.count_tokens([passage, f"{passage} " * 20])
        assert 0 < one < many, f"a text has {one} tokens, and 20 times the text has {many}"

    def test_properties_are_in_range(self) -> None:
        """Dimension, input limit, similarity, dense weight and price have sensible values."""
        embedder = self.make_part()
        assert isinstance(embedder.dimension, int) and embedder.dimension >= 1, "dimension"
        assert isinstance(embedder.max_tokens, int) and embedder.max_tokens >= 1, "max_tokens"
        assert embedder.similarity in ("cosine", "dot"), f"similarity {embedder.similarity!r}"
        price = embedder.usd_per_million_tokens
        assert price is None or price >= 0, f"the price is {price}"
        for text in (*self.sample_texts(), *BLANK_TEXTS):
            weight = embedder.dense_weight(text)
            assert 0 <= weight <= 1, f"dense_weight({text[:40]!r}) is {weight}"
        assert all(isinstance(model, KnownModel) for model in type(embedder).known_models())

    def test_token_vectors_are_normalized_or_refused(self) -> None:
        """`embed_tokens` returns unit vectors for each text, or raises `ConfigError`."""
        import numpy as np

        embedder, texts = self.make_part(), [*self.related_texts(), *BLANK_TEXTS]
        try:
            matrices = embedder.embed_tokens(texts, "document")
        except ConfigError:
            return
        assert len(matrices) == len(texts), f"{len(matrices)} arrays for {len(texts)} texts"
        for matrix in matrices:
            assert matrix.dtype == np.float32 and matrix.ndim == 2, f"{matrix.dtype} {matrix.shape}"
            norms = np.linalg.norm(matrix, axis=1)
            assert np.all((np.abs(norms - 1) < 1e-3) | (norms == 0)), f"the lengths are {norms}"

    def _check_close(
        self, actual: NDArray[np.float32], expected: NDArray[np.float32], case: str
    ) -> None:
        import numpy as np

        assert actual.shape == expected.shape, f"{case}: {actual.shape}, not {expected.shape}"
        difference = float(np.abs(actual - expected).max(initial=0))
        assert difference <= self.tolerance, f"{case}: the vectors differ by {difference}"


def _embed(
    embedder: Embedder, question: str, passages: Sequence[str]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    return embedder.embed_query(question), embedder.embed_documents(passages)


def _check_array(vectors: NDArray[np.float32], shape: tuple[int, ...]) -> None:
    import numpy as np

    assert isinstance(vectors, np.ndarray), f"the result is a {type(vectors).__name__}"
    assert vectors.dtype == np.float32, f"the values are {vectors.dtype}, not float32"
    assert vectors.shape == shape, f"the shape is {vectors.shape}, not {shape}"
    assert np.isfinite(vectors).all(), "a vector has NaN or infinity in it"
