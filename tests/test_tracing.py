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
from rag.errors import ModelReplyError
from rag.postprocessing.score_threshold import ScoreThreshold
from rag.types import Usage

_EXPORTER = InMemorySpanExporter()
QUESTION = "How long does a full battery last?"
REPLY = "A full battery lasts 34 minutes in calm air [1]."


@pytest.fixture
def exported(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    """What OpenTelemetry is sent, as by a program that has set up a provider."""
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(_EXPORTER))
    monkeypatch.setattr(trace, "get_tracer", provider.get_tracer)
    _EXPORTER.clear()
    yield _EXPORTER


@pytest.fixture
def grounded(pipeline: Pipeline, folder: Path) -> Pipeline:
    model = ScriptedChat(replies=(REPLY,) * 4)
    update = {
        "generator": GroundedGenerator(model=model),
        "postprocessors": (ScoreThreshold(least=0.0),),
    }
    made = pipeline.model_copy(update=update)
    made.ingest(folder)
    return made


def tree(spans: Any) -> Any:
    return [(found.name, tree(found.children)) for found in spans]


def test_every_stage_is_a_span_within_the_question(grounded: Pipeline) -> None:
    with tracing.recorded() as spans:
        answer = grounded.ask(QUESTION)
    (asked,) = spans
    assert answer.status == "answered"
    assert asked.name == "ask"
    names = [name for name, _ in tree(asked.children)]
    assert names == [
        "retrieval hybrid",
        "rerank score-threshold",
        "generate grounded",
        "verify quotes",
    ]
    assert tree(asked.children)[0] == ("retrieval hybrid", [("embeddings static", [])])
    generated = asked.children[2]
    assert generated.children[0].name == "chat scripted"
    assert generated.children[0].data["completion"].text == REPLY
    assert QUESTION in generated.children[0].data["messages"][-1].content
    assert asked.children[0].data["hits"][0].chunk.uri.endswith("handbook.md")
    everything = [asked, *asked.children, *generated.children]
    assert all(found.seconds is not None and found.seconds >= 0 for found in everything)
    assert sum(found.seconds or 0 for found in asked.children) <= (asked.seconds or 0)


def test_a_stream_has_the_same_spans_and_leaves_none_behind(grounded: Pipeline) -> None:
    with tracing.recorded() as whole:
        grounded.ask(QUESTION)
    with tracing.recorded() as streamed:
        for _ in grounded.stream(QUESTION):
            assert tracing._current.get() is None  # the reader is within no stage
    assert [name for name, _ in tree(streamed[0].children)] == [
        name for name, _ in tree(whole[0].children)
    ]

    async def asked() -> None:
        await grounded.aask(QUESTION)

    with tracing.recorded() as apart:
        anyio.run(asked)
    assert [found.name for found in apart] == ["ask"]


def test_a_stream_that_is_left_ends_its_spans(grounded: Pipeline) -> None:
    with tracing.recorded() as spans:
        events = grounded.stream(QUESTION)
        next(events)
        events.close()  # type: ignore[attr-defined]

    def every(found: tracing.Span) -> Iterator[tracing.Span]:
        yield found
        for child in found.children:
            yield from every(child)

    assert all(found.seconds is not None for found in every(spans[0]))


def test_spans_follow_the_conventions(grounded: Pipeline, exported: InMemorySpanExporter) -> None:
    grounded.ask(QUESTION)
    found: dict[str, ReadableSpan] = {span.name: span for span in exported.get_finished_spans()}
    chat = found["chat scripted"]
    assert chat.attributes is not None
    assert chat.attributes["gen_ai.operation.name"] == "chat"
    assert chat.attributes["gen_ai.request.model"] == "scripted"
    assert chat.attributes["gen_ai.response.finish_reasons"] == ("stop",)
    assert "gen_ai.usage.input_tokens" in chat.attributes
    assert not any("messages" in name for name in chat.attributes)  # unless asked for
    assert "gen_ai.retrieval.query.text" not in (found["retrieval hybrid"].attributes or {})
    ids = {span.context.span_id: name for name, span in found.items() if span.context}
    parents = {
        name: ids.get(span.parent.span_id) if span.parent else None for name, span in found.items()
    }
    assert parents["ask"] is None
    assert parents["retrieval hybrid"] == "ask"
    assert parents["embeddings static"] == "retrieval hybrid"
    assert parents["chat scripted"] == "generate grounded"
    assert len({span.context.trace_id for span in found.values() if span.context}) == 1


