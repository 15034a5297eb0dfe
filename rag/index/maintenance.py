"""Care of an index: verify, repair, rebuild, compact, and snapshots to go back to.

from rag import Pipeline
from rag.index import maintenance

with Pipeline(index=".rag") as pipeline:
for problem in care.verify(pipeline.open(check=False)).problems:
print(problem)
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from rag.errors import ConfigError, IndexDamaged, IndexNotFound, RagError, RagIndexError
from rag.index.index import Index
from rag.index.paths import (
    LIBRARY,
    checked_name,
    escaped,
    namespace_folder,
    remove_leftovers,
    size,
)
from rag.index.write_lock import write_lock
from rag.stores.sqlite import SqliteDocumentStore

if TYPE_CHECKING:
    from rag.index.commit_protocol import Writer

_MANY = 5_000  # chunks looked at together
_SNAPSHOTS = "snapshots"


@dataclass(frozen=True, slots=True)
class Problem:
    """Something in an index that is not as it should be.

    ``store`` is ``library``, ``vectors`` or ``words``; ``what`` says what is wrong, and ``uri``
    names the document where it is one document's.
    """

    store: str
    what: str
    uri: str = ""

    def __str__(self) -> str:
        return f"{self.store}: {self.uri + ': ' if self.uri else ''}{self.what}"


@dataclass(slots=True)
class Verification:
    """What `verify` looked at, and what it found wrong."""

    documents: int = 0
    chunks: int = 0
    problems: list[Problem] = field(default_factory=list)

    @property
    def fine(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems


@dataclass(slots=True)
class Repair:
    """What `repair` did: problems found, and documents that must be ingested again."""

    problems: list[Problem]
    lost: list[str]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A copy of the library: its name, when it was taken (seconds since 1970), and its size.

    Of one that is ``damaged`` the numbers are not known.
    """

    name: str
    taken: float
    documents: int
    chunks: int
    bytes: int
    damaged: bool = False


# -- verify and repair -------------------------------------------------------------------------


def verify(index: Index) -> Verification:
    """Compare everything with everything: each text, span, vector and word list.

    Reads all of the index, and changes nothing. Raises `IndexLocked` while another process is
    writing.
    """
    with write_lock(index.path):
        return _verified(index)


def _verified(index: Index) -> Verification:
    found = Verification()
    problems = found.problems
    problems += [Problem("library", said) for said in index.document_store.integrity_errors()]
    if left := index.document_store.stats().unfinished:
        problems.append(Problem("library", f"{left:,} documents an interrupted run left behind"))
    for uri in index.document_store.uris():
        found.documents += 1
        if wrong := _wrong_document(index.document_store, uri):
            problems.append(Problem("library", wrong, uri))
    live = list(index.document_store.live_rows())
    found.chunks = len(live)
    lost = _lost_vectors(index, live)
    if lost:
        problems.append(Problem("library", f"{len(lost):,} chunks have no vector"))
    problems += [Problem("vectors", said) for said in _wrong_vectors(index, set(live), lost)]
    problems += [Problem("words", said) for said in _wrong_words(index, set(live))]
    return found


def _wrong_document(library: SqliteDocumentStore, uri: str) -> str:
    """What is wrong with a stored document and its chunks; "" where nothing is."""
    try:
        document = library.document(uri)
        ((number, expected),) = library.matching_documents({"uri": uri}).items()
        rows = library.rows_of([number])
        if len(rows) != expected:
            return f"has {len(rows):,} of {expected:,} chunks"
        if document.digest != library.ledger([uri])[uri].digest:
            return "the stored text is not what was ingested"
        for chunk in library.chunks(rows).values():
            text = document.text[chunk.start : chunk.end]
            if text != chunk.text or not text.strip() or len(text) != chunk.end - chunk.start:
                return f"the chunk at {chunk.start} is not the text there"
    except (RagError, ValueError, OSError, EOFError) as error:
        return f"cannot be read back ({' '.join(str(error).split())[:200]})"
    except Exception as error:  # zlib's own
        return f"cannot be read back ({type(error).__name__})"
    return ""


def _batches(rows: list[int]) -> Iterator[list[int]]:
    return (rows[i : i + _MANY] for i in range(0, len(rows), _MANY))


