"""What all data types share: a frozen model, text that UTF-8 can encode, and flat metadata."""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Mapping
from decimal import Decimal
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


def convert_scalar(value: Any) -> Any:
    """Return `value` as a plain boolean, number or text, if it is a scalar of a known type.

    These are the scalars of numpy, `Decimal`, dates and times, which become ISO 8601 texts. An
    array becomes a list. Any other value is returned unchanged.
    """
    if type(value) in (str, int, float, bool):
        return value
    if type(value).__module__ == "numpy" and hasattr(value, "tolist"):
        return _convert_numpy(value)
    if isinstance(value, Decimal) and value.is_finite():
        is_integer = value == value.to_integral_value() and abs(value) < 2**63
        return int(value) if is_integer else float(value)
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    return value


def _convert_numpy(value: Any) -> Any:
    kind = value.dtype.kind
    if kind == "M":  # as nanoseconds, `tolist` returns an integer
        value = value.astype("datetime64[us]") if value.dtype != "datetime64[D]" else value
    if value.ndim == 0 and kind == "f":
        return float(str(value))  # .1 of 32 bits is .1, not .10000000149011612
    plain = value.tolist()
    return plain if isinstance(plain, list) else convert_scalar(plain)


def _convert_scalars(metadata: Any) -> Any:
    if not isinstance(metadata, Mapping):
        return metadata
    converted = {key: convert_scalar(value) for key, value in metadata.items()}
    return {
        key: tuple(map(convert_scalar, value)) if isinstance(value, list | tuple) else value
        for key, value in converted.items()
    }


def _check_json_values(metadata: dict[str, MetadataValue]) -> dict[str, MetadataValue]:
    for key, value in metadata.items():
        for item in value if isinstance(value, tuple) else (value,):
            if isinstance(item, float) and not math.isfinite(item):
                raise ValueError(f"metadata {key!r} is {item}, which JSON cannot represent")
            if isinstance(item, int) and not -(2**63) <= item < 2**63:
                raise ValueError(f"metadata {key!r} is an integer of more than 64 bits")
    return metadata


Metadata = Annotated[
    dict[FieldText, MetadataValue],
    BeforeValidator(_convert_scalars),
    AfterValidator(_check_json_values),
]
"""A flat mapping of names to scalars or tuples of scalars; see `flatten_metadata`."""


def flatten_metadata(raw: Mapping[Any, Any]) -> dict[str, Any]:
    """Return the properties of a file as flat metadata.

    Nested mappings become dotted names, and dates ISO 8601 strings; ``Decimal`` and the scalars of
    numpy become numbers; ``None`` and empty lists are dropped. Any other value is converted with
    ``str``.
    """
    flat: dict[str, Any] = {}
    for key, raw_value in raw.items():
        value = convert_scalar(raw_value)
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
    value = convert_scalar(value)
    if isinstance(value, bool | str):
        return value
    if isinstance(value, int) and -(2**63) <= value < 2**63:
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    try:
        return str(value)
    except ValueError:  # an integer of thousands of digits
        return "a number with too many digits"


class FrozenModel(BaseModel):
    """Base class of the data types: frozen, without undeclared fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")
