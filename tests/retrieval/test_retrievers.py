from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag import DenseRetriever, HybridRetriever, LexicalRetriever, Pipeline, Retriever
from rag.index import Index
from rag.index import index as index_module
from rag.retrieval.hybrid import normalised

TEXTS = {
    "battery": "A full battery lasts 34 minutes. Charging it takes 90 minutes.",
    "propeller": "The propellers are made of nylon and are replaced after 50 hours.",
    "camera": "The camera records video at 60 frames a second.",
    "tokyo": "東京都は日本の首都であり、人口は約1400万人である。",
    "weather": "Do not fly in rain, fog or wind above 40 kilometres an hour.",
}
RETRIEVERS = [DenseRetriever(), LexicalRetriever(), HybridRetriever()]


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    folder = tmp_path_factory.mktemp("docs")
    for i, (name, text) in enumerate(TEXTS.items()):
        front = f"---\ntitle: {name}\nyear: {2020 + i}\ntags: [drone, t{i}]\ndraft: {i == 0}\n---\n"
        (folder / f"{name}.md").write_text(front + text)
    with Pipeline(index=tmp_path_factory.mktemp("i") / "index") as pipeline:
        pipeline.ingest(folder)
        yield pipeline.open()


def titles(retriever: Retriever, query: str, index: Index, **options: object) -> list[str]:
    hits = retriever.retrieve(query, k=options.pop("k", 10), index=index, **options)  # type: ignore[arg-type]
    return [hit.chunk.title for hit in hits]


@pytest.mark.parametrize("retriever", RETRIEVERS, ids=lambda r: r.name)
@pytest.mark.parametrize(
    ("query", "best"),
    [
        ("How long does the battery last?", "battery"),
        ("what are propellers made of", "propeller"),
        ("video frames", "camera"),
    ],
)
def test_the_right_one_is_first(retriever: Retriever, query: str, best: str, index: Index) -> None:
    assert titles(retriever, query, index)[0] == best


@pytest.mark.parametrize("retriever", RETRIEVERS, ids=lambda r: r.name)
def test_order_and_number(retriever: Retriever, index: Index) -> None:
    hits = retriever.retrieve("battery propeller camera", k=2, index=index)
    assert len(hits) == 2
    assert hits[0].score >= hits[1].score


def test_dense_finds_without_a_shared_word(index: Index) -> None:
    assert titles(LexicalRetriever(), "storm", index) == []
    assert titles(DenseRetriever(), "storm", index)[0] == "weather"


def test_lexical_finds_forms_of_a_word_and_parts_of_an_unsegmented_one(index: Index) -> None:
    assert titles(LexicalRetriever(), "charges", index) == ["battery"]
    assert titles(LexicalRetriever(), "首都", index) == ["tokyo"]


@pytest.mark.parametrize("query", ["?!", "()", '"', "AND OR NOT", "a:b^2~", "*", "\0", "😀" * 50])
@pytest.mark.parametrize("retriever", RETRIEVERS, ids=lambda r: r.name)
def test_no_query_breaks_it(retriever: Retriever, query: str, index: Index) -> None:
    retriever.retrieve(query, k=3, index=index)


def test_hybrid_completes_the_scores_and_keeps_the_origins(index: Index) -> None:
    hits = HybridRetriever().retrieve("battery minutes", k=5, index=index)
    assert hits[0].origins.keys() == {"dense", "lexical"}
    assert hits[0].origins["lexical"].rank == 1
    only_dense = [hit for hit in hits if "lexical" not in hit.origins]
    assert only_dense
    assert all(hit.score <= HybridRetriever().weight for hit in only_dense)


@pytest.mark.parametrize(("weight", "half"), [(1.0, DenseRetriever()), (0.0, LexicalRetriever())])
def test_weight_one_and_zero_are_the_halves(weight: float, half: Retriever, index: Index) -> None:
    query = "battery minutes camera"
    expected = titles(half, query, index)
    assert titles(HybridRetriever(weight=weight), query, index)[: len(expected)] == expected


@pytest.mark.parametrize("exact", [0, 20_000], ids=["by over-fetching", "by comparing each"])
@pytest.mark.parametrize("retriever", RETRIEVERS, ids=lambda r: r.name)
def test_filters(
    retriever: Retriever, exact: int, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_module, "_EXACT", exact)
    query = "battery propeller camera fly minutes"
    for where, expected in [
        ({"year": 2021}, {"propeller"}),
        ({"year": [2020, 2022]}, {"battery", "camera"}),
        ({"tags": "t1"}, {"propeller"}),
        ({"draft": True}, {"battery"}),
        ({"draft": 1}, set()),
        ({"year": "2021"}, set()),
        ({"title": "camera", "tags": "drone"}, {"camera"}),
        ({"nothing": 1}, set()),
    ]:
        assert set(titles(retriever, query, index, where=where)) == expected, where


@given(st.dictionaries(st.integers(), st.floats(-100, 100, allow_nan=False), max_size=8))
def test_normalised_keeps_the_order_within_zero_and_one(scores: dict[int, float]) -> None:
    scaled = normalised(scores)
    assert scaled.keys() == scores.keys()
    assert all(0 <= value <= 1 for value in scaled.values())
    for a in scores:
        for b in scores:
            if scores[a] < scores[b]:
                assert scaled[a] <= scaled[b]


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.parametrize(("name", "floor"), [("hotpotqa", 0.79), ("musique", 0.56)])
def test_hybrid_is_no_worse_than_its_halves(
    name: str, floor: float, data: Path, tmp_path: Path
) -> None:
    from benchmarks.retrieval import evaluate

    scores = evaluate(data / "retrieval" / name, tmp_path / "index")
    assert scores["hybrid"] >= max(scores["dense"], scores["lexical"]) - 0.005
    assert scores["hybrid"] >= floor
