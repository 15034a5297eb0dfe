"""Documents, their chunks, and the hits of a search."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Self

from pydantic import (
    Field,
    model_validator,
)

from rag.types.base import FrozenModel, Metadata, Text
from rag.types.coverage import Coverage
from rag.types.source_location import (
    RENAMED_FIELDS,
    LocatedModel,
    LocationIndex,
    Mark,
    SourceLocation,
)


class Document(FrozenModel):
    """The text of a source with its metadata.

    ``uri`` identifies it permanently. All offsets refer to ``text``. ``marks`` assign spans of the
    text to pages, tables, rows, functions, headings and so on. ``identity`` has the terms that tell
    the document from others, by their origin: ``title``, ``file``, ``folder``, ``date``,
    ``author``, ``heading``, ``first_page``. They are found when the document is added to an index.
    ``coverage`` says what the text does not have of the file, None if the parser does not measure
    it; an index does not store it.
    """

    uri: Text = Field(min_length=1)
    text: Text
    title: Text = ""
    mime: str = "text/plain"
    metadata: Metadata = {}
    marks: tuple[Mark, ...] = ()
    identity: dict[Text, tuple[Text, ...]] = {}
    coverage: Coverage | None = None

    @model_validator(mode="after")
    def _check_marks_inside_text(self) -> Self:
        for mark in self.marks:
            if mark.end > len(self.text):
                raise ValueError(f"{self.uri}: mark ends at {mark.end}, text at {len(self.text)}")
        return self

    @property
    def digest(self) -> str:
        """32 hex digits that identify the version: they change if any field changes."""
        digest = hashlib.sha256(self.text.encode())
        digest.update(self.model_dump_json(exclude={"text", "identity", "coverage"}).encode())
        return digest.hexdigest()[:32]

    def location_at(self, start: int, end: int | None = None) -> SourceLocation:
        """Return the source location of the character at `start`; see `LocationIndex.locate`."""
        return LocationIndex(self.marks).locate(start, end)


class Chunk(LocatedModel):
    """A span of a document that is retrieved as a unit: ``document.text[start:end] == text``.

    ``heading_context`` is the title and the headings on one line. It is embedded and indexed in
    front of the text, but is never part of ``text``. ``location`` is where the chunk begins.
    ``marks`` are the document's marks for the headings, tables and records in the chunk; their
    offsets are those of the document, and they may begin or end outside of the chunk.
    """

    id: str
    uri: Text
    start: int = Field(ge=0)
    end: int = Field(ge=0)
    text: Text
    title: Text = ""
    headings: tuple[Text, ...] = ()
    heading_context: Text = ""
    metadata: Metadata = {}
    marks: tuple[Mark, ...] = ()

    @property
    def embedded_text(self) -> str:
        """Text that is embedded and indexed: the heading context and the text."""
        return f"{self.heading_context}\n\n{self.text}" if self.heading_context else self.text


class StageScore(FrozenModel):
    """The rank (from 1) and raw score that one retriever or reranker gave a hit."""

    rank: int = Field(ge=1)
    score: float


class Hit(FrozenModel):
    """A retrieved chunk with its score (higher is better) and the scores of each stage."""

    chunk: Chunk
    score: float
    stage_scores: dict[str, StageScore] = {}

    @model_validator(mode="before")
    @classmethod
    def _accept_old_names(cls, data: Any) -> Any:
        if isinstance(data, Mapping) and "origins" in data:
            return {RENAMED_FIELDS.get(key, key): value for key, value in data.items()}
        return data

    def _repr_html_(self) -> str:
        from rag.types.html_view import render_hit

        return render_hit(self)
