"""The base class of all components, and the registry that builds them by kind and name.

A component is one class in one file; its fields are its whole configuration. One line in
``pyproject.toml`` registers it in the entry-point group ``citewell.<kind>``; third-party packages
register theirs the same way, and `register` registers a class in the running process. YAML files,
the command line and other components then build it by name. A configuration file cannot name a
module to import.

Any string can be a kind. A base class defines a new one by setting ``kind``:

    from typing import ClassVar

    from rag import register
    from rag.component import Component, build

    class Translator(Component):
        kind: ClassVar[str] = "translator"

        def translate(self, text: str) -> str: ...

    @register
    class Dictionary(Translator):
        name: ClassVar[str] = "dictionary"
        main_setting: ClassVar[str] = "language"

        language: str

    assert build("translator", "dictionary:fr") == Dictionary(language="fr")
"""

from __future__ import annotations

import copy
import hashlib
import json
import threading
import warnings
from collections.abc import Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, ClassVar, Self, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import core_schema

from rag.errors import ConfigError, UnknownComponent

RENAMED_PARTS = {
    ("postprocessor", "diversity"): "mmr",
    ("postprocessor", "edges-first"): "lost-in-the-middle",
    ("postprocessor", "expand"): "expand-context",
    ("postprocessor", "threshold"): "score-threshold",
}
"""Registered names of version 0.1 that have changed; the old ones work with a `FutureWarning`."""


def warn_renamed(what: str, old: str, new: str) -> None:
    """Warn that a name in a configuration has changed."""
    warnings.warn(f"the {what} {old!r} is now called {new!r}", FutureWarning, stacklevel=3)


class _NotFingerprinted:
    """Type of the marker `NotFingerprinted`."""


NotFingerprinted = _NotFingerprinted()
"""Marker of fields that are not part of the fingerprint: ``Annotated[int, NotFingerprinted]``.

For settings that change the speed of a component, but never its output.
"""


