"""Uris as clients see them: without the path on the server to the indexed folders.

``file:///srv/team/docs/a.md`` becomes ``file:///docs/a.md`` if all indexed files are below
``/srv/team/docs``. Other uris stay as they are.
"""

from __future__ import annotations

import posixpath
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence, Set
from functools import cached_property
from typing import Any, TypeVar
from urllib.parse import unquote

from pydantic import BaseModel

_Model = TypeVar("_Model", bound=BaseModel)

_FILE = "file://"
_MIN_ROOT_DEPTH = 2  # folders; a shorter common path says nothing about what was indexed
_URI_KEYS = frozenset({"uri", "source"})
_MESSAGE_KEYS = frozenset({"error", "reason"})


class PublicUris:
    """The two spellings of the uris of an index; `uris` are those of its documents."""

    def __init__(self, uris: Iterable[str]) -> None:
        self._uris = [uri for uri in uris if uri.startswith(_FILE)]

    @cached_property
    def _aliases(self) -> dict[str, str]:
        """The public prefix of each root, the longest roots first."""
        aliases: dict[str, str] = {}
        folders = {posixpath.dirname(uri.removeprefix(_FILE)) for uri in self._uris}
        for root in sorted(_find_roots(folders)) if folders else ():
            name = root.rpartition("/")[2]
            alias, number = f"{_FILE}/{name}/", 2
            while alias in aliases.values():
                alias, number = f"{_FILE}/{name}-{number}/", number + 1
            aliases[f"{_FILE}{root}/"] = alias
        return dict(sorted(aliases.items(), key=lambda item: -len(item[0])))

    def hide(self, uri: str) -> str:
        """Return the public spelling of a uri."""
        for root, alias in self._aliases.items():
            if uri.startswith(root):
                return alias + uri.removeprefix(root)
        return uri

    def resolve(self, uri: str) -> str:
        """Return the uri that a client means by its public spelling.

        A spelling from before other folders were indexed is understood if it fits one document.
        """
        for root, alias in self._aliases.items():
            if uri.startswith(root):
                return uri
            if uri.startswith(alias):
                return root + uri.removeprefix(alias)
        if uri.startswith(_FILE):
            tail = uri.removeprefix(_FILE)
            matches = [stored for stored in self._uris if stored.endswith(tail)]
            if len(matches) == 1:
                return matches[0]
        return uri

    def hide_in(self, model: _Model) -> _Model:
        """Return a model with the public spelling of all its uris."""
        if not self._aliases:
            return model
        return type(model).model_validate(self._hide_in_value("", model.model_dump(mode="json")))

    def resolve_in(self, value: Any) -> Any:
        """Return a filter of a client, in its JSON form, with the uris that it means."""
        if isinstance(value, str):
            return self.resolve(value) if value.startswith(_FILE) else value
        if isinstance(value, Mapping):
            return {key: self.resolve_in(item) for key, item in value.items()}
        return [self.resolve_in(item) for item in value] if isinstance(value, list) else value

    def _hide_in_value(self, key: str, value: Any) -> Any:
        if isinstance(value, str):
            if key in _URI_KEYS:
                return self.hide(value)
            return self._hide_in_message(value) if key in _MESSAGE_KEYS else value
        if isinstance(value, Mapping):
            return {name: self._hide_in_value(name, item) for name, item in value.items()}
        if isinstance(value, Sequence):
            return [self._hide_in_value(key, item) for item in value]
        return value

    def _hide_in_message(self, message: str) -> str:
        for root, alias in self._aliases.items():
            message = message.replace(root, alias)
            path, public_path = (unquote(uri.removeprefix(_FILE)) for uri in (root, alias))
            message = message.replace(path, public_path.lstrip("/"))
        return message


def _find_roots(folders: Set[str]) -> list[str]:
    """Return the folders above all `folders`, split where their common path is too short."""
    root = posixpath.commonpath(folders)
    parts = [part for part in root.split("/") if part]
    if len(parts) >= _MIN_ROOT_DEPTH or (parts and len(folders) == 1):
        return [root]
    groups: defaultdict[str, set[str]] = defaultdict(set)
    for folder in folders - {root}:
        groups[folder.split("/")[len(parts) + 1]].add(folder)
    if root in folders and parts:
        return [root]
    return [found for group in groups.values() for found in _find_roots(group)]
