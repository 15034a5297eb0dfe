"""The metrics: each a function of a case, with its definition, edge cases and source."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from functools import lru_cache
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

from evals.metrics import citation, context, correctness, generation, judged, refusal, text
from evals.metrics.base import GROUPS, Case, Metric, metric, registered
from rag.errors import ConfigError

if TYPE_CHECKING:
    from evals.judges import SupportJudge
    from evals.samples import Sample
    from evals.scores import Score
    from rag.llm.base import ChatModel


@lru_cache(maxsize=1)
def _plugins() -> None:
    for point in entry_points(group="citewell.metric"):
        try:
            point.load()
        except Exception as error:  # whatever a package of others raises
            raise ConfigError(f"the metrics of {point.value} do not load: {error}") from None


def all_metrics() -> Mapping[str, Metric]:
    """Every metric by its name, those of installed packages included."""
    _plugins()
    return registered()


def chosen(names: Iterable[str | Metric] = ()) -> list[Metric]:
    """The metrics of these names or groups (or these themselves); without any, the usual ones.

    Raises `ConfigError` for a name that is none.
    """
    names = list(names)
    known = {**all_metrics(), **{m.name: m for m in names if isinstance(m, Metric)}}
    named = [name.name if isinstance(name, Metric) else name for name in names]
    wanted = [part.strip() for name in named for part in name.split(",") if part.strip()]
    if not wanted:
        return [each for each in known.values() if each.usual]
    found: dict[str, Metric] = {}
    for name in wanted:
        if name in known:
            found[name] = known[name]
        elif name == "usual":
            found |= {m.name: m for m in known.values() if m.usual}
        elif name in GROUPS or name == "all":
            found |= {m.name: m for m in known.values() if name in ("all", m.group)}
        else:
            near = difflib.get_close_matches(name, [*known, *GROUPS], 1)
            hint = f" (did you mean {near[0]}?)" if near else ""
            raise ConfigError(f"no such metric: {name}{hint}; `rag eval metrics` lists them")
    return list(found.values())


def score(
    sample: Sample,
    *names: str,
    support: SupportJudge | None = None,
    judge: ChatModel | None = None,
) -> dict[str, Score]:
    """Score one answer by the metrics of these names or groups; without names, by the usual ones.

    `support` is who judges support (default: the `judge`, or else by words), `judge` a chat model,
    also for what only such a one can say.
    """
    from evals.judges import backend

    case = Case(sample, support or backend(model=judge), judge=judge)
    return {each.name: each.score(case) for each in chosen(names)}


__all__ = [
    "GROUPS",
    "Case",
    "Metric",
    "all_metrics",
    "chosen",
    "citation",
    "context",
    "correctness",
    "generation",
    "judged",
    "metric",
    "refusal",
    "score",
    "text",
]
