from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from connectors.parsers.markdown import find_heading_marks
from connectors.parsers.text_builder import TextBuilder
from rag import Chunk, Document, HeadingChunker, Mark, StaticEmbedder
from rag.chunking.base import chunk_id
from rag.chunking.headings import refit
from rag.text.sentences import Span
from rag.types import Table

EMBEDDER = StaticEmbedder()


class LimitedCounter:
    """Counts like the static embedder, but has a lower token limit."""

    def __init__(self, max_tokens: int) -> None:
        self.max_tokens = max_tokens

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return EMBEDDER.count_tokens(texts)


HOSTILE = st.text(
    st.sampled_from("ab .\n\r\t!?;,()[]*-é\u0301😀👩‍👩‍👧‍👦東京ไทย\0\u2028\ufeff\U0010ffff#|"),
    max_size=2_000,
)
CHUNKERS = st.builds(
    HeadingChunker,
    size=st.integers(16, 300),
    overlap=st.integers(0, 8),
    with_context=st.booleans(),
)


@st.composite
def documents(draw: st.DrawFn) -> Document:
    text = draw(HOSTILE)
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=6)))
    headings = st.lists(st.text(max_size=20), max_size=3).map(tuple)
    marks = [
        Mark(start=a, end=b, kind="heading", value=draw(headings))
        for a, b in zip(cuts, cuts[1:], strict=False)
    ]
    return Document(uri="u", text=text, title=draw(st.text(max_size=80)), marks=tuple(marks))


def check_chunks(
    chunks: list[Chunk], document: Document, chunker: HeadingChunker, limit: int
) -> None:
    for chunk in chunks:
        assert document.text[chunk.start : chunk.end] == chunk.text
        assert chunk.text.strip()
        assert chunk.text in chunk.embedded_text
    if chunks:
        max_tokens = chunker.size * chunker.stretch
        assert max(EMBEDDER.count_tokens([c.text for c in chunks])) <= max_tokens
        assert max(EMBEDDER.count_tokens([c.embedded_text for c in chunks])) <= limit
    covered = bytearray(len(document.text))
    for chunk in chunks:
        covered[chunk.start : chunk.end] = b"\1" * (chunk.end - chunk.start)
    uncovered_text = [
        character
        for character, is_covered in zip(document.text, covered, strict=True)
        if not is_covered and character.strip()
    ]
    assert not uncovered_text
    assert len({chunk.id for chunk in chunks}) == len(chunks)
    assert [c.start for c in chunks] == sorted(c.start for c in chunks)


@given(documents(), CHUNKERS, st.integers(32, 512))
@example(
    Document(uri="u", text="\r\n" * 500 + "é\u0301" * 400), HeadingChunker(size=16, overlap=4), 32
)
@settings(max_examples=200)
def test_chunks_are_exact_complete_and_fit(
    document: Document, chunker: HeadingChunker, limit: int
) -> None:
    check_chunks(chunker.split(document, LimitedCounter(limit)), document, chunker, limit)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("a" * 5_000_000, id="one line of 5 MB"),
        pytest.param("word " * 1_000_000, id="a million words in one line"),
        pytest.param("".join("a" + "\n" * n for n in range(1, 2_500)), id="ever longer breaks"),
        pytest.param("😀" * 100_000, id="emoji"),
        pytest.param("- a\n  - b\n" * 50_000, id="a list of 100,000 items"),
        pytest.param("\0" * 10_000, id="NULs"),
    ],
)
def test_degenerate_texts_are_chunked(text: str) -> None:
    document = Document(uri="u", text=text)
    chunker = HeadingChunker()
    check_chunks(chunker.split(document, EMBEDDER), document, chunker, EMBEDDER.max_tokens)


@pytest.mark.parametrize("text", ["", " ", "\n\r\n\t", "\u2028"])
def test_blank_documents_have_no_chunks(text: str) -> None:
    assert HeadingChunker().split(Document(uri="u", text=text), EMBEDDER) == []


def write_prose(word_count: int) -> str:
    return " ".join(f"word{i}" for i in range(word_count)) + "."


def parse_markdown(text: str, title: str = "") -> Document:
    return Document(uri="u", text=text, title=title, marks=find_heading_marks(text))


