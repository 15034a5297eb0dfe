"""One form for all usual spellings of a thing; other things have other forms."""

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.text.spellings import (
    find_query_forms,
    fold,
    list_forms,
    list_pieces,
)


def share_form(document: str, query: str) -> bool:
    """Whether a query finds a text by one of its forms or words."""
    forms = set(list_forms(document)) | set(document.lower().split())
    query_forms = {form for span in find_query_forms(query) for form in span.forms}
    return not forms.isdisjoint(query_forms | {fold(word) for word in query.split()})


@pytest.mark.parametrize(
    "spellings",
    [
        ("the code ERR-4021 appears", "ERR 4021", "err4021", "err_4021"),
        ("see RFC 7231 for it", "RFC7231", "rfc-7231"),
        ("a wi-fi router", "wi fi"),
        ("state-of-the-art tools", "state of the art"),
        ("call parse_config first", "parse-config", "parse config"),
        ("costs 1,234.50 in all", "1234.5", "1.234,50", "1 234,5"),
        ("12'345 pieces", "12345", "12,345"),
        ("€1,250.00 due", "1250 euros", "EUR 1.250"),
        ("$3.2 million", "3,200,000 dollars", "USD 3.2 mio"),
        ("about $75k", "75,000 dollars"),
        ("release v2.1.4 is out", "2.1.4", "version 2.1.4"),
        ("host 192.168.001.015", "192.168.1.15"),
        ("on 3 Feb 2025 at", "2025-02-03", "February 3rd, 2025", "3.2.2025", "20250203"),
        ("am 3. Februar 2025", "3 February 2025", "03/02/2025"),
        ("el 3 de febrero de 2025", "2025-02-03"),
        ("on 14 March 2024", "March 2024", "14 March"),
        ("in Q3 2022 we", "third quarter of 2022", "Q3/22", "3Q22"),
        ("at 2:30 pm sharp", "14:30", "14.30 Uhr"),
        ("call +44 20 7946 0958", "020 7946 0958", "02079460958", "(020) 7946-0958"),
        ("plate B-AB 1234", "b ab 1234", "BAB1234"),
        ("flight BA0117", "BA 117", "ba117"),
        ("ISBN 978-3-16-148410-0", "9783161484100"),
        ("IBAN DE89 3704 0044 0532 0130 00", "DE89370400440532013000"),
        ("MAC 00:1A:2B:3C:4D:5E", "001a2b3c4d5e", "00-1a-2b-3c-4d-5e"),
        ("supply of 231 V", "231V"),
        ("Herr Müller aus Łódź", "Muller", "Mueller", "Lodz"),
        ("written in C++ and C#", "C++", "cpp", "csharp"),
        ("on .NET", "dotnet", ".NET"),
        ("Chapter IV of it", "chapter 4"),
        ("on page 118", "p. 118", "pp 118"),
        ("the twenty-first floor", "21st floor"),
        ("17½% of it", "17.5 per cent", "17.5%"),
        ("forty per cent", "40 %"),
        ("commit a1b2c3d4e5f60718", "a1b2c3d"),
        ("write to a.b [at] acme [dot] org", "a.b@acme.org"),
        ("/etc/nginx/nginx.conf", "nginx.conf"),
    ],
    ids=lambda spellings: spellings[0],
)
def test_spellings_of_one_thing_share_a_form(spellings: tuple[str, ...]) -> None:
    document, *queries = spellings
    for query in queries:
        assert share_form(document, query), (query, list_forms(document), find_query_forms(query))


@pytest.mark.parametrize(
    ("document", "query"),
    [
        ("ERR-4021", "ERR 4012"),
        ("1,234.5", "1,243.5"),
        ("2.1.4", "2.14"),
        ("3 Feb 2025", "2025-02-04"),
        ("3 Feb 2025", "3 Feb 2024"),
        ("192.168.1.15", "192.168.1.5"),
        ("231 V", "231 W"),
        ("C#", "C++"),
        ("€1,250", "$1,250 and"),
        ("the state of art", "estate"),
    ],
)
def test_other_things_have_other_forms(document: str, query: str) -> None:
    long_forms = [
        span for span in find_query_forms(query) if len(span.words) > 1 or "=" in str(span)
    ]
    forms = set(list_forms(document))
    longest = long_forms[0].forms if long_forms else ()
    assert forms.isdisjoint(longest), (forms, longest)


@given(st.dates(datetime.date(1900, 1, 1), datetime.date(2099, 12, 31)))
def test_any_day_is_found_in_any_writing(day: datetime.date) -> None:
    writings = [
        day.isoformat(),
        f"{day.day} {day:%B} {day.year}",
        f"{day:%b} {day.day}, {day.year}",
        f"{day.day}.{day.month}.{day.year}",
    ]
    for document in writings:
        for query in writings:
            assert share_form(f"on {document}, late", query), (document, query)


@given(st.integers(0, 10**9), st.integers(0, 99))
def test_any_amount_is_found_with_other_separators(whole: int, cents: int) -> None:
    english = f"{whole:,}.{cents:02}"
    german = english.translate(str.maketrans(",.", ".,"))
    assert share_form(f"a sum of {english} was paid", german)
    assert share_form(f"die Summe {german} wurde", english)


@given(st.text(max_size=300))
def test_any_text_has_forms_without_white_space(text: str) -> None:
    for form in [*list_forms(text), *list_pieces(text)]:
        assert form and not any(map(str.isspace, form))
    for span in find_query_forms(text):
        assert 0 <= span.start < span.end <= len(text)


def test_prose_has_hardly_any_forms() -> None:
    text = (
        "The battery of the kite lasts long in calm air. Charge it before the first flight. " * 20
    )
    assert set(list_forms(text)) <= {"#1"}


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("parseConfigFile", ["parse", "config", "file"]),
        ("HTTPServer", ["http", "server"]),
        ("max_retry_count", ["max", "retry", "count"]),
        ("RFC7231", ["rfc", "7231"]),
        ("a plain Sentence, GmbH", []),
    ],
)
def test_pieces_are_the_words_within_a_word(text: str, pieces: list[str]) -> None:
    found = list_pieces(text)
    assert [piece for piece in found if piece not in ("gmb", "gm", "bh")] == pieces


def test_vietnamese_keeps_its_accents() -> None:
    assert list_forms("Hà Nội là thủ đô của nước Cộng hòa xã hội chủ nghĩa Việt Nam") == []
    assert "muller" in list_forms(
        "Herr Müller wohnt seit vielen Jahren in Việt Nam und in Hamburg."
    )


def test_fold() -> None:
    assert fold("Łódź Øre Straße Ærø Éclair") == "lodz ore strasse aero eclair"
