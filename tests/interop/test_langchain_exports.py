from __future__ import annotations

import asyncio
import functools
import operator
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.callbacks import AsyncCallbackHandler, BaseCallbackHandler
from langchain_core.documents import Document as LangChainDocument
from langchain_core.embeddings import Embeddings
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableLambda, RunnablePassthrough
from langchain_core.tools import BaseTool
from langchain_tests.integration_tests import (
    EmbeddingsIntegrationTests,
    RetrieversIntegrationTests,
    ToolsIntegrationTests,
)
from langchain_tests.unit_tests import EmbeddingsUnitTests, ToolsUnitTests

from rag import GroundedGenerator, Pipeline, ScriptedChat, StaticEmbedder
from rag.errors import ParseError, QueryError
from rag.interop.langchain import (
    CitewellEmbeddings,
    CitewellLoader,
    CitewellRetriever,
    CitewellRunnable,
    CitewellTool,
)
from rag.types import Message
from tests.interop.conftest import QUESTION, REPLY, use_scripted_model


@pytest.fixture(scope="module")
def suite_pipeline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    """A pipeline with a few documents, for the standard suites."""
    base_folder = tmp_path_factory.mktemp("suite")
    docs = base_folder / "docs"
    docs.mkdir()
    for number in range(6):
        (docs / f"{number}.txt").write_text(f"Heron {number} stands at the pier of lake {number}.")
    with Pipeline(index=base_folder / "index") as pipeline:
        pipeline.ingest(docs)
        yield pipeline


class TestEmbeddingsUnit(EmbeddingsUnitTests):
    @property
    def embeddings_class(self) -> type[Embeddings]:
        return CitewellEmbeddings

    @property
    def embedding_model_params(self) -> dict[str, Any]:
        return {"embedder": "static"}


class TestEmbeddings(EmbeddingsIntegrationTests):
    @property
    def embeddings_class(self) -> type[Embeddings]:
        return CitewellEmbeddings

    @property
    def embedding_model_params(self) -> dict[str, Any]:
        return {"embedder": StaticEmbedder()}


class TestRetriever(RetrieversIntegrationTests):
    @pytest.fixture(autouse=True)
    def _set_pipeline(self, suite_pipeline: Pipeline) -> None:
        type(self).pipeline = suite_pipeline

    pipeline: Any = None

    @property
    def retriever_constructor(self) -> type[BaseRetriever]:
        return CitewellRetriever

    @property
    def retriever_constructor_params(self) -> dict[str, Any]:
        return {"pipeline": type(self).pipeline}

    @property
    def retriever_query_example(self) -> str:
        return "Which heron stands at the pier?"


class _ToolCase:
    pipeline: Any = None

    @pytest.fixture(autouse=True)
    def _set_pipeline(self, suite_pipeline: Pipeline) -> None:
        type(self).pipeline = suite_pipeline

    @property
    def tool_constructor(self) -> type[BaseTool]:
        return CitewellTool

    @property
    def tool_constructor_params(self) -> dict[str, Any]:
        return {"pipeline": type(self).pipeline}

    @property
    def tool_invoke_params_example(self) -> dict[str, Any]:
        return {"question": "Where does heron 3 stand?"}


class TestToolUnit(_ToolCase, ToolsUnitTests):
    pass


class TestTool(_ToolCase, ToolsIntegrationTests):
    pass


def test_the_runnable_answers_with_exact_citations(filled_pipeline: Pipeline) -> None:
    output = CitewellRunnable(filled_pipeline).invoke(QUESTION)
    assert output["status"] == "answered"
    (citation,) = output["citations"]
    text = filled_pipeline.document(citation["uri"]).text
    assert text[citation["start"] : citation["end"]] == citation["quote"]
    document = output["context"][0]
    text = filled_pipeline.document(document.metadata["source"]).text
    start, end = document.metadata["start_index"], document.metadata["end_index"]
    assert text[start:end] == document.page_content


