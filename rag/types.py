"""The nouns of the framework: immutable, validated, to JSON and back.

Two invariants hold everywhere and are what the rest of the framework is for:

* ``document.text[chunk.start:chunk.end] == chunk.text``
* ``document.text[citation.start:citation.end] == citation.quote``

Offsets count Unicode code points (Python string indices) into ``Document.text``.
"""

from __future__ import annotations

import datetime
import hashlib
import math
import re
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, Self, cast

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    computed_field,
    model_validator,
)

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


def well_formed(text: str) -> str:
    """Replace each lone surrogate by U+FFFD: one code point for one, so that offsets stay.

    A lone surrogate cannot be encoded in UTF-8 and would be refused by every store.
    """
    return _LONE_SURROGATE.sub("\ufffd", text) if not text.isascii() else text


def _well_formed_input(value: Any) -> Any:
    return well_formed(value) if isinstance(value, str) else value


Text = Annotated[str, BeforeValidator(_well_formed_input)]
"""A string that can be encoded in UTF-8."""


def _field_input(value: Any) -> Any:
    return well_formed(value).replace("\0", "\ufffd") if isinstance(value, str) else value


FieldText = Annotated[str, BeforeValidator(_field_input)]
"""`Text` without NUL, which SQLite's JSON takes for the end of a string."""

Scalar = bool | int | float | FieldText
MetadataValue = Scalar | tuple[Scalar, ...]


def _storable(metadata: dict[str, MetadataValue]) -> dict[str, MetadataValue]:
    for key, value in metadata.items():
        for item in value if isinstance(value, tuple) else (value,):
            if isinstance(item, float) and not math.isfinite(item):
                raise ValueError(f"metadata {key!r} is {item}, which JSON cannot hold")
            if isinstance(item, int) and not -(2**63) <= item < 2**63:
                raise ValueError(f"metadata {key!r} is an integer of more than 64 bits")
    return metadata


Metadata = Annotated[dict[FieldText, MetadataValue], AfterValidator(_storable)]
"""Flat: a name to a scalar or a list of scalars. `flat_metadata` makes it from anything."""


def flat_metadata(raw: Mapping[Any, Any]) -> dict[str, Any]:
    """Make metadata out of what a file says of itself.

    Nested mappings become dotted names, dates ISO 8601 strings, ``None`` and empty lists are
    dropped, and what is none of these becomes its string.
    """
    flat: dict[str, Any] = {}
    for key, value in raw.items():
        if isinstance(value, Mapping):
            flat.update({f"{key}.{k}": v for k, v in flat_metadata(value).items()})
        elif isinstance(value, list | tuple | set | frozenset):
            if isinstance(value, set | frozenset):
                value = sorted(value, key=repr)  # sets have no order of their own
            if items := tuple(_scalar(item) for item in value if item is not None):
                flat[str(key)] = items
        elif value is not None:
            flat[str(key)] = _scalar(value)
    return flat


def _scalar(value: Any) -> Scalar:
    if isinstance(value, bool | str):
        return value
    if isinstance(value, int) and -(2**63) <= value < 2**63:
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    try:
        return str(value)
    except ValueError:  # an integer of thousands of digits
        return "a number too long to write"


class Noun(BaseModel):
    """What the nouns have in common: frozen, and no field that is not declared."""

    model_config = ConfigDict(frozen=True, extra="forbid")


PLACES = ("page", "slide", "sheet", "row", "symbol", "time")
"""Kinds of marks that say where in its source something stands, from the largest."""

MarkKind = Literal["page", "slide", "sheet", "row", "symbol", "time", "heading"]
MarkValue = int | float | Text | tuple[Text, ...]

_VALUES: dict[str, type | tuple[type, ...]] = {
    "page": int,
    "slide": int,
    "sheet": str,
    "row": int,
    "symbol": str,
    "time": (int, float),
    "heading": tuple,
}


