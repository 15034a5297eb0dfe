"""Tracing: the stages of a request as spans, in this process and for OpenTelemetry.

Print the stages of a question, with their times:

    from rag import Pipeline, tracing

    with Pipeline(index=".rag") as pipeline, tracing.record_spans() as roots:
        pipeline.ask("How long does the battery last?")
    print(tracing.format_tree(roots))
"""

from rag.tracing.formatting import format_tree
from rag.tracing.opentelemetry import configure, provider_name
from rag.tracing.spans import Span, SpanProcessor, SpanRecorder, record_spans, span, use_processor

__all__ = [
    "Span",
    "SpanProcessor",
    "SpanRecorder",
    "configure",
    "format_tree",
    "provider_name",
    "record_spans",
    "span",
    "use_processor",
]
