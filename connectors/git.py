"""Files of a git repository, local or remote, as they are at a commit."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import stat
import threading
import weakref
from collections.abc import Iterator
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Self
from urllib.parse import quote, quote_from_bytes, unquote, urlsplit, urlunsplit

from pydantic import Field, SecretStr, field_validator, model_validator

from connectors.base import PART, Connector, Source
from connectors.files import path_of
from rag.errors import SourceError, SourceNotFound, SourceUnreadable

_FETCHED = b"refs/heads/fetched"
_POINTER = b"version https://git-lfs"


class GitRepository(Connector):
    """Every file of a repository at ``ref`` (a branch, tag or commit; default: its HEAD).

    ``url`` is a path or an address (``https``, ``ssh``, ``git``, ``file``); remote repositories
    are fetched, without their history, into a cache of the user's (``XDG_CACHE_HOME``), and from
    then on only what is new. ``folder`` is the part of the repository to take; ``include`` and
    ``exclude`` are globs over the paths in it. The id of a file's blob is its version, so a
    commit that does not touch a file does not touch its document. Links and submodules are left
    out; nothing of the repository is run.
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
        """``git+https://host/repository@ref#folder``, the last two as they are needed."""
        parts = urlsplit(uri.removeprefix("git+"))
        at = parts.path.find("@")
        while parts.scheme == "file" and at >= 0 and not _is_folder(parts.path[:at]):
            at = parts.path.find("@", at + 1)  # in the name of a folder
        if at < 0 or (parts.scheme == "file" and _is_folder(parts.path)):
            at = len(parts.path)
        path, ref = parts.path[:at], unquote(parts.path[at + 1 :])
        if not path.strip("/"):
            raise SourceNotFound(f"no repository is named: {uri}")
        url = urlunsplit((parts.scheme, parts.netloc, path, parts.query, ""))
        return cls(url=url, ref=ref, folder=parts.fragment)

    @model_validator(mode="before")
    @classmethod
    def _apart(cls, given: Any) -> Any:
        """Keep a password that is in the url where it cannot be seen."""
        parts = urlsplit(str(given.get("url", ""))) if isinstance(given, dict) else None
        if parts is None or not parts.password:
            return given
        host = parts.netloc.rpartition("@")[2]
        return {
            "username": unquote(parts.username or ""),
            "password": SecretStr(unquote(parts.password)),
            **given,
            "url": parts._replace(netloc=host).geturl(),
        }

    @field_validator("url")
    @classmethod
    def _one_form(cls, url: str) -> str:
        if "://" not in url:
            url = Path(os.path.abspath(os.path.expanduser(url))).as_uri()  # noqa: PTH100, PTH111
        return url.rstrip("/")

    @field_validator("folder")
    @classmethod
    def _bare(cls, folder: str) -> str:
        return folder.strip("/")

    @property
    def scope(self) -> str:
        """Address of the repository, the ref if there is one, and the folder."""
        parts = urlsplit(self.url)
        place = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
        place = place if place.startswith("git://") else f"git+{place}"
        place += f"@{quote(self.ref, safe='')}" if self.ref else ""
        folder = quote_from_bytes(os.fsencode(self.folder))
        return f"{place}{PART}{folder}/" if folder else place + PART

    def owns(self, uri: str) -> bool:
        """Whether it is a file of the folder that is selected."""
        root = self.scope[: self.scope.index(PART) + len(PART)]
        return uri.startswith(self.scope) and self._selected(unquote(uri[len(root) :]))

    def sources(self) -> Iterator[Source]:
        """List the files at the commit, in order of their paths."""
        self.require()
        from dulwich.object_store import iter_tree_contents
        from dulwich.objectspec import parse_commit

        path = path_of(self.url)
        repository, name = self._local(path) if path is not None else self._remote()
        files = _Repository(repository, self.max_bytes)
        try:
            commit = parse_commit(repository, name)
        except (KeyError, ValueError):
            wanted = self.ref or "HEAD"
            raise SourceNotFound(f"{self.scope}: no branch, tag or commit {wanted!r}") from None
        try:
            entries = list(iter_tree_contents(repository.object_store, commit.tree))
        except (KeyError, ValueError, OSError, AssertionError) as error:
            raise SourceNotFound(f"{self.scope}: the repository is damaged ({error})") from None
        root = self.scope[: self.scope.index(PART) + len(PART)]
        about = {"commit": commit.id.decode(), **({"ref": self.ref} if self.ref else {})}
        below = os.fsencode(f"{self.folder}/") if self.folder else b""
        if not any(entry.path.startswith(below) for entry in entries):
            raise SourceNotFound(f"{self.scope}: there is no such folder, or nothing in it")
        for entry in entries:
            if not stat.S_ISREG(entry.mode) or not self._selected(os.fsdecode(entry.path)):
                continue
            yield Source(
                uri=root + quote_from_bytes(entry.path),
                version=entry.sha.decode(),
                read=partial(files.read, entry.sha),
                metadata=about,
            )

    def _selected(self, path: str) -> bool:
        below = path
        if self.folder:
            if not path.startswith(f"{self.folder}/"):
                return False
            below = path[len(self.folder) + 1 :]
        return (
            (self.hidden or not any(part.startswith(".") for part in below.split("/")))
            and any(fnmatchcase(below, glob) for glob in self.include)
            and not any(fnmatchcase(below, glob) for glob in self.exclude)
        )

    # -- the repository --------------------------------------------------------------------

    def _local(self, path: Path) -> tuple[Any, bytes]:
        """The repository that `path` is in, and the name of the commit."""
        from dulwich.errors import NotGitRepository
        from dulwich.repo import Repo

        try:
            repository = Repo(str(path))
        except (NotGitRepository, OSError):
            raise SourceNotFound(f"no git repository at {path}") from None
        return repository, (self.ref or "HEAD").encode()

    def _remote(self) -> tuple[Any, bytes]:
        """The copy of a remote repository, brought up to date, and the name of the commit."""
        from filelock import FileLock

        path = _cache() / hashlib.sha256(self.url.encode()).hexdigest()[:24]
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{path}.lock"):
            try:
                return self._fetched(path)
            except Exception as error:  # whatever the network, the server or a broken copy raises
                shutil.rmtree(path, ignore_errors=True)  # it is only a copy
                said = " ".join(f"{type(error).__name__}: {error}".split())[:200]
                secret = self.password.get_secret_value() if self.password else ""
                said = said.replace(secret, "***") if secret else said
                raise SourceNotFound(f"{self.scope}: cannot be fetched ({said})") from None

    def _fetched(self, path: Path) -> tuple[Any, bytes]:
        from dulwich.client import get_transport_and_path
        from dulwich.repo import Repo

        repository: Any = (
            Repo(str(path)) if path.exists() else Repo.init_bare(str(path), mkdir=True)
        )
        try:
            client, place = get_transport_and_path(
                self.url,
                quiet=True,
                username=self.username or None,
                password=self.password.get_secret_value() if self.password else None,
            )
            wants = partial(self._wanted, repository)
            client.fetch(place, repository, depth=1, determine_wants=wants)
        except BaseException:
            repository.close()
            raise
        return repository, bytes(repository.refs[_FETCHED])

    def _wanted(self, repository: Any, refs: Any, depth: int | None = None) -> Any:
        """Choose the commit to fetch, and note it in the copy."""
        names = [f"refs/heads/{self.ref}", f"refs/tags/{self.ref}"] if self.ref else ["HEAD"]
        found = [refs[name.encode()] for name in names if name.encode() in refs]
        if not found and re.fullmatch("[0-9a-f]{40}", self.ref):
            found = [self.ref.encode()]
        if not found:
            raise LookupError(f"no branch or tag {self.ref or 'HEAD'!r}")
        repository.refs[_FETCHED] = found[0]
        return [] if found[0] in repository.object_store else found[:1]


class _Repository:
    """Gives the files to readers in several threads; closed when none is left."""

    def __init__(self, repository: Any, max_bytes: int) -> None:
        self._store = repository.object_store
        self._max_bytes = max_bytes
        self._guard = threading.Lock()  # a pack has one place at a time in its file
        weakref.finalize(self, repository.close)

    def read(self, blob: bytes) -> bytes:
        try:
            with self._guard:
                _, data = self._store.get_raw(blob)
        except (KeyError, OSError, ValueError, AssertionError) as error:
            raise SourceUnreadable(f"the repository has lost it: {error}") from None
        if len(data) > self._max_bytes:
            much = f"{len(data):,} bytes"
            raise SourceError(f"{much}, over the limit of {self._max_bytes:,} (max_bytes)")
        if data.startswith(_POINTER) and len(data) < 1_000:
            raise SourceError("a pointer of Git LFS: the file itself is not in the repository")
        return bytes(data)


def _is_folder(path: str) -> bool:
    local = path_of(f"file://{path}")
    return local is not None and local.is_dir()


def _cache() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(home) / "citewell" / "git"
