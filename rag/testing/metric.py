"""The contract of metrics of answers."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

from rag.errors import RagError
from rag.testing.calls import call_from_threads
from rag.testing.samples import BLANK_TEXTS, HOSTILE_TEXTS, SAMPLE_TOPICS
from rag.types import NO_ANSWER

if TYPE_CHECKING:
    from evals.metrics import Case, Metric
    from evals.samples import Sample
    from evals.scores import Score
    from rag.llm.base import ChatModel


class MetricContract(ABC):
    """Checks of a metric of `evals`: range of the score, reasons, and answers of every form.

    A metric is a function, not a component, so the checks of `PartContract` do not apply. Override
    `make_judge_model` for a metric that needs a chat model.
    """

    lowest: ClassVar[float] = 0.0
    """Least value that the metric can have."""
    highest: ClassVar[float] = 1.0
    """Greatest value that the metric can have."""

    @abstractmethod
    def make_part(self) -> Metric:
        """Return the metric; a registered one is ``evals.metrics.all_metrics()[name]``."""

    def make_judge_model(self) -> ChatModel | None:
        """Return the chat model that the metric asks; None for a metric that asks none."""
        return None

    def sample_answers(self) -> list[Sample]:
        """Return the answers to score; by default, good and bad ones, and hostile texts."""
        return make_sample_answers()

    def _make_case(self, sample: Sample) -> Case:
        from evals.judges import make_judge
        from evals.metrics import Case

        return Case(sample, make_judge("lexical"), judge=self.make_judge_model())

    def _score(self, sample: Sample) -> Score:
        return self.make_part().score(self._make_case(sample))

    def test_metric_is_described(self) -> None:
        """The metric has a name, a known group, a description and valid needs."""
        from evals.metrics import GROUPS, Metric
        from evals.samples import Sample

        metric = self.make_part()
        assert isinstance(metric, Metric), f"make_part returns a {type(metric).__name__}"
        assert metric.name and metric.name == "".join(metric.name.split()), f"{metric.name!r}"
        assert metric.group in GROUPS, f"there is no group {metric.group!r}"
        assert metric.description, "the metric has no description: write a docstring"
        for need in metric.needs:
            assert need == "judge" or hasattr(Sample, need) or need in Sample.model_fields, (
                f"a sample has no {need!r}"
            )
        assert metric.better in ("higher", "lower"), f"better is {metric.better!r}"
        assert metric.version >= 1, f"the version is {metric.version}"

    def test_value_is_in_range_or_there_is_none(self) -> None:
        """A score has a value in the range of the metric, or a reason why it has none."""
        for sample in self.sample_answers():
            score = self._score(sample)
            if score.status != "scored":
                assert score.value is None, f"{sample.id}: {score.status}, and a value"
                assert score.reason, f"{sample.id}: {score.status} without a reason"
                continue
            assert score.value is not None, f"{sample.id}: scored without a value"
            assert math.isfinite(score.value), f"{sample.id}: the value is {score.value}"
            assert self.lowest <= score.value <= self.highest, (
                f"{sample.id}: {score.value} is not within {self.lowest} and {self.highest}"
            )
            _check_ratio(sample.id, score)

    def test_some_answer_has_a_value(self) -> None:
        """The metric applies to some answer; otherwise the other checks are empty."""
        scores = {sample.id: self._score(sample) for sample in self.sample_answers()}
        reasons = {name: score.reason for name, score in scores.items()}
        assert any(score.status == "scored" for score in scores.values()), f"{reasons}"

    def test_function_raises_no_unexpected_error(self) -> None:
        """The function returns a score or None, or raises an error of citewell."""
        from evals.scores import Score

        metric = self.make_part()
        for sample in self.sample_answers():
            case = self._make_case(sample)
            if metric.explain_not_applicable(sample) or (
                "judge" in metric.needs and case.judge is None
            ):
                continue
            try:
                score = metric.function(case)
            except RagError as error:
                assert str(error), f"{sample.id}: the error has no message"
                continue
            assert score is None or isinstance(score, Score), f"{sample.id}: {score!r}"

    def test_score_is_the_same_in_every_run(self) -> None:
        """Two calls, one shared case and two threads give equal scores."""
        metric = self.make_part()
        for sample in self.sample_answers():
            expected = self._score(sample)
            assert self._score(sample) == expected, f"{sample.id}: the second score differs"
            case = self._make_case(sample)
            metric.score(case)
            assert metric.score(case) == expected, f"{sample.id}: the same case scores otherwise"
        sample = self.sample_answers()[0]
        for score in call_from_threads(lambda: self._score(sample)):
            assert score == self._score(sample), "two threads at once give other scores"

    def test_missing_needs_are_not_applicable(self) -> None:
        """Without what the metric needs, a score is not applicable."""
        from evals.samples import Sample

        metric = self.make_part()
        if set(metric.needs) - {"judge"}:
            bare = Sample(id="bare", question="Why?", answer="So.", contexts_known=False)
            assert self._score(bare).status == "not_applicable", f"{self._score(bare)}"

    def test_summary_counts_every_answer(self) -> None:
        """The summary counts all scores, and its mean is in the range of the metric."""
        metric = self.make_part()
        scores = [self._score(sample) for sample in self.sample_answers()]
        for some_scores in (scores, scores[:1], []):
            summary = metric.summarise(some_scores)
            count = summary.scored + summary.not_applicable + summary.failed
            assert count == summary.n == len(some_scores), f"{summary}"
            if summary.estimate is not None:
                value = summary.estimate.value
                assert self.lowest <= value <= self.highest, f"the mean is {value}"


def _check_ratio(name: str, score: Score) -> None:
    if score.numerator is None or score.denominator is None or score.value is None:
        return
    assert score.denominator, f"{name}: the denominator is {score.denominator}"
    assert math.isclose(score.value, score.numerator / score.denominator, abs_tol=1e-9), (
        f"{name}: {score.value} is not {score.numerator} / {score.denominator}"
    )


def make_sample_answers() -> list[Sample]:
    """Return answers of every form: supported, unsupported, empty, refused, and hostile ones."""
    from evals.samples import Passage, Sample

    contexts = tuple(
        Passage(text=text, uri=f"sample:{topic}") for topic, text in SAMPLE_TOPICS.items()
    )
    facts = {
        "question": "How long does a full battery last?",
        "contexts": contexts,
        "references": ("A full battery lasts 34 minutes.",),
        "gold": ("sample:battery",),
        "answerable": True,
        "retrieved": tuple(passage.uri for passage in contexts),
    }
    quotes = (Passage(text=contexts[0].text, uri=contexts[0].uri, verified=True),)
    variants: dict[str, dict[str, object]] = {
        "supported": {"answer": "A full battery lasts 34 minutes [1].", "quotes": quotes},
        "wrong citation": {"answer": "A full battery lasts 34 minutes [2]."},
        "invalid marker": {"answer": "A full battery lasts 34 minutes [99] [0] [-1]."},
        "unsupported": {"answer": "It lasts nine days [1]. Llamas from Peru made it [2]."},
        "without citations": {"answer": "A full battery lasts 34 minutes."},
        "refusal": {"answer": NO_ANSWER, "abstained": True},
        "refusal of an unanswerable question": {
            "answer": NO_ANSWER, "abstained": True, "answerable": False, "gold": (),
        },
        "answer to an unanswerable question": {
            "answer": "It is blue [1].", "abstained": False, "answerable": False, "gold": (),
        },
        "nothing retrieved": {"answer": "So it is.", "contexts": (), "retrieved": ()},
        "unknown": {"answer": "So it is.", "contexts": (), "contexts_known": False,
                    "retrieved": None, "references": (), "gold": (), "answerable": None},
        "blank passages": {"answer": "So it is [1].", "contexts": (Passage(text=" "),) * 2},
        "unread quotes": {"answer": "So it is.", "quotes": (Passage(text="x"),)},
    }  # fmt: skip
    texts = [*BLANK_TEXTS, *(text[:2_000] for text in HOSTILE_TEXTS.values())]
    for number, text in enumerate(texts):
        variants[f"hostile answer {number}"] = {"answer": text}
        variants[f"hostile reference {number}"] = {
            "answer": "So it is [1].",
            "references": (text,),
            "contexts": (Passage(text=text, uri="sample:battery"),),
        }
    return [
        Sample.model_validate({"id": name, **facts, **fields}) for name, fields in variants.items()
    ]