def add_pieces(pieces: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the sum of the pieces of a stream, as LangChain computes it."""
    return dict(functools.reduce(operator.add, pieces))


def test_streams_add_up_to_what_invoke_returns(filled_pipeline: Pipeline) -> None:
    chain = CitewellRunnable(filled_pipeline)

    async def stream_async() -> list[dict[str, Any]]:
        return [piece async for piece in chain.astream({"input": QUESTION})]

    output = chain.invoke(QUESTION)
    for pieces in (list(chain.stream(QUESTION)), asyncio.run(stream_async())):
        assert len(pieces) >= 2
        assert add_pieces(pieces) == output


def test_the_runnable_works_in_batches_and_chains(filled_pipeline: Pipeline) -> None:
    chain = CitewellRunnable(filled_pipeline) | RunnableLambda(lambda output: output["answer"])
    battery_answer, propeller_answer = chain.batch([QUESTION, "What are the propellers made of?"])
    assert "34 minutes" in battery_answer and "nylon" in propeller_answer
    chain_with_mapping = {"question": RunnablePassthrough()} | CitewellRunnable(filled_pipeline)
    assert chain_with_mapping.invoke(QUESTION)["question"] == QUESTION

    async def batch_async() -> Any:
        return await chain.abatch([QUESTION])

    assert asyncio.run(batch_async()) == [battery_answer]


def test_the_runnable_accepts_any_form_of_history(filled_pipeline: Pipeline) -> None:
    chain = CitewellRunnable(filled_pipeline)
    earlier_messages = [Message(role="user", content="How long does the battery last?")]
    follow_up = "And how long does charging take?"
    expected = filled_pipeline.ask(follow_up, history=earlier_messages)
    assert "90 minutes" in expected.text
    assert expected.trace[0].name == "condense"
    for history in (
        [HumanMessage("How long does the battery last?"), AIMessage("34 minutes.")],
        [("human", "How long does the battery last?"), ("ai", "34 minutes.")],
        [{"role": "user", "content": "How long does the battery last?"}],
    ):
        output = chain.invoke({"question": follow_up, "chat_history": history})
        assert output["answer"] == expected.text
    with pytest.raises(QueryError, match="question"):
        chain.invoke({"query": "x"})
    with pytest.raises(QueryError, match="mapping"):
        chain.invoke(7)  # type: ignore[arg-type]


class _RecordingHandler(BaseCallbackHandler):
    def __init__(self) -> None:
        self.events: list[tuple[str, str]] = []
        self.parents: dict[str, str | None] = {}
        self.names: dict[Any, str] = {}
        self.tokens = ""
        self.documents: list[LangChainDocument] = []

    def _record_start(self, kind: str, run_id: Any, parent: Any, name: str | None) -> None:
        self.events.append((kind, name or ""))
        self.names[run_id] = name or ""
        self.parents[name or ""] = self.names.get(parent)

    def on_chain_start(
        self,
        serialized: Any,
        inputs: Any,
        *,
        run_id: Any,
        parent_run_id: Any = None,
        **options: Any,
    ) -> None:
        self._record_start("chain", run_id, parent_run_id, options.get("name"))

    def on_retriever_start(
        self, serialized: Any, query: str, *, run_id: Any, parent_run_id: Any = None, **options: Any
    ) -> None:
        self._record_start("retriever", run_id, parent_run_id, options.get("name"))

    def on_chat_model_start(
        self,
        serialized: Any,
        messages: Any,
        *,
        run_id: Any,
        parent_run_id: Any = None,
        **options: Any,
    ) -> None:
        self._record_start("chat", run_id, parent_run_id, options.get("name"))

    def on_retriever_end(self, documents: Any, **options: Any) -> None:
        self.documents = list(documents)
        self.events.append(("retriever end", ""))

    def on_llm_new_token(self, token: str, **options: Any) -> None:
        self.tokens += token

    def on_llm_end(self, response: Any, **options: Any) -> None:
        self.events.append(("chat end", response.generations[0][0].text))

    def on_chain_error(self, error: BaseException, **options: Any) -> None:
        self.events.append(("error", type(error).__name__))


class _AsyncRecordingHandler(_RecordingHandler, AsyncCallbackHandler):
    async def on_chain_start(self, *args: Any, **options: Any) -> None:  # type: ignore[override]
        _RecordingHandler.on_chain_start(self, *args, **options)

    async def on_retriever_start(self, *args: Any, **options: Any) -> None:  # type: ignore[override]
        _RecordingHandler.on_retriever_start(self, *args, **options)

    async def on_chat_model_start(self, *args: Any, **options: Any) -> None:  # type: ignore[override]
        _RecordingHandler.on_chat_model_start(self, *args, **options)

    async def on_retriever_end(self, *args: Any, **options: Any) -> None:  # type: ignore[override]
        _RecordingHandler.on_retriever_end(self, *args, **options)

    async def on_llm_new_token(self, *args: Any, **options: Any) -> None:  # type: ignore[override]
        _RecordingHandler.on_llm_new_token(self, *args, **options)

    async def on_llm_end(self, *args: Any, **options: Any) -> None:  # type: ignore[override]
        _RecordingHandler.on_llm_end(self, *args, **options)

    async def on_chain_error(self, *args: Any, **options: Any) -> None:  # type: ignore[override]
        _RecordingHandler.on_chain_error(self, *args, **options)


@pytest.mark.parametrize("method", ["invoke", "stream", "ainvoke", "astream"])
def test_callbacks_receive_the_stages_of_the_pipeline(
    filled_pipeline: Pipeline, method: str
) -> None:
    handler = _AsyncRecordingHandler() if method == "ainvoke" else _RecordingHandler()
    chain = CitewellRunnable(use_scripted_model(filled_pipeline, REPLY))
    config: Any = {"callbacks": [handler]}

    async def call_async() -> None:
        if method == "ainvoke":
            await chain.ainvoke(QUESTION, config)
        else:
            async for _ in chain.astream(QUESTION, config):
                pass

    if method == "invoke":
        chain.invoke(QUESTION, config)
    elif method == "stream":
        list(chain.stream(QUESTION, config))
    else:
        asyncio.run(call_async())
    kinds = [kind for kind, _ in handler.events]
    assert kinds.count("retriever") == kinds.count("retriever end") == 1
    assert ("chat end", REPLY) in handler.events
    assert handler.parents["ask"] == "citewell"
    assert handler.parents["retrieval hybrid"] == "ask"
    assert handler.parents["chat scripted"] == "generate grounded"
    assert handler.documents and handler.documents[0].metadata["start_index"] >= 0
    assert handler.tokens == ("" if method == "invoke" else REPLY)


def test_callbacks_receive_failures(filled_pipeline: Pipeline) -> None:
    handler = _RecordingHandler()
    with pytest.raises(QueryError):
        CitewellRunnable(filled_pipeline).invoke("", {"callbacks": [handler]})
    assert ("error", "QueryError") in handler.events


def test_a_stream_can_be_closed_early(filled_pipeline: Pipeline) -> None:
    stream = CitewellRunnable(use_scripted_model(filled_pipeline, REPLY)).stream(QUESTION)
    next(stream)
    stream.close()  # type: ignore[attr-defined]


def test_an_abstention_after_streamed_text_is_appended(filled_pipeline: Pipeline) -> None:
    chain = CitewellRunnable(
        use_scripted_model(filled_pipeline, "The pilot was Amelia Earhart.", REPLY)
    )
    pieces = list(chain.stream("Who was the pilot?"))
    assert pieces[-1]["status"] == "abstained"
    text = "".join(piece.get("answer", "") for piece in pieces)
    assert text.endswith("I could not find an answer to that in the sources.")


def test_the_loader_loads_documents_and_skips_failures_on_request(folder: Path) -> None:
    documents = CitewellLoader(folder).load()
    assert [d.metadata["title"] for d in documents] == ["Kite 4 handbook", "notes.txt"]
    assert documents[0].metadata["source"].endswith("handbook.md")
    (folder / "broken.pdf").write_bytes(b"%PDF-1.4 no")
    with pytest.raises(ParseError):
        CitewellLoader(folder).load()
    assert len(CitewellLoader(folder, on_error="skip").load()) == 2


def test_the_tool_returns_the_quotes_for_the_model(filled_pipeline: Pipeline) -> None:
    tool = CitewellTool(pipeline=filled_pipeline)
    call = {"name": tool.name, "args": {"question": QUESTION}, "id": "1", "type": "tool_call"}
    message = tool.invoke(call)
    assert '"A full battery lasts 34 minutes in calm air."' in message.content
    assert message.artifact.citations[0].verified
    assert "could not find" in tool.invoke({"question": "Who wrote Faust?"})


def test_an_abstention_has_no_citations_of_its_draft(filled_pipeline: Pipeline) -> None:
    from rag.llm import Completion, Delta

    class RefusingChat(ScriptedChat):
        def _stream(self, messages: Any, **_: Any) -> Any:
            yield Delta(f"{REPLY} And ")
            yield Delta("", Completion(f"{REPLY} And ", finish_reason="refusal"))

    generator = GroundedGenerator(model=RefusingChat(replies=("x",)))
    pieces = list(
        CitewellRunnable(filled_pipeline.model_copy(update={"generator": generator})).stream(
            QUESTION
        )
    )
    output = add_pieces(pieces)
    assert output["status"] == "abstained" and output["citations"] == []


def test_a_call_accepts_a_filter_and_refuses_other_options(filled_pipeline: Pipeline) -> None:
    where = {"field": "title", "op": "==", "value": "notes.txt"}
    output = CitewellRunnable(filled_pipeline).invoke(QUESTION, where=where)
    assert {d.metadata["title"] for d in output["context"]} == {"notes.txt"}
    with pytest.raises(QueryError, match="not k"):
        CitewellRunnable(filled_pipeline).invoke(QUESTION, k=3)


def test_the_loader_keeps_title_and_metadata_of_the_source() -> None:
    from typing import ClassVar

    from connectors import Connector, Source

    class SingleSource(Connector):
        name: ClassVar[str] = "single-source"
        scope: ClassVar[str] = "odd:"  # type: ignore[assignment]

        def sources(self) -> Iterator[Source]:
            yield Source(
                uri="odd:a",
                version="1",
                read=lambda: b"x",
                title="My title",
                metadata={"author": "Ann"},
            )

    (document,) = CitewellLoader(SingleSource()).load()
    assert (document.metadata["title"], document.metadata["author"]) == ("My title", "Ann")
