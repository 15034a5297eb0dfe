"""Files of a local or remote git repository at a commit."""

from __future__ import annotations

import hashlib
import os
import posixpath
import re
import shutil
import stat
import threading
import weakref
from collections.abc import Iterator
from dataclasses import replace
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Self
from urllib.parse import quote, quote_from_bytes, unquote, urlsplit, urlunsplit

from pydantic import Field, SecretStr, field_validator, model_validator

from connectors.base import PART, Connector, Source
from connectors.file_names import explain_skip
from connectors.files import path_of
from connectors.side_files import make_missing_document_error, pair_side_files, read_side_file
from rag.errors import SourceError, SourceNotFound, SourceUnreadable

_FETCHED_REF = b"refs/heads/fetched"
_LFS_POINTER_PREFIX = b"version https://git-lfs"


class GitRepository(Connector):
    """Reads each file of a repository at ``ref`` (a branch, tag or commit; default: HEAD).

    ``url`` is a path or an address (``https``, ``ssh``, ``git``, ``file``). Remote repositories
    are fetched without their history into the user's cache (``XDG_CACHE_HOME``); later runs fetch
    only new objects. ``folder`` limits the connector to a folder of the repository. ``include``
    and ``exclude`` are globs over the paths in that folder. The version of a file is the id of
    its blob, so a commit that does not change a file leaves its document unchanged. Links and
    submodules are skipped, hidden files too unless ``hidden``. No code or hook of the repository
    is run. A file larger than ``max_bytes`` fails. A side file ``name.ext.meta.yaml`` sets the
    title and the metadata of ``name.ext``.
    """

    name: ClassVar[str] = "git"
    examples: ClassVar[tuple[str, ...]] = (
        "git+https://example.org/repository@v1.2#docs",
        "git+file:///repository",
    )
    schemes: ClassVar[tuple[str, ...]] = ("git+file", "git+https", "git+http", "git+ssh", "git")
    extra: ClassVar[str] = "git"
    packages: ClassVar[tuple[str, ...]] = ("dulwich",)

    url: str = Field(min_length=1)
    username: str = ""
    password: SecretStr | None = None
    ref: str = ""
    folder: str = ""
    include: tuple[str, ...] = ("*",)
    exclude: tuple[str, ...] = ()
    hidden: bool = False
    max_bytes: int = Field(64 * 2**20, gt=0)

    @classmethod
    def from_uri(cls, uri: str, **options: Any) -> Self:
        """Return the connector for ``git+https://host/repository@ref#folder``.

        ``@ref`` and ``#folder`` are optional.
        """
        parts = urlsplit(uri.removeprefix("git+"))
        ref_start = parts.path.find("@")
        while parts.scheme == "file" and ref_start >= 0 and not _is_folder(parts.path[:ref_start]):
            ref_start = parts.path.find("@", ref_start + 1)  # this @ is part of a folder name
        if ref_start < 0 or (parts.scheme == "file" and _is_folder(parts.path)):
            ref_start = len(parts.path)
        path, ref = parts.path[:ref_start], unquote(parts.path[ref_start + 1 :])
        if not path.strip("/"):
            raise SourceNotFound(f"the uri has no path of a repository: {uri}")
        url = urlunsplit((parts.scheme, parts.netloc, path, parts.query, ""))
        return cls(url=url, ref=ref, folder=parts.fragment)

    @model_validator(mode="before")
    @classmethod
    def _extract_password(cls, values: Any) -> Any:
        """Move the user and password from the url to their fields, where they stay secret."""
        parts = urlsplit(str(values.get("url", ""))) if isinstance(values, dict) else None
        if parts is None or not parts.password:
            return values
        host = parts.netloc.rpartition("@")[2]
        return {
            "username": unquote(parts.username or ""),
            "password": SecretStr(unquote(parts.password)),
            **values,
            "url": parts._replace(netloc=host).geturl(),
        }

    @field_validator("url")
    @classmethod
    def _normalize_url(cls, url: str) -> str:
        if "://" not in url:
            url = Path(os.path.abspath(os.path.expanduser(url))).as_uri()  # noqa: PTH100, PTH111
        return url.rstrip("/")

    @field_validator("folder")
    @classmethod
    def _strip_slashes(cls, folder: str) -> str:
        return folder.strip("/")

    @property
    def scope(self) -> str:
        """Uri of the repository, with the ref if there is one, and the folder."""
        parts = urlsplit(self.url)
        address = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
        address = address if address.startswith("git://") else f"git+{address}"
        address += f"@{quote(self.ref, safe='')}" if self.ref else ""
        folder = quote_from_bytes(os.fsencode(self.folder))
        return f"{address}{PART}{folder}/" if folder else address + PART

    def owns(self, uri: str) -> bool:
        """Return whether `uri` is a selected file of the folder."""
        uri_prefix = self.scope[: self.scope.index(PART) + len(PART)]
        return uri.startswith(self.scope) and self._is_selected(unquote(uri[len(uri_prefix) :]))

    def sources(self) -> Iterator[Source]:
        """List the files at the commit, sorted by path."""
        self.require()
        from dulwich.object_store import iter_tree_contents
        from dulwich.objectspec import parse_commit

        local_path = path_of(self.url)
        repository, commit_name = (
            self._open_local(local_path) if local_path is not None else self._open_remote()
        )
        blob_reader = _BlobReader(repository, self.max_bytes)
        try:
            commit = parse_commit(repository, commit_name)
        except (KeyError, ValueError):
            ref_name = self.ref or "HEAD"
            raise SourceNotFound(
                f"{self.scope}: no branch, tag or commit {ref_name!r}", uri=self.scope
            ) from None
        try:
            entries = list(iter_tree_contents(repository.object_store, commit.tree))
        except (KeyError, ValueError, OSError, AssertionError) as error:
            raise SourceNotFound(
                f"{self.scope}: the repository is damaged ({error})", uri=self.scope
            ) from None
        uri_prefix = self.scope[: self.scope.index(PART) + len(PART)]
        metadata = {"commit": commit.id.decode(), **({"ref": self.ref} if self.ref else {})}
        folder_prefix = os.fsencode(f"{self.folder}/") if self.folder else b""
        if not any(entry.path.startswith(folder_prefix) for entry in entries):
            raise SourceNotFound(f"{self.scope}: no such folder, or it is empty", uri=self.scope)
        blob_ids = {os.fsdecode(e.path): e.sha for e in entries if stat.S_ISREG(e.mode)}
        side_files = pair_side_files(blob_ids)
        for path, blob_id in blob_ids.items():
            if not self._is_selected(path) or side_files.is_side_file(path):
                if path in side_files.without_document and self._is_selected(path):
                    yield _make_failing_source(uri_prefix, path)
                continue
            source = Source(
                uri=uri_prefix + quote_from_bytes(os.fsencode(path)),
                version=blob_id.decode(),
                read=partial(blob_reader.read, blob_id),
                metadata=metadata,
                skip_reason=explain_skip(posixpath.basename(path)),
            )
            if side_path := side_files.by_document.get(path):
                side_id = blob_ids[side_path]
                name = os.path.basename(side_path)  # noqa: PTH119
                read = partial(read_side_file, partial(blob_reader.read, side_id), name)
                version = f"{source.version}+{side_id.decode()}"
                source = replace(source, version=version, read_side_file=read)
            yield source

    def _is_selected(self, path: str) -> bool:
        relative_path = path
        if self.folder:
            if not path.startswith(f"{self.folder}/"):
                return False
            relative_path = path[len(self.folder) + 1 :]
        return (
            (self.hidden or not any(part.startswith(".") for part in relative_path.split("/")))
            and any(fnmatchcase(relative_path, glob) for glob in self.include)
            and not any(fnmatchcase(relative_path, glob) for glob in self.exclude)
        )

    # -- the repository --------------------------------------------------------------------

    def _open_local(self, path: Path) -> tuple[Any, bytes]:
        """Return the repository at `path`, and the name of the commit."""
        from dulwich.errors import NotGitRepository
        from dulwich.repo import Repo

        try:
            repository = Repo(str(path))
        except (NotGitRepository, OSError):
            raise SourceNotFound(f"no git repository at {path}", uri=self.scope) from None
        return repository, (self.ref or "HEAD").encode()

    def _open_remote(self) -> tuple[Any, bytes]:
        """Fetch a remote repository into its local copy; return the copy and the commit."""
        from filelock import FileLock

        path = _locate_cache() / hashlib.sha256(self.url.encode()).hexdigest()[:24]
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{path}.lock"):
            try:
                return self._fetch_copy(path)
            except Exception as error:  # network, server and a broken copy raise many kinds
                shutil.rmtree(path, ignore_errors=True)  # the next run fetches it again
                message = " ".join(f"{type(error).__name__}: {error}".split())[:200]
                secret = self.password.get_secret_value() if self.password else ""
                message = message.replace(secret, "***") if secret else message
                raise SourceNotFound(
                    f"{self.scope}: cannot be fetched ({message})", uri=self.scope
                ) from None

    def _fetch_copy(self, path: Path) -> tuple[Any, bytes]:
        """Fetch the commit into the copy at `path`; create the copy if there is none."""
        from dulwich.client import get_transport_and_path
        from dulwich.repo import Repo

        repository: Any = (
            Repo(str(path)) if path.exists() else Repo.init_bare(str(path), mkdir=True)
        )
        try:
            client, remote_path = get_transport_and_path(
                self.url,
                quiet=True,
                username=self.username or None,
                password=self.password.get_secret_value() if self.password else None,
            )
            choose_commits = partial(self._choose_commits, repository)
            client.fetch(remote_path, repository, depth=1, determine_wants=choose_commits)
        except BaseException:
            repository.close()
            raise
        return repository, bytes(repository.refs[_FETCHED_REF])

    def _choose_commits(self, repository: Any, refs: Any, depth: int | None = None) -> Any:
        """Choose the commit to fetch, and record it as `_FETCHED_REF` in the copy.

        Returns an empty list if the copy has the commit already.
        """
        ref_names = [f"refs/heads/{self.ref}", f"refs/tags/{self.ref}"] if self.ref else ["HEAD"]
        commit_ids = [refs[name.encode()] for name in ref_names if name.encode() in refs]
        if not commit_ids and re.fullmatch("[0-9a-f]{40}", self.ref):
            commit_ids = [self.ref.encode()]
        if not commit_ids:
            raise LookupError(f"no branch or tag {self.ref or 'HEAD'!r}")
        repository.refs[_FETCHED_REF] = commit_ids[0]
        return [] if commit_ids[0] in repository.object_store else commit_ids[:1]