def test_large_sections_are_not_joined() -> None:
    document = parse_markdown(f"# A\n\n{write_prose(60)}\n\n# B\n\n{write_prose(60)}\n")
    chunks = HeadingChunker(size=300).split(document, EMBEDDER)
    assert [chunk.headings for chunk in chunks] == [("A",), ("B",)]


def test_small_sections_stay_apart() -> None:
    document = parse_markdown("# A\n\n## B\n\nOne.\n\n## C\n\nTwo.\n")
    first, second = HeadingChunker().split(document, EMBEDDER)
    assert (first.headings, first.text) == (("A", "B"), "# A\n\n## B\n\nOne.")
    assert (second.headings, second.text) == (("A", "C"), "## C\n\nTwo.")


def test_bare_heading_above_another_of_its_level_is_no_part_of_it() -> None:
    document = parse_markdown("# Empty\n\n# B\n\nOne.\n")
    assert [chunk.headings for chunk in HeadingChunker().split(document, EMBEDDER)] == [
        ("Empty",),
        ("B",),
    ]


def test_removed_setting_is_accepted_with_a_warning() -> None:
    with pytest.warns(DeprecationWarning, match="smallest"):
        assert HeadingChunker.model_validate({"size": 99, "smallest": 5}) == HeadingChunker(size=99)


def build_table_document(row_count: int, caption: str = "") -> Document:
    builder = TextBuilder()
    builder.write_paragraph(f"Before the table. {write_prose(30)}")
    builder.write("\n")
    start = builder.offset
    builder.write("| Host | City |\n| --- | --- |\n")
    header = builder.offset - start
    for number in range(1, row_count + 1):
        row_start = builder.offset
        builder.write(f"| server {number} | city {number} of the world |")
        builder.mark("row", number, row_start)
        builder.write("\n")
    builder.mark("table", Table(name=caption, columns=("Host", "City"), header=header), start)
    builder.write_paragraph(f"After the table. {write_prose(30)}")
    return Document(uri="u", text=builder.text, title="Inventory", marks=tuple(builder.marks))


@given(st.integers(1, 60), CHUNKERS.filter(lambda chunker: chunker.size >= 64))
@settings(max_examples=60)
def test_chunks_of_a_table_have_whole_rows_under_their_columns(
    row_count: int, chunker: HeadingChunker
) -> None:
    document = build_table_document(row_count, "Servers")
    chunks = chunker.split(document, EMBEDDER)
    check_chunks(chunks, document, chunker, EMBEDDER.max_tokens)
    (table,) = (mark for mark in document.marks if mark.kind == "table")
    for chunk in chunks:
        for row in document.marks:
            if row.kind == "row":
                assert (
                    row.end <= chunk.start
                    or chunk.end <= row.start
                    or (chunk.start <= row.start and row.end <= chunk.end)
                )
        if chunker.with_context and table.start <= chunk.start < table.end:
            assert chunk.heading_context == "Inventory > Servers: Host | City"
        elif chunker.with_context:
            assert chunk.heading_context == "Inventory"


def test_each_section_has_the_columns_of_its_own_table() -> None:
    builder = TextBuilder()
    for heading, column in (("A", "Host"), ("B", "City")):
        start = builder.offset
        builder.write(f"| {column} |\n| --- |\n")
        header = builder.offset - start
        row_start = builder.offset
        builder.write("| x |")
        builder.mark("row", 1, row_start)
        builder.write("\n")
        builder.mark("table", Table(columns=(column,), header=header), start)
        builder.mark("heading", (heading,), start)
    document = Document(uri="u", text=builder.text, marks=tuple(builder.marks))
    chunks = HeadingChunker().split(document, EMBEDDER)
    assert [chunk.heading_context for chunk in chunks] == ["A: Host", "B: City"]


def test_table_without_rows_is_chunked() -> None:
    text = "| Host | City |\n| --- | --- |\n"
    table = Mark(start=0, end=len(text), kind="table", value=Table(header=len(text)))
    document = Document(uri="u", text=text, marks=(table,))
    (chunk,) = HeadingChunker(stretch=1).split(document, EMBEDDER)
    assert chunk.text == text.strip()


