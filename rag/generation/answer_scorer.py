"""The learned scorer of sentences: which one answers a question, and whether any does.

The score of a sentence is a weighted sum of the features in `FEATURES`: its log odds of holding the
answer. The weights are in ``answer_scorer.json``; ``python -m benchmarks.answer_scorer`` learns
them from questions with known answers.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from rag.embedding import Embedder
from rag.generation.answer_types import find_answer_type, has_currency
from rag.generation.name_agreement import find_unknown_identifiers, find_unknown_names
from rag.generation.passages import Passage
from rag.generation.relevance import (
    UNKNOWN_ATTRIBUTE_FACTOR,
    Candidate,
    SpanFeatures,
    list_features,
    score_features,
)
from rag.query import Query
from rag.text.date_ranges import DateRange, find_date_ranges, find_date_words, find_period_words
from rag.text.function_words import (
    LANGUAGES,
    VAGUE_VERBS,
    find_function_words,
    find_stop_words,
    is_part_of_compound,
)
from rag.text.number_ranges import find_quantities, find_ranges
from rag.text.spellings import list_pieces
from rag.text.synonyms import find_synonymous_words
from rag.text.tokenization import STOP_WORDS, content_stems, stems, words
from rag.types import Table

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FEATURES = (
    "words_in_text",
    "words_in_headings",
    "words_in_document",
    "meaning_in_text",
    "meaning_in_headings",
    "meaning_in_document",
    "cosine",
    "has_answer_type",
    "lacks_answer_type",
    "lacks_names",
    "lacks_attribute",
    "passage_score",
    "is_in_first_passage",
    "is_fragment",
    "log_length",
    "is_question",
    "is_table_row",
    "has_asked_key",
    "share_of_new_words",
    "log_question_length",
    "relevance",
    "score",
    "meaning_below_best",
    "cosine_below_best",
    "words_below_best",
    "asked_names",
)
"""The features. ``words_in_`` is the share of the question's words that the sentence has, that it
or its headings have, or the name of its document; rarer words count more.
``meaning_in_`` is the same, with a part for words of a similar meaning. ``_below_best`` is the
difference to the best sentence."""

SENTENCE_FEATURES = ("sentence_cosine", "sentence_cosine_below_best")
"""The features that a sentence embedder adds: the cosine of the question and of the sentence, alone
or below its headings, whichever is more."""

_COEFFICIENTS_FILE = Path(__file__).with_suffix(".json")
_MIN_COSINE, _COSINE_RANGE, _MAX_SIMILARITY = 0.2, 0.5, 0.9  # of words that are not the same
# In log odds. The sets that the weights are learned from have few questions of these kinds.
_UNKNOWN_IDENTIFIER_PENALTY = 4.0  # no text has an identifier or year of the question
_UNKNOWN_NAME_PENALTY = 1.5  # no text has a name of the question
_UNKNOWN_ATTRIBUTE_PENALTY = 1.0  # no text has what is asked of a name
_MISSING_ATTRIBUTE_PENALTY = 0.3  # the sentence has not what is asked of a name
_MAX_LOG_LENGTH_OF_ROW = 2.6  # that of a sentence of usual length
_QUESTION_PENALTY = 2.0  # a question of the source is no answer
_OTHER_ROW_PENALTY = 1.0  # the question names another row of the table
_OTHER_RANGE_PENALTY = 3.0  # the number of the question is in the range of another text
_RIGHT_RANGE_BONUS = 2.0  # it is in a range of the text
_ONLY_CARRIED_PENALTY = 4.0  # it has only words of an earlier question, none of a follow-up
_MIN_OWN_SIMILARITY = 0.3  # of a word of a follow-up and a word of an answer: a cosine of .35
_PART_SIMILARITY = 0.7  # of a word and a compound with it
_MAX_CACHED_TEXTS = 50_000  # words and sentences of an embedder
_MAX_CACHED_EMBEDDERS = 2


class _Coefficients(NamedTuple):
    """The weights of `FEATURES`, and the line from the best log odds to those of an answer."""

    weights: NDArray[np.float64]
    intercept: float
    answerability_slope: float
    answerability_intercept: float


def rank_candidates(
    query: Query,
    passages: Sequence[Passage],
    embedder: Embedder,
    sentence_embedder: Embedder | None = None,
) -> list[Candidate]:
    """Return every quotable sentence, best first; the score is its log odds of being the answer.

    `embedder` compares words. A `sentence_embedder`, such as `MiniLMEmbedder`, compares whole
    sentences with the question, too; the weights for it were learned with MiniLM. One for English
    alone is not asked about questions in other languages.
    """
    import numpy as np

    if (
        sentence_embedder is not None
        and not sentence_embedder.is_multilingual
        and find_function_words(query.text) is not LANGUAGES[0]
    ):
        sentence_embedder = None
    features = list_features(query, passages, embedder)
    if not features:
        return []
    candidates = score_features(query, features)
    coefficients = _load_coefficients(with_sentences=sentence_embedder is not None)
    matrix = compute_feature_matrix(query, features, candidates, embedder, sentence_embedder)
    log_odds = matrix @ coefficients.weights + coefficients.intercept
    log_odds -= _list_penalties(query, passages, features)
    if query.carried_terms:
        is_new = find_answers_to_follow_up(query, features, embedder)
        log_odds -= _ONLY_CARRIED_PENALTY * ~np.array(is_new)
    scored = [
        candidate._replace(score=score)
        for candidate, score in zip(candidates, log_odds.tolist(), strict=True)
    ]
    return sorted(scored, key=lambda c: (-c.score, c.passage.number, c.span))


def _measure_length(features: SpanFeatures) -> float:
    """Return the logarithm of the number of words; the cells of a row say nothing about its length.

    A long sentence is less likely the answer, but a row has as many cells as its table has columns.
    """
    length = math.log(1 + len(_list_distinct_words(features.text)))
    return min(length, _MAX_LOG_LENGTH_OF_ROW) if features.is_table_row else length


def _list_penalties(
    query: Query, passages: Sequence[Passage], features: Sequence[SpanFeatures]
) -> NDArray[np.float64]:
    """Return what the log odds of each sentence are lowered by."""
    import numpy as np

    penalties = np.array(
        [
            _UNKNOWN_ATTRIBUTE_PENALTY
            if f.attribute_factor == UNKNOWN_ATTRIBUTE_FACTOR
            else _MISSING_ATTRIBUTE_PENALTY * (f.attribute_factor < 1)
            for f in features
        ]
    )
    penalties += _OTHER_ROW_PENALTY * np.array(find_other_rows(query, features))
    penalties += _QUESTION_PENALTY * np.array(
        [f.text.rstrip(" \"'*_»”").endswith("?") for f in features]
    )
    penalties += find_range_penalties(query.text, [f.text for f in features])
    if find_unknown_identifiers(query.text, passages):
        penalties += _UNKNOWN_IDENTIFIER_PENALTY
    elif find_unknown_names(query.text, passages):
        penalties += _UNKNOWN_NAME_PENALTY
    return penalties


def find_range_penalties(question: str, texts: Sequence[str]) -> NDArray[np.float64]:
    """Return what the log odds of texts with a range of numbers are lowered by.

    The question "for 45 km" asks for the row "20–60 km", and not for "up to 20 km". The unit may
    stand in the name of the column. Without a range for the number, nothing is lowered.
    """
    import numpy as np

    penalties = np.zeros(len(texts))
    quantities = dict.fromkeys(find_quantities(question))
    for i, text in enumerate(texts if quantities else ()):
        all_ranges = find_ranges(text)
        text_stems = set(stems(text)) if all_ranges else set()
        for quantity in quantities if all_ranges else ():
            ranges = [r for r in all_ranges if r.unit in ("", quantity.unit)]
            if not any(r.unit for r in ranges) and quantity.unit not in text_stems:
                continue
            if any(r.contains(quantity) for r in ranges):
                penalties[i] -= _RIGHT_RANGE_BONUS
            elif ranges:
                penalties[i] += _OTHER_RANGE_PENALTY
    return penalties if (penalties < 0).any() else np.zeros(len(texts))


def find_answers_to_follow_up(
    query: Query, features: Sequence[SpanFeatures], embedder: Embedder
) -> list[bool]:
    """Return which sentences have a word of a follow-up itself, or one of a similar meaning.

    "And the dishwasher?" after a question about the warranty of the kettle is answered by nothing
    that says only "warranty" or "kettle". A question without a word of its own, such as "When?",
    is answered by its kind of answer; "Why?" by no sentence.
    """
    import numpy as np

    stop_words = find_stop_words(query.text) | VAGUE_VERBS
    own_words = [w for w in _list_distinct_words(query.text) if w not in stop_words]
    kind = find_answer_type(query.text)
    if not own_words:
        return [kind is not None and f.has_answer_type for f in features]
    has_compounds = find_function_words(query.text).has_compounds
    matches = _WordMatches(query.text, own_words, features, embedder, has_compounds=has_compounds)
    similarities = (matches.in_texts(), matches.in_headings(), matches.in_documents())
    best = np.maximum.reduce(similarities).max(axis=1)
    return [
        bool(similarity >= _MIN_OWN_SIMILARITY) or (kind == "money" and has_currency(f.text))
        for similarity, f in zip(best, features, strict=True)
    ]


def find_other_rows(query: Query, features: Sequence[SpanFeatures]) -> list[bool]:
    """Return for each sentence whether it is a row, and the question names another of its table.

    A question names a row by all words of its label, or by a day, a month or a year in which the
    row has a date. If it has both, it names the rows with both, or else those with the label.
    """
    question_stems = set(stems(str(query)))
    periods = [r for r in find_date_ranges(query.text) if r.first and r.last]
    names: list[tuple[tuple[str, Table], tuple[bool, bool]] | None] = []
    for f in features:
        table = f.passage.table_at(f.span.start)
        row = f.passage.text[f.span.start : f.span.end]
        label_stems = set(content_stems(table.find_row_label(row))) if table else set()
        has_label = bool(label_stems) and label_stems <= question_stems
        has_date = table is not None and _has_date_in(row, periods)
        names.append(((f.passage.uri, table), (has_label, has_date)) if table else None)
    best: dict[tuple[str, Table], tuple[bool, bool]] = {}
    for name in filter(None, names):
        best[name[0]] = max(best.get(name[0], (False, False)), name[1])
    return [name is not None and name[1] < best[name[0]] for name in names]


def _has_date_in(text: str, periods: Sequence[DateRange]) -> bool:
    """Whether a text has a day in one of the periods."""
    days = (r.first for r in find_date_ranges(text) if r.first == r.last) if periods else ()
    return any(
        p.first <= day <= p.last for day in days for p in periods if day and p.first and p.last
    )


def estimate_answerability(best_score: float) -> float:
    """Return the probability (0..1) that the best sentences hold the answer, by their best score.

    It is 0 for a score that is not finite, as from an embedder that returns no numbers.
    It is calibrated on the questions that the weights were learned from.
    """
    if not math.isfinite(best_score):
        return 0.0
    coefficients = _load_coefficients()
    log_odds = coefficients.answerability_slope * best_score + coefficients.answerability_intercept
    return 1 / (1 + math.exp(-max(-30.0, min(30.0, log_odds))))


@lru_cache(maxsize=2)
def _load_coefficients(*, with_sentences: bool = False) -> _Coefficients:
    """Return the weights; those for a sentence embedder give log odds on the same scale."""
    import numpy as np

    data = json.loads(_COEFFICIENTS_FILE.read_text(encoding="utf-8"))
    learned = data["with_sentence_embedder"] if with_sentences else data
    features = (*FEATURES, *SENTENCE_FEATURES) if with_sentences else FEATURES
    return _Coefficients(
        np.array([learned["weights"][name] for name in features], dtype=np.float64),
        learned["intercept"],
        data["answerability"]["slope"],
        data["answerability"]["intercept"],
    )


def compute_feature_matrix(
    query: Query,
    features: Sequence[SpanFeatures],
    candidates: Sequence[Candidate],
    embedder: Embedder,
    sentence_embedder: Embedder | None = None,
) -> NDArray[np.float64]:
    """Return `FEATURES` for each sentence: float64 ``[n, features]``.

    With a `sentence_embedder`, `SENTENCE_FEATURES` follow them.
    """
    import numpy as np

    stop_words = find_stop_words(str(query)) | find_period_words(str(query))
    distinct_words = _list_distinct_words(str(query))
    question_words = [w for w in distinct_words if w not in stop_words] or distinct_words
    has_compounds = find_function_words(str(query)).has_compounds
    matches = _WordMatches(
        str(query), question_words, features, embedder, has_compounds=has_compounds
    )
    similar = matches.in_texts()
    weights = _weigh_words(question_words, features)
    heading, document = matches.in_headings(), matches.in_documents()
    with_headings = np.maximum(similar, heading)
    with_document = np.maximum(with_headings, document)

    def count_same(similarity: NDArray[np.float64]) -> NDArray[np.float64]:
        shares: NDArray[np.float64] = (similarity >= 1) @ weights
        return shares

    words_in_document = count_same(with_document)
    meaning_in_document = with_document @ weights
    cosines = np.array([f.cosine for f in features])
    expected_type = find_answer_type(query.text) is not None
    question_stems = {_stem_word(word) for word in question_words}
    columns = [
        count_same(similar),
        count_same(with_headings),
        words_in_document,
        similar @ weights,
        with_headings @ weights,
        meaning_in_document,
        cosines,
        *_list_flags(features, expected_type),
        [_measure_length(f) for f in features],
        [f.text.rstrip().endswith("?") for f in features],
        [f.is_table_row for f in features],
        [f.has_asked_key for f in features],
        [_compute_share_of_new_words(f.text, question_stems) for f in features],
        [math.log(len(question_words) or 1)] * len(features),
        [c.relevance for c in candidates],
        [c.score for c in candidates],
        meaning_in_document - meaning_in_document.max(),
        cosines - cosines.max(),
        words_in_document - words_in_document.max(),
        [f.asked_names for f in features],
    ]
    if sentence_embedder is not None:
        sentence_cosines = _compare_sentences(query, features, sentence_embedder)
        columns += [sentence_cosines, sentence_cosines - sentence_cosines.max()]
    return np.array(columns, dtype=np.float64).T


def _compare_sentences(
    query: Query, features: Sequence[SpanFeatures], embedder: Embedder
) -> NDArray[np.float64]:
    """Return the cosine of a question with each sentence, alone or below its headings."""
    import numpy as np

    paths = [
        f.label if f.is_table_row else " > ".join(f.passage.headings_at(f.span.start))
        for f in features
    ]
    premises = [
        f"{path}: {f.text}" if path else f.text for path, f in zip(paths, features, strict=True)
    ]
    vectors = _embed_texts([*(f.text for f in features), *premises], embedder)
    cosines = vectors @ embedder.embed_query(str(query)).astype(np.float64)
    return np.maximum(cosines[: len(features)], cosines[len(features) :])


def _list_flags(features: Sequence[SpanFeatures], expects_type: bool) -> list[list[float]]:
    """Return the columns from ``has_answer_type`` to ``is_fragment``."""
    return [
        [float(expects_type and f.has_answer_type) for f in features],
        [float(expects_type and not f.has_answer_type) for f in features],
        [float(f.lacks_names) for f in features],
        [float(f.attribute_factor < 1) for f in features],
        [f.passage.score for f in features],
        [float(f.passage.number == 1) for f in features],
        [float(f.is_fragment) for f in features],
    ]


def _compute_share_of_new_words(text: str, question_stems: set[str]) -> float:
    text_words = _list_distinct_words(text)
    return sum(_stem_word(w) not in question_stems for w in text_words) / max(1, len(text_words))


def _weigh_words(words_: Sequence[str], features: Sequence[SpanFeatures]) -> NDArray[np.float64]:
    """Return weights of the question's words: higher if rarer in the sentences, with the sum 1."""
    import numpy as np

    count = len(features)
    counts = Counter(chain.from_iterable(f.shared_stems for f in features))
    weights = []
    for word in words_:
        matching = counts[_stem_word(word)]
        # A word that no sentence has may only be another word for the same.
        weights.append(math.log(1 + count / max(1.5, 0.5 + matching)))
    total = sum(weights)
    return np.array(weights) / total if total else np.array(weights)


