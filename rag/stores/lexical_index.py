"""The contract of lexical indexes, and their queries."""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from operator import attrgetter
from typing import ClassVar, NamedTuple

from rag.stores.location import DerivedStoreConfig, StoreLocation
from rag.text.spellings import (
    QueryForms,
    find_query_forms,
    fold,
    list_edits,
    list_forms,
    list_pieces,
    max_typos,
)
from rag.text.tokenization import STOP_WORDS, detect_language, stems, words

_PART_WEIGHT = 0.5  # of a word in an identifier that the index has
_COMPOUND_SHARE = 0.5  # of the weight, for compounds of letters: their parts tell as much
_MIN_PART_CHARACTERS = 3  # of the parts of a compound
_MAX_SIMILAR_STEMS = 3  # that a misspelt word may stand for
_STABLE_PREFIX_CHARACTERS = 3  # of a word with two typos
_LANGUAGE_SAMPLE_CHUNKS = 16  # first chunks of a document, to detect its language
_QUOTED_PHRASE = re.compile(r'"([^"]+)"|“([^”]+)”|„([^“”]+)[“”]|«([^»]+)»|「([^」]+)」')


class LexicalIndexConfig(DerivedStoreConfig):
    """Configuration of a lexical index: the component that a pipeline names."""

    kind: ClassVar[str] = "lexical_index"

    @abstractmethod
    def open(self, location: StoreLocation) -> LexicalIndex:
        """Open the index. Raises `IndexDamaged` if its storage is missing or broken."""


class LexicalEntry(NamedTuple):
    """What a lexical index stores of a chunk: its row, its document's number, and its texts."""

    row: int
    document: int
    heading_context: str
    text: str


@dataclass(frozen=True, slots=True)
class BM25Query:
    """A query to the lexical index.

    ``title_weight`` is the weight of a match in title and headings, added to the weight 1 of a
    match in the whole text. Rare words weigh more: by their inverse document frequency to the
    power ``1 + rarity``, where plain BM25 has the power 1. English stop words count
    ``stop_word_weight`` times as much: in a small index they are rare. ``spelling_weight`` is the
    weight of the joined forms of the query (`rag.text.spellings`), ``typo_weight`` that of the
    known words for which an unknown word may be a misspelling; 0 turns them off. ``expansion`` are
    additional (stem, share) pairs, for example of pseudo-relevance feedback; together they have
    ``expansion_share`` (0..1) of the weight of the query.
    """

    text: str
    title_weight: float = 0.25
    rarity: float = 0.35
    stop_word_weight: float = 0.3
    spelling_weight: float = 0.5
    typo_weight: float = 0.7
    expansion: tuple[tuple[str, float], ...] = ()
    expansion_share: float = 0.0

    @property
    def has_only_phrases(self) -> bool:
        """Whether all words of the query are in quotes."""
        unquoted_text = _QUOTED_PHRASE.sub(" ", self.text)
        return not words(unquoted_text) and any(map(words, self.phrases))

    @property
    def phrases(self) -> list[str]:
        """Phrases in quotes, without the quotes."""
        return [next(filter(None, match.groups())) for match in _QUOTED_PHRASE.finditer(self.text)]


