"""Automatic numbers of Word documents, as the reader sees them: "3.2", "(b)", "iv."."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from connectors.parsers.docx_styles import StyleSheet, read_number
from connectors.parsers.office_parts import WORD

LEVEL_COUNT = 9
_MAX_LABEL_CHARACTERS = 100
_MAX_COUNT = 32_767
_MAX_LINKS = 20
_PLACEHOLDER = re.compile(r"%([1-9])")
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_ALPHABETS = {
    "lowerLetter": _LETTERS,
    "upperLetter": _LETTERS.upper(),
    "russianLower": "абвгдежзиклмнопрстуфхцчшщыэюя",
    "russianUpper": "абвгдежзиклмнопрстуфхцчшщыэюя".upper(),
    "hebrew2": "אבגדהוזחטיכלמנסעפצקרשת",
    "ganada": "가나다라마바사아자차카타파하",
    "aiueoFullWidth": "アイウエオカキクケコサシスセソタチツテトナニヌネノハヒフヘホ",
    "aiueo": "アイウエオカキクケコサシスセソタチツテトナニヌネノハヒフヘホ",
    "ideographTraditional": "甲乙丙丁戊己庚辛壬癸",
    "ideographZodiac": "子丑寅卯辰巳午未申酉戌亥",
}
_CHINESE_FORMATS = frozenset(
    (
        "chineseCounting",
        "chineseCountingThousand",
        "japaneseCounting",
        "taiwaneseCounting",
        "taiwaneseCountingThousand",
        "koreanCounting",
    )
)
_CHINESE_DIGITS = "〇一二三四五六七八九"
_ROMAN = (
    *((1000, "m"), (900, "cm"), (500, "d"), (400, "cd"), (100, "c"), (90, "xc"), (50, "l")),
    *((40, "xl"), (10, "x"), (9, "ix"), (5, "v"), (4, "iv"), (1, "i")),
)
_CARDINALS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen twenty"
).split()
_ORDINALS = (
    "zeroth first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth "
    "thirteenth fourteenth fifteenth sixteenth seventeenth eighteenth nineteenth twentieth"
).split()


class Label(NamedTuple):
    """The number or bullet before a paragraph."""

    text: str
    """What the reader sees, "" for a bullet."""
    level: int
    """Level in the list, from 0."""
    is_bullet: bool = False
    is_decimal: bool = False
    """Whether it is a number such as ``3.2``."""

    @property
    def is_item(self) -> bool:
        """Whether a paragraph with this label is an item of a list."""
        return self.is_bullet or bool(self.text)


class _Level(NamedTuple):
    start: int = 1
    format: str = "decimal"
    text: str = ""
    restart: int | None = None
    is_legal: bool = False
    style_id: str = ""


class _List(NamedTuple):
    definition_id: str
    levels: Mapping[int, _Level]
    starts: Mapping[int, int]


class Numbering:
    """The lists of a Word document and where each of them has arrived.

    `root` is that of the numbering part, None if there is none. The labels of paragraphs must be
    asked for in the order of the document.
    """

    def __init__(self, root: Any, styles: StyleSheet) -> None:
        self._styles = styles
        self._counts: dict[str, list[int | None]] = {}
        self._begun: set[tuple[str, int]] = set()
        definitions: dict[str, dict[int, _Level]] = {}
        self._linked_styles: dict[str, str] = {}
        self._lists: dict[str, _List] = {}
        for element in root if root is not None else ():
            if element.tag == f"{WORD}abstractNum":
                definition_id = element.get(f"{WORD}abstractNumId", "")
                definitions[definition_id] = _read_levels(element)
                link = element.find(f"{WORD}numStyleLink")
                if link is not None:
                    self._linked_styles[definition_id] = link.get(f"{WORD}val", "")
        for element in root if root is not None else ():
            if element.tag == f"{WORD}num":
                self._lists[element.get(f"{WORD}numId", "")] = _read_list(element, definitions)

    def find_label(
        self, style_id: str, list_id: str | None, level: int | None, is_counted: bool = True
    ) -> Label | None:
        """Return the label of the next paragraph; None if it has none.

        `list_id` and `level` are those that the paragraph names itself, None if only its style
        does. A paragraph with no visible text at all is not counted.
        """
        inherited = self._styles.get_numbering(style_id)
        own_list_id = list_id
        list_id = inherited.list_id if list_id is None else list_id
        if list_id is None or list_id == "0" or not is_counted:
            return None
        numbered_list = self._find_list(list_id)
        if numbered_list is None:
            return None
        if level is None:
            level = self._find_level(numbered_list, style_id, inherited.style_id)
        if level is None:
            level = inherited.level if own_list_id is None or inherited.level else 0
        return self._count(list_id, numbered_list, level or 0)

    def _find_list(self, list_id: str) -> _List | None:
        """Return a list; that of the style to which its definition refers, if it does."""
        for _ in range(_MAX_LINKS):
            numbered_list = self._lists.get(list_id)
            if numbered_list is None:
                return None
            style_id = self._linked_styles.get(numbered_list.definition_id)
            linked_id = self._styles.get_numbering(style_id).list_id if style_id else None
            if linked_id is None or linked_id == list_id:
                return numbered_list
            list_id = linked_id
        return None

    def _find_level(self, numbered_list: _List, *style_ids: str) -> int | None:
        """Return the level of a list to which one of the styles is linked."""
        for style_id in style_ids:
            for number, level in numbered_list.levels.items():
                if style_id and level.style_id == style_id:
                    return number
        return None

    def _count(self, list_id: str, numbered_list: _List, number: int) -> Label:
        levels = numbered_list.levels
        level = levels.get(number, _Level(text=f"%{number + 1}."))
        counts = self._counts.setdefault(numbered_list.definition_id, [None] * LEVEL_COUNT)
        last, start = counts[number], numbered_list.starts.get(number)
        if start is not None and (list_id, number) not in self._begun:
            counts[number] = start
        elif last is None:
            counts[number] = level.start if start is None else start
        else:
            counts[number] = min(last + 1, _MAX_COUNT)
        self._begun.add((list_id, number))
        for i in range(number + 1, LEVEL_COUNT):
            restart = levels.get(i, _Level()).restart
            if restart is None or number < restart:
                counts[i] = None
        if level.format == "bullet":
            return Label("", number, is_bullet=True)
        text = _format_label(level, levels, counts)
        if not any(map(str.isalnum, text)):
            return Label("", number, is_bullet=bool(text))
        is_decimal = level.format in ("decimal", "decimalZero") and "%" in level.text
        return Label(text, number, is_decimal=is_decimal)


def _read_levels(element: Any) -> dict[int, _Level]:
    levels: dict[int, _Level] = {}
    for child in element:
        if child.tag == f"{WORD}lvl":
            number = _read_level_number(child)
            levels.setdefault(len(levels) if number is None else number, _read_level(child))
    return levels


def _read_level_number(element: Any) -> int | None:
    value = element.get(f"{WORD}ilvl", "")
    return int(value) if value.isdecimal() and len(value) == 1 and value != "9" else None


def _read_level(element: Any) -> _Level:
    def read_value(name: str) -> str | None:
        child = element.find(f"{WORD}{name}")
        return None if child is None else child.get(f"{WORD}val", "")

    start = read_number(element.find(f"{WORD}start"), _MAX_COUNT)
    legal = element.find(f"{WORD}isLgl")
    return _Level(
        start=0 if start is None else start,
        format=_read_format(element),
        text=(read_value("lvlText") or "")[:_MAX_LABEL_CHARACTERS],
        restart=read_number(element.find(f"{WORD}lvlRestart"), LEVEL_COUNT),
        is_legal=legal is not None and legal.get(f"{WORD}val", "1") not in ("0", "false"),
        style_id=read_value("pStyle") or "",
    )


def _read_format(element: Any) -> str:
    for child in element.iter(f"{WORD}numFmt"):
        value = str(child.get(f"{WORD}val", "decimal"))
        if value != "custom":
            return value
        first = child.get(f"{WORD}format", "").partition(",")[0].strip()
        if first.isdecimal() and len(first) <= LEVEL_COUNT:  # "001, 002, 003, ..."
            return f"digits{len(first)}"
    return "decimal"


def _read_list(element: Any, definitions: Mapping[str, Mapping[int, _Level]]) -> _List:
    reference = element.find(f"{WORD}abstractNumId")
    definition_id = "" if reference is None else reference.get(f"{WORD}val", "")
    levels = definitions.get(definition_id, {})
    starts: dict[int, int] = {}
    for override in element.iter(f"{WORD}lvlOverride"):
        number = _read_level_number(override)
        if number is None:
            continue
        own_level = override.find(f"{WORD}lvl")
        if own_level is not None:
            levels = {**levels, number: _read_level(own_level)}
        start = read_number(override.find(f"{WORD}startOverride"), _MAX_COUNT)
        if start is not None:
            starts[number] = start
    return _List(definition_id, levels, starts)


def _format_label(level: _Level, levels: Mapping[int, _Level], counts: Sequence[int | None]) -> str:
    def format_part(match: re.Match[str]) -> str:
        number = int(match.group(1)) - 1
        part = levels.get(number, _Level())
        count = counts[number]
        is_plain = level.is_legal and part.format not in ("decimal", "none", "bullet")
        return format_count(
            part.start if count is None else count, "decimal" if is_plain else part.format
        )

    return " ".join(_PLACEHOLDER.sub(format_part, level.text).split())[:_MAX_LABEL_CHARACTERS]


def format_count(count: int, number_format: str) -> str:
    """Return a number in one of Word's formats, in digits if the format is not known."""
    if number_format in ("none", "bullet"):
        return ""
    if number_format in _ALPHABETS and count > 0:
        alphabet = _ALPHABETS[number_format]
        rounds, i = divmod(count - 1, len(alphabet))
        return alphabet[i] * min(rounds + 1, 100)
    if number_format in ("lowerRoman", "upperRoman") and count > 0:
        roman = format_roman(count)
        return roman.upper() if number_format == "upperRoman" else roman
    if number_format == "decimalZero":
        return f"{count:02}"
    if number_format.startswith("digits"):
        return f"{count:0{number_format[6:]}}"
    if number_format == "ordinal":
        tens = count % 100 // 10
        return f"{count}{'th' if tens == 1 else {1: 'st', 2: 'nd', 3: 'rd'}.get(count % 10, 'th')}"
    if number_format == "cardinalText" and count < len(_CARDINALS):
        return _CARDINALS[count].capitalize()
    if number_format == "ordinalText" and count < len(_ORDINALS):
        return _ORDINALS[count].capitalize()
    if number_format.startswith("decimalEnclosedCircle") and 0 < count <= 20:
        return chr(ord("①") + count - 1)
    if number_format == "numberInDash":
        return f"- {count} -"
    if number_format in _CHINESE_FORMATS and count < 100:
        return _format_chinese(count)
    return str(count)


def format_roman(count: int) -> str:
    """Return a number from 1 on as a Roman one, in lower case."""
    pieces: list[str] = []
    for value, letters in _ROMAN:
        pieces.append(letters * (count // value))
        count %= value
    return "".join(pieces)


def _format_chinese(count: int) -> str:
    tens, ones = divmod(count, 10)
    if not tens:
        return _CHINESE_DIGITS[ones]
    return (
        ("" if tens == 1 else _CHINESE_DIGITS[tens]) + "十" + (_CHINESE_DIGITS[ones] * (ones > 0))
    )
