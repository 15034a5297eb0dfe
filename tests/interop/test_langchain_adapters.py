from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.document_loaders import BaseLoader
from langchain_core.documents import BaseDocumentCompressor
from langchain_core.documents import Document as LangChainDocument
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.retrievers import BaseRetriever
from langchain_core.vectorstores import InMemoryVectorStore
from langchain_text_splitters import (
    CharacterTextSplitter,
    MarkdownHeaderTextSplitter,
    RecursiveCharacterTextSplitter,
)

from rag import Document, GroundedGenerator, Pipeline, StaticEmbedder
from rag.component import build
from rag.errors import ConfigError, ModelRateLimited
from rag.interop.langchain import (
    CitewellEmbeddings,
    LangChainChat,
    LangChainEmbedder,
    LangChainRetriever,
    LangChainSplitter,
)
from rag.retrieval.external_passages import passage_uri
from rag.types import Message
from tests.interop.conftest import QUESTION, REPLY


def test_embeddings_are_adapted_to_an_embedder(tmp_path: Path, folder: Path) -> None:
    embeddings: Any = DeterministicFakeEmbedding(size=12)
    with Pipeline(index=tmp_path / "i", embedder=embeddings, retriever="dense") as pipeline:
        embedder = pipeline.embedder
        assert isinstance(embedder, LangChainEmbedder)
        assert embedder.dimension == 12
        assert embedder.label.startswith("DeterministicFakeEmbedding(size=12)-")
        pipeline.ingest(folder)
        assert pipeline.search(QUESTION)
        vectors = embedder.embed_documents(["a", "", "b"])
        assert vectors.shape == (3, 12) and vectors.dtype == np.float32
        assert np.allclose(np.linalg.norm(vectors, axis=1), [1, 0, 1])
    larger = LangChainEmbedder(embeddings=DeterministicFakeEmbedding(size=13))
    assert larger.fingerprint != embedder.fingerprint
    equal = LangChainEmbedder(embeddings=DeterministicFakeEmbedding(size=12))
    assert equal.fingerprint == embedder.fingerprint


def test_a_chat_model_is_adapted_and_answers(filled_pipeline: Pipeline) -> None:
    model: Any = GenericFakeChatModel(messages=iter([AIMessage(REPLY), AIMessage(REPLY)]))
    generator = GroundedGenerator(model=model)
    pipeline = filled_pipeline.model_copy(update={"generator": generator})
    answer = pipeline.ask(QUESTION)
    assert answer.status == "answered" and answer.citations[0].verified
    events = list(pipeline.stream(QUESTION))
    assert events[-1].answer.text == answer.text  # type: ignore[union-attr]


def test_usage_and_finish_reasons_of_chat_models_are_reported() -> None:
    token_counts = {"input_tokens": 7, "output_tokens": 3, "total_tokens": 10}
    message = AIMessage(
        "Yes.", usage_metadata=token_counts, response_metadata={"stop_reason": "max_tokens"}
    )  # type: ignore[arg-type]
    model = LangChainChat(model=GenericFakeChatModel(messages=iter([message])))
    completion = model.complete([Message(role="user", content="?")])
    assert (completion.usage.input_tokens, completion.usage.output_tokens) == (7, 3)
    assert completion.finish_reason == "length"


def test_errors_of_chat_models_become_model_errors() -> None:
    class RateLimitError(Exception):
        pass

    class RateLimitedChat(GenericFakeChatModel):
        def _generate(self, *_: Any, **__: Any) -> Any:
            raise RateLimitError("slow down")

    with pytest.raises(ModelRateLimited, match="slow down"):
        LangChainChat(model=RateLimitedChat(messages=iter([]))).complete(
            [Message(role="user", content="?")]
        )


class _Loader(BaseLoader):
    def __init__(self, documents: list[LangChainDocument]) -> None:
        self.documents = documents

    def lazy_load(self) -> Iterator[LangChainDocument]:
        yield from self.documents


def test_a_loader_is_adapted_and_its_changes_are_ingested(pipeline: Pipeline) -> None:
    documents = [
        LangChainDocument(
            "The kettle holds two litres.", metadata={"source": "manual.pdf", "page": 1}
        ),
        LangChainDocument(
            "It boils in four minutes.", metadata={"source": "manual.pdf", "page": 2}
        ),
        LangChainDocument("The toaster has two slots.", metadata={"year": 2020}),
    ]
    loader = _Loader(documents)
    first_report = pipeline.ingest(loader)  # type: ignore[arg-type]
    assert (first_report.added, len(first_report.failed)) == (3, 0)
    answer = pipeline.ask("How long does it take to boil?")
    assert answer.citations[0].uri.endswith("/manual.pdf!/2") and answer.citations[0].verified
    loader.documents = [
        documents[0],
        LangChainDocument(
            "It boils in three minutes.", metadata={"source": "manual.pdf", "page": 2}
        ),
    ]
    second_report = pipeline.ingest(loader)  # type: ignore[arg-type]
    assert (second_report.updated, second_report.unchanged, second_report.deleted) == (1, 1, 1)


