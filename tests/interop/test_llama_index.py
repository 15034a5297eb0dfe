from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from llama_index.core import Document as TheirDocument
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

from rag import Document, GroundedGenerator, Pipeline, ScriptedChat, StaticEmbedder
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

QUESTION = "How long does a full battery last?"
REPLY = "A full battery lasts 34 minutes in calm air [1]."


@pytest.fixture
def filled(pipeline: Pipeline, folder: Path) -> Pipeline:
    pipeline.ingest(folder)
    return pipeline


class Echo(CustomLLM):
    """A model of theirs that says what it is told to, word by word."""

    reply: str = REPLY
    fails: bool = False

    @property
    def metadata(self) -> LLMMetadata:
        return LLMMetadata(context_window=4_096, num_output=256, model_name="echo")

    def complete(self, prompt: str, formatted: bool = False, **_: Any) -> CompletionResponse:
        if self.fails:
            raise RuntimeError("out of order")
        return CompletionResponse(text=self.reply)

    def stream_complete(
        self, prompt: str, formatted: bool = False, **_: Any
    ) -> Iterator[CompletionResponse]:  # type: ignore[override]
        said = ""
        for word in self.reply.split(" "):
            delta = f" {word}" if said else word
            said += delta
            yield CompletionResponse(text=said, delta=delta)


# -- ours in theirs ------------------------------------------------------------------------


def test_the_retriever_gives_nodes_with_exact_offsets(filled: Pipeline) -> None:
    retriever = CitewellRetriever(filled, k=2)
    found = retriever.retrieve(QUESTION)
    assert len(found) == 2 and found[0].score is not None
    node = found[0].node
    assert isinstance(node, TextNode) and node.ref_doc_id
    text = filled.document(node.ref_doc_id).text
    assert text[node.start_char_idx : node.end_char_idx] == node.text
    apart = asyncio.run(retriever.aretrieve(QUESTION))
    assert [n.node.node_id for n in apart] == [n.node.node_id for n in found]
    assert "uri" not in node.get_content(metadata_mode="embed")  # type: ignore[arg-type]


def test_source_nodes_of_the_query_engine_are_the_citations(filled: Pipeline) -> None:
    engine = CitewellQueryEngine(filled)
    for response in (engine.query(QUESTION), asyncio.run(engine.aquery(QUESTION))):
        assert "34 minutes" in str(response)
        (cited,) = response.source_nodes
        assert cited.node.metadata["marker"] == 1 and cited.node.metadata["verified"] is True
        text = filled.document(cited.node.metadata["uri"]).text
        node = cited.node
        assert isinstance(node, TextNode)
        assert text[node.start_char_idx : node.end_char_idx] == node.text
        assert response.metadata and response.metadata["status"] == "answered"
        assert response.metadata["passages"]


def test_the_query_engine_streams(filled: Pipeline) -> None:
    grounded = GroundedGenerator(model=ScriptedChat(replies=(REPLY, REPLY)))
    made = filled.model_copy(update={"generator": grounded})
    response = CitewellQueryEngine(made, streaming=True).query(QUESTION)
    assert isinstance(response, StreamingResponse) and response.response_gen is not None
    pieces = list(response.response_gen)
    assert len(pieces) > 3 and "".join(pieces) == REPLY
    assert [n.node.metadata["marker"] for n in response.source_nodes] == [1]
    assert response.metadata and response.metadata["status"] == "answered"

    async def apart() -> str:
        found: Any = await CitewellQueryEngine(made, streaming=True).aquery(QUESTION)
        return "".join([text async for text in found.response_gen])

    assert asyncio.run(apart()) == REPLY


def test_the_tool_answers(filled: Pipeline) -> None:
    tool = citewell_tool(filled)
    assert tool.metadata.name == "ask_documents"
    told = tool.call(question=QUESTION).content
    assert '"A full battery lasts 34 minutes in calm air."' in told
    assert asyncio.run(tool.acall(question=QUESTION)).content == told


