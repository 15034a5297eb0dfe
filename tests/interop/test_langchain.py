from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.callbacks import AsyncCallbackHandler, BaseCallbackHandler
from langchain_core.document_loaders import BaseLoader
from langchain_core.documents import BaseDocumentCompressor
from langchain_core.documents import Document as TheirDocument
from langchain_core.embeddings import DeterministicFakeEmbedding, Embeddings
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableLambda, RunnablePassthrough
from langchain_core.tools import BaseTool
from langchain_core.vectorstores import InMemoryVectorStore
from langchain_tests.integration_tests import (
    EmbeddingsIntegrationTests,
    RetrieversIntegrationTests,
    ToolsIntegrationTests,
)
from langchain_tests.unit_tests import EmbeddingsUnitTests, ToolsUnitTests
from langchain_text_splitters import (
    CharacterTextSplitter,
    MarkdownHeaderTextSplitter,
    RecursiveCharacterTextSplitter,
)

from rag import Document, GroundedGenerator, Pipeline, ScriptedChat, StaticEmbedder
from rag.component import build
from rag.errors import ConfigError, ModelRateLimited, ParseError, QueryError
from rag.interop.langchain import (
    CitewellEmbeddings,
    CitewellLoader,
    CitewellRetriever,
    CitewellRunnable,
    CitewellTool,
    LangChainChat,
    LangChainEmbedder,
    LangChainRetriever,
    LangChainSplitter,
)
from rag.retrieval.external_passages import passage_uri
from rag.types import Message

QUESTION = "How long does a full battery last?"
REPLY = "A full battery lasts 34 minutes in calm air [1]."


@pytest.fixture
def filled(pipeline: Pipeline, folder: Path) -> Pipeline:
    pipeline.ingest(folder)
    return pipeline


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    """A pipeline over a handful of documents, for the standard suites."""
    place = tmp_path_factory.mktemp("suite")
    docs = place / "docs"
    docs.mkdir()
    for number in range(6):
        (docs / f"{number}.txt").write_text(f"Heron {number} stands at the pier of lake {number}.")
    with Pipeline(index=place / "index") as made:
        made.ingest(docs)
        yield made


# -- ours in theirs: the standard suites ---------------------------------------------------


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
    def _served(self, shared: Pipeline) -> None:
        type(self).pipeline = shared

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
    def _served(self, shared: Pipeline) -> None:
        type(self).pipeline = shared

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


# -- ours in theirs ------------------------------------------------------------------------


def test_the_runnable_answers_with_exact_citations(filled: Pipeline) -> None:
    found = CitewellRunnable(filled).invoke(QUESTION)
    assert found["status"] == "answered"
    (cited,) = found["citations"]
    assert filled.document(cited["uri"]).text[cited["start"] : cited["end"]] == cited["quote"]
    context = found["context"][0]
    text = filled.document(context.metadata["source"]).text
    start, end = context.metadata["start_index"], context.metadata["end_index"]
    assert text[start:end] == context.page_content


def test_streams_add_up_to_what_invoke_returns(filled: Pipeline) -> None:
    chain = CitewellRunnable(filled)

    async def apart() -> list[dict[str, Any]]:
        return [piece async for piece in chain.astream({"input": QUESTION})]

    whole = chain.invoke(QUESTION)
    for pieces in (list(chain.stream(QUESTION)), asyncio.run(apart())):
        assert len(pieces) >= 2
        total = pieces[0]
        for piece in pieces[1:]:
            total = total + piece  # type: ignore[operator]
        assert dict(total) == whole


def test_batches_and_chains(filled: Pipeline) -> None:
    chain = CitewellRunnable(filled) | RunnableLambda(lambda found: found["answer"])
    one, other = chain.batch([QUESTION, "What are the propellers made of?"])
    assert "34 minutes" in one and "nylon" in other
    beside = {"question": RunnablePassthrough()} | CitewellRunnable(filled)
    assert beside.invoke(QUESTION)["question"] == QUESTION

    async def apart() -> Any:
        return await chain.abatch([QUESTION])

    assert asyncio.run(apart()) == [one]


