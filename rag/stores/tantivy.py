"""The lexical index: BM25 over stemmed words in tantivy, built from the document store."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, ClassVar

from rag.embedding.sparse import SparseEncoder
from rag.errors import IndexDamaged
from rag.stores.lexical_index import (
    LexicalEntry,
    LexicalIndex,
    LexicalIndexConfig,
    LexicalQuery,
    stem_entries,
)
from rag.stores.location import StoreLocation
from rag.stores.query_plan import (
    Clause,
    PhraseClause,
    SparseClause,
    compute_idf,
    plan_query,
)
from rag.text.tokenization import STEMMED_LANGUAGES

_MAX_BOOLEAN_CLAUSES = 500  # up to here, a boolean query is faster than tantivy's term set query
_MAX_CACHED_PLANS = 32
_MAX_CACHED_COUNTS = 10_000  # of chunks by term, in an index with deleted chunks
_WRITER_HEAP_BYTES = 64_000_000  # buffer of a writer before it writes a segment
_ENCODER_FILE = "sparse-encoder"  # holds the fingerprint of the sparse encoder
_UNDETERMINED_LANGUAGE = "und"  # ISO 639-2: undetermined; for text without a stemmer


class Tantivy(LexicalIndexConfig):
    """Search words with tantivy, in files of the index folder (the default).

    ``sparse_encoder`` adds the learned sparse vectors that `SparseRetriever` searches. They are
    computed when a document is added, and again when the lexical index is rebuilt. After a change
    of the encoder, the next ingest rebuilds it.

    Source: https://github.com/quickwit-oss/tantivy
    """

    name: ClassVar[str] = "tantivy"

    sparse_encoder: SparseEncoder | None = None

    def create(self, location: StoreLocation) -> None:
        """See `DerivedStoreConfig.create`."""
        super().create(location)
        if self.sparse_encoder is not None and not (location.folder / "meta.json").exists():
            (location.folder / _ENCODER_FILE).write_text(
                self.sparse_encoder.fingerprint, encoding="utf-8"
            )

    def open(self, location: StoreLocation) -> TantivyIndex:
        """See `LexicalIndexConfig.open`."""
        return TantivyIndex(location.folder, self.sparse_encoder)


class TantivyIndex(LexicalIndex):
    """BM25 search by chunk row, in a tantivy index in the folder `path`.

    Each document is stemmed in its language (see `rag.text.tokenization`), and a query in every
    language of the index; if the stems of a word differ, the best match counts. Title and headings
    are indexed twice: at the start of the field ``body``, and in the field ``title``. An index of
    version 0.1 has no field ``forms``; it is searched without it. The field ``sparse`` exists only
    if the index was created with a sparse encoder.
    """

    def __init__(self, path: Path, encoder: SparseEncoder | None = None) -> None:
        import tantivy

        self._tantivy = tantivy
        self._path = path
        if not path.is_dir():
            raise IndexDamaged(f"there is no folder {path}: {IndexDamaged.REFILL_HINT}", path=path)
        self._encoder_fingerprint = _read_encoder_fingerprint(path)
        fingerprint = encoder.fingerprint if encoder is not None else ""
        self._is_other_encoder = fingerprint != self._encoder_fingerprint
        self._encoder = None if self._is_other_encoder else encoder
        self._schema = self._build_schema(has_forms=True)
        self._has_forms = True
        self._links_folder: tempfile.TemporaryDirectory[str] | None = None
        with self._translate_errors():
            try:
                self._index = self._open_index()
            except ValueError as error:
                if "schema does not match" not in str(error):
                    raise
                self._schema, self._has_forms = self._build_schema(has_forms=False), False
                self._index = self._open_index()
        self._snapshot = self._take_snapshot()
        self._writer: Any = None
        self._lock = threading.Lock()

    def _build_schema(self, *, has_forms: bool) -> Any:
        builder = self._tantivy.SchemaBuilder()
        builder.add_unsigned_field("row", indexed=True, fast=True)
        builder.add_unsigned_field("document", indexed=True)
        builder.add_text_field("language", tokenizer_name="raw", index_option="basic")
        builder.add_text_field("title", tokenizer_name="stems", index_option="freq")
        builder.add_text_field("body", tokenizer_name="stems", index_option="position")
        if has_forms:
            builder.add_text_field("forms", tokenizer_name="stems", index_option="freq")
        if self._encoder_fingerprint:
            builder.add_text_field("sparse", tokenizer_name="stems", index_option="basic")
        return builder.build()

    def _open_index(self) -> Any:
        try:
            return self._configure(self._tantivy.Index(self._schema, path=str(self._path)))
        except ValueError as error:
            if "Lockfile" not in str(error):
                raise
            return self._open_links()

    def _open_links(self) -> Any:
        return self._configure(self._tantivy.Index(self._schema, path=self._link_files()))

    def _configure(self, index: Any) -> Any:
        # By default, a thread of tantivy reloads after a commit, too. On a busy machine, it may end
        # after the reload for the next commit: searches would see the earlier state.
        index.config_reader("manual")
        tantivy = self._tantivy
        analyzer = tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.whitespace()).build()
        index.register_tokenizer("stems", analyzer)
        return index

    def _link_files(self) -> str:
        """Make a folder of links to the files: tantivy needs to write a lock even for reading."""
        self._links_folder = tempfile.TemporaryDirectory()
        self._update_links(Path(self._links_folder.name))
        return self._links_folder.name

    def _update_links(self, links: Path) -> None:
        """Link to the files that a writer has added."""
        for file in self._path.iterdir():
            if not file.name.endswith(".lock"):
                with suppress(FileExistsError):
                    (links / file.name).symlink_to(file.resolve())

    @contextmanager
    def _translate_errors(self, *, is_writing: bool = False) -> Iterator[None]:
        try:
            yield
        except (ValueError, OSError, RuntimeError) as error:
            if is_writing:
                self._drop_writer()  # after an error, tantivy refuses all further calls
            raise IndexDamaged.from_store_error(error, "tantivy", self._path) from error

    def add(self, entries: Iterable[LexicalEntry]) -> None:
        """See `LexicalIndex.add`."""
        with self._translate_errors(is_writing=True):
            writer = self._open_writer()
        for stemmed in stem_entries(entries, self._encoder):
            with self._translate_errors(is_writing=True):
                entry = self._tantivy.Document()
                entry.add_unsigned("row", stemmed.row)
                entry.add_unsigned("document", stemmed.document)
                entry.add_text("language", stemmed.language or _UNDETERMINED_LANGUAGE)
                entry.add_text("title", " ".join(stemmed.title))
                entry.add_text("body", " ".join(stemmed.body))
                if self._has_forms:
                    entry.add_text("forms", " ".join(stemmed.forms))
                if self._encoder_fingerprint:
                    entry.add_text("sparse", " ".join(stemmed.sparse))
                writer.add_document(entry)

    def delete(self, rows: Sequence[int]) -> None:
        """See `LexicalIndex.delete`."""
        with self._translate_errors(is_writing=True):
            self._open_writer().delete_documents_by_query(
                self._tantivy.Query.term_set_query(self._schema, "row", list(rows))
            )

    def replace_all(self, entries: Iterable[LexicalEntry]) -> None:
        """See `LexicalIndex.replace_all`."""
        with self._translate_errors(is_writing=True):
            self._open_writer().delete_all_documents()
        self.add(entries)

    def commit(self) -> None:
        """See `LexicalIndex.commit`."""
        if self._writer is not None:
            with self._translate_errors(is_writing=True):
                self._writer.commit()
            _follow_folder_rights(self._path)
            self._reload()

    def refresh(self, generation: int) -> None:
        """See `LexicalIndex.refresh`."""
        self._reload()

    def _reload(self) -> None:
        if self._links_folder is not None:
            self._update_links(Path(self._links_folder.name))
        with self._translate_errors():
            try:
                self._index.reload()
            except ValueError as error:
                if "Lockfile" not in str(error) or self._links_folder is not None:
                    raise
                self._index = self._open_links()  # its folder can no longer be written
        self._snapshot = self._take_snapshot()

    def _take_snapshot(self) -> _Snapshot:
        return _Snapshot(self._index.searcher(), self._tantivy, self._schema)

    def storage_exists(self) -> bool:
        """See `LexicalIndex.storage_exists`."""
        return (self._path / "meta.json").exists()

    def count(self) -> int:
        """See `LexicalIndex.count`."""
        return self._snapshot.chunk_count

    def end_writing(self) -> None:
        """Close the writer, which holds tantivy's own lock on the folder."""
        if self._writer is not None:
            self._drop_writer()
            _follow_folder_rights(self._path)

    def _drop_writer(self) -> None:
        with self._lock:
            if self._writer is not None:
                with suppress(RuntimeError, ValueError):  # a writer is unusable after an error
                    self._writer.wait_merging_threads()
                self._writer = None

    def close(self) -> None:
        """See `LexicalIndex.close`."""
        self.end_writing()
        with self._lock:
            if self._links_folder is not None:
                self._links_folder.cleanup()
                self._links_folder = None

    def _open_writer(self) -> Any:
        with self._lock:
            if self._writer is None:
                self._writer = self._index.writer(heap_size=_WRITER_HEAP_BYTES, num_threads=1)
            return self._writer

    def search(
        self, query: LexicalQuery, k: int, documents: Collection[int] | None = None
    ) -> list[tuple[int, float]]:
        """See `LexicalIndex.search`."""
        snapshot = self._snapshot
        tantivy_query = self._build_query(query, snapshot)
        if tantivy_query is None or k < 1:
            return []
        if documents is not None:
            tantivy_query = self._restrict_query(tantivy_query, "document", documents)
        return self._run_query(tantivy_query, k, snapshot)

    def scores(self, query: LexicalQuery, rows: Sequence[int]) -> dict[int, float]:
        """See `LexicalIndex.scores`."""
        snapshot = self._snapshot
        tantivy_query = self._build_query(query, snapshot)
        if tantivy_query is None or not rows:
            return {}
        restricted = self._restrict_query(tantivy_query, "row", rows)
        return dict(self._run_query(restricted, len(rows), snapshot))

    def languages(self) -> list[str]:
        """See `LexicalIndex.languages`."""
        return self._snapshot.list_languages()

    def inverse_document_frequency(self, stem: str) -> float:
        """See `LexicalIndex.inverse_document_frequency`."""
        snapshot = self._snapshot
        matching = snapshot.count_chunks("body", stem)
        return compute_idf(matching, snapshot.chunk_count) if matching else 0.0

    def list_stems(self, prefix: str) -> dict[str, int]:
        """See `LexicalIndex.list_stems`."""
        with self._translate_errors():
            return self._snapshot.list_stems(prefix)

    @property
    def sparse_encoder(self) -> SparseEncoder | None:
        """See `LexicalIndex.sparse_encoder`."""
        return self._encoder

    @property
    def is_outdated(self) -> bool:
        """See `LexicalIndex.is_outdated`."""
        return not self._has_forms or self._is_other_encoder

    @property
    def deleted_count(self) -> int:
        """See `LexicalIndex.deleted_count`."""
        return self._snapshot.deleted_count

    def _build_query(self, query: LexicalQuery, snapshot: _Snapshot) -> Any:
        """Translate the query for tantivy; None if no chunk can match it."""

        def count_chunks(field: str, stem: str) -> int:
            has_field = {"forms": self._has_forms, "sparse": bool(self._encoder_fingerprint)}
            return snapshot.count_chunks(field, stem) if has_field.get(field, True) else 0

        clauses = snapshot.plans.get(query)
        if clauses is None:
            clauses = plan_query(
                query,
                snapshot.list_languages(),
                count_chunks,
                snapshot.chunk_count,
                snapshot.list_stems,
            )
            if len(snapshot.plans) >= _MAX_CACHED_PLANS:
                snapshot.plans.clear()
            snapshot.plans[query] = clauses
        if not clauses:
            return None
        should = self._tantivy.Occur.Should
        return self._tantivy.Query.boolean_query(
            [(should, self._translate_clause(clause, snapshot)) for clause in clauses]
        )

    def _translate_clause(self, clause: Clause, snapshot: _Snapshot) -> Any:
        query, schema = self._tantivy.Query, self._schema
        if isinstance(clause, SparseClause):
            term = query.term_query(schema, "sparse", clause.term, "basic")
            return query.const_score_query(term, clause.score)
        if isinstance(clause, PhraseClause):
            return query.disjunction_max_query(
                [
                    query.boost_query(
                        query.phrase_query(schema, "body", list(form))
                        if len(form) > 1
                        else query.term_query(schema, "body", form[0]),
                        clause.boost * snapshot.correct_idf("body", form),
                    )
                    for form in clause.forms
                ]
            )
        terms = [
            query.boost_query(
                query.term_query(schema, clause.field, stem),
                boost * snapshot.correct_idf(clause.field, [stem]),
            )
            for stem, boost in clause.boosts.items()
        ]
        return terms[0] if len(terms) == 1 else query.disjunction_max_query(terms)

    def _restrict_query(self, tantivy_query: Any, field: str, values: Collection[int]) -> Any:
        """Restrict a query to chunks with one of `values`; the scores stay the same."""
        query, occur = self._tantivy.Query, self._tantivy.Occur
        if len(values) <= _MAX_BOOLEAN_CLAUSES:
            one_of = query.boolean_query(
                [(occur.Should, query.term_query(self._schema, field, value)) for value in values]
            )
        else:
            one_of = query.term_set_query(self._schema, field, list(values))
        allowed = query.const_score_query(one_of, 0.0)
        return query.boolean_query([(occur.Must, tantivy_query), (occur.Must, allowed)])

    def rows(self) -> list[int]:
        """See `LexicalIndex.rows`."""
        snapshot = self._snapshot
        all_chunks = self._tantivy.Query.all_query()
        chunk_count = max(1, snapshot.chunk_count)
        return [row for row, _ in self._run_query(all_chunks, chunk_count, snapshot)]

    def _run_query(self, query: Any, k: int, snapshot: _Snapshot) -> list[tuple[int, float]]:
        with self._translate_errors():
            searcher = snapshot.searcher
            hits = searcher.search(query, limit=k, count=False).hits
            rows: list[Any] = searcher.fast_field_values("row", [address for _, address in hits])
        return [(row, float(score)) for row, (score, _) in zip(rows, hits, strict=True)]


