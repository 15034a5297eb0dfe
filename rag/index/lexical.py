"""The lexical index: BM25 over stemmed words in tantivy, derived from the library."""

from __future__ import annotations

import tempfile
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rag.errors import IndexDamaged
from rag.text import analyzer, segment, stems

_FEW = 500  # values up to which a union of terms is quicker than tantivy's set of terms
_HEAP = 64_000_000  # bytes a writer buffers before it writes a segment


class LexicalStore:
    """BM25 by chunk row, in a tantivy index in the folder `path`.

    Words are runs of letters with their combining marks, and of digits; lower-cased and stemmed
    (English). Scripts that do not separate words are indexed as pairs of characters.
    """

    def __init__(self, path: Path) -> None:
        import tantivy

        self._tantivy = tantivy
        self._path = path
        if not path.is_dir():
            raise IndexDamaged(f"there is no folder {path}: {IndexDamaged.REBUILD}")
        builder = tantivy.SchemaBuilder()
        builder.add_unsigned_field("row", indexed=True, fast=True)
        builder.add_unsigned_field("document", indexed=True)
        builder.add_text_field("body", tokenizer_name="citewell", index_option="position")
        self._schema = builder.build()
        self._shadow: tempfile.TemporaryDirectory[str] | None = None
        with self._damage_told():
            try:
                self._index = tantivy.Index(self._schema, path=str(path))
            except ValueError as error:
                if "Lockfile" not in str(error):
                    raise
                self._index = tantivy.Index(self._schema, path=self._unlocked())
        self._index.register_tokenizer("citewell", analyzer())
        self._writer: Any = None
        self._guard = threading.Lock()

    def _unlocked(self) -> str:
        """A folder of links to the files: tantivy reads only where it can write a lock."""
        self._shadow = tempfile.TemporaryDirectory()
        for file in self._path.iterdir():
            if not file.name.endswith(".lock"):
                (Path(self._shadow.name) / file.name).symlink_to(file.resolve())
        return self._shadow.name

    @contextmanager
    def _damage_told(self) -> Iterator[None]:
        try:
            yield
        except (ValueError, OSError) as error:
            raise IndexDamaged.by(error, "tantivy", self._path) from error

    def add(self, rows: Iterable[tuple[int, int, str]]) -> None:
        """Add (chunk row, document, text); found after `commit`."""
        with self._damage_told():
            writer = self._open_writer()
            for row, document, text in rows:
                entry = self._tantivy.Document()
                entry.add_unsigned("row", row)
                entry.add_unsigned("document", document)
                entry.add_text("body", segment(text))
                writer.add_document(entry)

    def delete(self, rows: Sequence[int]) -> None:
        """Remove chunk rows; gone after `commit`."""
        with self._damage_told():
            self._open_writer().delete_documents_by_query(
                self._tantivy.Query.term_set_query(self._schema, "row", list(rows))
            )

    def commit(self) -> None:
        """Make what was added and deleted durable, and visible to this process."""
        if self._writer is not None:
            with self._damage_told():
                self._writer.commit()
            self.reload()

    def reload(self) -> None:
        """See what another process has committed since."""
        with self._damage_told():
            self._index.reload()

    def count(self) -> int:
        """Number of chunk rows."""
        return int(self._index.searcher().num_docs)

    def close(self) -> None:
        """Let go of the writer, with whatever was not committed."""
        with self._guard:
            if self._shadow is not None:
                self._shadow.cleanup()
                self._shadow = None
            if self._writer is not None:
                self._writer.wait_merging_threads()
                self._writer = None

    def _open_writer(self) -> Any:
        with self._guard:
            if self._writer is None:
                self._writer = self._index.writer(heap_size=_HEAP, num_threads=1)
            return self._writer

    def search(
        self, query: str, k: int, documents: Sequence[int] | None = None
    ) -> list[tuple[int, float]]:
        """Up to `k` best (row, BM25 score), best first, within `documents` where given."""
        words = self._words(query)
        if words is None or k < 1:
            return []
        if documents is not None:
            words = self._among(words, "document", documents)
        return self._run(words, k)

    def scores(self, query: str, rows: Sequence[int]) -> dict[int, float]:
        """BM25 scores of these rows; those with no word of the query are left out."""
        words = self._words(query)
        if words is None or not rows:
            return {}
        return dict(self._run(self._among(words, "row", rows), len(rows)))

    def _words(self, query: str) -> Any:
        counts = Counter(stems(query))
        if not counts:
            return None
        tantivy = self._tantivy
        return tantivy.Query.boolean_query(
            [
                (
                    tantivy.Occur.Should,
                    tantivy.Query.boost_query(
                        tantivy.Query.term_query(self._schema, "body", word), float(count)
                    ),
                )
                for word, count in counts.items()
            ]
        )

    def _among(self, words: Any, field: str, values: Sequence[int]) -> Any:
        query, occur = self._tantivy.Query, self._tantivy.Occur
        if len(values) <= _FEW:
            one_of = query.boolean_query(
                [(occur.Should, query.term_query(self._schema, field, value)) for value in values]
            )
        else:
            one_of = query.term_set_query(self._schema, field, list(values))
        allowed = query.const_score_query(one_of, 0.0)
        return query.boolean_query([(occur.Must, words), (occur.Must, allowed)])

    def rows(self) -> list[int]:
        """Rows of all chunks."""
        everything = self._tantivy.Query.all_query()
        return [row for row, _ in self._run(everything, max(1, self.count()))]

    def _run(self, query: Any, k: int) -> list[tuple[int, float]]:
        with self._damage_told():
            searcher = self._index.searcher()
            found = searcher.search(query, limit=k, count=False).hits
            rows: list[Any] = searcher.fast_field_values("row", [place for _, place in found])
        return [(row, float(score)) for row, (score, _) in zip(rows, found, strict=True)]
