"""Words of a PDF that are divided at the end of a line: which hyphens belong to the word."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import pairwise

from connectors.parsers.pdf_layout import LINE_END_HYPHEN, Line
from rag.types import Table

_HYPHENS = f"{LINE_END_HYPHEN}\u00ad\u2010-"
_LAST_TOKEN = re.compile(rf"(?<!\S)(\S*\w)[{_HYPHENS}]\s*+$")
_LAST_PART = re.compile(rf"[^\s{LINE_END_HYPHEN}]++$")
_FIRST_PART = re.compile(rf"[^\s{LINE_END_HYPHEN}]++")
_MAX_WORD = 100  # characters
_DIVIDED_TOKEN = re.compile(rf"(?<!\S)[^\s{LINE_END_HYPHEN}]*+{LINE_END_HYPHEN}\S*+")
_FIRST_TOKEN = re.compile(r"\s*(\w\S*)")
_WORD = re.compile(r"[^\W\d_]+(?:-[^\W\d_]+)*")
_LAST_LETTERS = re.compile(r"(?<![^\W\d_])[^\W\d_]++$")
_LAST_CHAIN = re.compile(r"(?<![^\W\d_])[^\W\d_]++(?:-[^\W\d_]++)*+$")
_FIRST_LETTERS = re.compile(r"[^\W\d_]+")
_ADDRESS = re.compile(
    r"(?i)://|www\.|@|\\|^[./~]{0,8}/[\w.-]{1,80}/|[\w-]\.(?:com|org|net|edu|gov|io|de|fr|uk|eu|info)\b"
    r"|_\w"
)
_CONJUNCTION = re.compile(
    r"(?:und|oder|bzw|sowie|bis|and|or|to|et|ou|y|o|e|en|of|och|og)(?![\w-])[.,]?"
)
# First parts that English writes with a hyphen, and endings that show a divided word after them.
_HYPHENATED_PREFIXES = frozenset(["self", "well", "non", "quasi", "ill", "vice"])
_HYPHENATED_ADJECTIVES = frozenset(["high", "low", "long", "short", "large", "small", "real"])
_MIN_LONG_WORD = 7  # characters; "high-dimensional", but "highlights"
_SUFFIX = re.compile(r"(?:ish|ness|less|ing|ed|er|est|ly|ment|ful|fish|hood|sense|ity|ion)\w?\b")
_HYPHENATED_ENDINGS = frozenset(
    ["based", "oriented", "driven", "friendly", "specific", "aware", "sized", "owned", "known"]
)
_JOINED_PREFIXES = frozenset(
    "anti counter extra inter intra macro micro multi non over post pre pro re semi sub super trans"
    " ultra under un".split()
)
_MIN_LINE = 30  # characters of a line of text
_MIN_LINES = 100
_MAX_END_SHARE = 0.02  # of the lines that end with a hyphen, in a document without divided words
_MIN_HYPHENATED = 2
_LINKING_WORDS = frozenset(["of", "the", "to", "and", "in", "by", "a", "for", "on", "up", "de"])


def join_divided_words(pages: list[list[Line]]) -> list[list[Line]]:
    """Join lines at whose end a word is divided, and drop the hyphens that divide words.

    A hyphen that belongs to its word stays: the document has the word with the hyphen elsewhere,
    or the word has digits or other hyphens, or it is an address (see `choose_hyphen`).
    """
    lines = [line for page in pages for line in page]
    if not any(_ends_with_hyphen(line) or _has_divided_word(line) for line in lines):
        return [_clean_page(page) for page in pages]
    token_counts: Counter[str] = Counter()
    for page in pages:
        token_counts.update("\n".join(_list_whole_words(page)).lower().split())
    word_counts: Counter[str] = Counter()
    for token, count in token_counts.items():
        for word in _WORD.findall(token):
            word_counts[word] += count
    choose = partial(
        choose_hyphen, word_counts=word_counts, divides=_divides_words(lines, word_counts)
    )
    for line in filter(_has_divided_word, lines):
        _join_words_in_table(line, choose)
    return [_clean_page(_join_page(page, choose)) for page in pages]


def _divides_words(lines: Sequence[Line], word_counts: Mapping[str, int]) -> bool:
    """Whether the program that wrote a document divided words at line ends.

    If it did not, each hyphen at the end of a line belongs to its word, and there are few: none of
    them divides a word that the document has elsewhere.
    """
    hyphenated_count = end_count = line_count = 0
    for line, following in pairwise(lines):
        line_count += len(line.text) >= _MIN_LINE
        if line.marks or not _ends_with_hyphen(line):
            continue
        end_count += 1
        first, second = (
            _LAST_CHAIN.search(line.text.rstrip()[-_MAX_WORD:-1]),
            _FIRST_LETTERS.match(following.text.lstrip()[:_MAX_WORD]),
        )
        if first and second:
            left, right = first[0].lower(), second[0].lower()
            if word_counts.get(left + right):
                return True
            hyphenated_count += word_counts.get(f"{left}-{right}", 0) > 0
    is_rare = line_count >= _MIN_LINES and end_count <= _MAX_END_SHARE * line_count
    return not (is_rare or hyphenated_count >= _MIN_HYPHENATED)


def _list_whole_words(page: Iterable[Line]) -> Iterator[str]:
    """Yield the text of the lines without the words that may be divided between two lines."""
    is_divided = False
    for line in page:
        words = _DIVIDED_TOKEN.sub(" ", line.text) if _has_divided_word(line) else line.text
        if is_divided:
            words = words.lstrip().partition(" ")[2]
        is_divided = _ends_with_hyphen(line)
        yield words.rstrip().rpartition(" ")[0] if is_divided else words


def _ends_with_hyphen(line: Line) -> bool:
    return line.text.rstrip()[-1:] in _HYPHENS and bool(line.text.strip()) and not line.marks


def _has_divided_word(line: Line) -> bool:
    """Whether a word is divided within a cell of a table."""
    return bool(line.marks) and LINE_END_HYPHEN in line.text


def _join_words_in_table(line: Line, choose: Callable[[str, str], str]) -> None:
    """Write the hyphens of divided words in a table, and move its marks."""
    hyphens = list(_choose_hyphens(line.text, choose))

    def move(offset: int) -> int:
        return offset + sum(len(hyphen) - 1 for position, hyphen in hyphens if position < offset)

    marks: list[tuple[int, int, Table | int]] = []
    for start, end, value in line.marks:
        if isinstance(value, Table):
            fields = {
                "name": _write_hyphens(value.name, choose),
                "columns": tuple(_write_hyphens(name, choose) for name in value.columns),
                "header": move(start + value.header) - move(start),
            }
            value = value.model_copy(update=fields)
        marks.append((move(start), move(end), value))
    line.text = _write_hyphens(line.text, choose)
    line.marks = tuple(marks)


def _choose_hyphens(text: str, choose: Callable[[str, str], str]) -> Iterator[tuple[int, str]]:
    """Yield the position of each hyphen at which a word is divided, and what it becomes."""
    for match in re.finditer(LINE_END_HYPHEN, text):
        start, end = match.span()
        first = _LAST_PART.search(text[max(0, start - _MAX_WORD) : start])
        second = _FIRST_PART.match(text[end : end + _MAX_WORD])
        yield start, choose(first[0], second[0]) if first and second else "-"


def _write_hyphens(text: str, choose: Callable[[str, str], str]) -> str:
    """Return a text with the hyphens that belong to its words, and without the others."""
    parts: list[str] = []
    end = 0
    for position, hyphen in _choose_hyphens(text, choose):
        parts += [text[end:position], hyphen]
        end = position + 1
    return "".join([*parts, text[end:]])


def _join_page(page: list[Line], choose: Callable[[str, str], str]) -> list[Line]:
    joined: list[Line] = []
    for line in page:
        previous = joined[-1] if joined else None
        if previous is None or line.marks or not _ends_with_hyphen(previous):
            joined.append(line)
            continue
        first = _LAST_TOKEN.search(previous.text[-200:])
        second = _FIRST_TOKEN.match(line.text[:200])
        is_certain = previous.text.rstrip()[-1] in f"{LINE_END_HYPHEN}\u00ad"
        if not first or not second or not (is_certain or _is_divided(first[1], second[1])):
            joined.append(line)
            continue
        hyphen = choose(first[1], second[1])
        previous.text = previous.text.rstrip()[:-1] + hyphen + line.text.lstrip()
        previous.x_min, previous.x_max = (
            min(previous.x_min, line.x_min),
            max(previous.x_max, line.x_max),
        )
        previous.y_min = min(previous.y_min, line.y_min)
    return joined


def _is_divided(first: str, second: str) -> bool:
    """Whether a plain hyphen at the end of a line stands within a word."""
    return not second[0].isupper() or _ADDRESS.search(first) is not None


def choose_hyphen(
    first: str, second: str, word_counts: Mapping[str, int], *, divides: bool = True
) -> str:
    """Return what stands between the two parts of a divided word: "-", "" or "- ".

    `first` and `second` are the characters before and after the hyphen, up to white space;
    `word_counts` counts the words of the document in lower case, and `divides` is whether words
    are divided in it.
    """
    if _CONJUNCTION.fullmatch(second):
        return "- "  # as in "pre- and postwar"
    if _ADDRESS.search(f"{first}-{second}") or not first[-1].isalpha() or not second[0].isalpha():
        return "-"
    start, end = _LAST_LETTERS.search(first), _FIRST_LETTERS.match(second)
    if start is None or end is None or any(c.isdigit() for c in start[0] + end[0]):
        return "-"
    left, right = start[0], end[0]
    joined_count = word_counts.get((left + right).lower(), 0)
    hyphenated_count = word_counts.get(f"{left}-{right}".lower(), 0)
    word_match = _LAST_CHAIN.search(first)
    chain = word_match[0].lower().split("-") if word_match else [left.lower()]
    is_known_chain = len(chain) > 1 and word_counts.get("-".join([*chain, right.lower()]))
    if hyphenated_count > joined_count or is_known_chain:
        return "-"
    if joined_count:
        return ""
    if not divides:
        return "-"
    if right[0].isupper() and not (left.isupper() and right.isupper() and len(left) > 1):
        return "-"
    if len(chain) > 1:
        return "" if len(chain) == 2 and chain[0] in _JOINED_PREFIXES else "-"
    return "-" if _has_own_hyphen(left.lower(), right.lower(), second, word_counts) else ""


def _has_own_hyphen(left: str, right: str, second: str, word_counts: Mapping[str, int]) -> bool:
    """Whether two words are written with a hyphen, as far as the words themselves show it."""
    if second[len(right) : len(right) + 1] == "-" and right in _LINKING_WORDS:
        return True  # state-of-the-art
    if right in _HYPHENATED_ENDINGS:
        return True
    if left in _HYPHENATED_PREFIXES and _SUFFIX.match(right) is None and len(right) > 2:
        return True
    if left in _HYPHENATED_ADJECTIVES and len(right) >= _MIN_LONG_WORD:
        return True
    return bool(word_counts.get(left)) and word_counts.get(right, 0) > 1 and len(left) > 2


def _clean_page(page: Iterable[Line]) -> list[Line]:
    lines = list(page)
    for line in lines:
        if not line.marks and not line.text.isascii():
            line.text = line.text.replace(LINE_END_HYPHEN, "-").replace("\u00ad", "")
    return lines
