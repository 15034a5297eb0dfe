"""citewell: retrieval-augmented generation with verifiable answers.

    from rag import Pipeline

    with Pipeline(index=".rag") as pipeline:
        pipeline.ingest("docs/")
        answer = pipeline.ask("How long does the battery last?")
        for citation in answer.citations:
            print(citation.marker, citation.uri, citation.page, citation.quote)

Components are imported when they are first used, so that ``import rag`` is fast.
"""

from __future__ import annotations

import warnings
from importlib import import_module
from typing import TYPE_CHECKING, Any

from rag.call_context import Cancellation, limit_call
from rag.errors import (
    CallCancelled,
    CallStopped,
    ConfigError,
    DeadlineExceeded,
    DocumentNotFound,
    EmbedderMismatch,
    EmbeddingError,
    EncryptedDocument,
    IndexDamaged,
    IndexLocked,
    IndexNotFound,
    IndexUnreachable,
    MissingExtra,
    MissingKey,
    ModelAuthError,
    ModelContextExceeded,
    ModelError,
    ModelRateLimited,
    ModelReplyError,
    ModelRequestError,
    ModelUnreachable,
    NoText,
    ParseError,
    ParserNotInstalled,
    QueryError,
    RagError,
    RagIndexError,
    ShadowedPackage,
    SourceError,
    SourceNotFound,
    SourceSkipped,
    SourceUnreadable,
    TooManyDeletions,
    UnknownComponent,
    UnsupportedFormat,
)
from rag.import_guard import require_own_packages as _require_own_packages

if TYPE_CHECKING:
    from rag.answers import AnswerCache, AnswerChange
    from rag.chunking import Chunker, HeadingChunker
    from rag.component import register
    from rag.conversation import Conversation
    from rag.embedding import Embedder, StaticEmbedder
    from rag.filters import F, Filter
    from rag.generation import (
        AnswerCompleted,
        CitationAdded,
        Extraction,
        ExtractiveGenerator,
        Generator,
        GroundedGenerator,
        SentenceVerified,
        TextDelta,
    )
    from rag.index import Index
    from rag.ingestion import IngestReport
    from rag.llm import (
        AnthropicChat,
        AzureOpenAIChat,
        ChatModel,
        CohereChat,
        GeminiChat,
        LiteLlmChat,
        LlamaCppChat,
        OllamaChat,
        OpenAIChat,
        ScriptedChat,
    )
    from rag.pipeline import Pipeline
    from rag.pipeline_config import PipelineConfig
    from rag.postprocessing import Postprocessor
    from rag.query import Query
    from rag.retrieval import DenseRetriever, HybridRetriever, LexicalRetriever, Retriever
    from rag.types import (
        Answer,
        CacheStep,
        CheckFieldsStep,
        CheckStep,
        Chunk,
        Citation,
        CondenseStep,
        CustomStep,
        Document,
        ExtractStep,
        FillStep,
        GenerateStep,
        Hit,
        Mark,
        Message,
        PostprocessStep,
        PromptIdentity,
        RepairStep,
        RetrieveStep,
        Sentence,
        StageScore,
        Step,
        TransformStep,
        Usage,
        VerifyStep,
    )
    from rag.verification import (
        LexicalVerifier,
        LlmVerifier,
        MatchingVerifier,
        NliVerifier,
        Verifier,
    )

__version__ = "0.2.0"

