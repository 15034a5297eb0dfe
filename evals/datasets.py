"""Retrieval sets with relevance judgements, in the format of BEIR."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from connectors.base import part_uri
from connectors.dataset import Dataset
from rag.errors import QueryError, SourceNotFound

Judgements = Mapping[str, Mapping[str, int]]
"""Relevance by query and document; 0 means not relevant."""


@dataclass(frozen=True, slots=True)
class RetrievalSet:
    """A corpus, queries by id, and relevance judgements for these queries.

    Judgements of unknown queries are left out. Queries without a relevant document are left out
    too, because they cannot measure a ranking.
    """

    corpus: Dataset
    queries: Mapping[str, str]
    judgements: Judgements

    def uris(self) -> dict[str, str]:
        """Return the ids of the corpus documents by the uris that they have in an index."""
        base = self.corpus.path.as_uri()
        uris = {}
        with self.corpus.path.open("rb") as lines:
            for line in lines:
                try:
                    name = str(json.loads(line)["_id"])
                except (ValueError, KeyError, TypeError, RecursionError):
                    continue  # the ingest reports it
                uris[part_uri(base, name)] = name
        return uris


def load_retrieval_set(
    folder: Path, *, queries: Path | None = None, qrels: Path | None = None
) -> RetrievalSet:
    """Read ``corpus.jsonl``, ``queries.jsonl`` and ``qrels.tsv`` (or ``qrels/test.tsv``).

    `queries` and `qrels` are paths of files with other names; a path that does not exist is looked
    up in the folder. `folder` may be the corpus file. Raises `SourceNotFound` for a missing file,
    and `QueryError` for an invalid line or if no query has a relevant document.
    """
    corpus = Dataset(path=folder)
    if not corpus.path.is_file():
        raise SourceNotFound(
            f"no corpus at {corpus.path}: a data set has a corpus.jsonl", uri=corpus.path.as_uri()
        )
    data_folder = corpus.path.parent
    judgements = read_qrels(_find_file(data_folder, qrels, "qrels.tsv", "qrels/test.tsv"))
    query_texts = dict(_read_queries(_find_file(data_folder, queries, "queries.jsonl")))
    judgements = {
        query: documents
        for query, documents in judgements.items()
        if query in query_texts and any(score > 0 for score in documents.values())
    }
    if not judgements:
        raise QueryError(f"none of the {len(query_texts):,} queries has a relevant document")
    return RetrievalSet(corpus, {query: query_texts[query] for query in judgements}, judgements)


def _find_file(folder: Path, given_path: Path | None, *default_names: str) -> Path:
    candidates = (
        [given_path, folder / given_path]
        if given_path
        else [folder / name for name in default_names]
    )
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    raise SourceNotFound(
        f"there is no {given_path or default_names[0]} in {folder}", uri=folder.as_uri()
    )


def _read_queries(path: Path) -> Iterator[tuple[str, str]]:
    for number, line in numbered_lines(path):
        try:
            record = json.loads(line)
            name, text = str(record["_id"]), record["text"]
        except (ValueError, KeyError, TypeError, RecursionError):
            name, text = "", None
        if not isinstance(text, str) or not text.strip():
            raise QueryError(f"{path}, line {number}: not a query with _id and text")
        yield name, text


def read_qrels(path: Path) -> dict[str, dict[str, int]]:
    """Read judgements: query, document and score, or the four columns of TREC.

    A header is skipped. Scores are whole numbers. Raises `QueryError` for an invalid line.
    """
    judged: dict[str, dict[str, int]] = {}
    for number, line in numbered_lines(path):
        parts = [part.strip() for part in (line.split("\t") if "\t" in line else line.split())]
        while parts and not parts[-1]:
            parts.pop()
        score = _parse_integer(parts[-1])
        if number == 1 and score is None and len(parts) >= 3:
            continue  # the header
        if len(parts) not in (3, 4) or score is None:
            raise QueryError(f"{path}, line {number}: not a query, a document and a whole score")
        judged.setdefault(parts[0], {})[parts[-2]] = score
    return judged


def numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the lines of a file that are not blank, with their numbers. Raises `QueryError`."""
    try:
        with path.open(encoding="utf-8-sig") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield number, line
    except (OSError, UnicodeDecodeError) as error:
        raise QueryError(f"cannot read {path}: {error}") from None


def _parse_integer(text: str) -> int | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return int(value) if value.is_integer() else None
