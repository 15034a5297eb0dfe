"""Files that are no documents are skipped and named, wherever they are listed."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import pytest

from connectors import Files
from connectors.file_names import explain_skip
from connectors.parsers.omissions import OmissionLog
from connectors.parsers.text import TextParser
from rag import Document, Pipeline
from rag.cli.output import print_report
from tests.conftest import CommandResult
from tests.connectors.parsing import parse_parts


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("~$report.docx", "the lock file of an open Office document"),
        (".~lock.report.odt#", "the lock file of an open document"),
        ("Thumbs.db", "thumbnails of Windows"),
        ("desktop.ini", "folder settings of Windows"),
        ("film.pdf.part", "an incomplete download"),
        ("film.pdf.crdownload", "an incomplete download"),
        ("~WRL0003.tmp", "a temporary file"),
        (".notes.md.swp", "the swap file of an editor"),
        ("notes.md~", "a backup copy"),
        ("notes.md.~1~", "a backup copy"),
        ("#notes.md#", "a backup copy"),
        ("notes.bak", "a backup copy"),
        ("notes.md.orig", "a backup copy"),
        ("Backup of plan.wbk", "a backup copy"),
        ("отчет (конфликтующая копия Ann).md", "a conflicted copy"),
        ("~WRD0000.docx", "a temporary file"),
        ("fares (Ann's conflicted copy 2025-02-01).xlsx", "a conflicted copy"),
        ("fares.sync-conflict-20250201-101500-ABCDEFG.md", "a conflicted copy"),
        ("fares (In Konflikt stehende Kopie von Ann).xlsx", "a conflicted copy"),
        ("report.docx", ""),
        ("#1 plan.md", ""),
        ("bakery.md", ""),
        ("part.md", ""),
        ("notes~1.md", ""),
        ("C#.md", ""),
        ("conflict resolution.md", ""),
        ("a.part.md", ""),
        ("originals.md", ""),
        ("~", ""),
        ("Policy (conflict of interest).md", ""),
        ("Guide to conflicted copy.md", ""),
        ("dev_conflict-2024 report.md", ""),
        ("Backup of databases.md", ""),
        ("Body.temp", ""),
    ],
)
def test_names_of_files_that_are_no_documents(name: str, reason: str) -> None:
    assert explain_skip(name) == reason


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    files = tmp_path / "files"
    files.mkdir()
    (files / "fares.md").write_text("A ticket costs ten euros.")
    (files / "fares.md~").write_text("A ticket costs eight euros.")
    (files / "~$fares.docx").write_bytes(b"\x05Ann" + bytes(50))
    with zipfile.ZipFile(files / "old.zip", "w") as archive:
        archive.writestr("boats.md", "Two boats sail.")
        archive.writestr("boats.bak", "One boat sails.")
    return files


def test_an_ingest_skips_and_names_them(folder: Path, tmp_path: Path) -> None:
    with Pipeline(index=tmp_path / "index", processes=0) as pipeline:
        report = pipeline.ingest(folder)
        assert (report.added, report.failed) == (2, [])
        skipped = {skip.uri.rpartition("/")[2]: skip.reason for skip in report.skipped}
        assert skipped == {
            "fares.md~": "a backup copy",
            "~%24fares.docx": "the lock file of an open Office document",
            "boats.bak": "a backup copy",
        }
        assert report.seen == 5
        assert pipeline.ask("What does a ticket cost?").text.startswith("A ticket costs ten euros.")
        assert report.as_json()["documents"]["skipped"][0]["reason"]


def test_a_document_that_becomes_a_backup_copy_is_deleted(folder: Path, tmp_path: Path) -> None:
    with Pipeline(index=tmp_path / "index", processes=0) as pipeline:
        pipeline.ingest(folder)
        (folder / "fares.md").rename(folder / "fares.md.bak")
        report = pipeline.ingest(folder)
        assert (report.deleted, report.added, len(report.skipped)) == (1, 0, 3)
        assert not any("fares" in uri for uri in pipeline.open().document_store.uris())


def test_a_lock_file_that_cannot_be_read_is_skipped(folder: Path) -> None:
    (folder / "~$fares.docx").write_bytes(bytes(200))
    (folder / "~$gone.docx").symlink_to(folder / "~$gone.docx")
    reasons = {
        source.uri.rpartition("/")[2]: source.skip_reason
        for source in Files(path=folder, max_bytes=100).sources()
        if "%24" in source.uri
    }
    assert set(reasons.values()) == {"the lock file of an open Office document"}
    assert len(reasons) == 2


def test_copies_are_read_on_request(folder: Path) -> None:
    def read(files: Files) -> list[bytes]:
        return [source.read() for source in files.sources() if "fares.md" in source.uri]

    assert len(read(Files(path=folder, copies=True))) == 2
    assert read(Files(path=folder / "fares.md~")) == [b"A ticket costs eight euros."]
    assert read(Files.from_path(folder / "*.md~")) == [b"A ticket costs eight euros."]


def test_names_of_messages_are_no_file_names() -> None:
    message = b"From a@b Mon Jan  1 00:00:00 2024\nMessage-ID: <x@y.orig>\nSubject: s\n\nHello.\n"
    parts = parse_parts(message, "a.mbox")
    assert [type(part).__name__ for part in parts.values()] == ["Document"]


def test_the_command_names_them(
    rag: Callable[..., CommandResult], folder: Path, tmp_path: Path
) -> None:
    result = rag("ingest", str(folder), "--index", str(tmp_path / "index"))
    assert result.code == 0
    assert "fares.md~, " in result.err and "(a backup copy)" in result.err
    assert "3 skipped" in result.out
    result = rag("parse", str(folder))
    assert result.code == 0
    assert "skipped: " in result.err


def test_check_prints_what_is_left_out(rag: Callable[..., CommandResult], tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text("<main><h1>Ferry</h1><p>It sails at nine.</p><p hidden>one two</p></main>")
    result = rag("parse", str(page), "--check")
    assert "7 words in the file; 0 (0.0%) are missing" in result.out
    assert "left out (hidden): <p>, 2 words" in result.out
    assert "sails" not in result.out
    payload = json.loads(rag("parse", str(page), "--check", "--json").out)
    assert payload["documents"][0]["coverage"]["omissions"] == [
        {"reason": "hidden", "name": "<p>", "words": 2}
    ]


class LossyParser(TextParser):
    """Loses every second word."""

    name: ClassVar[str] = "lossy"

    def parse(self, data: bytes, *, uri: str, mime: str | None = None) -> Document:
        text = " ".join(data.decode().split()[::2])
        coverage = OmissionLog().measure(text, [data.decode()])
        return Document(uri=uri, text=text, coverage=coverage)


def test_an_ingest_warns_of_lost_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.txt").write_text("a ferry sails over the sea at nine each day but one")
    with Pipeline(index=tmp_path / "index", parser=LossyParser(), processes=0) as pipeline:
        report = pipeline.ingest(tmp_path / "a.txt")
        (loss,) = report.losses
        assert (loss.is_large, loss.coverage.words, loss.coverage.missing) == (True, 12, 6)
        assert loss.coverage.missing_words == ("ferry", "over", "sea", "nine", "day", "one")
        print_report(report, tmp_path)
        assert "warning: 50% of the words of" in capsys.readouterr().err
        assert report.as_json()["losses"][0]["missing"] == 6
        assert pipeline.ingest(tmp_path / "a.txt").losses == []