class LexicalIndex(ABC):
    """BM25 search by chunk row, over the texts of the document store.

    The score of a chunk is the sum over the clauses of `plan_query`. A `WordClause` has the BM25
    score of its best stem, times the boost; a `PhraseClause` that of its best form, whose inverse
    document frequency is the sum of those of its stems. BM25 has ``k1`` 1.2 and ``b`` .75, and the
    length of the field. A row that was added twice may be found twice.

    A row is the number of a chunk in the document store; it is never used again for another
    chunk. Each document is stemmed in its language (see `rag.text.tokenization`), and a query in
    every language of the index (`languages`); if the stems of a word differ, the best match
    counts. `stem_entries` and `plan_query` do this for every implementation. Threads may share an
    index; one process writes at a time, and others read meanwhile. Every method may raise
    `IndexDamaged`, and `IndexUnreachable` if a server does not answer.
    """

    @abstractmethod
    def add(self, entries: Iterable[LexicalEntry]) -> None:
        """Add chunks. They are found after `commit`.

        Chunks of one document are adjacent: its language is detected from them together.
        """

    @abstractmethod
    def delete(self, rows: Sequence[int]) -> None:
        """Remove chunk rows, also those added since the last commit. They are found until `commit`.

        Unknown rows are ignored.
        """

    @abstractmethod
    def commit(self) -> None:
        """Make additions and deletions durable, and visible to this process."""

    @abstractmethod
    def search(
        self, query: BM25Query, k: int, documents: Collection[int] | None = None
    ) -> list[tuple[int, float]]:
        """Return up to `k` best (row, score), best first; with `documents`, only of these.

        A chunk matches if it contains a word, a phrase or an expansion stem of the query.
        """

    @abstractmethod
    def scores(self, query: BM25Query, rows: Sequence[int]) -> dict[int, float]:
        """Return the scores of these rows, without those that do not match the query."""

    @abstractmethod
    def inverse_document_frequency(self, stem: str) -> float:
        """Return the inverse document frequency of a stem in the body; 0 if no chunk has it."""

    def list_stems(self, prefix: str) -> Mapping[str, int]:
        """Return the stems of the body that begin with `prefix`, with their numbers of chunks.

        The default returns none; then words with two typos are not recognised.
        """
        return {}

    @property
    def is_outdated(self) -> bool:
        """Whether an earlier version wrote the storage, without all fields.

        It can be searched. The next ingest fills a new one from the document store.
        """
        return False

    @abstractmethod
    def languages(self) -> list[str]:
        """Return the languages of the chunks, that of most chunks first; "" for unstemmed chunks.

        Languages of equally many chunks have any order.
        """

    @abstractmethod
    def rows(self) -> list[int]:
        """Return the rows of all chunks. A row that was added twice is listed twice."""

    def count(self) -> int:
        """Return the number of chunk rows."""
        return len(self.rows())

    def refresh(self, generation: int) -> None:  # noqa: B027 (most see writes at once)
        """Make reads and writes see what other processes wrote up to `generation`.

        The index calls it before searches and before the first write.
        """

    def end_writing(self) -> None:  # noqa: B027
        """Release what only writes need. Changes that are not committed are lost."""

    def storage_exists(self) -> bool:
        """Whether the storage that was opened still exists. Checked before each write session.

        Override it if the store has files. Return False if they were deleted.
        """
        return True

    def close(self) -> None:  # noqa: B027
        """Release files and connections. Called more than once."""


class StemmedEntry(NamedTuple):
    """A chunk to index: its row, its document, its language, and the stems of its fields.

    ``title`` has the stems of title and headings. ``body`` has those of title, headings and text,
    and those of the parts of words such as ``parseConfig``. ``forms`` has the joined forms of
    title, headings and text (`rag.text.spellings`).
    """

    row: int
    document: int
    language: str
    title: list[str]
    body: list[str]
    forms: list[str]


def stem_entries(entries: Iterable[LexicalEntry]) -> Iterable[StemmedEntry]:
    """Stem chunks in the language of their document. Chunks of a document must be adjacent."""
    for document, group in groupby(entries, key=attrgetter("document")):
        chunks = list(group)
        language = detect_language("\n".join(c.text for c in chunks[:_LANGUAGE_SAMPLE_CHUNKS]))
        stemmed_headings: dict[str, list[str]] = {}
        for row, _, heading_context, text in chunks:
            if heading_context not in stemmed_headings:
                stemmed_headings[heading_context] = list(stems(heading_context, language))
            headings = stemmed_headings[heading_context]
            full_text = f"{heading_context}\n{text}"
            pieces = stems("\n".join(list_pieces(full_text)), language)
            body = [*headings, *stems(text, language), *pieces]
            yield StemmedEntry(row, document, language or "", headings, body, list_forms(full_text))


class WordClause(NamedTuple):
    """A word to search for in one field: its stems, each with a boost of its BM25 score.

    The best of the stems counts.
    """

    field: str
    boosts: dict[str, float]


class PhraseClause(NamedTuple):
    """Adjacent stems to search for in the field ``body``, in several forms; the best counts."""

    forms: tuple[tuple[str, ...], ...]


def plan_query(
    query: BM25Query,
    languages: Sequence[str],
    count_chunks: Callable[[str, str], int],
    chunk_count: int,
    list_stems: Callable[[str], Mapping[str, int]] | None = None,
) -> list[WordClause | PhraseClause]:
    """Translate a query to clauses whose BM25 scores are added. Empty: no chunk can match.

    `count_chunks` returns the number of chunks that have a stem in a field ("title", "body" or
    "forms"). `list_stems` is that of the index; without it, words with two typos are not
    recognised.
    """
    planner = _QueryPlanner(query, languages, count_chunks, chunk_count, list_stems)
    text = "" if query.has_only_phrases else query.text
    words_by_forms = dict(zip(_stem_forms(text, languages), words(text), strict=False))
    for forms, count in planner.add_spellings(text).items():
        planner.add_word(words_by_forms[forms], forms, count)
    for phrase in query.phrases:
        planner.add_phrase({tuple(stems(phrase, language)) for language in languages})
    if text:
        planner.add_expansion()
    return planner.clauses