def test_history_in_any_form_is_understood(filled: Pipeline) -> None:
    chain = CitewellRunnable(filled)
    earlier = [Message(role="user", content="How long does the battery last?")]
    followed = "And how long does charging take?"
    expected = filled.ask(followed, history=earlier)
    assert "90 minutes" in expected.text
    assert expected.trace[0].name == "condense"
    for history in (
        [HumanMessage("How long does the battery last?"), AIMessage("34 minutes.")],
        [("human", "How long does the battery last?"), ("ai", "34 minutes.")],
        [{"role": "user", "content": "How long does the battery last?"}],
    ):
        found = chain.invoke({"question": followed, "chat_history": history})
        assert found["answer"] == expected.text
    with pytest.raises(QueryError, match="question"):
        chain.invoke({"query": "x"})
    with pytest.raises(QueryError, match="mapping"):
        chain.invoke(7)  # type: ignore[arg-type]


class _Told(BaseCallbackHandler):
    def __init__(self) -> None:
        self.seen: list[tuple[str, str]] = []
        self.parents: dict[str, str | None] = {}
        self.names: dict[Any, str] = {}
        self.tokens = ""
        self.documents: list[TheirDocument] = []

    def _begin(self, kind: str, run_id: Any, parent: Any, name: str | None) -> None:
        self.seen.append((kind, name or ""))
        self.names[run_id] = name or ""
        self.parents[name or ""] = self.names.get(parent)

    def on_chain_start(
        self, serialized: Any, inputs: Any, *, run_id: Any, parent_run_id: Any = None, **more: Any
    ) -> None:
        self._begin("chain", run_id, parent_run_id, more.get("name"))

    def on_retriever_start(
        self, serialized: Any, query: str, *, run_id: Any, parent_run_id: Any = None, **more: Any
    ) -> None:
        self._begin("retriever", run_id, parent_run_id, more.get("name"))

    def on_chat_model_start(
        self, serialized: Any, messages: Any, *, run_id: Any, parent_run_id: Any = None, **more: Any
    ) -> None:
        self._begin("chat", run_id, parent_run_id, more.get("name"))

    def on_retriever_end(self, documents: Any, **more: Any) -> None:
        self.documents = list(documents)
        self.seen.append(("retriever end", ""))

    def on_llm_new_token(self, token: str, **more: Any) -> None:
        self.tokens += token

    def on_llm_end(self, response: Any, **more: Any) -> None:
        self.seen.append(("chat end", response.generations[0][0].text))

    def on_chain_error(self, error: BaseException, **more: Any) -> None:
        self.seen.append(("error", type(error).__name__))


class _ToldLater(_Told, AsyncCallbackHandler):
    async def on_chain_start(self, *args: Any, **more: Any) -> None:  # type: ignore[override]
        _Told.on_chain_start(self, *args, **more)

    async def on_retriever_start(self, *args: Any, **more: Any) -> None:  # type: ignore[override]
        _Told.on_retriever_start(self, *args, **more)

    async def on_chat_model_start(self, *args: Any, **more: Any) -> None:  # type: ignore[override]
        _Told.on_chat_model_start(self, *args, **more)

    async def on_retriever_end(self, *args: Any, **more: Any) -> None:  # type: ignore[override]
        _Told.on_retriever_end(self, *args, **more)

    async def on_llm_new_token(self, *args: Any, **more: Any) -> None:  # type: ignore[override]
        _Told.on_llm_new_token(self, *args, **more)

    async def on_llm_end(self, *args: Any, **more: Any) -> None:  # type: ignore[override]
        _Told.on_llm_end(self, *args, **more)

    async def on_chain_error(self, *args: Any, **more: Any) -> None:  # type: ignore[override]
        _Told.on_chain_error(self, *args, **more)


def _grounded(filled: Pipeline, *replies: str) -> Pipeline:
    model = ScriptedChat(replies=replies)
    return filled.model_copy(update={"generator": GroundedGenerator(model=model)})


