from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from rag import GroundedGenerator, Pipeline, ScriptedChat, tracing
from rag.call_context import current_context
from rag.errors import ModelReplyError
from rag.postprocessing.score_threshold import ScoreThreshold
from rag.types import Usage

_EXPORTER = InMemorySpanExporter()
QUESTION = "How long does a full battery last?"
REPLY = "A full battery lasts 34 minutes in calm air [1]."


@pytest.fixture
def exporter(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    """What OpenTelemetry is sent, as by a program that has set up a provider."""
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(_EXPORTER))
    monkeypatch.setattr(trace, "get_tracer", provider.get_tracer)
    _EXPORTER.clear()
    yield _EXPORTER


@pytest.fixture
def grounded_pipeline(pipeline: Pipeline, folder: Path) -> Pipeline:
    model = ScriptedChat(replies=(REPLY,) * 4)
    update = {
        "generator": GroundedGenerator(model=model),
        "postprocessors": (ScoreThreshold(least=0.0),),
    }
    grounded_pipeline = pipeline.model_copy(update=update)
    grounded_pipeline.ingest(folder)
    return grounded_pipeline


def tree(spans: Any) -> Any:
    return [(span.name, tree(span.children)) for span in spans]


def test_every_stage_is_a_span_within_the_question(grounded_pipeline: Pipeline) -> None:
    with tracing.record_spans() as spans:
        answer = grounded_pipeline.ask(QUESTION)
    (root,) = spans
    assert answer.status == "answered"
    assert root.name == "ask"
    names = [name for name, _ in tree(root.children)]
    assert names == [
        "retrieval hybrid",
        "rerank score-threshold",
        "generate grounded",
        "verify quotes",
    ]
    assert tree(root.children)[0] == ("retrieval hybrid", [("embeddings static", [])])
    generated = root.children[2]
    assert generated.children[0].name == "chat scripted"
    assert generated.children[0].data["completion"].text == REPLY
    assert QUESTION in generated.children[0].data["messages"][-1].content
    assert root.children[0].data["hits"][0].chunk.uri.endswith("handbook.md")
    everything = [root, *root.children, *generated.children]
    assert all(span.seconds is not None and span.seconds >= 0 for span in everything)
    assert sum(span.seconds or 0 for span in root.children) <= (root.seconds or 0)


def test_a_stream_has_the_same_spans_and_leaves_none_behind(grounded_pipeline: Pipeline) -> None:
    with tracing.record_spans() as ask_spans:
        grounded_pipeline.ask(QUESTION)
    with tracing.record_spans() as streamed:
        for _ in grounded_pipeline.stream(QUESTION):
            assert current_context().span is None  # the reader is within no stage
    assert [name for name, _ in tree(streamed[0].children)] == [
        name for name, _ in tree(ask_spans[0].children)
    ]

    async def ask_in_event_loop() -> None:
        await grounded_pipeline.aask(QUESTION)

    with tracing.record_spans() as apart:
        anyio.run(ask_in_event_loop)
    assert [span.name for span in apart] == ["ask"]


def test_a_stream_that_is_left_ends_its_spans(grounded_pipeline: Pipeline) -> None:
    with tracing.record_spans() as spans:
        events = grounded_pipeline.stream(QUESTION)
        next(events)
        events.close()  # type: ignore[attr-defined]

    def every(found: tracing.Span) -> Iterator[tracing.Span]:
        yield found
        for child in found.children:
            yield from every(child)

    assert all(span.seconds is not None for span in every(spans[0]))


def test_spans_follow_the_conventions(
    grounded_pipeline: Pipeline, exporter: InMemorySpanExporter
) -> None:
    grounded_pipeline.ask(QUESTION)
    spans_by_name: dict[str, ReadableSpan] = {
        span.name: span for span in exporter.get_finished_spans()
    }
    chat = spans_by_name["chat scripted"]
    assert chat.attributes is not None
    assert chat.attributes["gen_ai.operation.name"] == "chat"
    assert chat.attributes["gen_ai.request.model"] == "scripted"
    assert chat.attributes["gen_ai.response.finish_reasons"] == ("stop",)
    assert "gen_ai.usage.input_tokens" in chat.attributes
    assert not any("messages" in name for name in chat.attributes)  # unless asked for
    assert "gen_ai.retrieval.query.text" not in (spans_by_name["retrieval hybrid"].attributes or {})
    ids = {span.context.span_id: name for name, span in spans_by_name.items() if span.context}
    parents = {
        name: ids.get(span.parent.span_id) if span.parent else None
        for name, span in spans_by_name.items()
    }
    assert parents["ask"] is None
    assert parents["retrieval hybrid"] == "ask"
    assert parents["embeddings static"] == "retrieval hybrid"
    assert parents["chat scripted"] == "generate grounded"
    assert len({span.context.trace_id for span in spans_by_name.values() if span.context}) == 1


def test_what_was_said_is_captured_where_that_is_asked_for(
    grounded_pipeline: Pipeline, exporter: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "true")
    grounded_pipeline.ask(QUESTION)
    attributes_by_name = {
        span.name: span.attributes or {} for span in exporter.get_finished_spans()
    }
    output_messages = json.loads(str(attributes_by_name["chat scripted"]["gen_ai.output.messages"]))
    assert output_messages[0]["parts"][0]["content"] == REPLY
    assert attributes_by_name["retrieval hybrid"]["gen_ai.retrieval.query.text"] == QUESTION


