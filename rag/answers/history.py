"""Earlier answers to questions that are asked again, in a SQLite file of the index folder."""

from __future__ import annotations

import datetime
import json
import logging
from contextlib import suppress
from pathlib import Path

from pydantic import ValidationError

from rag.answers.changes import AnswerChange, compare_answers
from rag.errors import DocumentNotFound, IndexDamaged, RagIndexError
from rag.filters import Filter
from rag.stores.document_store import DocumentStore
from rag.stores.sqlite.private_database import PrivateDatabase
from rag.types import Answer, FrozenModel, Text

_log = logging.getLogger(__name__)

_FORMAT = 1
_SCHEMA = """\
CREATE TABLE IF NOT EXISTS answers (
    question TEXT NOT NULL,
    filter TEXT NOT NULL,
    at TEXT NOT NULL,
    answer TEXT NOT NULL,
    PRIMARY KEY (question, filter, at)
) WITHOUT ROWID"""


class EarlierAnswer(FrozenModel):
    """The answer to a question at a time (ISO 8601, UTC)."""

    question: Text
    at: str
    answer: Answer


class AnswerHistory:
    """Earlier answers in the SQLite file `path`, which the first answer creates.

    A question is known by its text, its filter and the series in which it is asked. Threads and
    processes may share a history. Methods raise `RagIndexError` if the file cannot be used.
    """

    def __init__(self, path: Path) -> None:
        self._database = PrivateDatabase(path, _SCHEMA, _FORMAT, "earlier answers")

    def add(
        self, question: str, answer: Answer, where: Filter | None = None, *, series: str = ""
    ) -> EarlierAnswer:
        """Store the answer to a question with the present time."""
        earlier = EarlierAnswer(
            question=_normalize(question),
            at=datetime.datetime.now(datetime.UTC).isoformat(timespec="microseconds"),
            answer=answer.model_copy(update={"hits": (), "trace": ()}),
        )
        with self._database.transaction(write=True) as connection:
            connection.execute(
                "INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?)",
                (
                    earlier.question,
                    _to_key(where, series),
                    earlier.at,
                    earlier.answer.model_dump_json(),
                ),
            )
        return earlier

    def compare(
        self,
        question: str,
        answer: Answer,
        document_store: DocumentStore | None,
        *,
        where: Filter | None = None,
        since: datetime.datetime | None = None,
        series: str = "",
    ) -> AnswerChange:
        """Compare an answer with the latest one, or the latest one from before `since`.

        It is stored if it is the first one, or differs from the latest. `document_store` says
        whether the documents that the earlier answer cites still have their quotes; None if they
        are not stored.
        """
        latest = self.find(question, where, series=series)
        earlier = self.find(question, where, before=since, series=series) if since else latest
        if latest is None or _compare(question, answer, latest, document_store).has_changed:
            try:
                self.add(question, answer, where, series=series)
            except RagIndexError as error:
                if isinstance(error, IndexDamaged):
                    raise
                _log.warning("the answer is not stored for later comparison: %s", error)
        if earlier is None:
            return AnswerChange(question=question, answer=answer)
        return _compare(question, answer, earlier, document_store)

    def find(
        self,
        question: str,
        where: Filter | None = None,
        *,
        before: datetime.datetime | None = None,
        series: str = "",
    ) -> EarlierAnswer | None:
        """Return the latest answer to a question, or the latest one from `before` that time.

        A time without a zone is in the zone of the system.
        """
        latest = (before or datetime.datetime.max.replace(tzinfo=datetime.UTC)).astimezone(
            datetime.UTC
        )
        with self._database.transaction() as connection:
            row = connection.execute(
                "SELECT at, answer FROM answers WHERE question = ? AND filter = ? AND at < ?"
                " ORDER BY at DESC LIMIT 1",
                (
                    _normalize(question),
                    _to_key(where, series),
                    latest.isoformat(timespec="microseconds"),
                ),
            ).fetchone()
        if row is None:
            return None
        try:
            answer = Answer.model_validate_json(row[1])
        except ValidationError as error:
            raise IndexDamaged(
                f"{self._database.path} has an answer that cannot be read "
                f"({error.error_count()} errors): move the file away",
                path=self._database.path,
            ) from None
        return EarlierAnswer(question=question, at=row[0], answer=answer)


def _compare(
    question: str, answer: Answer, earlier: EarlierAnswer, document_store: DocumentStore | None
) -> AnswerChange:
    texts: dict[str, str] | None = None
    if document_store is not None:
        texts = {}
        for uri in {citation.uri for citation in earlier.answer.citations}:
            with suppress(DocumentNotFound):
                texts[uri] = document_store.document(uri).text
    return compare_answers(
        question, answer, earlier.answer, earlier_at=earlier.at, stored_texts=texts
    )


def _normalize(question: str) -> str:
    return " ".join(question.split())


def _to_key(where: Filter | None, series: str) -> str:
    condition = json.dumps(where.to_json(), sort_keys=True) if where is not None else ""
    return f"{series}\n{condition}" if series else condition
