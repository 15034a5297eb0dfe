"""Old formats through the extra `legacy`: .doc, .ppt, .msg, .xls, winmail.dat and .p7m."""

from __future__ import annotations

import base64
import random
import struct
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing
from datetime import UTC, datetime
from email.message import EmailMessage
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from connectors import base
from connectors.base import FailedPart
from connectors.parser_pool import ParserPool
from connectors.parsers import legacy
from connectors.parsers.legacy import LegacyOfficeParser
from connectors.parsers.msg import MsgParser
from connectors.parsers.rtf_compression import decompress_rtf
from connectors.parsers.signed_data import SignedFileParser, read_signed_content
from connectors.parsers.tnef import TnefParser
from rag import Document
from rag.errors import (
    EncryptedDocument,
    NoText,
    ParseError,
    ParserNotInstalled,
    RagError,
)
from tests.connectors import file_fixtures
from tests.connectors.ole_fixtures import make_file_time, make_msg, make_ole
from tests.connectors.parsing import PARSER, list_marked_texts, parse, parse_parts

PACKAGES = ("asn1crypto", "kreuzberg", "olefile", "tnefparse", "xlrd")
SHARED = Path("/work/shared/data/files")
needs_extra = pytest.mark.skipif(
    not all(map(find_spec, PACKAGES)), reason="the extra legacy is not installed"
)


# -- Outlook messages ----------------------------------------------------------------------

ATTACHMENT = make_msg(
    {"3707": "notes.txt", "370E": "text/plain"},
    binary={"3701": b"The gate code is 773."},
    header_size=8,
)
RECIPIENTS = {
    "__recip_version1.0_#00000000": make_msg(
        {"3001": "Bob", "39FE": "bob@b.example"}, numbers={0x0C15: 1}, header_size=8
    ),
    "__recip_version1.0_#00000001": make_msg(
        {"3001": "Eve", "3003": "eve@b.example"}, numbers={0x0C15: 2}, header_size=8
    ),
}
TEXTS = {
    "0037": "Die Größe der Pumpe",
    "0C1A": "Žofie Černá",
    "5D01": "zofie@b.example",
    "1000": "The pump is in hall 7.\r\n\r\n-- \r\nŽofie",
    "1035": "<1@b.example>",
}
MESSAGE = make_msg(
    TEXTS,
    numbers={0x0039: make_file_time(datetime(2024, 5, 1, 10, tzinfo=UTC))},
    folders=RECIPIENTS | {"__attach_version1.0_#00000000": ATTACHMENT},
)


@needs_extra
def test_outlook_message_is_read_like_a_mail() -> None:
    parts = parse_parts(make_ole(MESSAGE), "a.msg")
    document = parts[""]
    assert isinstance(document, Document)
    assert document.title == "Die Größe der Pumpe"
    assert document.mime == "application/vnd.ms-outlook"
    assert document.text.startswith(
        "From: Žofie Černá <zofie@b.example>\nTo: Bob <bob@b.example>\nCc: Eve <eve@b.example>\nDate: Wed, 01 May 2024 10:00:00 +0000\n"
    )
    assert "The pump is in hall 7." in document.text
    assert document.metadata["date"] == "2024-05-01T10:00:00+00:00"
    assert document.metadata["message_id"] == "1@b.example"
    assert document.metadata["attachments"] == ("notes.txt",)
    assert [value for value, _ in list_marked_texts(document, "heading")] == [("Signature",)]
    attachment = parts["!/notes.txt"]
    assert isinstance(attachment, Document)
    assert attachment.text == "The gate code is 773."


@needs_extra
def test_outlook_message_in_a_code_page() -> None:
    texts = {"0037": "Věc", "1000": "Příliš žluťoučký kůň pěl ďábelské ódy."}
    document = parse(make_ole(make_msg(texts, charset="cp1250", numbers={0x3FFD: 1250})), "a.msg")
    assert document.title == "Věc"
    assert "Příliš žluťoučký kůň" in document.text


@needs_extra
def test_outlook_message_with_html_only() -> None:
    markup = "<html><body><h2>Größe</h2><p>The pump is <b>big</b>.</p></body></html>"
    tree = make_msg(
        {"0037": "x y"}, binary={"1013": markup.encode("cp1252")}, numbers={0x3FDE: 1252}
    )
    assert "## Größe\n\nThe pump is **big**." in parse(make_ole(tree), "a.msg").text


