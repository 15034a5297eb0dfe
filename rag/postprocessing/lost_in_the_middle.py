"""Reordering for models that read the middle of a long context worst."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from rag.postprocessing.base import Postprocessor
from rag.types import Hit

if TYPE_CHECKING:
    from rag.index import Index


class LostInTheMiddle(Postprocessor):
    """Puts the best hits at both ends and the weakest in the middle.

    Models read the beginning and the end of a long context better than its middle (Liu et al.,
    2023). The best hit comes first, the second best last. It must be the last postprocessor,
    because the hits are no longer in the order of their scores.
    """

    name: ClassVar[str] = "lost-in-the-middle"
    must_be_last: ClassVar[bool] = True

    def process(self, query: str, hits: Sequence[Hit], *, index: Index) -> list[Hit]:
        """See `Postprocessor.process`."""
        return [*hits[::2], *reversed(hits[1::2])]
