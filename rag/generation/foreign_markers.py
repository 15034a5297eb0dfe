"""Citation markers in the spellings of models: ``(Source 1)``, ``[Doc 1]``, ``¹`` become ``[1]``.

A number that is no marker stays: a label of a list, a page, an exponent, an amount in brackets.
"""

from __future__ import annotations

import re

from rag.generation.markers import INLINE_CODE

_NOUN = (
    r"(?:passages?|sources?|documents?|docs?\.?|references?|refs?\.?|citations?|cit(?:e|ed)?|excerpts?|"
    r"chunks?|contexts?|texts?|quellen?|dokumente?|abschnitte?|fuentes?|documentos?|ids?|nos?\.|notes?)"
)
_ROUND_NOUN = (  # "(No. 3)" and "(note 3)" are rather words of the statement
    r"(?:passages?|sources?|documents?|docs?\.?|references?|refs?\.?|citations?|cit(?:e|ed)?|excerpts?|"
    r"chunks?|contexts?|quellen?|dokumente?|fuentes?|documentos?)"
)
_NUMBERS = r"\d{1,2}(?:\s*(?:[-–,;&+/]|,?\s(?:and|und|et|y|e|en)\s)\s*(?:\#|no\.\s?)?\d{1,2}){0,9}"
_LISTED = rf"{_NOUN}[\s:#]*(?:no\.?\s|number\s|nr\.?\s)?{_NUMBERS}"
_NAMED = (
    r"(?:(?:see|cf\.|from|per|via|siehe|according\sto)\s)?(?:the\s)?"
    rf"{_LISTED}(?:\s*[,;&]\s*{_LISTED}){{0,9}}"
)
_BARE_BEFORE = re.compile(
    r"(?:\b(?:page|pages|p|pp|step|steps|figure|fig|table|section|sec|eq|equation|line|lines|rule|article|"
    r"art|no|nr|number|version|v|appendix|annex|chapter|item|items|option|part|level|phase|type|class|"
    r"group|day|week|seite|schritt|abbildung|tabelle|zeile|absatz|étape|paso|of|is|are|was|to|about|"
    r"than|minus|plus|by|at)\.?|\d|[=<>+*/^-])\s*\Z",
    re.IGNORECASE,
)
_UNITS = frozenset({"sec", "min"})  # shorter words are units or variables as well
_BEFORE_NOTE = frozenset(".,;:!?)\"'”’»*")
_ONLY_SEPARATORS = re.compile(r"[\s,˒]*\Z")  # superscript digits may go on after them
_CONTEXT_CHARACTERS = 500
_LABEL = re.compile(r"[\s>*_•-]*\(\d")
_SUPERSCRIPTS = "⁰¹²³⁴⁵⁶⁷⁸⁹"
_TO_DIGITS = str.maketrans(_SUPERSCRIPTS, "0123456789")
_FOREIGN = re.compile(
    rf"""
    (?P<escaped>\\\[\s*(?P<e>{_NUMBERS})\s*\\\])
    |(?P<tag><(?P<name>sup|cite|ref|source|citation)\b[^<>\n]{{0,40}}>\s*+(?:[\[(]\s*+)?
        (?:{_NOUN}[\s:#]*+)?(?P<t>{_NUMBERS})\s*+(?:[\])]\s*+)?</(?P=name)>)
    |(?P<power>\$\^\{{?\[?(?P<w>\d{{1,2}}(?:\s*,\s*\d{{1,2}}){{0,9}})\]?\}}?\$
        |\^\{{?\[?(?P<x>\d{{1,2}}(?:\s*,\s*\d{{1,2}}){{0,9}})\]?\}}?\^)
    |(?P<double>\[\[\s*(?P<d>{_NUMBERS})\s*\]\](?!\())
    |(?P<square>\[\s*(?P<s>{_NAMED}|\d{{1,2}}(?:\s*(?:&|\+|,?\s(?:and|und|et|y|e|en)\s)\s*\d{{1,2}}){{1,9}}
        |\^\d{{1,2}}(?=\s*\](?!:))|\#\d{{1,2}}|\d{{1,2}}†[^\]\n]{{0,60}})\s*\](?!\())
    |(?P<lenticular>【\s*(?P<l>{_NAMED})\s*】)
    |(?P<brace>\{{\s*(?P<b>{_NAMED})\s*\}})
    |(?P<round>\(\s*(?P<r>{_NAMED.replace(_NOUN, _ROUND_NOUN)})\s*\))
    |(?P<bare>\(\s*(?P<n>{_NUMBERS})\s*\))
    |(?P<superscript>[{_SUPERSCRIPTS}]+(?:\s?[,˒]\s?[{_SUPERSCRIPTS}]+)*)
    """,
    re.VERBOSE | re.IGNORECASE,
)
_LEAD_IN = re.compile(
    rf"(?:(?:according\sto|as\s(?:stated|mentioned|described|noted)\sin|in|per|from|based\son|laut|gemäß)\s)?"
    rf"(?:the\s)?(?P<noun>passages?|sources?|documents?|docs?|excerpts?|references?|quellen?|dokumente?)"
    rf"\s(?:no\.\s?|number\s|\#|nr\.\s?)?(?P<numbers>{_NUMBERS})(?:,?\s*"
    rf"(?:(?:it\sis\s(?:stated|said|noted)|(?:it\s|they\s)?(?:clearly\s|explicitly\s|also\s)?(?:says?|states?|"
    rf"mentions?|explains?|notes?|reports?|indicates?|shows?|describes?|confirms?|sagt|besagt|erklärt))"
    rf"(?:\sthat\b|\s?:|,?\sdass\b)?|,|:))\s+(?=\w)",
    re.IGNORECASE,
)
_LEAD_IN_NOUNS = frozenset(
    """passage passages source sources document documents doc docs excerpt excerpts reference
    references quelle quellen dokument dokumente""".split()
)
_LEAD_IN_STARTS = _LEAD_IN_NOUNS | frozenset("according as in per from based laut gemäß".split())
_LEAD_IN_WORDS = _LEAD_IN_STARTS | frozenset("to stated mentioned described noted on the".split())
_MAX_LEAD_IN = 60  # characters
OPEN_MARKER = re.compile(rf"(?:[\[【(<{{\\^$]|[{_SUPERSCRIPTS}])[^\])】>}}\n]{{0,60}}\Z")
"""Matches text that may be the beginning of a marker."""