def test_a_vector_store_answers_with_verified_citations(tmp_path: Path) -> None:
    embeddings = CitewellEmbeddings()
    store = InMemoryVectorStore(embeddings)
    store.add_texts(
        ["A full battery lasts 34 minutes in calm air.", "The propellers are made of nylon."],
        metadatas=[{"source": "handbook", "year": 2020}, {"source": "parts", "year": 2021}],
    )
    with Pipeline(index=tmp_path / "none", retriever=store) as pipeline:  # type: ignore[arg-type]
        answer = pipeline.ask(QUESTION)
        assert answer.text.startswith("A full battery lasts 34 minutes")
        (citation,) = answer.citations
        assert citation.verified and citation.title == "handbook"
        assert citation.uri == passage_uri("A full battery lasts 34 minutes in calm air.")
        hits = pipeline.search("battery", where={"field": "year", "op": "==", "value": 2021})
        assert [hit.chunk.title for hit in hits] == ["parts"]


def test_passages_of_indexed_documents_are_cited_in_those_documents(
    filled_pipeline: Pipeline, folder: Path
) -> None:
    class FixedRetriever(BaseRetriever):
        def _get_relevant_documents(self, query: str, **_: Any) -> list[LangChainDocument]:
            text = "A full  battery lasts\n34 minutes in calm air."  # the white space differs
            return [LangChainDocument(text, metadata={"source": str(folder / "handbook.md")})]

    pipeline = filled_pipeline.model_copy(
        update={"retriever": LangChainRetriever(retriever=FixedRetriever())}
    )
    (hit,) = pipeline.search(QUESTION)
    document = filled_pipeline.document(hit.chunk.uri)
    assert document.uri.endswith("handbook.md")
    assert document.text[hit.chunk.start : hit.chunk.end] == hit.chunk.text
    assert pipeline.ask(QUESTION).citations[0].verified


TEXTS = st.text(st.sampled_from("ab .\n\n\t#é𝄞xyz"), min_size=0, max_size=400) | st.lists(
    st.sampled_from(["same words. ", "a b c\n\n", "# head\n", "long" * 30]), max_size=20
).map("".join)


@given(TEXTS, st.integers(5, 60), st.booleans())
def test_chunks_of_splitters_cover_the_text_with_exact_offsets(
    text: str, size: int, keep_separator: bool
) -> None:
    document = Document(uri="a:b", text=text)
    splitter = RecursiveCharacterTextSplitter(
        chunk_size=size, chunk_overlap=size // 3, keep_separator=keep_separator
    )
    embedder = StaticEmbedder()
    chunks = LangChainSplitter(splitter=splitter).split(document, embedder)
    covered_offsets = set()
    for chunk in chunks:
        assert text[chunk.start : chunk.end] == chunk.text and chunk.text.strip()
        covered_offsets |= set(range(chunk.start, chunk.end))
    assert all(i in covered_offsets for i, character in enumerate(text) if not character.isspace())
    assert len({chunk.id for chunk in chunks}) == len(chunks)


def test_headings_that_a_splitter_drops_are_kept_in_the_chunks(pipeline: Pipeline) -> None:
    text = "# One\n\nFirst part.\n\n# Two\n\nSecond part.\n"
    splitter = MarkdownHeaderTextSplitter([("#", "title")])
    chunks = LangChainSplitter(splitter=splitter).split(
        Document(uri="a:b", text=text), pipeline.embedder
    )
    assert [chunk.text for chunk in chunks] == ["# One\n\nFirst part.", "# Two\n\nSecond part."]


def test_a_splitter_that_changes_words_fails_with_an_error(
    pipeline: Pipeline, folder: Path
) -> None:
    class UppercaseSplitter(CharacterTextSplitter):
        def split_text(self, text: str) -> list[str]:
            return [text.upper()]

    splitting_pipeline = pipeline.model_copy(
        update={"chunker": LangChainSplitter(splitter=UppercaseSplitter())}
    )
    report = splitting_pipeline.ingest(folder)
    assert len(report.failed) == 2
    assert "changes the text" in report.failed[0].error
    assert report.seen == 2


