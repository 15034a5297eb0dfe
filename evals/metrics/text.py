"""How alike the words of an answer and a reference are: ROUGE, BLEU, chrF."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from evals.metrics.base import Case, metric
from evals.scores import Score
from evals.statistics import harmonic_mean
from rag.generation.markers import without_markers

_ROUGE_WORD = re.compile(r"[a-z0-9]+")


class TextScore(NamedTuple):
    """A score (0..100), and the signature that says how it was computed."""

    value: float
    signature: str


class Rouge(NamedTuple):
    """Precision, recall and F1, 0..1."""

    precision: float
    recall: float
    f1: float


def rouge_n(said: str, reference: str, n: int) -> Rouge:
    """Overlap of n-grams, each as often as it stands there.

    Words are runs of ``a-z0-9``, lower-cased, those of more than three letters stemmed (Porter), as
    Google's rouge_score has them with its stemmer on. Source: Lin, "ROUGE" (2004).
    """
    one, other = (_grams(_rouge_words(text), n) for text in (said, reference))
    common = sum((one & other).values())
    return _rouge(common, sum(one.values()), sum(other.values()))


def rouge_l(said: str, reference: str) -> Rouge:
    """Longest common subsequence of words. Source: Lin, "ROUGE" (2004)."""
    one, other = _rouge_words(said), _rouge_words(reference)
    return _rouge(longest_common_subsequence(one, other), len(one), len(other))


def longest_common_subsequence(one: Sequence[str], other: Sequence[str]) -> int:
    """Its length, by bits: Hyyrö (2004)."""
    places: dict[str, int] = {}
    for i, word in enumerate(one):
        places[word] = places.get(word, 0) | 1 << i
    every = (1 << len(one)) - 1
    state = every
    for word in other:
        matched = state & places.get(word, 0)
        state = ((state + matched) | (state - matched)) & every
    return (~state & every).bit_count()


def bleu(said: Sequence[str], references: Sequence[Sequence[str]]) -> TextScore:
    """BLEU of a corpus, 0..100, as sacrebleu computes it by default, and its signature.

    `references` has the references of each text. Source: Post, "A Call for Clarity" (2018).
    """
    from sacrebleu.metrics.bleu import BLEU

    return _corpus(BLEU(), said, references)


def chrf(said: Sequence[str], references: Sequence[Sequence[str]]) -> TextScore:
    """chrF2 of a corpus, 0..100, as sacrebleu computes it by default, and its signature.

    Source: Popović, "chrF" (2015).
    """
    from sacrebleu.metrics.chrf import CHRF

    return _corpus(CHRF(), said, references)


@metric("rouge_1", "text", needs=("references",))
def rouge_1_metric(case: Case) -> Score:
    """ROUGE-1 F1 with the best reference, 0..1; 0 for a refusal. See `rouge_n`."""
    return _best(case, lambda said, right: rouge_n(said, right, 1).f1)


@metric("rouge_2", "text", needs=("references",))
def rouge_2_metric(case: Case) -> Score:
    """ROUGE-2 F1 with the best reference, 0..1; 0 for a refusal. See `rouge_n`."""
    return _best(case, lambda said, right: rouge_n(said, right, 2).f1)


@metric("rouge_l", "text", needs=("references",))
def rouge_l_metric(case: Case) -> Score:
    """ROUGE-L F1 with the best reference, 0..1; 0 for a refusal. See `rouge_l`."""
    return _best(case, lambda said, right: rouge_l(said, right).f1)


@metric("bleu", "text", needs=("references",))
def bleu_metric(case: Case) -> Score:
    """Sentence BLEU, 0..1, with all references; 0 for a refusal.

    sacrebleu's, with exponential smoothing and effective order. A mean of these is not the BLEU of
    a corpus: `evals.metrics.text.bleu` gives that, with its signature.
    """
    return _sacre(case, _sentence_bleu())


@metric("chrf", "text", needs=("references",))
def chrf_metric(case: Case) -> Score:
    """Sentence chrF2, 0..1, with all references, as sacrebleu has it; 0 for a refusal."""
    return _sacre(case, _sentence_chrf())


@lru_cache(maxsize=1)
def _sentence_bleu() -> Any:
    from sacrebleu.metrics.bleu import BLEU

    return BLEU(effective_order=True)


@lru_cache(maxsize=1)
def _sentence_chrf() -> Any:
    from sacrebleu.metrics.chrf import CHRF

    return CHRF()


def _sacre(case: Case, measure: Any) -> Score:
    if case.sample.refused:
        return Score.of(0.0)
    said = without_markers(case.sample.answer)
    found = measure.sentence_score(said, list(case.sample.references)).score
    return Score.of(min(1.0, float(found) / 100))


def _best(case: Case, compare: Any) -> Score:
    if case.sample.refused:
        return Score.of(0.0)
    said = without_markers(case.sample.answer)
    return Score.of(max(compare(said, right) for right in case.sample.references))


def _corpus(measure: Any, said: Sequence[str], references: Sequence[Sequence[str]]) -> TextScore:
    if len(said) != len(references):
        raise ValueError(f"{len(said)} texts, but references for {len(references)}")
    if not said:
        raise ValueError("there is no text to score")
    most = max(map(len, references))
    if not most or not all(references):
        raise ValueError("a text has no reference")
    # sacrebleu wants a column for each reference; None where a text has fewer
    columns = [[each[i] if i < len(each) else None for each in references] for i in range(most)]
    found = measure.corpus_score(list(said), columns)
    return TextScore(float(found.score), str(measure.get_signature()))


def _rouge(common: int, said: int, reference: int) -> Rouge:
    precision = common / said if said else 0.0
    recall = common / reference if reference else 0.0
    return Rouge(precision, recall, harmonic_mean(precision, recall))


def _rouge_words(text: str) -> list[str]:
    import Stemmer

    found = _ROUGE_WORD.findall(text.lower())
    stemmer = Stemmer.Stemmer("porter")
    return [stemmer.stemWord(word) if len(word) > 3 else word for word in found]


def _grams(words: Sequence[str], n: int) -> Counter[tuple[str, ...]]:
    return Counter(zip(*(words[i:] for i in range(n)), strict=False))