def normalize_markers(text: str, passage_count: int, *, start: int = 0, final: bool = True) -> str:
    """Return the text with each marker as ``[1]`` or ``[1, 2]``.

    A number in round brackets, or an exponent, is a marker only if there is such a passage. The
    text before `start` is only read. Unless the text is `final`, what stands at its end is
    unchanged: the text after it decides.
    """
    parts: list[str] = []
    part_start = 0
    for code in (*INLINE_CODE.finditer(text), None):
        part = text[part_start : code.start() if code else len(text)]

        def rewrite(match: re.Match[str], part: str = part, part_start: int = part_start) -> str:
            is_before = part_start + match.start() < start
            is_at_end = _ONLY_SEPARATORS.match(text, part_start + match.end()) is not None
            if is_before or (is_at_end and not final):
                return match.group()
            return _rewrite(match, part, passage_count)

        parts.append(_FOREIGN.sub(rewrite, part))
        if code:
            parts.append(code.group())
            part_start = code.end()
    return "".join(parts)


def _rewrite(match: re.Match[str], text: str, passage_count: int) -> str:
    """Return a match in `text` as a marker, or unchanged if it is none."""
    numbers = _read_numbers(match, passage_count)
    if not numbers or (match["bare"] and max(numbers) > passage_count):
        return match.group()
    if match["bare"] and not _is_bare_marker(match, text):
        return match.group()
    if (match["superscript"] or match["power"]) and not _is_note_sign(match, text, passage_count):
        return match.group()
    before = text[match.start() - 1 : match.start()]
    space = "" if not before or before.isspace() else " "
    return f"{space}[{', '.join(map(str, numbers))}]"


