"""A cache of answers, for the same questions and the same versions of the documents.

A stored answer has the digests of all documents that its search found. It is given again only
while the index has exactly these versions of them, which is looked up at each question. So nothing
needs to be deleted when a document changes, and nothing is lost or left by a crash in between.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import logging
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rag.answers.same_meaning import depends_on_today, mean_the_same
from rag.errors import IndexDamaged, RagIndexError
from rag.filters import Filter
from rag.stores.document_store import DocumentStore
from rag.stores.sqlite.private_database import PrivateDatabase
from rag.types import Answer, CacheStep, GenerateStep, Hit, RepairStep, Usage

_log = logging.getLogger(__name__)

_FORMAT = 1
_SCHEMA = """\
CREATE TABLE IF NOT EXISTS answers (
    number INTEGER PRIMARY KEY,
    scope TEXT NOT NULL,
    question TEXT NOT NULL,
    at REAL NOT NULL,
    versions TEXT NOT NULL,
    index_state TEXT NOT NULL,
    answer TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS answers_by_scope ON answers (scope, number)"""
_SECONDS_PER_DAY = 86_400


class AnswerCache(BaseModel):
    """Settings of a cache of answers.

    An answer is given again to a question that asks the same: in the same words, but for
    politeness, articles and some synonyms (see `mean_the_same`). The cache keeps the
    latest ``answers`` answers, for ``days`` days.

    >>> AnswerCache(days=7).answers
    1000
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    answers: int = Field(1_000, ge=1, le=100_000)
    days: float = Field(30.0, gt=0)


class CachedAnswer(NamedTuple):
    """An answer from the cache, the question it was given to, and when (seconds since 1970)."""

    answer: Answer
    question: str
    at: float


class CachedAnswers:
    """The answers in the SQLite file `path`, for one pipeline over one document store.

    `fingerprint` is that of the pipeline: an answer of another one is never found. Methods raise
    `RagIndexError` if the file cannot be used.
    """

    def __init__(
        self, path: Path, settings: AnswerCache, fingerprint: str, document_store: DocumentStore
    ) -> None:
        self._database = PrivateDatabase(path, _SCHEMA, _FORMAT, "cached answers")
        self._settings = settings
        self._fingerprint = fingerprint
        self._document_store = document_store

    def find(
        self,
        question: str,
        *,
        where: Filter | None,
        k: int,
        hit_uris: Collection[str],
    ) -> CachedAnswer | None:
        """Return an answer to the same question, from the versions that the index has now.

        `hit_uris` are the documents that its search has found: none of them may be newer than the
        answer.
        """
        if not self._database.exists:
            return None
        scope = self._scope(question, where, k)
        now = datetime.datetime.now(datetime.UTC).timestamp()
        oldest = now - self._settings.days * _SECONDS_PER_DAY
        with self._database.transaction() as connection:
            rows = connection.execute(
                "SELECT number, question FROM answers"
                " WHERE scope = ? AND at BETWEEN ? AND ? ORDER BY number DESC",
                (scope, oldest, now),
            ).fetchall()
        for number, earlier_question in rows:
            if not mean_the_same(question, earlier_question):
                continue
            with self._database.transaction() as connection:
                row = connection.execute(
                    "SELECT at, versions, index_state, answer FROM answers WHERE number = ?",
                    (number,),
                ).fetchone()
            if row is None or not self._is_current(json.loads(row[1]), row[2], hit_uris):
                continue
            try:
                return CachedAnswer(Answer.model_validate_json(row[3]), earlier_question, row[0])
            except ValidationError:
                continue  # written by a later edition
        return None

    def add(
        self,
        question: str,
        answer: Answer,
        *,
        where: Filter | None,
        k: int,
        versions: Mapping[str, str],
        index_state: str,
    ) -> None:
        """Store an answer. `versions` and `index_state` were read before the search began."""
        stored = answer.model_copy(update={"hits": (), "trace": ()})
        now = datetime.datetime.now(datetime.UTC).timestamp()
        scope = self._scope(question, where, k)
        with self._database.transaction(write=True) as connection:
            connection.execute(
                "DELETE FROM answers WHERE scope = ? AND question = ? OR at < ?",
                (scope, question, now - self._settings.days * _SECONDS_PER_DAY),
            )
            connection.execute(
                "INSERT INTO answers (scope, question, at, versions, index_state, answer)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                (
                    scope,
                    question,
                    now,
                    json.dumps(dict(versions)),
                    index_state,
                    stored.model_dump_json(),
                ),
            )
            connection.execute(
                "DELETE FROM answers WHERE number <= (SELECT number FROM answers"
                " ORDER BY number DESC LIMIT 1 OFFSET ?)",
                (self._settings.answers,),
            )

    def report_failure(self, error: RagIndexError) -> None:
        """Report a cache that cannot be used; a damaged one is deleted, and begins anew."""
        if isinstance(error, IndexDamaged):
            with suppress(OSError):
                self._database.path.unlink(missing_ok=True)
        _log.warning("the answer cache cannot be used: %s", error)

    def read_index_state(self) -> str:
        """Return what identifies the contents of the index at this moment."""
        return f"{self._document_store.id} {self._document_store.generation}"

    def read_versions(self, uris: Collection[str]) -> dict[str, str]:
        """Return the digests of the live documents with these uris."""
        entries = self._document_store.ledger_by_uri(list(uris))
        return {uri: entry.digest for uri, entry in entries.items()}

    def _scope(self, question: str, where: Filter | None, k: int) -> str:
        """Return what must be equal for an answer to be given again, besides the question."""
        today = datetime.date.today().isoformat() if depends_on_today(question) else ""
        filter_json = json.dumps(where.to_json() if where is not None else None, sort_keys=True)
        key = "\0".join((self._fingerprint, filter_json, str(k), today))
        return hashlib.sha256(key.encode()).hexdigest()

    def _is_current(
        self, versions: Mapping[str, str], index_state: str, hit_uris: Collection[str]
    ) -> bool:
        """Whether the index has these versions, and no newer document is among the hits."""
        if self.read_versions(versions) != versions:
            return False
        return set(hit_uris) <= versions.keys() or index_state == self.read_index_state()


