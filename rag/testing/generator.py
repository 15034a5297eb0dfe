"""The contract of generators."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from rag.chunking import HeadingChunker
from rag.component import Component
from rag.errors import ModelError
from rag.generation.base import (
    AnswerCompleted,
    CitationAdded,
    Event,
    Generator,
    SentenceVerified,
    TextDelta,
)
from rag.testing.base import PartContract
from rag.testing.calls import call_from_threads
from rag.testing.samples import (
    BLANK_TEXTS,
    HOSTILE_TEXTS,
    WordPieceCounter,
    make_hostile_documents,
    make_sample_documents,
)
from rag.types import Answer, Document, Hit, Message


class GeneratorContract(PartContract[Generator]):
    """Checks of `rag.Generator`: exact citations, abstention, and streams that end in the answer.

    A part with a scripted chat model needs about 10 equal replies. The default question is answered
    in the first hit.
    """

    part_class: ClassVar[type[Component]] = Generator

    question: ClassVar[str] = "How long does a full battery last?"
    """A question that the sample documents answer."""

    def sample_documents(self) -> list[Document]:
        """Return the documents of the hits."""
        return make_sample_documents()

    def make_hits(self, documents: Sequence[Document]) -> list[Hit]:
        """Return a hit for each chunk of the documents, in the order of the documents."""
        chunker, tokens = HeadingChunker(size=48, overlap=8), WordPieceCounter()
        chunks = [chunk for document in documents for chunk in chunker.split(document, tokens)]
        return [Hit(chunk=chunk, score=1 / rank) for rank, chunk in enumerate(chunks, start=1)]

    def test_question_is_answered_with_exact_citations(self) -> None:
        """An answer has citations, and each is an exact span of the hits' chunks."""
        documents = self.sample_documents()
        hits = self.make_hits(documents)
        answer = self.make_part().answer(self.question, hits)
        _check_answer(answer, hits, documents)
        assert answer.status == "answered", f"the generator abstained: {answer.reason}"
        assert answer.citations, "the answer has no citation"

    def test_no_hits_give_an_abstention(self) -> None:
        """Without hits, the generator abstains and gives a reason."""
        for question in (self.question, ""):
            answer = self.make_part().answer(question, [])
            assert answer.status == "abstained", f"an answer without sources: {answer.text!r}"
            _check_answer(answer, [], [])

    def test_stream_ends_with_the_answer(self) -> None:
        """The last event is `AnswerCompleted`, and the events before agree with its answer."""
        documents = self.sample_documents()
        hits = self.make_hits(documents)
        for question, given in ((self.question, hits), (self.question, []), ("", hits[:1])):
            answer = _check_events(list(self.make_part().stream(question, given)))
            _check_answer(answer, given, documents)

    def test_stream_and_answer_agree(self) -> None:
        """The streamed answer is the complete answer, except for its timings."""
        hits = self.make_hits(self.sample_documents())
        answer = self.make_part().answer(self.question, hits)
        *_, completed = self.make_part().stream(self.question, hits)
        assert isinstance(completed, AnswerCompleted), f"the last event is {completed!r}"
        assert _without_timings(completed.answer) == _without_timings(answer), (
            f"streamed {completed.answer.text!r}, answered {answer.text!r}"
        )

    def test_stream_can_be_stopped(self) -> None:
        """A stream that is closed early raises no error."""
        stream = self.make_part().stream(self.question, self.make_hits(self.sample_documents()))
        next(stream)
        stream.close()  # type: ignore[attr-defined]

    def test_hostile_question_has_an_answer(self) -> None:
        """Any text has an answer or an abstention, or raises `ModelError`."""
        documents = self.sample_documents()
        hits = self.make_hits(documents)[:5]
        for text in (*HOSTILE_TEXTS.values(), *BLANK_TEXTS):
            self._check_answer_or_model_error(text[:20_000], hits, documents)

    def test_hostile_passages_are_cited_exactly(self) -> None:
        """Citations of passages with unusual characters are exact, too."""
        documents = make_hostile_documents()
        self._check_answer_or_model_error(self.question, self.make_hits(documents)[:60], documents)
        for document in documents:
            hits = self.make_hits([document])[:5]
            self._check_answer_or_model_error(document.text[:300], hits, documents)

    def test_repeated_and_overlapping_hits_are_cited_exactly(self) -> None:
        """A hit that occurs twice, and hits that overlap, change nothing about citations."""
        documents = self.sample_documents()
        hits = self.make_hits(documents)
        self._check_answer_or_model_error(self.question, [*hits, *hits[:3]], documents)
        chunk = hits[0].chunk
        half = len(chunk.text) // 2
        first, second = (
            chunk.model_copy(
                update={
                    "id": f"{chunk.id}-{start}",
                    "start": chunk.start + start,
                    "end": chunk.start + end,
                    "text": chunk.text[start:end],
                }
            )
            for start, end in ((0, half + 10), (half, len(chunk.text)))
        )
        parts = [Hit(chunk=first, score=0.9), Hit(chunk=second, score=0.8)]
        self._check_answer_or_model_error(self.question, [*parts, *hits], documents)
        self._check_answer_or_model_error(self.question, parts[::-1], documents)

    def test_history_is_accepted_and_not_changed(self) -> None:
        """A conversation before the question raises no error, and is not changed."""
        documents = self.sample_documents()
        hits = self.make_hits(documents)
        history = [
            Message(role="user", content="What is the drone made of? [1]"),
            Message(role="assistant", content="The propellers are made of nylon [2]."),
            *(Message(role="user", content=text[:500]) for text in HOSTILE_TEXTS.values()),
        ]
        given_history, given_hits = list(history), list(hits)
        answer = self.make_part().answer(self.question, hits, history)
        _check_answer(answer, hits, documents)
        assert history == given_history, "the generator changed the history"
        assert hits == given_hits, "the generator changed the hits"

    def test_answer_is_the_same_in_every_run(self) -> None:
        """Two calls and two threads give equal answers."""
        generator, hits = self.make_part(), self.make_hits(self.sample_documents())

        def answer() -> Answer:
            return _without_timings(generator.answer(self.question, hits))

        expected = answer()
        assert answer() == expected, "the second answer differs"
        answers: list[Answer] = call_from_threads(answer)
        assert answers == [expected, expected], "two threads at once get other answers"

    def _check_answer_or_model_error(
        self, question: str, hits: Sequence[Hit], documents: Sequence[Document]
    ) -> None:
        calls: list[Callable[[], Answer]] = [
            lambda: self.make_part().answer(question, hits),
            lambda: _check_events(list(self.make_part().stream(question, hits))),
        ]
        for call in calls:
            try:
                answer = call()
            except ModelError as error:
                assert str(error), "the error has no message"
                continue
            _check_answer(answer, hits, documents)