class _WordMatches:
    """How well the words of a question are matched in texts, 0..1.

    It is 1 for the same stem, else the similarity of the meanings: the highest for a synonym.

    Each method returns ``[n, words of the question]`` for the n sentences.
    """

    def __init__(
        self,
        question: str,
        question_words: Sequence[str],
        features: Sequence[SpanFeatures],
        embedder: Embedder,
        *,
        has_compounds: bool,
    ) -> None:
        self._features = features
        self._question = question
        self._question_words = question_words
        texts = [f.text for f in features]
        labels = [f.label for f in features]
        passages = [f.passage for f in features]
        vocabulary = dict.fromkeys(
            word
            for text in dict.fromkeys(
                [*texts, *labels, *(passage.document_name for passage in passages)]
            )
            for word in _list_distinct_words(text)
        )
        self._positions = {word: i for i, word in enumerate(vocabulary)}
        self._similarity = _compare_words(
            question_words, list(vocabulary), embedder, has_compounds=has_compounds
        )

    def in_texts(self) -> NDArray[np.float64]:
        """Return the matches in the sentences themselves."""
        return self._match([f.text for f in self._features])

    def in_headings(self) -> NDArray[np.float64]:
        """Return the matches in the title and the headings above."""
        return self._match([f.label for f in self._features])

    def in_documents(self) -> NDArray[np.float64]:
        """Return the matches in the names of the file and its folders.

        The words of a date match if the file, its title or its headings have the date in any form.
        """
        import numpy as np

        matches = self._match([f.passage.document_name for f in self._features])
        for date, date_words in find_date_words(self._question).items():
            columns = [word in date_words for word in self._question_words]
            has_date = [date in f.passage.list_dates(f.label) for f in self._features]
            matches[np.ix_(has_date, columns)] = 1.0
        return matches

    def _match(self, texts: Sequence[str]) -> NDArray[np.float64]:
        import numpy as np

        best: dict[str, NDArray[np.float64]] = {}
        for text in texts:
            if text not in best:
                columns = [self._positions[word] for word in _list_distinct_words(text)]
                best[text] = (
                    self._similarity[columns].max(axis=0)
                    if columns
                    else np.zeros(self._similarity.shape[1])
                )
                synonyms = find_synonymous_words(self._question, text)
                is_synonym = [word in synonyms for word in self._question_words]
                best[text][is_synonym] = np.maximum(best[text][is_synonym], _MAX_SIMILARITY)
        return np.array([best[text] for text in texts])


