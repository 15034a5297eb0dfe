"""Answers by a chat model, every sentence checked against its source."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from rag.concurrency import close_at_end
from rag.embedding import Embedder, StaticEmbedder
from rag.errors import ModelContextExceeded, QueryError
from rag.generation.base import AnswerCompleted, Event, Generator, abstention, last_answer, replayed
from rag.generation.citations import CitationWriter, CitedText, cite
from rag.generation.claims import admits
from rag.generation.context_packing import Order, Packed, boundary, pack, shown_passages
from rag.generation.markers import without_markers
from rag.generation.relevance import candidates
from rag.llm.base import ChatModel, Completion, Source
from rag.llm.prompting import escape_prompt_markup, filled, messages
from rag.types import NO_ANSWER, Answer, Hit, Message, Sentence, Step, Usage
from rag.verification import LexicalVerifier, Verifier

if TYPE_CHECKING:
    from rag.generation.extraction import Extraction, Model

_PROMPT_ROOM = 400  # tokens of a prompt that are neither passages nor question nor history


class GroundedGenerator(Generator):
    """A chat model answers from numbered passages; every sentence is then checked.

    ``prompt`` is the template: ``grounded``, ``concise``, ``detailed``, ``list``, ``table``,
    ``quotes``, or one of yours; ``language`` is the answer's, by its name in English (default: the
    question's). ``budget`` is the number of tokens for passages, less where the model reads less;
    ``order`` is how they are shown (see `rag.generation.pack`).

    Each sentence cites the exact span that supports it best: of the passages that the model marks
    or its provider cites, where they support it, and else of the one that does. What no passage
    supports is, by ``unsupported``: left in and flagged (``flag``), left out (``drop``), named to
    the model, which is asked once more, and left out if it still is not (``repair``), or a reason
    not to answer at all (``abstain``).

    The answer is abstained from where the nearest sentence is less relevant to the question than
    ``relevance`` (0..2, as the extractive generator counts it; then no model is asked), where the
    model says that it does not know, and where no sentence, or a smaller share than ``required``,
    is supported. The draft then stands in the trace.
    """

    name: ClassVar[str] = "grounded"
    reads_history: ClassVar[bool] = True
    revision: ClassVar[int] = 2

    model: ChatModel
    verifier: Verifier = LexicalVerifier()
    prompt: str = "grounded"
    language: str | None = Field(None, min_length=1, max_length=100)
    budget: int = Field(3_000, ge=64)
    order: Order = "relevance"
    unsupported: Literal["flag", "drop", "repair", "abstain"] = "flag"
    required: float = Field(0.0, ge=0, le=1)
    relevance: float = Field(0.0, ge=0, le=2)
    embedder: Embedder = StaticEmbedder()

    def answer(self, question: str, hits: Sequence[Hit], history: Sequence[Message] = ()) -> Answer:
        """See `Generator.answer`."""
        return last_answer(self._events(question, hits, history, live=False))

    def stream(
        self, question: str, hits: Sequence[Hit], history: Sequence[Message] = ()
    ) -> Iterator[Event]:
        """See `Generator.stream`.

        With ``flag``, words come as the model says them, markers when their sentence is checked;
        with ``drop``, sentences come when they are checked. With ``repair`` and ``abstain``, and
        with models whose providers cite, all comes at the end, since it may all change.
        """
        return self._events(question, hits, history, live=True)

    def extract(self, question: str, hits: Sequence[Hit], model: type[Model]) -> Extraction[Model]:
        """Fill in `model` from the passages; see `rag.generation.extraction`.

        Raises `QueryError` where there is nothing to fill it in from, `ModelReplyError` where the
        model's reply does not fit it.
        """
        from rag.generation.extraction import extract

        packed = self._packed(question, hits, (), self.budget)
        if reason := self._too_little(question, packed, hits):
            raise QueryError(f"{model.__name__} cannot be filled in: {reason}")
        while True:
            try:
                return extract(
                    question, packed, hits, model, chat=self.model, verifier=self.verifier
                )
            except ModelContextExceeded:
                packed = self._fewer(question, hits, (), packed)
                if not packed.passages:
                    raise

    # -- asking ----------------------------------------------------------------------------

    def _events(
        self, question: str, hits: Sequence[Hit], history: Sequence[Message], *, live: bool
    ) -> Iterator[Event]:
        history = self._told(history)
        packed = self._packed(question, hits, history, self.budget)
        if reason := self._too_little(question, packed, hits):
            answer = abstention(reason, hits)
            yield from replayed(answer)
            yield AnswerCompleted(answer=answer)
            return
        begun = False
        while True:
            asking = self._asking(question, hits, history, packed)
            try:
                for event in self._answered(asking, live=live):
                    begun = True
                    yield event
                return
            except ModelContextExceeded:
                packed = self._fewer(question, hits, history, packed)
                if begun or not packed.passages:
                    raise

    def _told(self, history: Sequence[Message]) -> list[Message]:
        """The conversation as the model is told it: as data, in no more than half its context."""
        told = [
            Message(role=each.role, content=escape_prompt_markup(without_markers(each.content)))
            for each in history
        ]
        context = self.model.context_tokens
        if context is not None:
            room = (context - self.model.reply_tokens - _PROMPT_ROOM) // 2
            counts = [self.model.count_tokens(each.content) for each in told]
            while told and sum(counts) > room:
                del told[0], counts[0]
        return told

    def _packed(
        self, question: str, hits: Sequence[Hit], history: Sequence[Message], budget: int
    ) -> Packed:
        context = self.model.context_tokens
        if context is not None:
            taken = sum(self.model.count_tokens(each.content) for each in history)
            taken += self.model.count_tokens(question) + _PROMPT_ROOM + self.model.reply_tokens
            budget = min(budget, context - taken)
        return pack(hits, budget, self.model.count_tokens, self.order)

    def _fewer(
        self, question: str, hits: Sequence[Hit], history: Sequence[Message], packed: Packed
    ) -> Packed:
        """Half as much as was too long for the model; none in the end."""
        return self._packed(question, hits, history, packed.tokens // 2)

    def _too_little(self, question: str, packed: Packed, hits: Sequence[Hit]) -> str:
        """Why there is nothing to ask a model about; empty where there is."""
        if not hits:
            return "nothing was retrieved"
        if not packed.passages:
            return (
                f"no passage fits: the shortest has {packed.shortest} tokens, and "
                f"{packed.budget} are left for passages"
            )
        if self.relevance:
            found = candidates(question, packed.passages, self.embedder)
            best = max((each.relevance for each in found), default=0.0)
            if best < self.relevance:
                return (
                    f"the nearest sentence has a relevance of {best:.2f}, "
                    f"below {self.relevance:.2f}"
                )
        return ""

    def _asking(
        self, question: str, hits: Sequence[Hit], history: Sequence[Message], packed: Packed
    ) -> _Asking:
        passages = packed.passages
        shown = [] if self.model.cites else shown_passages(passages)
        inputs = {
            "question": question,
            "passages": shown,
            "boundary": boundary(question, passages),
            "history": history,
            "no_answer": NO_ANSWER,
            "language": self.language or "",
        }
        asked, identity = filled(self.prompt, **inputs)
        return _Asking(
            question=question,
            messages=asked,
            sources=[
                Source(escape_prompt_markup(p.label), escape_prompt_markup(p.text))
                for p in passages
            ]
            if self.model.cites
            else [],
            prompt=identity,
            packed=packed,
            hits=tuple(hits),
        )

    # -- answering -------------------------------------------------------------------------

    def _answered(self, asking: _Asking, *, live: bool) -> Iterator[Event]:
        at_once = live and self.unsupported in ("flag", "drop") and not self.model.cites
        writer = CitationWriter(
            asking.packed.passages,
            self.verifier,
            live=at_once and self.unsupported == "flag",
            drop=self.unsupported == "drop",
            question=asking.question,
        )
        started = time.perf_counter()
        checking = 0.0
        completion = Completion("")
        if live:
            deltas = self.model.stream(asking.messages, sources=asking.sources)
            with close_at_end(deltas):
                for text, whole in deltas:
                    completion = whole or completion
                    if at_once:
                        since = time.perf_counter()
                        events = list(writer.feed(text))
                        checking += time.perf_counter() - since
                        yield from events
        else:
            completion = self.model.complete(asking.messages, sources=asking.sources)
        seconds = time.perf_counter() - started - checking
        asking.used(completion, seconds)
        since = time.perf_counter()
        if not at_once:
            writer.native = completion.citations
            writer.feed(completion.text)
        events = list(writer.finish())
        asking.checking = checking + time.perf_counter() - since
        cited = writer.result
        if self.unsupported == "repair":
            cited = self._repaired(asking, completion, cited)
        answer = self._judged(asking, completion, cited)
        yield from events if at_once else replayed(answer)
        yield AnswerCompleted(answer=answer)

    def _repaired(self, asking: _Asking, completion: Completion, cited: CitedText) -> CitedText:
        """Ask once more, the failing sentences named; what fails again is left out."""
        failing = [
            without_markers(cited.text[sentence.start : sentence.end])
            for sentence in cited.sentences
            if sentence.status == "unsupported"
        ]
        if not failing or _refuses(completion.text):
            return cited
        asked = [
            *asking.messages,
            Message(role="assistant", content=completion.text),
            *messages("repair", failing=failing, no_answer=NO_ANSWER),
        ]
        started = time.perf_counter()
        try:
            again = self.model.complete(asked, sources=asking.sources)
        except ModelContextExceeded:  # with the draft and the request behind it
            again = Completion("")
        seconds = time.perf_counter() - started
        passages = asking.packed.passages

        def checked(reply: Completion) -> CitedText:
            return cite(
                reply.text,
                passages,
                self.verifier,
                drop=True,
                native=reply.citations,
                question=asking.question,
            )

        repaired = checked(again)
        if not any(sentence.supported for sentence in repaired.sentences):
            repaired = checked(completion)
        asking.used(again, seconds, name="repair", failing=failing)
        return repaired

    def _judged(self, asking: _Asking, completion: Completion, cited: CitedText) -> Answer:
        """The answer, or why there is none."""
        draft = completion.text.strip()
        claims = [sentence for sentence in cited.sentences if sentence.status != "needs_none"]
        supported = sum(sentence.supported for sentence in claims)
        detail: dict[str, Any] = {
            "verifier": self.verifier.config(),
            "sentences": len(claims),
            "supported": supported,
            "dropped_markers": cited.dropped_markers,
            "attributed": cited.attributed,
            "removed_links": cited.removed_links,
            "dropped": list(cited.dropped),
        }
        reason = self._reason(completion, draft, cited, claims)
        if reason or draft != cited.text:
            detail["draft"] = draft
        trace = (*asking.steps, Step(name="check", seconds=asking.checking, detail=detail))
        if reason:
            return abstention(reason, asking.hits, usage=asking.usage, trace=trace)
        return Answer(
            text=cited.text,
            status="answered",
            sentences=cited.sentences,
            citations=cited.citations,
            hits=asking.hits,
            usage=asking.usage,
            trace=trace,
        )

    def _reason(
        self, completion: Completion, draft: str, cited: CitedText, claims: Sequence[Sentence]
    ) -> str:
        """Why not to answer; empty where the answer stands."""
        if completion.finish_reason == "refusal":
            return f"the model refused to answer: {' '.join(draft.split())[:200]}"
        if not draft:
            return "the model gave an empty reply"
        if not any(_holds(sentence, cited) for sentence in claims):
            if _refuses(draft):
                return "the model found no answer in the passages"
            return "no sentence of the model's draft is supported by the passages"
        supported = sum(sentence.supported for sentence in claims)
        said = len(claims) + len(cited.dropped)
        if supported < self.required * said:
            return (
                f"{supported} of {said} sentences of the model's draft are supported by "
                f"the passages, fewer than the share of {self.required:g} that is required"
            )
        failing = [sentence for sentence in claims if sentence.status == "unsupported"]
        if self.unsupported == "abstain" and failing:
            first = cited.text[failing[0].start : failing[0].end]
            return f"not supported by the passages: {' '.join(first.split())[:200]}"
        return ""


@dataclass(slots=True)
class _Asking:
    """What is asked, and what came of it so far."""

    question: str
    messages: list[Message]
    sources: list[Source]
    prompt: dict[str, str]
    packed: Packed
    hits: tuple[Hit, ...]
    steps: list[Step] = field(default_factory=list)
    usage: Usage = field(default_factory=Usage)
    checking: float = 0.0

    def used(
        self, completion: Completion, seconds: float, name: str = "generate", **more: object
    ) -> None:
        """Note a call of the model."""
        self.usage += completion.usage
        detail = {
            "prompt": self.prompt,
            "passages": len(self.packed.passages),
            "left_out": self.packed.left_out,
            "finish_reason": completion.finish_reason,
            **more,
        }
        self.steps.append(Step(name=name, seconds=seconds, detail=detail))


def _refuses(draft: str) -> bool:
    return admits(draft) or NO_ANSWER in draft


def _holds(sentence: Sentence, cited: CitedText) -> bool:
    """Whether a sentence answers something.

    "The passages do not mention it" does only where the model itself cites a passage, and that
    supports the rest of the sentence.
    """
    if not sentence.supported:
        return False
    by_model = any(cited.citations[i].method != "attribution" for i in sentence.citations)
    return by_model or not admits(cited.text[sentence.start : sentence.end])
