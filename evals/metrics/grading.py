"""Metrics graded 1 to 5 by a chat model. They are opinions, so gates cannot use them."""

from __future__ import annotations

from pydantic import BaseModel, Field

from evals.metrics.base import Case, metric
from evals.scores import Score
from rag.errors import ModelError
from rag.llm.prompting import escape_prompt_markup, render_messages
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
    """Quality of the writing in the opinion of a judge: ``(grade - 1) / 4``, grades 1 to 5.

    It does not indicate correctness: fluent answers are supported less often (Liu et al.,
    "Evaluating Verifiability", 2023). A refusal is not applicable.
    """
    return _grade_answer(case, "fluency")


@metric("utility", "judge", needs=("judge",), gate=False)
def utility(case: Case) -> Score:
    """Usefulness of the answer in the opinion of a judge: ``(grade - 1) / 4``, grades 1 to 5.

    Source: Liu et al., "Evaluating Verifiability" (2023), perceived utility, which is negatively
    correlated with citation precision. A refusal is not applicable.
    """
    return _grade_answer(case, "utility")


@metric("relevance", "judge", needs=("judge",), gate=False)
def relevance(case: Case) -> Score:
    """Degree to which the answer addresses the question, in the opinion of a judge.

    ``(grade - 1) / 4``, grades 1 to 5. A refusal is not applicable.
    """
    return _grade_answer(case, "relevance")


def _grade_answer(case: Case, aspect: str) -> Score:
    assert case.judge is not None  # the metric needs it
    if case.sample.is_refusal:
        return Score.not_applicable("it is a refusal")
    request = render_messages(
        "judge-grade",
        aspect=_ASPECTS[aspect],
        question=escape_prompt_markup(case.sample.question),
        answer=escape_prompt_markup(case.sample.answer),
    )
    try:
        grade = fill(case.judge, request, _Grade)
    except ModelError as error:
        return Score.failure(" ".join(str(error).split())[:200])
    return Score(value=(grade.grade - 1) / 4, reason=grade.reason)
