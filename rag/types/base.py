"""What all data types share: a frozen model, text that UTF-8 can encode, and flat metadata."""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
)

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


def to_well_formed(text: str) -> str:
    """Return `text` with each lone surrogate replaced by U+FFFD.

    One code point replaces one, so offsets stay valid. A lone surrogate cannot be encoded in
    UTF-8, and every store would refuse it. JavaScript calls the operation ``toWellFormed``.
    """
    return _LONE_SURROGATE.sub("\ufffd", text) if not text.isascii() else text


def _replace_surrogates(value: Any) -> Any:
    return to_well_formed(value) if isinstance(value, str) else value


Text = Annotated[str, BeforeValidator(_replace_surrogates)]
"""A string that can be encoded in UTF-8."""


def _replace_unstorable_characters(value: Any) -> Any:
    return to_well_formed(value).replace("\0", "\ufffd") if isinstance(value, str) else value


FieldText = Annotated[str, BeforeValidator(_replace_unstorable_characters)]
"""`Text` without NUL characters, which end a string in SQLite's JSON functions."""

Scalar = bool | int | float | FieldText
MetadataValue = Scalar | tuple[Scalar, ...]


def _check_json_values(metadata: dict[str, MetadataValue]) -> dict[str, MetadataValue]:
    for key, value in metadata.items():
        for item in value if isinstance(value, tuple) else (value,):
            if isinstance(item, float) and not math.isfinite(item):
                raise ValueError(f"metadata {key!r} is {item}, which JSON cannot represent")
            if isinstance(item, int) and not -(2**63) <= item < 2**63:
                raise ValueError(f"metadata {key!r} is an integer of more than 64 bits")
    return metadata


Metadata = Annotated[dict[FieldText, MetadataValue], AfterValidator(_check_json_values)]
"""A flat mapping of names to scalars or tuples of scalars; see `flatten_metadata`."""


def flatten_metadata(raw: Mapping[Any, Any]) -> dict[str, Any]:
    """Return the properties of a file as flat metadata.

    Nested mappings become dotted names, and dates ISO 8601 strings; ``None`` and empty lists are
    dropped. Any other value is converted with ``str``.
    """
    flat: dict[str, Any] = {}
    for key, value in raw.items():
        if isinstance(value, Mapping):
            flat.update({f"{key}.{name}": v for name, v in flatten_metadata(value).items()})
        elif isinstance(value, list | tuple | set | frozenset):
            if isinstance(value, set | frozenset):
                value = sorted(value, key=repr)  # the order of a set varies between processes
            if items := tuple(_to_scalar(item) for item in value if item is not None):
                flat[str(key)] = items
        elif value is not None:
            flat[str(key)] = _to_scalar(value)
    return flat


def _to_scalar(value: Any) -> Scalar:
    if isinstance(value, bool | str):
        return value
    if isinstance(value, int) and -(2**63) <= value < 2**63:
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    try:
        return str(value)
    except ValueError:  # an integer of thousands of digits
        return "a number with too many digits"


class FrozenModel(BaseModel):
    """Base class of the data types: frozen, without undeclared fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")
