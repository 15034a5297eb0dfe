"""Relevance of sentences to a question: which ones to quote, and whether to answer at all."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence, Set
from typing import TYPE_CHECKING, NamedTuple

from rag.embedding import Embedder
from rag.generation.answer_types import find_answer_type, has_new_answer
from rag.generation.antecedents import find_antecedents
from rag.generation.asked_attribute import find_asked_attribute, find_texts_with_attribute
from rag.generation.list_items import LIST_MARKER
from rag.generation.name_agreement import (
    MISSING_NAME_FACTOR,
    find_asked_names,
    has_asked_name,
    is_about_other_identifier,
)
from rag.generation.passages import Passage
from rag.query import Query
from rag.text.date_ranges import find_date_words
from rag.text.function_words import (
    VAGUE_VERBS,
    find_function_words,
    find_stop_words,
    is_part_of_compound,
    question_stems,
)
from rag.text.sentences import Span
from rag.text.spellings import fold, list_pieces
from rag.text.synonyms import find_synonymous_words
from rag.text.tokenization import content_stems, stems, words

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_QUOTE_MARKER = re.compile(r">\s+")
_ATTRIBUTION = re.compile(
    r"\b(?:wrote|schrieb|a écrit|escribió|ha scritto|schreef|escreveu)\s?:\Z", re.IGNORECASE
)
_GROUP_NAME = re.compile(r"\|[^|]{1,120}(?<![.!?\s])\s*+\|(?:\s*+\|){2,}")
_NOT_PROSE = re.compile(r"#{1,6}\s|\|?[\s:|-]+\|?$")
_CARRIED_TERMS_FACTOR = 0.5  # of the relevance, if only terms of an earlier question are shared
_PASSAGE_WEIGHT = 0.5  # weight of the passage's score in a sentence's score
_INCOMPLETE_SENTENCE_PENALTY = 0.4  # for text without a sentence's end: a caption, a heading
_MISSING_ATTRIBUTE_FACTOR = 0.7  # of the relevance, if the text lacks what is asked of a name
UNKNOWN_ATTRIBUTE_FACTOR = 0.55  # the same, if no text has it
_ASKED_KIND = re.compile(r"\bwelche[mnrs]?\s([^\W\d_]+)", re.IGNORECASE)
_DEGREE = re.compile(r"\b(?:how|wie)\s([^\W\d_]+)", re.IGNORECASE)
_WORD = re.compile(r"[^\W_]+(?:[-'’./][^\W_]+)*")
_MAX_LISTED_WORDS = 4
_KEY = re.compile(r"([^\W\d][\w -]{0,40}):\s")
_KEY_BONUS = 0.3  # for "Budget: 8,200 euros" if the question asks for the budget
_OTHER_TYPE_PENALTY = 0.4  # for text without an answer of the kind that is asked for
_COMPLETE_SENTENCE = re.compile(r"[.!?…。！？।؟:;][\"'”’»)\]]*$|\|$")


class Candidate(NamedTuple):
    """A sentence of a passage, its relevance to the question (0..2), and its score for ranking."""

    passage: Passage
    span: Span
    relevance: float
    score: float

    @property
    def section(self) -> tuple[int, tuple[str, ...]]:
        """The number of the passage, and the headings above the sentence."""
        return self.passage.number, self.passage.headings_at(self.span.start)

    @property
    def text(self) -> str:
        """The text of the sentence."""
        return self.passage.text[self.span.start : self.span.end]


class SpanFeatures(NamedTuple):
    """What the relevance of a sentence to a question depends on.

    ``text`` has the names of the columns of a row, and ``label`` the title and headings above it,
    and the sentences that a pronoun at its beginning points back to.
    ``shared_stems`` are the stems of the question that one of them has. ``factor`` is below 1 if
    the sentence lacks the names of the question, or has only words from an earlier question.
    """

    passage: Passage
    span: Span
    text: str
    label: str
    shared_stems: Set[str]
    cosine: float
    factor: float
    attribute_factor: float
    has_answer_type: bool
    lacks_names: bool
    asked_names: int

    @property
    def is_table_row(self) -> bool:
        """Whether the sentence is a row of a table."""
        return self.passage.table_at(self.span.start) is not None

    @property
    def is_fragment(self) -> bool:
        """Whether the text says nothing alone: it is no sentence, and no row of a table."""
        return not _COMPLETE_SENTENCE.search(self.text) and not self.is_table_row

    @property
    def has_asked_key(self) -> bool:
        """Whether the text has the form ``Budget: 8,200 euros``, and the question asks for it."""
        key = _KEY.match(self.text)
        return key is not None and set(content_stems(key[1])) <= self.shared_stems


def score_features(query: Query, features: Sequence[SpanFeatures]) -> list[Candidate]:
    """Return the relevance and the score of each sentence.

    The relevance is the share of the question's words that the sentence or its headings have, plus
    the cosine of the question and of the sentence with its headings. It is lowered if the
    sentence has only words that the query carries from an earlier question, if it stands in a
    passage that has none of the question's names, or if it has not what the question asks of a
    name. In the score, rarer words count more, the passage's score is added, and text without a
    number, date or person counts less if the question asks for one.
    """
    asked_stems = set(question_stems(str(query)))
    rarity = _weigh_by_rarity(asked_stems, [f.shared_stems for f in features])
    return [_score_span(f, rarity, len(asked_stems)) for f in features]


def _score_span(
    features: SpanFeatures, rarity: Mapping[str, float], question_length: int
) -> Candidate:
    shared_stems, cosine = features.shared_stems, max(0.0, features.cosine)
    relevance = (len(shared_stems) / question_length + cosine) * features.factor
    score = features.factor - 1 + math.fsum(rarity[word] for word in shared_stems) + cosine
    score += _PASSAGE_WEIGHT * features.passage.score
    if features.is_fragment:
        score -= _INCOMPLETE_SENTENCE_PENALTY
    if not features.has_answer_type:
        score -= _OTHER_TYPE_PENALTY
    if features.has_asked_key:
        score += _KEY_BONUS
    relevance *= features.attribute_factor
    return Candidate(features.passage, features.span, relevance, score)


def list_features(
    query: Query, passages: Sequence[Passage], embedder: Embedder
) -> list[SpanFeatures]:
    """Return the features of every quotable sentence; none for a question without a word."""
    asked_stems = set(question_stems(str(query)))
    if not asked_stems:
        return []
    spans = [(p, span) for p in passages for span in _iterate_quotable_spans(p)]
    texts = [passage.describe(span) for passage, span in spans]
    contexts = [_find_context(passage, span) for passage, span in spans]
    label_stems = {label: set(stems(label)) for label, _ in contexts}
    heading_paths = [
        "" if passage.table_at(span.start) else " > ".join(passage.headings_at(span.start))
        for passage, span in spans
    ]  # the names of the columns explain a row better
    vectors = _embed_below_headings(texts, heading_paths, embedder)
    cosines = (vectors @ embedder.embed_query(str(query))).tolist()
    own_stems = set(question_stems(query.text)) & asked_stems
    names = _find_names(query, passages)
    attributes = _weigh_attributes(query.text, names, spans, embedder)
    answer_type = find_answer_type(query.text)
    features: list[SpanFeatures] = []
    for (passage, span), text, (label, known_span), cosine, attribute_factor in zip(
        spans, texts, contexts, cosines, attributes, strict=True
    ):
        shared_stems = asked_stems & (set(stems(text)) | label_stems[label])
        factor = 1.0 if shared_stems & own_stems else _CARRIED_TERMS_FACTOR
        own_dates = _find_words_of_own_dates(query.text, passage, label)
        lacks_names = not has_asked_name(names - own_dates, passage, known_span)
        features.append(
            SpanFeatures(
                passage,
                span,
                text,
                label,
                shared_stems,
                cosine,
                factor * (MISSING_NAME_FACTOR if lacks_names else 1),
                attribute_factor,
                answer_type is None or has_new_answer(query.text, text, answer_type),
                lacks_names,
                len(names),
            )
        )
    return features


def _find_words_of_own_dates(question: str, passage: Passage, label: str) -> Set[str]:
    """Return the words of the days in a question that the file or the headings of a passage have.

    "30 August 2023" is the day of ``letter_2023-08-30.md``.
    """
    date_words = find_date_words(question)
    if not date_words:
        return frozenset()
    own_dates = passage.list_dates(label)
    return frozenset().union(*(date_words[date] for date in date_words.keys() & own_dates))


def _find_context(passage: Passage, span: Span) -> tuple[str, Span]:
    """Return what a sentence is about, and the span of it with the sentences it points back to.

    "It is led by Kari Moe." is about the Oslo site below "The Oslo site has 12 employees.".
    """
    label, start = passage.label_at(span.start), span.start
    for sentence in find_antecedents(passage, span):
        start = sentence.start
    earlier_text = passage.text[start : span.start].strip()
    return f"{label} {earlier_text}".strip(), Span(start, span.end)


def _find_names(query: Query, passages: Sequence[Passage]) -> Set[str]:
    """Return the names in a query.

    Where nouns have capitals, a noun is none if it has a synonym, such as "Müll", or if a passage
    has a part of it: "Kündigungsfrist" asks for a "Frist". Nor is "Tag" in "welcher Tag".
    """
    names = find_asked_names(query.text, query.carried_terms)
    if not names or not find_function_words(query.text).has_compounds:
        return names
    known_words = set().union(*(words(fold(passage.text)) for passage in passages))
    nouns = find_synonymous_words(query.text, query.text).union(_ASKED_KIND.findall(query.text))
    return {
        name
        for name in names - set(map(fold, nouns))
        if name in known_words or not any(is_part_of_compound(name, w) for w in known_words)
    }


def _weigh_attributes(
    question: str,
    asked_names: Set[str],
    spans: Sequence[tuple[Passage, Span]],
    embedder: Embedder,
) -> list[float]:
    """Return factors: below 1 for spans without the attribute that is asked of a name.

    It may stand in another sentence of the passage, unless that is about another name: "Replaces
    the P-7" is below the heading "P-9", with the accuracy of the P-9.
    """
    attribute = find_asked_attribute(question) if asked_names else ()
    if not attribute:
        return [1.0] * len(spans)
    premises = [passage.premise(span) for passage, span in spans]
    attribute_stems = set(content_stems(" ".join(attribute)))
    has_neighbour = {
        number: not attribute_stems.isdisjoint(stems(text))
        for number, text in {passage.number: passage.text for passage, _ in spans}.items()
    }
    has_attribute = [
        has_itself
        or (
            has_neighbour[passage.number]
            and not is_about_other_identifier(asked_names, passage, span)
        )
        for has_itself, (passage, span) in zip(
            find_texts_with_attribute(attribute, premises, embedder), spans, strict=True
        )
    ]
    missing_factor = _MISSING_ATTRIBUTE_FACTOR if any(has_attribute) else UNKNOWN_ATTRIBUTE_FACTOR
    return [1.0 if has else missing_factor for has in has_attribute]


def _embed_below_headings(
    texts: Sequence[str], heading_paths: Sequence[str], embedder: Embedder
) -> NDArray[np.float32]:
    """Return unit vectors ``[n, d]``: the sums of the vectors of each text and of its headings.

    The share of a heading is the same in a short and in a long sentence; in the vector of both
    texts together, a long path of headings would outweigh "Three years."
    """
    import numpy as np

    vectors = embedder.embed_documents(texts)
    distinct_paths = [path for path in dict.fromkeys(heading_paths) if path]
    if not distinct_paths:
        return vectors
    path_vectors = dict(zip(distinct_paths, embedder.embed_documents(distinct_paths), strict=True))
    sums = np.array(
        [
            vector + path_vectors[path] if path else vector
            for vector, path in zip(vectors, heading_paths, strict=True)
        ]
    )
    return np.asarray(sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12))


def explain_missing_answer(question: str, passages: Sequence[Passage], answerability: float) -> str:
    """Return why no sentence answers: the words of the question that no passage has.

    ``answerability`` is the probability that one does.
    """
    texts = [text for p in passages for text in (p.document_name, *p.labels, p.text)]
    texts += [
        " ".join(_find_words_of_own_dates(question, p, label))
        for p in passages
        for label in p.labels
    ]
    reason = "no sentence of the passages that were found seems to answer the question"
    if missing := find_unmentioned_words(question, texts):
        listed = ", ".join(f'"{word}"' for word in missing[:_MAX_LISTED_WORDS])
        reason += f"; they do not mention {listed}"
    return f"{reason} (probability of an answer: {answerability:.0%})"


def find_unmentioned_words(question: str, texts: Sequence[str]) -> list[str]:
    """Return the words of a question that no text has, as written; not "long" in "how long".

    German texts have "Hund" also where they have "Hunde".
    """
    text = "\n".join(texts)
    known_stems = {*stems(text), *stems(" ".join(list_pieces(text)))}
    ignored_words = find_stop_words(question) | VAGUE_VERBS
    ignored_words |= {match[1].lower() for match in _DEGREE.finditer(question)}
    longer_words = words(text) if find_function_words(question).has_capitalized_nouns else []
    return [
        word
        for word in dict.fromkeys(_WORD.findall(question))
        if word.lower() not in ignored_words
        and known_stems.isdisjoint(stems(word))
        and not any(longer.startswith(word.lower()) for longer in longer_words)
    ]


def _weigh_by_rarity(
    question_stems: Set[str], shared_stems: Sequence[Set[str]]
) -> dict[str, float]:
    """Return weights of the question's words: higher if rarer in the sentences, with the sum 1."""
    weights = {
        word: math.log(1 + len(shared_stems) / (0.5 + sum(word in words for words in shared_stems)))
        for word in question_stems
    }
    total = sum(weights.values())
    return {word: weight / total for word, weight in weights.items()} if total else weights


