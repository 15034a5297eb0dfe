"""The default verifier: it compares words, numbers, names, negation and static vectors."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from threading import Lock
from typing import TYPE_CHECKING, ClassVar, NamedTuple, Self

from pydantic import Field, model_validator

from rag.embedding import Embedder, StaticEmbedder
from rag.text.tokenization import STOP_WORDS, stems, words
from rag.verification.added_parts import list_added_parts
from rag.verification.base import Verifier
from rag.verification.compound_sentences import exchanges_clauses
from rag.verification.contradictions import (
    ALWAYS_DENIES,
    SAYS_LESS,
    ContradictionKind,
    find_contradiction,
)
from rag.verification.contrasts import select_side
from rag.verification.labelled_values import find_labelled_values, gives_labelled_values
from rag.verification.merged_sentences import joins_sentences_about_others
from rag.verification.number_normalization import normalize_numbers
from rag.verification.parallel_clauses import gives_figures_to_others
from rag.verification.paraphrases import unify_wordings
from rag.verification.plans import did_not_happen
from rag.verification.restatement import restate
from rag.verification.rows import (
    denies_cell,
    has_other_code,
    is_about_another_row,
    replaces_value,
    split_row,
)
from rag.verification.speakers import is_by_another_person
from rag.verification.swap_detection import MAX_CLAIM_TOKENS, is_swapped_statement, names_another
from rag.verification.text_facts import (
    PassageFacts,
    TextFacts,
    get_passage_facts,
    get_text_facts,
    is_repetition,
    split_passage,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_SENTENCES_PER_WINDOW = 3
_JUDGEMENTS = frozenset({"free", "forbidden", "allowed", "excluded"})
_DATE_DIGITS = 6  # a date, which was several words, is one for itself
_MISSING_NAME_IN_ROW = 0.6  # factor: a row has few words, so a name may be all that is false
_MIN_SHARE_FOR_DENIAL = 0.7  # share of a claim's words in a sentence that denies it
_MIN_SHARE_FOR_AFFIRMATION = 0.5  # ... and in a sentence that says what the claim denies
_MIN_SHARE_AT_NUMBER = 0.5  # share of the other words near a number, of the best sentence's share
_MIN_SHARE_FOR_SAME_STATEMENT = 0.85  # share of words, both ways, of two equal statements
_MIN_SHARE_TO_CONTRADICT = 0.5  # of a claim's words in a sentence that contradicts it
_MIN_SHARE_OF_REPETITION = 0.75
_MIN_SHARE_OF_SHORT_REPETITION = 0.5  # of which one other word is a large part
_MAX_REPEATED_TOKENS = (16, 24)  # of a claim and a sentence, for a rule that needs a repetition
_MAX_BRIEF_TOKENS = 4  # of a claim such as "Smoking is allowed."
_MAX_SHORT_TOKENS = 8  # of a claim of which another unit is a large part
_MAX_DENIED_TOKENS = (24, 32)  # the same, for a denial
_MAX_POSITIONS_PER_TOKEN = 50  # positions of a token in a passage that are compared
_MAX_CACHED_VECTORS = 8_192
_MIN_SHORT_STEMS, _MAX_SHORT_STEMS = 2, 3  # of a claim, for the rule of the invented predicate
_MIN_SIMILAR_WORD = 0.45  # cosine of two words
_MIN_RELATED_WORD = 0.25  # the same, of words that may be about the same
_MAX_KNOWN_WORDS = 300  # of a passage that a word is compared with


class LexicalVerifier(Verifier):
    """Measures how much of a claim the passage says in the claim's own words.

    The support is the weighted sum of three shares, each 0..1:

    * the share of the claim's words that the passage has (the mean of the share in the whole
      passage and the share in the best three consecutive sentences); longer words count more,
      since they are rarer (inverse document frequencies of a large collection are no better:
      ``docs/decisions.md``)
    * ``order``: how much of the claim is copied from those three sentences in long fragments, the
      sum of their squared lengths (extractive fragment density, Grusky et al. 2018, divided by the
      length)
    * ``similarity``: the cosine of static vectors with the nearest sentence

    The support is multiplied by a factor for each disagreement: numbers and dates
    (``wrong_number``), names (``missing_name``), and negation in only one of the claim and the
    nearest sentence (``negation``, or ``contradiction`` if the sentence clearly is about the
    claim's statement). ``swapped`` is the factor for a sentence that makes the same statement word
    for word about another name or number (in a short claim: about anything else), or denies it,
    and for a figure that the passage gives to another name ("Team: 20 euros") or, in two parallel
    clauses, to something else ("adults pay 12 euros, children 6").
    ``denied`` is the factor if the nearest sentence has another quantifier, number, unit, direction
    or order (`rag.verification.contradictions`), ``says_less`` that if it states a condition, a
    possibility or a speaker that the claim leaves out. ``invented`` is that for a claim of two or
    three words whose last word has no like in the passage.
    These are rules, not understanding: a different statement in the words of the source may pass; a
    paraphrase in different words, or in another language, does not. ``docs/metrics.md`` measures
    the failures.

    The weights have the best mean AUROC over nine sets of human judgements, and were confirmed on
    each set by weights that were chosen without it. Both thresholds have the best mean balanced
    accuracy on the sets that ``calibrated_on`` names (``python -m benchmarks.verification``).
    """

    name: ClassVar[str] = "lexical"
    revision: ClassVar[int] = 11
    shortlist: ClassVar[int] = 8
    by_words: ClassVar[bool] = True

    threshold: float = Field(0.4, ge=0, le=1)
    partial: float = Field(0.35, ge=0, le=1)
    calibrated_on: str = "AttributionBench, WiCE and LFQA (development sets)"
    order: float = Field(0.35, ge=0, le=1)
    similarity: float = Field(0.4, ge=0, le=1)
    wrong_number: float = Field(0.6, ge=0, le=1)
    missing_name: float = Field(0.95, ge=0, le=1)
    swapped: float = Field(0.35, ge=0, le=1)
    negation: float = Field(0.95, ge=0, le=1)
    contradiction: float = Field(0.6, ge=0, le=1)
    denied: float = Field(0.35, ge=0, le=1)
    says_less: float = Field(0.4, ge=0, le=1)
    invented: float = Field(0.5, ge=0, le=1)
    embedder: Embedder = StaticEmbedder()

    @model_validator(mode="after")
    def _check_weights(self) -> Self:
        if self.order + self.similarity > 1:
            raise ValueError("order + similarity must be at most 1: they are shares of one support")
        return self

    def scores(self, pairs: Sequence[tuple[str, str]]) -> NDArray[np.float32]:
        """See `Verifier.scores`. A claim without words has no support."""
        import numpy as np

        cosines = self._nearest_cosines(pairs) if self.similarity else [None] * len(pairs)
        restated = [restate(claim, passage) for claim, passage in pairs]
        supports = [
            self._score_pair(get_text_facts(claim), get_passage_facts(passage), cosine)
            for (claim, passage), cosine in zip(restated, cosines, strict=True)
        ]
        return np.array(supports, dtype=np.float32)

    def contradicts(self, claim: str, passage: str) -> bool:
        """Whether the nearest sentence has another number, negation, quantifier or direction."""
        claim, passage = restate(claim, passage)
        claim_facts, passage_facts = get_text_facts(claim), get_passage_facts(passage)
        if not claim_facts.stem_weights:
            return False
        sentences = [s.text for s in passage_facts.sentences]
        if gives_figures_to_others(claim, sentences) or exchanges_clauses(claim, sentences):
            return True
        nearest = _find_nearest_sentences(claim_facts, passage_facts)
        wordings = _list_wordings(claim_facts, passage_facts, nearest)
        if denies_cell(
            claim_facts.stem_weights.keys(), wordings[0].row, is_negated=claim_facts.is_negated
        ):
            return True
        kind = _find_contradiction(wordings, passage_facts, min_share=0.0)
        return kind is not None and kind not in SAYS_LESS

    def _score_pair(self, claim: TextFacts, passage: PassageFacts, cosine: float | None) -> float:
        if not claim.stem_weights:
            return 0.0
        nearest = _find_nearest_sentences(claim, passage)
        if not nearest.share:  # no word in common
            return max(0.0, cosine or 0.0) * self.similarity
        similarity = self.similarity if cosine is not None else 0.0
        wordings = _list_wordings(claim, passage, nearest)
        wording = wordings[0]
        share = max(nearest.share, wording.share)
        score = (1 - self.order - similarity) * share + similarity * max(0.0, cosine or 0.0)
        if self.order:
            copied = _measure_copied_share(wording.claim.tokens, wording.tokens)
            # The order of the cells of a row means nothing.
            score += self.order * (max(copied, wording.share) if wording.row else copied)
        if is_repetition(claim.text, wording.statement.text):
            return min(1.0, score)
        score *= self._agreement_factor(claim, passage, wording)
        score *= self._contradiction_factor(claim, passage, wordings, nearest.sentence)
        if self.similarity and (
            self._has_invented_predicate(wording, passage)
            or self._has_invented_part(wording, passage)
        ):
            score *= self.invented
        if wording.has_other_negation:
            score *= self._negation_factor(wording.claim, wording.sentence)
        return min(1.0, score)

    def _has_invented_predicate(self, wording: _Wording, passage: PassageFacts) -> bool:
        """Whether a claim of two or three words says something of which the passage has no word.

        "The battery explodes." shares half of its words with any sentence about the battery.
        """
        claim = wording.claim
        known_stems = passage.combined.stem_weights.keys() | wording.sentence.stem_weights.keys()
        stem_count = len(claim.stem_weights)
        if not _MIN_SHORT_STEMS <= stem_count <= _MAX_SHORT_STEMS or claim.numbers:
            return False
        last_word = next(
            (w for w in reversed(words(claim.text)) if claim.stem_weights.keys() & set(stems(w))),
            "",
        )
        if not last_word or known_stems & set(stems(last_word)):
            return False
        return self._find_similarity([last_word], passage) < _MIN_SIMILAR_WORD

    def _has_invented_part(self, wording: _Wording, passage: PassageFacts) -> bool:
        """Whether a claim adds a part of which the passage has no word to what the passage says.

        "The heating was repaired because of a leak" adds the leak.
        """
        known_stems = passage.combined.stem_weights.keys() | wording.sentence.stem_weights.keys()
        unknown_parts = [
            part
            for part, rest in list_added_parts(wording.claim.text)
            if all(known_stems & set(stems(word)) for word in rest)
            and not any(known_stems & set(stems(word)) for word in part)
        ]
        return any(
            self._find_similarity(part, passage) < _MIN_RELATED_WORD for part in unknown_parts
        )

    def _find_similarity(self, claim_words: Sequence[str], passage: PassageFacts) -> float:
        """Return the highest cosine (-1..1) of words with a word of a passage."""
        known_words = [
            passage_word
            for passage_word in sorted(passage.combined.all_words - STOP_WORDS)[:_MAX_KNOWN_WORDS]
            if passage_word.isalpha()
        ]
        if not known_words:
            return -1.0
        vectors = _embed_cached(self.embedder, [*claim_words, *known_words])
        count = len(claim_words)
        return float((vectors[count:] @ vectors[:count].T).max())

    def _contradiction_factor(
        self,
        claim: TextFacts,
        passage: PassageFacts,
        wordings: Sequence[_Wording],
        nearest: TextFacts,
    ) -> float:
        """Return the factor for a sentence that denies the claim, or says less."""
        kind = _find_contradiction(wordings, passage)
        if kind is None:
            is_planned = (
                len(claim.tokens) <= _MAX_REPEATED_TOKENS[0]
                and nearest.share_of(claim) >= _MIN_SHARE_TO_CONTRADICT
                and did_not_happen(claim.text, nearest.text)
            )
            return self.says_less if is_planned else 1.0
        return self.says_less if kind in SAYS_LESS else self.denied

    def _negation_factor(self, claim: TextFacts, sentence: TextFacts) -> float:
        """Return the factor for a claim and a sentence of which only one is negated."""
        share = sentence.share_of(claim)
        if (
            share >= _MIN_SHARE_FOR_SAME_STATEMENT
            and sentence.total_weight
            and claim.share_of(sentence) >= _MIN_SHARE_FOR_SAME_STATEMENT
        ):
            return self.swapped
        if claim.is_negated:
            is_contradiction = share >= _MIN_SHARE_FOR_AFFIRMATION
        else:
            is_contradiction = share >= _MIN_SHARE_FOR_DENIAL and _is_similar_length(
                claim, sentence
            )
        return self.contradiction if is_contradiction else self.negation

    def _agreement_factor(
        self, claim: TextFacts, passage: PassageFacts, wording: _Wording
    ) -> float:
        """Return the factor for the claim's names and numbers."""
        has_wrong_number = bool(claim.counting_numbers) and not _has_agreeing_numbers(
            claim, passage
        )
        sentence_texts = [sentence.text for sentence in passage.sentences]
        if (
            is_swapped_statement(wording.claim, wording.sentence, has_wrong_number)
            or not gives_labelled_values(find_labelled_values(claim.text), sentence_texts)
            or gives_figures_to_others(claim.text, sentence_texts)
            or replaces_value(claim.text, wording.row)
            or (has_wrong_number and wording.row)
            or (wording.row and has_other_code(claim.text, passage.combined.all_words))
            or denies_cell(claim.stem_weights.keys(), wording.row, is_negated=claim.is_negated)
            or exchanges_clauses(claim.text, sentence_texts)
            or joins_sentences_about_others(claim, passage.sentences)
            or names_another(claim, passage.combined)
            or is_by_another_person(claim.text, wording.statement.text, passage.combined.text)
            or is_about_another_row(
                claim.stem_weights.keys(),
                passage.combined.stem_weights.keys(),
                wording.row,
            )
        ):
            return self.swapped
        factor = self.wrong_number if has_wrong_number else 1.0
        if missing_names := claim.names - passage.combined.all_words:
            if wording.row:  # where dates are often written as 2025-03-01
                missing_names -= set(words(normalize_numbers(passage.combined.text)))
                factor *= _MISSING_NAME_IN_ROW if missing_names else 1.0
            else:
                factor *= self.missing_name
        return factor

    def _nearest_cosines(self, pairs: Sequence[tuple[str, str]]) -> list[float | None]:
        """Return the cosine of each claim with the nearest sentence of its passage.

        None if one of them has no vector.
        """
        rows: dict[str, int] = {}
        for claim, passage in pairs:
            for text in (claim.strip(), *split_passage(passage)):
                rows.setdefault(text, len(rows))
        vectors = _embed_cached(self.embedder, list(rows))
        cosines: list[float | None] = []
        rows_by_passage: dict[str, list[int]] = {}
        for claim, passage in pairs:
            claim_vector = vectors[rows[claim.strip()]]
            if (sentence_rows := rows_by_passage.get(passage)) is None:
                sentence_rows = [rows[sentence] for sentence in split_passage(passage)]
                rows_by_passage[passage] = sentence_rows
            if not sentence_rows or not claim_vector.any():
                cosines.append(None)
                continue
            cosines.append(float((vectors[sentence_rows] @ claim_vector).max()))
        return cosines


# -- sentence vectors ----------------------------------------------------------------------

_vector_cache: OrderedDict[tuple[str, str], NDArray[np.float32]] = OrderedDict()
_vector_cache_lock = Lock()


def _embed_cached(embedder: Embedder, texts: Sequence[str]) -> NDArray[np.float32]:
    """Return the unit vectors of texts, float32 ``[n, d]``.

    They are cached, because every claim of an answer is compared with the same sentences.
    """
    import numpy as np

    fingerprint = embedder.fingerprint
    with _vector_cache_lock:
        vectors = {
            text: _vector_cache[fingerprint, text]
            for text in texts
            if (fingerprint, text) in _vector_cache
        }
    if missing := [text for text in texts if text not in vectors]:
        embeddings = embedder.embed_documents(missing)
        if embedder.similarity != "cosine":
            norms = np.linalg.norm(embeddings, axis=1, keepdims=True)
            embeddings = embeddings / np.maximum(norms, 1e-12)
        new_vectors = dict(zip(missing, embeddings, strict=True))
        vectors |= new_vectors
        with _vector_cache_lock:
            _vector_cache.update(
                {(fingerprint, text): vector for text, vector in new_vectors.items()}
            )
            while len(_vector_cache) > _MAX_CACHED_VECTORS:
                _vector_cache.popitem(last=False)
    return np.array([vectors[text] for text in texts], dtype=np.float32)


# -- the nearest sentences -----------------------------------------------------------------


class _NearestSentences(NamedTuple):
    """The consecutive sentences of a passage that have most of a claim's words.

    `share` is the share of the claim's words (0..1), `sentence` the best of the sentences.
    """

    share: float
    sentences: tuple[TextFacts, ...]
    sentence: TextFacts


def _find_nearest_sentences(claim: TextFacts, passage: PassageFacts) -> _NearestSentences:
    weights, sentences = claim.stem_weights, passage.sentences
    passage_share = passage.combined.share_of(claim)
    if len(sentences) < 2:
        return _NearestSentences(passage_share, sentences or (passage.combined,), passage.combined)
    shared_stems = [weights.keys() & sentence.stem_weights.keys() for sentence in sentences]
    sentence_weights = [sum(map(weights.__getitem__, stems)) for stems in shared_stems]
    nearest = sentences[sentence_weights.index(max(sentence_weights))]
    if len(sentences) <= _SENTENCES_PER_WINDOW:
        return _NearestSentences(passage_share, sentences, nearest)
    window_weights = [
        sum(map(weights.__getitem__, set().union(*shared_stems[i : i + _SENTENCES_PER_WINDOW])))
        if any(sentence_weights[i : i + _SENTENCES_PER_WINDOW])
        else 0.0
        for i in range(len(sentences) - _SENTENCES_PER_WINDOW + 1)
    ]
    best_weight = max(window_weights)
    start = window_weights.index(best_weight)
    return _NearestSentences(
        (passage_share + best_weight / claim.total_weight) / 2,
        sentences[start : start + _SENTENCES_PER_WINDOW],
        nearest,
    )


class _Wording(NamedTuple):
    """A claim and the sentences nearest to it, in unified wordings.

    ``statement`` is the nearest sentence without the headings in front of it; of a row of a table,
    it is the cells that have a word of the claim. ``row`` has all cells, and is empty for a
    sentence.
    """

    claim: TextFacts
    sentences: tuple[TextFacts, ...]
    sentence: TextFacts
    statement: TextFacts
    row: tuple[tuple[str, str], ...] = ()
    is_less_alike: bool = False
    """Whether the texts have less in common than in their original wordings."""
    has_other_subject: bool = False
    """Whether a rewritten verb may have another subject: who does not pay, and what is free."""

    @property
    def has_other_negation(self) -> bool:
        """Whether only one of claim and statement is negated.

        The name of a column may be a negation for the claim, and none: "Failed: 5".
        """
        readings = [self.statement]
        if self.row:
            values = [value for _, value in split_row(self.statement.text) or self.row]
            readings.append(get_text_facts("; ".join(values)))
        return all(self.claim.is_negated != reading.is_negated for reading in readings)

    @property
    def share(self) -> float:
        """The share of the claim's words that the nearest sentence has."""
        return self.sentence.share_of(self.claim)

    @property
    def tokens(self) -> list[str]:
        """The tokens of the sentences, in order."""
        return [token for sentence in self.sentences for token in sentence.tokens]


def _list_wordings(
    claim: TextFacts, passage: PassageFacts, nearest: _NearestSentences
) -> tuple[_Wording, ...]:
    """Return the texts in unified wordings; if these are less alike, after the original ones.

    "Not open" is "closed", but to "open" it is the nearer one: only a negation is between them.
    """
    statement = _remove_headings(nearest.sentence, passage)
    row = split_row(statement.text) or split_row(nearest.sentence.text)
    if not row:
        statement = get_text_facts(select_side(claim.text, statement.text))
    else:
        statement = _select_cells(claim, row) or statement
    original = _Wording(claim, nearest.sentences, nearest.sentence, statement, row)
    if is_repetition(claim.text, statement.text):
        return (original,)
    unified = _Wording(
        _unify_facts(claim),
        tuple(map(_unify_facts, nearest.sentences)),
        _unify_facts(nearest.sentence),
        _unify_facts(statement),
        row,
    )
    new_words = (unified.claim.all_words ^ claim.all_words) | (
        unified.statement.all_words ^ statement.all_words
    )
    unified = unified._replace(has_other_subject=not _JUDGEMENTS.isdisjoint(new_words))
    if unified.share >= original.share:
        return (unified,)
    return original, unified._replace(is_less_alike=True)


def _unify_facts(facts: TextFacts) -> TextFacts:
    """Return the facts of a text in unified wordings; the same ones if nothing would be left."""
    text = unify_wordings(facts.text)
    unified = facts if text == facts.text else get_text_facts(text)
    return unified if unified.stem_weights else facts


def _measure_copied_share(claim_tokens: Sequence[str], tokens: Sequence[str]) -> float:
    """Return how much of a claim is copied in long fragments: 0 if no token is, 1 if all are.

    It is the sum of the squared fragment lengths, longest first from the left, divided by the
    squared length of the claim.
    """
    claim_tokens = claim_tokens[:MAX_CLAIM_TOKENS]
    positions: dict[str, list[int]] = {}
    for position, token in enumerate(tokens):
        token_positions = positions.setdefault(token, [])
        if len(token_positions) < _MAX_POSITIONS_PER_TOKEN:
            token_positions.append(position)
    i, total = 0, 0
    while i < len(claim_tokens):
        longest = max(
            (
                _measure_fragment(claim_tokens, i, tokens, position)
                for position in positions.get(claim_tokens[i], ())
            ),
            default=0,
        )
        total += longest * longest
        i += longest or 1
    return total / max(1, len(claim_tokens)) ** 2


def _measure_fragment(
    claim_tokens: Sequence[str], claim_start: int, tokens: Sequence[str], start: int
) -> int:
    """Return the number of equal tokens from `claim_start` and `start`; the first are equal."""
    length = 1
    while (
        claim_start + length < len(claim_tokens)
        and start + length < len(tokens)
        and claim_tokens[claim_start + length] == tokens[start + length]
    ):
        length += 1
    return length


# -- agreement -----------------------------------------------------------------------------


def _has_agreeing_numbers(claim: TextFacts, passage: PassageFacts) -> bool:
    """Whether the passage has each number of the claim, with its unit, near the other words."""
    if claim.counting_numbers - passage.combined.numbers:
        return False
    if any(
        units.isdisjoint(passage_units)
        for number, units in claim.units.items()
        if (passage_units := passage.combined.units.get(number))
    ):
        return False
    if not 1 < len(passage.sentences) <= _SENTENCES_PER_WINDOW:
        return True
    weights = {
        stem: weight
        for stem, weight in claim.stem_weights.items()
        if stem not in claim.numbers or len(stem) >= _DATE_DIGITS
    }
    shares = [
        sum(weight for stem, weight in weights.items() if stem in sentence.stem_weights)
        for sentence in passage.sentences
    ]
    return all(
        max(
            share
            for share, sentence in zip(shares, passage.sentences, strict=True)
            if number in sentence.numbers
        )
        >= _MIN_SHARE_AT_NUMBER * max(shares)
        for number in claim.counting_numbers & passage.combined.numbers
    )


def _find_contradiction(
    wordings: Sequence[_Wording],
    passage: PassageFacts,
    min_share: float = _MIN_SHARE_OF_REPETITION,
) -> ContradictionKind | None:
    """Return in what the nearest sentence of a passage contradicts a claim; None if in nothing.

    Kinds that are no clear denial need a sentence with `min_share` of the claim's words. In a brief
    claim, the word whose opposite the sentence has may be most of it: "The lift is closed."
    """
    kinds = (_find_kind(wording, passage, min_share) for wording in wordings)
    return next((kind for kind in kinds if kind is not None), None)


def _find_kind(
    wording: _Wording, passage: PassageFacts, min_share: float
) -> ContradictionKind | None:
    claim, sentence = wording.claim, wording.sentence
    is_far = wording.share < _MIN_SHARE_TO_CONTRADICT
    if is_far and len(claim.tokens) > _MAX_BRIEF_TOKENS:
        return None
    sentence_texts = tuple(facts.text for facts in passage.sentences)
    kind = find_contradiction(claim.text, wording.statement.text, sentence_texts)
    if kind == "negation" and wording.is_less_alike:
        return None  # "may not" became "forbidden" in one of them only
    if kind == "order" and ("?" in claim.text or wording.has_other_subject):
        return None  # "Visitors do not pay for parking" is "Parking is free for visitors"
    if wording.row and (kind == "order" or (kind == "negation" and not wording.has_other_negation)):
        return None  # neither the order of cells nor a column such as "Failed" means anything
    if is_far and kind != "direction":
        return None
    if kind == "modality" and find_labelled_values(claim.text):
        return None  # "Berlin: 140 euros" does not say whether this is a limit
    return kind if kind is not None and _is_comparable(claim, sentence, kind, min_share) else None


def _remove_headings(sentence: TextFacts, passage: PassageFacts) -> TextFacts:
    """Return a sentence without the headings before the first one of a premise.

    In "Guide > Plans: The Team plan costs 20 euros.", "Plans" is no verb and "No smoking" no
    negation of the sentence below it.
    """
    if (
        passage.sentences
        and sentence is not passage.sentences[0]
        and sentence is not passage.combined
    ):
        return sentence
    _, separator, rest = sentence.text.partition(": ")
    return get_text_facts(rest) if separator and rest.strip() else sentence


def _select_cells(claim: TextFacts, row: Sequence[tuple[str, str]]) -> TextFacts | None:
    """Return the cells of a row that have a word of the claim; None if none has one."""
    cells = [get_text_facts(f"{name}: {value}") for name, value in row]
    selected = [cell.text for cell in cells if cell.stem_weights.keys() & claim.stem_weights.keys()]
    return get_text_facts("; ".join(selected)) if selected else None


def _is_comparable(
    claim: TextFacts, sentence: TextFacts, kind: ContradictionKind, min_share: float
) -> bool:
    """Whether claim and sentence are short and alike enough for the rule to mean something.

    Another negation is a denial in longer sentences, too; a dropped condition is one only where the
    claim repeats the sentence. The opposite of one word is half of a brief claim.
    """
    is_strict = kind in ALWAYS_DENIES
    if len(claim.tokens) <= _MAX_SHORT_TOKENS:
        min_share = min(min_share, _MIN_SHARE_OF_SHORT_REPETITION)
    max_claim, max_sentence = _MAX_DENIED_TOKENS if is_strict else _MAX_REPEATED_TOKENS
    return (
        len(claim.tokens) <= max_claim
        and len(sentence.tokens) <= max_sentence
        and (
            is_strict
            or sentence.share_of(claim) >= min_share
            or (kind == "direction" and len(claim.tokens) <= _MAX_BRIEF_TOKENS)
            or (kind == "number" and len(claim.tokens) <= _MAX_SHORT_TOKENS)
        )
    )


def _is_similar_length(claim: TextFacts, sentence: TextFacts) -> bool:
    """Whether a sentence has hardly more words than the claim."""
    return len(sentence.stem_weights) <= 1.5 * len(claim.stem_weights) + 1
