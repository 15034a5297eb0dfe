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

from connectors.base import PART
from rag.filters import All, AnyOf, Compare, Filter, Not
from rag.types import Document, Metadata
from rag.types.comparison import normalize_field

_Model = TypeVar("_Model", bound=BaseModel)

_FILE = "file://"
_NO_URI = "\ufffd"  # of no document
_MIN_ROOT_DEPTH = 2  # folders; a shorter common path says nothing about what was indexed
_TEXT_KEYS = frozenset(
    {
        "text",
        "quote",
        "question",
        "draft",
        "thoughts",
        "heading_context",
        "comment",
        "first_question",
    }
)
_MESSAGE_KEYS = frozenset({"error", "reason"})


class PublicUris:
    """The two spellings of the uris of an index; `uris` are those of its documents."""

    def __init__(self, uris: Iterable[str]) -> None:
        self._all_uris = list(uris)
        self._uris = [uri for uri in self._all_uris if uri.startswith(_FILE)]

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

    def translate(self, where: Filter) -> Filter:
        """Return a filter of a client for the uris of the index.

        Comparisons of uris are made with the public spelling, so that a filter cannot ask for the
        path on the server letter by letter; only a whole uri is understood in both spellings.
        """
        if isinstance(where, All | AnyOf):
            return type(where)(tuple(self.translate(item) for item in where.conditions))
        if isinstance(where, Not):
            return Not(self.translate(where.condition))
        if not isinstance(where, Compare) or where.op == "exists":
            return where
        field = normalize_field(where.field)
        if field == "uri" and isinstance(where.value, tuple):
            uris = [self.resolve(str(value)) for value in where.value]
            return Compare(where.field, "in", tuple(dict.fromkeys((*where.value, *uris))))
        if field not in ("uri", "part_of"):
            return where
        matching = [uri for uri in self._all_uris if where.matches(self._make_public(uri))]
        return Compare("uri", "in", tuple(matching) or (_NO_URI,))

    def _make_public(self, uri: str) -> Document:
        """Return a document with the public uri, and with that of the archive that it is in."""
        container, mark, _ = uri.partition(PART)
        metadata: Metadata = {"part_of": self.hide(container)} if mark else {}
        return Document.model_construct(uri=self.hide(uri), text="", metadata=metadata)

    def _hide_in_value(self, key: str, value: Any) -> Any:
        if isinstance(value, str):
            if key in _MESSAGE_KEYS:
                return self._hide_in_message(value)
            return self.hide(value) if key not in _TEXT_KEYS else value
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
    return [path for group in groups.values() for path in _find_roots(group)]
