"""Words: what every room takes for one, in every script, and how it is stemmed.

The lexical index holds the stems of a text in the text's own language; a question is looked for
under the stems of every language the index holds. `language_of` tells them apart.
"""

from __future__ import annotations

import re
import threading
import unicodedata
from functools import lru_cache
from typing import Any

LONGEST_WORD = 100  # characters of a word that count; no language has longer ones, noise has

# Scripts written without spaces between words (Thai, Lao, Myanmar, Khmer, kana, Han), and Hangul,
# whose words carry their particles with them.
_UNSEGMENTED = re.compile(
    "[\u0e01-\u0eff\u1000-\u109f\u1780-\u17ff\u3041-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uac00-\ud7a3\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff]+"
)
_ASCII_WORD = re.compile(r"[a-z0-9_]+")


def segment(text: str) -> str:
    """Write runs of scripts that do not separate words as overlapping pairs of characters.

    The lexical index and its queries both pass through here, so that 東京都 is found by 東京.
    """
    return text if text.isascii() else _UNSEGMENTED.sub(_pairs, text)


def _pairs(run: re.Match[str]) -> str:
    characters = run.group()
    pairs = [characters[i : i + 2] for i in range(len(characters) - 1)] or [characters]
    return f" {' '.join(pairs)} "


@lru_cache(maxsize=1)
def _word() -> Any:
    import regex

    return regex.compile(r"[\p{L}\p{M}\p{N}_]+")


def words(text: str, language: str = "en") -> list[str]:
    """Words of `text` in order: runs of letters with their combining marks, and of digits.

    Lower-cased, in Unicode's compatibility form (NFKC), so that ``ﬁ`` is ``fi`` and a composed
    letter equals a decomposed one. Scripts that do not separate words give pairs of characters.
    """
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    if language == "tr":  # where İ and I are the capitals of i and ı
        text = text.replace("İ", "i").replace("I", "ı")
    if text.isascii():
        found: list[str] = _ASCII_WORD.findall(text.lower())
    else:
        found = _word().findall(segment(text.lower().replace("i\u0307", "i")))
    if len(text) > LONGEST_WORD:
        return [word[:LONGEST_WORD] for word in found]
    return found


def stems(text: str, language: str = "en") -> list[str]:
    """`words` of `text`, each stemmed as the `language` (ISO 639-1) does; "" leaves them whole."""
    found = words(text, language)
    if found and (stemmer := _stemmer(language)) is not None:
        return list(stemmer.stemWords(found))
    return found


# ISO 639-1 to Snowball's names.
_STEMMERS = {
    "ar": "arabic",
    "ca": "catalan",
    "cs": "czech",
    "da": "danish",
    "de": "german",
    "el": "greek",
    "en": "english",
    "eo": "esperanto",
    "es": "spanish",
    "et": "estonian",
    "eu": "basque",
    "fa": "persian",
    "fi": "finnish",
    "fr": "french",
    "ga": "irish",
    "hi": "hindi",
    "hu": "hungarian",
    "hy": "armenian",
    "id": "indonesian",
    "it": "italian",
    "lt": "lithuanian",
    "ne": "nepali",
    "nl": "dutch",
    "no": "norwegian",
    "pl": "polish",
    "pt": "portuguese",
    "ro": "romanian",
    "ru": "russian",
    "sr": "serbian",
    "sv": "swedish",
    "ta": "tamil",
    "tr": "turkish",
    "yi": "yiddish",
}
STEMMED = tuple(_STEMMERS)
"""Languages that have a stemmer, by their ISO 639-1 codes."""


class _Stemmers(threading.local):
    """Stemmers of this thread: each keeps a cache of words that no two threads may share."""

    def __init__(self) -> None:
        self.made: dict[str, Any] = {}


_stemmers = _Stemmers()


def _stemmer(language: str) -> Any:
    if language not in _stemmers.made:
        import Stemmer

        name = _STEMMERS.get(language)
        _stemmers.made[language] = Stemmer.Stemmer(name) if name else None
    return _stemmers.made[language]


STOP_WORDS = frozenset(
    """a about above after again against all also am an and any are as at be because been before
    being below between both but by can could did do does doing down during each few for
    from further had has have having he her here hers herself him himself his how i if in
    into is it its itself just me might more most must my myself no nor not now of off on
    once only or other our ours ourselves out over own same shall she should so some such
    than that the their theirs them themselves then there these they this those through to
    too under until up upon us very was we were what when where which while who whom whose
    why will with would you your yours yourself yourselves s t d ll m re ve don doesn didn
    isn aren wasn weren tell know please many much""".split()
)
"""English words that say nothing of what a sentence is about."""


@lru_cache(maxsize=1)
def _stop_stems() -> frozenset[str]:
    return frozenset(stems(" ".join(STOP_WORDS))) | STOP_WORDS


def content_stems(text: str) -> list[str]:
    """`stems` without the stop words; with them, where nothing else is left."""
    all_stems = stems(text)
    stop = _stop_stems()
    return [stem for stem in all_stems if stem not in stop] or all_stems


# -- languages -----------------------------------------------------------------------------

_SAMPLE = 2_000  # characters that tell a language
_LETTERS = re.compile(r"[^\W\d_]+")
_TELLING = frozenset(
    "the of and to in is that for was with as by are be this from at an which have or not "
    "were been their its has it on".split()
)  # words of English that are not words of its neighbours
_FEW = 5  # words that tell nothing
_GREEK = re.compile("[\u0370-\u03ff\u1f00-\u1fff]")
_ENGLISH = 0.08  # share of these words from which a text is English: prose has .25 and more


def language_of(text: str) -> str:
    """ISO 639-1 code of the language `text` is stemmed as; "" for one without a stemmer.

    Told by the first 2,000 characters: by what English has most often, then by the language
    identifier py3langid. Text of no language (tables, code) counts as English.
    """
    sample = text[:_SAMPLE].lower()
    found = _LETTERS.findall(sample)
    telling = sum(word in _TELLING for word in found)
    if telling >= max(1, _ENGLISH * len(found)) or (sample.isascii() and len(found) < _FEW):
        return "en"
    letters = sum(map(len, found))
    if sum(map(len, _UNSEGMENTED.findall(sample))) > letters / 2:
        return ""
    if len(_GREEK.findall(sample)) > letters / 2:
        return "el"
    from py3langid import classify

    language = str(classify(sample)[0])
    language = {"nb": "no", "nn": "no", "hr": "sr", "bs": "sr"}.get(language, language)
    return language if language in _STEMMERS else ""
