"""A hostile or damaged file fails alone: limits, bombs, entities and fuzzing."""

from __future__ import annotations

import io
import os
import random
import sys
import zipfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors import Files
from connectors.base import FailedPart, Parser
from connectors.parser_pool import ParserLimits, ParserPool
from connectors.parsers.auto import AutoParser
from connectors.parsers.pdf import PdfParser
from rag import Document, Pipeline
from rag.errors import ParseError, SourceError, SourceUnreadable
from tests.connectors import file_fixtures
from tests.connectors.damage import damage, damage_member

PARSER = AutoParser(pdf=PdfParser(ocr=False))


@pytest.fixture(scope="module")
def parser_pool() -> Iterator[ParserPool]:
    pool = ParserPool(PARSER, 2, ParserLimits(seconds=60, memory_mb=2_048, characters=2_000_000))
    yield pool
    pool.close()


def get_refusal(parser_pool: ParserPool, data: bytes, name: str) -> str:
    with pytest.raises(SourceError) as raised:
        parts = parser_pool.parse(data, uri=f"file:///{name}", mime=None)
        failed_parts = [part for part in parts if isinstance(part, FailedPart)]
        if failed_parts:
            raise failed_parts[0].error
    return str(raised.value)


# -- limits --------------------------------------------------------------------------------


class GreedyParser(Parser):
    """Exceeds the limit that the text names."""

    name = "greedy"

    def parse(self, data: bytes, *, uri: str, mime: str | None = None) -> Document:
        if data == b"memory":
            blocks = [bytearray(2**28) for _ in range(40)]  # soon, also on a busy machine
            return Document(uri=uri, text=str(len(blocks)))
        if data == b"loop":
            while True:
                pass
        if data == b"recurse":
            return self.parse(data, uri=uri)
        return Document(uri=uri, text="x" * 2_000 if data == b"text" else data.decode())


def test_exceeding_a_limit_fails_only_that_document(tmp_path: Path) -> None:
    for name in ("memory", "loop", "recurse", "text", "fine"):
        (tmp_path / name).write_text(name)
    limits = ParserLimits(seconds=5, memory_mb=512, characters=1_000)
    with Pipeline(
        index=tmp_path / "i", parser=GreedyParser(), limits=limits, processes=2
    ) as pipeline:
        report = pipeline.ingest(Files(path=tmp_path, exclude=("i/*",)))
    failed = {failure.uri.rpartition("/")[2]: failure.error for failure in report.failed}
    assert report.added == 1
    assert set(failed) == {"memory", "loop", "recurse", "text"}
    assert failed["loop"] == "parsing takes more than 5 s (limits.seconds)"
    assert failed["text"] == "more than 1,000 characters of text (limits.characters)"
    assert "RecursionError" in failed["recurse"]
    if sys.platform == "linux":
        assert failed["memory"] == "parsing takes more than 512 MiB of memory (limits.memory_mb)"


def test_parser_cannot_return_a_foreign_uri(tmp_path: Path) -> None:
    class ForeignUriParser(Parser):
        name = "foreign-uri"

        def parse(self, data: bytes, *, uri: str, mime: str | None = None) -> Document:
            return Document(uri="file:///elsewhere", text="x")

    with pytest.raises(SourceError, match="duplicate or foreign uris"):
        ParserPool(ForeignUriParser(), 0).parse(b"x", uri="file:///a", mime=None)


# -- bombs ---------------------------------------------------------------------------------


def test_zip_bombs_are_stopped(parser_pool: ParserPool) -> None:
    bomb = file_fixtures.make_zip({f"{i}.txt": b"0" * 2**24 for i in range(20)})
    assert len(bomb) < 2_000_000
    assert "characters of text" in get_refusal(parser_pool, bomb, "bomb.zip")
    single_pool = ParserPool(PARSER, 1, ParserLimits(characters=10**10))
    parts = single_pool.parse(
        file_fixtures.make_zip({"a.txt": b"x", "b.txt": b"0" * 2**27}), uri="u", mime=None
    )
    single_pool.close()
    assert [type(part) for part in parts] == [Document, FailedPart]
    assert "the remaining files are skipped" in str(parts[1].error)


