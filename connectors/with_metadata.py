"""A connector that gives the documents of another one metadata, and a single file a title."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import ClassVar

from connectors.base import Connector, Source
from rag.types import Metadata, flatten_metadata


class WithMetadata(Connector):
    """Lists the sources of ``connector``, with ``metadata`` for each of their documents.

    ``metadata`` takes precedence over that of the connector and of the bytes, but not over a side
    file. ``title`` is the title of a document with the uri of its source. Both are part of the
    version of each source, so a change updates the documents.
    """

    name: ClassVar[str] = "with_metadata"

    connector: Connector
    metadata: Metadata = {}
    title: str | None = None

    def require(self) -> None:
        """See `Connector.require`."""
        self.connector.require()

    @property
    def scope(self) -> str:
        """The scope of the connector."""
        return self.connector.scope

    @property
    def owner_id(self) -> str:
        """The owner of the connector."""
        return self.connector.owner_id

    def sources(self) -> Iterator[Source]:
        """List the sources of the connector, with the metadata and the title."""
        settings = json.dumps([self.title, self.metadata], sort_keys=True)
        digest = hashlib.sha256(settings.encode()).hexdigest()[:16]
        for source in self.connector.sources():
            yield replace(
                source,
                version=f"{source.version}+{digest}" if source.version else "",
                title=source.title if self.title is None else self.title,
                metadata={**flatten_metadata(source.metadata), **self.metadata},
            )

    def count(self) -> int | None:
        """Return the number of sources of the connector."""
        return self.connector.count()

    def owns(self, uri: str) -> bool:
        """Whether the connector owns `uri`."""
        return self.connector.owns(uri)