@pytest.mark.parametrize("way", ["invoke", "stream", "ainvoke", "astream"])
def test_callbacks_see_our_stages(filled: Pipeline, way: str) -> None:
    told = _ToldLater() if way == "ainvoke" else _Told()
    chain = CitewellRunnable(_grounded(filled, REPLY))
    config: Any = {"callbacks": [told]}

    async def apart() -> None:
        if way == "ainvoke":
            await chain.ainvoke(QUESTION, config)
        else:
            async for _ in chain.astream(QUESTION, config):
                pass

    if way == "invoke":
        chain.invoke(QUESTION, config)
    elif way == "stream":
        list(chain.stream(QUESTION, config))
    else:
        asyncio.run(apart())
    kinds = [kind for kind, _ in told.seen]
    assert kinds.count("retriever") == kinds.count("retriever end") == 1
    assert ("chat end", REPLY) in told.seen
    assert told.parents["ask"] == "citewell"
    assert told.parents["retrieval hybrid"] == "ask"
    assert told.parents["chat scripted"] == "generate grounded"
    assert told.documents and told.documents[0].metadata["start_index"] >= 0
    assert told.tokens == ("" if way == "invoke" else REPLY)


def test_callbacks_are_told_of_failures(filled: Pipeline) -> None:
    told = _Told()
    with pytest.raises(QueryError):
        CitewellRunnable(filled).invoke("", {"callbacks": [told]})
    assert ("error", "QueryError") in told.seen


def test_a_stream_that_is_left_says_nothing_more(filled: Pipeline) -> None:
    stream = CitewellRunnable(_grounded(filled, REPLY)).stream(QUESTION)
    next(stream)
    stream.close()  # type: ignore[attr-defined]


def test_an_abstention_after_a_draft_is_told_at_the_end(filled: Pipeline) -> None:
    chain = CitewellRunnable(_grounded(filled, "The pilot was Amelia Earhart.", REPLY))
    pieces = list(chain.stream("Who was the pilot?"))
    assert pieces[-1]["status"] == "abstained"
    said = "".join(piece.get("answer", "") for piece in pieces)
    assert said.endswith("I could not find an answer to that in the sources.")


def test_the_loader_reads_what_our_connectors_read(folder: Path) -> None:
    documents = CitewellLoader(folder).load()
    assert [d.metadata["title"] for d in documents] == ["Kite 4 handbook", "notes.txt"]
    assert documents[0].metadata["source"].endswith("handbook.md")
    (folder / "broken.pdf").write_bytes(b"%PDF-1.4 no")
    with pytest.raises(ParseError):
        CitewellLoader(folder).load()
    assert len(CitewellLoader(folder, on_error="skip").load()) == 2


def test_the_tool_tells_a_model_the_quotes(filled: Pipeline) -> None:
    tool = CitewellTool(pipeline=filled)
    call = {"name": tool.name, "args": {"question": QUESTION}, "id": "1", "type": "tool_call"}
    message = tool.invoke(call)
    assert '"A full battery lasts 34 minutes in calm air."' in message.content
    assert message.artifact.citations[0].verified
    assert "could not find" in tool.invoke({"question": "Who wrote Faust?"})


# -- theirs in ours ------------------------------------------------------------------------


def test_embeddings_are_an_embedder(tmp_path: Path, folder: Path) -> None:
    theirs = DeterministicFakeEmbedding(size=12)
    with Pipeline(index=tmp_path / "i", embedder=theirs, retriever="dense") as made:  # type: ignore[arg-type]
        assert isinstance(made.embedder, LangChainEmbedder)
        assert made.embedder.dimension == 12
        assert made.embedder.label.startswith("DeterministicFakeEmbedding(size=12)-")
        made.ingest(folder)
        assert made.search(QUESTION)
        vectors = made.embedder.embed_documents(["a", "", "b"])
        assert vectors.shape == (3, 12) and vectors.dtype == np.float32
        assert np.allclose(np.linalg.norm(vectors, axis=1), [1, 0, 1])
    other = LangChainEmbedder(embeddings=DeterministicFakeEmbedding(size=13))
    assert other.fingerprint != made.embedder.fingerprint
    same = LangChainEmbedder(embeddings=DeterministicFakeEmbedding(size=12))
    assert same.fingerprint == made.embedder.fingerprint


def test_a_chat_model_is_a_chat_model(filled: Pipeline) -> None:
    theirs = GenericFakeChatModel(messages=iter([AIMessage(REPLY), AIMessage(REPLY)]))
    generator = GroundedGenerator(model=theirs)  # type: ignore[arg-type]
    made = filled.model_copy(update={"generator": generator})
    answer = made.ask(QUESTION)
    assert answer.status == "answered" and answer.citations[0].verified
    texts = list(made.stream(QUESTION))
    assert texts[-1].answer.text == answer.text  # type: ignore[union-attr]


