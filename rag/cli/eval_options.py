"""Options of the ``rag eval`` commands: judges, chat models and progress."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from rag.cli import terminal
from rag.errors import ConfigError

if TYPE_CHECKING:
    from evals.judges import SupportJudge
    from rag.llm.base import ChatModel

_F = TypeVar("_F", bound=Callable[..., Any])


def support_judge_options(command: _F) -> _F:
    """Add ``--backend``, ``--judge``, ``--nli-model`` and ``--repeats``."""
    for option in (
        click.option(
            "--repeats",
            type=click.IntRange(1, 25),
            default=1,
            show_default=True,
            help="Number of times to ask the judge.",
        ),
        click.option(
            "--nli-model",
            metavar="NAME",
            help="NLI model: a folder or a name on the Hugging Face Hub.  [default: RAG_NLI_MODEL]",
        ),
        click.option(
            "--judge",
            metavar="NAME:MODEL",
            help="Chat model that judges, such as openai:gpt-4.1-mini, or a YAML file or mapping.  "
            "[default: RAG_JUDGE]",
        ),
        click.option(
            "--backend",
            type=click.Choice(["lexical", "nli", "llm"]),
            help="Support judge.  [default: llm with a judge, nli with an NLI model, else lexical]",
        ),
    ):
        command = option(command)
    return command


def load_chat_model(target: str | None) -> ChatModel | None:
    """Load the chat model that `target` or RAG_JUDGE names; None without either.

    Raises `ConfigError`.
    """
    from rag.component import build
    from rag.llm.base import ChatModel
    from rag.settings import load_settings

    target = target or load_settings().judge
    if not target:
        return None
    config: Any
    if target.lstrip().startswith("{") or target.endswith((".yaml", ".yml")):
        import yaml

        try:
            text = target if target.lstrip().startswith("{") else Path(target).read_text("utf-8")
            config = yaml.safe_load(text)
        except (OSError, ValueError, yaml.YAMLError) as error:
            raise ConfigError(f"cannot load the judge {target!r:.100}: {error}") from None
    else:
        config = target
    chat_model = build("chat_model", config)
    assert isinstance(chat_model, ChatModel)
    return chat_model


def make_support_judge(
    name: str | None, judge: str | None, nli: str | None, repeats: int
) -> SupportJudge:
    """Make the support judge that the options and settings select."""
    from evals.judges import make_judge
    from rag.settings import load_settings

    model = load_chat_model(judge) if name in (None, "llm") else None
    nli = nli or load_settings().nli_model
    return make_judge(name, model=model, nli=nli, repeats=repeats)


def make_progress_printer() -> Callable[[int, int], None] | None:
    """Return a function that prints progress to stderr; None if stderr is not a terminal."""
    if not sys.stderr.isatty():
        return None

    def print_progress(done: int, total: int) -> None:
        terminal.echo(terminal.LINE_START, f"{done:,} of {total:,} ", err=True, nl=done == total)

    return print_progress
