"""A format whose extra is missing is a failure that names the extra, until it is installed."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from connectors import base
from connectors.feed import Feed
from connectors.parsers.office import RtfParser
from connectors.parsers.rst import RstParser
from connectors.parsers.subtitles import SubtitleParser
from evals.metrics.text import bleu
from rag import Pipeline, tracing
from rag.errors import MissingExtra, ParserNotInstalled

FILES = {
    "a.rtf": r"{\rtf1\ansi The battery lasts 34 minutes.}",
    "a.rst": "Battery\n=======\n\nThe battery lasts 34 minutes.\n",
    "a.srt": "1\n00:00:01,000 --> 00:00:02,000\nThe battery lasts 34 minutes.\n",
}


@pytest.fixture
def without_packages(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Hide the packages of the optional formats."""
    hidden = ("striprtf", "docutils", "pysubs2", "feedparser")
    monkeypatch.setattr(base, "find_spec", lambda name: None if name in hidden else find_spec(name))
    return monkeypatch


@pytest.mark.parametrize("parser", [RtfParser(), RstParser(), SubtitleParser()])
def test_a_parser_names_its_extra(parser: Any, without_packages: pytest.MonkeyPatch) -> None:
    with pytest.raises(ParserNotInstalled, match=r"pip install 'citewell\[formats\]'"):
        parser.parse(b"text", uri="file:///a")


def test_other_files_are_ingested_and_these_are_tried_again(
    tmp_path: Path, without_packages: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "docs"
    folder.mkdir()
    for name, text in FILES.items():
        (folder / name).write_text(text)
    (folder / "b.txt").write_text("The propeller is made of nylon.")
    with Pipeline(index=tmp_path / "index", processes=0) as pipeline:
        report = pipeline.ingest(folder)
        assert report.added == 1
        assert sorted(Path(failure.uri).name for failure in report.failed) == sorted(FILES)
        assert all("citewell[formats]" in failure.error for failure in report.failed)
        without_packages.undo()  # the extra is installed now
        report = pipeline.ingest(folder)
        assert (report.added, report.unchanged, report.failed) == (3, 1, [])


def test_a_feed_names_its_extra(without_packages: pytest.MonkeyPatch) -> None:
    with pytest.raises(MissingExtra, match=r"citewell\[feed\]"):
        next(Feed(url="https://example.org/news.xml").sources())


def test_bleu_and_the_export_of_traces_name_their_extras(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "sacrebleu", None)
    with pytest.raises(MissingExtra, match=r"citewell\[metrics\]"):
        bleu(["a"], [["a"]])
    monkeypatch.setitem(__import__("sys").modules, "opentelemetry.sdk.resources", None)
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "console")
    with pytest.raises(MissingExtra, match=r"citewell\[otel\]"):
        tracing.configure()
