"""Filters: conditions on the documents that a search considers.

    from rag import F

    F("year") >= 2020 & F("lang").in_(["en", "de"])
    (F("year") >= 2020) & ~F("draft").exists() | F("uri").startswith("file:///manuals/")

A field is a metadata key of the document, or its ``uri``, ``title`` or ``mime``; upper and lower
case are the same in its name. A field with a list of values matches if any of its values matches. A
field that a document does not have never matches; therefore ``F("x") != 1``, which means
``~(F("x") == 1)``, also selects documents without ``x``.

- 1 equals 1.0, and ``True`` does not equal 1. A number equals a string that is the same number in
  plain form: ``F("year") == 2021`` and ``F("year") == "2021"`` both select 2021 and ``"2021"``. A
  string with leading zeros, a plus sign, an exponent or more than 15 digits is not a number.
  ``True`` equals ``"true"`` in any case.
- Two strings compare by code point, in the Unicode form NFC, so that ``"10" < "9"``. But strings in
  ISO 8601 form compare as moments: ``2025-03-04T23:30:00-08:00`` is after
  ``2025-03-05T06:00:00+00:00``. A date-time without a zone is in UTC. A date is compared with the
  day of a date-time in UTC, and a month or year with the month or year of a date. Times of day
  (``9:30``) compare as times. A string that is not a date has no order with a date.
- A ``uri`` can be written as a path, which is relative to the working directory.

`Filter.to_json` converts a filter to plain data, `Filter.of` converts it back. `Filter.matches`
defines the meaning in Python; the SQL of the document store is equivalent.

`Filter.of` also reads the form that Chroma, LangChain and MongoDB use:

    from rag import Filter

    Filter.of({"year": {"$gte": 2020}, "$or": [{"lang": "en"}, {"draft": {"$exists": False}}]})

Its operators are ``$eq $ne $gt $gte $lt $lte $in $nin $exists`` and ``$and $or $not``. Several keys
of a mapping must all apply. The meaning is the one above. Chroma selects the same documents for the
filters that it accepts, with three differences. It compares lists with ``$contains`` only, so its
``$ne`` and ``$nin`` select every document with a list. It drops the fraction of a number that is
compared with an integer: its ``{"$gte": 1.5}`` selects 1. And it never compares a string with a
number or a boolean.
"""

from __future__ import annotations

import math
import os
import re
import unicodedata
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, cast
from urllib.parse import quote

from rag.errors import QueryError
from rag.types import Document, Scalar, to_well_formed
from rag.types.base import convert_scalar
from rag.types.comparison import (
    ORDER_OPERATORS,
    ValueSet,
    is_in_order,
    normalize_field,
    normalize_text,
)

MAX_NESTING_DEPTH = 50
MAX_COMPARISONS = 10_000
DOCUMENT_FIELDS = ("uri", "title", "mime")
"""Fields of the document itself; they hide metadata of the same name."""

_URI_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")
_STRING_OPERATORS: dict[str, Callable[[str, str], bool]] = {
    "startswith": str.startswith,
    "contains": str.__contains__,
}
OPERATORS = ("==", "!=", "in", "not in", *ORDER_OPERATORS, *_STRING_OPERATORS, "exists")
"""Allowed values of ``op`` in the JSON form."""

_DOLLAR_COMPARISONS = {
    "$eq": "==",
    "$ne": "!=",
    "$gt": ">",
    "$gte": ">=",
    "$lt": "<",
    "$lte": "<=",
    "$in": "in",
    "$nin": "not in",
}
FIELD_OPERATORS = (*_DOLLAR_COMPARISONS, "$exists", "$not")
"""Operators of a field in the form of Chroma and LangChain."""
LOGICAL_OPERATORS = ("$and", "$or", "$not")
"""Operators of filters in the form of Chroma and LangChain."""


