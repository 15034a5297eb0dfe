"""All metrics, selection of metrics by name, and `score` for one answer."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from functools import lru_cache
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

from evals.metrics import citation, context, correctness, generation, grading, refusal, text
from evals.metrics.base import GROUPS, Case, Metric, get_registered_metrics, metric
from rag.errors import ConfigError

if TYPE_CHECKING:
    from evals.judges import SupportJudge
    from evals.samples import Sample
    from evals.scores import Score
    from rag.llm.base import ChatModel


@lru_cache(maxsize=1)
def _load_plugins() -> None:
    for point in entry_points(group="citewell.metric"):
        try:
            point.load()
        except Exception as error:  # code of another package can raise anything
            raise ConfigError(
                f"the metrics of the entry point {point.value} cannot be loaded: {error}"
            ) from None


def all_metrics() -> Mapping[str, Metric]:
    """Return every metric by name, with those of installed packages."""
    _load_plugins()
    return get_registered_metrics()


def choose_metrics(names: Iterable[str | Metric] = ()) -> list[Metric]:
    """Return the metrics with these names or groups; without any, the usual metrics.

    A name is a metric, a group, ``usual`` or ``all``, or several of these with commas. Metrics in
    `names` are returned as they are. Raises `ConfigError` for an unknown name.
    """
    names = list(names)
    metrics = {**all_metrics(), **{m.name: m for m in names if isinstance(m, Metric)}}
    plain_names = [name.name if isinstance(name, Metric) else name for name in names]
    parts = [part.strip() for name in plain_names for part in name.split(",") if part.strip()]
    if not parts:
        return [metric for metric in metrics.values() if metric.usual]
    chosen_metrics: dict[str, Metric] = {}
    for name in parts:
        if name in metrics:
            chosen_metrics[name] = metrics[name]
        elif name == "usual":
            chosen_metrics |= {m.name: m for m in metrics.values() if m.usual}
        elif name in GROUPS or name == "all":
            chosen_metrics |= {m.name: m for m in metrics.values() if name in ("all", m.group)}
        else:
            similar = difflib.get_close_matches(name, [*metrics, *GROUPS], 1)
            hint = f" (did you mean {similar[0]}?)" if similar else ""
            raise ConfigError(f"unknown metric {name!r}{hint}; `rag eval metrics` lists them")
    return list(chosen_metrics.values())


def score(
    sample: Sample,
    *names: str,
    support: SupportJudge | None = None,
    judge: ChatModel | None = None,
) -> dict[str, Score]:
    """Score one answer by the metrics with these names or groups; by default, the usual metrics.

    `support` judges whether passages support a claim (default: `judge`, else the lexical judge).
    `judge` is a chat model, which some metrics need. Raises `ConfigError` for an unknown name.
    """
    from evals.judges import make_judge

    case = Case(sample, support or make_judge(model=judge), judge=judge)
    return {metric.name: metric.score(case) for metric in choose_metrics(names)}


__all__ = [
    "GROUPS",
    "Case",
    "Metric",
    "all_metrics",
    "choose_metrics",
    "citation",
    "context",
    "correctness",
    "generation",
    "grading",
    "metric",
    "refusal",
    "score",
    "text",
]
