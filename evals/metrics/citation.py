"""Citation metrics: whether citations support their sentences, and an exact port of ALCE's."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from evals.judges import Judgement, SupportJudge, has_words
from evals.metrics.base import Case, metric
from evals.samples import Sample, Statement
from evals.scores import Score, Unit
from evals.statistics import harmonic_mean
from rag.errors import ConfigError


class JudgedSentence(NamedTuple):
    """A sentence, its support by all its citations, and the number of correct citations."""

    statement: Statement
    unit: Unit
    correct_citations: int


@metric("citation_recall", "citation", usual=True)
def citation_recall(case: Case) -> Score:
    """Share of sentences with a claim that are supported by their citations together.

    ``supported sentences / sentences that need a citation``. A sentence without a citation is not
    supported. Headings, questions, courtesies and "the passages do not say" need no citation.
    ``[1,2]`` counts as two citations, ``[3-5]`` as three. A marker after the full stop belongs to
    the preceding sentence. A repeated citation counts once. A refusal is not applicable.

    Source: Gao et al., "ALCE" (2023); `citation_recall_alce` is ALCE's exact computation.
    """
    judged_sentences = case.compute_once(_judge_sentences)
    units = [sentence.unit for sentence in judged_sentences]
    supported = sum(unit.verdict == "supported" for unit in units)
    return Score.ratio(supported, len(units), if_undefined=case.no_claims_reason, units=units)


@metric("citation_precision", "citation", usual=True)
def citation_precision(case: Case) -> Score:
    """Share of citations that support their sentence.

    A citation is correct in three cases: (1) it alone supports the sentence; (2) it supports the
    sentence partly, and no citation of the sentence supports it fully (Liu et al.); (3) all
    citations together support the sentence, but not without this one (Gao et al.). A marker is
    wrong if no passage has its number. Not applicable without citations.

    Source: Gao et al., "ALCE" (2023); Liu et al., "Evaluating Verifiability" (2023), for partial
    support.
    """
    judged_sentences = case.compute_once(_judge_sentences)
    units = [sentence.unit for sentence in judged_sentences]
    citation_count = sum(
        len(sentence.statement.cited) + sentence.statement.invalid for sentence in judged_sentences
    )
    correct = sum(sentence.correct_citations for sentence in judged_sentences)
    return Score.ratio(
        correct, citation_count, if_undefined="the answer cites nothing", units=units
    )


@metric("citation_f1", "citation", usual=True)
def citation_f1(case: Case) -> Score:
    """Harmonic mean of an answer's `citation_recall` and `citation_precision`.

    0 if the answer needs citations and has none. A refusal is not applicable.
    """
    recall, precision = citation_recall(case), citation_precision(case)
    if recall.value is None:
        return recall.model_copy(update={"units": ()})
    if precision.status == "failed":
        return precision.model_copy(update={"units": ()})
    return Score.of(harmonic_mean(recall.value, precision.value or 0.0))


@metric("quote_accuracy", "citation", usual=True)
def quote_accuracy(case: Case) -> Score:
    """Share of exact quotes that are in their source, verbatim and at the given position.

    ``verified quotes / quotes``. Not applicable without exact quotes; a marker such as
    ``[1]`` is not a quote. Fails if a source could not be read.
    """
    quotes = case.sample.quotes
    unverified = sum(quote.verified is None for quote in quotes)
    if unverified:
        return Score.failure(f"the sources of {unverified} of {len(quotes)} quotes were not read")
    verified = sum(bool(quote.verified) for quote in quotes)
    return Score.ratio(verified, len(quotes), if_undefined="the answer has no exact quotes")


def citation_scores(
    sample: Sample, *, mode: Literal["ours", "alce"] = "ours", support: SupportJudge | None = None
) -> dict[str, Score]:
    """Return recall, precision and F1 of the citations of one answer.

    `mode` is "ours" (`citation_recall`, `citation_precision`) or "alce" (see `alce`). `support` is
    the support judge (default: the lexical judge). Raises `ConfigError` for another mode.
    """
    from evals.judges import make_judge

    case = Case(sample, support or make_judge("lexical"))
    if mode == "ours":
        functions = (citation_recall, citation_precision, citation_f1)
        recall, precision, f1 = (function(case) for function in functions)
    elif mode == "alce":
        recall, precision = citation_recall_alce(case), citation_precision_alce(case)
        f1 = recall
        if recall.value is not None and precision.value is not None:
            f1 = Score.of(harmonic_mean(recall.value, precision.value))
    else:
        raise ConfigError(f"mode must be 'ours' or 'alce', not {mode!r}")
    return {"recall": recall, "precision": precision, "f1": f1}


@metric("citation_recall_alce", "citation", needs=("contexts",))
def citation_recall_alce(case: Case) -> Score:
    """Citation recall exactly as ALCE's eval.py computes it, including its quirks.

    Use it only to compare with published numbers: a marker after the full stop counts for the next
    sentence, so answers with markers there score near 0. The docstring of
    `evals.metrics.citation.alce` lists the rules.
    """
    return _score_alce(case, "recall")


@metric("citation_precision_alce", "citation", needs=("contexts",))
def citation_precision_alce(case: Case) -> Score:
    """Citation precision exactly as ALCE's eval.py computes it; see citation_recall_alce."""
    return _score_alce(case, "precision")