def test_long_pieces_are_cut_to_the_limit_of_the_embedder(pipeline: Pipeline) -> None:
    text = "word " * 3000
    embedder = LangChainEmbedder(embeddings=DeterministicFakeEmbedding(size=4), limit=100)
    splitter = CharacterTextSplitter(chunk_size=10**6, chunk_overlap=0)
    chunks = LangChainSplitter(splitter=splitter).split(Document(uri="a:b", text=text), embedder)
    assert len(chunks) > 10
    assert max(embedder.count_tokens([c.text for c in chunks])) <= 100


class _FunctionCompressor(BaseDocumentCompressor):
    compress: Any

    def compress_documents(self, documents: Any, query: str, callbacks: Any = None) -> Any:
        return self.compress(list(documents))


def _use_compressor(filled_pipeline: Pipeline, compress: Any) -> Pipeline:
    return Pipeline(
        index=filled_pipeline.index, postprocessors=_FunctionCompressor(compress=compress)
    )  # type: ignore[arg-type]


def test_compressors_reorder_and_filter(filled_pipeline: Pipeline) -> None:
    original_ids = [hit.chunk.id for hit in filled_pipeline.search(QUESTION)]
    assert len(original_ids) > 1
    with _use_compressor(filled_pipeline, lambda documents: documents[::-1]) as pipeline:
        hits = pipeline.search(QUESTION)
        assert [hit.chunk.id for hit in hits] == original_ids[::-1]
        scores = [hit.score for hit in hits]
        assert scores == sorted(scores, reverse=True)
    with _use_compressor(filled_pipeline, lambda documents: []) as pipeline:
        assert pipeline.search(QUESTION) == []


def test_extracted_words_narrow_a_hit_and_other_words_do_not(filled_pipeline: Pipeline) -> None:
    def compress(documents: list[LangChainDocument]) -> list[LangChainDocument]:
        words = "lasts 34 minutes"
        return [
            LangChainDocument(words, metadata=documents[0].metadata),
            LangChainDocument("It says something about time.", metadata=documents[1].metadata),
        ]

    with _use_compressor(filled_pipeline, compress) as pipeline:
        narrowed, unchanged = (hit.chunk for hit in pipeline.search(QUESTION))
        text = filled_pipeline.document(narrowed.uri).text
        assert narrowed.text == "lasts 34 minutes" == text[narrowed.start : narrowed.end]
        text = filled_pipeline.document(unchanged.uri).text
        assert unchanged.text == text[unchanged.start : unchanged.end]


def test_objects_without_an_adapter_are_refused() -> None:
    with pytest.raises(ConfigError, match="must be an instance"):
        build("embedder", StrOutputParser())
    with pytest.raises(ConfigError, match="must be an instance"):
        build("retriever", DeterministicFakeEmbedding(size=3))


def test_the_config_of_an_adapter_has_a_label_and_is_not_written_as_yaml(tmp_path: Path) -> None:
    embeddings: Any = DeterministicFakeEmbedding(size=12)
    pipeline = Pipeline(index=tmp_path / "i", embedder=embeddings)
    assert "DeterministicFakeEmbedding(size=12)" in str(pipeline.config())
    with pytest.raises(ConfigError, match="module:attribute"):
        pipeline.to_yaml()


class _FileLoader(BaseLoader):
    def __init__(self, path: Path, api_key: str = "k", fails: bool = False) -> None:
        self.file_path, self.api_key, self.fails = str(path), api_key, fails

    def lazy_load(self) -> Iterator[LangChainDocument]:
        yield LangChainDocument(Path(self.file_path).read_text(), metadata={"source": "same"})
        if self.fails:
            raise RuntimeError("the connection was lost")
        yield LangChainDocument("A second text.", metadata={"source": "same"})


