"""The plan of a BM25 query: words, synonyms, spellings, typos and phrases as weighted clauses."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from rag.stores.lexical_index import BM25Query, LexicalQuery, SparseQuery, weigh_sparse_terms
from rag.text.spellings import QueryForms, find_query_forms, fold, list_pieces
from rag.text.synonyms import find_synonym_phrases, is_synonym, synonym_stems
from rag.text.tokenization import STOP_WORDS, index_stems, regional_stems, words
from rag.text.typos import find_words_with_two_typos, list_edits, max_typos

_PART_WEIGHT = 0.5  # of a word in an identifier that the index has
_COMPOUND_SHARE = 0.5  # of the weight, for compounds of letters: their parts tell as much

_KNOWN_WORD_WEIGHT = 0.5  # of the joined form of a word that the text of chunks contains
_MAX_CORRECTED_WORDS = 20  # of a query: a lookup takes milliseconds
_MIN_PART_CHARACTERS = 3  # of the parts of a compound
_MAX_SIMILAR_STEMS = 3  # that a misspelt word may stand for
_STABLE_PREFIX_CHARACTERS = 3  # of a word with two typos


class WordClause(NamedTuple):
    """A word to search for in one field: its stems, each with a boost of its BM25 score.

    The best of the stems counts.
    """

    field: str
    boosts: dict[str, float]


class PhraseClause(NamedTuple):
    """Adjacent stems to search for in the field ``body``, in several forms; the best counts."""

    forms: tuple[tuple[str, ...], ...]
    boost: float = 1.0


class SparseClause(NamedTuple):
    """A term of the sparse vectors to search for in the field ``sparse``, and what it adds."""

    term: str
    score: float


Clause = WordClause | PhraseClause | SparseClause


def plan_query(
    query: LexicalQuery,
    languages: Sequence[str],
    count_chunks: Callable[[str, str], int],
    chunk_count: int,
    list_stems: Callable[[str], Mapping[str, int]] | None = None,
) -> Sequence[Clause]:
    """Translate a query to clauses whose scores are added. Empty: no chunk can match.

    `count_chunks` returns the number of chunks that have a stem in a field ("title", "body",
    "forms" or "sparse"). `list_stems` is that of the index; without it, words with two typos are
    not recognised.
    """
    if isinstance(query, SparseQuery):
        return [
            SparseClause(term, score)
            for term, score in weigh_sparse_terms(query).items()
            if count_chunks("sparse", term)
        ]
    planner = _QueryPlanner(query, languages, count_chunks, chunk_count, list_stems)
    text = "" if query.has_only_phrases else query.text
    words_by_forms = dict(zip(_stem_forms(text, languages), words(text), strict=False))
    for forms, count in planner.add_spellings(text).items():
        planner.add_word(words_by_forms[forms], forms, count)
    for phrase in query.phrases:
        planner.add_phrase({tuple(index_stems(phrase, language)) for language in languages})
    if text:
        planner.add_synonym_phrases(text)
        planner.add_expansion()
    return planner.clauses


def compute_idf(matching: int, total: int) -> float:
    """Return BM25's inverse document frequency of a stem in `matching` of `total` chunks.

    With 1 added in the logarithm, as in Lucene and tantivy, so that it is never negative.
    """
    matching = min(matching, total)
    return math.log(1 + (total - matching + 0.5) / (matching + 0.5))


def _stem_forms(text: str, languages: Sequence[str]) -> list[tuple[str, ...]]:
    """Return the distinct stems of each word in these languages, and in British and American."""
    stemmed = [index_stems(text, language) for language in languages]
    regional = regional_stems() if "en" in languages else {}
    return [
        tuple(dict.fromkeys([*forms, *(stem for form in forms for stem in regional.get(form, ()))]))
        for forms in zip(*stemmed, strict=True)
    ]


@lru_cache(maxsize=1)
def _stop_stems() -> frozenset[str]:
    return frozenset(index_stems(" ".join(STOP_WORDS), "en")) | STOP_WORDS


class _QueryPlanner:
    """Collects the clauses of a query."""

    def __init__(
        self,
        query: BM25Query,
        languages: Sequence[str],
        count_chunks: Callable[[str, str], int],
        chunk_count: int,
        list_stems: Callable[[str], Mapping[str, int]] | None,
    ) -> None:
        self._query = query
        self._languages = languages
        self._count_chunks = count_chunks
        self._chunk_count = chunk_count
        self._list_stems = list_stems
        self.clauses: list[WordClause | PhraseClause] = []
        self._corrected_words = 0
        self._total_weight = 0.0

    def add_word(self, word: str, forms: Sequence[str], count: float) -> None:
        """Search for a word that is `count` times in the query, in any of its stem `forms`.

        The inverse document frequency is that of all forms together. Otherwise a form that only
        one chunk has, because its language was detected wrongly, would outweigh all others.
        """
        if not _stop_stems().isdisjoint(forms):
            count *= self._query.stop_word_weight
        synonyms = self._find_synonyms(forms)
        if any(self._count_chunks("body", form) for form in forms):
            self._add_stems(forms, count, synonyms)
        elif synonyms:
            self._add_stems(synonyms, count * self._query.synonym_weight)
        elif similar := self._find_similar_stems(word, forms):
            self._add_stems(similar, count * self._query.typo_weight)

    def _add_stems(self, forms: Sequence[str], factor: float, synonyms: Sequence[str] = ()) -> None:
        weight = factor * self._compute_combined_idf(forms) ** self._query.rarity
        self._total_weight += weight
        for field, share in (("body", 1.0), ("title", self._query.title_weight)):
            self._add_best_of(field, forms, weight * share, synonyms)

    def _find_synonyms(self, forms: Sequence[str]) -> list[str]:
        """Return the stems of the index that are synonyms of a word."""
        if not self._query.synonym_weight:
            return []
        tables = [synonym_stems(language) for language in self._languages]
        others = {stem for form in forms for table in tables for stem in table.get(form, ())}
        return [stem for stem in sorted(others - {*forms}) if self._count_chunks("body", stem)]

    def _find_similar_stems(self, word: str, forms: Sequence[str]) -> list[str]:
        """Return the stems of the index for which an unknown word may be a misspelling."""
        if not self._query.typo_weight or self._is_known_form(word) or not max_typos(word):
            return []
        if self._query.synonym_weight and is_synonym(word):
            return []
        if self._corrected_words == _MAX_CORRECTED_WORDS:
            return []
        self._corrected_words += 1
        edits = "\n".join(list_edits(word))
        candidates = {stem for language in self._languages for stem in index_stems(edits, language)}
        counts = ((stem, self._count_chunks("body", stem)) for stem in candidates)
        matching = {stem: count for stem, count in counts if count}
        if not matching and max_typos(word) > 1 and self._list_stems is not None:
            for form in forms:
                prefix = form[:_STABLE_PREFIX_CHARACTERS]
                matching |= find_words_with_two_typos(form, self._list_stems(prefix))
        best = sorted(matching, key=lambda stem: (-matching[stem], stem))
        return best[:_MAX_SIMILAR_STEMS]

    def _is_known_form(self, word: str) -> bool:
        return self._count_chunks("forms", fold(word)) > 0

    def add_spellings(self, text: str) -> dict[tuple[str, ...], float]:
        """Search for the joined forms of the query, and for the parts of its unknown words.

        Return the weight of each word of the query. The parts of an identifier tell less by
        themselves: they count less if the index has the whole.
        """
        forms_by_word = dict(zip(words(text), _stem_forms(text, self._languages), strict=False))
        weights: dict[tuple[str, ...], float] = dict(Counter(_stem_forms(text, self._languages)))
        if not self._query.spelling_weight:
            return weights
        spans = find_query_forms(text)
        stems_of_forms = self._stem_all(
            form for span in spans for form in span.forms if (form,) != span.words
        )
        matched: list[QueryForms] = []
        for span in spans:
            if any(m.start <= span.start and span.end <= m.end for m in matched):
                continue
            if self._add_query_forms(span, stems_of_forms):
                matched.append(span)
                if any(map(str.isdigit, "".join(span.forms))):
                    for forms in _stem_forms(text[span.start : span.end], self._languages):
                        if forms in weights:
                            weights[forms] -= 1 - _PART_WEIGHT
        for word, forms in forms_by_word.items():
            is_known = any(self._count_chunks("body", stem) for stem in forms)
            if word.isalpha():
                self._add_forms("forms", [fold(word)], _KNOWN_WORD_WEIGHT if is_known else 1.0)
            if not is_known:
                for parts in self._divide_compound(word):
                    self.add_phrase([parts])
        for piece in list_pieces(text):
            self._add_forms("body", self._stem(piece), self._query.spelling_weight)
        return weights

    def _stem_all(self, forms: Iterable[str]) -> dict[str, list[str]]:
        """Return the stems of those forms that are single words, in all languages."""
        single = list(dict.fromkeys(f for f in forms if f.isalnum() and not f.isdecimal()))
        stemmed = _stem_forms("\n".join(single), self._languages)
        if len(stemmed) != len(single):  # a form of characters without spaces between words
            return {form: self._stem(form) for form in single}
        return {form: list(stems) for form, stems in zip(single, stemmed, strict=True)}

    def _add_query_forms(
        self, span: QueryForms, stems_of_forms: Mapping[str, Sequence[str]]
    ) -> bool:
        """Search for the forms of a span; return whether the index has one."""
        has_digit = any(map(str.isdigit, "".join(span.forms)))
        share = max(1, len(span.words)) if has_digit else _COMPOUND_SHARE
        weight = self._query.spelling_weight * share
        has_form = self._add_forms("forms", span.forms, weight)
        for form in span.forms:
            has_form |= self._add_forms("body", stems_of_forms.get(form, ()), weight)
        return has_form

    def _stem(self, word: str) -> list[str]:
        stemmed = [index_stems(word, language) for language in self._languages]
        return list(dict.fromkeys(forms[0] for forms in stemmed if len(forms) == 1))

    def _add_forms(self, field: str, forms: Sequence[str], factor: float) -> bool:
        matching = sum(self._count_chunks(field, form) for form in forms)
        if matching:
            idf = compute_idf(matching, self._chunk_count)
            self._add_best_of(field, forms, factor * idf**self._query.rarity)
        return matching > 0

    def _divide_compound(self, word: str) -> list[tuple[str, str]]:
        """Return the ways in which an unknown word is two known ones: ``database``."""
        if not word.isalpha():
            return []
        parts = []
        for i in range(_MIN_PART_CHARACTERS, len(word) - _MIN_PART_CHARACTERS + 1):
            for first in self._stem(word[:i]):
                for second in self._stem(word[i:]) if self._count_chunks("body", first) else ():
                    if self._count_chunks("body", second):
                        parts.append((first, second))
        return parts

    def _compute_combined_idf(self, forms: Sequence[str]) -> float:
        matching = sum(self._count_chunks("body", form) for form in forms)
        return compute_idf(matching, self._chunk_count) if matching else 0.0

    def _add_best_of(
        self, field: str, forms: Sequence[str], weight: float, synonyms: Sequence[str] = ()
    ) -> None:
        """Search for stems, and for `synonyms`, which tell no more than the word itself."""
        counts = {form: self._count_chunks(field, form) for form in forms}
        combined_idf = compute_idf(sum(counts.values()), self._chunk_count)
        boosts = {
            form: weight * combined_idf / compute_idf(count, self._chunk_count)
            for form, count in counts.items()
            if count
        }
        for stem in synonyms:
            if count := self._count_chunks(field, stem):
                share = min(1.0, combined_idf / compute_idf(count, self._chunk_count))
                boosts[stem] = weight * share * self._query.synonym_weight
        if boosts and weight > 0:
            self.clauses.append(WordClause(field, boosts))

    def add_phrase(self, forms: Iterable[tuple[str, ...]]) -> None:
        """Search for adjacent words, in any of the stem forms of the phrase.

        A match adds to the score of the single words. It is not required: quotes in a question
        are often titles and terms that the answer does not repeat.
        """
        if phrase_forms := tuple(form for form in sorted(forms) if form):
            self.clauses.append(PhraseClause(phrase_forms))

    def add_synonym_phrases(self, text: str) -> None:
        """Search for the synonyms of several words, and for those of terms of several words."""
        if not self._query.synonym_weight:
            return
        for language in self._languages:
            for synonyms in find_synonym_phrases(text, language):
                phrases = tuple(
                    s for s in synonyms if all(self._count_chunks("body", w) for w in s)
                )
                if phrases:
                    self.clauses.append(PhraseClause(phrases, self._query.synonym_weight))

    def add_expansion(self) -> None:
        """Search for the expansion stems. Call it last: their weight depends on the words."""
        share_of_all = self._query.expansion_share
        expansion_weight = (self._total_weight or 1.0) * share_of_all / (1 - share_of_all)
        for stem, share in self._query.expansion:
            self.clauses.append(WordClause("body", {stem: expansion_weight * share}))
