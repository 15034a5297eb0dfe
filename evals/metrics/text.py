"""Text similarity of an answer and its references: ROUGE, BLEU, chrF."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from evals.metrics.base import Case, metric
from evals.metrics.correctness import score_best_reference
from evals.scores import Score
from evals.statistics import harmonic_mean
from rag.errors import MissingExtra
from rag.generation.markers import strip_markers

_ROUGE_WORD = re.compile(r"[a-z0-9]+")


class TextScore(NamedTuple):
    """A score (0..100), and sacrebleu's signature of how it was computed."""

    value: float
    signature: str


class Rouge(NamedTuple):
    """Precision, recall and F1, each 0..1."""

    precision: float
    recall: float
    f1: float


def rouge_n(text: str, reference: str, n: int) -> Rouge:
    """Return the overlap of n-grams; repeated n-grams count repeatedly.

    Words are runs of ``a-z0-9`` in lower case; words of more than three letters are stemmed
    (Porter), as Google's rouge_score does with its stemmer enabled. Source: Lin, "ROUGE" (2004).
    """
    text_grams, reference_grams = (
        _count_ngrams(_split_rouge_words(words), n) for words in (text, reference)
    )
    shared = sum((text_grams & reference_grams).values())
    return _make_rouge(shared, sum(text_grams.values()), sum(reference_grams.values()))


def rouge_l(text: str, reference: str) -> Rouge:
    """Return the longest common subsequence of words. Source: Lin, "ROUGE" (2004)."""
    words, reference_words = _split_rouge_words(text), _split_rouge_words(reference)
    length = longest_common_subsequence(words, reference_words)
    return _make_rouge(length, len(words), len(reference_words))


def longest_common_subsequence(first: Sequence[str], second: Sequence[str]) -> int:
    """Return the length of the longest common subsequence, bit-parallel (Hyyrö, 2004)."""
    positions: dict[str, int] = {}  # a bit for each position of a word
    for i, word in enumerate(first):
        positions[word] = positions.get(word, 0) | 1 << i
    all_bits = (1 << len(first)) - 1
    state = all_bits
    for word in second:
        matches = state & positions.get(word, 0)
        state = ((state + matches) | (state - matches)) & all_bits
    return (~state & all_bits).bit_count()


def _import_sacrebleu() -> Any:
    try:
        from sacrebleu import metrics
    except ModuleNotFoundError:
        raise MissingExtra.of("metrics", "BLEU and chrF") from None
    return metrics


def bleu(texts: Sequence[str], references: Sequence[Sequence[str]]) -> TextScore:
    """Return the BLEU of a corpus (0..100) as sacrebleu computes it by default, and its signature.

    `references` has the references of each text. Raises `ValueError` if a text has none.

    Source: Post, "A Call for Clarity" (2018).
    """
    return _score_corpus(_import_sacrebleu().BLEU(), texts, references)


def chrf(texts: Sequence[str], references: Sequence[Sequence[str]]) -> TextScore:
    """Return the chrF2 of a corpus (0..100) as sacrebleu computes it by default, and its signature.

    Source: Popović, "chrF" (2015).
    """
    return _score_corpus(_import_sacrebleu().CHRF(), texts, references)


@metric("rouge_1", "text", needs=("references",))
def rouge_1_metric(case: Case) -> Score:
    """ROUGE-1 F1 with the best reference, 0..1; 0 for a refusal. See `rouge_n`."""
    return score_best_reference(case, lambda text, reference: rouge_n(text, reference, 1).f1)


@metric("rouge_2", "text", needs=("references",))
def rouge_2_metric(case: Case) -> Score:
    """ROUGE-2 F1 with the best reference, 0..1; 0 for a refusal. See `rouge_n`."""
    return score_best_reference(case, lambda text, reference: rouge_n(text, reference, 2).f1)


@metric("rouge_l", "text", needs=("references",))
def rouge_l_metric(case: Case) -> Score:
    """ROUGE-L F1 with the best reference, 0..1; 0 for a refusal. See `rouge_l`."""
    return score_best_reference(case, lambda text, reference: rouge_l(text, reference).f1)


@metric("bleu", "text", needs=("references",))
def bleu_metric(case: Case) -> Score:
    """Sentence BLEU, 0..1, with all references; 0 for a refusal.

    Computed by sacrebleu with exponential smoothing and effective order. The mean over answers is
    not corpus BLEU. `evals.metrics.text.bleu` computes corpus BLEU and sacrebleu's signature.
    """
    return _score_with_sacrebleu(case, _make_sentence_bleu())


@metric("chrf", "text", needs=("references",))
def chrf_metric(case: Case) -> Score:
    """Sentence chrF2, 0..1, with all references, computed by sacrebleu; 0 for a refusal."""
    return _score_with_sacrebleu(case, _make_sentence_chrf())


@lru_cache(maxsize=1)
def _make_sentence_bleu() -> Any:
    return _import_sacrebleu().BLEU(effective_order=True)


@lru_cache(maxsize=1)
def _make_sentence_chrf() -> Any:
    return _import_sacrebleu().CHRF()


def _score_with_sacrebleu(case: Case, measure: Any) -> Score:
    if case.sample.is_refusal:
        return Score.of(0.0)
    text = strip_markers(case.sample.answer)
    score = measure.sentence_score(text, list(case.sample.references)).score
    return Score.of(min(1.0, float(score) / 100))


def _score_corpus(
    measure: Any, texts: Sequence[str], references: Sequence[Sequence[str]]
) -> TextScore:
    if len(texts) != len(references):
        raise ValueError(f"{len(texts)} texts, but references for {len(references)}")
    if not texts:
        raise ValueError("there is no text to score")
    column_count = max(map(len, references))
    if not column_count or not all(references):
        raise ValueError("a text has no reference")
    # sacrebleu expects one column per reference, with None where a text has fewer references
    columns = [
        [row[i] if i < len(row) else None for row in references] for i in range(column_count)
    ]
    score = measure.corpus_score(list(texts), columns).score
    return TextScore(float(score), str(measure.get_signature()))


def _make_rouge(shared: int, text_count: int, reference_count: int) -> Rouge:
    precision = shared / text_count if text_count else 0.0
    recall = shared / reference_count if reference_count else 0.0
    return Rouge(precision, recall, harmonic_mean(precision, recall))


def _split_rouge_words(text: str) -> list[str]:
    import Stemmer

    stemmer = Stemmer.Stemmer("porter")
    words = _ROUGE_WORD.findall(text.lower())
    return [stemmer.stemWord(word) if len(word) > 3 else word for word in words]


def _count_ngrams(words: Sequence[str], n: int) -> Counter[tuple[str, ...]]:
    return Counter(zip(*(words[i:] for i in range(n)), strict=False))
