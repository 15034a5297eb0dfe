"""The nouns of the framework: immutable, validated, convertible to JSON and back.

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
    Message,
    Sentence,
    SentenceStatus,
    Step,
    Usage,
)
from rag.types.base import (
    FieldText,
    Metadata,
    MetadataValue,
    Noun,
    Scalar,
    Text,
    flat_metadata,
    well_formed,
)
from rag.types.documents import Chunk, Document, Hit, Origin
from rag.types.source_location import (
    PLACES,
    Mark,
    MarkKind,
    MarkValue,
    Place,
    Placed,
    Places,
    describe_place,
)

__all__ = [
    "NO_ANSWER",
    "PLACES",
    "Answer",
    "Chunk",
    "Citation",
    "CitationMethod",
    "Document",
    "FieldText",
    "Hit",
    "Mark",
    "MarkKind",
    "MarkValue",
    "Message",
    "Metadata",
    "MetadataValue",
    "Noun",
    "Origin",
    "Place",
    "Placed",
    "Places",
    "Scalar",
    "Sentence",
    "SentenceStatus",
    "Step",
    "Text",
    "Usage",
    "describe_place",
    "flat_metadata",
    "well_formed",
]
