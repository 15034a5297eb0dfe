"""What happens on the way to an answer, as spans: a stage, its time, and the stages within it.

    with tracing.recorded() as roots:
        pipeline.ask("How long does the battery last?")
    print(tracing.as_text(roots))

Every span also goes to OpenTelemetry, where the program has set up a tracer provider; without one
its API does nothing, and nothing ever leaves the process. `configure` sets one up from the
standard ``OTEL_`` variables. Names follow the semantic conventions for generative AI
(https://opentelemetry.io/docs/specs/semconv/gen-ai/): ``chat MODEL``, ``embeddings MODEL``,
``retrieval NAME``. What people ask and what models say is in a span only where
``OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT`` is ``true``.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Protocol

from rag.types import Usage

if TYPE_CHECKING:
    from opentelemetry.trace import Span as OtelSpan

_log = logging.getLogger(__name__)

_INSTRUMENTATION = "citewell"
_CAPTURE = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
_PROVIDERS = {"azure-openai": "azure.ai.openai"}  # by the names of parts, where they differ


class Span:
    """A stage: its name, what kind of work it is, its attributes, and how long it took.

    ``operation`` is ``chat``, ``embeddings``, ``retrieval``, ``rerank``, or empty for other
    stages. ``attributes`` hold plain values and go to OpenTelemetry. ``data`` holds what observers
    in this process may look at: ``query`` and ``hits``, ``messages`` and ``completion``, ``tokens``
    (pieces of a reply, as they come). ``seconds`` is None until the span has ended.
    """

    def __init__(self, name: str, operation: str, parent: Span | None) -> None:
        self.name = name
        self.operation = operation
        self.parent = parent
        self.children: list[Span] = []
        self.attributes: dict[str, Any] = {}
        self.data: dict[str, Any] = {}
        self.seconds: float | None = None
        self.error: BaseException | None = None
        self._otel: OtelSpan | None = None
        self._since = time.perf_counter()

    def set(self, name: str, value: Any) -> None:
        """Add an attribute: a plain value, or a list of them. None is left out."""
        if value is None:
            return
        self.attributes[name] = value
        if self._otel is not None and self._otel.is_recording():
            self._otel.set_attribute(name, value)

    def used(self, usage: Usage) -> None:
        """Note the tokens of a model's call, and its cost where that is known."""
        self.set("gen_ai.usage.input_tokens", usage.input_tokens)
        self.set("gen_ai.usage.output_tokens", usage.output_tokens)
        if usage.cost_usd is not None:
            self.set("citewell.cost_usd", usage.cost_usd)

    def token(self, text: str) -> None:
        """Tell observers of a piece of a reply."""
        for observer in _observers.get():
            observer.streamed(self, text)

    def _end(self, error: BaseException | None) -> None:
        self.seconds = time.perf_counter() - self._since
        self.error = error
        if error is not None and not isinstance(error, GeneratorExit):
            self.set("error.type", type(error).__name__)


class Observer(Protocol):
    """What wants to know of spans. It is called in the thread of the stage; it should not raise."""

    def started(self, span: Span) -> None:
        """A stage begins; its query or messages are in ``span.data``."""

    def streamed(self, span: Span, text: str) -> None:
        """A piece of a model's reply has come."""

    def ended(self, span: Span) -> None:
        """A stage is over; its hits or completion are in ``span.data``, its error in ``error``."""


_current: ContextVar[Span | None] = ContextVar("span", default=None)
_observers: ContextVar[tuple[Observer, ...]] = ContextVar("observers", default=())


@contextmanager
def observed(observer: Observer) -> Iterator[None]:
    """Tell `observer` of every span within, also of those in threads that are started there."""
    _observers.set((*_observers.get(), observer))
    try:
        yield
    finally:  # not by a token: a stream may be closed in another context than it began in
        left = list(_observers.get())
        for i in reversed(range(len(left))):
            if left[i] is observer:
                del left[i]
                break
        _observers.set(tuple(left))


