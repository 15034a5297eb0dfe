"""The lexical index: BM25 over stemmed words in tantivy, built from the document store."""

from __future__ import annotations

import math
import re
import tempfile
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

from rag.errors import IndexDamaged
from rag.text.tokenization import STEMMED_LANGUAGES, detect_language, stems, words

_MAX_BOOLEAN_CLAUSES = 500  # up to here, a boolean query is faster than tantivy's term set query
_WRITER_HEAP_BYTES = 64_000_000  # buffer of a writer before it writes a segment
_LANGUAGE_SAMPLE_CHUNKS = 16  # first chunks of a document, to detect its language
_UNDETERMINED_LANGUAGE = "und"  # ISO 639-2: undetermined; for text without a stemmer
_QUOTED_PHRASE = re.compile(r'"([^"]+)"|“([^”]+)”|„([^“”]+)[“”]|«([^»]+)»|「([^」]+)」')


@dataclass(frozen=True, slots=True)
class BM25Query:
    """A query to the lexical index.

    ``title_weight`` is the weight of a match in title and headings, added to the weight 1 of a
    match in the whole text. Rare words weigh more: by their inverse document frequency to the
    power ``1 + rarity``, where plain BM25 has the power 1. ``expansion`` are additional (stem,
    share) pairs, for example of pseudo-relevance feedback; together they have ``expansion_share``
    (0..1) of the weight of the query.
    """

    text: str
    title_weight: float = 0.25
    rarity: float = 0.35
    expansion: tuple[tuple[str, float], ...] = ()
    expansion_share: float = 0.0

    @property
    def has_only_phrases(self) -> bool:
        """Whether all words of the query are in quotes."""
        unquoted_text = _QUOTED_PHRASE.sub(" ", self.text)
        return not words(unquoted_text) and any(map(words, self.phrases))

    @property
    def phrases(self) -> list[str]:
        """Phrases in quotes, without the quotes."""
        return [next(filter(None, match.groups())) for match in _QUOTED_PHRASE.finditer(self.text)]


