"""The metric contract: `Metric`, `Case` (its input), and the `metric` decorator."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast, get_args

from evals.judges import Judgement, SupportJudge, has_words
from evals.samples import Sample, Statement
from evals.scores import Score, Summary, Unit, summarise_scores
from rag.errors import ConfigError, RagError
from rag.text.sentences import sentences

if TYPE_CHECKING:
    from rag.embedding import Embedder
    from rag.llm.base import ChatModel

_Result = TypeVar("_Result")
_Function = TypeVar("_Function", bound="Callable[[Case], Score | None]")
Group = Literal["generation", "citation", "refusal", "context", "retrieval", "text", "judge"]
GROUPS: tuple[str, ...] = get_args(Group)


class Case:
    """The input of a metric: a sample, the support judge, and results that metrics share.

    ``embedder`` computes similarities. ``judge`` is a chat model for metrics that need an opinion
    (None: these are not applicable). Every property is computed once per case.
    """

    def __init__(
        self,
        sample: Sample,
        support_judge: SupportJudge,
        embedder: Embedder | None = None,
        judge: ChatModel | None = None,
    ) -> None:
        self.sample = sample
        self.support_judge = support_judge
        self.judge = judge
        self._embedder = embedder
        self._results: dict[Callable[[Case], Any], Any] = {}

    @cached_property
    def embedder(self) -> Embedder:
        """The embedder of the pipeline, or the static embedder."""
        from rag.embedding import StaticEmbedder

        return self._embedder or StaticEmbedder()

    @cached_property
    def contexts(self) -> list[str]:
        """The texts of the passages that the model was shown."""
        return [passage.text for passage in self.sample.contexts]

    @cached_property
    def claims(self) -> list[Statement]:
        """The claims of the answer, each once; refusals, courtesies and headings claim nothing."""
        claims: dict[str, Statement] = {}
        if not self.sample.is_refusal:
            for statement in self.sample.statements:
                if statement.needs_citation and has_words(statement.claim):
                    claims.setdefault(" ".join(statement.claim.casefold().split()), statement)
        return list(claims.values())

    @property
    def no_claims_reason(self) -> str:
        """The reason for an empty ``claims``."""
        return "it is a refusal" if self.sample.is_refusal else "the answer claims nothing"

    @cached_property
    def claim_units(self) -> list[Unit]:
        """The claims of the answer, judged by all passages together."""
        judge = self.support_judge
        judgements = judge.judge([claim.claim for claim in self.claims], self.contexts)
        return [
            judge.unit(claim.claim, self.contexts, judgement, claim.start, claim.end)
            for claim, judgement in zip(self.claims, judgements, strict=True)
        ]

    @cached_property
    def reference_claims(self) -> list[str]:
        """The sentences of the first reference, each once."""
        if not self.sample.references:
            return []
        text = self.sample.references[0]
        claims = [text[start:end] for start, end in sentences(text)]
        return list(dict.fromkeys(claim for claim in claims if has_words(claim)))

    # The entailment checks of RAGChecker (Ru et al., 2024): claims of the answer and of the
    # reference, each judged by the passages and by the other text.

    @cached_property
    def answer_by_passage(self) -> list[Judgement]:
        """The claims of the answer, judged by the passages, together and each alone."""
        claims = [claim.claim for claim in self.claims]
        return self.support_judge.judge(claims, self.contexts, per_passage=True)

    @cached_property
    def reference_by_passage(self) -> list[Judgement]:
        """The claims of the reference, judged by the passages, together and each alone."""
        return self.support_judge.judge(self.reference_claims, self.contexts, per_passage=True)

    @cached_property
    def answer_by_reference(self) -> list[Judgement]:
        """The claims of the answer, judged by the references, each taken as a passage."""
        return self.support_judge.judge(
            [claim.claim for claim in self.claims], self.sample.references, per_passage=True
        )

    @cached_property
    def reference_by_answer(self) -> list[Judgement]:
        """The claims of the reference, judged by the answer."""
        answer = "\n".join(claim.claim for claim in self.claims)
        return self.support_judge.judge(self.reference_claims, [answer] if answer else [])

    def compute_once(self, compute: Callable[[Case], _Result]) -> _Result:
        """Return ``compute(self)``; the result is shared by all metrics that ask for it."""
        if compute not in self._results:
            self._results[compute] = compute(self)
        return cast(_Result, self._results[compute])

    def is_supported(self, judgement: Judgement) -> bool:
        """Return whether all passages together support the claim."""
        return judgement.support is not None and judgement.support >= self.support_judge.threshold

    def list_supporting_passages(self, judgement: Judgement) -> list[int]:
        """Return the positions of the passages that support the claim alone."""
        return [
            i
            for i, support in enumerate(judgement.by_passage)
            if support is not None and support >= self.support_judge.threshold
        ]


def find_judgement_failure(judgements: Sequence[Judgement]) -> Score | None:
    """Return a failed score if any claim could not be judged, else None."""
    failures = [judgement for judgement in judgements if judgement.support is None]
    if not failures:
        return None
    return Score.failure(
        f"{len(failures)} of {len(judgements)} judgements failed: {failures[0].note}"
    )


@dataclass(frozen=True)
class Metric:
    """A metric: its name, its requirements, and the function that scores an answer.

    ``function`` returns a `Score`, or None if the metric does not apply to the answer. ``needs``
    are fields of a sample; if one is empty, the metric is not applicable ("judge": it needs a chat
    model). ``unanswerable_only`` metrics apply only to questions without an answer in the sources.
    ``pooled`` metrics sum numerators and denominators over all answers before the division.
    ``gate`` is False if the metric cannot be used in a gate. ``usual`` metrics are computed by
    default. A new ``version`` means that the same answer can have another score.
    """

    name: str
    group: Group
    function: Callable[[Case], Score | None]
    needs: tuple[str, ...] = ()
    pooled: bool = False
    better: Literal["higher", "lower"] = "higher"
    gate: bool = True
    usual: bool = False
    unanswerable_only: bool = False
    summary: str = ""
    description: str = ""
    version: int = 1

    def score(self, case: Case) -> Score:
        """Score an answer.

        A function that returns None gives a score that is not applicable. An error gives a failed
        score with its reason, except `ConfigError`, which would fail every score and is raised.
        """
        if "judge" in self.needs and case.judge is None:
            return Score.not_applicable("it needs a judge: a chat model (--judge)")
        if reason := self.explain_not_applicable(case.sample):
            return Score.not_applicable(reason)
        try:
            score = self.function(case)
        except ConfigError:  # a missing key, extra or price: every score would fail
            raise
        except RagError as error:
            return Score.failure(" ".join(str(error).split())[:200])
        except Exception as error:  # one answer must not stop the run; the failure is counted
            return Score.failure(f"unexpected {type(error).__name__}: {error}"[:200])
        if score is None:
            return Score.not_applicable("the metric does not apply to this answer")
        if not isinstance(score, Score):
            return Score.failure(f"the metric returned {score!r:.60} instead of a Score")
        return score

    def explain_not_applicable(self, sample: Sample) -> str:
        """Return why the metric does not apply to the question of a sample; "" if it applies."""
        for need in self.needs:
            if need == "contexts":
                if not sample.contexts_known:
                    return "the passages that the model was shown are unknown"
            elif need != "judge" and getattr(sample, need) in (None, ()):
                return f"the question has no {_NEED_LABELS.get(need, need)}"
        if self.unanswerable_only and sample.answerable:
            return "the question can be answered"
        return ""

    def summarise(self, scores: Sequence[Score]) -> Summary:
        """Summarise the scores of many answers."""
        return summarise_scores(self.name, scores, pooled=self.pooled)


_NEED_LABELS = {
    "references": "reference answer",
    "gold": "gold document",
    "answerable": "`answerable` field",
}

_METRICS: dict[str, Metric] = {}


def metric(
    name: str,
    group: Group,
    *,
    needs: tuple[str, ...] = (),
    pooled: bool = False,
    better: Literal["higher", "lower"] = "higher",
    gate: bool = True,
    usual: bool = False,
    unanswerable_only: bool = False,
    version: int = 1,
) -> Callable[[_Function], _Function]:
    """Register a function of a `Case` as the metric `name`; its docstring describes it.

    The function returns a `Score`, or None if the metric does not apply to the answer. The other
    arguments are fields of `Metric`. Increase `version` if the same answer gets another score. To
    make a metric of an installed package available to ``rag eval``, the package lists the module
    under the entry point group ``citewell.metric``. Raises `ConfigError` if the name is taken.

    >>> @metric("is_short", "text")
    ... def is_short(case: Case) -> Score | None:
    ...     "Whether the answer has fewer than 200 characters."
    ...     return None if case.sample.is_refusal else Score.of(len(case.sample.answer) < 200)
    """

    def register(function: _Function) -> _Function:
        doc = inspect.cleandoc(function.__doc__ or "")
        if name in _METRICS and _METRICS[name].function.__qualname__ != function.__qualname__:
            raise ConfigError(f"two metrics have the name {name!r}: rename one of them")
        _METRICS[name] = Metric(
            name=name,
            group=group,
            function=function,
            needs=needs,
            pooled=pooled,
            better=better,
            gate=gate,
            usual=usual,
            unanswerable_only=unanswerable_only,
            summary=doc.partition("\n")[0].rstrip("."),
            description=doc,
            version=version,
        )
        return function

    return register


def get_registered_metrics() -> Mapping[str, Metric]:
    """Return all metrics registered so far, by name."""
    return _METRICS