def test_usage_and_reasons_are_taken_over() -> None:
    used = {"input_tokens": 7, "output_tokens": 3, "total_tokens": 10}
    said = AIMessage("Yes.", usage_metadata=used, response_metadata={"stop_reason": "max_tokens"})  # type: ignore[arg-type]
    model = LangChainChat(model=GenericFakeChatModel(messages=iter([said])))
    found = model.complete([Message(role="user", content="?")])
    assert (found.usage.input_tokens, found.usage.output_tokens) == (7, 3)
    assert found.finish_reason == "length"


def test_what_their_models_raise_is_ours() -> None:
    class RateLimitError(Exception):
        pass

    class Busy(GenericFakeChatModel):
        def _generate(self, *_: Any, **__: Any) -> Any:
            raise RateLimitError("slow down")

    with pytest.raises(ModelRateLimited, match="slow down"):
        LangChainChat(model=Busy(messages=iter([]))).complete([Message(role="user", content="?")])


class _Loader(BaseLoader):
    def __init__(self, documents: list[TheirDocument]) -> None:
        self.documents = documents

    def lazy_load(self) -> Iterator[TheirDocument]:
        yield from self.documents


def test_a_loader_is_a_connector_and_its_changes_are_followed(pipeline: Pipeline) -> None:
    documents = [
        TheirDocument("The kettle holds two litres.", metadata={"source": "manual.pdf", "page": 1}),
        TheirDocument("It boils in four minutes.", metadata={"source": "manual.pdf", "page": 2}),
        TheirDocument("The toaster has two slots.", metadata={"year": 2020}),
    ]
    loader = _Loader(documents)
    first = pipeline.ingest(loader)  # type: ignore[arg-type]
    assert (first.added, len(first.failed)) == (3, 0)
    answer = pipeline.ask("How long does it take to boil?")
    assert answer.citations[0].uri.endswith("/manual.pdf!/2") and answer.citations[0].verified
    loader.documents = [
        documents[0],
        TheirDocument("It boils in three minutes.", metadata={"source": "manual.pdf", "page": 2}),
    ]
    second = pipeline.ingest(loader)  # type: ignore[arg-type]
    assert (second.updated, second.unchanged, second.deleted) == (1, 1, 1)


def test_a_vector_store_answers_with_verified_citations(tmp_path: Path) -> None:
    embeddings = CitewellEmbeddings()
    store = InMemoryVectorStore(embeddings)
    store.add_texts(
        ["A full battery lasts 34 minutes in calm air.", "The propellers are made of nylon."],
        metadatas=[{"source": "handbook", "year": 2020}, {"source": "parts", "year": 2021}],
    )
    with Pipeline(index=tmp_path / "none", retriever=store) as made:  # type: ignore[arg-type]
        answer = made.ask(QUESTION)
        assert answer.text.startswith("A full battery lasts 34 minutes")
        (cited,) = answer.citations
        assert cited.verified and cited.title == "handbook"
        assert cited.uri == passage_uri("A full battery lasts 34 minutes in calm air.")
        only = made.search("battery", where={"field": "year", "op": "==", "value": 2021})
        assert [hit.chunk.title for hit in only] == ["parts"]


def test_a_retriever_whose_sources_are_in_the_index_cites_those(
    filled: Pipeline, folder: Path
) -> None:
    class Theirs(BaseRetriever):
        def _get_relevant_documents(self, query: str, **_: Any) -> list[TheirDocument]:
            text = "A full  battery lasts\n34 minutes in calm air."  # other white space
            return [TheirDocument(text, metadata={"source": str(folder / "handbook.md")})]

    made = filled.model_copy(update={"retriever": LangChainRetriever(retriever=Theirs())})
    (hit,) = made.search(QUESTION)
    document = filled.document(hit.chunk.uri)
    assert document.uri.endswith("handbook.md")
    assert document.text[hit.chunk.start : hit.chunk.end] == hit.chunk.text
    assert made.ask(QUESTION).citations[0].verified


