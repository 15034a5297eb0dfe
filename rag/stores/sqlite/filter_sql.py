"""Translation of metadata filters to SQL conditions."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from functools import lru_cache

from rag.errors import QueryError
from rag.filters import All, AnyOf, Compare, Filter, Not
from rag.types import Scalar
from rag.types.comparison import (
    ValueSet,
    is_in_order,
    normalize_field,
    normalize_text,
    read_number,
)

_DOCUMENT_COLUMNS = {"uri": "d.uri", "title": "d.title", "mime": "d.mime"}


def register_filter_functions(connection: sqlite3.Connection) -> None:
    """Add the functions that the SQL of `filter_to_sql` calls to a connection."""
    for name, argument_count, function in (
        ("filter_field", 1, normalize_field),
        ("filter_text", 1, _normalize_if_text),
        ("filter_is_in", 2, _is_text_in),
        ("filter_is_in_order", 3, _is_text_in_order),
    ):
        connection.create_function(name, argument_count, function, deterministic=True)


def _normalize_if_text(value: Scalar | None) -> Scalar | None:
    """Return `value` in NFC if it is text: SQLite may call it before it checks the type."""
    return normalize_text(value) if isinstance(value, str) else value


def _is_text_in(value: Scalar | None, operands: str) -> bool:
    return isinstance(value, str) and value in _load_value_set(operands)


def _is_text_in_order(value: Scalar | None, op: str, operand: Scalar) -> bool:
    return isinstance(value, str) and is_in_order(value, op, operand)


@lru_cache(maxsize=64)
def _load_value_set(operands: str) -> ValueSet:
    return ValueSet(json.loads(operands))


def filter_to_sql(where: Filter) -> tuple[str, list[Scalar]]:
    """Return an SQL condition equivalent to `Filter.matches`, and the values to bind.

    The connection needs the functions of `register_filter_functions`.
    """
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
    sql, values = _metadata_condition_to_sql(where)
    if column := _DOCUMENT_COLUMNS.get(normalize_field(where.field)):
        test, test_values = _comparison_to_sql(where, "'text'", column)
        return f"({sql} OR {test})", [*values, *test_values]
    return sql, values


def _metadata_condition_to_sql(where: Compare) -> tuple[str, list[Scalar]]:
    """Return SQL that compares a metadata field, and the values to bind."""
    field = "EXISTS (SELECT 1 FROM json_each(d.metadata) f WHERE filter_field(f.key) = ?"
    name = normalize_field(where.field)
    if where.op == "exists":
        return f"{field})", [name]
    # The types of json_each distinguish 1, '1' and true. A scalar is compared directly, not as a
    # list of one item: that would lose digits of numbers.
    scalar_test, scalar_values = _comparison_to_sql(where, "f.type", "f.value")
    item_test, item_values = _comparison_to_sql(where, "v.type", "v.value")
    return (
        f"{field} AND CASE f.type"
        f" WHEN 'array' THEN EXISTS (SELECT 1 FROM json_each(f.value) v WHERE {item_test})"
        f" ELSE ({scalar_test}) END)",
        [name, *item_values, *scalar_values],
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
        return _membership_to_sql(where.value, kind, value)
    if where.op == "startswith":
        return f"{is_text} AND instr(filter_text({value}), ?) = 1", [
            normalize_text(str(where.value))
        ]
    if where.op == "contains":
        return f"{is_text} AND instr(filter_text({value}), ?) > 0", [
            normalize_text(str(where.value))
        ]
    test, values = f"({is_text} AND filter_is_in_order({value}, ?, ?))", [where.op, where.value]
    number = read_number(where.value) if isinstance(where.value, str) else where.value
    if number is None:
        return test, values
    return f"{test} OR ({is_number} AND {value} {where.op} ?)", [*values, number]


def _membership_to_sql(
    operands: Sequence[Scalar], kind: str, value: str
) -> tuple[str, list[Scalar]]:
    """Return SQL that compares one scalar with each of `operands`, and the values to bind."""
    value_set = ValueSet(operands)
    booleans = {str(item).lower() for item in value_set.booleans | value_set.booleans_of_texts}
    numbers = value_set.numbers | value_set.numbers_of_texts
    return (
        f"({kind} = 'text' AND filter_is_in({value}, ?))"
        f" OR ({kind} IN ('true', 'false') AND {kind} IN (SELECT value FROM json_each(?)))"
        f" OR ({kind} IN ('integer', 'real') AND {value} IN (SELECT value FROM json_each(?)))",
        [
            json.dumps(operands, ensure_ascii=False),
            json.dumps(sorted(booleans)),
            json.dumps(sorted(numbers)),
        ],
    )