def test_office_file_with_a_huge_unpacked_size_is_rejected(parser_pool: ParserPool) -> None:
    out = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(file_fixtures.make_docx([("a", "b")]))) as good,
        zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as bad,
    ):
        for name in good.namelist():
            bad.writestr(name, good.read(name))
        for i in range(17):
            bad.writestr(f"word/media/{i}", b"\0" * 2**26)
    assert "it may be an attack" in get_refusal(parser_pool, out.getvalue(), "bomb.docx")


BILLION_LAUGHS = (
    "<?xml version='1.0'?><!DOCTYPE a [<!ENTITY a0 'ha'>"
    + "".join(f"<!ENTITY a{i} '{f'&a{i - 1};' * 10}'>" for i in range(1, 12))
    + "]><a><b>fine</b><b>&a11;</b></a>"
)
EXTERNAL_ENTITY = (
    "<?xml version='1.0'?><!DOCTYPE a [<!ENTITY x SYSTEM '{}'>]><a><b>fine</b><b>&x;</b></a>"
)


@pytest.mark.parametrize(
    "name", ["a.xml", "a.docx", "a.odt", "a.epub", "a.pptx", "a.xlsx", "a.html"]
)
def test_xml_entities_are_not_expanded(parser_pool: ParserPool, tmp_path: Path, name: str) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("the-secret-word")
    for text in (
        BILLION_LAUGHS,
        EXTERNAL_ENTITY.format(secret.as_uri()),
        EXTERNAL_ENTITY.format("http://127.0.0.1:9/"),
    ):
        main_members = {
            "a.docx": "word/document.xml",
            "a.odt": "content.xml",
            "a.epub": "OPS/c0.xhtml",
            "a.pptx": "ppt/slides/slide1.xml",
            "a.xlsx": "xl/sharedStrings.xml",
        }
        factories = {
            "a.docx": lambda: file_fixtures.make_docx([("a", "b")]),
            "a.odt": lambda: file_fixtures.make_odt([("a", "b")]),
            "a.epub": lambda: file_fixtures.make_epub([("a", "b")]),
            "a.pptx": lambda: file_fixtures.make_pptx([("a", "b")]),
            "a.xlsx": lambda: file_fixtures.make_xlsx({"S": [["a", "b"]]}),
        }
        data = text.encode()
        if name in main_members:
            with zipfile.ZipFile(io.BytesIO(factories[name]())) as good:
                files = {n: good.read(n) for n in good.namelist()}
            data = file_fixtures.make_zip(files | {main_members[name]: text})
        try:
            parts = parser_pool.parse(data, uri=f"file:///{name}", mime=None)
        except ParseError:
            continue
        parsed_text = "".join(part.text for part in parts if isinstance(part, Document))
        assert "the-secret-word" not in parsed_text
        assert len(parsed_text) < 10_000


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.json", b"[" * 200_000),
        ("a.jsonl", b"[" * 200_000),
        ("a.yaml", b"[" * 20_000),
        (
            "a.yaml",
            b"a: &a [x]\n" + b"b: &b [" + b"*a," * 1_000 + b"]\n" + b"c: [" + b"*b," * 1_000 + b"]",
        ),
        ("a.xml", b"<a>" * 100_000),
        ("a.html", b"<div>" * 100_000 + b"deep"),
        ("a.md", b"> " * 100_000 + b"deep"),
        ("a.rst", b"* " * 20_000 + b"deep"),
        ("a.rtf", b"{\\rtf1 " + b"{" * 200_000),
        ("a.ipynb", b'{"cells": ' + b"[" * 100_000),
        (
            "a.eml",
            b"Content-Type: multipart/mixed; boundary=a\n\n"
            + b"--a\nContent-Type: multipart/mixed; boundary=a\n\n" * 2_000,
        ),
        ("a.csv", b"," * 1_000_000),
        ("a.csv", b'"' * 1_000_001),
        ("a.py", b"(" * 100_000),
        ("a.srt", b"1\n00:00:00,000 --> 99:99:99,999\n" * 10_000),
    ],
)
def test_deeply_nested_and_very_long_files_terminate(
    parser_pool: ParserPool, name: str, data: bytes
) -> None:
    try:
        parts = parser_pool.parse(data, uri=f"file:///{name}", mime=None)
    except SourceError as error:
        assert "a component failed" not in str(error)
        assert "takes more than" not in str(error)
    else:
        assert parts