class Filter:
    """A condition on documents: combine with ``&``, ``|`` and ``~``."""

    __slots__ = ()

    def __and__(self, other: Filter) -> Filter:
        return _join_conditions(All, self, other) if isinstance(other, Filter) else NotImplemented

    def __or__(self, other: Filter) -> Filter:
        return _join_conditions(AnyOf, self, other) if isinstance(other, Filter) else NotImplemented

    def __rand__(self, other: object) -> _MisgroupedOperand:
        """Support ``F("a") >= 1 & F("b").exists()``: Python evaluates ``1 & ...`` first."""
        return _MisgroupedOperand(other, All, self)

    def __ror__(self, other: object) -> _MisgroupedOperand:
        return _MisgroupedOperand(other, AnyOf, self)

    def __invert__(self) -> Filter:
        return self.condition if isinstance(self, Not) else Not(self)

    def __bool__(self) -> NoReturn:
        raise TypeError(
            "a filter is neither true nor false: combine filters with &, | and ~, with each "
            'comparison in parentheses: (F("year") >= 2020) & (F("year") < 2023)'
        )

    @abstractmethod
    def matches(self, document: Document) -> bool:
        """Return whether the filter selects `document`."""

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """Return the filter as plain data: ``{"field", "op", "value"}``, ``{"and": [...]}`` ..."""

    @staticmethod
    def of(where: Where, *, paths: bool = True) -> Filter:
        """Return the filter for a filter, its JSON form, or a mapping of fields to values.

        Without `paths`, a ``uri`` cannot be written as a path: that of a client says nothing about
        the folders of a server.

        With a mapping, every field must equal its value, or one of its values if it is a list. The
        value may also be a mapping of operators, as in Chroma: ``{"year": {"$gte": 2020}}``. Raises
        `QueryError` for an unknown operator, and for a mixture of the JSON form and that of Chroma.
        """
        condition = _FilterParser(F if paths else _FieldWithoutPaths).parse(where, 0)
        _check_size(condition)
        return condition


@dataclass(frozen=True, slots=True)
class Compare(Filter):
    """A comparison of a field with a value; ``F`` creates it."""

    field: str
    op: str
    value: Scalar | tuple[Scalar, ...] = ()

    def matches(self, document: Document) -> bool:
        """See `Filter.matches`."""
        values = _read_field_values(document, self.field)
        if self.op == "exists":
            return values is not None
        if isinstance(self.value, tuple):
            value_set = ValueSet(self.value)
            return any(value in value_set for value in values or ())
        return any(self._matches_value(value) for value in values or ())

    def _matches_value(self, value: Scalar) -> bool:
        operand = cast(Scalar, self.value)
        if self.op in _STRING_OPERATORS:
            return isinstance(value, str) and _STRING_OPERATORS[self.op](
                normalize_text(value), normalize_text(str(operand))
            )
        return is_in_order(value, self.op, operand)

    def to_json(self) -> dict[str, Any]:
        """See `Filter.to_json`."""
        if self.op == "exists":
            return {"field": self.field, "op": "exists"}
        if isinstance(self.value, tuple):
            if len(self.value) == 1:
                return {"field": self.field, "op": "==", "value": self.value[0]}
            return {"field": self.field, "op": "in", "value": list(self.value)}
        return {"field": self.field, "op": self.op, "value": self.value}


@dataclass(frozen=True, slots=True)
class All(Filter):
    """All of the conditions; true if there are none."""

    conditions: tuple[Filter, ...]

    def matches(self, document: Document) -> bool:
        """See `Filter.matches`."""
        return all(condition.matches(document) for condition in self.conditions)

    def to_json(self) -> dict[str, Any]:
        """See `Filter.to_json`."""
        return {"and": [condition.to_json() for condition in self.conditions]}


@dataclass(frozen=True, slots=True)
class AnyOf(Filter):
    """At least one of the conditions; false if there are none."""

    conditions: tuple[Filter, ...]

    def matches(self, document: Document) -> bool:
        """See `Filter.matches`."""
        return any(condition.matches(document) for condition in self.conditions)

    def to_json(self) -> dict[str, Any]:
        """See `Filter.to_json`."""
        return {"or": [condition.to_json() for condition in self.conditions]}


@dataclass(frozen=True, slots=True)
class Not(Filter):
    """The documents that the condition does not select."""

    condition: Filter

    def matches(self, document: Document) -> bool:
        """See `Filter.matches`."""
        return not self.condition.matches(document)

    def to_json(self) -> dict[str, Any]:
        """See `Filter.to_json`."""
        return {"not": self.condition.to_json()}


Where = Filter | Mapping[str, Any]
"""A `Filter`, its JSON form, or a mapping of fields to values or operators; see `Filter.of`."""


