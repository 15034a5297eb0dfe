"""The base class of adapters for another framework's retrievers."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING

from rag.filters import Where
from rag.interop.base import Adapter, ExternalText, translate_error
from rag.retrieval import Retriever
from rag.retrieval.external_passages import make_external_hit
from rag.types import Hit

if TYPE_CHECKING:
    from rag.index import Index

_MAX_PASSAGES = 10_000


class RetrieverAdapter(Adapter, Retriever):
    """Another framework's retriever, over the data that it searches.

    A passage becomes a chunk of our index if its metadata names a document of the index
    (``source``, ``file_path``, ``url`` ...) that contains the same words. Any other passage is its
    own source, and is quoted from the text as it was retrieved (see
    `rag.retrieval.external_passages`). `where` filters the retrieved passages.
    """

    @property
    def is_external(self) -> bool:
        """True: passages may come from outside the index."""
        return True

    def retrieve(
        self, query: str, *, k: int, index: Index, where: Where | None = None
    ) -> list[Hit]:
        """See `Retriever.retrieve`."""
        try:
            passages = list(islice(self._retrieve_passages(query, k), _MAX_PASSAGES))
        except Exception as error:
            raise translate_error(self.label, error) from error
        hits: dict[str, Hit] = {}
        for rank, passage in enumerate(passages, start=1):
            score = finite_score(passage.score)
            hit = make_external_hit(
                index,
                passage.text,
                passage.metadata,
                stage=self.name,
                rank=rank,
                score=1.0 / rank if score is None else score,
                where=where,
                start=passage.start,
            )
            if hit is not None:
                hits.setdefault(hit.chunk.id, hit)
        return list(hits.values())[:k]

    @abstractmethod
    def _retrieve_passages(self, query: str, k: int) -> Iterator[ExternalText]:
        """Yield the passages that the wrapped object retrieves, best first."""


def finite_score(score: object) -> float | None:
    """Return a score (NumPy's too) as a float, or None if it is not a finite number."""
    try:
        number = float(score)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None
