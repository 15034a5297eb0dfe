"""Upper bound of what an evaluation run costs, computed before the run starts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from evals.judges import SupportJudge
from evals.metrics import Metric
from evals.questions import Question
from rag import Pipeline
from rag.component import Component
from rag.errors import ConfigError
from rag.llm.base import ChatModel

_DEFAULT_CONTEXT_TOKENS, _PROMPT_TOKENS = 3_000, 500
_MAX_JUDGEMENTS_PER_ANSWER = 8  # for all metrics together, because metrics share judgements


@dataclass(frozen=True, slots=True)
class CostEstimate:
    """Upper bound of the cost of a run. ``usd`` is None if the price of a model is unknown."""

    questions: int
    """Questions that still have to be asked or scored."""
    calls: int
    input_tokens: int
    output_tokens: int
    usd: float | None
    total_questions: int = 0
    outdated_questions: int = 0
    """Questions answered before the pipeline or its index changed; they are asked again."""

    def __str__(self) -> str:
        """Return one line for people."""
        done = self.total_questions - self.questions
        if not self.questions:
            return f"All {self.total_questions:,} questions are done. Cost: $0"
        summary = f"{self.questions:,} questions"
        summary += f" ({done:,} are done)" if done > 0 else ""
        if self.outdated_questions:
            summary += (
                f", {self.outdated_questions:,} of them again because the pipeline or its index "
                "has changed"
            )
        if not self.calls:
            return f"{summary}, no chat model. Cost: $0"
        cost = "unknown (a model has no price)" if self.usd is None else f"at most ${self.usd:,.2f}"
        return (
            f"{summary}, about {self.calls:,} calls, {self.input_tokens:,} input tokens, "
            f"{self.output_tokens:,} output tokens. Cost: {cost}"
        )


def collect_models(
    pipeline: Pipeline | None, support: SupportJudge, judge: ChatModel | None
) -> list[ChatModel]:
    """Return every chat model that a run may call, each once."""
    models = list(_iterate_models(pipeline.configuration)) if pipeline is not None else []
    if (model := getattr(support, "model", None)) is not None:
        models.append(model)
    if (verifier := getattr(support, "verifier", None)) is not None:
        models += _iterate_models(verifier)
    if judge is not None:
        models.append(judge)
    return list({model.fingerprint: model for model in models}.values())


def _iterate_models(component: Any) -> Iterator[ChatModel]:
    if isinstance(component, ChatModel):
        yield component
    elif isinstance(component, Component):
        for field_name in type(component).model_fields:
            yield from _iterate_models(getattr(component, field_name))
    elif isinstance(component, tuple | list):
        for item in component:
            yield from _iterate_models(item)


def require_prices(models: Iterable[ChatModel]) -> None:
    """Raise `ConfigError` if a model has no price, because a budget needs prices."""
    for model in models:
        if model.prices is None:
            raise ConfigError(
                f"a budget needs prices, and the price of {getattr(model, 'model', model.name)!r} "
                "is unknown: set input_price and output_price of the model"
            )


def estimate_cost(
    pipeline: Pipeline | None,
    questions: Sequence[Question],
    *,
    metrics: Sequence[Metric],
    support: SupportJudge,
    judge: ChatModel | None = None,
) -> CostEstimate:
    """Estimate the cost of asking and scoring `questions`.

    Every context and every reply is assumed to have its maximum length; retries are not included.
    """
    counter = _CallCounter()
    context_tokens = _DEFAULT_CONTEXT_TOKENS
    unanswered_count = sum(question.answer is None for question in questions)
    if pipeline is not None:
        context_tokens = int(getattr(pipeline.generator, "budget", _DEFAULT_CONTEXT_TOKENS))
        for model in _iterate_models(pipeline.configuration):
            counter.add(model, unanswered_count, context_tokens + _PROMPT_TOKENS)
    support_metrics = sum(
        metric.group in ("generation", "citation", "context") for metric in metrics
    )
    support_model = getattr(support, "model", None)
    if isinstance(support_model, ChatModel) and support_metrics:
        judgements = min(support_metrics, _MAX_JUDGEMENTS_PER_ANSWER)
        count = len(questions) * judgements * int(getattr(support, "repeats", 1))
        counter.add(support_model, count, context_tokens + _PROMPT_TOKENS)
    if judge is not None:
        graded_metrics = sum("judge" in metric.needs for metric in metrics)
        counter.add(judge, len(questions) * graded_metrics, _PROMPT_TOKENS + judge.reply_tokens)
    return CostEstimate(
        questions=len(questions),
        calls=counter.calls,
        input_tokens=counter.input_tokens,
        output_tokens=counter.output_tokens,
        usd=counter.usd,
        total_questions=len(questions),
    )


@dataclass
class _CallCounter:
    """Sums of calls, tokens and dollars; ``usd`` is None once a model has no price."""

    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    usd: float | None = 0.0

    def add(self, model: ChatModel, count: int, input_tokens: int) -> None:
        """Add `count` calls of `model` with `input_tokens` each and replies of maximum length."""
        self.calls += count
        self.input_tokens += count * input_tokens
        self.output_tokens += count * model.reply_tokens
        if model.prices is None or self.usd is None:
            self.usd = None
        else:
            input_price, output_price = model.prices
            price = input_tokens * input_price + model.reply_tokens * output_price
            self.usd += count * price / 1e6
