"""``rag chat``: questions and answers until the input ends."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rag.cli import output
from rag.cli.options import index_option, index_path, json_option, namespace_option
from rag.errors import QueryError, RagError
from rag.types import Answer

if TYPE_CHECKING:
    from rag.conversation import Conversation, ConversationStore
    from rag.pipeline import Pipeline

_HELP = """\
/sources      what was retrieved for the last answer
/why          why each of its sentences stands, or does not
/history      the questions and answers so far
/save FILE    write the conversation (.md, or .json with everything)
/reset        forget the conversation
/quit         leave (or Ctrl-D)"""


def converse(pipeline: Pipeline, name: str | None, *, latest: bool = False) -> None:
    """Read questions from stdin, one a line; a failed one does not end the conversation."""
    if latest and name is None:
        known = pipeline.conversations.conversations()
        name = known[0].name if known else None
    conversation = pipeline.chat(name)
    turns = conversation.turns
    last = turns[-1].answer if turns else None
    if sys.stdin.isatty():
        if turns:
            so_far = output.counted(len(turns), "turn")
            click.secho(f"{conversation.name}: {so_far} so far", dim=True)
        click.secho("Ask, or /help. Ctrl-D ends.", dim=True)
    while (line := _read()) is not None:
        command, _, argument = line.partition(" ")
        if not line:
            continue
        if command == "/quit":
            break
        if command == "/reset":
            conversation.reset()
            last = None
            click.echo("forgotten")
        elif command.startswith("/"):
            _command(command, argument.strip(), conversation, last)
        else:
            last = _turn(conversation, line) or last
    if sys.stdin.isatty() and conversation.turns:
        click.secho(f"go on with: rag chat --name {conversation.name}", dim=True)


def _command(command: str, argument: str, conversation: Conversation, last: Answer | None) -> None:
    if command == "/help":
        click.echo(_HELP)
    elif command == "/sources":
        if last is None:
            click.echo("nothing was asked yet")
        else:
            output.hits(last.hits)
    elif command == "/why":
        why(last)
    elif command == "/history":
        turns = conversation.turns
        if not turns:
            click.echo("nothing was asked yet")
        for turn in turns:
            click.secho(f"{turn.number}. {turn.question}", bold=True)
            click.echo(f"   {output.shortened(turn.answer.text, 300)}")
    elif command == "/save":
        _save(conversation, argument)
    else:
        click.echo(f"no such command: {command} (/help lists them)", err=True)


def _turn(conversation: Conversation, question: str) -> Answer | None:
    try:
        answer = output.stream(conversation.stream(question))
    except RagError as error:
        click.echo(f"rag: {error}", err=True)
        return None
    except KeyboardInterrupt:  # the answer is given up, the conversation is not
        click.echo("\nstopped", err=True)
        return None
    output.answer(answer, text=False)
    click.echo()
    return answer


def why(given: Answer | None) -> None:
    """Say why each sentence of an answer stands, or why there is no answer."""
    if given is None:
        click.echo("nothing was asked yet")
        return
    for step in given.trace:
        if step.name == "condense":
            click.secho(f"understood as: {step.detail['question']}", dim=True)
    if given.status == "abstained":
        click.echo(f"no answer: {given.reason}")
        if draft := next((s.detail["draft"] for s in given.trace if "draft" in s.detail), ""):
            click.secho(f"the model's draft was: {output.shortened(draft, 400)}", dim=True)
    for number, sentence in enumerate(given.sentences, start=1):
        said = output.shortened(given.text[sentence.start : sentence.end], 160)
        verdict = sentence.status.replace("_", " ")
        if sentence.status != "needs_none":
            verdict += f" ({sentence.support:.2f})"
        colour = {"supported": "green", "needs_none": None}.get(sentence.status, "yellow")
        click.echo(f"{number}. {said}")
        click.secho(f"   {verdict}", fg=colour)
        for i in sentence.citations:
            cited = given.citations[i]
            click.echo(
                f"   [{cited.marker}] {output.where(cited.uri, cited.location)}, {cited.method}"
            )
            click.echo(f'       "{output.shortened(cited.quote, 200)}"')
    for step in given.trace:
        click.secho(f"{step.name}: {step.seconds * 1000:.0f} ms", dim=True)
    for note in output.notes(given):
        click.secho(f"({note})", dim=True)


def _save(conversation: Conversation, target: str) -> None:
    if not target:
        click.echo("say where to: /save FILE", err=True)
        return
    path = Path(target).expanduser()
    if path.suffix == ".json":
        turns = [turn.model_dump(mode="json") for turn in conversation.turns]
        text = json.dumps({"conversation": conversation.name, "turns": turns}, indent=2) + "\n"
    else:
        text = conversation.transcript()
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        click.echo(f"{path} is there already: choose another name", err=True)
    except OSError as error:
        click.echo(f"cannot write {path}: {error.strerror}", err=True)
    else:
        click.echo(f"saved to {path}")


def _read() -> str | None:
    try:
        return input("> " if sys.stdin.isatty() else "").strip()
    except EOFError:
        return None


@click.group()
def conversations_group() -> None:
    """List, print and delete the conversations that are kept in an index."""


@conversations_group.command(name="list")
@index_option
@namespace_option
@json_option
def conversations_list(index: Path | None, namespace: str, as_json: bool) -> None:
    """List the conversations, the latest first."""
    found = _store(index, namespace).conversations()
    if as_json:
        output.json_document({"conversations": [each._asdict() for each in found]})
        return
    if not found:
        click.echo("no conversations")
    for each in found:
        click.secho(each.name, bold=True, nl=False)
        click.echo(f"  {output.counted(each.turns, 'turn')}, last {each.last}")
        click.echo(f"    {output.shortened(each.first_question, 100)}")


@conversations_group.command(name="show")
@click.argument("name")
@index_option
@namespace_option
@json_option
def conversations_show(name: str, index: Path | None, namespace: str, as_json: bool) -> None:
    """Print the conversation NAME."""
    turns = _store(index, namespace).turns(name)
    if not turns:
        raise QueryError(f"there is no conversation {name!r}: rag conversations list")
    if as_json:
        output.json_document({"turns": [turn.model_dump(mode="json") for turn in turns]})
        return
    for turn in turns:
        click.secho(f"{turn.number}. {turn.question}", bold=True)
        output.answer(turn.answer)
        click.echo()


@conversations_group.command(name="delete")
@click.argument("name")
@index_option
@namespace_option
def conversations_delete(name: str, index: Path | None, namespace: str) -> None:
    """Forget the conversation NAME."""
    count = _store(index, namespace).delete(name)
    if not count:
        raise QueryError(f"there is no conversation {name!r}: rag conversations list")
    click.echo(f"{output.counted(count, 'turn')} forgotten")


def _store(index: Path | None, namespace: str) -> ConversationStore:
    from rag.conversation import ConversationStore
    from rag.index.paths import CONVERSATIONS, require_library

    folder = require_library(index_path(index), namespace).parent
    return ConversationStore(folder / CONVERSATIONS)
