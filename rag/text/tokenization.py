"""Tokenization for BM25 and word comparisons: words, stems, and the language to stem in.

Scripts without spaces between words (Chinese, Japanese, Thai, Lao, Khmer, Myanmar) and Hangul are
indexed as overlapping character bigrams: `split_into_character_bigrams`.

The lexical index holds the stems of a text in the language of the text (`detect_language`); a
query is searched with the stems of every language in the index.
"""

from __future__ import annotations

import re
import threading
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from rag.text.regional_spellings import (
    REGIONAL_SPELLINGS,
    SEARCHED_SPELLINGS,
    spell_ize_as_ise,
)

MAX_WORD_CHARACTERS = 100  # longer words are noise and are cut

# Scripts without spaces between words (Thai, Lao, Myanmar, Khmer, kana, Han), and Hangul, whose
# words include their particles.
_SCRIPTS_WITHOUT_SPACES = re.compile(
    "[\u0e01-\u0eff\u1000-\u109f\u1780-\u17ff\u3041-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uac00-\ud7a3\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff]+"
)
_RAISED_FIGURES = re.compile(r"(?:(?<=[^\W\d_]{3})|(?<=[0-9]))[⁺⁻]?[⁰¹²³⁴-⁹]+(?:,[⁰¹²³⁴-⁹]+)*")
_ASCII_WORD = re.compile(r"[a-z0-9_]+")


def split_into_character_bigrams(text: str) -> str:
    """Replace runs of scripts without spaces by overlapping character bigrams.

    The texts of the lexical index and its queries both use it, so that the query 東京 finds 東京都.
    """
    return text if text.isascii() else _SCRIPTS_WITHOUT_SPACES.sub(_write_bigrams, text)


def _write_bigrams(run: re.Match[str]) -> str:
    characters = run.group()
    bigrams = [characters[i : i + 2] for i in range(len(characters) - 1)] or [characters]
    return f" {' '.join(bigrams)} "


@lru_cache(maxsize=1)
def _word_pattern() -> Any:
    import regex

    return regex.compile(r"[\p{L}\p{M}\p{N}_]+")


def words(text: str, language: str = "en") -> list[str]:
    """Return the words of `text` in order: runs of letters, combining marks and digits.

    They are in lower case and in Unicode's compatibility form (NFKC), so that ``ﬁ`` is ``fi`` and a
    composed letter equals a decomposed one. Scripts without spaces give character bigrams. The
    number of a footnote is no part of a word: "flows¹"; 10⁶ is not 106, but as 10^6.
    """
    if not text.isascii():
        text = unicodedata.normalize("NFKC", _RAISED_FIGURES.sub(_detach_figures, text))
    if language == "tr":  # İ and I are the capitals of i and ı
        text = text.replace("İ", "i").replace("I", "ı")
    if text.isascii():
        matches: list[str] = _ASCII_WORD.findall(text.lower())
    else:
        matches = _word_pattern().findall(
            split_into_character_bigrams(text.lower().replace("i\u0307", "i"))
        )
    if len(text) > MAX_WORD_CHARACTERS:
        return [word[:MAX_WORD_CHARACTERS] for word in matches]
    return matches


def _detach_figures(figures: re.Match[str]) -> str:
    return f" {figures[0]}" if figures.string[figures.start() - 1].isdigit() else " "


def stems(text: str) -> list[str]:
    """Return the `words` of `text`, stemmed in English, with one spelling: "tire" is "tyre"."""
    text_words = words(text)
    if "iz" in text:
        text_words = list(map(spell_ize_as_ise, text_words))
    british = _british_stems()
    text_stems: list[str] = _get_stemmer("en").stemWords(text_words)
    if british.keys().isdisjoint(text_stems):
        return text_stems
    return [british.get(stem, stem) for stem in text_stems]


def index_stems(text: str, language: str) -> list[str]:
    """Return the `words` of `text`, stemmed in `language` (ISO 639-1), as an index has them.

    "" does not stem.
    """
    text_words = words(text, language)
    if text_words and (stemmer := _get_stemmer(language)) is not None:
        return list(stemmer.stemWords(text_words))
    return text_words


