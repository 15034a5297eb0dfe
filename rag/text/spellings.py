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

from rag.text.tokenization import STOP_WORDS, words
from rag.text.word_lists import CARDINALS, MONTH_NUMBERS, ORDINALS

_MAX_FORM_CHARACTERS = 80
_MAX_PIECES = 12  # of a compound, such as a path, that are joined
_MAX_RUN = 6  # words of a run such as the groups of an IBAN
_MAX_UNIT_CHARACTERS = 4
_MAX_LABEL_CHARACTERS = 12  # of the word before a number, as in "error 4021"
_PHONE_DIGITS = 8  # the last digits of a phone number, which are the same with and without prefix
_MIN_PHONE_DIGITS = 7
_MAX_PHONE_DIGITS = 15
_MIN_HASH_CHARACTERS = 12
_HASH_PREFIXES = (6, 7, 8, 9, 10, 12)  # characters of a hash that people write


class Form(NamedTuple):
    """A form, and the span of the text that it stands for."""

    text: str
    start: int
    end: int


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
        forms.update({form.text: None for form in _find_forms(excerpt)})
        forms.update(dict.fromkeys(form for day in list(forms) for form in _shorten_date(day)))
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
    for form in [*_find_forms(text), *_join_query_words(text)]:
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


def _find_forms(text: str) -> Iterator[Form]:
    """Yield the forms of a text as it is written."""
    text_words = frozenset(_NOT_IN_WORD.split(text.lower()))
    yield from _find_dates(text, text_words)
    if _QUARTER_SIGN.search(text):
        yield from _find_quarters(text)
    yield from _find_times(text)
    yield from _find_numbers(text)
    if not _AMOUNT_WORDS.isdisjoint(text_words) or _CURRENCY_SIGN.search(text):
        yield from _find_amounts(text)
    yield from _find_signs_in_words(text)
    yield from _find_runs(text)
    if not _ROMAN_LABELS.isdisjoint(text_words):
        yield from _find_roman_numbers(text)
    yield from _find_ordinals(text, text_words)
    if "%" in text or not _PERCENT_WORDS.isdisjoint(text_words):
        yield from _find_percentages(text)
    yield from _find_phones(text)


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
                yield from _make_form(f"={whole}", *span)
            continue
        yield from _make_form(whole, *span)
        if 2 < len(pieces) <= _MAX_PIECES:
            signs_in_order = _SEPARATOR.findall(compound)
            for i, sign in enumerate(signs_in_order):
                pair = pieces[i] + pieces[i + 1]
                if not pair.isdecimal() and (sign[0] in "./\\:@" or not pair.isalpha()):
                    yield from _make_form(pair, *span)
    for match in _DOTTED.finditer(text):
        start = match.start() - (text[match.start() - 1 : match.start()] in ("v", "V"))
        yield from _make_form(match.group(), start, match.end())
        groups = match.group().split(".")
        if len(groups) > 2:  # not the decimals of a number
            plain = ".".join(group.lstrip("0") or "0" for group in groups)
            yield from _make_form(plain, start, match.end())
    for match in _DIGIT_WORD.finditer(text):
        yield from _make_form(fold(match.group()), *match.span())


def _make_form(form: str, start: int, end: int) -> Iterator[Form]:
    """Yield a form; one with zeros in front of its number also without them: ``ba0117``."""
    if 1 < len(form) <= _MAX_FORM_CHARACTERS:
        yield Form(form, start, end)
        if "0" in form and form[0].isalpha():
            shorter = _LEADING_ZEROS.sub("", form)
            if shorter != form:
                yield Form(shorter, start, end)


_LEADING_ZEROS = re.compile(r"(?<=[^\W\d_])0+(?=[1-9]\d*$)")


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
                    yield from _make_form(form + fold(word), previous.start(), atom.end())
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
        yield from _make_form(f"{match[1].lower()}{number}", *match.span())


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
                yield from _make_form(joined, start, end)
            elif size == len(run) and not {".", ":"} & set(run[i].string[start:end]):
                yield from _make_form(f"={joined}", start, end)


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
                yield from _make_form(joined, atoms[i].start(), atoms[i + size - 1].end())


def _may_be_joined(parts: Sequence[str]) -> bool:
    """Whether three or more words may be one: ``b ab 1234``, ``state of the art``."""
    return parts[0] not in STOP_WORDS and parts[-1] not in STOP_WORDS


_MAX_QUERY_WORDS = 100
_MAX_JOINED_QUERY_WORDS = 5

# -- numbers ---------------------------------------------------------------------------------

