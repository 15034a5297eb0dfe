"""The grounded generator: a chat model answers, and every sentence is checked."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from rag.concurrency import close_at_end
from rag.embedding import Embedder, StaticEmbedder
from rag.errors import ModelContextExceeded, QueryError
from rag.generation.answer_scorer import estimate_answerability, rank_candidates
from rag.generation.base import (
    AnswerCompleted,
    Event,
    Generator,
    abstention,
    last_answer,
    replay_events,
)
from rag.generation.citations import CitationWriter, CitedText, cite
from rag.generation.claims import starts_with_refusal
from rag.generation.closest_passages import find_closest_passages
from rag.generation.context_packing import (
    Order,
    PackedPassages,
    build_prompt_passages,
    make_boundary,
    pack,
)
from rag.generation.extractive import ExtractiveGenerator
from rag.generation.links import remove_all_links
from rag.generation.markers import strip_markers
from rag.generation.passages import Passage
from rag.generation.question_spelling import respell_question
from rag.generation.relevance import explain_missing_answer
from rag.llm.base import ChatModel
from rag.llm.completion import Completion, Source
from rag.llm.prompting import escape_prompt_markup, render_messages, render_prompt
from rag.providers.context_length import ASSUMED_CONTEXT_TOKENS
from rag.query import Query
from rag.types import (
    NO_ANSWER,
    Answer,
    CheckStep,
    ClosestPassage,
    GenerateStep,
    Hit,
    Message,
    PromptIdentity,
    RepairStep,
    Sentence,
    TraceStep,
    Usage,
)
from rag.verification import LexicalVerifier, Verifier

if TYPE_CHECKING:
    from rag.generation.extraction import Extraction, Model

_PROMPT_OVERHEAD_TOKENS = 400  # of a prompt, without passages, question and history


class GroundedGenerator(Generator):
    """A chat model answers from numbered passages; every sentence is then checked.

    ``prompt`` is the template: ``grounded``, ``concise``, ``detailed``, ``list``, ``table``,
    ``quotes``, or a custom one. ``language`` is the language of the answer, by its English name
    (default: the language of the question). ``budget`` is the number of tokens for passages, less
    if the model's context is smaller; ``order`` is their order (see `rag.generation.pack`).

    Each sentence cites the exact span that supports it best. The span comes from the passages that
    the model marks or its provider cites; if these do not support the sentence, it comes from the
    passage that does. ``unsupported`` sets what happens to a sentence that no passage supports. It
    is kept and flagged (``flag``) or removed (``drop``). With ``repair``, the model is asked once
    more and told which sentences failed; those that fail again are removed. With ``abstain``, the
    generator abstains.

    The generator also abstains if no sentence of the passages reaches ``relevance`` (0..2), or the
    probability that they hold the answer is below ``answerability`` (0..1; both as the extractive
    generator computes them; then no model is called), if the model says that it does not
    know, and if no sentence, or a smaller share than ``required``, is supported. The trace then has
    the draft. Where it would abstain after the model's reply, the ``fallback`` answers in its
    place, if it does not abstain; by default, it quotes what it is sure of. The answer's ``reason``
    then says why. ``None`` turns it off, and so do ``unsupported="abstain"`` and a model that
    refuses to answer.
    """

    name: ClassVar[str] = "grounded"
    main_setting: ClassVar[str] = "model"
    reads_history: ClassVar[bool] = True
    revision: ClassVar[int] = 6

    model: ChatModel
    verifier: Verifier = LexicalVerifier()
    prompt: str = "grounded"
    language: str | None = Field(None, min_length=1, max_length=100)
    budget: int = Field(3_000, ge=64)
    order: Order = "relevance"
    unsupported: Literal["flag", "drop", "repair", "abstain"] = "flag"
    required: float = Field(0.0, ge=0, le=1)
    relevance: float = Field(0.0, ge=0, le=2)
    answerability: float = Field(0.0, ge=0, le=1)
    fallback: Generator | None = ExtractiveGenerator(answerability=0.5)
    embedder: Embedder = StaticEmbedder()

    def answer(
        self, question: str | Query, hits: Sequence[Hit], history: Sequence[Message] = ()
    ) -> Answer:
        """See `Generator.answer`."""
        return last_answer(self._generate_events(Query.of(question), hits, history, live=False))

    def stream(
        self, question: str | Query, hits: Sequence[Hit], history: Sequence[Message] = ()
    ) -> Iterator[Event]:
        """See `Generator.stream`.

        With ``flag``, words are streamed as the model writes them, and markers when their sentence
        is checked. With ``drop``, sentences are streamed when they are checked. With ``repair`` and
        ``abstain``, and with models whose providers cite, all text is streamed at the end, since it
        can change until then.
        """
        return self._generate_events(Query.of(question), hits, history, live=True)

    def extract(
        self, question: str | Query, hits: Sequence[Hit], model: type[Model]
    ) -> Extraction[Model]:
        """Fill in `model` from the passages; see `rag.generation.extraction`.

        Raises `QueryError` if there are no passages to fill it in from, and `ModelReplyError` if
        the model's reply does not fit it.
        """
        from rag.generation.extraction import extract

        query = Query.of(question)
        packed = self._pack_passages(query, hits, (), self.budget)
        if reason := self._explain_missing_evidence(query, packed, hits):
            raise QueryError(f"{model.__name__} cannot be filled in: {reason}")
        while True:
            try:
                return extract(
                    str(query), packed, hits, model, chat=self.model, verifier=self.verifier
                )
            except ModelContextExceeded:
                packed = self._pack_half(query, hits, (), packed)
                if not packed.passages:
                    raise

    # -- preparing the request -------------------------------------------------------------

    def _generate_events(
        self, query: Query, hits: Sequence[Hit], history: Sequence[Message], *, live: bool
    ) -> Iterator[Event]:
        history = self._prepare_history(history)
        packed = self._pack_passages(query, hits, history, self.budget)
        if reason := self._explain_missing_evidence(query, packed, hits):
            closest = self._find_closest(query, packed.passages)
            answer = abstention(reason, hits, closest=closest)
            yield from replay_events(answer)
            yield AnswerCompleted(answer=answer)
            return
        has_started = False
        while True:
            attempt = self._prepare_attempt(str(query), hits, history, packed)
            try:
                for event in self._run_attempt(attempt, live=live):
                    has_started = True
                    yield event
                return
            except ModelContextExceeded:
                history_tokens = sum(self.model.count_tokens(m.content) for m in history)
                history = history[(len(history) + 1) // 2 :]
                if history_tokens <= packed.tokens:  # else the conversation alone is in the way
                    packed = self._pack_half(query, hits, history, packed)
                if has_started or not packed.passages:
                    raise

    def _prepare_history(self, history: Sequence[Message]) -> list[Message]:
        """Return the conversation, escaped and cut to at most half of the model's context.

        A model whose context is not known is taken to have a small one.
        """
        messages_for_model = [
            Message(role=message.role, content=escape_prompt_markup(strip_markers(message.content)))
            for message in history
        ]
        context_tokens = self.model.context_tokens or ASSUMED_CONTEXT_TOKENS
        history_tokens = (context_tokens - self.model.reply_tokens - _PROMPT_OVERHEAD_TOKENS) // 2
        token_counts = [self.model.count_tokens(message.content) for message in messages_for_model]
        while messages_for_model and sum(token_counts) > history_tokens:
            del messages_for_model[0], token_counts[0]
        return messages_for_model

    def _pack_passages(
        self, query: Query, hits: Sequence[Hit], history: Sequence[Message], budget: int
    ) -> PackedPassages:
        context_tokens = self.model.context_tokens
        if context_tokens is not None:
            reserved_tokens = sum(self.model.count_tokens(message.content) for message in history)
            reserved_tokens += (
                self.model.count_tokens(str(query))
                + _PROMPT_OVERHEAD_TOKENS
                + self.model.reply_tokens
            )
            budget = min(budget, context_tokens - reserved_tokens)
        return pack(hits, budget, self.model.count_tokens, self.order)

    def _pack_half(
        self, query: Query, hits: Sequence[Hit], history: Sequence[Message], packed: PackedPassages
    ) -> PackedPassages:
        """Pack half as many tokens as were too long for the model; in the end no passage fits."""
        return self._pack_passages(query, hits, history, packed.tokens // 2)

    def _explain_missing_evidence(
        self, query: Query, packed: PackedPassages, hits: Sequence[Hit]
    ) -> str:
        """Return the reason not to call a model; empty if there is enough evidence."""
        if not hits:
            return "nothing was retrieved"
        if not packed.passages:
            return (
                f"no passage fits: the shortest has {packed.shortest_hit_tokens} tokens, and "
                f"{packed.budget} are available for passages"
            )
        if self.relevance or self.answerability:
            respelt = respell_question(query, packed.passages, self.embedder)
            candidates = rank_candidates(respelt, packed.passages, self.embedder)
            best_relevance = max((candidate.relevance for candidate in candidates), default=0.0)
            answerability = estimate_answerability(candidates[0].score) if candidates else 0.0
            if best_relevance < self.relevance or answerability < self.answerability:
                return explain_missing_answer(query.text, packed.passages, answerability)
        return ""

    def _find_closest(
        self, query: Query, passages: Sequence[Passage]
    ) -> tuple[ClosestPassage, ...]:
        return find_closest_passages(query, rank_candidates(query, passages, self.embedder))

    def _prepare_attempt(
        self, question: str, hits: Sequence[Hit], history: Sequence[Message], packed: PackedPassages
    ) -> _Attempt:
        passages = packed.passages
        prompt_passages = [] if self.model.cites else build_prompt_passages(passages)
        inputs = {
            "question": question,
            "passages": prompt_passages,
            "boundary": make_boundary(question, passages),
            "history": history,
            "no_answer": NO_ANSWER,
            "language": self.language or "",
        }
        prompt_messages, identity = render_prompt(self.prompt, **inputs)
        return _Attempt(
            question=question,
            messages=prompt_messages,
            sources=[
                Source(escape_prompt_markup(p.label), escape_prompt_markup(p.text_for_model))
                for p in passages
            ],
            prompt=PromptIdentity(**identity),
            packed=packed,
            hits=tuple(hits),
        )

    # -- generating and checking -----------------------------------------------------------

    def _run_attempt(self, attempt: _Attempt, *, live: bool) -> Iterator[Event]:
        streams_events = live and self.unsupported in ("flag", "drop") and not self.model.cites
        writer = self._make_writer(attempt, live=streams_events)
        has_streamed_thoughts = False
        start_time = time.perf_counter()
        checking_seconds = 0.0
        completion = Completion("")
        if live:
            deltas = self.model.stream(attempt.messages, sources=attempt.sources)
            with close_at_end(deltas):
                for delta in deltas:
                    completion = delta.completion or completion
                    if streams_events:
                        check_start = time.perf_counter()
                        if delta.restarts:
                            writer = self._make_writer(attempt, live=False)
                            has_streamed_thoughts = True
                        events = list(writer.feed(delta.text))
                        checking_seconds += time.perf_counter() - check_start
                        if not has_streamed_thoughts:  # else the answer comes at the end
                            yield from events
        else:
            completion = self.model.complete(attempt.messages, sources=attempt.sources)
        model_seconds = time.perf_counter() - start_time - checking_seconds
        attempt.record_call(completion, model_seconds)
        check_start = time.perf_counter()
        if not streams_events:
            writer.native = completion.citations
            writer.feed(completion.text)
        events = list(writer.finish())
        attempt.checking_seconds = checking_seconds + time.perf_counter() - check_start
        cited = writer.result
        if self.unsupported == "repair":
            cited = self._repair_draft(attempt, completion, cited)
        answer = self._build_answer(attempt, completion, cited)
        if has_streamed_thoughts and not answer.reason:
            reason = "the model's thoughts came first, without a mark, and are withdrawn"
            answer = answer.model_copy(update={"reason": reason})
        if not has_streamed_thoughts:
            yield from events if streams_events else replay_events(answer)
        yield AnswerCompleted(answer=answer)

    def _make_writer(self, attempt: _Attempt, *, live: bool) -> CitationWriter:
        return CitationWriter(
            attempt.packed.passages,
            self.verifier,
            live=live and self.unsupported == "flag",
            drop=self.unsupported == "drop",
            question=attempt.question,
        )

    def _repair_draft(
        self, attempt: _Attempt, completion: Completion, cited: CitedText
    ) -> CitedText:
        """Ask the model once more, naming the failing sentences; drop those that fail again."""
        failing = [
            strip_markers(cited.text[sentence.start : sentence.end])
            for sentence in cited.sentences
            if sentence.is_rejected
        ]
        if not failing or _is_refusal_draft(completion.text):
            return cited
        repair_messages = [
            *attempt.messages,
            Message(role="assistant", content=completion.text),
            *render_messages("repair", failing=failing, no_answer=NO_ANSWER),
        ]
        start_time = time.perf_counter()
        try:
            second_completion = self.model.complete(repair_messages, sources=attempt.sources)
        except ModelContextExceeded:  # the draft and the repair prompt make it longer
            second_completion = Completion("")
        seconds = time.perf_counter() - start_time
        passages = attempt.packed.passages

        def check_reply(reply: Completion) -> CitedText:
            return cite(
                reply.text,
                passages,
                self.verifier,
                drop=True,
                native=reply.citations,
                question=attempt.question,
            )

        repaired = check_reply(second_completion)
        if not any(sentence.is_supported for sentence in repaired.sentences):
            repaired = check_reply(completion)
        attempt.record_call(second_completion, seconds, failing)
        return repaired

    def _build_answer(self, attempt: _Attempt, completion: Completion, cited: CitedText) -> Answer:
        """Build the answer, or the abstention with its reason."""
        draft = completion.text.strip()
        claims = [sentence for sentence in cited.sentences if sentence.status != "needs_none"]
        reason = self._find_abstention_reason(completion, draft, cited, claims)
        check_step = CheckStep(
            name="check",
            seconds=attempt.checking_seconds,
            verifier=self.verifier.config(),
            sentences=len(claims),
            supported=sum(sentence.is_supported for sentence in claims),
            dropped_markers=cited.dropped_markers,
            attributed=cited.attributed,
            removed_links=cited.removed_links,
            dropped=cited.dropped,
            draft=draft if reason or draft != cited.text else None,
        )
        trace = (*attempt.steps, check_step)
        if reason and (quoted := self._answer_by_fallback(attempt, completion)) is not None:
            usage = attempt.usage + quoted.usage
            changes = {
                "reason": f"quoted from the sources, since {reason}",
                "usage": usage,
                "trace": (*trace, *quoted.trace),
            }
            return quoted.model_copy(update=changes)
        if reason:
            closest = self._find_closest(Query(attempt.question), attempt.packed.passages)
            return abstention(
                reason, attempt.hits, closest=closest, usage=attempt.usage, trace=trace
            )
        return Answer(
            text=cited.text,
            status="answered",
            sentences=cited.sentences,
            citations=cited.citations,
            hits=attempt.hits,
            usage=attempt.usage,
            trace=trace,
        )

    def _answer_by_fallback(self, attempt: _Attempt, completion: Completion) -> Answer | None:
        """Return the answer of the fallback; None if it abstains, or must not answer."""
        is_refused = completion.finish_reason == "refusal"
        if self.fallback is None or self.unsupported == "abstain" or is_refused:
            return None
        answer = self.fallback.answer(attempt.question, attempt.hits)
        return answer if answer.status == "answered" else None

    def _find_abstention_reason(
        self, completion: Completion, draft: str, cited: CitedText, claims: Sequence[Sentence]
    ) -> str:
        """Return the reason to abstain; empty if the answer is good."""
        if completion.finish_reason == "refusal":
            words = remove_all_links(" ".join(draft.split()))
            return f"the model refused to answer: {words[:200]}"
        if not draft:
            return "the model gave an empty reply"
        if not any(_has_answer(sentence, cited) for sentence in claims):
            if _is_refusal_draft(draft):
                return "the model found no answer in the passages"
            return "no sentence of the model's draft is supported by the passages"
        supported = sum(sentence.is_supported for sentence in claims)
        total = len(claims) + len(cited.dropped)
        if supported < self.required * total:
            return (
                f"{supported} of {total} sentences of the model's draft are supported by "
                f"the passages; the required share is {self.required:g}"
            )
        failing = [sentence for sentence in claims if sentence.is_rejected]
        if self.unsupported == "abstain" and failing:
            first_failing = cited.text[failing[0].start : failing[0].end]
            return f"not supported by the passages: {' '.join(first_failing.split())[:200]}"
        return ""


@dataclass(slots=True)
class _Attempt:
    """A request to the model, with its steps and usage so far."""

    question: str
    messages: list[Message]
    sources: list[Source]
    prompt: PromptIdentity
    packed: PackedPassages
    hits: tuple[Hit, ...]
    steps: list[TraceStep] = field(default_factory=list)
    usage: Usage = field(default_factory=Usage)
    checking_seconds: float = 0.0

    def record_call(
        self, completion: Completion, seconds: float, failing: Sequence[str] = ()
    ) -> None:
        """Record a call of the model, or its second call, which repairs the `failing` sentences."""
        self.usage += completion.usage
        fields: dict[str, Any] = {
            "seconds": seconds,
            "prompt": self.prompt,
            "passages": len(self.packed.passages),
            "left_out": self.packed.omitted_hits,
            "finish_reason": completion.finish_reason,
            "thoughts": completion.thoughts or None,
        }
        if failing:
            self.steps.append(RepairStep(name="repair", failing=tuple(failing), **fields))
        else:
            self.steps.append(GenerateStep(name="generate", **fields))


def _is_refusal_draft(draft: str) -> bool:
    return starts_with_refusal(draft) or NO_ANSWER in draft


def _has_answer(sentence: Sentence, cited: CitedText) -> bool:
    """Whether a sentence contains an answer.

    A sentence that begins with "The passages do not mention it" does only if the model itself cites
    a passage that supports the rest of the sentence.
    """
    if not sentence.is_supported:
        return False
    by_model = any(cited.citations[i].method != "attribution" for i in sentence.citations)
    return by_model or not starts_with_refusal(cited.text[sentence.start : sentence.end])


def with_chat_model(generator: Generator, model: str) -> Generator:
    """Return a generator with the chat model of this name; ``none`` is the extractive generator.

    A grounded generator keeps its other settings. Raises `ConfigError`.
    """
    if model == "none":
        return ExtractiveGenerator()
    if isinstance(generator, GroundedGenerator):
        return generator.replace(model=model)
    return GroundedGenerator.from_config({"model": model})
