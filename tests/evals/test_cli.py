"""The commands, as processes: what they print, and how they end."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import CommandResult

LINES = [
    {"id": "1", "question": "How long does the battery last?", "answers": ["34 minutes"]},
    {"id": "2", "question": "What are the propellers made of?", "answers": ["nylon"]},
    {"id": "3", "question": "What is the capital of Mongolia?", "answerable": False},
]


@pytest.fixture
def questions(tmp_path: Path, folder: Path, rag: Callable[..., CommandResult]) -> str:
    rag("ingest", str(folder))
    text = "\n".join(map(json.dumps, LINES)) + "\n"
    (tmp_path / "q.jsonl").write_text(text, encoding="utf-8")
    return "q.jsonl"


def test_run_compare_and_gates(
    questions: str, tmp_path: Path, rag: Callable[..., CommandResult]
) -> None:
    ran = rag("eval", "run", questions, "--out", "one")
    assert ran.code == 0 and "Cost: $0" in ran.err
    assert "faithfulness" in ran.out and "2 scored of 3 (1 not applicable)" in ran.out
    assert (tmp_path / "one" / "report.html").is_file()
    second_run = rag(
        "eval", "run", questions, "--out", "two", "--json", "--metrics", "text,faithfulness"
    )
    assert second_run.code == 0 and set(second_run.json["metrics"]) >= {
        "rouge_l",
        "faithfulness",
        "bleu",
    }
    assert {"value", "low", "high", "n", "scored", "failed"} <= set(
        second_run.json["metrics"]["rouge_l"]
    )
    compared = rag("eval", "compare", "one", "two", "--json")
    assert compared.json["metrics"]["faithfulness"]["difference"]["value"] == 0
    assert rag("eval", "compare", "one", "nothing").code == 2
    assert "report.html" in rag("eval", "report", "one").out


def test_exit_codes(questions: str, rag: Callable[..., CommandResult]) -> None:
    def code(*more: str) -> int:
        return rag("eval", "run", questions, "--out", "r", "--metrics", "all", *more).code

    assert code("--gate", "exact_match>=0.3") == 4  # two questions say too little
    assert code("--gate", "answer_rate>=0.2") == 0
    assert code("--gate", "precision@10>=0.9", "--baseline", "r") == 4
    assert code("--gate", "nonsense>=0.9") == 2
    assert code("--backend", "llm") == 2
    assert rag("eval", "run", "none.jsonl").code == 2
    assert rag("eval", "run", questions, "--index", "nowhere").code == 2  # 1 is a regression


def test_too_many_failures(
    questions: str, tmp_path: Path, rag: Callable[..., CommandResult]
) -> None:
    (tmp_path / "p.yaml").write_text(
        "generator: {type: grounded, model: {type: scripted, replies: [x]}}", encoding="utf-8"
    )
    ran = rag("eval", "run", questions, "-p", "p.yaml", "--out", "r")
    assert ran.code == 3 and "2 of 3 questions failed" in ran.err
    assert "2 failed: " in ran.out
    gated = rag("eval", "run", questions, "-p", "p.yaml", "--out", "s", "--gate", "token_f1>=0.1")
    assert gated.code == 3 and "too many failures" in gated.out


def test_generate_label_calibrate(
    questions: str, tmp_path: Path, rag: Callable[..., CommandResult]
) -> None:
    ran = rag("eval", "generate", "-n", "4", "-o", "g.jsonl", "--json")
    assert ran.code == 0 and ran.json["questions"] >= 2
    assert rag("eval", "run", "g.jsonl", "--out", "g").code == 0
    judged = rag("eval", "label", "g", "--terminal", stdin="y\nq\n")
    assert judged.code == 0 and "1 labelled" in judged.out
    rows = [
        {
            "answer": f"It lasts {n if ok else n + 1} minutes.",
            "contexts": [f"It lasts {n} minutes."],
        }
        | {"label": ok}
        for n in range(10, 40)
        for ok in (0, 1)
    ]
    (tmp_path / "l.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    calibration = rag(
        "eval", "calibrate", "l.jsonl", "--metric", "faithfulness", "--json", "-o", "c.json"
    )
    assert calibration.json["n"] == 60 and calibration.json["auroc"] == 1.0
    assert calibration.json["auroc_interval"][0] <= 1.0
    assert "AUROC" in rag("eval", "calibrate", "l.jsonl").out
    with_it = rag("eval", "run", questions, "--out", "r", "--calibration", "c.json", "--json")
    assert 0 <= with_it.json["corrected"]["faithfulness"]["low"] <= 1
    assert rag("eval", "run", questions, "--calibration", "q.jsonl").code == 2


def test_robustness_embeddings_and_metrics(
    questions: str, tmp_path: Path, rag: Callable[..., CommandResult]
) -> None:
    lines = [line | {"gold": ["handbook.md"]} for line in LINES[:2]]
    (tmp_path / "g.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    completed = rag("eval", "robustness", "g.jsonl", "--json", "--passages", "1")
    assert completed.json["noise"][0]["value"] is not None
    assert "determinism runs" in rag("eval", "embeddings", "--bias").out
    listed = rag("eval", "metrics", "--json").json
    assert {m["name"] for m in listed} >= {"faithfulness", "citation_recall", "refusal_f1", "map"}
