"""``rag init``: the files of a project, from what is asked or given as flags."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import click

from rag.cli import terminal
from rag.cli.arguments import DEFAULT_PIPELINE
from rag.errors import ConfigError

_KEY_OF_MODEL = {
    "openai": "OPENAI_API_KEY",
    "anthropic": "ANTHROPIC_API_KEY",
    "gemini": "GEMINI_API_KEY",
    "cohere": "COHERE_API_KEY",
}
_QUESTIONS = (
    '{"question": "Replace this by a question about your documents", "answers": ["its answer"]}\n'
)
_IGNORED = (".env", ".rag/")
_QUESTIONS_FILE = "questions.jsonl"


class FoundModel(NamedTuple):
    """A chat model that can be used here, and what it is."""

    name: str
    what: str


def find_models(folder: Path) -> list[FoundModel]:
    """Return the chat models at hand: of Ollama here, GGUF files, and those with keys."""
    from rag.providers.ollama import list_models
    from rag.settings import load_settings

    models = [FoundModel(f"ollama:{name}", "Ollama, on this machine") for name in list_models()]
    ggufs = sorted({*folder.glob("*.gguf"), *folder.glob("models/*.gguf")})
    models += [
        FoundModel(f"llama-cpp:{path.relative_to(folder)}", "a GGUF file, in this process")
        for path in ggufs
    ]
    settings = load_settings()
    for name, variable in _KEY_OF_MODEL.items():
        if getattr(settings, variable.lower()) is not None:
            full_name = f"{name}:gpt-4.1-mini" if name == "openai" else name
            models.append(FoundModel(full_name, f"{variable} is set"))
    return models


def initialize(documents: str | None, model: str | None, *, force: bool) -> None:
    """Write ``rag.yaml``, ``.env`` and ``questions.jsonl`` into the working directory.

    What is not given is asked on a terminal, and guessed elsewhere. Raises `ConfigError` if
    ``rag.yaml`` exists, unless `force`.
    """
    if Path(DEFAULT_PIPELINE).exists() and not force:
        raise ConfigError(
            f"{DEFAULT_PIPELINE} exists: edit it, or choose a model for one command with --model; "
            "--force replaces it"
        )
    is_asking = sys.stdin.isatty()
    if documents is None:
        guess = next((name for name in ("docs", "documents") if Path(name).is_dir()), "docs")
        documents = click.prompt("Folder of the documents", guess) if is_asking else guess
    if not documents.strip():
        raise ConfigError("the folder of the documents is empty: write . for the current folder")
    if model is None:
        model = _ask_model() if is_asking else "none"
    _check_model(model)
    Path(DEFAULT_PIPELINE).write_text(_make_yaml(documents, model), encoding="utf-8")
    file_names = [DEFAULT_PIPELINE, *_write_new_files(model, is_asking)]
    if Path.cwd().is_relative_to(Path(documents).resolve()):
        file_names += _add_lines(Path(".ragignore"), [_QUESTIONS_FILE])
    terminal.echo(f"wrote {', '.join(file_names)}")
    if "://" not in documents and not Path(documents).exists():
        terminal.echo(f"Put your documents into {documents}.")
    terminal.echo("Next:  rag ingest\n       rag ask 'your question'")


def _ask_model() -> str:
    models = find_models(Path.cwd())
    terminal.echo("Which model writes the answers?\n  0. none: answers are quotes (no key)")
    for i, model in enumerate(models, start=1):
        terminal.echo(f"  {i}. {model.name} ({model.what})")
    terminal.echo("or another one by its name, such as openai:gpt-4.1-mini or model.gguf")
    if not models:
        terminal.echo("(`rag models get qwen2.5-coder-1.5b` downloads one that runs here: 1.1 GB)")
    while True:
        choice = str(click.prompt("Model", "0")).strip()
        if choice.isdigit() and int(choice) <= len(models):
            return "none" if choice == "0" else models[int(choice) - 1].name
        try:
            _check_model(choice)
        except ConfigError as error:
            terminal.echo(f"rag: {error}", err=True)
        else:
            return choice


def _check_model(model: str) -> None:
    """Raise `ConfigError` for a model that cannot be built, and for a file that is not there."""
    from rag.component import build

    if model == "none":
        return
    name = _name_model(model)
    build("chat_model", name)
    file_name = name.removeprefix("llama-cpp:")
    if file_name != name and not Path(file_name).expanduser().is_file():
        raise ConfigError(f"there is no file {file_name}; `rag models get` downloads one")


def _name_model(model: str) -> str:
    """Return the name of a model as a pipeline has it; a GGUF file alone is one of llama.cpp."""
    is_file = model.lower().endswith(".gguf") and not model.startswith("llama-cpp:")
    return f"llama-cpp:{model}" if is_file else model


def _make_yaml(documents: str, model: str) -> str:
    import yaml

    def quote(text: str) -> str:
        return str(
            yaml.safe_dump(text, default_style='"', width=10_000, allow_unicode=True)
        ).strip()

    generator = (
        "# The answers are quotes of the documents. With a chat model, they are written:\n"
        "# generator:\n"
        "#   type: grounded\n"
        "#   model: ollama:qwen2.5:3b  # or openai:gpt-4.1-mini, anthropic, llama-cpp:model.gguf\n"
        if model == "none"
        else "# The model writes the answers; each sentence is checked against the documents.\n"
        "generator:\n"
        "  type: grounded\n"
        f"  model: {quote(_name_model(model))}\n"
        "  unsupported: flag     # or drop: sentences without support are left out\n"
    )
    return (
        "# The pipeline of this folder: every `rag` command uses it. All settings:\n"
        "# docs/parts.md. Keys belong into .env.\n"
        "\n"
        "# What `rag ingest` indexes: files, folders and addresses.\n"
        f"sources: [{quote(documents)}]\n"
        "\n"
        f"{generator}"
        "\n"
        "# A better and slower embedder than the default one (80 MB, downloaded once):\n"
        "# embedder: minilm\n"
        "\n"
        "# Passages for an answer:\n"
        "k: 8\n"
    )


def _write_new_files(model: str, is_asking: bool) -> list[str]:
    """Write the files that are not there yet; return their names."""
    file_names = []
    variable = _KEY_OF_MODEL.get(model.partition(":")[0])
    if not Path(".env").exists():
        lines = ["# Keys; git must not see this file.\n"]
        if variable and not os.environ.get(variable):
            key = ""
            if is_asking:
                key = str(click.prompt(variable, "", hide_input=True, show_default=False)).strip()
            lines.append(f"{variable}={key}\n")
        descriptor = os.open(".env", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.writelines(lines)
        file_names.append(".env")
    if not Path(_QUESTIONS_FILE).exists():
        Path(_QUESTIONS_FILE).write_text(_QUESTIONS, encoding="utf-8")
        file_names.append(_QUESTIONS_FILE)
    if Path(".git").exists():
        file_names += _add_lines(Path(".gitignore"), _IGNORED)
    return file_names


def _add_lines(path: Path, lines: Sequence[str]) -> list[str]:
    """Add the lines that a file lacks; return its name if it was written."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    missing = [line for line in lines if line not in text.split()]
    if not missing:
        return []
    start = "" if not text or text.endswith("\n") else "\n"
    with path.open("a", encoding="utf-8") as file:
        file.write(start + "".join(f"{line}\n" for line in missing))
    return [path.name]
