"""Where conversations are kept: a SQLite file beside the index's library."""

from __future__ import annotations

import datetime
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pydantic import Field, ValidationError

from rag.errors import IndexDamaged, RagIndexError
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
) WITHOUT ROWID"""


class Turn(FrozenModel):
    """A question of a conversation and its answer.

    ``number`` counts from 1, ``at`` is when it was answered (ISO 8601, UTC); ``standalone`` is the
    question as it is understood by itself.
    """

    number: int = Field(ge=1)
    at: str
    question: Text
    standalone: Text
    answer: Answer


class ConversationInfo(NamedTuple):
    """A conversation in a list: its name, its number of turns, and when the last was."""

    name: str
    turns: int
    last: str
    first_question: str


class ConversationStore:
    """Conversations in the SQLite file `path`, made when first written to.

    May be shared by threads, and by processes. Raises `IndexDamaged` where the file is not one.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def add(
        self,
        conversation: str,
        question: str,
        standalone: str,
        answer: Answer,
        vector: NDArray[np.float32],
        embedder: str,
    ) -> Turn:
        """Keep a turn behind the others of its conversation."""
        at = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        with self._connection(write=True) as connection:
            ((last,),) = connection.execute(
                "SELECT coalesce(max(number), 0) FROM turns WHERE conversation = ?", (conversation,)
            )
            turn = Turn(
                number=last + 1, at=at, question=question, standalone=standalone, answer=answer
            )
            connection.execute(
                "INSERT INTO turns VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    conversation,
                    turn.number,
                    at,
                    turn.question,
                    turn.standalone,
                    answer.model_dump_json(),
                    embedder,
                    vector.astype("<f4").tobytes(),
                ),
            )
        return turn

    def turns(self, conversation: str) -> list[Turn]:
        """Turns of a conversation, oldest first; none of one that is not known."""
        with self._connection() as connection:
            rows = connection.execute(
                "SELECT number, at, question, standalone, answer FROM turns"
                " WHERE conversation = ? ORDER BY number",
                (conversation,),
            ).fetchall()
        try:
            return [
                Turn(
                    number=number,
                    at=at,
                    question=question,
                    standalone=standalone,
                    answer=Answer.model_validate_json(answer),
                )
                for number, at, question, standalone, answer in rows
            ]
        except ValidationError as error:
            raise IndexDamaged(
                f"{self.path} holds a turn that cannot be read ({error.error_count()} faults); "
                "delete the conversation: rag conversations delete"
            ) from None

    def vectors(self, conversation: str, embedder: str) -> dict[int, NDArray[np.float32]]:
        """Vectors of the turns, by their numbers; those of other embedders are left out."""
        import numpy as np

        with self._connection() as connection:
            rows = connection.execute(
                "SELECT number, vector FROM turns WHERE conversation = ? AND embedder = ?",
                (conversation, embedder),
            ).fetchall()
        return {number: np.frombuffer(vector, dtype="<f4") for number, vector in rows}

    def conversations(self) -> list[ConversationInfo]:
        """All conversations, the latest first."""
        with self._connection() as connection:
            rows: Sequence[tuple[str, int, str, str]] = connection.execute(
                "SELECT conversation, count(*), max(at), (SELECT question FROM turns f"
                " WHERE f.conversation = t.conversation ORDER BY number LIMIT 1)"
                " FROM turns t GROUP BY conversation ORDER BY max(at) DESC, conversation"
            ).fetchall()
        return [ConversationInfo(*row) for row in rows]

    def delete(self, conversation: str) -> int:
        """Forget a conversation; returns how many turns it had."""
        with self._connection(write=True) as connection:
            return connection.execute(
                "DELETE FROM turns WHERE conversation = ?", (conversation,)
            ).rowcount

    @contextmanager
    def _connection(self, *, write: bool = False) -> Iterator[sqlite3.Connection]:
        """A connection for one transaction: nothing of it is kept where it fails."""
        there = self.path.is_file()
        try:
            with closing(
                sqlite3.connect(
                    self.path if write or there else ":memory:", timeout=30, isolation_level=None
                )
            ) as connection:
                found = connection.execute("PRAGMA user_version").fetchone()[0]
                if found not in (0, _FORMAT):
                    raise RagIndexError(
                        f"{self.path} has the format {found} of another version of citewell, this "
                        f"one reads {_FORMAT}"
                    )
                connection.execute("BEGIN IMMEDIATE" if write else "BEGIN")
                if write or not there:
                    connection.execute(_SCHEMA)
                    connection.execute(f"PRAGMA user_version = {_FORMAT}")
                yield connection
                connection.execute("COMMIT")
        except sqlite3.OperationalError as error:
            if "is full" in str(error):
                raise RagIndexError.full(self.path) from error
            raise RagIndexError(f"cannot use {self.path}: {error}") from error
        except sqlite3.DatabaseError as error:
            raise IndexDamaged(
                f"{self.path} is damaged ({error}); it holds conversations only: move it away"
            ) from error
