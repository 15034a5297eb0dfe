from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.parsers.markdown import find_heading_marks
from connectors.parsers.text_builder import TextBuilder
from rag.chunking import Chunker, HeadingChunker, TokenCounter, split_document
from rag.embedding import StaticEmbedder
from rag.generation.answer_scorer import rank_candidates
from rag.generation.context_packing import build_prompt_passages, pack
from rag.generation.marker_repair import find_supporting_quotes
from rag.generation.passages import Passage
from rag.query import Query
from rag.types import Chunk, Document, Hit, Mark, Table
from rag.verification import LexicalVerifier

EMBEDDER = StaticEmbedder()
CARDS = """# Cards

## Silver card

The yearly fee is 30 euros.

## Gold card

The yearly fee is 90 euros.
"""


class WholeDocumentChunker(Chunker):
    """A chunker of someone else: it knows no headings."""

    def split(self, document: Document, tokens: TokenCounter) -> list[Chunk]:
        end = len(document.text)
        return [Chunk(id="c", uri=document.uri, start=0, end=end, text=document.text)]


def count_words(text: str) -> int:
    return len(text.split())


def pack_document(document: Document, chunker: Chunker) -> tuple[Passage, ...]:
    chunks = split_document(chunker, document, EMBEDDER)
    return pack([Hit(chunk=c, score=1.0) for c in chunks], 100_000, count_words).passages


def build_price_table() -> Document:
    builder = TextBuilder()
    builder.write("Prices per piece:\n\n")
    start = builder.offset
    builder.write("| Model | Price | Weight |\n|---|---|---|\n")
    header = builder.offset - start
    for number, row in enumerate(("| P-7 | 310 | 2 kg |", "| P-9 | 84 | 5 kg |"), start=1):
        row_start = builder.offset
        builder.write(row)
        builder.mark("row", number, row_start)
        builder.write("\n")
    columns = ("Model", "Price", "Weight")
    builder.mark("table", Table(name="Prices", columns=columns, header=header), start)
    builder.write("\nAll prices are in euros.\n")
    return Document(uri="u", text=builder.text, title="Catalogue", marks=tuple(builder.marks))


@pytest.mark.parametrize("chunker", [WholeDocumentChunker(), HeadingChunker()])
def test_no_quote_crosses_a_heading(chunker: Chunker) -> None:
    document = Document(uri="u", text=CARDS, marks=find_heading_marks(CARDS))
    for passage in pack_document(document, chunker):
        for run in passage.runs():
            text = passage.text[run[0].start : run[-1].end]
            assert "#" not in text or "\n" not in text


@pytest.mark.parametrize("chunker", [WholeDocumentChunker(), HeadingChunker()])
def test_sentence_is_labelled_with_the_heading_that_it_stands_under(chunker: Chunker) -> None:
    document = Document(uri="u", text=CARDS, marks=find_heading_marks(CARDS))
    labels = {
        passage.text[span.start : span.end]: passage.label_at(span.start)
        for passage in pack_document(document, chunker)
        for span in passage.sentence_spans()
    }
    assert labels["The yearly fee is 30 euros."] == "Cards > Silver card"
    assert labels["The yearly fee is 90 euros."] == "Cards > Gold card"


@pytest.mark.parametrize("chunker", [WholeDocumentChunker(), HeadingChunker()])
@pytest.mark.parametrize(
    ("claim", "quote"),
    [
        ("The yearly fee of the Silver card is 30 euros.", "The yearly fee is 30 euros."),
        ("The yearly fee of the Gold card is 90 euros.", "The yearly fee is 90 euros."),
    ],
)
def test_claim_that_needs_the_heading_is_supported(
    chunker: Chunker, claim: str, quote: str
) -> None:
    document = Document(uri="u", text=CARDS, marks=find_heading_marks(CARDS))
    verifier = LexicalVerifier()
    quotes, support = find_supporting_quotes(
        claim, [], pack_document(document, chunker), verifier, ""
    )
    assert [q.text for q in quotes] == [quote]
    assert support >= verifier.threshold


def test_row_is_described_with_the_names_of_its_columns() -> None:
    (passage,) = pack_document(build_price_table(), HeadingChunker())
    rows = [span for span in passage.sentence_spans() if passage.table_at(span.start)]
    assert [passage.describe(span) for span in rows] == [
        "Model: P-7; Price: 310; Weight: 2 kg",
        "Model: P-9; Price: 84; Weight: 5 kg",
    ]
    assert passage.premise(rows[1]) == ("Catalogue > Prices: Model: P-9; Price: 84; Weight: 5 kg")


def test_header_of_a_table_is_not_quoted() -> None:
    document = build_price_table()
    passages = pack_document(document, HeadingChunker())
    candidates = rank_candidates(Query("What is the price of the P-9 model?"), passages, EMBEDDER)
    texts = [candidate.text for candidate in candidates]
    assert texts[0] == "| P-9 | 84 | 5 kg |"
    assert not any("Model" in text or "---" in text for text in texts)


def test_citation_of_a_row_names_its_columns() -> None:
    passages = pack_document(build_price_table(), HeadingChunker())
    (quote, *_), _ = find_supporting_quotes(
        "The price of the P-9 is 84.", [], passages, LexicalVerifier(), ""
    )
    citation = quote.citation(1, "marker")
    assert citation.quote == "| P-9 | 84 | 5 kg |"
    assert citation.heading_context == "Catalogue > Prices: Model: P-9; Price: 84; Weight: 5 kg"


