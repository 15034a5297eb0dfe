"""What every connector and parser does."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar

from rag.component import Component
from rag.types import Document


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Something that can be ingested: named and dated cheaply, read only when it has changed.

    ``version`` changes whenever the bytes may have (mtime and size, ETag, commit ...).
    ``read`` returns the bytes, or raises `SourceError`; it is called from other threads than the
    one that lists, later, several at once. A place that could not even be listed
    is a source too: its ``read`` raises, and nothing indexed at or below its uri is taken for
    deleted.
    """

    uri: str
    version: str
    read: Callable[[], bytes]
    mime: str | None = None


class Connector(Component):
    """Where documents come from."""

    kind: ClassVar[str] = "connector"

    @property
    @abstractmethod
    def scope(self) -> str:
        """Prefix of every uri that `sources` can list."""

    @abstractmethod
    def sources(self) -> Iterator[Source]:
        """List what there is, in a stable order. Raises `SourceNotFound` if there is no there."""

    def count(self) -> int | None:
        """How many sources there are, where that is cheap to say: to tell the time left by."""
        return None

    def owns(self, uri: str) -> bool:
        """Whether `sources` would list `uri` if it existed: what is owned and gone is deleted."""
        return uri.startswith(self.scope)


class Parser(Component):
    """Bytes to a `Document`."""

    kind: ClassVar[str] = "parser"

    @abstractmethod
    def parse(self, data: bytes, *, uri: str, mime: str | None = None) -> Document:
        """Parse `data`, read from `uri`. Raises `ParseError` with a reason a person understands.

        `mime` is what the source says it is; None where it says nothing.
        """