def _judge_sentences(case: Case) -> list[JudgedSentence]:
    """Judge the sentences that need a citation by the passages that they cite."""
    return [
        _judge_sentence(case, statement)
        for statement in (() if case.sample.is_refusal else case.sample.statements)
        if statement.needs_citation and has_words(statement.claim)
    ]


def _judge_sentence(case: Case, statement: Statement) -> JudgedSentence:
    judge = case.support_judge
    texts = [case.sample.citable_passages[i].text for i in statement.cited]
    judgement = Judgement(0.0)
    if texts:
        judgement = judge.judge([statement.claim], texts, per_passage=True)[0]
    unit = judge.unit(statement.claim, texts, judgement, statement.start, statement.end)
    if unit.passage is not None:
        unit = unit.model_copy(update={"passage": statement.cited[unit.passage]})
    if not texts or judgement.support is None:
        return JudgedSentence(statement, unit, 0)
    verdicts = [judge.verdict(support) for support in judgement.by_passage]
    if "supported" in verdicts:
        return JudgedSentence(statement, unit, verdicts.count("supported"))
    correct = verdicts.count("partly")
    if unit.verdict == "supported":
        for i in (i for i, verdict in enumerate(verdicts) if verdict != "partly"):
            others = _judge_without(judge, statement.claim, texts, i)
            if others.support is None:
                failure = {"verdict": "failed", "support": None, "note": others.note}
                return JudgedSentence(statement, unit.model_copy(update=failure), 0)
            correct += others.support < judge.threshold
    return JudgedSentence(statement, unit, correct)


def _judge_without(
    judge: SupportJudge, claim: str, texts: Sequence[str], position: int
) -> Judgement:
    """Judge a claim by all texts except the one at `position`."""
    others = [text for i, text in enumerate(texts) if i != position]
    return judge.judge([claim], others)[0] if others else Judgement(0.0)


# -- ALCE ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AlceCounts:
    """ALCE's counts of one answer: supported and all sentences, correct and all citations."""

    supported: int
    sentences: int
    precise: int
    citations: int

    @property
    def recall(self) -> float:
        """Supported sentences / sentences, 0..1; 0 without sentences."""
        return self.supported / self.sentences if self.sentences else 0.0

    @property
    def precision(self) -> float:
        """Correct citations / citations, 0..1; 0 without citations."""
        return self.precise / self.citations if self.citations else 0.0


