from collections.abc import Iterator
from pathlib import Path

import pytest

from rag import DenseRetriever, HybridRetriever, LexicalRetriever, Pipeline, Retriever
from rag.embedding import StaticEmbedder
from rag.errors import QueryError
from rag.index import Index
from rag.index import index as index_module
from rag.postprocessing import ScoreThreshold
from rag.retrieval.fusion import Fusion
from rag.stores.lexical_index import BM25Query
from rag.types import RetrieveStep

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


@pytest.mark.parametrize("retriever", RETRIEVERS, ids=lambda r: r.name)
@pytest.mark.parametrize("query", ["battery propeller camera", "人口", "storm", "?"])
def test_ranks_are_those_of_the_hits(retriever: Retriever, query: str, index: Index) -> None:
    hits = retriever.retrieve(query, k=3, index=index)
    ranking = retriever.rank(query, k=3, index=index)
    assert ranking is not None
    chunks = index.chunks([row for row, _ in ranking])
    assert [(chunks[row].id, score) for row, score in ranking] == [
        (hit.chunk.id, hit.score) for hit in hits
    ]


def test_documents_are_ranked_by_their_best_chunks_without_reading_them(tmp_path: Path) -> None:
    for name, text in TEXTS.items():
        (tmp_path / f"{name}.md").write_text("\n\n".join(f"# {i}\n\n{text}" for i in range(3)))
    with Pipeline(index=tmp_path / "i") as pipeline:
        pipeline.ingest(*sorted(tmp_path.glob("*.md")))
        query = "How long does the battery last?"
        best: dict[str, float] = {}
        for hit in pipeline.search(query, k=100):
            best.setdefault(hit.chunk.uri, hit.score)
        store = pipeline.open().document_store
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(type(store), "chunks", None)
            assert pipeline.rank_documents(query, k=3) == dict(list(best.items())[:3])
            assert next(iter(pipeline.rank_documents(query, k=1))).endswith("battery.md")
        with pytest.raises(QueryError):
            pipeline.rank_documents(query, k=0)


def test_documents_are_ranked_after_postprocessors(tmp_path: Path) -> None:
    for name, text in TEXTS.items():
        (tmp_path / f"{name}.md").write_text(text)
    with Pipeline(index=tmp_path / "i", postprocessors=(ScoreThreshold(least=0.99),)) as pipeline:
        pipeline.ingest(*sorted(tmp_path.glob("*.md")))
        ranking = pipeline.rank_documents("How long does the battery last?", k=3)
        assert [Path(uri).stem for uri in ranking] == ["battery"]


def test_dense_finds_without_a_shared_word(index: Index) -> None:
    assert titles(LexicalRetriever(), "storm", index) == []
    assert titles(DenseRetriever(), "storm", index)[0] == "weather"


def test_lexical_finds_forms_of_a_word_and_parts_of_an_unsegmented_one(index: Index) -> None:
    assert titles(LexicalRetriever(), "charges", index) == ["battery"]
    assert titles(LexicalRetriever(), "首都", index) == ["tokyo"]


def test_a_phrase_in_quotes_is_one(index: Index) -> None:
    assert titles(LexicalRetriever(), '"made of nylon"', index) == ["propeller"]
    assert titles(LexicalRetriever(), '"nylon made of"', index) == []
    assert titles(HybridRetriever(), '"made of nylon"', index) == ["propeller"]
    assert titles(HybridRetriever(), '"nylon made of"', index) == []
    assert titles(LexicalRetriever(), "„of video at 60” “records video”", index) == ["camera"]
    ranked_titles = titles(LexicalRetriever(), 'battery "60 frames"', index)
    assert (ranked_titles[0], set(ranked_titles)) == ("camera", {"camera", "battery"})
    assert titles(LexicalRetriever(), "「日本の首都」", index) == ["tokyo"]
    assert titles(LexicalRetriever(expand=10), '"made of nylon"', index) == ["propeller"]
    assert titles(LexicalRetriever(), 'the "unclosed battery', index)[0] == "battery"


def test_title_and_rarity_count() -> None:
    query = BM25Query("camera")
    assert query.title_weight == LexicalRetriever().title_weight
    assert query.rarity == LexicalRetriever().rarity


def test_expansion_finds_what_the_words_do_not(index: Index) -> None:
    plain = titles(LexicalRetriever(), "charging", index)
    expanded = titles(LexicalRetriever(expand=10, expand_from=1), "charging", index)
    assert plain == ["battery"]
    assert expanded[0] == "battery"
    assert len(expanded) > 1  # others share other words of its
    query = LexicalRetriever(expand=5, expand_from=2).build_query("charging", index)
    assert sum(share for _, share in query.expansion) == pytest.approx(1)
    assert titles(LexicalRetriever(expand=10), "?!", index) == []


@pytest.mark.parametrize("fusion", ["sum", "minmax", "distribution", "rrf"])
def test_every_fusion_finds_it(fusion: Fusion, index: Index) -> None:
    retriever = HybridRetriever(fusion=fusion)
    assert titles(retriever, "How long does the battery last?", index)[0] == "battery"


def test_feedback_draws_what_is_near_to_the_best(index: Index) -> None:
    query = "How long does the battery last?"
    plain = HybridRetriever(feedback=0).retrieve(query, k=5, index=index)
    moved = HybridRetriever(feedback=2).retrieve(query, k=5, index=index)
    assert [h.score for h in plain] != [h.score for h in moved]
    assert plain[0].chunk == moved[0].chunk