class Component(BaseModel):
    """A component: keyword-only, validated, frozen; equal if its configuration is equal.

    The base class of a kind (`Chunker`, `Embedder` ...) sets `kind` and documents the methods of
    the kind. A component derives from it and sets `name`, which is unique within the kind.
    `main_setting` is the field that the string form ``"NAME:VALUE"`` sets; "" refuses that form.
    Raise `revision` whenever a change of the code changes the output for the same configuration:
    existing indexes and caches then know that they are out of date. Import heavy packages when
    they are first used, not at module level.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=True, hide_input_in_errors=True
    )

    kind: ClassVar[str]
    name: ClassVar[str]
    main_setting: ClassVar[str] = ""
    revision: ClassVar[int] = 1

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.__dict__ == other.__dict__

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        """Let a field that is annotated with the base class of a kind accept its components.

        ``chunker: Chunker`` accepts everything that `build` accepts. It is dumped as a mapping with
        a ``type``.
        """
        if "name" in cls.__dict__ or "kind" not in cls.__dict__:
            return handler(source)
        return core_schema.no_info_plain_validator_function(
            cls._build_or_value_error,
            serialization=core_schema.plain_serializer_function_ser_schema(cls.config),
        )

    @classmethod
    def _build_or_value_error(cls, value: Any) -> Component:
        try:
            return build(cls.kind, value)
        except ConfigError as error:
            raise ValueError(str(error)) from error

    @property
    def is_plain(self) -> bool:
        """Whether an equal component can be built from the configuration alone."""
        return all(
            item.is_plain
            for value in self.__dict__.values()
            for item in (value if isinstance(value, tuple | list) else (value,))
            if isinstance(item, Component)
        )

    def config(self) -> dict[str, Any]:
        """Return the configuration as plain data with its ``type``, without secrets."""
        return {"type": self.name, **self._dump_fields(for_fingerprint=False)}

    @property
    def fingerprint(self) -> str:
        """16 hex digits that identify what the component computes.

        They are the SHA-256 of the canonical JSON of kind, name, revision and all fields except
        secrets and fields marked `NotFingerprinted`.
        """
        identity = {
            "kind": self.kind,
            "type": self.name,
            "revision": self.revision,
            **self._dump_fields(for_fingerprint=True),
        }
        canonical = json.dumps(identity, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]

    def replace(self, **settings: Any) -> Self:
        """Return a component with other settings, validated. Raises `ConfigError`."""
        return type(self).from_config({**self.__dict__, **settings})

    def __getstate__(self) -> dict[Any, Any]:
        """Return the state for a pickle, without keys and passwords: they stay in this process.

        An address that is a secret as a whole is kept, since nothing works without it.
        """
        state = super().__getstate__()
        secrets = {
            name: None
            for name, field in type(self).model_fields.items()
            if _is_secret(field) and not field.is_required()
        }
        if secrets:
            state = {**state, "__dict__": {**state["__dict__"], **secrets}}
        return state

    def _dump_fields(self, *, for_fingerprint: bool) -> dict[str, Any]:
        skipped = {
            name
            for name, field in type(self).model_fields.items()
            if _is_secret(field) or (for_fingerprint and NotFingerprinted in field.metadata)
        }
        plain = self.model_dump(mode="json", exclude=skipped)
        for name in plain:  # the order of a set varies between processes
            if isinstance(getattr(self, name), set | frozenset):
                plain[name] = sorted(plain[name], key=json.dumps)
        if for_fingerprint:  # nested components leave out their own NotFingerprinted fields
            for name in plain:
                plain[name] = _fingerprint_value(getattr(self, name), plain[name])
        return plain

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Build a component of this class from plain data, as `config` returns it.

        Raises `ConfigError`; its message names the invalid key.
        """
        fields = {key: value for key, value in config.items() if key != "type"}
        if invalid_keys := [key for key in fields if not isinstance(key, str)]:
            raise ConfigError(
                f"{cls.kind} {cls.name!r}: {invalid_keys[0]!r} is not the name of a setting",
                setting=str(invalid_keys[0]),
            )
        try:
            return cls(**fields)
        except ValidationError as error:
            problems = summarize_validation_error(error)
            if any(e["type"] == "extra_forbidden" and len(e["loc"]) == 1 for e in error.errors()):
                problems += f" (settings: {', '.join(cls.model_fields) or 'none'})"
            setting = ".".join(str(part) for part in error.errors()[0]["loc"]) or None
            message = f"{cls.kind} {cls.name!r}: {problems}"
            if (cause := _find_single_cause(error)) is not None:  # keep its class and attributes
                specific_error = copy.copy(cause)
                specific_error.args = (message,)
                raise specific_error from None
            raise ConfigError(message, setting=setting) from None
        except RecursionError:
            raise ConfigError(f"{cls.kind} {cls.name!r}: nested too deeply") from None


def _find_single_cause(error: ValidationError) -> ConfigError | None:
    """Return the `ConfigError` of a nested component if it is the only problem."""
    problems = error.errors(include_url=False, include_input=False)
    cause = getattr(problems[0].get("ctx", {}).get("error"), "__cause__", None)
    if len(problems) > 1 or not isinstance(cause, ConfigError) or type(cause) is ConfigError:
        return None
    return cause


def _fingerprint_value(value: Any, plain: Any) -> Any:
    if isinstance(value, Component):
        return value.fingerprint
    if isinstance(value, tuple | list) and any(isinstance(item, Component) for item in value):
        return [_fingerprint_value(item, item) for item in value]
    return plain


def _is_secret(field: FieldInfo) -> bool:
    return field.annotation is SecretStr or SecretStr in get_args(field.annotation)