def test_pdf_with_a_cyclic_page_tree_fails(parser_pool: ParserPool) -> None:
    data = file_fixtures.make_pdf(["One"]).replace(b"/Kids[5 0 R]", b"/Kids[2 0 R]")
    assert data.count(b"/Kids[2 0 R]") == 1
    with pytest.raises(ParseError):
        parser_pool.parse(data, uri="file:///a.pdf", mime=None)


# -- files that change or are too large -----------------------------------------------------


def test_file_that_changes_while_it_is_read_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.txt"
    path.write_text("one")
    (source,) = Files(path=path).sources()
    original_fstat, changes = os.fstat, [2]

    def fstat(descriptor: int) -> os.stat_result:
        result = original_fstat(descriptor)
        if changes[0]:
            changes[0] -= 1
            os.utime(path, ns=(changes[0], changes[0]))
        return result

    monkeypatch.setattr("connectors.files.os.fstat", fstat)
    assert source.read() == b"one"
    changes[0] = 100
    with pytest.raises(SourceUnreadable, match="changes while it is read"):
        source.read()


def test_file_over_the_size_limit_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    with path.open("wb") as file:
        file.truncate(2 * 2**30)
    (source,) = Files(path=path).sources()
    with pytest.raises(SourceUnreadable, match=r"over the limit of 536,870,912 \(max_bytes\)"):
        source.read()


# -- fuzzing -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    "a.txt a.md a.rst a.html a.csv a.jsonl a.json a.yaml a.xml a.eml a.mbox a.ipynb a.rtf a.srt a.vtt a.py a.ts".split(),
)
@given(
    data=st.one_of(
        st.binary(max_size=300), st.text(max_size=300).map(lambda t: t.encode(errors="replace"))
    )
)
def test_any_bytes_parse_or_fail_with_a_reason(name: str, data: bytes) -> None:
    try:
        parts = list(PARSER.documents(data, uri=f"file:///{name}"))
    except ParseError as error:
        assert str(error)
        return
    for part in parts:
        if isinstance(part, Document):
            assert part.text.strip()
            assert all(mark.end <= len(part.text) for mark in part.marks)


@pytest.mark.slow
@pytest.mark.parametrize("name", file_fixtures.BINARY_FILES)
def test_damaged_copies_parse_or_fail_with_a_reason(parser_pool: ParserPool, name: str) -> None:
    """Parse 500 damaged copies of each file, and 100 ZIP-based ones with a damaged member."""
    data = file_fixtures.BINARY_FILES[name]()
    random_numbers = random.Random(name)
    copies = [damage(data, random_numbers) for _ in range(500)]
    if (
        data.startswith(b"PK") and name != "sums.ods"
    ):  # calamine may loop; the time limit is tested above
        copies += [damage_member(data, random_numbers) for _ in range(100)]
    outcomes: Counter[str] = Counter()

    def parse_copy(copy: bytes) -> None:
        try:
            parts = parser_pool.parse(copy, uri=f"file:///{name}", mime=None)
        except ParseError:
            outcomes["failed"] += 1
        else:
            assert all(isinstance(p, Document) or isinstance(p.error, ParseError) for p in parts)
            outcomes["parsed"] += 1

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(parse_copy, copies))
    assert outcomes.total() == len(copies)
    assert min(outcomes["failed"], outcomes["parsed"]) > 0 or name.startswith("mail")