@needs_extra
def test_picture_in_the_html_of_an_outlook_message_is_no_attachment() -> None:
    picture = make_msg(
        {"3707": "a.png", "370E": "image/png", "3712": "p1"},
        binary={"3701": b"\x89PNG"},
        header_size=8,
    )
    other = make_msg(
        {"3707": "b.png", "370E": "image/png"}, binary={"3701": b"\x89PNG"}, header_size=8
    )
    tree = make_msg(
        {"0037": "x y", "1013": "<p>Text <img src='cid:p1'></p>"},
        folders={"__attach_version1.0_#00000000": picture, "__attach_version1.0_#00000001": other},
    )
    document = parse(make_ole(tree), "a.msg")
    assert document.metadata["attachments"] == ("b.png",)


@needs_extra
def test_message_in_an_outlook_message_is_a_document() -> None:
    inner = make_msg({"0037": "Inner", "1000": "The inner text, größer."}, header_size=24)
    attachment = make_msg(
        {"3001": "Inner"},
        numbers={0x3705: 5},
        folders={"__substg1.0_3701000D": inner},
        header_size=8,
    )
    tree = make_msg(
        {"0037": "Outer", "1000": "The outer text."},
        folders={"__attach_version1.0_#00000000": attachment},
    )
    parts = parse_parts(make_ole(tree), "a.msg")
    document = parts["!/Inner.eml"]
    assert isinstance(document, Document)
    assert "The inner text, größer." in document.text
    assert "inner text" not in parts[""].text  # type: ignore[union-attr]


@needs_extra
def test_headers_of_the_transport_are_used_where_properties_are_missing() -> None:
    headers = "From: Ann <ann@b.example>\r\nSubject: =?utf-8?q?Gr=C3=B6=C3=9Fe?=\r\nDate: Wed, 1 May 2024 10:00:00 +0000\r\n"
    document = parse(make_ole(make_msg({"007D": headers, "1000": "Text."})), "a.msg")
    assert document.title == "Größe"
    assert document.metadata["from"] == "Ann <ann@b.example>"
    encrypted = "Content-Type: multipart/encrypted; boundary=x\r\n\r\n"
    with pytest.raises(EncryptedDocument):
        parse(make_ole(make_msg({"007D": encrypted})), "a.msg")


@needs_extra
def test_compressed_rtf_of_a_message_is_an_attachment() -> None:
    raw = rb"{\rtf1\ansi The pump is in hall 7.}"
    stored = struct.pack("<II4sI", len(raw) + 12, len(raw), b"MELA", 0) + raw
    _, *parts = PARSER.documents(
        make_ole(make_msg({"0037": "x y"}, binary={"1009": stored})), uri="file:///a.msg"
    )
    assert [part.text for part in parts] == ["The pump is in hall 7."]


def test_compressed_rtf_is_the_example_of_the_specification() -> None:
    data = bytes.fromhex(  # [MS-OXRTFCP] 4.1.1
        "2d0000002b0000004c5a4675f1c5c7a703000a00726370673132354232"
        "0af32068656c090020627705b06c647d0a800fa0"
    )
    assert decompress_rtf(data) == rb"{\rtf1\ansi\ansicpg1252\pard hello world}" + b"\r\n"
    for damaged in (b"", data[:15], data[:8] + b"XXXX" + data[12:]):
        with pytest.raises(ParseError):
            decompress_rtf(damaged)


# -- Word and PowerPoint -------------------------------------------------------------------