def summarize_validation_error(error: ValidationError) -> str:
    """Return the problems of a validation error on one line, without the invalid values."""
    problems = []
    for problem in error.errors(include_url=False, include_input=False, include_context=False):
        setting = ".".join(str(part) for part in problem["loc"])
        message = problem["msg"].removeprefix("Value error, ")
        message = message[:1].lower() + message[1:]
        if problem["type"] == "extra_forbidden":
            message = "no such setting"
        problems.append(f"{setting}: {message}" if setting else message)
    return "; ".join(problems)


_ComponentClass = TypeVar("_ComponentClass", bound=type[Component])

_registered_classes: dict[tuple[str, str], type[Component]] = {}
"""The classes that `register` registered, by kind and name."""
_registry_lock = threading.Lock()


def register(cls: _ComponentClass, name: str | None = None) -> _ComponentClass:
    """Register a component class in this process, so that `build` finds it by name; return it.

    The class is registered under its ``kind`` and ``name``. A class without a ``name`` of its own
    takes `name`; a class with one is registered under both. To register the same class again does
    nothing. A class of the same module and qualified name replaces the earlier one, so that a cell
    of a notebook can be run again. Raises `ConfigError` if the class has no kind or name, or if
    another class has the name. Can be used as a decorator. Thread-safe.
    """
    if not isinstance(cls, type) or not issubclass(cls, Component) or not hasattr(cls, "kind"):
        raise ConfigError(f"{cls!r} cannot be registered: it is not a component class with a kind")
    if "kind" in cls.__dict__ and "name" not in cls.__dict__:
        raise ConfigError(f"{cls.__name__} is the base class of a kind: register its subclasses")
    class_name = str(cls.__dict__.get("name") or name or getattr(cls, "name", ""))
    names = {class_name, name or class_name}
    if any(not new_name or ":" in new_name for new_name in names):
        raise ConfigError(f"{cls.__name__} needs a name without ':' to be registered")
    taken_name = next((taken for taken in names if _is_other_entry_point(cls, taken)), None)
    with _registry_lock:
        for new_name in names:
            registered_class = _registered_classes.get((cls.kind, new_name), cls)
            if not _is_same_class(cls, registered_class):
                taken_name = new_name
        if taken_name is None:
            cls.name = class_name
            _registered_classes.update({(cls.kind, new_name): cls for new_name in names})
            return cls
    raise ConfigError(
        f"another {cls.kind} is registered as {taken_name!r}: give {cls.__name__} another name"
    )


def _is_other_entry_point(cls: type[Component], name: str) -> bool:
    """Return whether an entry point registers another class than `cls` as `name`."""
    entry = _entry_points_by_name(cls.kind).get(name)
    if entry is None or (entry.module, entry.attr) == (cls.__module__, cls.__qualname__):
        return False  # the module of the class may still be executing, so it is not loaded
    try:
        return entry.load() is not cls
    except (ImportError, AttributeError):
        return True


def _is_same_class(new_class: type, old_class: type) -> bool:
    """Return whether both are one class, or one definition that was executed twice."""
    return new_class is old_class or (
        new_class.__module__ == old_class.__module__
        and new_class.__qualname__ == old_class.__qualname__
        and "<locals>" not in new_class.__qualname__
    )


@cache
def _entry_points_by_name(kind: str) -> Mapping[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=f"citewell.{kind}")}


def registered_names(kind: str) -> list[str]:
    """Return the sorted names of all components that are registered as `kind`."""
    with _registry_lock:
        names = {name for registered_kind, name in _registered_classes if registered_kind == kind}
    return sorted(names | _entry_points_by_name(kind).keys())


def component_class(kind: str, name: str) -> type[Component]:
    """Return the class registered as `name`, or raise `UnknownComponent`."""
    if (registered_class := _registered_classes.get((kind, name))) is not None:
        return registered_class
    if (new_name := RENAMED_PARTS.get((kind, name))) is not None:
        warn_renamed(kind, name, new_name)
        name = new_name
    entry = _entry_points_by_name(kind).get(name)
    if entry is None:
        error = UnknownComponent.of(kind, name, registered_names(kind))
        if kind in _entry_points_by_name("presets"):
            error.args = (f"{error}, and the presets that `rag {kind}s` lists",)
        raise error
    loaded_class = entry.load()
    if (
        not isinstance(loaded_class, type)
        or not issubclass(loaded_class, Component)
        or loaded_class.kind != kind
    ):
        raise ConfigError(f"the entry point {entry.value!r} ({name}) is not a {kind}")
    return loaded_class