class Mark(Noun):
    """Where in its source a stretch of a document's text stands: it covers ``[start, end)``.

    The value of each ``kind``:

    * ``page``, ``slide``: the number a reader sees in a viewer, from 1
    * ``sheet``: the name of a sheet of a workbook; ``row``: the number of a row, from 1, as a
      spreadsheet shows it (for records without rows, the number of the record)
    * ``symbol``: the qualified name of a function, class or the like in source code
    * ``time``: seconds from the beginning of a sound or film
    * ``heading``: the path from the outermost heading

    Marks of one kind do not overlap.
    """

    start: int = Field(ge=0)
    end: int = Field(ge=0)
    kind: MarkKind
    value: MarkValue

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if self.end < self.start:
            raise ValueError(f"mark ends ({self.end}) before it starts ({self.start})")
        wanted = _VALUES[self.kind]
        if isinstance(self.value, bool) or not isinstance(self.value, wanted):
            raise ValueError(f"the value of a {self.kind} mark cannot be {self.value!r}")
        return self


Place = dict[Literal["page", "slide", "sheet", "row", "symbol", "time"], int | float | Text]
"""Where something stands, by kind of mark, headings apart: ``{"sheet": "Costs", "row": 12}``."""


class Places:
    """Looks up where a stretch of a document stands, by the document's marks."""

    def __init__(self, marks: Iterable[Mark]) -> None:
        by_kind: dict[str, list[Mark]] = {}
        for mark in marks:
            if mark.kind != "heading" and mark.end > mark.start:
                by_kind.setdefault(mark.kind, []).append(mark)
        self._marks = {
            kind: sorted(by_kind[kind], key=lambda mark: mark.start)
            for kind in PLACES
            if kind in by_kind
        }
        self._starts = {kind: [m.start for m in marks] for kind, marks in self._marks.items()}

    def at(self, start: int, end: int | None = None) -> Place:
        """Say where the character at `start` stands.

        Where `end` is given and nothing of a kind covers `start`, the first mark of that kind in
        ``[start, end)`` counts: a chunk may begin just before a row or a function does.
        """
        end = start + 1 if end is None else end
        found: dict[str, Any] = {}
        for kind, marks in self._marks.items():
            i = bisect_right(self._starts[kind], start) - 1
            if i < 0 or marks[i].end <= start:
                i += 1
            if i < len(marks) and marks[i].start < max(end, start + 1):
                found[kind] = marks[i].value
        return cast(Place, found)


def describe_place(place: Place) -> str:
    """Write a place for people: ``page 3``; ``sheet Costs, row 12``; ``at 0:01:02``."""
    parts = [
        f"at {_clock(int(value))}" if kind == "time" else f"{kind} {value}"
        for kind, value in place.items()
    ]
    return ", ".join(parts)


def _clock(seconds: int) -> str:
    return f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"


class Document(Noun):
    """A source as text, with what is known of it.

    ``uri`` names it for good, ``text`` is what every offset counts in, ``marks`` say which page,
    row, function or heading a stretch of it belongs to.
    """

    uri: Text = Field(min_length=1)
    text: Text
    title: Text = ""
    mime: str = "text/plain"
    metadata: Metadata = {}
    marks: tuple[Mark, ...] = ()

    @model_validator(mode="after")
    def _marks_inside(self) -> Self:
        for mark in self.marks:
            if mark.end > len(self.text):
                raise ValueError(f"{self.uri}: mark ends at {mark.end}, text at {len(self.text)}")
        return self

    @property
    def digest(self) -> str:
        """32 hex digits that change whenever anything of the document does: its version."""
        hashed = hashlib.sha256(self.text.encode())
        hashed.update(self.model_dump_json(exclude={"text"}).encode())
        return hashed.hexdigest()[:32]

    def place_at(self, start: int, end: int | None = None) -> Place:
        """Where the character at `start` stands; see `Places.at`."""
        return Places(self.marks).at(start, end)


class Placed(Noun):
    """What is somewhere in a source: ``place`` says where; ``page`` is in its JSON as well."""

    place: Place = {}

    @computed_field  # type: ignore[prop-decorator]
    @property
    def page(self) -> int | None:
        """Page of the first character; None without pages."""
        page = self.place.get("page")
        return page if isinstance(page, int) else None

    @model_validator(mode="before")
    @classmethod
    def _page_is_a_place(cls, given: Any) -> Any:
        if isinstance(given, Mapping) and "page" in given:
            rest = {key: value for key, value in given.items() if key != "page"}
            if given["page"] is not None:
                rest["place"] = {"page": given["page"], **rest.get("place", {})}
            return rest
        return given


