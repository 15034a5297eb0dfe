"""Our parts as LangChain's objects."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Literal, cast

from langchain_core.callbacks import (
    AsyncCallbackManagerForChainRun,
    AsyncCallbackManagerForRetrieverRun,
    CallbackManagerForChainRun,
    CallbackManagerForRetrieverRun,
)
from langchain_core.document_loaders import BaseLoader
from langchain_core.documents import Document as TheirDocument
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
from rag.interop.formatting import as_told
from rag.interop.langchain.callbacks import Runs
from rag.interop.langchain.convert import document_of, loaded, messages_from
from rag.pipeline import Pipeline
from rag.types import Answer

_log = logging.getLogger(__name__)

Question = str | Mapping[str, Any]


class CitewellRunnable(Runnable[Question, dict[str, Any]]):
    """A pipeline as a ``Runnable``: a question in, an answer with its citations out.

    In goes a string, or a mapping with ``question`` (or ``input``), and maybe ``history`` (or
    ``chat_history``: messages of any form LangChain knows) and ``where`` (a filter). Out comes
    what their retrieval chains give, ``question``, ``answer`` and ``context`` (documents), and
    ``status``, ``reason``, ``citations`` (mappings, as `rag.Citation` is dumped) and
    ``sentences``.

    `stream` gives the same in pieces that add up to it: ``answer`` word by word, the rest at the
    end, since pieces cannot be taken back. Where an answer is abstained from after it was begun,
    its text is added behind what was streamed. Callbacks see our stages as runs within. ``where``
    can be given with a call, too: ``chain.invoke(question, where=...)``.
    """

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline

    def get_name(self, suffix: str | None = None, *, name: str | None = None) -> str:
        """What it is called in traces."""
        return f"{name or 'citewell'}{suffix or ''}"

    def invoke(
        self, input: Question, config: RunnableConfig | None = None, **kwargs: Any
    ) -> dict[str, Any]:
        """Answer a question."""

        def run(given: Question, run_manager: CallbackManagerForChainRun) -> dict[str, Any]:
            question, options = _read(given, kwargs)
            with tracing.observed(Runs(run_manager)):
                return _output(question, self.pipeline.ask(question, **options))

        return self._call_with_config(run, input, config, run_type="chain")

    async def ainvoke(
        self, input: Question, config: RunnableConfig | None = None, **kwargs: Any
    ) -> dict[str, Any]:
        """`invoke` without blocking the event loop; cancelled, it stops at the next token."""

        async def run(
            given: Question, run_manager: AsyncCallbackManagerForChainRun
        ) -> dict[str, Any]:
            question, options = _read(given, kwargs)
            with tracing.observed(Runs(run_manager.get_sync())):
                return _output(question, await self.pipeline.aask(question, **options))

        return await self._acall_with_config(run, input, config, run_type="chain")

    def stream(
        self, input: Question, config: RunnableConfig | None = None, **kwargs: Any
    ) -> Iterator[dict[str, Any]]:
        """`invoke` in pieces."""

        def run(
            given: Iterator[Question], run_manager: CallbackManagerForChainRun
        ) -> Iterator[dict[str, Any]]:
            for each in given:
                yield from iterate_in_own_context(self._pieces(each, kwargs, run_manager))

        yield from self._transform_stream_with_config(iter([input]), run, config, run_type="chain")

    async def astream(
        self, input: Question, config: RunnableConfig | None = None, **kwargs: Any
    ) -> AsyncIterator[dict[str, Any]]:
        """`invoke` in pieces, without blocking the event loop."""

        async def run(
            given: AsyncIterator[Question], run_manager: AsyncCallbackManagerForChainRun
        ) -> AsyncIterator[dict[str, Any]]:
            async for each in given:
                question, options = _read(each, kwargs)
                runs = Runs(run_manager.get_sync())
                with tracing.observed(runs):
                    events = self.pipeline.astream(question, **options)
                pieces = _Pieces(question)
                with tracing.observed(runs):
                    async for event in events:
                        for piece in pieces.of(event):
                            yield piece

        async def one() -> AsyncIterator[Question]:
            yield input

        async for piece in self._atransform_stream_with_config(
            one(), run, config, run_type="chain"
        ):
            yield piece

    def _pieces(
        self, given: Question, more: Mapping[str, Any], run_manager: CallbackManagerForChainRun
    ) -> Iterator[dict[str, Any]]:
        question, options = _read(given, more)
        pieces = _Pieces(question)
        with tracing.observed(Runs(run_manager)):
            for event in self.pipeline.stream(question, **options):
                yield from pieces.of(event)


class _Pieces:
    """Events as pieces that add up to what `invoke` returns."""

    def __init__(self, question: str) -> None:
        self._question = question
        self._said = ""

    def of(self, event: Event) -> Iterator[dict[str, Any]]:
        """The pieces that an event is."""
        if isinstance(event, TextDelta):
            self._said += event.text
            yield AddableDict(answer=event.text)
        elif isinstance(event, AnswerCompleted):
            last = _output(self._question, event.answer)
            if event.answer.text == self._said:
                last["answer"] = ""
            elif self._said:
                last["answer"] = f"\n\n{event.answer.text}"
            yield AddableDict(last)


def _read(given: Question, more: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The question, and what else `Pipeline.ask` is to be told. Raises `QueryError`."""
    if odd := sorted(set(more) - {"where"}):
        raise QueryError(f"a question takes `where`, not {', '.join(odd)}")
    if isinstance(given, str):
        return given, {"where": more.get("where")}
    if not isinstance(given, Mapping):
        raise QueryError(f"a question is a text or a mapping, not a {type(given).__name__}")
    question = given.get("question", given.get("input"))
    if not isinstance(question, str):
        raise QueryError("a question is a text: give it as `question` (or `input`)")
    history = given.get("history", given.get("chat_history")) or ()
    where = given.get("where", more.get("where"))
    return question, {"history": messages_from(history), "where": where}


