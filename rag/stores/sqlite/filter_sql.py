"""Translation of metadata filters to SQL conditions."""

from __future__ import annotations

import json
from collections.abc import Sequence

from rag.errors import QueryError
from rag.filters import All, AnyOf, Compare, Filter, Not
from rag.types import Scalar

_DOCUMENT_COLUMNS = {"uri": "d.uri", "title": "d.title", "mime": "d.mime"}


def filter_to_sql(where: Filter) -> tuple[str, list[Scalar]]:
    """Return an SQL condition equivalent to `Filter.matches`, and the values to bind."""
    if isinstance(where, All | AnyOf):
        word, empty = (" AND ", "1") if isinstance(where, All) else (" OR ", "0")
        parts = [filter_to_sql(part) for part in where.conditions]
        sql = _join_balanced([part for part, _ in parts], word) if parts else empty
        return sql, [value for _, values in parts for value in values]
    if isinstance(where, Not):
        sql, values = filter_to_sql(where.condition)
        return f"NOT {sql}", values
    if not isinstance(where, Compare):
        raise QueryError(f"not a filter: {where!r}")
    if column := _DOCUMENT_COLUMNS.get(where.field):
        test, values = _comparison_to_sql(where, "'text'", column)
        return f"({test})", values
    if where.op == "exists":
        return "EXISTS (SELECT 1 FROM json_each(d.metadata) f WHERE f.key = ?)", [where.field]
    # The types of json_each distinguish 1, '1' and true. A scalar is compared directly, not as a
    # list of one item: that would lose digits of numbers.
    scalar_test, scalar_values = _comparison_to_sql(where, "f.type", "f.value")
    item_test, item_values = _comparison_to_sql(where, "v.type", "v.value")
    return (
        "EXISTS (SELECT 1 FROM json_each(d.metadata) f WHERE f.key = ? AND CASE f.type"
        f" WHEN 'array' THEN EXISTS (SELECT 1 FROM json_each(f.value) v WHERE {item_test})"
        f" ELSE ({scalar_test}) END)",
        [where.field, *item_values, *scalar_values],
    )


def _join_balanced(parts: Sequence[str], word: str) -> str:
    """Join conditions as a balanced tree: SQLite limits the depth of expressions to 1,000."""
    if len(parts) < 3:
        return f"({word.join(parts)})"
    middle = len(parts) // 2
    return f"({_join_balanced(parts[:middle], word)}{word}{_join_balanced(parts[middle:], word)})"


def _comparison_to_sql(where: Compare, kind: str, value: str) -> tuple[str, list[Scalar]]:
    """Return SQL that compares one scalar, and the values to bind.

    `kind` and `value` are the SQL expressions of the scalar's JSON type and of the scalar.
    """
    is_text, is_number = f"{kind} = 'text'", f"{kind} IN ('integer', 'real')"
    if where.op == "exists":
        return "1", []
    if isinstance(where.value, tuple):
        texts = [option for option in where.value if isinstance(option, str)]
        booleans = [str(option).lower() for option in where.value if isinstance(option, bool)]
        numbers = [option for option in where.value if not isinstance(option, str | bool)]
        return (
            f"({is_text} AND {value} IN (SELECT value FROM json_each(?)))"
            f" OR ({kind} IN ('true', 'false') AND {kind} IN (SELECT value FROM json_each(?)))"
            f" OR ({is_number} AND {value} IN (SELECT value FROM json_each(?)))",
            [json.dumps(texts, ensure_ascii=False), json.dumps(booleans), json.dumps(numbers)],
        )
    if where.op == "startswith":
        return f"{is_text} AND instr({value}, ?) = 1", [where.value]
    if where.op == "contains":
        return f"{is_text} AND instr({value}, ?) > 0", [where.value]
    has_same_type = is_text if isinstance(where.value, str) else is_number
    return f"{has_same_type} AND {value} {where.op} ?", [where.value]
