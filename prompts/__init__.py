"""Prompt templates: Markdown files that people read and edit, and the code that loads them.

A template begins with front matter: ``name``, ``version``, ``description`` and ``inputs`` (the
variables it uses). One part for each message follows, below a line ``# system``, ``# user`` or
``# assistant``. Jinja2 renders each part separately in a sandbox, so that no input can begin
another message. Text that several templates share is a file in the folder ``partials``, included by
name: ``{% include "grounding.md" %}``. A file of the same name in the user's folder replaces ours.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

SHIPPED = Path(__file__).parent / "templates"
"""The folder of citewell's templates."""
PARTIALS = "partials"
"""The name of the subfolder of partials."""

_FRONT_MATTER = re.compile(r"\A---\r?\n(.*?)^---[ \t]*\r?\n", re.S | re.M)
_MESSAGE_HEADING = re.compile(r"^# (system|user|assistant)[ \t]*\r?$\n?", re.M)
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")


class PromptError(ValueError):
    """A template is missing or malformed, or its inputs are wrong."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """A template with its name, its inputs, and its parts (role, text)."""

    name: str
    version: str
    description: str
    inputs: tuple[str, ...]
    parts: tuple[tuple[str, str], ...]
    path: Path
    digest: str
    folder: Path | None = None

    @property
    def identity(self) -> dict[str, str]:
        """Name, version and hash, as in an answer's trace."""
        return {"name": self.name, "version": self.version, "hash": self.digest}

    def render(self, /, **inputs: Any) -> list[dict[str, str]]:
        """Fill in the inputs and return a list of ``{"role", "content"}``.

        Raises `PromptError` if an input is missing or unknown, or if the template fails.
        """
        if set(inputs) != set(self.inputs):
            raise PromptError(
                f"prompt {self.name} takes {sorted(self.inputs)}, not {sorted(inputs)}"
            )
        try:
            return [
                {
                    "role": role,
                    "content": _compile_template(self.folder, text).render(inputs).strip(),
                }
                for role, text in self.parts
            ]
        except Exception as error:  # a template can raise anything, such as a division by zero
            raise PromptError(f"prompt {self.name} ({self.path}): {error}") from None


def load(name: str, folder: Path | None = None) -> Prompt:
    """Load the template `name`, preferably from the user's `folder`. Raises `PromptError`."""
    if not _NAME.fullmatch(name) or len(name) > 100:
        raise PromptError(f"not a prompt name: {name[:100]!r}")
    for template_folder in _list_folders(folder):
        if (path := template_folder / f"{name}.md").is_file():
            return _parse(path, folder, _stat_template_files(path, folder))
    raise PromptError(f"no prompt is called {name!r}; known: {', '.join(names(folder))}")


def names(folder: Path | None = None) -> list[str]:
    """Return the sorted names of all templates, ours and those of the user's `folder`."""
    return sorted({path.stem for parent in _list_folders(folder) for path in parent.glob("*.md")})


def _list_folders(folder: Path | None) -> list[Path]:
    """Return the folders of templates: the user's, if there is one, before ours."""
    return [SHIPPED] if folder is None else [folder, SHIPPED]


def _stat_template_files(path: Path, folder: Path | None) -> tuple[tuple[str, int, int], ...]:
    """Return a value that changes when the template or a partial changes."""
    files = [path]
    for parent in _list_folders(folder):
        files += sorted((parent / PARTIALS).glob("*.md"))
    return tuple((str(f), stat.st_mtime_ns, stat.st_size) for f in files if (stat := f.stat()))


@lru_cache(maxsize=256)
def _parse(path: Path, folder: Path | None, file_stats: object) -> Prompt:
    import yaml

    try:
        source = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PromptError(f"cannot read {path}: {error}") from None
    front_matter = _FRONT_MATTER.match(source)
    try:
        metadata = yaml.safe_load(front_matter.group(1)) if front_matter else None
    except Exception as error:  # PyYAML does not wrap the errors of value constructors
        raise PromptError(f"{path}: the front matter is not YAML: {error}") from None
    if front_matter is None or not isinstance(metadata, dict):
        raise PromptError(f"{path}: must begin with front matter between two lines of ---")
    missing = {"name", "version", "inputs"} - metadata.keys()
    if missing:
        raise PromptError(f"{path}: the front matter has no {', '.join(sorted(missing))}")
    if metadata["name"] != path.stem:
        raise PromptError(
            f"{path}: is named {metadata['name']!r} in its front matter; it must be {path.stem!r}"
        )
    inputs = metadata["inputs"] or []
    if not isinstance(inputs, list) or not all(isinstance(name, str) for name in inputs):
        raise PromptError(f"{path}: inputs must be a list of names")
    body = source[front_matter.end() :]
    preamble, *message_parts = _MESSAGE_HEADING.split(body)
    if preamble.strip() or not message_parts:
        raise PromptError(f"{path}: text must be below a line '# system' or '# user'")
    digest = hashlib.sha256((source + _read_partials(body, folder, path)).encode()).hexdigest()
    return Prompt(
        name=metadata["name"],
        version=_parse_version(metadata["version"], path),
        description=str(metadata.get("description", "")),
        inputs=tuple(inputs),
        parts=tuple(zip(message_parts[::2], message_parts[1::2], strict=True)),
        path=path,
        digest=digest[:16],
        folder=folder,
    )


def _parse_version(value: Any, path: Path) -> str:
    try:
        return str(value)
    except ValueError:  # an integer of thousands of digits
        raise PromptError(f"{path}: the version is not valid") from None


def _read_partials(text: str, folder: Path | None, path: Path) -> str:
    """Return the text of all partials that a template includes, also indirectly."""
    from jinja2 import meta

    environment = _make_environment(folder)
    partials: dict[str, str] = {}
    unparsed_texts = [text]
    try:
        while unparsed_texts:
            for name in meta.find_referenced_templates(environment.parse(unparsed_texts.pop())):
                if name is not None and name not in partials:
                    partials[name] = environment.loader.get_source(environment, name)[0]
                    unparsed_texts.append(partials[name])
    except Exception as error:  # a syntax error, or a missing partial
        raise PromptError(f"{path}: {type(error).__name__}: {error}") from None
    return "".join(partials.values())


@lru_cache(maxsize=8)
def _make_environment(folder: Path | None) -> Any:
    from jinja2 import FileSystemLoader, StrictUndefined
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    return ImmutableSandboxedEnvironment(
        loader=FileSystemLoader([parent / PARTIALS for parent in _list_folders(folder)]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,
    )


@lru_cache(maxsize=256)  # compiling takes longer than rendering
def _compile_template(folder: Path | None, text: str) -> Any:
    return _make_environment(folder).from_string(text)


__all__ = ["PARTIALS", "SHIPPED", "Prompt", "PromptError", "load", "names"]
