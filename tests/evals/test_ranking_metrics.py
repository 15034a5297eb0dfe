"""Ranking metrics equal trec_eval's, also with ties; retrieval sets and qrels are read."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import pytrec_eval
from hypothesis import given, settings
from hypothesis import strategies as st

from evals.datasets import load_retrieval_set, read_qrels
from evals.ranking_metrics import METRICS, rank_documents, read_run, score_queries, write_run
from rag.errors import QueryError, SourceNotFound

NAMES = st.sampled_from([f"{letter}{i}" for letter in ("d", "é", "Z", "日") for i in range(40)])
SCORES = st.one_of(
    st.sampled_from([0.0, 0.5, 1.0, 2.0]),
    st.floats(-10, 10),
    st.floats(1, 1.0000001),
    st.sampled_from([1e30, -1e30]),
)
RUNS = st.dictionaries(NAMES, SCORES, min_size=1, max_size=130)
JUDGEMENTS = st.dictionaries(NAMES, st.integers(-1, 4), min_size=1, max_size=30).filter(
    lambda judged: any(score > 0 for score in judged.values())
)
TREC_EVAL_NAMES = {
    "ndcg@10": "ndcg_cut_10",
    "map": "map",
    "recall@10": "recall_10",
    "recall@100": "recall_100",
    "precision@10": "P_10",
}


@given(RUNS, JUDGEMENTS)
@settings(max_examples=400)
def test_metrics_equal_trec_eval(run: dict[str, float], judged: dict[str, int]) -> None:
    measures = {"ndcg_cut.10", "map", "recall.10,100", "recip_rank", "P.10"}
    theirs = pytrec_eval.RelevanceEvaluator({"q": judged}, measures).evaluate({"q": run})["q"]
    ours = score_queries({"q": run}, {"q": judged})
    for name, trec_eval_name in TREC_EVAL_NAMES.items():
        assert ours[name][0] == pytest.approx(theirs[trec_eval_name], abs=1e-6), name
    reciprocal_rank = theirs["recip_rank"]
    expected_mrr = reciprocal_rank if reciprocal_rank >= 0.1 - 1e-9 else 0.0
    assert ours["mrr@10"][0] == pytest.approx(expected_mrr, abs=1e-6)
    first_ten = rank_documents(run)[:10]
    assert ours["judged@10"][0] == pytest.approx(sum(name in judged for name in first_ten) / 10)
    assert all(0 <= values[0] <= 1 for values in ours.values())
    assert ours.keys() == METRICS.keys()


def test_query_missing_from_the_run_scores_zero() -> None:
    values_by_metric = score_queries({}, {"q": {"d": 1}})
    assert all(values == [0.0] for values in values_by_metric.values())


@given(st.dictionaries(st.sampled_from(["1", "q2"]), RUNS, max_size=2))
@settings(max_examples=30)
def test_read_run_inverts_write_run(
    tmp_path_factory: pytest.TempPathFactory, run: dict[str, dict[str, float]]
) -> None:
    path = tmp_path_factory.mktemp("r") / "run"
    write_run(run, path)
    assert read_run(path) == run
    for line in path.read_text(encoding="utf-8").splitlines():
        assert len(line.split()) == 6


def test_write_run_rejects_ids_with_spaces(tmp_path: Path) -> None:
    with pytest.raises(QueryError, match="'a b'"):
        write_run({"q": {"a b": 1.0}}, tmp_path / "run")


@pytest.mark.parametrize(
    "text", ["q Q0 d 1 0.5", "q Q0 d 1 x t", "q Q0 d 1 nan t", "q Q0 d 1 1 t\nq Q0 d 2 2 t", "\xff"]
)
def test_read_run_rejects_invalid_files(text: str, tmp_path: Path) -> None:
    path = tmp_path / "run"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(QueryError, match="run"):
        read_run(path)
    with pytest.raises(QueryError, match="cannot read"):
        read_run(tmp_path / "none")


# -- retrieval sets -----------------------------------------------------------------------------


def write_set(folder: Path, qrels: str, name: str = "qrels.tsv") -> Path:
    folder.mkdir(exist_ok=True)
    rows = [{"_id": f"d {i}", "title": f"T{i}", "text": f"text number {i}"} for i in range(3)]
    (folder / "corpus.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    queries = [{"_id": "q1", "text": "one"}, {"_id": "q2", "text": "two"}]
    (folder / "queries.jsonl").write_text("\n".join(map(json.dumps, queries)))
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text(qrels)
    return folder


@pytest.mark.parametrize(
    "qrels",
    [
        "query-id\tcorpus-id\tscore\nq1\td 1\t2\nq2\td 0\t0\nq9\td 1\t1\n",
        "q1\td 1\t2\r\n\r\nq2\td 0\t0\r\n",
        "q1\t0\td 1\t2\nq2\t0\td 0\t0\n",
    ],
)
def test_retrieval_set_is_read_with_every_qrels_format(qrels: str, tmp_path: Path) -> None:
    retrieval_set = load_retrieval_set(write_set(tmp_path / "s", qrels))
    assert retrieval_set.queries == {"q1": "one"}
    assert retrieval_set.judgements == {"q1": {"d 1": 2}}
    assert sorted(retrieval_set.uris().values()) == ["d 0", "d 1", "d 2"]


def test_qrels_in_trec_and_beir_layouts_are_read(tmp_path: Path) -> None:
    (tmp_path / "trec").write_text("1 0 doc-1 1\n1 0 doc-2 0\n")
    assert read_qrels(tmp_path / "trec") == {"1": {"doc-1": 1, "doc-2": 0}}
    folder = write_set(tmp_path / "s", "query-id\tcorpus-id\tscore\nq2\td 2\t1\n", "qrels/test.tsv")
    assert load_retrieval_set(folder).judgements == {"q2": {"d 2": 1}}


def test_byte_order_marks_are_ignored(tmp_path: Path) -> None:
    folder = write_set(tmp_path / "s", "q1\td 1\t2\n")
    for name in ("corpus.jsonl", "queries.jsonl", "qrels.tsv"):
        (folder / name).write_bytes(b"\xef\xbb\xbf" + (folder / name).read_bytes())
    retrieval_set = load_retrieval_set(folder)
    assert retrieval_set.judgements == {"q1": {"d 1": 2}}
    assert len(retrieval_set.uris()) == 3
    (tmp_path / "run").write_bytes(b"\xef\xbb\xbfq1 Q0 d 1 0.5 t\n")
    assert read_run(tmp_path / "run") == {"q1": {"d": 0.5}}


@pytest.mark.parametrize("score", ["inf", "nan", "0.7", "x"])
def test_qrels_reject_judgements_that_are_not_integers(score: str, tmp_path: Path) -> None:
    (tmp_path / "qrels").write_text(f"q1\td1\t1\nq1\td2\t{score}\n")
    with pytest.raises(QueryError, match="line 2"):
        read_qrels(tmp_path / "qrels")


def test_load_retrieval_set_rejects_invalid_folders(tmp_path: Path) -> None:
    with pytest.raises(SourceNotFound, match=r"corpus\.jsonl"):
        load_retrieval_set(tmp_path)
    folder = write_set(tmp_path / "s", "q1\td 1\t0\n")
    with pytest.raises(QueryError, match="none of the 2 queries"):
        load_retrieval_set(folder)
    with pytest.raises(SourceNotFound, match=r"no other\.tsv"):
        load_retrieval_set(folder, qrels=Path("other.tsv"))
    (folder / "qrels.tsv").write_text("q1\td 1\t1\nq1 d\n")
    with pytest.raises(QueryError, match="line 2"):
        load_retrieval_set(folder)
    (folder / "qrels.tsv").write_text("q1\td 1\t1\n")
    (folder / "queries.jsonl").write_text("{}\n")
    with pytest.raises(QueryError, match="line 1: not a query"):
        load_retrieval_set(folder)


def test_metrics_of_a_ranking_computed_by_hand() -> None:
    judged = {"a": 2, "b": 1}
    values = score_queries({"q": {"x": 3.0, "b": 2.0, "a": 1.0}}, {"q": judged})
    gain = 1 / math.log2(3) + 2 / math.log2(4)
    assert values["ndcg@10"] == [pytest.approx(gain / (2 + 1 / math.log2(3)))]
    assert values["map"] == [pytest.approx((1 / 2 + 2 / 3) / 2)]
    assert values["mrr@10"] == [0.5]
