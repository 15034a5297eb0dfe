"""Replies as JSON: a pydantic model in, a filled instance out."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from rag.component import explain
from rag.errors import ModelReplyError
from rag.llm.base import ChatModel, JsonSchema
from rag.types import Message

_Model = TypeVar("_Model", bound=BaseModel)

_FENCED = re.compile(r"```[\w-]*[ \t]*\n(.*?)```", re.S)


def fill(
    chat: ChatModel, messages: Sequence[Message], model: type[_Model], *, tries: int = 2
) -> _Model:
    """Ask for an instance of `model`; a reply that is none is sent back with what is wrong.

    Up to `tries` times in all. Raises `ModelReplyError` where the last one does not fit either.
    """
    schema = model.model_json_schema()
    asked = list(messages)
    for left in reversed(range(tries)):
        completion = chat.complete(asked, schema=schema)
        try:
            return model.model_validate(json_in(completion.text))
        except (ValidationError, ValueError, RecursionError) as error:
            fault = explain(error) if isinstance(error, ValidationError) else str(error)
            if completion.finish_reason == "length":
                fault = "it was cut off by the limit of tokens"
            if not left:
                raise ModelReplyError(f"the reply is not the JSON asked for: {fault}") from None
        asked = [
            *messages,
            Message(role="assistant", content=completion.text or "(nothing)"),
            Message(role="user", content=f"That is not the JSON asked for: {fault}. Again:"),
        ]
    raise ModelReplyError("nothing was asked")


def json_in(text: str) -> Any:
    """The JSON value in a reply, also where a model writes around it or in a fence.

    It is parsed as data, never evaluated. Raises `ValueError`.
    """
    candidates = [text, *_FENCED.findall(text)]
    opening, closing = min(_places(text, "{["), default=0), max(_places(text, "}]"), default=-1)
    candidates.append(text[opening : closing + 1])
    for candidate in candidates:
        try:
            return json.loads(candidate)
        except ValueError:
            continue
    raise ValueError(f"no JSON in {' '.join(text.split())[:100]!r}")


def _places(text: str, characters: str) -> list[int]:
    return [i for i, character in enumerate(text) if character in characters]


def strict_schema(schema: JsonSchema) -> dict[str, Any] | None:
    """The schema as strict modes want it: every property required, and no others.

    None where it has objects whose names are not given, which no strict mode can promise.
    """
    try:
        strict: dict[str, Any] = _strict(schema)
    except _Open:
        return None
    return strict


class _Open(Exception):
    pass


def _strict(part: Any) -> Any:
    if isinstance(part, list):
        return [_strict(item) for item in part]
    if not isinstance(part, Mapping):
        return part
    out: dict[str, Any] = {}
    for key, value in part.items():
        if key in ("properties", "$defs", "definitions") and isinstance(value, Mapping):
            out[key] = {name: _strict(inner) for name, inner in value.items()}
        elif key != "default":
            out[key] = _strict(value)
    if out.get("type") == "object":
        if "properties" not in out or out.get("additionalProperties"):
            raise _Open
        out |= {"additionalProperties": False, "required": list(out["properties"])}
    return out
