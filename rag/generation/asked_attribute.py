"""The attribute that a question asks for: the salary in "What is Bodil Krag's salary?".

A sentence with the right name and without the attribute is no answer.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from rag.embedding import Embedder
from rag.generation.name_agreement import find_name_words
from rag.text.synonyms import find_synonymous_words
from rag.text.tokenization import STOP_WORDS, content_stems, stems, words

_MIN_SIMILARITY = 0.3  # cosine of two words that may mean the same: "price" and "fee"
_MAX_WORDS = 3
_GENERIC_WORDS = frozenset(
    """amount number value total sum name kind type list percentage rate level count date day year
    time reason purpose aim main best first last current""".split()
)  # the answer itself says what it is
_OF = re.compile(
    r"^\W*(?:what|which|how\smuch|how\shigh)\s(?:is|are|was|were)\s(?:the\s|our\s|their\s)?"
    r"(?P<attribute>[^\W\d][\w\s-]{1,40}?)\s(?:of|for|at)\s(?:the\s)?(?P<name>\S.*)$",
    re.IGNORECASE,
)
_POSSESSIVE = re.compile(
    r"^\W*(?:what|which)\s(?:is|are|was|were)\s(?P<name>\S.{1,60}?)['’]s?\s"
    r"(?P<attribute>[^\W\d][\w\s-]{1,40}?)\W*$",
    re.IGNORECASE,
)


def find_asked_attribute(question: str) -> tuple[str, ...]:
    """Return the content words of the attribute of something with a name.

    Empty if the question has another form, or a long attribute, which is rarely repeated.
    """
    match = _OF.match(question) or _POSSESSIVE.match(question)
    if match is None:
        return ()
    if not any(not name.isdecimal() for name in find_name_words(match["name"])):
        return ()
    attribute = [word for word in words(match["attribute"]) if word not in STOP_WORDS]
    attribute = [word for word in attribute if word not in _GENERIC_WORDS]
    return tuple(attribute) if len(attribute) <= _MAX_WORDS else ()


def find_texts_with_attribute(
    attribute: Sequence[str], texts: Sequence[str], embedder: Embedder
) -> list[bool]:
    """Return for each text whether it has a word of `attribute`, or one of a similar meaning."""
    attribute_text = " ".join(attribute)
    attribute_stems = set(content_stems(attribute_text))
    text_words = [frozenset(words(text)) - STOP_WORDS for text in texts]
    has_word = [
        not attribute_stems.isdisjoint(stems(text))
        or bool(find_synonymous_words(attribute_text, text))
        for text in texts
    ]
    distinct_words = sorted(frozenset().union(*text_words)) if not all(has_word) else []
    if not distinct_words:
        return has_word
    cosines = embedder.embed_documents(distinct_words) @ embedder.embed_documents(attribute).T
    similar = {
        w
        for w, best in zip(distinct_words, cosines.max(axis=1), strict=True)
        if best >= _MIN_SIMILARITY
    }
    return [
        has or not similar.isdisjoint(in_text)
        for has, in_text in zip(has_word, text_words, strict=True)
    ]