def test_the_embedding_works_in_their_index(filled: Pipeline) -> None:
    index = VectorStoreIndex.from_documents(
        [TheirDocument(text="Herons eat fish."), TheirDocument(text="Pumps move water.")],
        embed_model=CitewellEmbedding(),
    )
    (best,) = index.as_retriever(similarity_top_k=1).retrieve("What do herons eat?")
    assert best.text == "Herons eat fish."
    embedding = CitewellEmbedding("static")
    assert embedding.get_query_embedding("x") == asyncio.run(embedding.aget_query_embedding("x"))


def test_the_node_parser_gives_exact_nodes() -> None:
    text = "# One\n\n" + "First words of a part. " * 60 + "\n\n# Two\n\nLast words.\n"
    document = TheirDocument(text=text, metadata={"year": 2020})
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


# -- theirs in ours ------------------------------------------------------------------------


def test_a_reader_is_a_connector(pipeline: Pipeline, folder: Path) -> None:
    reader: Any = SimpleDirectoryReader(str(folder))
    assert pipeline.ingest(reader).added == 2
    answer = pipeline.ask(QUESTION)
    assert answer.citations[0].verified
    assert answer.citations[0].uri.endswith("handbook.md!/1")
    assert pipeline.ingest(SimpleDirectoryReader(str(folder))).unchanged == 2  # type: ignore[arg-type]


def test_a_reader_is_told_its_arguments(pipeline: Pipeline, folder: Path) -> None:
    class Named:
        def load_data(self, name: str) -> list[TheirDocument]:
            return [TheirDocument(text=f"It is called {name}.", id_="a/b")]

    report = pipeline.ingest(LlamaIndexReader(reader=Named(), arguments={"name": "Kite"}))
    assert report.added == 1
    assert pipeline.search("Kite")[0].chunk.uri.endswith("/a/b!/1")


def test_an_embedding_is_an_embedder(tmp_path: Path, folder: Path) -> None:
    theirs: Any = MockEmbedding(embed_dim=5)
    with Pipeline(index=tmp_path / "i", embedder=theirs) as made:
        made.ingest(folder)
        assert made.embedder.dimension == 5
        assert made.search("battery")


def test_an_llm_is_a_chat_model(filled: Pipeline) -> None:
    theirs: Any = Echo()
    made = filled.model_copy(update={"generator": GroundedGenerator(model=theirs)})
    answer = made.ask(QUESTION)
    assert answer.status == "answered" and answer.citations[0].verified
    last = list(made.stream(QUESTION))[-1]
    assert last.answer.text == answer.text  # type: ignore[union-attr]
    model = LlamaIndexChat(llm=theirs)
    assert (model.context_tokens, model.reply_tokens, model.model_id) == (4_096, 256, "echo")
    with pytest.raises(ModelError, match="out of order"):
        LlamaIndexChat(llm=Echo(fails=True)).complete([Message(role="user", content="?")])