def _make_failing_source(uri_prefix: str, path: str) -> Source:
    """Return the source of a side file without its document."""

    def read() -> bytes:
        raise make_missing_document_error(path)

    return Source(uri=uri_prefix + quote_from_bytes(os.fsencode(path)), version="", read=read)


class _BlobReader:
    """Reads blobs of a repository for several threads; closes it when no reader is left."""

    def __init__(self, repository: Any, max_bytes: int) -> None:
        self._store = repository.object_store
        self._max_bytes = max_bytes
        self._lock = threading.Lock()  # a pack file has one read position
        weakref.finalize(self, repository.close)

    def read(self, blob: bytes) -> bytes:
        try:
            with self._lock:
                _, data = self._store.get_raw(blob)
        except (KeyError, OSError, ValueError, AssertionError) as error:
            raise SourceUnreadable(
                f"the repository is damaged, the file cannot be read: {error}"
            ) from None
        if len(data) > self._max_bytes:
            size = f"{len(data):,} bytes"
            raise SourceError(f"{size}, over the limit of {self._max_bytes:,} (max_bytes)")
        if data.startswith(_LFS_POINTER_PREFIX) and len(data) < 1_000:
            raise SourceError("a Git LFS pointer: the content of the file is not in the repository")
        return bytes(data)


def _is_folder(path: str) -> bool:
    local = path_of(f"file://{path}")
    return local is not None and local.is_dir()


def _locate_cache() -> Path:
    cache_home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(cache_home) / "citewell" / "git"
