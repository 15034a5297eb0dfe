"""The names of the documents in an index: what tells them apart, for ``rag stats``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rag.stores import DocumentStore


def describe_documents(document_store: DocumentStore) -> list[dict[str, Any]]:
    """Return the uri, the title and the identity terms of each document, the rarest terms first."""
    from rag.ingestion.identity import rank_by_rarity

    ranked = rank_by_rarity(document_store.identities())
    return [
        {
            "uri": info.uri,
            "title": info.title,
            "terms": [{"term": term, "idf": idf} for term, idf in ranked.get(info.uri, ())],
        }
        for info in document_store.documents()
    ]
