"""Structured replies: filling a pydantic model from the JSON reply of a chat model."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Literal, TypeVar, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

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
        is_cut = completion.finish_reason == "length"  # its last value may be half of one
        for value in _iterate_candidates(completion.text, model, repair=not is_cut):
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
    if values := find_json_values(text, repair=False):
        yield from values
    else:
        yield from _iterate_bracketed_json(text)


def _iterate_candidates(text: str, model: type[BaseModel], *, repair: bool) -> Iterator[Any]:
    """Yield what a reply can mean as a value of `model`, in its shape.

    If the reply is not JSON as a whole, that are the objects in it, if need be repaired; without
    any, its text may be the value of the only field.
    """
    if values := find_json_values(text, repair=repair):
        yield from (_fit_shape(value, model) for value in values)
        return
    objects = [value for value in _iterate_bracketed_json(text) if isinstance(value, Mapping)]
    if not objects and repair and (start := text.find("{")) >= 0:
        objects = [value for value in _repair_json(text[start:]) if isinstance(value, Mapping)]
    yield from (_fit_shape(value, model) for value in objects)
    if not objects and len(text) <= _MAX_WORD_CHARACTERS and text.strip():
        yield _fit_shape(text, model)


def find_json_values(text: str, *, repair: bool = True) -> list[Any]:
    """Return the values of a reply that is JSON, or has JSON in code fences; else an empty list.

    With `repair`, JSON with common mistakes counts.
    """
    if (value := _parse_json(text)) is not _NO_JSON:
        return [value]
    fenced = _FENCED.findall(text)
    values = [value for part in fenced if (value := _parse_json(part)) is not _NO_JSON]
    if values or not repair:
        return values
    return [
        value
        for part in (fenced or [text])
        if part.lstrip().startswith(("{", "["))
        for value in _repair_json(part.lstrip())
    ]


def _repair_json(text: str) -> Iterator[Any]:
    """Yield the object or list that a faulty JSON text was meant to be, if it can be told."""
    from json_repair import repair_json

    if len(text) > _MAX_REPAIRED_CHARACTERS:
        return
    with suppress(ValueError, RecursionError, IndexError):
        value = repair_json(text, return_objects=True)
        if isinstance(value, dict | list) and value:
            yield value


def _fit_shape(value: Any, model: type[BaseModel]) -> Any:
    """Return a value in the shape of `model`, where models often write another one.

    A list for its only field, an object inside of another, names in another case, and words for
    yes and no.
    """
    fields = model.model_fields
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], Mapping):
        return _fit_shape(value[0], model)
    if not isinstance(value, Mapping):
        if len(fields) != 1:
            return value
        ((name, field),) = fields.items()
        return {name: _fit_field(value, field)}
    names = {_normalize_name(name): name for name in fields}
    fitted = {names.get(_normalize_name(key), key): inner for key, inner in value.items()}
    if not fields.keys() & fitted.keys() and len(value) == 1:
        ((key, inner),) = value.items()
        is_wrapper = isinstance(inner, Mapping) or _normalize_name(key) in _WRAPPERS
        return _fit_shape(inner, model) if is_wrapper else value
    return {k: _fit_field(v, fields[k]) if k in fields else v for k, v in fitted.items()}


def _normalize_name(name: Any) -> str:
    return re.sub(r"[\s-]+", "_", str(name).strip().lower())


def _fit_field(value: Any, field: FieldInfo) -> Any:
    """Return a value of a field: a choice in the case of its name, a word for yes or no."""
    inner = next(iter(get_args(field.annotation)), None)
    if isinstance(value, list) and isinstance(inner, type) and issubclass(inner, BaseModel):
        return [_fit_shape(item, inner) if isinstance(item, Mapping) else item for item in value]
    is_choice = get_origin(field.annotation) is Literal or field.annotation is bool
    if is_choice and isinstance(value, list) and len(value) == 1:
        value = value[0]
    if not is_choice or not isinstance(value, str):
        return value
    word = value.strip().strip(".!*\"'`").lower()
    if get_origin(field.annotation) is Literal:
        choices = {str(choice).lower(): choice for choice in get_args(field.annotation)}
        word = re.sub(r"^(?:verdict|answer|result)\s*[:=]\s*", "", word).strip("*\"'` ")
        if "partly" in choices and word in ("partially", "partial", "partially supported"):
            word = "partly"
        if word not in choices and "supported" in choices:
            word = "supported" if word in _YES else "unsupported" if word in _NO else word
        return choices.get(word, value)
    if field.annotation is bool:
        return True if word in _YES else False if word in _NO else value
    return value


_WRAPPERS = frozenset(
    "result results answer output response reply value values data json items verdict verdicts "
    "evaluation assessment".split()
)
_YES = frozenset(
    "yes true y 1 supported fully_supported entailed entails correct answered attributable "
    "relevant ja oui sí si".split()
)
_NO = frozenset(
    "no false n 0 unsupported not_supported contradicted incorrect unanswered nein non".split()
) | {"not supported", "not answered", "not correct"}


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
_MAX_WORD_CHARACTERS = 40  # of a reply that is a choice, without JSON
_MAX_REPAIRED_CHARACTERS = 50_000
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
