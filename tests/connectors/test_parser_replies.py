"""Replies of the parser process: data that cannot run code, and the same errors as before."""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.base import FailedPart
from connectors.parser_pool import ParserLimits, ParserPool
from connectors.parser_replies import decode_reply, encode_reply
from connectors.parsers.archives import ArchiveParser
from connectors.parsers.auto import AutoParser
from rag.errors import (
    ConfigError,
    EncryptedDocument,
    NoText,
    ParseError,
    ParserNotInstalled,
    SourceError,
    SourceSkipped,
)
from rag.types import Document, Mark

URI = "file:///a.txt"


@pytest.mark.parametrize(
    "error",
    [
        SourceError("no", uri=URI),
        NoText("no text"),
        EncryptedDocument("locked", uri=URI),
        ParserNotInstalled.of("legacy", "doc"),
        SourceSkipped("a lock file"),
        ConfigError("wrong", setting="parser.others"),
    ],
)
def test_an_error_keeps_its_class_and_facts(error: Exception) -> None:
    decoded = decode_reply(encode_reply(error))  # type: ignore[arg-type]
    assert type(decoded) is type(error) and str(decoded) == str(error)
    assert vars(decoded) == vars(error)


def test_an_error_of_another_package_becomes_the_nearest_one_of_ours() -> None:
    class Torn(ParseError):
        pass

    decoded = decode_reply(encode_reply(Torn("torn", uri=URI)))
    assert type(decoded) is ParseError and decoded.uri == URI


@given(
    text=st.text(min_size=1),
    metadata=st.dictionaries(
        st.text(min_size=1, max_size=5),
        st.one_of(
            st.text(),
            st.integers(-(2**60), 2**60),
            st.floats(allow_nan=False, allow_infinity=False),
            st.booleans(),
        ),
    ),
)
def test_any_document_comes_back_equal(text: str, metadata: dict[str, Any]) -> None:
    document = Document(
        uri=URI,
        text=text,
        metadata=metadata,
        marks=(Mark(kind="page", start=0, end=1, value=1),),
    )
    failure = FailedPart(URI + "!/b", ParseError("damaged"))
    back, failed = decode_reply(encode_reply([document, failure]))
    assert back == document
    assert isinstance(failed, FailedPart) and str(failed.error) == "damaged"
    assert failed.error.uri == failure.uri


class Payload:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch pwned",)


@pytest.mark.parametrize(
    "reply",
    [
        pickle.dumps(Payload()),
        b"",
        b"[]",
        b'{"parts": [1]}',
        b'{"parts": [{"document": {}}]}',
        b'{"error": {"class": "os", "message": "x", "attributes": {}}}',
        b'{"error": {"class": "Path", "message": "x", "attributes": {}}}',
        b"[" * 100_000,
        json.dumps({"parts": [{"uri": "a", "error": {"class": "ConfigError"}}]}).encode(),
    ],
)
def test_a_hostile_reply_is_refused(
    reply: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError):
        decode_reply(reply)
    assert not list(tmp_path.iterdir())


# -- text in proportion to the file --------------------------------------------------------


def zip_file(name: str, content: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return buffer.getvalue()


def get_reason(pool: ParserPool, data: bytes, name: str) -> str:
    """Return why a source fails, as a whole or in its only part."""
    try:
        (part,) = pool.parse(data, uri=f"file:///{name}", mime=None)
    except SourceError as error:
        return str(error)
    assert isinstance(part, FailedPart)
    return str(part.error)


def test_a_small_archive_of_much_text_fails_before_it_is_unpacked() -> None:
    text = b"The same line again.\n" * 1_000_000
    for data, name in ((zip_file("a.txt", text), "a.zip"), (gzip.compress(text), "a.txt.gz")):
        assert len(data) < 130_000
        assert "max_ratio" in get_reason(ParserPool(AutoParser(), processes=0), data, name)
        generous = AutoParser(others=(ArchiveParser(max_ratio=1_000.0),))
        reason = get_reason(ParserPool(generous, processes=0), data, name)
        assert "characters_per_byte" in reason
        limits = ParserLimits(characters_per_byte=1_000)
        assert ParserPool(generous, 0, limits).parse(data, uri=f"file:///{name}", mime=None)


def test_limits_in_proportion() -> None:
    limits = ParserLimits()
    limits.check_characters(1_000_000, 10)
    limits.check_characters(5_000_000, 100_000)
    with pytest.raises(SourceError, match="characters_per_byte"):
        limits.check_characters(1_000_001, 10)
    with pytest.raises(SourceError, match=r"limits\.characters\)"):
        limits.check_characters(100_000_001, 10**9)
