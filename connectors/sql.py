"""Rows of a database, selected by a query."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from pydantic import Field, SecretStr, field_validator

from connectors.base import PART, Connector, Source, part_uri
from connectors.parsers.records import Fields, format_value
from rag.errors import SourceError, SourceNotFound, SourceUnreadable
from rag.types import flatten_metadata, to_well_formed

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine

_URL_SETTINGS = ("query", "key", "text", "title", "version", "metadata", "label", "mime")


class SqlQuery(Connector):
    """Reads each row of ``query`` as a document, through SQLAlchemy from the database at ``url``.

    ``fields`` sets the columns for text, title, key and metadata. A row has changed if its
    ``version`` column (a date of change, a counter) has; without such a column the whole row is
    compared. The uri of a document consists of the database, the ``label`` and the key. The
    default label is a hash of the query, so set a label to keep the uris when the query is
    edited. The query runs in a transaction that is rolled back; an SQLite file is opened
    read-only. ``mime`` is the media type of the text.
    """

    name: ClassVar[str] = "sql"
    examples: ClassVar[tuple[str, ...]] = (
        "'sqlite:///x.db?query=SELECT...&key=id'",
        "'postgresql://user@host/db?query=...&key=...'",
    )
    schemes: ClassVar[tuple[str, ...]] = tuple(
        "sqlite postgresql mysql mariadb oracle mssql".split()
    )
    extra: ClassVar[str] = "sql"
    packages: ClassVar[tuple[str, ...]] = ("sqlalchemy",)

    url: SecretStr
    query: str = Field(min_length=1)
    fields: Fields
    version: str = ""
    label: str = ""
    mime: str = "text/plain"

    @classmethod
    def from_uri(cls, uri: str, **options: Any) -> Self:
        """Return the connector for a uri with the query in its parameters.

        For example ``sqlite:///x.db?query=SELECT...&key=id&text={title}: {body}&version=changed``.
        ``query`` and ``key`` are required; ``metadata`` is a list of columns separated by commas.
        Values are percent-encoded: ``%2B`` for ``+``, ``%26`` for ``&``, ``%25`` for ``%``.
        """
        parts = urlsplit(uri)
        parameters = parse_qsl(parts.query, keep_blank_values=True)
        settings = {name: value for name, value in parameters if name in _URL_SETTINGS}
        driver_parameters = urlencode(
            [(name, value) for name, value in parameters if name not in _URL_SETTINGS]
        )
        if not settings.get("query") or not settings.get("key"):
            raise SourceNotFound(
                "a database source needs a query and a key: "
                f"{parts.scheme}://...?query=SELECT...&key=COLUMN"
            )
        metadata_columns = settings.get("metadata")
        url = uri.partition("?")[0] + (f"?{driver_parameters}" if driver_parameters else "")
        return cls(
            url=SecretStr(url),
            query=settings["query"],
            fields=Fields(
                key=settings["key"],
                text=settings.get("text", ""),
                title=settings.get("title", ""),
                metadata=tuple(metadata_columns.split(",")) if metadata_columns else None,
            ),
            version=settings.get("version", ""),
            label=settings.get("label", ""),
            mime=settings.get("mime", "text/plain"),
        )

    @field_validator("fields")
    @classmethod
    def _check_key(cls, fields: Fields) -> Fields:
        if not fields.key:
            raise ValueError("set the key column (key)")
        return fields

    @property
    def _address(self) -> str:
        """Address of the database without user, password and options; a file as absolute path."""
        url = self.url.get_secret_value()
        scheme, _, address = url.partition("://")
        if scheme.partition("+")[0] == "sqlite":
            path = Path(url.partition("://")[2].partition("?")[0].removeprefix("/"))
            return "sqlite://" + Path(os.path.abspath(path)).as_uri().removeprefix("file://")  # noqa: PTH100
        try:
            from sqlalchemy.engine import make_url

            parsed_url = make_url(url)
            host = (
                f"{parsed_url.host or ''}:{parsed_url.port}"
                if parsed_url.port
                else parsed_url.host or ""
            )
            return f"{scheme}://{host}/{parsed_url.database or ''}"
        except Exception:  # not a valid address, or SQLAlchemy is not installed
            return f"{scheme}://{address.partition('?')[0].rpartition('@')[2]}"

    @property
    def scope(self) -> str:
        """Address of the database, without the password, and the label."""
        label = self.label or hashlib.sha256(self.query.encode()).hexdigest()[:8]
        return part_uri(self._address, f"{label}/")

    def sources(self) -> Iterator[Source]:
        """List the rows in the order of the query. A row whose key occurred before fails."""
        self.require()
        from sqlalchemy import text
        from sqlalchemy.exc import SQLAlchemyError

        try:
            engine = self._make_engine()
            with engine.connect() as connection:
                transaction = connection.begin()
                try:
                    rows = connection.execution_options(stream_results=True).execute(
                        text(self.query)
                    )
                    self._check_columns(list(rows.keys()))
                    seen_uris: set[str] = set()
                    for number, row in enumerate(rows.mappings(), start=1):
                        source = self._make_source(dict(row), number)
                        if source.uri in seen_uris:
                            reason = f"an earlier row has the same key ({self.fields.key!r})"
                            source = self._make_failing_source(reason, number)
                        seen_uris.add(source.uri)
                        yield source
                finally:
                    transaction.rollback()
        except (SQLAlchemyError, ImportError, ValueError) as error:
            raise SourceNotFound(
                f"{self._address}: {self._describe_error(error)}", uri=self._address
            ) from None

    def _make_engine(self) -> Engine:
        from sqlalchemy import create_engine
        from sqlalchemy.pool import NullPool

        url = self.url.get_secret_value()
        if not self._address.startswith("sqlite:"):
            return create_engine(url, poolclass=NullPool)
        path = url.partition("://")[2].partition("?")[0].removeprefix("/")
        if not Path(path).is_file():
            raise SourceNotFound(f"no database at {path}", uri=self._address)
        return create_engine(
            "sqlite://", poolclass=NullPool, creator=partial(_open_read_only_sqlite, path)
        )

    def _describe_error(self, error: Exception) -> str:
        message = " ".join(str(getattr(error, "orig", None) or error).split())[:300]
        address = self.url.get_secret_value().partition("://")[2].partition("?")[0]
        secret = address.rpartition("@")[0].partition(":")[2]
        for password_form in (secret, unquote(secret)):
            message = message.replace(password_form, "***") if password_form else message
        return message

    def _check_columns(self, columns: list[str]) -> None:
        """Raise `SourceNotFound` if a setting names a column that the query does not return."""
        configured_columns = {
            self.fields.key,
            self.fields.title,
            self.version,
            *(self.fields.metadata or ()),
        }
        for name in sorted({*configured_columns, *self.fields.template_fields} - {""}):
            if name not in columns:
                column_list = ", ".join(map(repr, columns))
                raise SourceNotFound(
                    f"{self._address}: no column {name!r}; the columns are {column_list}",
                    uri=self._address,
                )

    def _make_failing_source(self, reason: str, number: int) -> Source:
        """Make the failing source of a row without a usable key.

        It protects the scope, because the row may be any of the indexed ones.
        """
        uri = part_uri(self._address, f"{self.scope.partition(PART)[2]}row {number}")
        failure = SourceUnreadable(f"row {number}: {reason}")
        return Source(
            uri=uri, version="", read=partial(_raise_error, failure), protected_prefix=self.scope
        )

    def _make_source(self, row: Mapping[str, Any], number: int) -> Source:
        try:
            document = self.fields.build_document(
                row, self.scope.removesuffix("/"), number, self.mime
            )
            key = self.fields.name_record(row, number)
            version = format_value(row[self.version]) if self.version else repr(sorted(row.items()))
        except (SourceError, KeyError) as error:
            return self._make_failing_source(str(error), number)
        return Source(
            uri=part_uri(self._address, f"{self.scope.partition(PART)[2]}{key}"),
            version=hashlib.sha256(f"{self.fields}{version}".encode()).hexdigest()[:16],
            read=partial(bytes, document.text.encode()),
            mime=self.mime,
            title=document.title if self.fields.title else to_well_formed(key),
            metadata=flatten_metadata(document.metadata),
        )


def _open_read_only_sqlite(path: str) -> Any:
    import sqlite3

    return sqlite3.connect(f"{Path(path).absolute().as_uri()}?mode=ro", uri=True)


def _raise_error(error: SourceError) -> bytes:
    raise error
