"""Lexical retrieval: BM25."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from rag.filters import Where
from rag.retrieval.base import Ranking, Retriever, to_hits
from rag.stores.lexical_index import BM25Query
from rag.text.tokenization import detect_language, index_stems
from rag.types import Hit

if TYPE_CHECKING:
    from rag.index import Index


class LexicalRetriever(Retriever):
    """Returns the chunks that share rare words with the question.

    The score is BM25 (k1 1.2, b .75).

    Words are found by Unicode script and stemmed in the language of their document. A phrase ``"in
    quotes"`` counts in addition to its words; if the question has phrases only, only chunks with
    one of them are found. ``title_weight`` is the additional weight of a word in the title or
    headings. ``rarity`` raises the weight of rare words: their inverse document frequency to the
    power ``1 + rarity``. English stop words ("what", "how", "the") count ``stop_word_weight`` times
    as much: in a small index they are as rare as other words.

    Identifiers, numbers, dates and compounds are also found in other spellings
    (`rag.text.spellings`): their joined forms have ``spelling_weight``. A word that the index does
    not contain counts as the nearest words that it contains, with ``typo_weight``. Words of the
    same meaning (`rag.text.synonyms`) count with ``synonym_weight``. 0 turns each off.

    ``expand`` turns on relevance model 3, a pseudo-relevance feedback without a model (Abdul-Jaleel
    et al., 2004): a second query adds that many words in which the best ``expand_from`` chunks
    differ from the others, with ``expand_share`` of the total weight. It increases recall and
    lowers precision for exact questions; see ``docs/retrieval.md``.
    """

    name: ClassVar[str] = "lexical"

    title_weight: float = Field(0.25, ge=0, le=10)
    rarity: float = Field(0.35, ge=0, le=3)
    stop_word_weight: float = Field(0.3, ge=0, le=1)
    spelling_weight: float = Field(0.5, ge=0, le=10)
    typo_weight: float = Field(0.7, ge=0, le=10)
    synonym_weight: float = Field(0.3, ge=0, le=1)
    expand: int = Field(0, ge=0, le=100)
    expand_from: int = Field(10, ge=1, le=100)
    expand_share: float = Field(0.2, ge=0, lt=1)

    def retrieve(
        self, query: str, *, k: int, index: Index, where: Where | None = None
    ) -> list[Hit]:
        """See `Retriever.retrieve`."""

        def search() -> list[Hit]:
            ranking = index.search_lexical(self.build_query(query, index, where), k, where)
            return to_hits(index, ranking, {self.name: ranking})

        return index.read_consistent(search)

    def rank(self, query: str, *, k: int, index: Index, where: Where | None = None) -> Ranking:
        """See `Retriever.rank`."""
        return index.read_consistent(
            lambda: index.search_lexical(self.build_query(query, index, where), k, where)
        )

    def build_query(self, query: str, index: Index, where: Where | None = None) -> BM25Query:
        """Return the query for the lexical index."""
        lexical_query = BM25Query(
            query,
            title_weight=self.title_weight,
            rarity=self.rarity,
            stop_word_weight=self.stop_word_weight,
            spelling_weight=self.spelling_weight,
            typo_weight=self.typo_weight,
            synonym_weight=self.synonym_weight,
        )
        if not self.expand:
            return lexical_query
        ranking = index.search_lexical(lexical_query, self.expand_from, where)
        expansion_terms = self._expansion_terms(ranking, index)
        return replace(lexical_query, expansion=expansion_terms, expansion_share=self.expand_share)

    def _expansion_terms(self, ranking: Ranking, index: Index) -> tuple[tuple[str, float], ...]:
        """Return the stems that distinguish these chunks from others, with shares that sum to 1."""
        chunks = index.chunks([row for row, _ in ranking])
        weights: dict[str, float] = defaultdict(float)
        for row, score in ranking:
            if row not in chunks:
                continue
            text = chunks[row].embedded_text
            stem_counts = Counter(index_stems(text, detect_language(text)))
            length = sum(stem_counts.values())
            for stem, count in stem_counts.items():
                weights[stem] += score * count / length
        for stem in weights:
            weights[stem] *= index.lexical.inverse_document_frequency(stem)
        best = sorted(weights.items(), key=lambda item: (-item[1], item[0]))[: self.expand]
        total = sum(weight for _, weight in best)
        return tuple((stem, weight / total) for stem, weight in best if weight > 0)
