"""The names of the documents in an index: what tells them apart, for ``rag stats``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from rag.cli import output

if TYPE_CHECKING:
    from rag.stores import DocumentStore

_MAX_DOCUMENTS_LISTED = 20
_MAX_TERMS_LISTED = 6  # of one document


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


def print_documents(document_store: DocumentStore) -> None:
    """Print up to 20 documents with the identity terms that few documents have."""
    documents = describe_documents(document_store)
    if documents:
        click.echo("documents, with the names and years that few of them have:")
    for document in documents[:_MAX_DOCUMENTS_LISTED]:
        terms = [term["term"] for term in document["terms"][:_MAX_TERMS_LISTED]]
        source = output.format_source(document["uri"])
        click.echo(f"  {source}: {output.shorten(' | '.join(terms), 160)}")
    if (unlisted_count := len(documents) - _MAX_DOCUMENTS_LISTED) > 0:
        click.echo(f"  ... and {unlisted_count:,} more (--json lists all)")
