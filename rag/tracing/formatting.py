"""Spans as text: a tree with times, tokens and hits."""

from __future__ import annotations

from collections.abc import Sequence

from rag.tracing.spans import Span


def format_tree(spans: Sequence[Span]) -> str:
    """Format spans as a tree, one line each: name, time, and tokens or hits where known."""
    lines: list[tuple[str, Span]] = []
    for root in spans:
        lines.append((root.name, root))
        _append_children(root, "", lines)
    width = max((len(text) for text, _ in lines), default=0)
    return "\n".join(f"{text:<{width}}  {_format_notes(span)}".rstrip() for text, span in lines)


def _append_children(parent: Span, indent: str, lines: list[tuple[str, Span]]) -> None:
    for i, child in enumerate(parent.children):
        is_last = i == len(parent.children) - 1
        lines.append((f"{indent}{'└─' if is_last else '├─'} {child.name}", child))
        _append_children(child, indent + ("   " if is_last else "│  "), lines)


def _format_notes(span: Span) -> str:
    seconds = "" if span.seconds is None else f"{span.seconds * 1000:9.1f} ms"
    notes = []
    input_tokens = span.attributes.get("gen_ai.usage.input_tokens")
    if input_tokens is not None:
        output_tokens = span.attributes.get("gen_ai.usage.output_tokens", 0)
        notes.append(f"{input_tokens:,} tokens in, {output_tokens:,} out")
    if cost := span.attributes.get("citewell.cost_usd"):
        notes.append(f"${cost:.4f}")
    for unit in ("hit", "text", "pair", "citation"):
        if (count := span.attributes.get(f"citewell.{unit}s")) is not None:
            notes.append(f"{count:,} {unit}{'' if count == 1 else 's'}")
    if "citewell.status" in span.attributes:
        notes.append(span.attributes["citewell.status"])
    if span.has_failed:
        notes.append(f"failed: {type(span.error).__name__}")
    return f"{seconds}  {', '.join(notes)}".rstrip()
