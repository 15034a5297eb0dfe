"""Scores that decay with the age of a document."""

from __future__ import annotations

import datetime
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from rag.component import NotFingerprinted
from rag.postprocessing.base import Postprocessor, reorder_by_scores
from rag.types import Hit

if TYPE_CHECKING:
    from rag.index import Index


class Recency(Postprocessor):
    """Lowers the score of older documents with a half-life.

    ``field`` is the metadata field with the date (ISO 8601, or a year). ``half_life`` is in days.
    ``share`` is the part of the score that decays: ``score * (1 - share + share * 2 ** (-age /
    half_life))``, with scores measured from the lowest if that is negative. A document without a
    readable date has an age of one half-life. ``today`` makes runs repeatable.
    """

    name: ClassVar[str] = "recency"

    field: str = Field("date", min_length=1)
    half_life: float = Field(365.0, gt=0, allow_inf_nan=False)
    share: float = Field(0.3, ge=0, le=1)
    depth: int = Field(30, ge=1, le=1_000)
    today: Annotated[datetime.date | None, NotFingerprinted] = None

    @property
    def input_depth(self) -> int:
        """The ``depth`` of the reordering."""
        return self.depth

    def process(self, query: str, hits: Sequence[Hit], *, index: Index) -> list[Hit]:
        """See `Postprocessor.process`."""
        today = self.today or datetime.datetime.now(datetime.UTC).date()
        lowest = min([0.0, *(hit.score for hit in hits)])  # a part of less than nothing is more
        scores = []
        for hit in hits:
            date = _parse_date(hit.chunk.metadata.get(self.field))
            age = max(0.0, float((today - date).days)) if date else self.half_life
            freshness = 2 ** (-age / self.half_life)
            factor = 1 - self.share + self.share * freshness
            scores.append(lowest + (hit.score - lowest) * factor)
        return reorder_by_scores(self.name, hits, scores)


def _parse_date(value: object) -> datetime.date | None:
    if isinstance(value, tuple) and value:
        value = value[0]
    text = str(value).strip() if value is not None and not isinstance(value, bool) else ""
    if len(text) == 4 and text.isdecimal():
        text += "-07-01"
    elif re.fullmatch(r"\d{4}-\d{2}", text):
        text += "-15"
    try:
        return datetime.date.fromisoformat(text[:10])
    except ValueError:
        return None
