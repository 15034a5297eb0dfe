"""Styles of OpenDocument files: headings, hidden content and the numbers of lists."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from connectors.parsers.docx_numbering import format_count
from connectors.parsers.safe_zip import local_name

_MAX_ANCESTORS = 50  # of a style
_MAX_LEVEL = 10
_MAX_COUNT = 32_767
_HEADING_STYLE = re.compile(r"Heading(?:_20_|\s)?([1-9]|10)")
_NUMBER_FORMATS = {
    "1": "decimal",
    "a": "lowerLetter",
    "A": "upperLetter",
    "i": "lowerRoman",
    "I": "upperRoman",
}


def get_attribute(element: Any, name: str) -> str:
    """Return an attribute by its name without namespace; "" if there is none."""
    for key, value in element.attrib.items():
        if key.rpartition("}")[2] == name:
            return str(value)
    return ""


def get_count(element: Any, name: str, limit: int, default: int = 1) -> int:
    """Return an attribute as a number, not above `limit`."""
    value = get_attribute(element, name)
    return min(int(value), limit) if value.isdecimal() and len(value) < 10 else default


class ListLevel(NamedTuple):
    """How the items on one level of a list are numbered; `format` is "" for bullets."""

    format: str
    prefix: str = ""
    suffix: str = ""
    start: int = 1
    shown_levels: int = 1


class _Style(NamedTuple):
    parent: str
    level: int | None
    is_hidden: bool | None
    list_style: str


class OpenDocumentStyles:
    """The styles in the given XML roots; those in later ones replace earlier ones."""

    def __init__(self, *roots: Any) -> None:
        self._styles: dict[tuple[str, str], _Style] = {}
        self._list_styles: dict[str, dict[int, ListLevel]] = {}
        self.outline: dict[int, ListLevel] = {}
        for root in roots:
            for element in root.iter("{*}style", "{*}list-style", "{*}outline-style"):
                name = get_attribute(element, "name")
                if local_name(element) == "style":
                    family = get_attribute(element, "family")
                    self._styles[family, name] = _read_style(element)
                elif local_name(element) == "list-style":
                    self._list_styles[name] = _read_list_levels(element)
                else:
                    self.outline = _read_list_levels(element)

    def is_hidden(self, family: str, name: str) -> bool:
        """Whether a style or one that it is based on hides its content."""
        hidden = (style.is_hidden for _, style in self._iterate_ancestors(family, name))
        return next((value for value in hidden if value is not None), False)

    def find_level(self, name: str) -> int | None:
        """Return the level of the headings in a paragraph style, from 1; None for other styles."""
        for ancestor, style in self._iterate_ancestors("paragraph", name):
            if style.level is not None:
                return style.level or None
            if match := _HEADING_STYLE.fullmatch(ancestor):
                return int(match.group(1))
        match = _HEADING_STYLE.fullmatch(name)
        return int(match.group(1)) if match else None

    def is_title(self, name: str) -> bool:
        """Whether a paragraph style is that of the title, or is based on it."""
        if name == "Title":
            return True
        ancestors = self._iterate_ancestors("paragraph", name)
        return any("Title" in (ancestor, style.parent) for ancestor, style in ancestors)

    def find_list_levels(self, name: str) -> Mapping[int, ListLevel]:
        """Return the levels of a list style."""
        return self._list_styles.get(name, {})

    def _iterate_ancestors(self, family: str, name: str) -> Iterator[tuple[str, _Style]]:
        """Yield the name of a style, those that it is based on, and the styles."""
        for _ in range(_MAX_ANCESTORS):
            style = self._styles.get((family, name)) or self._styles.get(("", name))
            if style is None:
                return
            yield name, style
            name = style.parent


def _read_style(element: Any) -> _Style:
    is_hidden: bool | None = None
    for properties in element:
        display = get_attribute(properties, "display")
        visibility = get_attribute(properties, "visibility")
        if local_name(properties) == "text-properties" and display:
            is_hidden = display == "none"
        elif local_name(properties) == "drawing-page-properties" and visibility:
            is_hidden = visibility == "hidden"
        elif local_name(properties) == "table-properties" and display:
            is_hidden = display == "false"
    level = get_attribute(element, "default-outline-level")
    return _Style(
        parent=get_attribute(element, "parent-style-name"),
        level=min(int(level), _MAX_LEVEL) if level.isdecimal() and len(level) < 4 else None,
        is_hidden=is_hidden,
        list_style=get_attribute(element, "list-style-name"),
    )


def _read_list_levels(element: Any) -> dict[int, ListLevel]:
    levels: dict[int, ListLevel] = {}
    for child in element:
        is_number = local_name(child) in ("list-level-style-number", "outline-level-style")
        number_format = get_attribute(child, "num-format") if is_number else ""
        levels[get_count(child, "level", _MAX_LEVEL)] = ListLevel(
            _NUMBER_FORMATS.get(number_format, "decimal" if number_format else ""),
            get_attribute(child, "num-prefix"),
            get_attribute(child, "num-suffix"),
            get_count(child, "start-value", _MAX_COUNT),
            get_count(child, "display-levels", _MAX_LEVEL),
        )
    return levels


class ListCounter:
    """Counts the items of a list on all levels."""

    def __init__(self, levels: Mapping[int, ListLevel]) -> None:
        self._levels = levels
        self._counts: dict[int, int] = {}

    def count(self, number: int, start: int | None = None) -> str:
        """Return the label of the next item on level `number`, from 1; "" if it has no number."""
        level = self._levels.get(number)
        if level is None:
            return ""
        last = self._counts.get(number, level.start - 1)
        self._counts = {n: count for n, count in self._counts.items() if n < number}
        self._counts[number] = last + 1 if start is None else start
        if not level.format:
            return ""
        levels = range(max(1, number - level.shown_levels + 1), number + 1)
        parts: list[str] = []
        for n in levels:
            outer = self._levels.get(n, ListLevel("decimal"))
            if outer.format:
                parts.append(format_count(self._counts.get(n, outer.start), outer.format))
        return level.prefix + ".".join(parts) + level.suffix
