"""The programs of the gallery run, and each is short enough to read at once."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from pipelines.gallery import (
    chat_with_folder,
    compare_contracts,
    invoices_to_table,
    nightly_evaluation,
    wiki_bot,
)
from rag import Pipeline, ScriptedChat
from tests.conftest import ROOT
from tests.connectors.servers import serve_site


def test_the_programs_have_under_fifty_lines() -> None:
    programs = [p for p in (ROOT / "pipelines" / "gallery").glob("*.py") if p.stem != "__init__"]
    assert len(programs) == 5
    for program in programs:
        assert len(program.read_text(encoding="utf-8").splitlines()) < 50, program.name


def test_chat_with_a_folder(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    questions = iter(["How long does the battery last?", "And charging?", "Who was Mozart?"])

    def answer_prompt(_: str) -> str:
        try:
            return next(questions)
        except StopIteration:
            raise EOFError from None

    monkeypatch.setattr("builtins.input", answer_prompt)
    chat_with_folder.main(str(folder))
    out = capsys.readouterr().out
    assert "2 new, 0 changed, 0 failed" in out
    assert "34 minutes" in out and "90 minutes" in out and "close: " in out
    assert "NOT VERIFIED" not in out
    chat_with_folder.main(str(folder))
    assert "0 new, 0 changed" in capsys.readouterr().out


def test_a_bot_over_a_wiki(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with serve_site() as site:
        site["/"] = '<h1>Wiki</h1><p>See <a href="/leave.html">leave</a> for holidays.</p>'
        site["/leave.html"] = "<h1>Leave</h1><p>Every employee has 28 days of leave a year.</p>"
        messages = ["How many days of leave are there?\n", "\n", "Who won the match in 1954?\n"]
        wiki_bot.main(f"{site.url}/", messages, tmp_path / "index", allow_private=True)
        out = capsys.readouterr().out
        assert "28 days of leave" in out and f"({site.url}/leave.html)" in out
        assert "The wiki does not say." in out


def test_a_nightly_evaluation(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    questions = tmp_path / "questions.jsonl"
    rows = [
        {"question": "How long does a full battery last?", "answers": ["34 minutes"]},
        {"question": "What are the propellers made of?", "answers": ["nylon"]},
    ]
    questions.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    assert nightly_evaluation.main(folder, questions, tmp_path / "runs") == 0
    assert "quote_accuracy" in capsys.readouterr().out
    assert nightly_evaluation.main(folder, questions, tmp_path / "runs") == 0
    assert len(list((tmp_path / "runs").iterdir())) == 2


def test_invoices_to_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.md").write_text(
        "# Invoice 2025-17\n\nDate: 3 May 2025\n\nSupplier: Kestrel Ltd\n\n"
        "The total is 480 euros.\n"
    )
    values = {"number": "2025-17", "date": "3 May 2025", "supplier": "Kestrel Ltd"}
    reply = json.dumps({**values, "total": "480 euros"})
    invoices_to_table.main(tmp_path, ScriptedChat(replies=(reply,)))
    (row,) = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert (row["file"], row["number"], row["total"]) == ("a.md", "2025-17", "480 euros")
    assert row["total_quote"] == "The total is 480 euros."
    wrong = json.dumps({**values, "total": "970 euros"})
    invoices_to_table.main(tmp_path, ScriptedChat(replies=(wrong,)))
    captured = capsys.readouterr()
    (row,) = csv.DictReader(io.StringIO(captured.out))
    assert row["total"] == "" and "no passage supports total '970 euros'" in captured.err


def test_a_comparison_of_two_contracts(tmp_path: Path) -> None:
    old, new = tmp_path / "old.md", tmp_path / "new.md"
    text = (
        "# Lease\n\n## Notice\n\nThe notice period is {} months.\n\n## Law\n\nGerman law applies.\n"
    )
    old.write_text(text.format("three"))
    new.write_text(text.format("six"))
    lines = compare_contracts.compare([old, new]).splitlines()
    assert lines[0] == "| point | old.md | new.md |"
    assert lines[2] == (
        "| How long is the notice period? **differs** | “The notice period is three months.” "
        "| “The notice period is six months.” |"
    )
    assert lines[5] == ("| Which law applies? | “German law applies.” | “German law applies.” |")


def test_a_pipe_in_a_quote_does_not_break_the_table(tmp_path: Path) -> None:
    path = tmp_path / "a.md"
    path.write_text("# Lease\n\nThe notice period is three | four months.\n")
    with Pipeline(index=tmp_path / "index") as pipeline:
        pipeline.ingest(path)
        cell = compare_contracts.quote(pipeline, "What is the notice period?", path.as_uri())
    assert "three \\| four" in cell
