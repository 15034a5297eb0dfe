"""The public names of `rag`: one list, the same in the module, for type checkers and in the docs."""

import ast
import inspect
import re
from types import ModuleType

import pytest

import rag
from rag import errors
from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
DOCUMENTED_NAMES = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", PAGE, re.M))


def test_documented_names_are_the_public_names() -> None:
    """If this fails: is the change of the public names intended? Then run `-m tests.test_docs`."""
    assert list(DOCUMENTED_NAMES) == rag.__all__
    assert rag.__all__ == sorted(set(rag.__all__))


@pytest.mark.parametrize("name", DOCUMENTED_NAMES)
def test_public_name_has_a_docstring_of_its_own(name: str) -> None:
    public_object = getattr(rag, name)
    assert public_object.__doc__
    if isinstance(public_object, type):
        assert vars(public_object).get("__doc__")
    assert re.fullmatch(r"[A-Z0-9`].*[.:?]", DOCUMENTED_NAMES[name]), DOCUMENTED_NAMES[name]


def test_names_that_are_in_the_module_are_public_or_private_by_name() -> None:
    """A class that the module imports for its own use is imported with an underscore."""
    own_names = {
        name
        for name, value in vars(rag).items()
        if not name.startswith("_") and not isinstance(value, ModuleType)
        if getattr(value, "__module__", "").partition(".")[0] == "rag"
    }
    assert own_names <= set(rag.__all__)


def test_type_checkers_see_the_names_that_are_imported_lazily() -> None:
    tree = ast.parse(inspect.getsource(rag))
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    imported_names = {
        alias.name: node.module
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert imported_names == rag._LAZY_IMPORTS


def test_errors_are_public_and_details_of_the_index_are_not() -> None:
    for name, error_class in inspect.getmembers(errors, inspect.isclass):
        assert name in rag.__all__ or not issubclass(error_class, errors.RagError)
    assert {"Mark", "register"} <= set(rag.__all__)
    for name in ("Component", "LedgerEntry", "SourceLocation"):
        assert name not in rag.__all__
        assert not hasattr(rag, name)


def test_star_import_gives_the_public_names() -> None:
    namespace: dict[str, object] = {}
    exec("from rag import *", namespace)  # noqa: S102
    assert namespace.keys() - {"__builtins__"} == set(rag.__all__)