def test_loaders_of_one_class_do_not_delete_each_others_documents(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    for name in "ab":
        (tmp_path / name).write_text(f"The text of {name}.")
    for name in "ab":
        assert pipeline.ingest(_FileLoader(tmp_path / name)).deleted == 0  # type: ignore[arg-type]
    assert pipeline.stats().documents == 4
    report = pipeline.ingest(_FileLoader(tmp_path / "a", api_key="another"))  # type: ignore[arg-type]
    assert report.unchanged == 2


def test_a_failing_loader_is_reported_and_deletes_nothing(
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
    assert "connection was lost" in report.failed[0].error
    assert pipeline.stats().documents == 2


def test_splitters_with_different_settings_have_different_fingerprints(
    pipeline: Pipeline, folder: Path
) -> None:
    def make_splitter(size: int) -> LangChainSplitter:
        return LangChainSplitter(
            splitter=RecursiveCharacterTextSplitter(chunk_size=size, chunk_overlap=0)
        )

    assert make_splitter(100).fingerprint == make_splitter(100).fingerprint
    assert make_splitter(100).fingerprint != make_splitter(50).fingerprint
    pipeline.model_copy(update={"chunker": make_splitter(200)}).ingest(folder)
    assert pipeline.model_copy(update={"chunker": make_splitter(60)}).ingest(folder).updated == 2


def test_pieces_are_not_located_within_earlier_words(pipeline: Pipeline) -> None:
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


def test_pieces_with_normalized_white_space_are_located_in_a_long_text(pipeline: Pipeline) -> None:
    text = "word  of\n a   text, " * 20_000

    class WhitespaceSplitter(CharacterTextSplitter):
        def split_text(self, text: str) -> list[str]:
            words = text.split()
            return [" ".join(words[i : i + 50]) for i in range(0, len(words), 50)]

    chunks = LangChainSplitter(splitter=WhitespaceSplitter()).split(
        Document(uri="a:b", text=text), pipeline.embedder
    )
    assert all(text[c.start : c.end] == c.text for c in chunks)
    assert chunks[-1].end == len(text.rstrip())


def test_odd_metadata_and_scores_of_passages_do_not_stop_a_search(
    filled_pipeline: Pipeline,
) -> None:
    class OddRetriever(BaseRetriever):
        def _get_relevant_documents(self, query: str, **_: Any) -> list[LangChainDocument]:
            sources: list[Any] = ["http://[1", "a\ud800b", "\0", 7, None, "~", "x" * 5_000]
            documents = [
                LangChainDocument(f"Passage {i}.", metadata={"source": s})
                for i, s in enumerate(sources)
            ]
            documents[0].metadata["relevance_score"] = float("nan")
            return [*documents, LangChainDocument(""), documents[1]]

    pipeline = filled_pipeline.model_copy(
        update={"retriever": LangChainRetriever(retriever=OddRetriever())}
    )
    hits = pipeline.search("passage", k=20)
    assert len(hits) == 7 and all(np.isfinite(hit.score) for hit in hits)
    assert pipeline.ask("passage").model_dump_json()


def test_a_narrowed_external_passage_is_still_verified(tmp_path: Path) -> None:
    store = InMemoryVectorStore(CitewellEmbeddings())
    store.add_texts(["It is grey. A full battery lasts 34 minutes in calm air. It flies."])

    def compress(documents: list[LangChainDocument]) -> list[LangChainDocument]:
        words = "A full battery lasts 34 minutes in calm air."
        return [LangChainDocument(words, metadata=d.metadata) for d in documents] * 2

    update: Any = {"retriever": store, "postprocessors": _FunctionCompressor(compress=compress)}
    with Pipeline(index=tmp_path / "none", **update) as pipeline:
        (hit,) = pipeline.search(QUESTION)  # equal passages become one hit
        assert hit.stage_scores["langchain"].rank == 1
        answer = pipeline.ask(QUESTION)
        assert answer.citations[0].verified and answer.citations[0].start == 12


def test_a_passage_that_equals_a_chunk_of_the_index_is_that_chunk(
    filled_pipeline: Pipeline,
) -> None:
    chunk = filled_pipeline.search(QUESTION)[0].chunk

    class FixedRetriever(BaseRetriever):
        def _get_relevant_documents(self, query: str, **_: Any) -> list[LangChainDocument]:
            return [LangChainDocument(chunk.text, metadata={"source": chunk.uri})]

    pipeline = filled_pipeline.model_copy(
        update={"retriever": LangChainRetriever(retriever=FixedRetriever())}
    )
    assert pipeline.search(QUESTION)[0].chunk == chunk


def test_runnables_around_a_model_are_adapted(filled_pipeline: Pipeline) -> None:
    model: Any = GenericFakeChatModel(messages=iter([AIMessage(REPLY)] * 4))
    for runnable in (model.bind(stop=["x"]), model.with_retry(), model.with_fallbacks([model])):
        generator = GroundedGenerator(model=runnable)
        answer = filled_pipeline.model_copy(update={"generator": generator}).ask(QUESTION)
        assert answer.citations[0].verified
