"""The base class of adapters: parts that wrap another framework's object."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, NamedTuple, Self

from pydantic import Field, model_validator

from rag.component import Component
from rag.errors import ModelAuthError, ModelError, ModelRateLimited, ModelUnreachable, RagError
from rag.interop.labels import MAX_LABEL_CHARACTERS, make_label

_ERROR_TEXT_CHARACTERS = 300
_ERROR_CLASSES: tuple[tuple[type[ModelError], tuple[str, ...]], ...] = (
    (ModelRateLimited, ("RateLimit", "TooManyRequests", "ResourceExhausted")),
    (ModelAuthError, ("Authentication", "PermissionDenied", "Unauthorized")),
    (ModelUnreachable, ("Timeout", "APIConnection", "ConnectError", "ConnectionError")),
)


class _WrappedMarker:
    """Marks the field that holds the wrapped object."""


_WRAPPED = _WrappedMarker()

WrappedObject = Annotated[Any, Field(exclude=True, repr=False), _WRAPPED]
"""The type of the field that holds the wrapped object; each adapter has exactly one."""


class Adapter(Component):
    """A part that wraps an object of another framework.

    ``label`` identifies the object in fingerprints, in files and in the uris of what it loads. By
    default it is made of the object's class, its notable settings (model, size ...) and a hash of
    all its plain settings (texts, numbers, lists of them; secrets are left out), so that an object
    with other settings is another part. Set ``label`` if the object's behaviour depends on more,
    such as another object within it, or if settings change that have no effect. An object cannot
    be built from YAML: ``-p module:attribute`` takes the pipeline from Python.
    """

    label: str = Field("", max_length=MAX_LABEL_CHARACTERS)

    @classmethod
    def wrap(cls, wrapped: object) -> Self:
        """Return the adapter of an object, with default settings."""
        return cls(**{cls._wrapped_field(): wrapped})

    @property
    def is_plain(self) -> bool:
        """False: the wrapped object cannot be built from the configuration."""
        return False

    @classmethod
    def _wrapped_field(cls) -> str:
        return next(name for name, field in cls.model_fields.items() if _WRAPPED in field.metadata)

    @model_validator(mode="before")
    @classmethod
    def _add_label(cls, values: Any) -> Any:
        field = cls._wrapped_field()
        if isinstance(values, dict) and not values.get("label") and field in values:
            return {**values, "label": make_label(values[field], values.get("arguments"))}
        return values


def adapt_object(
    kind: str, candidate: object, adapters: Sequence[tuple[type, type[Adapter]]]
) -> Component | None:
    """Wrap an object in the first adapter of that kind for its class, or return None.

    `adapters` are pairs of a class of the framework and the adapter for its objects.
    """
    for wrapped_class, adapter in adapters:
        if adapter.kind == kind and isinstance(candidate, wrapped_class):
            return adapter.wrap(candidate)
    return None


class ExternalText(NamedTuple):
    """A text from another framework: a document that it loaded, or a passage that it retrieved.

    ``start`` is the text's offset in its source, in characters, as the framework reports it;
    ``name`` is the id that the framework gives the text.
    """

    text: str
    metadata: Mapping[str, Any]
    score: float | None = None
    start: int | None = None
    name: str | None = None


def describe_error(label: str, error: Exception) -> str:
    """Return a message of one line: which object failed, and why."""
    text = " ".join(str(error).split())[:_ERROR_TEXT_CHARACTERS]
    return f"{label} failed: {type(error).__name__}: {text}"


def translate_error(label: str, error: Exception) -> RagError:
    """Return our error for an exception of a wrapped object, chosen by the exception's class name.

    A `RagError` is returned unchanged.
    """
    if isinstance(error, RagError):
        return error
    class_names = " ".join(base.__name__ for base in type(error).__mro__)
    error_class = next(
        (ours for ours, words in _ERROR_CLASSES if any(word in class_names for word in words)),
        ModelError,
    )
    message, status = describe_error(label, error), getattr(error, "status_code", None)
    if issubclass(error_class, ModelError) and isinstance(status, int):
        return error_class(message, status=status)
    return error_class(message)
