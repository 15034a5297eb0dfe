"""Styles of Word documents: outline levels, numbering and formats with what they inherit."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from connectors.parsers.office_parts import WORD

BODY_LEVEL = 9  # of paragraphs that are not headings; those have the levels 0 to 8
_MAX_ANCESTORS = 50  # of a style
_DEFAULT_HALF_POINTS = 20
_HEADING_NAME = re.compile(
    r"""(?ix) (?:.*\ )?
    (?: heading | headline | überschrift | berschrift | titre | título | ttulo | titolo | kop
      | rubrik | overskrift | otsikko | nagłówek | nagwek | заголовок | nadpis | címsor | cmsor
      | titlu | başlık | balk | επικεφαλίδα | antraštė | virsraksts | pealkiri | naslov
      | заглавие | encabezado | intestazione | cabeçalho | כותרת | عنوان | หัวเรื่อง | đầu\ đề
      | judul | heading\ level | 标题 | 標題 | 見出し | 제목 ) [\s_-]* ([1-9])"""
)
_HEADING_WITHOUT_LEVEL = ("heading", "überschrift", "заголовок")  # used by Apple Pages and others
_CONTENTS_NAME = re.compile(
    r"(?i)(?:toc|verzeichnis|tm|tdc|sommario|inhopg|目录|目錄|目次)[ _-]*\d"
)


class RunFormat(NamedTuple):
    """The format of text as far as it is set: None where it is not."""

    bold: bool | None = None
    hidden: bool | None = None
    half_points: int | None = None


class StyleNumbering(NamedTuple):
    """The numbering of a style: the list, its level, and the style that names the list."""

    list_id: str | None
    level: int | None
    style_id: str


class _Style(NamedTuple):
    kind: str
    name: str
    parent: str
    level: int | None
    list_id: str | None
    list_level: int | None
    format: RunFormat


class StyleSheet:
    """The styles of a Word document; `root` is that of its styles, None if it has none."""

    def __init__(self, root: Any) -> None:
        self._styles: dict[str, _Style] = {}
        self._levels: dict[str, int] = {}
        self._formats: dict[str, RunFormat] = {}
        self._numberings: dict[str, StyleNumbering] = {}
        self.default_style_id = ""
        self.default_format = RunFormat(half_points=_DEFAULT_HALF_POINTS)
        for element in root if root is not None else ():
            if element.tag == f"{WORD}style":
                style_id = element.get(f"{WORD}styleId", "")
                self._styles.setdefault(style_id, _read_style(element))
                is_default = is_on(element.get(f"{WORD}default", "0"))
                if is_default and element.get(f"{WORD}type") == "paragraph":
                    self.default_style_id = style_id
            elif element.tag == f"{WORD}docDefaults":
                properties = next(element.iter(f"{WORD}rPr"), None)
                size = read_run_format(properties).half_points
                self.default_format = RunFormat(half_points=size or _DEFAULT_HALF_POINTS)

    def get_level(self, style_id: str) -> int | None:
        """Return the outline level that a paragraph style gives, 0 to 9; None if it gives none."""
        if style_id not in self._levels:
            self._levels[style_id] = self._find_level(style_id)
        level = self._levels[style_id]
        return None if level < 0 else level

    def _find_level(self, style_id: str) -> int:
        own = self._styles.get(style_id)
        if own is None:
            match = _HEADING_NAME.fullmatch(style_id)
            return int(match.group(1)) - 1 if match else -1
        if _CONTENTS_NAME.match(own.name) or _CONTENTS_NAME.match(style_id):
            return BODY_LEVEL
        if own.name.casefold() in _HEADING_WITHOUT_LEVEL and own.level is None:
            return 0
        for ancestor_id, style in self._iterate_ancestors(style_id):
            if style.level is not None:
                return style.level
            if match := _HEADING_NAME.fullmatch(style.name) or _HEADING_NAME.fullmatch(ancestor_id):
                return int(match.group(1)) - 1
        return -1

    def is_title(self, style_id: str) -> bool:
        """Whether a style is that of the title of the document, or is based on it."""
        if style_id not in self._styles:
            return style_id == "Title"
        if self._styles[style_id].name.casefold() == "subtitle":
            return False
        return any(
            style.name.casefold() == "title" for _, style in self._iterate_ancestors(style_id)
        )

    def is_strong(self, style_id: str) -> bool:
        """Whether a style is that of important text."""
        return style_id in self._styles and self._styles[style_id].name.casefold() == "strong"

    def get_format(self, style_id: str) -> RunFormat:
        """Return the format that a style and those it is based on give to text."""
        if style_id not in self._formats:
            bold = hidden = half_points = None
            for _, style in self._iterate_ancestors(style_id):
                bold = style.format.bold if bold is None else bold
                hidden = style.format.hidden if hidden is None else hidden
                half_points = half_points or style.format.half_points
            self._formats[style_id] = RunFormat(bold, hidden, half_points)
        return self._formats[style_id]

    def get_numbering(self, style_id: str) -> StyleNumbering:
        """Return the numbering that a style and those it is based on give to a paragraph."""
        if style_id not in self._numberings:
            list_id, level = None, None
            owner = style_id
            for ancestor_id, style in self._iterate_ancestors(style_id):
                level = style.list_level if level is None else level
                if style.list_id is not None:
                    list_id, owner = style.list_id, ancestor_id
                    break
            self._numberings[style_id] = StyleNumbering(list_id, level, owner)
        return self._numberings[style_id]

    def _iterate_ancestors(self, style_id: str) -> Iterator[tuple[str, _Style]]:
        """Yield the id of a style, those that it is based on, and the styles."""
        for _ in range(_MAX_ANCESTORS):
            style = self._styles.get(style_id)
            if style is None:
                return
            yield style_id, style
            style_id = style.parent


def _read_style(element: Any) -> _Style:
    name = parent = ""
    level = list_id = list_level = None
    run_format = RunFormat()
    for child in element:
        if child.tag == f"{WORD}name":
            name = child.get(f"{WORD}val", "")
        elif child.tag == f"{WORD}basedOn":
            parent = child.get(f"{WORD}val", "")
        elif child.tag == f"{WORD}rPr":
            run_format = read_run_format(child)
        elif child.tag == f"{WORD}pPr":
            level = read_number(child.find(f"{WORD}outlineLvl"), BODY_LEVEL)
            list_id, list_level = read_list_reference(child)
    kind = element.get(f"{WORD}type", "")
    return _Style(kind, name, parent, level, list_id, list_level, run_format)


def read_list_reference(properties: Any) -> tuple[str | None, int | None]:
    """Return the list that the properties of a paragraph name, and the level in it."""
    numbering = properties.find(f"{WORD}numPr")
    if numbering is None:
        return None, None
    list_id = numbering.find(f"{WORD}numId")
    return (
        None if list_id is None else list_id.get(f"{WORD}val"),
        read_number(numbering.find(f"{WORD}ilvl"), 8),
    )


def read_run_format(properties: Any) -> RunFormat:
    """Read what the properties of a run set; `properties` may be None."""
    bold = hidden = half_points = None
    for child in properties if properties is not None else ():
        if child.tag == f"{WORD}b":
            bold = is_on(child.get(f"{WORD}val", "1"))
        elif child.tag == f"{WORD}vanish":
            hidden = is_on(child.get(f"{WORD}val", "1"))
        elif child.tag == f"{WORD}sz":
            half_points = read_number(child, 3_276)
    return RunFormat(bold, hidden, half_points)


def is_on(value: str) -> bool:
    """Whether the value of a switch is "on"."""
    return value not in ("0", "false", "off", "none")


def read_number(element: Any, limit: int) -> int | None:
    """Return the value of an element as a number from 0 to `limit`; None if it has none."""
    value = "" if element is None else element.get(f"{WORD}val", "")
    return min(int(value), limit) if value.isdecimal() and len(value) < 10 else None