def _lost_vectors(index: Index, live: list[int]) -> set[int]:
    """Chunks whose vector is not in the library, or not a vector of this embedder."""
    import numpy as np

    fingerprint = index.fingerprint_in(index.document_store.state)
    lost: set[int] = set()
    for rows in _batches(live):
        try:
            found, matrix = index.document_store.vectors(rows, fingerprint)
            whole = [bool(np.isfinite(vector).all()) for vector in matrix]
            lost |= set(rows) - {row for row, fine in zip(found, whole, strict=True) if fine}
        except IndexDamaged:  # of different lengths
            lost |= set(rows)
    return lost


def _wrong_vectors(index: Index, live: set[int], lost: set[int]) -> list[str]:
    """What is wrong with the vector store; the vectors of the chunks `lost` cannot be compared."""
    import numpy as np

    try:
        held = set(index.vectors.rows())
    except IndexDamaged as error:
        return [str(error)]
    fingerprint = index.fingerprint_in(index.document_store.state)
    different = 0
    for rows in _batches(sorted((live & held) - lost)):
        ours = dict(zip(*index.document_store.vectors(rows, fingerprint), strict=True))
        theirs = index.vectors.vectors(rows)
        different += sum(
            not np.allclose(ours[row], theirs.get(row, np.nan), atol=1e-5) for row in rows
        )
    return _differences(live, held | lost, different)


def _wrong_words(index: Index, live: set[int]) -> list[str]:
    """What is wrong with the lexical store."""
    try:
        held = Counter(index.lexical.rows())
    except IndexDamaged as error:
        return [str(error)]
    return _differences(live, set(held), sum(times > 1 for times in held.values()))


def _differences(live: set[int], held: set[int], different: int) -> list[str]:
    said = []
    if missing := len(live - held):
        said.append(f"{missing:,} chunks are missing")
    if extra := len(held - live):
        said.append(f"{extra:,} are there that should not be")
    if different:
        said.append(f"{different:,} are not what the library has")
    return said


def repair(index: Index) -> Repair:
    """Put right what `verify` finds: from the library where it is whole.

    A document that cannot be read back is deleted, and named: ingest its source again. A lost
    vector is embedded again. Raises `IndexDamaged` where the library's file itself is broken:
    then restore a snapshot.
    """
    with index.writing() as writer:  # which heals what an interrupted run left
        if broken := index.document_store.integrity_errors():
            raise IndexDamaged(
                f"the library {index.document_store.path} is broken ({broken[0]}): restore a "
                "snapshot (`rag index restore NAME`), or ingest into a new index"
            )
        before = _verified(index)
        if writer.rebuilt:
            before.problems.append(Problem("vectors", "a store was gone or damaged: filled anew"))
        lost = [problem.uri for problem in before.problems if problem.uri]
        writer.delete(lost)
        lost_vectors = _embed_lost(index, writer)
        if lost_vectors or any(problem.store != "library" for problem in before.problems):
            writer.rebuild()  # for readers that are open, too: they open the new stores
        after = _verified(index)
        if not after.fine:
            raise IndexDamaged(f"{index.path} could not be repaired: {after.problems[0]}")
        return Repair(before.problems, lost)


def _embed_lost(index: Index, writer: Writer) -> bool:
    lost = sorted(_lost_vectors(index, list(index.document_store.live_rows())))
    for rows in _batches(lost):
        writer.embed_again(index.document_store, index.document_store.chunks(rows))
    return bool(lost)


def rebuild(index: Index) -> None:
    """Fill new vector and lexical stores from the library, then switch over. Embeds nothing.

    Searches go on meanwhile.
    """
    with index.writing() as writer:
        writer.rebuild()


def compact(index: Index) -> tuple[int, int]:
    """Give back the space of what is gone; returns the bytes before and after.

    Embeddings that no chunk uses any more are forgotten, and the stores are built anew.
    """
    with index.writing() as writer:
        before = size(index.path)
        index.document_store.forget_unused_embeddings()
        writer.rebuild()
        index.document_store.vacuum()
        return before, size(index.path)


# -- snapshots ---------------------------------------------------------------------------------


def snapshot(index: Index, name: str) -> Snapshot:
    """Keep a copy of the library as it is now, to go back to.

    Others may read and write meanwhile. The vector and lexical stores are not copied, as they
    are made from the library. Raises `ConfigError` where there is a snapshot of that name.
    """
    path = _snapshot_path(index.path, name)
    if path.exists():
        raise ConfigError(f"there is a snapshot {name!r} already")
    path.parent.mkdir(exist_ok=True)
    index.document_store.snapshot(path)
    return _described(path)