def test_pieces_of_a_long_row_have_its_label() -> None:
    builder = TextBuilder()
    for number in range(3):
        start = builder.offset
        builder.write(f"plant: P{number}; " + "; ".join(f"field {i}: {i * 7}" for i in range(80)))
        builder.mark("row", number + 1, start)
        builder.write("\n\n")
    document = Document(uri="u", text=builder.text, title="Plants", marks=tuple(builder.marks))
    chunks = HeadingChunker(size=64, overlap=0).split(document, EMBEDDER)
    rows = [mark for mark in document.marks if mark.kind == "row"]
    pieces = [c for c in chunks if not any(c.start == row.start for row in rows)]
    assert len(pieces) > 6
    for piece in pieces:
        (row,) = (row for row in rows if row.start <= piece.start < row.end)
        assert piece.heading_context == f"Plants > plant: P{row.value - 1}"


def test_first_row_stays_below_its_header() -> None:
    chunks = HeadingChunker(size=40, overlap=0, stretch=1).split(build_table_document(9), EMBEDDER)
    (first,) = (chunk for chunk in chunks if "| --- |" in chunk.text)
    assert "server 1 " in first.text


@pytest.mark.parametrize(
    "block",
    [
        "```python\n" + "value = compute(1)\n\n\n" * 5 + "```",
        "".join(f"- item {i} of the list\n" for i in range(9)).strip(),
        "1. First step\n   goes on here\n\n2. Second step\n\n   with a note\n3. Third step",
    ],
    ids=["code", "list", "steps"],
)
def test_block_that_fits_is_not_cut(block: str) -> None:
    for word_count in range(20, 60, 3):
        text = f"{write_prose(word_count)}\n\n{block}\n\n{write_prose(90)}"
        chunks = HeadingChunker(size=100, overlap=0, stretch=1).split(
            Document(uri="u", text=text), EMBEDDER
        )
        assert any(block in chunk.text for chunk in chunks)


def test_long_list_is_cut_between_its_items() -> None:
    text = "".join(f"- item {i} of the long list of things to do\n" for i in range(60))
    for chunk in HeadingChunker(size=64).split(Document(uri="u", text=text), EMBEDDER):
        assert chunk.text.startswith("- item") and chunk.text.endswith("to do")


def test_pieces_of_a_long_code_block_do_not_overlap() -> None:
    text = "```\n" + "".join(f"value_{i} = compute({i})\n" for i in range(60)) + "```"
    chunks = HeadingChunker(size=64, overlap=16).split(Document(uri="u", text=text), EMBEDDER)
    assert len(chunks) > 2
    assert all(previous.end <= chunk.start for previous, chunk in pairwise(chunks))


def test_single_item_is_running_text() -> None:
    """A list has two items; its pieces do not overlap, but those of running text do."""
    chunks = HeadingChunker(size=64, overlap=16).split(
        Document(uri="u", text=f"1. {write_prose(200)}"), EMBEDDER
    )
    assert any(chunk.start < previous.end for previous, chunk in pairwise(chunks))


def test_title_and_headings_precede_only_the_embedded_text() -> None:
    document = parse_markdown(f"# A\n\n{write_prose(60)}", title="Book")
    chunk_with_context, chunk_without = (
        HeadingChunker(with_context=with_context).split(document, EMBEDDER)[0]
        for with_context in (True, False)
    )
    assert chunk_with_context.embedded_text == f"Book > A\n\n{chunk_with_context.text}"
    assert chunk_without.embedded_text == chunk_without.text == chunk_with_context.text
    assert chunk_without.headings == ("A",)
    assert chunk_without.title == "Book"


def test_text_makes_room_for_the_heading_context() -> None:
    document = parse_markdown(f"# A\n\n{write_prose(100)}", title="Book")
    chunks = HeadingChunker(overlap=0).split(document, LimitedCounter(64))
    assert len(chunks) > 3
    assert {chunk.heading_context for chunk in chunks} == {"Book > A"}


