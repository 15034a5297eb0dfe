"""Extraction: fills a pydantic model from passages, with citations for each field."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

from pydantic import BaseModel, Field

from rag.generation.context_packing import (
    PackedPassages,
    build_prompt_passages,
    make_boundary,
)
from rag.generation.name_agreement import MISSING_NAME_FACTOR
from rag.generation.passages import Passage
from rag.generation.quotes import Quote, find_best_quote
from rag.llm.base import ChatModel
from rag.llm.prompting import render_messages
from rag.llm.structured import fill
from rag.llm.usage import track_usage
from rag.text.sentences import Span
from rag.text.tokenization import words
from rag.types import (
    CheckFieldsStep,
    Citation,
    FillStep,
    FrozenModel,
    Hit,
    SentenceStatus,
    Trace,
    Usage,
    to_well_formed,
)
from rag.verification import Verifier

Model = TypeVar("Model", bound=BaseModel)


class FieldEvidence(FrozenModel):
    """The evidence for the value of a field.

    ``supported``: the quote contains the value word for word and is about the field (and, in a
    list, about that item), or the verifier finds that the quote supports it. ``partly``: the quote
    contains the value, but its other words may be about something else. A value that the passages
    do not contain is ``unsupported``; an empty value needs no evidence (``needs_none``).
    """

    citations: tuple[Citation, ...] = ()
    support: float = Field(default=0.0, ge=0, le=1)
    status: SentenceStatus = "unsupported"


class Extraction(FrozenModel, Generic[Model]):
    """A filled instance, with the evidence for each of its values.

    The keys of ``fields`` are paths: ``name``, ``parts.0.price``.
    """

    value: Model
    fields: dict[str, FieldEvidence] = {}
    hits: tuple[Hit, ...] = ()
    usage: Usage = Usage()
    trace: Trace = ()

    @property
    def doubtful(self) -> tuple[str, ...]:
        """Paths of the values that are only partly supported and need a review."""
        return tuple(path for path, item in self.fields.items() if item.status == "partly")

    @property
    def unsupported(self) -> tuple[str, ...]:
        """Paths of the values that no passage supports."""
        return tuple(path for path, item in self.fields.items() if item.status == "unsupported")


def extract(
    question: str,
    packed: PackedPassages,
    hits: Sequence[Hit],
    model: type[Model],
    *,
    chat: ChatModel,
    verifier: Verifier,
) -> Extraction[Model]:
    """Ask `chat` for an instance of `model`, and find evidence for each value in the passages."""
    passages = packed.passages
    prompt_messages = render_messages(
        "extract",
        question=question,
        passages=build_prompt_passages(passages),
        boundary=make_boundary(question, passages),
    )
    start_time = time.perf_counter()
    with track_usage() as usage_tracker:
        value = fill(chat, prompt_messages, model)
    fill_time = time.perf_counter()
    labels = model.model_json_schema()
    fields = {
        path: _find_evidence(label, leaf, passages, verifier)
        for path, label, leaf in _list_leaves(value.model_dump(mode="json", by_alias=True), labels)
    }
    fill_step = FillStep(
        name="fill",
        seconds=fill_time - start_time,
        passages=len(passages),
        left_out=packed.omitted_hits,
    )
    check_step = CheckFieldsStep(
        name="check_fields",
        seconds=time.perf_counter() - fill_time,
        fields=len(fields),
        supported=_count_status(fields, "supported"),
    )
    kind: Any = Extraction[model]  # type: ignore[valid-type]
    extraction: Extraction[Model] = kind(
        value=value,
        fields=fields,
        hits=tuple(hits),
        usage=usage_tracker.usage,
        trace=(fill_step, check_step),
    )
    return extraction


def _count_status(fields: Mapping[str, FieldEvidence], status: str) -> int:
    return sum(evidence.status == status for evidence in fields.values())


def _list_leaves(value: Any, schema: Mapping[str, Any]) -> Iterator[tuple[str, _Label, Any]]:
    """Yield path, label and value of every scalar, in order."""
    definitions = schema.get("$defs", {})

    def walk(
        node: Any, node_schema: Any, path: str, label: _Label
    ) -> Iterator[tuple[str, _Label, Any]]:
        node_schema = _resolve_schema(node_schema, definitions)
        if isinstance(node, dict):
            property_schemas = node_schema.get("properties", {})
            for key, item in node.items():
                property_schema = _resolve_schema(property_schemas.get(key, {}), definitions)
                description = property_schema.get("description") or key.replace("_", " ")
                sibling_values = (sibling for name, sibling in node.items() if name != key)
                sibling_name = next(
                    (value for value in sibling_values if isinstance(value, str) and value), ""
                )
                item_name = sibling_name if label.is_item else label.item_name
                yield from walk(
                    item,
                    property_schema,
                    _join_path(path, str(key)),
                    _Label(description, item_name, False),
                )
        elif isinstance(node, list):
            for i, item in enumerate(node):
                item_label = _Label(label.text, label.item_name, True)
                yield from walk(item, node_schema.get("items", {}), f"{path}.{i}", item_label)
        else:
            yield path, label, node

    yield from walk(value, schema, "", _Label("", "", False))


class _Label(NamedTuple):
    text: str
    item_name: str  # for an item of a list: a text that distinguishes it from the others
    is_item: bool


def _join_path(path: str, key: str) -> str:
    name = key if re.fullmatch(r"[\w-]+", key) else f'"{key}"'
    return f"{path}.{name}" if path else name


def _resolve_schema(schema: Any, definitions: Mapping[str, Any]) -> Mapping[str, Any]:
    if not isinstance(schema, Mapping):
        return {}
    if isinstance(reference := schema.get("$ref"), str):
        return {**definitions.get(reference.rpartition("/")[2], {}), **schema, "$ref": None}
    for option in schema.get("anyOf", ()):
        if isinstance(option, Mapping) and option.get("type") != "null":
            return {**_resolve_schema(option, definitions), **schema, "anyOf": ()}
    return schema


def _find_evidence(
    label: _Label, value: Any, passages: Sequence[Passage], verifier: Verifier
) -> FieldEvidence:
    if value is None or (isinstance(value, str) and not value.strip()):
        return FieldEvidence(status="needs_none")
    claim = f"{label.text}: {_format_value(value)}"
    if label.item_name:
        claim = f"{label.item_name}, {claim}"
    literal_quote = None
    if not isinstance(value, bool):
        literal_quote = _find_literal_quote(claim, value, label.item_name, passages, verifier)
    quote = literal_quote or find_best_quote(claim, passages, verifier)
    if quote is None or (quote.support < verifier.partial and literal_quote is None):
        return FieldEvidence(support=quote.support if quote else 0.0)
    status = verifier.status(quote.support)
    if literal_quote is not None:
        status = "supported" if quote.support >= verifier.partial else "partly"
        if label.item_name and status == "partly":  # the quote has the value, but of another item
            return FieldEvidence(support=quote.support)
    return FieldEvidence(
        citations=(quote.citation(quote.passage.number, "attribution"),),
        support=quote.support,
        status=status,
    )


def _find_literal_quote(
    claim: str, value: Any, item_name: str, passages: Sequence[Passage], verifier: Verifier
) -> Quote | None:
    """Return the sentence (or heading) with the value word for word that supports the claim best.

    The support is lowered if neither the sentence nor its headings have a word of `item_name`.
    """
    value_words = _split_value_words(_format_value(value))
    if not value_words:
        return None
    spans = _find_spans(value_words, passages, Passage.sentence_spans) or _find_spans(
        value_words, passages, _list_headings
    )
    if not spans:
        return None
    supports = [
        support * (MISSING_NAME_FACTOR if _is_about_another(item_name, passage, span) else 1)
        for support, (passage, span) in zip(
            verifier.scores([(claim, p.text[s[0] : s[1]]) for p, s in spans]), spans, strict=True
        )
    ]
    best_index = max(range(len(spans)), key=lambda i: (float(supports[i]), -i))
    return Quote(
        spans[best_index][0], Span(*spans[best_index][1]), min(1.0, float(supports[best_index]))
    )


def _list_headings(passage: Passage) -> list[Span]:
    """Return the spans of the headings, without their marks."""
    headings: list[Span] = []
    for _, span in passage.heading_spans():
        mark = re.match(r"[#=\s]*", passage.text[span.start : span.end])
        headings.append(Span(span.start + (mark.end() if mark else 0), span.end))
    return headings


def _find_spans(
    value_words: Sequence[str],
    passages: Sequence[Passage],
    list_spans: Callable[[Passage], Sequence[Span]],
) -> list[tuple[Passage, Span]]:
    """Return the spans of passages that have the words of a value, in their order."""
    return [
        (passage, span)
        for passage in passages
        for span in list_spans(passage)
        if _has_words_in_order(value_words, passage.text[span[0] : span[1]])
    ]


def _is_about_another(item_name: str, passage: Passage, span: Span) -> bool:
    """Whether a span, with its headings, has no word of the name of the item."""
    name_words = set(words(item_name))
    return bool(name_words) and name_words.isdisjoint(words(passage.premise(span)))


def _format_value(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return to_well_formed(str(value))


def _split_value_words(text: str) -> list[str]:
    return words(re.sub(r"(?<=\d),(?=\d{3}(?:\D|$))", "", text))


def _has_words_in_order(value_words: Sequence[str], text: str) -> bool:
    text_words = _split_value_words(text)
    size = len(value_words)
    return any(
        text_words[i : i + size] == list(value_words) for i in range(len(text_words) - size + 1)
    )
