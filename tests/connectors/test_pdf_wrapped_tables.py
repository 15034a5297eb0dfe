"""Tables of PDFs without drawn lines whose cells have several lines of text."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.connectors.file_fixtures import Lines
from tests.connectors.test_pdf_tables import list_tables, parse

Cells = Sequence[Sequence[str]]  # the lines of each cell of a row

RULES: list[Cells] = [
    (["Question"], ["What to do"]),
    (["The lift stands", "between two floors"], ["Call the guard and wait.", "Do not climb out."]),
    (["Smell of gas"], ["Open the windows, leave", "the house, and call", "the gas works."]),
    (["Water in the cellar", "of house 3"], ["Switch off the power."]),
    (["A broken window"], ["Write to the caretaker."]),
]


def draw_cells(
    rows: Sequence[Cells],
    lefts: Sequence[float],
    *,
    alignment: str = "top",
    right_edges: Sequence[float | None] = (),
    line_gap: float = 11,
    row_gap: float = 17,
    y: float = 700,
) -> list[tuple[float, float, float, str]]:
    """Draw rows cell by cell; a column with a right edge is aligned there."""
    lines: list[tuple[float, float, float, str]] = []
    for cells in rows:
        height = max(map(len, cells))
        for i, parts in enumerate(cells):
            free = height - len(parts)
            first = {"top": 0.0, "middle": free / 2, "bottom": free}[alignment]
            for number, part in enumerate(parts):
                x = lefts[i]
                if right_edges and right_edges[i] is not None:
                    x = (right_edges[i] or 0) - 5.0 * sum(c not in ",." for c in part)
                lines.append((x, y - line_gap * (first + number), 9.0, part))
        y -= line_gap * (height - 1) + row_gap
    return lines


def join(cells: Cells) -> str:
    return f"| {' | '.join(' '.join(parts) for parts in cells)} |"


@pytest.mark.parametrize("alignment", ["top", "middle", "bottom"])
def test_lines_of_a_cell_are_one_text(alignment: str) -> None:
    before, after = (50.0, 740.0, 9.0, "In an emergency:"), (50.0, 520.0, 9.0, "Stay calm.")
    document = parse([before, *draw_cells(RULES, (50, 200), alignment=alignment), after])
    ((table, rows),) = list_tables(document)
    assert [*table.columns] in ([], ["Question", "What to do"])
    assert rows[-4:] == [join(row) for row in RULES[1:]]
    assert document.text.split() == [
        "In", "an", "emergency:", *" ".join(document.text.split("\n")[1:-1]).split(), "Stay", "calm.",
    ]  # fmt: skip


def test_names_in_the_middle_of_their_columns_are_the_header() -> None:
    header = [(80.0, 717.0, 9.0, "Case"), (260.0, 717.0, 9.0, "What to do")]
    ((table, rows),) = list_tables(parse([*header, *draw_cells(RULES[1:], (50, 200))]))
    assert table.columns == ("Case", "What to do")
    assert rows[0] == join(RULES[1])


INVOICE: list[Cells] = [
    (["Item"], ["Description"], ["Qty"], ["Price"]),
    (["A-"], ["Ventilation unit for large", "halls, with filter"], ["2"], ["1,250.00"]),
    (["B-100"], ["Mounting kit"], ["12"], ["45.50"]),
    (["C-7"], ["Installation by our own staff", "on working days"], ["1"], ["480.00"]),
]


@pytest.mark.parametrize("alignment", ["top", "middle", "bottom"])
def test_an_invoice_has_its_texts_and_its_numbers_in_their_columns(alignment: str) -> None:
    rows = [*INVOICE]
    rows[1] = (["A-", "100"], *INVOICE[1][1:])
    lines = draw_cells(
        rows, (50, 100, 0, 0), alignment=alignment, right_edges=(None, None, 300, 380)
    )
    ((table, texts),) = list_tables(parse(lines))
    assert table.columns == ("Item", "Description", "Qty", "Price")
    assert texts == [
        "| A-100 | Ventilation unit for large halls, with filter | 2 | 1,250.00 |",
        "| B-100 | Mounting kit | 12 | 45.50 |",
        "| C-7 | Installation by our own staff on working days | 1 | 480.00 |",
    ]


POSITIONS: list[Cells] = [
    (["Pos."], ["Description"], ["Qty"], ["Amount"]),
    (["1"], ["Big service with motor", "software and diagnosis"], ["1"], ["137.50"]),
    (["2"], ["Brake pads, front and", "rear"], ["3"], ["55.20"]),
    (["3"], ["Collection by van"], ["1"], ["31.67"]),
]


@pytest.mark.parametrize("alignment", ["top", "middle", "bottom"])
def test_positions_of_an_invoice_with_one_column_of_texts_are_rows(alignment: str) -> None:
    lines = draw_cells(
        POSITIONS, (50, 76, 0, 0), alignment=alignment, right_edges=(None, None, 300, 380)
    )
    ((table, texts),) = list_tables(parse(lines))
    assert table.columns == ("Pos.", "Description", "Qty", "Amount")
    assert texts == [join(row) for row in POSITIONS[1:]]


def test_a_word_that_is_divided_in_a_cell_is_whole() -> None:
    rows = [*RULES, (["The tele-", "phone is dead"], ["Use the self-", "service desk."])]
    document = parse([*draw_cells(rows, (50, 200)), (50.0, 480.0, 9.0, "A telephone is near.")])
    ((_, texts),) = list_tables(document)
    assert texts[-1] == "| The telephone is dead | Use the self-service desk. |"


def test_a_list_with_long_items_is_no_table() -> None:
    items = [
        ([marker], ["An item of the list that", "goes on in a second line."])
        for marker in ("1.", "2.", "3.", "4.")
    ]
    assert list_tables(parse(draw_cells(items, (50, 80)))) == []
    bullets = [(["\u2022"], *cells[1:]) for cells in items]
    assert list_tables(parse(draw_cells(bullets, (50, 80)))) == []


def test_columns_of_prose_are_no_table() -> None:
    story = [f"line {i} of the story goes on here" for i in range(30)]
    lines: list[tuple[float, float, float, str]] = []
    for part in range(3):
        for x, first in ((50.0, 0), (320.0, 5)):
            lines += [
                (x, 700.0 - 80 * part - 12 * i, 9.0, story[10 * part + first + i]) for i in range(5)
            ]
    document = parse(lines)
    assert list_tables(document) == []
    assert " ".join(document.text.split()) == " ".join(story)


def test_text_below_a_table_is_no_row() -> None:
    after = [(50.0, 530.0, 9.0, "These rules hold in every house of the society, at any time.")]
    document = parse([*draw_cells(RULES, (50, 200)), *after])
    ((_, rows),) = list_tables(document)
    assert len(rows) in (4, 5)
    assert document.text.endswith("at any time.")


WORDS = st.lists(
    st.sampled_from("red green blue 12 3.50 pump- valve".split()), min_size=1, max_size=3
)
CELL = st.lists(WORDS.map(" ".join), min_size=1, max_size=3)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(CELL, CELL, CELL), min_size=1, max_size=6),
    st.sampled_from(["top", "middle", "bottom"]),
)
def test_marks_fit_and_no_word_is_lost(rows: list[Cells], alignment: str) -> None:
    lines: Lines = draw_cells(rows, (50, 200, 350), alignment=alignment)
    document = parse([(50.0, 740.0, 9.0, "A title."), *lines, (50.0, 300.0, 9.0, "The end.")])
    list_tables(document)  # checks the marks
    bare = document.text.replace("-", "").replace(" ", "")
    for _, _, _, text in lines:
        for word in text.split():
            assert word.strip("-") in bare
