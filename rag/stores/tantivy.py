"""The lexical index: BM25 over stemmed words in tantivy, derived from the library."""

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
from rag.text.tokenization import STEMMED, language_of, stems, words

_FEW = 500  # values up to which a union of terms is quicker than tantivy's set of terms
_HEAP = 64_000_000  # bytes a writer buffers before it writes a segment
_TELLING = 16  # chunks of a document that tell its language
_UNKNOWN = "und"  # the language of what has no stemmer, as ISO 639 writes "undetermined"
_QUOTED = re.compile(r'"([^"]+)"|“([^”]+)”|„([^“”]+)[“”]|«([^»]+)»|「([^」]+)」')


@dataclass(frozen=True, slots=True)
class BM25Query:
    """What the lexical index is asked.

    ``title`` is what a word counts in title and headings, beside the 1 that it counts in the
    whole. A word counts the more the rarer it is, by its inverse document frequency to the power
    ``1 + rarity``: BM25's own is 1. ``more`` are stems to look for besides, with their shares of
    the query, of which they make ``more_share`` in all.
    """

    text: str
    title: float = 0.25
    rarity: float = 0.35
    more: tuple[tuple[str, float], ...] = ()
    more_share: float = 0.0

    @property
    def only_phrases(self) -> bool:
        """Whether nothing but phrases is asked for."""
        outside = _QUOTED.sub(" ", self.text)
        return not words(outside) and any(map(words, self.phrases))

    @property
    def phrases(self) -> list[str]:
        """What stands in quotes."""
        return [next(filter(None, found.groups())) for found in _QUOTED.finditer(self.text)]


