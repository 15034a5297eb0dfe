"""Question sets of a user's own documents: each question with the span that answers it.

With a chat model it is asked for questions about a passage, and what it quotes as evidence must
stand there word for word. Without one, questions are cloze: a sentence that says much, with its
number or name left out. Questions that cannot be answered are made of those that can, with another
document's name in the place of theirs, and kept only where no passage supports them.
"""

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
from rag.llm.prompting import escape_prompt_markup, messages
from rag.llm.structured import fill
from rag.stores import SqliteDocumentStore
from rag.text.sentences import sentences
from rag.text.tokenization import STOP_WORDS, content_stems, words
from rag.types import Document
from rag.verification import LexicalVerifier

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

KINDS = ("answerable", "unanswerable", "multi-document")
BLANK = "____"
_SHORTEST, _LONGEST = 6, 40  # words of a sentence that is asked about
_ALIKE = 0.92  # cosine from which two questions are the same
_GROUP = 50  # facts that share a word
_PASSAGE = 2_000  # characters that a model is shown
_NUMBER = re.compile(
    r"(?<![\w.,:/-])(?:[$€£]\s?)?\d[\d,]*(?:\.\d+)?(?:\s?(?:%|per\s?cent|million|billion|thousand))?"
    r"(?![\w-]|[.,:/]\d)"
)
_NAME = re.compile(
    r"(?<=[^\W\d_,;)\"'] )(?:[A-Z][\w'-]+)(?: (?:of |the |de |von )?[A-Z][\w'-]+){0,4}"
)
_VAGUE = re.compile(  # what the sentence before it would be needed for
    r"^(?:it|he|she|they|this|that|these|those|its|his|her|their|such|here|there|however|also|but|"
    r"and|or|so|then|thus|therefore|both|another|the (?:former|latter|same))\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class _Fact:
    """A sentence of a document, and the words of it that are asked for."""

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
        said = text[self.start : self.answer_start] + BLANK + text[self.answer_end : self.end]
        return " ".join(said.split())

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
    """Make `count` questions about what `pipeline` has ingested; fewer where there is not enough.

    `unanswerable` and `multi` are the shares of questions that no document answers, and that two
    documents answer together. None is there twice, or nearly. Without a `model`, the same index and
    seed give the same questions. Raises `QueryError` where nothing can be asked about.
    """
    if not 1 <= count <= 100_000:
        raise QueryError(f"1 to 100,000 questions can be made, not {count}")
    if not (0 <= unanswerable <= 1 and 0 <= multi <= 1):
        raise QueryError("shares of unanswerable and multi-document questions are from 0 to 1")
    chance = random.Random(seed)
    library = pipeline.open().document_store
    documents = _documents(library, count, chance)
    facts = list(_facts(documents, chance))
    if not facts:
        raise QueryError("there is no sentence in the index that could be asked about")
    several = len({fact.document.uri for fact in facts}) > 1
    wanted = {"unanswerable": round(count * unanswerable)}
    most = count - wanted["unanswerable"]
    wanted["multi-document"] = min(most, round(count * multi)) if several else 0
    wanted["answerable"] = count - sum(wanted.values())
    if model is not None:
        by_model = _ByModel(model, pipeline)
        makers = {
            "answerable": by_model.answerable(facts),
            "unanswerable": by_model.unanswerable(facts),
            "multi-document": by_model.multi(_pairs(facts)),
        }
    else:
        makers = {
            "answerable": _answerable(facts),
            "unanswerable": _unanswerable(pipeline, facts, chance),
            "multi-document": _of_two(_pairs(facts)),
        }
    kept: list[Question] = []
    novel = _Novel()
    for kind in KINDS:
        new = (question for question in makers[kind] if novel.is_new(question.question))
        for question in islice(new, wanted[kind]):  # no model is asked for one too many
            kept.append(question)
            if progress:
                progress(len(kept), count)
    return [q.model_copy(update={"id": f"q{n}"}) for n, q in enumerate(kept, start=1)]


def _documents(library: SqliteDocumentStore, count: int, chance: random.Random) -> list[Document]:
    uris = sorted(library.uris())
    chance.shuffle(uris)
    return [library.document(uri) for uri in uris[: max(50, 4 * count)]]


def _facts(documents: Sequence[Document], chance: random.Random) -> Iterator[_Fact]:
    """Sentences that say much, those of every document in turn, the most telling first."""
    common: Counter[str] = Counter()
    for document in documents:
        common.update(set(content_stems(document.text[:20_000])))
    queues = []
    for document in documents:
        ranked = sorted(
            (-_salience(document, fact, common), fact.start, fact) for fact in _sentences(document)
        )
        if ranked:
            queues.append([fact for *_, fact in ranked])
    chance.shuffle(queues)
    while queues:
        for queue in queues:
            yield queue.pop(0)
        queues = [queue for queue in queues if queue]


def _sentences(document: Document) -> Iterator[_Fact]:
    text = document.text
    for start, end in sentences(text):
        sentence = text[start:end]
        size = len(words(sentence))
        if not _SHORTEST <= size <= _LONGEST or "\n\n" in sentence or "|" in sentence:
            continue
        if _VAGUE.match(sentence) or not sentence[:1].isupper() or sentence[-1:] not in ".!。":
            continue
        places = [*_NUMBER.finditer(sentence), *_NAME.finditer(sentence)]
        places = [p for p in places if p.group().strip().lower() not in STOP_WORDS]
        places = [p for p in places if sentence.count(p.group()) == 1]
        places = [p for p in places if not _is_of_a_name(sentence, p)]
        if places:
            place = max(places, key=lambda p: (p.re is _NUMBER, len(p.group()), -p.start()))
            yield _Fact(document, start, end, start + place.start(), start + place.end())


def _is_of_a_name(sentence: str, place: re.Match[str]) -> bool:
    """Whether a number is the model of something, as in "the Gale 3", or a name is a day's."""
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
    """How much a sentence says of its document: words that it has often, and others hardly."""
    found = set(content_stems(fact.sentence))
    if not found:
        return 0.0
    rare = sum(1 / common[stem] if common[stem] else 1.0 for stem in found) / len(found)
    early = 1 - fact.start / max(1, len(document.text))
    return rare + 0.3 * early


def _answerable(facts: Sequence[_Fact]) -> Iterator[Question]:
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


def _pairs(facts: Sequence[_Fact]) -> Iterator[tuple[_Fact, _Fact]]:
    """Facts of two documents, first those that share a rare word; each fact once."""
    by_word: dict[str, list[_Fact]] = {}
    for fact in facts:
        for stem in set(content_stems(fact.sentence)):
            by_word.setdefault(stem, []).append(fact)
    shared = (
        (group[i], other)
        for _, group in sorted(by_word.items(), key=lambda item: (len(item[1]), item[0]))
        for i in range(min(len(group), _GROUP))
        for other in group[i + 1 : _GROUP]
    )
    used: set[tuple[str, int]] = set()
    for one, other in chain(shared, pairwise(facts)):
        places = {(fact.document.uri, fact.start) for fact in (one, other)}
        if one.document.uri != other.document.uri and not places & used:
            used |= places
            yield one, other


def _of_two(pairs: Iterable[tuple[_Fact, _Fact]]) -> Iterator[Question]:
    for one, other in pairs:
        yield Question(
            id="",
            question=f"What is missing, first and second: {one.cloze} And: {other.cloze}",
            answerable=True,  # by two words in two places, which is no one reference answer
            gold=(one.document.uri, other.document.uri),
            spans=(one.span, other.span),
            kind="multi-document",
        )


def _unanswerable(
    pipeline: Pipeline, facts: Sequence[_Fact], chance: random.Random
) -> Iterator[Question]:
    """Sentences with another document's name in them, which nothing that is stored supports."""
    verifier = LexicalVerifier()
    found = {m.group() for fact in facts for m in _NAME.finditer(fact.sentence)} - _DAYS
    names = sorted(found)
    for fact in facts:
        own = [m for m in _NAME.finditer(fact.sentence) if m.group() not in fact.answer]
        own = [m for m in own if m.group() not in _DAYS]
        if not own:
            continue
        place = chance.choice(own)
        strangers = [
            name
            for name in names
            if name not in fact.document.text
            and len(name.split()) == len(place.group().split())
            and not set(name.split()) & set(fact.sentence.split())
        ]
        if not strangers:
            continue
        changed = (
            fact.sentence[: place.start()] + chance.choice(strangers) + fact.sentence[place.end() :]
        )
        if changed.count(fact.answer) != 1:
            continue
        # with the answer, and with any other in its place
        asked = [changed, changed.replace(fact.answer, " ")]
        hits = pipeline.search(asked[1], k=10)
        supports = verifier.support(asked, [hit.chunk.text for hit in hits])
        if supports.size and float(supports.max()) >= verifier.threshold:
            continue
        cloze = " ".join(changed.replace(fact.answer, BLANK).split())
        yield Question(
            id="",
            question=f"What is missing: {cloze}",
            answerable=False,
            kind="unanswerable",
        )


class _Asked(BaseModel):
    question: str = Field(min_length=8, max_length=500)
    answer: str = Field("", max_length=1_000)
    evidence: list[str] = Field(default_factory=list, max_length=4)


class _Checked(BaseModel):
    answered: bool


class _ByModel:
    """Questions by a chat model. What it quotes as evidence must stand in the passages.

    Several failures in a row are the model's, and are raised.
    """

    def __init__(self, model: ChatModel, pipeline: Pipeline) -> None:
        self._model, self._pipeline = model, pipeline
        self._failures = 0

    def answerable(self, facts: Sequence[_Fact]) -> Iterator[Question]:
        for fact in facts:
            if question := self._asked("answerable", [fact]):
                yield question

    def multi(self, pairs: Iterable[tuple[_Fact, _Fact]]) -> Iterator[Question]:
        for pair in pairs:
            if question := self._asked("multi-document", pair):
                yield question

    def unanswerable(self, facts: Sequence[_Fact]) -> Iterator[Question]:
        for fact in facts:
            if question := self._asked("unanswerable", [fact]):
                yield question

    def _asked(self, kind: str, facts: Sequence[_Fact]) -> Question | None:
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
            asked = messages("question", passages=passages, kind=kind)
            found = fill(self._model, asked, _Asked)
            if kind == "unanswerable":
                return (
                    None
                    if self._is_answered(found.question)
                    else Question(id="", question=found.question, answerable=False, kind=kind)
                )
        except ModelError:
            self._failures += 1
            if self._failures >= _MOST_FAILURES:
                raise
            return None
        self._failures = 0
        spans = []
        for fact, start, text in zip(facts, starts, texts, strict=True):
            quote = next((e for e in found.evidence if len(e) >= _EVIDENCE and e in text), None)
            if quote is None or not found.answer.strip():
                return None  # it is not in the passage: nobody could check it
            at = start + text.index(quote)
            spans.append(
                GoldSpan(uri=fact.document.uri, start=at, end=at + len(quote), quote=quote)
            )
        return Question(
            id="",
            question=found.question,
            answers=(found.answer,),
            answerable=True,
            gold=tuple(fact.document.uri for fact in facts),
            spans=tuple(spans),
            kind=kind,
        )

    def _is_answered(self, question: str) -> bool:
        hits = self._pipeline.search(question, k=5)
        passages = [escape_prompt_markup(hit.chunk.text) for hit in hits]
        asked = messages(
            "question-check", question=escape_prompt_markup(question), passages=passages
        )
        return fill(self._model, asked, _Checked).answered


_EVIDENCE = 8  # characters
_MOST_FAILURES = 5  # in a row


class _Novel:
    """Tells a question that was there already, or nearly: by its words and by its vector."""

    def __init__(self) -> None:
        self._seen: set[str] = set()
        self._vectors: list[NDArray[np.float32]] = []

    def is_new(self, question: str) -> bool:
        plain = " ".join(words(question))
        if plain in self._seen:
            return False
        vector = StaticEmbedder().embed_query(question)
        if any(float(vector @ other) >= _ALIKE for other in self._vectors):
            return False
        self._seen.add(plain)
        self._vectors.append(vector)
        return True
