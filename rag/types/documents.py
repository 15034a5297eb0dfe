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
from rag.types.source_location import FIELD_NAMES_0_1, Located, LocationIndex, Mark, SourceLocation


class Document(FrozenModel):
    """A source as text, with what is known of it.

    ``uri`` names it for good, ``text`` is what every offset counts in, ``marks`` say which page,
    row, function or heading a stretch of it belongs to.
    """

    uri: Text = Field(min_length=1)
    text: Text
    title: Text = ""
    mime: str = "text/plain"
    metadata: Metadata = {}
    marks: tuple[Mark, ...] = ()

    @model_validator(mode="after")
    def _marks_inside(self) -> Self:
        for mark in self.marks:
            if mark.end > len(self.text):
                raise ValueError(f"{self.uri}: mark ends at {mark.end}, text at {len(self.text)}")
        return self

    @property
    def digest(self) -> str:
        """32 hex digits that change whenever anything of the document does: its version."""
        hashed = hashlib.sha256(self.text.encode())
        hashed.update(self.model_dump_json(exclude={"text"}).encode())
        return hashed.hexdigest()[:32]

    def location_at(self, start: int, end: int | None = None) -> SourceLocation:
        """Where the character at `start` stands; see `LocationIndex.locate`."""
        return LocationIndex(self.marks).locate(start, end)


class Chunk(Located):
    """A stretch of a document that is retrieved as one: ``document.text[start:end] == text``.

    ``context`` (title and headings in one line) stands in front of the text where it is embedded
    and indexed; it is never part of ``text``. ``place`` says where the chunk begins.
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

    @property
    def embedded_text(self) -> str:
        """What is embedded and indexed."""
        return f"{self.heading_context}\n\n{self.text}" if self.heading_context else self.text


class StageScore(FrozenModel):
    """What one retriever or reranker said of a hit: its rank (from 1) and raw score."""

    rank: int = Field(ge=1)
    score: float


class Hit(FrozenModel):
    """A retrieved chunk, its score (higher is better), and how it came by it."""

    chunk: Chunk
    score: float
    stage_scores: dict[str, StageScore] = {}

    @model_validator(mode="before")
    @classmethod
    def _accept_old_names(cls, data: Any) -> Any:
        if isinstance(data, Mapping) and "origins" in data:
            return {FIELD_NAMES_0_1.get(key, key): value for key, value in data.items()}
        return data