@pytest.fixture
def fake_kreuzberg(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A kreuzberg that returns what a test sets, for a file without properties."""
    results: dict[str, Any] = {"plain": "", "markdown": "", "notes": [], "error": None, "calls": []}

    def extract(data: bytes, kind: str, config: Any) -> Any:
        results["calls"].append((kind, config))
        if results["error"]:
            raise results["error"]
        return SimpleNamespace(
            content=results[config["output_format"]], metadata={"speaker_notes": results["notes"]}
        )

    module = ModuleType("kreuzberg")
    module.extract_bytes_sync = extract  # type: ignore[attr-defined]
    module.ExtractionConfig = dict  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "kreuzberg", module)
    monkeypatch.setattr(base, "find_spec", lambda name: True)
    monkeypatch.setattr(
        legacy, "_read_properties", lambda data: {"title": "The pump", "author": "Ann"}
    )
    return results


def test_old_document_has_headings_and_tables(fake_kreuzberg: dict[str, Any]) -> None:
    fake_kreuzberg["plain"] = (
        'Part 1!\nSee HYPERLINK "http://a.example/" \\o "x" the page\na\tb\t\tc\td\t\t\n•\nPumps\nEnd\tx'
    )
    fake_kreuzberg["markdown"] = "## Part 1\\!\n\nSee ..."
    document = LegacyOfficeParser().parse(b"", uri="file:///a.doc", mime="application/msword")
    assert (
        document.text
        == "## Part 1!\n\nSee the page\n\n| a | b |\n| --- | --- |\n| c | d |\n\n• Pumps\nEnd\tx"
    )
    assert (document.title, document.metadata) == ("The pump", {"author": "Ann"})
    assert list_marked_texts(document, "heading")[0][0] == ("Part 1!",)
    assert any(mark.kind == "table" for mark in document.marks)
    assert document.coverage is not None
    assert document.coverage.missing == 0
    assert [config["use_cache"] for _, config in fake_kreuzberg["calls"]] == [False, False]


def test_notes_of_slides_are_kept_if_they_are_not_in_the_text(
    fake_kreuzberg: dict[str, Any],
) -> None:
    fake_kreuzberg |= {"plain": "A slide", "markdown": "", "notes": ["slide A", "Say hello"]}
    document = LegacyOfficeParser().parse(
        b"", uri="file:///a.ppt", mime="application/vnd.ms-powerpoint"
    )
    assert document.text == "A slide\n\nSay hello"
    assert {kind for kind, _ in fake_kreuzberg["calls"]} == {"application/vnd.ms-powerpoint"}


def test_panic_of_the_native_library_is_a_parse_error(fake_kreuzberg: dict[str, Any]) -> None:
    fake_kreuzberg["error"] = type("PanicException", (BaseException,), {})("index out of range")
    with pytest.raises(ParseError, match="index out of range"):
        LegacyOfficeParser().parse(b"", uri="file:///a.doc")
    fake_kreuzberg["error"] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        LegacyOfficeParser().parse(b"", uri="file:///a.doc")
    fake_kreuzberg["error"] = None
    with pytest.raises(NoText):
        LegacyOfficeParser().parse(b"", uri="file:///a.doc")


@needs_extra
def test_encrypted_document_is_named_so() -> None:
    flags = bytes(10) + (0x0100).to_bytes(2, "little")
    with pytest.raises(EncryptedDocument):
        parse(make_ole({"WordDocument": flags + bytes(5_000)}), "a.doc")
    with pytest.raises(ParseError):
        parse(make_ole({"WordDocument": bytes(5_000)}), "a.doc")


@needs_extra
@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("simple.doc", "## Analysis\n\nThis is my first thought. This is my second thought.\n"),
        ("fake-doc-emphasized-text.doc", "| Header Col 1 | Header Col 2 |"),
        ("fake-power-point.ppt", "## Adding a Bullet Slide"),
        ("fake-email-attachment.msg", "Here's the attachments!"),
        ("tests-example.xls", ""),
    ],
)
def test_real_old_files(name: str, expected: str) -> None:
    path = SHARED / "Unstructured-IO+unstructured" / f"example-docs__{name}"
    if not path.exists():
        pytest.skip("the public files are absent")
    assert expected in parse(path.read_bytes(), name).text


# -- Excel ---------------------------------------------------------------------------------


def make_record(kind: int, data: bytes) -> bytes:
    return struct.pack("<HH", kind, len(data)) + data


def make_biff2(*, is_encrypted: bool = False) -> bytes:
    """A sheet of Excel 2: two columns, with a header and two rows."""
    cells = b""
    for row, (name, price) in enumerate([("Item", None), ("Pump", 980.5), ("Gate", 12.0)]):
        text = name.encode()
        cells += make_record(0x0004, struct.pack("<HH3sB", row, 0, bytes(3), len(text)) + text)
        if price is None:
            cells += make_record(0x0004, struct.pack("<HH3sB", row, 1, bytes(3), 5) + b"Price")
        else:
            cells += make_record(0x0003, struct.pack("<HH3sd", row, 1, bytes(3), price))
    start = make_record(0x0009, struct.pack("<HH", 2, 0x10))
    password = make_record(0x002F, b"\x12\x34\x56\x78") if is_encrypted else b""
    return start + password + cells + make_record(0x000A, b"")


@needs_extra
def test_workbook_that_calamine_refuses_is_read() -> None:
    document = parse(make_biff2(), "a.xls")
    assert "Item: Pump; Price: 980.5" in document.text
    assert "Item: Gate; Price: 12" in document.text


@needs_extra
def test_damaged_and_encrypted_old_workbooks() -> None:
    with pytest.raises(EncryptedDocument):
        parse(make_biff2(is_encrypted=True), "a.xls")
    with pytest.raises(ParseError, match="damaged workbook"):
        parse(b"\x09\x08\x10\x00\x00\x06" + bytes(50), "a.xls")
    with pytest.raises(ParseError, match="damaged workbook"):
        parse(b"not a workbook", "a.xls")


def test_old_workbook_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "xlrd", None)
    with pytest.raises(ParserNotInstalled, match=r"citewell\[legacy\]"):
        parse(make_biff2(), "a.xls")


# -- winmail.dat ---------------------------------------------------------------------------


def make_tnef(body: bytes = b"", files: Mapping[str, bytes] = {}) -> bytes:
    def make_object(level: int, name: int, kind: int, data: bytes) -> bytes:
        checksum = sum(data) & 0xFFFF
        return (
            struct.pack("<BHHI", level, name, kind, len(data)) + data + struct.pack("<H", checksum)
        )

    content = make_object(1, 0x9006, 8, struct.pack("<I", 0x10000))
    content += make_object(1, 0x9007, 6, struct.pack("<II", 1252, 0))
    if body:
        content += make_object(1, 0x800C, 2, body)
    for name, data in files.items():
        content += make_object(2, 0x9002, 6, bytes(14))
        content += make_object(2, 0x8010, 1, name.encode() + b"\0")
        content += make_object(2, 0x800F, 6, data)
    return b"\x78\x9f\x3e\x22\x01\x00" + content


WINMAIL = make_tnef(b"The pump is in hall 7.\0", {"notes.txt": b"The gate code is 773."})


@needs_extra
def test_winmail_is_unpacked() -> None:
    for name in ("winmail.dat", "att0001.bin"):
        parts = parse_parts(WINMAIL, name)
        assert {key: part.text for key, part in parts.items()} == {  # type: ignore[union-attr]
            "": "The pump is in hall 7.",
            "!/notes.txt": "The gate code is 773.",
        }


@needs_extra
@pytest.mark.parametrize("body", ["The body of the mail.", ""])
def test_files_in_winmail_are_attachments_of_the_mail(body: str) -> None:
    message = EmailMessage()
    message["From"], message["Subject"] = "a@b.example", "Files"
    message.set_content(body)
    message.add_attachment(
        WINMAIL, maintype="application", subtype="ms-tnef", filename="winmail.dat"
    )
    parts = parse_parts(bytes(message), "a.eml")
    assert set(parts) == {"", "!/notes.txt"}
    document = parts[""]
    assert isinstance(document, Document)
    assert document.metadata["attachments"] == ("notes.txt",)
    assert ("The pump is in hall 7." in document.text) == (not body)


@needs_extra
def test_damaged_winmail_is_a_failed_part() -> None:
    data = file_fixtures.make_eml("Text.", attachments={"winmail.dat": WINMAIL[:60]})
    part = parse_parts(data, "a.eml")["!/winmail.dat"]
    assert isinstance(part, FailedPart)
    assert isinstance(part.error, ParseError)


# -- Signed files --------------------------------------------------------------------------


def make_p7m(content: bytes, kind: str = "signed_data") -> bytes:
    from asn1crypto import cms

    if kind != "signed_data":
        return bytes(
            cms.ContentInfo(
                {
                    "content_type": "encrypted_data",
                    "content": cms.EncryptedData(
                        {
                            "version": "v0",
                            "encrypted_content_info": {
                                "content_type": "data",
                                "content_encryption_algorithm": {
                                    "algorithm": "aes128_ofb",
                                    "parameters": bytes(16),
                                },
                            },
                        }
                    ),
                }
            ).dump()
        )
    signed = cms.SignedData(
        {
            "version": "v1",
            "digest_algorithms": [],
            "encap_content_info": {"content_type": "data", "content": content},
            "signer_infos": [],
        }
    )
    return bytes(cms.ContentInfo({"content_type": "signed_data", "content": signed}).dump())


INNER = b"Content-Type: text/plain; charset=utf-8\r\n\r\nThe pump is in hall 7. Gr\xc3\xb6\xc3\x9fe.\r\n"
SIGNED_MAIL = (
    b"From: a@b.example\nSubject: =?utf-8?q?Gr=C3=B6=C3=9Fe?=\nMIME-Version: 1.0\n"
    b'Content-Type: application/pkcs7-mime; smime-type=signed-data; name="smime.p7m"\n'
    b"Content-Transfer-Encoding: base64\n\n"
)


@needs_extra
def test_signed_mail_is_read() -> None:
    document = parse(SIGNED_MAIL + base64.encodebytes(make_p7m(INNER)), "a.eml")
    assert document.title == "Größe"
    assert document.metadata["from"] == "a@b.example"
    assert document.text.endswith("The pump is in hall 7. Größe.\n")
    with pytest.raises(EncryptedDocument):
        parse(SIGNED_MAIL + base64.encodebytes(make_p7m(b"", "encrypted")), "a.eml")


@needs_extra
def test_signed_file_is_read_in_each_form() -> None:
    data = make_p7m(b"The pump is in hall 7.")
    pem = b"-----BEGIN PKCS7-----\n" + base64.encodebytes(data) + b"-----END PKCS7-----\n"
    for form in (data, base64.encodebytes(data), pem):
        parts = parse_parts(form, "invoice.txt.p7m")
        assert [part.text for part in parts.values()] == ["The pump is in hall 7."]  # type: ignore[union-attr]
        assert set(parts) == {"!/invoice.txt"}
    assert set(parse_parts(make_p7m(INNER), "smime.p7m")) == {"!/smime.eml"}


@needs_extra
def test_failures_of_signed_files() -> None:
    for data, error in (
        (b"\x30\x80 not signed", ParseError),
        (make_p7m(b""), NoText),
        (b"  ", NoText),
        (make_p7m(b"", "encrypted"), EncryptedDocument),
    ):
        with pytest.raises(error):
            read_signed_content(data)


# -- The extra, and damage -----------------------------------------------------------------


@pytest.mark.parametrize(
    "parser", [MsgParser(), TnefParser(), SignedFileParser(), LegacyOfficeParser()]
)
def test_missing_extra_is_named(parser: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "find_spec", lambda name: None)
    with pytest.raises(ParserNotInstalled, match=r"citewell\[legacy\]"):
        list(getattr(parser, "unpack", parser.documents)(b"data", uri="file:///a"))


def test_winmail_of_a_mail_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "find_spec", lambda name: None if name == "tnefparse" else True)
    parts = parse_parts(
        file_fixtures.make_eml("Text.", attachments={"winmail.dat": WINMAIL}), "a.eml"
    )
    part = parts["!/winmail.dat"]
    assert isinstance(part, FailedPart)
    assert "citewell[legacy]" in str(part.error)


def damage(data: bytes, count: int, seed: int) -> Iterator[bytes]:
    """Copies of `data`: cut off, or with some flipped bits."""
    source = random.Random(seed)
    for number in range(count):
        if number % 2:
            yield data[: source.randrange(len(data))]
        else:
            copy = bytearray(data)
            for _ in range(source.choice([1, 4, 30])):
                copy[source.randrange(len(copy))] ^= 1 << source.randrange(8)
            yield bytes(copy)


def read_damaged_sources() -> Iterator[tuple[str, bytes]]:
    yield (
        "a.eml",
        file_fixtures.make_eml("Größe", html="<p>x</p>", attachments={"winmail.dat": WINMAIL}),
    )
    yield "a.msg", make_ole(MESSAGE)
    yield "winmail.dat", WINMAIL
    yield "a.p7m", make_p7m(INNER)
    yield "a.xls", make_biff2()
    path = SHARED / "Unstructured-IO+unstructured" / "example-docs__simple.doc"
    if path.exists():
        yield "a.doc", path.read_bytes()


@needs_extra
@pytest.mark.slow
def test_damaged_copies_raise_only_our_errors() -> None:
    with closing(ParserPool(PARSER, processes=1)) as pool:
        for name, data in read_damaged_sources():
            for copy in damage(data, 60, seed=5):
                try:
                    for result in pool.parse(copy, uri=f"file:///{name}", mime=None):
                        if isinstance(result, FailedPart):
                            assert isinstance(result.error, RagError)
                except RagError as error:
                    assert "process" not in str(error), (name, error)
