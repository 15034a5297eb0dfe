"""The fields of a filter that no document has, and the warning about them."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice

from rag.filters import DOCUMENT_FIELDS, Compare, Filter, Where, list_operands
from rag.types.comparison import normalize_field

MAX_WARNINGS_PER_FILTER = 10
_log = logging.getLogger(__name__)


def _describe_unknown_field(name: str, nearest: Sequence[str]) -> str:
    words = "nearest fields are" if len(nearest) > 1 else "nearest field is"
    hint = f"; the {words} {', '.join(map(repr, nearest))}" if nearest else ""
    return f"no document has the field {name!r} of the filter{hint}"


def list_metadata_fields(where: Where) -> list[str]:
    """Return the names of the metadata fields whose values a filter compares, without duplicates.

    A field whose existence alone is asked for is not among them.
    """
    names: dict[str, None] = {}
    conditions: list[Filter] = [Filter.of(where)]
    while conditions:
        condition = conditions.pop(0)
        conditions[:0] = list_operands(condition)
        if isinstance(condition, Compare) and condition.op != "exists":
            names[condition.field] = None
    return [name for name in names if normalize_field(name) not in DOCUMENT_FIELDS]


def find_nearest_fields(name: str, fields: Iterable[str]) -> list[str]:
    """Return up to three of `fields` whose name is most like `name`, best first."""
    by_form = {normalize_field(field): field for field in (*fields, *DOCUMENT_FIELDS)}
    last_names = {form.rpartition(".")[2]: field for form, field in by_form.items()}
    by_form = last_names | by_form
    matches = difflib.get_close_matches(normalize_field(name), by_form, 3)
    return list(dict.fromkeys(by_form[form] for form in matches))


def warn_of_unknown_fields(unknown_fields: Mapping[str, Sequence[str]]) -> None:
    """Log a warning for each of the first `unknown_fields`, which have their nearest fields."""
    for name, nearest in islice(unknown_fields.items(), MAX_WARNINGS_PER_FILTER):
        _log.warning("%s", _describe_unknown_field(name, nearest))
