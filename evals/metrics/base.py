"""What every metric is, and what it is given."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast, get_args

from evals.judges import Judgement, SupportJudge, has_words
from evals.samples import Sample, Statement
from evals.scores import Score, Summary, Unit, summarised
from rag.errors import ConfigError, RagError
from rag.text.sentences import sentences

if TYPE_CHECKING:
    from rag.embedding import Embedder
    from rag.llm.base import ChatModel

_Found = TypeVar("_Found")
Group = Literal["generation", "citation", "refusal", "context", "retrieval", "text", "judge"]
GROUPS: tuple[str, ...] = get_args(Group)


class Case:
    """A sample and who judges it; what several metrics need is found out once.

    ``embedder`` is for similarities, ``judge`` a chat model for what only such a one can say.
    """

    def __init__(
        self,
        sample: Sample,
        backend: SupportJudge,
        embedder: Embedder | None = None,
        judge: ChatModel | None = None,
    ) -> None:
        self.sample = sample
        self.backend = backend
        self.judge = judge
        self._embedder = embedder
        self._found: dict[Callable[[Case], Any], Any] = {}

    @cached_property
    def embedder(self) -> Embedder:
        """That of the pipeline, or the static one."""
        from rag.embedding import StaticEmbedder

        return self._embedder or StaticEmbedder()

    @cached_property
    def contexts(self) -> list[str]:
        """Texts of the passages that the model was shown."""
        return [passage.text for passage in self.sample.contexts]

    @cached_property
    def claims(self) -> list[Statement]:
        """What the answer claims, each once; a refusal, a courtesy and a heading claim nothing."""
        found: dict[str, Statement] = {}
        if not self.sample.refused:
            for statement in self.sample.statements:
                if statement.needs_citation and has_words(statement.claim):
                    found.setdefault(" ".join(statement.claim.casefold().split()), statement)
        return list(found.values())

    @cached_property
    def ledger(self) -> list[Unit]:
        """The claims of the answer against all passages together."""
        judged = self.backend.judge([claim.claim for claim in self.claims], self.contexts)
        return [
            self.backend.unit(claim.claim, self.contexts, each, claim.start, claim.end)
            for claim, each in zip(self.claims, judged, strict=True)
        ]

    @cached_property
    def reference_claims(self) -> list[str]:
        """What the first reference claims, sentence by sentence, each once."""
        if not self.sample.references:
            return []
        text = self.sample.references[0]
        found = [text[start:end] for start, end in sentences(text)]
        return list(dict.fromkeys(claim for claim in found if has_words(claim)))

    # RAGChecker's entailment matrix: what of the answer, and of the reference, stands where.

    @cached_property
    def answer_by_passage(self) -> list[Judgement]:
        """Claims of the answer, by each passage."""
        claims = [claim.claim for claim in self.claims]
        return self.backend.judge(claims, self.contexts, apart=True)

    @cached_property
    def reference_by_passage(self) -> list[Judgement]:
        """Claims of the reference, by each passage."""
        return self.backend.judge(self.reference_claims, self.contexts, apart=True)

    @cached_property
    def answer_by_reference(self) -> list[Judgement]:
        """Claims of the answer, by the references, each a passage."""
        return self.backend.judge(
            [claim.claim for claim in self.claims], self.sample.references, apart=True
        )

    @cached_property
    def reference_by_answer(self) -> list[Judgement]:
        """Claims of the reference, by the answer."""
        said = "\n".join(claim.claim for claim in self.claims)
        return self.backend.judge(self.reference_claims, [said] if said else [])

    def once(self, find: Callable[[Case], _Found]) -> _Found:
        """What `find` finds of this case: asked for by several metrics, found out once."""
        if find not in self._found:
            self._found[find] = find(self)
        return cast(_Found, self._found[find])

    def holds(self, judged: Judgement) -> bool:
        """Whether all passages together support the claim."""
        return judged.support is not None and judged.support >= self.backend.threshold

    def where(self, judged: Judgement) -> list[int]:
        """Positions of the passages that support the claim by themselves."""
        return [
            i
            for i, support in enumerate(judged.alone)
            if support is not None and support >= self.backend.threshold
        ]


def unjudged(judged: Sequence[Judgement]) -> Score | None:
    """The failure of a score whose judgements are not all there; None where they are."""
    lost = [each for each in judged if each.support is None]
    if not lost:
        return None
    return Score.failed(f"{len(lost)} of {len(judged)} judgements failed: {lost[0].note}")


@dataclass(frozen=True)
class Metric:
    """A metric: its name, what it needs, and how an answer is scored.

    ``needs`` are fields of a sample that must not be empty; where one is, the metric is not
    applicable. ``pooled`` metrics are added up over the answers before they are divided.
    ``gate`` says whether a gate may stand on it: not on what only a judge can say.
    """

    name: str
    group: Group
    function: Callable[[Case], Score]
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
        """Score a sample. What goes wrong is a failure of this score, with its reason."""
        if "judge" in self.needs and case.judge is None:
            return Score.not_applicable("only a judge can say it, and there is none")
        if why := self.unfit(case.sample):
            return Score.not_applicable(why)
        try:
            found = self.function(case)
            if not isinstance(found, Score):
                return Score.failed(f"the metric returned {found!r:.60}, which is no Score")
            return found
        except ConfigError:  # a key, an extra or a price that is missing: for all of them
            raise
        except RagError as error:
            return Score.failed(" ".join(str(error).split())[:200])
        except Exception as error:  # one answer is not to end the run: it is counted, and shown
            return Score.failed(f"unexpected {type(error).__name__}: {error}"[:200])

    def unfit(self, sample: Sample) -> str:
        """Why the metric says nothing of a question, whatever the answer; "" where it does."""
        for need in self.needs:
            if need == "contexts":
                if not sample.contexts_known:
                    return "it is not known which passages the model was shown"
            elif need != "judge" and getattr(sample, need) in (None, ()):
                return f"the question has no {_CALLED.get(need, need)}"
        if self.unanswerable_only and sample.answerable:
            return "the question can be answered"
        return ""

    def summarise(self, scores: Sequence[Score]) -> Summary:
        """Put the scores of many answers together."""
        return summarised(self.name, scores, pooled=self.pooled)


_CALLED = {
    "references": "reference answer",
    "gold": "gold document",
    "answerable": "word on whether it can be answered",
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
) -> Callable[[Callable[[Case], Score]], Callable[[Case], Score]]:
    """Register a function of a `Case` as the metric `name`; its docstring describes it.

    Raise `version` when the same answer comes to another score. A package of yours names the module
    under the entry point group ``citewell.metric``, so that `rag eval` knows it.
    """

    def register(function: Callable[[Case], Score]) -> Callable[[Case], Score]:
        doc = inspect.cleandoc(function.__doc__ or "")
        if name in _METRICS and _METRICS[name].function.__qualname__ != function.__qualname__:
            raise ConfigError(f"there are two metrics called {name!r}")
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


def registered() -> Mapping[str, Metric]:
    """All metrics registered so far, by name."""
    return _METRICS