def test_an_ingest_is_one_trace_over_all_its_threads(
    pipeline: Pipeline, folder: Path, exporter: InMemorySpanExporter
) -> None:
    with tracing.record_spans() as spans:
        pipeline.ingest(folder)
    assert tree(spans) == [("ingest", [("embeddings static", [])])]
    assert (
        len({span.context.trace_id for span in exporter.get_finished_spans() if span.context}) == 1
    )


def test_a_stage_that_fails_says_so(
    grounded_pipeline: Pipeline, exporter: InMemorySpanExporter
) -> None:
    class Mute(ScriptedChat):
        def _complete(self, messages: Any, **_: Any) -> Any:
            raise ModelReplyError("no reply")

    generator = GroundedGenerator(model=Mute(replies=(REPLY,)))
    failing = grounded_pipeline.model_copy(update={"generator": generator})
    with tracing.record_spans() as spans, pytest.raises(Exception, match="no reply"):
        failing.ask(QUESTION)
    assert "failed: " in tracing.format_tree(spans)
    statuses = {span.name: span.status.is_ok for span in exporter.get_finished_spans()}
    assert statuses["ask"] is False and statuses["retrieval hybrid"] is not False


def test_the_tree_reads_well() -> None:
    with tracing.record_spans() as spans, tracing.span("ask"):
        with tracing.span("retrieval hybrid", operation="retrieval") as retrieval_span:
            retrieval_span.set("citewell.hits", 8)
        with tracing.span("chat m", operation="chat") as chat_span:
            chat_span.set_usage(Usage(input_tokens=1200, output_tokens=30, cost_usd=0.0021))
    lines = tracing.format_tree(spans).splitlines()
    assert lines[0].startswith("ask ")
    assert lines[1].startswith("├─ retrieval hybrid") and lines[1].endswith("8 hits")
    assert lines[2].startswith("└─ chat m") and "1,200 tokens in, 30 out, $0.0021" in lines[2]
    assert len({line.index(" ms") for line in lines}) == 1


def test_the_command_prints_the_tree(rag: Callable[..., Any], folder: Path) -> None:
    rag("ingest", str(folder))
    ran = rag("ask", "--trace", "--json", QUESTION)
    assert ran.json["status"] == "answered"
    assert "retrieval hybrid" in ran.err and " ms" in ran.err
    assert "retrieval hybrid" not in rag("ask", QUESTION).err
    console_output = rag("ask", QUESTION, OTEL_TRACES_EXPORTER="console").err
    assert '"gen_ai.operation.name": "retrieval"' in console_output
    assert "gen_ai" not in rag("ask", QUESTION, OTEL_TRACES_EXPORTER="none").err


def test_without_configuration_nothing_is_set_up() -> None:
    code = (
        "from rag import tracing\n"
        "assert not tracing.configure()\n"
        "with tracing.span('x') as s: pass\n"
        "from opentelemetry import trace\n"
        "import sys\n"
        "assert type(trace.get_tracer_provider()).__name__ == 'ProxyTracerProvider'\n"
        "assert 'opentelemetry.sdk' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_chroma_sends_no_telemetry() -> None:
    from rag.stores.chroma_database import _make_client_settings

    assert _make_client_settings().anonymized_telemetry is False


def test_what_was_asked_is_not_in_the_status_either(
    grounded_pipeline: Pipeline, exporter: InMemorySpanExporter
) -> None:
    with pytest.raises(ModelReplyError), tracing.span("x"):
        raise ModelReplyError("Question: does Bob have the flu?")
    (exported_span,) = exporter.get_finished_spans()
    assert "Bob" not in str(exported_span.to_json())
    assert (exported_span.attributes or {})["error.type"] == "ModelReplyError"


def test_what_is_not_sampled_leaves_no_fragments(
    pipeline: Pipeline, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased

    pipeline.ingest(folder)
    provider = TracerProvider(sampler=ParentBased(ALWAYS_OFF))
    exporter = InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    roots: list[bool] = []
    usual = provider.get_tracer("x")

    class Watching:
        def start_span(self, name: str, **more: Any) -> Any:
            roots.append(not trace.get_current_span().get_span_context().is_valid)
            return usual.start_span(name, **more)

    monkeypatch.setattr(trace, "get_tracer", lambda *_: Watching())
    pipeline.ask(QUESTION)
    assert roots.count(True) == 1 and len(roots) > 3
    assert not exporter.get_finished_spans()


def test_an_observer_that_raises_is_the_only_one_that_suffers(
    exporter: InMemorySpanExporter,
) -> None:
    class Broken(tracing.SpanRecorder):
        def on_end(self, span: tracing.Span) -> None:
            raise RuntimeError("broken")

    with tracing.record_spans() as spans, tracing.use_processor(Broken()):
        with pytest.raises(RuntimeError, match="broken"), tracing.span("one"):
            pass
        with pytest.raises(KeyError), tracing.span("two"):  # not hidden by the observer's
            raise KeyError("own")
    assert [root.seconds is not None for root in spans] == [True, True]
    assert [span.name for span in exporter.get_finished_spans()] == ["one", "two"]


def test_an_observer_may_be_on_twice() -> None:
    recorder = tracing.SpanRecorder()
    with tracing.use_processor(recorder):
        with tracing.use_processor(recorder), tracing.span("inner"):
            pass
        with tracing.span("outer"):
            pass
    assert [span.name for span in recorder.roots] == ["inner", "inner", "outer"]


def test_a_stream_that_was_read_to_its_end_has_not_failed(grounded_pipeline: Pipeline) -> None:
    with tracing.record_spans() as spans:
        for event in grounded_pipeline.stream(QUESTION):
            if hasattr(event, "answer"):
                break  # as the command does
    assert "failed" not in tracing.format_tree(spans)