def _adapt(kind: str, foreign: object) -> Component | None:
    """Return a component that wraps another framework's object; None if no adapter takes it.

    Adapters are entry points of the group ``citewell.adapter``. Their name is the package of the
    object's class or of one of its base classes.
    """
    packages = {base.__module__.partition(".")[0] for base in type(foreign).__mro__}
    for name, entry in _entry_points_by_name("adapter").items():
        if name in packages and (adapted := entry.load()(kind, foreign)) is not None:
            return build(kind, adapted)
    return None


def build(kind: str, config: Component | Mapping[str, Any] | str | object) -> Component:
    """Return the component of `kind` that `config` describes.

    `config` is a mapping ``{"type": name, ...}``, a registered name, a string ``"NAME:VALUE"`` that
    also sets the `Component.main_setting` of the component (``"openai:gpt-4.1-mini"``), the name of
    a preset (``"bge-small-en-v1.5"``), which a mapping may have as its ``type`` too, a component
    (returned unchanged), or an object of another framework that has an adapter. Raises
    `ConfigError`.
    """
    if isinstance(config, Component):
        if config.kind != kind:
            raise ConfigError(f"{config.name!r} is a {config.kind}, and a {kind} is needed here")
        return config
    if isinstance(config, str):
        config = _parse_config_string(kind, config)
    if not isinstance(config, Mapping) and (adapted := _adapt(kind, config)) is not None:
        return adapted
    if not isinstance(config, Mapping) or not isinstance(config.get("type"), str):
        raise _make_config_type_error(kind, config)
    if (preset := _find_preset(kind, config["type"])) is not None:
        config = {**config, **preset, **{k: v for k, v in config.items() if k != "type"}}
    return component_class(kind, config["type"]).from_config(config)


def _find_preset(kind: str, name: str) -> Mapping[str, Any] | None:
    """Return the configuration that a preset name stands for; registered names come first.

    Presets are entry points of the group ``citewell.presets``: the name is the kind, and the object
    is a function that returns the configuration for a name, or None.
    """
    entry = _entry_points_by_name("presets").get(kind)
    if entry is None or (kind, name) in _registered_classes or name in _entry_points_by_name(kind):
        return None
    preset: Mapping[str, Any] | None = entry.load()(name)
    return preset


def _parse_config_string(kind: str, config: str) -> dict[str, Any]:
    """Return the mapping that a string ``"NAME"`` or ``"NAME:VALUE"`` stands for."""
    name, separator, value = config.partition(":")
    if not separator:
        return {"type": name}
    main_setting = component_class(kind, name).main_setting
    if not main_setting:
        raise ConfigError(
            f"{config!r}: the {kind} {name!r} has no main setting that could be given after a "
            f"colon; write {{type: {name}, SETTING: VALUE}}"
        )
    if not value:
        raise ConfigError(
            f"{config!r}: give the {main_setting} after the colon", setting=main_setting
        )
    return {"type": name, main_setting: value}


def _make_config_type_error(kind: str, config: object) -> ConfigError:
    noun = kind.replace("_", " ")
    article = "an" if noun[0] in "aeiou" else "a"
    usage = (
        f"{article} {noun} must be an instance, a registered name, a string NAME:VALUE, or a "
        "mapping with a `type`"
    )
    if isinstance(config, type):
        return ConfigError(f"{usage}: {config.__name__} is a class (write {config.__name__}(...)?)")
    if not isinstance(config, Mapping):
        return ConfigError(f"{usage}, not an object of the class {type(config).__name__}")
    return ConfigError(usage)
