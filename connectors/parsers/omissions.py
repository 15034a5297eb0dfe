"""Recording what a parser leaves out of a file, and comparing the words of file and text."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from typing import Any

from connectors.parsers.invisible_characters import remove_invisible_characters
from rag.types import Coverage, Omission, OmissionReason

_MAX_MISSING_WORDS = 20
_MAX_OMISSIONS = 100  # that are listed one by one; the words of all are counted
_MAX_HIDDEN_NAMES = 100  # in the metadata
_WORD = re.compile(r"\w+")


class OmissionLog:
    """The content that a parser leaves out of one file.

    A parser calls `add` for everything that it drops on purpose. At the end, `metadata` names what
    is hidden, and `measure` compares the words of the file with those of the text.
    """

    def __init__(self) -> None:
        self._omissions: list[Omission] = []
        self._words: Counter[str] = Counter()
        self._hidden_names: dict[str, None] = {}
        self._more_words: dict[OmissionReason, list[int]] = {}

    def add(self, reason: OmissionReason, name: str, text: str = "") -> None:
        """Record content that is left out: `name` says what it is, `text` is all of its text."""
        words = list_words(text)
        self._words.update(words)
        name = " ".join(name.split())[:200]
        if reason == "hidden" and len(self._hidden_names) < _MAX_HIDDEN_NAMES:
            self._hidden_names[name] = None
        if len(self._omissions) < _MAX_OMISSIONS:
            self._omissions.append(Omission(reason=reason, name=name, words=len(words)))
        else:
            self._more_words.setdefault(reason, []).append(len(words))

    @property
    def metadata(self) -> dict[str, Any]:
        """The metadata field ``hidden``: what the author of the file has hidden; {} if nothing."""
        return {"hidden": tuple(self._hidden_names)} if self._hidden_names else {}

    def measure(self, text: str, source_texts: Iterable[str]) -> Coverage:
        """Compare the `text` of the document with all text of the file, in `source_texts`."""
        source_tokens: Counter[str] = Counter()
        for part in source_texts:
            source_tokens.update(part.split())
        word_count = sum(
            count if token.isalnum() and token.isascii() else count * len(list_words(token))
            for token, count in source_tokens.items()
        )
        # What is the same on both sides is not divided into words: most of the text is.
        text_tokens = Counter(text.split())
        source_words = Counter(list_words("\n".join((source_tokens - text_tokens).elements())))
        text_words = Counter(list_words("\n".join((text_tokens - source_tokens).elements())))
        return self._make_coverage(word_count, source_words - text_words - self._words)

    def count_unchanged(self, text: str) -> Coverage:
        """Return the coverage of a file whose `text` is taken as it is, so no word is missing."""
        return self._make_coverage(len(list_words(text)), Counter())

    def _make_coverage(self, word_count: int, missing: Counter[str]) -> Coverage:
        unlisted = (
            Omission(reason=reason, name=f"{len(counts):,} more", words=sum(counts))
            for reason, counts in self._more_words.items()
        )
        return Coverage(
            words=word_count,
            missing=missing.total(),
            missing_words=tuple(missing)[:_MAX_MISSING_WORDS],
            omissions=(*self._omissions, *unlisted),
        )


def list_words(text: str) -> list[str]:
    """Return the words of a text in order, without punctuation, case and typographic forms."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", remove_invisible_characters(text))
    return _WORD.findall(text.casefold())
