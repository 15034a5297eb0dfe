"""The configuration of a pipeline: its parts and settings, and their YAML form."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationInfo,
    field_validator,
    model_validator,
)

from connectors import Parser
from connectors.parser_pool import ParserLimits
from connectors.parsers.auto import AutoParser
from rag.answers import AnswerCache
from rag.chunking import Chunker, HeadingChunker
from rag.component import Component, NotFingerprinted, warn_renamed
from rag.embedding import Embedder, MiniLMEmbedder, StaticEmbedder
from rag.errors import ConfigError
from rag.filters import Filter
from rag.generation import ExtractiveGenerator, Generator
from rag.index import check_stores
from rag.postprocessing import Postprocessor
from rag.retrieval import CarryOver, HybridRetriever, QueryTransform, Retriever
from rag.settings import load_settings
from rag.stores import (
    Chroma,
    DocumentStoreConfig,
    LexicalIndexConfig,
    Sqlite,
    Tantivy,
    VectorStoreConfig,
)

_RENAMED_SETTINGS = {"refiners": "postprocessors", "vectors": "vector_store"}


def _default_index() -> Path:
    return load_settings().index


def _to_filter(where: Any) -> Any:
    if where is None or where == {}:
        return None
    try:
        return Filter.of(where)
    except ConfigError:
        raise
    except Exception as error:  # QueryError: pydantic reports it with the name of the setting
        raise ValueError(str(error)) from None


FilterSetting = Annotated[
    Filter | None,
    BeforeValidator(_to_filter),
    PlainSerializer(lambda where: None if where is None else where.to_json()),
]


def _to_answer_cache(value: Any) -> Any:
    if value is True:
        return AnswerCache()
    return None if value is False else value


class PipelineConfig(Component):
    """The parts and settings of a pipeline. Give each part by name or as an instance.

    ``index`` is a folder (default: ``RAG_INDEX`` or ``.rag``). ``sources`` are what an ingest
    without arguments indexes. ``k`` is the number of hits that
    the generator receives. The ``condenser`` rewrites a follow-up question as a standalone
    question. The ``transforms`` turn the question into one or more queries, in their order. The
    ``retriever`` answers each query with hits, and the ``postprocessors`` change the hits, in
    their order. ``filter`` is a metadata filter that every search has in addition to its own.

    ``document_store`` holds the documents (default: SQLite), ``vector_store`` the vectors
    (default: embedded Chroma) and ``lexical_index`` the words (default: tantivy), all in the index
    folder. ``namespace`` is an isolated index for one user or project: see `with_namespace`.
    ``processes`` is the number of parser processes (default: the number of cores minus one), and
    ``limits`` bounds the parsing of one source (see `connectors.parser_pool.ParserLimits`).
    """

    kind: ClassVar[str] = "pipeline"
    name: ClassVar[str] = "pipeline"

    model_config = ConfigDict(arbitrary_types_allowed=True)

    index: Annotated[Path, NotFingerprinted] = Field(default_factory=_default_index)
    sources: Annotated[tuple[str, ...], NotFingerprinted] = ()
    parser: Parser = AutoParser()
    chunker: Chunker = HeadingChunker()
    embedder: Embedder = StaticEmbedder()
    condenser: QueryTransform | None = CarryOver()
    transforms: tuple[QueryTransform, ...] = ()
    retriever: Retriever = HybridRetriever()
    postprocessors: tuple[Postprocessor, ...] = ()
    generator: Generator = Field(ExtractiveGenerator(), validate_default=True)
    k: int = Field(8, ge=1, le=1_000)
    filter: FilterSetting = None
    document_store: DocumentStoreConfig = Sqlite()
    vector_store: VectorStoreConfig = Chroma()
    lexical_index: LexicalIndexConfig = Tantivy()
    answer_cache: Annotated[
        AnswerCache | None, BeforeValidator(_to_answer_cache), NotFingerprinted
    ] = None
    namespace: Annotated[str, NotFingerprinted] = ""
    processes: Annotated[int | None, NotFingerprinted] = Field(None, ge=0, le=256)
    limits: Annotated[ParserLimits, NotFingerprinted] = ParserLimits()

    @model_validator(mode="before")
    @classmethod
    def _accept_old_names(cls, data: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        settings = dict(data)
        for old_name, name in _RENAMED_SETTINGS.items():
            if old_name in settings:
                warn_renamed("pipeline setting", old_name, name)
                settings.setdefault(name, settings.pop(old_name))
        return settings

    @model_validator(mode="after")
    def _check_stores(self) -> Self:
        try:
            check_stores(self.document_store, self.vector_store, self.lexical_index)
        except ConfigError as error:
            raise ValueError(str(error)) from None
        return self

    @field_validator("generator")
    @classmethod
    def _compare_sentences(cls, generator: Generator, info: ValidationInfo) -> Generator:
        """Let the extractive generator use MiniLM where the index does, unless it is told what."""
        embedder = info.data.get("embedder")
        if (
            isinstance(embedder, MiniLMEmbedder)
            and type(generator) is ExtractiveGenerator
            and "sentence_embedder" not in generator.model_fields_set
        ):
            return generator.replace(sentence_embedder=embedder)
        return generator

    @field_validator("transforms", "postprocessors", mode="before")
    @classmethod
    def _wrap_single_part(cls, parts: Any) -> Any:
        return parts if isinstance(parts, list | tuple) else (parts,)

    @field_validator("postprocessors")
    @classmethod
    def _the_last_is_last(
        cls, postprocessors: tuple[Postprocessor, ...]
    ) -> tuple[Postprocessor, ...]:
        for postprocessor in postprocessors[:-1]:
            if postprocessor.must_be_last:
                raise ValueError(f"{postprocessor.name} must be the last postprocessor")
        return postprocessors

    def to_yaml(self, *, defaults: bool = True) -> str:
        """Return the configuration as YAML, without secrets. `from_yaml` reads it.

        Without `defaults`, the YAML holds only the settings that differ from the defaults, and no
        index. Raises `ConfigError` if a part is an object of another framework.
        """
        import yaml

        if not self.is_plain:
            raise ConfigError(
                "a part of this pipeline is an object of another framework, which YAML cannot "
                "describe: name the pipeline as module:attribute instead"
            )
        default_config = {} if defaults else type(self)(index=self.index).config()
        plain = {
            name: value
            for name, value in self.config().items()
            if name != "type" and (defaults or value != default_config.get(name))
        }
        return str(yaml.safe_dump(plain, sort_keys=False))

    @classmethod
    def from_yaml(cls, source: str | Path) -> Self:
        """Build a pipeline from YAML text, or from the file at a `Path`.

        Parts are found by their registered names only. Raises `ConfigError`, which names the
        wrong key.
        """
        import yaml

        where = f"{source}: " if isinstance(source, Path) else ""
        try:
            text = source.read_text(encoding="utf-8") if isinstance(source, Path) else source
            plain = yaml.safe_load(text)
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or error
            raise ConfigError(f"{where}cannot be read: {reason}") from None
        except Exception as error:  # PyYAML does not wrap the errors of its constructors
            raise ConfigError(f"{where}not YAML: {_describe_yaml_error(error)}") from None
        if not isinstance(plain, dict | None):
            raise ConfigError(f"{where}a pipeline must be a mapping of settings")
        try:
            return cls.from_config(plain or {})
        except ConfigError as error:
            error.args = (f"{where}{error}",)
            raise


def _describe_yaml_error(error: Exception) -> str:
    """Return the problem and its place, without the line itself: it may hold a key."""
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or (type(error).__name__ if mark else error)
    place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
    return f"{' '.join(str(problem).split())[:300]}{place}"
