"""``rag chat`` and ``rag conversations``: questions and answers in the terminal."""

from __future__ import annotations

import atexit
import glob
import json
import os
import shlex
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rag.cli import output, terminal
from rag.cli.arguments import parse_where
from rag.cli.options import (
    index_option,
    json_option,
    namespace_option,
    replace_parts,
    resolve_index,
)
from rag.errors import QueryError, RagError
from rag.types import Answer, CondenseStep

if TYPE_CHECKING:
    from rag.conversation import Conversation, ConversationStore
    from rag.filters import Filter
    from rag.pipeline import Pipeline

_COMMAND_HELP = """\
/sources      list the passages retrieved for the last answer
/why          show the evidence for each sentence
/where FIELD=VALUE ...   search only matching documents; /where alone ends that
/model NAME   answer with another chat model, such as ollama:qwen2.5:3b, or none
/history      list the questions and answers so far
/export FILE  save the conversation (.md, or .json with all details; also /save)
/reset        delete the conversation and start again
/quit         quit (or Ctrl-D)
A line that ends with \\ goes on in the next one. Tab completes commands and paths."""
_COMMANDS = ("/sources /why /where /model /history /export /save /reset /quit /help").split()
_KEPT_LINES = 1_000
_NO_ANSWER = "No question was asked yet."


def converse(
    pipeline: Pipeline,
    name: str | None,
    *,
    latest: bool = False,
    where: Sequence[str] = (),
) -> None:
    """Answer questions from stdin, one a line, until it ends.

    With `latest` and without a `name`, the most recent conversation continues. A question that
    fails does not end the conversation.
    """
    if latest and name is None:
        conversations = pipeline.conversations.conversations()
        name = conversations[0].name if conversations else None
    conversation = pipeline.chat(name)
    condition = parse_where(where)
    turns = conversation.turns
    last_answer = turns[-1].answer if turns else None
    if sys.stdin.isatty():
        if turns:
            turn_count = output.format_count(len(turns), "turn")
            terminal.secho(f"{conversation.name}: {turn_count} so far", dim=True)
        terminal.secho("Type a question, or /help. Ctrl-D quits.", dim=True)
        _prepare_line_editing()
    while (line := _read_line()) is not None:
        command, _, argument = line.partition(" ")
        if not line:
            continue
        if command == "/quit":
            break
        if command == "/reset":
            conversation.reset()
            last_answer = None
            terminal.echo("Conversation deleted.")
        elif command == "/where":
            condition = _change_filter(pipeline, condition, argument)
        elif command == "/model":
            pipeline, conversation = _change_model(pipeline, conversation, argument.strip())
        elif command.startswith("/"):
            _run_command(command, argument.strip(), conversation, last_answer)
        else:
            answer = _answer_question(conversation, line, condition)
            last_answer = answer or last_answer
    if sys.stdin.isatty() and conversation.turns:
        terminal.secho(f"Resume with: rag chat --name {conversation.name}", dim=True)


def _run_command(
    command: str, argument: str, conversation: Conversation, last_answer: Answer | None
) -> None:
    if command == "/help":
        terminal.echo(_COMMAND_HELP)
    elif command == "/sources":
        if last_answer is None:
            terminal.echo(_NO_ANSWER)
        else:
            output.print_hits(last_answer.hits)
    elif command == "/why":
        if last_answer is None:
            terminal.echo(_NO_ANSWER)
        else:
            explain_answer(last_answer)
    elif command == "/history":
        turns = conversation.turns
        if not turns:
            terminal.echo(_NO_ANSWER)
        for turn in turns:
            terminal.secho(f"{turn.number}. {turn.question}", bold=True)
            terminal.echo(f"   {output.shorten(turn.answer.text, 300)}")
    elif command in ("/save", "/export"):
        _save_conversation(conversation, argument)
    else:
        terminal.echo(f"unknown command: {command} (/help lists the commands)", err=True)


def _change_filter(pipeline: Pipeline, condition: Filter | None, text: str) -> Filter | None:
    """Return the filter that a text gives, and say what it selects; the same after an error."""
    try:
        changed = parse_where(shlex.split(text))
        count = None if changed is None else output.count_matching(pipeline, changed)
    except (RagError, ValueError) as error:
        terminal.echo(f"rag: {error}", err=True)
        return condition
    selected = "all documents" if count is None else output.format_count(count, "document")
    terminal.secho(f"searching {selected}", dim=True)
    return changed


def _change_model(
    pipeline: Pipeline, conversation: Conversation, model: str
) -> tuple[Pipeline, Conversation]:
    """Return the pipeline and its conversation with another chat model; the same after an error."""
    if not model:
        terminal.echo("Name a model: /model ollama:qwen2.5:3b, or /model none", err=True)
        return pipeline, conversation
    try:
        changed = replace_parts(pipeline, model=model)
    except RagError as error:
        terminal.echo(f"rag: {error}", err=True)
        return pipeline, conversation
    terminal.secho(f"answers by {model}" if model != "none" else "answers are quotes", dim=True)
    return changed, changed.chat(conversation.name)


def _answer_question(
    conversation: Conversation, question: str, where: Filter | None
) -> Answer | None:
    try:
        events = conversation.stream(question, where=where)
        answer = output.print_stream(events, is_markdown=conversation.writes_markdown)
    except RagError as error:
        terminal.echo(f"rag: {error}", err=True)
        return None
    except KeyboardInterrupt:  # stops the answer, not the conversation
        terminal.echo("\nstopped", err=True)
        return None
    output.print_answer(answer, text=False)
    terminal.echo()
    return answer


