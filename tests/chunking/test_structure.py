"""The headings, tables and records that a chunk is given."""

from rag import Document, HeadingChunker, Mark, StaticEmbedder
from rag.chunking import StructureIndex, split_document


def test_only_records_of_several_lines_are_marked() -> None:
    text = "Host: a\nCity: Oslo\n\nHost: b\n"
    record = Mark(start=0, end=18, kind="row", value=1)
    marks = (
        record,
        Mark(start=20, end=27, kind="row", value=2),
        Mark(start=0, end=len(text), kind="page", value=1),
    )
    document = Document(uri="u", text=text, marks=marks)
    (chunk,) = split_document(HeadingChunker(), document, StaticEmbedder())
    assert chunk.marks == (record,)


def test_marks_of_a_span_are_those_that_overlap_it() -> None:
    text = "Host: a\nCity: Oslo\n\nHost: b\nCity: Bern\n\nHost: c\nCity: Rome\n"
    records = [Mark(start=a, end=a + 18, kind="row", value=i) for i, a in enumerate((0, 20, 40))]
    index = StructureIndex(Document(uri="u", text=text, marks=tuple(records)))
    assert index.find_marks(18, 39) == (records[1],)
    assert index.find_marks(17, 41) == tuple(records)
    assert index.find_marks(18, 40) == (records[1],)
    assert index.find_marks(18, 20) == ()
