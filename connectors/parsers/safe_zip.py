"""Opening files that are ZIP archives inside, with care."""

from __future__ import annotations

import io
import re
import zipfile
from typing import Any

from rag.errors import EncryptedDocument, ParseError
from rag.types import flat_metadata

_MOST_BYTES = 2**30  # of all members unpacked, in an office document or book
_MOST_MEMBERS = 50_000
_BROKEN = (zipfile.BadZipFile, EOFError, OSError, ValueError, NotImplementedError, RuntimeError)


class ZippedFile:
    """The members of a ZIP archive in memory, which together are not too large to be unpacked."""

    def __init__(self, data: bytes, what: str) -> None:
        self._what = what
        try:
            self._zip = zipfile.ZipFile(io.BytesIO(data))
        except _BROKEN as error:
            raise ParseError(f"a damaged {what}: {error}") from None
        members = self._zip.infolist()
        check_whole(members, data, what)
        size = sum(member.file_size for member in members)
        if size > _MOST_BYTES or len(members) > _MOST_MEMBERS:
            raise ParseError(
                f"{len(members):,} files of {size:,} bytes in a {what} of {len(data):,}: taken for "
                "an attack"
            )
        if any(member.flag_bits & 1 for member in members):
            raise EncryptedDocument("protected by a password: save a copy without one")
        self.names = {member.filename for member in members}

    def replaced(self, name: str, body: bytes) -> bytes:
        """A copy of the archive with another member `name`; damaged members are left out."""
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w") as copy:
            for member in self.names:
                try:
                    copy.writestr(member, body if member == name else self.read(member))
                except ParseError:
                    continue
        return out.getvalue()

    def read(self, name: str) -> bytes:
        """Bytes of a member. Raises `ParseError` where it is damaged or not there."""
        try:
            return self._zip.read(name)
        except KeyError:
            raise ParseError(f"a damaged {self._what}: no {name} in it") from None
        except MemoryError:
            raise
        except Exception as error:  # zlib's, bz2's and lzma's own among them
            raise ParseError(f"a damaged {self._what}: {error}") from None


def etree_bytes(root: Any) -> bytes:
    """An XML file of the element and all below."""
    from lxml import etree

    return bytes(etree.tostring(root, xml_declaration=True, encoding="UTF-8"))


def check_whole(members: list[zipfile.ZipInfo], data: bytes, what: str) -> None:
    """Raise where the end of an archive is that of another one, which is stored within it."""
    first = min((member.header_offset for member in members), default=-1)
    if data.startswith(b"PK\x03\x04") and first != 0:
        raise ParseError(f"a damaged {what}: its end is missing")


def parse_xml(data: bytes, what: str) -> Any:
    """Root element; entities are not resolved and nothing is fetched. Raises `ParseError`."""
    return parse_xml_noting(data, what)[0]


def parse_xml_noting(data: bytes, what: str) -> tuple[Any, str]:
    """Root element, and what is wrong with the file, if it can be read all the same."""
    from lxml import etree

    parser = etree.XMLParser(
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        recover=True,
        remove_pis=True,
        huge_tree=b"<!ENTITY" not in data,  # entities in attributes are resolved all the same
    )
    try:
        root = etree.fromstring(data, parser)
    except (etree.XMLSyntaxError, ValueError) as error:
        raise ParseError(f"broken XML in a {what}: {error}") from None
    if root is None:
        raise ParseError(f"no XML in a {what}")
    wrong = next((e.message for e in parser.error_log if e.level_name == "FATAL"), "")
    return root, wrong[:200]


def local_name(element: Any) -> str:
    """Name of an element without its namespace; "" for comments and the like."""
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


def properties(xml: bytes) -> dict[str, Any]:
    """What office documents and books say of themselves, by Dublin Core and its kin."""
    found: dict[str, list[str]] = {}
    for element in parse_xml(xml, "document").iter():
        name = _PROPERTIES.get(local_name(element))
        text = " ".join((element.text or "").split())
        if name and text and text not in found.setdefault(name, []):
            found[name].append(_date(text) if name in ("created", "modified") else text)
    return flat_metadata({key: v[0] if len(v) == 1 else v for key, v in found.items()})


def _date(text: str) -> str:
    day = re.match(r"\d{4}-\d\d-\d\d", text)
    return day.group() if day else text


def office_properties(archive: ZippedFile) -> dict[str, Any]:
    """Properties of an Office or OpenDocument file; none where they are missing or damaged."""
    for name in ("docProps/core.xml", "meta.xml"):
        if name in archive.names:
            try:
                return properties(archive.read(name))
            except ParseError:
                return {}
    return {}