_NUMBER = re.compile(
    r"(?<![\d.,])\d{1,3}(?:([,.'’ \xa0\u202f\u2009])\d{3})(?:\1\d{3})*(?:[.,]\d+)?(?![\d]|[.,]\d)"
    r"|(?<![\d.,])\d+[.,]\d+(?!\d|[.,]\d)|(?<![\d.,])\d{4,}(?!\d|[.,]\d)"
)
_NOT_DIGIT = re.compile(r"\D")
_PLAIN_NUMBER = r"(?P<number>\d+(?:[,.'’\xa0\u202f]\d+)*)"
_MAGNITUDES = (
    r"(?:\s?(?P<magnitude>thousand|million|billion|trillion|mill|mio|mrd|bn|tsd)\b|(?P<k>[kK])\b)"
)
_SCALED = re.compile(rf"(?<![\w.,]){_PLAIN_NUMBER}{_MAGNITUDES}", re.IGNORECASE)
_CURRENCIES = {
    word: code
    for code, forms in {
        "eur": "€ eur euro euros",
        "usd": "$ usd us$ dollar dollars",
        "gbp": "£ gbp pound pounds",
        "jpy": "¥ jpy yen",
        "chf": "chf franc francs franken",
        "inr": "₹ inr rupees",
    }.items()
    for word in forms.split()
}
_CURRENCY = "|".join(sorted(map(re.escape, _CURRENCIES), key=len, reverse=True))
_CURRENCY_SIGN = re.compile("[€$£¥₹]")
_AMOUNT_WORDS = frozenset(word for word in _CURRENCIES if word.isalpha())
_AMOUNT = re.compile(
    rf"(?:(?<![^\W\d_])(?P<before>{_CURRENCY})\s?)?(?<![\w.,]){_PLAIN_NUMBER}{_MAGNITUDES}?"
    rf"(?:[,.]-+)?(?:\s?(?P<after>{_CURRENCY})(?![^\W_]))?",
    re.IGNORECASE,
)
_ZEROS = {"k": 3, "thousand": 3, "tsd": 3, "million": 6, "mill": 6, "mio": 6, "billion": 9, "bn": 9,
          "mrd": 9, "trillion": 12}  # fmt: skip


def _find_numbers(text: str) -> Iterator[Form]:
    """Yield the values of numbers with separators, decimals or four digits and more."""
    for match in _NUMBER.finditer(text):
        for value in _read_number(match.group()):
            yield from _make_form(f"={value}", *match.span())
    for match in _SCALED.finditer(text):
        magnitude = match["magnitude"] or match["k"]
        for value in _read_number(match["number"]):
            scaled = _scale(value, _ZEROS[magnitude.lower()])
            yield from _make_form(f"={scaled}", *match.span())


def _find_amounts(text: str) -> Iterator[Form]:
    """Yield amounts of money: ``eur:1250`` for "€1,250.00" and "1250 euros"."""
    for match in _AMOUNT.finditer(text):
        currency = _CURRENCIES.get((match["before"] or match["after"] or "").lower())
        magnitude = match["magnitude"] or match["k"]
        if currency:
            for value in _read_number(match["number"]):
                amount = _scale(value, _ZEROS[magnitude.lower()]) if magnitude else value
                yield from _make_form(f"{currency}:{amount}", *match.span())


def _read_number(text: str) -> list[str]:
    """Return the values that a number may have: ``1.234`` is 1234 or 1.234."""
    signs = _NOT_DIGIT.findall(text)
    digits = _NOT_DIGIT.sub("", text)
    if not signs:
        return [digits]
    decimals = len(text) - 1 - text.rindex(signs[-1])
    has_decimals = _write_decimal(digits, decimals)
    if len(set(signs)) > 1:  # 1,234.5
        return [has_decimals]
    if len(signs) > 1 or signs[0] not in ".,":
        return [digits]
    return [digits, has_decimals] if decimals == 3 else [has_decimals]


def _write_decimal(digits: str, decimals: int) -> str:
    whole, fraction = digits[:-decimals].lstrip("0") or "0", digits[-decimals:].rstrip("0")
    return f"{whole}.{fraction}" if fraction else whole


def _scale(value: str, zeros: int) -> str:
    whole, _, fraction = value.partition(".")
    fraction = fraction.ljust(zeros, "0")
    scaled = (whole + fraction[:zeros]).lstrip("0") or "0"
    rest = fraction[zeros:].rstrip("0")
    return f"{scaled}.{rest}" if rest else scaled


_PHONE = re.compile(r"(?<![\w.,])(?:\+|00)?\(?\d(?:[\d ()/.\-\xa0]{5,18})\d(?![\d])")


