"""Parsers that other packages register: `AutoParser` calls them for their own formats."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import ClassVar

import pytest

from connectors.base import Parser
from connectors.parsers import auto
from connectors.parsers.auto import AutoParser
from connectors.parsers.text import TextParser
from rag import Document
from rag.component import Component, component_class, registered_names
from rag.errors import ConfigError, UnsupportedFormat
from tests.connectors import file_fixtures

OLD_VISIO_FILE = (
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 600 + "VisioDocument".encode("utf-16-le")
)
Register = Callable[..., None]


class SlideParser(Parser):
    """Reads a new format, a binary one that this package detects, and one that it reads itself."""

    name: ClassVar[str] = "slides"
    formats: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "text/x-slides": (".slides", ".txt"),
        "application/vnd.visio": (".vsd",),
        "text/csv": (".csv", ".psv"),
    }

    label: str = "slides"

    def parse(self, data: bytes, *, uri: str, mime: str | None = None) -> Document:
        return Document(uri=uri, text=f"parsed as {self.label}", mime=mime or "text/x-slides")


class SecondSlideParser(SlideParser):
    name: ClassVar[str] = "slides-2"


class CsvParser(SlideParser):
    name: ClassVar[str] = "other-csv"
    formats: ClassVar[Mapping[str, tuple[str, ...]]] = {"text/csv": (".csv",)}


class ConfiguredParser(SlideParser):
    name: ClassVar[str] = "configured"
    path: str


class DerivedAutoParser(AutoParser):
    name: ClassVar[str] = "derived-auto"


@pytest.fixture
def register(monkeypatch: pytest.MonkeyPatch) -> Register:
    def register_parsers(*parser_classes: type[Parser] | Exception) -> None:
        added = {getattr(parser, "name", "broken"): parser for parser in parser_classes}

        def load_class(kind: str, name: str) -> type[Component]:
            loaded = added.get(name) or component_class(kind, name)
            if isinstance(loaded, Exception):
                raise loaded
            return loaded

        names = sorted([*registered_names("parser"), *added])
        monkeypatch.setattr(auto, "registered_names", lambda kind: names)
        monkeypatch.setattr(auto, "component_class", load_class)

    return register_parsers


def parse_text(parser: AutoParser, data: bytes, name: str, mime: str | None = None) -> str:
    return parser.parse(data, uri=f"file:///{name}", mime=mime).text


def test_registered_parser_reads_formats_without_a_built_in_parser(register: Register) -> None:
    assert parse_text(AutoParser(), b"One", "talk.slides") == "One"
    register(SlideParser)
    parser = AutoParser()
    assert parse_text(parser, b"One", "talk.slides") == "parsed as slides"
    assert parse_text(parser, b"One", "TALK.SLIDES") == "parsed as slides"
    assert parse_text(parser, b"One", "talk", "text/x-slides; charset=utf-8") == "parsed as slides"
    assert parser.all[-1] == SlideParser()


def test_registered_parser_reads_binary_formats_without_a_built_in_parser(
    register: Register,
) -> None:
    with pytest.raises(UnsupportedFormat, match="an old Office document"):
        parse_text(AutoParser(), OLD_VISIO_FILE, "drawing.vsd")
    register(SlideParser)
    assert parse_text(AutoParser(), OLD_VISIO_FILE, "drawing.vsd") == "parsed as slides"
    assert (
        parse_text(AutoParser(), OLD_VISIO_FILE, "x", "application/vnd.visio") == "parsed as slides"
    )
    with pytest.raises(UnsupportedFormat, match="an old Office document"):
        parse_text(AutoParser(), OLD_VISIO_FILE, "drawing.txt")


def test_registered_parser_reads_zip_based_formats(register: Register) -> None:
    register(SlideParser)
    data = file_fixtures.make_zip({"a.txt": "text"})
    assert parse_text(AutoParser(), data, "talk.slides") == "parsed as slides"
    assert parse_text(AutoParser(), data, "talk", "text/x-slides") == "parsed as slides"
    assert AutoParser().guess(data, uri="file:///a.zip", mime=None) == "application/zip"


def test_built_in_parsers_keep_their_formats(register: Register) -> None:
    register(SlideParser)
    parser = AutoParser()
    assert parse_text(parser, b"One", "talk.txt") == "One"
    assert parse_text(parser, b"a,b\n1,2\n", "a.csv").startswith("a | b")
    assert parse_text(parser, b"One", "a.psv") == "One"  # the format of .psv has a parser
    pdf = file_fixtures.make_pdf(["One"])
    assert parse_text(parser, pdf, "talk.slides", "text/x-slides") == "One"


def test_others_has_priority_over_registered_and_built_in_parsers(register: Register) -> None:
    register(SlideParser)
    parser = AutoParser(others=(SlideParser(label="mine"),))
    assert parse_text(parser, b"One", "talk.slides") == "parsed as mine"
    assert parse_text(parser, b"a,b\n1,2\n", "a.csv") == "parsed as mine"
    assert parse_text(parser, OLD_VISIO_FILE, "drawing.vsd") == "parsed as mine"
    assert SlideParser() not in parser.all


def test_first_name_wins_between_registered_parsers(register: Register) -> None:
    register(SecondSlideParser, SlideParser)
    parsers = AutoParser().all
    assert SlideParser() in parsers
    assert SecondSlideParser() not in parsers


def test_fingerprint_covers_the_registered_parsers_that_are_called(register: Register) -> None:
    plain = AutoParser().fingerprint
    assert plain == super(AutoParser, AutoParser()).fingerprint
    register(CsvParser, ConfiguredParser, DerivedAutoParser)
    assert AutoParser().fingerprint == plain
    register(SlideParser)
    with_slides = AutoParser().fingerprint
    assert with_slides != plain
    assert AutoParser().fingerprint == with_slides
    register(type("SlideParser", (SlideParser,), {"revision": 2, "__module__": __name__}))
    assert AutoParser().fingerprint not in (plain, with_slides)


def test_replaced_built_in_parser_is_not_a_registered_parser(register: Register) -> None:
    register()
    parser = AutoParser(table=TextParser())
    assert parser.parser_of("text/csv") == parser.text
    assert parser.all[-1] == parser.archive


def test_registered_parser_that_cannot_be_loaded_is_a_config_error(register: Register) -> None:
    register(RuntimeError("no module named x"))
    with pytest.raises(ConfigError, match=r"'broken' cannot be loaded.*no module named x"):
        AutoParser().parser_of("text/plain")


def test_parser_of_another_package_is_found_by_its_entry_point(tmp_path: Path) -> None:
    metadata = tmp_path / "slides-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: slides\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[citewell.parser]\nslides = slides:Slides\n")
    (tmp_path / "slides.py").write_text(
        "from connectors import Parser\n"
        "from rag import Document\n"
        "class Slides(Parser):\n"
        "    name, formats = 'slides', {'text/x-slides': ('.slides',)}\n"
        "    def parse(self, data, *, uri, mime=None):\n"
        "        return Document(uri=uri, text='parsed as slides', mime=mime)\n"
    )
    (tmp_path / "talk.slides").write_text("One")
    command = [str(Path(sys.executable).with_name("rag")), "parse", str(tmp_path / "talk.slides")]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    process = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert "parsed as slides" in process.stdout, process.stderr
