"""Question sets with judgements of which documents answer them, as BEIR ships them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from connectors.base import part_uri
from connectors.dataset import Dataset
from rag.errors import QueryError, SourceNotFound

Judgements = Mapping[str, Mapping[str, int]]
"""Relevance (0: not) by query and document."""


@dataclass(frozen=True, slots=True)
class RetrievalSet:
    """A corpus, queries by id, and judgements of those queries.

    Judgements of queries that are not there are left out, and so are queries for which nothing
    is relevant: they say nothing of a ranking.
    """

    corpus: Dataset
    queries: Mapping[str, str]
    judgements: Judgements

    def uris(self) -> dict[str, str]:
        """Ids of the corpus's documents, by the uris they have in an index."""
        base = self.corpus.path.as_uri()
        found = {}
        with self.corpus.path.open(encoding="utf-8") as lines:
            for line in lines:
                try:
                    name = str(json.loads(line)["_id"])
                except (ValueError, KeyError, TypeError):
                    continue  # the ingest reports it
                found[part_uri(base, name)] = name
        return found


def load_retrieval_set(
    folder: Path, *, queries: Path | None = None, qrels: Path | None = None
) -> RetrievalSet:
    """Read ``corpus.jsonl``, ``queries.jsonl`` and ``qrels.tsv`` (or ``qrels/test.tsv``).

    `queries` and `qrels` are for those of other names; a path that is not there is looked for in
    the folder. `folder` may be the corpus itself. Raises `SourceNotFound`, or `QueryError` for a
    line that cannot be read.
    """
    corpus = Dataset(path=folder)
    if not corpus.path.is_file():
        raise SourceNotFound(f"no corpus at {corpus.path}: a data set has a corpus.jsonl")
    beside = corpus.path.parent
    judged = read_qrels(_found(beside, qrels, "qrels.tsv", "qrels/test.tsv"))
    asked = dict(_read_queries(_found(beside, queries, "queries.jsonl")))
    judged = {
        query: documents
        for query, documents in judged.items()
        if query in asked and any(score > 0 for score in documents.values())
    }
    if not judged:
        raise QueryError(f"none of the {len(asked):,} queries has a relevant document")
    return RetrievalSet(corpus, {query: asked[query] for query in judged}, judged)


def _found(folder: Path, named: Path | None, *usual: str) -> Path:
    places = [named, folder / named] if named else [folder / name for name in usual]
    for place in places:
        if place.is_file():
            return place
    raise SourceNotFound(f"there is no {named or usual[0]} in {folder}")


def _read_queries(path: Path) -> Iterator[tuple[str, str]]:
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                record = json.loads(line)
                yield str(record["_id"]), str(record["text"])
            except (ValueError, KeyError, TypeError):
                raise QueryError(f"{path}, line {number}: not a query with _id and text") from None


def read_qrels(path: Path) -> dict[str, dict[str, int]]:
    """Judgements of a file: query, document and score, with a header or in TREC's four columns."""
    judged: dict[str, dict[str, int]] = {}
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            parts = line.split("\t") if "\t" in line else line.split()
            parts = [part.strip() for part in parts]
            if not any(parts) or (number == 1 and not _is_number(parts[-1])):
                continue
            if len(parts) not in (3, 4) or not _is_number(parts[-1]):
                raise QueryError(f"{path}, line {number}: not a query, a document and a score")
            judged.setdefault(parts[0], {})[parts[-2]] = int(float(parts[-1]))
    return judged


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
