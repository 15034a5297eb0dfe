"""Structured answers: a pydantic model in, a filled instance out, each field with its citations."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

from pydantic import BaseModel, Field

from rag.generation.context_packing import Packed, Passage, boundary, shown_passages
from rag.generation.quotes import Quote, best_quote
from rag.llm.base import ChatModel
from rag.llm.prompting import messages
from rag.llm.structured import fill
from rag.llm.usage import track_usage
from rag.text.sentences import Span
from rag.text.tokenization import words
from rag.types import Citation, FrozenModel, Hit, SentenceStatus, Step, Usage, well_formed
from rag.verification import Verifier

Model = TypeVar("Model", bound=BaseModel)


class FieldEvidence(FrozenModel):
    """What a field's value rests on.

    ``supported``: the value stands in the quote word for word, and the quote is about the field
    (and, in a list, about that item); or the verifier finds that the quote says so. ``partly``: it
    stands there, but by its words the quote may be about something else. A value that the passages
    do not hold is ``unsupported``; one that is empty needs none.
    """

    citations: tuple[Citation, ...] = ()
    support: float = Field(default=0.0, ge=0, le=1)
    status: SentenceStatus = "unsupported"


class Extraction(FrozenModel, Generic[Model]):
    """A filled instance, and for each of its values where it stands.

    ``fields`` has a path for each value: ``name``, ``parts.0.price``.
    """

    value: Model
    fields: dict[str, FieldEvidence] = {}
    hits: tuple[Hit, ...] = ()
    usage: Usage = Usage()
    trace: tuple[Step, ...] = ()

    @property
    def doubtful(self) -> tuple[str, ...]:
        """Paths of the values that are supported in part: to be looked at."""
        return tuple(p for p, found in self.fields.items() if found.status == "partly")

    @property
    def unsupported(self) -> tuple[str, ...]:
        """Paths of the values that no passage supports."""
        return tuple(p for p, found in self.fields.items() if found.status == "unsupported")


def extract(
    question: str,
    packed: Packed,
    hits: Sequence[Hit],
    model: type[Model],
    *,
    chat: ChatModel,
    verifier: Verifier,
) -> Extraction[Model]:
    """Ask `chat` for an instance of `model`, and look up each of its values in the passages."""
    passages = packed.passages
    asked = messages(
        "extract",
        question=question,
        passages=shown_passages(passages),
        boundary=boundary(question, passages),
    )
    started = time.perf_counter()
    with track_usage() as meter:
        value = fill(chat, asked, model)
    filled = time.perf_counter()
    labels = model.model_json_schema()
    fields = {
        path: _evidence(label, leaf, passages, verifier)
        for path, label, leaf in _leaves(value.model_dump(mode="json", by_alias=True), labels)
    }
    detail = {"passages": len(passages), "left_out": packed.left_out}
    found = {"fields": len(fields), "supported": _count(fields, "supported")}
    kind: Any = Extraction[model]  # type: ignore[valid-type]
    extraction: Extraction[Model] = kind(
        value=value,
        fields=fields,
        hits=tuple(hits),
        usage=meter.usage,
        trace=(
            Step(name="extract", seconds=filled - started, detail=detail),
            Step(name="check", seconds=time.perf_counter() - filled, detail=found),
        ),
    )
    return extraction


def _count(fields: Mapping[str, FieldEvidence], status: str) -> int:
    return sum(found.status == status for found in fields.values())


def _leaves(value: Any, schema: Mapping[str, Any]) -> Iterator[tuple[str, _Label, Any]]:
    """Path, label and value of every scalar, in order."""
    definitions = schema.get("$defs", {})

    def walk(at: Any, part: Any, path: str, label: _Label) -> Iterator[tuple[str, _Label, Any]]:
        part = _resolved(part, definitions)
        if isinstance(at, dict):
            inner = part.get("properties", {})
            for key, item in at.items():
                about = _resolved(inner.get(key, {}), definitions)
                said = about.get("description") or key.replace("_", " ")
                others = (other for name, other in at.items() if name != key)
                named = next((other for other in others if isinstance(other, str) and other), "")
                of = named if label.is_item else label.of
                yield from walk(item, about, _below(path, str(key)), _Label(said, of, False))
        elif isinstance(at, list):
            for i, item in enumerate(at):
                below = _Label(label.text, label.of, True)
                yield from walk(item, part.get("items", {}), f"{path}.{i}", below)
        else:
            yield path, label, at

    yield from walk(value, schema, "", _Label("", "", False))


class _Label(NamedTuple):
    text: str
    of: str  # of a list's items, what sets this one apart from the others
    is_item: bool


def _below(path: str, key: str) -> str:
    name = key if re.fullmatch(r"[\w-]+", key) else f'"{key}"'
    return f"{path}.{name}" if path else name


def _resolved(part: Any, definitions: Mapping[str, Any]) -> Mapping[str, Any]:
    if not isinstance(part, Mapping):
        return {}
    if isinstance(reference := part.get("$ref"), str):
        return {**definitions.get(reference.rpartition("/")[2], {}), **part, "$ref": None}
    for option in part.get("anyOf", ()):
        if isinstance(option, Mapping) and option.get("type") != "null":
            return {**_resolved(option, definitions), **part, "anyOf": ()}
    return part


def _evidence(
    label: _Label, value: Any, passages: Sequence[Passage], verifier: Verifier
) -> FieldEvidence:
    if value is None or (isinstance(value, str) and not value.strip()):
        return FieldEvidence(status="needs_none")
    claim = f"{label.text}: {_said(value)}"
    if label.of:
        claim = f"{label.of}, {claim}"
    holding = None
    if not isinstance(value, bool):
        holding = _literal(claim, value, passages, verifier)
    quote = holding or best_quote(claim, passages, verifier)
    if quote is None or (quote.support < verifier.partial and holding is None):
        return FieldEvidence(support=quote.support if quote else 0.0)
    status = verifier.status(quote.support)
    if holding is not None:
        status = "supported" if quote.support >= verifier.partial else "partly"
        if label.of and status == "partly":  # the value is there, but not said of this item
            return FieldEvidence(support=quote.support)
    return FieldEvidence(
        citations=(quote.citation(quote.passage.number, "attribution"),),
        support=quote.support,
        status=status,
    )


def _literal(
    claim: str, value: Any, passages: Sequence[Passage], verifier: Verifier
) -> Quote | None:
    """The sentence that holds the value word for word and supports the claim best."""
    wanted = _plain(_said(value))
    if not wanted:
        return None
    spans = [
        (passage, span)
        for passage in passages
        for span in passage.sentence_spans()
        if _holds(wanted, passage.text[span[0] : span[1]])
    ]
    if not spans:
        return None
    supports = verifier.scores([(claim, p.text[s[0] : s[1]]) for p, s in spans])
    best = max(range(len(spans)), key=lambda i: (float(supports[i]), -i))
    return Quote(spans[best][0], Span(*spans[best][1]), min(1.0, float(supports[best])))


def _said(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return well_formed(str(value))


def _plain(text: str) -> list[str]:
    return words(re.sub(r"(?<=\d),(?=\d{3}(?:\D|$))", "", text))


def _holds(wanted: Sequence[str], text: str) -> bool:
    found = _plain(text)
    size = len(wanted)
    return any(found[i : i + size] == list(wanted) for i in range(len(found) - size + 1))
