"""The order in which the boxes of a slide are read."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pptx import Presentation
from pptx.util import Pt

from connectors.parsers.office import PptxParser
from connectors.parsers.reading_order import Box, sort_boxes


def make_box(left: int, top: int, width: int, height: int) -> Box:
    return Box(*(12_700 * edge for edge in (left, top, left + width, top + height)))


@pytest.mark.parametrize(
    "boxes",
    [
        [(36, 120, 318, 50), (36, 171, 318, 311), (365, 120, 318, 50), (365, 171, 318, 311)],
        [
            (36, 20, 640, 80),
            (36, 115, 288, 36),
            (36, 158, 288, 144),
            (360, 115, 288, 36),
            (360, 158, 288, 144),
        ],
        # Numbers above their labels, not quite at the same height
        [(36, 144, 144, 36), (36, 187, 144, 36), (252, 147, 144, 36), (252, 190, 144, 36)],
        # Labels beside their values, in three rows
        [
            *((36, 100, 144, 20), (200, 100, 200, 20), (36, 130, 144, 20), (200, 130, 200, 20)),
            *((36, 160, 144, 20), (200, 160, 200, 20)),
        ],
        # Two columns below an introduction, a line below both
        [
            *((36, 100, 600, 20), (36, 130, 200, 90), (300, 128, 200, 40), (300, 170, 200, 50)),
            (36, 240, 600, 20),
        ],
        # Rows that are farther apart than their boxes
        [(36, 100, 100, 30), (140, 100, 100, 30), (36, 200, 100, 30), (140, 200, 100, 30)],
        [(36, 100, 100, 30), (60, 110, 100, 30)],
    ],
)
def test_boxes_are_read_in_the_order_given(boxes: list[tuple[int, int, int, int]]) -> None:
    expected = [make_box(*box) for box in boxes]
    for shuffled in (expected, expected[::-1], sorted(expected)):
        assert [shuffled[i] for i in sort_boxes(shuffled)] == expected


@given(st.lists(st.tuples(*[st.integers(0, 40)] * 4), max_size=12))
def test_every_box_is_read_once(edges: list[tuple[int, int, int, int]]) -> None:
    boxes = [make_box(*edge) for edge in edges]
    assert sorted(sort_boxes(boxes)) == list(range(len(boxes)))


def test_numbers_of_a_slide_stand_before_their_labels() -> None:
    presentation = Presentation()
    slide = presentation.slides.add_slide(presentation.slide_layouts[5])
    slide.shapes.title.text = "Figures"
    texts = {"42 %": (36, 144), "Market share": (36, 187), "120": (252, 140), "Ships": (252, 183)}
    for text, (x, y) in reversed(texts.items()):
        slide.shapes.add_textbox(Pt(x), Pt(y), Pt(144), Pt(36)).text_frame.text = text
    slide.shapes.add_connector(1, Pt(10), Pt(182), Pt(600), Pt(182))
    data = io.BytesIO()
    presentation.save(data)
    document = PptxParser().parse(data.getvalue(), uri="file:///figures.pptx")
    lines = [line for line in document.text.splitlines() if line.strip()]
    assert lines == ["# Figures", *texts]
