"""Labelling: people judge the claims of a run, in the browser or in the terminal.

Labels are appended to a file of JSON lines, which `rag eval calibrate` reads. A claim with a label
is not shown again. The page needs the extra ``serve``.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from evals import journal
from evals.runs import RunResult
from evals.scores import Unit
from rag.errors import ConfigError, QueryError

LABELS = {"yes": 1, "no": 0, "skip": None}


@dataclass(frozen=True, slots=True)
class Task:
    """A claim to judge, with the passages that the answer was made from."""

    id: str
    question: str
    claim: str
    answer: str
    contexts: tuple[str, ...]
    titles: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Return the task as plain data for the page."""
        return asdict(self)


def collect_tasks(run: RunResult) -> list[Task]:
    """Return the claims of a run's answers, in the order of the questions.

    Raises `QueryError` if the run has no claims: it needs the metric faithfulness.
    """
    tasks: list[Task] = []
    for question, score in zip(run.questions, run.scores.get("faithfulness", ()), strict=False):
        item = run.items.get(question.id)
        if item is None or item.sample is None:
            continue
        units: Sequence[Unit] = score.units
        for unit in units:
            tasks.append(
                Task(
                    id=f"{question.id}:{unit.start}:{_short_hash(unit.claim)}",
                    question=question.question,
                    claim=unit.claim,
                    answer=item.sample.answer,
                    contexts=tuple(passage.text for passage in item.sample.contexts),
                    titles=tuple(p.title or p.uri for p in item.sample.contexts),
                )
            )
    if not tasks:
        raise QueryError("there is no claim to judge: the run needs the metric faithfulness")
    return tasks


def _short_hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]


class Labels:
    """The file of labels. Threads may share it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._guard = threading.Lock()
        self.done: dict[str, int | None] = {}
        try:
            for record in journal.read_records(path, repair=True):
                if "id" in record:
                    self.done[str(record["id"])] = record.get("label")
        except OSError as error:
            raise ConfigError(f"cannot read {path}: {error.strerror}") from None

    def add(self, task: Task, verdict: str) -> bool:
        """Save a judgement: ``yes``, ``no`` or ``skip``. Return False if there is one already."""
        if verdict not in LABELS:
            raise QueryError(f"{verdict!r} is not a judgement: use yes, no or skip")
        label = LABELS[verdict]
        with self._guard:
            if task.id in self.done:
                return False
            record = {
                "id": task.id,
                "question": task.question,
                "claim": task.claim,
                "contexts": list(task.contexts),
                "label": label,
            }
            if label is None:
                record = {"id": task.id, "label": None}
            journal.append_records(self.path, [record])
            self.done[task.id] = label
        return True

    def open_tasks(self, tasks: Sequence[Task]) -> list[Task]:
        """Return the tasks without a judgement."""
        with self._guard:
            return [task for task in tasks if task.id not in self.done]
