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
    """Drop hits that say what a better one says already.

    Two are the same where the share of runs of ``run`` words that they have in common, of all
    that the shorter one has, is ``threshold`` or more: copies, quotations, overlapping chunks.
    It is given ``spare`` hits more than are asked for, to make up for those.
    """

    name: ClassVar[str] = "deduplicate"

    threshold: float = Field(0.8, gt=0, le=1)
    run: int = Field(4, ge=1, le=50)
    spare: int = Field(16, ge=0, le=1_000)

    @property
    def oversample(self) -> int:
        """The spare."""
        return self.spare

    def process(self, query: str, hits: Sequence[Hit], *, index: Index) -> list[Hit]:
        """See `Postprocessor.process`."""
        kept: list[tuple[Hit, frozenset[tuple[str, ...]]]] = []
        for hit in hits:
            runs = word_runs(hit.chunk.text, self.run)
            if not any(shared_runs(runs, other) >= self.threshold for _, other in kept):
                kept.append((hit, runs))
        return [hit for hit, _ in kept]


def word_runs(text: str, length: int) -> frozenset[tuple[str, ...]]:
    """Runs of `length` words of `text`; of a shorter text, the whole of it."""
    found = words(text) or [text.strip()]  # of signs alone, those
    return frozenset(tuple(found[i : i + length]) for i in range(max(1, len(found) - length + 1)))


def shared_runs(one: frozenset[tuple[str, ...]], other: frozenset[tuple[str, ...]]) -> float:
    """Share (0..1) of the runs of the one that has fewer that the other has too."""
    shorter = min(len(one), len(other))
    return len(one & other) / shorter if shorter else float(one == other)
