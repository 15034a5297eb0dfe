"""The contracts of retrieval, generation, sources and metrics find broken parts."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar

import pytest

from connectors import FailedPart, Source
from connectors.parsers.markdown import MarkdownParser
from evals.metrics import Case, Metric
from evals.scores import Score
from rag import (
    Answer,
    Document,
    ExtractiveGenerator,
    Hit,
    HybridRetriever,
    Index,
    Mark,
    Message,
    Postprocessor,
)
from rag.generation import AnswerCompleted
from rag.generation.base import Event
from rag.postprocessing import Reranker
from rag.retrieval import CarryOver, Query
from rag.testing import (
    ConnectorContract,
    GeneratorContract,
    InMemoryConnector,
    MetricContract,
    ParserContract,
    PostprocessorContract,
    RetrieverContract,
    TransformContract,
    make_sample_documents,
)
from tests.testing.test_broken_parts import check_that_test_fails

DOCUMENTS = tuple(make_sample_documents())
Edit = Callable[..., Any]


def _edit_chunk(hit: Hit, **fields: Any) -> Hit:
    return hit.model_copy(update={"chunk": hit.chunk.model_copy(update=fields)})


# -- transforms ------------------------------------------------------------------------------


class EditedTransform(CarryOver):
    """Changes the queries of the good transform by the current `edit`."""

    edit: ClassVar[Edit]

    def transform(self, question: str, history: Sequence[Message]) -> list[Query]:
        queries: list[Query] = type(self).edit(super().transform(question, history), history)
        return queries


TRANSFORM_EDITS: list[tuple[str, Edit]] = [
    ("test_question_has_a_query", lambda queries, history: []),
    ("test_question_has_a_query", lambda queries, history: [Query("")]),
    ("test_question_has_a_query", lambda queries, history: [Query(queries[0].text, weight=-1)]),
    ("test_blank_question_has_a_query", lambda queries, history: [q for q in queries if q.text]),
    ("test_any_history_is_accepted", lambda queries, history: [queries[0]] * len(history[1:2])),
    ("test_any_history_is_accepted", lambda queries, history: [history.clear(), *queries][1:]),
    ("test_queries_are_the_same_in_every_run", lambda queries, history: [Query(str(random.random()))]),
]  # fmt: skip


@pytest.mark.parametrize(("test", "edit"), TRANSFORM_EDITS)
def test_broken_transform_fails(test: str, edit: Edit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(EditedTransform, "edit", edit, raising=False)
    check_that_test_fails(TransformContract, test, EditedTransform)


# -- retrievers ------------------------------------------------------------------------------


class EditedRetriever(HybridRetriever):
    """Changes the hits of the good retriever by the current `edit`."""

    edit: ClassVar[Edit]

    def retrieve(self, query: str, *, k: int, index: Index, where: Any = None) -> list[Hit]:
        hits: list[Hit] = type(self).edit(super().retrieve, query, k, index, where)
        return hits


def _keep_deleted(retrieve: Edit, query: str, k: int, index: Index, where: Any) -> list[Hit]:
    hits = retrieve(query, k=k, index=index, where=where)
    return [_edit_chunk(hit, uri="sample:propeller", id=f"x{hit.chunk.id}") for hit in hits]


RETRIEVER_EDITS: list[tuple[str, Edit]] = [
    ("test_number_of_hits_is_at_most_k",
     lambda retrieve, query, k, index, where: retrieve(query, k=k + 1, index=index)),
    ("test_hits_are_sorted_and_unique",
     lambda retrieve, query, k, index, where: retrieve(query, k=k, index=index)[::-1]),
    ("test_hits_are_sorted_and_unique",
     lambda retrieve, query, k, index, where: retrieve(query, k=1, index=index) * 2),
    ("test_best_document_is_found",
     lambda retrieve, query, k, index, where: retrieve(query, k=k, index=index)[1:]),
    ("test_chunks_are_those_of_the_index",
     lambda retrieve, query, k, index, where: [
         _edit_chunk(hit, text=hit.chunk.text.upper()) for hit in retrieve(query, k=k, index=index)]),
    ("test_deleted_and_old_documents_have_no_hits", _keep_deleted),
    ("test_filter_is_honoured",
     lambda retrieve, query, k, index, where: retrieve(query, k=k, index=index)),
    ("test_filter_is_honoured",
     lambda retrieve, query, k, index, where: [
         hit for hit in retrieve(query, k=k, index=index)
         if where == {"topic": hit.chunk.metadata["topic"]}]),
    ("test_empty_filter_selects_everything",
     lambda retrieve, query, k, index, where: [] if where == {} else retrieve(
         query, k=k, index=index, where=where)),
    ("test_query_without_a_word_has_no_hits",
     lambda retrieve, query, k, index, where: retrieve(f"battery {query}", k=k, index=index)),
    ("test_hostile_query_raises_no_error",
     lambda retrieve, query, k, index, where: [query.encode("ascii")][1:]),
    ("test_empty_index_has_no_hits",
     lambda retrieve, query, k, index, where: [retrieve(query, k=k, index=index)[0]]),
    ("test_hits_are_the_same_in_every_run",
     lambda retrieve, query, k, index, where: [
         hit.model_copy(update={"score": random.random()})
         for hit in retrieve(query, k=1, index=index)]),
]  # fmt: skip


@pytest.mark.parametrize(("test", "edit"), RETRIEVER_EDITS)
def test_broken_retriever_fails(test: str, edit: Edit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(EditedRetriever, "edit", edit, raising=False)
    check_that_test_fails(RetrieverContract, test, EditedRetriever)


# -- postprocessors --------------------------------------------------------------------------


class EditedPostprocessor(Postprocessor):
    """Returns what the current `edit` makes of the hits."""

    name: ClassVar[str] = "edited"
    edit: ClassVar[Edit]
    depth: int = 0

    @property
    def input_depth(self) -> int:
        return -1

    def process(self, query: str, hits: Sequence[Hit], *, index: Index) -> list[Hit]:
        edited: list[Hit] = type(self).edit(hits, query, index)
        return edited


def _search_again(hits: Sequence[Hit], query: str, index: Index) -> list[Hit]:
    return HybridRetriever().retrieve("propeller camera", k=9, index=index)


POSTPROCESSOR_EDITS: list[tuple[str, Edit]] = [
    ("test_no_hits_give_no_hits", _search_again),
    ("test_hits_come_from_the_input", lambda hits, query, index: [*hits, *hits]),
    ("test_hits_come_from_the_input",
     lambda hits, query, index: [_edit_chunk(hits[0], start=0, end=4, uri="sample:storage"
         if hits[0].chunk.uri != "sample:storage" else "sample:x")]),
    ("test_chunks_are_exact",
     lambda hits, query, index: [_edit_chunk(h, text=h.chunk.text.upper()) for h in hits]),
    ("test_chunks_are_exact",
     lambda hits, query, index: [
         _edit_chunk(h, end=h.chunk.end - 1, text=h.chunk.text[:-1]) for h in hits]),
    ("test_hits_are_unique_and_sorted", lambda hits, query, index: [hits[0], hits[0]]),
    ("test_hits_are_unique_and_sorted",
     lambda hits, query, index: [
         h.model_copy(update={"score": float(i)}) for i, h in enumerate(hits)]),
    ("test_input_is_not_changed", lambda hits, query, index: [hits.reverse(), *hits][1:]),
    ("test_unusual_hits_are_accepted",
     lambda hits, query, index: [1 / (len(hits) - 1), *hits][1:]),
    ("test_hostile_query_raises_no_error", lambda hits, query, index: hits[: len(query.split()[0])]),
    ("test_hits_are_the_same_in_every_run",
     lambda hits, query, index: random.sample(hits, len(hits))),
    ("test_requested_numbers_of_hits_are_not_negative", lambda hits, query, index: list(hits)),
]  # fmt: skip


@pytest.mark.parametrize(("test", "edit"), POSTPROCESSOR_EDITS)
def test_broken_postprocessor_fails(test: str, edit: Edit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(EditedPostprocessor, "edit", edit, raising=False)
    check_that_test_fails(PostprocessorContract, test, EditedPostprocessor)


class BrokenReranker(Reranker):
    name: ClassVar[str] = "broken"

    def score(self, query: str, texts: Sequence[str]) -> Sequence[float]:
        return [1.0] * max(1, len(texts))

    def process(self, query: str, hits: Sequence[Hit], *, index: Index) -> list[Hit]:
        return list(hits[: self.depth])


@pytest.mark.parametrize("test", ["test_reranker_scores_each_text", "test_reranker_keeps_all_hits"])
def test_broken_reranker_fails(test: str) -> None:
    check_that_test_fails(PostprocessorContract, test, BrokenReranker)


# -- generators ------------------------------------------------------------------------------


class EditedGenerator(ExtractiveGenerator):
    """Changes the answers of the good generator by the current `edit`."""

    edit: ClassVar[Edit]

    def answer(self, question: str, hits: Sequence[Hit], history: Sequence[Message] = ()) -> Answer:
        answer = super().answer(question, hits, history)
        edited: Answer = type(self).edit(answer, question, hits, history)
        return edited


def _edit_citations(answer: Answer, **fields: Any) -> Answer:
    citations = tuple(citation.model_copy(update=fields) for citation in answer.citations)
    return answer.model_copy(update={"citations": citations})


def _shift_citations(answer: Answer, *_: Any) -> Answer:
    citations = tuple(
        c.model_copy(update={"start": c.start + 1, "end": c.end + 1}) for c in answer.citations
    )
    return answer.model_copy(update={"citations": citations})


def _cite_outside(answer: Answer, *_: Any) -> Answer:
    """Cite the end of a document of which no chunk is a hit."""
    text = DOCUMENTS[-1].text
    return _edit_citations(
        answer, uri=DOCUMENTS[-1].uri, start=len(text) - 9, end=len(text), quote=text[-9:]
    )


GENERATOR_EDITS: list[tuple[str, Edit]] = [
    ("test_question_is_answered_with_exact_citations", _shift_citations),
    ("test_question_is_answered_with_exact_citations",
     lambda answer, *_: answer.model_copy(update={"citations": (), "sentences": ()})),
    ("test_question_is_answered_with_exact_citations",
     lambda answer, *_: answer.model_copy(update={"status": "abstained", "reason": "x"})),
    ("test_question_is_answered_with_exact_citations",
     lambda answer, *_: _edit_citations(answer, marker=77)),
    ("test_repeated_and_overlapping_hits_are_cited_exactly", _cite_outside),
    ("test_no_hits_give_an_abstention",
     lambda answer, *_: answer.model_copy(update={"status": "answered"})),
    ("test_no_hits_give_an_abstention",
     lambda answer, *_: answer.model_copy(update={"reason": ""})),
    ("test_hostile_question_has_an_answer",
     lambda answer, question, *_: [question.split()[0], answer][1]),
    ("test_hostile_passages_are_cited_exactly",
     lambda answer, *_: _edit_citations(answer, quote=" ".join(
         answer.citations[0].quote.encode("ascii", "replace").decode().split()))
         if answer.citations else answer),
    ("test_repeated_and_overlapping_hits_are_cited_exactly", _shift_citations),
    ("test_history_is_accepted_and_not_changed",
     lambda answer, question, hits, history: history.clear() or answer),
    ("test_answer_is_the_same_in_every_run",
     lambda answer, *_: answer.model_copy(update={"text": f"{answer.text} {random.random()}"})),
]  # fmt: skip


@pytest.mark.parametrize(("test", "edit"), GENERATOR_EDITS)
def test_broken_generator_fails(test: str, edit: Edit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(EditedGenerator, "edit", edit, raising=False)
    check_that_test_fails(GeneratorContract, test, EditedGenerator)


class BrokenStream(ExtractiveGenerator):
    """Streams less than it answers, and nothing at all for no hits."""

    def stream(
        self, question: str, hits: Sequence[Hit], history: Sequence[Message] = ()
    ) -> Iterator[Event]:
        *_, completed = super().stream(question, hits, history)
        assert isinstance(completed, AnswerCompleted)
        if hits:
            changed = completed.answer.model_copy(update={"text": completed.answer.text + " "})
            yield AnswerCompleted(answer=changed)


@pytest.mark.parametrize(
    "test", ["test_stream_ends_with_the_answer", "test_stream_and_answer_agree"]
)
def test_broken_stream_fails(test: str) -> None:
    check_that_test_fails(GeneratorContract, test, BrokenStream)


# -- connectors ------------------------------------------------------------------------------


class EditedConnector(InMemoryConnector):
    """Changes the sources of the good connector by the current `edit`."""

    edit: ClassVar[Edit]

    def sources(self) -> Iterator[Source]:
        for source in super().sources():
            fields = {name: getattr(source, name) for name in Source.__dataclass_fields__}
            yield Source(**{**fields, **type(self).edit(source)})


class HashVersionConnector(InMemoryConnector):
    def sources(self) -> Iterator[Source]:
        for source in super().sources():
            yield Source(uri=source.uri, version=f"{hash(source.uri)}", read=source.read)


class BrokenConnector(InMemoryConnector):
    """Has no scope, owns the uris of others, does not own its first source, and counts badly."""

    prefix: str = ""

    def count(self) -> int:
        return 77

    def owns(self, uri: str) -> bool:
        return uri != DOCUMENTS[0].uri


CONNECTOR_EDITS: list[tuple[str, Edit]] = [
    ("test_sources_are_well_formed", lambda source: {"version": None}),
    ("test_sources_are_well_formed", lambda source: {"mime": "text"}),
    ("test_uris_are_unique_and_in_scope", lambda source: {"uri": f"other:{source.uri}"}),
    ("test_uris_are_unique_and_in_scope", lambda source: {"uri": "sample:one"}),
    ("test_listing_is_the_same_in_every_run", lambda source: {"version": str(random.random())}),
    ("test_sources_can_be_read", lambda source: {"read": lambda: "text"}),
    ("test_sources_can_be_read", lambda source: {"read": lambda: str(random.random()).encode()}),
    ("test_ingest_reads_only_what_has_changed",
     lambda source: {"uri": f"{source.uri}{random.random()}"}),
    ("test_changed_source_has_another_version", lambda source: {"version": "1"}),
    ("test_deleted_source_is_not_listed", lambda source: {"uri": f"{source.uri}{random.random()}"}),
]  # fmt: skip


def _check_connector(test: str, connector_class: type[InMemoryConnector]) -> None:
    changed = (DOCUMENTS[0].model_copy(update={"text": "Another."}), *DOCUMENTS[1:])
    check_that_test_fails(
        ConnectorContract,
        test,
        lambda: connector_class(documents=DOCUMENTS),
        change_source=lambda self, uri: connector_class(documents=changed),
        delete_source=lambda self, uri: connector_class(documents=DOCUMENTS[1:]),
        make_missing_part=lambda self: connector_class(),
    )


@pytest.mark.parametrize(("test", "edit"), CONNECTOR_EDITS)
def test_broken_connector_fails(test: str, edit: Edit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(EditedConnector, "edit", edit, raising=False)
    _check_connector(test, EditedConnector)


@pytest.mark.parametrize(
    "test",
    [
        "test_uris_are_unique_and_in_scope",
        "test_count_is_the_number_of_sources",
        "test_missing_source_is_reported",
        "test_deleted_source_is_not_listed",
    ],
)
def test_connector_with_broken_properties_fails(test: str) -> None:
    _check_connector(test, BrokenConnector)


def test_connector_with_process_dependent_versions_fails() -> None:
    _check_connector("test_versions_are_the_same_in_another_process", HashVersionConnector)


# -- parsers ---------------------------------------------------------------------------------


class EditedParser(MarkdownParser):
    """Changes the documents of the good parser by the current `edit`."""

    edit: ClassVar[Edit]

    def parse(self, data: bytes, *, uri: str, mime: str | None = None) -> Document:
        document = super().parse(data, uri=uri, mime=mime)
        edited: Document = type(self).edit(document, data, mime)
        return edited


class HashParser(MarkdownParser):
    def parse(self, data: bytes, *, uri: str, mime: str | None = None) -> Document:
        return Document(uri=uri, text=f"{hash('seed')}")


class BrokenParser(MarkdownParser):
    formats: ClassVar[Any] = {"Text/Markdown": ("md",)}

    def documents(
        self, data: bytes, *, uri: str, mime: str | None = None
    ) -> Iterator[Document | FailedPart]:
        for _ in range(2):
            yield self.parse(data, uri=uri, mime=mime)


def _overlap_marks(document: Document, *_: Any) -> Document:
    end = len(document.text)
    marks = tuple(Mark(start=0, end=end, kind="page", value=number) for number in (1, 2))
    return document.model_copy(update={"marks": marks})


PARSER_EDITS: list[tuple[str, Edit]] = [
    ("test_sample_has_a_document", _overlap_marks),
    ("test_sample_has_a_document", lambda document, *_: document.model_copy(update={"uri": "x"})),
    ("test_documents_are_well_formed", lambda document, *_: document.model_copy(update={"uri": "x"})),
    ("test_media_type_of_the_source_is_optional",
     lambda document, data, mime: document.model_copy(update={"text": f"{mime}"})),
    ("test_documents_are_the_same_in_every_run",
     lambda document, *_: document.model_copy(update={"metadata": {"x": random.random()}})),
    ("test_garbage_raises_nothing_but_parse_errors",
     lambda document, data, mime: [data.decode("utf-8"), document][1]),
    ("test_damaged_file_raises_nothing_but_parse_errors",
     lambda document, data, mime: [data.decode("ascii"), document][1]),
    ("test_wrong_media_type_raises_nothing_but_parse_errors",
     lambda document, data, mime: [mime and mime.split("/")[1], document][1]),
]  # fmt: skip
PARSER_HOOKS = {"sample_files": lambda self: [b"# A\n\nText.\n\n# B\n\nMore text."]}


@pytest.mark.parametrize(("test", "edit"), PARSER_EDITS)
def test_broken_parser_fails(test: str, edit: Edit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(EditedParser, "edit", edit, raising=False)
    check_that_test_fails(ParserContract, test, EditedParser, **PARSER_HOOKS)


@pytest.mark.parametrize(
    ("test", "parser_class"),
    [
        ("test_formats_are_well_formed", BrokenParser),
        ("test_documents_are_well_formed", BrokenParser),
        ("test_documents_are_the_same_in_another_process", HashParser),
    ],
)
def test_parser_with_broken_properties_fails(test: str, parser_class: type) -> None:
    check_that_test_fails(ParserContract, test, parser_class, **PARSER_HOOKS)


# -- metrics ---------------------------------------------------------------------------------


def _fail(case: Case) -> Score:
    raise KeyError("x")


BROKEN_METRICS: list[tuple[str, dict[str, Any]]] = [
    ("test_metric_is_described", {"name": "two words"}),
    ("test_metric_is_described", {"needs": ("nothing",)}),
    ("test_metric_is_described", {"description": ""}),
    ("test_value_is_in_range_or_there_is_none", {"function": lambda case: Score.of(2)}),
    ("test_value_is_in_range_or_there_is_none", {"function": lambda case: Score.of(float("nan"))}),
    ("test_value_is_in_range_or_there_is_none", {"function": lambda case: Score()}),
    ("test_value_is_in_range_or_there_is_none",
     {"function": lambda case: Score(value=0.5, numerator=1, denominator=3)}),
    ("test_value_is_in_range_or_there_is_none",
     {"function": lambda case: Score(status="not_applicable")}),
    ("test_some_answer_has_a_value", {"function": lambda case: None}),
    ("test_function_raises_no_unexpected_error", {"function": _fail}),
    ("test_function_raises_no_unexpected_error", {"function": lambda case: 0.5}),
    ("test_score_is_the_same_in_every_run", {"function": lambda case: Score.of(random.random())}),
    ("test_summary_counts_every_answer", {"function": lambda case: Score.of(9)}),
]  # fmt: skip


@pytest.mark.parametrize(("test", "fields"), BROKEN_METRICS)
def test_broken_metric_fails(test: str, fields: dict[str, Any]) -> None:
    good = {"name": "m", "group": "text", "function": lambda case: Score.of(1), "description": "x"}
    check_that_test_fails(MetricContract, test, lambda: Metric(**{**good, **fields}))
