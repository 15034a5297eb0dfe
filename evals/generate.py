"""Generated question sets: questions about your documents, each with the span that answers it."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice, pairwise
from typing import TYPE_CHECKING

from pydantic import BaseModel, Field

from evals.questions import GoldSpan, Question
from rag import Pipeline
from rag.embedding import StaticEmbedder
from rag.errors import ModelError, QueryError
from rag.llm.base import ChatModel
from rag.llm.prompting import escape_prompt_markup, render_messages
from rag.llm.structured import fill
from rag.stores import DocumentStore
from rag.text.sentences import sentences
from rag.text.tokenization import STOP_WORDS, content_stems, words
from rag.types import Document
from rag.verification import LexicalVerifier

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

KINDS = ("answerable", "unanswerable", "multi-document")
BLANK = "____"
_SHORTEST, _LONGEST = 6, 40  # words of a sentence to ask about
_ALIKE = 0.92  # cosine from which two questions count as duplicates
_GROUP = 50  # facts per shared word that are tried as pairs
_PASSAGE = 2_000  # characters of a passage in a prompt
_NUMBER = re.compile(
    r"(?<![\w.,:/-])(?:[$€£]\s?)?\d[\d,]*(?:\.\d+)?(?:\s?(?:%|per\s?cent|million|billion|thousand))?"
    r"(?![\w-]|[.,:/]\d)"
)
_NAME = re.compile(
    r"(?<=[^\W\d_,;)\"'] )(?:[A-Z][\w'-]+)(?: (?:of |the |de |von )?[A-Z][\w'-]+){0,4}"
)
_VAGUE = re.compile(  # beginnings that refer to the sentence before
    r"^(?:it|he|she|they|this|that|these|those|its|his|her|their|such|here|there|however|also|but|"
    r"and|or|so|then|thus|therefore|both|another|the (?:former|latter|same))\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class _Fact:
    """A sentence of a document, and the part of it that a question asks for."""

    document: Document
    start: int
    end: int
    answer_start: int
    answer_end: int

    @property
    def sentence(self) -> str:
        return self.document.text[self.start : self.end]

    @property
    def answer(self) -> str:
        return self.document.text[self.answer_start : self.answer_end]

    @property
    def cloze(self) -> str:
        text = self.document.text
        cloze_text = text[self.start : self.answer_start] + BLANK + text[self.answer_end : self.end]
        return " ".join(cloze_text.split())

    @property
    def span(self) -> GoldSpan:
        return GoldSpan(uri=self.document.uri, start=self.start, end=self.end, quote=self.sentence)


def generate_questions(
    pipeline: Pipeline,
    count: int,
    *,
    model: ChatModel | None = None,
    unanswerable: float = 0.2,
    multi: float = 0.2,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> list[Question]:
    """Generate up to `count` questions about the documents that `pipeline` has ingested.

    The result is shorter if the documents do not give enough questions. `unanswerable` and `multi`
    are the shares (0..1) of questions that no document answers, and of questions that need two
    documents. Duplicates and near-duplicates are dropped. Without a `model`, the same index and
    seed give the same questions. `progress` is called with (questions generated, `count`). Raises
    `QueryError` if there is nothing to ask about, or for a count or share out of range.
    """
    if not 1 <= count <= 100_000:
        raise QueryError(f"1 to 100,000 questions can be made, not {count}")
    if not (0 <= unanswerable <= 1 and 0 <= multi <= 1):
        raise QueryError("shares of unanswerable and multi-document questions are from 0 to 1")
    chance = random.Random(seed)
    library = pipeline.open().document_store
    documents = _sample_documents(library, count, chance)
    facts = list(_pick_facts(documents, chance))
    if not facts:
        raise QueryError("there is no sentence in the index that could be asked about")
    counts = _count_by_kind(facts, count, unanswerable, multi)
    candidates = _generate_candidates(pipeline, facts, model, chance)
    questions: list[Question] = []
    duplicate_filter = _DuplicateFilter()
    for kind in KINDS:
        new = (q for q in candidates[kind] if duplicate_filter.is_new(q.question))
        for question in islice(new, counts[kind]):  # lazy: a model writes no surplus question
            questions.append(question)
            if progress:
                progress(len(questions), count)
    return [q.model_copy(update={"id": f"q{n}"}) for n, q in enumerate(questions, start=1)]


def _count_by_kind(
    facts: Sequence[_Fact], count: int, unanswerable: float, multi: float
) -> dict[str, int]:
    """Return the number of questions of each kind; multi-document ones need two documents."""
    has_several_documents = len({fact.document.uri for fact in facts}) > 1
    counts = {"unanswerable": round(count * unanswerable)}
    multi_limit = count - counts["unanswerable"] if has_several_documents else 0
    counts["multi-document"] = min(multi_limit, round(count * multi))
    counts["answerable"] = count - sum(counts.values())
    return counts


def _generate_candidates(
    pipeline: Pipeline, facts: Sequence[_Fact], model: ChatModel | None, chance: random.Random
) -> dict[str, Iterator[Question]]:
    """Return a lazy iterator of questions for each kind, written by `model` or as cloze tests."""
    if model is not None:
        model_generator = _ModelGenerator(model, pipeline)
        return {
            "answerable": model_generator.answerable(facts),
            "unanswerable": model_generator.unanswerable(facts),
            "multi-document": model_generator.multi(_pair_facts(facts)),
        }
    return {
        "answerable": _make_answerable(facts),
        "unanswerable": _make_unanswerable(pipeline, facts, chance),
        "multi-document": _make_multi_document(_pair_facts(facts)),
    }


def _sample_documents(library: DocumentStore, count: int, chance: random.Random) -> list[Document]:
    uris = sorted(library.uris())
    chance.shuffle(uris)
    return [library.document(uri) for uri in uris[: max(50, 4 * count)]]


def _pick_facts(documents: Sequence[Document], chance: random.Random) -> Iterator[_Fact]:
    """Yield one fact of each document in turn, the most salient facts of a document first."""
    common: Counter[str] = Counter()
    for document in documents:
        common.update(set(content_stems(document.text[:20_000])))
    queues = []
    for document in documents:
        ranked = sorted(
            (-_salience(document, fact, common), fact.start, fact) for fact in _find_facts(document)
        )
        if ranked:
            queues.append([fact for *_, fact in ranked])
    chance.shuffle(queues)
    while queues:
        for queue in queues:
            yield queue.pop(0)
        queues = [queue for queue in queues if queue]


def _find_facts(document: Document) -> Iterator[_Fact]:
    text = document.text
    for start, end in sentences(text):
        sentence = text[start:end]
        size = len(words(sentence))
        if not _SHORTEST <= size <= _LONGEST or "\n\n" in sentence or "|" in sentence:
            continue
        if _VAGUE.match(sentence) or not sentence[:1].isupper() or sentence[-1:] not in ".!。":
            continue
        candidates = [*_NUMBER.finditer(sentence), *_NAME.finditer(sentence)]
        candidates = [p for p in candidates if p.group().strip().lower() not in STOP_WORDS]
        candidates = [p for p in candidates if sentence.count(p.group()) == 1]
        candidates = [p for p in candidates if not _is_part_of_name(sentence, p)]
        if candidates:
            best_candidate = max(
                candidates, key=lambda p: (p.re is _NUMBER, len(p.group()), -p.start())
            )
            yield _Fact(
                document, start, end, start + best_candidate.start(), start + best_candidate.end()
            )


def _is_part_of_name(sentence: str, place: re.Match[str]) -> bool:
    """Return whether a number belongs to a name ("the Gale 3"), or a name is a month or a day."""
    if place.re is not _NUMBER:
        return place.group() in _DAYS
    before = sentence[: place.start()].split()
    word = before[-1] if before else ""
    return len(before) > 1 and word[:1].isupper() and word.isalpha() and word not in _DAYS


_DAYS = frozenset(
    "January February March April May June July August September October November December "
    "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
)


def _salience(document: Document, fact: _Fact, common: Counter[str]) -> float:
    """Return the salience of a sentence: rare stems and an early position make it high."""
    stems = set(content_stems(fact.sentence))
    if not stems:
        return 0.0
    rare = sum(1 / common[stem] if common[stem] else 1.0 for stem in stems) / len(stems)
    early = 1 - fact.start / max(1, len(document.text))
    return rare + 0.3 * early


def _make_answerable(facts: Sequence[_Fact]) -> Iterator[Question]:
    for fact in facts:
        yield Question(
            id="",
            question=f"What is missing: {fact.cloze}",
            answers=(fact.answer,),
            answerable=True,
            gold=(fact.document.uri,),
            spans=(fact.span,),
            kind="answerable",
        )


def _pair_facts(facts: Sequence[_Fact]) -> Iterator[tuple[_Fact, _Fact]]:
    """Yield pairs of facts of two documents, first those that share a rare word; each fact once."""
    by_word: dict[str, list[_Fact]] = {}
    for fact in facts:
        for stem in set(content_stems(fact.sentence)):
            by_word.setdefault(stem, []).append(fact)
    shared = (
        (group[i], second)
        for _, group in sorted(by_word.items(), key=lambda item: (len(item[1]), item[0]))
        for i in range(min(len(group), _GROUP))
        for second in group[i + 1 : _GROUP]
    )
    used: set[tuple[str, int]] = set()
    for first, second in chain(shared, pairwise(facts)):
        fact_spans = {(fact.document.uri, fact.start) for fact in (first, second)}
        if first.document.uri != second.document.uri and not fact_spans & used:
            used |= fact_spans
            yield first, second


def _make_multi_document(pairs: Iterable[tuple[_Fact, _Fact]]) -> Iterator[Question]:
    for first, second in pairs:
        yield Question(
            id="",
            question=f"What is missing, first and second: {first.cloze} And: {second.cloze}",
            answerable=True,  # without `answers`: two words in two sentences are not one reference
            gold=(first.document.uri, second.document.uri),
            spans=(first.span, second.span),
            kind="multi-document",
        )


def _make_unanswerable(
    pipeline: Pipeline, facts: Sequence[_Fact], chance: random.Random
) -> Iterator[Question]:
    """Yield questions about sentences with a wrong name, which no passage in the index supports."""
    verifier = LexicalVerifier()
    all_names = {m.group() for fact in facts for m in _NAME.finditer(fact.sentence)} - _DAYS
    names = sorted(all_names)
    for fact in facts:
        own = [m for m in _NAME.finditer(fact.sentence) if m.group() not in fact.answer]
        own = [m for m in own if m.group() not in _DAYS]
        if not own:
            continue
        replaced_match = chance.choice(own)
        other_names = [
            name
            for name in names
            if name not in fact.document.text
            and len(name.split()) == len(replaced_match.group().split())
            and not set(name.split()) & set(fact.sentence.split())
        ]
        if not other_names:
            continue
        changed = (
            fact.sentence[: replaced_match.start()]
            + chance.choice(other_names)
            + fact.sentence[replaced_match.end() :]
        )
        if changed.count(fact.answer) != 1:
            continue
        # the wrong sentence, and the sentence with any other answer, must both be unsupported
        claims = [changed, changed.replace(fact.answer, " ")]
        hits = pipeline.search(claims[1], k=10)
        supports = verifier.support(claims, [hit.chunk.text for hit in hits])
        if supports.size and float(supports.max()) >= verifier.threshold:
            continue
        cloze = " ".join(changed.replace(fact.answer, BLANK).split())
        yield Question(
            id="",
            question=f"What is missing: {cloze}",
            answerable=False,
            kind="unanswerable",
        )


class _GeneratedQuestion(BaseModel):
    question: str = Field(min_length=8, max_length=500)
    answer: str = Field("", max_length=1_000)
    evidence: list[str] = Field(default_factory=list, max_length=4)


class _AnswerCheck(BaseModel):
    answered: bool


class _ModelGenerator:
    """Generates questions with a chat model.

    A question is dropped if the evidence that the model quotes is not in the passages. Failures of
    the model are skipped; the fifth in a row is raised, because the model is then the cause.
    """

    def __init__(self, model: ChatModel, pipeline: Pipeline) -> None:
        self._model, self._pipeline = model, pipeline
        self._failures = 0

    def answerable(self, facts: Sequence[_Fact]) -> Iterator[Question]:
        for fact in facts:
            if question := self._ask_model("answerable", [fact]):
                yield question

    def multi(self, pairs: Iterable[tuple[_Fact, _Fact]]) -> Iterator[Question]:
        for pair in pairs:
            if question := self._ask_model("multi-document", pair):
                yield question

    def unanswerable(self, facts: Sequence[_Fact]) -> Iterator[Question]:
        for fact in facts:
            if question := self._ask_model("unanswerable", [fact]):
                yield question

    def _ask_model(self, kind: str, facts: Sequence[_Fact]) -> Question | None:
        starts = [max(0, fact.start - _PASSAGE // 2) for fact in facts]
        texts = [
            fact.document.text[start : start + _PASSAGE]
            for fact, start in zip(facts, starts, strict=True)
        ]
        passages = [
            {"title": escape_prompt_markup(fact.document.title), "text": escape_prompt_markup(text)}
            for fact, text in zip(facts, texts, strict=True)
        ]
        try:
            messages = render_messages("question", passages=passages, kind=kind)
            generated = fill(self._model, messages, _GeneratedQuestion)
            is_answered = kind == "unanswerable" and self._is_answered(generated.question)
        except ModelError:
            self._failures += 1
            if self._failures >= _MOST_FAILURES:
                raise
            return None
        self._failures = 0
        if kind == "unanswerable":
            unanswerable = Question(id="", question=generated.question, answerable=False, kind=kind)
            return None if is_answered else unanswerable
        spans = []
        for fact, start, text in zip(facts, starts, texts, strict=True):
            quote = next((e for e in generated.evidence if len(e) >= _EVIDENCE and e in text), None)
            if quote is None or not generated.answer.strip():
                return None  # without a verbatim quote, nobody can check the question
            quote_start = start + text.index(quote)
            spans.append(
                GoldSpan(
                    uri=fact.document.uri,
                    start=quote_start,
                    end=quote_start + len(quote),
                    quote=quote,
                )
            )
        return Question(
            id="",
            question=generated.question,
            answers=(generated.answer,),
            answerable=True,
            gold=tuple(fact.document.uri for fact in facts),
            spans=tuple(spans),
            kind=kind,
        )

    def _is_answered(self, question: str) -> bool:
        hits = self._pipeline.search(question, k=5)
        passages = [escape_prompt_markup(hit.chunk.text) for hit in hits]
        messages = render_messages(
            "question-check", question=escape_prompt_markup(question), passages=passages
        )
        return fill(self._model, messages, _AnswerCheck).answered


_EVIDENCE = 8  # characters that a quote must have
_MOST_FAILURES = 5  # in a row


class _DuplicateFilter:
    """Detects duplicates and near-duplicates of earlier questions, by their words and vectors."""

    def __init__(self) -> None:
        self._seen: set[str] = set()
        self._vectors: list[NDArray[np.float32]] = []

    def is_new(self, question: str) -> bool:
        plain = " ".join(words(question))
        if plain in self._seen:
            return False
        vector = StaticEmbedder().embed_query(question)
        if any(float(vector @ earlier_vector) >= _ALIKE for earlier_vector in self._vectors):
            return False
        self._seen.add(plain)
        self._vectors.append(vector)
        return True