def _compare_words(
    question_words: Sequence[str],
    known_words: Sequence[str],
    embedder: Embedder,
    *,
    has_compounds: bool = False,
) -> NDArray[np.float64]:
    """Return how similar words are, 0..1: ``[known words, question words]``."""
    import numpy as np

    if not question_words or not known_words:
        return np.zeros((len(known_words), len(question_words)))
    vectors = _embed_texts((*known_words, *question_words), embedder)
    cosines = (vectors[: len(known_words)] @ vectors[len(known_words) :].T).astype(np.float64)
    similarity: NDArray[np.float64] = np.clip(
        (cosines - _MIN_COSINE) / _COSINE_RANGE, 0, _MAX_SIMILARITY
    )
    positions: dict[str, list[int]] = {}
    for i, word in enumerate(question_words):
        positions.setdefault(_stem_word(word), []).append(i)
    if has_compounds:
        for i, compound in enumerate(question_words):
            parts = [
                row for row, word in enumerate(known_words) if is_part_of_compound(word, compound)
            ]
            similarity[parts, i] = np.maximum(similarity[parts, i], _PART_SIMILARITY)
    for row, word in enumerate(known_words):
        if (same := positions.get(_stem_word(word))) is not None:
            similarity[row, same] = 1.0
    return similarity