_LAZY_IMPORTS = {
    "Answer": "rag.types",
    "AnswerCache": "rag.answers",
    "AnswerChange": "rag.answers",
    "AnswerCompleted": "rag.generation",
    "AnthropicChat": "rag.llm",
    "AzureOpenAIChat": "rag.llm",
    "CacheStep": "rag.types",
    "ChatModel": "rag.llm",
    "CheckFieldsStep": "rag.types",
    "CheckStep": "rag.types",
    "Chunk": "rag.types",
    "Chunker": "rag.chunking",
    "Citation": "rag.types",
    "CitationAdded": "rag.generation",
    "CohereChat": "rag.llm",
    "CondenseStep": "rag.types",
    "Conversation": "rag.conversation",
    "CustomStep": "rag.types",
    "DenseRetriever": "rag.retrieval",
    "Document": "rag.types",
    "Embedder": "rag.embedding",
    "ExtractStep": "rag.types",
    "Extraction": "rag.generation",
    "ExtractiveGenerator": "rag.generation",
    "F": "rag.filters",
    "FillStep": "rag.types",
    "Filter": "rag.filters",
    "GeminiChat": "rag.llm",
    "GenerateStep": "rag.types",
    "Generator": "rag.generation",
    "GroundedGenerator": "rag.generation",
    "HeadingChunker": "rag.chunking",
    "Hit": "rag.types",
    "HybridRetriever": "rag.retrieval",
    "Index": "rag.index",
    "IngestReport": "rag.ingestion",
    "LexicalRetriever": "rag.retrieval",
    "LexicalVerifier": "rag.verification",
    "LiteLlmChat": "rag.llm",
    "LlamaCppChat": "rag.llm",
    "LlmVerifier": "rag.verification",
    "Mark": "rag.types",
    "MatchingVerifier": "rag.verification",
    "Message": "rag.types",
    "NliVerifier": "rag.verification",
    "OllamaChat": "rag.llm",
    "OpenAIChat": "rag.llm",
    "Pipeline": "rag.pipeline",
    "PipelineConfig": "rag.pipeline_config",
    "PostprocessStep": "rag.types",
    "Postprocessor": "rag.postprocessing",
    "PromptIdentity": "rag.types",
    "Query": "rag.query",
    "RepairStep": "rag.types",
    "RetrieveStep": "rag.types",
    "Retriever": "rag.retrieval",
    "ScriptedChat": "rag.llm",
    "Sentence": "rag.types",
    "SentenceVerified": "rag.generation",
    "StageScore": "rag.types",
    "StaticEmbedder": "rag.embedding",
    "Step": "rag.types",
    "TextDelta": "rag.generation",
    "TransformStep": "rag.types",
    "Usage": "rag.types",
    "Verifier": "rag.verification",
    "VerifyStep": "rag.types",
    "register": "rag.component",
}

__all__ = [
    "Answer",
    "AnswerCache",
    "AnswerChange",
    "AnswerCompleted",
    "AnthropicChat",
    "AzureOpenAIChat",
    "CacheStep",
    "CallCancelled",
    "CallStopped",
    "Cancellation",
    "ChatModel",
    "CheckFieldsStep",
    "CheckStep",
    "Chunk",
    "Chunker",
    "Citation",
    "CitationAdded",
    "CohereChat",
    "CondenseStep",
    "ConfigError",
    "Conversation",
    "CustomStep",
    "DeadlineExceeded",
    "DenseRetriever",
    "Document",
    "DocumentNotFound",
    "Embedder",
    "EmbedderMismatch",
    "EmbeddingError",
    "EncryptedDocument",
    "ExtractStep",
    "Extraction",
    "ExtractiveGenerator",
    "F",
    "FillStep",
    "Filter",
    "GeminiChat",
    "GenerateStep",
    "Generator",
    "GroundedGenerator",
    "HeadingChunker",
    "Hit",
    "HybridRetriever",
    "Index",
    "IndexDamaged",
    "IndexLocked",
    "IndexNotFound",
    "IndexUnreachable",
    "IngestReport",
    "LexicalRetriever",
    "LexicalVerifier",
    "LiteLlmChat",
    "LlamaCppChat",
    "LlmVerifier",
    "Mark",
    "MatchingVerifier",
    "Message",
    "MissingExtra",
    "MissingKey",
    "ModelAuthError",
    "ModelContextExceeded",
    "ModelError",
    "ModelRateLimited",
    "ModelReplyError",
    "ModelRequestError",
    "ModelUnreachable",
    "NliVerifier",
    "NoText",
    "OllamaChat",
    "OpenAIChat",
    "ParseError",
    "ParserNotInstalled",
    "Pipeline",
    "PipelineConfig",
    "PostprocessStep",
    "Postprocessor",
    "PromptIdentity",
    "Query",
    "QueryError",
    "RagError",
    "RagIndexError",
    "RepairStep",
    "RetrieveStep",
    "Retriever",
    "ScriptedChat",
    "Sentence",
    "SentenceVerified",
    "ShadowedPackage",
    "SourceError",
    "SourceNotFound",
    "SourceSkipped",
    "SourceUnreadable",
    "StageScore",
    "StaticEmbedder",
    "Step",
    "TextDelta",
    "TooManyDeletions",
    "TransformStep",
    "UnknownComponent",
    "UnsupportedFormat",
    "Usage",
    "Verifier",
    "VerifyStep",
    "limit_call",
    "register",
]


_RENAMED_NAMES = {
    "CitationEvent": "CitationAdded",
    "Done": "AnswerCompleted",
    "Origin": "StageScore",
    "Refiner": "Postprocessor",
}


def __getattr__(name: str) -> Any:
    if name in _RENAMED_NAMES:
        new_name = _RENAMED_NAMES[name]
        warnings.warn(f"rag.{name} is now rag.{new_name}", DeprecationWarning, stacklevel=2)
        return getattr(import_module("rag"), new_name)
    if name in _LAZY_IMPORTS:
        return getattr(import_module(_LAZY_IMPORTS[name]), name)
    raise AttributeError(f"module 'rag' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_LAZY_IMPORTS])


_require_own_packages("connectors", "prompts")
