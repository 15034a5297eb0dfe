"""The HTML report of a run: scores with intervals, and every answer with its evidence.

This module prepares the data; the Jinja templates in ``evals/templates`` contain the page. The
report is one file without scripts and without links to other files. All text in it is escaped. The
same run gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from evals.metrics import Metric
from evals.questions import Question
from evals.samples import Passage, Sample
from evals.scores import Score, Summary, Unit

if TYPE_CHECKING:
    from jinja2 import Environment

    from evals.runs import Item, RunResult

_MAX_TEXT_CHARACTERS = 20_000
_HISTOGRAM_BINS = 10
_HISTOGRAM_HEIGHT_PIXELS = 20
_CLAIM_METRICS = ("faithfulness", "citation_recall")  # their units cover the whole answer
_HEADLINE_METRICS = ("faithfulness", "citation_f1", "token_f1")
_GATE_VERDICTS = {"passed": "supported", "regressed": "unsupported"}  # colours of gate outcomes


@dataclass(frozen=True, slots=True)
class MetricRow:
    """A row of the table of scores; ``bar_heights`` (pixels) are those of its histogram."""

    metric: Metric
    summary: Summary
    bar_heights: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class AnswerSegment:
    """A part of an answer's text; ``unit`` is the judged claim that it is (None: not judged)."""

    text: str
    unit: Unit | None = None


@dataclass(frozen=True, slots=True)
class ClaimView:
    """A judged claim and the evidence for it."""

    unit: Unit
    evidence: Passage | None


@dataclass(frozen=True, slots=True)
class QuestionView:
    """A question with its answer. ``sample`` is None if there is no answer; see ``error``.

    ``headline`` is the state of the answer and its most important scores. ``citations`` are
    (position, passage). ``scores`` has one text for each scored or failed metric.
    """

    number: int
    question: Question
    headline: tuple[str, ...]
    error: str = ""
    sample: Sample | None = None
    segments: tuple[AnswerSegment, ...] = ()
    citations: tuple[tuple[int, Passage], ...] = ()
    claims: tuple[ClaimView, ...] = ()
    scores: tuple[str, ...] = ()


def render_html(result: RunResult) -> str:
    """Return the report of a run as an HTML page."""
    samples = [item.sample for item in result.items.values() if item.sample is not None]
    refused = sum(sample.is_refusal for sample in samples)
    pipeline = str(result.settings.get("pipeline", "")).strip()
    return (
        _load_environment()
        .get_template("report.html")
        .render(
            run=result,
            answered=len(samples) - refused,
            refused=refused,
            unanswered=len(result.questions) - len(samples),
            gate_verdicts=_GATE_VERDICTS,
            metric_rows=[_make_metric_row(result, metric) for metric in result.metrics],
            pipeline="" if pipeline == "{}" else pipeline,
            question_views=_iterate_question_views(result),
        )
    )


@lru_cache(maxsize=1)
def _load_environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("evals"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "count_of": _count_of,
        "shorten": _shorten,
        "source": _format_source,
        "thousands": "{:,}".format,
    }
    return environment


def _make_metric_row(result: RunResult, metric: Metric) -> MetricRow:
    values = [score.value for score in result.scores[metric.name] if score.value is not None]
    return MetricRow(metric, result.summaries[metric.name], _compute_bar_heights(values))


def _compute_bar_heights(values: Sequence[float]) -> tuple[float, ...]:
    """Return the heights in pixels of a histogram of values (0..1); empty without values."""
    if not values:
        return ()
    counts = [0] * _HISTOGRAM_BINS
    for value in values:
        counts[min(_HISTOGRAM_BINS - 1, max(0, int(value * _HISTOGRAM_BINS)))] += 1
    return tuple(_HISTOGRAM_HEIGHT_PIXELS * count / max(counts) for count in counts)


# -- questions -----------------------------------------------------------------------------