_vectors_by_embedder: dict[str, dict[str, NDArray[np.float32]]] = {}


def _embed_texts(texts: Sequence[str], embedder: Embedder) -> NDArray[np.float32]:
    """Return a vector for each word or sentence; those of earlier questions are cached."""
    import numpy as np

    if len(_vectors_by_embedder) > _MAX_CACHED_EMBEDDERS:
        _vectors_by_embedder.clear()
    cache = _vectors_by_embedder.setdefault(embedder.fingerprint, {})
    vectors: Mapping[str, NDArray[np.float32]] = cache
    if missing := [text for text in dict.fromkeys(texts) if text not in cache]:
        if len(cache) + len(missing) > _MAX_CACHED_TEXTS:
            cache = _vectors_by_embedder[embedder.fingerprint] = {}
            missing = list(dict.fromkeys(texts))
        new = dict(zip(missing, embedder.embed_documents(missing), strict=True))
        vectors = {**{text: cache[text] for text in texts if text in cache}, **new}
        cache.update(new)
    return np.array([vectors[text] for text in texts])


@lru_cache(maxsize=8_192)
def _list_distinct_words(text: str) -> tuple[str, ...]:
    """Return the words of a text, and the parts of words such as ``kwh_lighting``, each once."""
    distinct_words = dict.fromkeys([*words(text), *list_pieces(text)])
    return tuple(word for word in distinct_words if word not in STOP_WORDS)


@lru_cache(maxsize=_MAX_CACHED_TEXTS)
def _stem_word(word: str) -> str:
    return next(iter(stems(word)), word)
