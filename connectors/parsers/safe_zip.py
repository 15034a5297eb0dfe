"""Reading ZIP-based files and XML safely: limits on size, no external entities."""

from __future__ import annotations

import io
import re
import zipfile
from typing import Any

from connectors.parsers.default_properties import remove_default_properties
from rag.errors import EncryptedDocument, ParseError
from rag.types import flatten_metadata

_MAX_UNPACKED_BYTES = 2**30  # of all members together
_MAX_MEMBERS = 50_000
_ZIP_ERRORS = (zipfile.BadZipFile, EOFError, OSError, ValueError, NotImplementedError, RuntimeError)


class ZippedFile:
    """The members of a ZIP archive in memory, with a limit on their unpacked size.

    `description` is what error messages call the file. Raises `ParseError` for a damaged or too
    large archive, `EncryptedDocument` for one with a password.
    """

    def __init__(self, data: bytes, description: str) -> None:
        self._what = description
        try:
            self._zip = zipfile.ZipFile(io.BytesIO(data))
        except _ZIP_ERRORS as error:
            raise ParseError(f"a damaged {description}: {error}") from None
        members = self._zip.infolist()
        check_archive_end(members, data, description)
        size = sum(member.file_size for member in members)
        if size > _MAX_UNPACKED_BYTES or len(members) > _MAX_MEMBERS:
            raise ParseError(
                f"a {description} of {len(data):,} bytes that unpacks to {len(members):,} files of "
                f"{size:,} bytes: rejected, because it may be an attack"
            )
        if any(member.flag_bits & 1 for member in members):
            raise EncryptedDocument("protected by a password: save a copy without one")
        self.names = {member.filename for member in members}

    def read(self, name: str) -> bytes:
        """Return the bytes of a member. Raises `ParseError` if it is missing or damaged."""
        try:
            return self._zip.read(name)
        except KeyError:
            raise ParseError(f"a damaged {self._what}: {name} is missing") from None
        except MemoryError:
            raise
        except Exception as error:  # zlib, bz2 and lzma raise their own types
            raise ParseError(f"a damaged {self._what}: {error}") from None


def check_archive_end(members: list[zipfile.ZipInfo], data: bytes, description: str) -> None:
    """Raise `ParseError` if the archive is cut off and ends with an archive stored in it."""
    first_offset = min((member.header_offset for member in members), default=-1)
    if data.startswith(b"PK\x03\x04") and first_offset != 0:
        raise ParseError(f"a damaged {description}: its end is missing")


def describe_error(error: Exception) -> str:
    """Return the type and the message of an error that another package raised, on one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]


def parse_xml(data: bytes, description: str) -> Any:
    """Return the root element, without resolving entities or fetching files.

    `description` is what error messages call the file. Raises `ParseError`.
    """
    return parse_damaged_xml(data, description)[0]


def parse_damaged_xml(data: bytes, description: str) -> tuple[Any, str]:
    """Return the root element, and the first error in a damaged but readable file, or ""."""
    from lxml import etree

    parser = etree.XMLParser(
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        recover=True,
        remove_pis=True,
        huge_tree=b"<!ENTITY" not in data,  # lxml resolves entities in attributes even so
    )
    try:
        root = etree.fromstring(data, parser)
    except (etree.XMLSyntaxError, ValueError) as error:
        raise ParseError(f"broken XML in a {description}: {error}") from None
    if root is None:
        raise ParseError(f"no XML in a {description}")
    damage = next((e.message for e in parser.error_log if e.level_name == "FATAL"), "")
    return root, damage[:200]


def local_name(element: Any) -> str:
    """Return the name of an element without namespace; "" for comments and similar nodes."""
    return element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""


_PROPERTIES = {
    "title": "title",
    "creator": "author",
    "initial-creator": "author",
    "subject": "subject",
    "description": "description",
    "keywords": "keywords",
    "keyword": "keywords",
    "language": "language",
    "publisher": "publisher",
    "date": "modified",
    "created": "created",
    "creation-date": "created",
    "modified": "modified",
}


def read_properties(xml: bytes) -> dict[str, Any]:
    """Read the properties of an office document or book (Dublin Core and similar names)."""
    values_by_name: dict[str, list[str]] = {}
    for element in parse_xml(xml, "document").iter():
        name = _PROPERTIES.get(local_name(element))
        text = " ".join((element.text or "").split())
        if name and text and text not in values_by_name.setdefault(name, []):
            values_by_name[name].append(
                _shorten_date(text) if name in ("created", "modified") else text
            )
    properties = {
        key: values[0] if len(values) == 1 else values for key, values in values_by_name.items()
    }
    return flatten_metadata(remove_default_properties(properties))


def _shorten_date(text: str) -> str:
    day = re.match(r"\d{4}-\d\d-\d\d", text)
    return day.group() if day else text


def read_office_properties(archive: ZippedFile) -> dict[str, Any]:
    """Read the properties of an office file; {} if they are missing or damaged."""
    for name in ("docProps/core.xml", "meta.xml"):
        if name in archive.names:
            try:
                return read_properties(archive.read(name))
            except ParseError:
                return {}
    return {}
