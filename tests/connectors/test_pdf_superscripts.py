"""Raised figures of PDF pages: exponents, units and footnotes."""

from __future__ import annotations

import re

import pytest

from connectors.parsers.pdf import PdfParser
from tests.connectors.pdf_writer import Page, build_pdf


def parse_line(line: str) -> str:
    """Return the text of a page with a line; "^6^" is raised, "_6_" lowered, "`6`" only small."""
    page = Page()
    content = b"BT /F1 10 Tf 1 0 0 1 50 700 Tm\n"
    for part in re.split(r"(\^[^^]+\^|_[^_]+_|`[^`]+`)", line):
        rise = {"^": 4, "_": -2, "`": 0}.get(part[:1])
        text = (part if rise is None else part[1:-1]).encode("cp1252")
        size = 10 if rise is None else 6
        content += b"/F1 %d Tf %d Ts (%s) Tj\n" % (size, rise or 0, text)
    page.content = content + b"ET\n"
    page.write(50, 600, "The pump is checked twice a year by the two people of the workshop.")
    return PdfParser().parse(build_pdf([page]), uri="file:///page.pdf").text


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("There are 10^6^ germs per ml.", "10⁶ germs"),
        ("Light travels 3·10^8^ metres.", "3·10⁸ metres"),
        ("It is 10^-3^ of that.", "10⁻³ of"),
        ("An area of 25 m^2^, and 3 m^3^.", "25 m², and 3 m³."),
        ("Growth of cash flows^1^ in the year.", "flows¹ in"),
        ("It has ended.^12^ Nothing follows.", "ended.¹² Nothing"),
        ("Growth of sales^1,3^ in the year.", "sales¹,³ in"),
        ("Water is H_2_O and room B`12` is small.", "B12 is"),
        ("Water is CO_2_ and nothing else.", "CO2 and"),
        ("Pump P20 and 106 germs on page 10", "P20 and 106 germs on page 10"),
    ],
)
def test_raised_figures_are_superscripts(line: str, text: str) -> None:
    assert text in re.sub(r"\s+", " ", parse_line(line))
