"""What every connector and parser does."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any, ClassVar, Self
from urllib.parse import quote

from rag.component import Component
from rag.errors import MissingExtra, SourceError, SourceNotFound, UnsupportedFormat
from rag.types import Document, flat_metadata

PART = "!/"
"""Stands between the uri of a source and the name of a part of it: ``file:///a.zip!/b.txt``."""


def part_uri(uri: str, name: str) -> str:
    """Name the part `name` (a path, a row's key ...) of the source `uri`."""
    return uri + PART + quote(name.lstrip("/"), safe="/", errors="replace")


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Something that can be ingested: named and dated cheaply, read only when it has changed.

    ``version`` changes whenever the bytes may have (mtime and size, ETag, commit ...); "" where
    the place says nothing of the kind. ``read`` returns the bytes, or raises `SourceError`; it is
    called from other threads than the one that lists, later, several at once. ``title`` and
    ``metadata`` (flat) are what the place says of it; they win over what is in the bytes. A title
    of None says nothing, "" that there is none.

    A place that could not even be listed is a source too: its ``read`` raises
    `SourceUnreadable`, and nothing indexed whose uri begins with ``shelter`` (by default what is
    below its uri) is taken for deleted.
    """

    uri: str
    version: str
    read: Callable[[], bytes]
    mime: str | None = None
    title: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    protected_prefix: str = ""


def apply_source_metadata(document: Document, source: Source) -> Document:
    """The document with what its source says of it: that wins over what was in the bytes."""
    if source.title is None and not source.metadata:
        return document
    fields = dict(document.__dict__)
    if source.title is not None and document.uri == source.uri:
        fields["title"] = source.title
    fields["metadata"] = {**document.metadata, **flat_metadata(source.metadata)}
    return Document(**fields)


class Connector(Component):
    """Where documents come from.

    ``schemes`` are those of the uris that `from_uri` reads, ``examples`` how these are written.
    ``extra`` names the optional dependencies that such a connector needs ("" for none), and
    ``packages`` are the modules that come with it.
    """

    kind: ClassVar[str] = "connector"
    schemes: ClassVar[tuple[str, ...]] = ()
    examples: ClassVar[tuple[str, ...]] = ()
    extra: ClassVar[str] = ""
    packages: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def from_uri(cls, uri: str, **options: Any) -> Self:
        """Make the connector for a uri with one of the ``schemes``.

        `options` are settings the connector may have or not. Raises `SourceNotFound` for a uri
        that it cannot read.
        """
        raise SourceNotFound(f"the connector {cls.name!r} is not made from a uri: {uri}")

    def require(self) -> None:
        """Raise `MissingExtra` where something that it needs is not installed."""
        if not all(map(find_spec, self.packages)):
            raise MissingExtra.of(self.extra, f"the connector {self.name!r}")

    @property
    @abstractmethod
    def scope(self) -> str:
        """Prefix of every uri that `sources` can list."""

    @property
    def owner_id(self) -> str:
        """Where only some of what is in the scope is this connector's: a name for it.

        Then what another connector has listed first is not deleted by this one.
        """
        return ""

    @abstractmethod
    def sources(self) -> Iterator[Source]:
        """List what there is, in a stable order. Raises `SourceNotFound` if there is no there."""

    def count(self) -> int | None:
        """How many sources there are, where that is cheap to say: to tell the time left by."""
        return None

    def owns(self, uri: str) -> bool:
        """Whether `sources` would list `uri` if it existed: what is owned and gone is deleted."""
        return uri.startswith(self.scope)


@dataclass(frozen=True, slots=True)
class FailedPart:
    """A part of a source that gave no document, and why."""

    uri: str
    error: SourceError


@dataclass(frozen=True, slots=True)
class Part:
    """Something with a name and bytes inside a source: a member of an archive, an attachment."""

    name: str
    read: Callable[[], bytes]
    mime: str | None = None


class Parser(Component):
    """Bytes to a `Document`.

    ``formats`` are the media types it reads, each with the suffixes of file names that mean it;
    ``library`` does the work, ``keeps`` and ``drops`` say what of a file is in the document, and
    ``extra`` names the optional dependencies it needs, whose modules are ``packages``: all of it
    is what ``rag sources`` lists.
    """

    kind: ClassVar[str] = "parser"
    formats: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    library: ClassVar[str] = ""
    keeps: ClassVar[str] = ""
    drops: ClassVar[str] = ""
    extra: ClassVar[str] = ""
    packages: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def parse(self, data: bytes, *, uri: str, mime: str | None = None) -> Document:
        """Parse `data`, read from `uri`. Raises `ParseError` with a reason a person understands.

        `mime` is what the source says it is; None where it says nothing.
        """

    def documents(
        self, data: bytes, *, uri: str, mime: str | None = None
    ) -> Iterator[Document | FailedPart]:
        """Parse all documents that `data` holds; most formats hold one, named `uri`.

        The uris of the others are made by `part_uri`. Raises `ParseError` where there is none.
        """
        yield self.parse(data, uri=uri, mime=mime)


class Container(Parser):
    """A format that holds files of other formats; `AutoParser` parses them."""

    def parse(self, data: bytes, *, uri: str, mime: str | None = None) -> Document:
        """Parse what is not in a part; by default there is no such thing."""
        raise UnsupportedFormat("it holds files, and is no document of its own")

    @abstractmethod
    def unpack(self, data: bytes, *, uri: str) -> Iterator[Part | FailedPart]:
        """List the parts; nothing is read before `Part.read` is called."""
