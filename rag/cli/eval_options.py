"""What the commands of ``rag eval`` have in common: who judges, and how far they are."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from rag.errors import ConfigError

if TYPE_CHECKING:
    from evals.judges import SupportJudge
    from rag.llm.base import ChatModel

_F = TypeVar("_F", bound=Callable[..., Any])


def backend_options(command: _F) -> _F:
    """``--backend``, ``--judge`` and what goes with them."""
    for option in (
        click.option(
            "--repeats",
            type=click.IntRange(1, 25),
            default=1,
            show_default=True,
            help="Ask the judge so many times.",
        ),
        click.option(
            "--nli-model",
            metavar="NAME",
            help="A folder, or a model of the hub.  [default: RAG_NLI_MODEL]",
        ),
        click.option(
            "--judge",
            metavar="NAME:MODEL",
            help="A chat model, as openai:gpt-4.1-mini, "
            "or a YAML file or mapping.  [default: RAG_JUDGE]",
        ),
        click.option(
            "--backend",
            type=click.Choice(["lexical", "nli", "llm"]),
            help="Who judges support.  [default: llm with a judge, nli with an NLI "
            "model, else lexical]",
        ),
    ):
        command = option(command)
    return command


def chat_model(target: str | None) -> ChatModel | None:
    """The judge that an option, or RAG_JUDGE, names. Raises `ConfigError`."""
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
            raise ConfigError(f"the judge {target!r:.100}: {error}") from None
    else:
        name, _, model = target.partition(":")
        key = "path" if name == "llama-cpp" else "model"
        config = {"type": name, **({key: model} if model else {})}
    found = build("chat_model", config)
    assert isinstance(found, ChatModel)
    return found


def make_backend(
    name: str | None, judge: str | None, nli: str | None, repeats: int
) -> SupportJudge:
    """The backend that the options and the settings name."""
    from evals.judges import backend
    from rag.settings import load_settings

    model = chat_model(judge) if name in (None, "llm") else None
    nli = nli or load_settings().nli_model
    return backend(name, model=model, nli=nli, repeats=repeats)


def eval_pipeline(target: str | None, index: Path | None) -> Any:
    """The pipeline to be evaluated."""
    from rag.cli.arguments import load_pipeline

    return load_pipeline(target, index)


def progress_shown() -> Callable[[int, int], None] | None:
    """What is called with how many are done, of how many; None where nobody looks."""
    if not sys.stderr.isatty():
        return None

    def show(done: int, of: int) -> None:
        click.echo(f"\r{done:,} of {of:,} ", err=True, nl=done == of)

    return show


def print_json(found: Any) -> None:
    """One JSON document on stdout."""
    from rag.cli import output

    output.json_document(found)
