"""Learned sparse vectors in both lexical indexes."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag import HybridRetriever, LexicalRetriever, Pipeline
from rag.embedding import SparseEncoder, SparseVector
from rag.errors import ConfigError
from rag.retrieval import SparseRetriever
from rag.stores import LexicalEntry, SparseQuery, StoreLocation, Tantivy
from rag.stores.lexical_index import list_sparse_terms
from rag.stores.memory_lexical import InMemoryLexical
from rag.stores.tantivy import TantivyIndex

TOPICS = {
    "vacation": ("holiday", "leave", "vacation", "days off"),
    "salary": ("wage", "salary", "pay"),
    "car": ("vehicle", "truck", "car"),
}
DOCUMENTS = {
    "one": "Employees have 30 days of annual leave.",
    "two": "The wage is transferred on the last working day.",
    "three": "---\ntopic: cars\n---\nEvery vehicle is inspected in May.",
}


class TopicEncoder(SparseEncoder):
    """A text has weight 2 for each topic that it mentions, in any of its words."""

    name: ClassVar[str] = "topics"
    boost: float = 2.0

    def encode_documents(self, texts: Sequence[str]) -> list[SparseVector]:
        return [
            {
                topic: self.boost
                for topic, names in TOPICS.items()
                if any(name in text.lower() for name in names)
            }
            for text in texts
        ]

    def encode_query(self, text: str) -> SparseVector:
        (vector,) = self.encode_documents([text])
        return vector


class GivenVectors(SparseEncoder):
    """The vector of a text is the text itself: ``token=weight`` pairs."""

    name: ClassVar[str] = "given"

    def encode_documents(self, texts: Sequence[str]) -> list[SparseVector]:
        pairs = [[word.split("=") for word in text.split("|") if "=" in word] for text in texts]
        return [{token.strip(): float(weight) for token, weight in row} for row in pairs]

    def encode_query(self, text: str) -> SparseVector:
        raise NotImplementedError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "docs").mkdir()
    for name, text in DOCUMENTS.items():
        (tmp_path / "docs" / f"{name}.md").write_text(text)
    return tmp_path / "docs"


@pytest.fixture(params=[Tantivy, InMemoryLexical], ids=["tantivy", "memory"])
def pipeline(request: pytest.FixtureRequest, folder: Path, tmp_path: Path) -> Iterator[Pipeline]:
    """An index with sparse vectors, searched by them."""
    with Pipeline(
        index=tmp_path / "index",
        lexical_index=request.param(sparse_encoder=TopicEncoder()),
        retriever=SparseRetriever(),
    ) as pipeline:
        pipeline.ingest(folder)
        yield pipeline


def names(pipeline: Pipeline, query: str, **options: object) -> list[str]:
    return [Path(hit.chunk.uri).stem for hit in pipeline.search(query, **options)]  # type: ignore[arg-type]


def test_chunks_are_found_without_a_common_word(pipeline: Pipeline) -> None:
    assert names(pipeline, "how much vacation do I get") == ["one"]
    assert sorted(names(pipeline, "is my car or my salary there?")) == ["three", "two"]
    assert names(pipeline, "zeppelin") == []


def test_an_edited_document_has_the_new_vector(pipeline: Pipeline, folder: Path) -> None:
    (folder / "two.md").write_text("Every truck is inspected in June.")
    pipeline.ingest(folder)
    assert names(pipeline, "salary") == []
    assert sorted(names(pipeline, "car")) == ["three", "two"]


def test_filters_apply(pipeline: Pipeline) -> None:
    assert names(pipeline, "salary and car", where={"topic": "cars"}) == ["three"]


def test_sparse_scores_are_a_third_part_of_hybrid_retrieval(pipeline: Pipeline) -> None:
    question = "on which day may I take the vacation"  # "day" and "on" are in two
    index = pipeline.open()
    without = HybridRetriever().retrieve(question, k=3, index=index)
    hits = HybridRetriever(sparse_weight=0.9).retrieve(question, k=3, index=index)
    assert Path(hits[0].chunk.uri).stem == "one"
    assert hits[0].stage_scores["sparse"].score == 4.0
    assert "sparse" not in without[0].stage_scores
    assert hits[0].score > without[0].score or Path(without[0].chunk.uri).stem != "one"


def test_a_query_of_phrases_only_finds_only_these(pipeline: Pipeline) -> None:
    retriever = HybridRetriever(sparse_weight=0.5)
    hits = retriever.retrieve('"annual leave"', k=3, index=pipeline.open())
    assert [Path(hit.chunk.uri).stem for hit in hits] == ["one"]
    vehicles = retriever.retrieve('"inspected" "vacation"', k=3, index=pipeline.open())
    assert [Path(hit.chunk.uri).stem for hit in vehicles] == ["three"]


def test_an_error_of_the_encoder_is_not_a_damaged_index(tmp_path: Path) -> None:
    location = StoreLocation(tmp_path, "words")
    config = Tantivy(sparse_encoder=GivenVectors())
    config.create(location)
    with closing(config.open(location)) as index:
        with pytest.raises(ValueError, match="could not convert"):
            index.add([LexicalEntry(1, 1, "", "token=heavy")])
        index.end_writing()


def test_ranking_is_that_of_the_hits(pipeline: Pipeline) -> None:
    index = pipeline.open()
    for retriever in (SparseRetriever(), HybridRetriever(sparse_weight=0.5)):
        hits = retriever.retrieve("salary car", k=3, index=index)
        ranking = retriever.rank("salary car", k=3, index=index)
        assert ranking is not None
        assert [score for _, score in ranking] == [hit.score for hit in hits]


def test_without_an_encoder_the_error_says_what_to_do(folder: Path, tmp_path: Path) -> None:
    with Pipeline(index=tmp_path / "index") as pipeline:
        pipeline.ingest(folder)
        for retriever in (SparseRetriever(), HybridRetriever(sparse_weight=0.2)):
            with pytest.raises(ConfigError, match="sparse_encoder"):
                retriever.retrieve("vacation", k=3, index=pipeline.open())


def test_the_next_ingest_adds_changes_and_removes_the_vectors(folder: Path, tmp_path: Path) -> None:
    """Until then, words are searched as before, and wrong vectors are never used."""

    def open_pipeline(encoder: SparseEncoder | None) -> Pipeline:
        return Pipeline(index=tmp_path / "index", lexical_index=Tantivy(sparse_encoder=encoder))

    def search_sparse(pipeline: Pipeline, query: str) -> list[float]:
        hits = SparseRetriever().retrieve(query, k=3, index=pipeline.open())
        return [hit.score for hit in hits]

    with open_pipeline(None) as pipeline:
        pipeline.ingest(folder)
    for encoder, score in ((TopicEncoder(), 4.0), (TopicEncoder(boost=1.0), 1.0)):
        with open_pipeline(encoder) as pipeline:
            with pytest.raises(ConfigError, match="sparse vectors"):
                search_sparse(pipeline, "vacation")
            assert LexicalRetriever().retrieve("wage", k=1, index=pipeline.open())
            report = pipeline.ingest(folder)
            assert report.unchanged == 3
            assert search_sparse(pipeline, "vacation") == [score]
    with open_pipeline(None) as pipeline:
        assert LexicalRetriever().retrieve("wage", k=1, index=pipeline.open())
        pipeline.ingest(folder)
        assert not pipeline.open().lexical.is_outdated


def test_an_encoder_in_yaml(tmp_path: Path) -> None:
    pipeline = Pipeline.from_yaml(
        "lexical_index: {type: tantivy, sparse_encoder: 'onnx:models/splade'}\n"
        "retriever: {type: hybrid, sparse_weight: 0.3}\n"
    )
    assert isinstance(pipeline.lexical_index, Tantivy)
    assert Pipeline.from_yaml(pipeline.to_yaml()) == pipeline


weights = st.dictionaries(st.sampled_from(["a", "##b", "c d", "▁e"]), st.floats(0, 3.9), max_size=4)


@settings(max_examples=30, deadline=None)
@given(st.lists(weights, min_size=1, max_size=5), weights)
def test_scores_are_the_inner_products(
    tmp_path_factory: pytest.TempPathFactory,
    documents: list[dict[str, float]],
    query: dict[str, float],
) -> None:
    """Weights of documents are multiples of 1/32."""
    texts = ["|".join(f"{t}={w!r}" for t, w in vector.items()) for vector in documents]
    expected = {
        row: sum(query.get(t, 0) * round(w * 32) / 32 for t, w in vector.items())
        for row, vector in enumerate(documents)
    }
    sparse_query = SparseQuery(tuple(query.items()))
    encoder = GivenVectors()
    for config in (Tantivy(sparse_encoder=encoder), InMemoryLexical(sparse_encoder=encoder)):
        location = StoreLocation(tmp_path_factory.mktemp("words"), "words")
        config.create(location)
        with closing(config.open(location)) as index:
            index.add(LexicalEntry(row, 1, "", text) for row, text in enumerate(texts))
            index.commit()
            scores = dict(index.search(sparse_query, 10))
            for row, score in expected.items():
                assert scores.get(row, 0.0) == pytest.approx(score, rel=1e-5, abs=1e-6)
            assert index.scores(sparse_query, [0]) == pytest.approx(
                {0: scores[0]} if 0 in scores else {}
            )
            index.end_writing()


def test_an_index_of_an_earlier_edition_is_opened(tmp_path: Path) -> None:
    """It has no field for sparse vectors, and no note about an encoder."""
    location = StoreLocation(tmp_path, "words")
    Tantivy().create(location)
    assert list(tmp_path.iterdir()) == []
    with closing(TantivyIndex(tmp_path)) as index:
        assert index.sparse_encoder is None
        assert not index.is_outdated


def test_weights_that_are_not_positive_numbers_are_no_terms() -> None:
    vector = {"a": -0.02, "b": float("nan"), "c": 0.0, "d": float("inf"), "e": 1e9}
    terms = list_sparse_terms(vector)
    assert {term.partition(":")[2] for term in terms} == {"d", "e"}
    assert len(terms) == 14
