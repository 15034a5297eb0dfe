"""The verifier that is always there: words and numbers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from pydantic import Field

from rag.verification.base import Verifier
from rag.words import content_stems

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_NUMBER = re.compile(r"(?:(?<![\w.)\]-])-)?\d+(?:[.,:/]\d+)*")
# Not "one", which is a pronoun more often than a number.
_NUMBER_WORDS = {
    word: str(number)
    for number, word in enumerate(
        "two three four five six seven eight nine ten eleven twelve".split(), start=2
    )
}
_NUMBER_WORD = re.compile(rf"\b(?:{'|'.join(_NUMBER_WORDS)})\b", re.IGNORECASE)


class LexicalVerifier(Verifier):
    """Share of a claim's words that the passage has, longer words counting more.

    A number that the passage does not have multiplies the support by ``wrong_number``: a
    sentence with another figure in it is not supported, however alike it is. Negation and
    paraphrase are beyond it.

    The threshold is the one with the best mean balanced accuracy on AttributionBench, WiCE and
    LFQA (``benchmarks/verification.py``, ``docs/decisions.md``).
    """

    name: ClassVar[str] = "lexical"

    threshold: float = Field(0.65, ge=0, le=1)
    wrong_number: float = Field(0.5, ge=0, le=1)

    def support(self, claims: Sequence[str], passages: Sequence[str]) -> NDArray[np.float32]:
        """See `Verifier.support`. A claim without a word is supported by nothing."""
        import numpy as np

        facts = [_facts(claim) for claim in claims]
        evidence = [_facts(passage) for passage in passages]
        out = np.zeros((len(claims), len(passages)), dtype=np.float32)
        for i, claim in enumerate(facts):
            total = sum(claim.words.values())
            if not total:
                continue
            for j, passage in enumerate(evidence):
                held = sum(w for word, w in claim.words.items() if word in passage.words)
                score = held / total
                if claim.numbers - passage.numbers:
                    score *= self.wrong_number
                out[i, j] = score
        return out


class _Facts(NamedTuple):
    words: dict[str, float]
    numbers: frozenset[str]


@lru_cache(maxsize=4_096)  # the same passages are asked about for every sentence
def _facts(text: str) -> _Facts:
    text = _NUMBER_WORD.sub(lambda word: _NUMBER_WORDS[word.group().lower()], text)
    numbers = {_plain_number(number) for number in _NUMBER.findall(text)}
    return _Facts({stem: min(len(stem), 8) for stem in content_stems(text)}, frozenset(numbers))


def _plain_number(number: str) -> str:
    """1,577.00 and 1577 are the same number; 10:30, 1/2 and version 3.10 stay as they are."""
    if ":" in number or "/" in number:
        return number
    return re.sub(r"\.0+$", "", re.sub(r",(?=\d{3}(?:\D|$))", "", number))
