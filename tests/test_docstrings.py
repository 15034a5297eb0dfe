"""Examples in docstrings run."""

from __future__ import annotations

import ast
import doctest
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from textwrap import dedent

import pytest

from evals.metrics import base as metrics_base
from rag import Pipeline
from tests.conftest import HANDBOOK, ROOT

PACKAGES = ("rag", "connectors", "prompts", "evals", "pipelines")
INDENTED_BLOCK = re.compile(r"(?:^|\n\n)((?:    .*(?:\n|$)|\n)+)")


def find_examples() -> Iterator[tuple[str, str]]:
    """Name and code of each indented block of Python that imports something."""
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(
                    node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
                ):
                    docstring = ast.get_docstring(node) or ""
                    for block in INDENTED_BLOCK.findall(docstring):
                        code = dedent(block)
                        if re.search(r"^(?:from \S+ )?import ", code, re.MULTILINE):
                            yield f"{path.relative_to(ROOT)}:{getattr(node, 'name', '')}", code


EXAMPLES = list(find_examples())
DOCTEST_MODULES = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for package in PACKAGES
    for path in sorted((ROOT / package).rglob("*.py"))
    if ">>>" in path.read_text(encoding="utf-8")
]


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """What an example registers is forgotten."""
    monkeypatch.setattr("rag.component._registered_classes", {})
    monkeypatch.setattr("evals.metrics.base._METRICS", dict(metrics_base._METRICS))


@pytest.mark.parametrize(("name", "code"), EXAMPLES, ids=[name for name, _ in EXAMPLES])
def test_an_example_runs(
    name: str, code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "handbook.md").write_text(HANDBOOK)
    monkeypatch.chdir(tmp_path)
    with Pipeline(index=tmp_path / ".rag") as pipeline:
        pipeline.ingest(tmp_path / "docs")
    exec(compile(code, name, "exec"), {"__name__": "example"})  # noqa: S102


def test_examples_are_found() -> None:
    assert len(EXAMPLES) >= 4 and len(DOCTEST_MODULES) >= 2


@pytest.mark.parametrize("module", DOCTEST_MODULES)
def test_a_doctest_holds(module: str) -> None:
    result = doctest.testmod(import_module(module))
    assert result.attempted and not result.failed
