"""Rows of a database, by a query."""

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
from connectors.parsers.records import Fields, written
from rag.errors import SourceError, SourceNotFound, SourceUnreadable
from rag.types import flat_metadata, well_formed

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine

_OURS = ("query", "key", "text", "title", "version", "metadata", "label", "mime")


class SqlQuery(Connector):
    """Every row that ``query`` gives is a document, by SQLAlchemy from the database at ``url``.

    ``fields`` says which columns are text, title, key and metadata. The ``version`` column (a
    date of change, a counter) tells whether a row has changed; without one the whole row does.
    Documents are named by the database, the ``label`` and the key; give a label so that they keep
    their names when the query is written differently. The query runs in a transaction that is
    never committed, on SQLite on a file that is opened for reading only.
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
        """``sqlite:///x.db?query=SELECT...&key=id&text={title}: {body}&version=changed``.

        ``key`` is needed; ``metadata`` names columns with commas between them. Values are
        percent-encoded as in every uri: ``%2B`` for ``+``, ``%26`` for ``&``, ``%25`` for ``%``.
        """
        parts = urlsplit(uri)
        said = parse_qsl(parts.query, keep_blank_values=True)
        ours = {name: value for name, value in said if name in _OURS}
        rest = urlencode([(name, value) for name, value in said if name not in _OURS])
        if not ours.get("query") or not ours.get("key"):
            raise SourceNotFound(
                "a database is read by a query and a key: "
                f"{parts.scheme}://...?query=SELECT...&key=COLUMN"
            )
        kept = ours.get("metadata")
        url = uri.partition("?")[0] + (f"?{rest}" if rest else "")
        return cls(
            url=SecretStr(url),
            query=ours["query"],
            fields=Fields(
                key=ours["key"],
                text=ours.get("text", ""),
                title=ours.get("title", ""),
                metadata=tuple(kept.split(",")) if kept else None,
            ),
            version=ours.get("version", ""),
            label=ours.get("label", ""),
            mime=ours.get("mime", "text/plain"),
        )

    @field_validator("fields")
    @classmethod
    def _has_key(cls, fields: Fields) -> Fields:
        if not fields.key:
            raise ValueError("name the column that is the key")
        return fields

    @property
    def _place(self) -> str:
        """The database without user, password and options; a file by its whole path."""
        url = self.url.get_secret_value()
        scheme, _, rest = url.partition("://")
        if scheme.partition("+")[0] == "sqlite":
            path = Path(url.partition("://")[2].partition("?")[0].removeprefix("/"))
            return "sqlite://" + Path(os.path.abspath(path)).as_uri().removeprefix("file://")  # noqa: PTH100
        try:
            from sqlalchemy.engine import make_url

            found = make_url(url)
            host = f"{found.host or ''}:{found.port}" if found.port else found.host or ""
            return f"{scheme}://{host}/{found.database or ''}"
        except Exception:  # no address, or nothing that could read it
            return f"{scheme}://{rest.partition('?')[0].rpartition('@')[2]}"

    @property
    def scope(self) -> str:
        """The database and the label, without a password."""
        label = self.label or hashlib.sha256(self.query.encode()).hexdigest()[:8]
        return part_uri(self._place, f"{label}/")

    def sources(self) -> Iterator[Source]:
        """List the rows, in the order of the query."""
        self.require()
        from sqlalchemy import text
        from sqlalchemy.exc import SQLAlchemyError

        try:
            engine = self._engine()
            with engine.connect() as connection:
                transaction = connection.begin()
                try:
                    rows = connection.execution_options(stream_results=True).execute(
                        text(self.query)
                    )
                    self._check_columns(list(rows.keys()))
                    seen: set[str] = set()
                    for number, row in enumerate(rows.mappings(), start=1):
                        source = self._source(dict(row), number)
                        if source.uri in seen:
                            reason = f"a row of the same key ({self.fields.key!r}) came before"
                            source = self._failing(reason, number)
                        seen.add(source.uri)
                        yield source
                finally:
                    transaction.rollback()
        except (SQLAlchemyError, ImportError, ValueError) as error:
            raise SourceNotFound(f"{self._place}: {self._said(error)}") from None

    def _engine(self) -> Engine:
        from sqlalchemy import create_engine
        from sqlalchemy.pool import NullPool

        url = self.url.get_secret_value()
        if not self._place.startswith("sqlite:"):
            return create_engine(url, poolclass=NullPool)
        path = url.partition("://")[2].partition("?")[0].removeprefix("/")
        if not Path(path).is_file():
            raise SourceNotFound(f"no database at {path}")
        return create_engine(
            "sqlite://", poolclass=NullPool, creator=partial(_read_only_sqlite, path)
        )

    def _said(self, error: Exception) -> str:
        said = " ".join(str(getattr(error, "orig", None) or error).split())[:300]
        rest = self.url.get_secret_value().partition("://")[2].partition("?")[0]
        secret = rest.rpartition("@")[0].partition(":")[2]
        for form in (secret, unquote(secret)):
            said = said.replace(form, "***") if form else said
        return said

    def _check_columns(self, columns: list[str]) -> None:
        """Raise where a setting names a column that the query does not give."""
        named = {self.fields.key, self.fields.title, self.version, *(self.fields.metadata or ())}
        for name in sorted({*named, *self.fields.in_text} - {""}):
            if name not in columns:
                listed = ", ".join(map(repr, columns))
                raise SourceNotFound(f"{self._place}: no column {name!r}; there are {listed}")

    def _failing(self, reason: str, number: int) -> Source:
        """A row that cannot be named; until it can, none is taken for deleted."""
        uri = part_uri(self._place, f"{self.scope.partition(PART)[2]}row {number}")
        failure = SourceUnreadable(f"row {number}: {reason}")
        return Source(
            uri=uri, version="", read=partial(_failing, failure), protected_prefix=self.scope
        )

    def _source(self, row: Mapping[str, Any], number: int) -> Source:
        try:
            made = self.fields.document(row, self.scope.removesuffix("/"), number, self.mime)
            key = self.fields.name(row, number)
            version = written(row[self.version]) if self.version else repr(sorted(row.items()))
        except (SourceError, KeyError) as error:
            return self._failing(str(error), number)
        return Source(
            uri=part_uri(self._place, f"{self.scope.partition(PART)[2]}{key}"),
            version=hashlib.sha256(f"{self.fields}{version}".encode()).hexdigest()[:16],
            read=partial(bytes, made.text.encode()),
            mime=self.mime,
            title=made.title if self.fields.title else well_formed(key),
            metadata=flat_metadata(made.metadata),
        )


def _read_only_sqlite(path: str) -> Any:
    import sqlite3

    return sqlite3.connect(f"{Path(path).absolute().as_uri()}?mode=ro", uri=True)


def _failing(error: SourceError) -> bytes:
    raise error
