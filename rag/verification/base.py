"""What every verifier does."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from rag.component import Component

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Verifier(Component):
    """Does this passage support this claim?

    ``threshold`` is the support from which a claim counts as supported, ``partial`` that from
    which it counts as supported in part. Where they come from judgements of people,
    ``calibrated_on`` names these; it is empty where nobody has compared yet.
    """

    kind: ClassVar[str] = "verifier"
    extra: ClassVar[str] = ""
    """Optional dependency group that it needs; "" for none."""
    shortlist: ClassVar[int] = 4
    """How many stretches of the sources, nearest by their words, a sentence is compared with."""

    by_words: ClassVar[bool] = False
    """Whether it compares words, so that a single word is supported wherever it stands."""

    threshold: float = Field(0.5, ge=0, le=1)
    partial: float = Field(0.25, ge=0, le=1)
    calibrated_on: str = ""

    @abstractmethod
    def scores(self, pairs: Sequence[tuple[str, str]]) -> NDArray[np.float32]:
        """How well the passage of each pair (claim, passage) supports its claim: 0..1, ``[n]``.

        What a pair gets does not depend on the others. Raises `ModelError` where a model fails.
        """

    def support(self, claims: Sequence[str], passages: Sequence[str]) -> NDArray[np.float32]:
        """How well each passage supports each claim: float32 ``[claims, passages]``, 0..1."""
        pairs = [(claim, passage) for claim in claims for passage in passages]
        return self.scores(pairs).reshape(len(claims), len(passages))

    def status(self, support: float) -> Literal["supported", "partly", "unsupported"]:
        """What a support amounts to, by the thresholds."""
        if support >= self.threshold:
            return "supported"
        return "partly" if support >= self.partial else "unsupported"
