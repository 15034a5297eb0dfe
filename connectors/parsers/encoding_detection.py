"""Guessing the encoding of text that does not state it."""

from __future__ import annotations

import codecs
import math
import re
import unicodedata
from collections import Counter
from functools import lru_cache
from itertools import pairwise

from rag.errors import UnsupportedFormat
from rag.types import to_well_formed

# Encodings in which files are found, as chardet calls them. Given all encodings, it takes some
# short texts for one that is hardly used, such as that of IBM mainframes. The UTF-16 and UTF-32
# encodings are found by `detect_wide_encoding`.
_ENCODINGS = (
    *("cp1252", "iso8859-1", "iso8859-15", "cp1250", "iso8859-2", "cp1251", "koi8-r", "koi8-u"),
    *("iso8859-5", "cp866", "cp1125", "cp1253", "iso8859-7", "cp1254"),
    *("iso8859-9", "cp1255", "iso8859-8", "cp1256", "iso8859-6", "cp1257", "iso8859-13", "cp1258"),
    *("cp874", "tis-620", "cp850", "cp437", "cp852", "mac-roman", "cp932", "shift_jis_2004"),
    *("euc_jis_2004", "gb18030", "big5hkscs", "cp949", "euc_kr"),
)
# Encodings with more characters: they are used if the guessed one does not decode all bytes.
_SUPERSETS = {
    "iso8859-1": "cp1252",
    "iso8859-15": "cp1252",
    "iso8859-2": "cp1250",
    "iso8859-5": "cp1251",
    "iso8859-6": "cp1256",
    "iso8859-7": "cp1253",
    "iso8859-8": "cp1255",
    "iso8859-9": "cp1254",
    "iso8859-13": "cp1257",
    "koi8-r": "koi8-u",
    "tis-620": "cp874",
    "shift_jis_2004": "cp932",
    "euc_kr": "cp949",
    "big5hkscs": "gb18030",
}
_ISO_2022_ENCODINGS = ("iso2022_jp", "iso2022_jp_ext", "iso2022_jp_2", "iso2022_jp_3", "iso2022_kr")
_ISO_2022_START = re.compile(rb"\x1b\$(?:[@AB]|[()][A-DOPQ])")
_SAMPLE_BYTES = 100_000  # of a file that are examined
_WIDE_SAMPLE_BYTES = 4_000  # divisible by four
# How much more or less often files are in an encoding than in others.
_PRIORS = {"cp1252": 1.1, "mac-roman": 0.6}
_MAX_CANDIDATES = 15
_MIN_PLAUSIBLE_SHARE = 0.9  # of the characters in UTF-16 and UTF-32
_CONTROL_BYTES = re.compile(rb"[\x00-\x08\x0b\x0e-\x1f\x7f]")
_PART = re.compile(rb"[^\n\r<>]{1,400}")
_WORD = re.compile(r"[^\W\d_]+")
_NON_ASCII = re.compile(r"[^\x00-\x7f]")
# Symbols that stand between two letters, or at one, only in text that is decoded wrongly.
_SYMBOL_IN_WORD = re.compile(
    r"(?<=[^\W\d_])[\xa0-\xa9\xab-\xb1\xb4\xb6\xb8-\xb9\xbb-\xbf\xd7\xf7\u2013\u2014\u201a"
    r"\u201c-\u203a\u20ac\u2122\u2200-\u24ff]+(?=[^\W\d_])"
)
_SYMBOL_AT_LETTER = re.compile(
    r"[^\W\d_][\xa1\xa2\xa4-\xa8\xaf\xb4\xb8\u02c6-\u02dd\u2500-\u259f]"
    r"|[\xa8\xa9\xae\xaf\xb1\xb4\xb8\u02c6-\u02dd\u2500-\u259f][^\W\d_]"
)
_UNUSUAL = re.compile(r"[\x80-\x84\x86-\x9f\u0530-\u058f\ue000-\uf8ff\ufb50-\ufdff\ufe70-\ufefe]")
_CURRENCY_SIGN = re.compile(r"\xa4|\d ?[\xbc-\xbe]?[\u0414\u0434](?![^\W\d_])")
_FRACTION_IN_WORD = re.compile(r"[^\W\d_][\xbc-\xbe]|[\xbc-\xbe][^\W\d_]")