def _find_phones(text: str) -> Iterator[Form]:
    """Yield the last digits of phone numbers, which do not depend on the prefix."""
    for match in _PHONE.finditer(text):
        digits = _NOT_DIGIT.sub("", match.group())
        if _MIN_PHONE_DIGITS <= len(digits) <= _MAX_PHONE_DIGITS:
            yield from _make_form(f"tel:{digits[-_PHONE_DIGITS:]}", *match.span())


# -- dates and times -------------------------------------------------------------------------

_MONTH = "|".join(sorted(map(re.escape, MONTH_NUMBERS), key=len, reverse=True))
_YEAR = r"(?:19|20)\d\d"
_ORDINAL = r"(?:st|nd|rd|th|er|\.|º|ª)?"
_OF = r"(?:\s+(?:of|de|del))?"
_NUMERIC_DATE = re.compile(
    rf"(?<![\w.])(?P<y1>{_YEAR})[-/.](?P<m1>\d\d?)(?:[-/.](?P<d1>\d\d?))?(?!\w|[-/.]\d)"
    rf"|(?<![\w.])(?P<y2>{_YEAR})(?P<m2>0[1-9]|1[0-2])(?P<d2>0[1-9]|[12]\d|3[01])(?!\w|[.,]\d)"
    rf"|(?<![\w.])(?P<a>\d\d?)(?P<sep>[-/.])\s?(?P<b>\d\d?)(?P=sep)\s?(?P<y>{_YEAR}|\d\d)"
    r"(?!\w|[-/.]\d)"
    rf"|(?P<y3>{_YEAR})\s?年\s?(?P<m3>\d\d?)\s?月(?:\s?(?P<d3>\d\d?)\s?日)?"
)
_NAMED_DATE = re.compile(
    rf"(?<![\w.])(?P<d1>\d\d?){_ORDINAL}[\s-]*{_OF}[\s-]*(?P<m1>{_MONTH})\.?(?!\w)"
    rf"(?:,?{_OF}[\s-]*(?P<y1>{_YEAR})(?!\d))?"
    rf"|(?<!\w)(?P<m2>{_MONTH})\.?[\s-]+(?P<d2>\d\d?){_ORDINAL}(?:,?\s+(?P<y2>{_YEAR}))?(?!\w)"
    rf"|(?<!\w)(?P<m3>{_MONTH})\.?,?{_OF}[\s-]*(?P<y3>{_YEAR})(?!\w)",
    re.IGNORECASE,
)
_NOT_IN_WORD = re.compile(r"[^\w-]+|(?<=\d)-|-(?=\d)")
_TIME = re.compile(
    r"(?<![\w.:,])(?P<h>[01]?\d|2[0-4])(?:(?P<sep>[:.h])(?P<m>[0-5]\d))?(?:\s?(?P<half>[ap])\.?m\b\.?"
    r"|\s?(?P<clock>Uhr|h|o'clock)\b)?(?![\w:]|[.,]\d)",
    re.IGNORECASE,
)


_QUARTER = re.compile(
    r"\b(?:Q(?P<q1>[1-4])|(?P<q2>[1-4])Q"
    r"|(?P<q3>first|second|third|fourth|1st|2nd|3rd|4th)[ -]quarter)"
    rf"(?:\s+of)?[\s/’'-]*(?:FY\s?)?(?P<y1>{_YEAR}|\d\d)(?!\d)"
    rf"|\b(?P<y2>{_YEAR})[\s/-]?Q(?P<q4>[1-4])(?!\d)",
    re.IGNORECASE,
)
_QUARTER_SIGN = re.compile(r"[qQ][1-4]|[1-4][qQ]|[qQ]uarter")


def _find_quarters(text: str) -> Iterator[Form]:
    """Yield ``@2022q3`` for "Q3 2022" and "third quarter of 2022"."""
    for match in _QUARTER.finditer(text):
        word = (match["q1"] or match["q2"] or match["q3"] or match["q4"]).lower()
        quarter = ORDINALS.get(word) or int(word[0])
        year = match["y1"] or match["y2"]
        yield Form(f"@{year if len(year) == 4 else '20' + year}q{quarter}", *match.span())


def _find_dates(text: str, text_words: frozenset[str]) -> Iterator[Form]:
    """Yield days and months in ISO 8601 form; a day without a year as ``@--02-03``."""
    for match in _NUMERIC_DATE.finditer(text):
        for form in _read_day(match) if match["a"] else _read_date(match):
            yield Form(form, *match.span())
    if not MONTH_NUMBERS.keys().isdisjoint(text_words):
        for match in _NAMED_DATE.finditer(text):
            for form in _read_date(match):
                yield Form(form, *match.span())


