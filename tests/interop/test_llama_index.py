from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from llama_index.core import Document as LlamaIndexDocument
from llama_index.core import MockEmbedding, SimpleDirectoryReader, VectorStoreIndex
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.base.response.schema import StreamingResponse
from llama_index.core.llms import CompletionResponse, CustomLLM, LLMMetadata
from llama_index.core.node_parser import (
    SentenceSplitter,
    SentenceWindowNodeParser,
    TokenTextSplitter,
)
from llama_index.core.postprocessor import SimilarityPostprocessor
from llama_index.core.schema import NodeRelationship, NodeWithScore, QueryBundle, TextNode

from rag import Document, GroundedGenerator, Pipeline, StaticEmbedder
from rag.errors import ModelError
from rag.interop.llama_index import (
    CitewellEmbedding,
    CitewellNodeParser,
    CitewellQueryEngine,
    CitewellRetriever,
    LlamaIndexChat,
    LlamaIndexNodeParser,
    LlamaIndexPostprocessor,
    LlamaIndexReader,
    LlamaIndexRetriever,
    citewell_tool,
)
from rag.types import Message
from tests.interop.conftest import QUESTION, REPLY, use_scripted_model


class EchoModel(CustomLLM):
    """A model of LlamaIndex that streams a fixed reply, word by word."""

    reply: str = REPLY
    fails: bool = False

    @property
    def metadata(self) -> LLMMetadata:
        return LLMMetadata(context_window=4_096, num_output=256, model_name="echo")

    def complete(self, prompt: str, formatted: bool = False, **_: Any) -> CompletionResponse:
        if self.fails:
            raise RuntimeError("the model is broken")
        return CompletionResponse(text=self.reply)

    def stream_complete(
        self, prompt: str, formatted: bool = False, **_: Any
    ) -> Iterator[CompletionResponse]:  # type: ignore[override]
        text = ""
        for word in self.reply.split(" "):
            delta = f" {word}" if text else word
            text += delta
            yield CompletionResponse(text=text, delta=delta)


# -- exports --------------------------------------------------------------------------


def test_the_retriever_returns_nodes_with_exact_offsets(filled_pipeline: Pipeline) -> None:
    retriever = CitewellRetriever(filled_pipeline, k=2)
    nodes = retriever.retrieve(QUESTION)
    assert len(nodes) == 2 and nodes[0].score is not None
    node = nodes[0].node
    assert isinstance(node, TextNode) and node.ref_doc_id
    text = filled_pipeline.document(node.ref_doc_id).text
    assert text[node.start_char_idx : node.end_char_idx] == node.text
    async_nodes = asyncio.run(retriever.aretrieve(QUESTION))
    assert [n.node.node_id for n in async_nodes] == [n.node.node_id for n in nodes]
    assert "uri" not in node.get_content(metadata_mode="embed")  # type: ignore[arg-type]


def test_source_nodes_of_the_query_engine_are_the_citations(filled_pipeline: Pipeline) -> None:
    engine = CitewellQueryEngine(filled_pipeline)
    for response in (engine.query(QUESTION), asyncio.run(engine.aquery(QUESTION))):
        assert "34 minutes" in str(response)
        node = response.source_nodes[0].node
        assert len(response.source_nodes) == 1
        assert node.metadata["marker"] == 1 and node.metadata["verified"] is True
        text = filled_pipeline.document(node.metadata["uri"]).text
        assert isinstance(node, TextNode)
        assert text[node.start_char_idx : node.end_char_idx] == node.text
        assert response.metadata and response.metadata["status"] == "answered"
        assert response.metadata["passages"]


def test_the_query_engine_streams(filled_pipeline: Pipeline) -> None:
    pipeline = use_scripted_model(filled_pipeline, REPLY, REPLY)
    response = CitewellQueryEngine(pipeline, streaming=True).query(QUESTION)
    assert isinstance(response, StreamingResponse) and response.response_gen is not None
    pieces = list(response.response_gen)
    assert len(pieces) > 3 and "".join(pieces) == REPLY
    assert [n.node.metadata["marker"] for n in response.source_nodes] == [1]
    assert response.metadata and response.metadata["status"] == "answered"

    async def stream_async() -> str:
        response: Any = await CitewellQueryEngine(pipeline, streaming=True).aquery(QUESTION)
        return "".join([text async for text in response.response_gen])

    assert asyncio.run(stream_async()) == REPLY


def test_the_tool_returns_the_answer_with_quotes(filled_pipeline: Pipeline) -> None:
    tool = citewell_tool(filled_pipeline)
    assert tool.metadata.name == "ask_documents"
    output = tool.call(question=QUESTION).content
    assert '"A full battery lasts 34 minutes in calm air."' in output
    assert asyncio.run(tool.acall(question=QUESTION)).content == output


