"""The prompt templates, as files a person reads and edits, and the code that loads them.

A template is a Markdown file: front matter with ``name``, ``version``, ``description`` and
``inputs`` (the names it may use), then one part for each message, below a line ``# system``,
``# user`` or ``# assistant``. Parts are rendered by Jinja2 in a sandbox, one by one, so that
nothing in an input can begin a message of its own. What several templates say stands once, in the
folder ``partials``, and is included by name: ``{% include "grounding.md" %}``. A file of the same
name in a folder of the user's takes the place of ours.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

SHIPPED = Path(__file__).parent / "templates"
"""Folder of the templates that come with citewell; `PARTIALS` within it."""
PARTIALS = "partials"

_FRONT_MATTER = re.compile(r"\A---\r?\n(.*?)^---[ \t]*\r?\n", re.S | re.M)
_PART = re.compile(r"^# (system|user|assistant)[ \t]*\r?$\n?", re.M)
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")


class PromptError(ValueError):
    """A template that is missing, malformed, or was given the wrong inputs."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """A template: what it is called, which inputs it takes, and its parts (role, text)."""

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
        """Name, version and hash: what an answer's trace says of the prompt."""
        return {"name": self.name, "version": self.version, "hash": self.digest}

    def render(self, /, **inputs: Any) -> list[dict[str, str]]:
        """Fill in the inputs: a list of ``{"role", "content"}``.

        Raises `PromptError` where an input is missing, unknown, or the template fails.
        """
        if set(inputs) != set(self.inputs):
            raise PromptError(
                f"prompt {self.name} takes {sorted(self.inputs)}, not {sorted(inputs)}"
            )
        try:
            return [
                {"role": role, "content": _template(self.folder, text).render(inputs).strip()}
                for role, text in self.parts
            ]
        except Exception as error:  # a template can raise anything, such as a division by zero
            raise PromptError(f"prompt {self.name} ({self.path}): {error}") from None


def load(name: str, folder: Path | None = None) -> Prompt:
    """Load the template `name`, from the user's `folder` where it has one. Raises `PromptError`."""
    if not _NAME.fullmatch(name) or len(name) > 100:
        raise PromptError(f"not a prompt's name: {name[:100]!r}")
    for place in (folder, SHIPPED):
        if place is not None and (path := place / f"{name}.md").is_file():
            return _parse(path, folder, _marks(path, folder))
    raise PromptError(f"no prompt is called {name!r}; known: {', '.join(names(folder))}")


def names(folder: Path | None = None) -> list[str]:
    """Names of all templates, ours and those of the user's `folder`, sorted."""
    places = [place for place in (folder, SHIPPED) if place is not None and place.is_dir()]
    return sorted({path.stem for place in places for path in place.glob("*.md")})


def _marks(path: Path, folder: Path | None) -> tuple[tuple[str, int, int], ...]:
    """What changes when the template or any partial does."""
    folders = [place / PARTIALS for place in (folder, SHIPPED) if place is not None]
    files = [path, *(file for place in folders for file in sorted(place.glob("*.md")))]
    return tuple((str(f), stat.st_mtime_ns, stat.st_size) for f in files if (stat := f.stat()))


@lru_cache(maxsize=256)
def _parse(path: Path, folder: Path | None, marks: object) -> Prompt:
    import yaml

    try:
        source = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PromptError(f"cannot read {path}: {error}") from None
    front = _FRONT_MATTER.match(source)
    try:
        about = yaml.safe_load(front.group(1)) if front else None
    except Exception as error:  # PyYAML lets out whatever a value's constructor raises
        raise PromptError(f"{path}: the front matter is not YAML: {error}") from None
    if front is None or not isinstance(about, dict):
        raise PromptError(f"{path}: begins without front matter between two lines of ---")
    missing = {"name", "version", "inputs"} - about.keys()
    if missing:
        raise PromptError(f"{path}: the front matter has no {', '.join(sorted(missing))}")
    if about["name"] != path.stem:
        raise PromptError(f"{path}: is named {about['name']!r} in its front matter")
    inputs = about["inputs"] or []
    if not isinstance(inputs, list) or not all(isinstance(name, str) for name in inputs):
        raise PromptError(f"{path}: inputs must be a list of names")
    body = source[front.end() :]
    before, *rest = _PART.split(body)
    if before.strip() or not rest:
        raise PromptError(f"{path}: text must stand below a line '# system' or '# user'")
    return Prompt(
        name=about["name"],
        version=_version(about["version"], path),
        description=str(about.get("description", "")),
        inputs=tuple(inputs),
        parts=tuple(zip(rest[::2], rest[1::2], strict=True)),
        path=path,
        digest=hashlib.sha256((source + _included(body, folder, path)).encode()).hexdigest()[:16],
        folder=folder,
    )


def _version(value: Any, path: Path) -> str:
    try:
        return str(value)
    except ValueError:  # an integer of thousands of digits
        raise PromptError(f"{path}: that is no version") from None


def _included(text: str, folder: Path | None, path: Path) -> str:
    """The partials that a template includes, and those that these include, one after another."""
    from jinja2 import meta

    environment = _environment(folder)
    found: dict[str, str] = {}
    waiting = [text]
    try:
        while waiting:
            for name in meta.find_referenced_templates(environment.parse(waiting.pop())):
                if name is not None and name not in found:
                    found[name] = environment.loader.get_source(environment, name)[0]
                    waiting.append(found[name])
    except Exception as error:  # a syntax error, or a partial that is not there
        raise PromptError(f"{path}: {type(error).__name__}: {error}") from None
    return "".join(found.values())


@lru_cache(maxsize=8)
def _environment(folder: Path | None) -> Any:
    from jinja2 import FileSystemLoader, StrictUndefined
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    return ImmutableSandboxedEnvironment(
        loader=FileSystemLoader([p / PARTIALS for p in (folder, SHIPPED) if p is not None]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,
    )


@lru_cache(maxsize=256)  # compiling takes longer than rendering
def _template(folder: Path | None, text: str) -> Any:
    return _environment(folder).from_string(text)


__all__ = ["PARTIALS", "SHIPPED", "Prompt", "PromptError", "load", "names"]
