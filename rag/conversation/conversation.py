"""A conversation with the documents of an index."""

from __future__ import annotations

import datetime
import secrets
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

from rag.concurrency import iterate_in_threads
from rag.conversation.store import ConversationStore, Turn
from rag.embedding import Embedder
from rag.errors import QueryError
from rag.filters import Where
from rag.generation import AnswerCompleted, Event, Generator, last_answer
from rag.generation.links import without_links
from rag.text.tokens import count_tokens
from rag.types import Answer, Citation, Message, well_formed

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_LIKE = 0.3  # cosine from which an earlier turn is about the same thing
_RECALLED = 0.4  # share of the budget that is kept for earlier turns
_LONGEST_NAME = 200


class Answering(Protocol):
    """What a conversation needs of a pipeline."""

    @property
    def embedder(self) -> Embedder:
        """Vectors of turns are made with it."""

    @property
    def generator(self) -> Generator:
        """It says whether an answer comes in pieces."""

    def stream(
        self,
        question: str,
        *,
        where: Where | None = None,
        history: Sequence[Message] = (),
        evidence: Sequence[Citation] = (),
    ) -> Iterator[Event]:
        """See `rag.Pipeline.stream`."""


class Conversation:
    """Questions and answers that know of each other, kept in a store.

    `name` names it there; one that is not known begins anew, and without a name a new one is
    made up. What a question is understood to mean is the pipeline's to say (its ``condenser``).

    The latest turns are given to the model as far as they fit into `history_tokens`; of those
    that do not fit, the ones most like the question, in up to two fifths of it. The citations of
    these turns are evidence for the next answer too, up to `evidence` of them: their chunks are
    added to what is retrieved, where they still stand in the index.

    A turn is kept when its answer is whole. May be used by one thread at a time.
    """

    def __init__(
        self,
        pipeline: Answering,
        store: ConversationStore,
        name: str | None = None,
        *,
        history_tokens: int = 1_500,
        evidence: int = 3,
    ) -> None:
        self.name = _made_up() if name is None else _checked(name)
        self.history_tokens = history_tokens
        self.evidence = evidence
        self._pipeline = pipeline
        self._store = store

    @property
    def turns(self) -> list[Turn]:
        """What was said so far, oldest first."""
        return self._store.turns(self.name)

    def ask(self, question: str, *, where: Where | None = None) -> Answer:
        """Answer the next question; see `rag.Pipeline.ask`."""
        return last_answer(self.stream(question, where=where))

    def stream(self, question: str, *, where: Where | None = None) -> Iterator[Event]:
        """`ask` piece by piece; see `rag.Pipeline.stream`."""
        question = well_formed(question)
        turns = self.turns
        remembered = self._remembered(question, turns)
        history = [message for turn in remembered for message in _messages(turn)]
        if turns and not remembered and count_tokens(turns[-1].question) <= self.history_tokens:
            history = _messages(turns[-1])[:1]  # what it was about, if not what was said
        for event in self._pipeline.stream(
            question, where=where, history=history, evidence=self._evidence(remembered)
        ):
            if isinstance(event, AnswerCompleted):
                self._keep(question, event.answer)
            yield event

    async def aask(self, question: str, *, where: Where | None = None) -> Answer:
        """`ask` without blocking the event loop; cancelled, it stops at the next token."""
        answer: Answer | None = None
        async for event in self.astream(question, where=where):
            if isinstance(event, AnswerCompleted):
                answer = event.answer
        assert answer is not None
        return answer

    async def astream(self, question: str, *, where: Where | None = None) -> AsyncIterator[Event]:
        """`stream`, each step of it in a worker thread."""
        at_once = not self._pipeline.generator.streams
        async for event in iterate_in_threads(self.stream(question, where=where), at_once=at_once):
            yield event

    def reset(self) -> None:
        """Forget what was said; the name stays."""
        self._store.delete(self.name)

    def transcript(self) -> str:
        """The conversation as Markdown, each answer with its citations."""
        parts = [f"# {self.name}\n"]
        for turn in self.turns:
            parts.append(f"## {turn.question}\n\n{turn.answer.text}\n")
            if turn.answer.status == "abstained":
                parts.append(f"({turn.answer.reason})\n")
            for cited in sorted(turn.answer.citations, key=lambda c: (c.marker, c.start)):
                quote = " ".join(cited.quote.split())
                quote = without_links(quote, cited=lambda _: False, quoted=lambda _: True)
                place = f"{cited.uri}, characters {cited.start}-{cited.end}"
                parts.append(f'- [{cited.marker}] {place}: "{quote}"')
            parts.append("")
        return "\n".join(parts)

    # -- memory ----------------------------------------------------------------------------

    def _remembered(self, question: str, turns: Sequence[Turn]) -> list[Turn]:
        """Turns that are told to the model, oldest first."""
        if not turns:
            return []
        costs = {turn.number: _cost(turn) for turn in turns}
        whole = self.history_tokens
        recent: list[Turn] = []
        everything = sum(costs.values()) <= whole
        room = whole if everything else whole - int(whole * _RECALLED)
        for turn in reversed(turns):
            if costs[turn.number] > (whole if not recent else room):
                break
            recent.append(turn)
            room -= costs[turn.number]
        older = turns[: len(turns) - len(recent)]
        recalled = self._alike(question, older, whole - sum(costs[t.number] for t in recent), costs)
        return sorted([*recalled, *recent], key=lambda turn: turn.number)

    def _alike(
        self, question: str, older: Sequence[Turn], room: int, costs: dict[int, int]
    ) -> list[Turn]:
        """Those of the older turns that are most like the question, as far as they fit."""
        if not older or room <= 0 or not question.strip():
            return []
        vectors = self._store.vectors(self.name, self._pipeline.embedder.fingerprint)
        asked = _unit(self._pipeline.embedder.embed_query(question))
        likeness = {
            turn.number: float(vectors[turn.number] @ asked)
            for turn in older
            if turn.number in vectors and vectors[turn.number].shape == asked.shape
        }
        found = []
        for turn in sorted(older, key=lambda turn: -likeness.get(turn.number, 0.0)):
            if likeness.get(turn.number, 0.0) < _LIKE:
                break
            if costs[turn.number] <= room:
                room -= costs[turn.number]
                found.append(turn)
        return found

    def _evidence(self, remembered: Sequence[Turn]) -> list[Citation]:
        """What the turns cited, the latest first, best supporting first, no place twice."""
        found: dict[tuple[str, int], Citation] = {}
        for turn in reversed(remembered):
            for cited in sorted(turn.answer.citations, key=lambda c: -c.support):
                found.setdefault((cited.uri, cited.start), cited)
        return list(found.values())[: self.evidence]

    def _keep(self, question: str, answer: Answer) -> None:
        embedder = self._pipeline.embedder
        standalone = next(
            (str(step.detail["question"]) for step in answer.trace if step.name == "condense"),
            question,
        )
        vector = _unit(embedder.embed_query(f"{standalone}\n{answer.text}"[:_LONGEST]))
        self._store.add(self.name, question, standalone, answer, vector, embedder.fingerprint)


_LONGEST = 2_000  # characters of a turn that its vector is made of


def _messages(turn: Turn) -> list[Message]:
    return [
        Message(role="user", content=turn.question),
        Message(role="assistant", content=turn.answer.text),
    ]


def _cost(turn: Turn) -> int:
    return sum(count_tokens(message.content) + 4 for message in _messages(turn))


def _unit(vector: NDArray[np.float32]) -> NDArray[np.float32]:
    import numpy as np

    length = float(np.linalg.norm(vector))
    return vector / length if length else vector


def _checked(name: str) -> str:
    if not name.strip() or not name.isprintable() or len(name) > _LONGEST_NAME:
        raise QueryError(
            f"{name[:80]!r} is no name for a conversation: 1 to {_LONGEST_NAME} printable "
            "characters"
        )
    return name.strip()


def _made_up() -> str:
    now = datetime.datetime.now().astimezone()
    return f"{now:%Y-%m-%d-%H%M}-{secrets.token_hex(2)}"
