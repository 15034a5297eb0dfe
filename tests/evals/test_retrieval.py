"""Evaluation and tuning over the whole way, and as commands."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytrec_eval

from evals.datasets import load_retrieval_set
from evals.ranking_metrics import read_run
from evals.retrieval import evaluate_retrieval
from evals.tuning import tune
from rag import HybridRetriever, LexicalRetriever, Pipeline
from rag.errors import ConfigError, QueryError
from rag.postprocessing import LostInTheMiddle, OnnxReranker
from rag.retrieval import DenseRetriever
from tests.embedding import model_fixtures

TOPICS = ["valve", "battery", "camera", "propeller", "weather", "landing", "motor", "radio"]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight topics of five documents each; a query for every two documents."""
    folder = tmp_path_factory.mktemp("set")
    with (folder / "corpus.jsonl").open("w") as corpus:
        for topic in TOPICS:
            for i in range(5):
                text = f"The {topic} number {i} is checked before each flight. " * (
                    1 + 20 * (i % 2)
                )
                row = {"_id": f"{topic}/{i} ü", "title": "", "text": text}
                corpus.write(json.dumps(row) + "\n")
        corpus.write('{"_id": "empty", "title": "", "text": ""}\n')
    with (folder / "queries.jsonl").open("w") as queries:
        for i, topic in enumerate(TOPICS * 2):
            row = {"_id": f"q{i}", "text": f"When is {topic} {i % 5} checked?"}
            queries.write(json.dumps(row) + "\n")
    with (folder / "qrels.tsv").open("w") as qrels:
        qrels.write("query-id\tcorpus-id\tscore\n")
        for i, topic in enumerate(TOPICS * 2):
            qrels.write(f"q{i}\t{topic}/{i % 5} ü\t2\nq{i}\t{topic}/{(i + 1) % 5} ü\t1\n")
    return folder


def pipeline(tmp_path: Path, **options: Any) -> Pipeline:
    return Pipeline(index=tmp_path / "unused", **options)


def test_the_whole_way(dataset: Path, tmp_path: Path) -> None:
    retrieval_set = load_retrieval_set(dataset)
    result = evaluate_retrieval(pipeline(tmp_path), retrieval_set, index=tmp_path / "ix")
    assert (result.documents, len(result.failures)) == (40, 1)
    assert len(result.seconds) == 16 and result.latency(0.95) >= result.latency(0.5) > 0
    judged = {query: dict(documents) for query, documents in retrieval_set.judgements.items()}
    theirs = pytrec_eval.RelevanceEvaluator(judged, {"ndcg_cut.10", "map"}).evaluate(
        {query: dict(scores) for query, scores in result.run.items()}
    )
    mean = sum(t["ndcg_cut_10"] for t in theirs.values()) / 16
    assert result.metrics["ndcg@10"].value == pytest.approx(mean, abs=1e-6)
    assert mean > 0.8
    assert not (tmp_path / "unused").exists()


