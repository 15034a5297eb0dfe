"""Near-duplicate removal among hits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from rag.postprocessing.base import Postprocessor
from rag.text.tokenization import words
from rag.types import Hit

if TYPE_CHECKING:
    from rag.index import Index


class Deduplicate(Postprocessor):
    """Drops hits that repeat a better hit.

    Two hits are duplicates if the share of common runs of ``run`` words, relative to the shorter
    text, is ``threshold`` or more. This finds copies, quotations and overlapping chunks. It
    receives ``spare`` additional hits to replace the dropped ones.
    """

    name: ClassVar[str] = "deduplicate"

    threshold: float = Field(0.8, gt=0, le=1)
    run: int = Field(4, ge=1, le=50)
    spare: int = Field(16, ge=0, le=1_000)

    @property
    def oversample(self) -> int:
        """The ``spare`` hits."""
        return self.spare

    def process(self, query: str, hits: Sequence[Hit], *, index: Index) -> list[Hit]:
        """See `Postprocessor.process`."""
        kept_hits: list[tuple[Hit, frozenset[tuple[str, ...]]]] = []
        for hit in hits:
            runs = word_runs(hit.chunk.text, self.run)
            if not any(
                overlap_share(runs, kept_runs) >= self.threshold for _, kept_runs in kept_hits
            ):
                kept_hits.append((hit, runs))
        return [hit for hit, _ in kept_hits]


def word_runs(text: str, length: int) -> frozenset[tuple[str, ...]]:
    """Return the runs of `length` words in `text`; the whole text if it is shorter."""
    text_words = words(text) or [text.strip()]  # of signs alone, those
    return frozenset(
        tuple(text_words[i : i + length]) for i in range(max(1, len(text_words) - length + 1))
    )


def overlap_share(
    first_runs: frozenset[tuple[str, ...]], second_runs: frozenset[tuple[str, ...]]
) -> float:
    """Return the share (0..1) of common runs, relative to the smaller set."""
    shorter = min(len(first_runs), len(second_runs))
    return len(first_runs & second_runs) / shorter if shorter else float(first_runs == second_runs)
