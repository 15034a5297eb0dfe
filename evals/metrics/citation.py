"""Do the citations support the sentences they stand behind? Ours, and ALCE's to the letter."""

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


class Cited(NamedTuple):
    """A sentence, what its citations support together, and which of them are right."""

    statement: Statement
    unit: Unit
    precise: int


@metric("citation_recall", "citation", usual=True)
def citation_recall(case: Case) -> Score:
    """Share of the sentences that claim something whose citations, together, support them.

    ``supported sentences / sentences that need a citation``. A sentence without a citation is not
    supported; headings, questions, courtesies and "the passages do not say" need none. ``[1,2]``
    and ``[3-5]`` are two and three citations, a marker behind the full stop belongs to the sentence
    before it, the same twice counts once. A refusal is not applicable.

    Source: Gao et al., "ALCE" (2023), whose own count is citation_recall_alce.
    """
    cited = case.once(_cited)
    units = [each.unit for each in cited]
    supported = sum(unit.verdict == "supported" for unit in units)
    return Score.ratio(supported, len(units), none=_none(case), units=units)


@metric("citation_precision", "citation", usual=True)
def citation_precision(case: Case) -> Score:
    """Share of the citations that support their sentence.

    A citation is right that supports its sentence by itself; that supports it in part where none of
    its sentence's does so fully (Liu et al.); or that cannot be left out of those which support it
    together (Gao et al.). One that names nothing is wrong. Not applicable without citations.

    Source: Gao et al., "ALCE" (2023); Liu et al., "Evaluating Verifiability" (2023), for support in
    part.
    """
    cited = case.once(_cited)
    units = [each.unit for each in cited]
    number = sum(len(each.statement.cited) + each.statement.invalid for each in cited)
    right = sum(each.precise for each in cited)
    return Score.ratio(right, number, none="the answer cites nothing", units=units)


@metric("citation_f1", "citation", usual=True)
def citation_f1(case: Case) -> Score:
    """Harmonic mean of an answer's `citation_recall` and `citation_precision`.

    0 where nothing is cited and something should be. A refusal is not applicable.
    """
    recall, precision = citation_recall(case), citation_precision(case)
    if recall.value is None:
        return recall.model_copy(update={"units": ()})
    if precision.status == "failed":
        return precision.model_copy(update={"units": ()})
    return Score.of(harmonic_mean(recall.value, precision.value or 0.0))


@metric("quote_accuracy", "citation", usual=True)
def quote_accuracy(case: Case) -> Score:
    """Share of the quotes that stand in their source, character for character, where they say.

    ``verified quotes / quotes``. Not applicable without exact quotes: a passage's number is none.
    Fails where a source could not be read.
    """
    quotes = case.sample.quotes
    unknown = sum(quote.verified is None for quote in quotes)
    if unknown:
        return Score.failed(f"the sources of {unknown} of {len(quotes)} quotes were not read")
    right = sum(bool(quote.verified) for quote in quotes)
    return Score.ratio(right, len(quotes), none="the answer has no exact quotes")


def citation_scores(
    sample: Sample, *, mode: Literal["ours", "alce"] = "ours", support: SupportJudge | None = None
) -> dict[str, Score]:
    """Recall, precision and F1 of the citations of one answer, our way or ALCE's (see `alce`).

    `support` is who judges support (default: by words).
    """
    from evals.judges import backend

    case = Case(sample, support or backend("lexical"))
    if mode == "ours":
        functions = (citation_recall, citation_precision, citation_f1)
        recall, precision, f1 = (function(case) for function in functions)
    elif mode == "alce":
        recall, precision = citation_recall_alce(case), citation_precision_alce(case)
        f1 = recall
        if recall.value is not None and precision.value is not None:
            f1 = Score.of(harmonic_mean(recall.value, precision.value))
    else:
        raise ConfigError(f"citations are scored as 'ours' or 'alce', not {mode!r}")
    return {"recall": recall, "precision": precision, "f1": f1}


@metric("citation_recall_alce", "citation", needs=("contexts",))
def citation_recall_alce(case: Case) -> Score:
    """Citation recall as ALCE's eval.py counts it, quirks and all.

    To compare with published numbers only: a marker behind the full stop counts for the next
    sentence, so answers that are marked as ours are come out near 0. The docstring of
    `evals.metrics.citation.alce` lists what it does.
    """
    return _alce(case, 0)


@metric("citation_precision_alce", "citation", needs=("contexts",))
def citation_precision_alce(case: Case) -> Score:
    """Citation precision as ALCE's eval.py counts it, quirks and all; see citation_recall_alce."""
    return _alce(case, 1)


def _none(case: Case) -> str:
    return "it is a refusal" if case.sample.refused else "the answer claims nothing"


def _cited(case: Case) -> list[Cited]:
    """The sentences that need a citation, judged by what they cite."""
    return [
        _judged(case, statement)
        for statement in (() if case.sample.refused else case.sample.statements)
        if statement.needs_citation and has_words(statement.claim)
    ]