def test_a_second_run_embeds_nothing(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    retrieval_set = load_retrieval_set(dataset)
    first = evaluate_retrieval(pipeline(tmp_path), retrieval_set, index=tmp_path / "ix")
    from rag import StaticEmbedder

    def refuse(*_: object) -> None:
        raise AssertionError("embedded again")

    monkeypatch.setattr(StaticEmbedder, "embed_documents", refuse)
    changed = pipeline(tmp_path, retriever=LexicalRetriever(), k=3)
    second = evaluate_retrieval(changed, retrieval_set, index=tmp_path / "ix")
    assert second.documents == first.documents
    assert len(list((tmp_path / "ix").iterdir())) == 1


def test_two_corpora_in_one_folder_do_not_meet(dataset: Path, tmp_path: Path) -> None:
    retrieval_set = load_retrieval_set(dataset)
    first = evaluate_retrieval(
        pipeline(tmp_path), retrieval_set, index=tmp_path / "ix", timed=False
    )
    copied_folder = tmp_path / "copy"
    copied_folder.mkdir()
    for file in dataset.iterdir():
        (copied_folder / file.name).write_bytes(file.read_bytes())
    copied = load_retrieval_set(copied_folder)
    second = evaluate_retrieval(pipeline(tmp_path), copied, index=tmp_path / "ix", timed=False)
    assert (second.documents, second.run) == (first.documents, first.run)


def test_refiners_decide_the_order(dataset: Path, tmp_path: Path) -> None:
    retrieval_set = load_retrieval_set(dataset)
    plain = evaluate_retrieval(
        pipeline(tmp_path), retrieval_set, index=tmp_path / "ix", timed=False
    )
    edges = pipeline(tmp_path, postprocessors=(LostInTheMiddle(),))
    result = evaluate_retrieval(edges, retrieval_set, index=tmp_path / "ix", timed=False)
    assert result.metrics["mrr@10"].value <= plain.metrics["mrr@10"].value
    assert result.run.keys() == plain.run.keys()
    reranker = OnnxReranker(model=str(model_fixtures.cross_encoder(tmp_path / "m")), depth=5)
    reranked_pipeline = pipeline(tmp_path, postprocessors=(reranker,))
    reranked = evaluate_retrieval(
        reranked_pipeline, retrieval_set, index=tmp_path / "ix", timed=False
    )
    assert reranked.metrics["recall@100"].value == plain.metrics["recall@100"].value


def test_tuning_says_what_it_buys(dataset: Path, tmp_path: Path) -> None:
    retrieval_set = load_retrieval_set(dataset)
    base = pipeline(tmp_path, retriever=HybridRetriever(weight=1.0, feedback=0))
    tuned = tune(
        base,
        retrieval_set,
        index=tmp_path / "ix",
        sizes=(64, 256),
        weights=(0.0, 0.5, 1.0),
        sample=16,
    )
    assert tuned.after.value >= tuned.before.value
    assert tuned.gain.estimate.value <= tuned.after.value - tuned.before.value + 1e-9
    assert tuned.settings.keys() == {"size", "weight", "k"}
    assert tuned.worth_it == (tuned.gain.estimate.low > 0)
    assert Pipeline.from_yaml(tuned.pipeline.to_yaml()) == tuned.pipeline
    assert len(tuned.tried) == 6  # what is the same as the base is not tried again
    with pytest.raises(ConfigError, match="nothing to tune"):
        tune(
            pipeline(tmp_path, retriever=DenseRetriever()),
            retrieval_set,
            index=tmp_path / "ix",
            sizes=(256,),
        )


def test_a_reranker_that_makes_it_worse_is_left_out(dataset: Path, tmp_path: Path) -> None:
    retrieval_set = load_retrieval_set(dataset)
    reranker = OnnxReranker(model=str(model_fixtures.cross_encoder(tmp_path / "m")), depth=50)
    base = pipeline(tmp_path, postprocessors=(reranker,), retriever=LexicalRetriever())
    tuned = tune(base, retrieval_set, index=tmp_path / "ix", sizes=(256,), depths=(10,))
    assert tuned.settings["depth"] == 0
    assert tuned.pipeline.postprocessors == ()


def test_too_few_questions(dataset: Path, tmp_path: Path) -> None:
    retrieval_set = load_retrieval_set(dataset)
    few = type(retrieval_set)(
        retrieval_set.corpus,
        dict(list(retrieval_set.queries.items())[:3]),
        dict(list(retrieval_set.judgements.items())[:3]),
    )
    with pytest.raises(QueryError, match="too few"):
        tune(pipeline(tmp_path), few, index=tmp_path / "ix")


# -- commands ------------------------------------------------------------------------------


def test_the_command(rag: Callable[..., Any], dataset: Path, tmp_path: Path) -> None:
    ran = rag("eval", "retrieval", dataset, "--index", "kept", "--json")
    assert ran.code == 0
    report = ran.json
    assert report["ndcg@10"].keys() == {"value", "low", "high"}
    assert report["ndcg@10"]["low"] <= report["ndcg@10"]["value"] <= report["ndcg@10"]["high"]
    assert {"map", "mrr@10", "recall@10", "recall@100", "judged@10", "latency_ms"} <= report.keys()
    assert (report["queries"], report["documents"]) == (16, 40)
    assert "not ingested: " in ran.err and "empty" in ran.err
    lexical = rag("eval", "retrieval", dataset, "--index", "kept", "--retriever", "lexical")
    assert "16 queries, 40 documents" in lexical.out
    small = rag("eval", "retrieval", dataset, "--embedder", "static", "--sample", "4", "--json")
    assert small.json["queries"] == 4
    (tmp_path / "a.yaml").write_text("retriever: {type: dense}\n")
    (tmp_path / "b.yaml").write_text("retriever: {type: lexical}\n")
    compared = rag(
        "eval", "retrieval", dataset, "--index", "kept", "--compare", "a.yaml", "b.yaml", "--json"
    )
    assert compared.json["difference"]["ndcg@10"].keys() == {"value", "low", "high", "p"}


def test_runs_out_and_in(rag: Callable[..., Any], tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    (folder / "corpus.jsonl").write_text(
        '{"_id": "1", "text": "a valve"}\n{"_id": "2", "text": "b"}'
    )
    (folder / "asked.jsonl").write_text('{"_id": "q", "text": "valve"}')
    (folder / "qrels.tsv").write_text("q\t1\t1\n")
    query_options = ("--queries", "asked.jsonl")
    out = rag("eval", "retrieval", folder, *query_options, "--run-out", "x.run", "--json")
    assert read_run(tmp_path / "x.run")["q"].keys() >= {"1"}
    back = rag("eval", "retrieval", folder, *query_options, "--run-in", "x.run", "--json")
    assert back.json["ndcg@10"] == out.json["ndcg@10"]
    (tmp_path / "other.run").write_text("z Q0 1 1 1.0 t\n")
    assert rag("eval", "retrieval", folder, *query_options, "--run-in", "other.run").code == 2
    assert rag("eval", "retrieval", tmp_path / "none").code == 2
    wrong = rag("eval", "retrieval", folder, *query_options, "--retriever", "nothing")
    assert wrong.code == 2 and "no retriever is registered as 'nothing'" in wrong.err


@pytest.mark.slow
def test_the_tune_command(rag: Callable[..., Any], dataset: Path, tmp_path: Path) -> None:
    ran = rag("tune", dataset, "--index", "kept", "--sample", "10", "-o", "best.yaml")
    assert ran.code == 0
    assert "gain" in ran.out and "Written to best.yaml" in ran.out
    assert Pipeline.from_yaml(tmp_path / "best.yaml").k in (4, 6, 8, 12, 16, 24)
    assert "parser" not in (tmp_path / "best.yaml").read_text()
    assert rag("tune", dataset, "--metric", "bleu").code == 2


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "floor"),
    [("cranfield", 0.520), ("cisi", 0.387), ("hotpotqa", 0.805), ("musique", 0.570)],
)
def test_the_default_is_as_good_as_it_was(
    name: str, floor: float, data: Path, tmp_path: Path
) -> None:
    retrieval_set = load_retrieval_set(data / "retrieval" / name)
    values = {
        retriever.name: evaluate_retrieval(
            pipeline(tmp_path, retriever=retriever),
            retrieval_set,
            index=tmp_path / "ix",
            timed=False,
        )
        .metrics["ndcg@10"]
        .value
        for retriever in (HybridRetriever(), DenseRetriever(), LexicalRetriever())
    }
    assert values["hybrid"] >= floor
    assert values["hybrid"] >= max(values.values()) - 0.005
