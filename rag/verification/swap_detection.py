"""Swap detection: a claim that repeats a sentence word for word, but about something else."""

from __future__ import annotations

from collections.abc import Sequence, Set
from itertools import pairwise
from typing import NamedTuple

from rag.text.function_words import find_function_words
from rag.text.tokenization import STOP_WORDS, stems
from rag.verification.labelled_values import names_what_is_measured
from rag.verification.text_facts import TextFacts

MAX_CLAIM_TOKENS = 1_000
"""Tokens of a claim or a sentence that are compared."""

_MIN_SHARED_WORDS = 0.5  # share of a claim's words that a sentence must have
_MIN_VERBATIM_SHARE = 0.75  # share of a claim's words that a sentence has in the same order
_MIN_CONTENT_WORD_CHARACTERS = 3
_MIN_CLAIM_TOKENS = 3
_MIN_KNOWN_SHARE = 0.9  # of the tokens of a claim about another name
_MAX_BRIEF_CLAIM_TOKENS = 12
_MAX_NAME_TOKENS = 4
_CONJUNCTIONS = frozenset("and or und et y e".split())


class _Replacement(NamedTuple):
    """The claim's tokens ``[start, end)`` that replace the sentence's `replaced` tokens."""

    start: int
    end: int
    replaced: Sequence[str]


def is_swapped_statement(claim: TextFacts, sentence: TextFacts, has_wrong_number: bool) -> bool:
    """Whether the sentence makes the claim's statement about something else.

    It does if they agree word for word, except that a name, a number or a word of content is
    replaced by another one, or that names or numbers are exchanged. If the claim has a wrong
    number, agreement is enough.
    """
    if sentence.share_of(claim) < _MIN_SHARED_WORDS:
        return False
    claim_tokens = claim.tokens[:MAX_CLAIM_TOKENS]
    sentence_tokens = sentence.tokens[:MAX_CLAIM_TOKENS]
    shared = set(sentence_tokens) | sentence.numbers
    new_tokens = [token for token in claim_tokens if token not in shared]
    if not new_tokens and not has_wrong_number:
        return _has_exchanged_names(claim, claim_tokens, sentence_tokens)
    # A new name of two words counts as one word, since it can replace a name of one word.
    word_count = len(claim_tokens) - sum(
        first in claim.numbers_and_capitals
        and second in claim.numbers_and_capitals
        and not {first, second} & shared
        for first, second in pairwise(claim_tokens)
    )
    if len(claim_tokens) - len(new_tokens) < _MIN_VERBATIM_SHARE * word_count:
        return False
    verbatim_count, replacements = _align(claim_tokens, sentence_tokens)
    if verbatim_count < _MIN_VERBATIM_SHARE * word_count:
        return False
    if has_wrong_number:
        return True
    new_kinds = {
        token: is_number
        for token, is_number in claim.numbers_and_capitals.items()
        if token not in shared and (is_number or not names_what_is_measured(token))
    }
    is_brief = len(new_tokens) == 1 and len(claim_tokens) <= _MAX_BRIEF_CLAIM_TOKENS
    return any(
        _replaces_name(replacement, claim_tokens, new_kinds, sentence)
        or (is_brief and _replaces_content_word(replacement, claim_tokens, sentence))
        for replacement in replacements
    )


def names_another(claim: TextFacts, passage: TextFacts) -> bool:
    """Whether a name of the claim is missing, and another one stands beside the same word.

    "The Oslo office" is not the "Stockholm office".
    """
    missing = {name for name in claim.names - passage.all_words if name.isalpha()}
    if len(missing) != 1 or len(passage.tokens) > MAX_CLAIM_TOKENS:
        return False
    if len(claim.tokens) > _MAX_BRIEF_CLAIM_TOKENS or not _has_all_but(claim, passage, missing):
        return False
    if find_function_words(claim.text).has_capitalized_nouns:
        return False  # names are not known
    other_names = {
        token
        for token, is_number in passage.numbers_and_capitals.items()
        if not is_number and token not in claim.all_words
    }
    known_pairs = set(pairwise(passage.tokens))
    return any(
        (first in missing and any((name, second) in known_pairs for name in other_names))
        or (second in missing and any((first, name) in known_pairs for name in other_names))
        for first, second in pairwise(claim.tokens)
        if (second if first in missing else first) not in STOP_WORDS
        and len(second if first in missing else first) >= _MIN_CONTENT_WORD_CHARACTERS
    )


