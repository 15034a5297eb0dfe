"""Quotes are compared with their sources, character by character."""

from pathlib import Path

import pytest

from rag import Pipeline
from rag.generation.citation_verifier import CitationVerifier
from rag.types import Citation

PASSAGE = "The kite has four rotors."


def cite(uri: str, start: int, quote: str) -> Citation:
    return Citation(marker=1, uri=uri, start=start, end=start + len(quote), quote=quote)


@pytest.mark.parametrize("passages", [None, {}, {"passage:1": PASSAGE}])
def test_quote_of_a_stored_document_is_compared_with_it(
    pipeline: Pipeline, folder: Path, passages: dict[str, str] | None
) -> None:
    pipeline.ingest(folder)
    verifier = CitationVerifier(pipeline.open().document_store)
    uri = (folder / "notes.txt").as_uri()
    for quote, is_verified in (("Flight of 3 May", True), ("Flight of 4 May", False)):
        assert verifier.verify_citation(cite(uri, 0, quote), passages).verified == is_verified
    missing = cite("file:///nowhere.txt", 0, "Flight")
    assert not verifier.verify_citation(missing, passages).verified


def test_quote_of_an_external_passage_is_compared_with_its_text(
    pipeline: Pipeline, folder: Path
) -> None:
    pipeline.ingest(folder)
    verifier = CitationVerifier(pipeline.open().document_store)
    for quote, is_verified in (("four rotors", True), ("five rotors", False)):
        citation = cite("passage:1", 13, quote)
        assert verifier.verify_citation(citation, {"passage:1": PASSAGE}).verified == is_verified
