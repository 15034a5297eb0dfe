"""Objects of a cloud store, read through fsspec."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from functools import partial
from importlib.util import find_spec
from typing import Any, ClassVar, Self
from urllib.parse import quote, unquote

from pydantic import Field, field_validator

from connectors.base import Connector, Source
from connectors.file_names import explain_skip
from connectors.side_files import (
    MAX_SIDE_FILE_BYTES,
    make_missing_document_error,
    pair_side_files,
    read_side_file,
)
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
    date and size that the store reports. An object larger than ``max_bytes`` fails. A side file
    ``name.ext.meta.yaml`` sets the title and the metadata of ``name.ext``.
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
        side_files = pair_side_files(objects)
        for name in sorted(objects):
            info = objects[name]
            object_path = name.strip("/")
            relative_name = (
                object_path[len(root) :].strip("/") if object_path.startswith(root) else object_path
            )
            is_selected = info.get("type") == "file" and (
                not relative_name or self._is_selected(relative_name)
            )
            if is_selected and name in side_files.without_document:
                missing = make_missing_document_error(name)
                uri = f"{self._scheme}://{quote(object_path)}"
                yield Source(uri=uri, version="", read=partial(_raise_error, missing))
            elif is_selected and not side_files.is_side_file(name):
                side_name = side_files.by_document.get(name, "")
                yield self._make_source(filesystem, name, info, side_name, objects)

    def _make_source(
        self,
        filesystem: Any,
        name: str,
        info: Mapping[str, Any],
        side_name: str,
        objects: Mapping[str, Mapping[str, Any]],
    ) -> Source:
        is_listed = name.strip("/") != self.url.partition("://")[2].strip("/")
        source = Source(
            uri=f"{self._scheme}://{quote(name.strip('/'))}",
            version=_make_version(info),
            read=partial(self._read_object, filesystem, name, int(info.get("size") or 0)),
            mime=info.get("ContentType") or info.get("contentType"),
            skip_reason=explain_skip(posixpath.basename(name)) if is_listed else "",
        )
        if not side_name:
            return source
        size = int(objects[side_name].get("size") or 0)
        limit = min(self.max_bytes, MAX_SIDE_FILE_BYTES)
        read = partial(self._read_object, filesystem, side_name, size, limit)
        return replace(
            source,
            version=f"{source.version} + {_make_version(objects[side_name])}",
            read_side_file=partial(read_side_file, read, posixpath.basename(side_name)),
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

    def _read_object(
        self, filesystem: Any, name: str, size: int, max_bytes: int | None = None
    ) -> bytes:
        limit = self.max_bytes if max_bytes is None else max_bytes
        if size > limit:
            setting = " (max_bytes)" if max_bytes is None else ""
            raise SourceError(f"{size:,} bytes, over the limit of {limit:,}{setting}")
        try:
            return bytes(filesystem.cat_file(name))
        except Exception as error:
            raise SourceUnreadable(f"cannot be read: {_describe_error(error)}") from None


def _make_version(info: Mapping[str, Any]) -> str:
    return " ".join(f"{key}={info[key]}" for key in _VERSION_KEYS if info.get(key) is not None)


def _raise_error(error: SourceError) -> bytes:
    raise error


def _describe_error(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]
