"""Filters: which documents a search looks at.

    from rag import F

    F("year") >= 2020 & F("lang").in_(["en", "de"])
    (F("year") >= 2020) & ~F("draft").exists() | F("uri").startswith("file:///manuals/")

A field is one of the document's metadata, or its ``uri``, ``title`` or ``mime``. One that holds a
list matches where any of its items does; one that a document does not have matches nothing, so
that ``F("x") != 1`` (which is ``~(F("x") == 1)``) selects what has no ``x`` as well. 1 equals
1.0; a string never equals a number; ``True`` is not 1. Numbers are compared with numbers, strings
with strings by their code points: dates as ISO 8601 writes them come in their order.

`Filter.to_json` writes a filter as plain data, `Filter.of` reads it. `Filter.matches` is its
meaning in plain Python; the library's SQL means the same.
"""

from __future__ import annotations

import math
import operator
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, cast

from rag.errors import QueryError
from rag.types import Document, Scalar, well_formed

_DEEPEST = 50
OWN_FIELDS = ("uri", "title", "mime")
"""Fields of the document itself; metadata of these names cannot be asked for."""

_ORDERS: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_TEXTS: dict[str, Callable[[str, str], bool]] = {
    "startswith": str.startswith,
    "contains": str.__contains__,
}
OPERATORS = ("==", "!=", "in", "not in", *_ORDERS, *_TEXTS, "exists")
"""What ``op`` can be in the JSON form."""


class Filter:
    """A condition on documents: combine with ``&``, ``|`` and ``~``."""

    __slots__ = ()

    def __and__(self, other: Filter) -> Filter:
        return _joined(All, self, other) if isinstance(other, Filter) else NotImplemented

    def __or__(self, other: Filter) -> Filter:
        return _joined(AnyOf, self, other) if isinstance(other, Filter) else NotImplemented

    def __rand__(self, other: object) -> _Tail:
        """``F("a") >= 1 & F("b").exists()``: Python reads ``1 & ...`` first."""
        return _Tail(other, All, self)

    def __ror__(self, other: object) -> _Tail:
        return _Tail(other, AnyOf, self)

    def __invert__(self) -> Filter:
        return self.condition if isinstance(self, Not) else Not(self)

    def __bool__(self) -> NoReturn:
        raise TypeError(
            "a filter is neither true nor false: join filters by &, | and ~, each comparison in "
            'parentheses: (F("year") >= 2020) & (F("year") < 2023)'
        )

    @abstractmethod
    def matches(self, document: Document) -> bool:
        """Whether `document` is selected."""

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """The filter as plain data: ``{"field", "op", "value"}``, ``{"and": [...]}`` ..."""

    @staticmethod
    def of(where: Where) -> Filter:
        """A filter from a filter, from its JSON form, or from a mapping of fields to values.

        Of the last, every field must hold (one of) its value(s). Raises `QueryError`.
        """
        return _read(where, 0)


@dataclass(frozen=True, slots=True)
class Compare(Filter):
    """A field compared with a value: what ``F`` makes."""

    field: str
    op: str
    value: Scalar | tuple[Scalar, ...] = ()

    def matches(self, document: Document) -> bool:
        """See `Filter.matches`."""
        held = _held(document, self.field)
        if self.op == "exists":
            return held is not None
        return any(self._holds(value) for value in held or ())

    def _holds(self, value: Scalar) -> bool:
        if self.op == "in":
            return any(_same(value, each) for each in cast("tuple[Scalar, ...]", self.value))
        if self.op in _TEXTS:
            return isinstance(value, str) and _TEXTS[self.op](value, str(self.value))
        kinds = (str,) if isinstance(self.value, str) else (int, float)
        return (
            isinstance(value, kinds)
            and not isinstance(value, bool)
            and _ORDERS[self.op](value, self.value)
        )

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
    """Every one of the conditions; true without any."""

    conditions: tuple[Filter, ...]

    def matches(self, document: Document) -> bool:
        """See `Filter.matches`."""
        return all(condition.matches(document) for condition in self.conditions)

    def to_json(self) -> dict[str, Any]:
        """See `Filter.to_json`."""
        return {"and": [condition.to_json() for condition in self.conditions]}


@dataclass(frozen=True, slots=True)
class AnyOf(Filter):
    """At least one of the conditions; false without any."""

    conditions: tuple[Filter, ...]

    def matches(self, document: Document) -> bool:
        """See `Filter.matches`."""
        return any(condition.matches(document) for condition in self.conditions)

    def to_json(self) -> dict[str, Any]:
        """See `Filter.to_json`."""
        return {"or": [condition.to_json() for condition in self.conditions]}


@dataclass(frozen=True, slots=True)
class Not(Filter):
    """What the condition does not select."""

    condition: Filter

    def matches(self, document: Document) -> bool:
        """See `Filter.matches`."""
        return not self.condition.matches(document)

    def to_json(self) -> dict[str, Any]:
        """See `Filter.to_json`."""
        return {"not": self.condition.to_json()}


Where = Filter | Mapping[str, Any]
"""A `Filter`, its JSON form, or a mapping of fields to the value(s) each must hold (one of)."""


