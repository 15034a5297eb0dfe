"""Filters as SQL."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rag.errors import QueryError
from rag.filters import All, AnyOf, Compare, Filter, Not
from rag.types import Scalar

if TYPE_CHECKING:
    pass


_COLUMNS = {"uri": "d.uri", "title": "d.title", "mime": "d.mime"}


def _condition(where: Filter) -> tuple[str, list[Scalar]]:
    """SQL that means the same as `Filter.matches`, and the values it binds."""
    if isinstance(where, All | AnyOf):
        word, empty = (" AND ", "1") if isinstance(where, All) else (" OR ", "0")
        parts = [_condition(part) for part in where.conditions]
        sql = _balanced([part for part, _ in parts], word) if parts else empty
        return sql, [value for _, values in parts for value in values]
    if isinstance(where, Not):
        sql, values = _condition(where.condition)
        return f"NOT {sql}", values
    if not isinstance(where, Compare):
        raise QueryError(f"not a filter: {where!r}")
    if column := _COLUMNS.get(where.field):
        test, values = _test(where, "'text'", column)
        return f"({test})", values
    if where.op == "exists":
        return "EXISTS (SELECT 1 FROM json_each(d.metadata) f WHERE f.key = ?)", [where.field]
    # The types of json_each keep 1, '1' and true apart. A list is walked, a scalar taken as it is:
    # written as a list of one it would lose digits.
    one, values = _test(where, "f.type", "f.value")
    any_of, again = _test(where, "v.type", "v.value")
    return (
        "EXISTS (SELECT 1 FROM json_each(d.metadata) f WHERE f.key = ? AND CASE f.type"
        f" WHEN 'array' THEN EXISTS (SELECT 1 FROM json_each(f.value) v WHERE {any_of})"
        f" ELSE ({one}) END)",
        [where.field, *again, *values],
    )


def _balanced(parts: Sequence[str], word: str) -> str:
    """Join conditions as a tree of few levels: SQLite refuses a thousand in a row."""
    if len(parts) < 3:
        return f"({word.join(parts)})"
    middle = len(parts) // 2
    return f"({_balanced(parts[:middle], word)}{word}{_balanced(parts[middle:], word)})"


def _test(where: Compare, kind: str, value: str) -> tuple[str, list[Scalar]]:
    """SQL that compares one `value` of the JSON type `kind`."""
    text, number = f"{kind} = 'text'", f"{kind} IN ('integer', 'real')"
    if where.op == "exists":
        return "1", []
    if isinstance(where.value, tuple):
        texts = [o for o in where.value if isinstance(o, str)]
        truths = [str(o).lower() for o in where.value if isinstance(o, bool)]
        numbers = [o for o in where.value if not isinstance(o, str | bool)]
        return (
            f"({text} AND {value} IN (SELECT value FROM json_each(?)))"
            f" OR ({kind} IN ('true', 'false') AND {kind} IN (SELECT value FROM json_each(?)))"
            f" OR ({number} AND {value} IN (SELECT value FROM json_each(?)))",
            [json.dumps(texts, ensure_ascii=False), json.dumps(truths), json.dumps(numbers)],
        )
    if where.op == "startswith":
        return f"{text} AND instr({value}, ?) = 1", [where.value]
    if where.op == "contains":
        return f"{text} AND instr({value}, ?) > 0", [where.value]
    same = text if isinstance(where.value, str) else number
    return f"{same} AND {value} {where.op} ?", [where.value]
