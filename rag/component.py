"""What every swappable part is: a frozen configuration, known by kind and name.

A part is one class in one file: a `Component` whose fields are its whole configuration. It is
registered under the entry-point group ``citewell.<kind>`` by one line in ``pyproject.toml``;
packages of other people register theirs the same way. From there, YAML, the command line and
other parts build it by name. Nothing in a configuration file can name a module to import.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Mapping
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, ClassVar, Self, get_args

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import core_schema

from rag.errors import ConfigError, UnknownComponent

KINDS = (
    "connector",
    "parser",
    "chunker",
    "embedder",
    "vector_store",
    "chat_model",
    "verifier",
    "transform",
    "retriever",
    "postprocessor",
    "generator",
)


RENAMED_PARTS = {
    ("postprocessor", "diversity"): "mmr",
    ("postprocessor", "edges-first"): "lost-in-the-middle",
    ("postprocessor", "expand"): "expand-context",
    ("postprocessor", "threshold"): "score-threshold",
}
"""Registered names of version 0.1, by kind; they still work, with a `FutureWarning`."""


def warn_renamed(what: str, old: str, new: str) -> None:
    """Tell the user that a name in a configuration has changed."""
    warnings.warn(f"the {what} {old!r} is now called {new!r}", FutureWarning, stacklevel=3)


class _NotFingerprinted:
    """Marks a field that changes how fast a part works, never what comes out of it."""


NotFingerprinted = _NotFingerprinted()
"""``Annotated[int, Tuning]``: the field is configuration, but not part of the fingerprint."""


class Component(BaseModel):
    """A part: keyword-only, validated, frozen; equal configurations are equal parts.

    The base class of a kind (`Chunker`, `Embedder` ...) sets `kind` and says what such a part
    does; a part derives from it and sets `name`, unique within the kind. `revision` is
    raised whenever the code changes what comes out for the same configuration, so that indexes
    and caches made before notice. Heavy packages are imported when first used, never at import.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=True, hide_input_in_errors=True
    )

    kind: ClassVar[str]
    name: ClassVar[str]
    revision: ClassVar[int] = 1

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.__dict__ == other.__dict__

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        """Let a field annotated with the base of a kind take any part of that kind.

        ``chunker: Chunker`` accepts an instance, a registered name or a mapping with a ``type``,
        and is dumped as the last.
        """
        if "name" in cls.__dict__ or "kind" not in cls.__dict__:
            return handler(source)
        return core_schema.no_info_plain_validator_function(
            cls._accept,
            serialization=core_schema.plain_serializer_function_ser_schema(cls.config),
        )

    @classmethod
    def _accept(cls, value: Any) -> Component:
        try:
            return build(cls.kind, value)
        except ConfigError as error:
            raise ValueError(str(error)) from None

    @property
    def is_plain(self) -> bool:
        """Whether its configuration says all of it, so that it can be built from it again."""
        return all(
            part.is_plain
            for value in self.__dict__.values()
            for part in (value if isinstance(value, tuple | list) else (value,))
            if isinstance(part, Component)
        )

    def config(self) -> dict[str, Any]:
        """Return the configuration as plain data, with its ``type``; secrets are left out."""
        return {"type": self.name, **self._plain(for_fingerprint=False)}

    @property
    def fingerprint(self) -> str:
        """16 hex digits that change when, and only when, the configuration's meaning does.

        The hash of the canonical JSON of kind, name, revision and every field but secrets and
        those marked `Tuning`.
        """
        identity = {
            "kind": self.kind,
            "type": self.name,
            "revision": self.revision,
            **self._plain(for_fingerprint=True),
        }
        canonical = json.dumps(identity, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]

    def _plain(self, *, for_fingerprint: bool) -> dict[str, Any]:
        skipped = {
            name
            for name, field in type(self).model_fields.items()
            if _is_secret(field) or (for_fingerprint and NotFingerprinted in field.metadata)
        }
        plain = self.model_dump(mode="json", exclude=skipped)
        for name in plain:  # sets have no order of their own
            if isinstance(getattr(self, name), set | frozenset):
                plain[name] = sorted(plain[name], key=json.dumps)
        if for_fingerprint:  # parts within parts by their own fingerprint, so Tuning nests
            for name in plain:
                plain[name] = _identity(getattr(self, name), plain[name])
        return plain

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Build this very class from plain data as `config` returns it.

        Raises `ConfigError` naming the key that is wrong.
        """
        fields = {key: value for key, value in config.items() if key != "type"}
        if odd := [key for key in fields if not isinstance(key, str)]:
            raise ConfigError(f"{cls.kind} {cls.name!r}: {odd[0]!r} is not the name of a setting")
        try:
            return cls(**fields)
        except ValidationError as error:
            said = summarize_validation_error(error)
            if "no such setting" in said:
                said += f" (there are: {', '.join(cls.model_fields) or 'none'})"
            raise ConfigError(f"{cls.kind} {cls.name!r}: {said}") from None
        except RecursionError:
            raise ConfigError(f"{cls.kind} {cls.name!r}: parts nested too deep") from None


def _identity(value: Any, plain: Any) -> Any:
    if isinstance(value, Component):
        return value.fingerprint
    if isinstance(value, tuple | list) and any(isinstance(item, Component) for item in value):
        return [_identity(item, item) for item in value]
    return plain


def _is_secret(field: FieldInfo) -> bool:
    return field.annotation is SecretStr or SecretStr in get_args(field.annotation)


def summarize_validation_error(error: ValidationError) -> str:
    """Say in one line what pydantic found wrong, without repeating the values it was given."""
    problems = []
    for problem in error.errors(include_url=False, include_input=False, include_context=False):
        where = ".".join(str(part) for part in problem["loc"])
        message = problem["msg"].removeprefix("Value error, ")
        message = message[:1].lower() + message[1:]
        if problem["type"] == "extra_forbidden":
            message = "no such setting"
        problems.append(f"{where}: {message}" if where else message)
    return "; ".join(problems)


@lru_cache(maxsize=len(KINDS) + 1)
def _entry_points_by_name(kind: str) -> Mapping[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=f"citewell.{kind}")}


def registered_names(kind: str) -> list[str]:
    """Names of the parts registered as `kind`, sorted."""
    return sorted(_entry_points_by_name(kind))


def component_class(kind: str, name: str) -> type[Component]:
    """Return the class registered as `name`, or raise `UnknownComponent`."""
    if (new_name := RENAMED_PARTS.get((kind, name))) is not None:
        warn_renamed(kind, name, new_name)
        name = new_name
    entry = _entry_points_by_name(kind).get(name)
    if entry is None:
        raise UnknownComponent.of(kind, name, registered_names(kind))
    loaded = entry.load()
    if not (isinstance(loaded, type) and issubclass(loaded, Component) and loaded.kind == kind):
        raise ConfigError(f"the entry point {entry.value!r} ({name}) is not a {kind}")
    return loaded


def _adapt(kind: str, given: object) -> Component | None:
    """The part that another framework's object becomes; None where nobody adapts it.

    Adapters are entry points of the group ``citewell.adapter``, named by the package that the
    object's class, or one that it derives from, is of.
    """
    packages = {base.__module__.partition(".")[0] for base in type(given).__mro__}
    for name, entry in _entry_points_by_name("adapter").items():
        if name in packages and (made := entry.load()(kind, given)) is not None:
            return build(kind, made)
    return None


def build(kind: str, config: Component | Mapping[str, Any] | str | object) -> Component:
    """Build a part from its configuration: ``{"type": name, ...}``, a bare name, or itself.

    Another framework's object becomes the part that it is adapted to.
    """
    if isinstance(config, Component):
        if config.kind != kind:
            raise ConfigError(f"{config.name!r} is a {config.kind}, and a {kind} is needed here")
        return config
    if isinstance(config, str):
        config = {"type": config}
    if not isinstance(config, Mapping) and (adapted := _adapt(kind, config)) is not None:
        return adapted
    if not isinstance(config, Mapping) or not isinstance(config.get("type"), str):
        what = kind.replace("_", " ")
        article = "an" if what[0] in "aeiou" else "a"
        said = (
            f"{article} {what} is given as an instance, as its name, or as a mapping with a `type`"
        )
        if isinstance(config, type):
            raise ConfigError(
                f"{said}: {config.__name__} is a class (write {config.__name__}(...)?)"
            )
        if not isinstance(config, Mapping):
            raise ConfigError(f"{said}, not as an object of the class {type(config).__name__}")
        raise ConfigError(said)
    return component_class(kind, config["type"]).from_config(config)