class F:
    """A field of a document; comparing it creates a filter: ``F("year") >= 2020``."""

    __slots__ = ("name",)
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, name: str) -> None:
        if not isinstance(name, str) or not name:
            raise QueryError(f"the name of a field must be a non-empty string, not {name!r}")
        self.name = to_well_formed(name)

    def __eq__(self, value: object) -> Filter:  # type: ignore[override]
        return self._compare("==", value)

    def __ne__(self, value: object) -> Filter:  # type: ignore[override]
        return self._compare("!=", value)

    def __lt__(self, value: object) -> Filter:
        return self._compare("<", value)

    def __le__(self, value: object) -> Filter:
        return self._compare("<=", value)

    def __gt__(self, value: object) -> Filter:
        return self._compare(">", value)

    def __ge__(self, value: object) -> Filter:
        return self._compare(">=", value)

    def in_(self, values: Iterable[Scalar]) -> Filter:
        """Select documents whose field equals one of `values`."""
        return self._compare("in", values)

    def not_in(self, values: Iterable[Scalar]) -> Filter:
        """Select documents whose field equals none of `values`, or that do not have it."""
        return self._compare("not in", values)

    def startswith(self, text: str) -> Filter:
        """Select documents whose field is a string that begins with `text` (case matters)."""
        return self._compare("startswith", text)

    def contains(self, text: str) -> Filter:
        """Select documents whose field is a string that contains `text` (case matters)."""
        return self._compare("contains", text)

    def exists(self) -> Filter:
        """Select documents that have the field, with any value."""
        return Compare(self.name, "exists")

    def _compare(self, op: str, value: object) -> Filter:
        if isinstance(value, _MisgroupedOperand):
            return _join_conditions(
                value.joined_by, self._compare(op, value.value), value.condition
            )
        if op in ("!=", "not in"):
            return Not(self._compare("==" if op == "!=" else "in", value))
        if op == "in":
            if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
                raise QueryError(f"{self.name!r} {op} needs a list of values, not {value!r}")
            return self._equal_one_of([self._check_scalar(item) for item in value])
        scalar = self._check_scalar(value)
        if op == "==":
            return self._equal_one_of([scalar])
        if op in _STRING_OPERATORS:
            if not isinstance(scalar, str):
                raise QueryError(f"{self.name!r} {op} needs a string, not {value!r}")
            return self._match_string(op, scalar)
        if isinstance(scalar, bool):
            raise QueryError(f"{self.name!r} {op}: true and false have no order")
        return Compare(self.name, op, scalar)

    def _equal_one_of(self, operands: Sequence[Scalar]) -> Filter:
        if normalize_field(self.name) == "uri":
            uris = [uri for operand in operands for uri in self._list_uris(operand)]
            operands = [*operands, *dict.fromkeys(uris)]
        return Compare(self.name, "in", tuple(operands))

    def _match_string(self, op: str, text: str) -> Filter:
        texts = [text]
        if normalize_field(self.name) == "uri" and not _URI_SCHEME.match(text):
            texts += self._list_uris(text) if op == "startswith" else [_quote_path(text)]
        conditions = [Compare(self.name, op, item) for item in dict.fromkeys(texts)]
        return conditions[0] if len(conditions) == 1 else AnyOf(tuple(conditions))

    def _list_uris(self, path: Scalar) -> list[str]:
        return _list_uris_of_path(path)

    def _check_scalar(self, value: object) -> Scalar:
        value = convert_scalar(value)
        if isinstance(value, str):
            return to_well_formed(value).replace("\0", "\ufffd")  # as in metadata
        is_storable = isinstance(value, bool | int | float) and (
            math.isfinite(value) if isinstance(value, float) else -(2**63) <= value < 2**63
        )
        if not is_storable:
            raise QueryError(
                f"cannot compare {self.name!r} with {value!r}: a value must be a string, a "
                "boolean, a date, a time or a finite number of 64 bits. Use in_ for several "
                "values, and exists to select documents that have the field"
            )
        return cast(Scalar, value)


class _FieldWithoutPaths(F):
    """A field of a filter of a client, who cannot write a uri as a path of this machine."""

    __slots__ = ()
    __hash__ = None

    def _list_uris(self, path: Scalar) -> list[str]:
        return []


@dataclass(frozen=True, slots=True)
class _MisgroupedOperand:
    """The result of ``2020 & F("lang").exists()``.

    `F._compare` takes it apart and combines the comparison with the condition.
    """

    value: object
    joined_by: type[All] | type[AnyOf]
    condition: Filter


