"""Presentations: hidden slides and shapes, charts of every kind, notes, comments, footers."""

from __future__ import annotations

import contextlib
import io
import random
import zipfile
from typing import Any

import pytest

from connectors.parsers.office import PptxParser
from connectors.parsers.office_charts import read_chart
from connectors.parsers.safe_zip import parse_xml
from rag import Document
from rag.errors import SourceError
from tests.connectors import file_fixtures
from tests.connectors.damage import damage, damage_member
from tests.connectors.parsing import PARSER, list_marked_texts, parse

_DRAWING = "http://schemas.openxmlformats.org/drawingml/2006"
_NAMESPACES = (
    f'xmlns:c="{_DRAWING}/chart" xmlns:a="{_DRAWING}/main" '
    'xmlns:cx="http://schemas.microsoft.com/office/drawing/2014/chartex" '
    'xmlns:p="http://schemas.openxmlformats.org/presentationml/2006/main" '
    'xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/2006" '
    f'xmlns:dgm="{_DRAWING}/diagram" '
    'xmlns:r="http://schemas.openxmlformats.org/officeDocument/2006/relationships"'
)
_RELATIONSHIPS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"


def edit_slide(
    data: bytes, number: int, edits: dict[str, str], parts: dict[str, tuple[str, str]] | None = None
) -> bytes:
    """Replace texts in the XML of a slide, and add parts: by name, their kind and their XML."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    slide = f"ppt/slides/slide{number}.xml"
    text = members[slide].decode()
    for old, new in edits.items():
        assert old in text
        text = text.replace(old, new)
    members[slide] = text.encode()
    relationships = f"ppt/slides/_rels/slide{number}.xml.rels"
    for name, (kind, xml) in (parts or {}).items():
        members[f"ppt/added/{name}"] = xml.encode()
        entry = (
            f'<Relationship Id="{name}" Type="{_RELATIONSHIPS}/{kind}" Target="../added/{name}"/>'
        )
        members[relationships] = members[relationships].replace(
            b"</Relationships>", entry.encode() + b"</Relationships>"
        )
        types = f'<Override PartName="/ppt/added/{name}" ContentType="application/xml"/></Types>'
        members["[Content_Types].xml"] = members["[Content_Types].xml"].replace(
            b"</Types>", types.encode()
        )
    return file_fixtures.make_zip(members)


def make_shape(text: str, properties: str = "", placeholder: str = "", paragraph: str = "") -> str:
    placeholder = f'<p:ph type="{placeholder}" idx="9"/>' if placeholder else ""
    paragraph = paragraph or f"<a:p><a:r><a:t>{text}</a:t></a:r></a:p>"
    return (
        f'<p:sp {_NAMESPACES}><p:nvSpPr><p:cNvPr id="90" name="Box 1" {properties}/><p:cNvSpPr/>'
        f"<p:nvPr>{placeholder}</p:nvPr></p:nvSpPr><p:spPr/><p:txBody><a:bodyPr/>{paragraph}"
        "</p:txBody></p:sp>"
    )


def add_shapes(data: bytes, number: int, xml: str, **parts: tuple[str, str]) -> bytes:
    named = {name.replace("_", "."): part for name, part in parts.items()}
    return edit_slide(data, number, {"</p:spTree>": f"{xml}</p:spTree>"}, named)


def list_omissions(document: Document) -> list[tuple[str, str, int]]:
    assert document.coverage is not None
    return [(o.reason, o.name, o.words) for o in document.coverage.omissions]


# -- Hidden and repeated content -----------------------------------------------------------


def test_hidden_slides_are_left_out_and_named() -> None:
    slides = [("One", "Body"), ("Salaries", "Ben earns much"), ("Three", "End")]
    data = edit_slide(file_fixtures.make_pptx(slides), 2, {"<p:sld ": '<p:sld show="0" '})
    document = parse(data, "a.pptx")
    assert document.text == "# One\n\nBody\n\n# Three\n\nEnd\n"
    assert [value for value, _ in list_marked_texts(document, "slide")] == [1, 3]
    assert document.metadata["hidden"] == ("slide 2",)
    assert list_omissions(document) == [("hidden", "slide 2", 4)]
    assert document.coverage is not None and document.coverage.missing == 0
    everything = PptxParser(hidden=True).parse(data, uri="file:///a.pptx")
    assert "Ben earns much" in everything.text and "hidden" not in everything.metadata


def test_hidden_shapes_are_left_out() -> None:
    data = add_shapes(
        file_fixtures.make_pptx([("One", "Body")]), 1, make_shape("Secret plan", 'hidden="1"')
    )
    document = parse(data, "a.pptx")
    assert "Secret" not in document.text
    assert list_omissions(document) == [("hidden", "shape Box 1", 2)]
    assert "Secret" in PptxParser(hidden=True).parse(data, uri="file:///a.pptx").text


def test_repeated_footers_and_numbers_are_left_out() -> None:
    data = file_fixtures.make_pptx([("One", "Body"), ("Two", "Body")])
    for number in (1, 2):
        footer = make_shape("Acme Ltd", placeholder="ftr")
        footer += make_shape(str(number + 40), placeholder="sldNum")
        footer += make_shape(f"May {number}", placeholder="dt")
        data = add_shapes(data, number, footer)
    document = parse(data, "a.pptx")
    assert "Acme" not in document.text and "41" not in document.text
    assert "May 1" in document.text  # a date that is not repeated
    assert {name for _, name, _ in list_omissions(document)} == {"footer", "slide number"}
    assert document.coverage is not None and document.coverage.missing == 0


# -- Text ----------------------------------------------------------------------------------


def test_notes_are_a_paragraph_of_their_own() -> None:
    data = file_fixtures.make_pptx([("One", "Body")], notes="Say hello\nand smile")
    document = parse(data, "a.pptx")
    assert document.text.split("\n\n")[2] == "Notes: Say hello\nand smile\n"
    assert document.metadata["slides_with_notes"] == (1,)
    without = PptxParser(notes=False).parse(data, uri="file:///a.pptx")
    assert "Notes" not in without.text and "slides_with_notes" not in without.metadata
    assert without.coverage is not None and without.coverage.missing == 0


def test_numbered_paragraphs_and_alternate_content() -> None:
    item = '<a:p><a:pPr {}><a:buAutoNum type="{}" {}/></a:pPr><a:r><a:t>{}</a:t></a:r></a:p>'
    paragraphs = "".join(
        item.format(*values)
        for values in (
            ("", "arabicPeriod", 'startAt="3"', "three"),
            ('lvl="1"', "alphaLcParenBoth", "", "a"),
            ('lvl="1"', "alphaLcParenBoth", "", "b"),
            ("", "arabicPeriod", 'startAt="3"', "four"),
        )
    )
    paragraphs += "<a:p><a:r><a:t>plain</a:t></a:r><a:br/><a:r><a:t>line</a:t></a:r></a:p>"
    shape = make_shape("", paragraph=paragraphs)
    xml = (
        f"<mc:AlternateContent {_NAMESPACES}><mc:Choice Requires='x'>{shape}</mc:Choice>"
        f"<mc:Fallback>{make_shape('picture of the text')}</mc:Fallback></mc:AlternateContent>"
    )
    document = parse(add_shapes(file_fixtures.make_pptx([("One", "Body")]), 1, xml), "a.pptx")
    expected = "3. three\n  (a) a\n  (b) b\n4. four\nplain\nline"
    assert expected in document.text and "picture" not in document.text
    assert document.coverage is not None and document.coverage.missing == 0


def test_comments_and_diagrams() -> None:
    comments = '<p:cmLst {}><p:cm authorId="0"><p:text>Too long</p:text></p:cm></p:cmLst>'
    point = "<dgm:pt {}><dgm:t><a:p><a:r><a:t>{}</a:t></a:r></a:p></dgm:t></dgm:pt>"
    points = point.format("", "Plan") + point.format('type="pres"', "ghost")
    diagram = f"<dgm:dataModel {_NAMESPACES}><dgm:ptLst>{points}</dgm:ptLst></dgm:dataModel>"
    frame = (
        f'<p:graphicFrame {_NAMESPACES}><p:nvGraphicFramePr><p:cNvPr id="91" name="D"/>'
        "<p:cNvGraphicFramePr/><p:nvPr/></p:nvGraphicFramePr><p:xfrm/><a:graphic><a:graphicData "
        'uri="x"><dgm:relIds r:dm="d.xml"/></a:graphicData></a:graphic></p:graphicFrame>'
    )
    data = add_shapes(
        file_fixtures.make_pptx([("One", "Body")]),
        1,
        frame,
        d_xml=("diagramData", diagram),
        c_xml=("comments", comments.format(_NAMESPACES)),
    )
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members: dict[str, Any] = {name: archive.read(name) for name in archive.namelist()}
    members["ppt/commentAuthors.xml"] = (
        f'<p:cmAuthorLst {_NAMESPACES}><p:cmAuthor id="0" name="Ada"/></p:cmAuthorLst>'
    )
    document = parse(file_fixtures.make_zip(members), "a.pptx")
    assert document.text.endswith("[Comment by Ada: Too long]\n")
    assert "- Plan" in document.text and "ghost" not in document.text


# -- Charts --------------------------------------------------------------------------------


def make_points(tag: str, values: list[str], code: str = "General") -> str:
    points = "".join(f'<c:pt idx="{i}"><c:v>{v}</c:v></c:pt>' for i, v in enumerate(values) if v)
    kind = "str" if tag in ("cat", "tx") else "num"
    format_code = f"<c:formatCode>{code}</c:formatCode>" if kind == "num" else ""
    return f"<c:{tag}><c:{kind}Cache>{format_code}{points}</c:{kind}Cache></c:{tag}>"


def make_chart(plots: str, title: str = "", axes: str = "") -> Any:
    heading = (
        f"<c:title><c:tx><c:rich><a:p><a:r><a:t>{title}</a:t></a:r></a:p></c:rich></c:tx></c:title>"
    )
    xml = (
        f"<c:chartSpace {_NAMESPACES}><c:chart>{heading if title else ''}<c:plotArea>{plots}{axes}"
        "</c:plotArea></c:chart></c:chartSpace>"
    )
    return parse_xml(xml.encode(), "chart")


def make_series(name: str, *parts: str) -> str:
    return f"<c:ser>{make_points('tx', [name])}{''.join(parts)}</c:ser>"


def test_all_plots_of_a_combined_chart_are_one_table() -> None:
    categories = make_points("cat", ["Q1", "Q2"])
    bars = make_series("Units", categories, make_points("val", ["1234567", ""]))
    line = make_series("Margin", categories, make_points("val", ["0.075", "0.1"], "0.0%"))
    axis = "<c:valAx><c:title><c:tx><c:rich><a:p><a:r><a:t>pieces</a:t></a:r></a:p></c:rich></c:tx></c:title></c:valAx>"
    plots = f"<c:barChart>{bars}</c:barChart><c:lineChart>{line}</c:lineChart>"
    (table,) = read_chart(make_chart(plots, "Sales", f"<c:catAx/>{axis}"))
    assert table.title == "Sales (pieces)"
    assert table.grid == [["", "Units", "Margin"], ["Q1", "1234567", "7.5%"], ["Q2", "", "10.0%"]]


def test_plots_with_other_categories_are_other_tables() -> None:
    one = make_series("A", make_points("cat", ["x"]), make_points("val", ["1"]))
    two = make_series("B", make_points("cat", ["y"]), make_points("val", ["2"]))
    tables = read_chart(make_chart(f"<c:pieChart>{one}{two}</c:pieChart>"))
    assert [table.grid for table in tables] == [[["", "A"], ["x", "1"]], [["", "B"], ["y", "2"]]]


def test_points_of_scatter_and_bubble_charts() -> None:
    x, y = make_points("xVal", ["10", "20"]), make_points("yVal", ["1.5", "2.7"])
    axes = "".join(
        f'<c:valAx><c:axPos val="{position}"/><c:title><c:tx><c:rich><a:p><a:r><a:t>{title}</a:t>'
        "</a:r></a:p></c:rich></c:tx></c:title></c:valAx>"
        for position, title in (("b", "Load"), ("l", "Time"))
    )
    scatter = f"<c:scatterChart>{make_series('Test', x, y)}</c:scatterChart>"
    (table,) = read_chart(make_chart(scatter, axes=axes))
    assert table.grid == [
        ["Series", "Load", "Time"], ["Test", "10", "1.5"], ["Test", "20", "2.7"],
    ]  # fmt: skip
    sizes = make_points("bubbleSize", ["7"])
    (table,) = read_chart(
        make_chart(f"<c:bubbleChart><c:ser>{x}{y}{sizes}</c:ser></c:bubbleChart>")
    )
    assert table.grid == [["X", "Y", "Size"], ["10", "1.5", "7"], ["20", "2.7", ""]]


def test_dates_and_several_levels_of_categories() -> None:
    levels = "".join(
        "<c:lvl>"
        + "".join(f'<c:pt idx="{i}"><c:v>{v}</c:v></c:pt>' for i, v in values)
        + "</c:lvl>"
        for values in ([(0, "Q1"), (1, "Q2"), (2, "Q1")], [(0, "2024"), (2, "2025")])
    )
    categories = f"<c:cat><c:multiLvlStrCache>{levels}</c:multiLvlStrCache></c:cat>"
    series = make_series("A", categories, make_points("val", ["1", "2", "3"]))
    (table,) = read_chart(make_chart(f"<c:barChart>{series}</c:barChart>"))
    assert [row[0] for row in table.grid] == ["", "2024 Q1", "2024 Q2", "2025 Q1"]
    dates = make_points("cat", ["45292"], "yyyy-mm-dd").replace("strCache", "numCache")
    dates = dates.replace("<c:pt ", "<c:formatCode>yyyy-mm-dd</c:formatCode><c:pt ", 1)
    series = make_series("A", dates, make_points("val", ["1"]))
    (table,) = read_chart(make_chart(f"<c:lineChart>{series}</c:lineChart>"))
    assert table.grid[1] == ["2024-01-01", "1"]


def test_newer_charts_and_charts_without_values() -> None:
    xml = (
        f"<cx:chartSpace {_NAMESPACES}><cx:chartData><cx:data id='0'><cx:strDim type='cat'><cx:lvl>"
        "<cx:pt idx='0'>Start</cx:pt></cx:lvl></cx:strDim><cx:numDim type='val'><cx:lvl>"
        "<cx:pt idx='0'>5</cx:pt></cx:lvl></cx:numDim></cx:data></cx:chartData><cx:chart><cx:series>"
        "<cx:tx><cx:txData><cx:v>Cash</cx:v></cx:txData></cx:tx><cx:dataId val='0'/></cx:series>"
        "</cx:chart></cx:chartSpace>"
    )
    (table,) = read_chart(parse_xml(xml.encode(), "chart"))
    assert table.grid == [["", "Cash"], ["Start", "5"]]
    assert read_chart(make_chart("")) == []
    assert [table.title for table in read_chart(make_chart("", "Sales"))] == ["Sales"]


def make_chart_slide(kind: str) -> bytes:
    from pptx import Presentation
    from pptx.chart.data import CategoryChartData, XyChartData
    from pptx.enum.chart import XL_CHART_TYPE
    from pptx.util import Inches

    presentation = Presentation()
    slide = presentation.slides.add_slide(presentation.slide_layouts[5])
    slide.shapes.title.text = "Chart"
    if kind == "scatter":
        points = XyChartData()
        series = points.add_series("Load")
        series.add_data_point(10, 1.5)
        chart_kind, values = XL_CHART_TYPE.XY_SCATTER, points
    else:
        values = CategoryChartData()
        values.categories = ["Q1"]
        values.add_series("Cars", (3,))
        chart_kind = XL_CHART_TYPE.COLUMN_CLUSTERED
    slide.shapes.add_chart(chart_kind, 0, 0, Inches(4), Inches(4), values)
    buffer = io.BytesIO()
    presentation.save(buffer)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("kind", "row"), [("scatter", "| Load | 10 | 1.5 |"), ("columns", "| Q1 | 3 |")]
)
def test_charts_on_slides_are_tables(kind: str, row: str) -> None:
    document = parse(make_chart_slide(kind), "a.pptx")
    assert list_marked_texts(document, "row") == [(1, row)]
    assert document.coverage is not None and document.coverage.missing == 0


# -- Damage --------------------------------------------------------------------------------


def test_damaged_copies_fail_with_errors_of_sources() -> None:
    data = make_chart_slide("columns")
    generator = random.Random(7)
    for i in range(60):
        damaged = (damage if i % 2 else damage_member)(data, generator)
        with contextlib.suppress(SourceError):
            list(PARSER.documents(damaged, uri="file:///a.pptx"))
