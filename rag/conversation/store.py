"""Storage of conversations in a SQLite file of the index folder."""

from __future__ import annotations

import datetime
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from pydantic import Field, ValidationError

from rag.errors import IndexDamaged, QueryError
from rag.stores.sqlite.private_database import PrivateDatabase
from rag.types import Answer, FrozenModel, Text

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_FORMAT = 1
_SCHEMA = """\
CREATE TABLE IF NOT EXISTS turns (
    conversation TEXT NOT NULL,
    number INTEGER NOT NULL,
    at TEXT NOT NULL,
    question TEXT NOT NULL,
    standalone TEXT NOT NULL,
    answer TEXT NOT NULL,
    embedder TEXT NOT NULL,
    vector BLOB NOT NULL,
    PRIMARY KEY (conversation, number)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS feedback (
    conversation TEXT NOT NULL,
    number INTEGER NOT NULL,
    at TEXT NOT NULL,
    rating TEXT NOT NULL,
    comment TEXT NOT NULL,
    PRIMARY KEY (conversation, number)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS renames (
    old TEXT NOT NULL PRIMARY KEY,
    new TEXT NOT NULL
) WITHOUT ROWID"""


class Turn(FrozenModel):
    """A question of a conversation and its answer.

    ``number`` counts from 1. ``at`` is the time of the answer (ISO 8601, UTC). ``standalone`` is
    the question rewritten as a standalone question.
    """

    number: int = Field(ge=1)
    at: str
    question: Text
    standalone: Text
    answer: Answer


class ConversationInfo(NamedTuple):
    """Summary of a conversation: name, number of turns, time of the last, first question."""

    name: str
    turns: int
    last: str
    first_question: str


class Feedback(FrozenModel):
    """What a person thinks of an answer: ``up`` or ``down``, with a comment."""

    conversation: str
    number: int = Field(ge=1)
    at: str
    rating: Literal["up", "down"]
    comment: Text = ""