def join_filters(*filters: Where | None) -> Filter | None:
    """Return a filter that selects what all `filters` select; None and ``{}`` select everything."""
    conditions = [Filter.of(item) for item in filters if item is not None and item != {}]
    if len(conditions) < 2:
        return conditions[0] if conditions else None
    return _join_conditions(All, *conditions)


def _join_conditions(join: type[All] | type[AnyOf], *conditions: Filter) -> Filter:
    flat: list[Filter] = []
    for condition in conditions:
        flat += condition.conditions if isinstance(condition, join) else [condition]
    return join(tuple(flat))


def _read_field_values(document: Document, field: str) -> list[Scalar] | None:
    """Return the values of a field; None if the document does not have it."""
    if field in DOCUMENT_FIELDS:
        return [getattr(document, field)]
    name = normalize_field(field)
    values: list[Scalar] | None = [getattr(document, name)] if name in DOCUMENT_FIELDS else None
    for key, value in document.metadata.items():
        if normalize_field(key) == name:
            values = [*(values or ()), *(value if isinstance(value, tuple) else [value])]
    return values


def _list_uris_of_path(path: Scalar) -> list[str]:
    """Return the ``file:`` uris of a path, as the names of files can be written; [] for a uri."""
    if not isinstance(path, str) or not path or _URI_SCHEME.match(path):
        return []
    try:
        absolute = os.path.abspath(Path(path).expanduser())  # noqa: PTH100 (keeps symbolic links)
    except (OSError, RuntimeError):  # the working directory was removed, or there is no such user
        return []
    absolute += "/" if path.endswith("/") and absolute != "/" else ""
    forms = [absolute, *(unicodedata.normalize(form, absolute) for form in ("NFC", "NFD"))]
    return [f"file://{_quote_path(form)}" for form in dict.fromkeys(forms)]


def _quote_path(path: str) -> str:
    """Return a path as it is in a uri; ``!/`` stands before the name of a part of a file."""
    return "!/".join(quote(name, safe="/") for name in path.split("!/"))


