"""Everything citewell raises on purpose.

    RagError
    ├── ConfigError              a pipeline, part or setting that cannot work
    │   ├── UnknownComponent     no part is registered under that name
    │   ├── MissingExtra         a part needs a package that is not installed
    │   ├── MissingKey           a part needs an API key that is not set
    │   └── ShadowedPackage      a folder of the user's hides one of our packages
    ├── QueryError               a question or filter that cannot be answered as it stands
    ├── SourceError              something that should be ingested cannot be
    │   ├── SourceNotFound       it is not there
    │   ├── SourceUnreadable     it is there, but cannot be read this time
    │   └── ParseError           its bytes were read, but hold no usable text
    │       ├── UnsupportedFormat
    │       ├── EncryptedDocument
    │       └── NoText           for example a scan without a text layer
    ├── RagIndexError              the index cannot do what was asked of it
    │   ├── IndexNotFound
    │   ├── IndexLocked          another process is writing
    │   ├── IndexDamaged         a store cannot be opened or contradicts the library
    │   ├── IndexUnreachable     the server that holds the vectors does not answer
    │   ├── EmbedderMismatch     opened with another embedder than it was built with
    │   └── DocumentNotFound
    ├── EmbeddingError           an embedder failed or returned something unusable
    └── ModelError               a model that was asked (chat, embeddings, reranking) failed
        ├── ModelUnreachable
        ├── ModelAuthError
        ├── ModelRateLimited
        ├── ModelRequestError    the server takes issue with what was sent
        │   └── ModelContextExceeded   it is longer than the model reads
        └── ModelReplyError      it answered, but not in a usable form

A message says what happened, to which uri or part, and what to do about it. Secrets never
appear in one.
"""

from __future__ import annotations


class RagError(Exception):
    """Root of every error that citewell raises on purpose."""


class ConfigError(RagError):
    """A pipeline, part or setting that cannot work as written."""


class UnknownComponent(ConfigError):
    """No part of that kind is registered under that name."""

    @classmethod
    def of(cls, kind: str, name: str, known: list[str]) -> UnknownComponent:
        """Phrase the error for the `kind` of part and the `known` names of that kind."""
        listed = ", ".join(sorted(known)) or "none"
        return cls(
            f"no {kind.replace('_', ' ')} is registered as {name!r}; known: {listed} (with "
            f"settings of its own: {{type: NAME, ...}})"
        )


class MissingExtra(ConfigError):
    """A part needs a package that is not installed."""

    @classmethod
    def of(cls, extra: str, part: str) -> MissingExtra:
        """Phrase the error for `part`, which needs the optional dependency group `extra`."""
        return cls(f"{part} needs a package that is not installed: pip install 'citewell[{extra}]'")


class MissingKey(ConfigError):
    """A part needs an API key that is not set."""

    @classmethod
    def of(cls, variable: str, part: str) -> MissingKey:
        """Phrase the error for `part`, which reads its key from the environment `variable`."""
        return cls(f"{part} needs an API key: set {variable} in the environment or in .env")


class ShadowedPackage(ConfigError):
    """A module of the user's has the name of one of our packages and hides it."""

    @classmethod
    def of(cls, package: str, found: str) -> ShadowedPackage:
        """Phrase the error for our `package`, in whose place the file `found` was imported."""
        return cls(
            f"{found} hides citewell's own package {package!r}: rename it, or run your script "
            "from another folder (Python puts a script's folder first on its path)"
        )


class QueryError(RagError):
    """A question or filter that cannot be answered as it stands."""


class SourceError(RagError):
    """Something that should be ingested cannot be."""


class SourceNotFound(SourceError):
    """The source does not exist."""


class SourceUnreadable(SourceError):
    """The source exists but could not be read this time; what is indexed of it stays."""


class ParseError(SourceError):
    """The bytes were read, but no usable text came out of them."""


class UnsupportedFormat(ParseError):
    """No parser reads this kind of file."""


class EncryptedDocument(ParseError):
    """The document is protected by a password."""


class NoText(ParseError):
    """The document was read and holds no text."""


class RagIndexError(RagError):
    """The index cannot do what was asked of it."""

    @classmethod
    def full(cls, path: object) -> RagIndexError:
        """Phrase the error for a disk that is full."""
        return RagIndexError(
            f"no space left on the disk of {path}: what could be found before still can, and the "
            "next ingest goes on from there"
        )


class IndexNotFound(RagIndexError):
    """There is no index at that path."""

    @classmethod
    def at(cls, path: object, namespace: str = "") -> IndexNotFound:
        """Phrase the error for the folder `path`, or a namespace of the index there."""
        if namespace:
            return cls(
                f"the index at {path} has no namespace {namespace!r}: build it with "
                f"`rag ingest SOURCE --index {path} --namespace {namespace}`"
            )
        return cls(f"no index at {path}: build one with `rag ingest SOURCE --index {path}`")


class IndexLocked(RagIndexError):
    """Another process is writing to the index."""


class IndexDamaged(RagIndexError):
    """A store cannot be opened, or contradicts the library."""

    REBUILD = "the next `rag ingest` fills it from the library (nothing is embedded again)"

    @classmethod
    def library(cls, path: object, said: object) -> IndexDamaged:
        """Phrase the error for the library's file itself."""
        return cls(
            f"{path} is damaged ({said}): go back to a snapshot (`rag index list`, `rag index "
            "restore NAME`), or ingest into a new index (--index DIR)"
        )

    @classmethod
    def by(cls, error: BaseException, store: str, path: object) -> RagIndexError:
        """Phrase what a `store` in `path` said; of a full disk, which damages nothing, so."""
        said = " ".join(str(error).split())
        if "No space left" in said or "disk is full" in said:
            return RagIndexError.full(path)
        return cls(f"{store} failed on {path} ({said[:300]}): {cls.REBUILD}")


class IndexUnreachable(RagIndexError):
    """The server that holds the vectors does not answer, or refuses."""


class EmbedderMismatch(RagIndexError):
    """The index was built with another embedder than it is opened with."""

    @classmethod
    def of(cls, path: object, built: str, given: str) -> EmbedderMismatch:
        """Phrase the error for the index at `path`, `built` with one embedder, `given` another."""
        return cls(
            f"the index at {path} was built with the embedder {built}, and this pipeline has "
            f"{given}: their vectors cannot be compared. Use the pipeline it was built with; or "
            "ingest with this one, which embeds every document again beside the old vectors and "
            "then switches over (`rag ingest --dry-run` says what that costs)"
        )


class DocumentNotFound(RagIndexError):
    """The index holds no document with that uri."""


class EmbeddingError(RagError):
    """An embedder failed or returned something unusable."""


class ModelError(RagError):
    """A model that was asked (chat, embeddings, reranking) failed."""

    @classmethod
    def unloadable(cls, name: str, error: Exception) -> ModelError:
        """Phrase what a library said when it was to load the model `name`."""
        said = " ".join(str(error).split())[:300]
        return cls(f"cannot load {name} (a folder, or a model that can be reached): {said}")


class ModelUnreachable(ModelError):
    """No connection, a time-out, or the server failed."""


class ModelRequestError(ModelError):
    """The server takes issue with what was sent, such as its length: asking again is no use."""


class ModelContextExceeded(ModelRequestError):
    """What was sent is longer than the model reads."""


class ModelAuthError(ModelError):
    """The server refused the API key."""


class ModelRateLimited(ModelError):
    """The server asks for fewer requests."""


class ModelReplyError(ModelError):
    """The model answered, but not in a usable form."""