TEXTS = st.text(st.sampled_from("ab .\n\n\t#é𝄞xyz"), min_size=0, max_size=400) | st.lists(
    st.sampled_from(["same words. ", "a b c\n\n", "# head\n", "long" * 30]), max_size=20
).map("".join)


@given(TEXTS, st.integers(5, 60), st.booleans())
def test_splitters_keep_our_contract(text: str, size: int, keep: bool) -> None:
    document = Document(uri="a:b", text=text)
    splitter = RecursiveCharacterTextSplitter(
        chunk_size=size, chunk_overlap=size // 3, keep_separator=keep
    )
    embedder = StaticEmbedder()
    chunks = LangChainSplitter(splitter=splitter).split(document, embedder)
    covered = set()
    for chunk in chunks:
        assert text[chunk.start : chunk.end] == chunk.text and chunk.text.strip()
        covered |= set(range(chunk.start, chunk.end))
    assert all(i in covered for i, sign in enumerate(text) if not sign.isspace())
    assert len({chunk.id for chunk in chunks}) == len(chunks)


def test_a_splitter_that_drops_headings_loses_nothing(pipeline: Pipeline) -> None:
    text = "# One\n\nFirst part.\n\n# Two\n\nSecond part.\n"
    splitter = MarkdownHeaderTextSplitter([("#", "title")])
    chunks = LangChainSplitter(splitter=splitter).split(
        Document(uri="a:b", text=text), pipeline.embedder
    )
    assert [chunk.text for chunk in chunks] == ["# One\n\nFirst part.", "# Two\n\nSecond part."]


def test_a_splitter_that_changes_words_is_refused(pipeline: Pipeline, folder: Path) -> None:
    class Shouting(CharacterTextSplitter):
        def split_text(self, text: str) -> list[str]:
            return [text.upper()]

    made = pipeline.model_copy(update={"chunker": LangChainSplitter(splitter=Shouting())})
    report = made.ingest(folder)
    assert len(report.failed) == 2
    assert "changes the text" in report.failed[0].error
    assert report.seen == 2


def test_long_pieces_are_cut_to_what_the_embedder_reads(pipeline: Pipeline) -> None:
    text = "word " * 3000
    embedder = LangChainEmbedder(embeddings=DeterministicFakeEmbedding(size=4), limit=100)
    splitter = CharacterTextSplitter(chunk_size=10**6, chunk_overlap=0)
    chunks = LangChainSplitter(splitter=splitter).split(Document(uri="a:b", text=text), embedder)
    assert len(chunks) > 10
    assert max(embedder.count_tokens([c.text for c in chunks])) <= 100


class _Compressor(BaseDocumentCompressor):
    made: Any

    def compress_documents(self, documents: Any, query: str, callbacks: Any = None) -> Any:
        return self.made(list(documents))


def _by(filled: Pipeline, made: Any) -> Pipeline:
    return Pipeline(index=filled.index, postprocessors=_Compressor(made=made))  # type: ignore[arg-type]


def test_compressors_reorder_and_filter(filled: Pipeline) -> None:
    plain = filled.search(QUESTION)
    assert len(plain) > 1
    with _by(filled, lambda found: found[::-1]) as made:
        assert [h.chunk.id for h in made.search(QUESTION)] == [h.chunk.id for h in plain][::-1]
        scores = [h.score for h in made.search(QUESTION)]
        assert scores == sorted(scores, reverse=True)
    with _by(filled, lambda found: []) as made:
        assert made.search(QUESTION) == []


def test_compressors_that_extract_narrow_the_hit_and_inventions_do_not(filled: Pipeline) -> None:
    def shortened(found: list[TheirDocument]) -> list[TheirDocument]:
        first, *_ = found
        words = "lasts 34 minutes"
        return [
            TheirDocument(words, metadata=first.metadata),
            TheirDocument("It says something about time.", metadata=found[1].metadata),
        ]

    with _by(filled, shortened) as made:
        one, other = made.search(QUESTION)
        text = filled.document(one.chunk.uri).text
        assert one.chunk.text == "lasts 34 minutes" == text[one.chunk.start : one.chunk.end]
        assert (
            other.chunk.text
            == filled.document(other.chunk.uri).text[other.chunk.start : other.chunk.end]
        )


