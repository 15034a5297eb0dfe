"""``rag monitor`` and ``rag ask --since``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import CommandResult

Rag = Callable[..., CommandResult]
QUESTION = "What does the H-120 cost?"


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    folder = tmp_path / "docs"
    folder.mkdir()
    write_price(folder, 450)
    (folder / "office.md").write_text("# Office\n\nThe office in Oslo opens at 8 a.m.\n")
    rows = [{"question": QUESTION}, {"question": "When does the Oslo office open?"}]
    (tmp_path / "q.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder


def write_price(folder: Path, price: int) -> None:
    (folder / "heater.md").write_text(f"# Heater\n\nThe H-120 costs {price} euros.\n")


def test_monitor_prints_the_answers_that_changed(rag: Rag, docs: Path) -> None:
    first = rag("monitor", "q.jsonl", docs)
    assert first.code == 0 and "2 questions: 0 changed, 2 without an earlier answer" in first.out
    write_price(docs, 480)
    changed = rag("monitor", "q.jsonl", docs, "--exit-code")
    assert changed.code == 1
    assert "- The H-120 costs 450 euros." in changed.out
    assert "+ The H-120 costs 480 euros." in changed.out
    assert "(the document no longer says so)" in changed.out
    assert "Oslo" not in changed.out
    again = rag("monitor", "q.jsonl", "--exit-code", "--json")
    assert again.code == 0 and again.json["changed"] == 0


def test_ask_since_and_monitor_have_their_own_earlier_answers(rag: Rag, docs: Path) -> None:
    rag("monitor", "q.jsonl", docs)
    result = rag("ask", QUESTION, "--since", "last")
    assert "there is no earlier answer" in result.out
    write_price(docs, 480)
    rag("ingest", docs)
    result = rag("ask", QUESTION, "--since", "last")
    assert "+ The H-120 costs 480 euros." in result.out
    assert "1 changed" in rag("monitor", "q.jsonl").out


def test_a_question_that_fails_is_named_and_the_others_go_on(rag: Rag, docs: Path) -> None:
    long_question = "word " * 6_000
    rows = [{"question": long_question}, {"question": QUESTION}]
    Path(docs.parent / "q.jsonl").write_text("\n".join(map(json.dumps, rows)))
    result = rag("monitor", "q.jsonl", docs, "--json")
    assert result.code == 1
    assert [failure["question"] for failure in result.json["failures"]] == [long_question]
    assert [change["question"] for change in result.json["changes"]] == [QUESTION]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("monitor", "none.jsonl"), "cannot read the questions"),
        (("monitor", "q.jsonl", "--sync"), "--sync needs `sources`"),
        (("ask", QUESTION, "--since", "yesterday"), "is no date such as 2026-11-01"),
        (("ask", QUESTION, "--since", "last", "--stream"), "--since cannot be used with"),
    ],
)
def test_wrong_use(rag: Rag, docs: Path, arguments: tuple[str, ...], message: str) -> None:
    result = rag(*arguments)
    assert result.code == 2 and message in result.err
