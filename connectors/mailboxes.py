"""Mailboxes: folders on an IMAP server, mbox files and Maildir folders."""

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
from connectors.parsers.mail import name_message, split_mbox
from rag.errors import SourceError, SourceNotFound, SourceUnreadable

_MESSAGE_MIME = "message/rfc822"


class Mailbox(Connector):
    """Reads each message of a mailbox, and each attachment, as a document.

    ``url`` is ``imaps://user@host/FOLDER``, ``mbox:///path`` or ``maildir:///path`` (including
    its subfolders). ``imap://`` is an unencrypted connection and allowed on this machine only.
    The ``password`` for IMAP may also be in the url; neither is written to a configuration file.
    Messages are not changed and not marked as read. With ``since`` (``2024-01-31``) older
    messages of an IMAP folder are skipped; those that are indexed stay in the index. ``timeout``
    is in seconds. ``verify`` is False or a file of CA certificates to trust. A message larger
    than ``max_bytes`` fails.
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
        """Return the connector for a ``url``; the option ``imap_password`` sets the password."""
        return cls(url=SecretStr(uri), password=options.get("imap_password"))

    @field_validator("url")
    @classmethod
    def _check_url(cls, url: SecretStr) -> SecretStr:
        if urlsplit(url.get_secret_value()).scheme not in cls.schemes:
            raise ValueError(
                f"the address of a mailbox starts with one of {', '.join(cls.schemes)}"
            )
        try:
            _ = urlsplit(url.get_secret_value()).port
        except ValueError:  # an unescaped password was parsed as the port
            message = (
                "invalid port; in a user name or password, write / as %2F, # as %23 and ? as %3F"
            )
            raise ValueError(message) from None
        return url

    @property
    def _scheme(self) -> Literal["imaps", "imap", "mbox", "maildir"]:
        return urlsplit(self.url.get_secret_value()).scheme  # type: ignore[return-value]

    @property
    def _path(self) -> Path:
        parts = urlsplit(self.url.get_secret_value())
        return Path(os.path.abspath(unquote(parts.netloc + parts.path)))  # noqa: PTH100

    @property
    def _address(self) -> str:
        """Address of the mailbox without the password."""
        parts = urlsplit(self.url.get_secret_value())
        if self._scheme in ("mbox", "maildir"):
            return f"{self._scheme}://{quote(str(self._path))}"
        host = parts.netloc.rpartition("@")[2]
        user = f"{quote(unquote(parts.username))}@" if parts.username else ""
        return f"{self._scheme}://{user}{host}/{quote(self._folder, safe='/')}"

    @property
    def _folder(self) -> str:
        return unquote(urlsplit(self.url.get_secret_value()).path.strip("/")) or "INBOX"

    @property
    def scope(self) -> str:
        """Address of the mailbox, with the separator before the messages."""
        return part_uri(self._address, "")

    def owns(self, uri: str) -> bool:
        """Return whether `uri` is a message of the mailbox; False for all with ``since``."""
        return not self.since and uri.startswith(self.scope)

    def sources(self) -> Iterator[Source]:
        """List the messages in the order of the mailbox, usually oldest first."""
        if self._scheme in ("imap", "imaps"):
            yield from self._list_server()
        else:
            yield from self._list_files()

    # -- files -----------------------------------------------------------------------------

    def _list_files(self) -> Iterator[Source]:
        seen_names: set[str] = set()
        try:
            messages = self._read_maildir() if self._scheme == "maildir" else self._read_mbox()
            for number, (folder, data) in enumerate(messages, start=1):
                name = folder + name_message(data, number)
                while name in seen_names:  # the same message id twice: a copy or a forgery
                    name += "~"
                seen_names.add(name)
                version = hashlib.sha256(data).hexdigest()[:16]
                yield self._make_source(name, version, partial(bytes, data))
        except (OSError, mailbox.Error) as error:
            raise SourceNotFound(
                f"{self._path} cannot be read: {error}", uri=self._address
            ) from None

    def _read_mbox(self) -> Iterator[tuple[str, bytes]]:
        if not self._path.is_file():
            raise SourceNotFound(f"no mailbox at {self._path}", uri=self._address)
        if not self._path.stat().st_size:
            return
        with (
            self._path.open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
        ):
            has_messages = False
            for message in split_mbox(data):
                has_messages = True
                yield "", message
            if not has_messages:
                raise SourceNotFound(
                    f"not an mbox file: {self._path} does not start with a message",
                    uri=self._address,
                )

    def _read_maildir(self) -> Iterator[tuple[str, bytes]]:
        """Yield (folder, message) of the Maildir and of its subfolders."""
        if not self._path.is_dir():
            raise SourceNotFound(f"no mailbox at {self._path}", uri=self._address)
        root = mailbox.Maildir(self._path, create=False)
        folders = [
            ("", root),
            *(
                (f"{folder_name}/", root.get_folder(folder_name))
                for folder_name in sorted(root.list_folders())
            ),
        ]
        for name, folder in folders:
            for key in sorted(folder.iterkeys()):
                with contextlib.suppress(
                    KeyError, FileNotFoundError
                ):  # deleted since it was listed
                    yield name, folder.get_bytes(key)

    def _make_source(self, name: str, version: str, read: Any) -> Source:
        return Source(
            uri=part_uri(self._address, name), version=version, read=read, mime=_MESSAGE_MIME
        )

    # -- IMAP ------------------------------------------------------------------------------

    def _list_server(self) -> Iterator[Source]:
        connection = _ImapConnection(self)
        validity, numbers = connection.list_numbers()
        for number in numbers:
            # A UID identifies one message as long as UIDVALIDITY is the same (RFC 3501).
            name = f"{validity}/{number}"
            yield self._make_source(name, name, partial(connection.fetch_message, number))

    def _log_in(self) -> imaplib.IMAP4:
        parts = urlsplit(self.url.get_secret_value())
        host, port = parts.hostname or "", parts.port
        secret = self.password.get_secret_value() if self.password else None
        password = secret or (unquote(parts.password) if parts.password else "")
        try:
            if self._scheme == "imaps":
                server: imaplib.IMAP4 = imaplib.IMAP4_SSL(
                    host, port or 993, ssl_context=self._make_ssl_context(), timeout=self.timeout
                )
            else:
                if host not in ("localhost", "127.0.0.1", "::1"):
                    raise SourceNotFound(
                        "imap:// would send the password unencrypted; use imaps://",
                        uri=self._address,
                    )
                server = imaplib.IMAP4(host, port or 143, timeout=self.timeout)
            try:
                server.login(unquote(parts.username or ""), password)
            except BaseException:
                _log_out(server)
                raise
            return server
        except imaplib.IMAP4.error as error:
            message = str(error).replace(password, "***") if password else str(error)
            raise SourceNotFound(
                f"{self._address}: the server refuses the login: {message}", uri=self._address
            ) from None
        except OSError as error:
            raise SourceNotFound(
                f"{self._address}: cannot be reached: {error}", uri=self._address
            ) from None

    def _make_ssl_context(self) -> ssl.SSLContext:
        context = ssl.create_default_context(
            cafile=str(self.verify) if isinstance(self.verify, Path) else None
        )
        if self.verify is False:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context


class _ImapConnection:
    """A connection to an IMAP server that several threads share.

    It is closed when no reader is left.
    """

    def __init__(self, config: Mailbox) -> None:
        self._config = config
        self._lock = threading.Lock()
        self._server = config._log_in()
        self._close = weakref.finalize(self, _log_out, self._server)
        self._select_folder()

    def _select_folder(self) -> None:
        folder = '"' + self._config._folder.replace("\\", "\\\\").replace('"', '\\"') + '"'
        try:
            status, response = self._server.select(folder, readonly=True)
        except imaplib.IMAP4.error as error:
            status, response = "NO", [str(error).encode()]
        if status != "OK":
            raise SourceNotFound(
                f"{self._config._address}: no such folder ({_decode_response(response)})",
                uri=self._config._address,
            )

    def list_numbers(self) -> tuple[str, list[str]]:
        """Return UIDVALIDITY and the UIDs of all messages."""
        with self._lock:
            _, validity = self._server.response("UIDVALIDITY")
            since = self._config.since
            criteria = ["SINCE", _format_imap_date(since)] if since else ["ALL"]
            status, response = self._server.uid("SEARCH", *criteria)
        if status != "OK":
            raise SourceNotFound(
                f"{self._config._address}: cannot be listed ({_decode_response(response)})",
                uri=self._config._address,
            )
        number = validity[0] if validity else None
        return (number.decode() if isinstance(number, bytes) else "0"), _decode_response(
            response
        ).split()

    def fetch_message(self, number: str) -> bytes:
        """Return the bytes of a message; connects again if the connection was lost."""
        with self._lock:
            try:
                return self._fetch(number)
            except (imaplib.IMAP4.abort, OSError):
                pass
            try:
                self._close()
                self._server = self._config._log_in()
                self._close = weakref.finalize(self, _log_out, self._server)
                self._select_folder()
                return self._fetch(number)
            except (imaplib.IMAP4.error, OSError, SourceNotFound) as error:
                raise SourceUnreadable(f"cannot be fetched: {error}") from None

    def _fetch(self, number: str) -> bytes:
        status, response = self._server.uid("FETCH", number, "(RFC822.SIZE)")
        size = re.search(rb"RFC822\.SIZE (\d+)", b" ".join(_flatten_response(response)))
        if size and int(size.group(1)) > self._config.max_bytes:
            limit = self._config.max_bytes
            raise SourceError(
                f"{int(size.group(1)):,} bytes, over the limit of {limit:,} (max_bytes)"
            )
        status, response = self._server.uid("FETCH", number, "(BODY.PEEK[])")
        bodies = [part[1] for part in response if isinstance(part, tuple)]
        if status != "OK" or not bodies:
            raise SourceUnreadable("the server did not return the message")
        return bytes(bodies[0])


def _flatten_response(response: Any) -> Iterator[bytes]:
    for part in response or ():
        yield from (
            piece for piece in (part if isinstance(part, tuple) else (part,)) if piece is not None
        )


def _decode_response(response: Any) -> str:
    return b" ".join(_flatten_response(response)).decode(errors="replace")


def _format_imap_date(iso_date: str) -> str:
    year, month, day_of_month = iso_date.split("-")
    month_names = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()
    return f"{day_of_month}-{month_names[int(month) - 1]}-{year}"


def _log_out(server: imaplib.IMAP4) -> None:
    for close in (server.logout, server.shutdown):
        with contextlib.suppress(Exception):
            close()
