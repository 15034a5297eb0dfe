"""Read-back of quotes: every citation is compared with its source."""

from __future__ import annotations

import time
from collections.abc import Mapping

from rag import tracing
from rag.errors import DocumentNotFound
from rag.stores.document_store import DocumentStore
from rag.types import Answer, Citation, VerifyStep


class CitationVerifier:
    """Compares quotes with the documents of a store, character by character."""

    def __init__(self, document_store: DocumentStore) -> None:
        self._document_store = document_store

    def verify_citation(
        self, citation: Citation, passages: Mapping[str, str] | None = None
    ) -> Citation:
        """Return the citation with ``verified`` and its source location.

        Its source is one of the external `passages` (texts by uri), or a stored document. A
        citation of a document that is no longer stored is not verified.
        """
        if passages is not None and (passage := passages.get(citation.uri)) is not None:
            is_equal = passage[citation.start : citation.end] == citation.quote
            return citation.model_copy(update={"verified": is_equal})
        store = self._document_store
        try:
            stored_text = store.text(citation.uri, citation.start, citation.end)
            location = store.location(citation.uri, citation.start)
        except DocumentNotFound:
            return citation.model_copy(update={"verified": False})
        is_equal = stored_text == citation.quote
        if "column" in citation.location and "table" in location:  # the store knows no columns
            location = {**location, "column": citation.location["column"]}
        return citation.model_copy(update={"verified": is_equal, "location": location})

    def verify_answer(self, answer: Answer, passages: Mapping[str, str] | None = None) -> Answer:
        """Return the answer with all citations verified; its trace ends with a `VerifyStep`."""
        start_time = time.perf_counter()
        with tracing.span("verify quotes") as span:
            citations = tuple(self.verify_citation(c, passages) for c in answer.citations)
            span.set("citewell.citations", len(citations))
        step = VerifyStep(
            name="verify",
            seconds=time.perf_counter() - start_time,
            citations=len(citations),
            verified=sum(c.verified for c in citations),
        )
        return answer.model_copy(update={"citations": citations, "trace": (*answer.trace, step)})
