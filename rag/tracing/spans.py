"""Spans: the timed stages of a request, and the processors in this process that see them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from rag.call_context import current_context, update_context
from rag.types import Usage


class Span:
    """A stage of a request: its name, its kind of work, its attributes, and its duration.

    ``operation`` is ``chat``, ``embeddings``, ``retrieval``, ``rerank``, or empty for other
    stages. ``attributes`` hold plain values, which OpenTelemetry receives. ``data`` holds objects
    for processors in this process: ``query`` and ``hits``, ``messages`` and ``completion``.
    ``seconds`` is None until the span has ended. ``nests`` says whether spans that start within
    it become its children.
    """

    def __init__(self, name: str, operation: str, parent: Span | None, *, nests: bool) -> None:
        self.name = name
        self.operation = operation
        self.parent = parent
        self.nests = nests
        self.children: list[Span] = []
        self.attributes: dict[str, Any] = {}
        self.data: dict[str, Any] = {}
        self.seconds: float | None = None
        self.error: BaseException | None = None
        self._start = time.perf_counter()

    @property
    def has_failed(self) -> bool:
        """True if an exception ended the span. A reader that closes a stream is no failure."""
        return self.error is not None and not isinstance(self.error, GeneratorExit)

    def set(self, name: str, value: Any) -> None:
        """Set an attribute to a plain value or a list of them. None is ignored."""
        if value is not None:
            self.attributes[name] = value

    def set_usage(self, usage: Usage) -> None:
        """Set the tokens of a model call, and its cost if that is known."""
        self.set("gen_ai.usage.input_tokens", usage.input_tokens)
        self.set("gen_ai.usage.output_tokens", usage.output_tokens)
        self.set("citewell.cost_usd", usage.cost_usd)

    def emit_token(self, text: str) -> None:
        """Pass a piece of a streamed reply to the processors."""
        for processor in current_context().processors:
            processor.on_token(self, text)

    def end(self, error: BaseException | None) -> None:
        """Record the duration, and the error if there is one."""
        self.seconds = time.perf_counter() - self._start
        self.error = error
        if self.has_failed:
            self.set("error.type", type(error).__name__)


class SpanProcessor(Protocol):
    """Receives spans as they start and end, in the thread of the stage. It should not raise.

    The method names are those of OpenTelemetry's ``SpanProcessor``. Other than there, a processor
    sees every span, sampled or not, and the objects in ``span.data``.
    """

    def on_start(self, span: Span) -> None:
        """A stage starts. Its query or messages are in ``span.data``."""

    def on_token(self, span: Span, text: str) -> None:
        """A model has sent a piece of its reply."""

    def on_end(self, span: Span) -> None:
        """A stage has ended. Its results are in ``span.data``, its error in ``span.error``."""


@contextmanager
def use_processor(processor: SpanProcessor) -> Iterator[None]:
    """Pass every span within the block to `processor`, also spans of threads started there."""
    update_context(processors=(*current_context().processors, processor))
    try:
        yield
    finally:  # not by a token: a stream may be closed in another context than it began in
        processors = list(current_context().processors)
        for i in reversed(range(len(processors))):
            if processors[i] is processor:
                del processors[i]
                break
        update_context(processors=tuple(processors))


class SpanRecorder:
    """A processor that keeps the root spans, with their children."""

    def __init__(self) -> None:
        self.roots: list[Span] = []

    def on_start(self, span: Span) -> None:
        """Keep a root span. Its children are in ``span.children``."""
        if span.parent is None:
            self.roots.append(span)

    def on_token(self, span: Span, text: str) -> None:
        """Ignore the token: the completion is in ``span.data`` at the end."""

    def on_end(self, span: Span) -> None:
        """Ignore the end: the span was kept when it started."""


@contextmanager
def record_spans() -> Iterator[list[Span]]:
    """Yield the list of root spans of the block; it fills as they start."""
    recorder = SpanRecorder()
    with use_processor(recorder):
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
    """Time the block as a stage. Spans within it are its children.

    A stage does not start if the call must stop: then it raises `CallCancelled` or
    `DeadlineExceeded`.

    Turn `nests` off for a generator that may run in its reader's context: then no span becomes
    a child of it. For `attributes` and `data` see `Span`.
    """
    from rag.tracing.opentelemetry import export_span

    context = current_context()
    context.check()
    stage = Span(name, operation, context.span, nests=nests)
    stage.data.update(data or {})
    stage.set("gen_ai.operation.name", operation or None)
    for key, value in (attributes or {}).items():
        stage.set(key, value)
    processors = context.processors
    if stage.parent is not None and processors:
        stage.parent.children.append(stage)
    error: BaseException | None = None
    started_count = 0
    try:
        with export_span(stage):
            if nests:
                update_context(span=stage)
            try:
                for processor in processors:
                    started_count += 1
                    processor.on_start(stage)
                yield stage
            except BaseException as raised:
                error = raised
                raise
            finally:
                if nests:
                    update_context(span=stage.parent)
                stage.end(error)
    finally:
        _notify_end(stage, processors[:started_count], error)


def _notify_end(
    stage: Span, processors: Sequence[SpanProcessor], error: BaseException | None
) -> None:
    """Call every processor, even if one raises. Raise its error if the stage has none itself."""
    processor_errors: list[Exception] = []
    for processor in processors:
        try:
            processor.on_end(stage)
        except Exception as raised:
            processor_errors.append(raised)
    if processor_errors and error is None:
        raise processor_errors[0]
