"""Evaluation: how far answers can be trusted, with an interval around every number."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from evals.calibration import calibrate, load_labelled
    from evals.citations import QuoteAccuracy, quote_accuracy
    from evals.comparison import check_gates, compare_runs, parse_gates
    from evals.generate import generate_questions
    from evals.judges import LlmJudge, SupportJudge, VerifierJudge, make_judge
    from evals.metrics import Case, Metric, all_metrics, choose_metrics, metric, score
    from evals.metrics.citation import citation_scores
    from evals.questions import GoldSpan, Question, load_questions
    from evals.runs import RunResult, read_run, run
    from evals.samples import Passage, Sample, Statement
    from evals.scores import Score, Summary, Unit

_WHERE = {
    "Case": "metrics",
    "GoldSpan": "questions",
    "LlmJudge": "judges",
    "Metric": "metrics",
    "Passage": "samples",
    "Question": "questions",
    "QuoteAccuracy": "citations",
    "RunResult": "runs",
    "Sample": "samples",
    "Score": "scores",
    "Statement": "samples",
    "Summary": "scores",
    "SupportJudge": "judges",
    "Unit": "scores",
    "VerifierJudge": "judges",
    "all_metrics": "metrics",
    "calibrate": "calibration",
    "check_gates": "comparison",
    "choose_metrics": "metrics",
    "citation_scores": "metrics.citation",
    "compare_runs": "comparison",
    "generate_questions": "generate",
    "load_labelled": "calibration",
    "load_questions": "questions",
    "make_judge": "judges",
    "metric": "metrics",
    "parse_gates": "comparison",
    "quote_accuracy": "citations",
    "read_run": "runs",
    "run": "runs",
    "score": "metrics",
}


def __getattr__(name: str) -> object:
    if name not in _WHERE:
        raise AttributeError(f"module 'evals' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"evals.{_WHERE[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])


__all__ = [
    "Case",
    "GoldSpan",
    "LlmJudge",
    "Metric",
    "Passage",
    "Question",
    "QuoteAccuracy",
    "RunResult",
    "Sample",
    "Score",
    "Statement",
    "Summary",
    "SupportJudge",
    "Unit",
    "VerifierJudge",
    "all_metrics",
    "calibrate",
    "check_gates",
    "choose_metrics",
    "citation_scores",
    "compare_runs",
    "generate_questions",
    "load_labelled",
    "load_questions",
    "make_judge",
    "metric",
    "parse_gates",
    "quote_accuracy",
    "read_run",
    "run",
    "score",
]