def _has_all_but(claim: TextFacts, passage: TextFacts, missing: Set[str]) -> bool:
    """Whether a passage has the words of a claim but its missing names."""
    known_words = passage.all_words | STOP_WORDS | missing
    return sum(token in known_words for token in claim.tokens) >= _MIN_KNOWN_SHARE * len(
        claim.tokens
    )


def _align(
    claim_tokens: Sequence[str], sentence_tokens: Sequence[str]
) -> tuple[int, list[_Replacement]]:
    """Return the number of tokens that agree in order, and the replacements between them."""
    from difflib import SequenceMatcher

    matcher = SequenceMatcher(None, claim_tokens, sentence_tokens, autojunk=False)
    verbatim_count = 0
    replacements = []
    for operation, start, end, sentence_start, sentence_end in matcher.get_opcodes():
        if operation == "equal":
            verbatim_count += end - start
        elif operation == "replace":
            replaced = sentence_tokens[sentence_start:sentence_end]
            replacements.append(_Replacement(start, end, replaced))
    return verbatim_count, replacements


def _replaces_name(
    replacement: _Replacement,
    claim_tokens: Sequence[str],
    new_kinds: dict[str, bool],
    sentence: TextFacts,
) -> bool:
    """Whether a new name replaces a name, or a new number a number."""
    start, end, replaced = replacement
    if len(replaced) > 2 * _MAX_NAME_TOKENS:  # compare only the tokens next to those that agree
        head = replaced[:_MAX_NAME_TOKENS] if start else []
        tail = replaced[-_MAX_NAME_TOKENS:] if end < len(claim_tokens) else []
        replaced = [*head, *tail]
    kinds = {new_kinds[token] for token in claim_tokens[start:end] if token in new_kinds}
    replaced_kinds = {
        sentence.numbers_and_capitals[token]
        for token in replaced
        if token in sentence.numbers_and_capitals
    }
    return bool(kinds & replaced_kinds)


def _replaces_content_word(
    replacement: _Replacement, claim_tokens: Sequence[str], sentence: TextFacts
) -> bool:
    """Whether one word of content replaces another."""
    start, end, replaced = replacement
    return end - start == 1 == len(replaced) and _is_other_content_word(
        claim_tokens[start], replaced[0], sentence.stem_weights.keys()
    )


def _is_other_content_word(word: str, replaced: str, sentence_stems: Set[str]) -> bool:
    """Whether both are words of content, and the first is no form of a word of the sentence."""
    if word in STOP_WORDS or replaced in STOP_WORDS:
        return False
    if min(len(word), len(replaced)) < _MIN_CONTENT_WORD_CHARACTERS:
        return False
    return not set(stems(word)) & sentence_stems


def _has_exchanged_names(
    claim: TextFacts, claim_tokens: Sequence[str], sentence_tokens: Sequence[str]
) -> bool:
    """Whether the names or numbers are in another order than in the sentence, and nothing else."""
    if not _MIN_CLAIM_TOKENS <= len(claim_tokens) < MAX_CLAIM_TOKENS:
        return False
    if len(claim.numbers_and_capitals) < 2:
        return False
    if not set(claim_tokens) <= set(sentence_tokens):
        return False
    if _is_subsequence(claim_tokens, sentence_tokens):
        return False
    other_tokens = [token for token in claim_tokens if token not in claim.numbers_and_capitals]
    if not set(other_tokens) - _CONJUNCTIONS or not _is_subsequence(other_tokens, sentence_tokens):
        return False
    names: list[str] = []
    enumeration: list[str] = []  # the order of names in an enumeration has no meaning
    for token in [*claim_tokens, ""]:
        if token in claim.numbers_and_capitals:
            enumeration.append(token)
        elif token not in _CONJUNCTIONS:
            names += sorted(enumeration, key=sentence_tokens.index)
            enumeration = []
    return not _is_subsequence(names, sentence_tokens)


def _is_subsequence(tokens: Sequence[str], all_tokens: Sequence[str]) -> bool:
    """Whether `tokens` occur in `all_tokens` in the same order."""
    remaining = iter(all_tokens)
    return all(token in remaining for token in tokens)
