"""The data types of the framework: immutable, validated, convertible to JSON and back.

Two invariants always hold:

* ``document.text[chunk.start:chunk.end] == chunk.text``
* ``document.text[citation.start:citation.end] == citation.quote``

Offsets count Unicode code points (Python string indices) into ``Document.text``.
"""

from rag.types.answers import (
    NO_ANSWER,
    Answer,
    Citation,
    CitationMethod,
    ClosestPassage,
    Message,
    Sentence,
    SentenceStatus,
    Usage,
)
from rag.types.base import (
    FieldText,
    FrozenModel,
    Metadata,
    MetadataValue,
    Scalar,
    Text,
    flatten_metadata,
    to_well_formed,
)
from rag.types.coverage import Coverage, Omission, OmissionReason
from rag.types.documents import Chunk, Document, Hit, StageScore
from rag.types.source_location import (
    LOCATION_KINDS,
    LocatedModel,
    LocationIndex,
    Mark,
    MarkKind,
    MarkValue,
    SourceLocation,
    format_location,
)
from rag.types.steps import (
    BuiltInStep,
    CacheStep,
    CheckFieldsStep,
    CheckStep,
    CondenseStep,
    CustomStep,
    ExtractStep,
    FavouredDocument,
    FillStep,
    GenerateStep,
    PostprocessStep,
    PromptIdentity,
    RepairStep,
    RetrieveStep,
    Step,
    Trace,
    TraceStep,
    TransformStep,
    VerifyStep,
)
from rag.types.tables import Table, is_table_rule, split_cells

__all__ = [
    "LOCATION_KINDS",
    "NO_ANSWER",
    "Answer",
    "BuiltInStep",
    "CacheStep",
    "CheckFieldsStep",
    "CheckStep",
    "Chunk",
    "Citation",
    "CitationMethod",
    "ClosestPassage",
    "CondenseStep",
    "Coverage",
    "CustomStep",
    "Document",
    "ExtractStep",
    "FavouredDocument",
    "FieldText",
    "FillStep",
    "FrozenModel",
    "GenerateStep",
    "Hit",
    "LocatedModel",
    "LocationIndex",
    "Mark",
    "MarkKind",
    "MarkValue",
    "Message",
    "Metadata",
    "MetadataValue",
    "Omission",
    "OmissionReason",
    "PostprocessStep",
    "PromptIdentity",
    "RepairStep",
    "RetrieveStep",
    "Scalar",
    "Sentence",
    "SentenceStatus",
    "SourceLocation",
    "StageScore",
    "Step",
    "Table",
    "Text",
    "Trace",
    "TraceStep",
    "TransformStep",
    "Usage",
    "VerifyStep",
    "flatten_metadata",
    "format_location",
    "is_table_rule",
    "split_cells",
    "to_well_formed",
]