def test_the_embedding_works_in_a_vector_store_index(filled_pipeline: Pipeline) -> None:
    index = VectorStoreIndex.from_documents(
        [LlamaIndexDocument(text="Herons eat fish."), LlamaIndexDocument(text="Pumps move water.")],
        embed_model=CitewellEmbedding(),
    )
    (best_node,) = index.as_retriever(similarity_top_k=1).retrieve("What do herons eat?")
    assert best_node.text == "Herons eat fish."
    embedding = CitewellEmbedding("static")
    assert embedding.get_query_embedding("x") == asyncio.run(embedding.aget_query_embedding("x"))


def test_the_node_parser_returns_nodes_with_exact_offsets() -> None:
    text = "# One\n\n" + "First words of a part. " * 60 + "\n\n# Two\n\nLast words.\n"
    document = LlamaIndexDocument(text=text, metadata={"year": 2020})
    nodes = CitewellNodeParser(chunker={"type": "headings", "size": 64}).get_nodes_from_documents(
        [document]
    )
    assert len(nodes) > 2
    for node in nodes:
        assert isinstance(node, TextNode)
        assert text[node.start_char_idx : node.end_char_idx] == node.text
        assert node.ref_doc_id == document.id_ and node.metadata["year"] == 2020
    following = nodes[0].relationships[NodeRelationship.NEXT]
    assert following.node_id == nodes[1].node_id  # type: ignore[union-attr]


# -- adapters -------------------------------------------------------------------------


def test_a_reader_is_adapted_to_a_connector(pipeline: Pipeline, folder: Path) -> None:
    reader: Any = SimpleDirectoryReader(str(folder))
    assert pipeline.ingest(reader).added == 2
    answer = pipeline.ask(QUESTION)
    assert answer.citations[0].verified
    assert answer.citations[0].uri.endswith("handbook.md!/1")
    assert pipeline.ingest(SimpleDirectoryReader(str(folder))).unchanged == 2  # type: ignore[arg-type]


def test_arguments_are_passed_to_the_reader(pipeline: Pipeline, folder: Path) -> None:
    class NameReader:
        def load_data(self, name: str) -> list[LlamaIndexDocument]:
            return [LlamaIndexDocument(text=f"It is called {name}.", id_="a/b")]

    report = pipeline.ingest(LlamaIndexReader(reader=NameReader(), arguments={"name": "Kite"}))
    assert report.added == 1
    assert pipeline.search("Kite")[0].chunk.uri.endswith("/a/b!/1")


def test_an_embedding_is_adapted_to_an_embedder(tmp_path: Path, folder: Path) -> None:
    embedding: Any = MockEmbedding(embed_dim=5)
    with Pipeline(index=tmp_path / "i", embedder=embedding) as pipeline:
        pipeline.ingest(folder)
        assert pipeline.embedder.dimension == 5
        assert pipeline.search("battery")


def test_an_llm_is_adapted_to_a_chat_model(filled_pipeline: Pipeline) -> None:
    llm: Any = EchoModel()
    pipeline = filled_pipeline.model_copy(update={"generator": GroundedGenerator(model=llm)})
    answer = pipeline.ask(QUESTION)
    assert answer.status == "answered" and answer.citations[0].verified
    last_event = list(pipeline.stream(QUESTION))[-1]
    assert last_event.answer.text == answer.text  # type: ignore[union-attr]
    model = LlamaIndexChat(llm=llm)
    assert (model.context_tokens, model.reply_tokens, model.model_id) == (4_096, 256, "echo")
    with pytest.raises(ModelError, match="the model is broken"):
        LlamaIndexChat(llm=EchoModel(fails=True)).complete([Message(role="user", content="?")])


