"""The contract of chunkers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rag.chunking.base import Chunker, TokenCounter
from rag.component import Component
from rag.testing.base import PartContract
from rag.testing.calls import call_from_threads, call_in_other_process
from rag.testing.samples import (
    BLANK_TEXTS,
    WordPieceCounter,
    make_hostile_documents,
    make_sample_documents,
)
from rag.types import Chunk, Document, LocationIndex

MAX_TOKENS = (64, 512)  # limits of the embedders that the chunks must fit


class ChunkerContract(PartContract[Chunker]):
    """Checks of `rag.Chunker`: exact offsets, complete coverage, token limit, ids.

    Override `sample_documents` to add documents with marks that the chunker uses, and
    `make_token_counter` for a chunker that works with one tokenizer only.
    """

    part_class: ClassVar[type[Component]] = Chunker

    def sample_documents(self) -> list[Document]:
        """Return the documents to split; by default, hostile texts of many kinds."""
        return [*make_sample_documents(), *make_hostile_documents()]

    def make_token_counter(self, max_tokens: int) -> TokenCounter:
        """Return a token counter with a limit; by default, a fake one."""
        return WordPieceCounter(max_tokens)

    def _split_all(self) -> list[tuple[Document, list[Chunk]]]:
        chunker, tokens = self.make_part(), self.make_token_counter(MAX_TOKENS[0])
        return [(document, chunker.split(document, tokens)) for document in self.sample_documents()]

    def test_offsets_are_exact(self) -> None:
        """The text of a chunk is the span of the document, and is not blank."""
        for document, chunks in self._split_all():
            for chunk in chunks:
                span = f"{document.uri}[{chunk.start}:{chunk.end}]"
                assert document.text[chunk.start : chunk.end] == chunk.text, f"{span} is inexact"
                assert chunk.text.strip(), f"{span} is blank"
                assert chunk.uri == document.uri, f"{span} has the uri {chunk.uri!r}"

    def test_every_character_is_in_a_chunk(self) -> None:
        """No character is lost, except white space."""
        for document, chunks in self._split_all():
            is_covered = bytearray(len(document.text))
            for chunk in chunks:
                is_covered[chunk.start : chunk.end] = b"\1" * (chunk.end - chunk.start)
            for offset, character in enumerate(document.text):
                assert is_covered[offset] or character.isspace(), (
                    f"{document.uri}: the character {character!r} at {offset} is in no chunk"
                )

    def test_chunks_are_in_the_order_of_the_text(self) -> None:
        """Chunks are sorted by their start."""
        for document, chunks in self._split_all():
            starts = [chunk.start for chunk in chunks]
            assert starts == sorted(starts), f"{document.uri}: the order is {starts}"

    def test_blank_document_has_no_chunks(self) -> None:
        """A document that is empty or has only white space gives no chunk."""
        chunker, tokens = self.make_part(), self.make_token_counter(MAX_TOKENS[0])
        for text in BLANK_TEXTS:
            document = Document(uri="sample:blank", text=text, title="A title")
            assert chunker.split(document, tokens) == [], f"chunks of the blank text {text[:9]!r}"

    def test_chunks_fit_the_embedder(self) -> None:
        """The embedded text of no chunk, with its headings, is longer than the embedder reads."""
        chunker = self.make_part()
        for max_tokens in MAX_TOKENS:
            tokens = self.make_token_counter(max_tokens)
            for document in self.sample_documents():
                chunks = chunker.split(document, tokens)
                counts = tokens.count_tokens([chunk.embedded_text for chunk in chunks])
                assert max(counts, default=0) <= tokens.max_tokens, (
                    f"{document.uri}: a chunk has {max(counts)} tokens, over {tokens.max_tokens}"
                )

    def test_ids_are_unique(self) -> None:
        """No two chunks have one id: neither in a document, nor in two versions or copies of it."""
        chunker, tokens = self.make_part(), self.make_token_counter(MAX_TOKENS[0])
        seen_ids: dict[str, str] = {}
        for document in self.sample_documents():
            copies = [
                document,
                document.model_copy(update={"uri": f"{document.uri}/copy"}),
                document.model_copy(update={"metadata": {"version": 2}}),
                document.model_copy(update={"text": f"{document.text} More."}),
            ]
            for number, copied in enumerate(copies):
                for chunk in chunker.split(copied, tokens):
                    owner = f"{copied.uri} (version {number}) at {chunk.start}"
                    assert chunk.id not in seen_ids, f"one id: {owner}, {seen_ids[chunk.id]}"
                    seen_ids[chunk.id] = owner

    def test_location_is_that_of_the_first_character(self) -> None:
        """A chunk of a document with pages has the page on which it begins."""
        for document, chunks in self._split_all():
            locations = LocationIndex(mark for mark in document.marks if mark.kind == "page")
            for chunk in chunks:
                location = locations.locate(chunk.start)
                assert {**chunk.location, **location} == chunk.location, (
                    f"{document.uri}: the chunk at {chunk.start} is on {location}, "
                    f"not on {chunk.location}"
                )

    def test_chunks_are_the_same_in_every_run(self) -> None:
        """Two calls, two equal chunkers and two threads give equal chunks."""
        chunker, tokens = self.make_part(), self.make_token_counter(MAX_TOKENS[0])
        documents = self.sample_documents()
        expected = _split(chunker, documents, tokens)
        assert _split(chunker, documents, tokens) == expected, "the second call gives other chunks"
        assert _split(self.make_part(), documents, tokens) == expected, "equal chunkers differ"
        for chunks in call_from_threads(lambda: _split(chunker, documents, tokens)):
            assert chunks == expected, "two threads at once give other chunks"

    def test_chunks_are_the_same_in_another_process(self) -> None:
        """Another process makes the same chunks with the same ids."""
        chunker, documents = self.make_part(), make_sample_documents()
        tokens = WordPieceCounter(MAX_TOKENS[0])
        expected = _split(chunker, documents, tokens)
        assert call_in_other_process(_split, chunker, documents, tokens) == expected, (
            "another process gives other chunks"
        )


def _split(
    chunker: Chunker, documents: Sequence[Document], tokens: TokenCounter
) -> list[list[Chunk]]:
    return [chunker.split(document, tokens) for document in documents]
