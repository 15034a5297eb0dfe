"""A conversation with the documents of an index."""

from __future__ import annotations

import datetime
import secrets
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

from rag.concurrency import iterate_in_threads
from rag.conversation.store import ConversationStore, Turn
from rag.embedding import Embedder
from rag.errors import QueryError
from rag.filters import Where
from rag.generation import AnswerCompleted, Event, Generator, last_answer
from rag.generation.links import remove_uncited_links
from rag.text.tokens import count_tokens
from rag.types import Answer, Citation, CondenseStep, Message, to_well_formed

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_MIN_RECALL_SIMILARITY = 0.3  # cosine above which an earlier turn has the same topic
_RECALL_BUDGET_SHARE = 0.4  # of the history budget, reserved for recalled earlier turns
_MAX_NAME_CHARACTERS = 200
_MAX_EMBEDDED_CHARACTERS = 2_000  # of a turn
_TOKENS_PER_MESSAGE = 4  # overhead of the role and separators of a chat message


class AnsweringPipeline(Protocol):
    """The members of a pipeline that a conversation uses."""

    @property
    def embedder(self) -> Embedder:
        """Embedder of the vectors of turns."""

    @property
    def generator(self) -> Generator:
        """Generator, which knows whether it streams answers."""

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
    """A series of questions and answers that is saved in a store.

    `name` identifies the conversation in the store. An unknown name starts a new conversation;
    without a name, one is generated. The pipeline's ``condenser`` rewrites a follow-up as a
    standalone question.

    The model receives the latest turns that fit into `history_tokens`. If not all turns fit, up to
    two fifths of that budget go to earlier turns that are most similar to the question. Up to
    `evidence` citations of these turns are evidence for the next answer: their chunks are added to
    the retrieved ones if the index still has them.

    A turn is saved when its answer is complete. Use a conversation in one thread at a time.
    """

    def __init__(
        self,
        pipeline: AnsweringPipeline,
        store: ConversationStore,
        name: str | None = None,
        *,
        history_tokens: int = 1_500,
        evidence: int = 3,
    ) -> None:
        self.name = _generate_name() if name is None else validate_conversation_name(name)
        self.history_tokens = history_tokens
        self.evidence = evidence
        self._pipeline = pipeline
        self._store = store

    @property
    def writes_markdown(self) -> bool:
        """Whether a model writes the answers; quotes are no Markdown."""
        return self._pipeline.generator.streams

    @property
    def turns(self) -> list[Turn]:
        """Turns of the conversation, oldest first."""
        return self._store.turns(self.name)

    def ask(
        self, question: str, *, where: Where | None = None, replaces: int | None = None
    ) -> Answer:
        """Answer the next question; see `rag.Pipeline.ask`, and `stream` for `replaces`."""
        return last_answer(self.stream(question, where=where, replaces=replaces))

    def stream(
        self, question: str, *, where: Where | None = None, replaces: int | None = None
    ) -> Iterator[Event]:
        """Answer the next question as a stream of events; see `rag.Pipeline.stream`.

        With `replaces`, the question takes the place of the turn with this number and of all turns
        after it, when its answer is complete. The last event has the number of the new turn. A
        conversation that is deleted meanwhile stays deleted.
        """
        question = to_well_formed(question)
        all_turns = self.turns
        turns = [turn for turn in all_turns if replaces is None or turn.number < replaces]
        selected_turns = self._select_turns(question, turns)
        history = [message for turn in selected_turns for message in _to_messages(turn)]
        if turns and not selected_turns and count_tokens(turns[-1].question) <= self.history_tokens:
            history = _to_messages(turns[-1])[:1]  # only the question: the answer does not fit
        for event in self._pipeline.stream(
            question, where=where, history=history, evidence=self._collect_evidence(selected_turns)
        ):
            if isinstance(event, AnswerCompleted):
                turn = self._store_turn(question, event.answer, replaces, bool(all_turns))
                event = event.model_copy(update={"turn": turn.number if turn else None})
            yield event

    async def aask(
        self, question: str, *, where: Where | None = None, replaces: int | None = None
    ) -> Answer:
        """Run `ask` without blocking the event loop; a cancelled call stops at the next token."""
        answer: Answer | None = None
        async for event in self.astream(question, where=where, replaces=replaces):
            if isinstance(event, AnswerCompleted):
                answer = event.answer
        assert answer is not None
        return answer

    async def astream(
        self, question: str, *, where: Where | None = None, replaces: int | None = None
    ) -> AsyncIterator[Event]:
        """Run `stream` with each step in a worker thread."""
        at_once = not self._pipeline.generator.streams
        events = self.stream(question, where=where, replaces=replaces)
        async for event in iterate_in_threads(events, at_once=at_once):
            yield event

    def reset(self) -> None:
        """Delete all turns; the name stays."""
        self._store.delete(self.name)

    def transcript(self, show_uri: Callable[[str], str] = str) -> str:
        """Return the conversation as Markdown, each answer with its citations.

        `show_uri` returns a uri in the form to print.
        """
        parts = [f"# {self.name}\n"]
        for turn in self.turns:
            parts.append(f"## {turn.question}\n\n{turn.answer.text}\n")
            if turn.answer.status == "abstained":
                parts.append(f"({turn.answer.reason})\n")
            for citation in sorted(turn.answer.citations, key=lambda c: (c.marker, c.start)):
                quote = " ".join(citation.quote.split())
                quote = remove_uncited_links(
                    quote, is_cited=lambda _: False, is_quoted=lambda _: True
                )
                source = f"{show_uri(citation.uri)}, characters {citation.start}-{citation.end}"
                parts.append(f'- [{citation.marker}] {source}: "{quote}"')
            parts.append("")
        return "\n".join(parts)

    # -- memory ----------------------------------------------------------------------------

    def _select_turns(self, question: str, turns: Sequence[Turn]) -> list[Turn]:
        """Return the turns that the model receives, oldest first."""
        if not turns:
            return []
        costs = {turn.number: _count_turn_tokens(turn) for turn in turns}
        budget = self.history_tokens
        recent: list[Turn] = []
        all_fit = sum(costs.values()) <= budget
        recent_budget = budget if all_fit else budget - int(budget * _RECALL_BUDGET_SHARE)
        for turn in reversed(turns):
            if costs[turn.number] > (budget if not recent else recent_budget):
                break
            recent.append(turn)
            recent_budget -= costs[turn.number]
        older = turns[: len(turns) - len(recent)]
        unused_budget = budget - sum(costs[turn.number] for turn in recent)
        recalled = self._recall_similar_turns(question, older, unused_budget, costs)
        return sorted([*recalled, *recent], key=lambda turn: turn.number)

    def _recall_similar_turns(
        self, question: str, older: Sequence[Turn], budget: int, costs: dict[int, int]
    ) -> list[Turn]:
        """Return the older turns most similar to the question that fit into `budget` tokens."""
        if not older or budget <= 0 or not question.strip():
            return []
        vectors = self._store.vectors(self.name, self._pipeline.embedder.fingerprint)
        query_vector = _normalize(self._pipeline.embedder.embed_query(question))
        similarities = {
            turn.number: float(vectors[turn.number] @ query_vector)
            for turn in older
            if turn.number in vectors and vectors[turn.number].shape == query_vector.shape
        }
        recalled = []
        for turn in sorted(older, key=lambda turn: -similarities.get(turn.number, 0.0)):
            if similarities.get(turn.number, 0.0) < _MIN_RECALL_SIMILARITY:
                break
            if costs[turn.number] <= budget:
                budget -= costs[turn.number]
                recalled.append(turn)
        return recalled

    def _collect_evidence(self, turns: Sequence[Turn]) -> list[Citation]:
        """Return distinct citations of the turns: latest turn first, then highest support first."""
        citations: dict[tuple[str, int], Citation] = {}
        for turn in reversed(turns):
            for citation in sorted(turn.answer.citations, key=lambda c: -c.support):
                citations.setdefault((citation.uri, citation.start), citation)
        return list(citations.values())[: self.evidence]

    def _store_turn(
        self, question: str, answer: Answer, replaces: int | None, must_exist: bool
    ) -> Turn | None:
        embedder = self._pipeline.embedder
        standalone = next(
            (step.question for step in answer.trace if isinstance(step, CondenseStep)),
            question,
        )
        vector = _normalize(
            embedder.embed_query(f"{standalone}\n{answer.text}"[:_MAX_EMBEDDED_CHARACTERS])
        )
        return self._store.add(
            self.name,
            question,
            standalone,
            answer,
            vector,
            embedder.fingerprint,
            replaces=replaces,
            must_exist=must_exist,
        )


def _to_messages(turn: Turn) -> list[Message]:
    return [
        Message(role="user", content=turn.question),
        Message(role="assistant", content=turn.answer.text),
    ]


def _count_turn_tokens(turn: Turn) -> int:
    return sum(
        count_tokens(message.content) + _TOKENS_PER_MESSAGE for message in _to_messages(turn)
    )


def _normalize(vector: NDArray[np.float32]) -> NDArray[np.float32]:
    import numpy as np

    length = float(np.linalg.norm(vector))
    return vector / length if length else vector


def validate_conversation_name(name: str) -> str:
    """Return a name without spaces around it. Raises `QueryError` if it is not valid."""
    if not name.strip() or not name.isprintable() or len(name) > _MAX_NAME_CHARACTERS:
        raise QueryError(
            f"{name[:80]!r} is not a valid name for a conversation: use 1 to "
            f"{_MAX_NAME_CHARACTERS} printable characters"
        )
    return name.strip()


def _generate_name() -> str:
    now = datetime.datetime.now().astimezone()
    return f"{now:%Y-%m-%d-%H%M}-{secrets.token_hex(2)}"