def _judged(case: Case, statement: Statement) -> Cited:
    citable = case.sample.citable
    texts = [citable[i].text for i in statement.cited]
    backend = case.backend
    judged = backend.judge([statement.claim], texts, apart=True)[0] if texts else Judgement(0.0)
    unit = backend.unit(statement.claim, texts, judged, statement.start, statement.end)
    if unit.passage is not None:
        unit = unit.model_copy(update={"passage": statement.cited[unit.passage]})
    if not texts or judged.support is None:
        return Cited(statement, unit, 0)
    alone = [backend.verdict(support) for support in judged.alone]
    precise = 0
    for i, verdict in enumerate(alone):
        if verdict == "supported" or (verdict == "partly" and "supported" not in alone):
            precise += 1
        elif unit.verdict == "supported" and "supported" not in alone:
            rest = texts[:i] + texts[i + 1 :]
            left = backend.judge([statement.claim], rest)[0] if rest else Judgement(0.0)
            if left.support is None:
                lost = {"verdict": "failed", "support": None, "note": left.note}
                return Cited(statement, unit.model_copy(update=lost), 0)
            precise += left.support < backend.threshold
    return Cited(statement, unit, precise)


# -- ALCE ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AlceCounts:
    """What ALCE counts of one answer: sentences supported and all, citations right and all."""

    supported: int
    sentences: int
    precise: int
    citations: int

    @property
    def recall(self) -> float:
        """0..1; 0 where there is no sentence."""
        return self.supported / self.sentences if self.sentences else 0.0

    @property
    def precision(self) -> float:
        """0..1; 0 where nothing is cited."""
        return self.precise / self.citations if self.citations else 0.0


def alce(
    output: str,
    documents: Sequence[tuple[str, str]],
    entails: Callable[[str, str], bool],
    *,
    split: Callable[[str], Sequence[str]] | None = None,
    at_most_citations: int | None = 3,
) -> AlceCounts | None:
    """Citation recall and precision as ALCE's published ``eval.py`` computes them, per answer.

    `documents` are (title, text), `entails(passage, claim)` the NLI model, `split` the sentence
    splitter (ALCE's is NLTK's ``sent_tokenize``; ours without one goes by full stops, question and
    exclamation marks before white space). None for an output without a sentence, which ALCE leaves
    out of its means. What it does, as it does it:

    * only the first line of the output counts, and ``<|im_end|>`` is taken out
    * a citation is ``[`` with digits: ``[1, 2]`` cites 1, ``[3-5]`` cites 3
    * ``[0]`` cites the last document, as Python counts from the end
    * a marker behind the full stop belongs to the next sentence, as it begins there
    * the same citation twice counts twice
    * a sentence with any number beyond the documents is unsupported, and none of its citations
      counts in the precision
    * of a sentence's citations the first three count
    * a sentence without citations is unsupported, whatever it says
    * citations of a sentence that they do not support together are all wrong, also where one alone
      would do
    * a citation is needless, and wrong, that does not support by itself what the others do without
    * the claim keeps what is left of longer markers: ``A [1, 2].`` is ``A, 2.``
    * documents are written ``Title: ...`` and the text on the next line

    Source: Gao et al., "Enabling Large Language Models to Generate Text with Citations" (2023).
    """
    line = output.strip().split("\n")[0].replace("<|im_end|>", "")
    parts = list((split or plain_sentences)(line))
    if not parts:
        return None
    supported = precise = citations = 0
    for part in parts:
        claim = _without_alce_markers(part).strip()
        cited = [int(marker[1:_DIGITS]) - 1 for marker in re.findall(r"\[\d+", part)]
        if not cited or any(number >= len(documents) for number in cited):
            continue
        cited = cited[:at_most_citations]
        citations += len(cited)
        if not entails(_written(documents, cited), claim):
            continue
        supported += 1
        if len(cited) == 1:
            precise += 1
            continue
        for number in cited:
            rest = list(cited)
            rest.remove(number)
            needed = entails(_written(documents, [number]), claim)
            precise += needed or not entails(_written(documents, rest), claim)
    return AlceCounts(supported, len(parts), precise, citations)


_DIGITS = 12  # of a marker; there are no more documents


def plain_sentences(text: str) -> list[str]:
    """Split behind ``.``, ``?`` and ``!`` before white space, abbreviations of a letter apart."""
    parts = re.split(r"(?<=[.!?])(?<!\b[A-Z]\.)[\"')\]]*\s+", text.strip())
    return [part for part in parts if part.strip()]


def _without_alce_markers(text: str) -> str:
    bare = re.sub(r"\[\d+", "", re.sub(r" \[\d+", "", text))
    return bare.replace(" |", "").replace("]", "")


def _written(documents: Sequence[tuple[str, str]], numbers: Sequence[int]) -> str:
    return "\n".join("Title: {}\n{}".format(*documents[number]) for number in numbers)


def _alce(case: Case, which: int) -> Score:
    counts, lost = case.once(_alce_counts)
    if lost:
        return Score.failed(f"{len(lost)} judgements failed: {lost[0]}")
    if counts is None:
        return Score.not_applicable("the output is empty")
    if which == 0:
        return Score.ratio(counts.supported, counts.sentences, none="")
    return Score.of(counts.precision)


def _alce_counts(case: Case) -> tuple[AlceCounts | None, list[str]]:
    """What ALCE counts, and why judgements failed."""
    failed: list[str] = []

    def entails(passage: str, claim: str) -> bool:
        if not has_words(claim):
            return False
        judged = case.backend.judge([claim], [passage])[0]
        if judged.support is None:
            failed.append(judged.note)
        return case.holds(judged)

    documents = [(passage.title, passage.text) for passage in case.sample.contexts]
    return alce(case.sample.answer, documents, entails), failed
