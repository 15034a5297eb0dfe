"""Objects of a store in the cloud, through fsspec."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from functools import partial
from importlib.util import find_spec
from typing import Any, ClassVar, Self
from urllib.parse import quote, unquote

from pydantic import Field, field_validator

from connectors.base import Connector, Source
from rag.errors import MissingExtra, SourceError, SourceNotFound, SourceUnreadable

_VERSIONS = (
    *("ETag", "etag", "md5Hash", "generation", "LastModified", "last_modified", "updated"),
    *("mtime", "created", "size"),
)
_EXTRAS = {"s3": "s3", "gs": "gs", "gcs": "gs", "az": "az", "abfs": "az", "abfss": "az"}
_PACKAGES = {"s3": "s3fs", "gs": "gcsfs", "az": "adlfs"}


class ObjectStore(Connector):
    """Every object below ``url`` (``s3://bucket/prefix``, ``gs://``, ``az://``, ``memory://``).

    Keys are found the way each cloud's own tools find them (environment, configuration files);
    ``options`` are passed on to the file system of fsspec. ``include`` and ``exclude`` are globs
    over the names below. An object is versioned by what the store says of it: ETag, generation,
    date and size.
    """

    name: ClassVar[str] = "objects"
    examples: ClassVar[tuple[str, ...]] = (
        "s3://bucket/prefix",
        "gs://bucket/prefix",
        "az://container/prefix",
    )
    schemes: ClassVar[tuple[str, ...]] = ("s3", "gs", "gcs", "az", "abfs", "abfss", "memory")
    extra: ClassVar[str] = "s3,gs,az"
    packages: ClassVar[tuple[str, ...]] = tuple(_PACKAGES.values())

    url: str
    include: tuple[str, ...] = ("*",)
    exclude: tuple[str, ...] = ()
    max_bytes: int = Field(512 * 2**20, gt=0)
    options: Mapping[str, Any] = Field(default={}, repr=False, exclude=True)

    @classmethod
    def from_uri(cls, uri: str, **options: Any) -> Self:
        """``s3://bucket/prefix``."""
        return cls(url=uri)

    def require(self) -> None:
        """Raise `MissingExtra` where the file system of the scheme is not installed."""
        extra = _EXTRAS.get(self._scheme, "objects")
        if not all(map(find_spec, ("fsspec", *filter(None, [_PACKAGES.get(extra)])))):
            raise MissingExtra.of(extra, f"reading {self._scheme}://")

    @field_validator("url")
    @classmethod
    def _has_scheme(cls, url: str) -> str:
        if "://" not in url:
            raise ValueError("an address begins with the kind of store, as in s3://")
        return url.rstrip("/")

    @property
    def _scheme(self) -> str:
        return self.url.partition("://")[0].lower()

    @property
    def scope(self) -> str:
        """The address of the bucket or folder."""
        return f"{self._scheme}://{quote(self.url.partition('://')[2].strip('/'))}/"

    def owns(self, uri: str) -> bool:
        """Whether it is the object itself, or one below that is selected."""
        if uri == self.scope.rstrip("/"):
            return True
        return uri.startswith(self.scope) and self._selected(unquote(uri[len(self.scope) :]))

    def sources(self) -> Iterator[Source]:
        """List the objects, in order of their names."""
        system = self._system()
        root = self.url.partition("://")[2].strip("/")
        try:
            found = system.find(root, detail=True)
        except FileNotFoundError:
            raise SourceNotFound(f"nothing at {self.url}") from None
        except Exception as error:  # every store has errors of its own
            raise SourceNotFound(f"{self.url} cannot be listed: {_said(error)}") from None
        if not found:
            raise SourceNotFound(f"nothing at {self.url}")
        for name in sorted(found):
            about = found[name]
            bare = name.strip("/")
            below = bare[len(root) :].strip("/") if bare.startswith(root) else bare
            if about.get("type") == "file" and (not below or self._selected(below)):
                said = (f"{key}={about[key]}" for key in _VERSIONS if about.get(key) is not None)
                yield Source(
                    uri=f"{self._scheme}://{quote(bare)}",
                    version=" ".join(said),
                    read=partial(self._read, system, name, int(about.get("size") or 0)),
                    mime=about.get("ContentType") or about.get("contentType"),
                )

    def _selected(self, below: str) -> bool:
        return any(fnmatchcase(below, glob) for glob in self.include) and not any(
            fnmatchcase(below, glob) for glob in self.exclude
        )

    def _system(self) -> Any:
        self.require()
        import fsspec

        try:
            return fsspec.filesystem(self._scheme, use_listings_cache=False, **self.options)
        except Exception as error:
            raise SourceNotFound(f"{self.url} cannot be opened: {_said(error)}") from None

    def _read(self, system: Any, name: str, size: int) -> bytes:
        if size > self.max_bytes:
            raise SourceError(f"{size:,} bytes, over the limit of {self.max_bytes:,} (max_bytes)")
        try:
            return bytes(system.cat_file(name))
        except Exception as error:
            raise SourceUnreadable(f"cannot be read: {_said(error)}") from None


def _said(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]
