"""Reordering for models that read the middle of a long context worst."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from rag.postprocessing.base import Refiner
from rag.types import Hit

if TYPE_CHECKING:
    from rag.index import Index


class EdgesFirst(Refiner):
    """The best hits at both ends, the weakest in the middle.

    Models read the beginning and the end of a long context better than its middle ("lost in the
    middle": Liu et al., 2023). The best comes first, the second best last. To be the last of the
    refiners, as the order of hits is no longer that of their scores.
    """

    name: ClassVar[str] = "edges-first"
    to_be_last: ClassVar[bool] = True

    def refine(self, query: str, hits: Sequence[Hit], *, index: Index) -> list[Hit]:
        """See `Refiner.refine`."""
        return [*hits[::2], *reversed(hits[1::2])]
