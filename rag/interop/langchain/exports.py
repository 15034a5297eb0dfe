"""Exports: our parts as LangChain's objects."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from copy import copy
from pathlib import Path
from typing import Any, Literal, cast

from langchain_core.callbacks import (
    AsyncCallbackManagerForChainRun,
    AsyncCallbackManagerForRetrieverRun,
    CallbackManagerForChainRun,
    CallbackManagerForRetrieverRun,
)
from langchain_core.document_loaders import BaseLoader
from langchain_core.documents import Document as LangChainDocument
from langchain_core.embeddings import Embeddings
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.utils import AddableDict
from langchain_core.tools import BaseTool
from pydantic import BaseModel, Field

from connectors import Connector, FailedPart, Parser, connect
from connectors.base import apply_source_metadata
from connectors.parsers.auto import AutoParser
from rag import tracing
from rag.component import build
from rag.concurrency import iterate_in_own_context
from rag.embedding import Embedder
from rag.errors import QueryError, SourceError
from rag.generation import AnswerCompleted, Event, TextDelta
from rag.interop.formatting import format_answer
from rag.interop.langchain.callbacks import CallbackProcessor
from rag.interop.langchain.convert import (
    from_langchain_messages,
    hit_to_langchain_document,
    to_langchain_document,
)
from rag.pipeline import Pipeline
from rag.types import Answer

_log = logging.getLogger(__name__)

Question = str | Mapping[str, Any]


class CitewellRunnable(Runnable[Question, dict[str, Any]]):
    """A pipeline as a ``Runnable``: it answers a question with citations.

    The input is a string, or a mapping with ``question`` (or ``input``) and, optionally,
    ``history`` (or ``chat_history``: messages of any form that LangChain accepts) and ``where`` (a
    filter). The output has the keys of LangChain's retrieval chains, ``question``, ``answer`` and
    ``context`` (documents), and ``status``, ``reason``, ``citations`` (mappings, as
    `rag.Citation` is dumped) and ``sentences``.

    `stream` yields pieces that add up to the output of `invoke`: ``answer`` word by word, the other
    keys in the last piece, since a piece cannot be withdrawn. If streamed text is withdrawn,
    the text of the answer is appended. Callbacks receive the stages of the
    pipeline as child runs. ``where`` can also be passed to a call:
    ``chain.invoke(question, where=...)``.
    """

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline

    def get_name(self, suffix: str | None = None, *, name: str | None = None) -> str:
        """Return the name in traces."""
        return f"{name or 'citewell'}{suffix or ''}"

    def invoke(
        self, input: Question, config: RunnableConfig | None = None, **kwargs: Any
    ) -> dict[str, Any]:
        """Answer a question. Raises `QueryError` for an input of another form."""

        def run(value: Question, run_manager: CallbackManagerForChainRun) -> dict[str, Any]:
            question, options = _parse_input(value, kwargs)
            with tracing.use_processor(CallbackProcessor(run_manager)):
                return _to_output(question, self.pipeline.ask(question, **options))

        return self._call_with_config(run, input, config, run_type="chain")

    async def ainvoke(
        self, input: Question, config: RunnableConfig | None = None, **kwargs: Any
    ) -> dict[str, Any]:
        """`invoke` without blocking the event loop; cancellation takes effect at the next token."""

        async def run(
            value: Question, run_manager: AsyncCallbackManagerForChainRun
        ) -> dict[str, Any]:
            question, options = _parse_input(value, kwargs)
            with tracing.use_processor(CallbackProcessor(run_manager.get_sync())):
                return _to_output(question, await self.pipeline.aask(question, **options))

        return await self._acall_with_config(run, input, config, run_type="chain")

    def stream(
        self, input: Question, config: RunnableConfig | None = None, **kwargs: Any
    ) -> Iterator[dict[str, Any]]:
        """`invoke` in pieces."""

        def run(
            values: Iterator[Question], run_manager: CallbackManagerForChainRun
        ) -> Iterator[dict[str, Any]]:
            for value in values:
                yield from iterate_in_own_context(self._stream_pieces(value, kwargs, run_manager))

        yield from self._transform_stream_with_config(iter([input]), run, config, run_type="chain")

    async def astream(
        self, input: Question, config: RunnableConfig | None = None, **kwargs: Any
    ) -> AsyncIterator[dict[str, Any]]:
        """`invoke` in pieces, without blocking the event loop."""

        async def run(
            values: AsyncIterator[Question], run_manager: AsyncCallbackManagerForChainRun
        ) -> AsyncIterator[dict[str, Any]]:
            async for value in values:
                question, options = _parse_input(value, kwargs)
                processor = CallbackProcessor(run_manager.get_sync())
                with tracing.use_processor(processor):
                    events = self.pipeline.astream(question, **options)
                builder = _PieceBuilder(question)
                with tracing.use_processor(processor):
                    async for event in events:
                        for piece in builder.convert(event):
                            yield piece

        async def inputs() -> AsyncIterator[Question]:
            yield input

        async for piece in self._atransform_stream_with_config(
            inputs(), run, config, run_type="chain"
        ):
            yield piece

    def _stream_pieces(
        self,
        value: Question,
        call_options: Mapping[str, Any],
        run_manager: CallbackManagerForChainRun,
    ) -> Iterator[dict[str, Any]]:
        question, options = _parse_input(value, call_options)
        builder = _PieceBuilder(question)
        with tracing.use_processor(CallbackProcessor(run_manager)):
            for event in self.pipeline.stream(question, **options):
                yield from builder.convert(event)


class _PieceBuilder:
    """Converts events to pieces that add up to what `invoke` returns."""

    def __init__(self, question: str) -> None:
        self._question = question
        self._streamed_text = ""

    def convert(self, event: Event) -> Iterator[dict[str, Any]]:
        """Yield the pieces of an event: none or one."""
        if isinstance(event, TextDelta):
            self._streamed_text += event.text
            yield AddableDict(answer=event.text)
        elif isinstance(event, AnswerCompleted):
            last_piece = _to_output(self._question, event.answer)
            if event.answer.text == self._streamed_text:
                last_piece["answer"] = ""
            elif self._streamed_text:
                last_piece["answer"] = f"\n\n{event.answer.text}"
            yield AddableDict(last_piece)


def _parse_input(value: Question, call_options: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the question and the options of `Pipeline.ask`. Raises `QueryError`."""
    if unknown := sorted(set(call_options) - {"where"}):
        raise QueryError(f"a question takes the option `where`, not {', '.join(unknown)}")
    if isinstance(value, str):
        return value, {"where": call_options.get("where")}
    if not isinstance(value, Mapping):
        raise QueryError(f"a question is a string or a mapping, not a {type(value).__name__}")
    question = value.get("question", value.get("input"))
    if not isinstance(question, str):
        raise QueryError("the mapping needs the text of the question as `question` (or `input`)")
    history = value.get("history", value.get("chat_history")) or ()
    where = value.get("where", call_options.get("where"))
    return question, {"history": from_langchain_messages(history), "where": where}


