"""Maintenance of an index: verify, repair, rebuild, compact, and drop a namespace.

The functions for snapshots (`rag.index.snapshots`) are available here, too. Example:

    from rag import Pipeline
    from rag.index import maintenance

    with Pipeline(index=".rag") as pipeline:
        for problem in maintenance.verify(pipeline.open(check=False)).problems:
            print(problem)
"""

from __future__ import annotations

import shutil
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from rag.errors import IndexDamaged, IndexNotFound, RagError, RagIndexError
from rag.index.index import Index
from rag.index.paths import (
    locate_document_store,
    measure_size,
    namespace_folder,
    remove_leftovers,
    validate_name,
)
from rag.index.snapshots import Snapshot, restore, restore_damaged, snapshot, snapshots
from rag.index.store_set import split_rows
from rag.index.write_lock import hold_write_lock
from rag.stores.document_store import DocumentStore, DocumentStoreConfig
from rag.stores.sqlite import Sqlite

if TYPE_CHECKING:
    from rag.index.commit_protocol import IndexWriter

__all__ = [
    "Problem",
    "Repair",
    "Snapshot",
    "Verification",
    "compact",
    "drop",
    "rebuild",
    "repair",
    "restore",
    "restore_damaged",
    "snapshot",
    "snapshots",
    "verify",
]


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem in an index.

    ``store`` is ``library`` (the document store), ``vectors`` (the vector store) or ``words`` (the
    lexical index). ``what`` describes the problem. ``uri`` is the document with the problem, ""
    for problems of a whole store.
    """

    store: str
    what: str
    uri: str = ""

    def __str__(self) -> str:
        return f"{self.store}: {self.uri + ': ' if self.uri else ''}{self.what}"


@dataclass(slots=True)
class Verification:
    """Result of `verify`: how many documents and chunks were checked, and the problems."""

    documents: int = 0
    chunks: int = 0
    problems: list[Problem] = field(default_factory=list)

    @property
    def is_intact(self) -> bool:
        """Whether there are no problems."""
        return not self.problems


@dataclass(slots=True)
class Repair:
    """Result of `repair`: the problems, and the uris of documents to ingest again."""

    problems: list[Problem]
    lost_uris: list[str]


def verify(index: Index) -> Verification:
    """Compare the three stores: each text, span, vector and word list.

    Reads all of the index, and changes nothing. Raises `IndexLocked` while another process is
    writing.
    """
    with hold_write_lock(index.path):
        return _verify_stores(index)


def _verify_stores(index: Index) -> Verification:
    document_store = index.document_store
    verification = Verification()
    problems = verification.problems
    problems += [Problem("library", message) for message in document_store.integrity_errors()]
    if unfinished := document_store.stats().unfinished:
        problems.append(
            Problem("library", f"an interrupted run left {unfinished:,} unfinished documents")
        )
    for uri in document_store.uris():
        verification.documents += 1
        if message := _find_document_problem(document_store, uri):
            problems.append(Problem("library", message, uri))
    live_rows = list(document_store.live_rows())
    verification.chunks = len(live_rows)
    lost_rows = _find_lost_vectors(index, live_rows)
    if lost_rows:
        problems.append(Problem("library", f"{len(lost_rows):,} chunks have no vector"))
    vector_problems = _find_vector_problems(index, set(live_rows), lost_rows)
    problems += [Problem("vectors", message) for message in vector_problems]
    lexical_problems = _find_lexical_problems(index, set(live_rows))
    problems += [Problem("words", message) for message in lexical_problems]
    return verification


def _find_document_problem(document_store: DocumentStore, uri: str) -> str:
    """Return what is wrong with a stored document and its chunks; "" if nothing is."""
    try:
        document = document_store.document(uri)
        ((number, expected),) = document_store.matching_documents({"uri": uri}).items()
        rows = document_store.rows_of_documents([number])
        if len(rows) != expected:
            return f"has {len(rows):,} of {expected:,} chunks"
        if document.digest != document_store.ledger_by_uri([uri])[uri].digest:
            return "the stored text is not what was ingested"
        for chunk in document_store.chunks(rows).values():
            text = document.text[chunk.start : chunk.end]
            if text != chunk.text or not text.strip() or len(text) != chunk.end - chunk.start:
                return f"the chunk at {chunk.start} does not match the text"
    except (RagError, ValueError, OSError, EOFError) as error:
        return f"cannot be read ({' '.join(str(error).split())[:200]})"
    except Exception as error:  # errors of zlib
        return f"cannot be read ({type(error).__name__})"
    return ""


def _find_lost_vectors(index: Index, live_rows: list[int]) -> set[int]:
    """Return the chunks without a valid vector of this embedder in the document store."""
    import numpy as np

    fingerprint = index.document_store.state.embedder_fingerprint
    lost_rows: set[int] = set()
    for rows in split_rows(live_rows):
        try:
            vector_rows, matrix = index.document_store.vectors(rows, fingerprint)
            finite_rows = {
                row
                for row, vector in zip(vector_rows, matrix, strict=True)
                if np.isfinite(vector).all()
            }
            lost_rows |= set(rows) - finite_rows
        except IndexDamaged:  # vectors of different lengths
            lost_rows |= set(rows)
    return lost_rows


def _find_vector_problems(index: Index, live_rows: set[int], lost_rows: set[int]) -> list[str]:
    """Return what is wrong with the vector store. Vectors of `lost_rows` cannot be compared."""
    import numpy as np

    try:
        stored_rows = set(index.vectors.rows())
    except IndexDamaged as error:
        return [str(error)]
    fingerprint = index.document_store.state.embedder_fingerprint
    different_count = 0
    for rows in split_rows(sorted((live_rows & stored_rows) - lost_rows)):
        expected = dict(zip(*index.document_store.vectors(rows, fingerprint), strict=True))
        stored = index.vectors.vectors(rows)
        different_count += sum(
            not np.allclose(expected[row], stored.get(row, np.nan), atol=1e-5) for row in rows
        )
    return _describe_differences(live_rows, stored_rows | lost_rows, different_count)


def _find_lexical_problems(index: Index, live_rows: set[int]) -> list[str]:
    """Return what is wrong with the lexical index."""
    try:
        stored_counts = Counter(index.lexical.rows())
    except IndexDamaged as error:
        return [str(error)]
    duplicate_count = sum(count > 1 for count in stored_counts.values())
    return _describe_differences(live_rows, set(stored_counts), duplicate_count)


def _describe_differences(
    live_rows: set[int], stored_rows: set[int], different_count: int
) -> list[str]:
    messages = []
    if missing_rows := live_rows - stored_rows:
        messages.append(f"{len(missing_rows):,} chunks are missing")
    if surplus_rows := stored_rows - live_rows:
        messages.append(f"{len(surplus_rows):,} chunks should not be in the store")
    if different_count:
        messages.append(f"{different_count:,} chunks differ from the document store")
    return messages


def repair(index: Index) -> Repair:
    """Fix the problems that `verify` finds, from the document store.

    A document that cannot be read is deleted, and its uri is in the result: ingest its source
    again. A lost vector is embedded again. Raises `IndexDamaged` if the file of the document store
    itself is broken: then restore a snapshot.
    """
    with index.open_writer() as writer:  # which repairs what an interrupted run left
        if integrity_errors := index.document_store.integrity_errors():
            raise IndexDamaged(
                f"the document store of {index.path} is broken "
                f"({integrity_errors[0]}): restore a snapshot (`rag index restore NAME`), or "
                "ingest into a new index",
                path=index.path,
            )
        before = _verify_stores(index)
        if writer.has_rebuilt:
            before.problems.append(
                Problem("vectors", "a store was missing or damaged; it was rebuilt")
            )
        lost_uris = [problem.uri for problem in before.problems if problem.uri]
        writer.delete(lost_uris)
        has_embedded = _embed_lost_vectors(index, writer)
        if has_embedded or any(problem.store != "library" for problem in before.problems):
            writer.rebuild()  # into a new store set, so that open readers switch to it
        after = _verify_stores(index)
        if not after.is_intact:
            raise IndexDamaged(
                f"{index.path} could not be repaired: {after.problems[0]}", path=index.path
            )
        return Repair(before.problems, lost_uris)


def _embed_lost_vectors(index: Index, writer: IndexWriter) -> bool:
    """Embed chunks without a valid vector; return whether there were any."""
    lost_rows = sorted(_find_lost_vectors(index, list(index.document_store.live_rows())))
    for rows in split_rows(lost_rows):
        writer.embed_again(index.document_store.chunks(rows))
    return bool(lost_rows)


def rebuild(index: Index, *, reembed: bool = False) -> None:
    """Fill a new store set from the document store, then switch to it.

    Nothing is embedded, and searches continue meanwhile. With `reembed`, all texts are embedded
    again first, for a server that has another model under the same name.
    """
    with index.open_writer() as writer:
        if reembed:
            writer.reembed_all()
        else:
            writer.rebuild()


def compact(index: Index) -> tuple[int, int]:
    """Free unused disk space; return the size in bytes before and after.

    Deletes the embeddings that no chunk uses, and rebuilds the store set.
    """
    with index.open_writer() as writer:
        before = measure_size(index.path)
        index.document_store.delete_unused_embeddings()
        writer.rebuild()
        index.document_store.compact()
        return before, measure_size(index.path)


def drop(index: Path, namespace: str, config: DocumentStoreConfig | None = None) -> None:
    """Delete a namespace with all its contents. Raises `IndexNotFound`, `IndexLocked`."""
    folder = namespace_folder(index, validate_name(namespace, "namespace"))
    document_config = config or Sqlite()
    location = locate_document_store(index, namespace)
    if not document_config.exists(location):
        raise IndexNotFound.at_path(index, namespace)
    remove_leftovers(index)
    with hold_write_lock(folder):
        document_config.remove(location)
        dropped = folder.with_name(f"{folder.name}.dropped")
        try:
            shutil.rmtree(dropped, ignore_errors=True)
            folder.replace(dropped)
        except OSError as error:
            raise RagIndexError(
                f"cannot delete {folder}: {error.strerror or error}", path=folder
            ) from None
    shutil.rmtree(dropped, ignore_errors=True)