def move_lead_in(sentence: str, passage_count: int) -> str:
    """Return "Passage 1 says that it rains." as "It rains. [1]"."""
    match = _LEAD_IN.match(sentence)
    if match is None:
        return sentence
    numbers = [int(number) for number in re.findall(r"\d+", match["numbers"])]
    if not all(1 <= number <= passage_count for number in numbers):
        return sentence
    rest = sentence[match.end() :]
    return f"{rest[:1].upper()}{rest[1:]} [{', '.join(map(str, dict.fromkeys(numbers)))}]"


def may_be_lead_in(beginning: str) -> bool:
    """Whether a sentence begins with "Passage 1 says that", or may do so when it goes on."""
    if _LEAD_IN.match(beginning):
        return True
    if len(beginning) >= _MAX_LEAD_IN:
        return False
    *complete, last = re.split(r"\s+", beginning.lower())
    if not complete:
        return any(word.startswith(last) for word in _LEAD_IN_STARTS)
    if complete[0] not in _LEAD_IN_STARTS:
        return False
    for i, word in enumerate(complete):
        if word in _LEAD_IN_NOUNS:
            return (complete[i + 1 :] or [last])[0].lstrip("#")[:1].isdigit() or not last
        if word not in _LEAD_IN_WORDS:
            return False
    return any(word.startswith(last) for word in _LEAD_IN_WORDS)


def _read_numbers(match: re.Match[str], passage_count: int) -> list[int]:
    if match["superscript"]:
        runs = re.findall(r"\d+", match.group().translate(_TO_DIGITS))
        numbers = [
            number
            for run in runs
            for number in (
                [int(run)] if len(run) < 4 and int(run) <= passage_count else map(int, run)
            )
        ]
        return list(dict.fromkeys(numbers))
    text = next(match[name] for name in "etwxdslbrn" if match[name])
    text = text.partition("†")[0]
    listed: list[int] = []
    for piece in re.split(r"[,;&+/]|\b(?:and|und|et|y|e|en)\b", text):
        ends = [int(number) for number in re.findall(r"\d+", piece)]
        if len(ends) == 2 and ends[0] < ends[1]:
            ends = list(range(ends[0], ends[1] + 1))
        listed += ends
    return list(dict.fromkeys(listed))


def _is_bare_marker(match: re.Match[str], text: str) -> bool:
    """Whether ``(1)`` stands at the end of a statement: not "(1) open the valve", "page (1)"."""
    before = text[max(0, match.start() - _CONTEXT_CHARACTERS) : match.start()]
    after = text[match.end() : match.end() + _CONTEXT_CHARACTERS]
    line = before.rpartition("\n")[2]
    if _LABEL.match(line):  # (1) Open the valve. (2) Close it.
        return False
    if not re.search(r"\w[^\w(\[{]{0,3}[\s\])]\Z", line):
        return False
    if _BARE_BEFORE.search(line) or 0 in _read_numbers(match, 0):
        return False
    return re.match(r"\s*(?:[.,;:!?)\]|]|\Z|\n|\(\d|\[\d|[^\W\d_a-zß-öø-ÿ])", after) is not None


def _is_note_sign(match: re.Match[str], text: str, passage_count: int) -> bool:
    """Whether superscript digits name passages, and are no exponent."""
    numbers = _read_numbers(match, passage_count)
    if not all(1 <= number <= passage_count for number in numbers):
        return False
    word = re.search(r"(?<![^\W_µ°])[^\W_µ°]*+\Z", text[max(0, match.start() - 20) : match.start()])
    before = word.group() if word else ""
    if not before:
        last = text[max(0, match.start() - 20) : match.start()].rstrip(" ")[-1:]
        return last in _BEFORE_NOTE or last.isalpha()
    return before.lower() not in _UNITS and not before[-1].isdigit() and len(before) > 2