class TantivyIndex:
    """BM25 by chunk row, in a tantivy index in the folder `path`.

    Each document is stemmed in its own language (see `rag.text.tokenization`), and a query in
    every language that the index holds: where the stems differ, the best one counts. Title and
    headings stand in front of the text, and once more in a field of their own.
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
        builder.add_text_field("language", tokenizer_name="raw", index_option="basic")
        builder.add_text_field("title", tokenizer_name="stems", index_option="freq")
        builder.add_text_field("body", tokenizer_name="stems", index_option="position")
        self._schema = builder.build()
        self._shadow: tempfile.TemporaryDirectory[str] | None = None
        with self._translate_errors():
            try:
                self._index = tantivy.Index(self._schema, path=str(path))
            except ValueError as error:
                if "Lockfile" not in str(error):
                    raise
                self._index = tantivy.Index(self._schema, path=self._unlocked())
        as_it_is = tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.whitespace()).build()
        self._index.register_tokenizer("stems", as_it_is)
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
    def _translate_errors(self) -> Iterator[None]:
        try:
            yield
        except (ValueError, OSError) as error:
            raise IndexDamaged.by(error, "tantivy", self._path) from error

    def add(self, rows: Iterable[tuple[int, int, str, str]]) -> None:
        """Add (chunk row, document, context, text); found after `commit`.

        Chunks of one document are to come behind each other: they tell its language together.
        """
        with self._translate_errors():
            writer = self._open_writer()
            for document, group in groupby(rows, key=itemgetter(1)):
                chunks = list(group)
                language = language_of("\n".join(text for *_, text in chunks[:_TELLING]))
                titles: dict[str, str] = {}
                for row, _, context, text in chunks:
                    if context not in titles:
                        titles[context] = " ".join(stems(context, language))
                    entry = self._tantivy.Document()
                    entry.add_unsigned("row", row)
                    entry.add_unsigned("document", document)
                    entry.add_text("language", language or _UNKNOWN)
                    entry.add_text("title", titles[context])
                    body = " ".join(stems(text, language))
                    entry.add_text("body", f"{titles[context]} {body}")
                    writer.add_document(entry)

    def delete(self, rows: Sequence[int]) -> None:
        """Remove chunk rows; gone after `commit`."""
        with self._translate_errors():
            self._open_writer().delete_documents_by_query(
                self._tantivy.Query.term_set_query(self._schema, "row", list(rows))
            )

    def commit(self) -> None:
        """Make what was added and deleted durable, and visible to this process."""
        if self._writer is not None:
            with self._translate_errors():
                self._writer.commit()
            self.reload()

    def reload(self) -> None:
        """See what another process has committed since."""
        with self._translate_errors():
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
                with suppress(RuntimeError):  # a writer that failed cannot be used any more
                    self._writer.wait_merging_threads()
                self._writer = None

    def _open_writer(self) -> Any:
        with self._guard:
            if self._writer is None:
                self._writer = self._index.writer(heap_size=_HEAP, num_threads=1)
            return self._writer

    def search(
        self, query: BM25Query, k: int, documents: Sequence[int] | None = None
    ) -> list[tuple[int, float]]:
        """Up to `k` best (row, score), best first, within `documents` where given."""
        built = self._built(query)
        if built is None or k < 1:
            return []
        if documents is not None:
            built = self._among(built, "document", documents)
        return self._run(built, k)

    def scores(self, query: BM25Query, rows: Sequence[int]) -> dict[int, float]:
        """Scores of these rows; those with nothing of the query are left out."""
        built = self._built(query)
        if built is None or not rows:
            return {}
        return dict(self._run(self._among(built, "row", rows), len(rows)))

    def languages(self) -> list[str]:
        """Languages that chunks were stemmed as, the most frequent first; "" for none."""
        searcher = self._index.searcher()
        counts = {name: searcher.doc_freq("language", name or _UNKNOWN) for name in (*STEMMED, "")}
        return sorted((name for name in counts if counts[name]), key=lambda name: -counts[name])

    def rarity(self, stem: str) -> float:
        """Inverse document frequency of a stem, as BM25 has it; 0 for one that no chunk has."""
        searcher = self._index.searcher()
        found = searcher.doc_freq("body", stem)
        return _idf(found, searcher.num_docs) if found else 0.0

    def _built(self, query: BM25Query) -> Any:
        """The query for tantivy; None where no chunk can match it."""
        build = _Builder(self._tantivy, self._schema, self._index.searcher(), query)
        languages = self.languages()
        text = "" if query.only_phrases else query.text
        for forms, count in Counter(_forms(text, languages)).items():
            build.word(forms, count)
        for phrase in query.phrases:
            build.phrase({tuple(stems(phrase, language)) for language in languages})
        if text:
            build.more()
        return build.query()

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
        with self._translate_errors():
            searcher = self._index.searcher()
            found = searcher.search(query, limit=k, count=False).hits
            rows: list[Any] = searcher.fast_field_values("row", [place for _, place in found])
        return [(row, float(score)) for row, (score, _) in zip(rows, found, strict=True)]


def _forms(text: str, languages: Sequence[str]) -> list[tuple[str, ...]]:
    """For each word its stems in these languages, each stem once."""
    stemmed = [stems(text, language) for language in languages]
    return [tuple(dict.fromkeys(forms)) for forms in zip(*stemmed, strict=True)]


def _idf(found: int, count: int) -> float:
    found = min(found, count)
    return math.log(1 + (count - found + 0.5) / (found + 0.5))


class _Builder:
    """A query for tantivy, clause by clause."""

    def __init__(self, tantivy: Any, schema: Any, searcher: Any, query: BM25Query) -> None:
        self._tantivy, self._schema, self._searcher = tantivy, schema, searcher
        self._asked = query
        self._clauses: list[Any] = []
        self._total = 0.0

    def word(self, forms: Sequence[str], count: int) -> None:
        """Look for a word in any of its forms, which is `count` times in the query.

        Its rarity is that of all forms together: one that a single chunk has, because its
        language was told wrong, would otherwise outweigh all others.
        """
        weight = count * self._rarity("body", forms) ** self._asked.rarity
        self._total += weight
        for field, share in (("body", 1.0), ("title", self._asked.title)):
            self._any_of(field, forms, weight * share)

    def _rarity(self, field: str, forms: Sequence[str]) -> float:
        found = sum(self._searcher.doc_freq(field, form) for form in forms)
        return _idf(found, self._searcher.num_docs) if found else 0.0

    def _any_of(self, field: str, forms: Sequence[str], weight: float) -> None:
        query = self._tantivy.Query
        counts = {form: self._searcher.doc_freq(field, form) for form in forms}
        together = _idf(sum(counts.values()), self._searcher.num_docs)
        terms = [
            query.boost_query(
                query.term_query(self._schema, field, form),
                weight * together / _idf(count, self._searcher.num_docs),
            )
            for form, count in counts.items()
            if count
        ]
        if terms and weight > 0:
            self._clauses.append(
                terms[0] if len(terms) == 1 else query.disjunction_max_query(terms)
            )

    def phrase(self, forms: Iterable[tuple[str, ...]]) -> None:
        """Look for words that stand behind each other, in any of the forms.

        They count once more, and are not required: in a question put in words, quotes are often
        of titles and terms that its answer does not repeat.
        """
        query = self._tantivy.Query
        found = [
            query.phrase_query(self._schema, "body", list(form))
            if len(form) > 1
            else query.term_query(self._schema, "body", form[0])
            for form in sorted(forms)
            if form
        ]
        if found:
            self._clauses.append(query.disjunction_max_query(found))

    def more(self) -> None:
        """Look for the stems that are asked for besides."""
        query, asked = self._tantivy.Query, self._asked
        whole = (self._total or 1.0) * asked.more_share / (1 - asked.more_share)
        for stem, share in asked.more:
            term = query.term_query(self._schema, "body", stem)
            self._clauses.append(query.boost_query(term, whole * share))

    def query(self) -> Any:
        """All clauses, of which one must match; None without any."""
        occur = self._tantivy.Occur.Should
        clauses = [(occur, clause) for clause in self._clauses]
        return self._tantivy.Query.boolean_query(clauses) if clauses else None
