"""``rag monitor`` and ``rag ask --since``: which answers have changed, and why."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from rag.cli import output, terminal
from rag.errors import RagError

if TYPE_CHECKING:
    from rag.answers import AnswerChange
    from rag.filters import Filter
    from rag.pipeline import Pipeline

_SERIES = "monitor"  # its earlier answers are not those of `rag ask --since`
_REASONS = {
    "new": "new",
    "document_deleted": "the document is no longer in the index",
    "text_changed": "the document no longer says so",
    "no_longer_cited": "no longer cited",
}


def ask_since(
    pipeline: Pipeline,
    question: str,
    since: datetime.datetime,
    where: Filter | None,
    *,
    as_json: bool,
) -> None:
    """Print the answer to a question, and what has changed in it."""
    change = pipeline.ask_again(question, since=since, where=where)
    if as_json:
        output.print_json(_to_json(change))
        return
    output.print_answer(change.answer)
    terminal.echo()
    _print_change(change)


def load_question_texts(path: Path) -> list[str]:
    """Return the questions of a set, each once. Raises `QueryError`."""
    from evals.questions import load_questions

    return list(dict.fromkeys(question.question for question in load_questions(path)))


class MonitorResult(NamedTuple):
    """How many answers have changed, and how many questions failed."""

    changed: int
    failed: int


def ask_set(
    pipeline: Pipeline,
    questions: Sequence[str],
    since: datetime.datetime | None,
    *,
    as_json: bool,
) -> MonitorResult:
    """Ask all questions of a set again, and print what has changed.

    A question that fails is named, and the others go on.
    """
    output.warn_if_empty(pipeline)
    changes: list[AnswerChange] = []
    failures: list[dict[str, str]] = []
    for question in questions:
        try:
            change = pipeline.ask_again(question, since=since, series=_SERIES)
        except RagError as error:
            failures.append({"question": question, "error": str(error)})
            terminal.secho(f"{output.shorten(question, 100)}: {error}", fg="red", err=True)
            continue
        changes.append(change)
        if change.has_changed and not as_json:
            terminal.secho(question, bold=True)
            _print_change(change)
            terminal.echo()
    changed = sum(change.has_changed for change in changes)
    first = sum(change.is_first for change in changes)
    if as_json:
        output.print_json(
            {
                "questions": len(questions),
                "changed": changed,
                "first": first,
                "changes": [_to_json(change) for change in changes],
                "failures": failures,
            }
        )
    asked_first = f", {first:,} without an earlier answer" if first else ""
    failed = f", {len(failures):,} failed" if failures else ""
    noun = output.format_count(len(questions), "question")
    terminal.echo(f"{noun}: {changed:,} changed{asked_first}{failed}", err=as_json)
    return MonitorResult(changed, len(failures))


def _print_change(change: AnswerChange) -> None:
    if change.earlier is None:
        terminal.secho(
            "(there is no earlier answer to compare with; this one is kept for the next time)",
            dim=True,
        )
        return
    answered_at = datetime.datetime.fromisoformat(change.earlier_at).astimezone()
    terminal.secho(
        f"{'changed' if change.has_changed else 'unchanged'} since {answered_at:%Y-%m-%d %H:%M}",
        dim=True,
    )
    if change.answer.status != change.earlier.status:
        terminal.echo(f"  {change.earlier.status} -> {change.answer.status}")
    for sentence in change.removed:
        terminal.secho(f"- {output.shorten(sentence, 300)}", fg="red")
    for sentence in change.added:
        terminal.secho(f"+ {output.shorten(sentence, 300)}", fg="green")
    for item in change.citations:
        sign = "+" if item.reason == "new" else "-"
        source = output.format_source(item.citation.uri, item.citation.location)
        terminal.echo(
            f"{sign} [{source}] “{output.shorten(item.citation.quote, 200)}”",
            terminal.style(f"  ({_REASONS[item.reason]})", dim=True),
        )


def _to_json(change: AnswerChange) -> dict[str, object]:
    plain = change.model_dump(mode="json", exclude={"answer": {"hits", "trace"}})
    return {**plain, "has_changed": change.has_changed}