def test_heading_context_takes_at_most_half_of_the_tokens() -> None:
    title = write_prose(20)
    (chunk,) = HeadingChunker().split(parse_markdown("One.", title=title), LimitedCounter(64))
    assert chunk.heading_context
    assert title.startswith(chunk.heading_context)
    assert EMBEDDER.count_tokens([chunk.heading_context])[0] <= 32


def test_page_of_a_chunk_is_the_page_of_its_first_character() -> None:
    text = write_prose(100) + "\n\n" + write_prose(100)
    middle = text.index("\n\n")
    marks = (
        Mark(start=0, end=middle, kind="page", value=1),
        Mark(start=middle + 2, end=len(text), kind="page", value=2),
    )
    chunks = HeadingChunker(size=64, overlap=0).split(
        Document(uri="u", text=text, marks=marks), EMBEDDER
    )
    assert [c.page for c in chunks] == [1 if c.start < middle else 2 for c in chunks]
    assert {1, 2} <= {chunk.page for chunk in chunks}


def test_chunks_overlap_from_the_start_of_a_word() -> None:
    chunks = HeadingChunker(size=64, overlap=16).split(
        Document(uri="u", text=write_prose(400)), EMBEDDER
    )
    for previous, chunk in pairwise(chunks):
        assert chunk.start < previous.end
        assert chunk.text.startswith("word")


def test_two_chunks_overlap() -> None:
    """A section of exactly two chunks, the fewest that can overlap."""
    text = write_prose(25)
    chunks = HeadingChunker(size=64, overlap=16, stretch=1).split(
        Document(uri="u", text=text), EMBEDDER
    )
    first_chunk, second_chunk = chunks
    assert first_chunk.start < second_chunk.start < first_chunk.end < second_chunk.end
    assert second_chunk.text.startswith("word")
    overlap = text[second_chunk.start : first_chunk.end]
    assert 8 <= EMBEDDER.count_tokens([overlap])[0] <= 16


def test_chunks_without_overlap_do_not_share_text() -> None:
    text = write_prose(400)
    chunks = HeadingChunker(size=64, overlap=0).split(Document(uri="u", text=text), EMBEDDER)
    assert all(previous.end <= chunk.start for previous, chunk in pairwise(chunks))


def test_two_versions_of_a_document_share_no_chunk_ids() -> None:
    old = Document(uri="u", text="The same first paragraph.\n\nOld end.")
    new = old.model_copy(update={"text": "The same first paragraph.\n\nNew end."})
    chunker = HeadingChunker()
    ids = [{c.id for c in chunker.split(d, EMBEDDER)} for d in (old, new, old)]
    assert ids[0] == ids[2]
    assert not ids[0] & ids[1]


def test_chunk_ids_are_stable_across_versions_of_the_code() -> None:
    # If this fails, the chunks of every existing index have other ids than those of a new one.
    assert chunk_id("digest", "fingerprint", 0, 12) == "dc28ed75bc4e1db4cace7de7c0d53a0b"


def test_overlap_over_half_of_the_size_is_refused() -> None:
    with pytest.raises(ValidationError, match="more than half"):
        HeadingChunker(size=64, overlap=33)


@pytest.mark.parametrize(
    ("token_count", "is_whole"), [(27, True), (28, True), (29, False), (60, False)]
)
def test_a_section_up_to_the_stretch_limit_stays_one_chunk(
    token_count: int, is_whole: bool
) -> None:
    document = Document(uri="u", text=" ".join(["the"] * token_count))
    assert EMBEDDER.count_tokens([document.text]) == [token_count]
    chunks = HeadingChunker(size=16, overlap=0).split(document, EMBEDDER)
    assert (len(chunks) == 1) == is_whole
    if not is_whole:
        assert max(EMBEDDER.count_tokens([chunk.text for chunk in chunks])) <= 16


def test_parts_of_a_span_of_uneven_density_fit() -> None:
    text = "the " * 300 + "😀 " * 300
    (length,) = EMBEDDER.count_tokens([text])
    parts = refit(text, Span(0, len(text)), length, 32, EMBEDDER)
    assert [token_count for _, token_count in parts] == EMBEDDER.count_tokens(
        [text[span.start : span.end] for span, _ in parts]
    )
    assert max(token_count for _, token_count in parts) <= 32