def compute_idf(matching: int, total: int) -> float:
    """Return BM25's inverse document frequency of a stem in `matching` of `total` chunks.

    With 1 added in the logarithm, as in Lucene and tantivy, so that it is never negative.
    """
    matching = min(matching, total)
    return math.log(1 + (total - matching + 0.5) / (matching + 0.5))


def _stem_forms(text: str, languages: Sequence[str]) -> list[tuple[str, ...]]:
    """Return the distinct stems of each word in these languages."""
    stemmed = [stems(text, language) for language in languages]
    return [tuple(dict.fromkeys(forms)) for forms in zip(*stemmed, strict=True)]


@lru_cache(maxsize=1)
def _stop_stems() -> frozenset[str]:
    return frozenset(stems(" ".join(STOP_WORDS))) | STOP_WORDS


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
        self._total_weight = 0.0

    def add_word(self, word: str, forms: Sequence[str], count: float) -> None:
        """Search for a word that is `count` times in the query, in any of its stem `forms`.

        The inverse document frequency is that of all forms together. Otherwise a form that only
        one chunk has, because its language was detected wrongly, would outweigh all others.
        """
        if not _stop_stems().isdisjoint(forms):
            count *= self._query.stop_word_weight
        if any(self._count_chunks("body", form) for form in forms):
            self._add_stems(forms, count)
        elif similar := self._find_similar_stems(word, forms):
            self._add_stems(similar, count * self._query.typo_weight)

    def _add_stems(self, forms: Sequence[str], factor: float) -> None:
        weight = factor * self._compute_combined_idf(forms) ** self._query.rarity
        self._total_weight += weight
        for field, share in (("body", 1.0), ("title", self._query.title_weight)):
            self._add_best_of(field, forms, weight * share)

    def _find_similar_stems(self, word: str, forms: Sequence[str]) -> list[str]:
        """Return the stems of the index for which an unknown word may be a misspelling."""
        if not self._query.typo_weight or self._is_known_form(word) or not max_typos(word):
            return []
        edits = "\n".join(list_edits(word))
        candidates = {stem for language in self._languages for stem in stems(edits, language)}
        counts = ((stem, self._count_chunks("body", stem)) for stem in candidates)
        found = {stem: count for stem, count in counts if count}
        if not found and max_typos(word) > 1 and self._list_stems is not None:
            for form in forms:
                prefix = form[:_STABLE_PREFIX_CHARACTERS]
                found |= _find_stems_with_two_typos(form, self._list_stems(prefix))
        best = sorted(found, key=lambda stem: (-found[stem], stem))
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
            form for span in spans if len(span.words) > 1 for form in span.forms
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
            if not any(self._count_chunks("body", stem) for stem in forms):
                self._add_forms("forms", [fold(word)], 1.0)
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
        if len(span.words) > 1:
            for form in span.forms:
                has_form |= self._add_forms("body", stems_of_forms.get(form, ()), weight)
        return has_form

    def _stem(self, word: str) -> list[str]:
        stemmed = [stems(word, language) for language in self._languages]
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

    def _add_best_of(self, field: str, forms: Sequence[str], weight: float) -> None:
        counts = {form: self._count_chunks(field, form) for form in forms}
        combined_idf = compute_idf(sum(counts.values()), self._chunk_count)
        boosts = {
            form: weight * combined_idf / compute_idf(count, self._chunk_count)
            for form, count in counts.items()
            if count
        }
        if boosts and weight > 0:
            self.clauses.append(WordClause(field, boosts))

    def add_phrase(self, forms: Iterable[tuple[str, ...]]) -> None:
        """Search for adjacent words, in any of the stem forms of the phrase.

        A match adds to the score of the single words. It is not required: quotes in a question
        are often titles and terms that the answer does not repeat.
        """
        if phrase_forms := tuple(form for form in sorted(forms) if form):
            self.clauses.append(PhraseClause(phrase_forms))

    def add_expansion(self) -> None:
        """Search for the expansion stems. Call it last: their weight depends on the words."""
        share_of_all = self._query.expansion_share
        expansion_weight = (self._total_weight or 1.0) * share_of_all / (1 - share_of_all)
        for stem, share in self._query.expansion:
            self.clauses.append(WordClause("body", {stem: expansion_weight * share}))


def _find_stems_with_two_typos(stem: str, counts: Mapping[str, int]) -> dict[str, int]:
    """Return those of the stems that are nearest to `stem`, at an edit distance of 2 at most."""
    from rapidfuzz.distance import OSA
    from rapidfuzz.process import extract

    matches = extract(stem, list(counts), scorer=OSA.distance, score_cutoff=2, limit=None)
    nearest = min((distance for _, distance, _ in matches), default=0)
    return {match: counts[match] for match, distance, _ in matches if distance == nearest}
