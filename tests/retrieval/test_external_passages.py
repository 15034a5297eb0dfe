"""Passages of other frameworks are found in the stored text at their exact offsets."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag import Pipeline
from rag.retrieval.external_passages import (
    WhitespaceNormalizedText,
    external_passages,
    find_piece,
    make_external_hit,
    part_id,
    passage_uri,
)
from rag.types import Chunk, Hit

WORDS = st.lists(st.sampled_from(["kite", "battery", "34", "a", "ab", "-"]), min_size=1, max_size=8)
SPACES = st.sampled_from([" ", "  ", "\n", "\t ", " \n\n "])


@given(WORDS, WORDS, WORDS, st.data())
def test_a_piece_is_found_whatever_the_white_space(
    before: list[str], piece: list[str], after: list[str], data: st.DataObject
) -> None:
    words = [*before, *piece, *after]
    text = "".join(word + data.draw(SPACES) for word in words)
    span = find_piece(text, " ".join(piece))
    assert span is not None
    assert text[slice(*span)].split() == piece
    start, end = span
    assert not text[start].isspace() and not text[end - 1].isspace()


@given(WORDS, st.data())
def test_the_normalized_text_finds_the_first_piece_at_or_after_an_offset(
    words: list[str], data: st.DataObject
) -> None:
    text = "".join(word + data.draw(SPACES) for word in words)
    word_starts = [match.start() for match in re.finditer(r"\S+", text)]
    number = data.draw(st.integers(0, len(words) - 1))
    span = WhitespaceNormalizedText(text).find(words[number], word_starts[number])
    assert span == (word_starts[number], word_starts[number] + len(words[number]))


def test_white_space_and_empty_texts_are_no_obstacle() -> None:
    assert WhitespaceNormalizedText(" \n one  two ").find("one two") == (3, 11)
    assert WhitespaceNormalizedText("one two").find(" ") is None
    assert WhitespaceNormalizedText("").find("one") is None


def test_the_stated_offset_is_used_if_it_is_correct() -> None:
    text = "one two one two"
    assert find_piece(text, "two") == (4, 7)
    assert find_piece(text, "two", 12) == (12, 15)
    assert find_piece(text, "two", 8) == (12, 15)  # near the stated offset
    assert find_piece(text, "two", 14) == (4, 7)  # behind the last one
    assert find_piece(text, "two", -1) == (4, 7)
    assert find_piece(text, " ", 0) is None
    assert find_piece(text, "three") is None


def test_a_passage_is_its_own_source_only_under_its_right_name() -> None:
    def hit(uri: str) -> Hit:
        chunk = Chunk(id="1", uri=uri, start=0, end=5, text="words")
        return Hit(chunk=chunk, score=1.0)

    uri = passage_uri("words")
    assert re.fullmatch(r"passage:[0-9a-f]{32}", uri)
    assert external_passages([hit(uri)]) == {uri: "words"}
    assert external_passages([hit(passage_uri("other"))]) == {}
    assert external_passages([hit("file:///a.txt")]) == {}


@pytest.mark.parametrize("changed", [("x", 0, 5), ("k", 1, 5), ("k", 0, 6)])
def test_ids_of_parts_differ_by_key_and_span(changed: tuple[str, int, int]) -> None:
    assert part_id(*changed) != part_id("k", 0, 5)


def test_text_of_an_indexed_document_is_its_chunk(pipeline: Pipeline, folder: Path) -> None:
    pipeline.ingest(folder)
    path = folder / "notes.txt"
    hit = make_external_hit(
        pipeline.open(),
        "It was found two\ndays later.",
        {"source": str(path)},
        stage="other",
        rank=2,
        score=0.5,
    )
    assert hit is not None
    text = path.read_text()
    assert hit.chunk.uri == path.as_uri()
    assert hit.chunk.text == text[hit.chunk.start : hit.chunk.end] == "It was found two days later."
    assert (hit.score, hit.stage_scores["other"].rank) == (0.5, 2)


def test_text_of_no_indexed_document_is_its_own_source(pipeline: Pipeline, folder: Path) -> None:
    pipeline.ingest(folder)
    index = pipeline.open()
    text = "The kite has four rotors."
    metadata = {"source": str(folder / "notes.txt"), "page": 3, "file_type": "text/html"}
    hit = make_external_hit(index, text, metadata, stage="other", rank=1, score=1.0)
    assert hit is not None
    assert (hit.chunk.uri, hit.chunk.text, hit.chunk.page) == (passage_uri(text), text, 3)
    assert hit.chunk.title == metadata["source"]
    for where, is_selected in (({"mime": "text/html"}, True), ({"mime": "text/plain"}, False)):
        filtered = make_external_hit(
            index, text, metadata, stage="other", rank=1, score=1.0, where=where
        )
        assert filtered == (hit if is_selected else None)
    assert make_external_hit(index, " \n", metadata, stage="other", rank=1, score=1.0) is None
