"""What parts made of other people's objects have in common."""

from __future__ import annotations

import hashlib
import json
import re
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from pydantic import Field, PrivateAttr, model_validator

from rag.component import Component
from rag.embedding.base import Side
from rag.embedding.batched import BatchedEmbedder
from rag.errors import ModelAuthError, ModelError, ModelRateLimited, ModelUnreachable, RagError
from rag.text.tokens import count_tokens

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_TELLING = (
    "model", "model_name", "model_id", "deployment", "azure_deployment", "repo_id", "dimensions",
    "size", "chunk_size", "chunk_overlap",
)  # fmt: skip
_SECRET = re.compile(r"key|token|secret|password|credential", re.IGNORECASE)
_LONGEST_LABEL = 500


class Foreign(Component):
    """A part that is another framework's object.

    ``label`` stands for it in fingerprints, in files and in the uris of what it loads. By default
    it is its class, the settings that mostly matter, and a hash of all its plain ones (texts,
    numbers, lists of them; secrets apart), so that another object is another part. Give one where
    what the object does depends on more, such as another object within it, or where plain
    settings change that mean nothing. An object cannot be built from YAML: ``-p
    module:attribute`` takes it from Python.
    """

    label: str = Field("", max_length=_LONGEST_LABEL)

    _wraps: ClassVar[str]
    """Name of the field that holds the object."""

    @property
    def is_plain(self) -> bool:
        """It is not."""
        return False

    @model_validator(mode="before")
    @classmethod
    def _with_label(cls, given: Any) -> Any:
        if isinstance(given, dict) and not given.get("label") and cls._wraps in given:
            more = given.get("arguments")
            return {**given, "label": label_of(given[cls._wraps], more)}
        return given


def label_of(given: Any, more: Any = None) -> str:
    """What an object is called: its class, what mostly matters of it, and a hash of its settings.

    `more` are settings beside it that are hashed with its own.
    """
    state = _state(given)
    told = [
        f"{name}={state[key]}"
        for name in _TELLING
        for key in (name, f"_{name}")
        if isinstance(state.get(key), str | int | float)
    ]
    plain = json.dumps([type(given).__qualname__, state, _plain(more)], sort_keys=True, default=str)
    hashed = hashlib.sha256(plain.encode(errors="replace")).hexdigest()[:8]
    shown = f"({', '.join(told)})" if told else ""
    return f"{type(given).__name__}{shown[: _LONGEST_LABEL // 2]}-{hashed}"


def _state(given: Any) -> dict[str, Any]:
    """The plain settings of an object, by name; of what is not plain, its class."""
    fields = dict(getattr(given, "__dict__", {}))
    fields |= getattr(given, "__pydantic_private__", None) or {}
    return {
        str(name): _plain(value)
        for name, value in fields.items()
        if not _SECRET.search(str(name).replace("max_tokens", "").replace("tokenizer", ""))
    }


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, set | frozenset):
        return sorted(map(repr, value))
    if isinstance(value, list | tuple):
        plain = [_plain(each) for each in value]
        objects = any(isinstance(each, dict) and "class" in each for each in plain)
        return "objects" if objects else plain
    if callable(value) and hasattr(value, "__qualname__"):
        return f"{value.__module__}.{value.__qualname__}"
    return {"class": type(value).__qualname__}


def failed(label: str, error: Exception) -> RagError:
    """The error for what a foreign model said, by what it is called."""
    if isinstance(error, RagError):
        return error
    said = " ".join(str(error).split())[:300]
    names = " ".join(kind.__name__ for kind in type(error).__mro__)
    kinds: tuple[tuple[type[ModelError], tuple[str, ...]], ...] = (
        (ModelRateLimited, ("RateLimit", "TooManyRequests", "ResourceExhausted")),
        (ModelAuthError, ("Authentication", "PermissionDenied", "Unauthorized")),
        (ModelUnreachable, ("Timeout", "APIConnection", "ConnectError", "ConnectionError")),
    )
    found = next((kind for kind, words in kinds if any(w in names for w in words)), ModelError)
    return found(f"{label} failed: {type(error).__name__}: {said}")


class ForeignEmbedder(Foreign, BatchedEmbedder):
    """Another framework's embeddings.

    ``limit`` is the longest text that the model reads, in tokens as `rag.text.tokens` counts them;
    it is not told by their interface. The length of a vector is found by embedding one.
    """

    limit: int = Field(512, ge=16, le=1_000_000)
    _length: int | None = PrivateAttr(None)

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        if self.dimensions is not None:
            return self.dimensions
        if self._length is None:
            self._length = int(self._vectors(["a"], "query").shape[1])
        return self._length

    @property
    def max_tokens(self) -> int:
        """See `Embedder.max_tokens`."""
        return self.limit

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """See `Embedder.count_tokens`."""
        return [count_tokens(text) for text in texts]

    def _embed(self, texts: Sequence[str], side: Side) -> NDArray[np.float32]:
        return self._vectors(texts, side)

    def _vectors(self, texts: Sequence[str], side: Side) -> NDArray[np.float32]:
        import numpy as np

        try:
            return np.asarray(self._embedded(list(texts), side), dtype=np.float32)
        except Exception as error:
            raise failed(self.label, error) from error

    @abstractmethod
    def _embedded(self, texts: list[str], side: Side) -> Sequence[Sequence[float]]:
        """Ask the object."""


class Text(NamedTuple):
    """A text with what came with it: a document that was loaded, or a passage that was found.

    ``start`` is where in its source it is said to stand, ``name`` an id of its own.
    """

    text: str
    metadata: Mapping[str, Any]
    score: float | None = None
    start: int | None = None
    name: str | None = None
