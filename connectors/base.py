"""Base classes of connectors and parsers, and the sources, parts and failures they exchange."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.util import find_spec
from typing import Any, ClassVar, NamedTuple, Self, TypeGuard
from urllib.parse import quote

from rag.component import Component
from rag.errors import (
    MissingExtra,
    ParserNotInstalled,
    SourceError,
    SourceNotFound,
    SourceSkipped,
    UnsupportedFormat,
)
from rag.types import Document, flatten_metadata

PART = "!/"
"""Separator between the uri of a source and the name of a part: ``file:///a.zip!/b.txt``."""


def part_uri(uri: str, name: str) -> str:
    """Return the uri of the part `name` (a path, the key of a row ...) of the source `uri`."""
    return uri + PART + quote(name.lstrip("/"), safe="/", errors="replace")


@contextmanager
def attach_uri(uri: str) -> Iterator[None]:
    """Set the ``uri`` of a `SourceError` that is raised within, unless it already has one."""
    try:
        yield
    except SourceError as error:
        if error.uri is None:
            error.uri = uri
        raise


def _skip(reason: str) -> bytes:
    raise SourceSkipped(reason)


def _read_with_uri(read: Callable[[], bytes], uri: str) -> bytes:
    with attach_uri(uri):
        return read()


class SideFile(NamedTuple):
    """The title and the flat metadata in a side file; a title of None means that it has none."""

    title: str | None
    metadata: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Something that can be ingested: cheap to list, and read only if it has changed.

    ``version`` changes whenever the bytes may have changed (mtime and size, ETag, commit ...);
    it is "" if the connector has no such information. ``read`` returns the bytes or raises
    `SourceError`, whose ``uri`` is set to that of the source. It is called later, from several
    threads at once, and not from the thread that lists. ``title`` and ``metadata`` (flat) come from
    the connector and take precedence over those in the bytes. A title of None means unknown, ""
    that there is no title. ``read_side_file`` reads the side file of the source, if it has one:
    its title and metadata take precedence over all others. ``version`` changes with the side file.
    ``skip_reason`` says why it is no document, such as a lock file or a backup copy: an ingest
    reports it and does not read it, and `read` raises `SourceSkipped`.

    A folder, sitemap or other part of the source that could not be listed is a source, too: its
    ``read`` raises `SourceUnreadable`, and no indexed document whose uri starts with
    ``protected_prefix`` (default: the uri of the source and a ``/``) is deleted.
    """

    uri: str
    version: str
    read: Callable[[], bytes]
    mime: str | None = None
    title: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    protected_prefix: str = ""
    read_side_file: Callable[[], SideFile] | None = None
    skip_reason: str = ""

    def __post_init__(self) -> None:
        read = partial(_skip, self.skip_reason) if self.skip_reason else self.read
        object.__setattr__(self, "read", partial(_read_with_uri, read, self.uri))

    def apply_side_file(self) -> Source:
        """Return the source with the title and the metadata of its side file.

        Raises `ParseError` for an invalid side file.
        """
        if self.read_side_file is None:
            return self
        with attach_uri(self.uri):
            title, metadata = self.read_side_file()
        return replace(
            self,
            title=self.title if title is None else title,
            metadata={**flatten_metadata(self.metadata), **metadata},
            read_side_file=None,
        )


def apply_source_metadata(document: Document, source: Source) -> Document:
    """Return the document with the title and metadata of its source.

    They take precedence over those in the bytes. The title applies only to the document that has
    the uri of the source.
    """
    return set_title_and_metadata(document, source.title, source.metadata, uri=source.uri)


def set_title_and_metadata(
    document: Document, title: str | None, metadata: Mapping[str, Any], *, uri: str
) -> Document:
    """Return the document with other metadata, and with the title if its uri is `uri`."""
    if title is None and not metadata:
        return document
    fields = dict(document.__dict__)
    if title is not None and document.uri == uri:
        fields["title"] = title
    fields["metadata"] = {**document.metadata, **flatten_metadata(metadata)}
    return Document(**fields)


class Connector(Component):
    """Lists the sources of documents.

    ``schemes`` are the uri schemes that `from_uri` reads, ``examples`` are uris to show to users.
    ``extra`` is the name of the optional dependencies that the connector needs ("" for none), and
    ``packages`` are the modules that this extra installs.
    """

    kind: ClassVar[str] = "connector"
    schemes: ClassVar[tuple[str, ...]] = ()
    examples: ClassVar[tuple[str, ...]] = ()
    extra: ClassVar[str] = ""
    packages: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def from_uri(cls, uri: str, **options: Any) -> Self:
        """Return the connector for a uri with one of the ``schemes``.

        `options` are settings; a connector ignores those that it does not have. Raises
        `SourceNotFound` for a uri that it cannot read.
        """
        raise SourceNotFound(
            f"the connector {cls.name!r} cannot be created from a uri: {uri}", uri=uri
        )

    def require(self) -> None:
        """Raise `MissingExtra` if a package that the connector needs is not installed."""
        if not all(map(find_spec, self.packages)):
            raise MissingExtra.of(self.extra, f"the connector {self.name!r}")

    @property
    @abstractmethod
    def scope(self) -> str:
        """Prefix of the uris that `sources` can list."""

    @property
    def owner_id(self) -> str:
        """Name of the owner, for a connector that shares its scope with others; "" otherwise.

        Such a connector does not delete documents that another connector listed first.
        """
        return ""

    @abstractmethod
    def sources(self) -> Iterator[Source]:
        """List the sources in a stable order.

        Raises `SourceNotFound` if the source as a whole does not exist.
        """

    def count(self) -> int | None:
        """Return the number of sources, or None if counting is expensive.

        The number serves to estimate the time left.
        """
        return None

    def owns(self, uri: str) -> bool:
        """Return whether `sources` would list `uri` if it existed.

        An indexed document is deleted if its source is owned and no longer listed.
        """
        return uri.startswith(self.scope)


@dataclass(frozen=True, slots=True)
class FailedPart:
    """A part of a source that could not be parsed, and the error, whose ``uri`` is the same."""

    uri: str
    error: SourceError

    def __post_init__(self) -> None:
        if self.error.uri is None:
            self.error.uri = self.uri


def is_skipped(part: Document | FailedPart) -> TypeGuard[FailedPart]:
    """Whether a part of a source is no document, such as a lock file in an archive."""
    return isinstance(part, FailedPart) and isinstance(part.error, SourceSkipped)


@dataclass(frozen=True, slots=True)
class Part:
    """A named part of a source with its own bytes: a member of an archive, an attachment.

    ``read_side_file`` reads the title and the metadata in the side file of the part.
    """

    name: str
    read: Callable[[], bytes]
    mime: str | None = None
    read_side_file: Callable[[], SideFile] | None = None


class Parser(Component):
    """Makes a `Document` of bytes.

    ``formats`` maps the media types it reads to their file suffixes. ``library`` names the
    package that parses. ``keeps`` and ``drops`` say which content of a file is in the document.
    ``extra`` is the name of the optional dependencies, and ``packages`` are the modules that it
    installs. ``rag formats`` prints these fields.
    """

    kind: ClassVar[str] = "parser"
    formats: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    library: ClassVar[str] = ""
    keeps: ClassVar[str] = ""
    drops: ClassVar[str] = ""
    extra: ClassVar[str] = ""
    packages: ClassVar[tuple[str, ...]] = ()

    def require(self) -> None:
        """Raise `ParserNotInstalled` if one of its ``packages`` is not installed."""
        if not all(map(find_spec, self.packages)):
            raise ParserNotInstalled.of(self.extra, self.name)

    @abstractmethod
    def parse(self, data: bytes, *, uri: str, mime: str | None = None) -> Document:
        """Parse `data`, read from `uri`.

        `mime` is the media type that the source states, None if it states none. Raises
        `ParseError` with a reason that a user understands.
        """

    def documents(
        self, data: bytes, *, uri: str, mime: str | None = None
    ) -> Iterator[Document | FailedPart]:
        """Parse all documents in `data`; most formats contain one, with the uri `uri`.

        The uris of further documents are made with `part_uri`. Raises `ParseError` if there is no
        document.
        """
        yield self.parse(data, uri=uri, mime=mime)


class Container(Parser):
    """A parser of a format that contains files of other formats; `AutoParser` parses them.

    With ``has_file_names``, the names of the parts are those of files, so that one such as
    ``~$report.docx`` shows that a part is no document.
    """

    has_file_names: ClassVar[bool] = True

    def parse(self, data: bytes, *, uri: str, mime: str | None = None) -> Document:
        """Parse the content outside of the parts. By default there is none, and this raises."""
        raise UnsupportedFormat("it contains files and has no text outside of them")

    @abstractmethod
    def unpack(self, data: bytes, *, uri: str) -> Iterator[Part | FailedPart]:
        """List the parts without reading them; `Part.read` reads one."""
