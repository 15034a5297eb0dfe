"""Mail: folders on an IMAP server, mbox files and Maildir folders."""

from __future__ import annotations

import contextlib
import hashlib
import imaplib
import mailbox
import mmap
import os
import re
import ssl
import threading
import weakref
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal, Self
from urllib.parse import quote, unquote, urlsplit

from pydantic import Field, SecretStr, field_validator

from connectors.base import Connector, Source, part_uri
from connectors.parsers.mail import message_name, split_mbox
from rag.errors import SourceError, SourceNotFound, SourceUnreadable

_MESSAGE = "message/rfc822"


class Mailbox(Connector):
    """Every message of a mailbox is a document, and so are its attachments.

    ``url`` is ``imaps://user@host/FOLDER`` (``imap://`` for a connection in the clear, which is
    refused but on this machine), ``mbox:///path`` or ``maildir:///path`` (with the folders in
    it). The ``password`` for IMAP may be in the url, too; neither is kept in a configuration.
    Messages are only read, and are not marked as such. With ``since`` (``2024-01-31``) older
    ones are left out, and what is indexed of them stays.
    """

    name: ClassVar[str] = "mailbox"
    examples: ClassVar[tuple[str, ...]] = (
        "imaps://user@example.org/INBOX",
        "mbox:///archive.mbox",
        "maildir:///Mail",
    )
    schemes: ClassVar[tuple[str, ...]] = ("imaps", "imap", "mbox", "maildir")

    url: SecretStr
    password: SecretStr | None = None
    since: str = Field("", pattern=r"^(\d{4}-\d\d-\d\d)?$")
    timeout: float = Field(30.0, gt=0)
    max_bytes: int = Field(128 * 2**20, gt=0)
    verify: bool | Path = True

    @classmethod
    def from_uri(cls, uri: str, **options: Any) -> Self:
        """The ``url``; the password may be an option."""
        return cls(url=SecretStr(uri), password=options.get("imap_password"))

    @field_validator("url")
    @classmethod
    def _known(cls, url: SecretStr) -> SecretStr:
        if urlsplit(url.get_secret_value()).scheme not in cls.schemes:
            raise ValueError(f"the address of a mailbox begins with {', '.join(cls.schemes)}")
        try:
            _ = urlsplit(url.get_secret_value()).port
        except ValueError:  # what should be a port is the beginning of a password
            said = "no port; in a user or password, / is written %2F, # %23 and ? %3F"
            raise ValueError(said) from None
        return url

    @property
    def _kind(self) -> Literal["imaps", "imap", "mbox", "maildir"]:
        return urlsplit(self.url.get_secret_value()).scheme  # type: ignore[return-value]

    @property
    def _path(self) -> Path:
        parts = urlsplit(self.url.get_secret_value())
        return Path(os.path.abspath(unquote(parts.netloc + parts.path)))  # noqa: PTH100

    @property
    def _place(self) -> str:
        """The mailbox without a password."""
        parts = urlsplit(self.url.get_secret_value())
        if self._kind in ("mbox", "maildir"):
            return f"{self._kind}://{quote(str(self._path))}"
        host = parts.netloc.rpartition("@")[2]
        user = f"{quote(unquote(parts.username))}@" if parts.username else ""
        return f"{self._kind}://{user}{host}/{quote(self._folder, safe='/')}"

    @property
    def _folder(self) -> str:
        return unquote(urlsplit(self.url.get_secret_value()).path.strip("/")) or "INBOX"

    @property
    def scope(self) -> str:
        """The mailbox, and what parts it from the messages."""
        return part_uri(self._place, "")

    def owns(self, uri: str) -> bool:
        """Every message, unless only some are asked for."""
        return not self.since and uri.startswith(self.scope)

    def sources(self) -> Iterator[Source]:
        """List the messages, oldest first."""
        if self._kind in ("imap", "imaps"):
            yield from self._on_server()
        else:
            yield from self._on_disk()

    # -- files -----------------------------------------------------------------------------

    def _on_disk(self) -> Iterator[Source]:
        seen: set[str] = set()
        try:
            messages = self._in_folders() if self._kind == "maildir" else self._in_file()
            for number, (folder, data) in enumerate(messages, start=1):
                name = folder + message_name(data, number)
                while name in seen:  # sent twice, or forged
                    name += "~"
                seen.add(name)
                version = hashlib.sha256(data).hexdigest()[:16]
                yield self._source(name, version, partial(bytes, data))
        except (OSError, mailbox.Error) as error:
            raise SourceNotFound(f"{self._path} cannot be read: {error}") from None

    def _in_file(self) -> Iterator[tuple[str, bytes]]:
        if not self._path.is_file():
            raise SourceNotFound(f"no mailbox at {self._path}")
        if not self._path.stat().st_size:
            return
        with (
            self._path.open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
        ):
            found = False
            for message in split_mbox(data):
                found = True
                yield "", message
            if not found:
                raise SourceNotFound(f"no mailbox: {self._path} does not begin with a message")

    def _in_folders(self) -> Iterator[tuple[str, bytes]]:
        """Messages of the Maildir and of the folders in it, which begin with a dot."""
        if not self._path.is_dir():
            raise SourceNotFound(f"no mailbox at {self._path}")
        root = mailbox.Maildir(self._path, create=False)
        folders = [
            ("", root),
            *((f"{n}/", root.get_folder(n)) for n in sorted(root.list_folders())),
        ]
        for name, box in folders:
            for key in sorted(box.iterkeys()):
                with contextlib.suppress(KeyError, FileNotFoundError):  # gone since it was listed
                    yield name, box.get_bytes(key)

    def _source(self, name: str, version: str, read: Any) -> Source:
        return Source(uri=part_uri(self._place, name), version=version, read=read, mime=_MESSAGE)

    # -- IMAP ------------------------------------------------------------------------------

    def _on_server(self) -> Iterator[Source]:
        connection = _Connection(self)
        validity, numbers = connection.listed()
        for number in numbers:
            # A number is given to one message only, as long as the validity is the same.
            name = f"{validity}/{number}"
            yield self._source(name, name, partial(connection.message, number))

    def _login(self) -> imaplib.IMAP4:
        parts = urlsplit(self.url.get_secret_value())
        host, port = parts.hostname or "", parts.port
        secret = self.password.get_secret_value() if self.password else None
        password = secret or (unquote(parts.password) if parts.password else "")
        try:
            if self._kind == "imaps":
                server: imaplib.IMAP4 = imaplib.IMAP4_SSL(
                    host, port or 993, ssl_context=self._context(), timeout=self.timeout
                )
            else:
                if host not in ("localhost", "127.0.0.1", "::1"):
                    raise SourceNotFound("imap:// would send the password in the clear: imaps://")
                server = imaplib.IMAP4(host, port or 143, timeout=self.timeout)
            try:
                server.login(unquote(parts.username or ""), password)
            except BaseException:
                _logout(server)
                raise
            return server
        except imaplib.IMAP4.error as error:
            said = str(error).replace(password, "***") if password else str(error)
            raise SourceNotFound(f"{self._place}: the server does not let us in: {said}") from None
        except OSError as error:
            raise SourceNotFound(f"{self._place}: cannot be reached: {error}") from None

    def _context(self) -> ssl.SSLContext:
        context = ssl.create_default_context(
            cafile=str(self.verify) if isinstance(self.verify, Path) else None
        )
        if self.verify is False:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context