def _output(question: str, answer: Answer) -> dict[str, Any]:
    return {
        "question": question,
        "answer": answer.text,
        "status": answer.status,
        "reason": answer.reason,
        "citations": [citation.model_dump(mode="json") for citation in answer.citations],
        "sentences": [sentence.model_dump(mode="json") for sentence in answer.sentences],
        "context": [document_of(hit) for hit in answer.hits],
    }


class CitewellRetriever(BaseRetriever):
    """The search of a pipeline as a ``BaseRetriever``.

    ``k`` is how many documents it finds (default: the pipeline's), ``where`` a filter; both can be
    given with a call as well: ``retriever.invoke("...", k=3)``.
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
    ) -> list[TheirDocument]:
        hits = cast(Pipeline, self.pipeline).search(query, **self._options(options))
        return [document_of(hit) for hit in hits]

    async def _aget_relevant_documents(
        self,
        query: str,
        *,
        run_manager: AsyncCallbackManagerForRetrieverRun,
        **options: Any,
    ) -> list[TheirDocument]:
        hits = await cast(Pipeline, self.pipeline).asearch(query, **self._options(options))
        return [document_of(hit) for hit in hits]

    def _options(self, given: Mapping[str, Any]) -> dict[str, Any]:
        if odd := sorted(set(given) - {"k", "where"}):
            raise QueryError(f"a search takes `k` and `where`, not {', '.join(odd)}")
        return {"k": given.get("k", self.k), "where": given.get("where", self.where)}


class CitewellLoader(BaseLoader):
    """A connector and a parser as a ``BaseLoader``.

    `source` is a path, a uri or a `Connector`. What cannot be read raises its `SourceError`, or is
    left out and logged with ``on_error="skip"``.
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

    def lazy_load(self) -> Iterator[TheirDocument]:
        """Documents, one after another."""
        for source in self.connector.sources():
            try:
                for found in self.parser.documents(source.read(), uri=source.uri, mime=source.mime):
                    if isinstance(found, FailedPart):
                        raise found.error
                    yield loaded(apply_source_metadata(found, source))
            except SourceError as error:
                if self.on_error == "raise":
                    raise type(error)(f"{source.uri}: {error} (on_error='skip' goes on)") from error
                _log.warning("%s was left out: %s", source.uri, error)


class CitewellEmbeddings(Embeddings):
    """An embedder as ``Embeddings``; `embedder` is a part, its name, or its configuration."""

    def __init__(self, embedder: Embedder | Mapping[str, Any] | str = "static") -> None:
        self.embedder = cast(Embedder, build("embedder", embedder))

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Vectors of passages."""
        return cast(list[list[float]], self.embedder.embed_documents(texts).tolist())

    def embed_query(self, text: str) -> list[float]:
        """The vector of a question."""
        return cast(list[float], self.embedder.embed_query(text).tolist())


class AskInput(BaseModel):
    """What the tool is told."""

    question: str = Field(description="A whole question, understandable by itself.")


class CitewellTool(BaseTool):
    """A pipeline as a tool for agents: it answers a question, with citations.

    The model reads the answer and its quotes; the artifact is the `rag.Answer`.
    """

    name: str = "ask_documents"
    description: str = (
        "Answers a question from the documents, citing exact quotes from them. It says so when "
        "they hold no answer."
    )
    args_schema: Any = AskInput
    response_format: Literal["content", "content_and_artifact"] = "content_and_artifact"
    pipeline: Any

    def _run(self, question: str, run_manager: Any = None) -> tuple[str, Answer]:
        with tracing.observed(Runs(run_manager)) if run_manager else nullcontext():
            answer = cast(Pipeline, self.pipeline).ask(question)
        return as_told(answer), answer

    async def _arun(self, question: str, run_manager: Any = None) -> tuple[str, Answer]:
        watched = tracing.observed(Runs(run_manager.get_sync())) if run_manager else nullcontext()
        with watched:
            answer = await cast(Pipeline, self.pipeline).aask(question)
        return as_told(answer), answer
