"""``rag models``: chat models at hand, files that can be downloaded, and known hosted models."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import click

from rag.cli import terminal
from rag.cli.init import find_models
from rag.cli.options import json_option

DEFAULT_FOLDER = Path("models")


@click.group(invoke_without_command=True)
@json_option
@click.pass_context
def models_group(context: click.Context, as_json: bool) -> None:
    """List chat models, and download one that runs in this process."""
    if context.invoked_subcommand is None:
        context.invoke(models_list, as_json=as_json)


@models_group.command(name="list")
@json_option
def models_list(as_json: bool) -> None:
    """List the chat models at hand, GGUF files to download, and known models with prices."""
    from rag.cli import parse
    from rag.llm.gguf_models import GGUF_MODELS

    at_hand = [model._asdict() for model in find_models(Path.cwd())]
    files = [
        {**model._asdict(), "url": model.url, "is_here": (DEFAULT_FOLDER / model.file).is_file()}
        for model in GGUF_MODELS
    ]
    if not as_json:
        terminal.secho("at hand", bold=True)
        for model in at_hand or [{"name": "none", "what": "answers are quotes"}]:
            terminal.echo(f"  {model['name']:<52}{model['what']}")
        terminal.secho("to download (rag models get NAME)", bold=True)
        for gguf in GGUF_MODELS:
            size = f"{gguf.size / 1e9:.1f} GB, {gguf.licence}, {gguf.context:,} tokens"
            terminal.echo(f"  {gguf.name:<22}{size:<36}{gguf.summary}")
    parse.list_chat_models(as_json=as_json, at_hand=at_hand, files=files)


@models_group.command(name="get")
@click.argument("name")
@click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=DEFAULT_FOLDER,
    show_default=True,
    help="Folder to write the file into.",
)
def models_get(name: str, folder: Path) -> None:
    """Download the GGUF file NAME of `rag models list` from the Hugging Face Hub.

    Its SHA-256 is checked. A file that is there is not downloaded again.
    """
    from rag.llm.gguf_models import download_gguf_model, find_gguf_model

    model = find_gguf_model(name)
    terminal.echo(f"{model.file}: {model.size / 1e9:.1f} GB, {model.licence}", err=True)
    path = download_gguf_model(model, folder)
    terminal.echo(str(path))
    if find_spec("xllamacpp") is None:
        terminal.echo("next  pip install 'citewell[llama-cpp]'", err=True)
    terminal.echo(f"next  rag ask --model llama-cpp:{path} 'your question'", err=True)
