"""Objects of a cloud store, read through fsspec."""

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

_VERSION_KEYS = (
    *("ETag", "etag", "md5Hash", "generation", "LastModified", "last_modified", "updated"),
    *("mtime", "created", "size"),
)
_EXTRA_BY_SCHEME = {"s3": "s3", "gs": "gs", "gcs": "gs", "az": "az", "abfs": "az", "abfss": "az"}
_PACKAGE_BY_EXTRA = {"s3": "s3fs", "gs": "gcsfs", "az": "adlfs"}


class ObjectStore(Connector):
    """Reads each object below ``url`` (``s3://bucket/prefix``, ``gs://``, ``az://``, ``memory://``).

    Credentials come from the environment and the configuration files of each cloud's own tools.
    ``options`` are passed to the file system of fsspec. ``include`` and ``exclude`` are globs
    over the names relative to ``url``. The version of an object is made of the ETag, generation,
    date and size that the store reports. An object larger than ``max_bytes`` fails.
    """

    name: ClassVar[str] = "objects"
    examples: ClassVar[tuple[str, ...]] = (
        "s3://bucket/prefix",
        "gs://bucket/prefix",
        "az://container/prefix",
    )
    schemes: ClassVar[tuple[str, ...]] = ("s3", "gs", "gcs", "az", "abfs", "abfss", "memory")
    extra: ClassVar[str] = "s3,gs,az"
    packages: ClassVar[tuple[str, ...]] = tuple(_PACKAGE_BY_EXTRA.values())

    url: str
    include: tuple[str, ...] = ("*",)
    exclude: tuple[str, ...] = ()
    max_bytes: int = Field(512 * 2**20, gt=0)
    options: Mapping[str, Any] = Field(default={}, repr=False, exclude=True)

    @classmethod
    def from_uri(cls, uri: str, **options: Any) -> Self:
        """Return the connector for ``s3://bucket/prefix``."""
        return cls(url=uri)

    def require(self) -> None:
        """Raise `MissingExtra` if the file system for the scheme is not installed."""
        extra = _EXTRA_BY_SCHEME.get(self._scheme, "objects")
        if not all(map(find_spec, ("fsspec", *filter(None, [_PACKAGE_BY_EXTRA.get(extra)])))):
            raise MissingExtra.of(extra, f"reading {self._scheme}://")

    @field_validator("url")
    @classmethod
    def _has_scheme(cls, url: str) -> str:
        if "://" not in url:
            raise ValueError("the address must start with a scheme, such as s3://")
        return url.rstrip("/")

    @property
    def _scheme(self) -> str:
        return self.url.partition("://")[0].lower()

    @property
    def scope(self) -> str:
        """Address of the bucket or folder."""
        return f"{self._scheme}://{quote(self.url.partition('://')[2].strip('/'))}/"

    def owns(self, uri: str) -> bool:
        """Return whether `uri` is the object at ``url``, or a selected one below it."""
        if uri == self.scope.rstrip("/"):
            return True
        return uri.startswith(self.scope) and self._is_selected(unquote(uri[len(self.scope) :]))

    def sources(self) -> Iterator[Source]:
        """List the objects, sorted by name."""
        filesystem = self._open_filesystem()
        root = self.url.partition("://")[2].strip("/")
        try:
            objects = filesystem.find(root, detail=True)
        except FileNotFoundError:
            raise SourceNotFound(f"nothing at {self.url}", uri=self.url) from None
        except Exception as error:  # each store raises its own errors
            raise SourceNotFound(
                f"{self.url} cannot be listed: {_describe_error(error)}", uri=self.url
            ) from None
        if not objects:
            raise SourceNotFound(f"nothing at {self.url}", uri=self.url)
        for name in sorted(objects):
            info = objects[name]
            object_path = name.strip("/")
            relative_name = (
                object_path[len(root) :].strip("/") if object_path.startswith(root) else object_path
            )
            if info.get("type") == "file" and (
                not relative_name or self._is_selected(relative_name)
            ):
                version_fields = (
                    f"{key}={info[key]}" for key in _VERSION_KEYS if info.get(key) is not None
                )
                yield Source(
                    uri=f"{self._scheme}://{quote(object_path)}",
                    version=" ".join(version_fields),
                    read=partial(self._read_object, filesystem, name, int(info.get("size") or 0)),
                    mime=info.get("ContentType") or info.get("contentType"),
                )

    def _is_selected(self, relative_name: str) -> bool:
        return any(fnmatchcase(relative_name, glob) for glob in self.include) and not any(
            fnmatchcase(relative_name, glob) for glob in self.exclude
        )

    def _open_filesystem(self) -> Any:
        self.require()
        import fsspec

        try:
            return fsspec.filesystem(self._scheme, use_listings_cache=False, **self.options)
        except Exception as error:
            raise SourceNotFound(
                f"{self.url} cannot be opened: {_describe_error(error)}", uri=self.url
            ) from None

    def _read_object(self, filesystem: Any, name: str, size: int) -> bytes:
        if size > self.max_bytes:
            raise SourceError(f"{size:,} bytes, over the limit of {self.max_bytes:,} (max_bytes)")
        try:
            return bytes(filesystem.cat_file(name))
        except Exception as error:
            raise SourceUnreadable(f"cannot be read: {_describe_error(error)}") from None


def _describe_error(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]