@given(
    st.lists(
        st.sampled_from(["Same words again. ", "A b c?\n\n", "# Head\n", "wordy " * 40, "𝄞é "]),
        max_size=25,
    ).map("".join),
    st.integers(8, 60),
)
def test_node_parsers_keep_our_contract(text: str, size: int) -> None:
    document = Document(uri="a:b", text=text)
    for parser in (
        SentenceSplitter(chunk_size=size, chunk_overlap=size // 4),
        TokenTextSplitter(chunk_size=size, chunk_overlap=0),
    ):
        chunks = LlamaIndexNodeParser(parser=parser).split(document, StaticEmbedder())
        covered = set()
        for chunk in chunks:
            assert text[chunk.start : chunk.end] == chunk.text
            covered |= set(range(chunk.start, chunk.end))
        assert all(i in covered for i, sign in enumerate(text) if not sign.isspace())


def test_wrong_offsets_of_theirs_are_put_right() -> None:
    text = "One here. Two here. One here."

    class Wrong:
        def get_nodes_from_documents(self, documents: Any) -> list[TextNode]:
            return [
                TextNode(text="One here.", start_char_idx=20, end_char_idx=29),  # true: the second
                TextNode(text="Two here.", start_char_idx=3, end_char_idx=12),  # wrong
            ]

    chunks = LlamaIndexNodeParser(parser=Wrong()).split(
        Document(uri="a:b", text=text), StaticEmbedder()
    )
    assert [(c.start, c.text) for c in chunks] == [(0, "One here. Two here."), (20, "One here.")]


def test_a_window_parser_gives_sentences(filled: Pipeline) -> None:
    parser: Any = SentenceWindowNodeParser.from_defaults(window_size=1)
    made = LlamaIndexNodeParser(parser=parser)
    document = filled.document(next(iter(filled.open().document_store.uris())))
    assert len(made.split(document, filled.embedder)) > 3


def test_a_retriever_over_their_index_answers_with_citations(tmp_path: Path) -> None:
    index = VectorStoreIndex.from_documents(
        [
            TheirDocument(
                text="A full battery lasts 34 minutes in calm air.",
                metadata={"file_name": "handbook"},
            ),
            TheirDocument(text="The propellers are made of nylon."),
        ],
        embed_model=CitewellEmbedding(),
    )
    theirs: Any = index.as_retriever(similarity_top_k=2)
    with Pipeline(index=tmp_path / "none", retriever=theirs) as made:
        answer = made.ask(QUESTION)
        assert answer.citations[0].verified and answer.citations[0].title == "handbook"
        assert answer.citations[0].uri.startswith("passage:")


def test_a_retriever_that_names_our_documents_cites_those(filled: Pipeline) -> None:
    uri = next(u for u in filled.open().document_store.uris() if u.endswith("handbook.md"))

    class Theirs(BaseRetriever):
        def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
            node = TextNode(text="Charging takes 90 minutes.", metadata={"uri": uri})
            return [NodeWithScore(node=node, score=0.5)]

    made = filled.model_copy(update={"retriever": LlamaIndexRetriever(retriever=Theirs())})
    (hit,) = made.search("charging")
    assert hit.chunk.uri == uri and hit.score == 0.5
    assert (
        filled.document(uri).text[hit.chunk.start : hit.chunk.end] == "Charging takes 90 minutes."
    )


def test_postprocessors_filter(filled: Pipeline) -> None:
    plain = filled.search(QUESTION)
    assert len(plain) > 1
    theirs = SimilarityPostprocessor(similarity_cutoff=plain[0].score - 1e-6)
    postprocessor = LlamaIndexPostprocessor(postprocessor=theirs)
    made = filled.model_copy(update={"postprocessors": (postprocessor,)})
    assert [h.chunk.id for h in made.search(QUESTION)] == [plain[0].chunk.id]


def test_their_cache_tells_our_parts_apart() -> None:
    from llama_index.core.ingestion.pipeline import get_transformation_hash

    document = TheirDocument(
        text="One. Two.", excluded_embed_metadata_keys=["path"], metadata={"path": "x"}
    )
    small, usual = (
        CitewellNodeParser({"type": "headings", "size": 64, "overlap": 0}),
        CitewellNodeParser(),
    )
    assert get_transformation_hash([document], small) != get_transformation_hash([document], usual)
    again = CitewellNodeParser.from_dict(small.to_dict())
    assert again._chunker == small._chunker
    embedding = CitewellEmbedding()
    assert CitewellEmbedding.from_dict(embedding.to_dict())._part == embedding._part
    (node,) = usual.get_nodes_from_documents([document])
    assert "path" not in node.get_content(metadata_mode="embed")  # type: ignore[arg-type]
    bare = CitewellNodeParser(include_metadata=False).get_nodes_from_documents([document])
    assert bare[0].metadata == {}


def test_an_index_finds_as_many_as_are_asked_for(tmp_path: Path) -> None:
    texts = [TheirDocument(text=f"Heron number {i}.") for i in range(9)]
    index: Any = VectorStoreIndex.from_documents(texts, embed_model=CitewellEmbedding())
    with Pipeline(index=tmp_path / "none", retriever=index) as made:
        assert len(made.search("heron", k=7)) == 7