class TantivyIndex:
    """BM25 search by chunk row, in a tantivy index in the folder `path`.

    Each document is stemmed in its language (see `rag.text.tokenization`), and a query in every
    language of the index; if the stems of a word differ, the best match counts. Title and headings
    are indexed twice: at the start of the field ``body``, and in the field ``title``.
    """

    def __init__(self, path: Path) -> None:
        import tantivy

        self._tantivy = tantivy
        self._path = path
        if not path.is_dir():
            raise IndexDamaged(f"there is no folder {path}: {IndexDamaged.REFILL_HINT}")
        builder = tantivy.SchemaBuilder()
        builder.add_unsigned_field("row", indexed=True, fast=True)
        builder.add_unsigned_field("document", indexed=True)
        builder.add_text_field("language", tokenizer_name="raw", index_option="basic")
        builder.add_text_field("title", tokenizer_name="stems", index_option="freq")
        builder.add_text_field("body", tokenizer_name="stems", index_option="position")
        self._schema = builder.build()
        self._links_folder: tempfile.TemporaryDirectory[str] | None = None
        with self._translate_errors():
            try:
                self._index = tantivy.Index(self._schema, path=str(path))
            except ValueError as error:
                if "Lockfile" not in str(error):
                    raise
                self._index = tantivy.Index(self._schema, path=self._link_files())
        analyzer = tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.whitespace()).build()
        self._index.register_tokenizer("stems", analyzer)
        self._writer: Any = None
        self._lock = threading.Lock()

    def _link_files(self) -> str:
        """Make a folder of links to the files: tantivy needs to write a lock even for reading."""
        self._links_folder = tempfile.TemporaryDirectory()
        for file in self._path.iterdir():
            if not file.name.endswith(".lock"):
                (Path(self._links_folder.name) / file.name).symlink_to(file.resolve())
        return self._links_folder.name

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        try:
            yield
        except (ValueError, OSError) as error:
            raise IndexDamaged.from_store_error(error, "tantivy", self._path) from error

    def add(self, rows: Iterable[tuple[int, int, str, str]]) -> None:
        """Add (chunk row, document number, heading context, text). Found after `commit`.

        Chunks of one document must be adjacent: its language is detected from them together.
        """
        with self._translate_errors():
            writer = self._open_writer()
            for document, group in groupby(rows, key=itemgetter(1)):
                chunks = list(group)
                language = detect_language(
                    "\n".join(text for *_, text in chunks[:_LANGUAGE_SAMPLE_CHUNKS])
                )
                stemmed_headings: dict[str, str] = {}
                for row, _, heading_context, text in chunks:
                    if heading_context not in stemmed_headings:
                        stemmed_headings[heading_context] = " ".join(
                            stems(heading_context, language)
                        )
                    headings = stemmed_headings[heading_context]
                    entry = self._tantivy.Document()
                    entry.add_unsigned("row", row)
                    entry.add_unsigned("document", document)
                    entry.add_text("language", language or _UNDETERMINED_LANGUAGE)
                    entry.add_text("title", headings)
                    body = " ".join(stems(text, language))
                    entry.add_text("body", f"{headings} {body}")
                    writer.add_document(entry)

    def delete(self, rows: Sequence[int]) -> None:
        """Remove chunk rows. They are found until `commit`."""
        with self._translate_errors():
            self._open_writer().delete_documents_by_query(
                self._tantivy.Query.term_set_query(self._schema, "row", list(rows))
            )

    def commit(self) -> None:
        """Make additions and deletions durable, and visible to this process."""
        if self._writer is not None:
            with self._translate_errors():
                self._writer.commit()
            self.reload()

    def reload(self) -> None:
        """Make searches see what other processes committed."""
        with self._translate_errors():
            self._index.reload()

    def count(self) -> int:
        """Return the number of chunk rows."""
        return int(self._index.searcher().num_docs)

    def close(self) -> None:
        """Close the writer; changes that are not committed are lost."""
        with self._lock:
            if self._links_folder is not None:
                self._links_folder.cleanup()
                self._links_folder = None
            if self._writer is not None:
                with suppress(RuntimeError, ValueError):  # a writer is unusable after an error
                    self._writer.wait_merging_threads()
                self._writer = None

    def _open_writer(self) -> Any:
        with self._lock:
            if self._writer is None:
                self._writer = self._index.writer(heap_size=_WRITER_HEAP_BYTES, num_threads=1)
            return self._writer

    def search(
        self, query: BM25Query, k: int, documents: Sequence[int] | None = None
    ) -> list[tuple[int, float]]:
        """Return up to `k` best (row, score), best first; with `documents`, only of these."""
        tantivy_query = self._build_query(query)
        if tantivy_query is None or k < 1:
            return []
        if documents is not None:
            tantivy_query = self._restrict_query(tantivy_query, "document", documents)
        return self._run_query(tantivy_query, k)

    def scores(self, query: BM25Query, rows: Sequence[int]) -> dict[int, float]:
        """Return the scores of these rows, without those that do not match the query."""
        tantivy_query = self._build_query(query)
        if tantivy_query is None or not rows:
            return {}
        return dict(self._run_query(self._restrict_query(tantivy_query, "row", rows), len(rows)))

    def languages(self) -> list[str]:
        """Return the languages of the chunks, most frequent first; "" for unstemmed chunks."""
        searcher = self._index.searcher()
        counts = {
            name: searcher.doc_freq("language", name or _UNDETERMINED_LANGUAGE)
            for name in (*STEMMED_LANGUAGES, "")
        }
        return sorted((name for name in counts if counts[name]), key=lambda name: -counts[name])

    def inverse_document_frequency(self, stem: str) -> float:
        """Return the inverse document frequency of a stem in BM25; 0 if no chunk has the stem."""
        searcher = self._index.searcher()
        chunk_count = searcher.doc_freq("body", stem)
        return _idf(chunk_count, searcher.num_docs) if chunk_count else 0.0

    def _build_query(self, query: BM25Query) -> Any:
        """Translate the query for tantivy; None if no chunk can match it."""
        builder = _QueryBuilder(self._tantivy, self._schema, self._index.searcher(), query)
        languages = self.languages()
        text = "" if query.has_only_phrases else query.text
        for forms, count in Counter(_stem_forms(text, languages)).items():
            builder.add_word(forms, count)
        for phrase in query.phrases:
            builder.add_phrase({tuple(stems(phrase, language)) for language in languages})
        if text:
            builder.add_expansion()
        return builder.build()

    def _restrict_query(self, tantivy_query: Any, field: str, values: Sequence[int]) -> Any:
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
        """Return the rows of all chunks."""
        all_chunks = self._tantivy.Query.all_query()
        return [row for row, _ in self._run_query(all_chunks, max(1, self.count()))]

    def _run_query(self, query: Any, k: int) -> list[tuple[int, float]]:
        with self._translate_errors():
            searcher = self._index.searcher()
            hits = searcher.search(query, limit=k, count=False).hits
            rows: list[Any] = searcher.fast_field_values("row", [address for _, address in hits])
        return [(row, float(score)) for row, (score, _) in zip(rows, hits, strict=True)]


