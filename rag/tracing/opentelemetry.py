"""Export of spans to OpenTelemetry, by the semantic conventions for generative AI.

The OpenTelemetry API does nothing until a program sets up a tracer provider. `configure` sets one
up from the standard ``OTEL_`` variables; it needs the extra ``otel``. Span names follow
https://opentelemetry.io/docs/specs/semconv/gen-ai/: ``chat MODEL``, ``embeddings MODEL``,
``retrieval NAME``. Questions, passages and replies are exported only if
``OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT`` is ``true``.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rag.errors import MissingExtra

if TYPE_CHECKING:
    from opentelemetry.trace import Span as OtelSpan

    from rag.tracing.spans import Span

_log = logging.getLogger(__name__)

_INSTRUMENTATION_NAME = "citewell"
_CAPTURE_VARIABLE = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
_CLIENT_OPERATIONS = ("chat", "embeddings", "retrieval")
_MAX_STATUS_CHARACTERS = 500
_PROVIDER_NAMES = {"azure-openai": "azure.ai.openai"}  # where they differ from our registered name


def provider_name(part_name: str) -> str:
    """Return the name of a part's provider in OpenTelemetry's conventions."""
    return _PROVIDER_NAMES.get(part_name, part_name)


@contextmanager
def export_span(span: Span) -> Iterator[None]:
    """Mirror `span` as a span of OpenTelemetry, current within the block if `span` nests."""
    from opentelemetry import context, trace

    is_client = span.operation in _CLIENT_OPERATIONS
    otel_span = trace.get_tracer(_INSTRUMENTATION_NAME).start_span(
        span.name,
        kind=trace.SpanKind.CLIENT if is_client else trace.SpanKind.INTERNAL,
        attributes=dict(span.attributes),
    )
    token = None
    if span.nests and otel_span.get_span_context().is_valid:  # an unsampled span has children too
        token = context.attach(trace.set_span_in_context(otel_span))
    try:
        yield
    finally:
        if token is not None:
            context.detach(token)
        if otel_span.is_recording():
            _finish(otel_span, span)


def _finish(otel_span: OtelSpan, span: Span) -> None:
    from opentelemetry.trace import Status, StatusCode

    captures_content = os.environ.get(_CAPTURE_VARIABLE, "").lower() == "true"
    content = _message_attributes(span.data) if captures_content else {}
    for name, value in {**span.attributes, **content}.items():
        otel_span.set_attribute(name, value)
    if span.has_failed:
        # A provider's error message may quote the question.
        reason = str(span.error)[:_MAX_STATUS_CHARACTERS] if captures_content else None
        otel_span.set_status(Status(StatusCode.ERROR, reason))
    otel_span.end()


def _message_attributes(data: Mapping[str, Any]) -> dict[str, str]:
    attributes = {}
    if (query := data.get("query")) is not None:
        attributes["gen_ai.retrieval.query.text"] = str(query)
    if (messages := data.get("messages")) is not None:
        attributes["gen_ai.input.messages"] = json.dumps(
            [_message_to_json(message.role, message.content) for message in messages]
        )
    if (completion := data.get("completion")) is not None:
        reply = _message_to_json("assistant", completion.text)
        reply["finish_reason"] = completion.finish_reason
        attributes["gen_ai.output.messages"] = json.dumps([reply])
    return attributes


def _message_to_json(role: str, content: str) -> dict[str, Any]:
    return {"role": role, "parts": [{"type": "text", "content": content}]}


def configure(service: str = _INSTRUMENTATION_NAME) -> bool:
    """Set up a tracer provider from the ``OTEL_`` variables. Return whether spans are exported.

    ``OTEL_EXPORTER_OTLP_ENDPOINT`` (or ``..._TRACES_ENDPOINT``) is an OTLP collector by gRPC.
    ``OTEL_TRACES_EXPORTER=otlp`` uses the default endpoint, ``console`` prints to stderr.
    ``OTEL_SDK_DISABLED=true`` and ``OTEL_TRACES_EXPORTER=none`` turn the export off. Only
    programs call this; a library leaves it to its program. Raises `MissingExtra` without the
    extra ``otel``.
    """
    exporter_name = os.environ.get("OTEL_TRACES_EXPORTER", "").strip()
    endpoint = os.environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") or os.environ.get(
        "OTEL_EXPORTER_OTLP_ENDPOINT"
    )
    is_disabled = os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true"
    if is_disabled or exporter_name == "none" or not (endpoint or exporter_name):
        return False
    protocol = os.environ.get("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    if exporter_name not in ("", "otlp", "console") or protocol != "grpc":
        _log.warning("No traces are exported: only OTLP by gRPC and the console are supported.")
        return False
    try:
        _set_provider(service, to_console=exporter_name == "console")
    except ModuleNotFoundError as error:
        raise MissingExtra.of("otel", "the export of traces") from error
    return True


def _set_provider(service: str, *, to_console: bool) -> None:
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
    if to_console:
        exporter = ConsoleSpanExporter(out=sys.stderr)
    else:
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

        exporter = OTLPSpanExporter()
    resource_variable = os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    resource = {} if "service.name=" in resource_variable else {"service.name": service}
    if service_name := os.environ.get("OTEL_SERVICE_NAME"):
        resource = {"service.name": service_name}
    provider = TracerProvider(resource=Resource.create(resource))
    provider.add_span_processor(BatchSpanProcessor(exporter))  # flushed when the program ends
    trace.set_tracer_provider(provider)
