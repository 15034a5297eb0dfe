"""Signed files (.p7m): the content that is packed into a signature."""

from __future__ import annotations

import base64
import binascii
import posixpath
import re
from collections.abc import Iterator, Mapping
from typing import ClassVar

from connectors.base import Container, FailedPart, Part
from connectors.parsers.text import extract_file_name
from rag.errors import EncryptedDocument, NoText, ParseError

SIGNED_TYPES = ("application/pkcs7-mime", "application/x-pkcs7-mime")
_ENCRYPTED_CONTENT = ("enveloped_data", "encrypted_data", "signed_and_enveloped_data")
_MIME_HEADER = re.compile(rb"\s*(?:content-|mime-version:|from:|received:|subject:)", re.I)
_PEM = re.compile(rb"-----BEGIN [A-Z0-9 ]+-----(.*?)-----END", re.S)
_BASE64 = re.compile(rb"[A-Za-z0-9+/=\s]+")


class SignedFileParser(Container):
    """A signed file or message: its content is read, and the signature is not checked."""

    name: ClassVar[str] = "signed"
    formats: ClassVar[Mapping[str, tuple[str, ...]]] = {
        SIGNED_TYPES[0]: (".p7m",),
        SIGNED_TYPES[1]: (),
    }
    library: ClassVar[str] = "asn1crypto"
    keeps: ClassVar[str] = "the signed file as a document"
    drops: ClassVar[str] = "the signature and its certificates"
    extra: ClassVar[str] = "legacy"
    packages: ClassVar[tuple[str, ...]] = ("asn1crypto",)

    def unpack(self, data: bytes, *, uri: str) -> Iterator[Part | FailedPart]:
        """List the signed file; its name is that of the source without ``.p7m``."""
        content = read_signed_content(data)
        is_message = _MIME_HEADER.match(content) is not None
        stem = posixpath.splitext(extract_file_name(uri))[0] or "content"
        name = f"{stem}.eml" if is_message and not stem.endswith(".eml") else stem
        yield Part(name, lambda: content, "message/rfc822" if is_message else None)


def read_signed_content(data: bytes) -> bytes:
    """Return the content of a PKCS #7 signature, in binary form, base64 or PEM.

    Raises `EncryptedDocument` if the content is encrypted, `ParseError` if the data is damaged,
    and `ParserNotInstalled`.
    """
    SignedFileParser().require()
    from asn1crypto import cms

    data = _decode_text_form(data)
    if not data.strip():
        raise NoText("the signed file is empty")
    try:
        info = cms.ContentInfo.load(data)
        kind = info["content_type"].native
        if kind in _ENCRYPTED_CONTENT:
            raise EncryptedDocument("an encrypted e-mail or file")
        if kind != "signed_data":
            raise ParseError(f"not a signed file: {kind}")
        content = info["content"]["encap_content_info"]["content"].native
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        raise ParseError(f"a damaged signed file: {' '.join(str(error).split())[:200]}") from None
    if not content:
        raise NoText("a signature without the signed file")
    return content if isinstance(content, bytes) else str(content).encode()


def _decode_text_form(data: bytes) -> bytes:
    match = _PEM.search(data[:1_000_000]) if b"-----BEGIN" in data[:1_000] else None
    text = match.group(1) if match else data
    if not _BASE64.fullmatch(text):
        return data
    try:
        return base64.b64decode(b"".join(text.split()))
    except binascii.Error:
        return data
