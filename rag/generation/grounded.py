"""Answers by a chat model, every sentence checked against its source."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

from pydantic import Field

from rag.generation.base import NO_ANSWER, Done, Event, Generator, TextDelta, abstention
from rag.generation.citations import CitedText, cite
from rag.generation.context import Packed, Passage, pack
from rag.llm.base import ChatModel, Completion
from rag.settings import load_settings
from rag.types import Answer, Hit, Message, Sentence, Step, well_formed
from rag.verification import LexicalVerifier, Verifier

_REFUSAL = re.compile(
    r"\W*(?:i\s+(?:do\s*n[o']?t|don’t|cannot|can['’]?t|could\s+not|couldn['’]t)\s+"
    r"(?:know|find|answer|determine)"
    r"|(?:the\s+)?(?:provided\s+|given\s+)?(?:passages?|sources?|documents?|context|text)\s+"
    r"(?:do(?:es)?\s*n[o']t|don’t|doesn’t|do(?:es)?\s+not)\s+"
    r"(?:contain|mention|provide|say|hold|include|answer|specify|give))",
    re.IGNORECASE,
)
_TAG = re.compile(r"<(?=\s*/?\s*passage)", re.IGNORECASE)


class GroundedGenerator(Generator):
    """A chat model answers from numbered passages; every sentence is then checked.

    ``budget`` is the number of tokens for passages, ``prompt`` the template. Markers of passages
    that do not exist are dropped and counted in the trace. Each marked sentence is tied to the
    exact span that supports it best; one that the model forgot to mark gets its citation by
    attribution. If no sentence at all is supported, or the model says that it does not know, the
    answer is abstained from, and the draft stands in the trace.
    """

    name: ClassVar[str] = "grounded"

    model: ChatModel
    verifier: Verifier = LexicalVerifier()
    prompt: str = "grounded"
    budget: int = Field(3_000, ge=64)

    def answer(self, question: str, hits: Sequence[Hit], history: Sequence[Message] = ()) -> Answer:
        """See `Generator.answer`."""
        packed = pack(hits, self.budget, self.model.count_tokens)
        if not packed.passages:
            return self._nothing_to_answer_from(packed, hits)
        messages, identity = self._messages(question, packed.passages, history)
        started = time.perf_counter()
        completion = self.model.complete(messages)
        seconds = time.perf_counter() - started
        return self._checked(completion, packed, hits, identity, seconds)

    def stream(
        self, question: str, hits: Sequence[Hit], history: Sequence[Message] = ()
    ) -> Iterator[Event]:
        """See `Generator.stream`."""
        packed = pack(hits, self.budget, self.model.count_tokens)
        if not packed.passages:
            answer = self._nothing_to_answer_from(packed, hits)
            yield TextDelta(text=answer.text)
            yield Done(answer=answer)
            return
        messages, identity = self._messages(question, packed.passages, history)
        started = time.perf_counter()
        completion = Completion("")
        for delta in self.model.stream(messages):
            if delta.text:
                yield TextDelta(text=delta.text)
            completion = delta.completion or completion
        seconds = time.perf_counter() - started
        yield Done(answer=self._checked(completion, packed, hits, identity, seconds))

    def _nothing_to_answer_from(self, packed: Packed, hits: Sequence[Hit]) -> Answer:
        if packed.left_out:
            reason = f"no passage fits into the budget of {self.budget} tokens"
        else:
            reason = "nothing was retrieved"
        return abstention(reason, hits)

    def _messages(
        self, question: str, passages: Sequence[Passage], history: Sequence[Message]
    ) -> tuple[list[Message], dict[str, str]]:
        import prompts

        prompt = prompts.load(self.prompt, load_settings().prompts)
        rendered = prompt.render(
            question=question,
            passages=[
                {
                    "number": p.number,
                    "label": _inert(p.label).replace('"', "'"),
                    "text": _inert(p.text),
                }
                for p in passages
            ],
            history=list(history),
            no_answer=NO_ANSWER,
        )
        return [Message.model_validate(message) for message in rendered], prompt.identity

    def _checked(
        self,
        completion: Completion,
        packed: Packed,
        hits: Sequence[Hit],
        identity: dict[str, str],
        seconds: float,
    ) -> Answer:
        generated = Step(
            name="generate",
            seconds=seconds,
            detail={
                "prompt": identity,
                "passages": len(packed.passages),
                "left_out": packed.left_out,
                "finish_reason": completion.finish_reason,
            },
        )
        started = time.perf_counter()
        draft = well_formed(completion.text.strip())
        cited = cite(draft, packed.passages, self.verifier)
        detail: dict[str, Any] = {
            "verifier": self.verifier.config(),
            "sentences": len(cited.sentences),
            "supported": sum(sentence.supported for sentence in cited.sentences),
            "dropped_markers": cited.dropped_markers,
            "attributed": cited.attributed,
        }
        reason = ""
        if not draft:
            reason = "the model gave an empty reply"
        elif not any(_holds(sentence, cited) for sentence in cited.sentences):
            if _REFUSAL.match(draft) or NO_ANSWER in draft:
                reason = "the model found no answer in the passages"
            else:
                reason = "no sentence of the model's draft is supported by the passages"
        if reason:
            detail["draft"] = draft
        checked = Step(name="check", seconds=time.perf_counter() - started, detail=detail)
        trace = (generated, checked)
        if reason:
            return abstention(reason, hits, usage=completion.usage, trace=trace)
        return Answer(
            text=cited.text,
            status="answered",
            sentences=cited.sentences,
            citations=cited.citations,
            hits=tuple(hits),
            usage=completion.usage,
            trace=trace,
        )


def _holds(sentence: Sentence, cited: CitedText) -> bool:
    """Whether a sentence answers something.

    "The passages do not mention it" does only where the model itself cites a passage, and that
    supports the rest of the sentence.
    """
    if not sentence.supported:
        return False
    by_model = any(cited.citations[i].method == "marker" for i in sentence.citations)
    return by_model or not _REFUSAL.match(cited.text[sentence.start : sentence.end])


def _inert(text: str) -> str:
    """Text that cannot open or close a passage of its own."""
    return _TAG.sub("‹", text)