class CacheLookup:
    """One question's way through the cache: find an earlier answer, or store the new one.

    `index_state` is that from before the search that found the `hits`. A cache that cannot be used
    is reported in the log, and the question is answered without it.
    """

    def __init__(
        self,
        cached_answers: CachedAnswers,
        question: str,
        hits: Sequence[Hit],
        *,
        where: Filter | None,
        k: int,
        index_state: str,
    ) -> None:
        self._cached_answers = cached_answers
        self._question = question
        self._hits = tuple(hits)
        self._where = where
        self._k = k
        self._index_state = index_state

    def find(self) -> Answer | None:
        """Return an earlier answer, with the present hits."""
        start_time = time.perf_counter()
        try:
            cached = self._cached_answers.find(
                self._question,
                where=self._where,
                k=self._k,
                hit_uris=self._list_uris(),
            )
        except RagIndexError as error:
            self._cached_answers.report_failure(error)
            return None
        if cached is None:
            return None
        answered_at = datetime.datetime.fromtimestamp(cached.at, datetime.UTC).isoformat(
            timespec="seconds"
        )
        step = CacheStep(
            name="cache",
            seconds=time.perf_counter() - start_time,
            question=cached.question,
            answered_at=answered_at,
        )
        return cached.answer.model_copy(
            update={"hits": self._hits, "trace": (step,), "usage": Usage()}
        )

    def store(self, answer: Answer) -> None:
        """Store an answer that may be given again."""
        if not _is_repeatable(answer):
            return
        try:
            versions = self._cached_answers.read_versions(
                self._list_uris() | {citation.uri for citation in answer.citations}
            )
            if self._cached_answers.read_index_state() != self._index_state:
                return  # a document changed since the search began
            self._cached_answers.add(
                self._question,
                answer,
                where=self._where,
                k=self._k,
                versions=versions,
                index_state=self._index_state,
            )
        except RagIndexError as error:
            self._cached_answers.report_failure(error)

    def _list_uris(self) -> set[str]:
        return {hit.chunk.uri for hit in self._hits}


def _is_repeatable(answer: Answer) -> bool:
    """Whether an answer is complete and the model's own: no abstention, and no way out."""
    return (
        answer.status == "answered"
        and not answer.reason
        and all(citation.verified for citation in answer.citations)
        and not any(
            step.finish_reason in ("length", "content_filter", "refusal")
            for step in answer.trace
            if isinstance(step, GenerateStep | RepairStep)
        )
    )
