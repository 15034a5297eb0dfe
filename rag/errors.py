"""All errors that citewell raises on purpose.

    RagError
    ├── ConfigError              a pipeline, component or setting that cannot work
    │   ├── UnknownComponent     no component is registered under that name
    │   ├── MissingExtra         a component needs a package that is not installed
    │   ├── MissingKey           a component needs an API key that is not set
    │   └── ShadowedPackage      a module of the user hides one of our packages
    ├── QueryError               a question or filter that is not valid
    ├── SourceError              a source cannot be ingested
    │   ├── SourceNotFound       it does not exist
    │   ├── SourceUnreadable     it exists, but could not be read this time
    │   ├── TooManyDeletions     it no longer lists most of its documents
    │   ├── SourceSkipped        it is no document: a lock file, a backup copy
    │   ├── ParserNotInstalled   its format needs an extra that is not installed
    │   └── ParseError           its bytes were read, but no usable text was found
    │       ├── UnsupportedFormat
    │       ├── EncryptedDocument
    │       └── NoText           for example a scan without a text layer
    ├── RagIndexError            the index cannot do what was requested
    │   ├── IndexNotFound
    │   ├── IndexLocked          another process is writing
    │   ├── IndexDamaged         a store cannot be opened, or contradicts the document store
    │   ├── IndexUnreachable     the server of the vector store does not answer
    │   ├── EmbedderMismatch     opened with another embedder than it was built with
    │   └── DocumentNotFound
    ├── CallStopped              the caller limited the call, and the limit was reached
    │   ├── CallCancelled
    │   └── DeadlineExceeded
    ├── EmbeddingError           an embedder failed or returned unusable vectors
    └── ModelError               a model call (chat, embeddings, reranking) failed
        ├── ModelUnreachable     no connection, a timeout, or a server error
        ├── ModelRequestError    the server rejected the content of the request
        │   └── ModelContextExceeded   the request is longer than the model's context window
        ├── ModelAuthError       the server refused the API key
        ├── ModelRateLimited     HTTP 429, after all retries
        └── ModelReplyError      the model replied, but not in a usable form

A message says what happened, to which uri or component, and what to do about it. Messages never
contain secrets. What an error is about is also in its attributes (``uri``, ``path``, ``extra``
...), so that a program does not have to parse the message. An attribute is None if it is not known.
All attributes are keyword arguments of the constructor, and pickling keeps them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path


class RagError(Exception):
    """Base class of all errors that citewell raises on purpose."""


class ConfigError(RagError):
    """A pipeline, component or setting that cannot work as configured.

    ``setting`` is the name of the invalid setting, with dots for nested ones, or the name of its
    environment variable; None if the error is not about one setting.
    """

    def __init__(self, message: str = "", *, setting: str | None = None) -> None:
        super().__init__(message)
        self.setting = setting


class UnknownComponent(ConfigError):
    """No component of that kind is registered under that name.

    ``component_kind`` and ``component_name`` are what was looked up, and ``known_names`` the
    registered names of the kind, sorted.
    """

    def __init__(
        self,
        message: str = "",
        *,
        component_kind: str | None = None,
        component_name: str | None = None,
        known_names: Iterable[str] = (),
    ) -> None:
        super().__init__(message)
        self.component_kind = component_kind
        self.component_name = component_name
        self.known_names = tuple(known_names)

    @classmethod
    def of(cls, kind: str, name: str, registered: Iterable[str]) -> UnknownComponent:
        """Return the error for `name`, which is not among the `registered` names of `kind`."""
        known_names = sorted(registered)
        return cls(
            f"no {kind.replace('_', ' ')} is registered as {name!r}; known: "
            f"{', '.join(known_names) or 'none'} (to set options: {{type: NAME, ...}})",
            component_kind=kind,
            component_name=name,
            known_names=known_names,
        )


class MissingExtra(ConfigError):
    """A component needs a package that is not installed.

    ``extra`` is the optional dependency group to install: ``pip install 'citewell[EXTRA]'``.
    """

    def __init__(self, message: str = "", *, extra: str | None = None) -> None:
        super().__init__(message)
        self.extra = extra

    @classmethod
    def of(cls, extra: str, part: str) -> MissingExtra:
        """Return the error for `part`, which needs the optional dependency group `extra`."""
        return cls(
            f"{part} needs a package that is not installed: pip install 'citewell[{extra}]'",
            extra=extra,
        )


class MissingKey(ConfigError):
    """A component needs an API key that is not set.

    ``variables`` are the environment variables to set, usually one.
    """

    def __init__(self, message: str = "", *, variables: Iterable[str] = ()) -> None:
        super().__init__(message)
        self.variables = tuple(variables)

    @property
    def variable(self) -> str | None:
        """The first of ``variables``; None if there is none."""
        return self.variables[0] if self.variables else None

    @classmethod
    def of(cls, variables: str | Iterable[str], part: str) -> MissingKey:
        """Return the error for `part`, which reads its key from the environment `variables`."""
        names = (variables,) if isinstance(variables, str) else tuple(variables)
        return cls(
            f"{part} needs an API key: set {' and '.join(names)} in the environment or in .env",
            variables=names,
        )


class ShadowedPackage(ConfigError):
    """A module of the user has the name of one of our packages and hides it.

    ``package`` is the name of our package, and ``path`` the file that Python imported instead of
    it; None if the module has no file, such as a folder without ``__init__.py``.
    """

    def __init__(
        self,
        message: str = "",
        *,
        package: str | None = None,
        path: str | os.PathLike[str] | None = None,
    ) -> None:
        super().__init__(message)
        self.package = package
        self.path = _to_path(path)

    @classmethod
    def of(cls, package: str, path: str | None) -> ShadowedPackage:
        """Return the error for our `package`; Python imported the file `path` instead of it."""
        return cls(
            f"{path or f'a folder {package!r}'} hides citewell's own package {package!r}: rename "
            "it, or run your script from another folder (Python puts a script's folder first on "
            "its path)",
            package=package,
            path=path,
        )


class QueryError(RagError):
    """A question or filter that is not valid."""


class SourceError(RagError):
    """A source cannot be ingested.

    ``uri`` is the uri of the source, or of the part of it that failed.
    """

    def __init__(self, message: str = "", *, uri: str | None = None) -> None:
        super().__init__(message)
        self.uri = uri


class SourceNotFound(SourceError):
    """The source does not exist."""


class TooManyDeletions(SourceError):
    """A source no longer lists most of its documents; nothing was deleted.

    ``count`` documents of the ``total`` that are indexed would be deleted.
    """

    def __init__(
        self,
        message: str = "",
        *,
        uri: str | None = None,
        count: int | None = None,
        total: int | None = None,
    ) -> None:
        super().__init__(message, uri=uri)
        self.count = count
        self.total = total

    @classmethod
    def of(cls, uri: str, count: int, total: int) -> TooManyDeletions:
        """Return the error for `count` of `total` documents of the source at `uri`."""
        return cls(
            f"{count:,} of the {total:,} documents of {uri} are no longer there (is a folder not "
            "mounted, or a file overwritten?), so nothing was deleted; --allow-deletions "
            "(allow_deletions=True) deletes them, --keep-missing (keep_missing=True) keeps them",
            uri=uri,
            count=count,
            total=total,
        )


class SourceUnreadable(SourceError):
    """The source exists but could not be read this time; its indexed content is kept."""


class SourceSkipped(SourceError):
    """The file is no document, such as a lock file or a backup copy, and is left out."""


class ParserNotInstalled(SourceError):
    """The format needs a package that is not installed. The source is tried again next time.

    ``extra`` is the optional dependency group to install.
    """

    def __init__(
        self, message: str = "", *, uri: str | None = None, extra: str | None = None
    ) -> None:
        super().__init__(message, uri=uri)
        self.extra = extra

    @classmethod
    def of(cls, extra: str, parser: str) -> ParserNotInstalled:
        """Return the error for the parser named `parser`, which needs the extra `extra`."""
        return cls(
            f"the parser {parser!r} needs a package: pip install 'citewell[{extra}]'", extra=extra
        )


class ParseError(SourceError):
    """The bytes were read, but no usable text was found in them."""


class UnsupportedFormat(ParseError):
    """No parser reads this kind of file."""


class EncryptedDocument(ParseError):
    """The document is protected by a password."""


class NoText(ParseError):
    """The document was read and contains no text."""


class RagIndexError(RagError):
    """The index cannot do what was requested.

    ``path`` is its folder, or a file in it.
    """

    def __init__(self, message: str = "", *, path: str | os.PathLike[str] | None = None) -> None:
        super().__init__(message)
        self.path = _to_path(path)

    @classmethod
    def disk_full(cls, path: object) -> RagIndexError:
        """Return the error for a full disk; `path` is on it."""
        return RagIndexError(
            f"no space left on the disk of {path}: the index still answers as before; free some "
            "space and ingest again to continue",
            path=_to_path(path),
        )


class IndexNotFound(RagIndexError):
    """There is no index at that path, or no such namespace in it.

    ``namespace`` is the namespace that was opened; "" for the index itself.
    """

    def __init__(
        self,
        message: str = "",
        *,
        path: str | os.PathLike[str] | None = None,
        namespace: str = "",
    ) -> None:
        super().__init__(message, path=path)
        self.namespace = namespace

    @classmethod
    def at_path(cls, path: object, namespace: str = "") -> IndexNotFound:
        """Return the error for the folder `path`, or for a namespace of the index there."""
        if namespace:
            return cls(
                f"the index at {path} has no namespace {namespace!r}: build it with "
                f"`rag ingest SOURCE --index {path} --namespace {namespace}`",
                path=_to_path(path),
                namespace=namespace,
            )
        return cls(
            f"no index at {path}: build one with `rag ingest SOURCE --index {path}`",
            path=_to_path(path),
        )


class IndexLocked(RagIndexError):
    """Another process is writing to the index."""


class IndexDamaged(RagIndexError):
    """A store cannot be opened, or contradicts the document store."""

    REFILL_HINT = (
        "the next `rag ingest` fills it from the document store (nothing is embedded again)"
    )

    @classmethod
    def document_store(cls, path: object, reason: object) -> IndexDamaged:
        """Return the error for a damaged file of the document store."""
        return cls(
            f"{path} is damaged ({reason}): restore a snapshot (`rag index list`, `rag index "
            "restore NAME`), or ingest into a new index (--index DIR)",
            path=_to_path(path),
        )

    @classmethod
    def from_store_error(cls, error: BaseException, store: str, path: object) -> RagIndexError:
        """Return our error for an `error` that a `store` in `path` raised.

        A full disk damages nothing: for it, this is a plain `RagIndexError`.
        """
        reason = " ".join(str(error).split())
        if "No space left" in reason or "disk is full" in reason:
            return RagIndexError.disk_full(path)
        return cls(
            f"{store} failed on {path} ({reason[:300]}): {cls.REFILL_HINT}", path=_to_path(path)
        )


class IndexUnreachable(RagIndexError):
    """The server of the vector store does not answer, or refuses the connection.

    ``url`` is the address of the server.
    """

    def __init__(
        self,
        message: str = "",
        *,
        path: str | os.PathLike[str] | None = None,
        url: str | None = None,
    ) -> None:
        super().__init__(message, path=path)
        self.url = url


class EmbedderMismatch(RagIndexError):
    """The index was built with another embedder than it is opened with.

    ``built`` and ``opened`` describe the two embedders.
    """

    def __init__(
        self,
        message: str = "",
        *,
        path: str | os.PathLike[str] | None = None,
        built: str | None = None,
        opened: str | None = None,
    ) -> None:
        super().__init__(message, path=path)
        self.built = built
        self.opened = opened

    @classmethod
    def of(cls, path: object, built: str, opened: str) -> EmbedderMismatch:
        """Return the error for the index at `path`.

        `built` and `opened` describe the embedders it was built and opened with.
        """
        return cls(
            f"the index at {path} was built with the embedder {built}, and this pipeline has "
            f"{opened}: their vectors cannot be compared. Use the pipeline it was built with; or "
            "ingest with this one, which re-embeds every document and keeps the old vectors in "
            "use until it is done (`rag ingest --dry-run` shows what that costs)",
            path=_to_path(path),
            built=built,
            opened=opened,
        )


class DocumentNotFound(RagIndexError):
    """The index has no document with that uri."""

    def __init__(
        self,
        message: str = "",
        *,
        path: str | os.PathLike[str] | None = None,
        uri: str | None = None,
    ) -> None:
        super().__init__(message, path=path)
        self.uri = uri


class CallStopped(RagError):
    """The call was stopped by a limit that its caller set (`rag.call_context.limit_call`)."""


class CallCancelled(CallStopped):
    """The caller cancelled the call."""


class DeadlineExceeded(CallStopped):
    """The call did not end before its deadline."""


class EmbeddingError(RagError):
    """An embedder failed or returned unusable vectors.

    ``model`` is the name of its model.
    """

    def __init__(self, message: str = "", *, model: str | None = None) -> None:
        super().__init__(message)
        self.model = model


class ModelError(RagError):
    """A model call (chat, embeddings, reranking) failed.

    ``status`` is the HTTP status of the response; None if there was no response, or if it was not
    an error. ``retry_after`` is the number of seconds that the server asked to wait
    (``Retry-After``); None if it did not. ``model`` is the name of the model.
    """

    def __init__(
        self,
        message: str = "",
        *,
        status: int | None = None,
        retry_after: float | None = None,
        model: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after
        self.model = model

    @classmethod
    def from_load_error(cls, name: str, error: Exception) -> ModelError:
        """Return our error for an `error` that a library raised when it loaded model `name`."""
        reason = " ".join(str(error).split())[:300]
        is_path = Path(name).is_absolute() or name.startswith((".", "~"))
        if is_path and not Path(name).exists():
            return cls(f"cannot load {name}: there is no such folder", model=name)
        return cls(
            f"cannot load {name} (a folder, or a model that can be reached): {reason}", model=name
        )


class ModelUnreachable(ModelError):
    """No connection, a timeout, or a server error."""


class ModelRequestError(ModelError):
    """The server rejected the content of the request: a retry does not help."""


class ModelContextExceeded(ModelRequestError):
    """The request is longer than the model's context window."""


class ModelAuthError(ModelError):
    """The server refused the API key."""


class ModelRateLimited(ModelError):
    """The server still answers HTTP 429 after all retries."""


class ModelReplyError(ModelError):
    """The model replied, but not in a usable form."""


def _to_path(path: object) -> Path | None:
    return Path(path) if isinstance(path, str | os.PathLike) else None