class _FilterParser:
    """Parses one filter, whose operators must all be of one form: ours or that of Chroma."""

    def __init__(self, make_field: Callable[[Any], F]) -> None:
        self._make_field = make_field
        self._operators_by_form: dict[str, str] = {}

    def parse(self, where: Any, depth: int) -> Filter:
        """Return the filter for `where`, which is nested in `depth` others."""
        _check_level(depth)
        if isinstance(where, Filter):
            _check_depth(where)
            return where
        if not isinstance(where, Mapping):
            raise QueryError(
                f"not a filter: {where!r}; compare a field, as in F('year') >= 2020, or pass a "
                "mapping"
            )
        if len(where) == 1:
            ((key, inner),) = where.items()
            if key == "not" and isinstance(inner, Mapping | Filter):
                self._note_form("JSON", key)
                return ~self.parse(inner, depth + 1)
            if key in ("and", "or") and _is_filter_list(inner):
                self._note_form("JSON", key)
                operands = tuple(self.parse(operand, depth + 1) for operand in inner)
                return All(operands) if key == "and" else AnyOf(operands)
        if where.keys() <= {"field", "op", "value"} and {"field", "op"} <= where.keys():
            self._note_form("JSON", "op")
            return _parse_comparison(where, self._make_field)
        return _require_all([self._parse_entry(key, where[key], depth) for key in where])

    def _parse_entry(self, key: Any, value: Any, depth: int) -> Filter:
        """Return the condition of one key of a mapping: a field, or a logical operator."""
        if isinstance(key, str) and key.startswith("$"):
            return self._parse_logical(key, value, depth)
        if isinstance(value, Mapping):
            return self._parse_operators(self._make_field(key), value, depth + 1)
        is_list = isinstance(value, list | tuple | set | frozenset)
        field = self._make_field(key)
        return field.in_(value) if is_list else field == value

    def _parse_logical(self, op: str, operand: Any, depth: int) -> Filter:
        if op not in LOGICAL_OPERATORS:
            hint = f"; write {{FIELD: {{{op!r}: ...}}}}" if op in FIELD_OPERATORS else ""
            raise QueryError(
                f"{op!r} does not combine filters; {', '.join(LOGICAL_OPERATORS)} do{hint}"
            )
        self._note_form("$", op)
        if op == "$not":
            if not isinstance(operand, Mapping | Filter):
                raise QueryError(f"{op} needs a filter, not {operand!r}")
            return ~self.parse(operand, depth + 1)
        if not _is_filter_list(operand):
            raise QueryError(f"{op} needs a list of filters, not {operand!r}")
        operands = tuple(self.parse(item, depth + 1) for item in operand)
        return All(operands) if op == "$and" else AnyOf(operands)

    def _parse_operators(self, field: F, operators: Mapping[Any, Any], depth: int) -> Filter:
        """Return the filter for ``{FIELD: {OPERATOR: OPERAND, ...}}``: all of them must apply."""
        _check_level(depth)
        if not operators:
            raise QueryError(f"{field.name!r} is compared with nothing: give it an operator")
        return _require_all(
            [self._parse_operator(field, op, operators[op], depth) for op in operators]
        )

    def _parse_operator(self, field: F, op: Any, operand: Any, depth: int) -> Filter:
        if op not in FIELD_OPERATORS:
            raise QueryError(
                f"{field.name!r} has no operator {op!r}; operators: {', '.join(FIELD_OPERATORS)}"
            )
        self._note_form("$", op)
        if op == "$not":
            if not isinstance(operand, Mapping):
                raise QueryError(f"{field.name!r} {op} needs a mapping of operators")
            return ~self._parse_operators(field, operand, depth + 1)
        if op == "$exists":
            if not isinstance(operand, bool):
                raise QueryError(f"{field.name!r} {op} needs true or false, not {operand!r}")
            return field.exists() if operand else ~field.exists()
        return field._compare(_DOLLAR_COMPARISONS[op], operand)

    def _note_form(self, form: str, op: str) -> None:
        """Remember that `op` is an operator of `form`. Raises `QueryError` for a second form."""
        self._operators_by_form.setdefault(form, op)
        if len(self._operators_by_form) > 1:
            first, second = self._operators_by_form.values()
            raise QueryError(
                f"a filter in two forms: {first!r} and {second!r} cannot be mixed; use "
                'either {"field": ..., "op": ..., "value": ...}, "and", "or", "not" or the '
                "operators with $"
            )


def _require_all(conditions: list[Filter]) -> Filter:
    return conditions[0] if len(conditions) == 1 else All(tuple(conditions))


def _check_level(depth: int) -> None:
    if depth > MAX_NESTING_DEPTH:
        raise _make_nesting_error()


def _make_nesting_error() -> QueryError:
    return QueryError(f"a filter can be nested {MAX_NESTING_DEPTH} levels deep at most")


def _check_depth(where: Filter) -> None:
    level: list[Filter] = [where]
    for _ in range(MAX_NESTING_DEPTH + 1):
        level = [operand for condition in level for operand in list_operands(condition)]
        if not level:
            return
    raise _make_nesting_error()


def _check_size(where: Filter) -> None:
    """Raise `QueryError` for more comparisons than the SQL of a document store takes."""
    level: list[Filter] = [where]
    count = 0
    while level:
        count += sum(isinstance(condition, Compare) for condition in level)
        if count > MAX_COMPARISONS:
            raise QueryError(
                f"a filter has {MAX_COMPARISONS:,} comparisons at most; use in_ for several values"
            )
        level = [operand for condition in level for operand in list_operands(condition)]


def list_operands(condition: Filter) -> Sequence[Filter]:
    """Return the filters that a combined filter consists of; none for a comparison."""
    if isinstance(condition, All | AnyOf):
        return condition.conditions
    return [condition.condition] if isinstance(condition, Not) else []


def _is_filter_list(value: Any) -> bool:
    is_list = isinstance(value, list | tuple)
    return is_list and all(isinstance(item, Mapping | Filter) for item in value)


def _parse_comparison(where: Mapping[str, Any], make_field: Callable[[Any], F]) -> Filter:
    field, op = make_field(where["field"]), where["op"]
    if op not in OPERATORS:
        raise QueryError(f"no such operator: {op!r}; operators: {', '.join(OPERATORS)}")
    if op == "exists":
        exists = field.exists()
        return ~exists if where.get("value") is False else exists
    if "value" not in where:
        raise QueryError(f"{where['field']!r} {op} needs a value")
    return field._compare(op, where["value"])
