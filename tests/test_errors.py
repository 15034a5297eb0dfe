"""The error classes: their documented hierarchy, and errors that cross process boundaries."""

import inspect
import pickle
import re

import pytest

from rag import errors

LEVEL_WIDTH = 4  # columns of one level in the drawing


def read_drawing() -> dict[str, str]:
    """Return the base class of each class in the drawing at the top of `rag.errors`."""
    bases: dict[str, str] = {}
    path: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        branch = re.match(r" {4}((?:[│ ] {3}|[├└]── )*)([A-Z]\w+)", line)
        if branch is None:
            continue
        level = len(branch[1]) // LEVEL_WIDTH
        path[level:] = [branch[2]]
        if level:
            assert branch[2] not in bases, f"{branch[2]} is drawn twice"
            bases[branch[2]] = path[level - 1]
    return bases


def test_drawn_error_tree_equals_the_class_hierarchy() -> None:
    bases = {
        name: error_class.__bases__[0].__name__
        for name, error_class in inspect.getmembers(errors, inspect.isclass)
        if error_class is not errors.RagError
    }
    assert read_drawing() == bases


def test_every_error_class_has_one_base() -> None:
    for _, error_class in inspect.getmembers(errors, inspect.isclass):
        assert len(error_class.__bases__) == 1
        assert error_class.__doc__


@pytest.mark.parametrize("error_class", [errors.ModelRateLimited, errors.ModelUnreachable])
def test_pickled_model_error_keeps_its_delay(error_class: type[errors.ModelError]) -> None:
    error = pickle.loads(pickle.dumps(error_class("slow down", retry_after=7.0)))
    assert type(error) is error_class
    assert (str(error), error.retry_after) == ("slow down", 7.0)
