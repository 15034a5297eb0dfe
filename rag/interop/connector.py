"""Another framework's loader, as a connector."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Iterator
from itertools import count
from typing import ClassVar
from urllib.parse import quote

from connectors import PART, Connector, Source
from rag.errors import SourceUnreadable
from rag.interop.base import Foreign, Text
from rag.types import flat_metadata, well_formed


class ForeignConnector(Foreign, Connector):
    """Another framework's loader: the texts it loads become documents.

    The uris are made of the ``label``, of what a document calls its ``source``, and of a number,
    since one source may give several documents. ``mime`` says what the texts are, for the
    parser. Their loaders do not say what has changed, so all is loaded in every run; what is the
    same is not embedded again, and what is gone is deleted.
    """

    mime: str = "text/plain"

    _scheme: ClassVar[str]

    @property
    def scope(self) -> str:
        """Prefix of all uris."""
        return f"{self._scheme}://{quote(self.label, safe='')}/"

    def sources(self) -> Iterator[Source]:
        """Load, and list what was loaded. Where that fails, nothing loaded before is deleted."""
        counts: dict[str, int] = {}
        loaded = self._loaded()
        for number in count(1):
            try:
                found = next(loaded, None)
            except Exception as error:
                yield _failed_source(self.scope, self.label, error)
                return
            if found is None:
                return
            named = _named(found, number)
            counts[named] = counts.get(named, 0) + 1
            data = well_formed(found.text).encode()
            metadata = flat_metadata(found.metadata)
            title = metadata.get("title")
            yield Source(
                uri=f"{self.scope}{quote(named, safe='/:')}{PART}{counts[named]}",
                version=hashlib.sha256(data + repr(sorted(metadata.items())).encode()).hexdigest(),
                read=lambda data=data: data,  # type: ignore[misc]
                mime=self.mime,
                title=title if isinstance(title, str) else named.rpartition("/")[2],
                metadata=metadata,
            )

    @abstractmethod
    def _loaded(self) -> Iterator[Text]:
        """Ask the object."""


def _failed_source(scope: str, label: str, error: Exception) -> Source:
    said = " ".join(str(error).split())[:300]

    def read() -> bytes:
        raise SourceUnreadable(f"{label} failed: {type(error).__name__}: {said}")

    return Source(uri=scope, version="", read=read, protected_prefix=scope)


def _named(found: Text, number: int) -> str:
    for name in ("source", "file_path", "url", "path", "file_name"):
        value = found.metadata.get(name)
        if isinstance(value, str) and value.strip():
            return value.lstrip("/")
    return found.name or f"document-{number}"