class F:
    """A field, to be compared: ``F("year") >= 2020``; see `rag.filters`."""

    __slots__ = ("name",)
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, name: str) -> None:
        if not isinstance(name, str) or not name:
            raise QueryError(f"a field is named by a string, not {name!r}")
        self.name = well_formed(name)

    def __eq__(self, value: object) -> Filter:  # type: ignore[override]
        return self._compared("==", value)

    def __ne__(self, value: object) -> Filter:  # type: ignore[override]
        return self._compared("!=", value)

    def __lt__(self, value: object) -> Filter:
        return self._compared("<", value)

    def __le__(self, value: object) -> Filter:
        return self._compared("<=", value)

    def __gt__(self, value: object) -> Filter:
        return self._compared(">", value)

    def __ge__(self, value: object) -> Filter:
        return self._compared(">=", value)

    def in_(self, values: Iterable[Scalar]) -> Filter:
        """One of `values`."""
        return self._compared("in", values)

    def not_in(self, values: Iterable[Scalar]) -> Filter:
        """None of `values`, or no such field."""
        return self._compared("not in", values)

    def startswith(self, text: str) -> Filter:
        """A string that begins with `text`, letter for letter."""
        return self._compared("startswith", text)

    def contains(self, text: str) -> Filter:
        """A string that has `text` in it, letter for letter."""
        return self._compared("contains", text)

    def exists(self) -> Filter:
        """Documents that have the field, whatever it holds."""
        return Compare(self.name, "exists")

    def _compared(self, op: str, value: object) -> Filter:
        if isinstance(value, _Tail):
            return _joined(value.join, self._compared(op, value.value), value.rest)
        if op in ("!=", "not in"):
            return Not(self._compared("==" if op == "!=" else "in", value))
        if op == "in":
            if isinstance(value, str | bytes) or not isinstance(value, Iterable):
                raise QueryError(f"{self.name!r} is to be in a list of values, not {value!r}")
            return Compare(self.name, "in", tuple(self._scalar(each) for each in value))
        scalar = self._scalar(value)
        if op == "==":
            return Compare(self.name, "in", (scalar,))
        if op in _TEXTS and not isinstance(scalar, str):
            raise QueryError(f"{self.name!r}: {op} is asked of strings, not of {value!r}")
        if isinstance(scalar, bool):
            raise QueryError(f"{self.name!r}: true and false have no order ({op})")
        return Compare(self.name, op, scalar)

    def _scalar(self, value: object) -> Scalar:
        if isinstance(value, str):
            return well_formed(value).replace("\0", "\ufffd")  # as in metadata
        sound = isinstance(value, bool | int | float) and (
            math.isfinite(value) if isinstance(value, float) else -(2**63) <= value < 2**63
        )
        if not sound:
            raise QueryError(
                f"a filter compares a field with scalars (64 bits): {self.name!r} with {value!r}; "
                "dates are strings as ISO 8601 writes them, several values go to in_, and exists "
                "asks whether there is any"
            )
        return cast(Scalar, value)


@dataclass(frozen=True, slots=True)
class _Tail:
    """What Python makes of ``2020 & F("lang").exists()``, for a comparison to take apart."""

    value: object
    join: type[All] | type[AnyOf]
    rest: Filter


def _joined(join: type[All] | type[AnyOf], *conditions: Filter) -> Filter:
    flat: list[Filter] = []
    for condition in conditions:
        flat += condition.conditions if isinstance(condition, join) else [condition]
    return join(tuple(flat))


def _held(document: Document, field: str) -> Sequence[Scalar] | None:
    if field in OWN_FIELDS:
        return (getattr(document, field),)
    value = document.metadata.get(field)
    return value if isinstance(value, tuple) or value is None else (value,)


def _same(one: Scalar, other: Scalar) -> bool:
    return isinstance(one, bool) == isinstance(other, bool) and one == other


def _read(where: Any, depth: int) -> Filter:
    if depth > _DEEPEST:
        raise _too_deep()
    if isinstance(where, Filter):
        _check_depth(where)
        return where
    if not isinstance(where, Mapping):
        raise QueryError(
            f"not a filter: {where!r}; compare a field, as in F('year') >= 2020, or give a mapping"
        )
    if len(where) == 1:
        ((key, inner),) = where.items()
        if key == "not" and isinstance(inner, Mapping | Filter):
            return ~_read(inner, depth + 1)
        if key in ("and", "or") and _are_filters(inner):
            parts = tuple(_read(part, depth + 1) for part in inner)
            return All(parts) if key == "and" else AnyOf(parts)
    if where.keys() <= {"field", "op", "value"} and {"field", "op"} <= where.keys():
        return _comparison(where)
    conditions = []
    for field, value in where.items():
        many = isinstance(value, list | tuple | set | frozenset)
        conditions.append(F(field).in_(value) if many else F(field) == value)
    return conditions[0] if len(conditions) == 1 else All(tuple(conditions))


def _too_deep() -> QueryError:
    return QueryError(f"a filter is nested deeper than {_DEEPEST}")


def _check_depth(where: Filter) -> None:
    level = [where]
    for _ in range(_DEEPEST + 1):
        level = [
            inner
            for each in level
            for inner in (
                each.conditions
                if isinstance(each, All | AnyOf)
                else [each.condition]
                if isinstance(each, Not)
                else []
            )
        ]
        if not level:
            return
    raise _too_deep()


def _are_filters(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(v, Mapping | Filter) for v in value)


def _comparison(where: Mapping[str, Any]) -> Filter:
    field, op = F(where["field"]), where["op"]
    if op not in OPERATORS:
        raise QueryError(f"no such operator: {op!r}; there are {', '.join(OPERATORS)}")
    if op == "exists":
        found = field.exists()
        return ~found if where.get("value") is False else found
    if "value" not in where:
        raise QueryError(f"{where['field']!r} {op} needs a value")
    return field._compared(op, where["value"])
