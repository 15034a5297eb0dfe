"""``rag chat``: questions and answers until the input ends."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from rag.cli import show
from rag.errors import RagError
from rag.types import Answer, Message

if TYPE_CHECKING:
    from rag.pipeline import Pipeline

_HELP = """\
/sources  what the last answer was made from
/reset    forget the conversation
/quit     leave (or Ctrl-D)"""


def converse(pipeline: Pipeline) -> None:
    """Read questions from stdin, one a line; a failed one does not end the conversation."""
    pipeline.open()
    history: list[Message] = []
    last: Answer | None = None
    if sys.stdin.isatty():
        click.secho("Ask, or /help. Ctrl-D ends.", dim=True)
    while (line := _read()) is not None:
        if not line:
            continue
        if line == "/quit":
            return
        if line == "/help":
            click.echo(_HELP)
        elif line == "/reset":
            history, last = [], None
        elif line == "/sources":
            show.hits(last.hits if last else ())
        elif line.startswith("/"):
            click.echo(f"no such command: {line} (/help lists them)", err=True)
        else:
            last = _turn(pipeline, line, history) or last


def _turn(pipeline: Pipeline, question: str, history: list[Message]) -> Answer | None:
    try:
        answer = show.stream(pipeline.stream(question, history=history))
    except RagError as error:
        click.echo(f"rag: {error}", err=True)
        return None
    show.answer(answer, text=False)
    click.echo()
    history += [
        Message(role="user", content=question),
        Message(role="assistant", content=answer.text),
    ]
    return answer


def _read() -> str | None:
    try:
        return input("> " if sys.stdin.isatty() else "").strip()
    except EOFError:
        return None
