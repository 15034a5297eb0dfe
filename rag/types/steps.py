"""The steps of a trace: one type for each stage of the pipeline, and one for stages of your own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, Field, TypeAdapter, ValidationError, field_validator

from rag.types.base import FrozenModel, Text

Count = Annotated[int, Field(ge=0)]


class Step(FrozenModel):
    """A timed stage of an answer or extraction: the base class of all step types.

    ``name`` says which type it is, and ``seconds`` is the time that the stage took. ``name`` has no
    default, so that it is also in JSON without defaults.
    """

    name: str
    seconds: float

    @property
    def label(self) -> str:
        """The name of the stage for people, with the name of its part if it can have several."""
        return self.name


class CondenseStep(Step):
    """A follow-up question became a standalone one.

    ``question`` is the standalone question, and ``condenser`` the name of the query transform.
    """

    name: Literal["condense"]
    question: Text
    condenser: str


class TransformStep(Step):
    """A query transform changed the queries.

    ``transform`` is the name of the part, and ``queries`` are the queries after it. ``filters`` are
    the filters that it made, in their JSON form, and ``notes`` say what a reader should know.
    """

    name: Literal["transform"]
    transform: str
    queries: tuple[Text, ...]
    filters: tuple[dict[str, Any], ...] = ()
    notes: tuple[Text, ...] = ()

    @property
    def label(self) -> str:
        """The stage and the name of the transform."""
        return f"{self.name} {self.transform}"


class FavouredDocument(FrozenModel):
    """A document that the question names: ``names`` are the words that do. The score is 0 to 1."""

    uri: Text
    score: float
    names: tuple[Text, ...]


class RetrieveStep(Step):
    """The retriever searched the index with all queries.

    ``retriever`` is the configuration of the part, and ``hits`` the number of hits after the
    fusion of all queries. ``favoured`` are the documents that the question names, the best first.
    ``notes`` say what a reader should know, such as that a guessed filter was not used.
    """

    name: Literal["retrieve"]
    retriever: dict[str, Any]
    hits: Count
    favoured: tuple[FavouredDocument, ...] = ()
    notes: tuple[Text, ...] = ()


class PostprocessStep(Step):
    """A postprocessor or reranker changed the hits.

    ``postprocessor`` is the name of the part, and ``hits`` the number of hits after it.
    """

    name: Literal["postprocess"]
    postprocessor: str
    hits: Count

    @property
    def label(self) -> str:
        """The stage and the name of the postprocessor."""
        return f"{self.name} {self.postprocessor}"


class PromptIdentity(FrozenModel):
    """Which prompt template was used: its name, its version, and a hash of its text."""

    name: str
    version: str
    hash: str


class _ModelCallStep(Step):
    prompt: PromptIdentity
    passages: Count
    left_out: Count
    finish_reason: str
    thoughts: Text | None = None


class GenerateStep(_ModelCallStep):
    """The chat model wrote a draft from the passages.

    ``prompt`` is the template, ``passages`` the number of passages in the prompt, and ``left_out``
    the number of hits that did not fit into the token budget. ``finish_reason`` is ``length`` if
    the token limit cut the reply off, ``content_filter`` if the provider did, ``refusal`` if the
    model refused to answer, and ``unknown`` if the server did not say. ``thoughts`` is what a
    reasoning model wrote before its reply; None without it.
    """

    name: Literal["generate"]


class RepairStep(_ModelCallStep):
    """The chat model wrote a second draft, because sentences of the first had no support.

    ``failing`` are these sentences. The other fields are those of `GenerateStep`.
    """

    name: Literal["repair"]
    failing: tuple[Text, ...]


class CacheStep(Step):
    """The answer is one that was given before, from the same versions of the documents.

    ``question`` is the question that it was given to, and ``answered_at`` when (ISO 8601, UTC).
    """

    name: Literal["cache"]
    question: Text
    answered_at: str


class CheckStep(Step):
    """The verifier compared the sentences of the draft with the passages.

    ``verifier`` is the configuration of the part. Of the ``sentences`` with a claim, ``supported``
    are supported. ``dropped_markers`` counts the citation markers that were removed,
    ``attributed`` the citations whose source the verifier found, and ``removed_links`` the
    sentences that lost a link. ``dropped`` are the sentences that were removed. ``draft`` is the
    text of the model; None if the answer has the same text.
    """

    name: Literal["check"]
    verifier: dict[str, Any]
    sentences: Count
    supported: Count
    dropped_markers: Count
    attributed: Count
    removed_links: Count
    dropped: tuple[Text, ...]
    draft: Text | None = None


class ExtractStep(Step):
    """The extractive generator selected sentences of the passages.

    ``passages`` is the number of passages it read, ``left_out`` the number of hits that did not fit
    into the token budget, ``candidates`` the number of sentences, and ``relevance`` (0..2) that of
    the best sentence. ``answerability`` is the probability (0..1) that the best sentences hold the
    answer; None in answers of earlier versions.
    """

    name: Literal["extract"]
    passages: Count
    left_out: Count
    candidates: Count
    relevance: float
    answerability: float | None = None


class FillStep(Step):
    """The chat model filled in the pydantic model of an extraction.

    ``passages`` is the number of passages in the prompt, and ``left_out`` the number of hits that
    did not fit into the token budget.
    """

    name: Literal["fill"]
    passages: Count
    left_out: Count


class CheckFieldsStep(Step):
    """The verifier compared the values of an extraction with the passages.

    ``fields`` is the number of values, and ``supported`` the number of supported ones.
    """

    name: Literal["check_fields"]
    fields: Count
    supported: Count


class VerifyStep(Step):
    """All quotes were compared with the stored sources, character by character.

    ``citations`` is the number of citations, and ``verified`` the number of identical quotes.
    """

    name: Literal["verify"]
    citations: Count
    verified: Count


BuiltInStep = Annotated[
    CondenseStep
    | TransformStep
    | RetrieveStep
    | PostprocessStep
    | GenerateStep
    | RepairStep
    | CacheStep
    | CheckStep
    | ExtractStep
    | FillStep
    | CheckFieldsStep
    | VerifyStep,
    Field(discriminator="name"),
]
"""A step of one of citewell's own stages; ``name`` decides its type."""