@given(
    st.lists(
        st.sampled_from(["Same words again. ", "A b c?\n\n", "# Head\n", "wordy " * 40, "𝄞é "]),
        max_size=25,
    ).map("".join),
    st.integers(8, 60),
)
def test_chunks_of_node_parsers_cover_the_text_with_exact_offsets(text: str, size: int) -> None:
    document = Document(uri="a:b", text=text)
    for parser in (
        SentenceSplitter(chunk_size=size, chunk_overlap=size // 4),
        TokenTextSplitter(chunk_size=size, chunk_overlap=0),
    ):
        chunks = LlamaIndexNodeParser(parser=parser).split(document, StaticEmbedder())
        covered_offsets = set()
        for chunk in chunks:
            assert text[chunk.start : chunk.end] == chunk.text
            covered_offsets |= set(range(chunk.start, chunk.end))
        assert all(
            i in covered_offsets for i, character in enumerate(text) if not character.isspace()
        )


def test_wrong_offsets_of_nodes_are_corrected() -> None:
    text = "One here. Two here. One here."

    class WrongOffsetParser:
        def get_nodes_from_documents(self, documents: Any) -> list[TextNode]:
            return [
                TextNode(text="One here.", start_char_idx=20, end_char_idx=29),  # true: the second
                TextNode(text="Two here.", start_char_idx=3, end_char_idx=12),  # wrong
            ]

    chunks = LlamaIndexNodeParser(parser=WrongOffsetParser()).split(
        Document(uri="a:b", text=text), StaticEmbedder()
    )
    assert [(c.start, c.text) for c in chunks] == [(0, "One here. Two here."), (20, "One here.")]


def test_a_sentence_window_parser_makes_a_chunk_per_sentence(filled_pipeline: Pipeline) -> None:
    parser: Any = SentenceWindowNodeParser.from_defaults(window_size=1)
    chunker = LlamaIndexNodeParser(parser=parser)
    document = filled_pipeline.document(next(iter(filled_pipeline.open().document_store.uris())))
    assert len(chunker.split(document, filled_pipeline.embedder)) > 3


def test_a_retriever_of_a_vector_store_index_answers_with_citations(tmp_path: Path) -> None:
    index = VectorStoreIndex.from_documents(
        [
            LlamaIndexDocument(
                text="A full battery lasts 34 minutes in calm air.",
                metadata={"file_name": "handbook"},
            ),
            LlamaIndexDocument(text="The propellers are made of nylon."),
        ],
        embed_model=CitewellEmbedding(),
    )
    retriever: Any = index.as_retriever(similarity_top_k=2)
    with Pipeline(index=tmp_path / "none", retriever=retriever) as pipeline:
        answer = pipeline.ask(QUESTION)
        assert answer.citations[0].verified and answer.citations[0].title == "handbook"
        assert answer.citations[0].uri.startswith("passage:")


def test_passages_of_indexed_documents_are_cited_in_those_documents(
    filled_pipeline: Pipeline,
) -> None:
    uri = next(u for u in filled_pipeline.open().document_store.uris() if u.endswith("handbook.md"))

    class FixedRetriever(BaseRetriever):
        def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
            node = TextNode(text="Charging takes 90 minutes.", metadata={"uri": uri})
            return [NodeWithScore(node=node, score=0.5)]

    pipeline = filled_pipeline.model_copy(
        update={"retriever": LlamaIndexRetriever(retriever=FixedRetriever())}
    )
    (hit,) = pipeline.search("charging")
    assert hit.chunk.uri == uri and hit.score == 0.5
    assert (
        filled_pipeline.document(uri).text[hit.chunk.start : hit.chunk.end]
        == "Charging takes 90 minutes."
    )


def test_a_postprocessor_filters_hits(filled_pipeline: Pipeline) -> None:
    hits = filled_pipeline.search(QUESTION)
    assert len(hits) > 1
    cutoff = SimilarityPostprocessor(similarity_cutoff=hits[0].score - 1e-6)
    postprocessor = LlamaIndexPostprocessor(postprocessor=cutoff)
    pipeline = filled_pipeline.model_copy(update={"postprocessors": (postprocessor,)})
    assert [hit.chunk.id for hit in pipeline.search(QUESTION)] == [hits[0].chunk.id]


def test_caches_of_llama_index_distinguish_our_parts() -> None:
    from llama_index.core.ingestion.pipeline import get_transformation_hash

    document = LlamaIndexDocument(
        text="One. Two.", excluded_embed_metadata_keys=["path"], metadata={"path": "x"}
    )
    small_parser, default_parser = (
        CitewellNodeParser({"type": "headings", "size": 64, "overlap": 0}),
        CitewellNodeParser(),
    )
    assert get_transformation_hash([document], small_parser) != get_transformation_hash(
        [document], default_parser
    )
    loaded_parser = CitewellNodeParser.from_dict(small_parser.to_dict())
    assert loaded_parser._chunker == small_parser._chunker
    embedding = CitewellEmbedding()
    assert CitewellEmbedding.from_dict(embedding.to_dict())._part == embedding._part
    (node,) = default_parser.get_nodes_from_documents([document])
    assert "path" not in node.get_content(metadata_mode="embed")  # type: ignore[arg-type]
    bare_nodes = CitewellNodeParser(include_metadata=False).get_nodes_from_documents([document])
    assert bare_nodes[0].metadata == {}


def test_an_adapted_index_returns_k_hits(tmp_path: Path) -> None:
    documents = [LlamaIndexDocument(text=f"Heron number {i}.") for i in range(9)]
    index: Any = VectorStoreIndex.from_documents(documents, embed_model=CitewellEmbedding())
    with Pipeline(index=tmp_path / "none", retriever=index) as pipeline:
        assert len(pipeline.search("heron", k=7)) == 7
