"""The base class of verifiers."""

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
    """Scores how well a passage supports a claim.

    ``threshold`` is the least support (0..1) of a supported claim, ``partial`` that of a partly
    supported one. ``calibrated_on`` names the human judgements that they were calibrated on; it is
    empty if they were not calibrated.
    """

    kind: ClassVar[str] = "verifier"
    extra: ClassVar[str] = ""
    """The optional dependency group that the verifier needs; "" for none."""
    shortlist: ClassVar[int] = 4
    """Number of spans, those with most common words, that a sentence is compared with."""

    by_words: ClassVar[bool] = False
    """Whether it compares words, so that any passage with the word supports a claim of one word."""

    threshold: float = Field(0.5, ge=0, le=1)
    partial: float = Field(0.25, ge=0, le=1)
    calibrated_on: str = ""

    @abstractmethod
    def scores(self, pairs: Sequence[tuple[str, str]]) -> NDArray[np.float32]:
        """Return the support (0..1) of each (claim, passage) pair: float32 ``[n]``.

        The score of a pair does not depend on the others. Raises `ModelError` if a model fails.
        """

    def contradicts(self, claim: str, passage: str) -> bool:
        """Whether a passage denies a claim. A verifier that cannot tell returns False."""
        return False

    def support(self, claims: Sequence[str], passages: Sequence[str]) -> NDArray[np.float32]:
        """Return the support (0..1) of claims by passages: float32 ``[claims, passages]``."""
        pairs = [(claim, passage) for claim in claims for passage in passages]
        return self.scores(pairs).reshape(len(claims), len(passages))

    def status(self, support: float) -> Literal["supported", "partly", "unsupported"]:
        """Return the status of a claim with this support, by the thresholds."""
        if support >= self.threshold:
            return "supported"
        return "partly" if support >= self.partial else "unsupported"