class _Connection:
    """A connection to an IMAP server, which readers in several threads share.

    It is closed when nothing reads from it any more.
    """

    def __init__(self, setting: Mailbox) -> None:
        self._setting = setting
        self._guard = threading.Lock()
        self._server = setting._login()
        self._close = weakref.finalize(self, _logout, self._server)
        self._select()

    def _select(self) -> None:
        folder = '"' + self._setting._folder.replace("\\", "\\\\").replace('"', '\\"') + '"'
        try:
            said, answer = self._server.select(folder, readonly=True)
        except imaplib.IMAP4.error as error:
            said, answer = "NO", [str(error).encode()]
        if said != "OK":
            raise SourceNotFound(f"{self._setting._place}: no such folder ({_decoded(answer)})")

    def listed(self) -> tuple[str, list[str]]:
        """Validity of the numbers, and the numbers of all messages."""
        with self._guard:
            _, validity = self._server.response("UIDVALIDITY")
            since = self._setting.since
            wanted = ["SINCE", _imap_date(since)] if since else ["ALL"]
            said, answer = self._server.uid("SEARCH", *wanted)
        if said != "OK":
            raise SourceNotFound(f"{self._setting._place}: cannot be listed ({_decoded(answer)})")
        number = validity[0] if validity else None
        return (number.decode() if isinstance(number, bytes) else "0"), _decoded(answer).split()

    def message(self, number: str) -> bytes:
        """The bytes of a message. Connects again where the server has hung up."""
        with self._guard:
            try:
                return self._fetched(number)
            except (imaplib.IMAP4.abort, OSError):
                pass
            try:
                self._close()
                self._server = self._setting._login()
                self._close = weakref.finalize(self, _logout, self._server)
                self._select()
                return self._fetched(number)
            except (imaplib.IMAP4.error, OSError, SourceNotFound) as error:
                raise SourceUnreadable(f"cannot be fetched: {error}") from None

    def _fetched(self, number: str) -> bytes:
        said, answer = self._server.uid("FETCH", number, "(RFC822.SIZE)")
        size = re.search(rb"RFC822\.SIZE (\d+)", b" ".join(_pieces(answer)))
        if size and int(size.group(1)) > self._setting.max_bytes:
            raise SourceError(f"{int(size.group(1)):,} bytes, over the limit (max_bytes)")
        said, answer = self._server.uid("FETCH", number, "(BODY.PEEK[])")
        bodies = [part[1] for part in answer if isinstance(part, tuple)]
        if said != "OK" or not bodies:
            raise SourceUnreadable("the server does not give the message")
        return bytes(bodies[0])


def _pieces(answer: Any) -> Iterator[bytes]:
    for part in answer or ():
        yield from (p for p in (part if isinstance(part, tuple) else (part,)) if p is not None)


def _decoded(answer: Any) -> str:
    return b" ".join(_pieces(answer)).decode(errors="replace")


def _imap_date(day: str) -> str:
    year, month, number = day.split("-")
    names = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()
    return f"{number}-{names[int(month) - 1]}-{year}"


def _logout(server: imaplib.IMAP4) -> None:
    for leave in (server.logout, server.shutdown):
        with contextlib.suppress(Exception):
            leave()