def test_citation_of_a_cell_has_its_column() -> None:
    document = build_price_table()
    (passage,) = pack_document(document, HeadingChunker())
    start = passage.text.index("84")
    from rag.generation.quotes import Quote
    from rag.text.sentences import Span

    citation = Quote(passage, Span(start, start + 2), 1.0).citation(1, "marker")
    assert (citation.quote, citation.location["column"]) == ("84", "Price")


def test_model_reads_a_continued_table_below_its_columns() -> None:
    document = build_price_table()
    start = document.text.index("| P-9")
    chunk = Chunk(
        id="c",
        uri="u",
        start=start,
        end=start + 19,
        text=document.text[start : start + 19],
        marks=tuple(mark for mark in document.marks if mark.kind == "table"),
    )
    packed = pack([Hit(chunk=chunk, score=1.0)], 1_000, count_words)
    (prompt_passage,) = build_prompt_passages(packed.passages)
    assert prompt_passage["text"] == (
        "| Model | Price | Weight |\n| --- | --- | --- |\n| P-9 | 84 | 5 kg |"
    )
    assert packed.passages[0].text == chunk.text


def test_line_of_a_record_is_labelled_with_the_name_of_the_record() -> None:
    builder = TextBuilder()
    for number in range(1, 4):
        start = builder.offset
        builder.write(f"name: PR-0{number}\nroom: C{number}0\ntoner: TN-4{number}")
        builder.mark("row", number, start)
        builder.write("\n\n")
    document = Document(uri="u", text=builder.text, title="Devices", marks=tuple(builder.marks))
    passages = pack_document(document, HeadingChunker())
    quotes, support = find_supporting_quotes(
        "PR-03 is located in room C30.", [], passages, LexicalVerifier(), ""
    )
    assert "room: C30" in quotes[0].text
    assert support >= LexicalVerifier().threshold
    (passage,) = passages
    offset = passage.text.index("room: C20")
    assert passage.label_at(offset) == "Devices > name: PR-02"


@given(
    st.lists(st.sampled_from(["# A", "## B", "One two three.", "| a | b |", ""]), max_size=12),
    st.integers(0, 80),
)
def test_runs_are_spans_of_the_text_in_one_section(lines: Sequence[str], cut: int) -> None:
    text = "\n".join(lines)
    marks = find_heading_marks(text)
    passage = Passage(1, "u", 0, len(text), text, "T", (), {}, 1.0, (min(cut, len(text)),), marks)
    for run in passage.runs():
        start, end = run[0].start, run[-1].end
        assert 0 <= start < end <= len(text)
        assert text[start:end] == text[start:end].strip()
        assert passage.headings_at(start) == passage.headings_at(end - 1)
        assert not start < min(cut, len(text)) < end


@given(st.lists(st.text("ab |\\\n", max_size=6), min_size=1, max_size=5))
def test_cells_of_a_written_row_are_found_again(values: Sequence[str]) -> None:
    cells = [" ".join(value.split()) for value in values]
    row = "| " + " | ".join(c.replace("\\", "\\\\").replace("|", "\\|") for c in cells) + " |"
    names = tuple(f"column {i}" for i in range(len(cells)))
    table = Table(columns=names)
    expected = "; ".join(f"{n}: {c}" for n, c in zip(names, cells, strict=True) if c)
    assert table.describe_row(row) == expected


def test_table_mark_survives_json() -> None:
    mark = Mark(start=0, end=9, kind="table", value=Table(name="T", columns=("a", ""), header=3))
    assert Mark.model_validate_json(mark.model_dump_json()) == mark


@pytest.mark.parametrize(
    ("table", "row", "label"),
    [
        (Table(columns=("Country", "Rate")), "| Japan | 60 |", "Japan"),
        (Table(columns=("", "Rate")), "|  | 60 |", "60"),
        (Table(columns=("Part", "Note")), "| a: b; c \\| d | x |", "a: b; c | d"),
        (Table(columns=("Part", "Note"), layout="pairs"), "Part: a: b; c; Note: x", "a: b; c"),
        (Table(columns=("Part", "Note"), layout="pairs"), "Note: x", "x"),
        (Table(columns=("Part",)), "", ""),
    ],
)
def test_first_value_names_a_row(table: Table, row: str, label: str) -> None:
    assert table.find_row_label(row) == label


def test_table_in_a_later_passage_ends_at_its_mark() -> None:
    table, prose = "| A |\n| --- |\n| 1 |\n| 2 |\n", "All in euros. Taxes are included.\n"
    start = 999
    passage = Passage(
        number=1,
        uri="u",
        start=start,
        end=start + len(table + prose),
        text=table + prose,
        title="",
        headings=(),
        location={},
        score=1.0,
        marks=(Mark(start=start, end=start + len(table), kind="table", value=Table(header=14)),),
    )
    assert [passage.text[a:b] for a, b in passage.sentence_spans()] == [
        "| 1 |",
        "| 2 |",
        "All in euros.",
        "Taxes are included.",
    ]


RECORD = """\
Model: PulseOne B
Weight: 310 g
Battery: 1,800 mAh
Protection class: IP54
Warranty: 24 months
"""


def test_all_lines_of_a_record_are_a_run() -> None:
    def make_passage(text: str) -> Passage:
        return Passage(1, "u", 0, len(text), text, "T", (), {}, 1.0, (len(text),), ())

    whole = next(run for run in make_passage(RECORD).runs() if len(run) > 3)
    assert RECORD[whole[0].start : whole[-1].end] == RECORD.strip()
    prose = RECORD.replace("Protection class: IP54", "It is tight.")
    assert max(map(len, make_passage(prose).runs())) == 3
