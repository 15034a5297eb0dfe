"""Names in texts: proper names, identifiers and years, and the words of a file name."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from rag.text.word_lists import SENTENCE_STARTERS

# -- years and dates -------------------------------------------------------------------------------

_YEAR = re.compile(
    r"(?<![\w.,/$€£#-])(?:19|20)\d\d(?![^\W_]|[-.,/]\d|\s?[%€$£]|\s(?:euros?|eur|dollars?|usd|pounds?|"
    r"gbp|francs?|chf|kroner|kronor|nok|sek|dkk|yen|cents?|percent|kg|km|kwh|mm|cm|people|pieces|units|"
    r"hours|rpm|watts?)\b)",
    re.IGNORECASE,
)
_YEAR_IN_NAME = re.compile(r"(?<!\d)(?:19|20)\d\d(?!\d)")
_YEAR_RANGE = re.compile(r"(?<![\d/-])((?:19|20)\d\d)\s?[-–/]\s?((?:19|20)?\d\d)(?![\d/-])")
_FISCAL_YEAR = re.compile(r"(?<![^\W_])(?:FY|CY|GJ)[ '’-]?((?:19|20)?\d\d)(?!\d)", re.IGNORECASE)
_QUARTER = re.compile(
    r"(?<![^\W_])(?:['’]?((?:19|20)?\d\d)[ -]?[QH][1-4]|[1-4][QH][ '’-]*((?:19|20)?\d\d)"
    r"|[QH][1-4][ '’-]+((?:19|20)?\d\d)|[QH][1-4]((?:19|20)\d\d))(?![^\W_])",
    re.IGNORECASE,
)
_QUARTER_NUMBER = re.compile(r"(?<![a-z])([QH])([1-4])|\b([1-4])([QH])", re.IGNORECASE)
_DATE = re.compile(
    r"(?<!\d)(?P<y>(?:19|20)\d\d)(?P<sep>[-_. ]?)(?P<m>0[1-9]|1[0-2])(?P=sep)"
    r"(?P<d>0[1-9]|[12]\d|3[01])(?!\d)"
    r"|(?<!\d)(?P<d2>0[1-9]|[12]\d|3[01])[-_.](?P<m2>0[1-9]|1[0-2])[-_.](?P<y2>(?:19|20)\d\d)(?!\d)"
)


def find_years(text: str, *, is_name: bool = False) -> list[str]:
    """Return the years in `text` as four digits, in their order, also repeated ones.

    Forms such as ``FY23``, ``23Q4`` and ``2023-24`` count. `is_name` says that the text is a file
    name, in which a year may touch letters.
    """
    years: list[tuple[int, str]] = []
    for match in _YEAR_RANGE.finditer(text):
        first, last = match.groups()
        last_year = last if len(last) == 4 else first[:2] + last
        if int(last_year) == int(first) + 1 or (len(last) == 4 and int(last_year) > int(first)):
            years += [(match.start(), first), (match.start(2), last_year)]
    for pattern in (_FISCAL_YEAR, _QUARTER):
        for match in pattern.finditer(text):
            group = match.lastindex or 1
            years.append((match.start(group), _add_century(match[group])))
    for match in _DATE.finditer(text):
        group_name = "y" if match["y"] else "y2"
        years.append((match.start(group_name), match[group_name]))
    pattern = _YEAR_IN_NAME if is_name else _YEAR
    taken = {position for position, _ in years}
    years += ((m.start(), m.group()) for m in pattern.finditer(text) if m.start() not in taken)
    return [year for _, year in sorted(set(years))]


def list_quarters(text: str) -> list[tuple[str, str]]:
    """Return year and quarter of the quarters and half-years in `text`: ``("2023", "Q2")``."""
    quarters = []
    for match in _QUARTER.finditer(text):
        number = _QUARTER_NUMBER.search(match.group())
        name = f"{number[1] or number[4]}{number[2] or number[3]}" if number else ""
        quarters.append((_add_century(match[match.lastindex or 1]), name.upper()))
    return quarters


def spell_out_fiscal_years(text: str) -> str:
    """Return a text with "2021" in place of ``FY2021`` and ``FY21``."""
    return _FISCAL_YEAR.sub(lambda match: _add_century(match[1]), text)


def _add_century(digits: str) -> str:
    if len(digits) == 4:
        return digits
    return f"20{digits}" if digits < "70" else f"19{digits}"


def find_dates(text: str) -> list[str]:
    """Return the days in a file name as ISO 8601, such as ``20240131`` and ``31.01.2024``."""
    return [
        f"{match['y'] or match['y2']}-{match['m'] or match['m2']}-{match['d'] or match['d2']}"
        for match in _DATE.finditer(text)
    ]


# -- names of files and folders --------------------------------------------------------------------

_SUFFIX = re.compile(
    r"(?<=.)\.(?:[A-Za-z][A-Za-z0-9]{0,4}|markdown|geojson|ndjson|webmanifest|numbers|7z)$"
)
_MAX_NAME_CHARACTERS = 300
_SEPARATORS = re.compile(
    r"[\s_,;+~()\[\]{}#@=&!:/\\]+|(?<!\d)\.+|\.+(?!\d)|(?!(?<=\d)[-–]\d\d(?!\d))[-–—]+"
)
_CASE_CHANGE = re.compile(r"(?<=[a-zß-ÿ])(?=[A-ZÀ-Þ])|(?<=[A-Z])(?=[A-Z][a-z]{2})")
_DIGIT_CHANGE = re.compile(
    r"(?<=[^\W\d_]{3})(?=\d)|(?<=^[QqHh][1-4])(?=(?:19|20)\d\d$)|(?<=\d)(?=[^\W\d_]{3})"
    r"|(?<=[^\W\d])(?=(?:19|20)\d\d$)|(?<=^(?:19|20)\d\d)(?=[^\W\d_])"
)


def strip_suffix(name: str) -> str:
    """Return a file name without its suffix."""
    return _SUFFIX.sub("", name)


def split_name(name: str) -> list[str]:
    """Return the words, identifiers and years of the name of a file or folder, each once.

    ``BESTBUY_2023_10K.pdf`` has BESTBUY, 2023 and 10K; ``annualReportFY23`` has annualReportFY23,
    annual, Report, FY23 and 2023.
    """
    stem = name[:_MAX_NAME_CHARACTERS]
    pieces = [piece.strip("-–—'’\"") for piece in _SEPARATORS.split(_DATE.sub(" ", stem))]
    pieces = [piece for piece in pieces if piece]
    words: list[str] = []
    for piece in pieces:
        words.append(piece)
        parts = [p for part in _CASE_CHANGE.split(piece) for p in _DIGIT_CHANGE.split(part)]
        if len(parts) > 1:
            words += [part for part in parts if len(part) > 1 or part.isdigit()]
    for first, second in pairwise(pieces):
        if first.isdigit() and len(first) < 4 and len(second) == 1 and second.isalpha():
            words.append(f"{first}-{second}")
    return list(dict.fromkeys([*words, *find_years(stem, is_name=True)]))


# -- names in a text -------------------------------------------------------------------------------

_TOKEN = re.compile(r"[^\W_](?:[^\W_]|[-'’.&/](?=[^\W_]))*|\S")
_TICKER = re.compile(
    r"\b(?:NYSE|NASDAQ|Nasdaq|AMEX|LSE|TSX|TSE|ASX|ETR|FRA|XETRA|SIX|HKEX|BSE|NSE)"
    r"(?:\s?:\s?|\s)([A-Z][A-Z0-9.]{0,5})\b"
)
_QUOTED_TITLE = re.compile(r"[《『「]([^》』」\n]{2,30})[》』」]")
_ASIAN_COMPANY = re.compile(
    r"(?:株式会社|有限会社)[\u30a0-\u30ff\u4e00-\u9fff]{2,12}"
    r"|[\u30a0-\u30ff\u4e00-\u9fff]{2,12}(?:株式会社|有限公司|公司)"
)
_CONNECTORS = frozenset(
    "of the and for & de la le du des del di da von van der den y e und et".split()
)
_COMPANY_FORMS = frozenset(
    """inc co corp corporation company ltd limited llc llp plc gmbh ag kg se sa sas sarl spa srl bv
    nv ab oy as aps holdings holding group""".split()
)
_COMMON_WORDS = frozenset(
    """january february march april may june july august september october november december jan feb
    mar apr jun jul aug sep sept oct nov dec monday tuesday wednesday thursday friday saturday
    sunday
    januar februar märz mai juni juli oktober dezember montag dienstag mittwoch donnerstag freitag
    samstag sonntag page section step table figure fig chapter part article item note version
    appendix annex exhibit no nr vol contents summary introduction abstract seite abschnitt tabelle
    abbildung kapitel teil mr mrs ms dr yes no ok i all any each from to subject date cc re fw fwd
    draft copyright""".split()
)
_MAX_NAME_WORDS = 6


class _Word(NamedTuple):
    text: str
    offset: int
    begins_sentence: bool


class _Candidate(NamedTuple):
    name: str
    offset: int
    weight: float


def find_names(text: str, limit: int) -> list[str]:
    """Return up to `limit` proper names, identifiers and years of `text`, the most telling first.

    A name is a run of capitalized words, an acronym, a ticker or an identifier of letters and
    digits. A single capitalized word counts only if it also occurs inside of a sentence. Company
    names, identifiers and tickers come first, then long, frequent and early names.
    """
    candidates = [
        *_find_runs(text),
        *(_Candidate(m[1], m.start(1), 4.0) for m in _TICKER.finditer(text)),
        *(_Candidate(m[1], m.start(1), 2.0) for m in _QUOTED_TITLE.finditer(text)),
        *(_Candidate(m[0], m.start(), 3.5) for m in _ASIAN_COMPANY.finditer(text)),
        *(_Candidate(year, text.find(year[2:]), 2.0) for year in find_years(text)),
    ]
    best: dict[str, _Candidate] = {}
    counts: dict[str, int] = {}
    for candidate in candidates:
        key = candidate.name.casefold()
        counts[key] = counts.get(key, 0) + 1
        if key not in best or (candidate.weight, -candidate.offset) > best[key][2:0:-1]:
            best[key] = candidate
    length = len(text) or 1
    scores = {
        key: candidate.weight + math.log2(1 + counts[key]) - candidate.offset / length
        for key, candidate in best.items()
        if candidate.weight > 0
    }
    order = sorted(scores, key=lambda key: (-scores[key], best[key].offset, key))
    return [best[key].name for key in order[:limit]]


def _find_runs(text: str) -> Iterator[_Candidate]:
    """Yield the runs of capitalized words and identifiers of each line."""
    begins_sentence = True
    for match in re.finditer(r"[^\n]+", text):
        words: list[_Word] = []
        begins_sentence = begins_sentence or not match.group()[:1].islower()
        for token in _TOKEN.finditer(match.group()):
            words.append(_Word(token.group(), match.start() + token.start(), begins_sentence))
            begins_sentence = token.group() in '.!?:;•|#*-–"“„(' or (
                begins_sentence and not token.group()[0].isalnum()
            )
        letters = [character for character in match.group() if character.isalpha()]
        is_capitals = len(words) > 2 and all(map(str.isupper, letters))
        for run in _split_runs(words):
            if candidate := _rate_run(run, is_capitals):
                yield candidate


def _split_runs(words: Sequence[_Word]) -> Iterator[list[_Word]]:
    """Yield the longest runs of capitalized words, with connecting words and numbers inside."""
    run: list[_Word] = []
    connectors: list[_Word] = []
    for word in words:
        if _is_capitalized(word.text) or (run and not connectors and _is_number(word.text)):
            run += [*connectors, word]
            connectors = []
        elif run and len(connectors) < 2 and word.text.casefold() in _CONNECTORS:
            connectors.append(word)
        else:
            if run:
                yield run
            run, connectors = [], []
    if run:
        yield run


def _is_capitalized(word: str) -> bool:
    return word[0].isupper() or word[0].istitle() or _is_identifier(word)


def _is_identifier(word: str) -> bool:
    return (
        len(word) > 2
        and word[0].isalnum()
        and any(map(str.isdigit, word))
        and any(map(str.isupper, word))
    )


def _is_number(word: str) -> bool:
    return word.isdigit() and len(word) < 6


def _rate_run(run: list[_Word], is_capitals: bool) -> _Candidate | None:
    """Return a run as a candidate with its weight; None if it is not a name.

    A weight of 0 is that of a word which may be capitalized because it begins a sentence.
    """
    while run and (
        run[0].text.casefold() in SENTENCE_STARTERS or run[0].text.casefold() in _CONNECTORS
    ):
        run = run[1:]
    while run and (run[-1].text.casefold() in _CONNECTORS or run[-1].text == "I"):
        run = run[:-1]
    if len(run) > 1 and run[0].begins_sentence and not _is_name_start(run):
        return _rate_run(run[1:], is_capitals)
    names = [word.text for word in run]
    if len(run) > _MAX_NAME_WORDS or not names:
        return None
    known = {name.casefold() for name in names}
    if all(w in _COMMON_WORDS or w in _COMPANY_FORMS or w.isdigit() or len(w) < 2 for w in known):
        return None
    name, offset = " ".join(names), run[0].offset
    if len(names) > 1:
        is_company = names[-1].casefold() in _COMPANY_FORMS
        return _Candidate(name, offset, 3.5 if is_company else 2.0 + 0.1 * len(names))
    if _is_identifier(name):
        return _Candidate(name, offset, 3.0)
    if name.isupper() and 2 <= len(name) <= 6 and not is_capitals:
        return _Candidate(name, offset, 2.0)
    return _Candidate(name, offset, 0.0 if run[0].begins_sentence else 1.0)


def _is_name_start(run: Sequence[_Word]) -> bool:
    """Whether the first word of a sentence is a part of the name: ``ISO 9001``, not ``Use 5``."""
    first, second = run[0].text, run[1].text
    is_word = second[0].isupper() and any(map(str.islower, second)) and not _is_identifier(second)
    return first.isupper() or _is_identifier(first) or is_word


def unique_terms(terms: Iterable[str]) -> list[str]:
    """Return the terms on one line each, without empty ones and without repetitions in any case."""
    kept: dict[str, str] = {}
    for term in terms:
        line = " ".join(term.replace("\0", " ").split())
        if any(map(str.isalnum, line)):
            kept.setdefault(line.casefold(), line)
    return list(kept.values())
