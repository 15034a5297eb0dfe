"""`quote_accuracy` finds citations with a wrong quote or a wrong page."""

from __future__ import annotations

from evals import quote_accuracy
from rag import Answer, Citation, Document, Mark

SOURCE = Document(
    uri="u",
    text="First page. Second page.",
    marks=(
        Mark(start=0, end=12, kind="page", value=1),
        Mark(start=12, end=24, kind="page", value=2),
    ),
)


def make_answer(*citations: Citation) -> Answer:
    return Answer(text="x", status="answered", citations=citations)


def cite(start: int, end: int, quote: str, page: int | None, uri: str = "u") -> Citation:
    return Citation(marker=1, uri=uri, start=start, end=end, quote=quote, page=page)


def test_correct_quotes_and_pages_are_accepted() -> None:
    citations = [cite(0, 11, "First page.", 1), cite(12, 24, "Second page.", 2)]
    result = quote_accuracy(make_answer(*citations), [SOURCE])
    assert (result.value, result.wrong_quotes, result.wrong_locations) == (1.0, (), ())


def test_wrong_quotes_and_pages_are_found() -> None:
    shifted = cite(1, 12, "First page.", 1)
    unknown = cite(0, 11, "First page.", 1, uri="elsewhere")
    other_page = cite(0, 11, "First page.", 2)
    correct = cite(0, 11, "First page.", 1)
    result = quote_accuracy(make_answer(shifted, unknown, other_page, correct), [SOURCE])
    assert result.value == 0.5
    assert result.wrong_quotes == (shifted, unknown)
    assert result.wrong_locations == (other_page,)


def test_answer_without_citations_has_no_value() -> None:
    assert quote_accuracy(make_answer(), [SOURCE]).value is None
