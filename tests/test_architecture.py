"""The architecture page shows the code as it is."""

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.architecture import PACKAGES, PAGE, PICTURE, draw, list_rooms, read_layers, with_map
from tests.conftest import ROOT

MAX_FUNCTION_LINES = 50


def list_sources() -> Iterator[Path]:
    for package in PACKAGES:
        yield from sorted((ROOT / package).rglob("*.py"))


def test_the_picture_is_current() -> None:
    """`python -m tests.architecture` writes it."""
    assert PICTURE.read_text(encoding="utf-8") == draw()


def test_the_map_of_the_tree_is_current() -> None:
    """`python -m tests.architecture` writes it."""
    page = PAGE.read_text(encoding="utf-8")
    assert page == with_map(page)


def test_every_room_has_a_layer() -> None:
    """A new package must be placed in the import contract, or nothing checks its imports."""
    modules = sorted(module for layer in read_layers() for module in layer)
    assert modules == list_rooms()


def test_every_module_says_what_it_holds() -> None:
    for path in list_sources():
        assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), path


def test_no_function_is_longer_than_the_limit() -> None:
    for path in list_sources():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                body = node.body[1:] if ast.get_docstring(node) else node.body
                length = (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0
                assert length <= MAX_FUNCTION_LINES, f"{path}: {node.name} has {length} lines"