class ConversationStore:
    """Conversations in the SQLite file `path`, which the first write creates.

    Threads and processes may share a store. Methods raise `IndexDamaged` if the file is not a
    database.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._database = PrivateDatabase(path, _SCHEMA, _FORMAT, "conversations")

    def add(
        self,
        conversation: str,
        question: str,
        standalone: str,
        answer: Answer,
        vector: NDArray[np.float32],
        embedder: str,
        *,
        replaces: int | None = None,
        must_exist: bool = False,
    ) -> Turn | None:
        """Append a turn to a conversation, and return it.

        With `replaces`, it takes the place of the turn with this number and of all after it. With
        `must_exist`, nothing is added to a conversation without turns, and None is returned; one
        that was renamed since its last turn gets the turn under its new name.
        """
        timestamp = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        with self._database.transaction(write=True) as connection:
            if must_exist:
                current_name = _find_current_name(connection, conversation)
                if current_name is None:
                    return None
                conversation = current_name
            if replaces is not None:
                _delete_turns(connection, conversation, replaces)
            ((last_number,),) = connection.execute(
                "SELECT coalesce(max(number), 0) FROM turns WHERE conversation = ?", (conversation,)
            )
            turn = Turn(
                number=last_number + 1,
                at=timestamp,
                question=question,
                standalone=standalone,
                answer=answer,
            )
            connection.execute(
                "INSERT INTO turns VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    conversation,
                    turn.number,
                    timestamp,
                    turn.question,
                    turn.standalone,
                    answer.model_dump_json(),
                    embedder,
                    vector.astype("<f4").tobytes(),
                ),
            )
        return turn

    def turns(self, conversation: str) -> list[Turn]:
        """Return the turns of a conversation, oldest first; none for an unknown name."""
        with self._database.transaction() as connection:
            rows = connection.execute(
                "SELECT number, at, question, standalone, answer FROM turns"
                " WHERE conversation = ? ORDER BY number",
                (conversation,),
            ).fetchall()
        try:
            return [
                Turn(
                    number=number,
                    at=timestamp,
                    question=question,
                    standalone=standalone,
                    answer=Answer.model_validate_json(answer),
                )
                for number, timestamp, question, standalone, answer in rows
            ]
        except ValidationError as error:
            raise IndexDamaged(
                f"{self.path} has a turn that cannot be read ({error.error_count()} errors); "
                "delete the conversation with: rag conversations delete",
                path=self.path,
            ) from None

    def vectors(self, conversation: str, embedder: str) -> dict[int, NDArray[np.float32]]:
        """Return the vectors of the turns by their numbers, without those of other embedders."""
        import numpy as np

        with self._database.transaction() as connection:
            rows = connection.execute(
                "SELECT number, vector FROM turns WHERE conversation = ? AND embedder = ?",
                (conversation, embedder),
            ).fetchall()
        return {number: np.frombuffer(vector, dtype="<f4") for number, vector in rows}

    def conversations(self, text: str = "") -> list[ConversationInfo]:
        """Return all conversations, the latest first.

        With `text`, only those whose name, questions or answers contain it, in any case.
        """
        with self._database.transaction() as connection:
            connection.create_function("has_text", 1, lambda value: text.casefold() in value)
            connection.create_function("casefold", 1, str.casefold)
            rows: Sequence[tuple[str, int, str, str]] = connection.execute(
                "SELECT conversation, count(*), max(at), (SELECT question FROM turns f"
                " WHERE f.conversation = t.conversation ORDER BY number LIMIT 1)"
                " FROM turns t GROUP BY conversation"
                " HAVING max(has_text(casefold(conversation || char(10) || question || char(10) ||"
                " coalesce(json_extract(answer, '$.text'), ''))))"
                " ORDER BY max(at) DESC, conversation"
            ).fetchall()
        return [ConversationInfo(*row) for row in rows]

    def rename(self, conversation: str, name: str) -> int:
        """Give a conversation another name; return its number of turns, 0 if there is none.

        Raises `QueryError` if the name is taken.
        """
        try:
            with self._database.transaction(write=True) as connection:
                connection.execute(
                    "UPDATE feedback SET conversation = ? WHERE conversation = ?",
                    (name, conversation),
                )
                turn_count = connection.execute(
                    "UPDATE turns SET conversation = ? WHERE conversation = ?",
                    (name, conversation),
                ).rowcount
                connection.execute("DELETE FROM renames WHERE old = ?", (name,))
                if turn_count and name != conversation:
                    connection.execute(
                        "INSERT OR REPLACE INTO renames VALUES (?, ?)", (conversation, name)
                    )
                return turn_count
        except sqlite3.IntegrityError:
            raise QueryError(f"a conversation is called {name!r} already") from None

    def give_feedback(
        self, conversation: str, number: int, rating: Literal["up", "down"] | None, comment: str
    ) -> bool:
        """Store what a person thinks of a turn, or forget it; return whether the turn exists."""
        timestamp = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        with self._database.transaction(write=True) as connection:
            turn = (conversation, number)
            exists = connection.execute(
                "SELECT 1 FROM turns WHERE conversation = ? AND number = ?", turn
            ).fetchone()
            connection.execute("DELETE FROM feedback WHERE conversation = ? AND number = ?", turn)
            if exists and rating is not None:
                connection.execute(
                    "INSERT INTO feedback VALUES (?, ?, ?, ?, ?)",
                    (*turn, timestamp, rating, comment),
                )
        return exists is not None

    def feedback(self, conversation: str | None = None) -> list[Feedback]:
        """Return the feedback on a conversation, or on all, the oldest first."""
        if not self._database.exists:
            return []
        with self._database.transaction(write=True) as connection:  # adds the table to older files
            rows = connection.execute(
                "SELECT conversation, number, at, rating, comment FROM feedback"
                " WHERE ?1 IS NULL OR conversation = ?1 ORDER BY at, conversation, number",
                (conversation,),
            ).fetchall()
        names = ("conversation", "number", "at", "rating", "comment")
        return [Feedback(**dict(zip(names, row, strict=True))) for row in rows]

    def count(self) -> int:
        """Return the number of conversations."""
        with self._database.transaction() as connection:
            row = connection.execute("SELECT count(DISTINCT conversation) FROM turns").fetchone()
            return int(row[0])

    def delete(self, conversation: str, first: int = 1) -> int:
        """Delete a conversation, or its turns from number `first` on; return their number."""
        with self._database.transaction(write=True) as connection:
            turns = (conversation, first)
            connection.execute("DELETE FROM feedback WHERE conversation = ? AND number >= ?", turns)
            if first == 1:
                connection.execute("DELETE FROM renames WHERE new = ?", (conversation,))
            return connection.execute(
                "DELETE FROM turns WHERE conversation = ? AND number >= ?", turns
            ).rowcount


def _find_current_name(connection: sqlite3.Connection, conversation: str) -> str | None:
    """Return the name of the conversation that has, or had, this name; None without turns."""
    seen: set[str] = set()
    while conversation not in seen:
        seen.add(conversation)
        if connection.execute(
            "SELECT 1 FROM turns WHERE conversation = ?", (conversation,)
        ).fetchone():
            return conversation
        row = connection.execute(
            "SELECT new FROM renames WHERE old = ?", (conversation,)
        ).fetchone()
        if row is None:
            return None
        (conversation,) = row
    return None


def _delete_turns(connection: sqlite3.Connection, conversation: str, first: int) -> int:
    """Delete the turns from number `first` on, with their feedback; return their number."""
    turns = (conversation, first)
    connection.execute("DELETE FROM feedback WHERE conversation = ? AND number >= ?", turns)
    return connection.execute(
        "DELETE FROM turns WHERE conversation = ? AND number >= ?", turns
    ).rowcount
