import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.text.date_ranges import find_date_ranges

TODAY = datetime.date(2026, 5, 14)  # a Thursday


def find(text: str) -> list[tuple[str, str, str]]:
    """Return first day, last day and words of each period."""
    return [
        (str(r.first or ""), str(r.last or ""), text[r.start : r.end])
        for r in find_date_ranges(text, TODAY)
    ]


@pytest.mark.parametrize(
    ("text", "first", "last", "words"),
    [
        ("mails in February 2025 about x", "2025-02-01", "2025-02-28", "in February 2025"),
        ("mails in February 2024 about x", "2024-02-01", "2024-02-29", "in February 2024"),
        ("reports since March", "2026-03-01", "", "since March"),
        ("reports since June", "2025-06-01", "", "since June"),
        ("before 2023", "", "2022-12-31", "before 2023"),
        ("after 31 December 2024", "2025-01-01", "", "after 31 December 2024"),
        ("until March 2025", "", "2025-03-31", "until March 2025"),
        ("between 2021 and 2023", "2021-01-01", "2023-12-31", "between 2021 and 2023"),
        ("from January to March 2025", "2025-01-01", "2025-03-31", "from January to March 2025"),
        ("between 2024 and 2022", "2022-01-01", "2024-12-31", "between 2024 and 2022"),
        ("from November to March 2025", "2024-11-01", "2025-03-31", "from November to March 2025"),
        ("from 12.02.2025 on", "2025-02-12", "", "from 12.02.2025 on"),
        ("Q3 2024", "2024-07-01", "2024-09-30", "Q3 2024"),
        ("in 2024-02", "2024-02-01", "2024-02-29", "in 2024-02"),
        ("last year's reports", "2025-01-01", "2025-12-31", "last year's"),
        ("last quarter", "2026-01-01", "2026-03-31", "last quarter"),
        ("this month", "2026-05-01", "2026-05-31", "this month"),
        ("last week", "2026-05-04", "2026-05-10", "last week"),
        ("in the last three months", "2026-02-14", "2026-05-14", "in the last three months"),
        ("yesterday", "2026-05-13", "2026-05-13", "yesterday"),
        ("Berichte seit März 2024", "2024-03-01", "", "seit März 2024"),
        ("im letzten Jahr", "2025-01-01", "2025-12-31", "im letzten Jahr"),
        ("vor 2020", "", "2019-12-31", "vor 2020"),
    ],
)
def test_periods(text: str, first: str, last: str, words: str) -> None:
    assert find(text) == [(first, last, words)]


@pytest.mark.parametrize(
    "text",
    [
        "What may happen?",
        "We march on.",
        "item 2024-13",
        "4021 units",
        "version 3.2",
        "",
        "first half of 2025",
        "02/10/2025",
    ],
)
def test_texts_without_a_period(text: str) -> None:
    assert find(text) == []


@given(st.text(max_size=80), st.dates())
def test_any_text_has_ordered_periods(text: str, today: datetime.date) -> None:
    end = 0
    for period in find_date_ranges(f"in May {text} 2024 since {text}", today):
        assert end <= period.start < period.end
        assert period.first or period.last
        end = period.end
