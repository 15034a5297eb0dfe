"""Structured replies: filling a pydantic model from the JSON reply of a chat model."""

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
    """Return an instance of the pydantic `model`, filled by a chat model.

    An invalid reply is sent back with its validation errors, up to `tries` calls in all. Raises
    `ModelReplyError` if the last reply is invalid too.
    """
    schema = model.model_json_schema()
    request = list(messages)
    for attempt in range(1, tries + 1):
        completion = chat.complete(request, schema=schema)
        fault = ""
        for value in iterate_json_values(completion.text):
            try:
                return model.model_validate(value)
            except ValidationError as error:
                fault = fault or summarize_validation_error(error)
            except RecursionError:
                fault = fault or "nested too deeply"
        if completion.finish_reason == "length":
            fault = "the token limit cut it off"
        fault = fault or "it contains no JSON"
        if (replies := cache.active_cache()) is not None:  # do not reuse the invalid reply
            replies.forget(cache.completion_key(chat.fingerprint, request, schema, ()))
        if attempt == tries:
            raise ModelReplyError(f"the reply does not match the JSON schema: {fault}")
        request = [
            *messages,
            Message(role="assistant", content=completion.text or "(nothing)"),
            Message(role="user", content=f"That is not the JSON asked for: {fault}. Again:"),
        ]
    raise ModelReplyError("no reply: `tries` must be at least 1")


def parse_first_json(text: str) -> Any:
    """Return the first JSON value in a reply, even inside a code fence or other text.

    It is parsed as data, never evaluated. Raises `ValueError` if there is none.
    """
    for value in iterate_json_values(text):
        return value
    raise ValueError(f"no JSON in {' '.join(text.split())[:100]!r}")


def iterate_json_values(text: str) -> Iterator[Any]:
    """Yield the JSON values in a reply.

    That is the whole reply if it is JSON; otherwise the values in code fences; otherwise every
    value that begins with a bracket.
    """
    if (value := _parse_json(text)) is not _NO_JSON:
        yield value
        return
    has_fenced_json = False
    for candidate in _FENCED.findall(text):
        if (value := _parse_json(candidate)) is not _NO_JSON:
            has_fenced_json = True
            yield value
    if not has_fenced_json:
        yield from _iterate_bracketed_json(text)


def _iterate_bracketed_json(text: str) -> Iterator[Any]:
    position = 0
    for _ in range(MAX_JSON_STARTS):
        brackets = (text.find("{", position), text.find("[", position))
        start = min((index for index in brackets if index >= 0), default=-1)
        if start < 0:
            return
        try:
            value, position = _DECODER.raw_decode(text, start)
            yield value
        except (ValueError, RecursionError):
            position = start + 1


def _parse_json(text: str) -> Any:
    try:
        return _DECODER.decode(text.strip())
    except (ValueError, RecursionError):
        return _NO_JSON


def _reject_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


_NO_JSON = object()
MAX_JSON_STARTS = 200
_DECODER = json.JSONDecoder(parse_constant=_reject_constant)


def to_strict_schema(schema: JsonSchema) -> dict[str, Any] | None:
    """Return the schema in the form of strict modes: all properties required, no others allowed.

    None if it has objects with arbitrary property names, which strict modes do not support.
    """
    try:
        strict: dict[str, Any] = _make_strict(schema)
    except _OpenObjectError:
        return None
    return strict


class _OpenObjectError(Exception):
    """The schema has an object with arbitrary property names."""


def _make_strict(part: Any) -> Any:
    if isinstance(part, list):
        return [_make_strict(item) for item in part]
    if not isinstance(part, Mapping):
        return part
    strict: dict[str, Any] = {}
    for key, value in part.items():
        if key in ("properties", "$defs", "definitions") and isinstance(value, Mapping):
            strict[key] = {name: _make_strict(inner) for name, inner in value.items()}
        elif key != "default":
            strict[key] = _make_strict(value)
    if strict.get("type") == "object":
        if "properties" not in strict or strict.get("additionalProperties"):
            raise _OpenObjectError
        strict |= {"additionalProperties": False, "required": list(strict["properties"])}
    return strict
