"""The contract of verifiers."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import TYPE_CHECKING, ClassVar

from rag.component import Component
from rag.testing.base import PartContract
from rag.testing.calls import call_from_threads, call_in_other_process
from rag.testing.samples import BLANK_TEXTS, HOSTILE_TEXTS, SAMPLE_TOPICS
from rag.verification.base import Verifier

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MAX_TEXT_CHARACTERS = 2_000  # of a hostile text, so that a model takes seconds, not minutes

Pair = tuple[str, str]


class VerifierContract(PartContract[Verifier]):
    """Checks of `rag.Verifier`: range and shape of scores, independence of pairs, thresholds."""

    part_class: ClassVar[type[Component]] = Verifier

    tolerance: ClassVar[float] = 1e-4
    """Largest difference of two equal scores: a model may round otherwise in a batch."""

    def supported_pair(self) -> Pair:
        """Return a claim, and a passage that supports it."""
        return "The propellers are made of nylon.", SAMPLE_TOPICS["propeller"]

    def unsupported_pair(self) -> Pair:
        """Return a claim, and a passage that does not support it."""
        return "The moon was visited by llamas from Peru.", SAMPLE_TOPICS["battery"]

    def sample_pairs(self) -> list[Pair]:
        """Return the pairs of claim and passage to score; by default, many with hostile texts."""
        texts = [text[:MAX_TEXT_CHARACTERS] for text in HOSTILE_TEXTS.values()]
        claim, passage = self.supported_pair()
        return [
            (claim, passage),
            self.unsupported_pair(),
            *((text, passage) for text in texts),
            *((claim, text) for text in texts),
            *((text, text) for text in texts),
        ]

    def test_scores_have_the_right_shape_type_and_range(self) -> None:
        """Scores are float32 ``[n]`` from 0 to 1."""
        pairs = self.sample_pairs()
        _check_scores(self.make_part().scores(pairs), len(pairs))

    def test_no_pairs_have_no_scores(self) -> None:
        """An empty list gives an empty array."""
        _check_scores(self.make_part().scores([]), 0)

    def test_blank_texts_have_a_score(self) -> None:
        """A blank claim or passage has a score from 0 to 1; a blank passage supports no claim."""
        verifier, (claim, passage) = self.make_part(), self.supported_pair()
        pairs = [(blank, passage) for blank in BLANK_TEXTS]
        pairs += [(blank, blank) for blank in BLANK_TEXTS]
        _check_scores(verifier.scores(pairs), len(pairs))
        scores = verifier.scores([(claim, blank) for blank in BLANK_TEXTS])
        _check_scores(scores, len(BLANK_TEXTS))
        assert float(scores.max()) < verifier.threshold, "a blank passage supports a claim"

    def test_score_does_not_depend_on_other_pairs(self) -> None:
        """A pair has the same score alone, in a list, and in another order."""
        verifier, pairs = self.make_part(), self.sample_pairs()
        scores = verifier.scores(pairs)
        self._check_close(verifier.scores(pairs[::-1])[::-1], scores, "another order")
        self._check_close(verifier.scores(pairs * 2)[: len(pairs)], scores, "each pair twice")
        for pair, score in zip(pairs, scores, strict=True):
            self._check_close(verifier.scores([pair]), score.reshape(1), f"{pair!r:.80} alone")

    def test_scores_are_the_same_in_every_run(self) -> None:
        """Two calls and two threads give equal scores, and the input is not changed."""
        verifier, pairs = self.make_part(), self.sample_pairs()
        given, scores = list(pairs), verifier.scores(pairs)
        self._check_close(verifier.scores(pairs), scores, "the second call")
        for in_thread in call_from_threads(lambda: verifier.scores(pairs)):
            self._check_close(in_thread, scores, "two threads at once")
        assert pairs == given, "the verifier changed the list of pairs"

    def test_scores_are_the_same_in_another_process(self) -> None:
        """Another process computes the same scores."""
        verifier = self.make_part()
        pairs = [self.supported_pair(), self.unsupported_pair()]
        scores = call_in_other_process(_compute_scores, verifier, pairs)
        self._check_close(scores, verifier.scores(pairs), "another process")

    def test_supported_claim_scores_higher(self) -> None:
        """The supported pair is ``supported``, the unsupported pair is not and scores lower."""
        verifier = self.make_part()
        high, low = map(float, verifier.scores([self.supported_pair(), self.unsupported_pair()]))
        assert verifier.status(high) == "supported", f"the supported pair scores {high}"
        assert verifier.status(low) == "unsupported", f"the unsupported pair scores {low}"
        assert low < high, f"the unsupported pair scores {low}, the supported pair {high}"

    def test_support_has_a_row_for_each_claim(self) -> None:
        """`support` returns ``[claims, passages]``, also for none of them."""
        verifier, (claim, passage) = self.make_part(), self.supported_pair()
        other_claim, other_passage = self.unsupported_pair()
        claims, passages = [claim, other_claim, claim], [passage, other_passage]
        support = verifier.support(claims, passages)
        assert support.shape == (3, 2), f"the shape is {support.shape}, not (3, 2)"
        expected = verifier.scores(list(product(claims, passages)))
        self._check_close(support.reshape(-1), expected, "support")
        assert verifier.support([], passages).shape == (0, 2), "no claims"
        assert verifier.support(claims, []).shape == (3, 0), "no passages"

    def test_status_follows_the_thresholds(self) -> None:
        """More support never has a worse status, and the thresholds are reached exactly."""
        verifier = self.make_part()
        assert 0 <= verifier.partial <= verifier.threshold <= 1, (
            f"the thresholds are {verifier.partial} and {verifier.threshold}"
        )
        order = ["unsupported", "partly", "supported"]
        ranks = [order.index(verifier.status(step / 100)) for step in range(101)]
        assert ranks == sorted(ranks), "more support has a worse status"
        assert verifier.status(verifier.threshold) == "supported", "at the threshold"
        assert verifier.shortlist >= 1, "the shortlist has no span"

    def _check_close(
        self, actual: NDArray[np.float32], expected: NDArray[np.float32], case: str
    ) -> None:
        import numpy as np

        assert actual.shape == expected.shape, f"{case}: {actual.shape}, not {expected.shape}"
        difference = float(np.abs(actual - expected).max(initial=0))
        assert difference <= self.tolerance, f"{case}: the scores differ by {difference}"


def _compute_scores(verifier: Verifier, pairs: Sequence[Pair]) -> NDArray[np.float32]:
    return verifier.scores(pairs)


def _check_scores(scores: NDArray[np.float32], count: int) -> None:
    import numpy as np

    assert isinstance(scores, np.ndarray), f"the result is a {type(scores).__name__}"
    assert scores.dtype == np.float32, f"the scores are {scores.dtype}, not float32"
    assert scores.shape == (count,), f"the shape is {scores.shape}, not ({count},)"
    assert np.isfinite(scores).all(), "a score is NaN or infinite"
    assert ((scores >= 0) & (scores <= 1)).all(), f"scores from {scores.min()} to {scores.max()}"