def _iterate_question_views(result: RunResult) -> Iterator[QuestionView]:
    for position, question in enumerate(result.questions):
        scores = {metric.name: result.scores[metric.name][position] for metric in result.metrics}
        yield _make_question_view(position + 1, question, result.items.get(question.id), scores)


def _make_question_view(
    number: int, question: Question, item: Item | None, scores: Mapping[str, Score]
) -> QuestionView:
    headline = (_describe_state(item), *_format_headline_scores(scores))
    if item is None or item.sample is None:
        error = item.error if item else "it was not asked"
        return QuestionView(number, question, headline, error=error)
    sample = item.sample
    metric = next((name for name in _CLAIM_METRICS if name in scores and scores[name].units), "")
    units = scores[metric].units if metric else ()
    passages = sample.contexts if metric == "faithfulness" else sample.citable_passages
    return QuestionView(
        number=number,
        question=question,
        headline=headline,
        sample=sample,
        segments=tuple(_split_answer(sample.answer, units)),
        citations=_list_citations(sample),
        claims=tuple(ClaimView(unit, _find_evidence(unit, passages)) for unit in units),
        scores=tuple(_format_scores(scores)),
    )


def _describe_state(item: Item | None) -> str:
    if item is None or item.sample is None:
        return "failed"
    is_answerable = item.sample.answerable
    if item.sample.is_refusal:
        return "refused, although it can be answered" if is_answerable else "refused"
    return "answered, although it cannot be answered" if is_answerable is False else "answered"


def _format_headline_scores(scores: Mapping[str, Score]) -> Iterator[str]:
    for name, score in scores.items():
        if score.value is not None and name in _HEADLINE_METRICS:
            yield f"{name} {score.value:.2f}"


def _split_answer(text: str, units: Iterable[Unit]) -> Iterator[AnswerSegment]:
    """Split an answer at the spans of its claims; a claim that overlaps an earlier one is left out.

    The segments together are the whole text.
    """
    end = 0
    for unit in sorted((u for u in units if 0 <= u.start < u.end), key=lambda unit: unit.start):
        if unit.start < end or unit.end > len(text):
            continue
        if unit.start > end:
            yield AnswerSegment(text[end : unit.start])
        yield AnswerSegment(text[unit.start : unit.end], unit)
        end = unit.end
    if end < len(text):
        yield AnswerSegment(text[end:])


def _list_citations(sample: Sample) -> tuple[tuple[int, Passage], ...]:
    positions = {i for statement in sample.statements for i in statement.cited}
    return tuple((i, sample.citable_passages[i]) for i in sorted(positions))


def _find_evidence(unit: Unit, passages: Sequence[Passage]) -> Passage | None:
    """Return the part of a passage that is the evidence of a claim; None if there is none."""
    if unit.passage is None or not unit.evidence or unit.passage >= len(passages):
        return None
    passage = passages[unit.passage]
    start, end = unit.evidence
    if not 0 <= start < end <= len(passage.text):
        return None
    text = passage.text[start:end]
    return passage.model_copy(update={"text": text, "start": passage.start + start})


def _format_scores(scores: Mapping[str, Score]) -> Iterator[str]:
    for name, score in scores.items():
        if score.value is not None:
            parts = f" ({score.numerator:g} of {score.denominator:g})" if score.denominator else ""
            yield f"{name} {score.value:.3f}{parts}"
        elif score.status == "failed":
            yield f"{name} failed: {score.reason}"


# -- filters of the templates --------------------------------------------------------------


def _format_source(passage: Passage) -> str:
    """Return the uri and the span of a passage in code points, or its title without a uri."""
    if not passage.uri:
        return passage.title
    return f"{passage.uri} {passage.start}-{passage.start + len(passage.text)}"


def _shorten(text: str, limit: int = _MAX_TEXT_CHARACTERS) -> str:
    return text if len(text) <= limit else f"{text[:limit]} ... ({len(text):,} characters)"


def _count_of(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
