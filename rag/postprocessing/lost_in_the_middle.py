"""Reordering for models that read the middle of a long context worst."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from rag.postprocessing.base import Postprocessor
from rag.types import Hit

if TYPE_CHECKING:
    from rag.index import Index


class LostInTheMiddle(Postprocessor):
    """The best hits at both ends, the weakest in the middle.

    Models read the beginning and the end of a long context better than its middle ("lost in the
    middle": Liu et al., 2023). The best comes first, the second best last. To be the last of the
    postprocessors, as the order of hits is no longer that of their scores.
    """

    name: ClassVar[str] = "lost-in-the-middle"
    must_be_last: ClassVar[bool] = True

    def process(self, query: str, hits: Sequence[Hit], *, index: Index) -> list[Hit]:
        """See `Postprocessor.process`."""
        return [*hits[::2], *reversed(hits[1::2])]
