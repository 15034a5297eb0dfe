"""A transform that turns a part of the question into a filter."""

from __future__ import annotations

import datetime
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel

from rag.errors import ModelReplyError, QueryError
from rag.filters import Filter
from rag.llm.base import ChatModel
from rag.llm.prompting import escape_prompt_markup, render_messages
from rag.llm.structured import fill
from rag.query import Query
from rag.retrieval.filter_rules import DOCUMENT_KINDS, IndexFields, apply_rules, read_fields
from rag.retrieval.transforms import MAX_QUERY_CHARACTERS, QueryTransform
from rag.types import Message, Scalar

if TYPE_CHECKING:
    from rag.index import Index

_MAX_VALUES_IN_PROMPT = 20


class SelfQuery(QueryTransform):
    """Turns a part of the question into a filter, and searches for the rest.

    "Mails from Ruth in February 2025 about the charter" becomes the filter ``mime`` is that of
    mails, ``from`` is Ruth, ``date`` is in February 2025, and the rest "the charter". By default,
    rules do so, with the fields and values that the index has. ``model`` asks a chat model for
    the filter (LangChain: `SelfQueryRetriever`); the rules are used if its reply is invalid or
    selects no document.

    A filter that selects no document is relaxed: the conditions that leave none are dropped, and
    the trace and the answer say so. "Last month" is that before ``today``, a date (default: that
    of the system). The rules read English and German.
    """

    name: ClassVar[str] = "self-query"
    main_setting: ClassVar[str] = "model"

    model: ChatModel | None = None
    today: datetime.date | None = None

    def transform(self, question: str, history: Sequence[Message]) -> list[Query]:
        """Return the question: without an index, there are no fields and values."""
        return [Query(question)]

    def transform_for_index(
        self, question: str, history: Sequence[Message], index: Index
    ) -> list[Query]:
        """See `QueryTransform.transform_for_index`. Raises `ModelError`."""
        fields = index.cache_result("self-query fields", lambda: read_fields(index))
        today = self.today or datetime.date.today()
        if self.model is not None:
            query = _ask_model(self.model, question, fields, today, index)
            if query is not None:
                return [query]
        return [apply_rules(question, fields, today, index)]


class _SelfQueryReply(BaseModel):
    """The reply of a model: what to search for, and the filter in the form of `Filter.of`."""

    query: str
    filter: dict[str, Any] = {}


def _ask_model(
    model: ChatModel, question: str, fields: IndexFields, today: datetime.date, index: Index
) -> Query | None:
    """Return the query of a model; None if its reply is invalid or selects no document."""
    media_types: list[Scalar] = [media_type for kind in DOCUMENT_KINDS for media_type in kind.types]
    described = []
    for name, values in (*fields.values.items(), ("mime", media_types)):
        examples = json.dumps(values[:_MAX_VALUES_IN_PROMPT], ensure_ascii=False)
        described.append({"name": name, "values": escape_prompt_markup(examples)})
    messages = render_messages(
        "self-query",
        question=escape_prompt_markup(question),
        fields=described,
        today=today.isoformat(),
    )
    try:
        reply = fill(model, messages, _SelfQueryReply)
        if not reply.filter:
            return Query(question)
        selected = Filter.of(reply.filter)
        if index.document_store.unknown_fields(selected):
            return None
        if not index.count_matching_documents(selected):
            return None
    except (ModelReplyError, QueryError):
        return None
    text = reply.query.strip()[:MAX_QUERY_CHARACTERS] or question
    return Query(text, filter=selected, is_filter_optional=True)