def guess_encoding(data: bytes) -> str:
    """Return the name of the encoding that fits `data` best, which is not UTF-8.

    chardet ranks the encodings by the frequency of letters in each language; text that nobody
    writes, such as a word with letters of two scripts, moves an encoding down. Raises
    `UnsupportedFormat` if no encoding fits: then the data is not text.
    """
    import chardet

    sample = _select_sample(data)
    detections = chardet.detect_all(
        sample, ignore_threshold=True, compat_names=False, include_encodings=_ENCODINGS
    )
    confidences = {
        str(detection["encoding"]): float(detection["confidence"])
        for detection in detections[:_MAX_CANDIDATES]
        if detection["encoding"]
    }
    if not confidences:
        raise UnsupportedFormat("not text in any known encoding (a binary file?)")
    confidences.setdefault("cp1252", 0.0)
    scores: dict[str, float] = {}
    for encoding, confidence in confidences.items():
        text = _decode_sample(sample, encoding)
        if text is not None:
            prior = _PRIORS.get(encoding, 1.0)
            scores[encoding] = prior * (confidence + 0.002) * _rate_plausibility(text)
    if not scores:
        return next(iter(confidences))
    return max(scores, key=scores.__getitem__)


def _select_sample(data: bytes) -> bytes:
    """Return the lines, or sentences, that have bytes other than ASCII: the others tell nothing."""
    sample = data[:_SAMPLE_BYTES]
    parts = [part for part in _PART.findall(sample) if not part.isascii()]
    selected = b" ".join(parts)
    return selected if parts and len(selected) < len(sample) / 2 else sample


def decode_with_guess(data: bytes) -> str:
    """Decode text whose encoding is not known and not UTF-8. Raises `UnsupportedFormat`."""
    guessed = guess_encoding(data)
    for encoding in filter(None, (guessed, _SUPERSETS.get(guessed))):
        text = _decode_strictly(data, encoding)
        if text is not None and (encoding != guessed or not _has_c1_controls(text)):
            return text
    return to_well_formed(data.decode(guessed, errors="replace"))


def decode_iso_2022(data: bytes) -> str | None:
    """Decode Japanese or Korean text with escape sequences; None if `data` has none of them."""
    if not _ISO_2022_START.search(data) or not data.isascii():
        return None
    for encoding in _ISO_2022_ENCODINGS:
        text = _decode_strictly(data, encoding)
        if text is not None and not re.search(r"[\x0e\x0f\x1b]", text):
            return text
    text = data.decode("iso2022_jp_ext", errors="replace")
    return text if text.count("\ufffd") < 0.05 * len(text) else None


