"""Nothing that a file holds hurts more than its own document."""

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

PARSER = AutoParser(pdf=PdfParser(ocr=False))


@pytest.fixture(scope="module")
def parsing() -> Iterator[ParserPool]:
    made = ParserPool(PARSER, 2, ParserLimits(seconds=60, memory_mb=2_048, characters=2_000_000))
    yield made
    made.close()


def refused(parsing: ParserPool, data: bytes, name: str) -> str:
    with pytest.raises(SourceError) as caught:
        found = parsing.parse(data, uri=f"file:///{name}", mime=None)
        failed = [part for part in found if isinstance(part, FailedPart)]
        if failed:
            raise failed[0].error
    return str(caught.value)


# -- limits --------------------------------------------------------------------------------


class Greedy(Parser):
    """Does what the text says."""

    name = "greedy"

    def parse(self, data: bytes, *, uri: str, mime: str | None = None) -> Document:
        if data == b"memory":
            hoard = [bytearray(2**20) for _ in range(10_000)]
            return Document(uri=uri, text=str(len(hoard)))
        if data == b"loop":
            while True:
                pass
        if data == b"recurse":
            return self.parse(data, uri=uri)
        return Document(uri=uri, text="x" * 2_000 if data == b"text" else data.decode())


def test_every_limit_costs_one_document(tmp_path: Path) -> None:
    for name in ("memory", "loop", "recurse", "text", "fine"):
        (tmp_path / name).write_text(name)
    limits = ParserLimits(seconds=5, memory_mb=512, characters=1_000)
    with Pipeline(index=tmp_path / "i", parser=Greedy(), limits=limits, processes=2) as pipeline:
        report = pipeline.ingest(Files(path=tmp_path, exclude=("i/*",)))
    failed = {failure.uri.rpartition("/")[2]: failure.error for failure in report.failed}
    assert report.added == 1
    assert set(failed) == {"memory", "loop", "recurse", "text"}
    assert failed["loop"] == "parsing it takes more than 5 s (limits.seconds)"
    assert failed["text"] == "it holds more than 1,000 characters of text (limits.characters)"
    assert "RecursionError" in failed["recurse"]
    if sys.platform == "linux":
        assert failed["memory"] == "parsing it takes more than 512 MiB of memory (limits.memory_mb)"


def test_a_parser_may_not_name_what_is_not_its_own(tmp_path: Path) -> None:
    class Thief(Parser):
        name = "thief"

        def parse(self, data: bytes, *, uri: str, mime: str | None = None) -> Document:
            return Document(uri="file:///elsewhere", text="x")

    with pytest.raises(SourceError, match="uris that are not theirs"):
        ParserPool(Thief(), 0).parse(b"x", uri="file:///a", mime=None)


# -- bombs ---------------------------------------------------------------------------------


def test_zip_bombs(parsing: ParserPool) -> None:
    bomb = file_fixtures.zipped({f"{i}.txt": b"0" * 2**26 for i in range(20)})
    assert len(bomb) < 2_000_000
    assert "characters of text" in refused(parsing, bomb, "bomb.zip")
    small = ParserPool(PARSER, 1, ParserLimits(characters=10**10))
    found = small.parse(
        file_fixtures.zipped({"a.txt": b"x", "b.txt": b"0" * (2**30 + 1)}), uri="u", mime=None
    )
    small.close()
    assert [type(part) for part in found] == [Document, FailedPart]
    assert "the rest is left out" in str(found[1].error)


def test_an_office_file_that_is_a_bomb(parsing: ParserPool) -> None:
    out = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(file_fixtures.docx([("a", "b")]))) as good,
        zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as bad,
    ):
        for name in good.namelist():
            bad.writestr(name, good.read(name))
        for i in range(17):
            bad.writestr(f"word/media/{i}", b"\0" * 2**26)
    assert "taken for an attack" in refused(parsing, out.getvalue(), "bomb.docx")


LAUGHS = (
    "<?xml version='1.0'?><!DOCTYPE a [<!ENTITY a0 'ha'>"
    + "".join(f"<!ENTITY a{i} '{f'&a{i - 1};' * 10}'>" for i in range(1, 12))
    + "]><a><b>fine</b><b>&a11;</b></a>"
)
OUTSIDE = "<?xml version='1.0'?><!DOCTYPE a [<!ENTITY x SYSTEM '{}'>]><a><b>fine</b><b>&x;</b></a>"