def test_languages_in_one_index(tmp_path: Path) -> None:
    texts = {
        "de": "Die Häuser am Fluss wurden nach dem Hochwasser wieder aufgebaut und gestrichen.",
        "en": "The houses at the river were rebuilt and painted after the flood had gone.",
        "ru": "Дома у реки были восстановлены и покрашены после наводнения в этом городе.",
        "el": "Τα σπίτια δίπλα στο ποτάμι ξαναχτίστηκαν και βάφτηκαν μετά την πλημμύρα.",
        "th": "บ้านริมแม่น้ำถูกสร้างขึ้นใหม่และทาสีหลังน้ำท่วม",
    }
    for name, text in texts.items():
        (tmp_path / f"{name}.txt").write_text(text, encoding="utf-8")
    with Pipeline(index=tmp_path / "index") as pipeline:
        pipeline.ingest(*(tmp_path / f"{name}.txt" for name in texts))
        index = pipeline.open()
        assert set(index.lexical.languages()) == {"de", "en", "ru", "el", ""}
        for query, best in [
            ("Haus", "de"),
            ("house", "en"),
            ("дом", "ru"),
            ("ποταμού σπίτι", "el"),
            ("น้ำท่วม", "th"),
        ]:
            hits = LexicalRetriever().retrieve(query, k=5, index=index)
            assert [Path(hit.chunk.uri).stem for hit in hits] == [best], query


def test_one_document_in_a_wrong_language_does_not_outweigh_all(tmp_path: Path) -> None:
    for i in range(8):
        text = "Measurements of the antenna are given for each of the frequencies in use."
        (tmp_path / f"{i}.txt").write_text(text)
    (tmp_path / "odd.txt").write_text("measurements measurementes de la antena y de los otros")
    with Pipeline(index=tmp_path / "index") as pipeline:
        pipeline.ingest(*sorted(tmp_path.glob("*.txt")))
        index = pipeline.open()
        assert len(index.lexical.languages()) > 1
        hits = LexicalRetriever().retrieve("measurements of frequencies", k=9, index=index)
        assert not hits[0].chunk.uri.endswith("odd.txt")


@pytest.mark.parametrize("query", ["?!", "()", '"', "AND OR NOT", "a:b^2~", "*", "\0", "😀" * 50])
@pytest.mark.parametrize("retriever", RETRIEVERS, ids=lambda r: r.name)
def test_no_query_breaks_it(retriever: Retriever, query: str, index: Index) -> None:
    retriever.retrieve(query, k=3, index=index)


def test_hybrid_completes_the_scores_and_keeps_the_origins(index: Index) -> None:
    hits = HybridRetriever().retrieve("battery minutes", k=5, index=index)
    assert hits[0].stage_scores.keys() == {"dense", "lexical"}
    assert hits[0].stage_scores["lexical"].rank == 1
    only_dense = [hit for hit in hits if "lexical" not in hit.stage_scores]
    assert only_dense
    weight = index.embedder.dense_weight("battery minutes")
    assert all(hit.score <= weight for hit in only_dense)


@pytest.mark.parametrize(("weight", "half"), [(1.0, DenseRetriever()), (0.0, LexicalRetriever())])
def test_weight_one_and_zero_are_the_halves(weight: float, half: Retriever, index: Index) -> None:
    query = "battery minutes camera"
    expected = titles(half, query, index)
    assert (
        titles(HybridRetriever(weight=weight, feedback=0), query, index)[: len(expected)]
        == expected
    )


@pytest.mark.parametrize("exact", [0, 20_000], ids=["by over-fetching", "by comparing each"])
@pytest.mark.parametrize("retriever", RETRIEVERS, ids=lambda r: r.name)
def test_filters(
    retriever: Retriever, exact: int, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_module, "EXACT_SEARCH_MAX_BYTES", exact)
    query = "battery propeller camera fly minutes"
    for where, expected in [
        ({"year": 2021}, {"propeller"}),
        ({"year": [2020, 2022]}, {"battery", "camera"}),
        ({"tags": "t1"}, {"propeller"}),
        ({"draft": True}, {"battery"}),
        ({"draft": 1}, set()),
        ({"year": "2021"}, {"propeller"}),
        ({"title": "camera", "tags": "drone"}, {"camera"}),
        ({"nothing": 1}, set()),
    ]:
        assert set(titles(retriever, query, index, where=where)) == expected, where


def test_a_question_in_another_language_is_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The default embedder cannot compare languages; a multilingual one is trusted to."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.md").write_text(
        "# Rent\n\nThe rent of the hall is 300 euros a month.\n"
    )
    german = "Wie hoch ist eigentlich die monatliche Miete für die große Halle?"
    with Pipeline(index=tmp_path / "index") as pipeline:
        pipeline.ingest(tmp_path / "docs")
        notes = [step.notes for step in pipeline.search_with_steps(german).steps
                 if isinstance(step, RetrieveStep)]  # fmt: skip
        assert len(notes) == 1
        assert "another language (de) than the documents (en)" in notes[0][0]
        for question in ("How high is the rent of the hall?", "rent", "What is die Miete?"):
            (step,) = (step for step in pipeline.search_with_steps(question).steps
                       if isinstance(step, RetrieveStep))  # fmt: skip
            assert step.notes == (), question
        index = pipeline.open()
        monkeypatch.setattr(StaticEmbedder, "is_multilingual", True)
        assert pipeline.retriever.find_notes(german, index) == ()
