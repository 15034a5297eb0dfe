"""What the commands print: help, JSON, progress and a closed stdout."""

import contextlib
import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from rag import GroundedGenerator, ScriptedChat
from rag.cli.output import print_draft
from rag.types import Chunk, Hit
from tests.cli.conftest import Rag


def test_help_lists_every_command(rag: Rag) -> None:
    help_text = rag("--help").out
    for command in ("ingest", "search", "ask", "chat", "show", "stats", "doctor", "prompts"):
        assert f"  {command} " in help_text
        assert rag(command, "--help").code == 0


def test_a_draft_that_is_not_in_the_answer_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    hit = Hit(chunk=Chunk(id="a", uri="a", start=0, end=14, text="Lasts 34 days."), score=1.0)
    reply = "It was invented by llamas\x1b in Peru [1]."
    generator = GroundedGenerator(model=ScriptedChat(replies=(reply,)), fallback=None)
    print_draft(generator.answer("How long does it last?", [hit]), err=True)
    error = capsys.readouterr().err
    assert "the model's draft was: It was invented by llamas" in error and "\x1b" not in error


def test_json_output_is_one_document(ingested_rag: Rag) -> None:
    for command in (("ingest", "docs"), ("search", "x"), ("ask", "x"), ("stats",), ("doctor",)):
        json.loads(ingested_rag(*command, "--json").out)


def test_closed_stdout_ends_without_an_error(ingested_rag: Rag, tmp_path: Path) -> None:
    command = Path(sys.executable).with_name("rag")
    process = subprocess.Popen(
        [str(command), "search", "battery", "--json"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    err = process.stderr.read()
    process.stderr.close()
    assert process.wait() == 0
    assert b"Traceback" not in err


def test_terminal_progress_shows_documents_and_rate(tmp_path: Path, folder: Path) -> None:
    """Progress is drawn on stderr; the summary on stdout stays clean."""
    for i in range(1_500):
        (folder / f"{i}.txt").write_text(f"Text number {i}.")
    terminal, child_terminal = pty.openpty()
    command = [str(Path(sys.executable).with_name("rag")), "ingest", "docs"]
    process = subprocess.Popen(
        command,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=child_terminal,
        text=True,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "120"},
    )
    os.close(child_terminal)
    screen = b""
    with contextlib.suppress(OSError):  # how a terminal ends
        while output := os.read(terminal, 65_536):
            screen += output
    os.close(terminal)
    out, _ = process.communicate()
    assert process.returncode == 0
    assert "1,502 added" in out
    assert "of 1,502 documents" in screen.decode()
    assert "documents/s" in screen.decode()


def test_progress_line_shows_counts_and_remaining_time() -> None:
    from rag.cli.output import format_duration, format_progress
    from rag.ingestion import Failure, IngestReport

    report = IngestReport(added=100, chunks=900, seconds=60.0, total=1_101)
    report.failed.append(Failure("u", "broken"))
    assert format_progress(report) == (
        "101 of 1,101 documents, 900 chunks, 1.7 documents/s, 1 failed, 9 min 54 s left"
    )
    assert format_progress(IngestReport(added=3)) == "3 documents, 0 chunks"
    assert format_duration(7_260) == "2 h 1 min"
    assert format_duration(0.2) == "0 s"