_STEP_TYPES: tuple[type[Step], ...] = get_args(get_args(BuiltInStep)[0])
BUILT_IN_STEP_NAMES = frozenset(
    str(get_args(step_type.model_fields["name"].annotation)[0]) for step_type in _STEP_TYPES
)
"""The names that a `CustomStep` cannot have."""

_built_in_steps: TypeAdapter[BuiltInStep] = TypeAdapter(BuiltInStep)


class CustomStep(Step):
    """A stage of a part of your own; ``detail`` holds any facts that JSON can represent.

    ``name`` is any name that no built-in step has.

    >>> CustomStep(name="translate", seconds=0.2, detail={"language": "German"}).name
    'translate'
    """

    detail: dict[str, Any] = {}

    @field_validator("name")
    @classmethod
    def _refuse_built_in_names(cls, name: str) -> str:
        if name in BUILT_IN_STEP_NAMES:
            raise ValueError(f"{name!r} is the name of a built-in step: choose another name")
        return name


TraceStep = Annotated[BuiltInStep | CustomStep, Field(union_mode="left_to_right")]
"""A step of any type."""


def _convert_old_trace(trace: Any) -> Any:
    """Convert a trace in the format of version 0.1, in which every step has a ``detail``.

    Only in that format do built-in steps have one.
    """
    if not isinstance(trace, list | tuple):
        return trace
    if not any(_has_detail(step) and step.get("name") in BUILT_IN_STEP_NAMES for step in trace):
        return trace
    return [_convert_old_step(step) if _has_detail(step) else step for step in trace]


def _has_detail(step: Any) -> bool:
    return isinstance(step, Mapping) and isinstance(step.get("detail"), Mapping)


def _convert_old_step(step: Mapping[str, Any]) -> TraceStep | dict[str, Any]:
    """Return the built-in step that has exactly the fields of ``detail``, or a custom step."""
    name, detail = str(step.get("name")), step["detail"]
    fields = {**detail, "name": name, "seconds": step.get("seconds")}
    if name == "extract" and "candidates" not in detail:
        fields["name"] = "fill"
    elif name == "check" and "fields" in detail:
        fields["name"] = "check_fields"
    elif detail.keys() == {"queries"}:
        fields |= {"name": "transform", "transform": name}
    elif detail.keys() == {"hits"}:
        fields |= {"name": "postprocess", "postprocessor": name}
    try:
        return _built_in_steps.validate_python(fields)
    except ValidationError:
        return {**step, "name": f"custom.{name}" if name in BUILT_IN_STEP_NAMES else name}


Trace = Annotated[tuple[TraceStep, ...], BeforeValidator(_convert_old_trace)]
"""The steps of an answer or extraction, in their order."""