class Recorder:
    """An observer that keeps the outermost spans, with all that is within them."""

    def __init__(self) -> None:
        self.roots: list[Span] = []

    def started(self, span: Span) -> None:
        """Keep it where it has no parent, which keeps it otherwise."""
        if span.parent is None:
            self.roots.append(span)

    def streamed(self, span: Span, text: str) -> None:
        """Nothing to keep: the completion comes with the end."""

    def ended(self, span: Span) -> None:
        """Nothing to do."""


@contextmanager
def recorded() -> Iterator[list[Span]]:
    """The outermost spans within, filled as they begin."""
    recorder = Recorder()
    with observed(recorder):
        yield recorder.roots


@contextmanager
def span(
    name: str,
    *,
    operation: str = "",
    attributes: Mapping[str, Any] | None = None,
    data: Mapping[str, Any] | None = None,
    nests: bool = True,
) -> Iterator[Span]:
    """A stage, from here to the end of the block; spans within are its children.

    `nests` is off for a generator's that may be run in its reader's context: nothing is then
    within it. For `attributes` and `data` see `Span`.
    """
    from opentelemetry import context as otel_context
    from opentelemetry import trace

    made = Span(name, operation, _current.get())
    made.data.update(data or {})
    tracer = trace.get_tracer(_INSTRUMENTATION)
    client = operation in ("chat", "embeddings", "retrieval")
    kind = trace.SpanKind.CLIENT if client else trace.SpanKind.INTERNAL
    made._otel = tracer.start_span(name, kind=kind)
    if operation:
        made.set("gen_ai.operation.name", operation)
    for key, value in (attributes or {}).items():
        made.set(key, value)
    observers = _observers.get()
    if made.parent is not None and observers:
        made.parent.children.append(made)
    attached = None
    if nests:
        _current.set(made)
        if made._otel.get_span_context().is_valid:  # one that is not sampled has its children too
            attached = otel_context.attach(trace.set_span_in_context(made._otel))
    failed: BaseException | None = None
    told = 0
    try:
        for observer in observers:
            told += 1
            observer.started(made)
        yield made
    except BaseException as error:
        failed = error
        raise
    finally:
        if nests:
            _current.set(made.parent)
            if attached is not None:
                otel_context.detach(attached)
        made._end(failed)
        _export(made)
        _tell_of_end(made, observers[:told], failed)


def _tell_of_end(made: Span, observers: Sequence[Observer], failed: BaseException | None) -> None:
    """Tell all of them, whatever one raises; that comes up where nothing else has failed."""
    faults: list[Exception] = []
    for observer in observers:
        try:
            observer.ended(made)
        except Exception as error:
            faults.append(error)
    if faults and failed is None:
        raise faults[0]


def _export(made: Span) -> None:
    """End the span of OpenTelemetry, with what was said where that is to be captured."""
    otel = made._otel
    if otel is None or not otel.is_recording():
        return
    from opentelemetry.trace import Status, StatusCode

    captures = os.environ.get(_CAPTURE, "").lower() == "true"
    if captures:
        for name, value in _content(made.data).items():
            otel.set_attribute(name, value)
    if made.error is not None and not isinstance(made.error, GeneratorExit):
        # what a provider says of an error may quote the question
        otel.set_status(Status(StatusCode.ERROR, str(made.error)[:500] if captures else None))
    otel.end()


def _content(data: Mapping[str, Any]) -> dict[str, str]:
    found = {}
    if (query := data.get("query")) is not None:
        found["gen_ai.retrieval.query.text"] = str(query)
    if (asked := data.get("messages")) is not None:
        found["gen_ai.input.messages"] = json.dumps([_message(m.role, m.content) for m in asked])
    if (completion := data.get("completion")) is not None:
        said = _message("assistant", completion.text)
        said["finish_reason"] = completion.finish_reason
        found["gen_ai.output.messages"] = json.dumps([said])
    return found


