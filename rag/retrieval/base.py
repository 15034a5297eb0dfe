"""The contract of retrievers."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from rag.component import Component
from rag.filters import Where
from rag.text.tokenization import detect_language, words
from rag.types import FavouredDocument, Hit, StageScore

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from rag.index import Index


_MIN_WORDS_OF_A_LANGUAGE = 5  # a name in a shorter question is not recognized as one

Ranking = Sequence[tuple[int, float]]
"""Chunk rows with a score, best first."""


class Retriever(Component):
    """Finds the chunks that may answer a question."""

    kind: ClassVar[str] = "retriever"

    @property
    def is_external(self) -> bool:
        """Whether it searches outside the index, which then may be empty.

        Its hits are chunks of the index if a document there holds the same words. Otherwise they
        are passages of their own: see `rag.retrieval.external_passages`.
        """
        return False

    @abstractmethod
    def retrieve(
        self, query: str, *, k: int, index: Index, where: Where | None = None
    ) -> list[Hit]:
        """Return up to `k` hits, best first, within the documents that `where` selects.

        A query without any word has no hits.
        """

    def find_favoured(self, query: str, index: Index) -> tuple[FavouredDocument, ...]:
        """Return the documents that the retriever favours because the question names them."""
        return ()

    def find_notes(self, query: str, index: Index) -> tuple[str, ...]:
        """Return what a reader of the hits should know about the search, as sentences."""
        return ()

    def rank(
        self, query: str, *, k: int, index: Index, where: Where | None = None
    ) -> Ranking | None:
        """Return what `retrieve` does as rows and scores, without reading the chunks.

        None, the default, says that this retriever needs the chunks.
        """
        return None


def describe_language_gap(query: str, index: Index) -> tuple[str, ...]:
    """Return a note if the embedder cannot compare the query with documents, by language."""
    if index.embedder.is_multilingual:
        return ()
    query_words = words(query)
    if len(query_words) < _MIN_WORDS_OF_A_LANGUAGE and not _is_mostly_foreign(query):
        return ()
    language = detect_language(query)
    languages = index.cache_result(
        "languages", lambda: index.read_consistent(lambda: index.lexical.languages())
    )
    if not languages or language in languages:
        return ()
    known = ", ".join(languages[:3] if languages != [""] else ["another language"])
    return (
        f"the question is in another language ({language or 'not recognized'}) than the documents"
        f" ({known}), and the embedder {index.embedder.name!r} cannot compare texts of different"
        " languages: only words that are the same in both are found",
    )


def _is_mostly_foreign(text: str) -> bool:
    """Whether most letters are of another script than the Latin one."""
    letters = [character for character in text if character.isalpha()]
    foreign = sum(character > "\u024f" for character in letters)
    return foreign > 0.6 * len(letters)


def embed_query(index: Index, query: str) -> NDArray[np.float32]:
    """Embed the question: float32 ``[dimension]``."""
    return index.embed_query(query)


def to_hits(index: Index, ranking: Ranking, stage_rankings: Mapping[str, Ranking]) -> list[Hit]:
    """Turn a ranking into hits. `stage_rankings` holds the ranking of each retriever, by name."""
    chunks = index.chunks([row for row, _ in ranking])
    scores_by_stage = {
        name: {
            row: StageScore(rank=i, score=score)
            for i, (row, score) in enumerate(ranked, start=1)
            if row in chunks
        }
        for name, ranked in stage_rankings.items()
    }
    return [
        Hit(
            chunk=chunks[row],
            score=score,
            stage_scores={
                name: stage_scores[row]
                for name, stage_scores in scores_by_stage.items()
                if row in stage_scores
            },
        )
        for row, score in ranking
        if row in chunks
    ]
