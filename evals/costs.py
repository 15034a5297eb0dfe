"""What a run may cost, before it begins."""

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

_CONTEXT, _PROMPT = 3_000, 500  # tokens
_MATRIX = 8  # times an answer is judged for all metrics at once


@dataclass(frozen=True, slots=True)
class CostEstimate:
    """What a run may cost at most, before it begins. ``usd`` is None where a price is not known."""

    questions: int
    calls: int
    input_tokens: int
    output_tokens: int
    usd: float | None
    of: int = 0
    again: int = 0
    """Questions that were answered before the pipeline or its index changed."""

    def __str__(self) -> str:
        """For people."""
        done = self.of - self.questions
        said = f"{self.questions:,} questions"
        said += f" ({done:,} are done)" if done > 0 else ""
        said += f", {self.again:,} of them again, as the pipeline or its index has changed" * bool(
            self.again
        )
        if not self.questions:
            return f"all {self.of:,} questions are done: nothing to pay"
        if not self.calls:
            return f"{said}, no chat model: nothing to pay"
        cost = "at a price that is not known" if self.usd is None else f"at most ${self.usd:,.2f}"
        return (
            f"{said}, about {self.calls:,} calls, {self.input_tokens:,} "
            f"tokens in and {self.output_tokens:,} out: {cost}"
        )


def models_of(
    pipeline: Pipeline | None, support: SupportJudge, judge: ChatModel | None
) -> list[ChatModel]:
    """Every chat model that a run may ask."""
    found = list(_models_in(pipeline)) if pipeline is not None else []
    if (model := getattr(support, "model", None)) is not None:
        found.append(model)
    if (verifier := getattr(support, "verifier", None)) is not None:
        found += _models_in(verifier)
    if judge is not None:
        found.append(judge)
    return list({model.fingerprint: model for model in found}.values())


def _models_in(part: Any) -> Iterator[ChatModel]:
    if isinstance(part, ChatModel):
        yield part
    elif isinstance(part, Component):
        for name in type(part).model_fields:
            yield from _models_in(getattr(part, name))
    elif isinstance(part, tuple | list):
        for each in part:
            yield from _models_in(each)


def require_prices(models: Iterable[ChatModel]) -> None:
    """Raise `ConfigError` where a budget could not be kept."""
    for model in models:
        if model.prices is None:
            raise ConfigError(
                f"the price of {getattr(model, 'model', model.name)!r} is not known, so a budget "
                "cannot be kept: set input_price and output_price of the model"
            )


def estimated_cost(
    pipeline: Pipeline | None,
    questions: Sequence[Question],
    *,
    metrics: Sequence[Metric],
    support: SupportJudge,
    judge: ChatModel | None = None,
) -> CostEstimate:
    """What asking and scoring these may cost: full contexts and full replies, retries apart."""
    calls = tokens_in = tokens_out = 0
    usd: float | None = 0.0

    def add(model: ChatModel, times: int, each_in: int) -> None:
        nonlocal calls, tokens_in, tokens_out, usd
        calls += times
        tokens_in += times * each_in
        tokens_out += times * model.reply_tokens
        prices = model.prices
        if prices is None or usd is None:
            usd = None
        else:
            usd += times * (each_in * prices[0] + model.reply_tokens * prices[1]) / 1e6

    context = _CONTEXT
    asked = sum(question.answer is None for question in questions)
    if pipeline is not None:
        context = int(getattr(pipeline.generator, "budget", _CONTEXT))
        for model in _models_in(pipeline):
            add(model, asked, context + _PROMPT)
    each = sum(metric.group in ("generation", "citation", "context") for metric in metrics)
    asked_of = getattr(support, "model", None)
    if isinstance(asked_of, ChatModel) and each:
        times = len(questions) * min(each, _MATRIX) * int(getattr(support, "repeats", 1))
        add(asked_of, times, context + _PROMPT)
    if judge is not None:
        graded = sum("judge" in metric.needs for metric in metrics)
        add(judge, len(questions) * graded, _PROMPT + judge.reply_tokens)
    return CostEstimate(len(questions), calls, tokens_in, tokens_out, usd, len(questions))