def _stem_forms(text: str, languages: Sequence[str]) -> list[tuple[str, ...]]:
    """Return the distinct stems of each word in these languages."""
    stemmed = [stems(text, language) for language in languages]
    return [tuple(dict.fromkeys(forms)) for forms in zip(*stemmed, strict=True)]


def _idf(matching: int, total: int) -> float:
    """Return BM25's inverse document frequency of a stem in `matching` of `total` chunks.

    With 1 added in the logarithm, as in Lucene and tantivy, so that it is never negative.
    """
    matching = min(matching, total)
    return math.log(1 + (total - matching + 0.5) / (matching + 0.5))


class _QueryBuilder:
    """Builds a query for tantivy, clause by clause."""

    def __init__(self, tantivy: Any, schema: Any, searcher: Any, query: BM25Query) -> None:
        self._tantivy, self._schema, self._searcher = tantivy, schema, searcher
        self._query = query
        self._clauses: list[Any] = []
        self._total_weight = 0.0

    def add_word(self, forms: Sequence[str], count: int) -> None:
        """Search for a word that is `count` times in the query, in any of its stem forms.

        The inverse document frequency is that of all forms together. Otherwise a form that only
        one chunk has, because its language was detected wrongly, would outweigh all others.
        """
        weight = count * self._compute_idf("body", forms) ** self._query.rarity
        self._total_weight += weight
        for field, share in (("body", 1.0), ("title", self._query.title_weight)):
            self._add_best_of(field, forms, weight * share)

    def _compute_idf(self, field: str, forms: Sequence[str]) -> float:
        matching = sum(self._searcher.doc_freq(field, form) for form in forms)
        return _idf(matching, self._searcher.num_docs) if matching else 0.0

    def _add_best_of(self, field: str, forms: Sequence[str], weight: float) -> None:
        query = self._tantivy.Query
        counts = {form: self._searcher.doc_freq(field, form) for form in forms}
        combined_idf = _idf(sum(counts.values()), self._searcher.num_docs)
        terms = [
            query.boost_query(
                query.term_query(self._schema, field, form),
                weight * combined_idf / _idf(count, self._searcher.num_docs),
            )
            for form, count in counts.items()
            if count
        ]
        if terms and weight > 0:
            self._clauses.append(
                terms[0] if len(terms) == 1 else query.disjunction_max_query(terms)
            )

    def add_phrase(self, forms: Iterable[tuple[str, ...]]) -> None:
        """Search for adjacent words, in any of the stem forms of the phrase.

        A match adds to the score of the single words. It is not required: quotes in a question
        are often titles and terms that the answer does not repeat.
        """
        query = self._tantivy.Query
        phrase_queries = [
            query.phrase_query(self._schema, "body", list(form))
            if len(form) > 1
            else query.term_query(self._schema, "body", form[0])
            for form in sorted(forms)
            if form
        ]
        if phrase_queries:
            self._clauses.append(query.disjunction_max_query(phrase_queries))

    def add_expansion(self) -> None:
        """Search for the expansion stems. Call it last: their weight depends on the words."""
        query, share_of_all = self._tantivy.Query, self._query.expansion_share
        expansion_weight = (self._total_weight or 1.0) * share_of_all / (1 - share_of_all)
        for stem, share in self._query.expansion:
            term = query.term_query(self._schema, "body", stem)
            self._clauses.append(query.boost_query(term, expansion_weight * share))

    def build(self) -> Any:
        """Return a query that matches any of the clauses; None without clauses."""
        occur = self._tantivy.Occur.Should
        clauses = [(occur, clause) for clause in self._clauses]
        return self._tantivy.Query.boolean_query(clauses) if clauses else None