def snapshots(index: Path, namespace: str = "") -> list[Snapshot]:
    """Snapshots of the index in the folder `index`, oldest first. Raises `IndexNotFound`."""
    if not namespace_folder(index, namespace).is_dir():
        raise IndexNotFound.at(index, namespace)
    folder = namespace_folder(index, namespace) / _SNAPSHOTS
    found = [_described(path) for path in folder.glob("*.sqlite")] if folder.is_dir() else []
    return sorted(found, key=lambda snapshot: (snapshot.taken, snapshot.name))


def restore(index: Index, name: str) -> None:
    """Go back to a snapshot: all of it, in one moment. Searches go on meanwhile.

    Embeds nothing: the stores are filled from the snapshot beside those in use.
    """
    path = _require_snapshot(index.path, name)
    with index.writing(adopting=True) as writer, _copied(path, index.path) as library:
        writer.rebuild(library)


def restore_damaged(index: Path, name: str, namespace: str = "") -> Path:
    """Put a snapshot in place of a library that cannot be read any more.

    The damaged file is kept; returns where. The next writer fills the stores.
    """
    folder = namespace_folder(index, namespace)
    path = _require_snapshot(folder, name)
    kept = folder / f"{LIBRARY}.damaged-{time.time_ns():x}"
    with write_lock(folder), _copied(path, folder) as library:
        library.advance_state(library.state, int(time.time()), {})  # stores that are not there yet
        library.snapshot(folder / f"{LIBRARY}.restored")
        if (folder / LIBRARY).exists():
            shutil.copyfile(folder / LIBRARY, kept)
        for ending in ("-wal", "-shm"):
            if (part := folder / f"{LIBRARY}{ending}").exists():
                part.replace(kept.with_name(f"{kept.name}{ending}"))
        (folder / f"{LIBRARY}.restored").replace(folder / LIBRARY)
    return kept


def _snapshot_path(folder: Path, name: str) -> Path:
    return folder / _SNAPSHOTS / f"{escaped(checked_name(name, 'snapshot'))}.sqlite"


def _require_snapshot(folder: Path, name: str) -> Path:
    path = _snapshot_path(folder, name)
    if not path.is_file():
        raise ConfigError(f"there is no snapshot {name!r} (`rag index list` names them)")
    return path


@contextmanager
def _copied(path: Path, folder: Path) -> Iterator[SqliteDocumentStore]:
    """The library of a copy of a snapshot, on the disk of the index in `folder`."""
    with tempfile.TemporaryDirectory(dir=folder / _SNAPSHOTS, prefix="restoring-") as place:
        copy = Path(place) / LIBRARY
        shutil.copyfile(path, copy)
        try:
            opened = SqliteDocumentStore(copy)
        except RagIndexError as error:
            raise IndexDamaged(f"the snapshot {path} is damaged itself") from error
        with closing(opened) as library:
            if broken := library.integrity_errors():
                raise IndexDamaged(f"the snapshot {path} is damaged itself ({broken[0]})")
            library.discard_pending()
            library.discard_staged()
            library.remove_deleted()
            yield library


def _described(path: Path) -> Snapshot:
    from urllib.parse import unquote

    found = path.stat()
    documents, chunks, damaged = 0, 0, False
    try:
        with closing(SqliteDocumentStore(path, read_only=True)) as library:
            stats = library.stats()
            documents, chunks = stats.documents, stats.chunks
    except RagIndexError:
        damaged = True
    return Snapshot(
        name=unquote(path.stem),
        taken=found.st_mtime,
        documents=documents,
        chunks=chunks,
        bytes=found.st_size,
        damaged=damaged,
    )


# -- namespaces --------------------------------------------------------------------------------


def drop(index: Path, namespace: str) -> None:
    """Delete a namespace with all that is in it. Raises `IndexNotFound`, `IndexLocked`."""
    folder = namespace_folder(index, checked_name(namespace, "namespace"))
    if not (folder / LIBRARY).is_file():
        raise IndexNotFound.at(index, namespace)
    remove_leftovers(index)
    with write_lock(folder):
        gone = folder.with_name(f"{folder.name}.dropped")
        try:
            shutil.rmtree(gone, ignore_errors=True)
            folder.replace(gone)
        except OSError as error:
            raise RagIndexError(f"cannot delete {folder}: {error.strerror or error}") from None
    shutil.rmtree(gone, ignore_errors=True)
