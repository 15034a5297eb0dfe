"""What every verifier does."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from rag.component import Component

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Verifier(Component):
    """Does this passage support this sentence?

    ``threshold`` is the support from which a sentence counts as supported; each verifier's
    default was calibrated on judgements of people, and its docstring says on which.
    """

    kind: ClassVar[str] = "verifier"

    threshold: float = Field(0.5, ge=0, le=1)

    @abstractmethod
    def support(self, claims: Sequence[str], passages: Sequence[str]) -> NDArray[np.float32]:
        """How well each passage supports each claim: float32 ``[claims, passages]``, 0..1."""
