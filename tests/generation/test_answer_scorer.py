"""The learned scorer of sentences: its features, its coefficients and its probability."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray

from rag import ExtractiveGenerator, Pipeline
from rag.embedding import Embedder, MiniLMEmbedder, StaticEmbedder
from rag.generation import answer_scorer
from rag.generation.answer_scorer import (
    FEATURES,
    SENTENCE_FEATURES,
    compute_feature_matrix,
    estimate_answerability,
    find_other_rows,
    rank_candidates,
)
from rag.generation.context_packing import pack
from rag.generation.name_agreement import find_unknown_names
from rag.generation.passages import Passage
from rag.generation.relevance import list_features, score_features
from rag.query import Query
from rag.text.tokens import count_tokens
from rag.types import SourceLocation

FILES = {
    "sites/Oslo/energy_2023.csv": "month,kwh_lighting\nJanuary,11900\nFebruary,12050\n",
    "sites/Aarhus/energy_2023.csv": "month,kwh_lighting\nJanuary,5200\nFebruary,5100\n",
    "handbook.md": "# Handbook\n\n## Cars\n\nWho parks where? Every vehicle is parked on the roof. "
    "The roof closes at ten.\n",
}


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    folder = tmp_path_factory.mktemp("scorer")
    for name, text in FILES.items():
        (folder / "docs" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "docs" / name).write_text(text)
    opened = Pipeline(index=folder / "index")
    opened.ingest(folder / "docs")
    return opened


def read_passages(pipeline: Pipeline, question: str) -> Sequence[Passage]:
    return pack(pipeline.search(question, k=8), 4_000, count_tokens).passages


def compute(pipeline: Pipeline, question: str) -> dict[str, dict[str, float]]:
    """Return the features by sentence and name."""
    query, embedder = Query(question), StaticEmbedder()
    features = list_features(query, read_passages(pipeline, question), embedder)
    matrix = compute_feature_matrix(query, features, score_features(query, features), embedder)
    return {
        f"{Path(f.passage.uri).parent.name}: {f.text}": dict(zip(FEATURES, row, strict=True))
        for f, row in zip(features, matrix.tolist(), strict=True)
    }


def test_names_of_file_and_folder_count_for_each_row(pipeline: Pipeline) -> None:
    rows = compute(pipeline, "lighting in Oslo in January 2023")
    oslo = next(row for text, row in rows.items() if "11900" in text)
    aarhus = next(row for text, row in rows.items() if "5200" in text)
    assert oslo["words_in_document"] == pytest.approx(1)
    assert oslo["words_in_text"] == pytest.approx(aarhus["words_in_text"])
    assert aarhus["words_in_document"] < oslo["words_in_document"]
    assert oslo["lacks_names"] == 0
    assert compute(pipeline, "lighting in Oslo")[next(t for t in rows if "5200" in t)][
        "lacks_names"
    ]


def test_a_row_gives_way_to_the_row_that_is_named(pipeline: Pipeline) -> None:
    query = Query("lighting in Oslo in January 2023")
    features = list_features(query, read_passages(pipeline, query.text), StaticEmbedder())
    others = dict(zip((f.text for f in features), find_other_rows(query, features), strict=True))
    assert [text for text, is_other in others.items() if is_other] == [
        text for text in others if "February" in text
    ]
    unnamed = find_other_rows(Query("lighting in Oslo"), features)
    assert not any(unnamed)


INSPECTIONS = (
    "truck,inspected,hours,result\n"
    "Rev,2023-03-27,4410,failed\nRev,2024-04-09,5120,passed\nGaupe,2024-04-16,7000,passed\n"
)


@pytest.mark.parametrize(
    ("question", "named"),
    [
        ("hours of Rev at the inspection of 2024", ["5120"]),
        ("hours of Rev in March 2023", ["4410"]),
        ("hours of Rev on 27 March 2023", ["4410"]),
        ("hours of Rev in 2021", ["4410", "5120"]),
        ("Which truck was inspected on 16 April 2024?", ["7000"]),
        ("hours of Rev", ["4410", "5120"]),
        ("Which trucks were inspected?", ["4410", "5120", "7000"]),
    ],
)
def test_a_row_is_named_by_its_label_and_its_date(
    tmp_path: Path, question: str, named: list[str]
) -> None:
    (tmp_path / "trucks.csv").write_text(INSPECTIONS, encoding="utf-8")
    with Pipeline(index=tmp_path / "index") as opened:
        opened.ingest(tmp_path / "trucks.csv")
        query = Query(question)
        features = list_features(query, read_passages(opened, question), StaticEmbedder())
    others = find_other_rows(query, features)
    rows = [f.text for f, is_other in zip(features, others, strict=True) if not is_other]
    assert [next(n for n in ("4410", "5120", "7000") if n in row) for row in rows] == named


def test_a_row_counts_as_no_longer_than_a_sentence(tmp_path: Path) -> None:
    cells = {f"column{i}": f"value{i}" for i in range(30)}
    table = f"{','.join(cells)}\n{','.join(cells.values())}\n"
    (tmp_path / "wide.csv").write_text(table, encoding="utf-8")
    (tmp_path / "long.md").write_text(" ".join(cells.values()) + ".\n", encoding="utf-8")
    with Pipeline(index=tmp_path / "index") as opened:
        opened.ingest(tmp_path / "wide.csv")
        opened.ingest(tmp_path / "long.md")
        lengths = {
            bool(features["is_table_row"]): features["log_length"]
            for features in compute(opened, "What is value7?").values()
        }
    assert lengths[True] == pytest.approx(2.6)
    assert lengths[False] > math.log(30)


def test_words_of_similar_meaning_count_in_part(pipeline: Pipeline) -> None:
    rows = compute(pipeline, "Where are buses kept?")
    sentence = next(row for text, row in rows.items() if "vehicle" in text)
    assert 0 < sentence["meaning_in_text"] < 1
    assert sentence["words_in_text"] == 0


def test_synonyms_count_nearly_as_the_word_itself(pipeline: Pipeline) -> None:
    synonym = compute(pipeline, "Where are cars kept?")
    similar = compute(pipeline, "Where are buses kept?")
    text = next(text for text in synonym if "vehicle" in text)
    assert synonym[text]["words_in_text"] == 0
    assert similar[text]["meaning_in_text"] < synonym[text]["meaning_in_text"] < 1


def test_the_question_of_the_source_is_not_the_answer(pipeline: Pipeline) -> None:
    answer = pipeline.ask("Who parks where?")
    assert not answer.text.startswith("Who parks where?")
    rows = compute(pipeline, "Who parks where?")
    assert {row["is_question"] for row in rows.values()} == {0, 1}


def test_the_best_sentence_is_first_and_decides_the_probability(pipeline: Pipeline) -> None:
    question = "How much lighting was used in Oslo in January 2023?"
    passages = read_passages(pipeline, question)
    ranked = rank_candidates(Query(question), passages, StaticEmbedder())
    scores = [candidate.score for candidate in ranked]
    assert scores == sorted(scores, reverse=True)
    assert "11900" in ranked[0].text
    (step,) = [step for step in pipeline.ask(question).trace if step.name == "extract"]
    assert step.answerability == pytest.approx(estimate_answerability(scores[0]), abs=0.001)


def test_identical_questions_get_identical_answers(pipeline: Pipeline) -> None:
    """Vectors of words are cached; a full cache changes nothing."""
    question = "When does the roof close?"
    first = pipeline.ask(question)
    cache = answer_scorer._vectors_by_embedder[StaticEmbedder().fingerprint]
    cache.update({f"filler{i}": np.zeros(1, np.float32) for i in range(60_000)})
    pipeline.ask("When does the roof of the marquee close?")  # a new word
    assert pipeline.ask(question).text == first.text
    assert len(answer_scorer._vectors_by_embedder[StaticEmbedder().fingerprint]) < 60_000


def test_no_question_and_no_passage_have_no_candidates(pipeline: Pipeline) -> None:
    assert rank_candidates(Query("?"), read_passages(pipeline, "roof"), StaticEmbedder()) == []
    assert rank_candidates(Query("roof"), [], StaticEmbedder()) == []


def test_the_probability_decides_whether_there_is_an_answer(pipeline: Pipeline) -> None:
    question = "When does the roof close?"
    for minimum, status in ((0.0, "answered"), (1.0, "abstained")):
        strict = pipeline.replace(generator=ExtractiveGenerator(answerability=minimum))
        assert strict.ask(question).status == status


def test_the_probability_grows_with_the_score() -> None:
    probabilities = [estimate_answerability(score) for score in (-1e6, -3, -1, 0, 2, 1e6)]
    assert probabilities == sorted(probabilities)
    assert 0 <= probabilities[0] < 0.01 and 0.99 < probabilities[-1] <= 1
    assert estimate_answerability(float("nan")) == estimate_answerability(float("inf")) == 0


def test_every_feature_has_a_weight() -> None:
    path = Path(answer_scorer.__file__).with_suffix(".json")
    data = json.loads(path.read_text())
    assert list(data["weights"]) == list(FEATURES)
    assert path.stat().st_size < 200_000


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("file:///a/b/P7-manual.pdf", {"P7", "P", "7", "manual", "b"}),
        ("file:///a/ERR-07.md", {"ERR-07", "ERR", "07"}),
        ("file:///x/energy_2023.csv", {"energy", "2023"}),
        ("//[notes]/a.md", {"notes", "a"}),  # no valid URL
        ("http://[x", {"x"}),
        ("notes/C# guide.md", {"C", "guide"}),
        ("https://example.org/?q=warranty", set()),
    ],
)
def test_names_of_a_document_of_any_uri(uri: str, words: set[str]) -> None:
    passage = Passage(1, uri, 0, 1, "x", "", (), SourceLocation(), 1.0)
    assert words <= set(passage.document_name.split())
    assert words or not passage.document_name


def test_the_identifier_of_the_file_name_is_known(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "P7-manual.md").write_text("The warranty is three years.\n")
    with Pipeline(index=tmp_path / "index") as pipeline:
        pipeline.ingest(tmp_path / "docs")
        assert pipeline.ask("What is the warranty of the P7?").status == "answered"
        assert pipeline.ask("What is the warranty of the P8?").status == "abstained"


class RoofEmbedder(Embedder):
    """All that is about a roof, and every question, is one way; the rest is another way."""

    name: ClassVar[str] = "roof"
    is_multilingual: ClassVar[bool] = False

    @property
    def dimension(self) -> int:
        return 2

    @property
    def max_tokens(self) -> int:
        return 1_000

    @property
    def usd_per_million_tokens(self) -> float:
        return 0.0

    def embed_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return np.array([[1, 0] if "roof" in text else [0, 1] for text in texts], np.float32)

    def embed_query(self, text: str) -> NDArray[np.float32]:
        return np.array([1, 0], np.float32)

    def count_tokens(self, text: str) -> int:
        return len(text.split())


def test_a_sentence_embedder_adds_its_cosine(pipeline: Pipeline) -> None:
    question = "Where is every vehicle?"
    query, passages = Query(question), read_passages(pipeline, question)
    features = list_features(query, passages, StaticEmbedder())
    matrix = compute_feature_matrix(
        query, features, score_features(query, features), StaticEmbedder(), RoofEmbedder()
    )
    assert matrix.shape == (len(features), len(FEATURES) + len(SENTENCE_FEATURES))
    for f, (cosine, below_best) in zip(features, matrix[:, len(FEATURES) :], strict=True):
        assert (cosine, below_best) == ((1, 0) if "roof" in f.text else (0, -1))


def test_a_sentence_embedder_for_english_is_not_asked_in_german(pipeline: Pipeline) -> None:
    english, german = "Where is every vehicle parked?", "Wo wird das Fahrzeug im Winter geparkt?"
    passages = read_passages(pipeline, english)

    def rank(question: str, sentence_embedder: Embedder | None) -> list[float]:
        query = Query(question)
        ranked = rank_candidates(query, passages, StaticEmbedder(), sentence_embedder)
        return [candidate.score for candidate in ranked]

    assert rank(english, RoofEmbedder()) != rank(english, None)
    assert rank(german, RoofEmbedder()) == rank(german, None)


def test_the_weights_for_a_sentence_embedder_have_every_feature() -> None:
    text = Path(answer_scorer.__file__).with_suffix(".json").read_text()
    learned = json.loads(text)["with_sentence_embedder"]
    assert tuple(learned["weights"]) == (*FEATURES, *SENTENCE_FEATURES)
    assert all(learned["weights"][name] > 0 for name in SENTENCE_FEATURES)


def test_minilm_of_the_index_compares_sentences(tmp_path: Path) -> None:
    minilm = MiniLMEmbedder(folder=tmp_path)
    index = tmp_path / "index"

    def sentence_embedder(**parts: object) -> Embedder | None:
        generator = Pipeline(index=index, **parts).generator  # type: ignore[arg-type]
        assert isinstance(generator, ExtractiveGenerator)
        return generator.sentence_embedder

    assert sentence_embedder() is None
    assert sentence_embedder(embedder=minilm) == minilm
    assert sentence_embedder(embedder=minilm, generator="extractive") == minilm
    chosen = ExtractiveGenerator(sentence_embedder=None)
    assert sentence_embedder(embedder=minilm, generator=chosen) is None


@pytest.mark.parametrize(
    ("question", "is_known"),
    [
        ("Where is the roof of Oslo?", True),
        ("Where is the roof of Aarhús?", True),
        ("Where is the roof of Berlin?", False),
        ("Wo ist das Dach?", True),
    ],
)
def test_a_name_that_no_passage_has_makes_an_answer_unlikely(
    pipeline: Pipeline, question: str, is_known: bool
) -> None:
    passages = [p for name in FILES for p in read_passages(pipeline, name)]
    assert (not find_unknown_names(question, passages)) == is_known