def test_what_was_said_is_captured_where_that_is_asked_for(
    grounded: Pipeline, exported: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "true")
    grounded.ask(QUESTION)
    found = {span.name: span.attributes or {} for span in exported.get_finished_spans()}
    said = json.loads(str(found["chat scripted"]["gen_ai.output.messages"]))
    assert said[0]["parts"][0]["content"] == REPLY
    assert found["retrieval hybrid"]["gen_ai.retrieval.query.text"] == QUESTION


def test_an_ingest_is_one_trace_over_all_its_threads(
    pipeline: Pipeline, folder: Path, exported: InMemorySpanExporter
) -> None:
    with tracing.recorded() as spans:
        pipeline.ingest(folder)
    assert tree(spans) == [("ingest", [("embeddings static", [])])]
    assert (
        len({span.context.trace_id for span in exported.get_finished_spans() if span.context}) == 1
    )


def test_a_stage_that_fails_says_so(grounded: Pipeline, exported: InMemorySpanExporter) -> None:
    class Mute(ScriptedChat):
        def _complete(self, messages: Any, **_: Any) -> Any:
            raise ModelReplyError("no reply")

    generator = GroundedGenerator(model=Mute(replies=(REPLY,)))
    failing = grounded.model_copy(update={"generator": generator})
    with tracing.recorded() as spans, pytest.raises(Exception, match="no reply"):
        failing.ask(QUESTION)
    assert "failed: " in tracing.as_text(spans)
    statuses = {span.name: span.status.is_ok for span in exported.get_finished_spans()}
    assert statuses["ask"] is False and statuses["retrieval hybrid"] is not False


def test_the_tree_reads_well() -> None:
    with tracing.recorded() as spans, tracing.span("ask"):
        with tracing.span("retrieval hybrid", operation="retrieval") as found:
            found.set("citewell.hits", 8)
        with tracing.span("chat m", operation="chat") as said:
            said.used(Usage(input_tokens=1200, output_tokens=30, cost_usd=0.0021))
    lines = tracing.as_text(spans).splitlines()
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
    told = rag("ask", QUESTION, OTEL_TRACES_EXPORTER="console").err
    assert '"gen_ai.operation.name": "retrieval"' in told
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
    from rag.stores.chroma import _settings

    assert _settings().anonymized_telemetry is False


def test_what_was_asked_is_not_in_the_status_either(
    grounded: Pipeline, exported: InMemorySpanExporter
) -> None:
    with pytest.raises(ModelReplyError), tracing.span("x"):
        raise ModelReplyError("Question: does Bob have the flu?")
    (found,) = exported.get_finished_spans()
    assert "Bob" not in str(found.to_json())
    assert (found.attributes or {})["error.type"] == "ModelReplyError"


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
    exported: InMemorySpanExporter,
) -> None:
    class Broken(tracing.Recorder):
        def ended(self, span: tracing.Span) -> None:
            raise RuntimeError("broken")

    with tracing.recorded() as spans, tracing.observed(Broken()):
        with pytest.raises(RuntimeError, match="broken"), tracing.span("one"):
            pass
        with pytest.raises(KeyError), tracing.span("two"):  # not hidden by the observer's
            raise KeyError("own")
    assert [found.seconds is not None for found in spans] == [True, True]
    assert [span.name for span in exported.get_finished_spans()] == ["one", "two"]


def test_an_observer_may_be_on_twice() -> None:
    recorder = tracing.Recorder()
    with tracing.observed(recorder):
        with tracing.observed(recorder), tracing.span("inner"):
            pass
        with tracing.span("outer"):
            pass
    assert [found.name for found in recorder.roots] == ["inner", "inner", "outer"]


def test_a_stream_that_was_read_to_its_end_has_not_failed(grounded: Pipeline) -> None:
    with tracing.recorded() as spans:
        for event in grounded.stream(QUESTION):
            if hasattr(event, "answer"):
                break  # as the command does
    assert "failed" not in tracing.as_text(spans)
