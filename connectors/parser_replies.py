"""Replies of a parser process as JSON: documents, parts that failed, and errors.

The process reads hostile files, so its replies are data: unpickling them would let a file that
takes over the process run code in the parent.
"""

from __future__ import annotations

import json
from typing import Any, TypeAlias

import rag.errors
from connectors.base import FailedPart
from rag.errors import RagError, SourceError
from rag.types import Document

Reply: TypeAlias = "list[Document | FailedPart] | RagError | str"
"""What a parser made of a source; a string is the message of an error that is not ours."""


def encode_reply(reply: Reply) -> bytes:
    """Return a reply as JSON. Raises `ValueError` or `TypeError` if JSON cannot hold it."""
    if isinstance(reply, list):
        plain: Any = {"parts": [_encode_part(part) for part in reply]}
    elif isinstance(reply, RagError):
        plain = {"error": _encode_error(reply)}
    else:
        plain = {"message": reply}
    return json.dumps(plain, ensure_ascii=False).encode("utf-8", "surrogatepass")


def decode_reply(data: bytes) -> Reply:
    """Return the reply that `encode_reply` wrote. Raises `ValueError` for anything else."""
    try:
        plain = json.loads(data.decode("utf-8", "surrogatepass"))
    except RecursionError:
        raise ValueError("nested too deeply") from None
    match plain:
        case {"parts": [*parts]}:
            return [_decode_part(part) for part in parts]
        case {"error": dict(error)}:
            return _decode_error(error)
        case {"message": str(message)}:
            return message
    raise ValueError("not a reply of a parser process")


def _encode_part(part: Document | FailedPart) -> dict[str, Any]:
    if isinstance(part, FailedPart):
        return {"uri": part.uri, "error": _encode_error(part.error)}
    return {"document": part.model_dump(mode="json")}


def _decode_part(plain: Any) -> Document | FailedPart:
    match plain:
        case {"document": dict(document)}:
            return Document.model_validate(document)
        case {"uri": str(uri), "error": dict(error)}:
            decoded = _decode_error(error)
            if isinstance(decoded, SourceError):
                return FailedPart(uri, decoded)
    raise ValueError("not a part of a source")


def _encode_error(error: RagError) -> dict[str, Any]:
    """Return the class, message and plain attributes; the class is the nearest one of ours."""
    name = next(c.__name__ for c in type(error).__mro__ if c.__module__ == rag.errors.__name__)
    attributes = {
        key: value
        for key, value in vars(error).items()
        if value is None or isinstance(value, str | int | float | bool)
    }
    return {"class": name, "message": str(error), "attributes": attributes}


def _decode_error(plain: dict[str, Any]) -> RagError:
    error_class = getattr(rag.errors, str(plain.get("class")), None)
    message, attributes = plain.get("message"), plain.get("attributes")
    if not (
        isinstance(error_class, type)
        and issubclass(error_class, RagError)
        and isinstance(message, str)
        and isinstance(attributes, dict)
    ):
        raise ValueError("not an error of a parser process")
    error = error_class(message)
    vars(error).update({key: attributes[key] for key in vars(error).keys() & attributes.keys()})
    return error
