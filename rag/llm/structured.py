"""Replies as JSON: a pydantic model in, a filled instance out."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from rag.component import summarize_validation_error
from rag.errors import ModelReplyError
from rag.llm import cache
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
        fault = ""
        for value in json_values(completion.text):
            try:
                return model.model_validate(value)
            except ValidationError as error:
                fault = fault or summarize_validation_error(error)
            except RecursionError:
                fault = fault or "nested too deep"
        if completion.finish_reason == "length":
            fault = "it was cut off by the limit of tokens"
        fault = fault or "there is no JSON in it"
        if (kept := cache.current()) is not None:  # it would be no better next time
            kept.forget(cache.key_of(chat.fingerprint, asked, schema, ()))
        if not left:
            raise ModelReplyError(f"the reply is not the JSON asked for: {fault}")
        asked = [
            *messages,
            Message(role="assistant", content=completion.text or "(nothing)"),
            Message(role="user", content=f"That is not the JSON asked for: {fault}. Again:"),
        ]
    raise ModelReplyError("nothing was asked")


def json_in(text: str) -> Any:
    """The first JSON value in a reply, also where a model writes around it or in a fence.

    It is parsed as data, never evaluated. Raises `ValueError`.
    """
    for value in json_values(text):
        return value
    raise ValueError(f"no JSON in {' '.join(text.split())[:100]!r}")


def json_values(text: str) -> Iterator[Any]:
    """Every JSON value in a reply: the whole of it, else those in fences, else in brackets."""
    whole = _loaded(text)
    if whole is not _NOTHING:
        yield whole
        return
    found = False
    for candidate in _FENCED.findall(text):
        if (value := _loaded(candidate)) is not _NOTHING:
            found = True
            yield value
    at = 0
    for _ in range(_MOST_STARTS if not found else 0):
        start = min((i for i in (text.find("{", at), text.find("[", at)) if i >= 0), default=-1)
        if start < 0:
            return
        try:
            value, at = _DECODER.raw_decode(text, start)
            yield value
        except (ValueError, RecursionError):
            at = start + 1


def _loaded(text: str) -> Any:
    try:
        return _DECODER.decode(text.strip())
    except (ValueError, RecursionError):
        return _NOTHING


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


_NOTHING = object()
_MOST_STARTS = 200
_DECODER = json.JSONDecoder(parse_constant=_no_number)


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