def alce(
    output: str,
    documents: Sequence[tuple[str, str]],
    entails: Callable[[str, str], bool],
    *,
    split: Callable[[str], Sequence[str]] | None = None,
    max_citations: int | None = 3,
) -> AlceCounts | None:
    """Compute ALCE's citation recall and precision of one answer, as its ``eval.py`` does.

    `documents` are (title, text), `entails(passage, claim)` is the NLI model, and `split` the
    sentence splitter. ALCE uses NLTK's ``sent_tokenize``; the default is `split_plain_sentences`.
    Returns None for an output without a sentence, which ALCE leaves out of its means. The rules:

    * only the first line of the output counts, and ``<|im_end|>`` is removed
    * a citation is ``[`` followed by digits: ``[1, 2]`` cites 1, ``[3-5]`` cites 3
    * ``[0]`` cites the last document, because Python counts from the end
    * a marker after the full stop belongs to the next sentence, which starts there
    * a repeated citation counts repeatedly
    * a sentence with any number larger than the number of documents is unsupported, and none of
      its citations counts in the precision
    * only the first `max_citations` citations of a sentence count
    * a sentence without citations is unsupported, whatever its content
    * if the citations of a sentence do not support it together, all of them are wrong, even if one
      of them alone would support it
    * a citation is wrong if it does not support the sentence alone and the others do without it
    * the claim keeps the remainder of longer markers: ``A [1, 2].`` becomes ``A, 2.``
    * a document is formatted as ``Title: ...``, with its text on the next line

    Source: Gao et al., "Enabling Large Language Models to Generate Text with Citations" (2023).
    """
    line = output.strip().split("\n")[0].replace("<|im_end|>", "")
    parts = list((split or split_plain_sentences)(line))
    if not parts:
        return None
    counts = [_count_alce_sentence(part, documents, entails, max_citations) for part in parts]
    supported, precise, citations = (sum(column) for column in zip(*counts, strict=True))
    return AlceCounts(supported, len(parts), precise, citations)


def _count_alce_sentence(
    sentence: str,
    documents: Sequence[tuple[str, str]],
    entails: Callable[[str, str], bool],
    max_citations: int | None,
) -> tuple[int, int, int]:
    """Return whether a sentence is supported, its correct citations, and its citations."""
    claim = _remove_alce_markers(sentence).strip()
    markers = re.findall(r"\[\d+", sentence)
    cited = [int(marker[1:_MAX_MARKER_CHARACTERS]) - 1 for marker in markers]
    if not cited or any(number >= len(documents) for number in cited):
        return 0, 0, 0
    cited = cited[:max_citations]
    if not entails(_format_documents(documents, cited), claim):
        return 0, 0, len(cited)
    if len(cited) == 1:
        return 1, 1, 1
    correct = 0
    for number in cited:
        others = list(cited)
        others.remove(number)
        is_sufficient = entails(_format_documents(documents, [number]), claim)
        correct += is_sufficient or not entails(_format_documents(documents, others), claim)
    return 1, correct, len(cited)


_MAX_MARKER_CHARACTERS = 12  # longer numbers cannot be those of documents


def split_plain_sentences(text: str) -> list[str]:
    """Split after ``.``, ``?`` and ``!`` before white space, but not after a single capital."""
    parts = re.split(r"(?<=[.!?])(?<!\b[A-Z]\.)[\"')\]]*\s+", text.strip())
    return [part for part in parts if part.strip()]


def _remove_alce_markers(text: str) -> str:
    bare = re.sub(r"\[\d+", "", re.sub(r" \[\d+", "", text))
    return bare.replace(" |", "").replace("]", "")


def _format_documents(documents: Sequence[tuple[str, str]], numbers: Sequence[int]) -> str:
    return "\n".join("Title: {}\n{}".format(*documents[number]) for number in numbers)


def _score_alce(case: Case, which: Literal["recall", "precision"]) -> Score:
    counts, failures = case.compute_once(_count_alce)
    if failures:
        return Score.failure(f"{len(failures)} judgements failed: {failures[0]}")
    if counts is None:
        return Score.not_applicable("the output is empty")
    if which == "recall":
        return Score.ratio(counts.supported, counts.sentences, if_undefined="")
    return Score.of(counts.precision)


def _count_alce(case: Case) -> tuple[AlceCounts | None, list[str]]:
    """Return ALCE's counts, and the reasons of failed judgements."""
    failures: list[str] = []

    def entails(passage: str, claim: str) -> bool:
        if not has_words(claim):
            return False
        judgement = case.support_judge.judge([claim], [passage])[0]
        if judgement.support is None:
            failures.append(judgement.note)
        return case.is_supported(judgement)

    documents = [(passage.title, passage.text) for passage in case.sample.contexts]
    return alce(case.sample.answer, documents, entails), failures