def explain_answer(answer: Answer) -> None:
    """Print the evidence for each sentence of an answer, or the reason why there is no answer."""
    for step in answer.trace:
        if isinstance(step, CondenseStep):
            terminal.secho(f"understood as: {step.question}", dim=True)
    if answer.status == "abstained":
        terminal.echo(f"no answer: {answer.reason}")
        output.print_draft(answer)
    for number, sentence in enumerate(answer.sentences, start=1):
        claim = output.shorten(answer.text[sentence.start : sentence.end], 160)
        verdict = sentence.status.replace("_", " ")
        if sentence.status != "needs_none":
            verdict += f" ({sentence.support:.2f})"
        color = {"supported": "green", "needs_none": None}.get(sentence.status, "yellow")
        terminal.echo(f"{number}. {claim}")
        terminal.secho(f"   {verdict}", fg=color)
        for i in sentence.citations:
            citation = answer.citations[i]
            source = output.format_source(citation.uri, citation.location)
            terminal.echo(f"   [{citation.marker}] {source}, {citation.method}")
            terminal.echo(f'       "{output.shorten(citation.quote, 200)}"')
    for step in answer.trace:
        terminal.secho(f"{step.label}: {step.seconds * 1000:.0f} ms", dim=True)
    for note in output.answer_notes(answer):
        terminal.secho(f"({note})", dim=True)


def _save_conversation(conversation: Conversation, target: str) -> None:
    if not target:
        terminal.echo("Name a file: /save FILE", err=True)
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
        terminal.echo(f"{path} already exists: choose another name", err=True)
    except (OSError, ValueError) as error:  # ValueError: a NUL character in the name
        reason = error.strerror if isinstance(error, OSError) else error
        terminal.echo(f"cannot write {path}: {reason}", err=True)
    else:
        terminal.echo(f"saved to {path}")


def _read_line() -> str | None:
    """Return the next line, joined with those that it goes on in; None at the end."""
    lines: list[str] = []
    while True:
        prompt = ("... " if lines else "> ") if sys.stdin.isatty() else ""
        try:
            line = input(prompt).strip()
        except EOFError:
            return "\n".join(lines) if lines else None
        if not line.endswith("\\"):
            return "\n".join([*lines, line])
        lines.append(line[:-1].rstrip())


def _prepare_line_editing() -> None:
    """Edit lines, keep them between runs, and complete commands and paths, where that is there."""
    try:
        import readline
    except ImportError:  # Windows
        return
    history = Path(os.environ.get("XDG_STATE_HOME") or "~/.local/state").expanduser()
    history = history / "citewell" / "chat_history"
    with suppress(OSError):
        history.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not history.exists():
            os.close(os.open(history, os.O_CREAT | os.O_WRONLY, 0o600))
        readline.read_history_file(history)
    readline.set_history_length(_KEPT_LINES)
    readline.set_completer_delims(" ")
    readline.set_completer(complete)
    is_libedit = "libedit" in (readline.__doc__ or "")
    readline.parse_and_bind("bind ^I rl_complete" if is_libedit else "tab: complete")

    def save() -> None:
        with suppress(OSError):
            readline.write_history_file(history)

    atexit.register(save)


def complete(text: str, state: int) -> str | None:
    """Return the completion number `state` of a word: a command, or a path."""
    if text.startswith("/") and "/" not in text[1:]:
        matches = [command for command in _COMMANDS if command.startswith(text)]
        if matches:
            return matches[state] if state < len(matches) else None
    pattern = f"{glob.escape(os.path.expanduser(text))}*"  # noqa: PTH111 (keeps relative paths)
    paths = sorted(glob.glob(pattern))  # noqa: PTH207
    paths = [f"{path}/" if os.path.isdir(path) else path for path in paths]  # noqa: PTH112
    return paths[state] if state < len(paths) else None


@click.group()
def conversations_group() -> None:
    """List, print and delete the conversations of an index."""


@conversations_group.command(name="list")
@index_option
@namespace_option
@json_option
def conversations_list(index: Path | None, namespace: str, as_json: bool) -> None:
    """List the conversations, the latest first."""
    conversations = _open_store(index, namespace).conversations()
    if as_json:
        output.print_json({"conversations": [info._asdict() for info in conversations]})
        return
    if not conversations:
        terminal.echo("No conversations.")
    for info in conversations:
        terminal.secho(info.name, bold=True, nl=False)
        terminal.echo(f"  {output.format_count(info.turns, 'turn')}, last {info.last}")
        terminal.echo(f"    {output.shorten(info.first_question, 100)}")


@conversations_group.command(name="show")
@click.argument("name")
@index_option
@namespace_option
@json_option
def conversations_show(name: str, index: Path | None, namespace: str, as_json: bool) -> None:
    """Print the conversation NAME."""
    turns = _open_store(index, namespace).turns(name)
    if not turns:
        raise QueryError(
            f"there is no conversation {name!r}; list them with: rag conversations list"
        )
    if as_json:
        output.print_json({"turns": [turn.model_dump(mode="json") for turn in turns]})
        return
    for turn in turns:
        terminal.secho(f"{turn.number}. {turn.question}", bold=True)
        output.print_answer(turn.answer)
        terminal.echo()


@conversations_group.command(name="delete")
@click.argument("name")
@index_option
@namespace_option
def conversations_delete(name: str, index: Path | None, namespace: str) -> None:
    """Delete the conversation NAME."""
    count = _open_store(index, namespace).delete(name)
    if not count:
        raise QueryError(
            f"there is no conversation {name!r}; list them with: rag conversations list"
        )
    terminal.echo(f"{output.format_count(count, 'turn')} deleted")


def _open_store(index: Path | None, namespace: str) -> ConversationStore:
    from rag.conversation import ConversationStore
    from rag.index.paths import CONVERSATIONS_FILE, require_document_store

    folder = require_document_store(resolve_index(index), namespace)
    return ConversationStore(folder / CONVERSATIONS_FILE)
