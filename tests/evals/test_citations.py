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


def answer(*citations: Citation) -> Answer:
    return Answer(text="x", status="answered", citations=citations)


def citation(start: int, end: int, quote: str, page: int | None, uri: str = "u") -> Citation:
    return Citation(marker=1, uri=uri, start=start, end=end, quote=quote, page=page)


def test_right_quotes_and_pages() -> None:
    good = [citation(0, 11, "First page.", 1), citation(12, 24, "Second page.", 2)]
    result = quote_accuracy(answer(*good), [SOURCE])
    assert (result.value, result.wrong_quotes, result.wrong_places) == (1.0, (), ())


def test_wrong_ones_are_found() -> None:
    shifted = citation(1, 12, "First page.", 1)
    unknown = citation(0, 11, "First page.", 1, uri="elsewhere")
    other_page = citation(0, 11, "First page.", 2)
    right = citation(0, 11, "First page.", 1)
    result = quote_accuracy(answer(shifted, unknown, other_page, right), [SOURCE])
    assert result.value == 0.5
    assert result.wrong_quotes == (shifted, unknown)
    assert result.wrong_places == (other_page,)


def test_without_citations_there_is_no_value() -> None:
    assert quote_accuracy(answer(), [SOURCE]).value is None