def _read_day(match: re.Match[str]) -> Iterator[str]:
    """Yield what ``03/02/2025`` may be: the day is first, or the month."""
    year = match["y"]
    if len(year) == 2:
        if match["sep"] == "-":
            return
        year = f"20{year}" if year < "70" else f"19{year}"
    yield from _write_date(year, match["b"], match["a"])
    if match["sep"] != "." and match["a"] != match["b"]:
        yield from _write_date(year, match["a"], match["b"])


def _read_date(match: re.Match[str]) -> Iterator[str]:
    groups = match.groupdict()
    for number in "123":
        if month := groups[f"m{number}"]:
            month = str(MONTH_NUMBERS.get(month.lower(), month))
            yield from _write_date(groups[f"y{number}"], month, groups.get(f"d{number}"))


def _write_date(year: str | None, month: str, day: str | None) -> Iterator[str]:
    if not 1 <= int(month) <= 12 or (day and not 1 <= int(day) <= 31):
        return
    parts = [year or "-", f"{int(month):02}", *([f"{int(day):02}"] if day else [])]
    yield "@" + "-".join(parts)


def _shorten_date(form: str) -> Iterator[str]:
    """Yield the month and the day without the year of a date in a document."""
    if len(form) == len("@2025-02-03") and form[0] == "@":
        yield form[:8]
        yield f"@-{form[5:]}"


def _find_times(text: str) -> Iterator[Form]:
    """Yield times of day as ``@14:30``."""
    for match in _TIME.finditer(text):
        has_sign = match["half"] or match["clock"]
        if not has_sign and match["sep"] != ":":
            continue
        hour = int(match["h"])
        if match["half"]:
            if not 1 <= hour <= 12:
                continue
            hour = hour % 12 + (12 if match["half"].lower() == "p" else 0)
        yield Form(f"@{hour:02}:{match['m'] or '00'}", *match.span())


_ORDINAL_NUMBER = re.compile(r"(?<![\w.,])(\d{1,4})(?:st|nd|rd|th)\b", re.IGNORECASE)
_PERCENT_WORDS = frozenset(["percent", "cent", "pct", "prozent", "pourcent", "ciento"])
_PERCENTAGE = re.compile(
    rf"(?<![\w.,])(?:(?P<number>\d+(?:[.,]\d+)?)\s?(?P<fraction>[½¼¾])?"
    rf"|\b(?P<word>{'|'.join(sorted(CARDINALS, key=len, reverse=True))}))"
    r"[\s-]?(?:%|per\s?cent\b|pct\b|prozent\b|pour\s?cent\b|por\s?ciento\b)",
    re.IGNORECASE,
)
_FRACTIONS = {"½": "5", "¼": "25", "¾": "75"}


def _find_ordinals(text: str, text_words: frozenset[str]) -> Iterator[Form]:
    """Yield ``#21`` for "21st" and "twenty-first"."""
    for match in _ORDINAL_NUMBER.finditer(text):
        yield Form(f"#{int(match[1])}", *match.span())
    for word in ORDINALS.keys() & text_words:
        start = text.lower().index(word)
        yield Form(f"#{ORDINALS[word]}", start, start + len(word))


def _find_percentages(text: str) -> Iterator[Form]:
    """Yield ``%17.5`` for "17.5 per cent" and "17½%"."""
    for match in _PERCENTAGE.finditer(text):
        if match["word"]:
            value = str(CARDINALS[match["word"].lower()])
        elif match["fraction"]:
            value = f"{match['number']}.{_FRACTIONS[match['fraction']]}"
        else:
            value = _read_number(match["number"])[-1]
        yield Form(f"%{value}", *match.span())


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
_WORD_WITH_ACCENT = re.compile(r"[^\W\d_]*[^\W\d_\x00-\x7f][^\W\d_]*")
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
            yield from _make_form(spelling, *match.span())


def _find_accents(text: str) -> Iterator[Form]:
    """Yield words without their accents; with umlauts, in both usual spellings.

    In Vietnamese, most words would become another word without their accents.
    """
    matches = [m for m in _WORD_WITH_ACCENT.finditer(text) if _LATIN_ACCENT.search(m.group())]
    if 2 * sum(bool(_VIETNAMESE.search(match.group())) for match in matches) > len(matches):
        return
    for match in matches:
        word = match.group().lower()
        yield from _make_form(fold(word), *match.span())
        if word != (german := spell_umlauts(word)):
            yield from _make_form(fold(german), *match.span())


def _list_hash_prefixes(text: str) -> Iterator[str]:
    """Yield the beginnings of hashes, by which people name them."""
    for match in _HASH.finditer(text):
        for length in _HASH_PREFIXES:
            yield match.group()[:length].lower()