class Chunk(Placed):
    """A stretch of a document that is retrieved as one: ``document.text[start:end] == text``.

    ``context`` (title and headings in one line) stands in front of the text where it is embedded
    and indexed; it is never part of ``text``. ``place`` says where the chunk begins.
    """

    id: str
    uri: Text
    start: int = Field(ge=0)
    end: int = Field(ge=0)
    text: Text
    title: Text = ""
    headings: tuple[Text, ...] = ()
    context: Text = ""
    metadata: Metadata = {}

    @property
    def embedded_text(self) -> str:
        """What is embedded and indexed."""
        return f"{self.context}\n\n{self.text}" if self.context else self.text


class Origin(Noun):
    """What one retriever or reranker said of a hit: its rank (from 1) and raw score."""

    rank: int = Field(ge=1)
    score: float


class Hit(Noun):
    """A retrieved chunk, its score (higher is better), and how it came by it."""

    chunk: Chunk
    score: float
    origins: dict[str, Origin] = {}


CitationMethod = Literal["marker", "native", "attribution", "extractive"]


class Citation(Placed):
    """A span of a source that an answer rests on: ``document.text[start:end] == quote``.

    ``marker`` is the number in the answer's text. ``support`` (0..1) is how well the quote
    supports the sentence that cites it. ``verified`` means that the quote was read back from
    the stored source at these offsets and is the same, character for character. ``method`` says
    who chose the source: the model by a marker in its text (``marker``) or by its provider's own
    citations (``native``), the verifier where the model chose none or a wrong one
    (``attribution``), or the answer is the quote itself (``extractive``).
    """

    marker: int = Field(ge=1)
    uri: Text
    start: int = Field(ge=0)
    end: int = Field(ge=0)
    quote: Text
    title: Text = ""
    support: float = Field(default=0.0, ge=0, le=1)
    verified: bool = False
    method: CitationMethod = "marker"


SentenceStatus = Literal["supported", "partly", "unsupported", "needs_none"]


class Sentence(Noun):
    """A sentence of an answer: its span in ``Answer.text`` and what it rests on.

    ``citations`` are positions in ``Answer.citations``; ``support`` (0..1) is the best of
    theirs, or what they give together. ``status`` says whether that reaches the verifier's
    threshold (``supported``), its lower one (``partly``) or neither (``unsupported``). What
    claims nothing (a heading, a question, "Here is the list:") is in the state ``needs_none``.
    """

    start: int = Field(ge=0)
    end: int = Field(ge=0)
    citations: tuple[int, ...] = ()
    support: float = Field(default=0.0, ge=0, le=1)
    status: SentenceStatus = "unsupported"

    @property
    def supported(self) -> bool:
        """Whether the sources support it."""
        return self.status == "supported"


class Usage(Noun):
    """Calls of chat models, tokens that went in and came out, and US dollars where known."""

    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float | None = None
    calls: int = 0

    def __add__(self, other: Usage) -> Usage:
        """Sum of both; its cost is known where both are."""
        costs = [used.cost_usd for used in (self, other) if used != Usage()]
        known = [cost for cost in costs if cost is not None]
        return Usage(
            input_tokens=self.input_tokens + other.input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            cost_usd=sum(known) if known and len(known) == len(costs) else None,
            calls=self.calls + other.calls,
        )


class Step(Noun):
    """One timed stage on the way to an answer."""

    name: str
    seconds: float
    detail: dict[str, Any] = {}


NO_ANSWER = "I could not find an answer to that in the sources."
"""Text of every answer that is abstained from."""


class Answer(Noun):
    """An answer that can be checked.

    ``status`` is ``abstained`` where the sources do not support an answer; ``reason`` then says
    why, and ``hits`` are the nearest passages.
    """

    text: Text
    status: Literal["answered", "abstained"]
    reason: str = ""
    sentences: tuple[Sentence, ...] = ()
    citations: tuple[Citation, ...] = ()
    hits: tuple[Hit, ...] = ()
    usage: Usage = Usage()
    trace: tuple[Step, ...] = ()


class Message(Noun):
    """One turn of a conversation with a chat model."""

    role: Literal["system", "user", "assistant"]
    content: Text
