"""Damaged PDFs give a document or an error of the library, and nothing else."""

from __future__ import annotations

import contextlib
import random

import pytest

from connectors.parsers.pdf import PdfParser
from rag.errors import RagError
from tests.connectors.damage import damage
from tests.connectors.pdf_writer import Page, build_pdf
from tests.connectors.test_pdf_annotations import add_field
from tests.connectors.test_pdf_fonts import CID_FONT, write_garbled
from tests.connectors.test_pdf_rules import ROWS, draw_table


def make_sample() -> bytes:
    page = Page()
    page.write(50, 740, "3.1 The parts of the harbour", 14, "F2")
    draw_table(page, ROWS)
    write_garbled(page, 400, "A short caption")
    add_field(page, 120, 300, "surname", "(Okonkwo)")
    page.annotate("Text", (300, 700, 320, 712), Contents="(Ask Lena)", T="(Ada)")
    return build_pdf([page, Page(page.content, 90)], [CID_FONT], form=True)


@pytest.mark.parametrize("seed", range(60))
def test_damaged_copies_are_read_or_refused(seed: int) -> None:
    data = damage(make_sample(), random.Random(seed))
    with contextlib.suppress(RagError):
        PdfParser(ocr=False).parse(data, uri="file:///a.pdf")
