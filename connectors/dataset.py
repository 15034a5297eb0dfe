"""Retrieval data sets: a ``corpus.jsonl`` in the format of BEIR."""

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
from rag.types import flatten_metadata, to_well_formed


class Dataset(Connector):
    """Reads each line of a corpus as a document: ``_id``, ``title`` and ``text``.

    Other fields become metadata. ``path`` is the file, or the folder that contains it as
    ``corpus.jsonl``. A line in another format fails alone.
    """

    name: ClassVar[str] = "dataset"
    examples: ClassVar[tuple[str, ...]] = ("dataset+file:///folder",)
    schemes: ClassVar[tuple[str, ...]] = ("dataset+file",)

    path: Path

    @classmethod
    def from_uri(cls, uri: str, **options: Any) -> Self:
        """Return the connector for ``dataset+file:///folder``."""
        path = path_of(uri.removeprefix("dataset+"))
        if path is None:
            raise SourceNotFound(f"not the path of a data set: {uri}", uri=uri)
        return cls(path=path)

    @field_validator("path")
    @classmethod
    def _locate_corpus(cls, path: Path) -> Path:
        path = Path(os.path.abspath(os.path.expanduser(path)))  # noqa: PTH100, PTH111 (keeps links)
        return path / "corpus.jsonl" if path.is_dir() else path

    @property
    def scope(self) -> str:
        """Uri of the corpus, with the separator before the ids."""
        return part_uri(self.path.as_uri(), "")

    def sources(self) -> Iterator[Source]:
        """List the lines in order. A line whose ``_id`` occurred before fails."""
        try:
            file = self.path.open("rb")
        except OSError as error:
            raise SourceNotFound(
                f"no corpus at {self.path}: {error.strerror}", uri=self.path.as_uri()
            ) from None
        seen_uris: set[str] = set()
        with file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    source = self._make_source(line, number)
                    if source.uri in seen_uris:
                        source = self._make_failing_source("its _id occurs twice", number)
                    seen_uris.add(source.uri)
                    yield source

    def _make_source(self, line: bytes, number: int) -> Source:
        try:
            record = json.loads(line)
            name, text = str(record.pop("_id")), str(record.pop("text"))
            title = str(record.pop("title", None) or "")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            return self._make_failing_source(f"{type(error).__name__}: {error}", number)
        nested_metadata = record.pop("metadata", None)
        metadata = {**record, **(nested_metadata if isinstance(nested_metadata, dict) else {})}
        return Source(
            uri=part_uri(self.path.as_uri(), name),
            version=hashlib.sha256(line).hexdigest()[:16],
            read=partial(bytes, to_well_formed(text).encode()),
            mime="text/plain",
            title=to_well_formed(title)[:500],
            metadata=flatten_metadata(metadata),
        )

    def _make_failing_source(self, reason: str, number: int) -> Source:
        message = f"line {number} is not a document of a data set ({reason})"
        uri = part_uri(self.path.as_uri(), f"line {number}")
        return Source(uri=uri, version="", read=partial(_raise_unreadable, message))


def _raise_unreadable(reason: str) -> bytes:
    raise SourceUnreadable(reason)
