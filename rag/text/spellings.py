"""Joined forms: one form for all usual spellings of an identifier, a number, a date or a compound.

``ERR-4021``, ``ERR 4021`` and ``err4021`` have the form ``err4021``; ``1,234.50`` and ``1.234,50``
have ``=1234.5``; ``3 Feb 2025`` and ``2025-02-03`` have ``@2025-02-03``. The lexical index has the
forms of a chunk in a field of their own, and a query looks its own forms up there.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from rag.text.date_forms import (
    NOT_IN_WORD,
    QUARTER_SIGN,
    find_dates,
    find_quarters,
    find_times,
    shorten_date,
)
from rag.text.forms import Form, make_form
from rag.text.number_forms import (
    AMOUNT_WORDS,
    CURRENCY_SIGN,
    PERCENT_WORDS,
    find_amounts,
    find_numbers,
    find_ordinals,
    find_percentages,
    find_phones,
)
from rag.text.tokenization import STOP_WORDS, words
from rag.text.word_lists import ORDINALS

_MAX_PIECES = 12  # of a compound, such as a path, that are joined
_MAX_RUN = 6  # words of a run such as the groups of an IBAN
_MAX_UNIT_CHARACTERS = 4
_MAX_LABEL_CHARACTERS = 12  # of the word before a number, as in "error 4021"
_MIN_HASH_CHARACTERS = 12
_HASH_PREFIXES = (6, 7, 8, 9, 10, 12)  # characters of a hash that people write


class QueryForms(NamedTuple):
    """The forms of a span of a question, of which the best match counts, and its words."""

    forms: tuple[str, ...]
    start: int
    end: int
    words: tuple[str, ...]


def list_forms(text: str) -> list[str]:
    """Return the forms under which the words of a document are found, each once."""
    words_with_signs, excerpt = _select_words(text)
    excerpt = _SPELT_SIGN.sub(lambda match: "@" if match[1].lower() == "at" else ".", excerpt)
    forms = {form.text: None for form in _find_signs_in_words(words_with_signs)}
    if excerpt:
        forms.update({form.text: None for form in find_written_forms(excerpt)})
        forms.update(dict.fromkeys(form for day in list(forms) for form in shorten_date(day)))
        forms.update(dict.fromkeys(_list_hash_prefixes(excerpt)))
    return list(forms)


def list_pieces(text: str) -> list[str]:
    """Return the parts of the words that are written as one: ``parseConfig``, ``RFC7231``.

    They are in lower case, without parts of a single character. A word joined by ``_`` has parts.
    """
    pieces: list[str] = []
    for token in text.split():
        if token.isalpha() and (token.islower() or token.istitle()):
            continue
        for word in _JOINED_WORD.findall(token):
            if word.istitle() and word.isalpha():
                continue
            parts = [part for part in _PIECE_BORDER.split(word) if part]
            if len(parts) > 1:
                pieces += [part.lower() for part in parts if len(part) > 1]
    return pieces


def _select_words(text: str) -> tuple[str, str]:
    """Return the words of a text with signs or accents, and its parts around digits.

    Most words of a text have neither; to search all of it for all forms takes ten times as long.
    """
    tokens = text.split()
    number_words = _NUMBER_TOKENS.intersection(tokens)
    with_signs: list[str] = []
    excerpt: list[str] = []
    end = 0
    for i, token in enumerate(tokens):
        if token.isalpha() and token.isascii() and token not in number_words:
            continue
        core = token.strip(_PUNCTUATION)
        if core.isalpha() and core not in _NUMBER_TOKENS and token not in _SPELT_SIGNS:
            if not core.isascii() or token[0] == ".":
                with_signs.append(token)
        elif core in _NUMBER_TOKENS or token in _SPELT_SIGNS or _IS_IN_EXCERPT.search(token):
            start = max(end, i - _WORDS_BEFORE)
            if start > end or not end:
                excerpt.append("\n")
            end = max(end, min(len(tokens), i + _WORDS_AFTER + 1))
            excerpt += tokens[start:end]
        elif core:
            with_signs.append(token)
    return "\n".join(with_signs), " ".join(excerpt)


def find_query_forms(text: str) -> list[QueryForms]:
    """Return the forms of a question by the spans that they stand for, the longest span first.

    Besides the forms of the text as it is written, words in succession are joined: people write
    ``err 4021`` and ``wi fi``.
    """
    by_span: dict[tuple[int, int], dict[str, None]] = {}
    for form in [*find_written_forms(text), *_join_query_words(text)]:
        by_span.setdefault((form.start, form.end), {})[form.text] = None
    spans = sorted(by_span, key=lambda span: (span[0] - span[1], span[0]))
    return [
        QueryForms(tuple(by_span[span]), *span, tuple(words(text[slice(*span)]))) for span in spans
    ]


def fold(text: str) -> str:
    """Return a text in lower case and without accents: ``Łódź`` is ``lodz``."""
    if text.isascii():
        return text.lower()
    decomposed = unicodedata.normalize("NFKD", text.lower().translate(_LETTERS_WITHOUT_ACCENT))
    return "".join([c for c in decomposed if not unicodedata.combining(c)])


def spell_umlauts(text: str) -> str:
    """Return a text in lower case with ``ae`` for ``ä``, as in names without umlauts."""
    return text if text.isascii() else text.lower().translate(_UMLAUTS)


_LETTERS_WITHOUT_ACCENT = str.maketrans(
    {"ß": "ss", "ł": "l", "ø": "o", "æ": "ae", "œ": "oe", "đ": "d", "ð": "d", "þ": "th", "ı": "i"}
)
_UMLAUTS = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "å": "aa"})
_WORDS_BEFORE = 2  # of a number, that may belong to it
_WORDS_AFTER = 2
_PUNCTUATION = ".,;:!?()[]{}\"'“”„‘’«»|*`…"
_IS_IN_EXCERPT = re.compile(r"[\d½¼¾]")
_SPELT_SIGNS = frozenset(f"{a}{word}{b}" for a, b in ("()", "[]", "{}") for word in ("at", "dot"))
_ROMAN_NUMBERS = frozenset(
    tens + units
    for tens in ("", "X", "XX", "XXX")
    for units in ("", "I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX")
)
_NUMBER_TOKENS = frozenset([*ORDINALS, "percent", "cent", "prozent", *_ROMAN_NUMBERS]) - {""}
_JOINED_WORD = re.compile(r"\w+")
_PIECE_BORDER = re.compile(
    r"_+|(?<=[a-zß-ÿ])(?=[A-ZÀ-Þ])|(?<=[A-ZÀ-Þ])(?=[A-ZÀ-Þ][a-zß-ÿ])"
    r"|(?<=[^\W\d_])(?=\d)|(?<=\d)(?=[^\W\d_])"
)


def _find_signs_in_words(text: str) -> Iterator[Form]:
    """Yield the forms of words with signs or accents, but without digits."""
    yield from _find_compounds(text)
    yield from _find_signs(text)
    if not text.isascii():
        yield from _find_accents(text)


def find_written_forms(text: str) -> Iterator[Form]:
    """Yield the forms of a text as it is written."""
    text_words = frozenset(NOT_IN_WORD.split(text.lower()))
    yield from find_dates(text, text_words)
    if QUARTER_SIGN.search(text):
        yield from find_quarters(text)
    yield from find_times(text)
    yield from find_numbers(text)
    if not AMOUNT_WORDS.isdisjoint(text_words) or CURRENCY_SIGN.search(text):
        yield from find_amounts(text)
    yield from _find_signs_in_words(text)
    yield from _find_runs(text)
    if not _ROMAN_LABELS.isdisjoint(text_words):
        yield from _find_roman_numbers(text)
    yield from find_ordinals(text, text_words)
    if "%" in text or not PERCENT_WORDS.isdisjoint(text_words):
        yield from find_percentages(text)
    yield from find_phones(text)


# -- compounds and identifiers ---------------------------------------------------------------

_COMPOUND = re.compile(r"(?<![^\W_])[^\W_]+(?:[-_./\\:@&’'+‐‑–]{1,3}[^\W_]+)+")
_SEPARATOR = re.compile(r"[-_./\\:@&’'+‐‑–]+")
_CLITIC = re.compile(r"[’'](?:s|t|d|m|ll|re|ve)$", re.IGNORECASE)
_DOTTED = re.compile(r"(?<![\d.])\d+(?:\.\d+)+(?!\d)")
_DIGIT_WORD = re.compile(r"(?<![^\W_])[^\W_]*(?:[^\W\d_]\d|\d[^\W\d_])[^\W_]*")


def _find_compounds(text: str) -> Iterator[Form]:
    """Yield the parts of words with signs in them, joined: ``wi-fi``, ``ERR-4021``, paths."""
    for match in _COMPOUND.finditer(text):
        compound = _CLITIC.sub("", match.group())
        pieces = [fold(piece) for piece in _SEPARATOR.split(compound)]
        if len(pieces) < 2:
            continue
        span = match.span()
        whole = "".join(pieces)
        if whole.isdecimal():
            signs = set(_SEPARATOR.findall(compound))
            if not signs <= {".", ":"}:
                yield from make_form(f"={whole}", *span)
            continue
        yield from make_form(whole, *span)
        if 2 < len(pieces) <= _MAX_PIECES:
            signs_in_order = _SEPARATOR.findall(compound)
            for i, sign in enumerate(signs_in_order):
                pair = pieces[i] + pieces[i + 1]
                if not pair.isdecimal() and (sign[0] in "./\\:@" or not pair.isalpha()):
                    yield from make_form(pair, *span)
    for match in _DOTTED.finditer(text):
        start = match.start() - (text[match.start() - 1 : match.start()] in ("v", "V"))
        yield from make_form(match.group(), start, match.end())
        groups = match.group().split(".")
        if len(groups) > 2:  # not the decimals of a number
            plain = ".".join(group.lstrip("0") or "0" for group in groups)
            yield from make_form(plain, start, match.end())
    for match in _DIGIT_WORD.finditer(text):
        yield from make_form(fold(match.group()), *match.span())


# -- words in succession ---------------------------------------------------------------------

_ATOM = re.compile(r"[^\W_]+")
_JOINING_GAP = re.compile(r"[ \xa0\u202f\u2009]?[-‐‑–_./:#()§]?[ \xa0\u202f\u2009]?")


def _find_runs(text: str) -> Iterator[Form]:
    """Yield joined runs of codes: ``ERR 4021``, ``B-AB 1234``, ``DE89 3704 0044``, ``231 V``."""
    run: list[re.Match[str]] = []
    previous: re.Match[str] | None = None
    for atom in _ATOM.finditer(text):
        word = atom.group()
        is_code = _is_code(word)
        if previous is not None and (is_code or run):
            is_joined = _is_joining(text[previous.end() : atom.start()])
            if is_joined and (
                _is_label(previous.group(), word) or _is_amount(previous.group(), word)
            ):
                label = fold(previous.group())
                for form in dict.fromkeys((label, _LABELS.get(label, label))):
                    yield from make_form(form + fold(word), previous.start(), atom.end())
            if run and not (is_joined and is_code):
                yield from _join_run(run)
                run = []
        if is_code:
            run.append(atom)
        previous = atom
    yield from _join_run(run)


_LABELS = {
    "p": "page", "pp": "page", "pg": "page", "seite": "page", "s": "page", "sec": "section",
    "sect": "section", "ch": "chapter", "chap": "chapter", "kap": "chapter", "art": "article",
    "fig": "figure", "tab": "table", "eq": "equation", "ext": "extension", "vol": "volume",
    "no": "number", "nr": "number", "num": "number", "app": "appendix", "ver": "version",
    "v": "version", "rm": "room", "para": "paragraph", "abs": "paragraph", "cl": "clause",
}  # fmt: skip
_ROMAN_LABELS = frozenset(
    """chapter part section article appendix annex volume vol title act book phase type kapitel teil
    artikel anhang band""".split()
)
_ROMAN_LABEL = re.compile(
    rf"(?<![^\W_])({'|'.join(sorted(_ROMAN_LABELS, key=len, reverse=True))})\.? "
    r"([ivxl]{1,7})(?![^\W_])",
    re.IGNORECASE,
)
_ROMAN_DIGITS = {"i": 1, "v": 5, "x": 10, "l": 50}


def _find_roman_numbers(text: str) -> Iterator[Form]:
    """Yield ``chapter4`` for "Chapter IV"."""
    for match in _ROMAN_LABEL.finditer(text):
        digits = [_ROMAN_DIGITS[c] for c in match[2].lower()]
        number = sum(
            -digit if any(digit < later for later in digits[i + 1 : i + 2]) else digit
            for i, digit in enumerate(digits)
        )
        yield from make_form(f"{match[1].lower()}{number}", *match.span())


def _is_joining(gap: str) -> bool:
    return len(gap) <= 3 and _JOINING_GAP.fullmatch(gap) is not None


def _is_code(word: str) -> bool:
    """Whether a word has a digit, or is a short one in capitals."""
    if word.isalpha():
        return len(word) <= _MAX_UNIT_CHARACTERS and word.isupper()
    return any(map(str.isdigit, word))


def _is_label(first: str, second: str) -> bool:
    """Whether a number belongs to the word before it, as in "error 4021"."""
    return (
        second[0].isdigit()
        and first.isalpha()
        and len(first) <= _MAX_LABEL_CHARACTERS
        and first.lower() not in STOP_WORDS
    )


def _is_amount(first: str, second: str) -> bool:
    """Whether a word is the unit of the number before it, as in "231 V"."""
    return (
        first.isdecimal()
        and second.isalpha()
        and len(second) <= _MAX_UNIT_CHARACTERS
        and second.lower() not in STOP_WORDS
    )


def _join_run(run: Sequence[re.Match[str]]) -> Iterator[Form]:
    """Yield the parts of a run of codes that have a digit, joined."""
    run_words = [fold(atom.group()) for atom in run]
    for size in range(2, min(len(run), _MAX_RUN) + 1):
        for i in range(len(run) - size + 1):
            start, end = run[i].start(), run[i + size - 1].end()
            joined = "".join(run_words[i : i + size])
            if joined.isalpha():
                continue
            if not joined.isdecimal():
                yield from make_form(joined, start, end)
            elif size == len(run) and not {".", ":"} & set(run[i].string[start:end]):
                yield from make_form(f"={joined}", start, end)


def _join_query_words(text: str) -> Iterator[Form]:
    """Yield words of a question in succession, joined, however they are written."""
    atoms = list(_ATOM.finditer(text))[:_MAX_QUERY_WORDS]
    atom_words = [fold(atom.group()) for atom in atoms]
    for size in range(2, _MAX_JOINED_QUERY_WORDS + 1):
        for i in range(len(atoms) - size + 1):
            part = atom_words[i : i + size]
            joined = "".join(part)
            if joined.isdecimal() or (size > 2 and not _may_be_joined(part)):
                continue
            if size == 2 and joined.isalpha() and not STOP_WORDS.isdisjoint((part[0], joined)):
                continue
            if all(
                len(text[a.end() : b.start()]) <= 3
                for a, b in zip(atoms[i:], atoms[i + 1 : i + size], strict=False)
            ):
                yield from make_form(joined, atoms[i].start(), atoms[i + size - 1].end())


def _may_be_joined(parts: Sequence[str]) -> bool:
    """Whether three or more words may be one: ``b ab 1234``, ``state of the art``."""
    return parts[0] not in STOP_WORDS and parts[-1] not in STOP_WORDS


_MAX_QUERY_WORDS = 100
_MAX_JOINED_QUERY_WORDS = 5

# -- signs, accents and hashes ---------------------------------------------------------------

_SIGNED = re.compile(
    r"(?<![^\W_])[A-Za-z][A-Za-z0-9]{0,2}(?:\+\+|#)(?![^\W_])|(?<![\w.])\.[A-Z][A-Za-z]{1,7}\b"
)
_SPELT_NAMES = {
    "c++": ("cpp", "cplusplus"),
    "c#": ("csharp",),
    "f#": ("fsharp",),
    ".net": ("dotnet",),
}
_SPELT_SIGN = re.compile(r"\s?[\[({]\s?(at|dot)\s?[\])}]\s?", re.IGNORECASE)
_WORD_WITH_ACCENT = re.compile(r"(?<![^\W\d_])[a-zA-Z]*+[^\W\d_a-zA-Z][^\W\d_]*+")
_VIETNAMESE = re.compile(r"[Ạ-ỹƠơƯưĂăĨĩŨũ]")
_LATIN_ACCENT = re.compile(r"[À-ɏḀ-ỿ]")
_HASH = re.compile(
    rf"\b(?=[0-9a-f]*\d)(?=[0-9a-f]*[a-f])[0-9a-f]{{{_MIN_HASH_CHARACTERS},}}\b", re.I
)


def _find_signs(text: str) -> Iterator[Form]:
    """Yield names whose signs are a part of them: ``C++``, ``C#``, ``.NET``."""
    for match in _SIGNED.finditer(text):
        name = match.group().lower()
        for spelling in (name, *_SPELT_NAMES.get(name, ())):
            yield from make_form(spelling, *match.span())


def _find_accents(text: str) -> Iterator[Form]:
    """Yield words without their accents; with umlauts, in both usual spellings.

    In Vietnamese, most words would become another word without their accents.
    """
    matches = [m for m in _WORD_WITH_ACCENT.finditer(text) if _LATIN_ACCENT.search(m.group())]
    if 2 * sum(bool(_VIETNAMESE.search(match.group())) for match in matches) > len(matches):
        return
    for match in matches:
        word = match.group().lower()
        yield from make_form(fold(word), *match.span())
        if word != (german := spell_umlauts(word)):
            yield from make_form(fold(german), *match.span())


def _list_hash_prefixes(text: str) -> Iterator[str]:
    """Yield the beginnings of hashes, by which people name them."""
    for match in _HASH.finditer(text):
        for length in _HASH_PREFIXES:
            yield match.group()[:length].lower()