def _to_output(question: str, answer: Answer) -> dict[str, Any]:
    return {
        "question": question,
        "answer": answer.text,
        "status": answer.status,
        "reason": answer.reason,
        "citations": [citation.model_dump(mode="json") for citation in answer.citations],
        "sentences": [sentence.model_dump(mode="json") for sentence in answer.sentences],
        "context": [hit_to_langchain_document(hit) for hit in answer.hits],
    }


class CitewellRetriever(BaseRetriever):
    """The search of a pipeline as a ``BaseRetriever``.

    ``k`` is the number of documents (default: the pipeline's), ``where`` a filter. Both can also
    be passed to a call: ``retriever.invoke("...", k=3)``.
    """

    pipeline: Any
    k: int | None = None
    where: Any = None

    def _get_relevant_documents(
        self,
        query: str,
        *,
        run_manager: CallbackManagerForRetrieverRun,
        **options: Any,
    ) -> list[LangChainDocument]:
        hits = cast(Pipeline, self.pipeline).search(query, **self._search_options(options))
        return [hit_to_langchain_document(hit) for hit in hits]

    async def _aget_relevant_documents(
        self,
        query: str,
        *,
        run_manager: AsyncCallbackManagerForRetrieverRun,
        **options: Any,
    ) -> list[LangChainDocument]:
        hits = await cast(Pipeline, self.pipeline).asearch(query, **self._search_options(options))
        return [hit_to_langchain_document(hit) for hit in hits]

    def _search_options(self, call_options: Mapping[str, Any]) -> dict[str, Any]:
        if unknown := sorted(set(call_options) - {"k", "where"}):
            raise QueryError(f"a search takes `k` and `where`, not {', '.join(unknown)}")
        defaults = {"k": self.k, "where": self.where}
        return {**defaults, **call_options}


