"""Retrieval by words: BM25."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from rag.filters import Where
from rag.retrieval.base import Ranking, Retriever, to_hits
from rag.stores.tantivy import BM25Query
from rag.text.tokenization import language_of, stems
from rag.types import Hit

if TYPE_CHECKING:
    from rag.index import Index


class LexicalRetriever(Retriever):
    """Chunks that share rare words with the question; the score is BM25's (k1 1.2, b .75).

    Words are told by Unicode script and stemmed by the language of their document. A phrase ``"in
    quotes"`` counts once more than its words; where the question is nothing but phrases, only
    chunks that have one are found. ``title_weight`` is what a word counts in title and headings,
    besides; ``rarity`` lets a word count more the rarer it is: by its inverse document frequency
    to the power ``1 + rarity``.

    With ``expand``, the question is asked a second time with that many of the words by which the
    best ``expand_from`` chunks of the first time differ from all, which make up ``expand_share``
    of it: relevance model 3 (Abdul-Jaleel et al., 2004), pseudo-relevance feedback that needs no
    model. It finds more, at the price of exact answers: see ``docs/retrieval.md``.
    """

    name: ClassVar[str] = "lexical"

    title_weight: float = Field(0.25, ge=0, le=10)
    rarity: float = Field(0.35, ge=0, le=3)
    expand: int = Field(0, ge=0, le=100)
    expand_from: int = Field(10, ge=1, le=100)
    expand_share: float = Field(0.2, ge=0, lt=1)

    def retrieve(
        self, query: str, *, k: int, index: Index, where: Where | None = None
    ) -> list[Hit]:
        """See `Retriever.retrieve`."""

        def search() -> list[Hit]:
            ranking = index.search_lexical(self.words(query, index, where), k, where)
            return to_hits(index, ranking, {self.name: ranking})

        return index.read_consistent(search)

    def words(self, query: str, index: Index, where: Where | None = None) -> BM25Query:
        """What the index is asked."""
        asked = BM25Query(query, title=self.title_weight, rarity=self.rarity)
        if not self.expand:
            return asked
        found = index.search_lexical(asked, self.expand_from, where)
        more = self._telling(found, index)
        return replace(asked, more=more, more_share=self.expand_share)

    def _telling(self, ranking: Ranking, index: Index) -> tuple[tuple[str, float], ...]:
        """The words that tell these chunks from all others, with shares that sum to 1."""
        chunks = index.chunks([row for row, _ in ranking])
        weights: dict[str, float] = defaultdict(float)
        for row, score in ranking:
            if row not in chunks:
                continue
            text = chunks[row].embedded_text
            found = Counter(stems(text, language_of(text)))
            length = sum(found.values())
            for stem, count in found.items():
                weights[stem] += score * count / length
        for stem in weights:
            weights[stem] *= index.lexical.rarity(stem)
        best = sorted(weights.items(), key=lambda item: (-item[1], item[0]))[: self.expand]
        total = sum(weight for _, weight in best)
        return tuple((stem, weight / total) for stem, weight in best if weight > 0)
