"""What all nouns share: a frozen model, text that UTF-8 can encode, and flat metadata."""

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


def well_formed(text: str) -> str:
    """Replace each lone surrogate by U+FFFD: one code point for one, so that offsets stay.

    A lone surrogate cannot be encoded in UTF-8 and would be refused by every store.
    """
    return _LONE_SURROGATE.sub("\ufffd", text) if not text.isascii() else text


def _replace_surrogates(value: Any) -> Any:
    return well_formed(value) if isinstance(value, str) else value


Text = Annotated[str, BeforeValidator(_replace_surrogates)]
"""A string that can be encoded in UTF-8."""


def _replace_unstorable_characters(value: Any) -> Any:
    return well_formed(value).replace("\0", "\ufffd") if isinstance(value, str) else value


FieldText = Annotated[str, BeforeValidator(_replace_unstorable_characters)]
"""`Text` without NUL, which SQLite's JSON takes for the end of a string."""

Scalar = bool | int | float | FieldText
MetadataValue = Scalar | tuple[Scalar, ...]


def _check_json_values(metadata: dict[str, MetadataValue]) -> dict[str, MetadataValue]:
    for key, value in metadata.items():
        for item in value if isinstance(value, tuple) else (value,):
            if isinstance(item, float) and not math.isfinite(item):
                raise ValueError(f"metadata {key!r} is {item}, which JSON cannot hold")
            if isinstance(item, int) and not -(2**63) <= item < 2**63:
                raise ValueError(f"metadata {key!r} is an integer of more than 64 bits")
    return metadata


Metadata = Annotated[dict[FieldText, MetadataValue], AfterValidator(_check_json_values)]
"""Flat: a name to a scalar or a list of scalars. `flat_metadata` makes it from anything."""


def flat_metadata(raw: Mapping[Any, Any]) -> dict[str, Any]:
    """Make metadata out of what a file says of itself.

    Nested mappings become dotted names, dates ISO 8601 strings, ``None`` and empty lists are
    dropped, and what is none of these becomes its string.
    """
    flat: dict[str, Any] = {}
    for key, value in raw.items():
        if isinstance(value, Mapping):
            flat.update({f"{key}.{k}": v for k, v in flat_metadata(value).items()})
        elif isinstance(value, list | tuple | set | frozenset):
            if isinstance(value, set | frozenset):
                value = sorted(value, key=repr)  # sets have no order of their own
            if items := tuple(_scalar(item) for item in value if item is not None):
                flat[str(key)] = items
        elif value is not None:
            flat[str(key)] = _scalar(value)
    return flat


def _scalar(value: Any) -> Scalar:
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
        return "a number too long to write"


class FrozenModel(BaseModel):
    """What the nouns have in common: frozen, and no field that is not declared."""

    model_config = ConfigDict(frozen=True, extra="forbid")