@lru_cache(maxsize=1)
def _british_stems() -> dict[str, str]:
    """Return the stems of British spellings by those of American ones."""
    return {american: british for british, american in _stem_pairs(REGIONAL_SPELLINGS)}


@lru_cache(maxsize=1)
def regional_stems() -> dict[str, tuple[str, ...]]:
    """Return the English stems of the same words in other regions, by stem, in both directions.

    Verbs in -ise are among them if the stem of their form in -ize is no other word: "organiz".
    """
    others: dict[str, list[str]] = {}
    for british, american in _stem_pairs(SEARCHED_SPELLINGS):
        if not british.endswith("is") or american.endswith("iz"):
            others.setdefault(british, []).append(american)
            others.setdefault(american, []).append(british)
    return {stem: tuple(same) for stem, same in others.items()}


def _stem_pairs(pairs: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the different stems of pairs of words."""
    firsts, seconds = (index_stems(" ".join(column), "en") for column in zip(*pairs, strict=True))
    different = (pair for pair in zip(firsts, seconds, strict=True) if pair[0] != pair[1])
    return list(dict.fromkeys(different))


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
STEMMED_LANGUAGES = tuple(_STEMMERS)
"""ISO 639-1 codes of the languages with a stemmer."""


class _ThreadStemmers(threading.local):
    """The stemmers of this thread; their caches are not thread-safe."""

    def __init__(self) -> None:
        self.by_language: dict[str, Any] = {}


_stemmers = _ThreadStemmers()


def _get_stemmer(language: str) -> Any:
    if language not in _stemmers.by_language:
        import Stemmer

        name = _STEMMERS.get(language)
        _stemmers.by_language[language] = Stemmer.Stemmer(name) if name else None
    return _stemmers.by_language[language]


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
"""English words that do not indicate the topic of a sentence."""


@lru_cache(maxsize=1)
def _stop_stems() -> frozenset[str]:
    return frozenset(stems(" ".join(STOP_WORDS))) | STOP_WORDS


def content_stems(text: str) -> list[str]:
    """Return the `stems` without stop words, or all stems if there are only stop words."""
    all_stems = stems(text)
    stop_stems = _stop_stems()
    return [stem for stem in all_stems if stem not in stop_stems] or all_stems


# -- languages -----------------------------------------------------------------------------

_SAMPLE_CHARACTERS = 2_000  # enough to detect a language
_LETTER_RUN = re.compile(r"[^\W\d_]+")
_ENGLISH_FUNCTION_WORDS = frozenset(
    "the of and to in is that for was with as by are be this from at an which have or not "
    "were been their its has it on".split()
)  # not words of related languages
_MIN_WORDS_FOR_DETECTION = 5  # fewer words do not identify a language
_GREEK = re.compile("[\u0370-\u03ff\u1f00-\u1fff]")
_MIN_ENGLISH_SHARE = 0.08  # of English function words; English prose has 0.25 or more


def detect_language(text: str) -> str:
    """Return the ISO 639-1 code of the language to stem `text` in; "" if it has no stemmer.

    It reads the first 2,000 characters: it looks for frequent English words, then asks the language
    identifier py3langid. Text without a language (tables, code) counts as English.
    """
    sample = text[:_SAMPLE_CHARACTERS].lower()
    sample_words = _LETTER_RUN.findall(sample)
    function_word_count = sum(word in _ENGLISH_FUNCTION_WORDS for word in sample_words)
    if function_word_count >= max(1, _MIN_ENGLISH_SHARE * len(sample_words)) or (
        sample.isascii() and len(sample_words) < _MIN_WORDS_FOR_DETECTION
    ):
        return "en"
    letter_count = sum(map(len, sample_words))
    if sum(map(len, _SCRIPTS_WITHOUT_SPACES.findall(sample))) > letter_count / 2:
        return ""
    if len(_GREEK.findall(sample)) > letter_count / 2:
        return "el"
    from py3langid import classify

    language = str(classify(sample)[0])
    language = {"nb": "no", "nn": "no", "hr": "sr", "bs": "sr"}.get(language, language)
    return language if language in _STEMMERS else ""
