"""The base class of adapters for another framework's document loaders."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Iterator
from itertools import count
from urllib.parse import quote

from connectors import PART, Connector, Source
from rag.errors import SourceUnreadable
from rag.interop.base import Adapter, ExternalText, describe_error
from rag.types import flatten_metadata, to_well_formed

_NAME_KEYS = ("source", "file_path", "url", "path", "file_name")


class ConnectorAdapter(Adapter, Connector):
    """Another framework's loader as a connector: the texts that it loads become documents.

    A uri is made of the ``label``, the document's ``source`` metadata, and a number, since one
    source may give several documents. ``mime`` is the type of the texts; it selects the parser.
    Loaders do not report changes, so every ingest loads all texts: unchanged texts are not embedded
    again, and texts that are no longer loaded are deleted.
    """

    mime: str = "text/plain"

    @property
    def scope(self) -> str:
        """Prefix of all uris."""
        return f"{self.name}://{quote(self.label, safe='')}/"

    def sources(self) -> Iterator[Source]:
        """Load the texts and yield them as sources. If loading fails, no document is deleted."""
        counts: dict[str, int] = {}
        texts = self._load_texts()
        for number in count(1):
            try:
                text = next(texts, None)
            except Exception as error:
                yield _failed_source(self.scope, describe_error(self.label, error))
                return
            if text is None:
                return
            name = _choose_name(text, number)
            counts[name] = counts.get(name, 0) + 1
            data = to_well_formed(text.text).encode()
            metadata = flatten_metadata(text.metadata)
            title = metadata.get("title")
            yield Source(
                uri=f"{self.scope}{quote(name, safe='/:')}{PART}{counts[name]}",
                version=hashlib.sha256(data + repr(sorted(metadata.items())).encode()).hexdigest(),
                read=lambda data=data: data,  # type: ignore[misc]
                mime=self.mime,
                title=title if isinstance(title, str) else name.rpartition("/")[2],
                metadata=metadata,
            )

    @abstractmethod
    def _load_texts(self) -> Iterator[ExternalText]:
        """Yield the texts that the wrapped object loads."""


def _failed_source(scope: str, message: str) -> Source:
    """Return a source that cannot be read and protects all documents of the scope."""

    def read() -> bytes:
        raise SourceUnreadable(message)

    return Source(uri=scope, version="", read=read, protected_prefix=scope)


def _choose_name(text: ExternalText, number: int) -> str:
    for key in _NAME_KEYS:
        value = text.metadata.get(key)
        if isinstance(value, str) and value.strip():
            return value.lstrip("/")
    return text.name or f"document-{number}"
