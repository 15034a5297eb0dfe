"""Lists of records in XML: repeated elements with the same children or attributes."""

from __future__ import annotations

import html
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from connectors.parsers.record_lists import make_unique_mapping
from connectors.parsers.safe_zip import local_name
from rag.types import to_well_formed

PROSE_ELEMENTS = frozenset(
    """p para simpara section sect1 sect2 sect3 sect4 chapter article body topic div li dd dt ul ol
    table tr td th thead tbody tgroup row entry conbody step cmd listitem blockquote pre
    span""".split()
)
"""Elements of texts for people: what contains them is not a record."""
_UNIT_ATTRIBUTES = frozenset(("unit", "units", "uom", "currency"))
MIN_ATTRIBUTES = 2
"""Attributes of an element without children that is a record."""


def iterate_text(element: Any) -> Iterator[str]:
    """Yield the text of an element and its descendants; entities known to HTML are decoded.

    The unit of a value in running text follows it: ``<val unit="A">16</val>`` is "16 A".
    """
    from lxml import etree

    yield element.text or ""
    for child in element:
        if isinstance(child.tag, str):
            yield from iterate_text(child)
            yield from (f" {v}" for k, v in list_attributes(child) if k.lower() in _UNIT_ATTRIBUTES)
        elif child.tag is etree.Entity:
            yield html.unescape(child.text or "")
        yield child.tail or ""


def list_attributes(element: Any) -> list[tuple[str, str]]:
    """Return the attributes that have a value, without those of the W3C's own namespaces."""
    return [
        (key.rpartition("}")[2], " ".join(value.split()))
        for key, value in element.attrib.items()
        if value.strip() and not key.startswith("{http://www.w3.org/")
    ]


def find_record_names(parent: Any) -> frozenset[str]:
    """Return the names of the children of `parent` that form a list of records."""
    children: dict[str, list[Any]] = defaultdict(list)
    for child in parent:
        if name := local_name(child):
            children[name].append(child)
    return frozenset(
        name for name, elements in children.items() if len(elements) > 1 and _are_records(elements)
    )


def _are_records(elements: list[Any]) -> bool:
    shared_fields: set[str] | None = None
    for element in elements:
        child_names = {local_name(child) for child in element} - {""}
        attributes = {name for name, _ in list_attributes(element)}
        if child_names & PROSE_ELEMENTS or not (child_names or len(attributes) >= MIN_ATTRIBUTES):
            return False
        fields = child_names | attributes
        shared_fields = fields if shared_fields is None else shared_fields & fields
        if not shared_fields:
            return False
    return not any(_has_running_text(element) for element in elements)


def _has_running_text(element: Any) -> bool:
    """Return whether an element in `element` has text beside its children."""
    return any(
        (len(item) and (item.text or "").strip()) or (item is not element and _has_tail(item))
        for item in element.iter()
        if isinstance(item.tag, str)
    )


def _has_tail(element: Any) -> bool:
    return bool((element.tail or "").strip())


def read_element(element: Any) -> Mapping[str, Any] | str:
    """Return an element as data: a text, or a mapping of its attributes and children."""
    attributes = list_attributes(element)
    children: dict[str, list[Any]] = defaultdict(list)
    for child in element:
        if name := local_name(child):
            children[name].append(read_element(child))
    if not children:
        text = to_well_formed(" ".join("".join(iterate_text(element)).split()))
        if not attributes:
            return text
        return make_unique_mapping([*([("", text)] if text else []), *attributes])
    fields = (
        (name, values[0] if len(values) == 1 else values) for name, values in children.items()
    )
    return make_unique_mapping([*attributes, *fields])