def _without_timings(answer: Answer) -> Answer:
    return answer.model_copy(update={"trace": ()})


def _check_answer(answer: Answer, hits: Sequence[Hit], documents: Sequence[Document]) -> None:
    """Check that an answer is consistent, and that its citations are exact spans of the hits."""
    assert isinstance(answer, Answer), f"the answer is a {type(answer).__name__}"
    assert answer.text.strip(), "the answer has no text"
    if answer.status == "abstained":
        assert answer.reason, "the abstention has no reason"
        assert not answer.citations, "an abstention cites a source"
    _check_sentences(answer)
    texts = {document.uri: document.text for document in documents}
    for citation in answer.citations:
        span = f"{citation.uri}[{citation.start}:{citation.end}]"
        assert citation.quote, f"the quote of {span} is empty"
        assert texts.get(citation.uri, "")[citation.start : citation.end] == citation.quote, (
            f"the quote of {span} is not exact: {citation.quote!r}"
        )
        offsets = set(range(citation.start, citation.end))
        for hit in hits:
            if hit.chunk.uri == citation.uri:
                offsets -= set(range(hit.chunk.start, hit.chunk.end))
        assert not offsets, f"{span} is outside of the hits"
    given_ids = {hit.chunk.id for hit in hits}
    assert {hit.chunk.id for hit in answer.hits} <= given_ids, "the answer has other hits"


def _check_sentences(answer: Answer) -> None:
    end = 0
    for sentence in answer.sentences:
        assert end <= sentence.start <= sentence.end <= len(answer.text), (
            f"the sentence [{sentence.start}:{sentence.end}] overlaps or is outside of the text"
        )
        end = sentence.end
        for number in sentence.citations:
            assert 0 <= number < len(answer.citations), f"there is no citation {number}"
    for citation in answer.citations:
        marker = citation.marker
        assert str(marker) in answer.text, f"the marker {marker} is not in {answer.text!r}"


def _check_events(events: Sequence[Event]) -> Answer:
    """Check the events of a stream, and return its answer."""
    assert events, "the stream is empty"
    *pieces, last = events
    assert isinstance(last, AnswerCompleted), f"the last event is {last!r}"
    answer = last.answer
    text = "".join(event.text for event in pieces if isinstance(event, TextDelta))
    if not answer.reason:
        assert text == answer.text, f"streamed {text!r}, completed {answer.text!r}"
    for event in pieces:
        assert not isinstance(event, AnswerCompleted), "AnswerCompleted is not at the end"
        if answer.reason:
            continue  # what was streamed before is withdrawn
        if isinstance(event, CitationAdded):
            assert event.citation == answer.citations[event.number], f"{event!r} is not final"
        if isinstance(event, SentenceVerified):
            assert event.sentence == answer.sentences[event.number], f"{event!r} is not final"
    return answer