def test_other_objects_are_refused() -> None:
    with pytest.raises(ConfigError, match="given as an instance"):
        build("embedder", StrOutputParser())
    with pytest.raises(ConfigError, match="given as an instance"):
        build("retriever", DeterministicFakeEmbedding(size=3))


def test_a_pipeline_of_their_parts_says_what_it_is(tmp_path: Path) -> None:
    theirs: Any = DeterministicFakeEmbedding(size=12)
    made = Pipeline(index=tmp_path / "i", embedder=theirs)
    assert "DeterministicFakeEmbedding(size=12)" in str(made.config())
    with pytest.raises(ConfigError, match="module:attribute"):
        made.to_yaml()


# -- found by others -----------------------------------------------------------------------


class _FileLoader(BaseLoader):
    def __init__(self, path: Path, api_key: str = "k", fails: bool = False) -> None:
        self.file_path, self.api_key, self.fails = str(path), api_key, fails

    def lazy_load(self) -> Iterator[TheirDocument]:
        yield TheirDocument(Path(self.file_path).read_text(), metadata={"source": "same"})
        if self.fails:
            raise RuntimeError("the connection broke off")
        yield TheirDocument("A second text.", metadata={"source": "same"})


def test_loaders_of_one_class_do_not_delete_each_others_documents(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    for name in "ab":
        (tmp_path / name).write_text(f"The text of {name}.")
    for name in "ab":
        assert pipeline.ingest(_FileLoader(tmp_path / name)).deleted == 0  # type: ignore[arg-type]
    assert pipeline.stats().documents == 4
    again = pipeline.ingest(_FileLoader(tmp_path / "a", api_key="another"))  # type: ignore[arg-type]
    assert again.unchanged == 2


def test_a_loader_that_fails_midway_is_a_failure_and_deletes_nothing(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    (tmp_path / "a").write_text("The text of a.")
    loader = _FileLoader(tmp_path / "a")
    pipeline.ingest(loader)  # type: ignore[arg-type]
    label = build("connector", loader).label  # type: ignore[attr-defined]
    from rag.interop.langchain import LangChainLoader

    loader.fails = True
    report = pipeline.ingest(LangChainLoader(loader=loader, label=label))
    assert (report.deleted, len(report.failed)) == (0, 1)
    assert "broke off" in report.failed[0].error
    assert pipeline.stats().documents == 2


def test_splitters_with_other_settings_are_other_parts(pipeline: Pipeline, folder: Path) -> None:
    def made(size: int) -> LangChainSplitter:
        return LangChainSplitter(
            splitter=RecursiveCharacterTextSplitter(chunk_size=size, chunk_overlap=0)
        )

    assert made(100).fingerprint == made(100).fingerprint != made(50).fingerprint
    pipeline.model_copy(update={"chunker": made(200)}).ingest(folder)
    assert pipeline.model_copy(update={"chunker": made(60)}).ingest(folder).updated == 2


def test_pieces_are_not_found_within_other_words(pipeline: Pipeline) -> None:
    text = "concatenate is long\n\ncat\n\ndog"
    splitter = CharacterTextSplitter(separator="\n\n", chunk_size=5, chunk_overlap=0)
    chunks = LangChainSplitter(splitter=splitter).split(
        Document(uri="a:b", text=text), pipeline.embedder
    )
    assert [(c.start, c.text) for c in chunks] == [
        (0, "concatenate is long"),
        (21, "cat"),
        (26, "dog"),
    ]


def test_a_splitter_that_squeezes_a_long_text_is_followed(pipeline: Pipeline) -> None:
    text = "word  of\n a   text, " * 20_000

    class Squeezing(CharacterTextSplitter):
        def split_text(self, text: str) -> list[str]:
            words = text.split()
            return [" ".join(words[i : i + 50]) for i in range(0, len(words), 50)]

    chunks = LangChainSplitter(splitter=Squeezing()).split(
        Document(uri="a:b", text=text), pipeline.embedder
    )
    assert all(text[c.start : c.end] == c.text for c in chunks)
    assert chunks[-1].end == len(text.rstrip())


def test_what_is_odd_in_a_foreign_result_costs_that_result_only(filled: Pipeline) -> None:
    class Odd(BaseRetriever):
        def _get_relevant_documents(self, query: str, **_: Any) -> list[TheirDocument]:
            sources: list[Any] = ["http://[1", "a\ud800b", "\0", 7, None, "~", "x" * 5_000]
            found = [
                TheirDocument(f"Passage {i}.", metadata={"source": s})
                for i, s in enumerate(sources)
            ]
            found[0].metadata["relevance_score"] = float("nan")
            return [*found, TheirDocument(""), found[1]]

    made = filled.model_copy(update={"retriever": LangChainRetriever(retriever=Odd())})
    hits = made.search("passage", k=20)
    assert len(hits) == 7 and all(np.isfinite(hit.score) for hit in hits)
    assert made.ask("passage").model_dump_json()


def test_a_passage_that_is_narrowed_is_still_verified(tmp_path: Path) -> None:
    store = InMemoryVectorStore(CitewellEmbeddings())
    store.add_texts(["It is grey. A full battery lasts 34 minutes in calm air. It flies."])

    def shortened(found: list[TheirDocument]) -> list[TheirDocument]:
        words = "A full battery lasts 34 minutes in calm air."
        return [TheirDocument(words, metadata=d.metadata) for d in found] * 2

    update: Any = {"retriever": store, "postprocessors": _Compressor(made=shortened)}
    with Pipeline(index=tmp_path / "none", **update) as made:
        (hit,) = made.search(QUESTION)  # the same twice is one
        assert hit.stage_scores["langchain"].rank == 1
        answer = made.ask(QUESTION)
        assert answer.citations[0].verified and answer.citations[0].start == 12


def test_a_foreign_passage_that_is_a_chunk_of_ours_is_that_chunk(filled: Pipeline) -> None:
    own = filled.search(QUESTION)[0]

    class Theirs(BaseRetriever):
        def _get_relevant_documents(self, query: str, **_: Any) -> list[TheirDocument]:
            return [TheirDocument(own.chunk.text, metadata={"source": own.chunk.uri})]

    made = filled.model_copy(update={"retriever": LangChainRetriever(retriever=Theirs())})
    assert made.search(QUESTION)[0].chunk == own.chunk


def test_a_bound_model_is_a_chat_model(filled: Pipeline) -> None:
    theirs: Any = GenericFakeChatModel(messages=iter([AIMessage(REPLY)] * 4))
    for model in (theirs.bind(stop=["x"]), theirs.with_retry(), theirs.with_fallbacks([theirs])):
        generator = GroundedGenerator(model=model)
        answer = filled.model_copy(update={"generator": generator}).ask(QUESTION)
        assert answer.citations[0].verified


def test_an_abstention_brings_no_citations_of_its_draft(filled: Pipeline) -> None:
    from rag.llm import Completion, Delta

    class Refusing(ScriptedChat):
        def _stream(self, messages: Any, **_: Any) -> Any:
            yield Delta(f"{REPLY} And ")
            yield Delta("", Completion(f"{REPLY} And ", finish_reason="refusal"))

    generator = GroundedGenerator(model=Refusing(replies=("x",)))
    pieces = list(
        CitewellRunnable(filled.model_copy(update={"generator": generator})).stream(QUESTION)
    )
    total = pieces[0]
    for piece in pieces[1:]:
        total = total + piece  # type: ignore[operator]
    assert total["status"] == "abstained" and total["citations"] == []


def test_a_filter_goes_with_a_call_and_other_options_are_refused(filled: Pipeline) -> None:
    where = {"field": "title", "op": "==", "value": "notes.txt"}
    found = CitewellRunnable(filled).invoke(QUESTION, where=where)
    assert {d.metadata["title"] for d in found["context"]} == {"notes.txt"}
    with pytest.raises(QueryError, match="not k"):
        CitewellRunnable(filled).invoke(QUESTION, k=3)


def test_the_loader_keeps_what_the_place_says() -> None:
    from typing import ClassVar

    from connectors import Connector, Source

    class Place(Connector):
        name: ClassVar[str] = "place"
        scope: ClassVar[str] = "odd:"  # type: ignore[assignment]

        def sources(self) -> Iterator[Source]:
            yield Source(
                uri="odd:a",
                version="1",
                read=lambda: b"x",
                title="My title",
                metadata={"author": "Ann"},
            )

    (document,) = CitewellLoader(Place()).load()
    assert (document.metadata["title"], document.metadata["author"]) == ("My title", "Ann")
