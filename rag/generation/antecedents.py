"""Antecedents: the sentences that a pronoun at the beginning of a sentence points back to."""

from __future__ import annotations

from collections.abc import Iterator

from rag.generation.list_items import is_list_item
from rag.generation.passages import Passage
from rag.text.function_words import points_back
from rag.text.sentences import Span

_MAX_SENTENCES, _MAX_CHARACTERS = 2, 300


def find_antecedents(passage: Passage, span: Span) -> Iterator[Span]:
    """Yield the sentence before `span` if its pronoun points back to it, then the one before.

    They stand in the same paragraph, and are neither questions nor items of a list.
    """
    if passage.table_at(span.start) is not None or is_list_item(passage, span):
        return
    earlier = [s for s in passage.sentences_beside(span) if s.end <= span.start]
    for sentence in reversed(earlier[-_MAX_SENTENCES:]):
        text = passage.text[sentence.start : sentence.end]
        if (
            not points_back(passage.text[span.start : span.end])
            or len(text) > _MAX_CHARACTERS
            or text.endswith("?")
            or "\n\n" in passage.text[sentence.end : span.start]
            or is_list_item(passage, sentence)
        ):
            return
        yield sentence
        span = sentence