def detect_wide_encoding(data: bytes) -> str | None:
    """Return the kind of UTF-16 or UTF-32 without a byte order mark; None for other encodings.

    Both have bytes that are control characters in all other encodings. The right byte order
    shows itself by characters of one script.
    """
    sample = data[:_WIDE_SAMPLE_BYTES]
    if len(sample) < 8 or not _CONTROL_BYTES.search(sample):
        return None
    if b"\0" in sample:
        for encoding in ("utf-32-le", "utf-32-be"):
            text = _decode_sample(sample[: len(sample) // 4 * 4], encoding)
            if text and _rate_script_unity(text) >= _MIN_PLAUSIBLE_SHARE:
                return encoding
    elif len(_CONTROL_BYTES.findall(sample)) < 0.02 * len(sample) and _is_utf8(sample):
        return None
    scores = {}
    for encoding in ("utf-16-le", "utf-16-be"):
        if text := _decode_sample(sample[: len(sample) // 2 * 2], encoding):
            scores[encoding] = _rate_script_unity(text)
    if not scores:
        return None
    best_encoding = max(scores, key=scores.__getitem__)
    return best_encoding if scores[best_encoding] >= _MIN_PLAUSIBLE_SHARE else None


def _is_utf8(data: bytes) -> bool:
    return _decode_sample(data, "utf-8") is not None


def _decode_strictly(data: bytes, encoding: str) -> str | None:
    try:
        return to_well_formed(data.decode(encoding))
    except UnicodeDecodeError:
        return None


def _decode_sample(sample: bytes, encoding: str) -> str | None:
    """Decode a sample, which may end inside a character; None if it is not in `encoding`."""
    try:
        return codecs.getincrementaldecoder(encoding)().decode(sample, False)
    except UnicodeDecodeError:
        return None


def _has_c1_controls(text: str) -> bool:
    return re.search(r"[\x80-\x84\x86-\x9f]", text) is not None


def _rate_script_unity(text: str) -> float:
    """Return the share of characters that are ASCII or in the commonest script, 0 to 1.

    0 for text with control characters, and for Chinese characters without any spaces, line ends
    or punctuation: English text in pairs of bytes looks like that.
    """
    if any(c < " " and c not in "\t\n\r\f" for c in text) or "\x7f" in text:
        return 0.0
    if sum(character > "\uffff" for character in text) > 0.1 * len(text):
        return 0.0  # rare scripts and symbols, which no text consists of
    counts = Counter(map(_name_block, text))
    ascii_count = counts.pop("ascii", 0)
    block, block_count = counts.most_common(1)[0] if counts else ("", 0)
    is_ideographic = block == "cjk" and not re.search(r"[ \r\n\u3000-\u30ff\uff01-\uff1f]", text)
    return 0.0 if is_ideographic else (ascii_count + block_count) / len(text)


def _name_block(character: str) -> str:
    code = ord(character)
    if code < 0x80 or 0x2010 <= code <= 0x2026:
        return "ascii"
    if code < 0x250 or 0x1E00 <= code < 0x1F00:
        return "latin"
    if code < 0x600:
        return "cyrillic" if 0x400 <= code < 0x530 else f"{code >> 7:x}"
    if 0x3000 <= code < 0x3100 or 0x4E00 <= code < 0xA000 or 0xAC00 <= code < 0xD7A4:
        return "cjk"
    return "cjk" if 0xFF00 <= code < 0xFFF0 else f"{code >> 8:x}"


def _rate_plausibility(text: str) -> float:
    """Return how plausible it is that a person wrote `text`, 0 to 1."""
    non_ascii_count = len(_NON_ASCII.findall(text))
    if not non_ascii_count:
        return 1.0
    return math.exp(-4 * min(1.0, _count_implausible(text) / non_ascii_count))


def _count_implausible(text: str) -> int:
    """Count the characters that are where nobody writes them."""
    count = 3 * len(_UNUSUAL.findall(text)) + len(_CURRENCY_SIGN.findall(text))
    count += sum(len(match) for match in _SYMBOL_IN_WORD.findall(text))
    count += len(_FRACTION_IN_WORD.findall(text)) + len(_SYMBOL_AT_LETTER.findall(text))
    single_letters = foreign_words = latin_letters = 0
    for word in _WORD.findall(text):
        if word.isascii():
            latin_letters += len(word)
            continue
        scripts = Counter(map(_name_script, word))
        foreign_count = len(word) - scripts["LATIN"]
        latin_letters += scripts["LATIN"]
        if len(scripts) > 1:
            count += min(foreign_count, scripts["LATIN"]) or foreign_count // 2
        elif foreign_count == 1 or (len(word) == 1 and not _is_vowel(word)):
            single_letters += 1
        elif foreign_count:
            foreign_words += 1
        count += _count_case_changes(word)
    is_foreign = foreign_words or (not latin_letters and _name_script(text[-1:] or " ") == "CJK")
    return count + (0 if is_foreign else single_letters)


def _count_case_changes(word: str) -> int:
    """Count the capital letters that are not ASCII and follow a small letter."""
    if word.islower() or word.istitle() or word.isupper():
        return 0
    return sum(
        before.islower() and after.isupper() and not (before.isascii() and after.isascii())
        for before, after in pairwise(word)
    )


def _is_vowel(letter: str) -> bool:
    return unicodedata.normalize("NFD", letter.lower())[0] in "aeiouyæøœı"


@lru_cache(maxsize=10_000)
def _name_script(letter: str) -> str:
    """Return the script of a letter; scripts that are mixed in words count as one."""
    name = unicodedata.name(letter, "").split(" ")[0]
    if name in ("HIRAGANA", "KATAKANA", "CJK", "KATAKANA-HIRAGANA", "IDEOGRAPHIC", "HANGUL"):
        return "CJK"
    return "LATIN" if name in ("FEMININE", "MASCULINE", "MICRO", "FULLWIDTH", "") else name