@pytest.mark.parametrize(
    "name", ["a.xml", "a.docx", "a.odt", "a.epub", "a.pptx", "a.xlsx", "a.html"]
)
def test_entities_are_not_followed(parsing: ParserPool, tmp_path: Path, name: str) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("the-secret-word")
    for text in (LAUGHS, OUTSIDE.format(secret.as_uri()), OUTSIDE.format("http://127.0.0.1:9/")):
        main = {
            "a.docx": "word/document.xml",
            "a.odt": "content.xml",
            "a.epub": "OPS/c0.xhtml",
            "a.pptx": "ppt/slides/slide1.xml",
            "a.xlsx": "xl/sharedStrings.xml",
        }
        make = {
            "a.docx": lambda: file_fixtures.docx([("a", "b")]),
            "a.odt": lambda: file_fixtures.odt([("a", "b")]),
            "a.epub": lambda: file_fixtures.epub([("a", "b")]),
            "a.pptx": lambda: file_fixtures.pptx([("a", "b")]),
            "a.xlsx": lambda: file_fixtures.xlsx({"S": [["a", "b"]]}),
        }
        data = text.encode()
        if name in main:
            with zipfile.ZipFile(io.BytesIO(make[name]())) as good:
                files = {n: good.read(n) for n in good.namelist()}
            data = file_fixtures.zipped(files | {main[name]: text})
        try:
            found = parsing.parse(data, uri=f"file:///{name}", mime=None)
        except ParseError:
            continue
        written = "".join(part.text for part in found if isinstance(part, Document))
        assert "the-secret-word" not in written
        assert len(written) < 10_000


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
def test_deep_and_wide_files_come_to_an_end(parsing: ParserPool, name: str, data: bytes) -> None:
    try:
        found = parsing.parse(data, uri=f"file:///{name}", mime=None)
    except SourceError as error:
        assert "a part failed" not in str(error)
        assert "takes more than" not in str(error)
    else:
        assert found


def test_a_pdf_whose_pages_are_in_a_circle(parsing: ParserPool) -> None:
    data = file_fixtures.pdf(["One"]).replace(b"/Kids[5 0 R]", b"/Kids[2 0 R]")
    assert data.count(b"/Kids[2 0 R]") == 1
    with pytest.raises(ParseError):
        parsing.parse(data, uri="file:///a.pdf", mime=None)


# -- files that are not what they were -----------------------------------------------------


def test_a_file_that_changes_while_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.txt"
    path.write_text("one")
    (source,) = Files(path=path).sources()
    real, changes = os.fstat, [2]

    def fstat(number: int) -> os.stat_result:
        found = real(number)
        if changes[0]:
            changes[0] -= 1
            os.utime(path, ns=(changes[0], changes[0]))
        return found

    monkeypatch.setattr("connectors.files.os.fstat", fstat)
    assert source.read() == b"one"
    changes[0] = 100
    with pytest.raises(SourceUnreadable, match="changes while it is read"):
        source.read()


def test_a_large_file_is_not_read(tmp_path: Path) -> None:
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
        found = list(PARSER.documents(data, uri=f"file:///{name}"))
    except ParseError as error:
        assert str(error)
        return
    for part in found:
        if isinstance(part, Document):
            assert part.text.strip()
            assert all(mark.end <= len(part.text) for mark in part.marks)


def damaged(data: bytes, chance: random.Random) -> bytes:
    """Cut short, or with some of its bits turned over."""
    if chance.random() < 0.3:
        return data[: chance.randrange(len(data))]
    changed = bytearray(data)
    for _ in range(chance.choice([1, 1, 3, 10, 40])):
        changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def damaged_within(data: bytes, chance: random.Random) -> bytes:
    """With one of its members damaged, and the archive itself sound."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    name = chance.choice([name for name in files if files[name]])
    return file_fixtures.zipped(files | {name: damaged(files[name], chance)})


@pytest.mark.slow
@pytest.mark.parametrize("name", file_fixtures.BINARY)
def test_damaged_copies_parse_or_fail_with_a_reason(parsing: ParserPool, name: str) -> None:
    """500 damaged copies of the file, and 100 of each ZIP-based one with a damaged member."""
    data = file_fixtures.BINARY[name]()
    chance = random.Random(name)
    copies = [damaged(data, chance) for _ in range(500)]
    if data.startswith(b"PK") and name != "sums.ods":  # calamine may loop: a limit, tried above
        copies += [damaged_within(data, chance) for _ in range(100)]
    outcomes: Counter[str] = Counter()

    def parsed(copy: bytes) -> None:
        try:
            found = parsing.parse(copy, uri=f"file:///{name}", mime=None)
        except ParseError:
            outcomes["failed"] += 1
        else:
            assert all(isinstance(p, Document) or isinstance(p.error, ParseError) for p in found)
            outcomes["parsed"] += 1

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(parsed, copies))
    assert outcomes.total() == len(copies)
    assert min(outcomes["failed"], outcomes["parsed"]) > 0 or name.startswith("mail")
