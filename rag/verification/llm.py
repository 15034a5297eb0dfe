"""A verifier that asks a chat model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import BaseModel, Field

from rag.component import NotFingerprinted
from rag.concurrency import map_concurrently
from rag.llm.base import ChatModel
from rag.llm.prompting import escape_prompt_markup, render_messages
from rag.llm.structured import fill
from rag.verification.base import Verifier

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_SUPPORT_BY_VERDICT = {"supported": 1.0, "partly": 0.5, "unsupported": 0.0}


class _Verdict(BaseModel):
    verdict: Literal["supported", "partly", "unsupported"]


class LlmVerifier(Verifier):
    """Asks a chat model whether a passage supports a claim: 1, 1/2 or 0.

    It makes one call for each pair, up to ``parallel`` at once, with the prompt ``verify``. The
    thresholds lie between the three grades of the verdict. How often people agree with the verdicts
    depends on the model: measure it for yours.
    """

    name: ClassVar[str] = "llm"
    main_setting: ClassVar[str] = "model"
    shortlist: ClassVar[int] = 2

    model: ChatModel
    threshold: float = Field(0.75, ge=0, le=1)
    prompt: str = "verify"
    parallel: Annotated[int, NotFingerprinted] = Field(4, ge=1, le=64)

    def scores(self, pairs: Sequence[tuple[str, str]]) -> NDArray[np.float32]:
        """See `Verifier.scores`. Raises `ModelReplyError` if a reply has no verdict."""
        import numpy as np

        return np.array(map_concurrently(self._score, pairs, self.parallel), dtype=np.float32)

    def _score(self, pair: tuple[str, str]) -> float:
        claim, passage = pair
        if not claim.strip() or not passage.strip():
            return 0.0
        prompt_messages = render_messages(
            self.prompt, claim=claim, passage=escape_prompt_markup(passage)
        )
        return _SUPPORT_BY_VERDICT[fill(self.model, prompt_messages, _Verdict).verdict]