def _message(role: str, content: str) -> dict[str, Any]:
    return {"role": role, "parts": [{"type": "text", "content": content}]}


def provider_of(name: str) -> str:
    """The name of a part's provider in OpenTelemetry's conventions."""
    return _PROVIDERS.get(name, name)


def as_text(spans: Sequence[Span]) -> str:
    """Spans as a tree, a line each: what, how long, and tokens or hits where there are any."""
    lines: list[tuple[str, Span]] = []
    for root in spans:
        lines.append((root.name, root))
        _branches(root, "", lines)
    width = max((len(text) for text, _ in lines), default=0)
    return "\n".join(f"{text:<{width}}  {_told(found)}".rstrip() for text, found in lines)


def _branches(parent: Span, indent: str, lines: list[tuple[str, Span]]) -> None:
    for i, child in enumerate(parent.children):
        last = i == len(parent.children) - 1
        lines.append((f"{indent}{'└─' if last else '├─'} {child.name}", child))
        _branches(child, indent + ("   " if last else "│  "), lines)


def _told(found: Span) -> str:
    seconds = "" if found.seconds is None else f"{found.seconds * 1000:9.1f} ms"
    notes = []
    read = found.attributes.get("gen_ai.usage.input_tokens")
    if read is not None:
        written = found.attributes.get("gen_ai.usage.output_tokens", 0)
        notes.append(f"{read:,} tokens in, {written:,} out")
    cost = found.attributes.get("citewell.cost_usd")
    if cost:
        notes.append(f"${cost:.4f}")
    for name in ("hit", "text", "pair", "citation"):
        if (count := found.attributes.get(f"citewell.{name}s")) is not None:
            notes.append(f"{count:,} {name}{'' if count == 1 else 's'}")
    if "citewell.status" in found.attributes:
        notes.append(found.attributes["citewell.status"])
    if found.error is not None and not isinstance(found.error, GeneratorExit):
        notes.append(f"failed: {type(found.error).__name__}")
    return f"{seconds}  {', '.join(notes)}".rstrip()


def configure(service: str = _INSTRUMENTATION) -> bool:
    """Send spans where the ``OTEL_`` variables of the environment say; whether they do.

    ``OTEL_EXPORTER_OTLP_ENDPOINT`` (or ``..._TRACES_ENDPOINT``) is an OTLP collector by gRPC;
    ``OTEL_TRACES_EXPORTER=otlp`` is one at the usual place, ``console`` prints to stderr.
    ``OTEL_SDK_DISABLED=true`` and ``OTEL_TRACES_EXPORTER=none`` switch off. For programs; a
    library leaves that to its program.
    """
    wanted = os.environ.get("OTEL_TRACES_EXPORTER", "").strip()
    endpoint = os.environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") or os.environ.get(
        "OTEL_EXPORTER_OTLP_ENDPOINT"
    )
    off = os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true" or wanted == "none"
    if off or not (endpoint or wanted):
        return False
    protocol = os.environ.get("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    if wanted not in ("", "otlp", "console") or protocol != "grpc":
        _log.warning("no traces are sent: only OTLP by gRPC and the console are known")
        return False
    import sys

    from opentelemetry import trace
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import (
        BatchSpanProcessor,
        ConsoleSpanExporter,
        SpanExporter,
    )

    exporter: SpanExporter
    if wanted == "console":
        exporter = ConsoleSpanExporter(out=sys.stderr)
    else:
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

        exporter = OTLPSpanExporter()
    told = os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    named = {} if "service.name=" in told else {"service.name": service}
    if own := os.environ.get("OTEL_SERVICE_NAME"):
        named = {"service.name": own}
    provider = TracerProvider(resource=Resource.create(named))
    provider.add_span_processor(BatchSpanProcessor(exporter))  # flushed when the program ends
    trace.set_tracer_provider(provider)
    return True
