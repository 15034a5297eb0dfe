"""Data sets for retrieval: a ``corpus.jsonl``, as BEIR and its kin ship it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import field_validator

from connectors.base import Connector, Source, part_uri
from connectors.files import path_of
from rag.errors import SourceNotFound, SourceUnreadable
from rag.types import flat_metadata, well_formed


class Dataset(Connector):
    """Every line of a corpus is a document: ``_id``, ``title`` and ``text``; the rest is metadata.

    ``path`` is the file, or the folder that has it as ``corpus.jsonl``. What is not a line of
    that kind fails by itself.
    """

    name: ClassVar[str] = "dataset"
    examples: ClassVar[tuple[str, ...]] = ("dataset+file:///folder",)
    schemes: ClassVar[tuple[str, ...]] = ("dataset+file",)

    path: Path

    @classmethod
    def from_uri(cls, uri: str, **options: Any) -> Self:
        """``dataset+file:///folder``."""
        path = path_of(uri.removeprefix("dataset+"))
        if path is None:
            raise SourceNotFound(f"not the path of a data set: {uri}")
        return cls(path=path)

    @field_validator("path")
    @classmethod
    def _file(cls, path: Path) -> Path:
        path = Path(os.path.abspath(os.path.expanduser(path)))  # noqa: PTH100, PTH111 (keeps links)
        return path / "corpus.jsonl" if path.is_dir() else path

    @property
    def scope(self) -> str:
        """Uri of the corpus, and what parts it from the ids."""
        return part_uri(self.path.as_uri(), "")

    def sources(self) -> Iterator[Source]:
        """List the lines; the second document of a name fails."""
        try:
            file = self.path.open("rb")
        except OSError as error:
            raise SourceNotFound(f"no corpus at {self.path}: {error.strerror}") from None
        seen: set[str] = set()
        with file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    source = self._source(line, number)
                    if source.uri in seen:
                        source = self._failing("its _id was there before", number)
                    seen.add(source.uri)
                    yield source

    def _source(self, line: bytes, number: int) -> Source:
        try:
            record = json.loads(line)
            name, text = str(record.pop("_id")), str(record.pop("text"))
            title = str(record.pop("title", None) or "")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            return self._failing(f"{type(error).__name__}: {error}", number)
        said = record.pop("metadata", None)
        found = {**record, **(said if isinstance(said, dict) else {})}
        return Source(
            uri=part_uri(self.path.as_uri(), name),
            version=hashlib.sha256(line).hexdigest()[:16],
            read=partial(bytes, well_formed(text).encode()),
            mime="text/plain",
            title=well_formed(title)[:500],
            metadata=flat_metadata(found),
        )

    def _failing(self, reason: str, number: int) -> Source:
        said = f"line {number} is no document of a data set ({reason})"
        uri = part_uri(self.path.as_uri(), f"line {number}")
        return Source(uri=uri, version="", read=partial(_unreadable, said))


def _unreadable(reason: str) -> bytes:
    raise SourceUnreadable(reason)