class CitewellLoader(BaseLoader):
    """A connector and a parser as a ``BaseLoader``.

    `source` is a path, a uri or a `Connector`. A source that cannot be read raises its
    `SourceError`; with ``on_error="skip"`` it is logged and skipped.
    """

    def __init__(
        self,
        source: str | Path | Connector,
        *,
        parser: Parser | None = None,
        on_error: Literal["raise", "skip"] = "raise",
    ) -> None:
        self.connector = source if isinstance(source, Connector) else connect(source)
        self.parser = parser or AutoParser()
        self.on_error = on_error

    def lazy_load(self) -> Iterator[LangChainDocument]:
        """Yield the documents one by one."""
        for source in self.connector.sources():
            try:
                data = source.read()
                for document in self.parser.documents(data, uri=source.uri, mime=source.mime):
                    if isinstance(document, FailedPart):
                        raise document.error
                    yield to_langchain_document(apply_source_metadata(document, source))
            except SourceError as error:
                if self.on_error == "raise":
                    explained = copy(error)  # with all its attributes
                    explained.args = (
                        f"{source.uri}: {error} (on_error='skip' skips such sources)",
                    )
                    raise explained from error
                _log.warning("skipped %s: %s", source.uri, error)


class CitewellEmbeddings(Embeddings):
    """An embedder as ``Embeddings``; `embedder` is a part, its name, or its configuration."""

    def __init__(self, embedder: Embedder | Mapping[str, Any] | str = "static") -> None:
        self.embedder = cast(Embedder, build("embedder", embedder))

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Return the vectors of passages."""
        return cast(list[list[float]], self.embedder.embed_documents(texts).tolist())

    def embed_query(self, text: str) -> list[float]:
        """Return the vector of a question."""
        return cast(list[float], self.embedder.embed_query(text).tolist())


class AskInput(BaseModel):
    """Arguments of the tool."""

    question: str = Field(description="A complete question that can be understood on its own.")


class CitewellTool(BaseTool):
    """A pipeline as a tool for agents: it answers a question with citations.

    The model reads the answer and its quotes; the artifact is the `rag.Answer`.
    """

    name: str = "ask_documents"
    description: str = (
        "Answers a question from the documents, citing exact quotes from them. Says so if the "
        "documents do not contain an answer."
    )
    args_schema: Any = AskInput
    response_format: Literal["content", "content_and_artifact"] = "content_and_artifact"
    pipeline: Any

    def _run(self, question: str, run_manager: Any = None) -> tuple[str, Answer]:
        with _report_to(run_manager):
            answer = cast(Pipeline, self.pipeline).ask(question)
        return format_answer(answer), answer

    async def _arun(self, question: str, run_manager: Any = None) -> tuple[str, Answer]:
        with _report_to(run_manager and run_manager.get_sync()):
            answer = await cast(Pipeline, self.pipeline).aask(question)
        return format_answer(answer), answer


def _report_to(run_manager: Any) -> AbstractContextManager[object]:
    """Report the stages within a ``with`` block to LangChain's callbacks, if there are any."""
    if not run_manager:
        return nullcontext()
    return tracing.use_processor(CallbackProcessor(run_manager))
