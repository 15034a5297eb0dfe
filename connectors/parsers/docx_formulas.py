"""Equations of Office documents (OMML) as text on one line: ``1/12``, ``10⁶``, ``√(2)``."""

from __future__ import annotations

from typing import Any

from connectors.parsers.safe_zip import local_name

_MAX_DEPTH = 40
_SUPERSCRIPTS = str.maketrans("0123456789+-−=()n", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁻⁼⁽⁾ⁿ")
_MATH = "{http://schemas.openxmlformats.org/officeDocument/2006/math}"


def format_formula(element: Any, depth: int = 0) -> str:
    """Return an equation as text. Fractions, exponents, indices and roots keep their meaning."""
    name = local_name(element)
    if name == "t":
        return element.text or ""
    if depth > _MAX_DEPTH:
        return "".join(element.itertext())
    parts = {local_name(child): format_formula(child, depth + 1) for child in element}
    if name == "f":
        return f"{_group(parts.get('num', ''))}/{_group(parts.get('den', ''))}"
    if name in ("sSup", "sSub", "sSubSup"):
        return parts.get("e", "") + _format_index(parts.get("sub", ""), parts.get("sup", ""))
    if name == "nary":
        sign = _read_property(element, "chr", "∫")
        limits = _format_index(parts.get("sub", ""), parts.get("sup", ""))
        return f"{sign}{limits} {parts.get('e', '')}"
    if name == "rad":
        return f"{parts.get('deg', '')}√({parts.get('e', '')})"
    if name == "d":
        inner = [format_formula(c, depth + 1) for c in element if local_name(c) == "e"]
        opening = _read_property(element, "begChr", "(")
        return opening + ", ".join(inner) + _read_property(element, "endChr", ")")
    return "".join(format_formula(child, depth + 1) for child in element)


def _group(text: str) -> str:
    text = text.strip()
    return text if text.isalnum() or len(text) < 2 else f"({text})"


def _format_index(lower: str, upper: str) -> str:
    index = f"_{_group(lower)}" if lower.strip() else ""
    if upper.strip():
        raised = upper.strip().translate(_SUPERSCRIPTS)
        is_plain = not any(c.isascii() for c in raised)
        index += raised if is_plain else f"^{_group(upper)}"
    return index


def _read_property(element: Any, name: str, default: str) -> str:
    for item in element.iter(f"{_MATH}{name}"):
        return str(item.get(f"{_MATH}val", default))
    return default
