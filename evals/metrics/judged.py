"""What only a judge can say: graded 1 to 5 by a chat model, and never the ground of a gate."""

from __future__ import annotations

from pydantic import BaseModel, Field

from evals.metrics.base import Case, metric
from evals.scores import Score
from rag.errors import ModelError
from rag.llm.prompting import escape_prompt_markup, messages
from rag.llm.structured import fill


class _Grade(BaseModel):
    reason: str = Field("", description="one sentence")
    grade: int = Field(ge=1, le=5)


_ASPECTS = {
    "fluency": "how well the answer is written: grammar, coherence, ease of reading. Whether it is "
    "right does not count.",
    "utility": "how useful the answer would be to the one who asked, as they would see it, without "
    "a look at any source. Whether it is right does not count.",
    "relevance": "how far the answer answers the question that was asked, all of it and nothing "
    "else. Whether it is right does not count.",
}


@metric("fluency", "judge", needs=("judge",), gate=False)
def fluency(case: Case) -> Score:
    """How well the answer is written, as a judge sees it: ``(grade - 1) / 4``, grades 1 to 5.

    Of no use to tell right from wrong: fluent answers are the less often supported (Liu et al.,
    "Evaluating Verifiability", 2023). A refusal is not applicable.
    """
    return _graded(case, "fluency")


@metric("utility", "judge", needs=("judge",), gate=False)
def utility(case: Case) -> Score:
    """How useful the answer seems, as a judge sees it: ``(grade - 1) / 4``, grades 1 to 5.

    Source: Liu et al., "Evaluating Verifiability" (2023), perceived utility, which goes against
    citation precision. A refusal is not applicable.
    """
    return _graded(case, "utility")


@metric("relevance", "judge", needs=("judge",), gate=False)
def relevance(case: Case) -> Score:
    """How far the answer answers the question, as a judge sees it: ``(grade - 1) / 4``.

    A refusal is not applicable.
    """
    return _graded(case, "relevance")


def _graded(case: Case, aspect: str) -> Score:
    assert case.judge is not None  # the metric needs it
    if case.sample.refused:
        return Score.not_applicable("it is a refusal")
    asked = messages(
        "judge-grade",
        aspect=_ASPECTS[aspect],
        question=escape_prompt_markup(case.sample.question),
        answer=escape_prompt_markup(case.sample.answer),
    )
    try:
        found = fill(case.judge, asked, _Grade)
    except ModelError as error:
        return Score.failed(" ".join(str(error).split())[:200])
    return Score(value=(found.grade - 1) / 4, reason=found.reason)
