"""A minimum score for hits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Self

from pydantic import Field, model_validator

from rag.postprocessing.base import Postprocessor
from rag.types import Hit

if TYPE_CHECKING:
    from rag.index import Index


class ScoreThreshold(Postprocessor):
    """Drops hits with a score below ``least``, or below ``share`` of the best score.

    The scale depends on the last stage: 0 to 1 for the hybrid retriever and Cohere, any number for
    cross-encoders.
    """

    name: ClassVar[str] = "score-threshold"

    least: float | None = Field(None, allow_inf_nan=False)
    share: float | None = Field(None, ge=0, le=1)

    @model_validator(mode="after")
    def _require_threshold(self) -> Self:
        if self.least is None and self.share is None:
            raise ValueError("a threshold needs `least` or `share`")
        return self

    def process(self, query: str, hits: Sequence[Hit], *, index: Index) -> list[Hit]:
        """See `Postprocessor.process`."""
        floor = float("-inf") if self.least is None else self.least
        if self.share is not None and hits:
            best = max(hit.score for hit in hits)
            floor = max(floor, best * self.share if best > 0 else best)
        return [hit for hit in hits if hit.score >= floor]