def _iterate_quotable_spans(passage: Passage) -> Iterator[Span]:
    """Yield the quotable sentences, without headings, rules, fragments and list markers.

    The entries of a table of contents only repeat headings, and "On Monday, Ann wrote:" only says
    whose mail is quoted below.
    """
    for start, end in passage.sentence_spans():
        span = Span(start, end)
        if passage.is_in_contents(start) or _ATTRIBUTION.search(passage.text, start, end):
            continue
        sentence = passage.text[start:end]
        if _NOT_PROSE.match(sentence):
            continue
        if marker := LIST_MARKER.match(sentence) or _QUOTE_MARKER.match(sentence):
            span = Span(start + marker.end(), end)
            sentence = passage.text[span.start : end]
        if _is_heading(passage, span) or _is_group_name(passage, span):
            continue
        if len(words(sentence)) >= _count_required_words(passage, span, sentence):
            yield span


def _is_heading(passage: Passage, span: Span) -> bool:
    """Whether a passage is only its heading: the title of a chart, a slide without a text."""
    headings = passage.headings_at(span.start)
    return bool(headings) and passage.text[span.start : span.end].strip("#=*_-~ ") == headings[-1]


def _is_group_name(passage: Passage, span: Span) -> bool:
    """Whether a row of a table only names the rows below it: a name and empty cells.

    The rows below may be in the next passage. Rows that all have empty cells are a list.
    """
    row = passage.text[span.start : span.end]
    if _GROUP_NAME.fullmatch(row) is None:
        return False
    following = passage.text[span.end : span.end + 1_000].lstrip("\n").partition("\n")[0]
    return not following or (following.startswith("|") and _GROUP_NAME.fullmatch(following) is None)


def _count_required_words(passage: Passage, span: Span, sentence: str) -> int:
    """Return the number of words that a sentence needs: a heading explains a short sentence."""
    if passage.table_at(span.start) is not None or sentence.startswith("|"):
        return 2
    has_heading = bool(passage.headings_at(span.start))
    return 1 if has_heading and _COMPLETE_SENTENCE.search(sentence) else 3
