"""Loading of YAML 1.2: the core schema, and dates."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import yaml

_RESOLVERS = (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", r"~|null|Null|NULL|", "~nN"),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    (
        "float",
        r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        "-+.0123456789",
    ),
    (
        "timestamp",
        r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
        r"|[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:[Tt]|[ \t]+)[0-9]{1,2}:[0-9]{2}:[0-9]{2}"
        r"(?:\.[0-9]*)?(?:[ \t]*(?:Z|[-+][0-9]{1,2}(?::?[0-9]{2})?))?",
        "0123456789",
    ),
)
"""The tags of plain scalars, with their form and first characters, in order of precedence.

The forms are those of the core schema of YAML 1.2 (yaml.org/spec/1.2.2, section 10.3.2), and dates,
which YAML 1.1 has. Other plain scalars (``no``, ``on``, ``12:30``, ``1_000``) are strings.
"""


@lru_cache(maxsize=1)
def make_yaml_loader() -> type[yaml.SafeLoader]:
    """Return the class of a loader for YAML 1.2, which rejects aliases.

    Nested aliases can expand a few lines to gigabytes of text.
    """
    import yaml

    class Yaml12Loader(yaml.SafeLoader):
        yaml_implicit_resolvers: dict[str, Any] = {}

        def compose_node(self, parent: Any, index: Any) -> Any:
            if self.check_event(yaml.AliasEvent):
                raise yaml.YAMLError("an alias")
            return super().compose_node(parent, index)

        def construct_yaml_int(self, node: Any) -> Any:
            return read_yaml_integer(self.construct_scalar(node))

        def construct_yaml_timestamp(self, node: Any) -> Any:
            try:
                return super().construct_yaml_timestamp(node)
            except ValueError:  # there is no such date
                return self.construct_scalar(node)

    add_core_resolvers(Yaml12Loader)
    for name in ("int", "timestamp"):
        constructor = getattr(Yaml12Loader, f"construct_yaml_{name}")
        Yaml12Loader.add_constructor(f"tag:yaml.org,2002:{name}", constructor)
    return Yaml12Loader


@lru_cache(maxsize=1)
def make_yaml_composer() -> type[Any]:
    """Return the class of a fast loader that composes nodes of YAML 1.2, with aliases."""
    import yaml

    class Yaml12Composer(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
        pass

    add_core_resolvers(Yaml12Composer)
    return Yaml12Composer


def add_core_resolvers(loader: Any) -> None:
    """Make the class of a loader resolve plain scalars as YAML 1.2 does."""
    loader.yaml_implicit_resolvers = {}
    for name, pattern, first in _RESOLVERS:
        characters: list[str | None] = [*first, *([""] if name == "null" else [])]
        loader.add_implicit_resolver(
            f"tag:yaml.org,2002:{name}", re.compile(rf"(?:{pattern})\Z"), characters
        )


def read_yaml_integer(text: str) -> int | str:
    """Return the value of an integer; one of thousands of digits is returned as text."""
    if text.startswith(("0o", "0x")):
        return int(text[2:], 8 if text[1] == "o" else 16)
    try:
        return int(text)
    except ValueError:
        return text
