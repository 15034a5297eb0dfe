"""Every regular expression of the packages takes linear time, whatever the text."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import pytest

import connectors
import evals
import rag
from tests.pattern_steps import find_slow_text

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = (rag, connectors, evals)
ANCHORED = {"match", "fullmatch"}
FUNCTIONS = {"compile", "search", "match", "fullmatch", "split", "findall", "finditer", "sub"}


class Found(NamedTuple):
    """A pattern, and whether it is only ever tried at the beginning of a text."""

    pattern: str
    flags: int
    is_anchored: bool


def collect_patterns() -> dict[Found, str]:
    """Return each pattern of the packages, with one place where it is."""
    patterns: dict[Found, str] = {}
    names = {
        info.name
        for package in PACKAGES
        for info in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
    }
    sources = {
        path: path.read_text(encoding="utf-8")
        for package in PACKAGES
        for path in Path(package.__path__[0]).rglob("*.py")
    }
    all_uses = find_uses("\n".join(sources.values()))
    for name in sorted(names):
        try:
            module = importlib.import_module(name)
        except ImportError:  # of an extra that is not installed
            continue
        own_uses = find_uses(sources[Path(str(module.__file__))])
        for variable, value in vars(module).items():
            uses = (own_uses if variable.startswith("_") else all_uses).get(variable, set())
            is_anchored = bool(uses) and uses <= ANCHORED
            for pattern in find_patterns(value):
                case = Found(pattern.pattern, pattern.flags, is_anchored)
                patterns.setdefault(case, f"{name}.{variable}")
        for line, case in find_literal_patterns(module):
            patterns.setdefault(case, f"{name}:{line}")
    return patterns


def find_uses(source: str) -> dict[str, set[str]]:
    """Return the methods that are called on each name."""
    uses: dict[str, set[str]] = {}
    for name, method in re.findall(r"\b(\w+)\.(\w+)\(", source):
        uses.setdefault(name, set()).add(method)
    return uses


def find_patterns(value: object) -> Iterator[re.Pattern[str]]:
    if isinstance(value, re.Pattern) and isinstance(value.pattern, str):
        yield value
    elif isinstance(value, tuple | list | frozenset | set):
        for item in value:
            yield from find_patterns(item)
    elif isinstance(value, dict):
        yield from find_patterns([*value.keys(), *value.values()])


def find_literal_patterns(module: ModuleType) -> Iterator[tuple[int, Found]]:
    """Yield the patterns that are written in a call of `re`, with their lines."""
    tree = ast.parse(Path(str(module.__file__)).read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if not (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and isinstance(node.func.value, ast.Name)
            and node.func.value.id == "re"
            and node.func.attr in FUNCTIONS - {"compile"}
            and node.args
            and isinstance(node.args[0], ast.Constant)
            and isinstance(node.args[0].value, str)
        ):
            continue
        flags = next((k.value for k in node.keywords if k.arg == "flags"), None)
        value = eval(ast.unparse(flags), {"re": re}) if flags is not None else 0  # noqa: S307
        is_anchored = node.func.attr in ANCHORED
        yield node.lineno, Found(node.args[0].value, int(value), is_anchored)


BOUNDED = {
    "connectors.file_names._LEFTOVERS": "a file name has at most 255 bytes",
    "connectors.file_names._COPIES": "a file name has at most 255 bytes",
    "connectors.parsers.mail_quotes._ATTRIBUTION": "tried at the beginning only, repeats bounded",
    "connectors.parsers.number_formats._TOKEN": "reads 255 characters of a number format",
    "connectors.parsers.pdf_hyphens._LAST_CHAIN": "reads a word within the last 200 characters of a line",
    "rag.generation.claims._REFUSAL": "reads the first 300 characters of a sentence",
    "rag.verification.labelled_values._LABEL_FIRST": "reads at most 400 characters",
    "rag.verification.labelled_values._LABEL_AS_ADVERBIAL": "reads at most 400 characters",
    "rag.verification.labelled_values._LABEL_LAST": "reads at most 400 characters",
}
"""Patterns that may take more than linear time, and why that is harmless."""

PATTERNS = collect_patterns()


@pytest.mark.parametrize(
    "case",
    [pytest.param(case, id=f"{origin}-{i}") for i, (case, origin) in enumerate(PATTERNS.items())],
)
def test_the_steps_grow_with_the_text(case: Found) -> None:
    if PATTERNS[case] in BOUNDED:
        return
    slow = find_slow_text(re.compile(case.pattern, case.flags), is_anchored=case.is_anchored)
    assert slow is None, f"{PATTERNS[case]}: {case.pattern}: {slow}"