class _Snapshot:
    """The index as of one commit, with counts of its live chunks.

    tantivy counts deleted chunks in its statistics until it merges their segment, which may be
    never. Their words would weigh less than in a new index, so the counts here leave them out, and
    `correct_idf` corrects the weights of a query. Only the mean length of fields still includes
    deleted chunks, until `TantivyIndex.replace_all`.
    """

    def __init__(self, searcher: Any, tantivy: Any, schema: Any) -> None:
        self.searcher = searcher
        self.chunk_count = int(searcher.num_docs)
        # A search scores its candidates with the same query again.
        self.plans: dict[LexicalQuery, Sequence[Clause]] = {}
        self._tantivy = tantivy
        self._schema = schema
        self._counts: dict[tuple[str, str], int] = {}
        self._languages: list[str] | None = None
        self._stored_count: int = sum(
            searcher.doc_freq("language", name or _UNDETERMINED_LANGUAGE)
            for name in (*STEMMED_LANGUAGES, "")
        )  # each chunk has one language
        self.deleted_count = self._stored_count - self.chunk_count

    def count_chunks(self, field: str, term: str) -> int:
        """Return the number of live chunks that have the term in the field."""
        stored_count = int(self.searcher.doc_freq(field, term))
        if not (stored_count and self.deleted_count):
            return stored_count
        count = self._counts.get((field, term))
        if count is None:
            query = self._tantivy.Query.term_query(self._schema, field, term, "basic")
            count = int(self.searcher.search(query, limit=1, count=True).count)
            if len(self._counts) >= _MAX_CACHED_COUNTS:
                self._counts.clear()
            self._counts[field, term] = count
        return count

    def correct_idf(self, field: str, terms: Sequence[str]) -> float:
        """Return by what tantivy's BM25 score of a term or phrase is to be multiplied."""
        if not self.deleted_count:
            return 1.0
        live = stored = 0.0
        for term in terms:
            live += compute_idf(self.count_chunks(field, term), self.chunk_count)
            stored += compute_idf(self.searcher.doc_freq(field, term), self._stored_count)
        return live / stored

    def list_languages(self) -> list[str]:
        """Return the languages of the live chunks, the most frequent first."""
        if self._languages is None:
            counts = {
                name: self.count_chunks("language", name or _UNDETERMINED_LANGUAGE)
                for name in (*STEMMED_LANGUAGES, "")
            }
            self._languages = sorted(filter(counts.get, counts), key=lambda name: -counts[name])
        return self._languages

    def list_stems(self, prefix: str) -> dict[str, int]:
        """Return the stems of live chunks that start with `prefix`, with their chunk counts."""
        counts = dict(self.searcher.terms_with_prefix("body", prefix))
        if self.deleted_count:
            counts = {stem: self.count_chunks("body", stem) for stem in counts}
        return {stem: count for stem, count in counts.items() if count}


def _read_encoder_fingerprint(folder: Path) -> str:
    """Return the fingerprint of the sparse encoder that filled the index; "" for none."""
    try:
        return (folder / _ENCODER_FILE).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _follow_folder_rights(folder: Path) -> None:
    """Give the files the rights of their folder: tantivy makes them readable for the owner only."""
    mode = folder.stat().st_mode & 0o666
    for file in folder.iterdir():
        with suppress(OSError):  # merged away meanwhile, or of another owner
            if file.stat().st_mode & 0o666 != mode:
                file.chmod(mode)
