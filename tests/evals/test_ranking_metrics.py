"""Metrics of rankings: equal to trec_eval's, whatever the ties."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import pytrec_eval
from hypothesis import given, settings
from hypothesis import strategies as st

from evals.datasets import load_retrieval_set, read_qrels
from evals.ranking_metrics import METRICS, per_query, ranked, read_run, write_run
from rag.errors import QueryError, SourceNotFound

NAMES = st.sampled_from([f"{letter}{i}" for letter in ("d", "é", "Z", "日") for i in range(40)])
SCORES = st.one_of(
    st.sampled_from([0.0, 0.5, 1.0, 2.0]),
    st.floats(-10, 10),
    st.floats(1, 1.0000001),
    st.sampled_from([1e30, -1e30]),
)
RUNS = st.dictionaries(NAMES, SCORES, min_size=1, max_size=130)
JUDGED = st.dictionaries(NAMES, st.integers(-1, 4), min_size=1, max_size=30).filter(
    lambda judged: any(score > 0 for score in judged.values())
)
THEIRS = {
    "ndcg@10": "ndcg_cut_10",
    "map": "map",
    "recall@10": "recall_10",
    "recall@100": "recall_100",
    "precision@10": "P_10",
}


@given(RUNS, JUDGED)
@settings(max_examples=400)
def test_equal_to_trec_eval(run: dict[str, float], judged: dict[str, int]) -> None:
    measures = {"ndcg_cut.10", "map", "recall.10,100", "recip_rank", "P.10"}
    theirs = pytrec_eval.RelevanceEvaluator({"q": judged}, measures).evaluate({"q": run})["q"]
    ours = per_query({"q": run}, {"q": judged})
    for name, their in THEIRS.items():
        assert ours[name][0] == pytest.approx(theirs[their], abs=1e-6), name
    ours_rr, their_rr = ours["mrr@10"][0], theirs["recip_rank"]
    assert ours_rr == pytest.approx(their_rr if their_rr >= 0.1 - 1e-9 else 0.0, abs=1e-6)
    first = ranked(run)[:10]
    assert ours["judged@10"][0] == pytest.approx(sum(name in judged for name in first) / 10)
    assert all(0 <= values[0] <= 1 for values in ours.values())
    assert ours.keys() == METRICS.keys()


def test_a_query_that_was_not_asked_counts_zero() -> None:
    found = per_query({}, {"q": {"d": 1}})
    assert all(values == [0.0] for values in found.values())


@given(st.dictionaries(st.sampled_from(["1", "q2"]), RUNS, max_size=2))
@settings(max_examples=30)
def test_runs_are_read_as_they_were_written(
    tmp_path_factory: pytest.TempPathFactory, run: dict[str, dict[str, float]]
) -> None:
    path = tmp_path_factory.mktemp("r") / "run"
    write_run(run, path)
    assert read_run(path) == run
    for line in path.read_text(encoding="utf-8").splitlines():
        assert len(line.split()) == 6


def test_a_name_with_a_blank_is_no_part_of_a_run(tmp_path: Path) -> None:
    with pytest.raises(QueryError, match="'a b'"):
        write_run({"q": {"a b": 1.0}}, tmp_path / "run")


@pytest.mark.parametrize(
    "text", ["q Q0 d 1 0.5", "q Q0 d 1 x t", "q Q0 d 1 nan t", "q Q0 d 1 1 t\nq Q0 d 2 2 t", "\xff"]
)
def test_what_is_no_run(text: str, tmp_path: Path) -> None:
    path = tmp_path / "run"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(QueryError, match="run"):
        read_run(path)
    with pytest.raises(QueryError, match="cannot read"):
        read_run(tmp_path / "none")


# -- data sets -----------------------------------------------------------------------------


def write_set(folder: Path, qrels: str, name: str = "qrels.tsv") -> Path:
    folder.mkdir(exist_ok=True)
    rows = [{"_id": f"d {i}", "title": f"T{i}", "text": f"text number {i}"} for i in range(3)]
    (folder / "corpus.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    asked = [{"_id": "q1", "text": "one"}, {"_id": "q2", "text": "two"}]
    (folder / "queries.jsonl").write_text("\n".join(map(json.dumps, asked)))
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
def test_a_set_is_read(qrels: str, tmp_path: Path) -> None:
    found = load_retrieval_set(write_set(tmp_path / "s", qrels))
    assert found.queries == {"q1": "one"}
    assert found.judgements == {"q1": {"d 1": 2}}
    assert sorted(found.uris().values()) == ["d 0", "d 1", "d 2"]


def test_qrels_of_trec_and_of_beir(tmp_path: Path) -> None:
    (tmp_path / "trec").write_text("1 0 doc-1 1\n1 0 doc-2 0\n")
    assert read_qrels(tmp_path / "trec") == {"1": {"doc-1": 1, "doc-2": 0}}
    folder = write_set(tmp_path / "s", "query-id\tcorpus-id\tscore\nq2\td 2\t1\n", "qrels/test.tsv")
    assert load_retrieval_set(folder).judgements == {"q2": {"d 2": 1}}


def test_a_byte_order_mark_hides_nothing(tmp_path: Path) -> None:
    folder = write_set(tmp_path / "s", "q1\td 1\t2\n")
    for name in ("corpus.jsonl", "queries.jsonl", "qrels.tsv"):
        (folder / name).write_bytes(b"\xef\xbb\xbf" + (folder / name).read_bytes())
    found = load_retrieval_set(folder)
    assert found.judgements == {"q1": {"d 1": 2}}
    assert len(found.uris()) == 3
    (tmp_path / "run").write_bytes(b"\xef\xbb\xbfq1 Q0 d 1 0.5 t\n")
    assert read_run(tmp_path / "run") == {"q1": {"d": 0.5}}


@pytest.mark.parametrize("score", ["inf", "nan", "0.7", "x"])
def test_a_judgement_is_a_whole_number(score: str, tmp_path: Path) -> None:
    (tmp_path / "qrels").write_text(f"q1\td1\t1\nq1\td2\t{score}\n")
    with pytest.raises(QueryError, match="line 2"):
        read_qrels(tmp_path / "qrels")


def test_what_is_no_set(tmp_path: Path) -> None:
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


def test_ndcg_by_hand() -> None:
    judged = {"a": 2, "b": 1}
    found = per_query({"q": {"x": 3.0, "b": 2.0, "a": 1.0}}, {"q": judged})
    gain = 1 / math.log2(3) + 2 / math.log2(4)
    assert found["ndcg@10"] == [pytest.approx(gain / (2 + 1 / math.log2(3)))]
    assert found["map"] == [pytest.approx((1 / 2 + 2 / 3) / 2)]
    assert found["mrr@10"] == [0.5]
